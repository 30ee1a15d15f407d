//! The measured link: two network namespaces and one veth pair. On one side the scanners; on the other a kernel that owns the
//! whole of 10.0.0.0/8 (a local route) and answers as the loaded `World` says.
//!
//! Also the two helpers that run inside the namespaces: the responder that accepts for every open endpoint, and the slow
//! connections that verify a world. Starting and measuring scanners is left to `measure`.

use super::world::{Meets, World};
use anyhow::{Context, bail};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Names of namespaces are this, the number of the process that made them, and the side.
const PREFIX: &str = "prbench";
/// Where `ip netns` keeps its names.
const NETNS_DIR: &str = "/run/netns";
/// The scanners' end of the link, and their address.
pub const DEVICE: &str = "s0";
pub const SOURCE: &str = "172.31.255.1";
/// The target side's end of the link, and its address: the gateway to everything.
const FAR_DEVICE: &str = "t0";
const GATEWAY: &str = "172.31.255.2";
/// Every host of a link (RFC 1112).
const ALL_HOSTS: &str = "224.0.0.1";
/// Where the responder listens; only the packet filter sends anything there, for it is on loopback.
const RESPONDER: u16 = 7;
/// How long a slow connection waits before it calls a target silent. The link's own delay is microseconds.
const PATIENCE: Duration = Duration::from_millis(700);

/// The link, while it stands. Dropping it removes the namespaces and what runs in them.
pub struct Link {
    prefix: String,
    responder: Option<Child>,
    /// Hardware address of the gateway, which some scanners must be told.
    pub gateway_mac: String,
}

impl Link {
    /// Makes the namespaces, the link and the responder. Needs root.
    pub fn new() -> anyhow::Result<Link> {
        remove_stale();
        let mut link = Link { prefix: format!("{PREFIX}{}", std::process::id()), responder: None, gateway_mac: String::new() };
        let (s, t) = (link.scanners(), link.targets());
        let lines =
            format!("netns add {s}\nnetns add {t}\nlink add {DEVICE} netns {s} type veth peer name {FAR_DEVICE} netns {t}\n");
        batch(&["-batch", "-"], &lines)?;
        // IPv6 would bring frames of its own into what is counted.
        for (ns, device) in [(&s, DEVICE), (&t, FAR_DEVICE)] {
            link.sysctl(ns, &[&format!("net.ipv6.conf.{device}.disable_ipv6=1")])?;
        }
        // Without rate limits and without the memory of half-open connections the target side answers every packet it lets
        // through, at any rate. SYN cookies also mean that it never repeats a SYN-ACK: no scanner is helped by its targets.
        link.sysctl(
            &t,
            &[
                "net.ipv4.tcp_syncookies=2",
                "net.core.somaxconn=65535",
                "net.ipv4.icmp_ratelimit=0",
                "net.ipv4.conf.all.rp_filter=0",
                &format!("net.ipv4.conf.{FAR_DEVICE}.rp_filter=0"),
            ],
        )?;
        batch(
            &["-n", &s, "-batch", "-"],
            &format!(
                "link set lo up\nlink set {DEVICE} up\naddr add {SOURCE}/30 dev {DEVICE}\nroute add default via {GATEWAY}\n"
            ),
        )?;
        batch(
            &["-n", &t, "-batch", "-"],
            &format!(
                "link set lo up\nlink set {FAR_DEVICE} up\naddr add {GATEWAY}/30 dev {FAR_DEVICE}\nroute add local 10.0.0.0/8 dev lo\nroute add {ALL_HOSTS} dev {FAR_DEVICE}\n"
            ),
        )?;
        let mac = |ns: &str, device: &str| -> anyhow::Result<String> {
            let text = output(Command::new("ip").args(["-n", ns, "-o", "link", "show", device]))?;
            mac_of(&text).with_context(|| format!("`ip link show {device}` names no hardware address: {text}"))
        };
        link.gateway_mac = mac(&t, FAR_DEVICE)?;
        // Known neighbours on both sides: no scanner's time holds a lookup, and no counter an ARP of the kernel.
        let near = mac(&s, DEVICE)?;
        batch(
            &["-n", &s, "-batch", "-"],
            &format!("neigh replace {GATEWAY} lladdr {} dev {DEVICE} nud permanent\n", link.gateway_mac),
        )?;
        batch(&["-n", &t, "-batch", "-"], &format!("neigh replace {SOURCE} lladdr {near} dev {FAR_DEVICE} nud permanent\n"))?;
        link.start_responder()?;
        Ok(link)
    }

    /// The namespace of the scanners.
    pub fn scanners(&self) -> String {
        format!("{}-s", self.prefix)
    }

    fn targets(&self) -> String {
        format!("{}-t", self.prefix)
    }

    fn sysctl(&self, ns: &str, settings: &[&str]) -> anyhow::Result<()> {
        output(Command::new("ip").args(["netns", "exec", ns, "sysctl", "-q", "-w"]).args(settings)).map(drop)
    }

    fn start_responder(&mut self) -> anyhow::Result<()> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.targets()])
            .arg(std::env::current_exe()?)
            .args(["bench", "responder"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("ip cannot be started")?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        self.responder = Some(child);
        if line.trim() != "ready" {
            bail!("the responder on the target side did not start");
        }
        Ok(())
    }

    /// Loads the world's packet filter, and with it empties every counter and every limit.
    pub fn load(&self, world: &World) -> anyhow::Result<()> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.targets(), "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("ip cannot be started")?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(world.ruleset(FAR_DEVICE, RESPONDER).as_bytes())?;
        }
        if !child.wait()?.success() {
            bail!("nft did not take the rules of the target side");
        }
        Ok(())
    }

    /// Asks a sample of the world's endpoints by slow connections, and fails with the first that meets something else.
    pub fn verify(&self, world: &World, folder: &Path) -> anyhow::Result<usize> {
        let sample = world.sample(60);
        let list = folder.join("verify.txt");
        let lines: String = sample.iter().map(|((a, p), _)| format!("{}:{p}\n", Ipv4Addr::from(*a))).collect();
        fs::write(&list, lines)?;
        let text = output(
            Command::new("ip")
                .args(["netns", "exec", &self.scanners()])
                .arg(std::env::current_exe()?)
                .args(["bench", "connect"])
                .arg(&list),
        )?;
        let met: Vec<&str> = text.lines().collect();
        if met.len() != sample.len() {
            bail!("{} endpoints were asked and {} answers came", sample.len(), met.len());
        }
        for (((addr, port), meets), met) in sample.iter().zip(met) {
            if met != meets.word() {
                bail!("{}:{port} should meet {}, and met {met}", Ipv4Addr::from(*addr), meets.word());
            }
        }
        Ok(sample.len())
    }

    /// SYNs without ACK that came out of the link since the world was loaded. `None` where the world counts none.
    pub fn probes(&self) -> anyhow::Result<Option<u64>> {
        let text = output(Command::new("ip").args(["netns", "exec", &self.targets(), "nft", "list", "counters"]))?;
        Ok(counted(&text))
    }

    /// A folder of `/proc` that shows the target side's counters.
    fn proc_net(&self) -> PathBuf {
        let pid = self.responder.as_ref().map_or(0, Child::id);
        Path::new("/proc").join(pid.to_string()).join("net")
    }

    /// Reads one counter of the target side, again and again.
    pub fn counter(&self, what: Count) -> Counter {
        Counter { file: self.proc_net().join(if what == Count::Frames { "dev" } else { "snmp" }), what }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(child) = &mut self.responder {
            let _ = child.kill();
            let _ = child.wait();
        }
        for ns in [self.scanners(), self.targets()] {
            let _ = Command::new("ip").args(["netns", "del", &ns]).stderr(Stdio::null()).status();
        }
    }
}

/// What is counted on the target side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Frames that came out of the link.
    Frames,
    /// IPv4 packets among them that passed the ingress hook.
    Packets,
}

pub struct Counter {
    file: PathBuf,
    what: Count,
}

impl Counter {
    /// The number now, or `None` when the target side is gone.
    pub fn read(&self) -> Option<u64> {
        let text = fs::read_to_string(&self.file).ok()?;
        match self.what {
            Count::Frames => received(&text, FAR_DEVICE),
            Count::Packets => ip_received(&text),
        }
    }
}

/// Received packets of a device, from the text of `/proc/net/dev`.
fn received(text: &str, device: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// `InReceives` of the `Ip:` lines of `/proc/net/snmp`: the names stand in the first, the numbers in the second.
fn ip_received(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let at = lines.next()?.split_whitespace().position(|word| word == "InReceives")?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

/// Packets of the counter `probes`, from what `nft list counters` prints.
fn counted(text: &str) -> Option<u64> {
    let rest = text.split("counter probes").nth(1)?;
    rest.split_whitespace().skip_while(|word| *word != "packets").nth(1)?.parse().ok()
}

fn mac_of(text: &str) -> Option<String> {
    text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).map(str::to_owned)
}

/// Runs a command to its end and gives what it printed.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("{name} cannot be started"))?;
    if !out.status.success() {
        let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        bail!("{name} {} failed: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// `ip` with commands on its standard input.
fn batch(args: &[&str], lines: &str) -> anyhow::Result<()> {
    let mut child = Command::new("ip").args(args).stdin(Stdio::piped()).spawn().context("ip cannot be started")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes())?;
    }
    if !child.wait()?.success() {
        bail!("`ip {}` failed at one of: {}", args.join(" "), lines.trim().replace('\n', "; "));
    }
    Ok(())
}

/// Removes the namespaces of measurements whose process is gone, and ends the responders left in them.
fn remove_stale() {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else { return };
    for name in entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()) {
        let Some(owner) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid.to_owned()) else {
            continue;
        };
        if owner.parse::<u32>().is_err() || Path::new("/proc").join(&owner).exists() {
            continue;
        }
        for pid in output(Command::new("ip").args(["netns", "pids", &name])).unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
        let _ = Command::new("ip").args(["netns", "del", &name]).status();
    }
}

/// `xtask bench responder`: accepts whatever the packet filter sends to it, and closes at once.
pub fn responder() -> anyhow::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_ip_transparent_v4(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, RESPONDER)).into())?;
    // the longest queue there is: a full one makes the kernel silent on every open port at once
    socket.listen(65_535)?;
    std::thread::spawn(murmur);
    println!("ready");
    loop {
        match socket.accept() {
            Ok((connection, _)) => drop(connection),
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e).context("the responder cannot accept"),
        }
    }
}

/// Fifty packets a second towards the scanners. No real network is silent, and masscan notices that its waiting time is over
/// only when a packet comes: on a silent link it never ends.
fn murmur() {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return };
    // a copy back to ourselves would count as a packet from the scanners
    let _ = socket.set_multicast_loop_v4(false);
    loop {
        // port 9 discards; nobody answers what went to all hosts of a link, so nothing of it comes back either
        let _ = socket.send_to(b"murmur", (ALL_HOSTS, 9));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `xtask bench connect FILE`: says for each `address:port` of the file what a connection met, in the same order.
pub fn connect(list: &Path) -> anyhow::Result<()> {
    let targets: Vec<SocketAddr> = fs::read_to_string(list)?.lines().map(str::parse).collect::<Result<_, _>>()?;
    let next = AtomicUsize::new(0);
    let mut met: Vec<(usize, Meets)> = std::thread::scope(|scope| {
        let worker = || {
            let mut met = Vec::new();
            while let i = next.fetch_add(1, Ordering::Relaxed)
                && let Some(target) = targets.get(i)
            {
                met.push((i, one_connection(target)));
            }
            met
        };
        // sixteen at once: slow enough for any target, and a sample is done in seconds
        let workers: Vec<_> = (0..16).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap_or_default()).collect()
    });
    met.sort_by_key(|(i, _)| *i);
    for (_, met) in met {
        println!("{}", met.word());
    }
    Ok(())
}

fn one_connection(target: &SocketAddr) -> Meets {
    match TcpStream::connect_timeout(target, PATIENCE) {
        Ok(_) => Meets::Open,
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => Meets::Refused,
        Err(_) => Meets::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_what_the_kernel_prints() {
        let dev = "Inter-|   Receive  |  Transmit\n face |bytes    packets errs\n    lo:       0       0    0\n    t0: 8650    123    0 0 0 0 0 0 9 10\n";
        assert_eq!(received(dev, "t0"), Some(123));
        assert_eq!(received(dev, "t1"), None);
        let snmp = "Ip: Forwarding DefaultTTL InReceives InHdrErrors\nIp: 1 64 4711 0\nIcmp: InMsgs\nIcmp: 3\n";
        assert_eq!(ip_received(snmp), Some(4711));
        let nft = "table netdev gate {\n\tcounter probes {\n\t\tpackets 1179890 bytes 47457752\n\t}\n}\n";
        assert_eq!(counted(nft), Some(1_179_890));
        assert_eq!(counted(""), None);
        let link = "2: t0@if2: <BROADCAST,UP> mtu 1500 qdisc noqueue \\    link/ether 6e:0c:d1:a3:6e:15 brd ff:ff:ff:ff:ff:ff";
        assert_eq!(mac_of(link).as_deref(), Some("6e:0c:d1:a3:6e:15"));
    }
}
