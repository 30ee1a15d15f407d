//! The scanners that are compared: how each is asked the same question, and how its answer is read.
//!
//! Each is given what makes it as fast as the machine allows. Running them is left to `measure`, judging answers to `stats`.

use super::topology::{DEVICE, Link, SOURCE, output};
use super::world::Endpoint;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Portreeve,
    Masscan,
    Zmap,
    Nmap,
    Rustscan,
}

impl Tool {
    pub const PEERS: [Tool; 4] = [Tool::Masscan, Tool::Zmap, Tool::Nmap, Tool::Rustscan];

    pub fn name(self) -> &'static str {
        match self {
            Tool::Portreeve => "portreeve",
            Tool::Masscan => "masscan",
            Tool::Zmap => "zmap",
            Tool::Nmap => "nmap",
            Tool::Rustscan => "rustscan",
        }
    }

    /// The version it states, or `None` when it is not installed.
    pub fn version(self, portreeve: &Path) -> Option<String> {
        let program = if self == Tool::Portreeve { portreeve.as_os_str() } else { self.name().as_ref() };
        // masscan states its version and exits with 1
        let out = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        stated_version(&text)
    }
}

/// The first word of the text that begins with a digit.
fn stated_version(text: &str) -> Option<String> {
    text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}

/// How fast a scanner is told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    Max,
    Auto,
    Fixed(u32),
}

/// What is asked of every scanner of a case.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The state of these ports on every one of these addresses, without asking first which are up.
    Ports { targets: String, ports: String },
    /// Which of these addresses have a host.
    Alive { targets: String },
}

/// One way of calling a scanner: a row of a case.
#[derive(Clone, Debug)]
pub struct Contender {
    pub tool: Tool,
    /// What the table calls it.
    pub name: String,
    pub rate: Rate,
    /// Sending threads, where one can choose.
    pub threads: u32,
    /// Further words of the command line.
    pub more: Vec<String>,
    /// Seconds after which it is ended.
    pub limit_s: u64,
}

impl Contender {
    pub fn new(tool: Tool, limit_s: u64) -> Contender {
        Contender { tool, name: tool.name().to_owned(), rate: Rate::Max, threads: 1, more: Vec::new(), limit_s }
    }

    pub fn named(self, name: &str) -> Contender {
        Contender { name: name.to_owned(), ..self }
    }

    pub fn at(self, rate: Rate) -> Contender {
        Contender { rate, ..self }
    }

    pub fn with(mut self, words: &[&str]) -> Contender {
        self.more.extend(words.iter().map(|w| (*w).to_owned()));
        self
    }
}

/// What commands need to know of the machine and of the link.
pub struct Place<'a> {
    pub link: &'a Link,
    pub portreeve: PathBuf,
    /// What `portreeve scan --help` says, for flags that older builds lack.
    pub help: String,
}

/// The rate given to a build that has no `--rate max`: more than any machine sends.
const BEYOND: &str = "10000000";

impl Place<'_> {
    pub fn new(link: &Link, portreeve: PathBuf) -> anyhow::Result<Place<'_>> {
        let help = output(Command::new(&portreeve).args(["scan", "--help"]))?;
        Ok(Place { link, portreeve, help })
    }

    /// The command line, with results written to the file `out`; `seed` differs from run to run.
    pub fn command(&self, contender: &Contender, ask: &Ask, out: &str, seed: u64) -> Vec<String> {
        let words: Vec<String> = match contender.tool {
            Tool::Portreeve => self.portreeve(contender, ask, out, seed),
            Tool::Masscan => masscan(contender, ask, out, seed, &self.link.gateway_mac),
            Tool::Zmap => zmap(contender, ask, out, seed, &self.link.gateway_mac),
            Tool::Nmap => nmap(ask, out),
            Tool::Rustscan => rustscan(ask),
        };
        words.into_iter().chain(contender.more.iter().cloned()).collect()
    }

    fn portreeve(&self, contender: &Contender, ask: &Ask, out: &str, seed: u64) -> Vec<String> {
        let program = self.portreeve.to_string_lossy().into_owned();
        let named_rates = self.help.contains("max");
        let rate = match contender.rate {
            Rate::Max if named_rates => "max".to_owned(),
            Rate::Auto if named_rates => "auto".to_owned(),
            Rate::Max | Rate::Auto => BEYOND.to_owned(),
            Rate::Fixed(pps) => pps.to_string(),
        };
        let asked = match ask {
            Ask::Ports { targets, ports } => format!("{targets} -p {ports} --no-ping"),
            // one port that nobody has open: every host that is up gets one line, whatever its state
            Ask::Alive { targets } => format!("{targets} -p 1 --all-states --retries 0"),
        };
        let line = format!("{program} scan {asked} --method syn --rate {rate} --seed {seed} --format jsonl -o {out} --quiet");
        line.split_whitespace().map(str::to_owned).collect()
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// masscan waits ten seconds for late answers unless told otherwise; three are enough on a link without delay.
fn masscan(contender: &Contender, ask: &Ask, out: &str, seed: u64, mac: &str) -> Vec<String> {
    let rate = match contender.rate {
        Rate::Fixed(pps) => pps.to_string(),
        Rate::Max | Rate::Auto => BEYOND.to_owned(),
    };
    let (Ask::Ports { targets, .. } | Ask::Alive { targets }) = ask;
    let asked = match ask {
        Ask::Ports { ports, .. } => format!("-p{ports}"),
        Ask::Alive { .. } => "--ping".to_owned(),
    };
    words(&format!(
        "masscan {targets} {asked} --rate {rate} --wait 3 --seed {seed} --adapter {DEVICE} --adapter-ip {SOURCE} --router-mac {mac} -oL {out}"
    ))
}

/// zmap 2 asks one port in a run. Its list of addresses never to probe is emptied, for it holds 10.0.0.0/8.
fn zmap(contender: &Contender, ask: &Ask, out: &str, seed: u64, mac: &str) -> Vec<String> {
    let rate = match contender.rate {
        Rate::Fixed(pps) => pps,
        Rate::Max | Rate::Auto => 0,
    };
    let (Ask::Ports { targets, .. } | Ask::Alive { targets }) = ask;
    let asked = match ask {
        Ask::Ports { ports, .. } => format!("-p {ports}"),
        Ask::Alive { .. } => "-M icmp_echoscan".to_owned(),
    };
    let threads = contender.threads;
    words(&format!(
        "zmap {targets} {asked} -r {rate} -T {threads} -c 2 -e {seed} -i {DEVICE} -S {SOURCE} -G {mac} -b /dev/null -q -v 2 -o {out}"
    ))
}

fn nmap(ask: &Ask, out: &str) -> Vec<String> {
    match ask {
        Ask::Ports { targets, ports } => words(&format!("nmap -sS -Pn -n -T4 {targets} -p {ports} -oG {out}")),
        Ask::Alive { targets } => words(&format!("nmap -sn -n -T4 {targets} -oG {out}")),
    }
}

/// rustscan connects; it prints what it found, so the log of its run is its answer.
fn rustscan(ask: &Ask) -> Vec<String> {
    match ask {
        Ask::Ports { targets, ports } => {
            let asked = if ports.contains('-') { format!("-r {ports}") } else { format!("-p {ports}") };
            words(&format!("rustscan -a {targets} {asked} -g --ulimit 65535 -b 10000 -t 1500 --accessible --no-config"))
        }
        Ask::Alive { targets } => words(&format!("rustscan -a {targets} -p 80 -g --no-config")),
    }
}

/// What a scanner said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub open: BTreeSet<Endpoint>,
    /// Hosts that it says are up, or said anything about.
    pub up: BTreeSet<u32>,
}

/// Reads a scanner's answer.
pub fn read(tool: Tool, ask: &Ask, text: &str) -> Said {
    let port = match ask {
        Ask::Ports { ports, .. } => ports.parse().ok(),
        Ask::Alive { .. } => None,
    };
    let mut said = Said::default();
    for line in text.lines() {
        match tool {
            Tool::Portreeve => read_jsonl(line, &mut said),
            Tool::Masscan => read_masscan(line, &mut said),
            Tool::Zmap => read_zmap(line, port, &mut said),
            Tool::Nmap => read_nmap(line, &mut said),
            Tool::Rustscan => read_rustscan(line, &mut said),
        }
    }
    said
}

fn address(word: &str) -> Option<u32> {
    word.parse::<Ipv4Addr>().ok().map(u32::from)
}

/// `{"ip":"10.0.0.1","port":80,"state":"open",…}`; what else stands in the file (hosts, summaries) has no state of a port.
fn read_jsonl(line: &str, said: &mut Said) {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { return };
    let Some(addr) = value["ip"].as_str().and_then(address) else { return };
    said.up.insert(addr);
    let port = value["port"].as_u64().and_then(|p| u16::try_from(p).ok());
    if let Some(port) = port
        && value["state"] == "open"
    {
        said.open.insert((addr, port));
    }
}

/// `open tcp 80 10.0.0.1 1700000000`, or `open icmp 0 …`.
fn read_masscan(line: &str, said: &mut Said) {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [status, proto, port, addr, ..] = fields[..] else { return };
    let (Some(addr), Ok(port)) = (address(addr), port.parse::<u16>()) else { return };
    said.up.insert(addr);
    if status == "open" && proto == "tcp" {
        said.open.insert((addr, port));
    }
}

/// An address a line; the port is the one that was asked.
fn read_zmap(line: &str, port: Option<u16>, said: &mut Said) {
    if let Some(addr) = address(line.trim()) {
        said.up.insert(addr);
        said.open.extend(port.map(|p| (addr, p)));
    }
}

/// `Host: 10.0.0.1 ()<tab>Ports: 22/open/tcp//ssh///, 80/closed/tcp//…`, or `…<tab>Status: Up`.
fn read_nmap(line: &str, said: &mut Said) {
    let Some(addr) = line.strip_prefix("Host: ").and_then(|rest| address(rest.split_whitespace().next()?)) else { return };
    for part in line.split('\t') {
        if part == "Status: Up" {
            said.up.insert(addr);
        }
        for entry in part.strip_prefix("Ports: ").into_iter().flat_map(|list| list.split(", ")) {
            let mut fields = entry.split('/');
            let port = fields.next().and_then(|p| p.trim().parse().ok());
            if let (Some(port), Some("open")) = (port, fields.next()) {
                said.open.insert((addr, port));
            }
        }
    }
}

/// `10.0.0.1 -> [22,80]`
fn read_rustscan(line: &str, said: &mut Said) {
    let Some((addr, ports)) = line.split_once(" -> ") else { return };
    let Some(addr) = address(addr.trim()) else { return };
    said.up.insert(addr);
    let ports = ports.trim().trim_matches(['[', ']']).split(',').filter_map(|p| p.trim().parse().ok());
    said.open.extend(ports.map(|p: u16| (addr, p)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 0x0a00_0001;

    fn ports(ports: &str) -> Ask {
        Ask::Ports { targets: "10.0.0.0/24".into(), ports: ports.into() }
    }

    #[test]
    fn every_output_of_the_same_findings_reads_the_same() {
        let jsonl = concat!(
            "{\"ip\":\"10.0.0.1\",\"port\":80,\"proto\":\"tcp\",\"state\":\"open\",\"reason\":\"syn-ack\"}\n",
            "{\"ip\":\"10.0.0.1\",\"port\":81,\"proto\":\"tcp\",\"state\":\"closed\",\"reason\":\"rst\"}\n",
            "{\"ip\":\"10.0.0.1\",\"port\":82,\"proto\":\"udp\",\"state\":\"open|filtered\"}\nnot json\n",
        );
        let masscan = "#masscan\nopen tcp 80 10.0.0.1 1700000000\nclosed tcp 81 10.0.0.1 1700000000\n# end\n";
        let nmap = "# Nmap 7.93\nHost: 10.0.0.1 ()\tStatus: Up\nHost: 10.0.0.1 ()\tPorts: 80/open/tcp//http///, 81/closed/tcp//x///, 82/open|filtered/udp//y///\tIgnored State: filtered (3)\n# Nmap done\n";
        let rustscan = "noise\n10.0.0.1 -> [80]\n";
        for (tool, text) in [
            (Tool::Portreeve, jsonl),
            (Tool::Masscan, masscan),
            (Tool::Zmap, "10.0.0.1\n"),
            (Tool::Nmap, nmap),
            (Tool::Rustscan, rustscan),
        ] {
            let said = read(tool, &ports("80"), text);
            assert_eq!(said, Said { open: [(A, 80)].into(), up: [A].into() }, "{tool:?}");
        }
    }

    #[test]
    fn liveness_is_read_from_whatever_names_a_host() {
        let ask = Ask::Alive { targets: "10.0.0.0/24".into() };
        let closed = "{\"ip\":\"10.0.0.1\",\"port\":1,\"proto\":\"tcp\",\"state\":\"filtered\"}";
        for (tool, text) in [
            (Tool::Portreeve, closed),
            (Tool::Nmap, "Host: 10.0.0.1 ()\tStatus: Up\nHost: 10.0.0.2 ()\tStatus: Down\n"),
            (Tool::Masscan, "open icmp 0 10.0.0.1 1700000000\n"),
            (Tool::Zmap, "10.0.0.1\n"),
        ] {
            let said = read(tool, &ask, text);
            assert_eq!((said.up, said.open.len()), ([A].into(), 0), "{tool:?}");
        }
    }

    #[test]
    fn a_version_is_the_first_word_that_begins_with_a_digit() {
        for (text, version) in [
            ("\nMasscan version 1.3.2 ( https://github.com/x )\n", Some("1.3.2")),
            ("zmap 2.1.1\n", Some("2.1.1")),
            ("Nmap version 7.93 ( https://nmap.org )", Some("7.93")),
            ("", None),
        ] {
            assert_eq!(stated_version(text).as_deref(), version);
        }
    }

    #[test]
    fn zmap_and_masscan_are_asked_for_the_same_at_full_speed() {
        let masscan = masscan(&Contender::new(Tool::Masscan, 9), &ports("80"), "o", 3, "m").join(" ");
        assert!(masscan.contains("10.0.0.0/24 -p80 --rate 10000000 --wait 3"), "{masscan}");
        let mut contender = Contender::new(Tool::Zmap, 9);
        contender.threads = 2;
        let zmap = zmap(&contender, &ports("80"), "o", 3, "m").join(" ");
        assert!(zmap.contains("10.0.0.0/24 -p 80 -r 0 -T 2"), "{zmap}");
    }
}
