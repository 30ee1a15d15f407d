//! Rates on a real wire, seen from the other end of it: how many frames arrive in any second at a fixed rate, and what
//! `--rate auto` makes of a policer. Needs root and `ip`, `nft`, `tcpdump` and `python3`; says so and passes where they are
//! missing.

use crate::namespaces::inside;
use crate::{all_found, observations, ports, r};
use model::{Liveness, PortSet, Scope, State};
use scan::{Found, Method, Pacer, Ping, Retries, Summary, Sweep, liveness, sweep as scan_sweep};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A scanner and, one router away, a network in which every address is a host.
struct Wire {
    name: String,
    children: Vec<Child>,
}

/// Ports on which each of the hosts listens.
const OPEN: &str = "22,80,443,1000-1016,2345";

/// Listens on all ports of the set, on all addresses, until it is killed.
const LISTEN: &str = "
import socket, sys, time
held = []
for port in map(int, sys.argv[1:]):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('0.0.0.0', port)); s.listen(4096); held.append(s)
print('ready', flush=True)
time.sleep(600)
";

impl Wire {
    fn new(name: &str) -> Option<Wire> {
        let missing = ["ip", "nft", "tcpdump", "python3"].into_iter().find(|tool| {
            !Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status().unwrap().success()
        });
        if !rustix::process::geteuid().is_root() || missing.is_some() {
            eprintln!("SKIPPED: needs root, ip, nft, tcpdump and python3; missing: {}", missing.unwrap_or("root"));
            return None;
        }
        let name = format!("prC{}-{name}", std::process::id());
        let mut wire = Wire { name: name.clone(), children: Vec::new() };
        wire.sh(&format!(
            "ip netns add {name}-s; ip netns add {name}-h
             ip -n {name}-s link set lo up; ip -n {name}-h link set lo up
             ip -n {name}-s link add s0 type veth peer name h0 netns {name}-h
             ip -n {name}-s link set s0 up; ip -n {name}-h link set h0 up
             ip -n {name}-s addr add 198.18.60.1/24 dev s0; ip -n {name}-h addr add 198.18.60.254/24 dev h0
             ip -n {name}-s route add default via 198.18.60.254
             ip -n {name}-h route add local 198.18.61.0/24 dev lo
             ip netns exec {name}-h sysctl -qw net.ipv4.tcp_max_syn_backlog=65536 net.core.somaxconn=65536"
        ));
        let open: PortSet = ports(OPEN);
        let mut listener = Command::new("ip")
            .args(["netns", "exec", &format!("{name}-h"), "python3", "-c", LISTEN])
            .args(open.iter().map(|port| port.to_string()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(listener.stdout.take().unwrap()).lines().next();
        wire.children.push(listener);
        assert_eq!(said.unwrap().unwrap(), "ready");
        Some(wire)
    }

    fn sh(&self, script: &str) {
        let out = Command::new("sh").args(["-ec", script]).output().unwrap();
        assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
    }

    /// What the hosts' side does with SYNs before any host sees them.
    fn filter(&self, rule: &str) {
        self.sh(&format!(
            "ip netns exec {}-h nft -f - <<'END'\ntable ip prc {{\nchain path {{\n\
             type filter hook prerouting priority -300;\n{rule}\n}}\n}}\nEND",
            self.name
        ));
    }

    /// The sweep, from the scanner's side, for so long at most.
    fn scan(&self, sweep: Sweep, longest: Duration) -> (BTreeSet<(IpAddr, u16)>, Summary) {
        let (found, summary) = inside(&format!("{}-s", self.name), move || async move {
            all_found(|out, progress, cancel| {
                let stop = cancel.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(longest).await;
                    stop.cancel();
                });
                scan_sweep(sweep, out, progress, cancel)
            })
            .await
        });
        let open = observations(&found).into_values().filter(|o| o.state == State::Open);
        (open.map(|o| (o.endpoint.ip, o.endpoint.port)).collect(), summary)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for side in ["s", "h"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{side}", self.name)]).status();
        }
    }
}

fn sweep_of(targets: &str, set: &str) -> Sweep {
    let targets = vec![r(targets)];
    let scope = Scope::new(&targets, &[]);
    let (retries, timeout) = (Retries::Fixed(0), Duration::from_millis(500));
    Sweep { method: Method::Syn, retries, timeout, ..Sweep::new(targets, ports(set), scope, Arc::new(Pacer::unlimited())) }
}

/// When each frame of a capture arrived, in microseconds.
fn arrivals(pcap: &[u8]) -> Vec<u64> {
    let word = |at: usize| u64::from(u32::from_le_bytes(pcap[at..at + 4].try_into().unwrap()));
    assert_eq!(word(0), 0xa1b2_c3d4, "a capture of microseconds, little-endian");
    let (mut at, mut times) = (24, Vec::new());
    while at + 16 <= pcap.len() {
        times.push(1_000_000 * word(at) + word(at + 4));
        at += 16 + word(at + 8) as usize;
    }
    times
}

#[test]
fn a_fixed_rate_is_exact_at_the_other_end_of_the_wire() {
    let Some(wire) = Wire::new("rate") else { return };
    wire.filter("ip daddr 198.18.61.0/24 drop");
    for (pps, seconds) in [(50u32, 5), (1_000, 4), (20_000, 4)] {
        let file = std::env::temp_dir().join(format!("{}-{pps}.pcap", wire.name));
        let mut tcpdump = Command::new("ip")
            .args(["netns", "exec", &format!("{}-h", wire.name), "tcpdump", "-i", "h0", "-Z", "root", "-B", "65536", "-s", "64"])
            .args(["-U", "-w", file.to_str().unwrap(), "dst net 198.18.61.0/24 and tcp"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let listening =
            BufReader::new(tcpdump.stderr.take().unwrap()).lines().map_while(Result::ok).any(|l| l.contains("listening on"));
        assert!(listening);
        let mut sweep = sweep_of("198.18.61.0/24", "1-65535");
        sweep.rate_pps = Some(pps);
        let (_, summary) = wire.scan(sweep, Duration::from_secs(seconds));
        std::thread::sleep(Duration::from_millis(300));
        rustix::process::kill_process(rustix::process::Pid::from_child(&tcpdump), rustix::process::Signal::INT).unwrap();
        tcpdump.wait().unwrap();
        let times = arrivals(&std::fs::read(&file).unwrap());
        std::fs::remove_file(&file).unwrap();
        let (mut first, mut most) = (0, 0);
        for (last, at) in times.iter().enumerate() {
            while at - times[first] >= 1_000_000 {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        eprintln!("{pps} asked for: at most {most} in a second, {} in all, {} sent", times.len(), summary.probes_sent);
        // One more than the cap where that is less than two percent: a frame may arrive a moment late and the next in time.
        let cap = (f64::from(pps) * 1.02).max(f64::from(pps) + 1.0);
        assert!(most as f64 <= cap, "{pps}: {most} in a second");
        // A machine that is busy with other things may send less most of the time, but hardly all the time.
        assert!(most as f64 >= f64::from(pps) * 0.9 - 1.0, "{pps}: only {most} in a second");
    }
}

#[test]
fn a_real_policer_is_found_and_nothing_is_missed_behind_it() {
    let Some(wire) = Wire::new("police") else { return };
    // 3,000 a second leave room on a busy machine.
    wire.filter("ip daddr 198.18.61.0/24 tcp flags syn limit rate over 3000/second burst 300 packets drop");
    let open: PortSet = ports(OPEN);
    let sweep = Sweep { adapt: true, ..sweep_of("198.18.61.0/26", "1-1200,2345") };
    let (found, summary) = wire.scan(sweep, Duration::from_secs(150));
    let asked: Vec<u16> = open.iter().filter(|port| *port <= 1_200 || *port == 2_345).collect();
    let truth: BTreeSet<(IpAddr, u16)> =
        (0..64u8).flat_map(|n| asked.iter().map(move |port| (IpAddr::from([198, 18, 61, n]), *port))).collect();
    assert!(found.is_subset(&truth));
    let recall = found.len() as f64 / truth.len() as f64;
    eprintln!("recall {recall}, {summary:?}");
    assert!(recall >= 0.995, "{recall}");
    let said = f64::from(summary.path_rate_pps.expect("a limit"));
    assert!((said / 3_000.0 - 1.0).abs() < 0.15, "said {said}");
}

#[test]
fn liveness_finds_every_host_that_answers_anything_at_speed() {
    let Some(wire) = Wire::new("live") else { return };
    // A quarter of a /20 is there; of these, a quarter answers no echo, and a quarter nothing but what listens on port 80.
    wire.sh(&format!("ip -n {}-h route add local 198.18.64.0/22 dev lo", wire.name));
    wire.filter(
        "ip daddr 198.18.65.0/24 icmp type echo-request drop\n\
         ip daddr 198.18.66.0/24 icmp type echo-request drop\n\
         ip daddr 198.18.66.0/24 tcp dport != 80 drop",
    );
    let targets = vec![r("198.18.64.0/20")];
    let scope = Scope::new(&targets, &[]);
    let name = format!("{}-s", wire.name);
    let (found, summary) = inside(&name, move || async move {
        let ping =
            Ping { method: Method::Syn, rate_pps: Some(20_000), ..Ping::new(targets, scope, Arc::new(Pacer::unlimited())) };
        all_found(|out, progress, cancel| liveness(ping, out, progress, cancel)).await
    });
    let up: BTreeSet<IpAddr> = (found.iter())
        .filter_map(|f| if let Found::Host(h) = f { (h.liveness == Liveness::Online).then_some(h.ip) } else { None })
        .collect();
    eprintln!("{} up, {} probes in {:?}", up.len(), summary.probes_sent, summary.elapsed);
    assert_eq!(found.len(), 4_096);
    assert!(up.iter().all(|ip| r("198.18.64.0/22").contains(*ip)));
    assert_eq!(up.len(), 1_024);
}
