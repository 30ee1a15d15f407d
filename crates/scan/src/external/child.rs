//! A foreign process that cannot outlive its job: a process group of its own, an almost empty environment, no input, and a
//! directory for its files that goes when it goes.
//!
//! What the process prints is read by `command`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout, Command};

use rustix::process::{Pid, Signal, kill_process_group};

/// Where the program and what it calls are looked for; a service's own PATH is nobody's business.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// From the polite signal to the other one. masscan and nmap end at once on the first.
const PATIENCE: Duration = Duration::from_secs(2);
/// How the directories' names begin; then comes the number of the process.
const PREFIX: &str = "portreeve-engine-";
/// Bytes of messages kept: a few lines, of which the last say why.
const TAIL: usize = 4 << 10;
/// Longest line of messages looked at as a line.
const LINE: usize = 4 << 10;
/// Lines of the tail that go into an error.
const LAST_LINES: usize = 5;

/// A running process and everything that it starts.
pub(super) struct Child {
    child: tokio::process::Child,
    group: Option<Pid>,
}

impl Child {
    /// Starts the program with its arguments, in the directory.
    pub fn start(argv: &[String], dir: &Path) -> io::Result<Child> {
        let Some((program, rest)) = argv.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let child = Command::new(program)
            .args(rest)
            .env_clear()
            .env("PATH", PATH)
            // Numbers and messages in one language.
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", dir)
            .env("TMPDIR", dir)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Child { child, group })
    }

    /// Its output and its messages, once.
    pub fn pipes(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits for its end; may be given up and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it and everything that it started: politely, then not.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        _ = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        self.kill();
        _ = self.child.wait().await;
    }

    /// Ends what is left of its group, at once.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails when nothing is left of the group, which is what is wanted.
            _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory that only we can read and that is gone when this is dropped.
pub(super) fn directory() -> io::Result<TempDir> {
    sweep(&std::env::temp_dir());
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
}

/// Removes what processes of ours left that were killed before they could.
fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|n| n.split('-').next());
        if let Some(pid) = pid.and_then(|p| p.parse::<u32>().ok())
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Writes a file that only we can read.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Where the program is, if it can be run.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let runs = |path: &Path| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|p| runs(p));
    }
    PATH.split(':').map(|dir| Path::new(dir).join(program)).find(|p| runs(p))
}

/// The end of a process's messages, and the first line that says that it failed.
#[derive(Default)]
pub(super) struct Messages {
    tail: std::collections::VecDeque<u8>,
    line: Vec<u8>,
    pub failure: Option<String>,
}

impl Messages {
    /// Reads messages until they end. Nothing is kept but the tail, however much comes.
    pub async fn drain(mut from: impl AsyncRead + Unpin, shared: std::sync::Arc<std::sync::Mutex<Messages>>) {
        let mut buf = vec![0u8; 8 << 10];
        while let Ok(n @ 1..) = from.read(&mut buf).await {
            shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&buf[..n]);
        }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // Progress lines are ended by a carriage return alone.
            let byte = if byte == b'\r' { b'\n' } else { byte };
            if byte == b'\n' {
                self.look();
            } else if self.line.len() < LINE {
                self.line.push(byte);
            }
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(byte);
        }
    }

    fn look(&mut self) {
        let line = printable(&std::mem::take(&mut self.line));
        if self.failure.is_none() && says_failure(&line) {
            self.failure = Some(line);
        }
    }

    /// The last lines, those that are progress left out.
    pub fn last(&mut self) -> String {
        self.look();
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let mut lines: Vec<String> = Vec::new();
        for line in bytes.split(|b| *b == b'\n').rev().map(printable) {
            if !line.is_empty() && !line.starts_with("rate:") && !lines.contains(&line) {
                lines.push(line);
            }
            if lines.len() == LAST_LINES {
                break;
            }
        }
        lines.reverse();
        lines.join("; ")
    }
}

/// Whether a line says that the scanner failed, whatever its exit code says: masscan's `[-] FAIL:`, nmap's `QUITTING!`,
/// naabu's `[FTL]`.
fn says_failure(line: &str) -> bool {
    line.starts_with("FAIL") || line.contains("FAIL:") || line.contains("QUITTING!") || line.contains("[FTL]")
}

/// A line without what moves the cursor or colours the text.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {},
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        if out.len() > 500 {
            break;
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_messages_leaves_the_last_lines_and_the_failure() {
        let mut messages = Messages::default();
        messages.add(b"[-] FAIL: could not determine default interface\n");
        for i in 0..100_000 {
            messages.add(format!("rate: 0.{i}-kpps\rnoise {i}\n").as_bytes());
        }
        messages.add(b"\x1b[31mthe end\x1b[0m");
        assert_eq!(messages.failure.as_deref(), Some("[-] FAIL: could not determine default interface"));
        let last = messages.last();
        assert!(last.ends_with("noise 99999; the end") && last.len() < 200, "{last}");
        assert!(messages.tail.len() <= TAIL && messages.line.len() <= LINE);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_lives_is_kept() {
        let around = tempfile::tempdir().unwrap();
        let dead = around.path().join(format!("{PREFIX}{}-x", u32::MAX - 1));
        let ours = around.path().join(format!("{PREFIX}{}-x", std::process::id()));
        let other = around.path().join("portreeve.db");
        for dir in [&dead, &ours, &other] {
            std::fs::create_dir(dir).unwrap();
        }
        sweep(around.path());
        assert_eq!((dead.exists(), ours.exists(), other.exists()), (false, true, true));
    }
}
