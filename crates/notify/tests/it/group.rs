//! Plans over time: what goes out when, and that nothing is lost, doubled or sent too often whatever the alerts are.

use crate::common::{alert, id, receiver, segment};
use model::alert::{Alert, AlertKind, AlertPolicy, Notification, Receiver};
use model::exposure::Severity;
use model::{AlertId, Duration, ReceiverId, Ts};
use notify::group::{DIGEST_GROUP, GroupKey, Input, MAX_ALERTS, Plan, plan, since, wants};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One notification of a simulated run: when, to whom, what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    at: i64,
    receiver: u64,
    group: String,
    alerts: Vec<u64>,
}

/// What a caller does: looks whenever an alert comes and whenever the plan said to, and writes everything down.
struct World {
    policy: AlertPolicy,
    receivers: Vec<Receiver>,
    arrivals: Vec<Alert>,
    sent: Vec<Sent>,
    unwanted: Vec<u64>,
    looks: usize,
}

fn number(uuid_text: &str) -> u64 {
    u64::from_str_radix(uuid_text.rsplit('-').next().unwrap(), 16).unwrap()
}

impl World {
    fn new(policy: AlertPolicy, receivers: Vec<Receiver>, mut arrivals: Vec<Alert>) -> Self {
        arrivals.sort_by_key(|a| (a.created_at, a.id));
        World { policy, receivers, arrivals, sent: Vec::new(), unwanted: Vec::new(), looks: 0 }
    }

    fn run(mut self) -> Self {
        let mut to_come = std::mem::take(&mut self.arrivals);
        to_come.reverse();
        let mut pending: Vec<Alert> = Vec::new();
        let mut history: Vec<Notification> = Vec::new();
        let mut look: Option<Ts> = None;
        let mut next_id = 1;
        while let Some(now) = [to_come.last().map(|a| a.created_at), look].into_iter().flatten().min() {
            while to_come.last().is_some_and(|a| a.created_at <= now) {
                pending.extend(to_come.pop());
            }
            let from = since(&pending, &self.policy, now);
            let recent: Vec<Notification> = history.iter().filter(|n| n.created_at >= from).cloned().collect();
            let input = Input { pending: &pending, receivers: &self.receivers, policy: &self.policy, recent: &recent, now };
            let made: Plan = plan(&input);
            assert_eq!(made, plan(&input), "the same input gives the same plan (PR-5)");
            assert!(made.next_look.is_none_or(|at| at > now), "looks again at {:?}, now is {now}", made.next_look);
            for planned in made.notifications {
                self.sent.push(Sent {
                    at: now.0,
                    receiver: number(&planned.receiver.to_string()),
                    group: planned.group.clone(),
                    alerts: planned.alerts.iter().map(|a| number(&a.to_string())).collect(),
                });
                history.push(planned.into_notification(id(next_id), now));
                next_id += 1;
            }
            pending.retain(|a| !made.notified.contains(&a.id) && !made.unwanted.contains(&a.id));
            self.unwanted.extend(made.unwanted.iter().map(|a| number(&a.to_string())));
            assert_eq!(pending.is_empty(), made.next_look.is_none(), "something is held exactly when there is a next look");
            look = made.next_look;
            self.looks += 1;
            assert!(self.looks < 100_000, "the plan does not come to an end");
        }
        assert!(pending.is_empty(), "left over: {pending:?}");
        self
    }
}

fn policy(storm_groups: u32) -> AlertPolicy {
    AlertPolicy { storm_groups, ..AlertPolicy::default() }
}

fn sent(at_s: i64, receiver: u64, group: &str, alerts: &[u64]) -> Sent {
    Sent { at: at_s * 1_000, receiver, group: group.into(), alerts: alerts.to_vec() }
}

#[test]
fn ports_of_one_host_that_open_together_come_together() {
    let world = World::new(policy(10), vec![receiver(1)], vec![alert(1, 7, 0), alert(2, 7, 1_000), alert(3, 7, 2_900)]).run();
    assert_eq!(world.sent, [sent(3, 1, "10.0.0.7/payments", &[1, 2, 3])]);
}

#[test]
fn owners_of_one_host_are_told_apart() {
    let theirs = Alert { owner: Some("billing".into()), ..alert(2, 7, 0) };
    let nobodys = Alert { owner: None, ..alert(3, 7, 0) };
    let world = World::new(policy(10), vec![receiver(1)], vec![alert(1, 7, 0), theirs, nobodys]).run();
    let groups: BTreeSet<&str> = world.sent.iter().map(|s| s.group.as_str()).collect();
    assert_eq!(groups, BTreeSet::from(["10.0.0.7/-", "10.0.0.7/billing", "10.0.0.7/payments"]));
}

#[test]
fn the_segments_of_a_vantage_are_told_together_apart_from_its_hosts() {
    let dark = |n: u64, vantage: &str| Alert {
        kind: AlertKind::SegmentUnknown,
        segment: Some(segment(n as u8, vantage)),
        ..alert(n, n as u8, 0)
    };
    let alerts = (1..=40).map(|n| dark(n, "uplink")).chain([dark(41, "branch"), alert(42, 7, 0)]).collect();
    let world = World::new(policy(10), vec![receiver(1)], alerts).run();
    let groups: Vec<(&str, usize)> = world.sent.iter().map(|s| (s.group.as_str(), s.alerts.len())).collect();
    assert_eq!(groups, [("10.0.0.7/payments", 1), ("segments/branch", 1), ("segments/uplink", 40)], "no storm, no digest");
}

#[test]
fn a_group_speaks_again_only_after_its_interval() {
    let world = World::new(policy(10), vec![receiver(1)], vec![alert(1, 7, 0), alert(2, 7, 10_000), alert(3, 7, 200_000)]).run();
    assert_eq!(world.sent, [sent(3, 1, "10.0.0.7/payments", &[1]), sent(303, 1, "10.0.0.7/payments", &[2, 3])]);
}

#[test]
fn a_storm_becomes_one_digest_and_what_follows_the_next() {
    let mut alerts: Vec<Alert> = (1..=30).map(|n| alert(n, n as u8, 0)).collect();
    alerts.extend((31..=41).map(|n| alert(n, n as u8, 60_000)));
    let world = World::new(policy(10), vec![receiver(1)], alerts).run();
    let thirty: Vec<u64> = (1..=30).collect();
    let eleven: Vec<u64> = (31..=41).collect();
    assert_eq!(world.sent, [sent(3, 1, DIGEST_GROUP, &thirty), sent(303, 1, DIGEST_GROUP, &eleven)]);
}

#[test]
fn groups_that_trickle_in_become_a_digest_once_there_are_too_many() {
    let alerts: Vec<Alert> = (1..=13).map(|n| alert(n, n as u8, n as i64 * 5_000)).collect();
    let world = World::new(policy(10), vec![receiver(1)], alerts).run();
    assert!(world.sent[..10].iter().all(|s| s.group != DIGEST_GROUP), "{:?}", world.sent);
    assert_eq!(world.sent[10], sent(58, 1, DIGEST_GROUP, &[11]));
    assert_eq!(world.sent[11..], [sent(358, 1, "10.0.0.12/payments", &[12]), sent(358, 1, "10.0.0.13/payments", &[13])]);
}

#[test]
fn critical_alerts_do_not_wait_for_the_storm_to_end() {
    let mut alerts: Vec<Alert> = (1..=30).map(|n| alert(n, n as u8, 0)).collect();
    alerts.push(Alert { severity: Severity::Critical, ..alert(31, 99, 10_000) });
    alerts.push(alert(32, 98, 10_000));
    let world = World::new(policy(10), vec![receiver(1)], alerts).run();
    assert_eq!(world.sent[1], sent(13, 1, DIGEST_GROUP, &[31, 32]), "most severe first, the other goes along");
    assert_eq!(world.sent.len(), 2);
}

#[test]
fn routing_goes_by_state_severity_owner_and_closings() {
    let closed = Alert { kind: AlertKind::Closed, ..alert(2, 8, 0) };
    let medium = Alert { severity: Severity::Medium, ..alert(3, 9, 0) };
    let ownerless = Alert { owner: None, ..alert(4, 10, 0) };
    let cases = [
        (receiver(1), vec![1, 2, 3, 4]),
        (Receiver { enabled: false, ..receiver(1) }, vec![]),
        (Receiver { send_closed: false, ..receiver(1) }, vec![1, 3, 4]),
        (Receiver { min_severity: Severity::High, ..receiver(1) }, vec![1, 2, 4]),
        (Receiver { min_severity: Severity::Critical, ..receiver(1) }, vec![]),
        (Receiver { owners: vec!["payments".into()], ..receiver(1) }, vec![1, 2, 3]),
        (Receiver { owners: vec!["billing".into()], ..receiver(1) }, vec![]),
    ];
    for (receiver, expected) in cases {
        let alerts = vec![alert(1, 7, 0), closed.clone(), medium.clone(), ownerless.clone()];
        let world = World::new(policy(10), vec![receiver.clone()], alerts).run();
        let got: BTreeSet<u64> = world.sent.iter().flat_map(|s| s.alerts.iter().copied()).collect();
        assert_eq!(got, expected.iter().copied().collect(), "{receiver:?}");
        let unwanted: BTreeSet<u64> = world.unwanted.iter().copied().collect();
        assert_eq!(unwanted, (1..=4).filter(|n| !expected.contains(n)).collect(), "{receiver:?}");
    }
}

#[test]
fn an_alert_without_a_receiver_is_given_back_at_once() {
    let world = World::new(policy(10), vec![], vec![alert(1, 7, 0)]).run();
    assert_eq!((world.unwanted, world.looks), (vec![1], 1));
}

#[test]
fn one_receivers_storm_does_not_hold_another_up() {
    let alerts: Vec<Alert> = (1..=30)
        .map(|n| Alert { owner: Some(if n == 30 { "billing".into() } else { "payments".to_owned() }), ..alert(n, n as u8, 0) })
        .chain([Alert { owner: Some("billing".into()), ..alert(31, 31, 20_000) }])
        .collect();
    let billing = Receiver { owners: vec!["billing".into()], ..receiver(2) };
    let world = World::new(policy(10), vec![receiver(1), billing], alerts).run();
    let second: Vec<&Sent> = world.sent.iter().filter(|s| s.receiver == 2).collect();
    assert_eq!(second, [&sent(3, 2, "10.0.0.30/billing", &[30]), &sent(23, 2, "10.0.0.31/billing", &[31])]);
    assert!(world.sent.iter().any(|s| s.receiver == 1 && s.at == 303_000 && s.alerts == [31]), "{:?}", world.sent);
}

#[test]
fn a_notification_is_bounded_and_the_rest_follows() {
    let alerts: Vec<Alert> = (1..=MAX_ALERTS as u64 + 10).map(|n| alert(n, 7, 0)).collect();
    let world = World::new(policy(10), vec![receiver(1)], alerts).run();
    let sizes: Vec<(i64, usize)> = world.sent.iter().map(|s| (s.at, s.alerts.len())).collect();
    assert_eq!(sizes, [(3_000, MAX_ALERTS), (303_000, 10)]);
}

fn any_alert() -> impl Strategy<Value = (u8, u8, u8, u8, i64)> {
    // host, owner, severity, kind, time within twenty minutes: several intervals of five
    (0u8..25, 0u8..3, 0u8..4, 0u8..3, 0i64..1_200_000)
}

fn any_receiver() -> impl Strategy<Value = (bool, u8, bool, u8)> {
    (prop::bool::weighted(0.9), 0u8..4, any::<bool>(), 0u8..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_sent_too_often(
        raw in prop::collection::vec(any_alert(), 0..120),
        raw_receivers in prop::collection::vec(any_receiver(), 0..4),
        storm_groups in 0u32..12,
        group_wait_s in 0u64..20,
    ) {
        let owner = |n: u8| [None, Some("payments".to_owned()), Some("billing".to_owned())][n as usize].clone();
        let alerts: Vec<Alert> = raw.iter().enumerate().map(|(i, &(host, who, severity, kind, at))| Alert {
            owner: owner(who),
            severity: Severity::ALL[severity as usize],
            kind: AlertKind::ALL[kind as usize],
            ..alert(i as u64 + 1, host, at)
        }).collect();
        let receivers: Vec<Receiver> = raw_receivers.iter().enumerate().map(|(i, &(enabled, severity, send_closed, who))| Receiver {
            enabled,
            min_severity: Severity::ALL[severity as usize],
            send_closed,
            owners: if who == 3 { vec![] } else { owner(who).into_iter().collect() },
            ..receiver(i as u64 + 1)
        }).collect();
        let policy = AlertPolicy { storm_groups, group_wait: Duration::secs(group_wait_s), ..AlertPolicy::default() };
        let interval = policy.group_interval.0 as i64;
        let world = World::new(policy.clone(), receivers.clone(), alerts.clone()).run();

        // every receiver gets exactly the alerts it wants, each once
        let mut got: HashMap<(u64, u64), usize> = HashMap::new();
        for s in &world.sent {
            for &a in &s.alerts { *got.entry((s.receiver, a)).or_default() += 1; }
        }
        for r in &receivers {
            for a in &alerts {
                let key = (number(&r.id.to_string()), number(&a.id.to_string()));
                prop_assert_eq!(got.get(&key).copied().unwrap_or(0), usize::from(wants(r, a)));
            }
        }
        // alerts that nobody wants are given back, and only those
        let unwanted: BTreeSet<u64> = world.unwanted.iter().copied().collect();
        for a in &alerts {
            prop_assert_eq!(unwanted.contains(&number(&a.id.to_string())), !receivers.iter().any(|r| wants(r, a)));
        }
        let by_id: BTreeMap<AlertId, &Alert> = alerts.iter().map(|a| (a.id, a)).collect();
        for r in &receivers {
            let r = number(&ReceiverId::to_string(&r.id));
            let mine: Vec<&Sent> = world.sent.iter().filter(|s| s.receiver == r).collect();
            // one group speaks at most once in an interval
            for (i, a) in mine.iter().enumerate() {
                for b in &mine[i + 1..] {
                    prop_assert!(a.group == DIGEST_GROUP || a.group != b.group || b.at - a.at >= interval, "{:?} {:?}", a, b);
                }
            }
            // and no receiver drowns
            for s in &mine {
                let within = mine.iter().filter(|o| (s.at..s.at + interval).contains(&o.at)).count();
                prop_assert!(within <= 2 * storm_groups as usize + 1, "{} notifications from {}", within, s.at);
            }
            for s in &mine {
                for &a in &s.alerts {
                    let alert = by_id[&id::<AlertId>(a)];
                    let late = s.at - alert.created_at.0;
                    // nothing waits longer than for the end of its group's and the storm's interval
                    prop_assert!(late <= 2 * interval + group_wait_s as i64 * 1_000, "{} ms late", late);
                    prop_assert!(s.group == DIGEST_GROUP || s.group == GroupKey::of(alert).to_string());
                }
            }
        }
    }
}
