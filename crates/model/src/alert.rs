//! Alerts, the receivers they go to, and the notifications that carry them, in Alertmanager's words.

use crate::exposure::{RiskKind, Severity};
use crate::finding::FindingKind;
use crate::id::{AlertId, AssetId, ExposureId, NotificationId, ReceiverId};
use crate::observation::{Reason, words};
use crate::port::Endpoint;
use crate::segment::SegmentNote;
use crate::time::{Duration, Ts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

words! {
    /// What an alert says.
    AlertKind: "alert kind" {
        /// A high-risk exposure opened, or an open one turned out to be high-risk.
        Opened = "opened",
        /// An exposure that was alerted has closed.
        Closed = "closed",
        /// A host began to answer on every port.
        PseudoOpen = "pseudo-open",
        /// Canaries of a segment are silent: what is open there cannot be told, and nothing closes.
        SegmentUnknown = "segment-unknown",
        /// They answer again.
        SegmentKnown = "segment-known",
        /// A check proved something of an exposure that people knew to be open.
        FindingProved = "finding-proved",
    }
}

words! {
    /// How an alert stands.
    AlertState: "alert state" {
        /// Waits for its group to be sent.
        Pending = "pending",
        /// Part of at least one notification.
        Notified = "notified",
        /// Not sent, for the reason beside it.
        Suppressed = "suppressed",
    }
}

/// What a check proved, as an alert carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingNote {
    /// Id of the check.
    pub check: String,
    /// What kind of thing.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// When it was proved this time; with the check it names the alert, so that a finding is told once each time it turns up.
    pub proved_at: Ts,
}

/// Something a person has to be told about. At most one exists per exposure, opening, kind and risk kind, and for findings per
/// check and proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Id.
    pub id: AlertId,
    /// What.
    pub kind: AlertKind,
    /// How it stands.
    pub state: AlertState,
    /// Why it was suppressed: `observe-mode`, `disposition`, `no-receiver`.
    pub suppressed_by: Option<String>,
    /// Exposure; for alerts of a host or a segment, one of theirs that carries it.
    pub exposure: ExposureId,
    /// Which opening of it; for alerts of a segment, how often the segment has become unknown.
    pub opening: u32,
    /// The door.
    pub endpoint: Endpoint,
    /// Risk kind.
    pub risk: RiskKind,
    /// Severity.
    pub severity: Severity,
    /// Catalogue entry.
    pub entry: Option<String>,
    /// What answers, in one line: `MariaDB 10.11.19`.
    pub service: Option<String>,
    /// Asset.
    pub asset: Option<AssetId>,
    /// Its name.
    pub asset_name: Option<String>,
    /// Owner, by whom alerts are grouped.
    pub owner: Option<String>,
    /// Evidence, for closings.
    pub reason: Option<Reason>,
    /// When the exposure was detected or closed.
    pub observed_at: Ts,
    /// When the alert was raised.
    pub created_at: Ts,
    /// The segment, where the alert is one's.
    pub segment: Option<SegmentNote>,
    /// What had been proved of the exposure by then, the worst first; for an alert about findings, those it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingNote>,
}

words! {
    /// How mail is protected on its way to the server.
    MailSecurity: "mail security" {
        /// Not at all.
        None = "none",
        /// STARTTLS, required.
        StartTls = "starttls",
        /// TLS from the first byte.
        Tls = "tls",
    }
}

words! {
    /// Language of a notification.
    Language: "language" {
        /// Simplified Chinese.
        Zh = "zh-CN",
        /// English.
        En = "en",
    }
}

/// Where a receiver's notifications go. Secrets are write-only: the API never shows them, and `{:?}` leaves them out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Destination {
    /// Mail over SMTP.
    Mail {
        /// Server.
        host: String,
        /// Its port.
        port: u16,
        /// Protection.
        security: MailSecurity,
        /// Account, where the server wants one.
        username: Option<String>,
        /// Its password.
        password: Option<String>,
        /// Sender.
        from: String,
        /// Recipients.
        to: Vec<String>,
    },
    /// A POST of JSON.
    Webhook {
        /// http or https.
        url: String,
        /// Key of the HMAC-SHA256 in `X-Portreeve-Signature`.
        secret: Option<String>,
        /// Further headers.
        headers: BTreeMap<String, String>,
    },
}

impl fmt::Debug for Destination {
    /// For logs: where to, never with what. Passwords, secrets, header values and a URL's path (which is often a secret
    /// itself) do not appear.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Mail { host, port, security, from, to, .. } => {
                write!(f, "Mail({host}:{port} {security} from {from} to {})", to.join(", "))
            }
            Destination::Webhook { url, headers, .. } => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let host = authority.rsplit('@').next().unwrap_or_default();
                write!(f, "Webhook({scheme}://{host}/… headers {:?})", headers.keys().collect::<Vec<_>>())
            }
        }
    }
}

/// Where notifications go, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Id.
    pub id: ReceiverId,
    /// Name shown to people.
    pub name: String,
    /// Used or not.
    pub enabled: bool,
    /// Where to.
    pub destination: Destination,
    /// Language.
    pub language: Language,
    /// Alerts below this are not sent to it.
    pub min_severity: Severity,
    /// Whether closings are sent as well.
    pub send_closed: bool,
    /// Owners whose alerts it gets; empty for all.
    pub owners: Vec<String>,
    /// When it was made.
    pub created_at: Ts,
}

words! {
    /// How a notification stands.
    NotificationState: "notification state" {
        /// Waits for its time, or for another try.
        Queued = "queued",
        /// Being sent; found in this state after a crash it is sent again under the same id.
        Sending = "sending",
        /// The receiver took it.
        Sent = "sent",
        /// Given up after its last try.
        Failed = "failed",
    }
}

/// One message to one receiver, with its receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Id; also the Message-ID and the idempotency key.
    pub id: NotificationId,
    /// To whom.
    pub receiver: ReceiverId,
    /// Group it speaks for: `host/owner`, or `digest`.
    pub group: String,
    /// Whether it sums up a storm.
    pub digest: bool,
    /// Alerts in it.
    pub alerts: Vec<AlertId>,
    /// How it stands.
    pub state: NotificationState,
    /// Tries so far.
    pub attempts: u32,
    /// Next try.
    pub next_try_at: Ts,
    /// What the receiver answered when it took it.
    pub receipt: Option<String>,
    /// Why the last try failed.
    pub error: Option<String>,
    /// When it was made.
    pub created_at: Ts,
    /// When it was taken.
    pub sent_at: Option<Ts>,
}

/// How alerts are gathered into notifications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertPolicy {
    /// How long the first alert of a group waits for others of its host and owner.
    pub group_wait: Duration,
    /// Least time between two notifications of one group to one receiver.
    pub group_interval: Duration,
    /// More groups than this falling due within [`AlertPolicy::group_interval`] become one digest.
    pub storm_groups: u32,
    /// Tries before a notification is given up; they are spread over about a day.
    pub max_attempts: u32,
    /// How long a new range learns before it alerts, unless the range says otherwise (L13).
    pub observe: Duration,
    /// Exposures of at least this severity raise an alert.
    pub min_severity: Severity,
}

impl Default for AlertPolicy {
    fn default() -> Self {
        AlertPolicy {
            group_wait: Duration::secs(3),
            group_interval: Duration::minutes(5),
            storm_groups: 10,
            max_attempts: 12,
            observe: Duration::hours(24),
            min_severity: Severity::High,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_secret() {
        let mail = Destination::Mail {
            host: "mx.example.net".into(),
            port: 587,
            security: MailSecurity::StartTls,
            username: Some("user-s3cret".into()),
            password: Some("pass-s3cret".into()),
            from: "portreeve@example.net".into(),
            to: vec!["soc@example.net".into()],
        };
        let webhook = Destination::Webhook {
            url: "https://bob:pw-s3cret@hooks.example.net/T0/s3cret?token=s3cret".into(),
            secret: Some("key-s3cret".into()),
            headers: BTreeMap::from([("authorization".into(), "Bearer s3cret".into())]),
        };
        for destination in [mail, webhook] {
            let text = format!("{destination:?}");
            assert!(!text.contains("s3cret") && text.contains("example.net"), "{text}");
        }
    }
}
