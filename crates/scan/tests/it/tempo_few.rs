//! `--rate auto` towards a host or two, over a network in memory and in simulated time: a host that drops what it does not
//! serve tells little of its path, and nothing behind a policer may be missed for that.

use crate::{all_found, opens, ports, sweep};
use scan::memory::{Host, MemoryNetwork, Otherwise, RateLimit};
use scan::{Found, Pacer, Retries, Summary, Sweep, sweep_in};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// So many open ports among so many, at places that follow from a seed.
fn host(open: u64, among: u64, seed: u64, otherwise: Otherwise, echoes: bool) -> Host {
    let port = |n: u64| 1 + ((n * among / open + seed * 7_919 + n * n * 31) % among) as u16;
    Host { open: (0..open).map(port).collect(), otherwise, echoes }
}

fn at(n: u8) -> IpAddr {
    [192, 0, 2, n].into()
}

/// A sweep of these hosts at the rate that the path takes: what was found of what there is, and what else was said.
async fn swept(hosts: Vec<Host>, set: &str, seed: u64, path: impl Fn(&mut MemoryNetwork)) -> (usize, usize, Vec<Found>, Summary) {
    let truth = hosts.iter().map(|host| host.open.iter().filter(|port| ports(set).contains(*port)).count()).sum();
    let last = at(hosts.len() as u8 - 1);
    let mut network = MemoryNetwork::new(hosts.into_iter().enumerate().map(|(n, host)| (at(n as u8), host)));
    (network.delay, network.seed) = (Duration::from_millis(2), seed);
    path(&mut network);
    let (pace, timeout) = (Arc::new(Pacer::unlimited()), Duration::from_millis(500));
    let s = Sweep {
        adapt: true,
        pace,
        timeout,
        seed,
        rate_pps: Some(100_000),
        retries: Retries::Auto,
        ..sweep(&[&format!("192.0.2.0-{last}")], set)
    };
    let (found, summary) = all_found(|out, progress, cancel| sweep_in(Arc::new(network), s, out, progress, cancel)).await;
    (opens(&found).len(), truth, found, summary)
}

fn policed(network: &mut MemoryNetwork) {
    network.policer = Some(RateLimit::new(600, 60));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_drops_behind_a_policer_is_found_whole() {
    for (set, open, within_s) in [("1-200", 20, 10), ("1-2000", 31, 45), ("1-6000", 31, 100)] {
        for echoes in [true, false] {
            for seed in 0..12 {
                let among = ports(set).len() as u64;
                let hosts = vec![host(open, among, seed, Otherwise::Drops, echoes)];
                let (found, truth, _, summary) = swept(hosts, set, seed, policed).await;
                let what = format!("{set}, echoes {echoes}, seed {seed}: {found} of {truth}, {summary:?}");
                eprintln!("{what}");
                assert_eq!(found, truth, "{what}");
                assert!(summary.elapsed < Duration::from_secs(within_s), "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn few_hosts_of_each_kind_behind_a_policer_are_found_whole() {
    for seed in 0..6 {
        let kind = |otherwise, echoes| host(25, 1_000, seed, otherwise, echoes);
        let nobody = Host { open: Default::default(), otherwise: Otherwise::Drops, echoes: false };
        let hosts = vec![kind(Otherwise::Drops, true), kind(Otherwise::Drops, false), kind(Otherwise::Refuses, true), nobody];
        let (found, truth, _, summary) = swept(hosts, "1-1000", seed, policed).await;
        assert_eq!(found, truth, "seed {seed}: {summary:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_path_to_one_host_is_swept_in_two_seconds() {
    for otherwise in [Otherwise::Drops, Otherwise::Refuses] {
        for (echoes, open) in [(true, 12), (false, 12), (true, 0)] {
            let host = if open > 0 {
                host(open, 65_535, 5, otherwise, echoes)
            } else {
                Host { open: Default::default(), otherwise, echoes }
            };
            let (found, truth, _, summary) = swept(vec![host], "1-65535", 5, |_| ()).await;
            let what = format!("{otherwise:?}, echoes {echoes}: {found} of {truth}, {summary:?}");
            eprintln!("{what}");
            assert_eq!((found, summary.path_rate_pps), (truth, None), "{what}");
            assert!(summary.elapsed < Duration::from_secs(2) && summary.probes_sent < 68_000, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_without_anybody_costs_two_seconds_more() {
    let nobody = Host { open: Default::default(), otherwise: Otherwise::Drops, echoes: false };
    for (set, most) in [("1-100", 210), ("1-2000", 4_100), ("1-20000", 22_300)] {
        let (found, _, _, summary) = swept(vec![nobody.clone()], set, 1, |_| ()).await;
        let what = format!("{set}: {summary:?}");
        eprintln!("{what}");
        assert_eq!((found, summary.path_rate_pps), (0, None), "{what}");
        assert!(summary.elapsed < Duration::from_millis(4_200) && summary.probes_sent < most, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_host_lost_by_chance_is_asked_again_though_no_port_is_a_usual_one() {
    for otherwise in [Otherwise::Drops, Otherwise::Refuses] {
        let mut missed = 0;
        for seed in 0..10 {
            let lossy = |network: &mut MemoryNetwork| network.loss = 0.03;
            let (found, truth, _, summary) = swept(vec![host(40, 3_000, seed, otherwise, true)], "1-3000", seed, lossy).await;
            missed += truth - found;
            assert!(summary.elapsed < Duration::from_secs(6), "{otherwise:?} {seed}: {summary:?}");
        }
        // One probe misses 6 % of 400, three a fiftieth of one.
        assert!(missed <= 1, "{otherwise:?}: {missed} missed");
    }
}
