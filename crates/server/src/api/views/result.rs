//! Another scanner's results as they are sent to be imported, and what became of them.

use super::words::{Identity, Instant, Liveness, Reason, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A part of a file with another scanner's results.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultsInput {
    /// SHA-256 of the whole file and of the vantage, lower-case hex. A part of the same digest is recorded once.
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub digest: String,
    /// Number of the part, from 1.
    pub part: u32,
    /// From where it was seen. States are kept for each vantage apart: what is imported closes only what was opened from there.
    #[schema(example = "import")]
    pub vantage: String,
    /// Which scanner it was.
    #[schema(example = "import:nmap")]
    pub source: String,
    /// States of endpoints.
    #[serde(default)]
    pub observations: Vec<ObservationInput>,
    /// The same state of many ports of a host, where the file names them. Changes only what is known to be open.
    #[serde(default)]
    pub ports: Vec<PortsInput>,
    /// Hosts up or down.
    #[serde(default)]
    pub hosts: Vec<HostInput>,
    /// What answers, as far as the scanner's own probes showed it.
    #[serde(default)]
    pub services: Vec<ServiceInput>,
    /// Hosts that accept on every port.
    #[serde(default)]
    pub pseudo_open: Vec<PseudoOpenInput>,
}

/// The state of an endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ObservationInput {
    /// Address, port and protocol.
    #[schema(example = "192.0.2.7:6379/tcp")]
    pub endpoint: String,
    /// State.
    pub state: State,
    /// Evidence.
    pub reason: Reason,
    /// When it was seen.
    pub observed_at: Instant,
}

/// The same state of many ports.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortsInput {
    /// Address.
    pub ip: String,
    /// `tcp` or `udp`.
    pub proto: String,
    /// The ports.
    #[schema(example = "1-21,23-79")]
    pub ports: String,
    /// State.
    pub state: State,
    /// Evidence.
    pub reason: Reason,
    /// When it was seen.
    pub observed_at: Instant,
}

/// A host up or down.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostInput {
    /// Address.
    pub ip: String,
    /// Up or down.
    pub liveness: Liveness,
    /// Evidence.
    pub reason: Reason,
    /// When it was seen.
    pub observed_at: Instant,
}

/// What answers on an endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceInput {
    /// Address, port and protocol.
    pub endpoint: String,
    /// How the identification ended.
    pub identity: Identity,
    /// Protocol name.
    pub name: Option<String>,
    /// Product.
    pub product: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// How sure the scanner was, 0 to 10.
    pub confidence: Option<u8>,
    /// What decided.
    pub evidence: Option<String>,
    /// First bytes of the answer.
    pub banner: Option<String>,
    /// When.
    pub observed_at: Instant,
}

/// A host that accepts on every port.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PseudoOpenInput {
    /// Address.
    pub ip: String,
    /// Ports that accepted.
    pub open_ports: u32,
    /// When.
    pub observed_at: Instant,
}

/// What became of a part.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResultsOutcome {
    /// Recorded now; false when the same part had been recorded before, and then nothing changed.
    pub recorded: bool,
    /// Sightings taken.
    pub taken: u64,
    /// Sightings outside the scope, refused.
    pub refused: u64,
}
