//! Which notifications to make now, and when to look again: waiting, grouping, routing and the digest of a storm.
//!
//! It stands between an alert that `assess` asked for and a message. Pure: time and history are arguments, and the same
//! input gives the same plan (PR-5). Minting ids and writing the plan down are left to the caller.
//!
//! The rules, per receiver:
//! - A group is a host and the owner of the alert; all segments of one vantage are one group. It waits [`AlertPolicy::group_wait`] from its oldest alert, so that the
//!   ports of one host that open together come together.
//! - Two notifications of one group are at least [`AlertPolicy::group_interval`] apart.
//! - When more than [`AlertPolicy::storm_groups`] groups are due, or were sent within `group_interval`, everything due becomes
//!   one digest. While that is less than `group_interval` old the storm lasts, and what falls due waits; what has waited until
//!   its end goes out like anything else, as one more digest if there is too much of it.
//! - A digest does not hold critical alerts back: with one among those due the next digest comes `group_wait` after the last,
//!   as long as fewer than `storm_groups` digests went out within `group_interval`. So no receiver ever gets more than
//!   `2 × storm_groups + 1` notifications in any `group_interval`, whatever happens.

use model::alert::{Alert, AlertKind, AlertPolicy, Notification, NotificationState, Receiver};
use model::exposure::Severity;
use model::{AlertId, Duration, NotificationId, ReceiverId, Ts, Vantage};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;

/// The group that a digest carries in [`Notification::group`].
pub const DIGEST_GROUP: &str = "digest";

/// Most alerts in one notification. A storm of more goes out in several digests; 5,000 ids of 36 characters keep the
/// notification's row under 200 kB.
pub const MAX_ALERTS: usize = 5_000;

/// What alerts are gathered by. Written `host/owner`, with `-` for no owner, and `segments/vantage`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKey {
    /// What is seen of one host.
    Host {
        /// The host.
        host: IpAddr,
        /// Who answers for it.
        owner: Option<String>,
    },
    /// The segments that one vantage sees or does not see: an uplink that breaks is one thing to be told, not hundreds.
    Segments {
        /// The vantage.
        vantage: Vantage,
    },
}

impl GroupKey {
    /// The group that the alert belongs to.
    pub fn of(alert: &Alert) -> Self {
        match &alert.segment {
            Some(segment) => GroupKey::Segments { vantage: segment.vantage.clone() },
            None => GroupKey::Host { host: alert.endpoint.ip, owner: alert.owner.clone() },
        }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupKey::Host { host, owner } => write!(f, "{host}/{}", owner.as_deref().unwrap_or("-")),
            GroupKey::Segments { vantage } => write!(f, "segments/{vantage}"),
        }
    }
}

/// Everything the plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Alerts in state pending.
    pub pending: &'a [Alert],
    /// All receivers.
    pub receivers: &'a [Receiver],
    /// The policy in force.
    pub policy: &'a AlertPolicy,
    /// Every notification, in whatever state, made since [`since`] says. Older ones do no harm.
    pub recent: &'a [Notification],
    /// Now.
    pub now: Ts,
}

/// From when on the plan has to know the notifications: far enough back for the interval and for every pending alert.
pub fn since(pending: &[Alert], policy: &AlertPolicy, now: Ts) -> Ts {
    let interval = now.minus(policy.group_interval);
    pending.iter().map(|a| a.created_at).min().map_or(interval, |oldest| oldest.min(interval))
}

/// A notification to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// To whom.
    pub receiver: ReceiverId,
    /// `host/owner`, or [`DIGEST_GROUP`].
    pub group: String,
    /// Whether it sums up a storm.
    pub digest: bool,
    /// Its alerts, the most severe and then the oldest first.
    pub alerts: Vec<AlertId>,
}

impl Planned {
    /// The notification itself, queued to be sent at once.
    pub fn into_notification(self, id: NotificationId, now: Ts) -> Notification {
        Notification {
            id,
            receiver: self.receiver,
            group: self.group,
            digest: self.digest,
            alerts: self.alerts,
            state: NotificationState::Queued,
            attempts: 0,
            next_try_at: now,
            receipt: None,
            error: None,
            created_at: now,
            sent_at: None,
        }
    }
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Notifications to make.
    pub notifications: Vec<Planned>,
    /// Pending alerts that are notified once those are made: every receiver that wants them has them.
    pub notified: Vec<AlertId>,
    /// Pending alerts that no receiver wants: to be suppressed by `no-receiver`.
    pub unwanted: Vec<AlertId>,
    /// When a held alert falls due. `None` when nothing is held. Always after `now`.
    pub next_look: Option<Ts>,
}

/// Whether the receiver gets alerts like this one.
pub fn wants(receiver: &Receiver, alert: &Alert) -> bool {
    receiver.enabled
        && alert.severity >= receiver.min_severity
        && (receiver.send_closed || alert.kind != AlertKind::Closed)
        && (receiver.owners.is_empty() || alert.owner.as_ref().is_some_and(|owner| receiver.owners.contains(owner)))
}

/// The notifications to make now, what that settles, and when to look again.
pub fn plan(input: &Input) -> Plan {
    let mut plan = Plan::default();
    let mut held: HashSet<AlertId> = HashSet::new();
    let mut wanted: HashSet<AlertId> = HashSet::new();
    let mut receivers: Vec<&Receiver> = input.receivers.iter().collect();
    receivers.sort_by_key(|r| r.id);

    for receiver in receivers {
        let history: Vec<&Notification> = input.recent.iter().filter(|n| n.receiver == receiver.id).collect();
        let given: HashSet<AlertId> = history.iter().flat_map(|n| n.alerts.iter().copied()).collect();
        let mut groups: BTreeMap<GroupKey, Vec<&Alert>> = BTreeMap::new();
        for alert in input.pending.iter().filter(|a| wants(receiver, a)) {
            wanted.insert(alert.id);
            if !given.contains(&alert.id) {
                groups.entry(GroupKey::of(alert)).or_default().push(alert);
            }
        }
        let mut kept: HashSet<AlertId> = groups.values().flatten().map(|a| a.id).collect();
        let look = for_receiver(receiver.id, &groups, &history, input, &mut plan.notifications, &mut kept);
        held.extend(kept);
        plan.next_look = [plan.next_look, look].into_iter().flatten().min();
    }
    for alert in input.pending {
        match (wanted.contains(&alert.id), held.contains(&alert.id)) {
            (false, _) => plan.unwanted.push(alert.id),
            (true, false) => plan.notified.push(alert.id),
            (true, true) => {}
        }
    }
    plan
}

/// Plans one receiver's groups: pushes what goes out, takes it from `kept`, and says when something kept falls due.
fn for_receiver(
    receiver: ReceiverId,
    groups: &BTreeMap<GroupKey, Vec<&Alert>>,
    history: &[&Notification],
    input: &Input,
    out: &mut Vec<Planned>,
    kept: &mut HashSet<AlertId>,
) -> Option<Ts> {
    let (policy, now) = (input.policy, input.now);
    let recent = |n: &&&Notification| n.created_at.plus(policy.group_interval) > now;
    let mut next_look: Option<Ts> = None;
    let mut look_at = |at: Ts| next_look = Some(next_look.map_or(at, |look| look.min(at)));

    let mut due: Vec<(&GroupKey, &Vec<&Alert>)> = Vec::new();
    for (key, alerts) in groups {
        let at = falls_due(key, alerts, history, policy);
        if at <= now { due.push((key, alerts)) } else { look_at(at) }
    }
    if due.is_empty() {
        return next_look;
    }

    let mut emit = |group: String, digest: bool, mut alerts: Vec<&Alert>| {
        alerts.sort_by_key(|a| (std::cmp::Reverse(a.severity), a.created_at, a.id));
        if alerts.len() > MAX_ALERTS {
            alerts.truncate(MAX_ALERTS);
            look_at(now.plus(policy.group_interval.max(Duration::millis(1))));
        }
        let alerts: Vec<AlertId> = alerts.iter().map(|a| a.id).collect();
        alerts.iter().for_each(|id| _ = kept.remove(id));
        out.push(Planned { receiver, group, digest, alerts });
    };

    let spoken_for: BTreeSet<&str> = history.iter().filter(recent).filter(|n| !n.digest).map(|n| n.group.as_str()).collect();
    let digests: Vec<Ts> = history.iter().filter(recent).filter(|n| n.digest).map(|n| n.created_at).collect();
    let storm = !digests.is_empty() || spoken_for.len() + due.len() > policy.storm_groups as usize;
    if !storm {
        for (key, alerts) in due {
            emit(key.to_string(), false, alerts.clone());
        }
        return next_look;
    }

    let critical = |alerts: &Vec<&Alert>| alerts.iter().any(|a| a.severity == Severity::Critical);
    let digest_at = match digests.iter().max() {
        None => now,
        Some(last) => {
            let calm = last.plus(policy.group_interval);
            match due.iter().any(|(_, alerts)| critical(alerts)) {
                true if digests.len() < policy.storm_groups as usize => last.plus(policy.group_wait).min(calm),
                // the oldest digest leaves the interval first, and makes room for another
                true => digests.iter().min().map_or(calm, |oldest| oldest.plus(policy.group_interval)).min(calm),
                false => calm,
            }
        }
    };
    if digest_at <= now {
        emit(DIGEST_GROUP.to_owned(), true, due.into_iter().flat_map(|(_, alerts)| alerts.iter().copied()).collect());
    } else {
        look_at(digest_at);
    }
    next_look
}

/// When the group may go out on its own.
fn falls_due(key: &GroupKey, alerts: &[&Alert], history: &[&Notification], policy: &AlertPolicy) -> Ts {
    let oldest = alerts.iter().map(|a| a.created_at).min().unwrap_or_default();
    let group = key.to_string();
    let last = history.iter().filter(|n| n.group == group).map(|n| n.created_at).max();
    let waited = oldest.plus(policy.group_wait);
    last.map_or(waited, |last| waited.max(last.plus(policy.group_interval)))
}
