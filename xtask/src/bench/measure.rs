//! Runs one scanner inside the scanners' namespace and measures it from outside: wall time, CPU time, peak memory, and what came
//! out of the link.
//!
//! Everything is read from `/proc` while it runs; what the scanner says of itself is not asked. What its output means is left
//! to `peers`.

use super::topology::{Count, Counter, Link};
use anyhow::Context;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks per second of the times in `/proc/PID/stat` (`USER_HZ`, 100 on every Linux we build for).
const TICKS_PER_S: f64 = 100.0;

/// When a measured run is ended, if it does not end by itself, and how often it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    pub limit: Duration,
    pub every: Duration,
    pub count: Count,
}

impl Watch {
    /// For runs that are measured as a whole.
    pub fn whole(limit_s: u64) -> Watch {
        Watch { limit: Duration::from_secs(limit_s), every: Duration::from_millis(3), count: Count::Frames }
    }

    /// For runs whose every moment counts: a sample each millisecond.
    pub fn closely(limit_s: u64, count: Count) -> Watch {
        Watch { limit: Duration::from_secs(limit_s), every: Duration::from_millis(1), count }
    }
}

/// What one run took.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub wall_s: f64,
    /// User and system time of all threads. Because a veth pair delivers in the sender's context, this holds the target side's
    /// work too, for every scanner alike.
    pub cpu_s: f64,
    /// CPU time that others used meanwhile: how noisy the machine was.
    pub others_cpu_s: f64,
    pub peak_mb: f64,
    /// Ended by the limit.
    pub cut: bool,
    /// Exit code other than zero, or the lack of one.
    pub failed: bool,
    /// Frames that came out of the link, of any kind.
    pub frames: u64,
    /// Seconds since the start, and the counter since the start.
    pub series: Vec<(f64, u64)>,
}

/// Runs a command in the scanners' namespace with `folder` as its working directory; what it prints goes to `NAME.log` there.
pub fn run(link: &Link, argv: &[String], folder: &Path, name: &str, watch: Watch) -> anyhow::Result<Run> {
    let log = File::create(folder.join(format!("{name}.log")))?;
    let frames = link.counter(Count::Frames);
    let counter = link.counter(watch.count);
    let (frames_before, before) = (frames.read().unwrap_or(0), counter.read().unwrap_or(0));
    let busy_before = busy_ticks();
    let start = Instant::now();
    let mut child = Command::new("ip")
        .args(["netns", "exec", &link.scanners()])
        .args(argv)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("ip cannot be started")?;
    let process = Path::new("/proc").join(child.id().to_string());
    let mut run = Run::default();
    let mut looked = 0_u32;
    loop {
        let now = start.elapsed();
        run.wall_s = now.as_secs_f64();
        sample(&mut run, &counter, before, start);
        // A process that has ended keeps its times until it is waited for.
        let Some((state, ticks)) = fs::read_to_string(process.join("stat")).ok().as_deref().and_then(state_and_ticks) else {
            break;
        };
        run.cpu_s = ticks as f64 / TICKS_PER_S;
        if state == 'Z' {
            break;
        }
        // peak memory only grows, and reading it is the dearest of these
        if looked.is_multiple_of(8)
            && let Some(kb) = fs::read_to_string(process.join("status")).ok().as_deref().and_then(peak_kb)
        {
            run.peak_mb = kb as f64 / 1024.0;
        }
        looked += 1;
        if now > watch.limit && !run.cut {
            run.cut = true;
            child.kill()?;
        }
        std::thread::sleep(watch.every);
    }
    let status = child.wait()?;
    run.failed = !run.cut && !status.success();
    run.frames = frames.read().unwrap_or(0).saturating_sub(frames_before);
    run.others_cpu_s = ((busy_ticks().saturating_sub(busy_before)) as f64 / TICKS_PER_S - run.cpu_s).max(0.0);
    Ok(run)
}

/// A sample's count and moment must belong together: one during whose reading somebody else had the processor is left out.
const READ_AT_MOST: Duration = Duration::from_micros(500);

fn sample(run: &mut Run, counter: &Counter, before: u64, start: Instant) {
    let began = start.elapsed();
    let Some(count) = counter.read() else { return };
    let took = start.elapsed() - began;
    if took <= READ_AT_MOST {
        run.series.push(((began + took / 2).as_secs_f64(), count.saturating_sub(before)));
    }
}

/// State, and user and system ticks together, from the text of `/proc/PID/stat`. The name, which may hold anything, ends at the
/// last parenthesis.
fn state_and_ticks(text: &str) -> Option<(char, u64)> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((state, user + system))
}

/// Peak resident memory from the text of `/proc/PID/status`; absent once the process has ended.
fn peak_kb(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Ticks that all processors were busy, of the whole machine.
fn busy_ticks() -> u64 {
    fs::read_to_string("/proc/stat").ok().as_deref().and_then(busy).unwrap_or(0)
}

/// From the first line of `/proc/stat`: everything but idle and waiting for disks (the fourth and fifth number), and but guests
/// (from the ninth on), which are counted as user time already.
fn busy(text: &str) -> Option<u64> {
    let numbers: Vec<u64> = text.lines().next()?.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    Some(numbers.iter().take(8).enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, n)| n).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_process_name() {
        let tail = "S 1 2 3 0 -1 4194560 500 0 0 0 120 30 0 0 20 0 1";
        for name in ["zmap", "a b", "x) R 1"] {
            assert_eq!(state_and_ticks(&format!("77 ({name}) {tail}")), Some(('S', 150)), "{name}");
        }
        assert_eq!(state_and_ticks(""), None);
    }

    #[test]
    fn peak_memory_is_missing_once_the_process_has_ended() {
        assert_eq!(peak_kb("Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t    648 kB\n"), Some(648));
        assert_eq!(peak_kb("Name:\tx\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn idle_waiting_and_guest_time_is_not_busy() {
        assert_eq!(busy("cpu  10 1 20 1000 500 3 4 2 7 7\ncpu0 1 1 1 1\n"), Some(40));
    }
}
