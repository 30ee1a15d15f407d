//! Every endpoint is asked, and by exactly one: parts of a sweep do not overlap. Counted on the wire.
//!
//! In which order they are asked is tested in `scan`.

use crate::truth::{States, assert_true, found, states, truth_of};
use lab::{Kind, Lab, LabSpec, Seen};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How often each endpoint was asked.
fn asked(seen: &[Seen]) -> BTreeMap<(IpAddr, u16), u32> {
    let mut asked = BTreeMap::new();
    for seen in seen {
        if let Some(port) = seen.syn_to() {
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
