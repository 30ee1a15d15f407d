//! What all parts of the server share: the store, the channel of changes, the catalogue, the clock, and which nodes have
//! been heard of.
//!
//! It decides nothing; every workflow and every handler takes it as its first argument.

use crate::ingest::Ingest;
use crate::live::Live;
use model::catalog::Catalog;
use model::{NodeName, TaskId, Ts, Vantage};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use store::Store;
use tokio::sync::Notify;

/// The time of this machine.
pub fn system_clock() -> Ts {
    Ts(jiff::Timestamp::now().as_millisecond())
}

/// What is known of a node from its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// Its name.
    pub name: NodeName,
    /// From where it probes.
    pub vantage: Vantage,
    /// How it probes, `syn` or `connect`, and why, as far as it runs in this process and told us.
    pub method: Option<(String, String)>,
    /// Jobs it can work on at a time.
    pub slots: u32,
    /// Other scanners that it has, by name.
    pub engines: Vec<String>,
    /// Its last call.
    pub last_contact_at: Option<Ts>,
}

/// What all parts of the server share.
pub struct Context {
    /// The database.
    pub store: Store,
    /// Changes, for whoever looks.
    pub live: Live,
    /// The catalogue of high-risk services.
    pub catalog: &'static Catalog,
    /// Where the embedded node probes from.
    pub vantage: Vantage,
    /// When the process started.
    pub started_at: Ts,
    /// Wakes the scheduler before its next tick: a task was made, run or resumed, an asset was added.
    pub schedule_now: Notify,
    /// Wakes the alerting before its next tick: alerts were raised, a receiver was changed, a retry was asked for.
    pub alert_now: Notify,
    /// Held while a task is fired.
    pub(crate) firing: tokio::sync::Mutex<()>,
    console_url: OnceLock<String>,
    task_notes: Mutex<HashMap<TaskId, String>>,
    clock: fn() -> Ts,
    nodes: Mutex<BTreeMap<NodeName, NodeSeen>>,
    ingest: OnceLock<Weak<Ingest>>,
}

impl Context {
    /// A context over an open store, with the built-in catalogue and this machine's clock.
    pub fn new(store: Store, vantage: Vantage) -> Arc<Context> {
        Self::with_clock(store, vantage, system_clock)
    }

    /// The same with another clock, for tests.
    pub fn with_clock(store: Store, vantage: Vantage, clock: fn() -> Ts) -> Arc<Context> {
        Arc::new(Context {
            store,
            live: Live::new(clock),
            catalog: Catalog::builtin(),
            vantage,
            started_at: clock(),
            schedule_now: Notify::new(),
            alert_now: Notify::new(),
            firing: tokio::sync::Mutex::new(()),
            console_url: OnceLock::new(),
            task_notes: Mutex::new(HashMap::new()),
            clock,
            nodes: Mutex::new(BTreeMap::new()),
            ingest: OnceLock::new(),
        })
    }

    /// The time.
    pub fn now(&self) -> Ts {
        (self.clock)()
    }

    /// The nodes heard of since the start, by name.
    pub fn nodes(&self) -> Vec<NodeSeen> {
        self.lock().values().cloned().collect()
    }

    /// Makes the embedded node known before its first call, with how it probes (`syn` or `connect`) and why.
    pub fn introduce_node(&self, name: NodeName, method: &str, note: &str, slots: u32) {
        let seen = NodeSeen {
            name: name.clone(),
            vantage: self.vantage.clone(),
            method: Some((method.to_owned(), note.to_owned())),
            slots,
            engines: Vec::new(),
            last_contact_at: None,
        };
        self.lock().insert(name, seen);
    }

    /// Whoever takes reports in; imports go the same way, so that no two fold the same state.
    pub(crate) fn ingest(&self) -> Option<Arc<Ingest>> {
        self.ingest.get().and_then(Weak::upgrade)
    }

    /// Says who takes reports in. Set once, at the start.
    pub(crate) fn set_ingest(&self, ingest: &Arc<Ingest>) {
        self.ingest.set(Arc::downgrade(ingest)).ok();
    }

    /// Where people reach the console, for the links in notifications. Set once, at the start.
    pub fn set_console_url(&self, url: &str) {
        // A second call changes nothing: links in messages that are being retried stay what they were.
        self.console_url.set(url.trim_end_matches('/').to_owned()).ok();
    }

    /// Where people reach the console.
    pub fn console_url(&self) -> Option<String> {
        self.console_url.get().cloned()
    }

    /// Why the task could not be fired when it was last due, if so.
    pub fn task_note(&self, task: TaskId) -> Option<String> {
        self.task_notes.lock().unwrap_or_else(PoisonError::into_inner).get(&task).cloned()
    }

    /// Notes why a task could not be fired, or that it could.
    pub(crate) fn note_task(&self, task: TaskId, note: Option<String>) {
        let mut notes = self.task_notes.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            Some(note) => _ = notes.insert(task, note),
            None => _ = notes.remove(&task),
        }
    }

    /// Notes a call of a node.
    pub(crate) fn node_called(&self, name: &NodeName, about: Option<(&Vantage, &[String])>) {
        let now = self.now();
        let mut nodes = self.lock();
        if let Some(node) = nodes.get_mut(name) {
            node.last_contact_at = Some(now);
            if let Some((_, engines)) = about
                && node.engines != engines
            {
                node.engines = engines.to_vec();
            }
        } else if let Some((vantage, engines)) = about {
            let seen = NodeSeen {
                name: name.clone(),
                vantage: vantage.clone(),
                method: None,
                slots: 0,
                engines: engines.to_vec(),
                last_contact_at: Some(now),
            };
            nodes.insert(name.clone(), seen);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeName, NodeSeen>> {
        // Every change is one insertion or one assignment: a panic elsewhere leaves nothing half-done.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
