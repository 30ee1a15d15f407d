//! Repetitions chosen rather than blind, over a network that loses packets: what is found, and what it costs.

use crate::{all_found, fast, ip, opens, ports, sweep};
use model::PortSet;
use scan::memory::{Host, MemoryNetwork, Otherwise};
use scan::{Retries, Summary, Sweep, sweep_in};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A number that looks random.
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Hosts in 192.0.2.0 and the networks after it.
fn at(n: u32) -> IpAddr {
    (0xc000_0200 + n).to_be_bytes().into()
}

/// So many open endpoints.
fn open_of(hosts: &[(IpAddr, Host)]) -> usize {
    hosts.iter().map(|(_, host)| host.open.len()).sum()
}

struct Outcome {
    recall: f64,
    per_cell: f64,
    summary: Summary,
}

/// Sweeps the hosts and as many addresses at which there is nobody, with that much loss each way.
async fn swept(hosts: Vec<(IpAddr, Host)>, addresses: u32, set: &str, loss: f64, seed: u64, ping: bool) -> Outcome {
    let truth = open_of(&hosts);
    let mut network = MemoryNetwork::new(hosts);
    (network.loss, network.seed) = (loss, seed);
    let last = at(addresses - 1);
    let s = Sweep {
        retries: Retries::Auto,
        seed,
        ping,
        pace: fast(),
        timeout: Duration::from_millis(400),
        ..sweep(&[&format!("192.0.2.0-{last}")], set)
    };
    let (found, summary) = all_found(|out, progress, cancel| sweep_in(Arc::new(network), s, out, progress, cancel)).await;
    let found = opens(&found).len();
    let cells = f64::from(addresses) * ports(set).len() as f64;
    Outcome { recall: found as f64 / truth as f64, per_cell: summary.probes_sent as f64 / cells, summary }
}

const PORTS: &str = "21-23,25,53,80,110,135,139,143,443,445,993,995,1433,1521,2049,2375,3000,3306,3389,5000,5432,5900,6379,8000,8080,8443,9000,9090,9200,11211,15672,27017,50000,50070";

/// Servers with a handful of the ports each, the usual ones more often.
fn servers(count: u32, otherwise: Otherwise, seed: u64) -> Vec<(IpAddr, Host)> {
    let all: Vec<u16> = ports(PORTS).iter().collect();
    let server = |n: u32| {
        let open: PortSet = (0..5u64)
            .map(|k| {
                let draw = mix(seed ^ mix(u64::from(n) * 8 + k));
                // The square makes the first of them common and the last rare.
                let share = (draw % 1_000_003) as f64 / 1_000_003.0;
                all[(share * share * all.len() as f64) as usize]
            })
            .collect();
        (at(n * 5), Host { open, otherwise, echoes: true })
    };
    (0..count).map(server).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lossy_path_costs_no_open_port_and_half_a_probe_at_most() {
    for (loss, least) in [(0.01, 0.999), (0.03, 0.998)] {
        for otherwise in [Otherwise::Drops, Otherwise::Refuses] {
            let seed = (loss * 1_000.0) as u64;
            let hosts = servers(400, otherwise, seed);
            let outcome = swept(hosts, 2_000, PORTS, loss, seed, false).await;
            let what = format!("{loss} {otherwise:?}: {} {} {:?}", outcome.recall, outcome.per_cell, outcome.summary);
            eprintln!("{what}");
            assert!(outcome.recall >= least, "{what}");
            assert!(outcome.per_cell <= 1.5, "{what}");
            // Two ways of loss; a sample of a few hundred tells it within a few hundredths.
            let measured = outcome.summary.loss.unwrap();
            assert!((measured - 2.0 * loss).abs() < 0.05, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_path_costs_a_few_hundredths_more() {
    for otherwise in [Otherwise::Drops, Otherwise::Refuses] {
        let outcome = swept(servers(400, otherwise, 3), 2_000, PORTS, 0.0, 3, false).await;
        let what = format!("{} {} {:?}", outcome.recall, outcome.per_cell, outcome.summary);
        eprintln!("{what}");
        assert_eq!(outcome.recall, 1.0, "{what}");
        assert!(outcome.per_cell <= 1.05, "{what}");
        assert_eq!((outcome.summary.loss, outcome.summary.duplicates), (Some(0.0), 0), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_on_their_way_when_the_first_pass_ends_are_no_loss() {
    // One port, so that nobody who was heard of owes an answer; round trips from near to the other side of the world.
    for delay in [1, 30, 120] {
        let hosts =
            (0..2_000u32).map(|n| (at(n * 10 + 3), Host { open: ports("80"), otherwise: Otherwise::Drops, echoes: true }));
        let mut network = MemoryNetwork::new(hosts);
        (network.delay, network.seed) = (Duration::from_millis(delay), delay);
        let retries = Retries::Auto;
        let s = Sweep {
            retries,
            pace: fast(),
            timeout: Duration::from_millis(400),
            ..sweep(&[&format!("192.0.2.0-{}", at(19_999))], "80")
        };
        let (found, summary) = all_found(|out, progress, cancel| sweep_in(Arc::new(network), s, out, progress, cancel)).await;
        assert_eq!(opens(&found).len(), 2_000, "{delay} ms: {summary:?}");
        assert!(summary.probes_sent <= 20_000 * 104 / 100, "{delay} ms: {summary:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_only_answer_was_lost_is_found_by_an_echo() {
    // A port each, which no other has, so that asking the ports of all again would find one in two at best.
    let server = |n: u32| {
        let all: Vec<u16> = ports(PORTS).iter().collect();
        let open = [all[n as usize % all.len()]].into_iter().collect();
        (at(n * 5), Host { open, otherwise: Otherwise::Drops, echoes: true })
    };
    let outcome = swept((0..800).map(server).collect(), 4_000, PORTS, 0.03, 5, false).await;
    let what = format!("{} {} {:?}", outcome.recall, outcome.per_cell, outcome.summary);
    eprintln!("{what}");
    // 47 of 800 are silent at first. The echo of one in seventeen of them is lost as well.
    assert!(outcome.recall >= 0.99, "{what}");
    assert!(outcome.per_cell <= 1.5, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_ports_of_hosts_that_drop_are_asked_again_where_services_are() {
    // Three servers that drop everything else; what is asked again must be well chosen, because not all can be.
    let server = |n: u32| (at(n), Host { open: ports("22,80,443,3306,6379,8080"), otherwise: Otherwise::Drops, echoes: true });
    for seed in 1..=3 {
        let outcome = swept((0..3).map(server).collect(), 3, "1-20000", 0.03, seed, false).await;
        let what = format!("{} {} {:?}", outcome.recall, outcome.per_cell, outcome.summary);
        assert_eq!(outcome.recall, 1.0, "{what}");
        assert!(outcome.per_cell <= 1.5, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_by_name_is_asked_three_times_whatever_else() {
    let network = Arc::new(MemoryNetwork::new([(at(0), Host { open: ports("80"), otherwise: Otherwise::Drops, echoes: false })]));
    let mut s = sweep(&["192.0.2.0/24"], "80,1000-1099");
    s.retries = Retries::Auto;
    s.always_report = ["192.0.2.9:1001/tcp", "192.0.2.0:1002/tcp"].map(|e| e.parse().unwrap()).into();
    let (_, summary) = all_found(|out, progress, cancel| sweep_in(network.clone(), s, out, progress, cancel)).await;
    let sent = network.sent.lock().unwrap();
    let asked = |to: &str, port| sent.iter().filter(|(_, at, p)| *at == ip(to) && *p == Some(port)).count();
    assert_eq!((asked("192.0.2.9", 1_001), asked("192.0.2.0", 1_002)), (3, 3));
    assert_eq!(asked("192.0.2.9", 1_003), 1);
    assert!(summary.probes_sent < 256 * 101 * 105 / 100, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_cells_are_repeated_blindly() {
    let network = Arc::new(MemoryNetwork::new([]));
    let mut s = sweep(&["192.0.2.0/28"], "80,443");
    s.retries = Retries::Auto;
    s.always_report = ["192.0.2.9:80/tcp".parse().unwrap()].into();
    let (_, summary) = all_found(|out, progress, cancel| sweep_in(network, s, out, progress, cancel)).await;
    assert_eq!((summary.probes_sent, summary.retransmitted), (65, 33), "the one known by name a second time");
}
