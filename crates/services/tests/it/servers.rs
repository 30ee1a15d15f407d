//! Real servers from Debian packages, each on a free loopback port of its own and gone when dropped.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server.
pub struct Server {
    child: Child,
    pub port: u16,
    pub dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked to first, because some (PostgreSQL, MariaDB, nginx) have children and shared memory to clear away.
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().ok();
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A free port below the range from which the kernel takes its own, no service's number and unlike any.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 28_100 + (std::process::id() % 300) as u16 * 11;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The path of a program, or a failure that names the Debian package to install.
pub fn program(name: &str, package: &str) -> PathBuf {
    let extra = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/17/bin"];
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path.split(':').chain(extra).map(|folder| Path::new(folder).join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("`{name}` is missing\nhint: apt-get install {package}"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A directory that other users may look into: several servers give up root.
pub fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Starts it and waits until it accepts.
pub fn start(mut command: Command, port: u16, dir: TempDir) -> Server {
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut server = Server { child, port, dir };
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return server;
        }
        let log = || std::fs::read_to_string(server.dir.path().join("log")).unwrap_or_default();
        if let Ok(Some(status)) = server.child.try_wait() {
            panic!("{command:?} ended with {status}: {}", log());
        }
        assert!(Instant::now() < until, "{command:?} does not accept: {}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until that page says 200: a server that opens its port first and reads its data then says 503 to everything.
fn once_ready(server: Server, path: &str) -> Server {
    let asked = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    };
    let until = Instant::now() + Duration::from_secs(60);
    while !asked().is_ok_and(|said| said.split(' ').nth(1) == Some("200")) {
        assert!(Instant::now() < until, "{path} is not ready: {:?}", asked());
        std::thread::sleep(Duration::from_millis(100));
    }
    server
}

pub fn redis(extra: &[&str]) -> Server {
    let (port, dir) = (free_port(), directory());
    let mut c = Command::new(program("redis-server", "redis-server"));
    c.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]).arg(dir.path()).args(extra);
    start(c, port, dir)
}

pub fn memcached() -> Server {
    let (port, dir) = (free_port(), directory());
    let mut c = Command::new(program("memcached", "memcached"));
    c.args(["-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]);
    start(c, port, dir)
}

pub fn nats() -> Server {
    let (port, dir) = (free_port(), directory());
    let mut c = Command::new(program("nats-server", "nats-server"));
    c.args(["-a", "127.0.0.1", "-p", &port.to_string()]);
    start(c, port, dir)
}

pub fn sshd() -> Server {
    let (port, dir) = (free_port(), directory());
    let key = dir.path().join("key");
    run(Command::new(program("ssh-keygen", "openssh-client")).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    std::fs::create_dir_all("/run/sshd").unwrap();
    let config = dir.path().join("sshd_config");
    let text = format!("ListenAddress 127.0.0.1:{port}\nHostKey {}\nPidFile none\nUsePAM no\n", key.display());
    std::fs::write(&config, text).unwrap();
    let mut c = Command::new(program("sshd", "openssh-server"));
    c.args(["-D", "-e", "-f"]).arg(config);
    start(c, port, dir)
}

pub fn dropbear() -> Server {
    let (port, dir) = (free_port(), directory());
    let key = dir.path().join("key");
    run(Command::new(program("dropbearkey", "dropbear-bin")).args(["-t", "ed25519", "-f"]).arg(&key));
    let mut c = Command::new(program("dropbear", "dropbear-bin"));
    c.args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-r"]).arg(key).arg("-P").arg(dir.path().join("pid"));
    start(c, port, dir)
}

pub fn vsftpd() -> Server {
    let (port, dir) = (free_port(), directory());
    std::fs::create_dir_all("/var/run/vsftpd/empty").unwrap();
    let config = dir.path().join("vsftpd.conf");
    let text = format!(
        "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nanonymous_enable=YES\nseccomp_sandbox=NO\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut c = Command::new(program("vsftpd", "vsftpd"));
    c.arg(config);
    start(c, port, dir)
}

pub fn rsyncd() -> Server {
    let (port, dir) = (free_port(), directory());
    let config = dir.path().join("rsyncd.conf");
    std::fs::write(&config, format!("[pub]\npath = {}\nread only = yes\n", dir.path().display())).unwrap();
    let mut c = Command::new(program("rsync", "rsync"));
    c.args(["--daemon", "--no-detach", "--address=127.0.0.1", &format!("--port={port}")]).arg("--config").arg(config);
    start(c, port, dir)
}

pub fn aiosmtpd() -> Server {
    let (port, dir) = (free_port(), directory());
    let mut c = Command::new(program("aiosmtpd", "python3-aiosmtpd"));
    c.args(["-n", "-l", &format!("127.0.0.1:{port}")]);
    start(c, port, dir)
}

/// A self-signed certificate for 127.0.0.1 and its key.
pub fn certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    run(Command::new(program("openssl", "openssl"))
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", "/C=CN/O=Example, Ltd/CN=panel.example"])
        .args(["-addext", "subjectAltName=DNS:panel.example,IP:127.0.0.1"])
        .args(["-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert));
    (cert, key)
}

/// nginx with this inside its server block; `{port}` and `{dir}` are filled in.
pub fn nginx(block: &str) -> Server {
    let (port, dir) = (free_port(), directory());
    certificate(dir.path());
    let root = dir.path().to_str().unwrap().to_owned();
    let block = block.replace("{port}", &port.to_string()).replace("{dir}", &root);
    let text = format!(
        "daemon off; master_process off; pid {root}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off; \
         client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; \
         scgi_temp_path {root}/s; types {{ text/html html; }} ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;\n\
         server {{ {block} }} }}\n"
    );
    let config = dir.path().join("nginx.conf");
    std::fs::write(&config, text).unwrap();
    let mut c = Command::new(program("nginx", "nginx-light"));
    c.arg("-c").arg(config).arg("-p").arg(dir.path());
    start(c, port, dir)
}

/// stunnel in front of a port.
pub fn stunnel(behind: u16) -> Server {
    let (port, dir) = (free_port(), directory());
    let (cert, key) = certificate(dir.path());
    let config = dir.path().join("stunnel.conf");
    let text = format!(
        "foreground = yes\npid =\n[s]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{behind}\ncert = {}\nkey = {}\n",
        cert.display(),
        key.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut c = Command::new(program("stunnel4", "stunnel4"));
    c.arg(config);
    start(c, port, dir)
}

/// A TLS server that wants a client certificate.
pub fn wants_client_certificate(version: &str) -> Server {
    let (port, dir) = (free_port(), directory());
    let (cert, key) = certificate(dir.path());
    let mut c = Command::new(program("openssl", "openssl"));
    c.args(["s_server", version, "-Verify", "1", "-verify_return_error", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
    c.arg("-cert").arg(cert).arg("-key").arg(key);
    start(c, port, dir)
}

fn owned_by(user: &str, path: &Path) {
    run(Command::new("chown").arg("-R").arg(user).arg(path));
}

pub fn mariadb() -> Server {
    let (port, dir) = (free_port(), directory());
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    owned_by("mysql", &data);
    run(Command::new(program("mariadb-install-db", "mariadb-server"))
        .args(["--no-defaults", "--user=mysql", "--skip-test-db", "--auth-root-authentication-method=normal"])
        .arg(format!("--datadir={}", data.display())));
    let mut c = Command::new(program("mariadbd", "mariadb-server"));
    c.args(["--no-defaults", "--user=mysql", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=8M"]);
    c.arg(format!("--port={port}")).arg(format!("--datadir={}", data.display()));
    c.arg(format!("--socket={}/socket", data.display())).arg(format!("--pid-file={}/pid", data.display()));
    start(c, port, dir)
}

/// A new PostgreSQL cluster; start it with [`postgresql`].
pub fn postgresql_cluster() -> TempDir {
    let dir = directory();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    owned_by("postgres", &data);
    run(Command::new("runuser")
        .args(["-u", "postgres", "--"])
        .arg(program("initdb", "postgresql"))
        .args(["-A", "trust", "--no-sync", "-D"])
        .arg(&data));
    dir
}

/// PostgreSQL on that cluster with this `pg_hba.conf`.
pub fn postgresql(cluster: TempDir, hba: &str) -> Server {
    let (port, data) = (free_port(), cluster.path().join("data"));
    std::fs::write(data.join("pg_hba.conf"), hba).unwrap();
    // PostgreSQL refuses to run as root, so this process is `postgres` itself, not a shell around it.
    let mut c = Command::new(program("setpriv", "util-linux"));
    c.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program("postgres", "postgresql"));
    c.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-k"]).arg(&data).arg("-D").arg(&data);
    start(c, port, cluster)
}

impl Server {
    /// Stops the server and gives its directory back.
    pub fn stop(mut self) -> TempDir {
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }
}

pub fn prometheus() -> Server {
    let (port, dir) = (free_port(), directory());
    std::fs::write(dir.path().join("p.yml"), "global: {}\n").unwrap();
    let mut c = Command::new(program("prometheus", "prometheus"));
    c.arg(format!("--config.file={}/p.yml", dir.path().display()));
    c.arg(format!("--storage.tsdb.path={}/data", dir.path().display()));
    c.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    once_ready(start(c, port, dir), "/-/ready")
}

pub fn alertmanager() -> Server {
    let (port, dir) = (free_port(), directory());
    std::fs::write(dir.path().join("a.yml"), "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n").unwrap();
    let mut c = Command::new(program("prometheus-alertmanager", "prometheus-alertmanager"));
    c.arg(format!("--config.file={}/a.yml", dir.path().display()));
    c.arg(format!("--storage.path={}/data", dir.path().display()));
    c.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
    once_ready(start(c, port, dir), "/-/ready")
}

pub fn supervisord() -> Server {
    let (port, dir) = (free_port(), directory());
    let config = dir.path().join("s.conf");
    let text = format!(
        "[inet_http_server]\nport=127.0.0.1:{port}\n[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
         pidfile={}/pid\n[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
        dir.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut c = Command::new(program("supervisord", "supervisor"));
    c.arg("-c").arg(config).current_dir(dir.path());
    start(c, port, dir)
}

pub fn h2_console() -> Server {
    let (port, dir) = (free_port(), directory());
    let jar = Path::new("/usr/share/java/h2.jar");
    assert!(jar.exists(), "`{}` is missing\nhint: apt-get install libh2-java", jar.display());
    let mut c = Command::new(program("java", "default-jre-headless"));
    c.arg("-cp").arg(jar).args(["org.h2.tools.Server", "-web", "-webPort", &port.to_string(), "-properties"]).arg(dir.path());
    start(c, port, dir)
}

/// OpenSSL's own server, for one protocol version that others refuse by now.
pub fn old_tls(version: &str) -> Server {
    let (port, dir) = (free_port(), directory());
    let (cert, key) = certificate(dir.path());
    let mut c = Command::new(program("openssl", "openssl"));
    c.args(["s_server", version, "-cipher", "ALL:@SECLEVEL=0", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
    c.arg("-cert").arg(cert).arg("-key").arg(key);
    start(c, port, dir)
}
