//! What answers on a port, as far as the bytes prove it. Talking to it is left to `services`.

use crate::observation::words;
use crate::port::Endpoint;
use crate::time::Ts;
use serde::{Deserialize, Serialize};

words! {
    /// How an attempt to identify an open port ended. Exactly one holds.
    Identity: "identity state" {
        /// The bytes prove a service.
        Identified = "identified",
        /// Only the protocol is known (HTTP, TLS).
        ProtocolOnly = "protocol-only",
        /// Accepts, and says nothing to anything we send.
        Silent = "silent",
        /// Closes before a byte is exchanged.
        ClosesAtOnce = "closes-at-once",
        /// Closes on our first bytes without an answer.
        ClosesOnData = "closes-on-data",
        /// Says that it will not talk to this address.
        RefusesUs = "refuses-us",
        /// Answered with bytes that no rule recognises.
        Unrecognised = "unrecognised",
        /// Not talked to: on the list of ports where a byte does harm (printers, industrial control).
        Excluded = "excluded",
        /// Could not be reached any more.
        Unreachable = "unreachable",
    }
}

/// The certificate and parameters of a TLS endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tls {
    /// Negotiated version, e.g. `TLSv1.3`.
    pub version: String,
    /// Negotiated application protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// Subject, RFC 4514.
    pub subject: String,
    /// Issuer, RFC 4514.
    pub issuer: String,
    /// DNS names and addresses of the certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Start of validity.
    pub not_before: Ts,
    /// End of validity.
    pub not_after: Ts,
    /// Subject equals issuer.
    pub self_signed: bool,
    /// SHA-256 of the leaf certificate, lower-case hex.
    pub sha256: String,
}

/// A service as the API, the CLI and the store carry it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Service {
    /// Short lower-case protocol name: `ssh`, `http`, `mysql`, `redis`; empty when only TLS or nothing is known.
    pub name: String,
    /// Product as its maker writes it: `OpenSSH`, `MariaDB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Version, only where the bytes state it; the distribution's suffix is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// TLS in front of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Who says so, when it is not we who talked to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How much a UDP service answers for what it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amplification: Option<Amplification>,
}

/// Bytes of UDP payload that went out with a question and came back for it: what a reflector would make of a spoofed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amplification {
    /// Bytes asked.
    pub asked: u32,
    /// Bytes answered, all datagrams together.
    pub answered: u32,
}

impl Amplification {
    /// Bytes answered for each byte asked.
    pub fn ratio(self) -> f64 {
        f64::from(self.answered) / f64::from(self.asked.max(1))
    }
}

impl Service {
    /// Whether both are the same service: the sizes of its answers, which change with the load and the clock, do not count.
    pub fn same_as(&self, other: &Service) -> bool {
        let Service { name, product, version, tls, source, amplification: _ } = self;
        (name, product, version, tls, source) == (&other.name, &other.product, &other.version, &other.tls, &other.source)
    }
}

/// Another scanner that identified a service (I3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// How it came here and which scanner it was: `import:nmap`, `engine:masscan`.
    pub name: String,
    /// How sure that scanner said it was, 0 to 10; `None` where its output has no such number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<u8>,
}

/// What a web server on the endpoint shows to a browser; first form of the panel task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panel {
    /// `http` or `https`.
    pub scheme: String,
    /// Status code of the final response.
    pub status: u16,
    /// The page's title, at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The Server header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Product of the admin panel, when a catalogue entry recognises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Where the first response redirected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// The result of one attempt to identify an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identification {
    /// What was talked to.
    pub endpoint: Endpoint,
    /// How it ended.
    pub identity: Identity,
    /// What answers, where something is known.
    pub service: Option<Service>,
    /// Name of the request whose answer decided: `banner`, `http-get`, `redis-info` …
    pub evidence: Option<String>,
    /// First bytes of the deciding answer, printable ASCII with `\xNN` escapes, at most 512 characters.
    pub banner: Option<String>,
    /// When.
    pub observed_at: Ts,
}

/// The result of fetching the front page of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanelObservation {
    /// What was fetched.
    pub endpoint: Endpoint,
    /// What came back; `None` when the endpoint does not speak HTTP.
    pub panel: Option<Panel>,
    /// When.
    pub observed_at: Ts,
}
