//! Another scanner's run as a job's work: which one, how fast, and what it is charged.
//!
//! It paces itself, so it is told the least of all caps that hold for any of its targets, one such scanner runs at a time, and
//! what it may send is taken from the node's pace while it runs (PR-7). Running it is `scan::external`'s.

use crate::job::JobContext;
use crate::now;
use crate::sightings::Sighting;
use crate::work::Outcome;
use model::address::IpRange;
use model::{Endpoint, Ports, Scope};
use scan::external::{CommandJob, Findings, run};
use scan::{Pacer, Progress};
use services::Identified;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wire::NodePace;

/// Repetitions that a scanner is told where the task leaves it to us: what most of them do by themselves.
const RETRIES: u8 = 1;
/// How often the node's pace is charged: a twentieth of the second that a cap is about.
const CHARGE: Duration = Duration::from_millis(50);

/// What another scanner is to do.
pub(crate) struct Order {
    pub name: String,
    pub targets: Vec<IpRange>,
    /// Ports of a sweep; `None` for a liveness pass.
    pub ports: Option<Ports>,
    pub known_open: Vec<Endpoint>,
    pub scope: Scope,
    pub rate_pps: Option<u32>,
    pub retries: Option<u8>,
    pub seed: u64,
}

/// Has it done.
pub(crate) async fn perform(
    context: Arc<JobContext>,
    order: Order,
    out: Sender<Sighting>,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Outcome {
    let Some(engine) = context.config.engines.iter().find(|e| e.name == order.name) else {
        let known: Vec<&str> = context.config.engines.iter().map(|e| e.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Outcome::Failed(format!(
            "node `{}` has no engine `{}`; it has {known}\nhint: add [engines.{}] to its configuration file, or give the task another engine",
            context.config.name, order.name, order.name
        ));
    };
    if order.ports.as_ref().is_some_and(|p| !p.udp.is_empty()) {
        return Outcome::Failed(format!(
            "engine `{}` is only asked about TCP\nhint: sweep the UDP ports in a task of portreeve's own",
            order.name
        ));
    }
    let _turn = tokio::select! {
        () = stop.cancelled() => return Outcome::Stopped,
        turn = context.engine_turn.lock() => turn,
    };
    let targets = order.scope.restrict(&order.targets);
    let rate_pps = rate(&context.caps(), &targets, order.rate_pps);
    let job = CommandJob {
        targets: targets.clone(),
        ports: order.ports.map(|p| p.tcp),
        scope: order.scope.clone(),
        rate_pps,
        retries: order.retries.unwrap_or(RETRIES),
        seed: order.seed,
        report_all: false,
        always_report: order.known_open.into_iter().collect(),
    };
    let (sender, mut found) = mpsc::channel::<Findings>(256);
    let ended = CancellationToken::new();
    let charging = charge(&context.pacer, &order.scope, &targets, rate_pps, &ended);
    let forward = async {
        while let Some(one) = found.recv().await {
            let sighting = match one {
                Findings::Found(found) => Sighting::from_found(found),
                Findings::Service(seen) => {
                    Some(Sighting::Identified(Box::new(Identified { identification: *seen, observation: None })))
                }
            };
            if let Some(sighting) = sighting
                && out.send(sighting).await.is_err()
            {
                return;
            }
        }
    };
    let running = async {
        let ran = run(engine, job, now, sender, progress, stop).await;
        ended.cancel();
        ran
    };
    let (ran, (), ()) = tokio::join!(running, forward, charging);
    match ran {
        Err(error) => Outcome::Failed(error.to_string()),
        Ok(ran) if ran.cancelled => Outcome::Stopped,
        // Another scanner's silence is no promise of ours, so no ground counts as covered.
        Ok(_) => Outcome::Done(None),
    }
}

/// The least of all caps that hold for any of the targets: nobody knows what it probes when, so it might be all on one host.
fn rate(pace: &NodePace, targets: &[IpRange], own: Option<u32>) -> u32 {
    let mut least = own.unwrap_or(u32::MAX);
    let mut cap = |pps: u32| least = least.min(pps);
    [pace.node_pps, pace.per_network_pps, pace.per_target_pps].into_iter().filter(|pps| *pps > 0).for_each(&mut cap);
    for range in pace.ranges.iter().filter(|r| targets.iter().any(|t| t.overlaps(&r.range))) {
        range.rate_pps.into_iter().chain(range.per_target_pps).for_each(&mut cap);
    }
    least.max(1)
}

/// Takes what the scanner may send from the node's pace, spread over its targets, until it has ended.
async fn charge(pacer: &Pacer, scope: &Scope, targets: &[IpRange], rate_pps: u32, ended: &CancellationToken) {
    let mut tick = tokio::time::interval(CHARGE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let each = f64::from(rate_pps) * CHARGE.as_secs_f64();
    let (mut due, mut addresses) = (0.0, targets.iter().flat_map(IpRange::iter));
    let charging = async {
        loop {
            tick.tick().await;
            due += each;
            while due >= 1.0 {
                due -= 1.0;
                let ip = addresses.next().or_else(|| {
                    addresses = targets.iter().flat_map(IpRange::iter);
                    addresses.next()
                });
                match ip.and_then(|ip| scope.admit_ip(ip)) {
                    Some(ip) => pacer.acquire(ip).await,
                    None => return,
                }
            }
        }
    };
    tokio::select! {
        () = ended.cancelled() => {}
        () = charging => ended.cancelled().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::RangePace;

    #[test]
    fn a_scanner_is_told_the_least_cap_of_any_of_its_targets() {
        let r = |s: &str| s.parse::<IpRange>().unwrap();
        let pace = NodePace {
            node_pps: 5_000,
            per_network_pps: 2_000,
            per_target_pps: 1_000,
            ranges: vec![RangePace { range: r("10.0.0.0/24"), rate_pps: Some(300), per_target_pps: Some(40) }],
        };
        for (targets, own, expected) in [
            ("192.0.2.0/24", None, 1_000),
            ("192.0.2.0/24", Some(200), 200),
            ("192.0.2.0/24", Some(9_000), 1_000),
            ("10.0.0.128-10.0.1.7", None, 40),
            ("10.0.1.0/24", None, 1_000),
        ] {
            assert_eq!(rate(&pace, &[r(targets)], own), expected, "{targets} {own:?}");
        }
        assert_eq!(rate(&NodePace::default(), &[r("10.0.0.1")], Some(7)), 7, "no caps were told yet");
    }
}
