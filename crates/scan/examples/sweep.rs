//! A sweep from the command line, for measuring the engine by itself: targets, ports, probes per second (0 for no limit),
//! and, if given, milliseconds of timeout, repetitions (`auto` or a number), and whether to ping first. Prints the summary.
//!
//! ```text
//! cargo run --release -p scan --example sweep -- 198.18.0.0/16 1-42 0 1500 0
//! ```

use model::{IpRange, Scope, State};
use scan::{Found, Pacer, Retries, Sweep};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |n: usize, default: &str| args.get(n).cloned().unwrap_or_else(|| default.into());
    let targets: Vec<IpRange> = arg(0, "127.0.0.1").split(',').map(|t| t.parse().expect("a range")).collect();
    let ports = arg(1, "1-1000").parse().expect("ports");
    let rate: u32 = arg(2, "0").parse().expect("a rate");
    let timeout = Duration::from_millis(arg(3, "1500").parse().expect("milliseconds"));
    let retries = match arg(4, "0").as_str() {
        "auto" => Retries::Auto,
        n => Retries::Fixed(n.parse().expect("a number")),
    };
    let ping = arg(5, "no") == "ping";
    let scope = Scope::new(&targets, &[]);
    let sweep = Sweep {
        rate_pps: (rate > 0).then_some(rate),
        timeout,
        retries,
        ping,
        seed: 1,
        ..Sweep::new(targets, ports, scope, Arc::new(Pacer::unlimited()))
    };
    let (tx, mut rx) = tokio::sync::mpsc::channel(4_096);
    let work = tokio::spawn(scan::sweep(sweep, tx, Arc::default(), CancellationToken::new()));
    let (mut open, mut pseudo, mut filtered) = (0, 0, 0);
    while let Some(found) = rx.recv().await {
        match found {
            Found::Endpoint(o) if o.state == State::Open => open += 1,
            Found::PseudoOpen { .. } => pseudo += 1,
            Found::AllFiltered { .. } => filtered += 1,
            _ => {}
        }
    }
    let summary = work.await.expect("no panic").expect("a sweep");
    println!("told open {open}, pseudo-open {pseudo}, all filtered {filtered}\n{summary:#?}");
}
