//! Truth about hosts that accept on every port: firewalls and SYN proxies are recognised, what is real behind them is kept, and no
//! real server is taken for one.
//!
//! What the console makes of them is in `states.rs`.

use crate::truth::{endpoint, open, records, scan};
use lab::{Host, Kind, Lab, LabSpec, Server};
use std::collections::BTreeSet;

/// Real servers, on their usual numbers.
fn serve(host: &Host) {
    for server in
        [Server::Redis { port: 6379 }, Server::Memcached { port: 11211 }, Server::Sshd { port: 22 }, Server::Vsftpd { port: 21 }]
    {
        host.serve(server).unwrap();
    }
}

/// Scans both addresses of a host that accepts on every port, and compares what is identified with what is there.
fn only_what_is_real_is_identified(lab: &Lab, host: &Host, methods: &[&str], called: &str) {
    let addresses: Vec<String> = [false, true].iter().map(|&v6| host.ip(v6).to_string()).collect();
    for method in methods {
        let mut args: Vec<&str> = addresses.iter().map(String::as_str).collect();
        args.extend(["-p", "21,22,6379,11211,30001-32000", "--method", method, "--no-ping", "--identify", "--timeout-ms", "700"]);
        let output = scan(lab, &args);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let told = records(&output.stdout);
        assert_eq!(open(&told).len(), told.len(), "only open ports are told, each once");
        let (real, pretended): (Vec<_>, Vec<_>) =
            told.iter().partition(|r| r["service"]["name"].as_str().is_some_and(|name| !name.is_empty()));
        let identified: BTreeSet<_> = real.iter().map(|r| endpoint(r)).collect();
        let truth: BTreeSet<_> = host.truth().iter().map(|o| (o.ip, o.port)).collect();
        assert_eq!(identified, truth, "{method}: {}", output.stderr);
        assert!(real.iter().all(|r| r["pseudo_open"].is_null()), "{real:?}");
        assert!(pretended.iter().all(|r| r["pseudo_open"] == true), "{pretended:?}");
        assert!(pretended.len() < 25 * addresses.len(), "{method}: {} are told that prove nothing", pretended.len());
        for address in &addresses {
            let summed_up = format!("{address} answers on every port (2004 accepted): {called}, not services");
            assert!(output.stderr.contains(&summed_up), "{method}: {}", output.stderr);
        }
    }
}

#[test]
fn a_firewall_that_accepts_everything_is_recognised_and_its_real_services_are_kept() {
    let lab = LabSpec::new().host("wall", 50, Kind::AcceptsAll).start().unwrap();
    serve(lab.host("wall"));
    only_what_is_real_is_identified(&lab, lab.host("wall"), &["syn"], "something that accepts everything");
}

#[test]
fn a_syn_proxy_is_recognised_and_the_servers_behind_it_are_kept() {
    let lab = LabSpec::new().host("proxy", 60, Kind::SynProxy).start().unwrap();
    serve(lab.host("proxy"));
    only_what_is_real_is_identified(&lab, lab.host("proxy"), &["syn"], "a SYN proxy");
}

#[test]
fn a_server_with_a_hundred_open_ports_is_no_firewall() {
    let lab = LabSpec::new().host("busy", 10, Kind::Refusing).host("quiet", 20, Kind::Dropping).start().unwrap();
    let many: Vec<u16> = (0..100).map(|n| 20_000 + n * 3).collect();
    for host in lab.hosts() {
        host.accept_on(&many, 19_999).unwrap();
    }
    for v6 in [false, true] {
        let targets = lab.hosts().iter().map(|h| h.ip(v6).to_string()).collect::<Vec<_>>();
        let mut args: Vec<&str> = targets.iter().map(String::as_str).collect();
        args.extend(["-p", "19999-20300", "--method", "syn", "--no-ping", "--retries", "1", "--timeout-ms", "700"]);
        let output = scan(&lab, &args);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert!(!output.stderr.contains("answers on every port"), "{}", output.stderr);
        let truth = lab.hosts().iter().flat_map(|h| many.iter().chain([&19_999]).map(|&port| (h.ip(v6), port)));
        assert_eq!(open(&records(&output.stdout)), truth.collect());
    }
}
