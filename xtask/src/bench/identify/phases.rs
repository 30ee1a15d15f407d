//! The parts of the benchmark, each a world, one run of each scanner in it, and what came of that.
//!
//! Running a scanner is `tools`'s, judging a claim `lab`'s, telling it `report`'s.

use super::tools::{Ask, Checked, Told};
use lab::recipe::judge::{Claim, Judgement, Proofs, invents, judge};
use lab::recipe::street::{At, Odd, Street, Truth, lookalikes, pretend};
use lab::recipe::{Access, Over, Recipe, Suite};
use lab::{Kind, Lab, LabSpec, Manner, Namespace, Server};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// One port, what each scanner claimed, and how that stands.
#[derive(Clone, Debug, Serialize)]
pub struct Scored {
    pub server: String,
    pub recipe: String,
    pub port: u16,
    pub udp: bool,
    pub truth: String,
    pub version: Option<String>,
    pub scores: BTreeMap<&'static str, Score>,
    /// Where portreeve failed: what the port says to a silent client, and to a request in HTTP.
    pub bytes: Option<(String, String)>,
}

/// A claim and its judgement.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    pub claim: Claim,
    pub judgement: Judgement,
}

/// One world of servers, asked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Asked {
    pub ports: Vec<Scored>,
    pub seconds: BTreeMap<&'static str, f64>,
    pub cut: Vec<&'static str>,
    pub commands: BTreeMap<&'static str, String>,
    /// What a scanner changed: server, before, after.
    pub changed: BTreeMap<&'static str, Vec<(String, String, String)>>,
    /// Servers whose state was compared.
    pub states: Vec<String>,
    pub absent: Vec<(String, String)>,
    /// Access without credentials: verdicts of portreeve's checks, held to what the recipes say.
    pub proofs: Option<Proofs>,
    /// Every check that was run: server, and how each ended.
    pub checks: Vec<(String, Vec<Checked>)>,
}

/// Claims about listeners that are no servers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pretended {
    /// Name, port, and what each scanner claimed.
    pub listeners: Vec<(String, u16, BTreeMap<&'static str, Claim>)>,
    /// How many claims of each scanner go beyond the bytes.
    pub invented: BTreeMap<&'static str, Vec<String>>,
    pub seconds: BTreeMap<&'static str, f64>,
    pub cut: Vec<&'static str>,
}

/// Silent ports.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Silence {
    pub ports: usize,
    pub seconds: BTreeMap<&'static str, f64>,
    pub cut: Vec<&'static str>,
    /// Connections counted at the target: the most that one port got, and all.
    pub most: BTreeMap<&'static str, u64>,
    pub all: BTreeMap<&'static str, u64>,
    pub named: BTreeMap<&'static str, usize>,
}

/// Default pairs: verdicts held to what the recipes say, and attempts counted twice.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pairs {
    pub proofs: Proofs,
    pub checks: Vec<(String, Vec<Checked>)>,
    /// The most attempts with one account at one endpoint, as the checks tell it.
    pub most: usize,
    /// The same as the servers' own logs tell it: server, failures it logged.
    pub logged: Vec<(String, usize)>,
    pub absent: Vec<(String, String)>,
}

/// Everything measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Result {
    pub usual: Option<Asked>,
    pub odd: Option<Asked>,
    pub twenty: Option<Asked>,
    pub silent: Option<Silence>,
    pub lookalikes: Option<Pretended>,
    pub everywhere: Option<Pretended>,
    pub credentials: Option<Pairs>,
}

pub struct Bench<'a> {
    pub folder: &'a Path,
    pub binary: &'a Path,
    /// The example that runs checks; none are run without.
    pub checks: Option<&'a Path>,
    pub nmap: bool,
    pub seed: u64,
    pub recipes: Vec<&'static Recipe>,
}

/// portreeve without `--thorough`, where that is what is compared.
pub const FAST_LANE: &str = "portreeve, fast lane";

/// An hour: nmap may take its time, and a run must end.
const LIMIT: Duration = Duration::from_secs(3600);

impl Bench<'_> {
    pub fn phase(&self, phase: &str, result: &mut Result) -> anyhow::Result<()> {
        let open = |r: &&&'static Recipe| r.doors.iter().all(|d| !guarded(d.access) || r.doors.len() > 1);
        match phase {
            "usual" => result.usual = Some(self.servers("usual", &self.recipes, None)?),
            "odd" => result.odd = Some(self.servers("odd", &self.recipes, Some(Odd::new(self.seed)))?),
            "twenty" => {
                let small = |r: &&&'static Recipe| r.suite == Suite::Fast && r.doors.iter().all(|d| d.over == Over::Tcp);
                let twenty: Vec<&'static Recipe> = self.recipes.iter().filter(small).filter(open).take(20).copied().collect();
                result.twenty = Some(self.servers("twenty", &twenty, None)?);
            }
            "silent" => result.silent = Some(self.silent(50)?),
            "lookalikes" => result.lookalikes = Some(self.lookalikes()?),
            "everywhere" => result.everywhere = Some(self.everywhere()?),
            "credentials" => result.credentials = self.checks.map(|checks| self.credentials(checks)).transpose()?,
            _ => {}
        }
        Ok(())
    }

    fn ask<'b>(&'b self, lab: &'b Lab, name: &'b str, endpoints: &'b BTreeSet<At>) -> Ask<'b> {
        Ask { lab, folder: self.folder, name, endpoints, limit: LIMIT }
    }

    /// Starts servers, asks them with each scanner, and compares.
    fn servers(&self, name: &str, recipes: &[&'static Recipe], odd: Option<Odd>) -> anyhow::Result<Asked> {
        let (is_odd, world) = (odd.is_some(), Street::start(recipes, odd)?);
        eprintln!("    {} servers with {} ports run, {} do not", world.cooked.len(), world.truths.len(), world.absent.len());
        let endpoints = world.endpoints();
        let ask = self.ask(&world.lab, name, &endpoints);
        let mut asked = Asked { absent: world.absent.clone(), ..Asked::default() };
        let before = world.states();
        asked.states = before.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut told: BTreeMap<&'static str, Told> = BTreeMap::new();
        if is_odd {
            // What a number does not promise is for the slow lane; what is left to it is told, too.
            let quick = Ask { name: "odd-fast-lane", ..ask };
            told.insert(FAST_LANE, quick.portreeve(self.binary, &[])?);
        }
        told.insert("portreeve", ask.portreeve(self.binary, if is_odd { &["--thorough"] } else { &[] })?);
        let after = world.states();
        asked.changed.insert("portreeve", changed(&before, &after));
        let mut after = after;
        if let Some(checks) = self.checks.filter(|_| name == "usual") {
            let all = ask.checks(checks, &[])?;
            asked.proofs = Some(proofs(&world.truths, &all, "unauthenticated-access", Access::Open));
            asked.checks = named(&world.truths, &all);
            let now = world.states();
            asked.changed.insert("checks", changed(&after, &now));
            after = now;
        }
        if self.nmap {
            told.insert("nmap", ask.nmap()?);
            asked.changed.insert("nmap", changed(&after, &world.states()));
        }
        for truth in &world.truths {
            asked.ports.push(scored(truth, &told, world.lab.scanner()));
        }
        for (tool, told) in told {
            eprintln!("    {tool}: {:.1} s", told.seconds);
            asked.seconds.insert(tool, told.seconds);
            asked.commands.insert(tool, told.command);
            if told.cut {
                asked.cut.push(tool);
            }
        }
        Ok(asked)
    }

    /// Ports that accept and say nothing, on one host.
    fn silent(&self, count: usize) -> anyhow::Result<Silence> {
        let lab = LabSpec::new().host("mute", 10, Kind::Refusing).start()?;
        let host = lab.host("mute");
        let mut odd = Odd::new(self.seed + 7);
        let ports: Vec<u16> = (0..count).map(|_| odd.port()).collect();
        let mut silence = Silence { ports: count, ..Silence::default() };
        let endpoints: BTreeSet<At> = ports.iter().map(|&p| (host.v4(), 't', p)).collect();
        for tool in self.tools() {
            let mute: Vec<_> = ports.iter().map(|&p| host.pretend(p, Manner::Silent)).collect::<anyhow::Result<_>>()?;
            let told = self.run(tool, &self.ask(&lab, "silent", &endpoints))?;
            let each: Vec<u64> = mute.iter().map(lab::Pretender::connections).collect();
            silence.most.insert(tool, each.iter().copied().max().unwrap_or(0));
            silence.all.insert(tool, each.iter().sum());
            silence.seconds.insert(tool, told.seconds);
            silence.named.insert(tool, told.claims.values().filter(|c| !c.service.is_empty() || c.product.is_some()).count());
            if told.cut {
                silence.cut.push(tool);
            }
        }
        Ok(silence)
    }

    fn tools(&self) -> Vec<&'static str> {
        if self.nmap { vec!["portreeve", "nmap"] } else { vec!["portreeve"] }
    }

    fn run(&self, tool: &str, ask: &Ask) -> anyhow::Result<Told> {
        if tool == "nmap" { ask.nmap() } else { ask.portreeve(self.binary, &[]) }
    }

    /// Listeners that pretend, each on a port that promises nothing and on one that promises something.
    fn lookalikes(&self) -> anyhow::Result<Pretended> {
        let list = lookalikes();
        let lab = LabSpec::new().host("odd", 10, Kind::Refusing).host("usual", 11, Kind::Refusing).start()?;
        let mut odd = Odd::new(self.seed + 11);
        let odd_ports: Vec<u16> = list.iter().map(|_| odd.port()).collect();
        // What a listener promises by its number, the more harm the sooner.
        let promising = [
            6379, 3306, 5432, 22, 8080, 9200, 27017, 11211, 2375, 9001, 2181, 8081, 5984, 8086, 2379, 3389, 7077, 9090, 9042,
            1521, 8848, 8500, 389, 445, 3000, 15672, 5900, 8888, 7001, 9092,
        ];
        let _odd = pretend(lab.host("odd"), &list, &odd_ports)?;
        let _usual = pretend(lab.host("usual"), &list, &promising)?;
        let hosts = [("odd", &odd_ports[..]), ("usual", &promising[..list.len()])];
        let place = |h: &str, p: u16| (lab.host(h).v4(), 't', p);
        let endpoints: BTreeSet<At> = hosts.iter().flat_map(|(h, ports)| ports.iter().map(|&p| place(h, p))).collect();
        let mut pretended = Pretended::default();
        let mut told = BTreeMap::new();
        for tool in self.tools() {
            let it = self.run(tool, &self.ask(&lab, "lookalikes", &endpoints))?;
            pretended.seconds.insert(tool, it.seconds);
            pretended.invented.insert(tool, Vec::new());
            if it.cut {
                pretended.cut.push(tool);
            }
            told.insert(tool, it);
        }
        for (host, ports) in hosts {
            for (lookalike, &port) in list.iter().zip(ports) {
                let mut claims = BTreeMap::new();
                for (tool, told) in &told {
                    let claim = told.claims.get(&place(host, port)).cloned().unwrap_or_default();
                    if invents(&claim, lookalike.allowed) {
                        let line = format!("{} on {port}: {}", lookalike.name, claim.line());
                        pretended.invented.entry(tool).or_default().push(line);
                    }
                    claims.insert(*tool, claim);
                }
                pretended.listeners.push((lookalike.name.to_owned(), port, claims));
            }
        }
        Ok(pretended)
    }

    /// Hosts that accept on every port, with two real servers behind: what is claimed of forty ports where nothing is.
    fn everywhere(&self) -> anyhow::Result<Pretended> {
        let lab = LabSpec::new().host("wall", 50, Kind::AcceptsAll).host("proxy", 60, Kind::SynProxy).start()?;
        let real = [6379, 22];
        for host in lab.hosts() {
            host.serve(Server::Redis { port: real[0] })?;
            host.serve(Server::Sshd { port: real[1] })?;
        }
        let mut odd = Odd::new(self.seed + 13);
        let mut ports: Vec<u16> = vec![21, 23, 25, 80, 443, 1433, 1521, 2375, 3306, 3389, 5432, 8080, 8443, 9200, 11211, 27017];
        ports.extend((0..24).map(|_| odd.port()));
        ports.extend(real);
        let endpoints: BTreeSet<At> = lab.hosts().iter().flat_map(|h| ports.iter().map(|&p| (h.v4(), 't', p))).collect();
        let mut pretended = Pretended::default();
        for tool in self.tools() {
            let told = self.run(tool, &self.ask(&lab, "everywhere", &endpoints))?;
            let mut invented = Vec::new();
            for (at, claim) in &told.claims {
                let named = !claim.service.is_empty() || claim.product.is_some() || claim.version.is_some();
                if named && !real.contains(&at.2) {
                    invented.push(format!("{}:{} {}", at.0, at.2, claim.line()));
                }
            }
            for host in lab.hosts() {
                for port in real {
                    let claim = told.claims.get(&(host.v4(), 't', port)).cloned().unwrap_or_default();
                    if claim.service.is_empty() {
                        invented.push(format!(
                            "{} ({:?}): the real server on {port} is not named: {}",
                            host.v4(),
                            host.kind(),
                            claim.line()
                        ));
                    }
                }
            }
            pretended.invented.insert(tool, invented);
            pretended.seconds.insert(tool, told.seconds);
            if told.cut {
                pretended.cut.push(tool);
            }
            for host in lab.hosts() {
                let of_host = told.claims.keys().filter(|at| at.0 == host.v4()).count();
                pretended.listeners.push((format!("{:?}, {of_host} ports told open by {tool}", host.kind()), 0, BTreeMap::new()));
            }
        }
        Ok(pretended)
    }
}

fn guarded(access: Access) -> bool {
    matches!(access, Access::Password | Access::DefaultPair | Access::Acl | Access::ClientCertificate)
}

fn changed(before: &[(&'static str, String)], after: &[(&'static str, String)]) -> Vec<(String, String, String)> {
    let changes = before.iter().zip(after).filter(|(b, a)| b.1 != a.1);
    changes.map(|(b, a)| (b.0.to_owned(), b.1.clone(), a.1.clone())).collect()
}

fn scored(truth: &Truth, told: &BTreeMap<&'static str, Told>, scanner: &Namespace) -> Scored {
    let door = &truth.door;
    let names = |list: &[&str]| list.iter().find(|n| !n.is_empty()).copied().unwrap_or("").to_owned();
    let shown = format!("{} {}", names(door.service), names(door.product));
    let mut scores = BTreeMap::new();
    for (tool, told) in told {
        let claim = told.claims.get(&truth.at).cloned().unwrap_or_default();
        let judgement = judge(&claim, door, truth.version.as_deref());
        scores.insert(*tool, Score { claim, judgement });
    }
    let failed = scores
        .get("portreeve")
        .is_some_and(|s| !s.judgement.right || s.judgement.wrong_version || (s.judgement.disclosed && !s.judgement.version));
    let bytes = (failed && truth.at.1 == 't')
        .then(|| (hear(scanner, truth.at, b""), hear(scanner, truth.at, b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")));
    Scored {
        server: door.name.to_owned(),
        recipe: truth.recipe.to_owned(),
        port: truth.at.2,
        udp: truth.at.1 == 'u',
        truth: shown.trim().to_owned(),
        version: truth.version.clone(),
        scores,
        bytes,
    }
}

/// The first bytes that a port answers with within a second and a half, as they would stand in a TOML string.
fn hear(scanner: &Namespace, at: At, send: &[u8]) -> String {
    let answer = scanner.enter(|| -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((at.0, at.2)), Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_millis(1_500)))?;
        stream.write_all(send)?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
        while let Ok(n @ 1..) = stream.read(&mut piece) {
            bytes.extend_from_slice(&piece[..n]);
            if bytes.len() >= 700 {
                break;
            }
        }
        bytes.truncate(700);
        Ok(bytes)
    });
    match answer {
        Ok(bytes) => bytes.iter().flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect(),
        Err(e) => format!("({e})"),
    }
}

/// Checks by the name of the server.
fn named(truths: &[Truth], all: &BTreeMap<At, Vec<Checked>>) -> Vec<(String, Vec<Checked>)> {
    truths.iter().filter_map(|t| Some((t.door.name.to_owned(), all.get(&t.at)?.clone()))).collect()
}

/// Verdicts of one kind, held to what the recipes say: proved wherever it is so, and nowhere else.
fn proofs(truths: &[Truth], all: &BTreeMap<At, Vec<Checked>>, kind: &str, so: Access) -> Proofs {
    let mut proofs = Proofs::default();
    let none: Vec<Checked> = Vec::new();
    for truth in truths {
        let runs = all.get(&truth.at).unwrap_or(&none);
        let proved = runs.iter().any(|r| r.kind == kind && r.verdict == "proved");
        let shown: Vec<String> =
            runs.iter().map(|r| format!("{} {} {}", r.check, r.verdict, r.reason).trim().to_owned()).collect();
        let shown = if shown.is_empty() { "no check ran".to_owned() } else { shown.join("; ") };
        let failure = format!("is {:?}; {shown}", truth.door.access);
        match (truth.door.access == so, proved) {
            (true, true) => proofs.right += 1,
            (true, false) => {
                proofs.missed += 1;
                proofs.failures.insert(truth.door.name.to_owned(), failure);
            }
            // A port of which nobody asked is not held against a proof, but for a default pair nobody set.
            (false, true) if truth.door.access == Access::NotAsked && so == Access::Open => {}
            (false, true) => {
                proofs.wrong += 1;
                proofs.failures.insert(truth.door.name.to_owned(), failure);
            }
            (false, false) => proofs.rightly_not += 1,
        }
    }
    proofs
}

impl Bench<'_> {
    /// Servers with the default pair, with a changed one, with none, locked, and a page that lets everybody in.
    fn credentials(&self, checks: &Path) -> anyhow::Result<Pairs> {
        let families = ["redis", "mariadb", "postgresql", "supervisor", "influxdb", "rabbitmq", "tomcat-manager"];
        let wanted = |r: &&&'static Recipe| {
            families.iter().any(|f| r.name == *f || r.name.strip_prefix(f).is_some_and(|rest| rest.starts_with('-')))
        };
        let recipes: Vec<&'static Recipe> = self.recipes.iter().filter(wanted).copied().collect();
        let world = Street::start(&recipes, None)?;
        let endpoints = world.endpoints();
        // A page with the identity of a panel that asks for a password and takes any.
        let lab = LabSpec::new().host("anybody", 10, Kind::Refusing).start()?;
        let page = "<html><title>RabbitMQ Management</title><script src=\"js/ejs-1.0.min.js\"></script></html>";
        let inside = "{\"name\":\"guest\",\"tags\":[\"administrator\"]}";
        let manner = Manner::AnyPassword { page: page.to_owned(), inside: inside.to_owned() };
        let _anybody = lab.host("anybody").pretend(15672, manner)?;
        let decoy: BTreeSet<At> = [(lab.host("anybody").v4(), 't', 15672)].into();
        let more = ["--ceiling", "intrusive", "--credentials", "2"];
        let all = self.ask(&world.lab, "credentials", &endpoints).checks(checks, &more)?;
        let fooled = self.ask(&lab, "credentials-decoy", &decoy).checks(checks, &more)?;
        let mut pairs =
            Pairs { proofs: proofs(&world.truths, &all, "default-credential", Access::DefaultPair), ..Pairs::default() };
        for run in fooled.values().flatten() {
            if run.kind == "default-credential" && run.verdict == "proved" {
                pairs.proofs.wrong += 1;
                pairs
                    .proofs
                    .failures
                    .insert("a page that takes any password".to_owned(), format!("{} {:?}", run.check, run.attempts));
            }
        }
        pairs.checks = named(&world.truths, &all);
        pairs.checks.push(("a page that takes any password".to_owned(), fooled.into_values().flatten().collect()));
        for (_, runs) in &pairs.checks {
            let mut accounts: BTreeMap<&str, usize> = BTreeMap::new();
            for (account, _) in runs.iter().flat_map(|r| &r.attempts) {
                *accounts.entry(account).or_default() += 1;
            }
            pairs.most = pairs.most.max(accounts.into_values().max().unwrap_or(0));
        }
        for it in &world.cooked {
            let logged = match it.recipe.name {
                name if name.starts_with("postgresql") => {
                    it.place.log().matches("authentication failed for user \"postgres\"").count()
                }
                name if name.starts_with("mariadb") => it.place.log().matches("Access denied for user 'root'").count(),
                _ => continue,
            };
            pairs.logged.push((it.recipe.name.to_owned(), logged));
        }
        pairs.absent = world.absent;
        Ok(pairs)
    }
}
