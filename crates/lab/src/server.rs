//! Real servers from Debian packages, started with the least configuration that exposes them as an operator might.
//!
//! One more server is one more variant with an arm in each table here. What portreeve makes of it is left to the tests.

use crate::lab::Shared;
use crate::namespace::{Namespace, run};
use crate::proc::Proc;
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A server to start, listening on all addresses of its host, IPv4 and IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// redis-server without password or protected mode.
    Redis {
        /// Port.
        port: u16,
    },
    /// mariadbd with an account that may come from anywhere (without one it would only say that we are not allowed).
    MariaDb {
        /// Port.
        port: u16,
    },
    /// nginx with a page of this title.
    Nginx {
        /// Port.
        port: u16,
        /// Title of the page.
        title: String,
    },
    /// nginx behind TLS with a self-signed certificate.
    NginxTls {
        /// Port.
        port: u16,
        /// Title of the page.
        title: String,
    },
    /// OpenSSH.
    Sshd {
        /// Port.
        port: u16,
    },
    /// vsftpd with anonymous access.
    Vsftpd {
        /// Port.
        port: u16,
    },
    /// memcached.
    Memcached {
        /// Port.
        port: u16,
    },
    /// PostgreSQL that asks everybody for a password.
    PostgreSql {
        /// Port.
        port: u16,
    },
    /// Dropbear SSH.
    Dropbear {
        /// Port.
        port: u16,
    },
    /// rsync as a daemon with one module.
    Rsync {
        /// Port.
        port: u16,
    },
    /// Accepts and says nothing.
    Silent {
        /// Port.
        port: u16,
    },
    /// Accepts and closes without a byte.
    ClosesAtOnce {
        /// Port.
        port: u16,
    },
}

impl Server {
    /// The port it listens on.
    pub fn port(&self) -> u16 {
        match *self {
            Server::Redis { port }
            | Server::MariaDb { port }
            | Server::Nginx { port, .. }
            | Server::NginxTls { port, .. }
            | Server::Sshd { port }
            | Server::Vsftpd { port }
            | Server::Memcached { port }
            | Server::PostgreSql { port }
            | Server::Dropbear { port }
            | Server::Rsync { port }
            | Server::Silent { port }
            | Server::ClosesAtOnce { port } => port,
        }
    }

    /// Protocol name in portreeve's vocabulary; empty where nothing is said.
    pub fn service(&self) -> &'static str {
        match self {
            Server::Redis { .. } => "redis",
            Server::MariaDb { .. } => "mysql",
            Server::Nginx { .. } | Server::NginxTls { .. } => "http",
            Server::Sshd { .. } | Server::Dropbear { .. } => "ssh",
            Server::Vsftpd { .. } => "ftp",
            Server::Memcached { .. } => "memcached",
            Server::PostgreSql { .. } => "postgresql",
            Server::Rsync { .. } => "rsync",
            Server::Silent { .. } | Server::ClosesAtOnce { .. } => "",
        }
    }

    /// Product as its maker writes it.
    pub fn product(&self) -> Option<&'static str> {
        match self {
            Server::Redis { .. } => Some("Redis"),
            Server::MariaDb { .. } => Some("MariaDB"),
            Server::Nginx { .. } | Server::NginxTls { .. } => Some("nginx"),
            Server::Sshd { .. } => Some("OpenSSH"),
            Server::Vsftpd { .. } => Some("vsftpd"),
            Server::Memcached { .. } => Some("Memcached"),
            Server::PostgreSql { .. } => Some("PostgreSQL"),
            Server::Dropbear { .. } => Some("Dropbear"),
            Server::Rsync { .. } => Some("rsync"),
            Server::Silent { .. } | Server::ClosesAtOnce { .. } => None,
        }
    }

    /// Whether TLS is in front.
    pub fn tls(&self) -> bool {
        matches!(self, Server::NginxTls { .. })
    }

    /// A word for directories and messages.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Server::NginxTls { .. } => "nginx-tls",
            Server::Silent { .. } => "silent",
            Server::ClosesAtOnce { .. } => "closes-at-once",
            Server::Dropbear { .. } => "dropbear",
            Server::MariaDb { .. } => "mariadb",
            other => other.service(),
        }
    }
}

/// A server that was started on a host. The lab owns it: dropping this does not stop it.
#[derive(Clone, Debug)]
pub struct Running {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
}

impl Running {
    /// Ends the server, in the way its own stop script would. The host's firewall stays as it is.
    pub fn stop(&self) {
        self.shared.stop(self.index);
    }

    /// Starts it again, with the data it had.
    pub fn restart(&self) -> Result<()> {
        self.shared.restart(self.index)
    }

    /// Where its log is.
    pub fn log(&self) -> PathBuf {
        self.shared.log(self.index)
    }
}

/// A server that runs: a process, or a listener of our own. Ends when dropped.
#[derive(Debug)]
pub(crate) enum Alive {
    Process { proc: Proc, stop: Signal },
    Listener(Listener),
}

impl Alive {
    /// Tells it to end, without waiting for it.
    pub(crate) fn ask_to_end(&self) {
        match self {
            Alive::Process { proc, stop } => proc.signal(*stop),
            Alive::Listener(listener) => listener.stop.store(true, Ordering::Relaxed),
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if let Alive::Process { proc, stop } = self {
            proc.stop_by(*stop);
        }
    }
}

/// A listener that says nothing, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Listener {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How many connections a silent listener holds open; the oldest goes when one more comes. A full sweep of a host that accepts
/// everywhere must not use up the file descriptors of the test process (1,024 by default).
const HELD: usize = 128;

fn listen(namespace: &Namespace, port: u16, hold: bool) -> Result<Alive> {
    let listener: TcpListener = namespace
        .enter(|| -> std::io::Result<TcpListener> {
            let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
            socket.set_only_v6(false)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
            // As long as the kernel allows (net.core.somaxconn): a sweep of every port lands on this one listener.
            socket.listen(4096)?;
            Ok(socket.into())
        })
        .with_context(|| format!("listening on port {port}"))?;
    listener.set_nonblocking(true)?;
    let stop = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut held: std::collections::VecDeque<TcpStream> = std::collections::VecDeque::new();
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) if hold => {
                        held.push_back(stream);
                        if held.len() > HELD {
                            held.pop_front();
                        }
                    }
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        }
    });
    Ok(Alive::Listener(Listener { stop, thread: Some(thread) }))
}

/// Starts the server in the namespace with `dir` for its files, and waits until it accepts.
pub(crate) fn start(server: &Server, namespace: &Namespace, dir: &Path) -> Result<Alive> {
    let port = server.port();
    let addr = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    if namespace.enter(|| TcpStream::connect(addr)).is_ok() {
        bail!("something listens on port {port} of {} already", namespace.name());
    }
    let mut stop = Signal::TERM;
    let mut command = match server {
        Server::Silent { .. } => return listen(namespace, port, true),
        Server::ClosesAtOnce { .. } => return listen(namespace, port, false),
        Server::Redis { .. } => {
            let mut c = Command::new("redis-server");
            c.args([
                "--port",
                &port.to_string(),
                "--bind",
                "0.0.0.0",
                "::",
                "--protected-mode",
                "no",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(dir);
            c
        }
        Server::MariaDb { .. } => mariadb(dir, port)?,
        Server::Nginx { title, .. } => nginx(dir, port, title, false)?,
        Server::NginxTls { title, .. } => nginx(dir, port, title, true)?,
        Server::Sshd { .. } => sshd(dir, port)?,
        Server::Vsftpd { .. } => {
            let (conf, empty) = (dir.join("vsftpd.conf"), dir.join("empty"));
            std::fs::create_dir_all(&empty)?;
            let text = format!(
                "listen=NO\nlisten_ipv6=YES\nlisten_port={port}\nbackground=NO\nanonymous_enable=YES\nanon_root={empty}\n\
                 secure_chroot_dir={empty}\nseccomp_sandbox=NO\nxferlog_enable=NO\n",
                empty = empty.display()
            );
            std::fs::write(&conf, text)?;
            let mut c = Command::new("vsftpd");
            c.arg(conf);
            c
        }
        Server::Memcached { .. } => {
            let mut c = Command::new("memcached");
            c.args(["-u", "nobody", "-p", &port.to_string(), "-U", "0", "-m", "16"]);
            c
        }
        Server::PostgreSql { .. } => {
            stop = Signal::INT; // "fast shutdown": does not wait for clients to leave
            crate::postgres::prepare(dir, "scram-sha-256")?;
            crate::postgres::command(dir, port, "*")?
        }
        Server::Dropbear { .. } => {
            let key = dir.join("key");
            if !key.exists() {
                let mut keygen = Command::new("dropbearkey");
                run(keygen.args(["-t", "ed25519", "-f"]).arg(&key), |c| c.spawn(), None)?;
            }
            let mut c = Command::new("dropbear");
            c.args(["-F", "-E", "-p", &port.to_string(), "-r"]).arg(key).arg("-P").arg(dir.join("pid"));
            c
        }
        Server::Rsync { .. } => {
            let (conf, files) = (dir.join("rsyncd.conf"), dir.join("pub"));
            std::fs::create_dir_all(&files)?;
            // Asking a name server that no namespace has would hold the greeting up for seconds.
            std::fs::write(
                &conf,
                format!("reverse lookup = no\nuse chroot = no\n[pub]\n  path = {}\n  read only = yes\n", files.display()),
            )?;
            let mut c = Command::new("rsync");
            c.args(["--daemon", "--no-detach", &format!("--port={port}")]).arg(format!("--config={}", conf.display()));
            c
        }
    };
    let mut proc = Proc::start(server.word(), Some(namespace), &mut command, &dir.join("log"))?;
    proc.wait_for_port(Some(namespace), port)?;
    Ok(Alive::Process { proc, stop })
}

fn mariadb(dir: &Path, port: u16) -> Result<Command> {
    let (data, init, tmp) = (dir.join("data"), dir.join("init.sql"), dir.join("tmp"));
    // Of its own: several that are prepared at once get in each other's way in /tmp.
    let tmpdir = format!("--tmpdir={}", tmp.display());
    // 4 MiB of redo log where the default of 96 MiB would be written for every server started.
    let small = "--innodb-log-file-size=4M";
    if !data.exists() {
        std::fs::create_dir_all(&tmp)?;
        let mut install = Command::new("mariadb-install-db");
        install.args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            "--user=root",
        ]);
        run(install.arg(small).arg(&tmpdir).arg(format!("--datadir={}", data.display())), |c| c.spawn(), None)?;
        std::fs::write(&init, "CREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED BY 'not-a-secret-of-anything-real';\n")?;
    }
    let mut c = Command::new("mariadbd");
    c.args([
        "--no-defaults",
        "--user=root",
        small,
        "--innodb-buffer-pool-size=8M",
        "--performance-schema=OFF",
        "--skip-name-resolve",
    ])
    .args([format!("--port={port}"), format!("--datadir={}", data.display()), format!("--init-file={}", init.display())])
    .args([format!("--socket={}", dir.join("socket").display()), format!("--pid-file={}", dir.join("pid").display())]);
    Ok(c)
}

fn nginx(dir: &Path, port: u16, title: &str, tls: bool) -> Result<Command> {
    let conf = dir.join("nginx.conf");
    let (mut flag, mut certificate) = ("", String::new());
    if tls {
        let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
        if !cert.exists() {
            let mut openssl = Command::new("openssl");
            openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]);
            openssl.args(["-subj", "/CN=panel.lab.test", "-addext", "subjectAltName=DNS:panel.lab.test", "-keyout"]);
            run(openssl.arg(&key).arg("-out").arg(&cert), |c| c.spawn(), None)?;
        }
        flag = " ssl";
        certificate = format!("ssl_certificate {}; ssl_certificate_key {};", cert.display(), key.display());
    }
    std::fs::create_dir_all(dir.join("html"))?;
    let page = format!("<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n");
    std::fs::write(dir.join("html/index.html"), page)?;
    let d = dir.display();
    let text = format!(
        "user root;\nworker_processes 1;\npid {d}/pid;\nerror_log stderr warn;\nevents {{}}\nhttp {{\n\
         client_body_temp_path {d}/t1; proxy_temp_path {d}/t2; fastcgi_temp_path {d}/t3; uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5;\n\
         types {{ text/html html; }}\naccess_log {d}/access.log;\n\
         server {{ listen {port}{flag}; listen [::]:{port}{flag}; {certificate} root {d}/html; }}\n}}\n"
    );
    std::fs::write(&conf, text)?;
    let mut c = Command::new("nginx");
    c.arg("-p").arg(dir).arg("-c").arg(conf).args(["-e", "stderr", "-g", "daemon off;"]);
    Ok(c)
}

fn sshd(dir: &Path, port: u16) -> Result<Command> {
    let (conf, key) = (dir.join("sshd_config"), dir.join("host_key"));
    if !key.exists() {
        let mut keygen = Command::new("ssh-keygen");
        run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key), |c| c.spawn(), None)?;
        // MaxStartups: the default drops connections at random once ten are unauthenticated, and scans come in tens.
        let text = format!("Port {port}\nHostKey {}\nPidFile none\nUsePAM no\nMaxStartups 500\n", key.display());
        std::fs::write(&conf, text)?;
    }
    // The Debian package's service makes this; sshd refuses to start without.
    std::fs::create_dir_all("/run/sshd").context("/run/sshd, where sshd gives up its privileges")?;
    let path = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|p| Path::new(p).exists()).unwrap_or("/usr/sbin/sshd");
    let mut c = Command::new(path); // it re-executes itself and insists on an absolute path
    c.args(["-D", "-e", "-f"]).arg(conf);
    Ok(c)
}
