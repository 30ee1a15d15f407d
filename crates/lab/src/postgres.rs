//! A temporary PostgreSQL cluster, for portreeve to keep its state in and for tests to take away from it.
//!
//! The PostgreSQL that stands exposed on a host of the lab is [`crate::Server::PostgreSql`]; both are prepared here.

use crate::namespace::{Namespace, run};
use crate::proc::Proc;
use anyhow::{Context, Result};
use rustix::process::Signal;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Port inside a namespace, where nothing else can be on it.
const PORT: u16 = 5432;

/// A cluster of its own with an empty database `portreeve`, trusting everybody who reaches it. Ends when dropped.
#[derive(Debug)]
pub struct TempPostgres {
    dir: tempfile::TempDir,
    namespace: Option<Namespace>,
    port: u16,
    proc: Option<Proc>,
}

impl TempPostgres {
    /// A cluster on a free port of this machine's loopback.
    pub fn start() -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        Self::make(None, port)
    }

    /// A cluster on port 5432 of the namespace's loopback.
    pub fn start_in(namespace: &Namespace) -> Result<Self> {
        Self::make(Some(namespace.clone()), PORT)
    }

    fn make(namespace: Option<Namespace>, port: u16) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("prl-postgres-").tempdir()?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        prepare(dir.path(), "trust")?;
        let mut it = TempPostgres { dir, namespace, port, proc: None };
        it.resume()?;
        it.psql("postgres", "CREATE DATABASE portreeve")?;
        Ok(it)
    }

    /// What `--db` takes.
    pub fn url(&self) -> String {
        self.url_of("portreeve")
    }

    /// The same for another database of the cluster.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL in a database and gives what it answers, unaligned, without headers.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = Command::new(program("psql")?);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url_of(database), "-c", sql]);
        match &self.namespace {
            Some(ns) => ns.run(&mut command),
            None => run(&mut command, |c| c.spawn(), None),
        }
    }

    /// Takes it away at once, connections and all, as a crash would; what was committed stays.
    pub fn stop(&mut self) {
        if let Some(mut proc) = self.proc.take() {
            proc.stop_by(Signal::QUIT);
        }
    }

    /// Brings it back.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = command(self.dir.path(), self.port, "127.0.0.1")?;
        let mut proc = Proc::start("postgresql", self.namespace.as_ref(), &mut command, &self.dir.path().join("log"))?;
        proc.wait_for_port(self.namespace.as_ref(), self.port)?;
        self.proc = Some(proc);
        // It accepts before it answers: recovering from a crash comes in between.
        let mut last = Ok(String::new());
        for _ in 0..200 {
            last = self.psql("postgres", "SELECT 1");
            if last.is_ok() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        last.map(drop).context("postgresql accepts but does not answer after 10 s")
    }

    /// Takes it away and brings it back.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.resume()
    }
}

impl Drop for TempPostgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program of the newest PostgreSQL installed: Debian keeps them out of the path.
fn program(name: &str) -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|v| v.path().join("bin").join(name)).filter(|p| p.exists()).collect();
    found.sort_by_key(|p| p.components().filter_map(|c| c.as_os_str().to_str()?.parse::<u32>().ok()).next_back());
    found.pop().with_context(|| format!("PostgreSQL's {name} is not there\nhint: install the Debian package postgresql"))
}

/// The account PostgreSQL runs under: it refuses root.
fn account() -> Result<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    for name in ["postgres", "nobody"] {
        let entry = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f.len() > 3 && f[0] == name);
        if let Some(fields) = entry {
            return Ok((fields[2].parse()?, fields[3].parse()?));
        }
    }
    anyhow::bail!("no account postgres or nobody to run PostgreSQL under\nhint: install the Debian package postgresql")
}

/// Makes a cluster in `dir`, unless there is one; connections over the network are authenticated by `method`.
pub(crate) fn prepare(dir: &Path, method: &str) -> Result<()> {
    let data = dir.join("data");
    if data.exists() {
        return Ok(());
    }
    let (uid, gid) = account()?;
    std::fs::create_dir(&data)?;
    chown(&data, Some(uid), Some(gid))?;
    let mut initdb = Command::new(program("initdb")?);
    initdb
        .args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-D"])
        .arg(&data)
        .uid(uid)
        .gid(gid)
        .current_dir("/");
    run(&mut initdb, |c| c.spawn(), None)?;
    let rules = format!(
        "local all all trust\nhost all all 127.0.0.1/32 {method}\nhost all all ::1/128 {method}\nhost all all all {method}\n"
    );
    std::fs::write(data.join("pg_hba.conf"), rules)?;
    Ok(())
}

/// The command that runs the cluster of `dir`.
pub(crate) fn command(dir: &Path, port: u16, listen: &str) -> Result<Command> {
    let (uid, gid) = account()?;
    let data = dir.join("data");
    let mut c = Command::new(program("postgres")?);
    c.arg("-D").arg(&data).args(["-p", &port.to_string()]).uid(uid).gid(gid).current_dir("/");
    // fsync off: what a test must survive is the end of the process, not of the machine.
    for setting in
        [format!("listen_addresses={listen}"), format!("unix_socket_directories={}", data.display()), "fsync=off".into()]
    {
        c.args(["-c", &setting]);
    }
    Ok(c)
}
