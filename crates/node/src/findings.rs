//! What a job has found and not handed in yet.
//!
//! When to hand it in is left to `report`.

use model::service::PanelObservation;
use model::{HostObservation, Observation};
use scan::Found;
use services::Identified;
use wire::{Findings, PseudoOpenHost};

/// One thing found.
#[derive(Debug)]
pub(crate) enum Finding {
    /// State of an endpoint.
    Endpoint(Observation),
    /// Liveness of a host.
    Host(HostObservation),
    /// A host that answers on every port.
    Pseudo(PseudoOpenHost),
    /// What answers, with the state of the door.
    Identified(Box<Identified>),
    /// A front page.
    Panel(Box<PanelObservation>),
}

impl Finding {
    /// What the server is told of it; that a host answers on no port, it sees from the coverage.
    pub(crate) fn from_found(found: Found) -> Option<Finding> {
        Some(match found {
            Found::Endpoint(observation) => Finding::Endpoint(observation),
            Found::Host(host) => Finding::Host(host),
            Found::PseudoOpen { ip, open_ports, observed_at, .. } => {
                Finding::Pseudo(PseudoOpenHost { ip, open_ports, observed_at })
            }
            Found::AllFiltered { .. } => return None,
        })
    }
}

/// Adds a finding to those of a report.
pub(crate) fn add(findings: &mut Findings, finding: Finding) {
    match finding {
        Finding::Endpoint(observation) => findings.observations.push(observation),
        Finding::Host(host) => findings.hosts.push(host),
        Finding::Pseudo(host) => findings.pseudo_open.push(host),
        Finding::Identified(identified) => {
            findings.observations.extend(identified.observation);
            findings.identifications.push(identified.identification);
        }
        Finding::Panel(panel) => findings.panels.push(*panel),
    }
}

/// How many things a report holds.
pub(crate) fn count(f: &Findings) -> usize {
    f.observations.len() + f.hosts.len() + f.identifications.len() + f.panels.len() + f.pseudo_open.len()
}
