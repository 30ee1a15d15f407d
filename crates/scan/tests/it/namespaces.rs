//! Real packets between network namespaces: a scanner, a router, and a network of hosts that answer, refuse, drop, forbid or
//! do not exist. Needs root and `ip`, `nft`, `redis-server` and `python3`; says so loudly and passes where they are missing.
//!
//! ```text
//! scanner ── 198.18.10.0/24, fd00:10::/64 ── router ── 198.18.20.0/24, fd00:20::/64 ── hosts
//!                                              └ also a host: .254
//! ```

use crate::{all_found, fast, observations, opens, r, states, sweep};
use model::{IpRange, Liveness, Reason, Scope};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use scan::{Found, Method, Ping, Retries, Sweep, liveness, sweep as scan_sweep};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Three namespaces and a Redis; gone when dropped.
struct Net {
    prefix: String,
    redis: Vec<Child>,
}

const FILTER: &str = r#"
table inet prscan {
    chain input {
        type filter hook input priority 0;
        ip daddr 198.18.20.66 counter comment "excluded"
        ip6 daddr fd00:20::66 counter comment "excluded"
        ip daddr 198.18.20.12 tcp dport != 6379 drop
        ip6 daddr fd00:20::12 tcp dport != 6379 drop
        ip daddr 198.18.20.12 icmp type echo-request drop
        ip6 daddr fd00:20::12 icmpv6 type echo-request drop
        ip daddr 198.18.20.13 tcp dport != 6379 reject with icmp type admin-prohibited
        ip6 daddr fd00:20::13 tcp dport != 6379 reject with icmpv6 type admin-prohibited
    }
    chain prerouting {
        type nat hook prerouting priority -100;
        ip daddr 198.18.20.14 tcp dport 1-65535 redirect to :6379
        ip6 daddr fd00:20::14 tcp dport 1-65535 redirect to :6379
    }
}
"#;

impl Net {
    /// `None`, said loudly, where it cannot be made.
    fn new(name: &str) -> Option<Net> {
        let missing = ["ip", "nft", "redis-server", "python3"].into_iter().find(|tool| {
            !Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status().unwrap().success()
        });
        if !rustix::process::geteuid().is_root() || missing.is_some() {
            eprintln!("SKIPPED: needs root, ip, nft, redis-server and python3; missing: {}", missing.unwrap_or("root"));
            return None;
        }
        let prefix = format!("prscan-{name}-{}", std::process::id());
        let mut net = Net { prefix, redis: Vec::new() };
        let (s, router, hosts) = (net.name("s"), net.name("r"), net.name("h"));
        let mut script = String::new();
        for namespace in [&s, &router, &hosts] {
            script += &format!("ip netns add {namespace}\nip -n {namespace} link set lo up\n");
            // Addresses are usable at once, and errors are not rate-limited away.
            script += &format!(
                "ip netns exec {namespace} sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
                 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0\n"
            );
        }
        script += &format!(
            "ip -n {s} link add s0 type veth peer name r0 netns {router}\n\
             ip -n {router} link add r1 type veth peer name h0 netns {hosts}\n\
             ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1\n"
        );
        for (namespace, device, number, hosts) in [
            (&s, "s0", 10, &["1"][..]),
            (&router, "r0", 10, &["254"]),
            (&router, "r1", 20, &["254"]),
            (&hosts, "h0", 20, &["11", "12", "13", "14", "66"]),
        ] {
            script += &format!("ip -n {namespace} link set {device} up\n");
            for host in hosts {
                script += &format!("ip -n {namespace} addr add 198.18.{number}.{host}/24 dev {device}\n");
                script += &format!("ip -n {namespace} addr add fd00:{number}::{host}/64 dev {device} nodad\n");
            }
        }
        for (namespace, number) in [(&s, 10), (&hosts, 20)] {
            script += &format!("ip -n {namespace} route add default via 198.18.{number}.254\n");
            script += &format!("ip -n {namespace} route add default via fd00:{number}::254\n");
        }
        net.sh(&script);
        net.sh(&format!("ip netns exec {hosts} nft -f - <<'END'\n{FILTER}\nEND"));
        for namespace in [&hosts, &router] {
            let redis = Command::new("ip")
                .args(["netns", "exec", namespace, "redis-server", "--port", "6379", "--bind", "0.0.0.0", "::", "--save", ""])
                .args(["--protected-mode", "no", "--daemonize", "no"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            net.redis.push(redis);
            let listens = || {
                let ss = Command::new("ip").args(["netns", "exec", namespace, "ss", "-Htln", "sport = 6379"]).output().unwrap();
                String::from_utf8_lossy(&ss.stdout).lines().count() >= 2
            };
            let began = Instant::now();
            while !listens() {
                assert!(began.elapsed() < Duration::from_secs(10), "redis-server does not listen");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Some(net)
    }

    fn name(&self, which: &str) -> String {
        format!("{}-{which}", self.prefix)
    }

    fn sh(&self, script: &str) -> String {
        let out = Command::new("sh").args(["-ec", script]).output().unwrap();
        assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Runs work on a thread that lives in the scanner's namespace.
    fn scanner<T: Send + 'static, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send + 'static) -> T {
        inside(&self.name("s"), work)
    }

    /// Packets that reached the addresses nobody may probe.
    fn packets_to_excluded(&self) -> u64 {
        let listing = self.sh(&format!("ip netns exec {} nft list table inet prscan", self.name("h")));
        let counts = listing.lines().filter(|line| line.contains("excluded")).map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words.iter().position(|word| *word == "packets").expect("a counter");
            words[at + 1].parse::<u64>().unwrap()
        });
        counts.sum()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for redis in &mut self.redis {
            let _ = redis.kill();
            let _ = redis.wait();
        }
        for which in ["s", "r", "h"] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(which)]).status();
        }
    }
}

/// Runs work on a thread that lives in a namespace.
pub fn inside<T: Send + 'static, F: Future<Output = T>>(namespace: &str, work: impl FnOnce() -> F + Send + 'static) -> T {
    let path = format!("/run/netns/{namespace}");
    let thread = std::thread::spawn(move || {
        let namespace = std::fs::File::open(&path).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work())
    });
    thread.join().unwrap()
}

fn lab_sweep(targets: &[&str], set: &str, method: Method) -> Sweep {
    let mut s = sweep(targets, set);
    let all: Vec<IpRange> = s.targets.clone();
    s.scope = Scope::new(&all, &[r("198.18.20.66"), r("fd00:20::66")]);
    s.method = method;
    s.timeout = Duration::from_millis(400);
    s.pace = std::sync::Arc::new(scan::Pacer::new(
        model::settings::Pace { node_pps: 5_000, per_network_pps: 5_000, per_target_pps: 5_000 },
        Vec::new(),
    ));
    s
}

#[test]
fn real_hosts_are_told_apart_alike_by_syn_and_connect_in_both_families() {
    let Some(net) = Net::new("a") else { return };
    let mut by_method: Vec<BTreeMap<String, String>> = Vec::new();
    for method in [Method::Syn, Method::Connect] {
        let (found, summary) = net.scanner(move || async move {
            let targets = ["198.18.20.11-198.18.20.13", "198.18.20.99", "198.18.10.254", "198.18.10.77"];
            let targets_v6 =
                ["fd00:20::11-fd00:20::13", "fd00:20::99", "fd00:10::254", "fd00:10::77", "198.18.20.66", "fd00:20::66"];
            let mut s = lab_sweep(&[&targets[..], &targets_v6[..]].concat(), "22,80,6379", method);
            s.report_all = true;
            all_found(|out, progress, cancel| scan_sweep(s, out, progress, cancel)).await
        });
        assert_eq!((summary.method, summary.not_probed, summary.drops), (method, 0, 0));
        assert_eq!(summary.out_of_scope, 2);
        assert_eq!(summary.open_found, 8, "{:?}", opens(&found));
        by_method.push(states(&found));
    }
    let [syn, connect] = &by_method[..] else { unreachable!() };
    let state = |s: &str| s.split('/').next().unwrap().to_owned();
    let only_states = |all: &BTreeMap<String, String>| all.iter().map(|(e, s)| (e.clone(), state(s))).collect::<BTreeMap<_, _>>();
    assert_eq!(only_states(syn), only_states(connect));
    // fd00:20::11-fd00:20::13 are three addresses, written in hexadecimal.
    assert_eq!(syn.len(), 12 * 3);
    for (host, others) in [
        ("198.18.20.11", "closed/rst"),
        ("[fd00:20::11]", "closed/rst"),
        ("198.18.20.12", "filtered/timeout"),
        ("[fd00:20::12]", "filtered/timeout"),
        ("198.18.20.13", "filtered/icmp-prohibited"),
        ("[fd00:20::13]", "filtered/icmp-prohibited"),
        ("198.18.10.254", "closed/rst"),
        ("[fd00:10::254]", "closed/rst"),
    ] {
        assert_eq!(syn[&format!("{host}:6379/tcp")], "open/syn-ack", "{host}");
        for port in [22, 80] {
            assert_eq!(syn[&format!("{host}:{port}/tcp")], others, "{host}");
        }
    }
    for (dead, reason) in [
        ("198.18.20.99", "filtered/timeout"),
        ("[fd00:20::99]", "filtered/timeout"),
        ("198.18.10.77", "filtered/icmp-unreachable"),
        ("[fd00:10::77]", "filtered/icmp-unreachable"),
    ] {
        assert_eq!(syn[&format!("{dead}:6379/tcp")], reason, "{dead}");
    }
    assert_eq!(connect["[fd00:20::13]:22/tcp"], "filtered/icmp-prohibited");
    assert_eq!(net.packets_to_excluded(), 0, "PR-1, counted at the target");
}

#[test]
fn real_hosts_are_found_alive_or_dead_with_the_reason() {
    let Some(net) = Net::new("b") else { return };
    let of = |method| {
        let (found, summary) = net.scanner(move || async move {
            let targets = ["198.18.20.11-198.18.20.13", "198.18.20.99", "198.18.10.254", "198.18.10.77", "198.18.10.1"];
            let v6 = ["fd00:20::11-fd00:20::13", "fd00:20::99", "fd00:10::254", "fd00:10::77", "fd00:10::1"];
            let Sweep { targets, scope, pace, timeout, seed, .. } = lab_sweep(&[&targets[..], &v6[..]].concat(), "1", method);
            let ping = Ping { method, timeout, seed, ..Ping::new(targets, scope, pace) };
            all_found(|out, progress, cancel| liveness(ping, out, progress, cancel)).await
        });
        let hosts: BTreeMap<String, (Liveness, Reason)> = found
            .iter()
            .map(|f| if let Found::Host(h) = f { (h.ip.to_string(), (h.liveness, h.reason)) } else { panic!("{f:?}") })
            .collect();
        assert_eq!((hosts.len(), found.len()), (14, 14));
        (hosts, summary)
    };
    let (syn, summary) = of(Method::Syn);
    assert_eq!(summary.hosts_up, 8);
    for (host, liveness, reasons) in [
        ("198.18.20.11", Liveness::Online, &[Reason::EchoReply, Reason::Rst][..]),
        ("fd00:20::11", Liveness::Online, &[Reason::EchoReply, Reason::Rst]),
        // Drops everything that liveness asks; only its Redis answers.
        ("198.18.20.12", Liveness::Offline, &[Reason::Timeout]),
        ("fd00:20::12", Liveness::Offline, &[Reason::Timeout]),
        ("198.18.20.13", Liveness::Online, &[Reason::EchoReply, Reason::IcmpProhibited]),
        ("fd00:20::13", Liveness::Online, &[Reason::EchoReply, Reason::IcmpProhibited]),
        ("198.18.20.99", Liveness::Offline, &[Reason::Timeout]),
        ("198.18.10.254", Liveness::Online, &[Reason::ArpReply]),
        ("fd00:10::254", Liveness::Online, &[Reason::ArpReply]),
        ("198.18.10.77", Liveness::Offline, &[Reason::Timeout]),
        ("fd00:10::77", Liveness::Offline, &[Reason::Timeout]),
        // The scanner's own address.
        ("198.18.10.1", Liveness::Online, &[Reason::ConnectionRefused]),
        ("fd00:10::1", Liveness::Online, &[Reason::ConnectionRefused]),
    ] {
        let (seen, reason) = syn[host];
        assert!(seen == liveness && reasons.contains(&reason), "{host}: {seen} {reason}");
    }
    let (connect, _) = of(Method::Connect);
    assert_eq!(connect["198.18.20.11"], (Liveness::Online, Reason::ConnectionRefused));
    assert_eq!(connect["fd00:20::12"], (Liveness::Offline, Reason::Timeout));
}

#[test]
fn a_real_firewall_that_accepts_every_port_is_recognised_within_seconds() {
    let Some(net) = Net::new("c") else { return };
    for (method, target) in [(Method::Syn, "198.18.20.14"), (Method::Syn, "fd00:20::14"), (Method::Connect, "198.18.20.14")] {
        let began = Instant::now();
        let (found, summary) = net.scanner(move || async move {
            let s = lab_sweep(&[target, "198.18.20.11"], "1-3000,6379", method);
            all_found(|out, progress, cancel| scan_sweep(s, out, progress, cancel)).await
        });
        let pseudo: Vec<u32> = found
            .iter()
            .filter_map(|f| if let Found::PseudoOpen { open_ports, .. } = f { Some(*open_ports) } else { None })
            .collect();
        assert_eq!(pseudo.last(), Some(&3_001), "{method} {target}");
        let told = observations(&found);
        assert!(told.contains_key(&"198.18.20.11:6379/tcp".parse().unwrap()), "{method} {target}");
        assert!(told.keys().any(|e| e.port == 445), "{method} {target}: a high-risk port of the firewall is told");
        assert!(told.len() < 70, "{method} {target}: {} told", told.len());
        assert_eq!(summary.drops, 0);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_whole_port_range_of_a_real_host_is_found_without_a_miss() {
    let Some(net) = Net::new("d") else { return };
    let (found, summary) = net.scanner(|| async {
        let mut s = lab_sweep(&["198.18.20.11", "198.18.20.12"], "1-65535", Method::Syn);
        s.pace = fast();
        s.rate_pps = Some(30_000);
        s.retries = Retries::Fixed(0);
        all_found(|out, progress, cancel| scan_sweep(s, out, progress, cancel)).await
    });
    assert_eq!(opens(&found), ["198.18.20.11:6379/tcp", "198.18.20.12:6379/tcp"]);
    assert_eq!((summary.probes_sent, summary.drops), (131_070, 0));
    eprintln!("131,070 SYNs in {:?}", summary.elapsed);
}

#[test]
fn a_socket_that_meets_itself_is_no_open_port() {
    // Asking every ephemeral port of its own address by connect makes a socket meet itself about once in 28,000 times; in a
    // namespace of its own nobody listens, so whatever is open would be that.
    let Some(net) = Net::new("e") else { return };
    let (found, summary) = net.scanner(|| async {
        let mut s = sweep(&["127.0.0.1", "198.18.10.1", "::1"], "32768-60999");
        s.method = Method::Connect;
        s.retries = Retries::Fixed(0);
        all_found(|out, progress, cancel| scan_sweep(s, out, progress, cancel)).await
    });
    assert_eq!(opens(&found), Vec::<String>::new());
    assert_eq!((summary.probes_sent, summary.not_probed), (3 * 28_232, 0));
}

#[test]
fn a_host_behind_a_device_without_link_header_is_asked_by_bare_packets() {
    let Some(net) = Net::new("f") else { return };
    let mut responder = Command::new("ip")
        .args(["netns", "exec", &net.name("s"), "python3", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tun.py")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(responder.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(said.next().as_deref(), Some("ready"));
    let (found, summary) = net.scanner(|| async {
        let mut s = lab_sweep(&["198.18.40.9", "fd00:40::9"], "22,80", Method::Syn);
        s.report_all = true;
        all_found(|out, progress, cancel| scan_sweep(s, out, progress, cancel)).await
    });
    responder.kill().unwrap();
    responder.wait().unwrap();
    let expected = [
        ("198.18.40.9:22/tcp", "open/syn-ack"),
        ("198.18.40.9:80/tcp", "closed/rst"),
        ("[fd00:40::9]:22/tcp", "open/syn-ack"),
        ("[fd00:40::9]:80/tcp", "closed/rst"),
    ];
    assert_eq!(states(&found), expected.map(|(e, s)| (e.to_owned(), s.to_owned())).into());
    assert_eq!(summary.probes_sent, 4);
    let heard: Vec<String> = said.collect();
    assert!(heard.len() >= 4 && heard.iter().all(|line| line.starts_with("right")), "checksums as the host saw them: {heard:?}");
}
