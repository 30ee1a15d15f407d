//! The nine kinds of scanning task, what triggers them, and the runs they leave behind.
//!
//! A task says what to keep doing; `plan` says when it is due and cuts it into jobs.

use crate::address::IpRange;
use crate::catalog::Catalog;
use crate::id::{RunId, TaskId};
use crate::observation::words;
use crate::port::{PortSet, Ports};
use crate::time::{Duration, Ts};
use crate::udp::Payloads;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

words! {
    /// What tasks consume and produce.
    Label: "label" {
        /// Every address of the asset list.
        IpAssets = "IP_ASSETS",
        /// Addresses that answered.
        IpOnline = "IP_ONLINE",
        /// Addresses that did not.
        IpOffline = "IP_OFFLINE",
        /// Endpoints known to be open.
        PortOpen = "PORT_OPEN",
        /// Endpoints that were open and are not.
        PortDown = "PORT_DOWN",
    }
}

words! {
    /// The nine smallest units of scanning work, numbered as in the requirements (D0-D8).
    TaskKind: "task kind" {
        /// D0, IP存活探测.
        Liveness = "liveness",
        /// D1, 全端口探测.
        FullOnline = "full-online",
        /// D2, 高危端口探测.
        HighRiskOnline = "high-risk-online",
        /// D3, 端口服务检测.
        ServiceIdentification = "service-identification",
        /// D4, 端口状态监控.
        OpenRecheck = "open-recheck",
        /// D5, 高危后台.
        Panels = "panels",
        /// D6, 兜底: high-risk ports of addresses that look dead.
        HighRiskOffline = "high-risk-offline",
        /// D7, 兜底: all ports of addresses that look dead.
        FullOffline = "full-offline",
        /// D8, 兜底: all ports of all assets.
        FullAll = "full-all",
    }
}

impl TaskKind {
    /// The number of the task, 0 to 8.
    pub fn number(self) -> u8 {
        self as u8
    }
    /// The label whose members the task works on.
    pub fn consumes(self) -> Label {
        match self {
            TaskKind::Liveness | TaskKind::FullAll => Label::IpAssets,
            TaskKind::FullOnline | TaskKind::HighRiskOnline => Label::IpOnline,
            TaskKind::HighRiskOffline | TaskKind::FullOffline => Label::IpOffline,
            TaskKind::ServiceIdentification | TaskKind::OpenRecheck | TaskKind::Panels => Label::PortOpen,
        }
    }
    /// The labels it gives.
    pub fn produces(self) -> &'static [Label] {
        match self {
            TaskKind::Liveness => &[Label::IpOnline, Label::IpOffline],
            TaskKind::OpenRecheck => &[Label::PortOpen, Label::PortDown],
            TaskKind::ServiceIdentification | TaskKind::Panels => &[],
            _ => &[Label::PortOpen],
        }
    }
    /// Ports the kind sweeps unless the task says otherwise; `None` for kinds that do not sweep.
    pub fn default_ports(self) -> Option<PortChoice> {
        match self {
            TaskKind::HighRiskOnline | TaskKind::HighRiskOffline => Some(PortChoice::HighRisk),
            TaskKind::FullOnline | TaskKind::FullOffline | TaskKind::FullAll => Some(PortChoice::All),
            _ => None,
        }
    }
    /// Repetitions of the kind's unanswered probes unless the task says otherwise: a sweep spends them where they buy most
    /// (`None`), everything else asks few enough to repeat once.
    pub fn default_retries(self) -> Option<u8> {
        if self.default_ports().is_some() { None } else { Some(1) }
    }
    /// Whether another scanner can do the kind's work.
    pub fn takes_engines(self) -> bool {
        self == TaskKind::Liveness || self.default_ports().is_some()
    }
    /// Urgency of the kind's jobs; lower goes first. High-risk ports are the most timely work there is (D2).
    pub fn priority(self) -> u8 {
        match self {
            TaskKind::HighRiskOnline => 20,
            TaskKind::OpenRecheck => 25,
            TaskKind::Liveness => 30,
            TaskKind::ServiceIdentification => 35,
            TaskKind::Panels => 40,
            TaskKind::HighRiskOffline => 50,
            TaskKind::FullOnline => 60,
            TaskKind::FullOffline => 70,
            TaskKind::FullAll => 80,
        }
    }
}

/// Which ports a sweep covers. Written `high-risk`, `common`, `all`, `udp`, or a list such as `22,80,8000-8100,U:53`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortChoice {
    /// Every port the catalogue lists.
    HighRisk,
    /// About a thousand common ports.
    Common,
    /// TCP 1-65535.
    All,
    /// The UDP ports for which there is something to ask (D9).
    Udp,
    /// These.
    List(Ports),
}

impl PortChoice {
    /// The ports meant, under the catalogue given.
    pub fn resolve(&self, catalog: &Catalog) -> Ports {
        match self {
            PortChoice::HighRisk => catalog.high_risk_ports().into(),
            PortChoice::Common => catalog.common_ports().clone().into(),
            PortChoice::All => PortSet::all().into(),
            PortChoice::Udp => Ports { udp: Payloads::builtin().ports(), ..Ports::default() },
            PortChoice::List(ports) => ports.clone(),
        }
    }
}

impl fmt::Display for PortChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortChoice::HighRisk => f.write_str("high-risk"),
            PortChoice::Common => f.write_str("common"),
            PortChoice::All => f.write_str("all"),
            PortChoice::Udp => f.write_str("udp"),
            PortChoice::List(ports) => ports.fmt(f),
        }
    }
}

impl FromStr for PortChoice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Ok(match s {
            "high-risk" => PortChoice::HighRisk,
            "common" => PortChoice::Common,
            "all" => PortChoice::All,
            "udp" => PortChoice::Udp,
            list => PortChoice::List(list.parse().map_err(|e| format!("{e} (or one of high-risk, common, all, udp)"))?),
        })
    }
}

impl Serialize for PortChoice {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortChoice {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// When a task fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Trigger {
    /// Every so often, counted from the start of the previous run.
    Interval {
        /// Milliseconds, at least 10 s.
        every: Duration,
    },
    /// A cron expression of five fields (minute hour day month weekday), in UTC.
    Cron {
        /// The expression.
        expression: String,
    },
    /// Once, as soon as possible; ad-hoc work.
    Once,
}

/// Which addresses or endpoints a task works on, before its label narrows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TaskTarget {
    /// The whole asset list.
    AllAssets,
    /// Only these ranges, as far as they are in scope.
    Ranges {
        /// The ranges.
        ranges: Vec<IpRange>,
    },
    /// The assets that carry one of these tags.
    Tags {
        /// The tags.
        tags: Vec<String>,
    },
}

/// Who does the probing of a task: portreeve itself, or another scanner that the configuration of a node names. Written
/// `built-in` or that name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Engine {
    /// portreeve's own.
    #[default]
    BuiltIn,
    /// The command that the node's own configuration has under that name; the API never says what is run.
    External(String),
}

impl Engine {
    /// The name of another scanner.
    pub fn external(&self) -> Option<&str> {
        match self {
            Engine::BuiltIn => None,
            Engine::External(name) => Some(name),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.external().unwrap_or("built-in"))
    }
}

impl FromStr for Engine {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let proper = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        match s {
            "built-in" => Ok(Engine::BuiltIn),
            // Long enough for a name, short enough for a column of a table.
            name if (1..=32).contains(&name.len()) && name.bytes().all(proper) => Ok(Engine::External(name.to_owned())),
            _ => Err(format!("`{s}` is not an engine: `built-in`, or at most 32 lower-case letters, digits and `-`")),
        }
    }
}

impl Serialize for Engine {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Engine {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

words! {
    /// Whether a task fires.
    TaskState: "task state" {
        /// Fires when due.
        Active = "active",
        /// Does not fire; its queued jobs wait, its running jobs go back to the queue.
        Paused = "paused",
        /// One-off work that has been done.
        Finished = "finished",
    }
}

/// A recurring or one-off piece of scanning work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Id.
    pub id: TaskId,
    /// Which of the nine.
    pub kind: TaskKind,
    /// Name shown to people.
    pub name: String,
    /// What it covers.
    pub target: TaskTarget,
    /// Ports of a sweep; `None` for kinds that do not sweep.
    pub ports: Option<PortChoice>,
    /// When.
    pub trigger: Trigger,
    /// Probes per second; `None` for the global pace.
    pub rate_pps: Option<u32>,
    /// Repetitions of an unanswered probe, at most 10; `None` where they buy most, which only a sweep can tell.
    pub retries: Option<u8>,
    /// Who probes.
    pub engine: Engine,
    /// Fires or not.
    pub state: TaskState,
    /// Preset it came from: `standard`, `daily-weekly`; `None` when a person made it.
    pub preset: Option<String>,
    /// When it was made.
    pub created_at: Ts,
    /// When it last fired.
    pub last_fired_at: Option<Ts>,
    /// When it fires next; `None` when never.
    pub next_due_at: Option<Ts>,
    /// The run in progress or the last one.
    pub last_run: Option<RunId>,
}

words! {
    /// What made a task fire.
    Cause: "cause" {
        /// Its trigger.
        Schedule = "schedule",
        /// A person, now.
        Manual = "manual",
        /// A person, again after a failure.
        Retry = "retry",
    }
}

words! {
    /// How a run stands.
    RunState: "run state" {
        /// Some of its jobs are not done.
        Running = "running",
        /// All its jobs are done.
        Succeeded = "succeeded",
        /// All its jobs ended, at least one of them in failure.
        Failed = "failed",
        /// A person ended it.
        Cancelled = "cancelled",
    }
}

/// One firing of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Id.
    pub id: RunId,
    /// Of which task.
    pub task: TaskId,
    /// Why.
    pub cause: Cause,
    /// How it stands.
    pub state: RunState,
    /// When its jobs were queued.
    pub started_at: Ts,
    /// When its last job ended.
    pub finished_at: Option<Ts>,
    /// Number of jobs.
    pub jobs_total: u32,
    /// Jobs done.
    pub jobs_done: u32,
    /// Jobs that failed for good.
    pub jobs_failed: u32,
    /// Probes sent so far.
    pub probes_sent: u64,
    /// The first error of a failed job.
    pub error: Option<String>,
}
