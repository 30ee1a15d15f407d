//! Doubting ourselves: whether the silence of a segment is its own or ours (PR-13).
//!
//! A broken uplink, route or firewall on our side makes every port of a segment look filtered. The endpoints that have been
//! open there the longest, its canaries, tell the two apart: one that falls silent has closed, most of them at once have not.
//! Asking them is left to the server, what silence does to a port to `ports`.
//!
//! | what is seen | what it means |
//! |---|---|
//! | a canary accepts, or its host refuses another probe over TCP | the path is alive; refusals never make a segment unknown |
//! | fewer than two in three canaries silent, or their hosts | those have closed |
//! | two in three canaries silent, and two in three of their hosts | suspect: asked once more, nothing closes meanwhile |
//! | the same again, seconds later | unknown: silence is set aside until half of them answer |
//!
//! Two in three, because half of a small segment may well go at once (a host with most of its doors is switched off, which
//! is also why hosts are counted beside canaries), while a path that breaks takes nearly everything with it. A segment with
//! fewer than three canaries on two hosts borrows those of the whole vantage and is unknown only when none of them answers.

use crate::owner::asset_for;
use crate::ports::is_refusal;
use model::asset::Asset;
use model::event::{Event, EventKind};
use model::observation::{HostObservation, Liveness, Observation, Reason, State};
use model::port_state::{Host, PortState};
use model::segment::{Guard, SegmentState, SegmentStatus, segment_of};
use model::{Duration, Endpoint, EventId, IpRange, Ts, Vantage};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Canaries of a segment at most: each costs a probe with every recheck, and eight that agree are as good as eighty.
pub const MOST: usize = 8;
/// Canaries of a segment at least: with two, one that closes is half of them.
pub const LEAST: usize = 3;
/// On so many hosts at least: one host that is switched off takes all its doors with it.
pub const LEAST_HOSTS: usize = 2;
/// From the first suspicion to the look that confirms it: longer than a route takes to change over, or a burst of loss.
pub const CONFIRM: Duration = Duration::secs(10);
/// What the confirming look may come early and still be a second look.
const EARLY: Duration = Duration::secs(4);
/// How often the canaries of an unknown segment are asked.
pub const EVERY: Duration = Duration::secs(20);
/// How old a sign of life may be that stands beside silence: as long as silence takes to close a port by default.
const FRESH: Duration = Duration::secs(60);

/// The segment that the address belongs to; `None` when nobody owns it.
pub fn segment(ip: IpAddr, assets: &[Asset]) -> Option<IpRange> {
    asset_for(ip, assets).and_then(|asset| segment_of(ip, &asset.range))
}

/// An endpoint that is open and could be a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub endpoint: Endpoint,
    /// Since when it has been open.
    pub opened_at: Ts,
    /// An operator named it.
    pub named: bool,
}

/// The canaries among the candidates: named ones first, then those that have been open the longest, one of each place
/// before a second one of any. Places are hosts within a segment, and segments within a vantage.
pub fn choose<P: Ord>(candidates: &[Candidate], place: impl Fn(&Candidate) -> P) -> Vec<Endpoint> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by_key(|c| (!c.named, c.opened_at, c.endpoint));
    sorted.dedup_by_key(|c| c.endpoint);
    let mut taken: BTreeMap<P, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, usize, Endpoint)> = Vec::with_capacity(sorted.len());
    for (age, candidate) in sorted.into_iter().enumerate() {
        let round = taken.entry(place(candidate)).or_default();
        // What a person named comes before what we found, however many share a host.
        ranked.push((if candidate.named { 0 } else { *round + 1 }, age, candidate.endpoint));
        *round += 1;
    }
    ranked.sort_unstable();
    ranked.into_iter().take(MOST).map(|(_, _, endpoint)| endpoint).collect()
}

/// Whether so many canaries can speak for a segment.
pub fn enough(canaries: &[Endpoint]) -> bool {
    let hosts: BTreeSet<IpAddr> = canaries.iter().map(|c| c.ip).collect();
    canaries.len() >= LEAST && hosts.len() >= LEAST_HOSTS
}

/// Whether the observation proves that the path to its host is alive: the host itself accepted or refused.
pub fn proves_path(obs: &Observation) -> bool {
    obs.state == State::Open || (obs.state == State::Closed && is_refusal(obs.reason))
}

/// Whether the observation is silence, or the word of a device in between: what may be ours as well as the host's.
pub fn is_silence(obs: &Observation) -> bool {
    obs.state.is_not_open() && !proves_path(obs)
}

/// The latest that is known of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which.
    pub endpoint: Endpoint,
    /// When it last accepted or refused.
    pub answered_at: Option<Ts>,
    /// When its present silence began, and when it was last seen.
    pub silent: Option<(Ts, Ts)>,
    /// When its host last accepted or refused anything over TCP.
    pub host_proof_at: Option<Ts>,
    /// When its host last answered anything at all.
    pub host_seen_at: Option<Ts>,
}

impl Sighting {
    /// From what is stored.
    pub fn new(port: &PortState, host: Option<&Host>) -> Self {
        let refused = port.last_state == State::Closed && is_refusal(port.last_reason);
        let answered_at = if refused { port.last_observed_at } else { port.last_open_at };
        let silent = port.last_state.is_not_open() && !refused;
        Sighting {
            endpoint: port.endpoint,
            answered_at: Some(answered_at),
            silent: silent.then_some((port.streak_since, port.last_observed_at)),
            host_proof_at: host.filter(|h| over_tcp(h.reason)).and_then(|h| h.last_online_at),
            host_seen_at: host.and_then(|h| h.last_online_at),
        }
    }

    /// Takes in an observation of it, or of another door of its host.
    pub fn take(&mut self, obs: &Observation) {
        let at = Some(obs.observed_at);
        if obs.endpoint.ip != self.endpoint.ip {
            return;
        }
        if proves_path(obs) {
            self.host_proof_at = self.host_proof_at.max(at);
            self.host_seen_at = self.host_seen_at.max(at);
        }
        if obs.endpoint != self.endpoint {
            return;
        }
        if proves_path(obs) {
            self.answered_at = self.answered_at.max(at);
            self.silent = self.silent.filter(|(_, last)| *last > obs.observed_at);
        } else if is_silence(obs) && self.answered_at < at {
            let (from, last) = self.silent.unwrap_or((obs.observed_at, obs.observed_at));
            self.silent = Some((from.min(obs.observed_at), last.max(obs.observed_at)));
        }
    }

    /// Takes in what was said of its host.
    pub fn take_host(&mut self, obs: &HostObservation) {
        if obs.ip == self.endpoint.ip && obs.liveness == Liveness::Online {
            self.host_seen_at = self.host_seen_at.max(Some(obs.observed_at));
            if over_tcp(obs.reason) {
                self.host_proof_at = self.host_proof_at.max(Some(obs.observed_at));
            }
        }
    }

    /// Silent now, with nothing from its host since that began.
    fn is_silent(&self) -> bool {
        self.silent.is_some_and(|(from, last)| self.host_proof_at < Some(from.max(last.minus(FRESH))))
    }
    fn alive_since(&self, since: Ts) -> bool {
        self.answered_at >= Some(since) || self.host_proof_at >= Some(since)
    }
    fn asked_since(&self, since: Ts) -> bool {
        self.alive_since(since) || self.silent.is_some_and(|(_, last)| last >= since)
    }
}

fn over_tcp(reason: Reason) -> bool {
    matches!(reason, Reason::SynAck | Reason::Connected | Reason::Rst | Reason::ConnectionRefused)
}

/// What may be made of a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It is the endpoint's own: canaries have answered since it began, or there are none to ask.
    Clear,
    /// The canaries have not been asked since it began.
    Unasked,
    /// They are silent as well.
    Doubtful,
    /// The segment is unknown.
    Blind,
}

/// A segment as one vantage sees it, with the latest of its canaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// How it stands, and who guards it.
    pub state: SegmentState,
    /// Its canaries, or those that it borrows.
    pub sightings: Vec<Sighting>,
}

/// Canaries and hosts, and how many of each are not alive.
struct Count {
    canaries: usize,
    hosts: usize,
    silent: usize,
    silent_hosts: usize,
}

impl Watch {
    /// A segment that nobody has doubted yet.
    pub fn fresh(range: IpRange, vantage: Vantage, now: Ts) -> SegmentState {
        SegmentState {
            range,
            vantage,
            status: SegmentStatus::Known,
            guard: Guard::Nobody,
            since: now,
            trusted_from: None,
            canaries: 0,
            silent: 0,
            episode: 0,
            set_aside: 0,
            next_look_at: None,
        }
    }

    fn count(&self, silent: impl Fn(&Sighting) -> bool) -> Count {
        let mut hosts: BTreeMap<IpAddr, bool> = BTreeMap::new();
        let mut count = Count { canaries: self.sightings.len(), hosts: 0, silent: 0, silent_hosts: 0 };
        for s in &self.sightings {
            let silent = silent(s);
            count.silent += usize::from(silent);
            *hosts.entry(s.endpoint.ip).or_insert(true) &= silent;
        }
        count.hosts = hosts.len();
        count.silent_hosts = hosts.values().filter(|silent| **silent).count();
        count
    }

    /// Whether that many say that it is us.
    fn is_blind(&self, c: &Count) -> bool {
        match self.state.guard {
            Guard::Nobody => false,
            Guard::Borrowed => c.silent == c.canaries,
            Guard::Own => c.silent * 3 >= c.canaries * 2 && c.silent_hosts * 3 >= c.hosts * 2,
        }
    }

    /// Whether that few do that it is over. Fewer than it takes to begin, so that one canary does not switch it to and fro.
    fn sees_again(&self, c: &Count) -> bool {
        match self.state.guard {
            Guard::Nobody => true,
            Guard::Borrowed => c.silent < c.canaries,
            Guard::Own => (c.canaries - c.silent) * 2 >= c.canaries || (c.hosts - c.silent_hosts) * 2 >= c.hosts,
        }
    }

    /// What may be made of an endpoint's silence that began at `since`.
    pub fn sight(&self, since: Ts) -> Sight {
        self.judged(|s| s.alive_since(since), |s| s.asked_since(since))
    }

    /// The same for a host that answered nothing at `at`: whatever its neighbours answered lately shows that we would hear.
    pub fn host_sight(&self, at: Ts) -> Sight {
        let since = at.minus(FRESH);
        let alive = |s: &Sighting| s.alive_since(since) || s.host_seen_at >= Some(since);
        self.judged(alive, |s| alive(s) || s.asked_since(since))
    }

    fn judged(&self, alive: impl Fn(&Sighting) -> bool, asked: impl Fn(&Sighting) -> bool) -> Sight {
        match self.state.status {
            SegmentStatus::Unknown => Sight::Blind,
            SegmentStatus::Suspect => Sight::Doubtful,
            SegmentStatus::Known if !self.is_blind(&self.count(|s| !alive(s))) => Sight::Clear,
            SegmentStatus::Known if self.sightings.iter().all(asked) => Sight::Doubtful,
            SegmentStatus::Known => Sight::Unasked,
        }
    }

    /// How the segment stands after the latest that was seen of its canaries. `at` is when that was written down.
    pub fn review(&self, at: Ts) -> SegmentState {
        let before = &self.state;
        let dark = before.trusted_from.filter(|_| before.status == SegmentStatus::Unknown);
        // What was silent only while we could not see is not written down: an answer has to be younger than that.
        let now = self.count(|s| s.is_silent() || dark.is_some_and(|from| !s.alive_since(from)));
        let mut after = before.clone();
        (after.canaries, after.silent) = (now.canaries as u32, now.silent as u32);
        match before.status {
            SegmentStatus::Known if self.is_blind(&now) => {
                after.status = SegmentStatus::Suspect;
                let began = self.sightings.iter().filter(|s| s.is_silent()).filter_map(|s| s.silent).map(|(_, last)| last).max();
                after.since = began.unwrap_or(at);
                after.next_look_at = Some(at.plus(CONFIRM));
            }
            SegmentStatus::Known => {}
            SegmentStatus::Suspect if !self.is_blind(&now) => {
                after.status = SegmentStatus::Known;
                after.since = at;
                after.next_look_at = None;
            }
            SegmentStatus::Suspect => {
                let second = before.since.plus(CONFIRM).minus(EARLY);
                let again = self.count(|s| s.is_silent() && s.silent.is_some_and(|(_, last)| last >= second));
                if self.is_blind(&again) {
                    after.status = SegmentStatus::Unknown;
                    after.episode += 1;
                    after.set_aside = 0;
                    after.trusted_from = Some(at);
                    after.next_look_at = Some(at.plus(EVERY));
                }
            }
            SegmentStatus::Unknown if self.sees_again(&now) => {
                after.status = SegmentStatus::Known;
                after.since = at;
                after.trusted_from = Some(at);
                after.next_look_at = None;
            }
            SegmentStatus::Unknown => {}
        }
        after
    }
}

/// The entry of the event log when a segment became unknown or known again; `None` for what needs no entry.
pub fn event(before: &SegmentState, after: &SegmentState, id: EventId, now: Ts) -> Option<Event> {
    use SegmentStatus::Unknown;
    let kind = match (before.status, after.status) {
        (from, Unknown) if from != Unknown => EventKind::SegmentUnknown,
        (Unknown, to) if to != Unknown => EventKind::SegmentKnown,
        _ => return None,
    };
    Some(Event {
        id,
        kind,
        ip: after.range.first(),
        endpoint: None,
        vantage: after.vantage.clone(),
        exposure: None,
        happened_after: None,
        happened_at: after.since,
        observed_at: now,
        recorded_at: now,
        reason: None,
        detail: json!({
            "segment": after.range, "canaries": after.canaries, "silent": after.silent, "guard": after.guard,
            "unknown_since": (kind == EventKind::SegmentKnown).then_some(before.since), "set_aside": after.set_aside,
        }),
    })
}
