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
        /// Only the protocol is known, and [`Service::name`] names it: `http`, `http2`, `grpc`, `tls`, `websocket`; or nothing
        /// but that it answers in lines of `text`, or in `binary`.
        ProtocolOnly = "protocol-only",
        /// Accepts, and says nothing to anything we send.
        Silent = "silent",
        /// Closes before a byte is exchanged.
        ClosesAtOnce = "closes-at-once",
        /// Closes on our first bytes without an answer.
        ClosesOnData = "closes-on-data",
        /// Says that it will not talk to this address.
        RefusesUs = "refuses-us",
        /// Speaks TLS, and with nobody who shows no certificate of their own.
        TlsClientCertRequired = "tls-client-cert-required",
        /// Something that answers in the place of services: the same bytes on many ports of the host, or bytes that prove two
        /// services at once.
        Middlebox = "middlebox",
        /// Not talked to: on the list of ports where a byte does harm (printers, industrial control).
        Excluded = "excluded",
        /// Could not be reached any more.
        Unreachable = "unreachable",
    }
}

impl Identity {
    /// Whether bytes of the endpoint say what it is: only these replace what was known before.
    pub const fn is_told(self) -> bool {
        matches!(self, Identity::Identified | Identity::ProtocolOnly | Identity::TlsClientCertRequired | Identity::Middlebox)
    }

    /// Whether the slow lane could tell more: the port said nothing, hung up, or answered in no known protocol.
    pub fn is_unexplained(self, service: Option<&Service>) -> bool {
        match self {
            Identity::Silent | Identity::ClosesAtOnce | Identity::ClosesOnData => true,
            Identity::ProtocolOnly => service.is_some_and(|s| matches!(s.name.as_str(), "text" | "binary")),
            _ => false,
        }
    }
}

words! {
    /// How much the deciding answer proves of a service's name and product. From the strongest to the weakest.
    Confidence: "confidence" {
        /// The protocol's own structure: lengths that fit, an id of ours that came back, a field that only this protocol has.
        Structural = "structural",
        /// The answer names the product or the protocol in words, by two independent tokens.
        SelfNamed = "self-named",
        /// One token that others could use as well; nothing contradicts it.
        SingleToken = "single-token",
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
    /// Every version the endpoint was seen to agree to, oldest first: `SSLv3`, `TLSv1.0` … `TLSv1.3`. Empty until the slow lane
    /// has asked for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// Every application protocol it was seen to agree to. Empty until the slow lane has asked for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpns: Vec<String>,
    /// The leaf certificate it shows to a client that names a server (its first DNS name), when that is another one than
    /// `sha256`; `None` until the slow lane has asked, and when it is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_named: Option<String>,
    /// Type and size of the certificate's key: `RSA 2048`, `EC P-256`, `Ed25519`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
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

/// Versions that RFC 7568 and RFC 8996 forbid.
const WEAK_VERSIONS: &[&str] = &["SSLv3", "TLSv1.0", "TLSv1.1"];

impl Tls {
    /// The versions it agrees to that nobody should use any more (RFC 7568, RFC 8996).
    pub fn weak_versions(&self) -> impl Iterator<Item = &str> {
        self.versions.iter().map(String::as_str).filter(|version| WEAK_VERSIONS.contains(version))
    }
}

/// A service as the API, the CLI and the store carry it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Service {
    /// Short lower-case protocol name: `ssh`, `http`, `mysql`, `redis`; `tls` when only that is known, `text` or `binary` when
    /// only the kind of its answer is.
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

    /// Keeps what only the slow lane finds out of a certificate's endpoint, when the quick look sees the same certificate.
    pub fn keep_of(&mut self, earlier: &Service) {
        let (Some(tls), Some(was)) = (&mut self.tls, &earlier.tls) else { return };
        if tls.sha256 == was.sha256 && tls.versions.is_empty() {
            tls.versions.clone_from(&was.versions);
            tls.alpns.clone_from(&was.alpns);
            tls.sha256_named.clone_from(&was.sha256_named);
        }
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

/// What a web server on the endpoint shows to a browser.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// Version of that product, where an answer states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where the panel lies, when that is not the front page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What gave the product away, two things at least: `title`, `cookie grafana_session`, `http-get /api/health`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// Hash of the site's icon as search engines for exposed services write it: MurmurHash3 (x86, 32 bits, seed 0) of the icon
    /// in base64 with a line break after every 76 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub favicon: Option<i32>,
    /// Frameworks, languages and generators that the page shows, with versions where it states them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub technologies: Vec<String>,
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
    /// How much the answer proves; `None` where no service is named, or another scanner names it.
    #[serde(default)]
    pub confidence: Option<Confidence>,
    /// Name of the request whose answer decided: `banner`, `http-get`, `redis-info` …
    pub evidence: Option<String>,
    /// First bytes of the deciding answer, printable ASCII with `\xNN` escapes, at most 512 characters.
    pub banner: Option<String>,
    /// SHA-256 of the first 4 KiB of the deciding answer as it came, lower-case hex.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Everything that was asked, in order, whether or not it was answered: `banner`, `redis-info`, `http-get`, `tls` …
    #[serde(default)]
    pub tried: Vec<String>,
    /// Asked in the slow lane, with every question there is.
    #[serde(default)]
    pub thorough: bool,
    /// When.
    pub observed_at: Ts,
}

impl Identification {
    /// An ending of which nothing more is known.
    pub fn bare(endpoint: Endpoint, identity: Identity, observed_at: Ts) -> Identification {
        Identification {
            endpoint,
            identity,
            service: None,
            confidence: None,
            evidence: None,
            banner: None,
            sha256: None,
            tried: Vec::new(),
            thorough: false,
            observed_at,
        }
    }
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
