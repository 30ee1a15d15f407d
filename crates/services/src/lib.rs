//! Talking to one open endpoint: what answers there, what it runs, what its front page shows.
//!
//! It comes after `scan` has found a door open and before `assess` says what the answer means. Every request sent is
//! read-only and harmless, every byte received is a stranger's. Whether a service *may* be there is left to `assess`.

#![forbid(unsafe_code)]

mod bytes;
mod catalog;
pub mod check;
mod conclude;
mod connection;
mod http;
mod http2;
mod identify;
mod middlebox;
mod order;
mod panel;
mod protocol;
mod schedule;
mod tls;
mod tls_hello;
mod udp;

pub use identify::identify;
pub use panel::fetch_panel;
pub use schedule::identify_all;

use async_trait::async_trait;
use model::service::Identification;
use model::{InScope, Observation};
use std::net::IpAddr;
use std::time::Duration;

/// What identifying one endpoint may cost at most, to us and to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How long one TCP handshake may take.
    pub connect: Duration,
    /// How long a fresh connection is listened to before we speak.
    pub banner_wait: Duration,
    /// How long one endpoint may take in all, waiting for the [`Permit`] not counted.
    pub per_endpoint: Duration,
    /// How many connections one endpoint may get that it leaves without an answer.
    pub max_unanswered: u8,
    /// How many connections one endpoint may get in all: one that answers, or hangs up on what it does not understand, is asked
    /// the next question at once, and costs neither side more than a round trip.
    pub max_connections: u8,
    /// How many bytes are read from one endpoint in all.
    pub max_bytes: usize,
    /// The slow lane: also what is worth asking once in a while only, such as every TLS version.
    pub thorough: bool,
}

impl Default for Budget {
    /// Four connections and six seconds for a port that never says anything; for one that hangs up, as many questions as there
    /// is time for, which on a path of a tenth of a second are about twenty. Three seconds of handshake leave room for one lost
    /// SYN (the kernel repeats it after one second); a banner is given half a second, longer where the port number promises one;
    /// 128 KiB hold any banner and any front page's head.
    fn default() -> Self {
        Budget {
            connect: Duration::from_secs(3),
            banner_wait: Duration::from_millis(500),
            per_endpoint: Duration::from_secs(6),
            max_unanswered: 4,
            max_connections: 48,
            max_bytes: 128 * 1024,
            thorough: false,
        }
    }
}

impl Budget {
    /// For the slow lane: enough connections for every question there is, an answer or a second of silence each. For ports
    /// that the ordinary budget left silent, hanging up or unrecognised, asked once in a while and never in every cycle.
    pub fn thorough() -> Self {
        Budget {
            per_endpoint: Duration::from_secs(120),
            max_unanswered: 128,
            max_connections: 128,
            max_bytes: 512 * 1024,
            thorough: true,
            ..Budget::default()
        }
    }

    /// For the front page and the paths that tell what console it is: at most sixteen pages, of which most come over a
    /// connection that is there already.
    pub fn panels() -> Self {
        Budget {
            per_endpoint: Duration::from_secs(15),
            max_unanswered: 4,
            max_connections: 12,
            max_bytes: 768 * 1024,
            ..Budget::default()
        }
    }
}

/// The caller's pacing: asked before each connection, answered when one more may be made to that address.
#[async_trait]
pub trait Permit: Send + Sync {
    /// Returns when the connection may be made.
    async fn acquire(&self, ip: InScope<IpAddr>);
}

/// No pacing at all, for a caller that has nothing to spare a target: a test, or one endpoint asked about by hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpaced;

#[async_trait]
impl Permit for Unpaced {
    async fn acquire(&self, _: InScope<IpAddr>) {}
}

/// What one attempt to identify an endpoint brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// How it ended, with the evidence.
    pub identification: Identification,
    /// What the first handshake says of the port: open, closed or filtered. `None` when nothing was sent at all, or when
    /// the failure was ours (out of descriptors), which says nothing about the target.
    pub observation: Option<Observation>,
}

/// The rules that ship with portreeve, as the documentation and the tests read them.
pub mod rules {
    pub use crate::catalog::{
        CaseFailure, CatalogError, Origin, PanelSummary, Reached, ServiceSummary, Tally, add_directory, checks, panel_summaries,
        summaries, test,
    };
}

/// The parsers of strangers' bytes, for the fuzz targets and the tests that stand in for them: none may panic on any input
/// (PR-11).
pub mod parsers {
    use crate::protocol::CODECS;

    /// A parser by name, fed by calling it.
    pub type Parser = (&'static str, Box<dyn Fn(&[u8]) + Send + Sync>);

    /// Every parser by itself.
    pub fn each() -> Vec<Parser> {
        let mut parsers: Vec<Parser> = Vec::new();
        for codec in CODECS {
            parsers.push((codec.name, Box::new(|bytes: &[u8]| drop((codec.read)(bytes)))));
        }
        parsers.push(("rules", Box::new(rules)));
        parsers.push(("http", Box::new(http)));
        parsers.push(("tls", Box::new(tls)));
        parsers.push(("checks", Box::new(checks)));
        parsers.push(("udp", Box::new(udp)));
        parsers
    }

    /// All of them over the same bytes.
    pub fn all(bytes: &[u8]) {
        rules(bytes);
        tls(bytes);
        checks(bytes);
        udp(bytes);
    }

    /// The codec whose number the first byte is, over the rest.
    pub fn codec(bytes: &[u8]) {
        if let Some((first, rest)) = bytes.split_first() {
            let codec = &CODECS[usize::from(*first) % CODECS.len()];
            drop((codec.read)(rest));
        }
    }

    /// Every rule of the catalogue and every codec.
    pub fn rules(bytes: &[u8]) {
        crate::catalog::Rules::current().feed_everything(bytes);
    }

    /// HTTP.
    pub fn http(bytes: &[u8]) {
        crate::http::whole(bytes);
        if let Some(response) = crate::http::parse(bytes) {
            drop(crate::http::shown(&response));
        }
    }

    /// Certificates.
    pub fn tls(bytes: &[u8]) {
        crate::tls::describe(bytes);
        crate::tls_hello::read(bytes);
    }

    /// What checks read.
    pub fn checks(bytes: &[u8]) {
        crate::check::feed_everything(bytes);
    }

    /// Answers to UDP payloads.
    pub fn udp(bytes: &[u8]) {
        for payload in model::udp::Payloads::builtin().all() {
            crate::udp::recognise(payload, bytes);
        }
    }
}
