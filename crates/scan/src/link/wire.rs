//! The link over real devices, in network namespaces of the test's own: what leaves arrives, what has to be dropped is counted,
//! what is not for us is not seen. Needs root and `ip`; says so loudly and passes where they are missing.

use super::raw::RawLink;
use super::{Arrivals, Batch, Link, Route, Sink};
use crate::cookie::SourcePorts;
use crate::tap::{PcapFile, Tap};
use packet::{Arp, Ethernet, Flags, Framing, Ip, Mac, Tcp, TcpOptions, Udp, build};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Two namespaces and a cable: `s0` with 198.18.30.1/24 and fd00:30::1/64, `t0` with no address at all.
struct Cable {
    prefix: String,
}

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PORTS: SourcePorts = SourcePorts { first: 61_000, last: 65_095 };

impl Cable {
    /// `None`, said loudly, where it cannot be made.
    fn new(name: &str) -> Option<Cable> {
        if !rustix::process::geteuid().is_root() || !exists("ip") {
            eprintln!("SKIPPED: needs root and ip");
            return None;
        }
        let cable = Cable { prefix: format!("prlink-{name}-{}", std::process::id()) };
        let (s, t) = (cable.name('s'), cable.name('t'));
        for namespace in [&s, &t] {
            sh(&format!(
                "ip netns add {namespace}; ip -n {namespace} link set lo up
                 ip netns exec {namespace} sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0"
            ));
        }
        sh(&format!(
            "ip -n {s} link add s0 address {OURS} type veth peer name t0 address {THEIRS} netns {t}
             ip netns exec {t} sysctl -qw net.ipv6.conf.t0.disable_ipv6=1
             ip -n {t} link set t0 up; ip -n {s} link set s0 up
             ip -n {s} addr add 198.18.30.1/24 dev s0; ip -n {s} addr add fd00:30::1/64 dev s0 nodad"
        ));
        Some(cable)
    }

    fn name(&self, end: char) -> String {
        format!("{}-{end}", self.prefix)
    }

    /// Runs work on a thread at that end. What it opens belongs to that end for good.
    fn at<T: Send + 'static>(&self, end: char, work: impl FnOnce() -> T + Send + 'static) -> T {
        let path = format!("/run/netns/{}", self.name(end));
        let thread = std::thread::spawn(move || {
            let namespace = std::fs::File::open(&path).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap()
    }

    /// A link at our end, its interface open.
    fn link(&self, ring: usize, sink: Arc<Heard>, tap: Option<Arc<dyn Tap>>) -> (RawLink, u32) {
        self.at('s', move || {
            let link = RawLink::tapped(PORTS, sink, tap).unwrap().with_ring(ring);
            let Route::OnLink(interface) = link.route("198.18.30.2".parse().unwrap()).unwrap() else { panic!("on link") };
            (link, interface.index)
        })
    }

    /// A sender at the far end.
    fn far_end(&self) -> Far {
        self.far_end_of("t0")
    }

    /// A sender on that device of the far end.
    fn far_end_of(&self, device: &'static str) -> Far {
        self.at('t', move || {
            let mut kernel = super::route::Kernel::open().unwrap();
            let mut devices = (1..20).filter_map(|index| Some((index, kernel.link(index).ok()?)));
            let (index, info) = devices.find(|(_, info)| info.name == device).unwrap();
            let tapped = crate::tap::Tapped { interface: index, framing: Framing::Ethernet, tap: None };
            let sender = super::send::Sender::open(index, &info, Framing::Ethernet).unwrap();
            Far(super::Outlet::threaded(tapped, [sender]).unwrap())
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in ['s', 't'] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(end)]).status();
        }
    }
}

/// Whoever sits at the far end.
struct Far(super::Outlet);

impl Far {
    fn send(&self, frames: &[Vec<u8>]) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            for frames in frames.chunks(256) {
                let mut batch = self.0.batch();
                frames.iter().for_each(|frame| {
                    batch.push(frame);
                });
                self.0.reserve().await.unwrap().send(batch);
            }
            self.0.drained().await.unwrap();
        });
    }
}

/// Keeps what it hears; deaf while it is told to be.
#[derive(Default)]
struct Heard {
    frames: AtomicU64,
    pauses: AtomicU64,
    kept: Mutex<Vec<Vec<u8>>>,
    /// By which interfaces.
    interfaces: Mutex<std::collections::BTreeMap<u32, u64>>,
    keep: AtomicBool,
    deaf: AtomicBool,
}

impl Heard {
    fn keeping() -> Arc<Heard> {
        let heard = Heard::default();
        heard.keep.store(true, Ordering::Relaxed);
        Arc::new(heard)
    }

    fn count(&self) -> u64 {
        self.frames.load(Ordering::Acquire)
    }

    /// Waits until so many frames were heard, and a little longer for those too many.
    fn wait_for(&self, frames: u64) {
        let began = Instant::now();
        while self.count() < frames && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

impl Sink for Heard {
    fn frame(&self, interface: u32, _: Framing, frame: &[u8]) {
        while self.deaf.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.keep.load(Ordering::Relaxed) {
            self.kept.lock().unwrap().push(frame.to_vec());
            *self.interfaces.lock().unwrap().entry(interface).or_default() += 1;
        }
        self.frames.fetch_add(1, Ordering::Release);
    }
    fn pause(&self) {
        self.pauses.fetch_add(1, Ordering::Relaxed);
    }
}

fn exists(tool: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status().unwrap().success()
}

fn sh(script: &str) -> String {
    let out = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn v4(src: &str, dst: &str) -> Ip {
    Ip { src: src.parse().unwrap(), dst: dst.parse().unwrap(), ttl: 64, id: 0 }
}

fn tcp(dst_port: u16, seq: u32, flags: Flags) -> Tcp {
    Tcp { src_port: 80, dst_port, seq, ack: 1, flags, window: 1, options: TcpOptions::default() }
}

/// A SYN-ACK to one of our ports.
fn answer(n: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    let link = Ethernet { src: THEIRS, dst: OURS };
    build::tcp(&mut frame, Some(link), &v4("198.18.30.2", "198.18.30.99"), &tcp(61_000, n, Flags::SYN.and(Flags::ACK)));
    frame
}

#[test]
fn every_frame_of_a_hundred_thousand_arrives_whole_and_is_accounted_for() {
    let Some(cable) = Cable::new("all") else { return };
    let heard = Heard::keeping();
    let (link, _) = cable.link(super::ring::RING, heard.clone(), None);
    let far = cable.far_end();
    // Burst by burst, because between the ends is the kernel's backlog of a thousand frames for each core, which the whole
    // machine shares; what it drops, the cable counts.
    let lost = || {
        let counter = format!("ip netns exec {} cat /sys/class/net/t0/statistics/tx_dropped", cable.name('t'));
        sh(&counter).trim().parse::<u64>().unwrap()
    };
    for burst in 0..400u32 {
        far.send(&(0..250).map(|n| answer(burst * 250 + n)).collect::<Vec<_>>());
        let began = Instant::now();
        while heard.count() < u64::from(burst + 1) * 250 && began.elapsed() < Duration::from_millis(20) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let arrived = 100_000 - lost();
    heard.wait_for(arrived);
    let mut kept = heard.kept.lock().unwrap();
    assert_eq!(kept.len() as u64, arrived);
    // A sender that moves to another core may overtake itself: each core has a backlog of its own.
    kept.sort_unstable_by(|a, b| a[38..42].cmp(&b[38..42]));
    kept.dedup();
    assert_eq!(kept.len() as u64, arrived, "none twice");
    let whole = |frame: &Vec<u8>| *frame == answer(u32::from_be_bytes(frame[38..42].try_into().unwrap()));
    assert!(kept.iter().all(whole));
    assert_eq!(link.arrivals(), Arrivals { frames: arrived, dropped: 0, full: 0 });
    assert!(heard.pauses.load(Ordering::Relaxed) > 1);
    assert_eq!(far.0.left().frames, 100_000);
}

#[test]
fn looking_at_an_empty_ring_changes_nothing() {
    let Some(cable) = Cable::new("idle") else { return };
    let heard = Arc::new(Heard::default());
    let (_link, _) = cable.link(super::ring::RING, heard.clone(), None);
    let far = cable.far_end();
    for n in 1..=3 {
        // Long enough for the receiver to look up by itself a few times.
        std::thread::sleep(Duration::from_millis(350));
        far.send(&[answer(n)]);
        let began = Instant::now();
        while heard.count() < u64::from(n) {
            assert!(began.elapsed() < Duration::from_secs(5), "answer {n} is not heard");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn answers_that_find_the_ring_full_are_counted_and_the_ring_recovers() {
    let Some(cable) = Cable::new("full") else { return };
    let heard = Arc::new(Heard::default());
    // Four blocks: about 1,600 minimal frames.
    let (link, _) = cable.link(256 << 10, heard.clone(), None);
    let far = cable.far_end();
    heard.deaf.store(true, Ordering::Release);
    for burst in 0..20u32 {
        far.send(&(0..500).map(|n| answer(burst * 500 + n)).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(20));
    let stalled = link.arrivals();
    assert!(stalled.dropped > 5_000 && stalled.full > 0, "readable while it happens: {stalled:?}");
    assert_eq!(link.drops(), stalled.dropped);
    heard.deaf.store(false, Ordering::Release);
    let fit = stalled.frames - stalled.dropped;
    heard.wait_for(fit);
    assert_eq!(heard.count(), fit, "what is not dropped is heard");
    far.send(&[answer(1), answer(2)]);
    heard.wait_for(fit + 2);
    assert_eq!((heard.count(), link.drops()), (fit + 2, stalled.dropped));
}

#[test]
fn only_what_may_be_an_answer_is_heard() {
    let Some(cable) = Cable::new("filter") else { return };
    let heard = Heard::keeping();
    let (link, interface) = cable.link(super::ring::RING, heard.clone(), None);
    let far = cable.far_end();
    let ethernet = Ethernet { src: THEIRS, dst: OURS };
    let eth = Some(ethernet);
    let (ip4, ip6) = (v4("198.18.30.2", "198.18.30.99"), v4("fd00:30::2", "fd00:30::99"));
    let built = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        frame
    };
    let arp = |is_reply| Arp {
        is_reply,
        sender_mac: THEIRS,
        sender_ip: "198.18.30.2".parse().unwrap(),
        target_mac: OURS,
        target_ip: "198.18.30.99".parse().unwrap(),
    };
    let udp = |dst_port| Udp { src_port: 53, dst_port };
    let tagged = |tag: u16| {
        let mut frame = answer(7);
        frame.splice(12..12, [0x81, 0x00].into_iter().chain(tag.to_be_bytes()));
        frame
    };
    let patched = |at: usize, byte: u8| {
        let mut frame = answer(8);
        frame[at] = byte;
        frame
    };
    let quoted = built(&|f| build::tcp(f, None, &v4("198.18.30.99", "198.18.30.2"), &tcp(80, 1, Flags::SYN)));
    let cases: Vec<(&str, bool, Vec<u8>)> = vec![
        ("tcp to the first port", true, built(&|f| build::tcp(f, eth, &ip4, &tcp(61_000, 1, Flags::RST)))),
        ("tcp to the last port", true, built(&|f| build::tcp(f, eth, &ip4, &tcp(65_095, 1, Flags::RST)))),
        ("tcp below", false, built(&|f| build::tcp(f, eth, &ip4, &tcp(60_999, 1, Flags::RST)))),
        ("tcp above", false, built(&|f| build::tcp(f, eth, &ip4, &tcp(65_096, 1, Flags::RST)))),
        ("tcp over IPv6", true, built(&|f| build::tcp(f, eth, &ip6, &tcp(61_000, 1, Flags::RST)))),
        ("tcp over IPv6 elsewhere", false, built(&|f| build::tcp(f, eth, &ip6, &tcp(443, 1, Flags::RST)))),
        ("udp", true, built(&|f| build::udp(f, eth, &ip4, &udp(61_001), b"answer"))),
        ("udp elsewhere", false, built(&|f| build::udp(f, eth, &ip4, &udp(53), b"answer"))),
        ("udp over IPv6", true, built(&|f| build::udp(f, eth, &ip6, &udp(61_001), b"answer"))),
        ("an echo reply", true, built(&|f| build::echo_reply(f, eth, &ip4, 1, 2, b"x"))),
        ("an echo request", false, built(&|f| build::echo_request(f, eth, &ip4, 1, 2, b"x"))),
        ("an echo reply over IPv6", true, built(&|f| build::echo_reply(f, eth, &ip6, 1, 2, b"x"))),
        ("an echo request over IPv6", false, built(&|f| build::echo_request(f, eth, &ip6, 1, 2, b"x"))),
        ("an ICMP error", true, built(&|f| build::unreachable(f, eth, &ip4, 13, &quoted))),
        ("an ICMPv6 error", true, built(&|f| build::unreachable(f, eth, &ip6, 1, &quoted))),
        ("an ARP reply", true, built(&|f| build::arp(f, &arp(true)))),
        ("an ARP request", false, built(&|f| build::arp(f, &arp(false)))),
        ("a solicitation", false, {
            built(&|f| build::neighbor_solicitation(f, THEIRS, "fd00:30::2".parse().unwrap(), "fd00:30::1".parse().unwrap()))
        }),
        ("an advertisement", true, {
            let to = "fd00:30::1".parse().unwrap();
            built(&|f| build::neighbor_advertisement(f, ethernet, to, "fd00:30::2".parse().unwrap(), THEIRS))
        }),
        ("another VLAN's", false, tagged(10)),
        ("a priority without a VLAN", true, tagged(0xe000)),
        ("a later fragment", false, patched(14 + 7, 9)),
        ("another protocol", false, patched(14 + 9, 132)),
        ("IP options before the ports", true, {
            let mut frame = answer(9);
            frame[14] = 0x46;
            frame.splice(34..34, [1, 1, 1, 0]);
            frame
        }),
        ("something that is no IP", false, patched(12, 0x88)),
    ];
    // The kernel's own chatter (router solicitations, answers to our questions) is not what is counted.
    for (name, passes, frame) in &cases {
        heard.kept.lock().unwrap().clear();
        far.send(std::slice::from_ref(frame));
        let like = |kept: &Vec<u8>| kept.len() >= 34 && (kept[14..34] == frame[14..34] || kept[14..34] == frame[18..38]);
        let began = Instant::now();
        while !heard.kept.lock().unwrap().iter().any(like)
            && began.elapsed() < Duration::from_millis(if *passes { 5_000 } else { 25 })
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(heard.kept.lock().unwrap().iter().any(like), *passes, "{name}");
    }
    heard.kept.lock().unwrap().clear();
    let mine = built(&|f| build::tcp(f, Some(Ethernet { src: OURS, dst: THEIRS }), &ip4, &tcp(61_000, 1, Flags::SYN)));
    link.send(interface, &mine).unwrap();
    std::thread::sleep(Duration::from_millis(40));
    assert!(!heard.kept.lock().unwrap().contains(&mine), "what we send is not an answer");
}

#[test]
fn ways_of_a_range_are_those_of_each_address() {
    let Some(cable) = Cable::new("ways") else { return };
    let s = cable.name('s');
    sh(&format!(
        "ip -n {s} link add d0 type veth peer name d1; ip -n {s} link set d0 up; ip -n {s} link set d1 up
         ip -n {s} addr add 198.18.31.1/25 dev d0
         ip -n {s} addr add 198.18.30.77/32 dev s0
         ip -n {s} route add default via 198.18.30.254
         ip -n {s} route add 198.18.32.64/26 via 198.18.30.253 src 198.18.30.77
         ip -n {s} route add unreachable 198.18.33.0/28
         ip -n {s} route add blackhole 198.18.33.200
         ip -n {s} route add 198.18.34.0/24 via 198.18.30.252 table 7
         ip -n {s} rule add to 198.18.34.128/25 lookup 7
         ip -n {s} route add fd00:31::/64 via fd00:30::fe
         ip -n {s} route add fd00:31::40/122 via fd00:30::fd
         ip -n {s} -6 route add unreachable fd00:31::80/126"
    ));
    let (link, _) = cable.link(1 << 20, Arc::new(Heard::default()), None);
    let link = Arc::new(link);
    for (range, least) in [("198.18.28.0-198.18.35.255", 12), ("fd00:31::-fd00:31::1ff", 4), ("fd00:30::-fd00:30::ff", 3)] {
        let link = link.clone();
        let range: model::IpRange = range.parse().unwrap();
        cable.at('s', move || {
            let ways = link.routes(range).unwrap();
            assert!(ways.len() >= least, "{ways:?}");
            let mut next = range.first();
            for (part, way) in &ways {
                assert_eq!(part.first(), next, "no gap");
                for ip in part.iter() {
                    assert_eq!(link.route(ip).unwrap(), *way, "{ip} of {part}");
                }
                next = model::address::from_u128(model::address::to_u128(part.last()) + 1, next.is_ipv4());
            }
            assert_eq!(ways.last().unwrap().0.last(), range.last());
        });
    }
}

#[test]
fn an_interface_that_is_down_is_said_by_name() {
    let Some(cable) = Cable::new("down") else { return };
    let heard = Arc::new(Heard::default());
    let (s, t) = (cable.name('s'), cable.name('t'));
    let open = |heard: &Arc<Heard>| {
        let heard = heard.clone();
        cable.at('s', move || RawLink::tapped(PORTS, heard, None).unwrap().route("198.18.30.2".parse::<IpAddr>().unwrap()))
    };
    // Down at one end of the cable is no carrier at the other.
    sh(&format!("ip -n {t} link set t0 down"));
    let error = open(&heard).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().lines().next()),
        (io::ErrorKind::NetworkDown, Some("interface `s0` has no carrier"))
    );
    sh(&format!("ip -n {t} link set t0 up"));
    assert!(matches!(open(&heard), Ok(Route::OnLink(_))));

    let (link, interface) = cable.link(1 << 20, heard.clone(), None);
    let outlet = link.outlet(interface).unwrap();
    sh(&format!("ip -n {s} link set s0 down"));
    let error = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        let mut batch = Batch::default();
        batch.push(&answer(1));
        outlet.reserve().await.unwrap().send(batch);
        outlet.drained().await.unwrap_err()
    });
    assert!(error.to_string().contains("`s0`"), "{error}");
    assert_eq!(outlet.left().frames, 0);
}

#[test]
fn an_operators_own_queue_is_not_gone_past() {
    let Some(cable) = Cable::new("queue") else { return };
    let s = cable.name('s');
    // 8 Mbit/s are a million bytes a second: with a burst of 4,000 bytes, 200 frames of 1,000 bytes take about 0.2 s.
    sh(&format!("tc -n {s} qdisc add dev s0 root tbf rate 8mbit burst 4000 latency 50ms"));
    let (link, interface) = cable.link(1 << 20, Arc::new(Heard::default()), None);
    let outlet = link.outlet(interface).unwrap();
    let mut frame = Vec::new();
    let link_header = Ethernet { src: OURS, dst: THEIRS };
    build::echo_request(&mut frame, Some(link_header), &v4("198.18.30.1", "198.18.30.2"), 1, 2, &[0; 958]);
    let began = Instant::now();
    let left = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        for _ in 0..20 {
            let mut batch = outlet.batch();
            for _ in 0..10 {
                batch.push(&frame);
            }
            outlet.reserve().await.unwrap().send(batch);
        }
        outlet.drained().await.unwrap()
    });
    assert_eq!((left.frames, left.lost), (200, 0), "a full queue is waited for");
    assert!(began.elapsed() > Duration::from_millis(100), "the shaper has shaped: {:?}", began.elapsed());
    let seen = sh(&format!("tc -n {s} -s qdisc show dev s0"));
    assert!(seen.contains("tbf"), "{seen}");
}

#[test]
fn several_interfaces_are_heard_at_once() {
    let Some(cable) = Cable::new("two") else { return };
    let (s, t) = (cable.name('s'), cable.name('t'));
    sh(&format!(
        "ip -n {s} link add s1 address {OURS} type veth peer name t1 address {THEIRS} netns {t}
         ip netns exec {t} sysctl -qw net.ipv6.conf.t1.disable_ipv6=1
         ip -n {t} link set t1 up; ip -n {s} link set s1 up; ip -n {s} addr add 198.18.41.1/24 dev s1"
    ));
    let heard = Heard::keeping();
    let (link, first) = cable.link(1 << 20, heard.clone(), None);
    let link = Arc::new(link);
    let theirs = link.clone();
    let Route::OnLink(second) = cable.at('s', move || theirs.route("198.18.41.2".parse().unwrap())).unwrap() else {
        panic!("on link")
    };
    cable.far_end().send(&(0..300).map(answer).collect::<Vec<_>>());
    cable.far_end_of("t1").send(&(300..500).map(answer).collect::<Vec<_>>());
    heard.wait_for(500);
    let by_interface = heard.interfaces.lock().unwrap().clone();
    assert_eq!(by_interface, [(first, 300), (second.index, 200)].into());
    assert_eq!(link.arrivals(), Arrivals { frames: 500, dropped: 0, full: 0 });
}

#[test]
fn a_vlan_is_an_interface_of_its_own() {
    let Some(cable) = Cable::new("vlan") else { return };
    let s = cable.name('s');
    let add = format!("ip -n {s} link add link s0 name s0.10 type vlan id 10 2>/dev/null");
    if !Command::new("sh").args(["-c", &add]).status().unwrap().success() {
        eprintln!("SKIPPED: the kernel has no VLAN interfaces");
        return;
    }
    sh(&format!("ip -n {s} link set s0.10 up; ip -n {s} addr add 198.18.40.1/24 dev s0.10"));
    let t = cable.name('t');
    sh(&format!("ip -n {t} link add link t0 name t0.10 type vlan id 10; ip -n {t} link set t0.10 up"));
    let heard = Heard::keeping();
    let (link, parent) = cable.link(1 << 20, heard.clone(), None);
    let link = Arc::new(link);
    let theirs = link.clone();
    let Route::OnLink(vlan) = cable.at('s', move || theirs.route("198.18.40.2".parse().unwrap())).unwrap() else {
        panic!("on link")
    };
    assert_ne!(vlan.index, parent);
    let mut tagged = answer(7);
    tagged.splice(12..12, [0x81, 0x00, 0, 10]);
    cable.far_end().send(&[tagged]);
    heard.wait_for(1);
    assert_eq!(*heard.kept.lock().unwrap(), [answer(7)], "once, by the VLAN interface, without its tag");
}

#[test]
fn what_went_by_is_read_by_tcpdump_and_tshark() {
    let Some(cable) = Cable::new("pcap") else { return };
    let path = std::env::temp_dir().join(format!("{}.pcapng", cable.prefix));
    let file = Arc::new(PcapFile::create(&path).unwrap());
    let heard = Arc::new(Heard::default());
    let (link, interface) = cable.link(1 << 20, heard.clone(), Some(file.clone()));
    let mut probe = Vec::new();
    let eth = Ethernet { src: OURS, dst: THEIRS };
    build::tcp(&mut probe, Some(eth), &v4("198.18.30.1", "198.18.30.2"), &build::syn(61_000, 80, 7, true));
    link.send(interface, &probe).unwrap();
    cable.far_end().send(&[answer(99)]);
    heard.wait_for(1);
    assert_eq!(file.finish().unwrap(), 2);
    let shown = path.display();
    for (tool, command, expected) in [
        ("tcpdump", format!("tcpdump -nn --number -r {shown} 2>/dev/null"), ["198.18.30.1.61000 > 198.18.30.2.80", "Flags [S]"]),
        ("tcpdump", format!("tcpdump -nn -r {shown} 2>/dev/null"), ["198.18.30.2.80 > 198.18.30.99.61000", "Flags [S.]"]),
        (
            "tshark",
            format!("tshark -r {shown} -T fields -e frame.packet_flags_direction -e tcp.seq_raw 2>/dev/null"),
            ["0x00000002\t7", "0x00000001\t99"],
        ),
        (
            "tshark",
            format!("tshark -r {shown} -o tcp.check_checksum:TRUE -Y 'tcp.checksum.status==1' 2>/dev/null"),
            ["SYN", "61000"],
        ),
    ] {
        if !exists(tool) {
            eprintln!("SKIPPED in part: needs {tool}");
            continue;
        }
        let text = sh(&command);
        assert!(expected.iter().all(|part| text.contains(part)), "{command}\n{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }
    let _ = std::fs::remove_file(&path);
}
