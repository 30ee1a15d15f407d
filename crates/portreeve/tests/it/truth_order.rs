//! Every endpoint is asked, and by exactly one: parts of a sweep do not overlap, and a sweep that was killed goes on where it was.
//! Counted on the wire.
//!
//! In which order they are asked is tested in `scan`.

use crate::truth::{States, assert_true, found, open, records, states, truth_of};
use crate::world::BINARY;
use lab::{Kind, Lab, LabSpec, Proc, Seen, Signal, eventually};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often each endpoint was asked. High ports are those by which a host with many open ports is checked.
fn asked(seen: &[Seen]) -> BTreeMap<(IpAddr, u16), u32> {
    let mut asked = BTreeMap::new();
    for seen in seen {
        if let Some(port) = seen.syn_to().filter(|port| *port <= 5_000) {
            *asked.entry((seen.dst, port)).or_default() += 1;
        }
    }
    asked
}

const LISTENER: u16 = 999;

/// A host that refuses and one that drops, with a handful of open ports each among the first thousands.
fn two_hosts(open: &[u16]) -> Lab {
    let lab = LabSpec::new().host("rst", 10, Kind::Refusing).host("drop", 20, Kind::Dropping).start().unwrap();
    lab.hosts().iter().for_each(|host| host.accept_on(open, LISTENER).unwrap());
    lab
}

#[test]
fn the_parts_of_a_sweep_cover_it_and_no_endpoint_is_asked_by_two() {
    let served = [22, 80, 443, 611, 740];
    let lab = two_hosts(&served);
    let ports: Vec<u16> = (1..=999).collect();
    let truth = |v6: bool| -> States {
        let open = [&served[..], &[LISTENER]].concat();
        let mut truth = truth_of(lab.host("rst").ip(v6), &ports, &open, ("open", "syn-ack"), ("closed", "rst"));
        truth.extend(truth_of(lab.host("drop").ip(v6), &ports, &open, ("open", "syn-ack"), ("filtered", "timeout")));
        truth
    };
    for (parts, v6) in [(&["1/2", "2/2"][..], false), (&["3/3", "1/3", "2/3"], true)] {
        let (rst, drop) = (lab.host("rst").ip(v6).to_string(), lab.host("drop").ip(v6).to_string());
        let capture = lab.capture("tcp or ip6").unwrap();
        let mut said = States::new();
        for part in parts {
            let args = [&rst, &drop, "-p", "1-999", "--method", "syn", "--no-ping", "--all-states", "--retries", "0"];
            let told =
                found(&lab, &[&args[..], &["--timeout-ms", "700", "--seed", "11", "--rate", "5000", "--shard", part]].concat());
            let share = told.len() * parts.len();
            assert!((1_598..=2_398).contains(&share), "part {part} has {} of 1,998", told.len());
            let before = said.len();
            said.extend(states(&told));
            assert_eq!(said.len(), before + told.len(), "part {part} tells what another has told");
        }
        assert_true(&said, &truth(v6), &format!("{} parts", parts.len()));
        let asked = asked(&capture.stop().unwrap());
        assert_eq!(asked.len(), 1_998);
        let twice: Vec<_> = asked.iter().filter(|(_, times)| **times != 1).collect();
        assert!(twice.is_empty(), "asked by more than one part: {twice:?}");
    }
}

#[test]
fn a_sweep_that_was_killed_goes_on_where_it_was_and_misses_nothing() {
    let served: Vec<u16> = (0..40).map(|n| 100 + n * 120).collect();
    let lab = two_hosts(&served);
    let dir = lab.fresh_dir("resume").unwrap();
    let (state, output, log) = (dir.join("state"), dir.join("found.jsonl"), dir.join("log"));
    let word = |path: &Path| path.to_str().unwrap().to_owned();
    let (state_word, output_word) = (word(&state), word(&output));
    let args = ["scan", "10.99.7.10", "10.99.7.20", "-p", "1-5000", "--rate", "1500", "--retries", "0", "--timeout-ms", "400"];
    let more = ["--method", "syn", "--no-ping", "--format", "jsonl", "--quiet", "--resume", &state_word, "-o", &output_word];
    let start = || {
        let mut command = Command::new(BINARY);
        let err = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        command.args(args).args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(err);
        Proc::start_with_stdio("portreeve scan", Some(lab.scanner()), &mut command, &log).unwrap()
    };
    let place = || -> Option<u64> {
        let state: Value = serde_json::from_str(&std::fs::read_to_string(&state).ok()?).ok()?;
        state["checkpoint"]["cells"].as_u64()
    };
    // Killed twice, each time when it had come further: 10,000 endpoints take nearly seven seconds.
    let first = lab.capture("tcp").unwrap();
    let mut process = start();
    let kept = eventually("it has come some way", Duration::from_secs(20), || place().filter(|cells| *cells >= 3_000));
    process.signal(Signal::KILL);
    process.wait(Duration::from_secs(5)).unwrap();
    let kept = place().unwrap_or(kept);
    let first = asked(&first.stop().unwrap());
    assert!(first.len() < 9_000, "{} were asked before it was killed", first.len());
    let second = lab.capture("tcp").unwrap();
    let mut process = start();
    let status = process.wait(Duration::from_secs(30)).unwrap();
    assert!(status.success(), "{status}\n{}", process.log_tail());
    assert!(!state.exists(), "a sweep that is done leaves no state behind");
    let second = asked(&second.stop().unwrap());
    let both: BTreeSet<_> = first.keys().chain(second.keys()).copied().collect();
    assert_eq!(both.len(), 10_000, "every endpoint was asked");
    // What was asked before the place written down is not asked again: what was asked after it is, and nothing else.
    let again = first.keys().filter(|at| second.contains_key(at)).count();
    assert_eq!(again as u64, first.len() as u64 - kept, "asked again, of {} asked and {kept} written down", first.len());
    assert!(first.values().chain(second.values()).all(|times| *times == 1), "each run asks an endpoint once");
    let told = records(&std::fs::read_to_string(&output).unwrap());
    let open_ports = served.iter().chain([&LISTENER]);
    let truth: BTreeSet<_> = lab.hosts().iter().flat_map(|h| open_ports.clone().map(|&port| (h.ip(false), port))).collect();
    assert_eq!(open(&told), truth, "what both runs wrote together");
}
