//! What a check proved of an endpoint: access without credentials, a default password, a setting that gives more away than
//! it should. Which checks there are is `catalog/checks/`; asking is left to `services`, and what a finding means for the
//! exposure is left to `assess`.

use crate::address::IpRange;
use crate::exposure::Severity;
use crate::id::{ApprovalId, FindingId, Vantage};
use crate::observation::words;
use crate::port::Endpoint;
use crate::time::{Duration, Ts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

words! {
    /// What a question does to its target, from nothing to something its owner has to agree to. Ordered: a ceiling admits its
    /// own class and those before it.
    SideEffect: "side-effect class" {
        /// Reads what a server says by itself.
        Passive = "passive",
        /// A documented request that reads.
        Benign = "benign",
        /// Leaves a session, or a line in a log of sign-ins: an LDAP bind, a ZooKeeper session, SSH's `none`.
        Session = "session",
        /// May be felt: a debugger's handshake, an attempt with a password. Only under an approval.
        Intrusive = "intrusive",
    }
}

words! {
    /// What kind of thing was proved.
    FindingKind: "finding kind" {
        /// The service hands out what only its users should see, to anybody.
        UnauthenticatedAccess = "unauthenticated-access",
        /// A pair that the product ships with signs in.
        DefaultCredential = "default-credential",
        /// A setting that its maker or a standard advises against: SMBv1, RDP without network-level authentication.
        WeakConfiguration = "weak-configuration",
        /// TLS versions or certificates that no client should accept.
        WeakTls = "weak-tls",
        /// Answers over UDP with many times what it is asked, so that it can be made to flood others.
        Amplification = "amplification",
    }
}

words! {
    /// How a check ended. Only `proved` is a finding; nothing else may be shown as one.
    Verdict: "verdict" {
        /// Proved, with evidence.
        Proved = "proved",
        /// The service asks for credentials, or does not have the weakness.
        NotProved = "not-proved",
        /// Its access list keeps this node out; another place may fare differently.
        RefusesUs = "refuses-us",
        /// The account is locked, or the address blocked: nothing more is tried.
        Locked = "locked",
        /// What answers is not the service that the check is for.
        OtherService = "other-service",
        /// No answer, or one that proves neither.
        Inconclusive = "inconclusive",
    }
}

/// What proves a finding. Secrets are counted, never kept.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The request whose answer decided, in words of its protocol: `INFO keyspace`, `http-get /_cat/indices`; `identification`
    /// where nothing more was sent.
    pub request: String,
    /// First bytes of that answer, printable ASCII with `\xNN` escapes, at most 512 characters; empty where the answer would
    /// hold secrets.
    pub response: String,
    /// SHA-256 of the first 4 KiB of the answer, lower-case hex; empty when there was none.
    pub sha256: String,
    /// What was read from it: `databases` = `3`, `version` = `7.0.15`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// One check of one endpoint, however it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRun {
    /// What was checked.
    pub endpoint: Endpoint,
    /// Id of the check in the catalogue: `redis-unauthenticated`.
    pub check: String,
    /// What kind of thing it proves.
    pub kind: FindingKind,
    /// How bad that is, as the evidence has it: a check may say more where more was proved.
    pub severity: Severity,
    /// What its strongest question does to the target.
    pub side_effect: SideEffect,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it ended so, in English, where the verdict alone does not say it.
    pub reason: Option<String>,
    /// The proof; always there when the verdict is `proved`, and never otherwise.
    pub evidence: Option<Evidence>,
    /// Attempts to sign in, with a pair of name and password or with a name alone, in order; empty for every other check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<CredentialAttempt>,
    /// When it ended.
    pub observed_at: Ts,
}

/// One attempt to sign in. Neither the password nor what signing in handed out is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialAttempt {
    /// Account that was tried.
    pub account: String,
    /// Id of the pair in the catalogue, or one of the names below.
    pub pair: String,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// When.
    pub at: Ts,
}

impl CredentialAttempt {
    /// The [`CredentialAttempt::pair`] that nobody has, which has to fail.
    pub const CONTROL: &str = "control";
    /// No pair: the account with an empty password, which a check for access without one tries, and which needs no approval.
    pub const EMPTY_PASSWORD: &str = "empty-password";
}

words! {
    /// How an attempt to sign in ended.
    AttemptOutcome: "attempt outcome" {
        /// Signed in.
        Accepted = "accepted",
        /// Wrong name or password.
        Rejected = "rejected",
        /// The account or our address is locked.
        Locked = "locked",
        /// Anything else: neither success nor failure.
        Unclear = "unclear",
    }
}

/// What may be done to the addresses of a range, as the job carries it to the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPolicy {
    /// The addresses. Where ranges overlap, the most specific one holds.
    pub range: IpRange,
    /// Strongest class of question allowed; `None`: no checks at all.
    pub ceiling: Option<SideEffect>,
    /// Under which default pairs may be tried; `None`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialGrant>,
}

/// What an approval leaves to be tried, when the job is handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialGrant {
    /// The approval.
    pub approval: ApprovalId,
    /// Nothing is tried before.
    pub not_before: Ts,
    /// Nothing is tried from then on.
    pub until: Ts,
    /// Attempts for one account and address in 24 hours, at most two, one where a lockout is known.
    pub max_attempts: u8,
    /// What was tried in the last 24 hours: it counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<SpentAttempt>,
}

/// Attempts of the last 24 hours with one account at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentAttempt {
    /// Where.
    pub endpoint: Endpoint,
    /// With which account.
    pub account: String,
    /// How many.
    pub attempts: u8,
    /// The last of them.
    pub last_at: Ts,
}

words! {
    /// Whether a finding holds.
    FindingPhase: "finding phase" {
        /// Proved, and not refuted since.
        Present = "present",
        /// A later run of the same check did not prove it any more, or the endpoint closed.
        Gone = "gone",
    }
}

/// A finding as the store keeps it: one for each endpoint, vantage and check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Id.
    pub id: FindingId,
    /// Where.
    pub endpoint: Endpoint,
    /// Seen from.
    pub vantage: Vantage,
    /// Id of the check.
    pub check: String,
    /// What kind of thing was proved.
    pub kind: FindingKind,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it holds.
    pub phase: FindingPhase,
    /// The latest proof.
    pub evidence: Evidence,
    /// First proved.
    pub first_seen_at: Ts,
    /// Last proved.
    pub last_seen_at: Ts,
    /// When it was found gone; `None` while it holds.
    pub gone_at: Option<Ts>,
    /// Why it is gone: the check's verdict, or that the endpoint closed.
    pub gone_reason: Option<String>,
    /// The last time the check ran, whatever it said.
    pub checked_at: Ts,
}

/// What a person says about an endpoint that nothing could be found out about (D11): it is kept, marked, and off the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointNote {
    /// Where.
    pub endpoint: Endpoint,
    /// What it is, in that person's words: `badge readers, line protocol`.
    pub text: String,
    /// Who says so.
    pub by: String,
    /// When.
    pub at: Ts,
}

/// An agreement that default pairs may be tried on a range, for a time. Off unless there is one, and none holds before a second
/// person has agreed to what the first one asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Id.
    pub id: ApprovalId,
    /// The addresses, inside one asset.
    pub range: IpRange,
    /// Who answers for the range and agreed.
    pub owner: String,
    /// Why, or under which number.
    pub reason: String,
    /// Start.
    pub not_before: Ts,
    /// End, not included.
    pub until: Ts,
    /// Attempts for one account and address in 24 hours: 1 or 2.
    pub max_attempts: u8,
    /// Who asked for it, as the audit trail names them: a user, or a token.
    pub created_by: String,
    /// The person behind that: the user, or who made the token. May not be who grants it.
    pub asked_by: String,
    /// When it was asked for.
    pub created_at: Ts,
    /// When a second person granted it; `None`: it waits, and nothing is tried.
    pub granted_at: Option<Ts>,
    /// Who that was.
    pub granted_by: Option<String>,
    /// When it was declined or taken back.
    pub revoked_at: Option<Ts>,
    /// By whom.
    pub revoked_by: Option<String>,
}

impl Approval {
    /// Longest time one may hold.
    pub const LONGEST: Duration = Duration::days(30);

    /// Whether it is in force.
    pub fn in_force(&self, now: Ts) -> bool {
        self.revoked_at.is_none() && self.granted_since(now) && self.not_before <= now && now < self.until
    }

    /// Whether a second person had granted it by then.
    pub fn granted_since(&self, at: Ts) -> bool {
        self.granted_at.is_some_and(|granted| granted <= at)
    }
}
