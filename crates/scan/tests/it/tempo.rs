//! `--rate auto` over a network in memory, in simulated time: what the path or a host does not take is found out, said, and
//! made good. The numbers are those of the issue: recall 0.995, the path's rate within 15 %.

use crate::{all_found, opens, sweep};
use model::PortSet;
use scan::memory::{Host, MemoryNetwork, Otherwise, Quirks, RateLimit};
use scan::{Pacer, Ping, Retries, Summary, Sweep, liveness_in, sweep_in};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// So many hosts with so many open ports each among the first thousand and a half.
fn network(hosts: u8, open: u16, otherwise: Otherwise) -> MemoryNetwork {
    let host = |n: u8| {
        let open: PortSet = (0..open).map(|i| 1 + (u16::from(n) * 131 + i * 37) % 1_500).collect();
        (IpAddr::from([192, 0, 2, n]), Host { open, otherwise, echoes: true })
    };
    let mut network = MemoryNetwork::new((0..hosts).map(host));
    network.delay = Duration::from_millis(10);
    network
}

/// A sweep that adapts, with no other cap and no repetition of its own.
fn adapting(targets: &str, set: &str) -> Sweep {
    let pace = Arc::new(Pacer::unlimited());
    Sweep { adapt: true, pace, retries: Retries::Fixed(0), timeout: Duration::from_millis(500), ..sweep(&[targets], set) }
}

async fn run(network: MemoryNetwork, sweep: Sweep) -> (f64, Summary, Vec<(tokio::time::Instant, IpAddr, Option<u16>)>) {
    let truth: BTreeSet<String> = (network.hosts.iter())
        .flat_map(|(ip, host)| host.open.iter().filter(|p| sweep.ports.contains(*p)).map(move |port| format!("{ip}:{port}/tcp")))
        .collect();
    let network = Arc::new(network);
    let asked = network.clone();
    let (found, summary) = all_found(|out, progress, cancel| sweep_in(network, sweep, out, progress, cancel)).await;
    let seen: BTreeSet<String> = opens(&found).into_iter().collect();
    assert!(seen.is_subset(&truth), "invented: {:?}", seen.difference(&truth).next());
    let sent = std::mem::take(&mut *asked.sent.lock().unwrap());
    eprintln!(
        "{} of {}, {} probes in {:?}, path {:?}, loss {:?}",
        seen.len(),
        truth.len(),
        sent.len(),
        summary.elapsed,
        summary.path_rate_pps,
        summary.loss
    );
    (seen.len() as f64 / truth.len() as f64, summary, sent)
}

#[tokio::test(start_paused = true)]
async fn behind_a_policer_nothing_is_missed_and_its_rate_is_said() {
    for (pps, burst, otherwise) in [
        (3_000, 100, Otherwise::Drops),
        (8_000, 200, Otherwise::Drops),
        (8_000, 200, Otherwise::Refuses),
        (20_000, 2_000, Otherwise::Drops),
    ] {
        let mut network = network(64, 12, otherwise);
        network.policer = Some(RateLimit::new(pps, burst));
        let (recall, summary, _) = run(network, adapting("192.0.2.0/26", "1-1500")).await;
        assert!(recall >= 0.995, "{pps} {otherwise:?}: {recall}");
        let said = f64::from(summary.path_rate_pps.expect("a limit"));
        assert!((said / f64::from(pps) - 1.0).abs() < 0.15, "{pps} {otherwise:?}: said {said}");
        let ideal = 96_000.0 / f64::from(pps);
        assert!(summary.elapsed.as_secs_f64() < 2.0 * ideal + 4.0, "{pps}: {:?}", summary.elapsed);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_the_ceiling_is_reached_and_kept() {
    let mut sweep = adapting("192.0.2.0/26", "1-3000");
    sweep.rate_pps = Some(50_000);
    let (recall, summary, sent) = run(network(64, 12, Otherwise::Drops), sweep).await;
    assert_eq!((recall, summary.path_rate_pps), (1.0, None));
    assert!(summary.rate_pps > 30_000.0, "{}", summary.rate_pps);
    let mut first = 0;
    for (last, (at, ..)) in sent.iter().enumerate() {
        while *at - sent[first].0 >= Duration::from_secs(1) {
            first += 1;
        }
        assert!(last - first < 50_000, "more than the ceiling in a second");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_limits_its_rsts_takes_no_longer_than_one_that_drops() {
    let mut times = Vec::new();
    for otherwise in [Otherwise::Drops, Otherwise::Refuses] {
        let mut network = network(1, 8, otherwise);
        let limit = Quirks { rst_limit: Some(RateLimit::new(10, 10)), ..Quirks::default() };
        network.quirks = HashMap::from([(IpAddr::from([192, 0, 2, 0]), limit)]);
        let (recall, summary, _) = run(network, adapting("192.0.2.0", "1-65535")).await;
        assert_eq!(recall, 1.0, "{otherwise:?}");
        times.push(summary.elapsed);
    }
    assert!(times[1] < times[0] + Duration::from_millis(500), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_limits_its_syn_acks_is_asked_until_its_ports_are_known() {
    for (otherwise, retries, hosts) in
        [(Otherwise::Drops, 0, 1), (Otherwise::Refuses, 0, 1), (Otherwise::Drops, 1, 1), (Otherwise::Refuses, 1, 12)]
    {
        let mut network = network(hosts, 40, otherwise);
        let limit = || Quirks { syn_ack_limit: Some(RateLimit::new(10, 5)), ..Quirks::default() };
        network.quirks = HashMap::from([(IpAddr::from([192, 0, 2, 0]), limit())]);
        let sweep = Sweep { retries: Retries::Fixed(retries), ..adapting("192.0.2.0/28", "1-1000") };
        let (recall, summary, sent) = run(network, sweep).await;
        assert!(recall >= 0.995, "{otherwise:?}, {hosts} hosts: {recall}");
        assert!(summary.elapsed < Duration::from_secs(60), "{otherwise:?}, {hosts} hosts: {:?}", summary.elapsed);
        assert!(sent.len() < 60_000, "{otherwise:?}, {hosts} hosts: {} probes", sent.len());
        assert_eq!(summary.duplicates, 0);
    }
}

/// What a host of a /19 is like: it refuses and echoes, it only echoes, or it drops all but a port that liveness asks.
const KINDS: [(&str, Otherwise, bool); 3] =
    [("1", Otherwise::Refuses, true), ("1", Otherwise::Drops, true), ("22", Otherwise::Drops, false)];

/// A /19 with a host of these kinds at every n-th address.
fn one_in(n: usize, kinds: &[usize]) -> MemoryNetwork {
    let host = |at: usize| {
        let (open, otherwise, echoes) = KINDS[kinds[at / n % kinds.len()]];
        (IpAddr::from([198, 18, (at / 256) as u8, at as u8]), Host { open: open.parse().unwrap(), otherwise, echoes })
    };
    let mut network = MemoryNetwork::new((0..8_192).step_by(n).map(host));
    network.delay = Duration::from_millis(10);
    network
}

/// A liveness pass that adapts: how often each address was asked, and the summary.
async fn alive(network: MemoryNetwork, retries: u8) -> (HashMap<IpAddr, u32>, Summary) {
    let network = Arc::new(network);
    let asked = network.clone();
    let Sweep { targets, scope, pace, timeout, seed, .. } = adapting("198.18.0.0/19", "1");
    let ping = Ping { adapt: true, retries, timeout, seed, ..Ping::new(targets, scope, pace) };
    let (_, summary) = all_found(|out, progress, cancel| liveness_in(network, ping, out, progress, cancel)).await;
    let mut counts = HashMap::new();
    asked.sent.lock().unwrap().iter().for_each(|(_, to, _)| *counts.entry(*to).or_insert(0) += 1);
    eprintln!(
        "{} of {}, {} probes in {:?}, path {:?}",
        summary.hosts_up,
        asked.hosts.len(),
        summary.probes_sent,
        summary.elapsed,
        summary.path_rate_pps
    );
    (counts, summary)
}

#[tokio::test(start_paused = true)]
async fn liveness_behind_a_policer_finds_every_host() {
    for (pps, burst, n, kinds) in [
        (3_000, 100, 20, [0, 1, 2].as_slice()),
        (3_000, 100, 100, [1].as_slice()),
        (8_000, 200, 3, [0, 1, 2].as_slice()),
        (8_000, 200, 20, [0].as_slice()),
        (8_000, 200, 20, [2].as_slice()),
    ] {
        let mut network = one_in(n, kinds);
        network.policer = Some(RateLimit::new(pps, burst));
        let hosts = network.hosts.len() as u64;
        let (_, summary) = alive(network, 1).await;
        assert_eq!(summary.hosts_up, hosts, "{pps} a second, one in {n} of {kinds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn liveness_asks_nobody_once_more_where_nothing_is_lost() {
    for kinds in [[0, 1, 2].as_slice(), &[0], &[1], &[2]] {
        let network = one_in(20, kinds);
        let hosts: BTreeSet<IpAddr> = network.hosts.keys().copied().collect();
        let (asked, summary) = alive(network, 1).await;
        assert_eq!((summary.hosts_up, summary.path_rate_pps), (hosts.len() as u64, None), "{kinds:?}");
        // Five questions twice.
        let often = asked.iter().find(|(ip, n)| !hosts.contains(ip) && **n != 10);
        assert_eq!((asked.len(), often), (8_192, None), "{kinds:?}");
    }
}
