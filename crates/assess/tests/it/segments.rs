//! Doubting ourselves: when silence is ours, when it is theirs, and what each does to the ports (PR-13).

use assess::ports::{FollowUp, Transition, fold_watched};
use assess::segments::{CONFIRM, Candidate, MOST, Sight, Sighting, Watch, choose, enough, event, segment};
use model::asset::{Asset, Zone};
use model::event::EventKind;
use model::observation::{HostObservation, Liveness, Observation, Reason, State};
use model::port_state::{Host, Phase, PortState};
use model::segment::{Guard, SegmentStatus};
use model::settings::Hysteresis;
use model::{AssetId, Duration, Endpoint, EventId, Ts, Vantage};
use proptest::prelude::*;
use uuid::Uuid;

fn endpoint(word: &str) -> Endpoint {
    format!("10.0.0.{word}/tcp").parse().unwrap()
}

fn vantage() -> Vantage {
    Vantage("outside".into())
}

/// `open`, `rst`, `silent`, `prohibited`, `unreachable`, `imitated` (a filter that pretends to be the host).
fn observation(door: Endpoint, what: &str, at: i64) -> Observation {
    let (state, reason) = match what {
        "open" => (State::Open, Reason::SynAck),
        "rst" => (State::Closed, Reason::Rst),
        "silent" => (State::Filtered, Reason::Timeout),
        "prohibited" => (State::Filtered, Reason::IcmpProhibited),
        "unreachable" => (State::Filtered, Reason::IcmpUnreachable),
        "imitated" => (State::Filtered, Reason::IcmpPortUnreachable),
        other => panic!("{other}"),
    };
    Observation { endpoint: door, state, reason, observed_at: Ts(at * 1_000) }
}

/// An endpoint that has been open since instant 0 and was seen so at instant 1.
fn open(door: Endpoint) -> PortState {
    let h = Hysteresis { open_count: 1, ..Hysteresis::default() };
    let obs = observation(door, "open", 1);
    fold_watched(None, &obs, &vantage(), None, &h, None).state.unwrap()
}

fn watch(guard: Guard, doors: &[&str]) -> Watch {
    let sightings = doors.iter().map(|d| Sighting::new(&open(endpoint(d)), None)).collect();
    let state = model::segment::SegmentState { guard, ..Watch::fresh("10.0.0.0/24".parse().unwrap(), vantage(), Ts(0)) };
    Watch { state, sightings }
}

impl Script {
    /// Every canary shows what the table says, in order, `.` for nothing.
    fn look(&mut self, at: i64, seen: &str) -> SegmentStatus {
        let words: Vec<&str> = seen.split_whitespace().collect();
        let doors: Vec<Endpoint> = self.0.sightings.iter().map(|s| s.endpoint).collect();
        for (door, what) in doors.iter().zip(words) {
            if what != "." {
                let obs = observation(*door, what, at);
                self.0.sightings.iter_mut().for_each(|s| s.take(&obs));
            }
        }
        self.0.state = self.0.review(Ts(at * 1_000));
        self.0.state.status
    }
}

struct Script(Watch);

#[test]
fn canaries_are_the_steadiest_and_of_different_hosts() {
    let candidate = |door: &str, opened_at, named| Candidate { endpoint: endpoint(door), opened_at: Ts(opened_at), named };
    let mut candidates: Vec<Candidate> = (1..=20).map(|port| candidate(&format!("1:{port}"), 10 + port, false)).collect();
    candidates.extend([candidate("2:22", 100, false), candidate("3:22", 200, false), candidate("3:80", 300, true)]);
    let chosen = choose(&candidates, |c| c.endpoint.ip);
    let expected = ["3:80", "1:1", "2:22", "1:2", "3:22", "1:3", "1:4", "1:5"];
    assert_eq!(chosen, expected.map(endpoint), "the named one, one of each host, then whatever is oldest");
    assert_eq!(chosen.len(), MOST);
    for (doors, can_speak) in
        [(vec!["1:22", "1:80", "1:443"], false), (vec!["1:22", "2:22"], false), (vec!["1:22", "1:80", "2:22"], true)]
    {
        assert_eq!(enough(&doors.iter().map(|d| endpoint(d)).collect::<Vec<_>>()), can_speak, "{doors:?}");
    }
}

#[test]
fn the_segment_of_an_address_is_that_of_its_most_specific_asset() {
    let asset = |range: &str, n: u128| Asset {
        id: AssetId(Uuid::from_u128(n)),
        range: range.parse().unwrap(),
        name: range.into(),
        owner: None,
        zone: Zone::Dmz,
        weight: 0,
        tags: vec![],
        observe_until: None,
        rate_pps: None,
        per_target_pps: None,
        check_ceiling: Default::default(),
        created_at: Ts(0),
        updated_at: Ts(0),
    };
    let assets = [asset("10.0.0.0/16", 1), asset("10.0.3.0/26", 2)];
    for (ip, range) in [("10.0.3.5", "10.0.3.0/26"), ("10.0.3.99", "10.0.3.0/24"), ("10.0.9.1", "10.0.9.0/24")] {
        assert_eq!(segment(ip.parse().unwrap(), &assets), Some(range.parse().unwrap()), "{ip}");
    }
    assert_eq!(segment("192.0.2.1".parse().unwrap(), &assets), None);
}

/// Looks ten seconds apart; after the arrow, how the segment stands then.
#[test]
fn what_canaries_show_makes_a_segment_known_suspect_or_unknown() {
    use Guard::{Borrowed, Nobody, Own};
    let four = &["1:22", "2:22", "3:22", "3:80"][..];
    let two_hosts = &["1:22", "1:80", "1:443", "2:22"][..];
    for (what, guard, doors, looks) in [
        ("all silent", Own, four, "silent silent silent silent > suspect | silent silent silent silent > unknown"),
        ("a burst of loss", Own, four, "silent silent silent silent > suspect | open open open open > known"),
        ("one of several", Own, four, "silent open open open > known | silent open open open > known"),
        ("half of them", Own, four, "silent silent open open > known | silent silent open open > known"),
        ("refusals", Own, four, "rst rst rst rst > known | rst rst rst rst > known"),
        ("all but one host", Own, four, "silent open silent silent > suspect | silent open silent silent > unknown"),
        ("a host is switched off", Own, two_hosts, "silent silent silent open > known | silent silent silent open > known"),
        (
            "a device forbids",
            Own,
            four,
            "prohibited prohibited prohibited prohibited > suspect | unreachable imitated silent prohibited > unknown",
        ),
        (
            "asked one after the other",
            Own,
            four,
            "silent . . . > known | . silent . . > known | . . silent silent > suspect | silent silent silent silent > unknown",
        ),
        ("suspicion needs a second look", Own, four, "silent silent silent silent > suspect | . . . . > suspect"),
        (
            "half back",
            Own,
            four,
            "silent silent silent silent > suspect | silent silent silent silent > unknown | open silent silent silent > unknown | open silent open silent > known",
        ),
        (
            "back by refusal",
            Own,
            four,
            "silent silent silent silent > suspect | silent silent silent silent > unknown | rst silent rst silent > known",
        ),
        ("borrowed, one answers", Borrowed, four, "silent silent silent open > known | silent silent silent open > known"),
        (
            "borrowed, none answers",
            Borrowed,
            four,
            "silent silent silent silent > suspect | silent silent silent silent > unknown | silent open silent silent > known",
        ),
        ("nobody guards", Nobody, four, "silent silent silent silent > known | silent silent silent silent > known"),
    ] {
        let mut script = Script(watch(guard, doors));
        for (i, look) in looks.split('|').enumerate() {
            let (seen, status) = look.split_once('>').unwrap();
            let at = 100 + 10 * i as i64;
            assert_eq!(script.look(at, seen).as_str(), status.trim(), "{what}, look {i}");
        }
    }
}

#[test]
fn a_refusal_from_another_door_of_a_canarys_host_proves_the_path() {
    let mut script = Script(watch(Guard::Own, &["1:22", "2:22", "3:22"]));
    assert_eq!(script.look(100, "silent silent silent"), SegmentStatus::Suspect);
    for ip in ["1", "2"] {
        let other = observation(endpoint(&format!("{ip}:9999")), "rst", 105);
        script.0.sightings.iter_mut().for_each(|s| s.take(&other));
    }
    assert_eq!(script.look(110, "silent silent silent"), SegmentStatus::Known, "their firewalls drop the canaries, no more");
    // An echo proves nothing about TCP: a filter at the border may let pings through.
    let mut script = Script(watch(Guard::Own, &["1:22", "2:22", "3:22"]));
    script.look(100, "silent silent silent");
    for s in &mut script.0.sightings {
        let (ip, liveness, reason) = (s.endpoint.ip, Liveness::Online, Reason::EchoReply);
        s.take_host(&HostObservation { ip, liveness, reason, observed_at: Ts(105_000) });
    }
    assert_eq!(script.look(110, "silent silent silent"), SegmentStatus::Unknown);
}

#[test]
fn becoming_unknown_and_known_are_one_event_each() {
    let mut script = Script(watch(Guard::Own, &["1:22", "2:22", "3:22"]));
    let mut log = vec![];
    for (at, seen) in [(100, "silent"), (110, "silent"), (120, "silent"), (130, "open"), (140, "silent"), (150, "open")] {
        let before = script.0.state.clone();
        script.look(at, &[seen; 3].join(" "));
        let after = &script.0.state;
        log.extend(event(&before, after, EventId(Uuid::nil()), Ts(at * 1_000)).map(|e| (at, e.kind, e.happened_at)));
    }
    let expected = [(110, EventKind::SegmentUnknown, Ts(100_000)), (130, EventKind::SegmentKnown, Ts(130_000))];
    assert_eq!(log, expected, "unknown since the first silence; a suspicion that passes is no event");
    assert_eq!((script.0.state.episode, script.0.state.trusted_from), (1, Some(Ts(130_000))));
}

/// The looks at one endpoint and at its segment's canaries, and what became of the endpoint.
fn closes(looks: &[(i64, &str, &str)]) -> (PortState, Vec<i64>, Watch) {
    let mut script = Script(watch(Guard::Own, &["1:22", "2:22", "3:22", "4:22"]));
    let mut state = open(endpoint("9:6379"));
    let mut closed = vec![];
    for &(at, canaries, own) in looks {
        script.look(at, &[canaries; 4].join(" "));
        if own == "." {
            continue;
        }
        let obs = observation(state.endpoint, own, at);
        let folded = fold_watched(Some(state), &obs, &vantage(), None, &Hysteresis::default(), Some(&script.0));
        if folded.transitions.iter().any(|t| matches!(t, Transition::Closed { .. })) {
            closed.push(at);
        }
        state = folded.state.unwrap();
    }
    (state, closed, script.0)
}

#[test]
fn silence_closes_only_what_the_canaries_witness() {
    let s = "silent";
    for (what, looks, expected) in [
        ("they answer", vec![(100, "open", s), (130, "open", s), (160, "open", s)], vec![160]),
        ("they are not asked before the last look", vec![(100, ".", s), (130, ".", s), (160, "open", s)], vec![160]),
        ("they are never asked", vec![(100, ".", s), (130, ".", s), (160, ".", s), (400, ".", s)], vec![]),
        ("they are silent as well", vec![(100, s, s), (130, s, s), (160, s, s), (400, s, s)], vec![]),
        ("the path breaks before the last look", vec![(100, "open", s), (130, "open", s), (160, s, s)], vec![]),
        ("the host refuses while we are blind", vec![(100, s, "rst"), (110, s, "rst")], vec![110]),
        (
            "what was silent in the dark starts anew",
            vec![(100, s, s), (110, s, s), (120, "open", s), (150, "open", s), (179, "open", s), (180, "open", s)],
            vec![180],
        ),
        (
            "what was silent before the dark does not count either",
            vec![(50, "open", s), (80, "open", s), (100, s, "."), (110, s, "."), (120, "open", s), (150, "open", s)],
            vec![],
        ),
    ] {
        let (state, closed, watch) = closes(&looks);
        assert_eq!(closed, expected, "{what}: {state:?} {watch:?}");
        assert_eq!(state.phase == Phase::Closed, !expected.is_empty(), "{what}");
    }
    let (state, _, _) = closes(&[(100, s, s), (110, s, s), (120, s, s), (130, s, s)]);
    assert_eq!(state.last_observed_at, Ts(100_000), "what is seen while the segment is unknown is not folded");
}

#[test]
fn a_close_that_lacks_a_witness_asks_for_one() {
    let watch = watch(Guard::Own, &["1:22", "2:22", "3:22"]);
    let h = Hysteresis { silent_count: 1, silent_span: Duration::secs(0), ..Hysteresis::default() };
    let obs = observation(endpoint("9:6379"), "silent", 100);
    assert_eq!(watch.sight(obs.observed_at), Sight::Unasked);
    let folded = fold_watched(Some(open(endpoint("9:6379"))), &obs, &vantage(), None, &h, Some(&watch));
    assert_eq!((folded.transitions, folded.want), (vec![], Some(FollowUp::Recheck { at: Ts(102_000) })));
}

#[test]
fn a_host_goes_offline_only_beside_neighbours_that_answer() {
    let mut watch = watch(Guard::Own, &["1:22", "2:22", "3:22"]);
    assert_eq!(watch.host_sight(Ts(100_000)), Sight::Unasked, "their last word is older than a minute");
    for s in &mut watch.sightings {
        let (ip, liveness, reason) = (s.endpoint.ip, Liveness::Online, Reason::EchoReply);
        s.take_host(&HostObservation { ip, liveness, reason, observed_at: Ts(99_000) });
    }
    assert_eq!(watch.host_sight(Ts(100_000)), Sight::Clear, "an echo is enough for that");
    watch.state.status = SegmentStatus::Unknown;
    assert_eq!(watch.host_sight(Ts(100_000)), Sight::Blind);
}

#[test]
fn a_sighting_is_what_the_state_and_the_host_say() {
    let door = endpoint("1:22");
    let mut port = open(door);
    let h = Hysteresis::default();
    for (what, at) in [("silent", 10), ("silent", 40)] {
        port = fold_watched(Some(port), &observation(door, what, at), &vantage(), None, &h, None).state.unwrap();
    }
    let host = Host {
        ip: door.ip,
        vantage: vantage(),
        liveness: Liveness::Online,
        reason: Reason::EchoReply,
        since: Ts(0),
        last_online_at: Some(Ts(30_000)),
        last_observed_at: Ts(30_000),
        pseudo_open_ports: None,
    };
    let seen = Sighting::new(&port, Some(&host));
    assert_eq!((seen.answered_at, seen.silent), (Some(Ts(1_000)), Some((Ts(10_000), Ts(40_000)))));
    assert_eq!((seen.host_proof_at, seen.host_seen_at), (None, Some(Ts(30_000))));
    port = fold_watched(Some(port), &observation(door, "rst", 50), &vantage(), None, &h, None).state.unwrap();
    assert_eq!(Sighting::new(&port, None).answered_at, Some(Ts(50_000)), "a refusal is an answer");
}

proptest! {
    /// Whatever the canaries do: nothing closes by silence unless more than a third of them, or of their hosts, have answered
    /// since that silence began, and never while the segment is suspect or unknown.
    #[test]
    fn nothing_closes_by_silence_without_a_witness(
        steps in proptest::collection::vec((1i64..40, proptest::collection::vec(0u8..4, 5), 0u8..5), 1..60),
    ) {
        let mut script = Script(watch(Guard::Own, &["1:22", "1:80", "2:22", "3:22", "4:22"]));
        let mut state = open(endpoint("9:6379"));
        let mut answered = [1i64; 5];
        let mut at = 1;
        for (gap, canaries, own) in steps {
            at += gap;
            let words: Vec<&str> = canaries.iter().map(|c| ["open", "rst", "silent", "."][usize::from(*c)]).collect();
            for (i, word) in words.iter().enumerate() {
                if matches!(*word, "open" | "rst") {
                    answered[i] = at;
                    // Another door of the same host speaks for it.
                    if i < 2 {
                        answered[0] = at;
                        answered[1] = at;
                    }
                }
            }
            let status = script.look(at, &words.join(" "));
            let what = ["open", "silent", "silent", "prohibited", "silent"][usize::from(own)];
            let before = state.clone();
            let obs = observation(state.endpoint, what, at);
            let folded = fold_watched(Some(state), &obs, &vantage(), None, &Hysteresis::default(), Some(&script.0));
            state = folded.state.unwrap();
            if folded.transitions.iter().any(|t| matches!(t, Transition::Closed { .. } | Transition::Vanished { .. })) {
                prop_assert_eq!(status, SegmentStatus::Known);
                let since = state.streak_since.0 / 1_000;
                let alive = answered.iter().filter(|a| **a >= since).count();
                prop_assert!(alive > 0, "closed at {} with nobody alive since {}", at, since);
                if let Some(from) = script.0.state.trusted_from {
                    prop_assert!(state.streak_since >= from, "silence from the dark counted");
                }
            }
            if status == SegmentStatus::Unknown && what != "open" {
                prop_assert_eq!(state.clone(), before, "what is seen in the dark moves nothing");
            }
        }
        prop_assert!(CONFIRM > Duration::secs(1));
    }
}
