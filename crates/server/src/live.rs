//! Telling everybody who looks that something changed, so that the console need not ask again and again.
//!
//! Only topics travel, never data: who listens asks the API for what it shows. A listener that falls behind learns that
//! it did and starts afresh; sending never waits for anybody.

use model::Ts;
use tokio::sync::broadcast;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Exposures: phase, risk, disposition.
    Exposures,
    /// States of endpoints, services, front pages.
    Endpoints,
    /// Liveness of hosts.
    Hosts,
    /// Tasks and runs.
    Tasks,
    /// Jobs.
    Jobs,
    /// Alerts.
    Alerts,
    /// Notifications and receivers.
    Notifications,
    /// Assets, exclusions, blackouts.
    Assets,
    /// Settings.
    Settings,
    /// Segments and their canaries.
    Segments,
    /// Findings and approvals.
    Findings,
}

impl Topic {
    /// Every topic.
    pub const ALL: &'static [Topic] = &[
        Topic::Exposures,
        Topic::Endpoints,
        Topic::Hosts,
        Topic::Tasks,
        Topic::Jobs,
        Topic::Alerts,
        Topic::Notifications,
        Topic::Assets,
        Topic::Settings,
        Topic::Segments,
        Topic::Findings,
    ];

    /// Its name in the event stream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Topic::Exposures => "exposures",
            Topic::Endpoints => "endpoints",
            Topic::Hosts => "hosts",
            Topic::Tasks => "tasks",
            Topic::Jobs => "jobs",
            Topic::Alerts => "alerts",
            Topic::Notifications => "notifications",
            Topic::Assets => "assets",
            Topic::Settings => "settings",
            Topic::Segments => "segments",
            Topic::Findings => "findings",
        }
    }
}

/// Something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveEvent {
    /// What.
    pub topic: Topic,
    /// When it was written down.
    pub at: Ts,
}

/// Changes a listener may lag behind before it has to start afresh. A report causes a handful; listeners gather twice a
/// second.
const BACKLOG: usize = 1_024;

/// The channel of changes.
#[derive(Clone, Debug)]
pub struct Live {
    sender: broadcast::Sender<LiveEvent>,
    clock: fn() -> Ts,
}

impl Live {
    /// A channel that nobody listens to yet; `clock` stamps what is sent.
    pub fn new(clock: fn() -> Ts) -> Self {
        Live { sender: broadcast::channel(BACKLOG).0, clock }
    }
    /// Tells whoever listens.
    pub fn changed(&self, topic: Topic) {
        // Without listeners there is nobody to tell.
        self.sender.send(LiveEvent { topic, at: (self.clock)() }).ok();
    }
    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<LiveEvent> {
        self.sender.subscribe()
    }
}
