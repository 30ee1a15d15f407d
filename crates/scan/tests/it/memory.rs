//! The engine over a network in memory: every frame is built, answered and read, only the wire is missing.

use crate::{all_found, fast, ip, observations, opens, ports, r, states, sweep};
use model::settings::Pace;
use model::{Endpoint, Liveness, Reason, Scope, State};
use proptest::prelude::*;
use scan::memory::{Host, MemoryNetwork, Otherwise, Quirks};
use scan::{Found, Pacer, Ping, Progress, Recheck, Retries, Sweep, liveness_in, probe_endpoints_in, sweep_in};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn host(open: &str, otherwise: Otherwise) -> Host {
    let open = if open.is_empty() { Default::default() } else { ports(open) };
    Host { open, otherwise, echoes: otherwise != Otherwise::Drops }
}

fn network(hosts: &[(&str, Host)]) -> MemoryNetwork {
    MemoryNetwork::new(hosts.iter().map(|(at, host)| (ip(at), host.clone())))
}

fn ping(targets: &[&str]) -> Ping {
    let Sweep { targets, scope, pace, timeout, seed, .. } = sweep(targets, "1");
    Ping { timeout, seed, ..Ping::new(targets, scope, pace) }
}

#[tokio::test]
async fn every_state_has_its_reason_in_both_families() {
    for (prefix, on_link) in [("192.0.2.", false), ("2001:db8::", false), ("192.0.2.", true), ("2001:db8::", true)] {
        let at = |n: u8| format!("{prefix}{n}");
        let mut network = network(&[
            (&at(1), host("22,443", Otherwise::Refuses)),
            (&at(2), host("443", Otherwise::Drops)),
            (&at(3), host("", Otherwise::Prohibits)),
            (&at(4), host("", Otherwise::PortUnreachable)),
        ]);
        network.on_link = on_link;
        let targets: Vec<String> = (1..=5).map(at).collect();
        let mut s = sweep(&targets.iter().map(String::as_str).collect::<Vec<_>>(), "22,80,443");
        s.report_all = true;
        let (found, summary) = all_found(|out, progress, cancel| sweep_in(Arc::new(network), s, out, progress, cancel)).await;
        let dead = if on_link { "filtered/icmp-unreachable" } else { "filtered/timeout" };
        let expected = [
            (1, ["open/syn-ack", "closed/rst", "open/syn-ack"]),
            (2, ["filtered/timeout", "filtered/timeout", "open/syn-ack"]),
            (3, ["filtered/icmp-prohibited"; 3]),
            (4, ["closed/icmp-port-unreachable"; 3]),
            (5, [dead; 3]),
        ];
        let states = states(&found);
        assert_eq!(states.len(), 15);
        for (n, [p22, p80, p443]) in expected {
            for (port, state) in [(22, p22), (80, p80), (443, p443)] {
                let endpoint = Endpoint::tcp(ip(&at(n)), port).to_string();
                assert_eq!(states[&endpoint], state, "{endpoint}, on link: {on_link}");
            }
        }
        assert_eq!((summary.open_found, summary.hosts_up, summary.hosts_total, summary.cancelled), (3, 4, 5, false));
    }
}

#[tokio::test]
async fn only_open_and_named_endpoints_are_told_unless_all_are_asked_for() {
    let network = network(&[("192.0.2.1", host("22", Otherwise::Refuses)), ("192.0.2.2", host("", Otherwise::Drops))]);
    let mut s = sweep(&["192.0.2.1-192.0.2.2"], "22-30");
    s.always_report = ["192.0.2.1:25/tcp", "192.0.2.2:26/tcp", "192.0.2.2:99/tcp"].map(|e| e.parse().unwrap()).into();
    let (found, _) = all_found(|out, progress, cancel| sweep_in(Arc::new(network), s, out, progress, cancel)).await;
    let expected =
        [("192.0.2.1:22/tcp", "open/syn-ack"), ("192.0.2.1:25/tcp", "closed/rst"), ("192.0.2.2:26/tcp", "filtered/timeout")];
    assert_eq!(states(&found), expected.map(|(e, s)| (e.to_owned(), s.to_owned())).into());
}

#[tokio::test]
async fn only_silence_is_repeated() {
    let mut s = sweep(&["192.0.2.1-192.0.2.2"], "1-100");
    s.retries = Retries::Fixed(2);
    let net = Arc::new(network(&[("192.0.2.1", host("22", Otherwise::Refuses))]));
    let (_, summary) = all_found(|out, progress, cancel| sweep_in(net.clone(), s, out, progress, cancel)).await;
    let sent = net.sent.lock().unwrap();
    let to = |at: &str| sent.iter().filter(|(_, to, _)| *to == ip(at)).count();
    assert_eq!((to("192.0.2.1"), to("192.0.2.2")), (100, 300));
    assert_eq!(summary.probes_sent, 400);
}

#[tokio::test]
async fn repetition_makes_up_for_loss() {
    // With 10 % lost each way a try succeeds with 0.81; after five, one endpoint in 4,000 is still missed, and 600 are asked.
    let hosts: Vec<(IpAddr, Host)> =
        (1..=200).map(|n| (ip(&format!("192.0.2.{n}")), host("22,80,443", Otherwise::Drops))).collect();
    let mut network = MemoryNetwork::new(hosts);
    network.loss = 0.1;
    let mut s = sweep(&["192.0.2.0/24"], "22,80,443,8080");
    s.retries = Retries::Fixed(4);
    let (found, _) = all_found(|out, progress, cancel| sweep_in(Arc::new(network), s, out, progress, cancel)).await;
    assert!(opens(&found).len() >= 598, "{}", opens(&found).len());
}

#[tokio::test]
async fn a_ping_spares_dead_hosts_but_not_those_with_known_endpoints() {
    let net = Arc::new(network(&[("192.0.2.1", host("22", Otherwise::Refuses))]));
    let mut s = sweep(&["192.0.2.0/28"], "1000-1999");
    s.ping = true;
    s.always_report = HashSet::from(["192.0.2.9:1500/tcp".parse().unwrap()]);
    let (found, summary) = all_found(|out, progress, cancel| sweep_in(net.clone(), s, out, progress, cancel)).await;
    let probed: HashSet<IpAddr> =
        net.sent.lock().unwrap().iter().filter(|(_, _, port)| port.is_some_and(|p| p >= 1_000)).map(|(_, to, _)| *to).collect();
    assert_eq!(probed, HashSet::from([ip("192.0.2.1"), ip("192.0.2.9")]));
    assert_eq!(states(&found), [("192.0.2.9:1500/tcp".to_owned(), "filtered/timeout".to_owned())].into());
    assert_eq!((summary.hosts_up, summary.hosts_total), (1, 16));
    assert!(found.iter().any(|f| matches!(f, Found::Host(h) if h.ip == ip("192.0.2.1") && h.liveness == Liveness::Online)));
}

#[tokio::test]
async fn liveness_says_something_about_every_target() {
    for on_link in [false, true] {
        let mut silent = host("80", Otherwise::Drops);
        silent.open = ports("443");
        let mut network = network(&[
            ("192.0.2.1", host("", Otherwise::Refuses)),
            ("192.0.2.2", silent),
            ("192.0.2.3", host("9999", Otherwise::Drops)),
        ]);
        network.on_link = on_link;
        let net = Arc::new(network);
        let p = ping(&["192.0.2.0/29"]);
        let (found, summary) = all_found(|out, progress, cancel| liveness_in(net.clone(), p, out, progress, cancel)).await;
        let mut hosts: Vec<_> =
            found.iter().map(|f| if let Found::Host(h) = f { (h.ip, h.liveness, h.reason) } else { panic!("{f:?}") }).collect();
        hosts.sort();
        assert_eq!(hosts.len(), 8, "each once");
        let of = |at: &str| hosts.iter().find(|(host, ..)| *host == ip(at)).map(|(_, l, r)| (*l, *r)).unwrap();
        assert_eq!(of("192.0.2.4"), (Liveness::Offline, Reason::Timeout));
        if on_link {
            for at in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
                assert_eq!(of(at), (Liveness::Online, Reason::ArpReply), "{at}");
            }
            assert!(net.sent.lock().unwrap().is_empty(), "ARP was enough");
        } else {
            assert_eq!(of("192.0.2.1").0, Liveness::Online);
            assert_eq!(of("192.0.2.2"), (Liveness::Online, Reason::SynAck));
            assert_eq!(of("192.0.2.3"), (Liveness::Offline, Reason::Timeout), "answers nothing that liveness asks");
        }
        assert_eq!(summary.hosts_up, if on_link { 3 } else { 2 });
    }
}

#[tokio::test]
async fn silence_is_judged_by_what_was_heard_and_hosts_far_away_are_still_found() {
    // Near hosts that echo; one whose echo takes as long as over a satellite; one that answers only a
    // later question, and later than its neighbours.
    for (near, by_others) in [(10, false), (100, true)] {
        let mut hosts: Vec<(String, Host)> = (1..=near).map(|n| (format!("192.0.2.{n}"), host("", Otherwise::Refuses))).collect();
        hosts.push(("192.0.2.201".into(), Host { echoes: true, ..host("", Otherwise::Drops) }));
        hosts.push(("192.0.2.202".into(), host("22", Otherwise::Drops)));
        let hosts: Vec<(&str, Host)> = hosts.iter().map(|(at, host)| (at.as_str(), host.clone())).collect();
        let mut net = network(&hosts);
        for (at, ms) in [("192.0.2.201", 600), ("192.0.2.202", 60)] {
            net.quirks.insert(ip(at), Quirks { further: Duration::from_millis(ms), ..Quirks::default() });
        }
        let net = Arc::new(net);
        // Longer than a busy machine makes the waits of the other case.
        let timeout = Duration::from_secs(6);
        let p = Ping { timeout, retries: 0, ..ping(&["192.0.2.0/24"]) };
        let (_, summary) = all_found(|out, progress, cancel| liveness_in(net.clone(), p, out, progress, cancel)).await;
        assert_eq!(summary.hosts_up, near + 2, "{near} hosts near");
        assert_eq!(summary.elapsed < timeout, by_others, "{near} hosts near: {:?}", summary.elapsed);
        assert!(summary.elapsed > Duration::from_millis(600), "{:?}", summary.elapsed);
    }
}

#[tokio::test]
async fn a_recheck_says_the_state_of_each_endpoint() {
    let net = network(&[("192.0.2.1", host("22", Otherwise::Refuses)), ("2001:db8::1", host("443", Otherwise::Drops))]);
    let Sweep { pace, timeout, seed, .. } = sweep(&["192.0.2.1"], "1");
    let endpoints = [
        "192.0.2.1:22/tcp",
        "192.0.2.1:23/tcp",
        "[2001:db8::1]:443/tcp",
        "[2001:db8::1]:80/tcp",
        "192.0.2.77:1/tcp",
        "192.0.2.1:53/udp",
    ];
    let endpoints = endpoints.iter().map(|e| e.parse().unwrap()).collect();
    let scope = Scope::new(&[r("192.0.2.0/26"), r("2001:db8::/64")], &[]);
    let recheck = Recheck { timeout, seed, ..Recheck::new(endpoints, scope, pace) };
    let (found, summary) =
        all_found(|out, progress, cancel| probe_endpoints_in(Arc::new(net), recheck, out, progress, cancel)).await;
    let expected = [
        ("192.0.2.1:22/tcp", "open/syn-ack"),
        ("192.0.2.1:23/tcp", "closed/rst"),
        ("192.0.2.1:53/udp", "closed/icmp-port-unreachable"),
        ("[2001:db8::1]:443/tcp", "open/syn-ack"),
        ("[2001:db8::1]:80/tcp", "filtered/timeout"),
    ];
    assert_eq!(states(&found), expected.map(|(e, s)| (e.to_owned(), s.to_owned())).into());
    assert_eq!((summary.not_probed, summary.out_of_scope), (0, 1), "192.0.2.77 is not ours");
}

#[tokio::test]
async fn a_host_that_accepts_everything_is_recognised_and_its_high_risk_ports_are_kept() {
    let net = Arc::new(network(&[
        ("192.0.2.1", host("", Otherwise::Accepts)),
        ("192.0.2.2", host("1000-1039,6379", Otherwise::Refuses)),
        ("192.0.2.3", host("22", Otherwise::Drops)),
    ]));
    let mut s = sweep(&["192.0.2.1-192.0.2.3"], "1-10000");
    s.always_report = HashSet::from(["192.0.2.1:4321/tcp".parse().unwrap()]);
    s.retries = Retries::Fixed(0);
    let (found, summary) = all_found(|out, progress, cancel| sweep_in(net, s, out, progress, cancel)).await;
    let pseudo: Vec<_> = found
        .iter()
        .filter_map(|f| if let Found::PseudoOpen { ip, open_ports, .. } = f { Some((*ip, *open_ports)) } else { None })
        .collect();
    assert!(pseudo.iter().all(|(at, _)| *at == ip("192.0.2.1")), "{pseudo:?}");
    assert_eq!(pseudo.last().map(|(_, n)| *n), Some(10_000), "the last count is the whole");
    let told = observations(&found);
    let of = |at: &str| told.keys().filter(|e| e.ip == ip(at)).map(|e| e.port).collect::<Vec<_>>();
    let all_open = of("192.0.2.1");
    let high_risk = model::catalog::Catalog::builtin().high_risk_ports();
    for port in high_risk.iter().filter(|p| *p <= 10_000).chain([4_321]) {
        assert!(all_open.contains(&port), "{port} of the all-open host is told");
    }
    let others = all_open.iter().filter(|p| !high_risk.contains(**p) && **p != 4_321).count();
    assert!(others <= 19, "before it was recognised, fewer than twenty were told: {others}");
    let position = found.iter().position(|f| matches!(f, Found::PseudoOpen { .. })).unwrap();
    let before = found[..position].iter().filter(|f| matches!(f, Found::Endpoint(o) if o.endpoint.ip == ip("192.0.2.1"))).count();
    assert_eq!(before, 19, "the message comes before what was held back");
    assert_eq!(of("192.0.2.2").len(), 41, "a server with many services keeps them");
    assert_eq!(of("192.0.2.3"), [22]);
    assert_eq!(summary.open_found, 10_000 + 41 + 1);
}

#[tokio::test]
async fn opens_are_told_while_the_sweep_goes_on() {
    let net = Arc::new(network(&[("192.0.2.1", host("22", Otherwise::Refuses))]));
    let mut s = sweep(&["192.0.2.0/24"], "20-29");
    s.retries = Retries::Fixed(0);
    s.timeout = Duration::from_secs(3);
    let (tx, mut rx) = tokio::sync::mpsc::channel(16);
    let cancel = CancellationToken::new();
    let work = tokio::spawn(sweep_in(net, s, tx, Arc::default(), cancel.clone()));
    let first = tokio::time::timeout(Duration::from_secs(1), rx.recv()).await.expect("long before the timeout").unwrap();
    assert!(matches!(first, Found::Endpoint(o) if o.state == State::Open));
    cancel.cancel();
    assert!(work.await.unwrap().unwrap().cancelled);
}

#[tokio::test]
async fn cancelling_stops_within_a_tenth_of_a_second_and_keeps_what_is_known() {
    // A quarter of the addresses answers, so that something is known however late a busy machine lets the sweep begin.
    let hosts = (1..=64).map(|n| (ip(&format!("192.0.2.{n}")), host("1-65535", Otherwise::Refuses)));
    let net = Arc::new(MemoryNetwork::new(hosts));
    let mut s = sweep(&["192.0.2.0/24"], "1-65535");
    s.rate_pps = Some(2_000);
    let cancel = CancellationToken::new();
    let (tx, mut rx) = tokio::sync::mpsc::channel(100_000);
    let work = tokio::spawn(sweep_in(net.clone(), s, tx, Arc::default(), cancel.clone()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let at = Instant::now();
    cancel.cancel();
    let summary = work.await.unwrap().unwrap();
    assert!(at.elapsed() < Duration::from_millis(100), "{:?}", at.elapsed());
    assert!(summary.cancelled);
    let sent = net.sent.lock().unwrap().len();
    assert!(sent > 100 && sent as u64 == summary.probes_sent, "{sent}");
    let mut told = 0;
    while rx.recv().await.is_some() {
        told += 1;
    }
    assert!(told > 0);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(net.sent.lock().unwrap().len(), sent, "nothing leaves afterwards");
}

#[tokio::test]
async fn a_listener_that_leaves_ends_the_sweep() {
    let net = Arc::new(network(&[("192.0.2.1", host("22", Otherwise::Refuses))]));
    let mut s = sweep(&["192.0.2.0/24"], "1-65535");
    s.rate_pps = Some(1_000);
    let (tx, rx) = tokio::sync::mpsc::channel(1);
    drop(rx);
    let summary = tokio::time::timeout(Duration::from_secs(1), sweep_in(net, s, tx, Arc::default(), CancellationToken::new()));
    assert!(summary.await.unwrap().unwrap().cancelled);
}

#[tokio::test]
async fn progress_reaches_the_whole() {
    let net = Arc::new(network(&[("192.0.2.1", host("22", Otherwise::Refuses))]));
    let mut s = sweep(&["192.0.2.0/28"], "1-100");
    s.ping = true;
    let progress = Arc::new(Progress::default());
    let (tx, mut rx) = tokio::sync::mpsc::channel(16);
    let work = tokio::spawn(sweep_in(net, s, tx, progress.clone(), CancellationToken::new()));
    while rx.recv().await.is_some() {}
    let summary = work.await.unwrap().unwrap();
    assert_eq!(progress.fraction(), 1.0);
    assert_eq!(progress.probes_total.load(Ordering::Relaxed), 100, "fifteen hosts turned out to be down");
    assert_eq!(progress.probes_sent.load(Ordering::Relaxed), summary.probes_sent);
    assert_eq!((progress.hosts_up.load(Ordering::Relaxed), progress.open_found.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn a_slow_network_does_not_slow_the_others() {
    let pace = Pace { node_pps: 100_000, per_network_pps: 100_000, per_target_pps: 100_000 };
    let cap = scan::RangeCap { range: r("198.51.100.0/24"), rate_pps: Some(100), per_target_pps: None };
    let net = Arc::new(network(&[]));
    let mut s = sweep(&["192.0.2.0/24", "198.51.100.0/28"], "1-20");
    s.pace = Arc::new(Pacer::new(pace, vec![cap]));
    s.retries = Retries::Fixed(0);
    let (_, _) = all_found(|out, progress, cancel| sweep_in(net.clone(), s, out, progress, cancel)).await;
    let sent = net.sent.lock().unwrap();
    let start = sent[0].0;
    let last = |prefix: &str| sent.iter().filter(|(_, to, _)| r(prefix).contains(*to)).map(|(at, ..)| *at - start).max().unwrap();
    assert!(last("192.0.2.0/24") < Duration::from_millis(1_000), "{:?}", last("192.0.2.0/24"));
    assert!(last("198.51.100.0/24") > Duration::from_millis(2_900), "{:?}", last("198.51.100.0/24"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// PR-1: whatever is asked for and whatever answers, no probe leaves for an address outside the scope.
    #[test]
    fn nothing_outside_the_scope_leaves(
        wanted in prop::collection::vec((0u8..64, 0u8..32), 1..4),
        allowed in prop::collection::vec((0u8..64, 0u8..32), 0..3),
        excluded in prop::collection::vec(0u8..64, 0..4),
        on_link: bool,
        ping: bool,
        v6: bool,
        seed: u64,
    ) {
        let at = |n: u8| ip(&if v6 { format!("2001:db8::{n:x}") } else { format!("192.0.2.{n}") });
        let range = |&(first, len): &(u8, u8)| model::IpRange::new(at(first), at(first.saturating_add(len))).unwrap();
        let allowed: Vec<_> = allowed.iter().map(range).collect();
        let excluded: Vec<_> = excluded.iter().map(|&n| model::IpRange::single(at(n))).collect();
        let scope = Scope::new(&allowed, &excluded);
        let mut net = MemoryNetwork::new((0..96).step_by(3).map(|n| (at(n), host("22", if n % 2 == 0 { Otherwise::Refuses } else { Otherwise::Accepts }))));
        net.on_link = on_link;
        let net = Arc::new(net);
        let mut s = sweep(&["192.0.2.1"], "22,80,1000-1024");
        s.targets = wanted.iter().map(range).collect();
        s.scope = scope.clone();
        s.ping = ping;
        s.seed = seed;
        s.retries = Retries::Fixed(1);
        s.timeout = Duration::from_millis(10);
        s.pace = fast();
        s.always_report = (0..96).map(|n| Endpoint::tcp(at(n), 22)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (found, summary) = runtime.block_on(all_found(|out, progress, cancel| sweep_in(net.clone(), s.clone(), out, progress, cancel)));
        for (_, to, _) in net.sent.lock().unwrap().iter() {
            prop_assert!(scope.contains(*to), "{to} was probed");
        }
        for to in net.asked_for.lock().unwrap().iter() {
            prop_assert!(scope.contains(*to), "{to} was asked for");
        }
        prop_assert!(observations(&found).keys().all(|e| scope.contains(e.ip)));
        let asked: Vec<_> = scope.restrict(&s.targets);
        prop_assert_eq!(u128::from(summary.hosts_total), asked.iter().map(|r| r.len()).sum::<u128>());
    }
}
