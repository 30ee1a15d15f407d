//! The lab itself: what it is made of, how it is wired, and what is true in it.
//!
//! Hosts and servers have files of their own; here is the network between them, and its end.

use crate::host::{Host, Kind, PITFALL_PORT};
use crate::namespace::{self, Namespace, ip_batch};
use crate::proc::Proc;
use crate::server::{self, Alive, Running, Server};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The inside network.
pub const NETWORK_V4: &str = "10.99.7.0/24";
/// The same in IPv6.
pub const NETWORK_V6: &str = "fd99:7::/64";
/// Where probes come from.
pub const SCANNER_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
/// The same in IPv6.
pub const SCANNER_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 2);
/// The border as the inside network sees it.
pub const BORDER_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 7, 1);
/// The same in IPv6.
pub const BORDER_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 7, 0, 0, 0, 0, 0, 1);

/// Where probes come from on the inside network itself, in a lab with a scanner on it (see [`LabSpec::on_link`]).
pub const NEAR_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 7, 254);
/// The same in IPv6.
pub const NEAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 7, 0, 0, 0, 0, 0, 0x254);

/// The IPv4 address of host `number`.
pub(crate) fn v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 7, number)
}

/// The IPv6 address of host `number`: its last digits read the same as those of the IPv4 address (`::41` for `.41`).
pub(crate) fn v6(number: u8) -> Ipv6Addr {
    let as_written = u16::from_str_radix(&number.to_string(), 16).expect("decimal digits are hexadecimal digits");
    Ipv6Addr::new(0xfd99, 7, 0, 0, 0, 0, 0, as_written)
}

/// What a lab is to be made of.
#[derive(Clone, Debug, Default)]
pub struct LabSpec {
    hosts: Vec<(String, u8, Kind)>,
    silent_border: bool,
    on_link: bool,
    vlan: Option<u16>,
}

impl LabSpec {
    /// A network without hosts.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a host of this name at `10.99.7.<number>` and `fd99:7::<number>`; 2 to 254.
    pub fn host(mut self, name: &str, number: u8, kind: Kind) -> Self {
        assert!((2..=254).contains(&number), "host {name}: number {number} is the border's or no host's");
        assert!(!self.hosts.iter().any(|(n, i, _)| n == name || *i == number), "host {name} ({number}) is there already");
        self.hosts.push((name.to_owned(), number, kind));
        self
    }

    /// With a border that keeps quiet about addresses it cannot reach. Otherwise it answers with ICMP host unreachable once
    /// it has given up asking for them, as routers do.
    pub fn silent_border(mut self) -> Self {
        self.silent_border = true;
        self
    }

    /// With the scanner on the inside network too, by a device of its own (`near0`, whose other end is `near` at the border):
    /// hosts are neighbours, asked by ARP and neighbour discovery, and the border's counters do not see what goes to them.
    pub fn on_link(mut self) -> Self {
        self.on_link = true;
        self
    }

    /// The same through a trunk: the scanner's device on the inside network is `near0.<id>`, and between `near0` and `near` every
    /// frame carries the tag.
    pub fn on_vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// Makes it.
    pub fn start(self) -> Result<Lab> {
        Lab::start(self)
    }
}

/// One open endpoint: the ground truth that portreeve's reports are compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Open {
    /// Address.
    pub ip: IpAddr,
    /// TCP port.
    pub port: u16,
    /// Name of the host.
    pub host: String,
    /// Protocol name in portreeve's vocabulary; empty for ports that say nothing.
    pub service: &'static str,
    /// Product as its maker writes it.
    pub product: Option<&'static str>,
    /// Whether TLS is in front.
    pub tls: bool,
}

/// What the lab and its hosts share.
#[derive(Debug)]
pub(crate) struct Shared {
    dir: tempfile::TempDir,
    dirs: AtomicU32,
    served: Mutex<Vec<Served>>,
}

/// One server that was started, running or not.
#[derive(Debug)]
pub(crate) struct Served {
    host: Host,
    server: Server,
    dir: PathBuf,
    alive: Option<Alive>,
}

impl Shared {
    /// A new directory in the lab's own, which ends with the lab.
    pub(crate) fn fresh_dir(&self, what: &str) -> Result<PathBuf> {
        let dir = self.dir.path().join(format!("{:02}-{what}", self.dirs.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }

    pub(crate) fn add(self: &Arc<Self>, host: &Host, server: Server, dir: PathBuf, alive: Alive) -> Running {
        let mut served = self.served.lock().expect("no thread panics while it holds the list");
        // The entry holds a host that holds the list: broken up by `Lab::drop`, which empties the list.
        served.push(Served { host: host.clone(), server, dir, alive: Some(alive) });
        Running { shared: self.clone(), index: served.len() - 1 }
    }

    pub(crate) fn stop(&self, index: usize) {
        let alive = self.served.lock().expect("no thread panics while it holds the list")[index].alive.take();
        drop(alive);
    }

    pub(crate) fn restart(&self, index: usize) -> Result<()> {
        let mut served = self.served.lock().expect("no thread panics while it holds the list");
        let it = &mut served[index];
        it.alive = None;
        it.alive = Some(server::start(&it.server, &it.host.namespace, &it.dir)?);
        Ok(())
    }

    pub(crate) fn log(&self, index: usize) -> PathBuf {
        self.served.lock().expect("no thread panics while it holds the list")[index].dir.join("log")
    }

    pub(crate) fn truth(&self) -> Vec<Open> {
        let served = self.served.lock().expect("no thread panics while it holds the list");
        let mut open: Vec<Open> = served
            .iter()
            .filter(|it| it.alive.is_some())
            .flat_map(|it| {
                [IpAddr::V4(it.host.v4()), IpAddr::V6(it.host.v6())].map(|ip| Open {
                    ip,
                    port: it.server.port(),
                    host: it.host.name.clone(),
                    service: it.server.service(),
                    product: it.server.product(),
                    tls: it.server.tls(),
                })
            })
            .collect();
        open.sort();
        open
    }
}

/// A running lab. Dropping it ends every server and removes every namespace.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    scanner: Namespace,
    border: Namespace,
    hosts: Vec<Host>,
    /// What the lab itself runs: listeners behind hosts that accept everything, ends of VLANs.
    pitfalls: Vec<Alive>,
    shared: Arc<Shared>,
}

impl Lab {
    /// Makes the namespaces and wires them. Also removes what labs of processes now gone left behind.
    pub fn start(spec: LabSpec) -> Result<Lab> {
        namespace::require_root()?;
        namespace::remove_stale();
        let prefix = namespace::fresh_prefix();
        let dir =
            tempfile::Builder::new().prefix(&format!("{prefix}-")).tempdir().context("a temporary directory for the lab")?;
        // Servers that give up root (PostgreSQL) must be able to pass through it.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        let shared = Arc::new(Shared { dir, dirs: AtomicU32::new(0), served: Mutex::new(Vec::new()) });
        let named = |what: &str| Namespace::named(format!("{prefix}-{what}"));
        let hosts = spec.hosts.into_iter().map(|(name, number, kind)| Host {
            namespace: named(&name),
            name,
            number,
            kind,
            shared: shared.clone(),
        });
        let mut lab = Lab {
            scanner: named("scanner"),
            border: named("border"),
            hosts: hosts.collect(),
            pitfalls: Vec::new(),
            prefix: format!("{prefix}-"),
            shared: shared.clone(),
        };
        // From here on, an early return drops the lab, which removes what was made.
        lab.make_namespaces()?;
        lab.wire()?;
        if spec.on_link || spec.vlan.is_some() {
            lab.wire_near(spec.vlan)?;
        }
        lab.count_at_border(spec.silent_border)?;
        for host in &lab.hosts {
            host.set_up()?;
            if host.kind == Kind::AcceptsAll {
                lab.pitfalls.push(server::start(&Server::Silent { port: PITFALL_PORT }, &host.namespace, Path::new("/"))?);
            }
        }
        Ok(lab)
    }

    fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        [&self.scanner, &self.border].into_iter().chain(self.hosts.iter().map(|h| &h.namespace))
    }

    fn make_namespaces(&self) -> Result<()> {
        let lines: String = self.namespaces().map(|ns| format!("netns add {}\n", ns.name())).collect();
        ip_batch(None, &lines)?;
        for ns in self.namespaces() {
            ns.sysctl(&[
                // Addresses work at once: nobody else is on these links, so nothing is gained by looking for duplicates.
                ("net/ipv6/conf/all/accept_dad", "0"),
                ("net/ipv6/conf/default/accept_dad", "0"),
                ("net/ipv6/conf/default/accept_ra", "0"),
                // Linux sends one ICMP error a second by default; with that, what a scan sees would depend on its speed.
                ("net/ipv4/icmp_ratelimit", "0"),
                ("net/ipv4/icmp_msgs_per_sec", "1000000"),
                ("net/ipv4/icmp_msgs_burst", "1000000"),
                ("net/ipv6/icmp/ratelimit", "0"),
            ]);
        }
        self.border.sysctl(&[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")]);
        Ok(())
    }

    fn wire(&self) -> Result<()> {
        let (scanner, border) = (self.scanner.name(), self.border.name());
        let mut links = format!("link add up0 netns {scanner} type veth peer name scan0 netns {border}\n");
        for host in &self.hosts {
            let (n, ns) = (host.number, host.namespace.name());
            writeln!(links, "link add eth0 address {} netns {ns} type veth peer name h{n} netns {border}", mac(n))?;
        }
        ip_batch(None, &links)?;
        ip_batch(
            Some(&self.scanner),
            &format!(
                "link set lo up\nlink set up0 up\naddr add {SCANNER_V4}/30 dev up0\naddr add {SCANNER_V6}/64 dev up0 nodad\n\
                 route add default via 10.99.1.1\nroute add default via fd99:1::1\n"
            ),
        )?;
        let mut at_border = format!(
            "link set lo up\nlink set scan0 up\naddr add 10.99.1.1/30 dev scan0\naddr add fd99:1::1/64 dev scan0 nodad\n\
             link add lan0 type bridge\nlink set lan0 up\naddr add {BORDER_V4}/24 dev lan0\naddr add {BORDER_V6}/64 dev lan0 nodad\n"
        );
        for host in &self.hosts {
            let n = host.number;
            writeln!(at_border, "link set h{n} master lan0\nlink set h{n} up")?;
            // Known for good: sweeping dead addresses fills the kernel's neighbour table, which all namespaces share, and
            // live hosts must not fall out of it.
            writeln!(at_border, "neigh replace {} lladdr {} dev lan0 nud permanent", host.v4(), mac(n))?;
            writeln!(at_border, "neigh replace {} lladdr {} dev lan0 nud permanent", host.v6(), mac(n))?;
        }
        ip_batch(Some(&self.border), &at_border)?;
        for host in &self.hosts {
            ip_batch(
                Some(&host.namespace),
                &format!(
                    "link set lo up\nlink set eth0 up\naddr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\n\
                     route add default via {BORDER_V4}\nroute add default via {BORDER_V6}\n",
                    host.v4(),
                    host.v6()
                ),
            )?;
            if host.kind == Kind::SynProxy {
                self.verify_checksums_of(host)?;
            }
        }
        Ok(())
    }

    /// Has the host's device verify the checksums of what arrives, as network cards do. The kernel's SYN proxy of nftables
    /// verifies a checksum that nobody has by the rule of IPv4 in both families (`nft_synproxy`), so it drops every IPv6
    /// segment that was not written by a kernel of this machine. A veth end verifies when it merges segments, for which the
    /// other end must not send merged ones.
    fn verify_checksums_of(&self, host: &Host) -> Result<()> {
        self.border.run(Command::new("ethtool").args(["-K", &format!("h{}", host.number), "tso", "off"]))?;
        host.namespace.run(Command::new("ethtool").args(["-K", "eth0", "gro", "on"])).map(drop)
    }

    /// Puts the scanner on the inside network, by a VLAN if there is one.
    fn wire_near(&mut self, vlan: Option<u16>) -> Result<()> {
        let (scanner, border) = (self.scanner.name(), self.border.name());
        ip_batch(None, &format!("link add near0 netns {scanner} type veth peer name near netns {border}\n"))?;
        let (mut here, mut there) = ("near0".to_owned(), "near".to_owned());
        if let Some(id) = vlan {
            for (namespace, trunk) in [(self.scanner.clone(), &mut here), (self.border.clone(), &mut there)] {
                ip_batch(Some(&namespace), &format!("link set {trunk} up\n"))?;
                self.add_vlan(&namespace, trunk, id)?;
                *trunk = format!("{trunk}.{id}");
            }
        }
        ip_batch(Some(&self.border), &format!("link set {there} master lan0\nlink set {there} up\n"))?;
        ip_batch(
            Some(&self.scanner),
            &format!("link set {here} up\naddr add {NEAR_V4}/24 dev {here}\naddr add {NEAR_V6}/64 dev {here} nodad\n"),
        )
    }

    /// Makes the sub-interface `<trunk>.<id>`: the kernel's where it has such, else a tap whose other end tags and untags.
    fn add_vlan(&mut self, namespace: &Namespace, trunk: &str, id: u16) -> Result<()> {
        if ip_batch(Some(namespace), &format!("link add link {trunk} name {trunk}.{id} type vlan id {id}\n")).is_ok() {
            return Ok(());
        }
        let dir = self.fresh_dir("vlan")?;
        let (script, log) = (dir.join("vlan.py"), dir.join("log"));
        std::fs::write(&script, include_str!("vlan.py"))?;
        let mut command = Command::new("/usr/bin/python3");
        command.arg(&script).args([&format!("{trunk}.{id}"), trunk, &id.to_string()]);
        let mut proc = Proc::start("vlan", Some(namespace), &mut command, &log)?;
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !std::fs::read_to_string(&log)?.contains("ready") {
            anyhow::ensure!(proc.ended().is_none() && std::time::Instant::now() < deadline, "{}", proc.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.pitfalls.push(Alive::Process { proc, stop: rustix::process::Signal::KILL });
        Ok(())
    }

    /// Counts, per destination, every packet that the scanner sends inside.
    fn count_at_border(&self, silent: bool) -> Result<()> {
        let quiet = if silent {
            "chain output { type filter hook output priority 0; policy accept;
               oifname scan0 icmp type destination-unreachable drop
               oifname scan0 icmpv6 type destination-unreachable drop }"
        } else {
            ""
        };
        self.border.nft(&format!(
            "table inet lab {{
  set toward4 {{ type ipv4_addr; size 65536; flags dynamic; counter; }}
  set toward6 {{ type ipv6_addr; size 65536; flags dynamic; counter; }}
  chain count {{
    type filter hook prerouting priority -300; policy accept;
    iifname scan0 ip daddr != 10.99.1.0/30 update @toward4 {{ ip daddr counter }}
    iifname scan0 ip6 daddr fd99:7::/64 update @toward6 {{ ip6 daddr counter }}
  }}
  {quiet}
}}"
        ))?;
        Ok(())
    }

    /// Number of packets that the scanner has sent to the address since the lab began, whether it exists or not.
    pub fn packets_to(&self, ip: IpAddr) -> Result<u64> {
        let set = if ip.is_ipv4() { "toward4" } else { "toward6" };
        let text = self.border.run(Command::new("nft").args(["-j", "list", "set", "inet", "lab", set]))?;
        let json: serde_json::Value = serde_json::from_str(&text)?;
        let elements = json["nftables"].as_array().into_iter().flatten().filter_map(|o| o["set"]["elem"].as_array()).flatten();
        let wanted = ip.to_string();
        let mut packets = 0;
        for element in elements {
            if element["elem"]["val"].as_str() == Some(&wanted) {
                packets += element["elem"]["counter"]["packets"].as_u64().context("a counter without packets")?;
            }
        }
        Ok(packets)
    }

    /// The namespace in which portreeve, its databases and its sinks run.
    pub fn scanner(&self) -> &Namespace {
        &self.scanner
    }

    /// The namespace that routes between the scanner and the inside network.
    pub fn border(&self) -> &Namespace {
        &self.border
    }

    /// The host of this name. Panics when the lab has none.
    pub fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|h| h.name == name).unwrap_or_else(|| panic!("the lab has no host {name}"))
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// What is open in the whole lab now, both families, sorted. Ports that only an [`Kind::AcceptsAll`] host pretends are not in it.
    pub fn truth(&self) -> Vec<Open> {
        self.shared.truth()
    }

    /// What is open now over IPv4.
    pub fn truth_v4(&self) -> Vec<Open> {
        self.truth().into_iter().filter(|o| o.ip.is_ipv4()).collect()
    }

    /// What is open now over IPv6.
    pub fn truth_v6(&self) -> Vec<Open> {
        self.truth().into_iter().filter(|o| o.ip.is_ipv6()).collect()
    }

    /// A new directory that ends with the lab.
    pub fn fresh_dir(&self, what: &str) -> Result<PathBuf> {
        self.shared.fresh_dir(what)
    }

    /// Names of this lab's namespaces that exist now.
    pub fn namespaces_left(prefix: &str) -> Vec<String> {
        namespace::list(prefix)
    }

    /// What the names of all its namespaces begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A poisoned list is emptied all the same: after a panic, cleaning up matters most.
        let served = std::mem::take(&mut *self.shared.served.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for it in &served {
            if let Some(alive) = &it.alive {
                alive.ask_to_end();
            }
        }
        drop(served);
        self.pitfalls.clear();
        for ns in self.namespaces() {
            namespace::remove(ns.name());
        }
        // Give the kernel, which takes namespaces apart in the background, the processors for a moment when many end at once.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The hardware address of host `number`.
fn mac(number: u8) -> String {
    format!("02:00:00:00:07:{number:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_of_a_host_read_alike() {
        for n in [2, 10, 41, 254] {
            assert_eq!(v4(n).to_string(), format!("10.99.7.{n}"));
            assert_eq!(v6(n).to_string(), format!("fd99:7::{n}"));
        }
    }
}
