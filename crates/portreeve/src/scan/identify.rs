//! What `--identify` does with what a sweep found: asks every open port, and with `--thorough` once more whatever the first visit
//! could not explain, and the UDP ports that said nothing to the sweep.
//!
//! How a port is asked is left to `services`, how a record looks to `output`.

use super::Collector;
use super::output::Record;
use ::scan::Pacer;
use async_trait::async_trait;
use model::service::Identification;
use model::{Endpoint, InScope, IpRange, Observation, PortSet, Proto, Scope, State};
use services::{Budget, Identified, Permit};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Endpoints talked to at once: a quarter of the usual limit of 1,024 open files. Of silent ones, six seconds each, that is
/// forty a second.
const AT_ONCE: usize = 256;

/// Connections to one host at once. Most wait in silence; thirty-two stay well below the 128 half-open and idle connections that
/// small firewalls allow a source, and get a host with fifty silent ports done in twelve seconds.
const PER_HOST: usize = 32;

/// Silent UDP ports that `--thorough` asks every question, at most: each takes half a minute.
const MOST_SILENT_UDP: u128 = 4_096;

/// Who is asked, and how.
pub(super) struct Identifier {
    pub(super) scope: Scope,
    pub(super) pace: Arc<Pacer>,
    pub(super) cancel: CancellationToken,
    pub(super) thorough: bool,
    /// Ports that turn out not to be open are printed, too.
    pub(super) all_states: bool,
}

/// What waits for the end of the sweep to be asked.
#[derive(Default)]
pub(super) struct Queue {
    open: Vec<Observation>,
    /// UDP ports that may be open and have not answered what the sweep asked.
    silent: Vec<Observation>,
    thorough: bool,
    all_states: bool,
}

/// The UDP ports whose silence the sweep should tell. None where there are more than anybody waits for.
pub(super) fn silent_udp(ranges: &[IpRange], udp: &PortSet) -> HashSet<Endpoint> {
    let addresses = ranges.iter().map(IpRange::len).fold(0, u128::saturating_add);
    if addresses.saturating_mul(udp.len() as u128) > MOST_SILENT_UDP {
        anstream::eprintln!(
            "--thorough leaves out the UDP ports that say nothing: there are more than {MOST_SILENT_UDP}\nhint: name fewer with --udp"
        );
        return HashSet::new();
    }
    let endpoint = |ip: IpAddr, port: u16| Endpoint { proto: Proto::Udp, ..Endpoint::tcp(ip, port) };
    ranges.iter().flat_map(IpRange::iter).flat_map(|ip| udp.iter().map(move |port| endpoint(ip, port))).collect()
}

impl Queue {
    /// Whether the observation is one to be asked about, and printed after that; or was only reported because the sweep was
    /// asked for the silent ones.
    pub(super) fn takes(&mut self, observation: &Observation) -> bool {
        let asked_for = self.thorough && observation.endpoint.proto == Proto::Udp;
        match observation.state {
            State::Open => self.open.push(observation.clone()),
            State::OpenFiltered if asked_for => self.silent.push(observation.clone()),
            _ => return asked_for && !self.all_states,
        }
        true
    }
}

impl Identifier {
    pub(super) fn queue(&self) -> Queue {
        Queue { thorough: self.thorough, all_states: self.all_states, ..Queue::default() }
    }

    /// Whether a further visit with every question there is could tell more.
    fn wants_more(&self, seen: &Identification) -> bool {
        let encrypted = seen.service.as_ref().is_some_and(|s| s.tls.is_some());
        self.thorough && (encrypted || seen.identity.is_unexplained(seen.service.as_ref()))
    }
}

impl Collector<'_> {
    pub(super) async fn identify(&mut self, queue: Queue, identifier: Identifier) -> io::Result<()> {
        let (mut again, mut before) = (queue.silent, HashMap::new());
        let observed: HashMap<Endpoint, Observation> = queue.open.iter().map(|o| (o.endpoint, o.clone())).collect();
        let unasked = self
            .visit(queue.open, &identifier, Budget::default(), |this, observation, seen| {
                if identifier.wants_more(&seen) {
                    before.insert(seen.endpoint, seen);
                    return Ok(());
                }
                this.told(&observation, Some(&seen))
            })
            .await?;
        again.extend(before.keys().filter_map(|endpoint| observed.get(endpoint).cloned()));
        again.sort_by_key(|o| o.endpoint);
        let again = self
            .visit(again, &identifier, Budget::thorough(), |this, observation, seen| {
                // A visit that brought less does not take back what the one before it saw.
                let earlier = before.remove(&seen.endpoint);
                let seen = earlier.filter(|e| e.identity.is_told() && !seen.identity.is_told()).unwrap_or(seen);
                match observation.state {
                    State::Open => this.told(&observation, Some(&seen)),
                    _ if identifier.all_states => this.told(&observation, None),
                    _ => Ok(()),
                }
            })
            .await?;
        // Interrupted before these were asked: the open ones are open all the same.
        for observation in unasked.iter().chain(&again) {
            if observation.state == State::Open || identifier.all_states {
                self.told(observation, before.get(&observation.endpoint))?;
            }
        }
        Ok(())
    }

    /// Asks each of them within the budget and hands on what came of it. What was not asked comes back.
    async fn visit(
        &mut self,
        list: Vec<Observation>,
        identifier: &Identifier,
        budget: Budget,
        mut take: impl FnMut(&mut Self, Observation, Identification) -> io::Result<()>,
    ) -> io::Result<Vec<Observation>> {
        let admitted: Vec<_> = list.iter().filter_map(|o| identifier.scope.admit(o.endpoint)).collect();
        let mut waiting: HashMap<Endpoint, Observation> = list.into_iter().map(|o| (o.endpoint, o)).collect();
        if admitted.is_empty() {
            return Ok(sorted(waiting));
        }
        let (tx, mut rx) = mpsc::channel::<Identified>(256);
        let (permit, cancel) = (Paced(identifier.pace.clone()), identifier.cancel.clone());
        let asking = tokio::spawn(async move {
            services::identify_all(admitted, &budget, &permit, AT_ONCE, PER_HOST, tx, &cancel).await;
        });
        let mut result = Ok(());
        while let Some(identified) = rx.recv().await {
            let seen = identified.identification;
            if let Some(swept) = waiting.remove(&seen.endpoint) {
                // An answer opens a port that was silent to the sweep; what refuses now was open then.
                let opened = identified.observation.filter(|o| o.state == State::Open && swept.state != State::Open);
                result = take(self, opened.unwrap_or(swept), seen);
                if result.is_err() {
                    break;
                }
            }
        }
        drop(rx);
        let _ = asking.await;
        result.map(|()| sorted(waiting))
    }

    fn told(&mut self, observation: &Observation, seen: Option<&Identification>) -> io::Result<()> {
        let pseudo = self.is_pseudo(observation, seen.map(|s| s.identity));
        let record = Record::new(observation, seen.and_then(|s| s.service.as_ref()), pseudo);
        self.print(match seen {
            Some(seen) => record.with_proof(seen),
            None => record,
        })
    }
}

fn sorted(waiting: HashMap<Endpoint, Observation>) -> Vec<Observation> {
    let mut rest: Vec<_> = waiting.into_values().collect();
    rest.sort_by_key(|o| o.endpoint);
    rest
}

/// The sweep's pace, asked again before every connection of the identification.
struct Paced(Arc<Pacer>);

#[async_trait]
impl Permit for Paced {
    async fn acquire(&self, ip: InScope<IpAddr>) {
        self.0.acquire(ip).await;
    }
}
