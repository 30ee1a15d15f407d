//! Properties of the folds over random sequences of observations (PR-5, PR-6, PR-9).

use assess::ports::{Folded, FollowUp, Transition, fold, is_refusal};
use model::observation::{HostObservation, Liveness, Observation, Reason, State};
use model::port_state::{Phase, PortState};
use model::settings::Hysteresis;
use model::{Duration, Endpoint, Ts, Vantage};
use proptest::prelude::*;

fn vantage() -> Vantage {
    Vantage("outside".into())
}

fn observation(at: i64, kind: u8) -> Observation {
    let (state, reason) = match kind {
        0 | 1 => (State::Open, Reason::SynAck),
        2 => (State::Closed, Reason::Rst),
        3 => (State::Filtered, Reason::Timeout),
        4 => (State::Filtered, Reason::IcmpProhibited),
        _ => (State::OpenFiltered, Reason::Timeout),
    };
    Observation { endpoint: Endpoint::tcp("10.0.0.7".parse().unwrap(), 22), state, reason, observed_at: Ts(at) }
}

/// Observations at increasing instants, up to 40 s apart.
fn sequences() -> impl Strategy<Value = Vec<Observation>> {
    proptest::collection::vec((1i64..40_000, 0u8..6), 1..60).prop_map(|steps| {
        let mut at = 0;
        steps
            .into_iter()
            .map(|(gap, kind)| {
                at += gap;
                observation(at, kind)
            })
            .collect()
    })
}

fn settings() -> impl Strategy<Value = Hysteresis> {
    (1u32..4, 1u32..4, 0u64..30, 1u32..5, 0u64..90).prop_map(|(open, refused, rs, silent, ss)| Hysteresis {
        open_count: open,
        refused_count: refused,
        refused_span: Duration::secs(rs),
        silent_count: silent,
        silent_span: Duration::secs(ss),
    })
}

fn run(observations: &[Observation], h: &Hysteresis) -> (Option<PortState>, Vec<(Ts, Transition)>) {
    let (mut state, mut log) = (None, vec![]);
    for obs in observations {
        let folded = fold(state, obs, &vantage(), None, h);
        log.extend(folded.transitions.into_iter().map(|t| (obs.observed_at, t)));
        state = folded.state;
    }
    (state, log)
}

proptest! {
    #[test]
    fn repeating_or_replaying_observations_changes_nothing(seq in sequences(), h in settings(), picks in proptest::collection::vec(0usize..1000, 0..30)) {
        let once = run(&seq, &h);
        prop_assert_eq!(&once, &run(&seq, &h), "deterministic");
        // The same sequence with any earlier observation thrown in again at any later place.
        let mut again = Vec::new();
        for (i, obs) in seq.iter().enumerate() {
            again.push(obs.clone());
            for pick in picks.iter().filter(|p| **p % seq.len() == i) {
                again.push(seq[pick % (i + 1)].clone());
            }
        }
        prop_assert_eq!(once, run(&again, &h));
    }

    #[test]
    fn nothing_opens_or_closes_without_enough_evidence_over_enough_time(seq in sequences(), h in settings()) {
        let (mut state, mut seen): (Option<PortState>, Vec<&Observation>) = (None, vec![]);
        for obs in &seq {
            let before = state.clone();
            let Folded { state: after, transitions, want } = fold(state, obs, &vantage(), None, &h);
            if obs.state != State::OpenFiltered {
                seen.push(obs);
            }
            for t in &transitions {
                match t {
                    Transition::Pending => prop_assert!(obs.state == State::Open && before.as_ref().is_none_or(|p| p.phase == Phase::Closed)),
                    Transition::Opened | Transition::Reopened => {
                        let p = after.as_ref().unwrap();
                        let opens = seen.iter().filter(|o| o.state == State::Open && o.observed_at >= p.first_open_at).count();
                        prop_assert!(obs.state == State::Open && opens >= h.open_count.min(2) as usize);
                    }
                    Transition::Closed { .. } | Transition::Vanished { .. } => {
                        let tail: Vec<_> = seen.iter().rev().take_while(|o| o.state.is_not_open()).collect();
                        let span = tail[0].observed_at.since(tail[tail.len() - 1].observed_at);
                        let refused = is_refusal(obs.reason) && tail.len() as u32 >= h.refused_count && span >= h.refused_span;
                        let silent = tail.len() as u32 >= h.silent_count && span >= h.silent_span;
                        prop_assert!(refused || silent, "{tail:?}");
                    }
                }
            }
            // Whatever is undecided is looked at again, so nothing stays undecided for want of a look.
            if let Some(p) = after.as_ref().filter(|p| p.last_observed_at == obs.observed_at && obs.state != State::OpenFiltered) {
                let undecided = p.phase == Phase::Pending || (p.phase == Phase::Open && p.last_state.is_not_open());
                prop_assert_eq!(want.is_some(), undecided, "{:?}", p);
                if let Some(FollowUp::Recheck { at }) = want {
                    prop_assert!(at > obs.observed_at && at.since(obs.observed_at) <= Duration::secs(92), "{:?}", want);
                }
            }
            if let (Some(a), Some(b)) = (&before, &after) {
                prop_assert!(b.openings >= a.openings && b.last_observed_at >= a.last_observed_at);
            }
            prop_assert!(before.is_none() || after.is_some(), "what was seen once is never lost");
            state = after;
        }
    }

    #[test]
    fn looking_when_asked_always_decides(kind in 2u8..5, opens in 1u32..4, h in settings()) {
        // Open it, then let it go dark and look exactly when the fold asks to.
        let mut state = None;
        for i in 0..i64::from(opens.max(h.open_count)) {
            state = fold(state, &observation(1_000 * (i + 1), 0), &vantage(), None, &h).state;
        }
        let mut at = 100_000;
        let mut looks = 0;
        while state.as_ref().unwrap().phase != Phase::Closed {
            let folded = fold(state, &observation(at, kind), &vantage(), None, &h);
            state = folded.state;
            looks += 1;
            prop_assert!(looks <= 8, "{state:?}");
            match folded.want {
                Some(FollowUp::Recheck { at: next }) => at = next.0,
                None => prop_assert_eq!(state.as_ref().unwrap().phase, Phase::Closed),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let took = Ts(at).since(Ts(100_000));
        let span = if kind == 2 { h.refused_span.min(h.silent_span) } else { h.silent_span };
        prop_assert!(took >= span.min(h.refused_span), "{took:?}");
    }

    #[test]
    fn hosts_keep_both_states_and_ignore_what_is_old(seq in proptest::collection::vec((0i64..50, any::<bool>(), any::<bool>()), 1..40)) {
        let mut host = None;
        let mut newest = (i64::MIN, false);
        for (at, up, has_open) in seq {
            let (liveness, reason) = if up { (Liveness::Online, Reason::EchoReply) } else { (Liveness::Offline, Reason::Timeout) };
            let obs = HostObservation { ip: "10.0.0.7".parse().unwrap(), liveness, reason, observed_at: Ts(at) };
            let before = host.clone();
            let folded = assess::hosts::fold(host, &obs, &vantage(), has_open);
            if let Some(before) = before.as_ref().filter(|b| at <= b.last_observed_at.0) {
                prop_assert_eq!(before, &folded.host);
            }
            if at > newest.0 {
                let stays = !up && has_open && newest.1;
                newest = (at, up || stays);
            }
            prop_assert_eq!(folded.host.liveness == Liveness::Online, newest.1);
            prop_assert!(folded.changed || before.is_none_or(|b| b.liveness == folded.host.liveness));
            host = Some(folded.host);
        }
    }
}

#[test]
fn the_last_coverage_bounds_the_time_to_detect() {
    let h = Hysteresis::default();
    for (covered, bound) in [(None, None), (Some(4_000), Some(3_000)), (Some(5_000), None), (Some(9_000), None)] {
        let first = fold(None, &observation(5_000, 0), &vantage(), covered.map(Ts), &h).state;
        let opened = fold(first, &observation(7_000, 0), &vantage(), covered.map(Ts), &h).state.unwrap();
        assert_eq!(opened.detection_bound(), bound.map(Duration::millis), "covered at {covered:?}");
    }
}

#[test]
fn silence_of_udp_neither_opens_nor_closes() {
    let h = Hysteresis::default();
    assert_eq!(fold(None, &observation(1, 5), &vantage(), None, &h).state, None);
    let open = run(&[observation(1, 0), observation(2, 0)], &h).0.unwrap();
    let silent: Vec<_> = (1..50).map(|i| observation(i * 60_000, 5)).collect();
    let mut state = Some(open);
    for obs in &silent {
        state = fold(state, obs, &vantage(), None, &h).state;
    }
    assert_eq!(state.unwrap().phase, Phase::Open);
}

#[test]
fn a_dead_address_is_stored_and_is_no_event() {
    let obs = HostObservation {
        ip: "10.0.0.7".parse().unwrap(),
        liveness: Liveness::Offline,
        reason: Reason::Timeout,
        observed_at: Ts(1),
    };
    let folded = assess::hosts::fold(None, &obs, &vantage(), false);
    assert_eq!((folded.host.liveness, folded.changed, folded.new), (Liveness::Offline, false, false));
}
