//! Folding liveness observations of a host: online and offline are both kept, neither is ever lost (D0).
//!
//! Sweeping the dead-looking addresses all the same is left to `plan` (tasks 6 to 8).

use model::observation::{HostObservation, Liveness, Observation, Reason, State};
use model::port_state::Host;
use model::{Ts, Vantage};

/// What an observation did to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFolded {
    /// The host now.
    pub host: Host,
    /// Its liveness changed, or it was seen online for the first time. A dead address seen for the first time is stored
    /// but is no event: a /16 holds sixty thousand of them.
    pub changed: bool,
    /// Seen online for the first time ever.
    pub new: bool,
}

/// Folds one liveness observation. `has_open` says that an endpoint of the host is open at the moment: such a host is
/// online whatever its answers to pings.
pub fn fold(prev: Option<Host>, obs: &HostObservation, vantage: &Vantage, has_open: bool) -> HostFolded {
    let online_at = (obs.liveness == Liveness::Online).then_some(obs.observed_at);
    let Some(mut host) = prev else {
        let host = Host {
            ip: obs.ip,
            vantage: vantage.clone(),
            liveness: obs.liveness,
            reason: obs.reason,
            since: obs.observed_at,
            last_online_at: online_at,
            last_observed_at: obs.observed_at,
            pseudo_open_ports: None,
        };
        return HostFolded { host, changed: online_at.is_some(), new: online_at.is_some() };
    };
    if obs.observed_at <= host.last_observed_at {
        return HostFolded { host, changed: false, new: false };
    }
    host.last_observed_at = obs.observed_at;
    if obs.liveness == Liveness::Offline && host.liveness == Liveness::Online && has_open {
        return HostFolded { host, changed: false, new: false };
    }
    let new = online_at.is_some() && host.last_online_at.is_none();
    let changed = host.liveness != obs.liveness;
    if changed {
        host.liveness = obs.liveness;
        host.since = obs.observed_at;
    }
    host.reason = obs.reason;
    host.last_online_at = online_at.or(host.last_online_at);
    HostFolded { host, changed, new }
}

/// What an observation of a port says about its host: something that accepts or refuses is up. Silence says nothing.
pub fn evidence(obs: &Observation) -> Option<HostObservation> {
    let up =
        obs.state == State::Open || matches!(obs.reason, Reason::Rst | Reason::ConnectionRefused | Reason::IcmpPortUnreachable);
    up.then_some(HostObservation {
        ip: obs.endpoint.ip,
        liveness: Liveness::Online,
        reason: obs.reason,
        observed_at: obs.observed_at,
    })
}

/// Notes that the host answers on every port. Returns whether that is new.
pub fn pseudo_open(host: &mut Host, open_ports: u32, observed_at: Ts) -> bool {
    let new = host.pseudo_open_ports.is_none();
    host.pseudo_open_ports = Some(open_ports);
    host.last_observed_at = host.last_observed_at.max(observed_at);
    new
}

/// Notes that a sweep which would have noticed found the host answering as hosts do. Returns whether that is new.
pub fn not_pseudo_open(host: &mut Host) -> bool {
    host.pseudo_open_ports.take().is_some()
}
