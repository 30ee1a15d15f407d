//! How many frames a second leave by each way of sending, side by side in one run, and how masscan and zmap fare on the same
//! device; how many are heard by each way of receiving: what docs/decisions/0004-link.md decides by. Not a test: run with
//! `cargo test --release -p scan --lib -- --ignored --nocapture link::measure`, as root. Whole scans are `xtask bench`'s.
use super::outlet::{Account, Carrier, Ledger};
use super::ring::Receiver;
use super::route::Kernel;
use super::send::Sender;
use super::sys::link_address;
use super::{Batch, Outlet, Sink};
use crate::cookie::SourcePorts;
use crate::tap::Tapped;
use packet::{Ethernet, Framing, Ip, Mac, build};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SENDER: &str = "prlink-measure-s";
const TARGET: &str = "prlink-measure-t";

struct Net;

impl Net {
    fn new() -> Net {
        sh(&format!(
            "ip netns add {SENDER}; ip netns add {TARGET}
             ip -n {SENDER} link add s0 type veth peer name t0 netns {TARGET}
             ip -n {SENDER} link set lo up; ip -n {SENDER} link set s0 address 02:00:00:00:00:01 up
             ip -n {TARGET} link set t0 address 02:00:00:00:00:02 up
             ip -n {SENDER} addr add 198.18.0.1/15 dev s0
             ip netns exec {TARGET} nft add table netdev drops
             ip netns exec {TARGET} nft 'add chain netdev drops in {{ type filter hook ingress device t0 priority 0; policy drop; }}'"
        ));
        Net
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in [SENDER, TARGET] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn sh(script: &str) -> String {
    let out = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn arrived() -> u64 {
    sh(&format!("ip netns exec {TARGET} cat /sys/class/net/t0/statistics/rx_packets")).trim().parse().unwrap()
}

/// Frames that reach the other end over two seconds while the threads of a process send: for each second on the clock, and
/// for each second of the processor that the busiest of its threads has had, which others on the machine change less.
fn rate(process: u32) -> Rate {
    std::thread::sleep(Duration::from_millis(700));
    let (before, began, busy) = (arrived(), Instant::now(), processor_times(process));
    std::thread::sleep(Duration::from_secs(2));
    let (after, took, busy_after) = (arrived(), began.elapsed(), processor_times(process));
    let spent = |(thread, after): (&String, &f64)| after - busy.get(thread).copied().unwrap_or(0.0);
    let spent = busy_after.iter().map(spent).fold(0.0, f64::max);
    let frames = (after - before) as f64;
    Rate { per_core: frames / spent, per_second: frames / took.as_secs_f64() }
}

#[derive(Clone, Copy)]
struct Rate {
    per_core: f64,
    per_second: f64,
}

/// Seconds of the processor that each thread has had.
fn processor_times(process: u32) -> HashMap<String, f64> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks
        .filter_map(|task| {
            let task = task.ok()?;
            // Nanoseconds on the processor, waiting, and the number of turns.
            let times = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            let nanoseconds: f64 = times.split(' ').next()?.parse().ok()?;
            Some((task.file_name().into_string().ok()?, nanoseconds / 1e9))
        })
        .collect()
}

fn inside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    at(SENDER, work)
}

fn at<T: Send + 'static>(namespace: &'static str, work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    let run = move || {
        let namespace = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    };
    std::thread::Builder::new().name(namespace.into()).spawn(run).unwrap()
}

fn template() -> Vec<u8> {
    let mut frame = Vec::new();
    let link = Ethernet { src: Mac([2, 0, 0, 0, 0, 1]), dst: Mac([2, 0, 0, 0, 0, 2]) };
    let ip = Ip { src: [198, 18, 0, 1].into(), dst: [198, 18, 0, 2].into(), ttl: 64, id: 0 };
    build::tcp(&mut frame, Some(link), &ip, &build::syn(61_000, 80, 1, true));
    frame
}

fn fill(batch: &mut Batch, template: &[u8], frames: usize, n: &mut u32) {
    for _ in 0..frames {
        *n = n.wrapping_add(1);
        batch.push(template)[38..42].copy_from_slice(&n.to_be_bytes());
    }
}

/// One `send` for each frame, as before there were batches.
struct OneByOne(Socket);

impl Carrier for OneByOne {
    fn carry(&mut self, batch: &Batch, account: &Account<'_>) -> io::Result<()> {
        for frame in batch.frames() {
            let _ = rustix::net::send(&self.0, frame, rustix::net::SendFlags::DONTWAIT);
        }
        account.left(batch, 0..batch.len());
        Ok(())
    }
}

/// Sends the same frames over and over on one thread while the rate is taken.
fn sending(carrier: impl FnOnce(u32) -> Box<dyn Carrier> + Send + 'static, frames: usize) -> Rate {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let work = inside(move || {
        let interface = interface("s0");
        let (mut carrier, ledger) = (carrier(interface), Ledger::detached(interface));
        let (mut batch, template, mut n) = (Batch::default(), template(), 0);
        while !seen.load(Ordering::Relaxed) {
            batch.clear();
            fill(&mut batch, &template, frames, &mut n);
            carrier.carry(&batch, &Account::new(&ledger)).unwrap();
        }
    });
    let rate = rate(std::process::id());
    stop.store(true, Ordering::Relaxed);
    work.join().unwrap();
    rate
}

/// Fills batches on one thread and sends them on another, through the outlet.
fn through_the_outlet(frames: usize) -> Rate {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let work = inside(move || {
        let sender = sender(interface("s0"), true);
        let outlet =
            Outlet::threaded(Tapped { interface: interface("s0"), framing: Framing::Ethernet, tap: None }, [sender]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut batch, template, mut n) = (Batch::default(), template(), 0);
            while !seen.load(Ordering::Relaxed) {
                fill(&mut batch, &template, frames, &mut n);
                batch = outlet.reserve().await.unwrap().send(batch);
            }
        });
    });
    let rate = rate(std::process::id());
    stop.store(true, Ordering::Relaxed);
    work.join().unwrap();
    rate
}

/// The index of a device of the namespace that the calling thread is in.
fn interface(name: &str) -> u32 {
    let mut kernel = Kernel::open().unwrap();
    (1..64).find(|index| kernel.link(*index).is_ok_and(|info| info.name == name)).expect("the device")
}

fn sender(interface: u32, bypass: bool) -> Sender {
    let mut info = Kernel::open().unwrap().link(interface).unwrap();
    if !bypass {
        info.queue = "an operator's".into();
    }
    Sender::open(interface, &info, Framing::Ethernet).unwrap()
}

/// Counts what it hears.
#[derive(Default)]
struct Count(AtomicU64);

impl Sink for Count {
    fn frame(&self, _: u32, _: Framing, frame: &[u8]) {
        self.0.fetch_add(u64::from(!frame.is_empty()), Ordering::Relaxed);
    }
}

/// What one thread hears while another floods it from the far end: frames for each second of the processor that the hearing
/// thread has had, frames a second on the clock, and the share that was dropped.
fn hearing(ring: bool) -> (f64, f64, f64) {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let flood = at(TARGET, move || {
        let (index, mut batch, mut n) = (interface("t0"), Batch::default(), 0);
        let mut sender = sender(index, true);
        let ledger = Ledger::detached(index);
        let mut frame = Vec::new();
        let link = Ethernet { src: Mac([2, 0, 0, 0, 0, 2]), dst: Mac([2, 0, 0, 0, 0, 1]) };
        let ip = Ip { src: [198, 18, 0, 2].into(), dst: [198, 18, 0, 9].into(), ttl: 64, id: 0 };
        build::tcp(&mut frame, Some(link), &ip, &build::rst(80, 61_000, 1));
        while !seen.load(Ordering::Relaxed) {
            batch.clear();
            fill(&mut batch, &frame, 256, &mut n);
            sender.carry(&batch, &Account::new(&ledger)).unwrap();
        }
    });
    let ports = SourcePorts { first: 61_000, last: 65_095 };
    let (heard, seen) = (Arc::new(Count::default()), stop.clone());
    let hears = heard.clone();
    let (report, reported) = std::sync::mpsc::channel();
    let hearing = at(SENDER, move || {
        let index = interface("s0");
        if ring {
            let info = Kernel::open().unwrap().link(index).unwrap();
            let tapped = Tapped { interface: index, framing: Framing::Ethernet, tap: None };
            report.send(format!("scan-recv-{index}")).unwrap();
            let receiver = Receiver::open(tapped, &info, ports, super::ring::RING, hears).unwrap();
            while !seen.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let arrivals = receiver.arrivals();
            return arrivals.dropped as f64 / arrivals.frames as f64;
        }
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).unwrap();
        socket.attach_filter(&super::filter::filter(ports)).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 4 << 20).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        socket.bind(&link_address(index, libc::ETH_P_ALL as u16).unwrap()).unwrap();
        report.send(std::thread::current().name().unwrap().to_owned()).unwrap();
        let mut frame = [0u8; 2_048];
        while !seen.load(Ordering::Relaxed) {
            if let Ok((len, _)) = rustix::net::recv(&socket, &mut frame, rustix::net::RecvFlags::empty()) {
                hears.frame(index, Framing::Ethernet, &frame[..len]);
            }
        }
        let statistics = super::sys::take_statistics(&socket);
        f64::from(statistics.tp_drops) / f64::from(statistics.tp_packets)
    });
    let thread = reported.recv().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let spent = || named_processor_time(&thread);
    let (before, began, busy) = (heard.0.load(Ordering::Relaxed), Instant::now(), spent());
    std::thread::sleep(Duration::from_secs(2));
    let (count, took, busy) = (heard.0.load(Ordering::Relaxed) - before, began.elapsed(), spent() - busy);
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    (count as f64 / busy, count as f64 / took.as_secs_f64(), hearing.join().unwrap())
}

fn named_processor_time(name: &str) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", std::process::id())).unwrap();
    let is_it = |path: &std::path::Path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let path = tasks.map(|task| task.unwrap().path()).find(|path| is_it(path)).expect("the thread runs");
    let times = std::fs::read_to_string(path.join("schedstat")).unwrap();
    times.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

#[test]
#[ignore = "a measurement, not a test: needs root, and both cores for half a minute"]
fn ways_of_hearing() {
    let net = Net::new();
    sh(&format!("ip netns exec {TARGET} nft flush ruleset"));
    for (name, ring) in [("recv, one frame a call", false), ("receive ring", true)] {
        let mut all: Vec<_> = (0..5).map(|_| hearing(ring)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (per_core, per_second, dropped) = all[2];
        let (low, high) = (all[0].0 / 1e6, all[4].0 / 1e6);
        let (per_core, per_second, percent) = (per_core / 1e6, per_second / 1e6, dropped * 100.0);
        eprintln!(
            "{name:30} {per_core:.2} M frames a core-second ({low:.2} to {high:.2}); {per_second:.3} M a second, {percent:.1} % dropped"
        );
    }
    drop(net);
}

/// With a plain queue on the device, as hardware has one unasked.
fn queued(measure: impl FnOnce() -> Rate) -> Rate {
    sh(&format!("tc -n {SENDER} qdisc replace dev s0 root pfifo"));
    let rate = measure();
    sh(&format!("tc -n {SENDER} qdisc del dev s0 root"));
    rate
}

fn peer(command: &str) -> Rate {
    let mut child: Child = Command::new("ip")
        .args(["netns", "exec", SENDER, "sh", "-c", &format!("exec {command}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let rate = rate(child.id());
    let _ = child.kill();
    let _ = child.wait();
    rate
}

#[test]
#[ignore = "a measurement, not a test: needs root, masscan and zmap, and both cores for a minute"]
fn ways_of_sending() {
    let net = Net::new();
    let plain = |interface: u32| {
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).unwrap();
        socket.bind(&link_address(interface, 0).unwrap()).unwrap();
        socket
    };
    type Way = (&'static str, Box<dyn Fn() -> Rate>);
    let ways: Vec<Way> = vec![
        ("send, one frame a call", Box::new(move || sending(move |i| Box::new(OneByOne(plain(i))), 256))),
        ("sendmmsg, device without a queue", Box::new(|| sending(|i| Box::new(sender(i, false)), 256))),
        ("the same, bypass asked for", Box::new(|| sending(|i| Box::new(sender(i, true)), 256))),
        ("sendmmsg through pfifo", Box::new(|| queued(|| sending(|i| Box::new(sender(i, false)), 256)))),
        ("sendmmsg past pfifo", Box::new(|| queued(|| sending(|i| Box::new(sender(i, true)), 256)))),
        ("outlet: batches of 32 from another thread", Box::new(|| through_the_outlet(32))),
        ("outlet: batches of 128 from another thread", Box::new(|| through_the_outlet(128))),
        ("outlet: batches of 512 from another thread", Box::new(|| through_the_outlet(512))),
        (
            "masscan",
            Box::new(|| {
                peer(
                    "masscan 198.19.0.0/16 -p1-65535 --rate 100000000 --adapter-ip 198.18.0.1 --adapter s0 \
                     --router-mac 02-00-00-00-00-02 --wait 0",
                )
            }),
        ),
        (
            "zmap, one sending thread",
            Box::new(|| {
                peer(
                    "zmap -p 80 198.18.0.0/15 10.0.0.0/8 -i s0 -S 198.18.0.1 -G 02:00:00:00:00:02 -r 0 -T 1 -b /dev/null -o /dev/null",
                )
            }),
        ),
    ];
    // WAY=outlet measures only the ways with that word in their name.
    let word = std::env::var("WAY").unwrap_or_default();
    let ways: Vec<Way> = ways.into_iter().filter(|(name, _)| name.contains(&word)).collect();
    let mut rates: Vec<Vec<Rate>> = vec![Vec::new(); ways.len()];
    for _ in 0..5 {
        for ((_, way), rates) in ways.iter().zip(&mut rates) {
            rates.push(way());
        }
    }
    for ((name, _), rates) in ways.iter().zip(&mut rates) {
        rates.sort_by(|a, b| a.per_core.total_cmp(&b.per_core));
        let [low, _, middle, _, high] = rates.iter().map(|r| r.per_core / 1e6).collect::<Vec<_>>()[..] else { unreachable!() };
        let second = rates.iter().map(|r| r.per_second / 1e6).fold(0.0, f64::max);
        eprintln!("{name:48} {middle:.3} M frames a core-second ({low:.3} to {high:.3}); at best {second:.3} M a second");
    }
    drop(net);
}
