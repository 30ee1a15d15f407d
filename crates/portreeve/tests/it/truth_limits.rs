//! Truth where answers are scarce: refusals and acceptances limited by the host, packets lost on the way, a policer in the path.
//!
//! What steady hosts are told to be is in the file `truth.rs`.

use crate::truth::{States, assert_true, found, open, states, truth_of};
use lab::{Kind, Lab, LabSpec};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Twenty-four ports of five hundred, spread unevenly, and the listener behind them.
fn some_open() -> Vec<u16> {
    (1..=24u16).map(|n| 1_000 + n * n * 7 % 499).chain([LISTENER]).collect::<BTreeSet<_>>().into_iter().collect()
}

const LISTENER: u16 = 1_500;

fn five_hundred() -> Vec<u16> {
    (1_001..=1_500).collect()
}

fn at(host: &str, lab: &Lab, v6: bool) -> BTreeSet<(IpAddr, u16)> {
    some_open().into_iter().map(|port| (lab.host(host).ip(v6), port)).collect()
}

#[test]
fn rate_limited_refusals_hide_no_open_port_and_every_refusal_that_came_is_told() {
    let lab = LabSpec::new().host("shy", 10, Kind::Refusing).start().unwrap();
    let shy = lab.host("shy");
    shy.accept_on(&some_open(), LISTENER).unwrap();
    shy.limit_refusals(10).unwrap();
    for v6 in [false, true] {
        let ip = shy.ip(v6);
        let capture = lab.capture("tcp or (ip6 and ip6[6] == 6)").unwrap();
        let address = ip.to_string();
        let args = [&address, "-p", "1001-1500", "--method", "syn", "--no-ping", "--all-states", "--retries", "2"];
        let said = states(&found(&lab, &[&args[..], &["--timeout-ms", "700", "--rate", "1000"]].concat()));
        // Control probes to other ports are refused as well.
        let asked = |port: &u16| five_hundred().contains(port);
        // What really came back decides between closed and filtered, one endpoint at a time.
        let refused: BTreeSet<u16> =
            capture.stop().unwrap().iter().filter(|s| s.src == ip).filter_map(|s| s.rst_from()).filter(asked).collect();
        assert!((10..200).contains(&refused.len()), "{} refusals came back", refused.len());
        let mut truth = truth_of(ip, &five_hundred(), &some_open(), ("open", "syn-ack"), ("filtered", "timeout"));
        for port in refused {
            truth.insert((ip, port), ("closed".into(), "rst".into()));
        }
        assert_true(&said, &truth, &address);
    }
}

#[test]
fn rate_limited_acceptances_are_all_found_by_asking_again() {
    let lab = LabSpec::new().host("slow", 10, Kind::Refusing).start().unwrap();
    let slow = lab.host("slow");
    slow.accept_on(&some_open(), LISTENER).unwrap();
    // Of 25 open ports asked within half a second, five and a few more answer; the rest has to be asked again.
    slow.limit_accepts(8).unwrap();
    for v6 in [false, true] {
        let address = slow.ip(v6).to_string();
        let args = [&address, "-p", "1001-1500", "--method", "syn", "--no-ping", "--all-states", "--retries", "6"];
        let said = states(&found(&lab, &[&args[..], &["--timeout-ms", "900", "--rate", "1000"]].concat()));
        let truth = truth_of(slow.ip(v6), &five_hundred(), &some_open(), ("open", "syn-ack"), ("closed", "rst"));
        assert_true(&said, &truth, &address);
    }
}

/// Chances: with 3 % lost each way a try fails in 5.9 of 100 cases, seven in a row in 2.5 of a thousand million.
const TRIES_UNDER_LOSS: [&str; 2] = ["--retries", "6"];

#[test]
fn three_percent_loss_each_way_costs_no_endpoint_its_state() {
    let lab = LabSpec::new().host("rst", 10, Kind::Refusing).host("drop", 20, Kind::Dropping).start().unwrap();
    for host in lab.hosts() {
        host.accept_on(&some_open(), LISTENER).unwrap();
    }
    lab.lose(30).unwrap();
    for v6 in [false, true] {
        let (rst, drop) = (lab.host("rst").ip(v6), lab.host("drop").ip(v6));
        let mut truth: States = truth_of(rst, &five_hundred(), &some_open(), ("open", "syn-ack"), ("closed", "rst"));
        truth.extend(truth_of(drop, &five_hundred(), &some_open(), ("open", "syn-ack"), ("filtered", "timeout")));
        let (rst, drop) = (rst.to_string(), drop.to_string());
        let args = [&rst, &drop, "-p", "1001-1500", "--method", "syn", "--no-ping", "--all-states", "--timeout-ms", "400"];
        assert_true(&states(&found(&lab, &[&args[..], &TRIES_UNDER_LOSS].concat())), &truth, &rst);
    }
}

#[test]
fn loss_on_the_way_to_neighbours_costs_none_of_them() {
    let lab = LabSpec::new().on_link().host("rst", 10, Kind::Refusing).host("drop", 20, Kind::Dropping).start().unwrap();
    for host in lab.hosts() {
        host.accept_on(&some_open(), LISTENER).unwrap();
        // ARP and neighbour discovery are lost as well, each way.
        host.namespace()
            .nft(
                "table netdev weather {
  chain loss {
    type filter hook ingress device eth0 priority 0; policy accept;
    numgen random mod 1000 < 59 drop
  }
}",
            )
            .unwrap();
    }
    for v6 in [false, true] {
        let targets = lab.hosts().iter().map(|h| h.ip(v6).to_string()).collect::<Vec<_>>();
        let mut args: Vec<&str> = targets.iter().map(String::as_str).collect();
        args.extend(["-p", "1001-1500", "--method", "syn", "--timeout-ms", "400"]);
        let said = open(&found(&lab, &[&args[..], &TRIES_UNDER_LOSS].concat()));
        let truth: BTreeSet<_> = ["rst", "drop"].iter().flat_map(|name| at(name, &lab, v6)).collect();
        assert_eq!(said, truth);
    }
}

#[test]
fn a_policer_in_the_path_loses_nothing_at_a_rate_below_it_nor_with_enough_tries_above_it() {
    let lab = LabSpec::new().host("rst", 10, Kind::Refusing).start().unwrap();
    let ip = lab.host("rst").ip(false);
    lab.host("rst").accept_on(&some_open(), LISTENER).unwrap();
    lab.police(400, 50).unwrap();
    let truth = truth_of(ip, &five_hundred(), &some_open(), ("open", "syn-ack"), ("closed", "rst"));
    // Our own kernel's RSTs for open ports pass the policer too: 25 in a second and a half.
    for (rate, retries) in [("330", "2"), ("1000", "6")] {
        let args = ["10.99.7.10", "-p", "1001-1500", "--method", "syn", "--no-ping", "--all-states", "--timeout-ms", "400"];
        let said = states(&found(&lab, &[&args[..], &["--rate", rate, "--retries", retries]].concat()));
        assert_true(&said, &truth, &format!("{rate} probes a second through a policer of 400"));
    }
}
