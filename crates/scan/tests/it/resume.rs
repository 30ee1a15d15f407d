//! Sweeps that are stopped and go on, and sweeps that are shared.

use crate::{all_found, opens, ports, sweep};
use scan::memory::{Host, MemoryNetwork, Otherwise};
use scan::{Checkpoint, Found, Progress, Retries, ScanError, Shard, Sweep, sweep_in};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Every fourth address has three open ports and refuses the others, or drops them.
fn network() -> MemoryNetwork {
    let host = |n: u8| {
        let otherwise = if n.is_multiple_of(8) { Otherwise::Refuses } else { Otherwise::Drops };
        (IpAddr::from([192, 0, 2, n]), Host { open: ports("7,77,177"), otherwise, echoes: true })
    };
    MemoryNetwork::new((0..=255).step_by(4).map(host))
}

fn wanted(rate: u32, retries: Retries, ping: bool) -> Sweep {
    let timeout = Duration::from_millis(120);
    Sweep { rate_pps: Some(rate), retries, ping, timeout, ..sweep(&["192.0.2.0/24"], "1-200") }
}

/// Sweeps for so long and then stops; what was found, and where to go on from, as a file would have it.
async fn stopped(net: Arc<MemoryNetwork>, s: Sweep, after: Duration) -> (Vec<Found>, Checkpoint, bool) {
    let progress = Arc::<Progress>::default();
    let cancel = CancellationToken::new();
    let (tx, mut rx) = tokio::sync::mpsc::channel(100_000);
    let work = tokio::spawn(sweep_in(net, s, tx, progress.clone(), cancel.clone()));
    tokio::time::sleep(after).await;
    cancel.cancel();
    let summary = work.await.unwrap().unwrap();
    let mut found = Vec::new();
    while let Some(one) = rx.recv().await {
        found.push(one);
    }
    let written = serde_json::to_string(&progress.checkpoint().unwrap()).unwrap();
    (found, serde_json::from_str(&written).unwrap(), summary.cancelled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_was_stopped_goes_on_and_misses_nothing() {
    for (retries, ping) in [(Retries::Fixed(0), false), (Retries::Auto, false), (Retries::Fixed(0), true)] {
        let net = Arc::new(network());
        let mut from = None;
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut runs = 0;
        loop {
            let s = Sweep { resume: from.take(), ..wanted(25_000, retries, ping) };
            // Longer each time: the repetitions at the end begin anew when they are stopped.
            let after = Duration::from_millis(700 + 300 * runs as u64);
            let (more, next, cancelled) = stopped(net.clone(), s, after).await;
            found.extend(opens(&more));
            (from, runs) = (Some(next), runs + 1);
            if !cancelled {
                break;
            }
            assert!(runs < 20, "it gets nowhere");
        }
        let what = format!("{retries:?}, ping {ping}, {runs} runs");
        assert!(runs >= if ping { 1 } else { 2 }, "{what}");
        assert_eq!(found.len(), 64 * 3, "{what}");
        let mut asked: HashMap<(IpAddr, u16), u32> = HashMap::new();
        for (_, to, port) in net.sent.lock().unwrap().iter() {
            port.iter().for_each(|&port| *asked.entry((*to, port)).or_default() += 1);
        }
        // A ping asks 80 and 22 of everybody.
        let hosts = if ping { 64 } else { 256 };
        let cells = asked.keys().filter(|(_, port)| *port <= 200 && ![22, 80].contains(port)).count();
        assert_eq!(cells, hosts * 198, "{what}: every cell was asked");
        // What had not had its time when the sweep was stopped, a fifth of a second of probes and a batch, is asked again.
        let twice = asked.values().filter(|n| **n > 1).count();
        assert!(retries == Retries::Auto || ping || twice < runs * 25_000 * 6 / 10, "{what}: {twice} were asked again");
        // The end of a sweep is a place as well.
        let s = Sweep { resume: from, ..wanted(25_000, retries, ping) };
        let (more, _, cancelled) = stopped(net.clone(), s, Duration::from_millis(500)).await;
        assert!(opens(&more).is_empty() && !cancelled, "{what}: there is nothing left to do");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn states_known_by_name_and_all_states_are_told_after_a_stop_as_well() {
    for report_all in [false, true] {
        let net = Arc::new(network());
        let silent = "192.0.2.4:9/tcp".parse().unwrap();
        let s = || Sweep { report_all, always_report: [silent].into(), ..wanted(25_000, Retries::Fixed(0), false) };
        let (first, from, cancelled) = stopped(net.clone(), s(), Duration::from_millis(1_500)).await;
        assert!(cancelled);
        let (rest, summary) =
            all_found(|out, progress, cancel| sweep_in(net.clone(), Sweep { resume: Some(from), ..s() }, out, progress, cancel))
                .await;
        assert!(!summary.cancelled);
        let mut told: HashMap<_, _> = HashMap::new();
        for found in first.iter().chain(&rest) {
            if let Found::Endpoint(o) = found {
                let before = told.insert(o.endpoint, o.state);
                assert!(before.is_none_or(|before| before == o.state), "two truths: {o:?}");
            }
        }
        assert_eq!(told[&silent].to_string(), "filtered");
        assert_eq!(told.len(), if report_all { 256 * 200 } else { 64 * 3 + 1 });
    }
}

#[tokio::test]
async fn the_checkpoint_of_another_sweep_is_refused() {
    let net = Arc::new(network());
    let (_, from, _) = stopped(net.clone(), wanted(25_000, Retries::Fixed(0), false), Duration::from_millis(100)).await;
    let other = Sweep { resume: Some(from), ..sweep(&["192.0.2.0/24"], "1-201") };
    let (tx, _rx) = tokio::sync::mpsc::channel(16);
    let error = sweep_in(net, Sweep { seed: 7, ..other }, tx, Arc::default(), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, ScanError::OtherSweep { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_find_everything_together_and_nothing_twice() {
    for (targets, set, of) in [("192.0.2.0/24", "1-40,77,177", 3), ("192.0.2.0-192.0.2.1", "1-200", 5)] {
        let net = Arc::new(network());
        let mut found = Vec::new();
        for index in 0..of {
            let s = Sweep { shard: Shard { index, of }, retries: Retries::Fixed(0), ..sweep(&[targets], set) };
            let (part, _) = all_found(|out, progress, cancel| sweep_in(net.clone(), s, out, progress, cancel)).await;
            found.extend(opens(&part));
        }
        let expected = net.hosts.keys().filter(|at| crate::r(targets).contains(**at)).count() * 3;
        assert_eq!((found.len(), found.iter().collect::<BTreeSet<_>>().len()), (expected, expected), "{targets}");
        let sent = net.sent.lock().unwrap();
        let different: BTreeSet<_> = sent.iter().map(|(_, to, port)| (*to, *port)).collect();
        let cells = crate::r(targets).len() as usize * ports(set).len();
        assert_eq!((sent.len(), different.len()), (cells, cells), "{targets}: every cell once");
    }
    let none = Sweep { shard: Shard { index: 2, of: 2 }, ..sweep(&["192.0.2.1"], "1") };
    let (tx, _rx) = tokio::sync::mpsc::channel(16);
    let error = sweep_in(Arc::new(network()), none, tx, Arc::default(), CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().starts_with("shard 3 of 2 does not exist"), "{error}");
}
