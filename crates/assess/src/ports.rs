//! Folding observations of one endpoint from one vantage into its state: pending → open → closed, with hysteresis.
//!
//! An endpoint opens on several open observations and closes only on several that say *probed and not open*, over time
//! (PR-9); it never closes because something was missing from an output. What the state means is left to `exposure`.

use crate::segments::{self, Sight, Watch, is_silence};
use model::observation::{Observation, Reason, State};
use model::port_state::{Phase, PortState};
use model::service::{Identification, Identity, PanelObservation};
use model::settings::Hysteresis;
use model::{Duration, Proto, Ts, Vantage};

/// Least time between an observation and the next look at the same endpoint, so that two looks are two looks.
const LEAST_GAP: Duration = Duration::secs(2);
/// Between two looks at an endpoint that would have closed if its segment's canaries were not silent as well: as long as it
/// takes to be sure of that.
const DOUBT_GAP: Duration = segments::CONFIRM;

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Seen open for the first time, or for the first time since it closed.
    Pending,
    /// Confirmed open, for the first time.
    Opened,
    /// Confirmed open after it had been closed.
    Reopened,
    /// Found not open often enough, for this reason; it stopped answering between the two instants.
    Closed {
        /// Evidence of the deciding observation.
        reason: Reason,
        /// Last time it was seen open.
        after: Ts,
        /// First of the observations that closed it.
        by: Ts,
    },
    /// Never confirmed, and not open any more.
    Vanished {
        /// Evidence of the deciding observation.
        reason: Reason,
    },
}

/// Another look that the fold asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowUp {
    /// Identify it now; that confirms the opening as well.
    Confirm,
    /// Say its state again, not before this instant.
    Recheck {
        /// When.
        at: Ts,
    },
}

/// What an observation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The state now; `None` while nothing was ever seen open.
    pub state: Option<PortState>,
    /// The changes, in order.
    pub transitions: Vec<Transition>,
    /// Another look, if one is wanted.
    pub want: Option<FollowUp>,
}

/// Whether the evidence is a refusal by somebody, as opposed to silence or a device in between.
pub fn is_refusal(reason: Reason) -> bool {
    matches!(reason, Reason::Rst | Reason::ConnectionRefused | Reason::IcmpPortUnreachable)
}

/// Folds one observation into the state.
///
/// `last_covered` is when the ground was last covered before, if ever: a sweep that reported nothing here is the evidence
/// that bounds how long the endpoint may have been open. Observations that are not newer than the newest one known change
/// nothing, so a repeated or reordered report changes nothing but timing (PR-6).
pub fn fold(prev: Option<PortState>, obs: &Observation, vantage: &Vantage, last_covered: Option<Ts>, h: &Hysteresis) -> Folded {
    fold_watched(prev, obs, vantage, last_covered, h, None)
}

/// The same in a segment that has canaries (PR-13): silence closes only when they have answered since it began, silence from
/// before the end of the last time the segment was unknown does not count, and while it is unknown silence changes nothing.
/// Refusals are the host's own word and need no witness.
pub fn fold_watched(
    prev: Option<PortState>,
    obs: &Observation,
    vantage: &Vantage,
    last_covered: Option<Ts>,
    h: &Hysteresis,
    watch: Option<&Watch>,
) -> Folded {
    let same = |state| Folded { state, transitions: vec![], want: None };
    let silent;
    let obs = match &prev {
        // It has answered this very question before. Now it does not, which is what a filter makes of a TCP port.
        Some(_) if obs.state == State::OpenFiltered && obs.endpoint.proto == Proto::Udp => {
            silent = Observation { state: State::Filtered, ..obs.clone() };
            &silent
        }
        _ => obs,
    };
    match prev {
        Some(prev) if obs.observed_at <= prev.last_observed_at => same(Some(prev)),
        // Silence that may mean either is no evidence for anything.
        Some(mut prev) if obs.state == State::OpenFiltered => {
            prev.last_observed_at = obs.observed_at;
            same(Some(prev))
        }
        Some(prev) if obs.state == State::Open => seen_open(prev, obs, last_covered, h),
        Some(prev) if is_silence(obs) && watch.is_some_and(|w| unseen(w, obs.observed_at)) => same(Some(prev)),
        Some(prev) => seen_not_open(prev, obs, h, watch),
        None if obs.state == State::Open => {
            let state = first_seen(obs, vantage, last_covered);
            confirm_or_ask(state, 1, vec![Transition::Pending], obs, h)
        }
        None => same(None),
    }
}

fn first_seen(obs: &Observation, vantage: &Vantage, last_covered: Option<Ts>) -> PortState {
    PortState {
        endpoint: obs.endpoint,
        vantage: vantage.clone(),
        phase: Phase::Pending,
        first_open_at: obs.observed_at,
        opened_at: None,
        closed_at: None,
        last_open_at: obs.observed_at,
        last_not_open_at: last_covered.filter(|&at| at < obs.observed_at),
        last_observed_at: obs.observed_at,
        last_state: obs.state,
        last_reason: obs.reason,
        streak: 1,
        streak_since: obs.observed_at,
        openings: 0,
        pseudo_open: false,
        identity: None,
        service: None,
        banner: None,
        evidence: None,
        confidence: None,
        sha256: None,
        tried: Vec::new(),
        thorough_at: None,
        identified_at: None,
        panel: None,
        panel_at: None,
    }
}

/// Counts the observation in: `agrees` when the one before said the same of being open or not.
fn note(state: &mut PortState, obs: &Observation, agrees: bool) {
    state.streak = if agrees { state.streak.saturating_add(1) } else { 1 };
    if !agrees {
        state.streak_since = obs.observed_at;
    }
    state.last_observed_at = obs.observed_at;
    state.last_state = obs.state;
    state.last_reason = obs.reason;
}

fn seen_open(mut state: PortState, obs: &Observation, last_covered: Option<Ts>, h: &Hysteresis) -> Folded {
    let agrees = state.last_state == State::Open;
    let last_not_open = state.last_state.is_not_open().then_some(state.last_observed_at);
    note(&mut state, obs, agrees);
    state.last_open_at = obs.observed_at;
    match state.phase {
        Phase::Open => Folded { state: Some(state), transitions: vec![], want: None },
        // Whatever lies between, this is at least the second time that it was seen open.
        Phase::Pending => {
            let opens = if agrees { state.streak } else { 2 };
            confirm_or_ask(state, opens, vec![], obs, h)
        }
        Phase::Closed => {
            state.phase = Phase::Pending;
            state.first_open_at = obs.observed_at;
            state.last_not_open_at = last_not_open.max(last_covered.filter(|&at| at < obs.observed_at)).or(state.closed_at);
            // What answered before need not be what answers now.
            (state.identity, state.service, state.banner, state.evidence, state.identified_at) = (None, None, None, None, None);
            (state.panel, state.panel_at) = (None, None);
            confirm_or_ask(state, 1, vec![Transition::Pending], obs, h)
        }
    }
}

/// A pending endpoint that has been seen open `opens` times: opens, or wants to be looked at again.
fn confirm_or_ask(
    mut state: PortState,
    opens: u32,
    mut transitions: Vec<Transition>,
    obs: &Observation,
    h: &Hysteresis,
) -> Folded {
    if opens < h.open_count {
        return Folded { state: Some(state), transitions, want: Some(FollowUp::Confirm) };
    }
    state.phase = Phase::Open;
    state.opened_at = Some(obs.observed_at);
    state.openings += 1;
    transitions.push(if state.openings == 1 { Transition::Opened } else { Transition::Reopened });
    Folded { state: Some(state), transitions, want: None }
}

/// Whether a silence at that instant says nothing, because we could not see.
pub fn unseen(watch: &Watch, at: Ts) -> bool {
    watch.sight(at) == Sight::Blind || watch.state.trusted_from.is_some_and(|from| at < from)
}

fn seen_not_open(mut state: PortState, obs: &Observation, h: &Hysteresis, watch: Option<&Watch>) -> Folded {
    // What was silent before we went blind begins anew; what refused has said so itself.
    let trusted_from = watch.and_then(|w| w.state.trusted_from);
    let stale = !is_refusal(state.last_reason) && trusted_from.is_some_and(|from| state.streak_since < from);
    let agrees = state.last_state.is_not_open() && !stale;
    let both_refused = is_refusal(obs.reason) && ((agrees && is_refusal(state.last_reason)) || h.refused_count <= 1);
    note(&mut state, obs, agrees);
    if state.phase == Phase::Closed {
        return Folded { state: Some(state), transitions: vec![], want: None };
    }
    let span = obs.observed_at.since(state.streak_since);
    let refused = both_refused && state.streak >= h.refused_count && span >= h.refused_span;
    // A refusal is at least as good a ground as silence, so it counts among the silences too.
    let silent = state.streak >= h.silent_count && span >= h.silent_span;
    if !refused && !silent {
        let want = Some(FollowUp::Recheck { at: next_look(&state, obs, h) });
        return Folded { state: Some(state), transitions: vec![], want };
    }
    if !refused
        && is_silence(obs)
        && let Some(wait) = watch.and_then(|w| doubt(w.sight(state.streak_since)))
    {
        let want = Some(FollowUp::Recheck { at: obs.observed_at.plus(wait) });
        return Folded { state: Some(state), transitions: vec![], want };
    }
    let transition = match state.phase {
        Phase::Pending => Transition::Vanished { reason: obs.reason },
        _ => Transition::Closed { reason: obs.reason, after: state.last_open_at, by: state.streak_since },
    };
    if state.phase == Phase::Open {
        state.closed_at = Some(obs.observed_at);
    }
    state.phase = Phase::Closed;
    Folded { state: Some(state), transitions: vec![transition], want: None }
}

/// How long to wait for another look where silence is not enough to close.
fn doubt(sight: Sight) -> Option<Duration> {
    match sight {
        Sight::Clear => None,
        Sight::Unasked => Some(LEAST_GAP),
        Sight::Doubtful | Sight::Blind => Some(DOUBT_GAP),
    }
}

/// When to look again so that the looks that close are spread evenly over the least span, the last one at its end.
fn next_look(state: &PortState, obs: &Observation, h: &Hysteresis) -> Ts {
    let (count, span) = if is_refusal(obs.reason) { (h.refused_count, h.refused_span) } else { (h.silent_count, h.silent_span) };
    let steps = u64::from(count.saturating_sub(1).max(1));
    let done = u64::from(state.streak).min(steps);
    state.streak_since.plus(Duration::millis(span.0 * done / steps)).max(obs.observed_at.plus(LEAST_GAP))
}

/// Writes down what answered. Returns whether that changed what we believe.
///
/// The slow lane's visit is written down whatever it brought, so that it is not repeated before its time. Only bytes replace an earlier identification: a service that was busy and said nothing is still that service.
pub fn identify(state: &mut PortState, seen: &Identification) -> bool {
    if state.identified_at.is_some_and(|at| seen.observed_at <= at) {
        return false;
    }
    if seen.thorough {
        state.thorough_at = Some(seen.observed_at);
    }
    let proof = seen.identity.is_told();
    if !proof && (state.service.is_some() || seen.identity == Identity::Unreachable) {
        return false;
    }
    // What bytes proved to us is not given up for what another scanner makes of its own; our next visit decides.
    let foreign = |s: &Option<model::Service>| s.as_ref().is_some_and(|s| s.source.is_some());
    if foreign(&seen.service) && state.service.is_some() && !foreign(&state.service) {
        return false;
    }
    let mut service = seen.service.clone();
    if let (Some(is), Some(was)) = (&mut service, &state.service) {
        is.keep_of(was);
    }
    let same = match (&state.service, &service) {
        (Some(was), Some(is)) => was.same_as(is),
        (was, is) => was == is,
    };
    let changed = state.identity != Some(seen.identity) || !same;
    state.identity = Some(seen.identity);
    state.service = service;
    state.confidence = seen.confidence;
    state.sha256.clone_from(&seen.sha256);
    state.tried.clone_from(&seen.tried);
    state.banner.clone_from(&seen.banner);
    state.evidence.clone_from(&seen.evidence);
    state.identified_at = Some(seen.observed_at);
    changed
}

/// Writes down the front page. Returns whether it changed.
pub fn fetch(state: &mut PortState, seen: &PanelObservation) -> bool {
    if state.panel_at.is_some_and(|at| seen.observed_at <= at) {
        return false;
    }
    let changed = state.panel != seen.panel;
    state.panel.clone_from(&seen.panel);
    state.panel_at = Some(seen.observed_at);
    changed
}

/// Whether the endpoint is to be kept but not believed: its host answers on every port, and no bytes prove a service; or what
/// answers does so in the place of services.
pub fn is_pseudo(host_pseudo: bool, identity: Option<Identity>) -> bool {
    identity == Some(Identity::Middlebox) || (host_pseudo && !identity.is_some_and(Identity::is_told))
}
