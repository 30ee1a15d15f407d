//! Recording what a report led to.
use crate::{Result, Store};
use model::alert::Alert;
use model::event::Event;
use model::exposure::Exposure;
use model::job::Job;
use model::port_state::{Coverage, Host, PortState};
use model::{JobId, NodeName, Ts};

/// How the job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// Tried again at `retry_at` unless that was its last attempt.
    Failed {
        error: String,
        retry_at: Ts,
    },
}

/// Everything one report led to.
#[derive(Clone, Debug)]
pub struct IngestBatch {
    pub job: JobId,
    pub node: NodeName,
    pub fencing: i64,
    pub sequence: u32,
    pub probes_sent: u64,
    pub port_states: Vec<PortState>,
    pub hosts: Vec<Host>,
    pub exposures: Vec<Exposure>,
    pub events: Vec<Event>,
    pub alerts: Vec<Alert>,
    pub follow_ups: Vec<Job>,
    pub coverage: Option<Coverage>,
    pub end: Option<End>,
    pub now: Ts,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestOutcome {
    Recorded,
    /// Had been recorded before; nothing changed.
    Duplicate,
    /// The lease is another's; nothing changed.
    Fenced,
}

impl Store {
    /// One transaction.
    pub async fn ingest(&self, batch: &IngestBatch) -> Result<IngestOutcome> {
        unimplemented!()
    }
}
