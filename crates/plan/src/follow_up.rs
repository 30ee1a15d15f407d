//! Work that is wanted because of something just seen: confirming an opening, asking again before calling a port closed,
//! and a first look at hosts that have just turned up.
//!
//! Whether to queue it, and not to queue it twice, is left to the server.

use crate::expand::{ENDPOINTS, JobPlan, SWEEP_PROBES, coalesce, sweeps};
use model::catalog::Catalog;
use model::job::{URGENT, Work};
use model::task::{Engine, PortChoice, TaskKind};
use model::{Endpoint, Ts};
use std::net::IpAddr;

/// Before every scheduled kind: a person may be waiting for the alert that the confirmation decides.
pub const CONFIRM_PRIORITY: u8 = 5;
/// After confirmations, before every scheduled kind.
pub const RECHECK_PRIORITY: u8 = 8;
/// First look at a new host: between the follow-ups and the scheduled kinds.
pub const FIRST_LOOK_PRIORITY: u8 = URGENT + 2;
/// Hosts that get a first look in one go; beyond that the schedule gets to them (PR-12).
pub const FIRST_LOOK_HOSTS: usize = 1_024;

/// Identification of endpoints just seen open; it confirms them as well.
pub fn confirm(endpoints: &[Endpoint], now: Ts) -> Vec<JobPlan> {
    in_chunks(endpoints, CONFIRM_PRIORITY, now, |endpoints| Work::Identify { endpoints })
}

/// Front pages of endpoints that have just turned out to speak HTTP.
pub fn front_pages(endpoints: &[Endpoint], now: Ts) -> Vec<JobPlan> {
    in_chunks(endpoints, FIRST_LOOK_PRIORITY, now, |endpoints| Work::Panels { endpoints })
}

/// Another look at endpoints that were not open, not before `at`.
pub fn recheck(endpoints: &[Endpoint], at: Ts) -> Vec<JobPlan> {
    in_chunks(endpoints, RECHECK_PRIORITY, at, |endpoints| Work::Recheck { endpoints })
}

/// Another look at whether hosts answer at all, not before `at`.
pub fn hosts(ips: &[IpAddr], at: Ts) -> Vec<JobPlan> {
    ips.chunks(ENDPOINTS)
        .map(|chunk| {
            let work = Work::Liveness { targets: coalesce(chunk.iter().copied()) };
            JobPlan {
                work,
                priority: RECHECK_PRIORITY,
                rate_pps: None,
                retries: Some(1),
                engine: Engine::BuiltIn,
                not_before: at,
            }
        })
        .collect()
}

/// Sweeps of hosts that have just been seen online for the first time: high-risk ports and common ones at once, all
/// ports after the scheduled work. Each with the kind whose priority and accounting it shares.
pub fn first_look(hosts: &[IpAddr], open: &[Endpoint], catalog: &Catalog, now: Ts) -> Vec<(TaskKind, JobPlan)> {
    let hosts = coalesce(hosts.iter().copied().take(FIRST_LOOK_HOSTS));
    [
        (TaskKind::HighRiskOnline, PortChoice::HighRisk, FIRST_LOOK_PRIORITY),
        (TaskKind::HighRiskOnline, PortChoice::Common, FIRST_LOOK_PRIORITY + 1),
        (TaskKind::FullOnline, PortChoice::All, TaskKind::FullOnline.priority()),
    ]
    .into_iter()
    .flat_map(|(kind, ports, priority)| {
        let works = sweeps(&hosts, &ports.resolve(catalog), open, SWEEP_PROBES);
        works.into_iter().map(move |work| {
            (kind, JobPlan { work, priority, rate_pps: None, retries: None, engine: Engine::BuiltIn, not_before: now })
        })
    })
    .collect()
}

fn in_chunks(endpoints: &[Endpoint], priority: u8, not_before: Ts, work: impl Fn(Vec<Endpoint>) -> Work) -> Vec<JobPlan> {
    endpoints
        .chunks(ENDPOINTS)
        .map(|chunk| JobPlan {
            work: work(chunk.to_vec()),
            priority,
            rate_pps: None,
            retries: Some(1),
            engine: Engine::BuiltIn,
            not_before,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_alert_waits_for_is_urgent() {
        const { assert!(CONFIRM_PRIORITY < URGENT && RECHECK_PRIORITY < URGENT && FIRST_LOOK_PRIORITY >= URGENT) };
        for kind in TaskKind::ALL {
            assert!(kind.priority() > FIRST_LOOK_PRIORITY + 1, "{kind}");
        }
    }
}
