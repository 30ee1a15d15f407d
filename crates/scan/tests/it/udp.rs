//! UDP: what is told open, closed, filtered and neither, over a network in memory and against real servers behind a real router.

use crate::{all_found, ip, ports, states, sweep};
use model::udp::Payloads;
use model::{Endpoint, PortSet, Proto};
use scan::memory::{Host, MemoryNetwork, Otherwise, Quirks, RateLimit, UdpService};
use scan::{Found, Method, Recheck, Retries, Summary, Sweep, probe_endpoints_in, sweep_in};
use std::collections::{BTreeMap, HashMap};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn host(otherwise: Otherwise) -> Host {
    Host { open: PortSet::default(), otherwise, echoes: true }
}

fn udp_sweep(targets: &[&str], udp: &str) -> Sweep {
    Sweep { ports: PortSet::default(), udp_ports: ports(udp), report_all: true, ..sweep(targets, "1") }
}

/// Answers every question with itself: all ids come back.
fn echo() -> UdpService {
    UdpService::new(|asked| Some(asked.to_vec()))
}

async fn swept(network: MemoryNetwork, sweep: Sweep) -> (Vec<Found>, Summary) {
    all_found(|out, progress, cancel| sweep_in(Arc::new(network), sweep, out, progress, cancel)).await
}

/// The number in the second place of each endpoint's name stands for the host.
fn told(states: &BTreeMap<String, String>, at: &str, port: u16) -> String {
    let endpoint = Endpoint { ip: ip(at), port, proto: Proto::Udp }.to_string();
    states.get(&endpoint).cloned().unwrap_or_else(|| panic!("nothing of {endpoint}: {states:?}"))
}

#[tokio::test(start_paused = true)]
async fn every_state_of_a_udp_port_has_its_reason_in_both_families() {
    for (prefix, on_link) in [("192.0.2.", false), ("2001:db8::", false), ("192.0.2.", true), ("2001:db8::", true)] {
        let at = |n: u8| format!("{prefix}{n}");
        let all = [Otherwise::Refuses, Otherwise::Drops, Otherwise::Prohibits, Otherwise::PortUnreachable];
        let mut network = MemoryNetwork::new(all.into_iter().enumerate().map(|(i, o)| (ip(&at(i as u8 + 1)), host(o))));
        network.on_link = on_link;
        for n in 1..=2 {
            let udp = HashMap::from([(53, echo()), (123, echo())]);
            network.quirks.insert(ip(&at(n)), Quirks { udp, ..Quirks::default() });
        }
        let targets: Vec<String> = (1..=5).map(at).collect();
        let s = udp_sweep(&targets.iter().map(String::as_str).collect::<Vec<_>>(), "53,123,9,161");
        let (found, summary) = swept(network, s).await;
        let states = states(&found);
        assert_eq!((states.len(), summary.open_found, summary.not_probed), (20, 4, 0), "{states:?}");
        let dead = if on_link { "filtered/icmp-unreachable" } else { "open|filtered/timeout" };
        let (open, closed) = ("open/udp-response", "closed/icmp-port-unreachable");
        for (n, [p53, p9, p123, p161]) in [
            (1, [open, closed, open, closed]),
            (2, [open, "open|filtered/timeout", open, "open|filtered/timeout"]),
            (3, ["filtered/icmp-prohibited"; 4]),
            (4, [closed; 4]),
            (5, [dead; 4]),
        ] {
            for (port, state) in [(53, p53), (9, p9), (123, p123), (161, p161)] {
                assert_eq!(told(&states, &at(n), port), state, "{} {port}, on link: {on_link}", at(n));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn both_protocols_are_asked_in_one_sweep_and_do_not_mix() {
    let mut network = MemoryNetwork::new([(ip("192.0.2.1"), Host { open: ports("53"), ..host(Otherwise::Refuses) })]);
    let udp = HashMap::from([(161, echo())]);
    network.quirks.insert(ip("192.0.2.1"), Quirks { udp, ..Quirks::default() });
    let s = Sweep { ports: ports("53,161"), ..udp_sweep(&["192.0.2.1"], "53,161") };
    let (found, _) = swept(network, s).await;
    let expected = [
        ("192.0.2.1:161/tcp", "closed/rst"),
        ("192.0.2.1:161/udp", "open/udp-response"),
        ("192.0.2.1:53/tcp", "open/syn-ack"),
        ("192.0.2.1:53/udp", "closed/icmp-port-unreachable"),
    ];
    assert_eq!(states(&found), expected.map(|(e, s)| (e.to_string(), s.to_string())).into());
}

#[tokio::test(start_paused = true)]
async fn answers_without_the_id_count_only_when_two_tries_were_answered() {
    let one_answer_only = |bytes: &'static [u8]| {
        let asked = AtomicU32::new(0);
        UdpService::new(move |_| (asked.fetch_add(1, Ordering::Relaxed) == 0).then(|| bytes.to_vec()))
    };
    let always = |bytes: &'static [u8]| UdpService::new(move |_| Some(bytes.to_vec()));
    for (name, port, service, retries, state) in [
        ("with the id, once", 53, echo(), 0, "open/udp-response"),
        ("repetitions are chosen", 9, always(b"who is there?"), u8::MAX, "open/udp-response"),
        ("something else twice", 53, always(b"go away"), 1, "open/udp-response"),
        // The second try is made even when none was asked for.
        ("something else twice", 53, always(b"go away"), 0, "open/udp-response"),
        ("nothing twice", 53, always(b""), 1, "open/udp-response"),
        ("something else once", 53, one_answer_only(b"go away"), 1, "open|filtered/timeout"),
        ("an empty datagram answered, twice", 9, always(b"who is there?"), 1, "open/udp-response"),
        ("an empty datagram answered, once", 9, one_answer_only(b"who is there?"), 1, "open|filtered/timeout"),
    ] {
        let mut network = MemoryNetwork::new([(ip("192.0.2.1"), host(Otherwise::Drops))]);
        // The same answer twice is one answer.
        network.duplicates = true;
        network.quirks.insert(ip("192.0.2.1"), Quirks { udp: HashMap::from([(port, service)]), ..Quirks::default() });
        let s = Sweep {
            retries: if retries == u8::MAX { Retries::Auto } else { Retries::Fixed(retries) },
            ..udp_sweep(&["192.0.2.1"], &port.to_string())
        };
        let (found, _) = swept(network, s).await;
        assert_eq!(told(&states(&found), "192.0.2.1", port), state, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_knows_the_second_question_only_is_open() {
    let second = UdpService::new(|asked| asked.windows(9).any(|w| w == b"localhost").then(|| asked.to_vec()));
    let mut network = MemoryNetwork::new([(ip("192.0.2.1"), host(Otherwise::Drops))]);
    network.quirks.insert(ip("192.0.2.1"), Quirks { udp: HashMap::from([(53, second)]), ..Quirks::default() });
    let network = Arc::new(network);
    for retries in [Retries::Fixed(1), Retries::Auto] {
        let (network, s) = (network.clone(), Sweep { retries, ..udp_sweep(&["192.0.2.1"], "53") });
        let (found, _) = all_found(|out, progress, cancel| sweep_in(network, s, out, progress, cancel)).await;
        assert_eq!(told(&states(&found), "192.0.2.1", 53), "open/udp-response", "{retries:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn closed_ports_of_hosts_that_refuse_slowly_are_not_taken_for_silent() {
    let all = Payloads::builtin().ports();
    let hosts = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];
    let mut network = MemoryNetwork::new(hosts.map(|at| (ip(at), host(Otherwise::Refuses))));
    for at in hosts {
        // As Linux has it.
        let icmp_limit = Some(RateLimit::new(1, 6));
        let silent = UdpService::new(|_| None);
        let udp = HashMap::from([(123, echo()), (161, silent)]);
        network.quirks.insert(ip(at), Quirks { icmp_limit, udp, ..Quirks::default() });
    }
    let network = Arc::new(network);
    let began = tokio::time::Instant::now();
    let s = udp_sweep(&hosts, &all.to_string());
    let work = network.clone();
    let (found, _) = all_found(|out, progress, cancel| sweep_in(work, s, out, progress, cancel)).await;
    let took = began.elapsed();
    let states = states(&found);
    for at in hosts {
        for port in all.iter() {
            let truth = match port {
                123 => "open/udp-response",
                161 => "open|filtered/timeout",
                _ => "closed/icmp-port-unreachable",
            };
            assert_eq!(told(&states, at, port), truth, "{at} {port}");
        }
    }
    // All hosts at the same time, each at its own pace.
    assert!(took < Duration::from_secs(40), "{took:?}");
    let sent = network.sent_udp.lock().unwrap();
    let slow: Vec<_> = sent.iter().filter(|(at, to, _)| *to == ip("192.0.2.1") && *at - began > Duration::from_secs(3)).collect();
    assert!(slow.len() > 10 && slow.windows(2).all(|w| w[1].0 - w[0].0 >= Duration::from_millis(1_050)), "{slow:?}");
}

#[tokio::test(start_paused = true)]
async fn the_slow_repetition_is_bounded_and_the_rest_is_told_as_it_is() {
    let mut network = MemoryNetwork::new([(ip("192.0.2.1"), host(Otherwise::Refuses))]);
    let icmp_limit = Some(RateLimit::new(1, 6));
    network.quirks.insert(ip("192.0.2.1"), Quirks { icmp_limit, ..Quirks::default() });
    let began = tokio::time::Instant::now();
    let (found, _) = swept(network, udp_sweep(&["192.0.2.1"], "1-300")).await;
    assert!(began.elapsed() < Duration::from_secs(80), "{:?}", began.elapsed());
    let states = states(&found);
    let closed: Vec<u16> = (1..=300).filter(|&p| told(&states, "192.0.2.1", p).starts_with("closed/")).collect();
    assert!((64..90).contains(&closed.len()), "{}", closed.len());
    assert!((1..=300).all(|p| closed.contains(&p) || told(&states, "192.0.2.1", p) == "open|filtered/timeout"));
    // What there is something to ask of comes first.
    assert!(Payloads::builtin().ports().iter().filter(|p| *p <= 300).all(|p| closed.contains(&p)), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_tells_open_ports_only_tells_the_state_of_those_named() {
    let mut network = MemoryNetwork::new([(ip("192.0.2.1"), host(Otherwise::Drops))]);
    network.quirks.insert(ip("192.0.2.1"), Quirks { udp: HashMap::from([(53, echo())]), ..Quirks::default() });
    let named = "192.0.2.1:161/udp".parse().unwrap();
    let s = Sweep { report_all: false, always_report: [named].into(), ..udp_sweep(&["192.0.2.1"], "53,123,161") };
    let (found, _) = swept(network, s).await;
    let expected = [("192.0.2.1:161/udp", "open|filtered/timeout"), ("192.0.2.1:53/udp", "open/udp-response")];
    assert_eq!(states(&found), expected.map(|(e, s)| (e.to_string(), s.to_string())).into());
}

#[tokio::test(start_paused = true)]
async fn a_recheck_says_the_state_of_udp_endpoints() {
    let mut network = MemoryNetwork::new([
        (ip("192.0.2.1"), Host { open: ports("53"), ..host(Otherwise::Refuses) }),
        (ip("192.0.2.2"), host(Otherwise::Drops)),
    ]);
    for at in ["192.0.2.1", "192.0.2.2"] {
        network.quirks.insert(ip(at), Quirks { udp: HashMap::from([(123, echo())]), ..Quirks::default() });
    }
    let expected = [
        ("192.0.2.1:123/udp", "open/udp-response"),
        ("192.0.2.1:53/tcp", "open/syn-ack"),
        ("192.0.2.1:53/udp", "closed/icmp-port-unreachable"),
        ("192.0.2.2:123/udp", "open/udp-response"),
        ("192.0.2.2:53/udp", "open|filtered/timeout"),
    ];
    let Sweep { scope, pace, timeout, .. } = sweep(&["192.0.2.0/24"], "1");
    let endpoints = expected.iter().map(|(e, _)| e.parse().unwrap()).collect();
    let recheck = Recheck { timeout, ..Recheck::new(endpoints, scope, pace) };
    let network = Arc::new(network);
    let (found, summary) = all_found(|out, progress, cancel| probe_endpoints_in(network, recheck, out, progress, cancel)).await;
    assert_eq!(summary.not_probed, 0);
    assert_eq!(states(&found), expected.map(|(e, s)| (e.to_string(), s.to_string())).into());
}

/// A scanner, a router and a network of hosts; gone when dropped.
struct Net {
    prefix: String,
    servers: Vec<Child>,
}

/// Host .11 has servers, .12 drops, .13 forbids; what is for .14 the router refuses in its name.
const HOSTS: &str = "table inet prscan {
    chain input {
        type filter hook input priority 0;
        ip daddr 198.18.20.12 meta l4proto udp udp dport != 53 drop
        ip6 daddr fd00:20::12 meta l4proto udp udp dport != 53 drop
        ip daddr 198.18.20.13 meta l4proto udp udp dport != 53 reject with icmp type admin-prohibited
        ip6 daddr fd00:20::13 meta l4proto udp udp dport != 53 reject with icmpv6 type admin-prohibited
    }
}";
const ROUTER: &str = "table inet prscan {
    chain forward {
        type filter hook forward priority 0;
        ip daddr 198.18.20.14 meta l4proto udp udp dport != 53 reject with icmp type port-unreachable
        ip6 daddr fd00:20::14 meta l4proto udp udp dport != 53 reject with icmpv6 type port-unreachable
    }
}";

impl Net {
    /// `None`, said loudly, where it cannot be made.
    fn new() -> Option<Net> {
        let tools = ["ip", "nft", "dnsmasq", "snmpd"];
        let there =
            |tool: &&str| Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap().status.success();
        let missing = tools.iter().find(|tool| !there(tool));
        if !rustix::process::geteuid().is_root() || missing.is_some() {
            eprintln!("SKIPPED: needs root, {}; missing: {}", tools.join(", "), missing.unwrap_or(&"root"));
            return None;
        }
        let mut net = Net { prefix: format!("prscan-u-{}", std::process::id()), servers: Vec::new() };
        let (s, r, h) = (net.name("s"), net.name("r"), net.name("h"));
        let mut script = String::new();
        for namespace in [&s, &r, &h] {
            // The kernel's own limits on refusals stay as they are: they are what is tested.
            script += &format!(
                "ip netns add {namespace}; ip -n {namespace} link set lo up; ip netns exec {namespace} sysctl -qw \
                 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1\n"
            );
        }
        script += &format!(
            "ip -n {s} link add s0 type veth peer name r0 netns {r}; ip -n {r} link add r1 type veth peer name h0 netns {h}\n"
        );
        let devices = [(&s, "s0", 10, "1"), (&r, "r0", 10, "254"), (&r, "r1", 20, "254"), (&h, "h0", 20, "11 12 13 14")];
        for (namespace, device, number, hosts) in devices {
            script += &format!("ip -n {namespace} link set {device} up\n");
            for host in hosts.split(' ') {
                script += &format!("ip -n {namespace} addr add 198.18.{number}.{host}/24 dev {device}\n");
                script += &format!("ip -n {namespace} addr add fd00:{number}::{host}/64 dev {device} nodad\n");
            }
        }
        for (namespace, number) in [(&s, 10), (&h, 20)] {
            script += &format!(
                "ip -n {namespace} route add default via 198.18.{number}.254; ip -n {namespace} route add default via fd00:{number}::254\n"
            );
        }
        script +=
            &format!("ip netns exec {h} nft -f - <<'END'\n{HOSTS}\nEND\nip netns exec {r} nft -f - <<'END'\n{ROUTER}\nEND\n");
        net.sh(&script);
        net.serve(&["dnsmasq", "-k", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=", "--user=root"], 53);
        let agents = "udp:198.18.20.11:161,udp6:[fd00:20::11]:161";
        net.serve(&["snmpd", "-f", "-Lf", "/dev/null", "-C", agents], 161);
        Some(net)
    }

    fn name(&self, which: &str) -> String {
        format!("{}-{which}", self.prefix)
    }

    fn sh(&self, script: &str) {
        let out = Command::new("sh").args(["-ec", script]).output().unwrap();
        assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
    }

    fn serve(&mut self, command: &[&str], port: u16) {
        let namespace = self.name("h");
        let child = Command::new("ip")
            .args(["netns", "exec", &namespace])
            .args(command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.servers.push(child);
        let began = Instant::now();
        let listens = || {
            let ss = ["netns", "exec", &namespace, "ss", "-Hlnu", &format!("sport = {port}")].map(String::from);
            let out = Command::new("ip").args(ss).output().unwrap();
            String::from_utf8_lossy(&out.stdout).lines().count() >= 2
        };
        while !listens() {
            assert!(began.elapsed() < Duration::from_secs(20), "{} does not listen", command[0]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        for which in ["s", "r", "h"] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(which)]).status();
        }
    }
}

#[test]
fn real_udp_hosts_are_told_apart_alike_by_frames_and_by_sockets_in_both_families() {
    let Some(net) = Net::new() else { return };
    // With these, most ports of .11 are closed and refused no faster than the kernel allows.
    let set = "7,9,53,69,123,137,161,389,500,1900,5353,11211";
    let (open, closed) = ("open/udp-response", "closed/icmp-port-unreachable");
    for method in [Method::Syn, Method::Connect] {
        let namespace = net.name("s");
        let (found, summary) = crate::namespaces::inside(&namespace, move || async move {
            let mut s = udp_sweep(&["198.18.20.11-198.18.20.14", "fd00:20::11-fd00:20::14"], set);
            (s.method, s.timeout) = (method, Duration::from_millis(500));
            all_found(|out, progress, cancel| scan::sweep(s, out, progress, cancel)).await
        });
        let states = states(&found);
        assert_eq!((summary.method, summary.not_probed, summary.drops), (method, 0, 0));
        for at in [
            "198.18.20.11",
            "198.18.20.12",
            "198.18.20.13",
            "198.18.20.14",
            "fd00:20::11",
            "fd00:20::12",
            "fd00:20::13",
            "fd00:20::14",
        ] {
            for port in ports(set).iter() {
                let truth = match (at.rsplit(['.', ':']).next().unwrap(), port) {
                    // dnsmasq listens on every address.
                    (_, 53) => open,
                    ("11", 161) => open,
                    ("11", _) => closed,
                    ("12", _) => "open|filtered/timeout",
                    ("13", _) => "filtered/icmp-prohibited",
                    _ => "filtered/icmp-port-unreachable",
                };
                let said = told(&states, at, port);
                // Even the errors of filters are limited by the kernel, so some may be missing; none may be another.
                let missing = truth.starts_with("filtered/") && said == "open|filtered/timeout";
                assert!(said == truth || missing, "{at} {port}/udp by {method}: said {said}, is {truth}");
            }
        }
        let filtered = states.values().filter(|s| s.starts_with("filtered/")).count();
        assert!(filtered >= 16, "by {method}: {filtered} of 44 refusals of filters were heard: {states:?}");
    }
}
