//! The audit trail: every act that changed something, by whom, with what result (L10, PR-10).

use crate::id::AuditId;
use crate::time::Ts;
use serde::{Deserialize, Serialize};

/// One act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Id; ids grow with time.
    pub id: AuditId,
    /// When.
    pub at: Ts,
    /// Who: `user:alice`, `token:ci`, `system`.
    pub actor: String,
    /// Address the request came from.
    pub from: Option<String>,
    /// What: `asset.create`, `exposure.register`, `session.create` …
    pub action: String,
    /// On what: the kind and id or name of the thing.
    pub subject: String,
    /// `ok`, or why it was refused.
    pub result: String,
    /// What changed, without secrets.
    pub detail: serde_json::Value,
}
