//! Alerts, notifications and receivers as the API shows them, and receivers as people send them. Secrets go in, never out.

use super::segment::UnknownSegmentView;
use super::system::TextView;
use super::words::{
    AlertKind, AlertState, FindingKind, Instant, Language, MailSecurity, NotificationState, Reason, RiskKind, Severity,
    double_option,
};
use model::alert::{Alert, Destination, FindingNote, Notification, Receiver};
use model::check::Checks;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertView {
    /// Id.
    pub id: Uuid,
    /// What.
    pub kind: AlertKind,
    /// How it stands.
    pub state: AlertState,
    /// Why it was suppressed.
    pub suppressed_by: Option<String>,
    /// Exposure.
    pub exposure: Uuid,
    /// Which opening of it.
    pub opening: u32,
    /// The door.
    pub endpoint: String,
    /// Risk kind.
    pub risk: RiskKind,
    /// Severity.
    pub severity: Severity,
    /// Catalogue entry.
    pub entry: Option<String>,
    /// What answers.
    pub service: Option<String>,
    /// Asset.
    pub asset: Option<Uuid>,
    /// Its name.
    pub asset_name: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// Evidence, for closings.
    pub reason: Option<Reason>,
    /// When it was detected or closed.
    pub observed_at: Instant,
    /// When the alert was raised.
    pub created_at: Instant,
    /// The segment, where the alert is one's: as it was then.
    pub segment: Option<UnknownSegmentView>,
    /// What checks had proved by then, the worst first; for an alert about findings, those it is about.
    pub findings: Vec<FindingNoteView>,
}

/// What a check proved, as an alert carries it.
#[derive(Debug, Serialize, ToSchema)]
pub struct FindingNoteView {
    /// Id of the check.
    pub check: String,
    /// What it proves, as a headline; null when the catalogue does not have the check any more.
    pub title: Option<TextView>,
    /// What kind of thing.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// When it was proved.
    pub proved_at: Instant,
}

impl From<FindingNote> for FindingNoteView {
    fn from(note: FindingNote) -> Self {
        let title = Checks::in_use().get(&note.check).map(|check| TextView::from(&check.title));
        FindingNoteView {
            check: note.check,
            title,
            kind: note.kind.into(),
            severity: note.severity.into(),
            proved_at: note.proved_at.into(),
        }
    }
}

impl From<Alert> for AlertView {
    fn from(a: Alert) -> Self {
        AlertView {
            id: a.id.0,
            kind: a.kind.into(),
            state: a.state.into(),
            suppressed_by: a.suppressed_by,
            exposure: a.exposure.0,
            opening: a.opening,
            endpoint: a.endpoint.to_string(),
            risk: a.risk.into(),
            severity: a.severity.into(),
            entry: a.entry,
            service: a.service,
            asset: a.asset.map(|x| x.0),
            asset_name: a.asset_name,
            owner: a.owner,
            reason: a.reason.map(Into::into),
            observed_at: a.observed_at.into(),
            created_at: a.created_at.into(),
            segment: a.segment.map(Into::into),
            findings: a.findings.into_iter().map(Into::into).collect(),
        }
    }
}

/// A message to a receiver with its receipt.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationView {
    /// Id; also the Message-ID and the idempotency key.
    pub id: Uuid,
    /// To whom.
    pub receiver: Uuid,
    /// Its name; null once it was removed.
    pub receiver_name: Option<String>,
    /// Group it speaks for.
    pub group: String,
    /// Whether it sums up a storm.
    pub digest: bool,
    /// Alerts in it.
    pub alerts: Vec<AlertView>,
    /// How it stands.
    pub state: NotificationState,
    /// Tries so far.
    pub attempts: u32,
    /// Next try.
    pub next_try_at: Instant,
    /// What the receiver answered.
    pub receipt: Option<String>,
    /// Why the last try failed.
    pub error: Option<String>,
    /// When it was made.
    pub created_at: Instant,
    /// When it was taken.
    pub sent_at: Option<Instant>,
}

impl NotificationView {
    /// The view with the receiver's name and the alerts looked up.
    pub fn new(n: Notification, receiver_name: Option<String>, alerts: Vec<AlertView>) -> Self {
        NotificationView {
            id: n.id.0,
            receiver: n.receiver.0,
            receiver_name,
            group: n.group,
            digest: n.digest,
            alerts,
            state: n.state.into(),
            attempts: n.attempts,
            next_try_at: n.next_try_at.into(),
            receipt: n.receipt,
            error: n.error,
            created_at: n.created_at.into(),
            sent_at: n.sent_at.map(Into::into),
        }
    }
}

/// Where a receiver's notifications go; secrets are shown as set or not.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum DestinationView {
    /// Mail over SMTP.
    Mail {
        /// Server.
        host: String,
        /// Its port.
        port: u16,
        /// Protection.
        security: MailSecurity,
        /// Account.
        username: Option<String>,
        /// Sender.
        from: String,
        /// Recipients.
        to: Vec<String>,
    },
    /// A POST of JSON.
    Webhook {
        /// http or https; a password in it is masked.
        url: String,
        /// Names of further headers; their values may be secrets and are masked.
        headers: BTreeMap<String, String>,
    },
}

/// A receiver.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiverView {
    /// Id.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Used or not.
    pub enabled: bool,
    /// Where to.
    pub destination: DestinationView,
    /// Language.
    pub language: Language,
    /// Alerts below this are not sent to it.
    pub min_severity: Severity,
    /// Whether closings are sent.
    pub send_closed: bool,
    /// Owners whose alerts it gets; empty for all.
    pub owners: Vec<String>,
    /// When it was made.
    pub created_at: Instant,
    /// Whether a mail password is set.
    pub password_set: bool,
    /// Whether a webhook secret is set.
    pub secret_set: bool,
}

/// What a masked header value looks like; sending it back keeps the value.
pub const MASK: &str = "********";

impl From<Receiver> for ReceiverView {
    fn from(r: Receiver) -> Self {
        let (mut password_set, mut secret_set) = (false, false);
        let destination = match r.destination {
            Destination::Mail { host, port, security, username, password, from, to } => {
                password_set = password.is_some();
                DestinationView::Mail { host, port, security: security.into(), username, from, to }
            }
            Destination::Webhook { url, secret, headers } => {
                secret_set = secret.is_some();
                DestinationView::Webhook { url, headers: headers.into_keys().map(|name| (name, MASK.to_owned())).collect() }
            }
        };
        ReceiverView {
            id: r.id.0,
            name: r.name,
            enabled: r.enabled,
            destination,
            language: r.language.into(),
            min_severity: r.min_severity.into(),
            send_closed: r.send_closed,
            owners: r.owners,
            created_at: r.created_at.into(),
            password_set,
            secret_set,
        }
    }
}

/// Where a receiver's notifications are to go. A secret that is absent is kept, one that is null is cleared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DestinationInput {
    /// Mail over SMTP.
    Mail {
        /// Server.
        host: String,
        /// Its port.
        port: u16,
        /// Protection.
        security: MailSecurity,
        /// Account.
        #[serde(default)]
        username: Option<String>,
        /// Its password; absent keeps, null clears.
        #[serde(default, deserialize_with = "double_option")]
        #[schema(value_type = Option<String>, write_only)]
        password: Option<Option<String>>,
        /// Sender.
        from: String,
        /// Recipients.
        to: Vec<String>,
    },
    /// A POST of JSON.
    Webhook {
        /// http or https.
        url: String,
        /// Key of the signature; absent keeps, null clears.
        #[serde(default, deserialize_with = "double_option")]
        #[schema(value_type = Option<String>, write_only)]
        secret: Option<Option<String>>,
        /// Further headers; a value of `********` keeps the value that is set.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
}

/// A receiver to make or to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiverInput {
    /// Name, unique.
    pub name: String,
    /// Used or not; used when absent.
    #[serde(default = "yes")]
    #[schema(required = false)]
    pub enabled: bool,
    /// Where to.
    pub destination: DestinationInput,
    /// Language; `en` when absent.
    pub language: Option<Language>,
    /// Alerts below this are not sent to it; `low` when absent.
    pub min_severity: Option<Severity>,
    /// Whether closings are sent; they are when absent.
    #[serde(default = "yes")]
    #[schema(required = false)]
    pub send_closed: bool,
    /// Owners whose alerts it gets; all when empty or absent.
    #[serde(default)]
    #[schema(required = false)]
    pub owners: Vec<String>,
}

fn yes() -> bool {
    true
}

/// What became of a test message.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiverTestView {
    /// Whether the receiver took it.
    pub ok: bool,
    /// What it answered.
    pub receipt: Option<String>,
    /// Why it did not.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}
