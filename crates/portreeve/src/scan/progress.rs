//! The progress bar of `portreeve scan`: probes sent, rate, found, time left; on a terminal only, on standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Draws a bar until dropped or finished.
pub struct Progress {
    bar: ProgressBar,
    ticker: tokio::task::JoinHandle<()>,
}

impl Progress {
    /// Starts drawing, unless standard error is no terminal or the run is quiet.
    pub fn start(progress: Arc<::scan::Progress>, quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let bar =
            ProgressBar::with_draw_target(None, if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        bar.set_style(
            ProgressStyle::with_template("{bar:24} {percent:>3}%  {msg}").expect("constant template").progress_chars("━╸ "),
        );
        let started = Instant::now();
        let ticker = tokio::spawn({
            let bar = bar.clone();
            async move {
                loop {
                    let (sent, total) = (progress.probes_sent.load(Relaxed), progress.probes_total.load(Relaxed).max(1));
                    bar.set_length(total);
                    bar.set_position(sent.min(total));
                    let elapsed = started.elapsed().as_secs_f64().max(0.1);
                    let rate = sent as f64 / elapsed;
                    let left = if rate > 0.0 && sent < total {
                        format!("{} left", human((total - sent) as f64 / rate))
                    } else {
                        String::new()
                    };
                    bar.set_message(format!(
                        "{sent}/{total} probes  {rate:.0}/s  {} open  {left}",
                        progress.open_found.load(Relaxed)
                    ));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        });
        Progress { bar, ticker }
    }

    /// Runs something that prints to the terminal without tearing the bar.
    pub fn suspend<T>(&self, f: impl FnOnce() -> T) -> T {
        self.bar.suspend(f)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.ticker.abort();
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// `42s`, `3m 20s`, `2h 05m`.
fn human(secs: f64) -> String {
    let secs = secs.round() as u64;
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m {:02}s", secs / 60, secs % 60),
        _ => format!("{}h {:02}m", secs / 3600, secs % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn spans_read_like_a_person_says_them() {
        for (secs, said) in [(0.4, "0s"), (59.0, "59s"), (200.0, "3m 20s"), (7500.0, "2h 05m")] {
            assert_eq!(super::human(secs), said);
        }
    }
}
