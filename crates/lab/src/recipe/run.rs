//! Starting a recipe on a host of the lab, and ending it. What it is and what is true of it is in the recipe.

use super::{Over, Ready, Recipe, program};
use crate::host::Host;
use crate::namespace::{Namespace, run};
use crate::proc::Proc;
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where a server runs: a directory of its own, the ports it shall have, and the namespace it is in, in which nothing else is.
#[derive(Debug)]
pub struct Place {
    /// Its directory, an absolute path without a space in it.
    pub dir: PathBuf,
    /// Its ports, in the order of the recipe's doors.
    pub ports: Vec<u16>,
    /// Its namespace.
    pub namespace: Namespace,
    /// The address it is asked at; it is to listen on all addresses.
    pub address: Ipv4Addr,
}

impl Place {
    /// `{port}`, `{port1}`, `{port2}`, `{dir}` and `{address}` filled in.
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.replace("{dir}", &self.dir.to_string_lossy()).replace("{address}", &self.address.to_string());
        for (i, port) in self.ports.iter().enumerate() {
            let name = if i == 0 { "{port}".to_owned() } else { format!("{{port{i}}}") };
            text = text.replace(&name, &port.to_string());
        }
        text
    }

    /// A command written as one line, filled in and cut at its spaces, run in the directory.
    pub fn line(&self, text: &str) -> Result<Command> {
        let text = self.fill(text);
        let mut words = text.split_whitespace();
        let name = words.next().context("a command without a program")?;
        let mut command = Command::new(if name.starts_with('/') { PathBuf::from(name) } else { program(name)? });
        command.args(words).current_dir(&self.dir);
        Ok(command)
    }

    /// Writes a file into the directory, filled in.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, self.fill(text)).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Makes a folder in the directory into which every user may write: several servers give up root.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::create_dir_all(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
        Ok(path)
    }

    /// Gives everything in the directory to a user.
    pub fn give_to(&self, user: &str) -> Result<()> {
        run(Command::new("chown").arg("-R").arg(user).arg(&self.dir), |c| c.spawn(), None)?;
        Ok(())
    }

    /// Runs a line in the namespace to its end, and gives what it printed.
    pub fn run(&self, text: &str) -> Result<String> {
        self.namespace.run(&mut self.line(text)?)
    }

    /// The same with these words instead of a line, for arguments with spaces in them.
    pub fn run_words(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(program(words[0])?);
        command.args(words[1..].iter().map(|w| self.fill(w))).current_dir(&self.dir);
        self.namespace.run(&mut command)
    }

    /// A certificate for the lab, signed by itself, and its key: `cert.pem`, `key.pem`, and both in `both.pem`.
    pub fn certificate(&self) -> Result<()> {
        if self.dir.join("both.pem").exists() {
            return Ok(());
        }
        self.run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=panel.lab.test \
             -addext subjectAltName=DNS:panel.lab.test -keyout {dir}/key.pem -out {dir}/cert.pem",
        )?;
        let both = [std::fs::read(self.dir.join("cert.pem"))?, std::fs::read(self.dir.join("key.pem"))?].concat();
        std::fs::write(self.dir.join("both.pem"), both)?;
        for name in ["key.pem", "both.pem"] {
            // A key of the lab is no secret, and its reader may be any user.
            std::fs::set_permissions(self.dir.join(name), std::fs::Permissions::from_mode(0o644))?;
        }
        Ok(())
    }

    /// Sends bytes to a port from inside the namespace, ends our side, and gives what comes back within two seconds.
    pub fn ask(&self, port: u16, bytes: &[u8]) -> Result<Vec<u8>> {
        self.namespace.enter(|| {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(bytes)?;
            let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
            // A server that keeps the connection open ends it by its silence.
            while let Ok(n @ 1..) = stream.read(&mut piece) {
                answer.extend_from_slice(&piece[..n]);
                if answer.len() > 1 << 20 {
                    break;
                }
            }
            Ok(answer)
        })
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read(self.dir.join("log")).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }
}

/// A server that runs. Ends when dropped.
#[derive(Debug)]
pub struct Cooked {
    /// What it is.
    pub recipe: &'static Recipe,
    /// Where it is.
    pub place: Place,
    proc: Proc,
}

impl Cooked {
    /// Everything in it that a question could change; `None` for a server that has no such thing.
    pub fn state(&self) -> Result<Option<String>> {
        self.recipe
            .state
            .map(|state| state(&self.place))
            .transpose()
            .with_context(|| format!("the state of {}", self.recipe.name))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.proc.ended().is_none()
    }

    /// Asks it to end, and ends it.
    pub fn stop(self) {
        drop(self);
    }
}

impl Host {
    /// Starts a recipe on the host, on these ports in the order of its doors, and waits until it can be asked. The host must
    /// be the server's alone.
    pub fn cook(&self, recipe: &'static Recipe, ports: &[u16]) -> Result<Cooked> {
        start(self, recipe, ports).with_context(|| format!("{} on {}", recipe.name, self.name()))
    }
}

/// Two minutes: a JVM on a busy machine of two cores, beside others that start.
const PATIENCE: Duration = Duration::from_secs(120);

fn start(host: &Host, recipe: &'static Recipe, ports: &[u16]) -> Result<Cooked> {
    if ports.len() != recipe.doors.len() {
        bail!("{} ports for {} doors", ports.len(), recipe.doors.len());
    }
    for &port in ports {
        host.permit(port)?;
    }
    let dir = host.shared.fresh_dir(&format!("{}-{}", host.name(), recipe.name))?;
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777))?;
    let place = Place { dir, ports: ports.to_vec(), namespace: host.namespace().clone(), address: host.v4() };
    let mut command = (recipe.command)(&place)?;
    let log = place.dir.join("log");
    let mut proc = Proc::start(recipe.name, Some(&place.namespace), &mut command, &log)?;
    let deadline = Instant::now() + PATIENCE;
    while let Some(missing) = not_ready(recipe, &place) {
        if let Some(status) = proc.ended() {
            bail!("it ended with {status} while {missing}\n{}", proc.log_tail());
        }
        if Instant::now() >= deadline {
            bail!("after {PATIENCE:?} {missing}\n{}", proc.log_tail());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    if let Some(settle) = recipe.settle {
        settle(&place).with_context(|| proc.log_tail())?;
    }
    Ok(Cooked { recipe, place, proc })
}

/// What is still missing, if anything.
fn not_ready(recipe: &Recipe, place: &Place) -> Option<String> {
    let tables: String = place.namespace.enter(|| {
        ["tcp", "tcp6", "udp", "udp6"]
            .map(|table| std::fs::read_to_string(Path::new("/proc/thread-self/net").join(table)).unwrap_or_default())
            .into_iter()
            .zip(["t", "t", "u", "u"])
            .flat_map(|(text, kind)| text.lines().skip(1).map(|l| format!("{kind} {l}\n")).collect::<Vec<_>>())
            .collect()
    });
    for (door, &port) in recipe.doors.iter().zip(&place.ports) {
        // The kernel's own tables: to connect would be to ask, and some servers serve one client only.
        let (kind, state) = if door.over == Over::Tcp { ("t", "0A") } else { ("u", "07") };
        let bound = tables.lines().any(|line| {
            let mut fields = line.split_whitespace();
            let (is, local, now) = (fields.next(), fields.nth(1), fields.nth(1));
            is == Some(kind)
                && now == Some(state)
                && local.and_then(|l| l.rsplit_once(':')).and_then(|(_, p)| u16::from_str_radix(p, 16).ok()) == Some(port)
        });
        if !bound {
            return Some(format!("nothing listens on port {port} ({})", door.name));
        }
    }
    match recipe.ready {
        Ready::Accepts => None,
        Ready::Logs(text) => (!place.log().contains(text)).then(|| format!("`{text}` is not in its log")),
        Ready::Answers(bytes, text) => {
            let answer = place.ask(place.ports[0], bytes).unwrap_or_default();
            (!String::from_utf8_lossy(&answer).contains(text)).then(|| format!("it does not answer `{text}`"))
        }
    }
}

impl Drop for Cooked {
    fn drop(&mut self) {
        self.proc.signal(Signal::TERM);
        // Three seconds to put things away; nothing of what it has is needed any more.
        if self.proc.wait(Duration::from_secs(3)).is_err() {
            self.proc.kill();
        }
        // What left the process group (daemons, sandboxes) is still in the namespace, which is this server's alone.
        let pids = run(Command::new("ip").args(["netns", "pids", self.place.namespace.name()]), |c| c.spawn(), None);
        let own = std::process::id().to_string();
        for pid in pids.unwrap_or_default().split_whitespace().filter(|pid| *pid != own) {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}
