//! Whether a set of tasks can be met at a pace: probes needed a day against probes a day has room for (D15).
//!
//! A first form: it warns. Choosing rates that fit is left to a later planner (S4).

use crate::expand::{Snapshot, expand};
use crate::schedule::{ScheduleError, firings_per_day};
use model::settings::Pace;
use model::task::{Task, TaskState};

const DAY_S: f64 = 86_400.0;

/// What a set of tasks asks of a day.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Probes a day that the tasks need, repetitions of unanswered probes not counted.
    pub needed: f64,
    /// Probes a day at the node's pace.
    pub available: f64,
    /// The tasks' shares, the largest first: name and probes a day.
    pub shares: Vec<(String, f64)>,
}

impl Budget {
    /// Whether the tasks can be met.
    pub fn fits(&self) -> bool {
        self.needed <= self.available
    }

    /// What to tell the operator, when the tasks cannot be met.
    pub fn warning(&self) -> Option<String> {
        let (name, share) = self.shares.first().filter(|_| !self.fits())?;
        Some(format!(
            "the tasks need {:.0} million probes a day and the pace allows {:.0} million: some will be overdue\nhint: raise the node's pace, or run `{name}` ({:.0} million a day) less often",
            self.needed / 1e6,
            self.available / 1e6,
            share / 1e6,
        ))
    }
}

/// What the active tasks need a day, if they were expanded now, against the pace.
pub fn budget(tasks: &[Task], snapshot: &Snapshot, pace: &Pace) -> Result<Budget, ScheduleError> {
    let mut shares = Vec::new();
    for task in tasks.iter().filter(|t| t.state == TaskState::Active) {
        let probes: f64 = expand(task, snapshot).jobs.iter().map(|job| job.work.probes() as f64).sum();
        let per_day = probes * firings_per_day(&task.trigger, snapshot.now)?;
        shares.push((task.name.clone(), per_day));
    }
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(Budget { needed: shares.iter().map(|s| s.1).sum(), available: f64::from(pace.node_pps) * DAY_S, shares })
}
