//! The rules of `catalog/services/` and `catalog/panels/`: read once, compiled, asked about bytes.
//!
//! A rule says in which answer it looks (`on`), what must match there, and what that proves; its cases are real answers
//! that the tests hold it to. What to ask a server in which order is left to `order`.

use crate::bytes::{tidy, unescape};
use crate::http::{self, Response};
use crate::protocol::{CODECS, Codec, Found, Reading};
use model::PortSet;
use regex::bytes::{Captures, Regex, RegexBuilder};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// One line per file.
macro_rules! files {
    ($($folder:literal: $($name:literal)*;)*) => {
        &[$($((concat!($folder, "/", $name, ".toml"), include_str!(concat!("../../../catalog/", $folder, "/", $name, ".toml"))),)*)*]
    };
}

/// Services, most specific names first; the order decides nothing but the documentation's.
const SERVICES: &[(&str, &str)] = files! {
    "services":
        "ssh" "ftp" "smtp" "pop3" "imap" "telnet" "rsync" "vnc" "mysql" "nats" "redis" "memcached" "postgresql" "mongodb"
        "ldap" "rdp" "smb" "kafka" "zookeeper" "http" "elasticsearch" "docker" "etcd" "couchdb" "influxdb" "kubernetes"
        "flink" "spark" "spark-web" "hadoop" "hadoop-web" "supervisor" "weblogic" "nacos" "glassfish" "rpcbind" "nfs"
        "mountd" "nlockmgr" "rpc-statd" "oracle-tns" "mssql" "drda" "rmi" "iiop" "tls" "mqtt" "amqp" "activemq" "stomp"
        "cassandra" "clickhouse" "x11" "socks" "ajp" "epmd" "adb" "dubbo" "rocketmq" "zabbix-agent" "zabbix" "thrift" "h2"
        "hsqldb" "firebird" "kerberos" "git" "iscsi" "serf-rpc" "dns" "rtmp" "dask" "tor" "svn" "sip" "rtsp" "xmpp" "irc"
        "finger" "ident" "daytime" "chargen" "munin" "gearman" "beanstalkd" "gpsd" "dict" "nut" "nntp" "mpd" "asterisk-manager"
        "tarantool" "ceph" "cvs" "check-mk" "teamspeak" "zeromq" "distcc" "prometheus" "alertmanager" "node-exporter"
        "consul" "kubelet" "ollama" "ray" "neo4j";
};

const PANELS: &[(&str, &str)] = files! { "panels": "data" "delivery" "monitoring" "web"; };

const EXCLUDED: (&str, &str) = ("services/excluded.toml", include_str!("../../../catalog/services/excluded.toml"));

/// Why a catalogue file was refused.
#[derive(Debug, thiserror::Error)]
#[error("catalogue file {file}: {message}")]
pub struct CatalogError {
    /// File.
    pub file: String,
    /// What is wrong, with the rule's id where there is one.
    pub message: String,
}

/// How far a service's recognition has been proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Against the real server, in the tests of this crate.
    RealServer,
    /// Against the real server, by hand; the tests hold it to transcripts.
    ByHand,
    /// Against recorded or specified bytes only.
    Transcript,
}

/// A service as the documentation lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSummary {
    /// [`model::Service::name`].
    pub name: String,
    /// Products its rules can name.
    pub products: BTreeSet<String>,
    /// Ports that promise it.
    pub ports: Vec<u16>,
    /// Requests and answers that its rules look at.
    pub on: BTreeSet<String>,
    /// How far it is proved.
    pub proved: Reached,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    service: String,
    #[serde(default)]
    ports: Vec<u16>,
    proved: Reached,
    #[serde(default)]
    probe: Vec<ProbeSpec>,
    #[serde(default)]
    rule: Vec<RuleSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeSpec {
    name: String,
    /// Bytes to send, escaped; or
    send: Option<String>,
    /// a path to GET after `/` did not tell.
    path: Option<String>,
    /// An unrecognised answer that matches this makes the probe worth asking on any port.
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSpec {
    id: String,
    #[serde(default)]
    on: String,
    pattern: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    title: Option<String>,
    body: Option<String>,
    status: Option<u16>,
    product: Option<String>,
    #[serde(default)]
    refuses: bool,
    /// Only when no other rule matches.
    #[serde(default)]
    fallback: bool,
    /// Of a codec's rule: an unrecognised answer that matches this makes the codec worth asking on any port.
    after: Option<String>,
    cases: Vec<Case>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(test), allow(dead_code))]
struct Case {
    bytes: String,
    product: Option<String>,
    version: Option<String>,
    #[serde(default)]
    refuses: bool,
    /// These bytes must not match the rule.
    #[serde(default)]
    no: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PanelFile {
    panel: Vec<RuleSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExcludedFile {
    excluded: Vec<ExcludedSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExcludedSpec {
    ports: PortSet,
    why: String,
    #[cfg_attr(not(test), allow(dead_code))]
    cases: Vec<ExcludedCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(test), allow(dead_code))]
struct ExcludedCase {
    port: u16,
    excluded: bool,
}

/// Where a rule looks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum On {
    Banner,
    Probe(String),
    Codec(&'static str),
    Http(String),
}

/// A compiled rule.
struct Rule {
    #[cfg_attr(not(test), allow(dead_code))]
    id: String,
    service: String,
    on: On,
    pattern: Option<Regex>,
    headers: Vec<(String, Regex)>,
    title: Option<Regex>,
    body: Option<Regex>,
    status: Option<u16>,
    product: Option<String>,
    refuses: bool,
    fallback: bool,
    #[cfg_attr(not(test), allow(dead_code))]
    cases: Vec<Case>,
}

/// Something to send on a connection, and which ports promise that it is understood.
pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) ports: Vec<u16>,
    pub(crate) request: Vec<u8>,
    pub(crate) codec: Option<&'static Codec>,
    pub(crate) after: Option<Regex>,
}

/// A second path worth a GET.
pub(crate) struct FollowUp {
    pub(crate) path: String,
    pub(crate) ports: Vec<u16>,
    pub(crate) after: Option<Regex>,
}

/// What the rules make of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Unknown,
    Is(Found),
    /// Rules of different services match the same bytes: whatever this is, it is none of them (R7).
    Contradiction(String),
}

/// All rules, compiled.
pub(crate) struct Rules {
    rules: Vec<Rule>,
    panels: Vec<Rule>,
    pub(crate) probes: Vec<Probe>,
    pub(crate) follow_ups: Vec<FollowUp>,
    pub(crate) http_ports: Vec<u16>,
    pub(crate) tls_ports: Vec<u16>,
    /// Ports whose service speaks first.
    pub(crate) banner_ports: Vec<u16>,
    excluded: Vec<ExcludedSpec>,
    summaries: Vec<ServiceSummary>,
}

/// The services that portreeve can recognise, for the documentation.
pub fn summaries() -> &'static [ServiceSummary] {
    &Rules::builtin().summaries
}

pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    // Bytes, not characters: `.` is any byte but a line feed, `\xff` is that byte. The limit keeps one careless
    // repetition in a rule from costing every node a hundred megabytes.
    RegexBuilder::new(pattern).unicode(false).size_limit(1 << 20).build().map_err(|e| e.to_string())
}

impl Rule {
    fn compile(spec: RuleSpec, service: &str, on: On) -> Result<Rule, String> {
        let optional = |p: &Option<String>| p.as_deref().map(compile).transpose();
        let conditions = spec.headers.len()
            + [spec.title.is_some(), spec.body.is_some(), spec.status.is_some()].iter().filter(|c| **c).count();
        match &on {
            On::Http(_) if spec.pattern.is_some() || conditions == 0 => {
                return Err("an http rule has headers, title, body or status".into());
            }
            On::Codec(_) if spec.pattern.is_some() || conditions > 0 => return Err("a codec's rule has cases only".into()),
            On::Banner | On::Probe(_) | On::Http(_) if spec.after.is_some() => {
                return Err("`after` belongs to a probe or a codec".into());
            }
            On::Banner | On::Probe(_) if spec.pattern.is_none() || conditions > 0 => {
                return Err("a text rule has a pattern".into());
            }
            _ => {}
        }
        let headers =
            spec.headers.iter().map(|(n, p)| Ok((n.to_ascii_lowercase(), compile(p)?))).collect::<Result<_, String>>()?;
        Ok(Rule {
            service: service.to_owned(),
            on,
            pattern: optional(&spec.pattern)?,
            headers,
            title: optional(&spec.title)?,
            body: optional(&spec.body)?,
            status: spec.status,
            product: spec.product,
            refuses: spec.refuses,
            fallback: spec.fallback,
            cases: spec.cases,
            id: spec.id,
        })
    }

    /// What a match proves: the product and version captured, else the product stated.
    fn found(&self, captures: &[Captures<'_>]) -> Found {
        let captured = |name: &str| {
            let text = captures.iter().find_map(|c| c.name(name))?.as_bytes();
            Some(tidy(&String::from_utf8_lossy(text), 96)).filter(|t| !t.is_empty())
        };
        Found {
            service: self.service.clone(),
            product: self.product.clone().or_else(|| captured("product")),
            version: captured("version"),
            refuses: self.refuses,
            ..Found::default()
        }
    }

    fn text(&self, bytes: &[u8]) -> Option<Found> {
        let captures = self.pattern.as_ref()?.captures(bytes)?;
        Some(self.found(&[captures]))
    }

    fn http(&self, response: &Response) -> Option<Found> {
        if self.status.is_some_and(|s| s != response.status) {
            return None;
        }
        let mut captures = Vec::new();
        for (name, pattern) in &self.headers {
            let matched = response.headers.iter().filter(|(n, _)| n == name).find_map(|(_, v)| pattern.captures(v.as_bytes()));
            captures.push(matched?);
        }
        let title = response.title();
        if let Some(pattern) = &self.title {
            captures.push(pattern.captures(title.as_deref()?.as_bytes())?);
        }
        if let Some(pattern) = &self.body {
            captures.push(pattern.captures(&response.body)?);
        }
        Some(self.found(&captures))
    }
}

/// One verdict from all matches: a fallback counts only alone, HTTP itself gives way to what speaks through it, two
/// services contradict each other, and of one service the first match that names a product tells.
fn settle(matches: Vec<(bool, Found)>) -> Verdict {
    let firm: Vec<Found> = matches.iter().filter(|(fallback, _)| !fallback).map(|(_, f)| f.clone()).collect();
    let mut candidates = if firm.is_empty() { matches.into_iter().map(|(_, f)| f).take(1).collect() } else { firm };
    if candidates.iter().any(|f| f.service != "http") {
        candidates.retain(|f| f.service != "http");
    }
    let services: BTreeSet<&str> = candidates.iter().map(|f| f.service.as_str()).collect();
    if services.len() > 1 {
        return Verdict::Contradiction(services.into_iter().collect::<Vec<_>>().join(" and "));
    }
    let best = candidates.iter().position(|f| f.product.is_some()).unwrap_or(0);
    candidates.into_iter().nth(best).map_or(Verdict::Unknown, Verdict::Is)
}

impl Rules {
    /// The rules that ship with portreeve.
    pub(crate) fn builtin() -> &'static Rules {
        static BUILTIN: OnceLock<Rules> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            Rules::parse(SERVICES, PANELS, EXCLUDED).expect("the built-in catalogue is held to its cases by the tests")
        })
    }

    fn parse(services: &[(&str, &str)], panels: &[(&str, &str)], excluded: (&str, &str)) -> Result<Rules, CatalogError> {
        let mut all = Rules {
            rules: Vec::new(),
            panels: Vec::new(),
            probes: Vec::new(),
            follow_ups: Vec::new(),
            http_ports: Vec::new(),
            tls_ports: Vec::new(),
            banner_ports: Vec::new(),
            excluded: Vec::new(),
            summaries: Vec::new(),
        };
        for (file, text) in services {
            let refuse = |message: String| CatalogError { file: (*file).to_owned(), message };
            let parsed: ServiceFile = toml::from_str(text).map_err(|e| refuse(e.to_string()))?;
            all.add_service(parsed).map_err(refuse)?;
        }
        for (file, text) in panels {
            let refuse = |message: String| CatalogError { file: (*file).to_owned(), message };
            let parsed: PanelFile = toml::from_str(text).map_err(|e| refuse(e.to_string()))?;
            for spec in parsed.panel {
                let id = spec.id.clone();
                if spec.product.is_none() {
                    return Err(refuse(format!("panel `{id}` names no product")));
                }
                let rule = Rule::compile(spec, "http", On::Http("/".into())).map_err(|e| refuse(format!("panel `{id}`: {e}")))?;
                all.panels.push(rule);
            }
        }
        let (file, text) = excluded;
        let parsed: ExcludedFile =
            toml::from_str(text).map_err(|e| CatalogError { file: file.to_owned(), message: e.to_string() })?;
        all.excluded = parsed.excluded;
        Ok(all)
    }

    fn add_service(&mut self, file: ServiceFile) -> Result<(), String> {
        let mut summary = ServiceSummary {
            name: file.service.clone(),
            products: BTreeSet::new(),
            ports: file.ports.clone(),
            on: BTreeSet::new(),
            proved: file.proved,
        };
        match file.service.as_str() {
            "http" => self.http_ports.clone_from(&file.ports),
            "tls" => self.tls_ports.clone_from(&file.ports),
            _ => {}
        }
        let names: Vec<String> = file.probe.iter().map(|p| p.name.clone()).collect();
        for probe in file.probe {
            let after = probe.after.as_deref().map(compile).transpose().map_err(|e| format!("probe `{}`: {e}", probe.name))?;
            match (probe.send, probe.path) {
                (Some(send), None) => {
                    let request = unescape(&send).map_err(|e| format!("probe `{}`: {e}", probe.name))?;
                    self.probes.push(Probe { name: probe.name, ports: file.ports.clone(), request, codec: None, after });
                }
                (None, Some(path)) => self.follow_ups.push(FollowUp { path, ports: file.ports.clone(), after }),
                _ => return Err(format!("probe `{}` has either `send` or `path`", probe.name)),
            }
        }
        for spec in file.rule {
            let id = spec.id.clone();
            summary.on.insert(spec.on.clone());
            summary.products.extend(spec.cases.iter().filter_map(|c| c.product.clone()));
            let on = match spec.on.as_str() {
                "banner" => On::Banner,
                "http" => On::Http("/".into()),
                other => match (other.strip_prefix("http "), CODECS.iter().find(|c| c.name == other)) {
                    (Some(path), _) => On::Http(path.to_owned()),
                    (_, Some(codec)) => On::Codec(codec.name),
                    _ if names.iter().any(|n| n == other) => On::Probe(other.to_owned()),
                    _ => {
                        return Err(format!("rule `{id}` looks on `{other}`, which is no probe, codec, `banner` or `http`"));
                    }
                },
            };
            match &on {
                On::Banner => self.banner_ports.extend(&file.ports),
                On::Codec(name) => {
                    let codec = CODECS.iter().find(|c| c.name == *name).expect("found above");
                    match codec.request {
                        None => self.banner_ports.extend(&file.ports),
                        // Several services may be told apart by one question.
                        Some(_) if self.probes.iter().any(|p| p.name == codec.name) => {
                            let known = self.probes.iter_mut().filter(|p| p.name == codec.name);
                            known.for_each(|p| p.ports.extend(&file.ports));
                        }
                        // Several services may be told apart by one question.
                        Some(_) if self.probes.iter().any(|p| p.name == codec.name) => {
                            let known = self.probes.iter_mut().filter(|p| p.name == codec.name);
                            known.for_each(|p| p.ports.extend(&file.ports));
                        }
                        Some(request) => self.probes.push(Probe {
                            name: codec.name.to_owned(),
                            ports: file.ports.clone(),
                            request: request(),
                            codec: Some(codec),
                            after: spec.after.as_deref().map(compile).transpose().map_err(|e| format!("rule `{id}`: {e}"))?,
                        }),
                    }
                }
                _ => {}
            }
            self.rules.push(Rule::compile(spec, &file.service, on).map_err(|e| format!("rule `{id}`: {e}"))?);
        }
        self.summaries.push(summary);
        Ok(())
    }

    /// What unasked bytes, or the answer to the probe named, prove.
    pub(crate) fn text(&self, probe: Option<&str>, bytes: &[u8]) -> Verdict {
        let mut matches = Vec::new();
        for codec in CODECS {
            if (codec.unasked || probe == Some(codec.name))
                && let Reading::Is(found) = (codec.read)(bytes)
            {
                matches.push((false, found));
            }
        }
        for rule in &self.rules {
            let looks = match &rule.on {
                On::Banner => true,
                On::Probe(name) => probe == Some(name),
                On::Codec(_) | On::Http(_) => false,
            };
            if looks && let Some(found) = rule.text(bytes) {
                matches.push((rule.fallback, found));
            }
        }
        settle(matches)
    }

    /// What the answer to a GET proves.
    pub(crate) fn http(&self, path: &str, response: &Response) -> Verdict {
        let on = On::Http(path.to_owned());
        let matched = self.rules.iter().filter(|r| r.on == on).filter_map(|r| Some((r.fallback, r.http(response)?)));
        settle(matched.collect())
    }

    /// Whose front page this is.
    pub(crate) fn panel(&self, response: &Response) -> Option<String> {
        self.panels.iter().find_map(|r| r.http(response)?.product)
    }

    /// Why a port is never talked to (R11).
    pub(crate) fn excluded(&self, port: u16) -> Option<&str> {
        self.excluded.iter().find(|e| e.ports.contains(port)).map(|e| e.why.as_str())
    }

    /// Runs everything over the bytes and looks at nothing: for fuzzing.
    pub(crate) fn feed_everything(&self, bytes: &[u8]) {
        // Each parser once: what a probe's answer means differs by which of them are looked at, not by how they read.
        let _ = self.text(None, bytes);
        for codec in CODECS {
            let _ = (codec.read)(bytes);
        }
        for rule in self.rules.iter().filter(|r| matches!(r.on, On::Probe(_))) {
            let _ = rule.text(bytes);
        }
        http::whole(bytes);
        if let Some(response) = http::parse(bytes) {
            let _ = (self.http("/", &response), self.http("/version", &response), self.panel(&response), http::shown(&response));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the rule alone, and all rules together, make of a case.
    fn judge(rules: &Rules, rule: &Rule, bytes: &[u8], panel: bool) -> (Option<Found>, Verdict) {
        match &rule.on {
            On::Codec(name) => {
                let codec = CODECS.iter().find(|c| c.name == *name).unwrap();
                let own = match (codec.read)(bytes) {
                    Reading::Is(found) => Some(found),
                    _ => None,
                };
                (own, rules.text(Some(name), bytes))
            }
            On::Banner => (rule.text(bytes), rules.text(None, bytes)),
            On::Probe(name) => (rule.text(bytes), rules.text(Some(name), bytes)),
            On::Http(path) => {
                let Some(response) = http::parse(bytes) else {
                    return (None, Verdict::Unknown);
                };
                let all = if panel {
                    let product = rules.panel(&response);
                    Verdict::Is(Found { service: "http".into(), product, ..Found::default() })
                } else {
                    rules.http(path, &response)
                };
                (rule.http(&response), all)
            }
        }
    }

    fn hold(rules: &Rules, rule: &Rule, panel: bool, failures: &mut Vec<String>) {
        if !rule.cases.iter().any(|c| c.no) || !rule.cases.iter().any(|c| !c.no) {
            failures.push(format!("{} needs a case that matches and one that does not", rule.id));
        }
        for case in &rule.cases {
            let bytes = match unescape(&case.bytes) {
                Ok(bytes) => bytes,
                Err(e) => {
                    failures.push(format!("{}: {e}", rule.id));
                    continue;
                }
            };
            let (own, all) = judge(rules, rule, &bytes, panel);
            if case.no {
                if let Some(found) = own {
                    failures.push(format!("{} matches what it must not: {} → {found:?}", rule.id, case.bytes));
                }
                continue;
            }
            let told = |f: &Found| (f.service.clone(), f.product.clone(), f.version.clone(), f.refuses);
            let expected = (rule.service.clone(), case.product.clone(), case.version.clone(), case.refuses);
            match (own, all) {
                (Some(own), Verdict::Is(all)) => {
                    // A panel's rules say nothing of versions.
                    let (own, all) =
                        (told(&own), if panel { (all.service, all.product, case.version.clone(), false) } else { told(&all) });
                    if own != expected || all != expected {
                        failures
                            .push(format!("{}: {}: expected {expected:?}, got {own:?}, all rules {all:?}", rule.id, case.bytes));
                    }
                }
                other => failures.push(format!("{}: {}: {other:?}", rule.id, case.bytes)),
            }
        }
    }

    #[test]
    fn every_rule_holds_its_cases() {
        let rules = Rules::parse(SERVICES, PANELS, EXCLUDED).unwrap_or_else(|e| panic!("{e}"));
        let mut failures = Vec::new();
        for rule in &rules.rules {
            hold(&rules, rule, false, &mut failures);
        }
        for rule in &rules.panels {
            hold(&rules, rule, true, &mut failures);
        }
        for entry in &rules.excluded {
            for case in &entry.cases {
                if entry.ports.contains(case.port) != case.excluded {
                    failures.push(format!("excluded {}: port {}", entry.ports, case.port));
                }
            }
            if !entry.cases.iter().any(|c| c.excluded) || entry.cases.iter().all(|c| c.excluded) {
                failures.push(format!("excluded {} needs a case of each kind", entry.ports));
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
        assert!(rules.rules.len() > 40 && rules.panels.len() > 10, "{} rules, {} panels", rules.rules.len(), rules.panels.len());
    }

    #[test]
    fn rule_ids_are_unique_and_every_codec_has_a_rule() {
        let rules = Rules::builtin();
        let mut seen = BTreeSet::new();
        for rule in rules.rules.iter().chain(&rules.panels) {
            assert!(seen.insert(&rule.id), "{} twice", rule.id);
        }
        for codec in CODECS {
            assert!(rules.rules.iter().any(|r| r.on == On::Codec(codec.name)), "{} has no rule", codec.name);
        }
    }

    #[test]
    fn an_ordinary_service_is_not_excluded() {
        let rules = Rules::builtin();
        for port in rules.http_ports.iter().chain(&rules.tls_ports).chain(&rules.banner_ports) {
            assert_eq!(rules.excluded(*port), None, "{port}");
        }
    }

    #[test]
    fn two_services_in_the_same_bytes_are_a_contradiction() {
        let verdict = Rules::builtin().text(None, b"220 ftp.example FTP server ready, ESMTP Postfix\r\n");
        assert_eq!(verdict, Verdict::Contradiction("ftp and smtp".into()));
    }

    #[test]
    fn the_worked_example_of_the_guide_holds_its_cases() {
        let guide = include_str!("../../../docs/guides/add-a-service.md");
        let block = guide.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of TOML");
        let rules = Rules::parse(&[("guide", block)], &[], EXCLUDED).unwrap_or_else(|e| panic!("{e}"));
        let mut failures = Vec::new();
        rules.rules.iter().for_each(|rule| hold(&rules, rule, false, &mut failures));
        assert!(failures.is_empty() && rules.rules.len() == 1, "{failures:?}");
    }

    #[test]
    fn a_broken_file_is_named_with_its_rule() {
        let broken = "service = 'x'\nproved = 'transcript'\n[[rule]]\nid = 'bad'\non = 'banner'\npattern = '('\ncases = []";
        let err = Rules::parse(&[("services/x.toml", broken)], &[], EXCLUDED).err().unwrap().to_string();
        assert!(err.contains("services/x.toml") && err.contains("`bad`"), "{err}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_rules(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            Rules::builtin().feed_everything(&bytes);
        }

        #[test]
        fn truncated_and_damaged_cases_panic_nothing(pick in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), flip in any::<u8>()) {
            let rules = Rules::builtin();
            let cases: Vec<&Case> = rules.rules.iter().chain(&rules.panels).flat_map(|r| &r.cases).collect();
            let mut bytes = unescape(&pick.get(&cases).bytes).unwrap();
            if !bytes.is_empty() {
                let at = cut.index(bytes.len());
                bytes[at] ^= flip;
                rules.feed_everything(&bytes);
                rules.feed_everything(&bytes[..at]);
            }
        }
    }
}
