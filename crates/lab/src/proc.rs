//! A child process with its log, ended for certain when it is dropped. What it serves is `server`'s.

use crate::namespace::{Namespace, missing};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running child process in a process group of its own. Dropping it kills the group.
#[derive(Debug)]
pub struct Proc {
    child: Child,
    what: String,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Proc {
    /// Starts the command inside the namespace, or outside of any when there is none; what it prints goes to `log`.
    pub fn start(what: &str, namespace: Option<&Namespace>, command: &mut Command, log: &Path) -> Result<Proc> {
        let out = File::options().create(true).append(true).open(log).with_context(|| format!("log {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        Self::start_with_stdio(what, namespace, command, log)
    }

    /// The same, with standard output and error as the command has them; `log` is only where to look when it fails.
    pub fn start_with_stdio(what: &str, namespace: Option<&Namespace>, command: &mut Command, log: &Path) -> Result<Proc> {
        command.process_group(0);
        let child = match namespace {
            Some(ns) => ns.spawn(command),
            None => command.spawn(),
        };
        let child = child.with_context(|| missing(&command.get_program().to_string_lossy()))?;
        Ok(Proc { child, what: what.to_owned(), log: log.to_owned(), ended: None })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Sends a signal to the process and its children.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none()
            && let Some(group) = Pid::from_raw(self.child.id() as i32)
        {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} has not ended within {timeout:?}\n{}", self.what, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end, and kills it when it has not within ten seconds.
    pub fn stop(&mut self) {
        self.stop_by(Signal::TERM);
    }

    /// Asks it to end by the signal that it takes for that, and kills it when it has not within ten seconds.
    pub fn stop_by(&mut self, signal: Signal) {
        self.signal(signal);
        if self.wait(Duration::from_secs(10)).is_err() {
            self.kill();
        }
    }

    /// Kills it and its children at once.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }

    /// Waits until something accepts on the port of the namespace's loopback.
    pub fn wait_for_port(&mut self, namespace: Option<&Namespace>, port: u16) -> Result<()> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let connect = || TcpStream::connect_timeout(&addr, Duration::from_millis(500)).is_ok();
        // Twenty seconds: a MariaDB on a busy machine of two cores takes several.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.ended() {
                bail!("{} ended with {status} before it listened on port {port}\n{}", self.what, self.log_tail());
            }
            if namespace.map_or_else(connect, |ns| ns.enter(connect)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{} does not listen on port {port} after 20 s\n{}", self.what, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines it printed.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(40);
        format!("log of {}:\n{}", self.what, lines[from..].join("\n"))
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again and again until `probe` gives something, and panics with `what` when it has not within `timeout`.
pub fn eventually<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
