//! What `portreeve scan` prints: one record per endpoint, in the format asked for. Each format is a module of its own.
//!
//! The record is the scan's own view; the model's types are converted into it here and nowhere else.

mod csv;
mod jsonl;
mod nmap_xml;
mod table;

use crate::cli::Format;
use model::catalog::{Catalog, Category, HighRisk, Text};
use model::exposure::RiskKind;
use model::service::{Confidence, Identification, Identity, Tls};
use model::{Observation, Proto, Reason, Service, State, Ts};
use serde::Serialize;
use std::io::{self, Write};
use std::net::IpAddr;

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub ip: IpAddr,
    pub port: u16,
    pub proto: Proto,
    pub state: State,
    pub reason: Reason,
    pub service: Option<ServiceRecord>,
    pub risk: Option<RiskRecord>,
    /// How the identification ended and what says so; absent when nothing was asked.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofRecord>,
    /// Present, and true, when the host answers on every port, so that an open port on it proves nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pseudo_open: bool,
    pub ts: Ts,
}

/// What answers.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceRecord {
    pub name: String,
    pub product: Option<String>,
    pub version: Option<String>,
    pub tls: Option<Tls>,
}

/// What says that it is so.
#[derive(Clone, Debug, Serialize)]
pub struct ProofRecord {
    pub identity: Identity,
    pub confidence: Option<Confidence>,
    pub evidence: Option<String>,
    pub sha256: Option<String>,
    pub tried: Vec<String>,
}

/// The catalogue entry that makes an open port a high risk.
#[derive(Clone, Debug, Serialize)]
pub struct RiskRecord {
    pub kind: RiskKind,
    pub id: &'static str,
    pub name: &'static str,
    pub categories: &'static [Category],
    pub advice: &'static Text,
    pub alternative: Option<&'static Text>,
}

impl Record {
    /// The record of an observation, with what identification said if it was asked.
    pub fn new(observation: &Observation, service: Option<&Service>, pseudo_open: bool) -> Self {
        let open = observation.state == State::Open;
        Record {
            ip: observation.endpoint.ip,
            port: observation.endpoint.port,
            proto: observation.endpoint.proto,
            state: observation.state,
            reason: observation.reason,
            service: service.map(|s| ServiceRecord {
                name: s.name.clone(),
                product: s.product.clone(),
                version: s.version.clone(),
                tls: s.tls.clone(),
            }),
            proof: None,
            risk: if open { risk_of(observation.endpoint.proto, observation.endpoint.port, service) } else { None },
            pseudo_open,
            ts: observation.observed_at,
        }
    }

    /// The same with how the identification ended.
    pub fn with_proof(self, seen: &Identification) -> Self {
        let proof = ProofRecord {
            identity: seen.identity,
            confidence: seen.confidence,
            evidence: seen.evidence.clone(),
            sha256: seen.sha256.clone(),
            tried: seen.tried.clone(),
        };
        Record { proof: Some(proof), ..self }
    }

    /// How it ended and by what, in one cell: `structural by redis-info`, or `silent after banner, redis-info`.
    fn proof_line(&self) -> String {
        let Some(proof) = &self.proof else { return String::new() };
        let by = proof.evidence.as_deref().unwrap_or_default();
        match (proof.identity, proof.confidence) {
            (Identity::Identified, Some(confidence)) => format!("{confidence} by {by}"),
            (Identity::Silent, _) if !proof.tried.is_empty() => format!("silent after {}", proof.tried.join(", ")),
            (identity, _) if by.is_empty() => identity.to_string(),
            (identity, _) => format!("{identity}: {by}"),
        }
    }

    /// What answers, in one cell: `OpenSSH 9.2p1`, `https`, or nothing.
    fn service_line(&self) -> String {
        let Some(service) = &self.service else { return String::new() };
        let mut words = Vec::new();
        match (service.name.as_str(), &service.tls) {
            ("" | "tls", Some(_)) => words.push("tls".to_owned()),
            ("", None) => {}
            (name, Some(_)) => words.push(format!("{name}+tls")),
            (name, None) => words.push(name.to_owned()),
        }
        words.extend(service.product.clone());
        words.extend(service.version.clone());
        words.join(" ")
    }
}

/// The catalogue's word on an open port: listed by its number first, else by what answers.
fn risk_of(proto: Proto, port: u16, service: Option<&Service>) -> Option<RiskRecord> {
    let catalog = Catalog::builtin();
    let record = |kind, entry: &'static HighRisk| RiskRecord {
        kind,
        id: &entry.id,
        name: &entry.name,
        categories: &entry.categories,
        advice: &entry.advice,
        alternative: entry.alternative.as_ref(),
    };
    let by_identity = || service.and_then(|s| catalog.by_identity(&s.name, s.product.as_deref()));
    let by_port = match proto {
        Proto::Tcp => catalog.by_port(port),
        Proto::Udp => catalog.by_udp_port(port),
    };
    match by_port {
        Some(entry) => Some(record(RiskKind::HighRiskPort, entry)),
        None => by_identity().map(|entry| record(RiskKind::HighRiskService, entry)),
    }
}

/// What a whole run came to, for formats that say it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub method: &'static str,
    pub command_line: String,
    pub ports: model::Ports,
    pub started: Ts,
    pub finished: Ts,
    pub hosts_up: u64,
    pub hosts_total: u128,
    pub interrupted: bool,
    pub names: Vec<(IpAddr, String)>,
}

/// Takes records as they are found and prints them in one format.
pub trait Sink {
    /// Takes one record.
    fn record(&mut self, record: Record) -> io::Result<()>;
    /// Prints what has to wait for the end.
    fn finish(&mut self, outcome: &Outcome) -> io::Result<()>;
}

/// The sink of a format; `continued` when `out` holds results of it already.
pub fn sink(format: Format, out: Box<dyn Write>, continued: bool) -> Box<dyn Sink> {
    match format {
        Format::Table => Box::new(table::Table::new(out)),
        Format::Jsonl => Box::new(jsonl::Jsonl::new(out)),
        Format::Csv => Box::new(csv::Csv::new(out, continued)),
        Format::NmapXml => Box::new(nmap_xml::NmapXml::new(out)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Endpoint;

    pub(super) fn record(ip: &str, port: u16, service: Option<Service>) -> Record {
        let observation = Observation {
            endpoint: Endpoint::tcp(ip.parse().unwrap(), port),
            state: State::Open,
            reason: Reason::SynAck,
            observed_at: Ts(0),
        };
        Record::new(&observation, service.as_ref(), false)
    }

    pub(super) fn service(name: &str, product: Option<&str>, version: Option<&str>) -> Service {
        Service { name: name.into(), product: product.map(Into::into), version: version.map(Into::into), ..Service::default() }
    }

    pub(super) fn outcome() -> Outcome {
        Outcome {
            method: "syn",
            command_line: "portreeve scan 192.0.2.0/30".into(),
            ports: "22,6379".parse().unwrap(),
            started: Ts(0),
            finished: Ts(2_000),
            hosts_up: 1,
            hosts_total: 4,
            interrupted: false,
            names: vec![],
        }
    }

    /// Output collected in memory.
    #[derive(Clone, Default)]
    pub(super) struct Collected(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Write for Collected {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(super) fn printed(format: Format, records: Vec<Record>) -> String {
        let out = Collected::default();
        let mut sink = sink(format, Box::new(out.clone()), false);
        for record in records {
            sink.record(record).unwrap();
        }
        sink.finish(&outcome()).unwrap();
        String::from_utf8(out.0.take()).unwrap()
    }

    #[test]
    fn a_listed_number_is_a_high_risk_port_and_a_listed_identity_elsewhere_a_high_risk_service() {
        let kind = |r: Record| r.risk.map(|r| (r.kind, r.id));
        assert_eq!(kind(record("192.0.2.1", 6379, None)), Some((RiskKind::HighRiskPort, "redis")));
        let maria = service("mysql", Some("MariaDB"), None);
        assert_eq!(kind(record("192.0.2.1", 3307, Some(maria))), Some((RiskKind::HighRiskService, "mysql")));
        assert_eq!(kind(record("192.0.2.1", 443, Some(service("http", None, None)))), None);
    }
}
