//! What the API says about the running system, its health and the catalogue it ships with.

use super::words::{Category, Instant};
use model::catalog::{HighRisk, Text};
use serde::Serialize;
use utoipa::ToSchema;

/// The node of this process.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// `syn` or `connect`.
    pub method: String,
    /// Why that method, when it is not the better one.
    pub note: Option<String>,
    /// Jobs it works on at once.
    pub slots: u32,
    /// Other scanners that its configuration has, by the names that tasks call them.
    pub engines: Vec<String>,
    /// Jobs it works on now.
    pub running_jobs: u32,
    /// When it last asked for work or reported.
    pub last_contact_at: Option<Instant>,
}

/// What may be probed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScopeView {
    /// The assets' ranges less the exclusions; at most 500 are listed.
    pub ranges: Vec<String>,
    /// Number of addresses, as a decimal string.
    pub addresses: String,
}

/// The running system.
#[derive(Debug, Serialize, ToSchema)]
pub struct SystemView {
    /// Version of portreeve.
    pub version: String,
    /// `sqlite` or `postgresql`.
    pub database: String,
    /// Where its probes come from.
    pub vantage: String,
    /// Its node.
    pub node: NodeView,
    /// When the process began.
    pub started_at: Instant,
    /// What may be probed.
    pub scope: ScopeView,
}

/// Whether the system can answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthView {
    /// `ok` or `database-unavailable`.
    pub status: String,
}

/// A sentence in both languages.
#[derive(Debug, Serialize, ToSchema)]
pub struct TextView {
    /// English.
    pub en: String,
    /// Simplified Chinese.
    pub zh: String,
}

impl From<&Text> for TextView {
    fn from(t: &Text) -> Self {
        TextView { en: t.en.clone(), zh: t.zh.clone() }
    }
}

/// A high-risk service of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub struct CatalogServiceView {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Number in the national bulletin.
    pub bulletin: Option<u8>,
    /// TCP ports.
    pub ports: Vec<u16>,
    /// UDP ports.
    pub udp_ports: Vec<u16>,
    /// Why it is listed.
    pub categories: Vec<Category>,
    /// What to do.
    pub advice: TextView,
    /// Secure alternative.
    pub alternative: Option<TextView>,
    /// Where it comes from.
    pub source: String,
}

impl From<&HighRisk> for CatalogServiceView {
    fn from(e: &HighRisk) -> Self {
        CatalogServiceView {
            id: e.id.clone(),
            name: e.name.clone(),
            bulletin: e.bulletin,
            ports: e.ports.clone(),
            udp_ports: e.udp_ports.clone(),
            categories: e.categories.iter().map(|&c| c.into()).collect(),
            advice: (&e.advice).into(),
            alternative: e.alternative.as_ref().map(Into::into),
            source: e.source.clone(),
        }
    }
}
