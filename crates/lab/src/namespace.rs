//! One network namespace: made, entered by a thread, removed. What is wired between namespaces is `lab`'s.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where `ip netns` keeps names of namespaces.
const NETNS_DIR: &str = "/run/netns";
/// Names are `prl<pid>-<n>-<what>`: the pid tells whether whoever made it is still there.
const PREFIX: &str = "prl";

/// A named network namespace. Cloning gives another handle of the same one; the lab that made it removes it.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The name as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn named(name: String) -> Self {
        Namespace { name }
    }

    /// Runs `f` on a thread of its own inside the namespace. Sockets that it opens, and processes that it starts, stay there.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let path = Path::new(NETNS_DIR).join(&self.name);
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(&path).unwrap_or_else(|e| panic!("namespace {} cannot be opened: {e}", self.name));
                rustix::thread::move_into_link_name_space(file.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network))
                    .unwrap_or_else(|e| panic!("namespace {} cannot be entered: {e}", self.name));
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts the command inside the namespace.
    pub fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        self.enter(|| command.spawn())
    }

    /// Runs the command inside the namespace to its end and gives what it printed, or an error with what it complained about.
    pub fn run(&self, command: &mut Command) -> Result<String> {
        run(command, |c| self.spawn(c), None)
    }

    /// Feeds rules to `nft` inside the namespace.
    pub fn nft(&self, rules: &str) -> Result<String> {
        run(Command::new("nft").args(["-f", "-"]), |c| self.spawn(c), Some(rules))
            .with_context(|| format!("nftables rules of namespace {}:\n{rules}", self.name))
    }

    /// Sets kernel parameters of the namespace, named as under `/proc/sys/`. Those that this kernel does not have per
    /// namespace are passed over.
    pub(crate) fn sysctl(&self, settings: &[(&str, &str)]) {
        self.enter(|| {
            for (key, value) in settings {
                let _ = std::fs::write(Path::new("/proc/sys").join(key), value);
            }
        });
    }
}

/// Runs several `ip` commands, one a line.
pub(crate) fn ip_batch(namespace: Option<&Namespace>, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(ns) = namespace {
        command.args(["-n", ns.name()]);
    }
    run(command.args(["-batch", "-"]), |c| c.spawn(), Some(lines)).with_context(|| format!("ip commands:\n{lines}"))?;
    Ok(())
}

/// Runs a command to its end, in whatever way `spawn` starts it, and gives its standard output.
pub(crate) fn run(
    command: &mut Command,
    spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
    input: Option<&str>,
) -> Result<String> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = spawn(command).with_context(|| missing(&program))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        // Some tools complain on standard output.
        let said = [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).join("\n");
        bail!("{command:?} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What to say when a program cannot be started: its Debian package, where we know it.
pub(crate) fn missing(program: &str) -> String {
    let name = Path::new(program).file_name().map_or(program.into(), |n| n.to_string_lossy());
    let package = match &*name {
        "ip" => "iproute2",
        "nft" => "nftables",
        "ethtool" => "ethtool",
        "redis-server" => "redis-server",
        "mariadbd" | "mariadb-install-db" => "mariadb-server",
        "nginx" => "nginx-light",
        "openssl" => "openssl",
        "sshd" | "ssh-keygen" => "openssh-server",
        "vsftpd" => "vsftpd",
        "memcached" => "memcached",
        "postgres" | "initdb" => "postgresql",
        "dropbear" | "dropbearkey" => "dropbear-bin",
        "rsync" => "rsync",
        "python3" => "python3-aiosmtpd",
        "xmllint" => "libxml2-utils",
        "ping" => "iputils-ping",
        "tcpdump" => "tcpdump",
        _ => return format!("{program} cannot be started"),
    };
    format!("{program} cannot be started\nhint: install the Debian package {package}")
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A prefix for the namespaces of one lab that no other lab on the machine has.
pub(crate) fn fresh_prefix() -> String {
    format!("{PREFIX}{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Which of `names` belong to labs whose process is gone.
fn stale(names: impl Iterator<Item = String>, alive: impl Fn(u32) -> bool) -> Vec<String> {
    names
        .filter(|name| {
            let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).and_then(|(pid, _)| pid.parse().ok());
            pid.is_some_and(|pid| !alive(pid))
        })
        .collect()
}

/// Removes namespaces that labs of processes now gone left behind (after `kill -9`), with the processes still in them.
pub(crate) fn remove_stale() {
    let Ok(entries) = std::fs::read_dir(NETNS_DIR) else { return };
    let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    for name in stale(names, |pid| Path::new("/proc").join(pid.to_string()).exists()) {
        remove(&name);
    }
}

/// Ends what still runs inside the namespace and removes it.
pub(crate) fn remove(name: &str) {
    if let Ok(pids) = run(Command::new("ip").args(["netns", "pids", name]), |c| c.spawn(), None) {
        // The lab's own process is never among them: its threads enter namespaces and end there, its main thread stays out.
        let own = std::process::id().to_string();
        for pid in pids.split_whitespace().filter(|pid| *pid != own) {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
    let _ = run(Command::new("ip").args(["netns", "del", name]), |c| c.spawn(), None);
}

/// Names of the namespaces there are that begin with `prefix`.
pub(crate) fn list(prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(NETNS_DIR) else {
        return Vec::new();
    };
    entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).filter(|n| n.starts_with(prefix)).collect()
}

/// Fails with what to do about it when this process may not make namespaces.
pub(crate) fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the lab makes network namespaces and raw firewall rules, and this process is not root\n\
             hint: run the tests as root (`sudo -E cargo test …`), or inside `unshare --map-root-user --net --mount` with /run/netns writable"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_dead_labs_are_stale() {
        let names = ["prl10-0-web", "prl11-0-web", "prl11-3-border", "prlx-1-y", "other", "prl12", "pr10-0-web"];
        let found = stale(names.iter().map(|s| s.to_string()), |pid| pid == 10);
        assert_eq!(found, ["prl11-0-web", "prl11-3-border"]);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        assert!(missing("/usr/sbin/vsftpd").contains("package vsftpd"));
        assert!(missing("mariadb-install-db").contains("mariadb-server"));
    }
}
