//! A PostgreSQL cluster for the tests: made by `initdb` in a temporary directory, reached over a unix socket in it, so that
//! it needs no free port.
//!
//! It ends with the test process, however that ends: a shell beside the server waits for its standard input, which this
//! process holds open, to close; then it stops the server and removes the directory.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

pub struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
    /// User to run as, when we are root: PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
    server: Mutex<Option<Child>>,
    databases: AtomicU32,
}

/// The cluster that tests share.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::new)
}

impl Cluster {
    pub fn new() -> Cluster {
        let dir = tempfile::Builder::new().prefix("portreeve-pg-").tempdir().unwrap().keep();
        let user = rustix::process::getuid().is_root().then(unprivileged);
        if let Some((uid, gid)) = user {
            chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        let cluster = Cluster { bin: binaries(), dir, user, server: Mutex::new(None), databases: AtomicU32::new(0) };
        let mut initdb = cluster.command("initdb");
        initdb
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(cluster.data());
        succeed(&mut initdb);
        cluster.start();
        cluster
    }

    /// Starts the server and waits until it answers.
    pub fn start(&self) {
        let script = r#"
            "$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c logging_collector=off >>"$2/log" 2>&1 &
            server=$!
            read order
            kill -INT $server
            wait $server
            [ "$order" = keep ] || rm -rf "$2"
        "#;
        let mut shell = self.as_user(Command::new("sh"));
        shell
            .args(["-c", script, "sh"])
            .arg(&self.bin)
            .arg(&self.dir)
            .stdin(Stdio::piped())
            // Ctrl-C and the like end the tests, and the tests end the server.
            .process_group(0);
        *self.server.lock().unwrap() = Some(shell.spawn().unwrap());
        let started = Instant::now();
        while !self.command("pg_isready").arg("-q").arg("-h").arg(&self.dir).status().unwrap().success() {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(started.elapsed() < Duration::from_secs(30), "PostgreSQL does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the server; its data stay.
    pub fn stop(&self) {
        use std::io::Write;
        let mut shell = self.server.lock().unwrap().take().expect("it runs");
        shell.stdin.take().unwrap().write_all(b"keep\n").unwrap();
        shell.wait().unwrap();
    }

    /// A new, empty database.
    pub fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::SeqCst));
        succeed(self.command("createdb").arg("-h").arg(&self.dir).args(["-U", "postgres", &name]));
        self.url(&name)
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.dir.display())
    }

    /// Runs statements and gives what they print.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        succeed(self.command("psql").arg("-h").arg(&self.dir).args(["-U", "postgres", "-d", database, "-At", "-c", sql]))
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command(&self, name: &str) -> Command {
        self.as_user(Command::new(self.bin.join(name)))
    }

    fn as_user(&self, mut command: Command) -> Command {
        command.current_dir(&self.dir);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut shell) = self.server.lock().unwrap().take() {
            drop(shell.stdin.take());
            shell.wait().ok();
        }
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Directory of PostgreSQL's programs, the newest there is: Debian keeps them out of PATH, others do not.
fn binaries() -> PathBuf {
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    debian.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let complete =
        |bin: &PathBuf| ["initdb", "postgres", "pg_isready", "createdb", "psql"].iter().all(|name| bin.join(name).exists());
    let mut places = debian.into_iter().rev().chain(std::env::split_paths(&path));
    places.find(complete).expect("the tests need PostgreSQL\nhint: apt-get install postgresql")
}

/// Ids of the user `postgres`, or of `nobody`.
fn unprivileged() -> (u32, u32) {
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap();
    let find = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|id| id.parse::<u32>());
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    find("postgres").or_else(|| find("nobody")).expect("a user to run PostgreSQL as")
}
