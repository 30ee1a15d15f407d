//! What stands behind the measured link: which addresses are alive, what each does with a closed port, which ports are open,
//! and what the path does to packets. From it come both the target side's packet filter and the ground truth.
//!
//! Pure: the same seed gives the same world. Loading the rules into a kernel is left to `topology`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// An address and a port.
pub type Endpoint = (u32, u16);

/// The forty-two ports of the sweep rows: those of the thirty services of the national bulletin, and telnet, rsync,
/// SQL Server, VNC, Elasticsearch's transport and the kubelet. Written down here so that results of different days compare,
/// whatever the catalogue holds by then.
pub const HIGH_RISK: [u16; 42] = [
    21, 22, 23, 389, 445, 873, 1433, 1521, 2049, 2181, 2375, 2379, 3306, 3389, 3888, 4440, 4848, 5000, 5432, 5631, 5632, 5900,
    5984, 6379, 7001, 7077, 7848, 8019, 8042, 8081, 8083, 8086, 8088, 9000, 9001, 9092, 9200, 9300, 10250, 11211, 27017, 27018,
];

/// What a host does with a SYN to a port that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Rst,
    Drop,
}

/// Which ports of a host are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    Ports(BTreeSet<u16>),
    /// Every port, as behind a firewall that answers for its hosts.
    All,
}

#[derive(Clone, Debug)]
pub struct Host {
    pub addr: u32,
    pub closed: Closed,
    /// Answers ICMP requests, an echo or any other.
    pub echo: bool,
    pub open: Open,
}

impl Host {
    pub fn new(addr: u32, closed: Closed, ports: impl IntoIterator<Item = u16>) -> Host {
        Host { addr, closed, echo: true, open: Open::Ports(ports.into_iter().collect()) }
    }
}

/// What the path and the targets do beyond answering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Packets lost out of a thousand, in each direction, independently.
    pub loss_per_mille: u16,
    /// Packets per second that a policer lets through towards the targets.
    pub police_pps: Option<u32>,
    /// RSTs per second and host.
    pub rst_pps: Option<u32>,
    /// SYN-ACKs per second and host.
    pub syn_ack_pps: Option<u32>,
}

/// Where frames to addresses that nobody has come to an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sink {
    /// As early as the kernel can drop, so that the sender is measured and not the target side.
    #[default]
    Early,
    /// After the kernel has counted them as IP packets, which ARP and neighbour discovery are not.
    Counted,
}

#[derive(Clone, Debug, Default)]
pub struct World {
    pub hosts: Vec<Host>,
    pub path: Path,
    pub sink: Sink,
}

/// splitmix64: enough randomness to scatter hosts, and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// So many different ones of `1..=65535`.
    pub fn ports(&mut self, count: usize, upto: u16) -> BTreeSet<u16> {
        let mut ports = BTreeSet::new();
        while ports.len() < count {
            ports.insert(1 + self.below(u64::from(upto)) as u16);
        }
        ports
    }
}

/// A network as one meets it: of each thousand addresses `alive_per_mille` have a host, two thirds of which refuse and one third
/// drops what is not open; one to three of `ports` are open on each, none on a quarter of those that refuse; seven in ten
/// answer ICMP. A host that drops and has nothing open could not be told from an empty address, so there is none.
pub fn network(base: u32, addresses: u32, alive_per_mille: u64, ports: &[u16], seed: u64) -> Vec<Host> {
    let mut dice = Dice(seed);
    let mut hosts = Vec::new();
    for addr in base..base + addresses {
        if dice.below(1000) >= alive_per_mille {
            continue;
        }
        let closed = if dice.below(3) < 2 { Closed::Rst } else { Closed::Drop };
        let none = closed == Closed::Rst && dice.below(4) == 0;
        let count = if none { 0 } else { 1 + dice.below(3) };
        let open = (0..count).map(|_| ports[dice.below(ports.len() as u64) as usize]).collect();
        hosts.push(Host { addr, closed, echo: dice.below(10) < 7, open: Open::Ports(open) });
    }
    hosts
}

/// What a connection to an endpoint must meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    Open,
    Refused,
    Silence,
}

impl Meets {
    pub fn word(self) -> &'static str {
        match self {
            Meets::Open => "open",
            Meets::Refused => "refused",
            Meets::Silence => "silence",
        }
    }
}

impl World {
    pub fn of(hosts: Vec<Host>) -> World {
        World { hosts, ..World::default() }
    }

    /// The open endpoints of hosts that are not open on every port.
    pub fn open_endpoints(&self) -> BTreeSet<Endpoint> {
        let ports = |h: &Host| match &h.open {
            Open::Ports(ports) => ports.iter().map(|p| (h.addr, *p)).collect(),
            Open::All => Vec::new(),
        };
        self.hosts.iter().flat_map(ports).collect()
    }

    /// The hosts that are open on every port.
    pub fn open_everywhere(&self) -> BTreeSet<u32> {
        self.hosts.iter().filter(|h| h.open == Open::All).map(|h| h.addr).collect()
    }

    /// Every address that has a host.
    pub fn alive(&self) -> BTreeSet<u32> {
        self.hosts.iter().map(|h| h.addr).collect()
    }

    /// Endpoints spread over the hosts, and what a slow connection to each must meet: about `count` open ones, and for every
    /// host looked at one port that is not open. The last is an address without a host, if there is one right after the hosts.
    pub fn sample(&self, count: usize) -> Vec<(Endpoint, Meets)> {
        let step = (self.hosts.len() / count.max(1)).max(1);
        let mut sample = Vec::new();
        for host in self.hosts.iter().step_by(step).take(count) {
            match &host.open {
                Open::All => sample.extend([9, 4711, 65535].map(|p| ((host.addr, p), Meets::Open))),
                Open::Ports(ports) => {
                    sample.extend(ports.iter().take(3).map(|p| ((host.addr, *p), Meets::Open)));
                    let shut = (10_001..=u16::MAX).find(|p| !ports.contains(p)).unwrap_or(10_001);
                    let meets = if host.closed == Closed::Rst { Meets::Refused } else { Meets::Silence };
                    sample.push(((host.addr, shut), meets));
                }
            }
        }
        let alive = self.alive();
        if let Some(last) = alive.last()
            && !alive.contains(&(last + 1))
        {
            sample.push(((last + 1, 80), Meets::Silence));
        }
        sample
    }

    /// The packet filter of the target side, for `nft -f`. `device` is its end of the link, `responder` the port on loopback
    /// where a listener accepts for every open endpoint.
    ///
    /// Dead addresses and dropped ports are cut off in the device's ingress hook, before routing and any socket. Open endpoints
    /// are handed to one transparent listener (`tproxy`), which answers from the address that was asked: no address translation, so
    /// no connection tracking. All other ports of a living address have no socket, and the kernel refuses them by itself.
    pub fn ruleset(&self, device: &str, responder: u16) -> String {
        let mut text = String::from("flush ruleset\n");
        if self.hosts.is_empty() {
            // one rule, so that as little as possible of the sender's time is spent on the other side
            match self.sink {
                Sink::Early => {
                    let _ = write!(
                        text,
                        "table netdev gate {{\n chain in {{\n  type filter hook ingress device {device} priority -500; policy accept;\n  meta protocol ip drop\n }}\n}}\n"
                    );
                }
                Sink::Counted => text.push_str(
                    "table inet answers {\n chain pre {\n  type filter hook prerouting priority raw; policy accept;\n  ip daddr 10.0.0.0/8 drop\n }\n}\n",
                ),
            }
            return text;
        }
        let addresses = |wanted: &dyn Fn(&&Host) -> bool| -> Vec<String> {
            self.hosts.iter().filter(wanted).map(|h| Ipv4Addr::from(h.addr).to_string()).collect()
        };
        let endpoints: Vec<String> =
            self.open_endpoints().into_iter().map(|(a, p)| format!("{} . {p}", Ipv4Addr::from(a))).collect();
        let alive = set("alive", "ipv4_addr", &addresses(&|_| true));
        let dropping = set("dropping", "ipv4_addr", &addresses(&|h| h.closed == Closed::Drop));
        let mute = set("mute", "ipv4_addr", &addresses(&|h| !h.echo));
        let everywhere = set("everywhere", "ipv4_addr", &addresses(&|h| h.open == Open::All));
        let open = set("open", "ipv4_addr . inet_service", &endpoints);

        let _ = write!(
            text,
            "table netdev gate {{\n counter probes {{ }}\n{alive}{dropping}{mute}{open} chain in {{\n  \
             type filter hook ingress device {device} priority -500; policy accept;\n  meta protocol != ip accept\n  \
             tcp flags & (syn | ack) == syn counter name probes\n"
        );
        if let Some(pps) = self.path.police_pps {
            let _ = writeln!(text, "  limit rate over {pps}/second burst {} packets drop", burst(pps));
        }
        if self.path.loss_per_mille > 0 {
            let _ = writeln!(text, "  numgen random mod 1000 < {} drop", self.path.loss_per_mille);
        }
        text.push_str(
            "  ip daddr != @alive drop\n  ip daddr @dropping meta l4proto tcp ip daddr . tcp dport != @open drop\n  \
             ip daddr @dropping meta l4proto udp drop\n  ip daddr @mute meta l4proto icmp drop\n }\n}\n",
        );
        let _ = write!(
            text,
            "table inet answers {{\n{everywhere}{open} chain pre {{\n  \
             type filter hook prerouting priority mangle; policy accept;\n  \
             ip daddr . tcp dport @open tproxy ip to 127.0.0.1:{responder} accept\n  \
             ip daddr @everywhere meta l4proto tcp tproxy ip to 127.0.0.1:{responder} accept\n }}\n"
        );
        let Path { loss_per_mille, rst_pps, syn_ack_pps, .. } = self.path;
        if loss_per_mille > 0 || rst_pps.is_some() || syn_ack_pps.is_some() {
            for name in ["rsts", "syn_acks"] {
                let _ = writeln!(text, " set {name} {{ type ipv4_addr; flags dynamic; size 65536; }}");
            }
            text.push_str(" chain out {\n  type filter hook output priority 0; policy accept;\n");
            if let Some(pps) = rst_pps {
                let _ = writeln!(
                    text,
                    "  tcp flags & rst == rst update @rsts {{ ip saddr limit rate over {pps}/second burst {} packets }} drop",
                    burst(pps)
                );
            }
            if let Some(pps) = syn_ack_pps {
                let _ = writeln!(
                    text,
                    "  tcp flags & (syn | ack) == syn | ack update @syn_acks {{ ip saddr limit rate over {pps}/second burst {} packets }} drop",
                    burst(pps)
                );
            }
            if loss_per_mille > 0 {
                let _ = writeln!(text, "  ip saddr 10.0.0.0/8 numgen random mod 1000 < {loss_per_mille} drop");
            }
            text.push_str(" }\n");
        }
        text.push_str("}\n");
        text
    }
}

/// What a limit lets through at once: a tenth of a second's worth for hosts, and no more than a policer's 200 packets.
fn burst(pps: u32) -> u32 {
    (pps / 10).clamp(1, 200)
}

/// A set of the packet filter; one without elements is written without the word, which nft would refuse.
fn set(name: &str, kind: &str, elements: &[String]) -> String {
    let listed = if elements.is_empty() { String::new() } else { format!(" elements = {{ {} }}", elements.join(", ")) };
    format!(" set {name} {{ type {kind};{listed} }}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_network_and_another_seed_another() {
        let addresses = |seed| network(0x0a01_0000, 65_536, 50, &HIGH_RISK, seed).iter().map(|h| h.addr).collect::<Vec<_>>();
        assert_eq!(addresses(1), addresses(1));
        assert_ne!(addresses(1), addresses(2));
    }

    #[test]
    fn a_network_has_about_the_hosts_asked_for_and_none_that_could_not_be_seen() {
        let hosts = network(0x0a01_0000, 65_536, 50, &HIGH_RISK, 7);
        assert!((2_900..3_650).contains(&hosts.len()), "{}", hosts.len());
        let seen = |h: &Host| h.closed == Closed::Rst || matches!(&h.open, Open::Ports(p) if !p.is_empty());
        assert!(hosts.iter().all(seen));
        let open = World::of(hosts).open_endpoints().len();
        assert!((3_500..8_000).contains(&open), "{open}");
    }

    #[test]
    fn the_ports_of_the_sweep_are_forty_two_different_ones_in_order() {
        assert!(HIGH_RISK.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn hosts_open_on_every_port_are_no_part_of_the_open_endpoints() {
        let all = Host { open: Open::All, ..Host::new(7, Closed::Rst, []) };
        let world = World::of(vec![Host::new(5, Closed::Drop, [80, 443]), all]);
        assert_eq!(world.open_endpoints(), BTreeSet::from([(5, 80), (5, 443)]));
        assert_eq!(world.open_everywhere(), BTreeSet::from([7]));
        assert_eq!(world.alive(), BTreeSet::from([5, 7]));
    }

    #[test]
    fn a_sample_says_what_each_connection_must_meet() {
        let world = World::of(vec![Host::new(5, Closed::Drop, [80]), Host::new(6, Closed::Rst, [22])]);
        let expected = [
            ((5, 80), Meets::Open),
            ((5, 10_001), Meets::Silence),
            ((6, 22), Meets::Open),
            ((6, 10_001), Meets::Refused),
            ((7, 80), Meets::Silence),
        ];
        assert_eq!(world.sample(10), expected);
    }

    #[test]
    fn the_filter_has_a_rule_for_each_thing_the_path_does_and_only_then() {
        let world = |path| World { path, ..World::of(vec![Host::new(0x0a01_0001, Closed::Rst, [80])]) }.ruleset("t0", 7);
        let plain = world(Path::default());
        for word in ["numgen", "limit rate", "chain out"] {
            assert!(!plain.contains(word), "{word}: {plain}");
        }
        for (path, word) in [
            (Path { loss_per_mille: 10, ..Path::default() }, "numgen random mod 1000 < 10 drop"),
            (Path { police_pps: Some(20_000), ..Path::default() }, "limit rate over 20000/second burst 200 packets drop"),
            (Path { rst_pps: Some(10), ..Path::default() }, "update @rsts { ip saddr limit rate over 10/second"),
            (Path { syn_ack_pps: Some(50), ..Path::default() }, "update @syn_acks { ip saddr limit rate over 50/second"),
        ] {
            assert!(world(path).contains(word), "{word}: {}", world(path));
        }
    }

    #[test]
    fn a_world_without_hosts_is_one_rule() {
        let rules = |sink| World { sink, ..World::default() }.ruleset("t0", 7).matches("drop").count();
        assert_eq!((rules(Sink::Early), rules(Sink::Counted)), (1, 1));
    }

    #[test]
    fn empty_sets_are_written_without_elements() {
        assert_eq!(set("x", "ipv4_addr", &[]), " set x { type ipv4_addr; }\n");
        assert_eq!(set("x", "ipv4_addr", &["10.0.0.1".into()]), " set x { type ipv4_addr; elements = { 10.0.0.1 } }\n");
    }
}
