//! What a job has found and not handed in yet.
//!
//! When to hand it in is left to `report`.

use model::finding::CheckRun;
use model::service::PanelObservation;
use model::{HostObservation, Observation};
use scan::Found;
use services::Identified;
use wire::{PseudoOpenHost, Sightings};

/// One thing found.
#[derive(Debug)]
pub(crate) enum Sighting {
    /// State of an endpoint.
    Endpoint(Observation),
    /// Liveness of a host.
    Host(HostObservation),
    /// A host that answers on every port.
    Pseudo(PseudoOpenHost),
    /// What answers, with the state of the door.
    Identified(Box<Identified>),
    /// How the checks of an endpoint ended.
    Checked(Vec<CheckRun>),
    /// A front page.
    Panel(Box<PanelObservation>),
}

impl Sighting {
    /// What the server is told of it; that a host answers on no port, it sees from the coverage.
    pub(crate) fn from_found(found: Found) -> Option<Sighting> {
        Some(match found {
            Found::Endpoint(observation) => Sighting::Endpoint(observation),
            Found::Host(host) => Sighting::Host(host),
            Found::PseudoOpen { ip, open_ports, observed_at, .. } => {
                Sighting::Pseudo(PseudoOpenHost { ip, open_ports, observed_at })
            }
            Found::AllFiltered { .. } => return None,
        })
    }
}

/// Adds a sighting to those of a report.
pub(crate) fn add(sightings: &mut Sightings, sighting: Sighting) {
    match sighting {
        Sighting::Endpoint(observation) => sightings.observations.push(observation),
        Sighting::Host(host) => sightings.hosts.push(host),
        Sighting::Pseudo(host) => sightings.pseudo_open.push(host),
        Sighting::Identified(identified) => {
            sightings.observations.extend(identified.observation);
            sightings.identifications.push(identified.identification);
        }
        Sighting::Checked(runs) => sightings.checks.extend(runs),
        Sighting::Panel(panel) => sightings.panels.push(*panel),
    }
}

/// How many things a report holds.
pub(crate) fn count(f: &Sightings) -> usize {
    f.observations.len() + f.hosts.len() + f.identifications.len() + f.panels.len() + f.checks.len() + f.pseudo_open.len()
}
