//! What of another scanner's results is taken: what lies in the scope, at instants that are not in the future, with its
//! source on every identification (I3).
//!
//! Folding it is left to `ingest`, which judges it as it judges a node's report.

use crate::ingest_admit::Admitted;
use model::address::IpRange;
use model::audit::AuditEntry;
use model::observation::SeenFrom;
use model::service::Identification;
use model::{Duration, Endpoint, HostObservation, Observation, PortSet, Proto, Reason, Scope, State, Ts};
use std::net::IpAddr;
use store::{ImportPart, Store, StoreError};
use wire::PseudoOpenHost;

/// The same state of many ports of a host, said port by port.
#[derive(Clone, Debug)]
pub struct PortsSaid {
    /// The host.
    pub ip: IpAddr,
    /// Protocol.
    pub proto: Proto,
    /// Which ports.
    pub ports: PortSet,
    /// What was seen of all of them.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// When.
    pub observed_at: Ts,
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct Import {
    /// Which part of which file, seen from where.
    pub part: ImportPart,
    /// `import:nmap`.
    pub source: String,
    /// States of endpoints.
    pub observations: Vec<Observation>,
    /// States of many ports at once.
    pub ports: Vec<PortsSaid>,
    /// Liveness.
    pub hosts: Vec<HostObservation>,
    /// What answers, its source already said.
    pub identifications: Vec<Identification>,
    /// Hosts that accept on every port.
    pub pseudo_open: Vec<PseudoOpenHost>,
    /// Who imports it; what came of it is added.
    pub audit: AuditEntry,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ImportOutcome {
    /// Written down now; false when it had been before.
    pub recorded: bool,
    /// Sightings taken.
    pub taken: u64,
    /// Sightings outside the scope.
    pub refused: u64,
}

/// Endpoints that are open or pending from that vantage among those that the part says something about in bulk: a closed
/// port that nobody ever saw open is no news, and a host has sixty-five thousand of them.
pub async fn open_among(store: &Store, import: &Import) -> Result<Vec<SeenFrom>, StoreError> {
    let ranges: Vec<IpRange> = import.ports.iter().map(|p| IpRange::single(p.ip)).collect();
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let mut open = store.open_endpoints_in(&ranges).await?;
    open.retain(|seen| seen.vantage == import.part.vantage);
    Ok(open)
}

/// The sightings that are taken. `open` are the endpoints that what is said in bulk can change.
pub fn admit_import(import: &Import, open: Vec<SeenFrom>, scope: &Scope, now: Ts) -> Admitted {
    let mut out = Admitted::default();
    let mut admits = |ip: IpAddr| {
        let inside = scope.contains(ip);
        out.refused += u64::from(!inside);
        inside
    };
    let mut observations: Vec<Observation> =
        import.observations.iter().filter(|o| admits(o.endpoint.ip)).map(|o| at(o.clone(), now)).collect();
    for said in import.ports.iter().filter(|p| admits(p.ip)) {
        let among = open.iter().map(|s| s.endpoint).filter(|e| (e.ip, e.proto) == (said.ip, said.proto));
        let one = |endpoint: Endpoint| Observation {
            endpoint,
            state: said.state,
            reason: said.reason,
            observed_at: said.observed_at.min(now),
        };
        observations.extend(among.filter(|e| said.ports.contains(e.port)).map(one));
    }
    let hosts = import.hosts.iter().filter(|h| admits(h.ip));
    out.hosts = hosts.map(|h| HostObservation { observed_at: h.observed_at.min(now), ..h.clone() }).collect();
    for seen in import.identifications.iter().filter(|i| admits(i.endpoint.ip)) {
        let seen = Identification { observed_at: seen.observed_at.min(now), ..seen.clone() };
        // Who was answered by a service has connected to it after finding the port open: that is a second look, and the
        // least later that an instant can be.
        let talked = seen.identity.is_told();
        if talked && seen.endpoint.proto == Proto::Tcp {
            let observed_at = seen.observed_at.plus(Duration::millis(1)).min(now);
            observations.push(Observation {
                endpoint: seen.endpoint,
                state: State::Open,
                reason: Reason::Connected,
                observed_at,
            });
        }
        out.identifications.push(seen);
    }
    let pseudo = import.pseudo_open.iter().filter(|p| admits(p.ip));
    out.pseudo_open = pseudo.map(|p| PseudoOpenHost { observed_at: p.observed_at.min(now), ..p.clone() }).collect();
    out.observations = observations;
    out
}

fn at(observation: Observation, now: Ts) -> Observation {
    Observation { observed_at: observation.observed_at.min(now), ..observation }
}
