//! The pace on the wire (PR-7): a fixed rate is exact in every second, by the kernel's own clock where the probes arrive; a rate that
//! follows the path finds what a policer lets through.
//!
//! How paces are kept is tested in `scan`.

use crate::truth::{open, records, scan, states};
use crate::world::BINARY;
use lab::{Kind, Lab, LabSpec};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;

/// Times, in microseconds, at which SYNs of a scan of the dropping host arrived.
fn arrivals(lab: &Lab, target: &str, ports: &str, rate: &str) -> Vec<u64> {
    let capture = lab.capture("tcp or (ip6 and ip6[6] == 6)").unwrap();
    // What is measured is portreeve's clockwork, not how the kernel shares out a busy machine: it comes before all others.
    let args = ["-f", "10", BINARY, "scan", target, "-p", ports, "--method", "syn", "--no-ping", "--retries", "0"];
    let more = ["--timeout-ms", "300", "--rate", rate, "--quiet", "--format", "jsonl"];
    lab.scanner().run(Command::new("chrt").args(args).args(more)).unwrap();
    capture.stop().unwrap().iter().filter(|s| s.syn_to().is_some()).map(|s| s.at_us).collect()
}

/// The most and the fewest arrivals in any second between the first and the last.
fn windows(at: &[u64]) -> (u64, u64) {
    let last = *at.last().unwrap();
    let (mut most, mut least) = (0, u64::MAX);
    for (i, &from) in at.iter().enumerate() {
        most = most.max(at[i..].partition_point(|t| *t < from + 1_000_000) as u64);
        // A second that begins right after an arrival holds fewest.
        if from + 1_000_001 <= last {
            least = least.min(at[i + 1..].partition_point(|t| *t <= from + 1_000_000) as u64);
        }
    }
    (most, least)
}

#[test]
fn a_fixed_rate_is_exact_in_every_second() {
    let lab = LabSpec::new().host("drop", 20, Kind::Dropping).start().unwrap();
    // Two seconds and a half each.
    for (rate, ports, probes) in [(50u64, "1-125", 125), (500, "1-1250", 1_250), (5_000, "1-12500", 12_500)] {
        let mut tries = Vec::new();
        // A busy machine wakes the sender late, and what waited then leaves together; so the whole is judged each time, and the
        // seconds while the machine lets us run: of three tries one must have every second exact.
        let exact = (0..3).any(|_| {
            let at = arrivals(&lab, "10.99.7.20", ports, &rate.to_string());
            assert_eq!(at.len(), probes, "every endpoint is asked once");
            let (most, least) = windows(&at);
            let mean = (at.len() - 1) as f64 * 1e6 / (at[at.len() - 1] - at[0]) as f64;
            assert!(mean <= rate as f64 * 1.02, "{mean:.1} a second at --rate {rate}");
            tries.push(format!("{least} to {most} in a second, {mean:.1} on average"));
            // Two in a hundred, and one probe that falls on this or that side of a second.
            let slack = rate / 50 + 1;
            most <= rate + slack && least + slack >= rate && mean >= rate as f64 * 0.98
        });
        assert!(exact, "--rate {rate}: {tries:?}");
    }
}

/// Sweeps of a host of each of these kinds, with 31 ports served, at the rate that a path takes on which a policer lets 600
/// packets a second through: every open port is found, nothing else, and something is said of each endpoint.
fn behind_a_policer(kinds: &[(Kind, &[u16])], ceilings: &[&[&str]]) {
    for &(kind, asked) in kinds {
        let lab = LabSpec::new().host("host", 20, kind).start().unwrap();
        let most = asked.iter().copied().max().unwrap();
        let served: Vec<u16> = (0..30).map(|n| 50 + n * (most / 33)).collect();
        lab.host("host").accept_on(&served, most - 1).unwrap();
        lab.police(600, 60).unwrap();
        let ip = lab.host("host").ip(false);
        let served: BTreeSet<u16> = served.into_iter().chain([most - 1]).collect();
        for (&asked, ceiling) in asked.iter().flat_map(|asked| ceilings.iter().map(move |ceiling| (asked, ceiling))) {
            let ports = format!("1-{asked}");
            let truth: BTreeSet<(IpAddr, u16)> = served.iter().filter(|port| **port <= asked).map(|&port| (ip, port)).collect();
            let args = ["10.99.7.20", "-p", &ports, "--method", "syn", "--no-ping", "--all-states", "--timeout-ms", "500"];
            let output = scan(&lab, &[&args[..], &["--rate", "auto", "--retries", "auto"], ceiling].concat());
            assert_eq!(output.code, Some(0), "{}", output.stderr);
            let told = records(&output.stdout);
            assert_eq!(states(&told).len(), usize::from(asked), "{kind:?}, {ports}: something is said of every endpoint");
            let closed = told.iter().filter(|record| record["state"] == "closed").count();
            assert_eq!(open(&told), truth, "{kind:?}, {ports}, {ceiling:?}: {closed} closed\n{}", output.stderr);
        }
    }
}

#[test]
fn a_rate_that_follows_the_path_finds_everything_behind_a_policer() {
    behind_a_policer(&[(Kind::Refusing, &[2_000])], &[&[], &["--max-rate", "2000"]]);
}

#[test]
fn a_host_that_drops_is_found_whole_behind_a_policer() {
    behind_a_policer(&[(Kind::Dropping, &[2_000])], &[&[]]);
}
