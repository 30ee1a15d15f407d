//! Many servers at once: every recipe on a host of its own, started a few at a time, on its usual ports or on others. And what
//! only pretends to be a server.
//!
//! Which claims are right is left to `judge`.

use super::judge::Allowed;
use super::{Cooked, Door, Over, Recipe};
use crate::host::{Host, Kind};
use crate::lab::{Lab, LabSpec};
use crate::pretender::{Manner, Pretender};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An endpoint: address, `t` or `u`, port.
pub type At = (Ipv4Addr, char, u16);

/// One port whose truth is known.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Where it is.
    pub at: At,
    /// Whose port it is.
    pub recipe: &'static str,
    /// What is true of it.
    pub door: Door,
    /// The version that it tells, as the package has it.
    pub version: Option<String>,
}

/// Servers that run, one a host. Dropping it ends them.
#[derive(Debug)]
pub struct Street {
    /// The servers.
    pub cooked: Vec<Cooked>,
    /// Their ports.
    pub truths: Vec<Truth>,
    /// Recipes that could not be started, with the reason: no server, no score, and said so.
    pub absent: Vec<(String, String)>,
    /// The network they stand in.
    pub lab: Lab,
}

/// Ports that promise nothing: unlike every usual one, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Odd {
    state: u64,
    taken: BTreeSet<u16>,
}

impl Odd {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Odd {
        let mut taken: BTreeSet<u16> = super::all().iter().flat_map(|r| r.usual_ports()).collect();
        // Numbers of machines that a byte may harm (DICOM, DNP3), which no scanner of ours asks.
        taken.extend([11_112, 20_000]);
        Odd { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, taken }
    }

    /// One that nobody has.
    pub fn port(&mut self) -> u16 {
        loop {
            // xorshift64: any spread will do
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            // Below the range from which the kernel takes ports for its own connections.
            let port = 10_000 + (self.state % 22_000) as u16;
            if self.taken.insert(port) {
                return port;
            }
        }
    }
}

impl Street {
    /// Starts the recipes, each on a host of its own; with `odd`, on other ports than the usual.
    pub fn start(recipes: &[&'static Recipe], mut odd: Option<Odd>) -> Result<Street> {
        let numbers = 2_u8..;
        let mut spec = LabSpec::new();
        for (n, _) in numbers.zip(recipes) {
            spec = spec.host(&format!("s{n}"), n, Kind::Refusing);
        }
        let lab = spec.start()?;
        let jobs: Vec<(Host, &'static Recipe, Vec<u16>)> = lab
            .hosts()
            .iter()
            .zip(recipes)
            .map(|(host, recipe)| {
                let ports = match &mut odd {
                    Some(odd) => recipe.other_ports(|| odd.port()),
                    None => recipe.usual_ports(),
                };
                (host.clone(), *recipe, ports)
            })
            .collect();
        let next = AtomicUsize::new(0);
        let (cooked, absent) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        // Three at a time: two processors, and much of starting is waiting.
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some((host, recipe, ports)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match host.cook(recipe, ports) {
                            Ok(it) => cooked.lock().unwrap_or_else(|e| e.into_inner()).push(it),
                            Err(e) => {
                                eprintln!("    {} cannot be started: {:.300}", recipe.name, format!("{e:#}"));
                                absent.lock().unwrap_or_else(|e| e.into_inner()).push((recipe.name.to_owned(), format!("{e:#}")));
                            }
                        }
                    }
                });
            }
        });
        let mut cooked = cooked.into_inner().unwrap_or_else(|e| e.into_inner());
        cooked.sort_by_key(|c| c.place.address);
        let mut truths = Vec::new();
        for it in &cooked {
            for (door, &port) in it.recipe.doors.iter().zip(&it.place.ports) {
                let kind = if door.over == Over::Udp { 'u' } else { 't' };
                let version = door.true_version().with_context(|| it.recipe.name)?;
                truths.push(Truth { at: (it.place.address, kind, port), recipe: it.recipe.name, door: *door, version });
            }
        }
        Ok(Street { cooked, truths, absent: absent.into_inner().unwrap_or_else(|e| e.into_inner()), lab })
    }

    /// Every port.
    pub fn endpoints(&self) -> BTreeSet<At> {
        self.truths.iter().map(|t| t.at).collect()
    }

    /// The state of every server that has one, by recipe.
    pub fn states(&self) -> Vec<(&'static str, String)> {
        let state = |c: &Cooked| match c.state() {
            Ok(state) => state,
            Err(e) => Some(format!("cannot be asked: {e:#}")),
        };
        self.cooked.iter().filter_map(|c| Some((c.recipe.name, state(c)?))).collect()
    }
}

/// A listener that is no server, and what its bytes prove.
#[derive(Clone, Debug)]
pub struct Lookalike {
    /// What it does, in words.
    pub name: &'static str,
    /// What it does.
    pub manner: Manner,
    /// What may be said of it.
    pub allowed: Allowed,
}

const NOTHING: Allowed = Allowed { service: &[], product: &[] };
const ONLY_HTTP: Allowed = Allowed { service: &["http"], product: &[] };

/// Everything that pretends.
pub fn lookalikes() -> Vec<Lookalike> {
    let page = |name, headers: &str, body: &str, allowed| Lookalike {
        name,
        manner: Manner::Http { status: "200 OK", headers: headers.to_owned(), body: body.to_owned() },
        allowed,
    };
    let html = "Content-Type: text/html\r\n";
    let json = "Content-Type: application/json\r\n";
    let says = |name, manner, allowed| Lookalike { name, manner, allowed };
    let every_word = "<title>Grafana Prometheus Jenkins Kibana Nacos phpMyAdmin</title><p>You Know, for Search. Docker etcd CouchDB \
                      Welcome RabbitMQ Management Apache Tomcat Spark Master Flink Dashboard Supervisor Status Jupyter Node-RED";
    vec![
        says("silent", Manner::Silent, NOTHING),
        says("closes at once", Manner::ClosesAtOnce, NOTHING),
        says("closes on data", Manner::ClosesOnData, NOTHING),
        says("echo", Manner::Echo, Allowed { service: &["echo"], product: &[] }),
        page("200 for every path", html, "<title>Welcome</title><p>hello", ONLY_HTTP),
        page("200 and an empty object for every path", json, "{}", ONLY_HTTP),
        page("200 and ok:true for every path", json, "{\"ok\":true,\"status\":\"success\",\"data\":[]}", ONLY_HTTP),
        page("every product's name on a page", html, every_word, ONLY_HTTP),
        page(
            "an article about Elasticsearch",
            html,
            "<title>Blog</title><p>Elasticsearch says \"You Know, for Search\" and version 7.10.2",
            ONLY_HTTP,
        ),
        page(
            "PouchDB for CouchDB",
            json,
            "{\"express-pouchdb\":\"Welcome!\",\"version\":\"4.2.0\",\"vendor\":{\"name\":\"PouchDB authors\",\"version\":\"4.2.0\"}}",
            ONLY_HTTP,
        ),
        page("a version and nothing else", json, "{\"version\":\"2.4.1\"}", ONLY_HTTP),
        page(
            "a login page titled Login",
            html,
            "<title>Login</title><form method=post><input name=username><input name=password type=password></form>",
            ONLY_HTTP,
        ),
        page(
            "a page that links to Grafana",
            html,
            "<title>Tools</title><a href=\"/grafana\">Grafana</a> <a href=\"/jenkins\">Jenkins</a>",
            ONLY_HTTP,
        ),
        says(
            "401 for every path",
            Manner::Http {
                status: "401 Unauthorized",
                headers: "WWW-Authenticate: Basic realm=\"intranet\"\r\n".into(),
                body: String::new(),
            },
            ONLY_HTTP,
        ),
        says("+PONG to everything", Manner::Answers(b"+PONG\r\n".to_vec()), Allowed { service: &["redis"], product: &[] }),
        says("OK to everything", Manner::Answers(b"OK\r\n".to_vec()), NOTHING),
        says(
            "-ERR to everything",
            Manner::Answers(b"-ERR unknown command\r\n".to_vec()),
            Allowed { service: &["redis", "pop3"], product: &[] },
        ),
        says("ERROR to everything", Manner::Answers(b"ERROR\r\n".to_vec()), Allowed { service: &["memcached"], product: &[] }),
        says("a line of JSON to everything", Manner::Answers(b"{\"error\":\"unknown command\"}\n".to_vec()), NOTHING),
        says("four zero bytes to everything", Manner::Answers(vec![0; 4]), NOTHING),
        says("N to everything", Manner::Answers(b"N".to_vec()), NOTHING),
        says("S to everything", Manner::Answers(b"S".to_vec()), NOTHING),
        says(
            "noise to everything",
            Manner::Answers((0..=255).map(|b: u8| b.wrapping_mul(167).wrapping_add(13)).collect()),
            NOTHING,
        ),
        says("220 ready", Manner::Greets(b"220 ready\r\n".to_vec()), Allowed { service: &["ftp", "smtp"], product: &[] }),
        says("SSH of nobody", Manner::Greets(b"SSH-2.0-x\r\n".to_vec()), Allowed { service: &["ssh"], product: &["x"] }),
        says("a greeting in words", Manner::Greets(b"Welcome to the redis mysql postgresql host\r\n".to_vec()), NOTHING),
        says("login:", Manner::Greets(b"\r\nlogin: ".to_vec()), Allowed { service: &["telnet", "login"], product: &[] }),
        says("HTTP without a server", Manner::Answers(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), ONLY_HTTP),
    ]
}

/// Starts the lookalikes on a host, each on the port of the same place in the list.
pub fn pretend(host: &Host, list: &[Lookalike], ports: &[u16]) -> Result<Vec<Pretender>> {
    list.iter().zip(ports).map(|(l, &port)| host.pretend(port, l.manner.clone())).collect()
}
