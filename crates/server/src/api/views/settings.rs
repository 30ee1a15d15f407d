//! Settings as the API shows and takes them: a field that is absent keeps its value.

use super::words::{Millis, Severity};
use model::Duration;
use model::settings::Settings;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! sections {
    ($($(#[$doc:meta])* $view:ident / $input:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Serialize, ToSchema)]
        pub struct $view { $($(#[$fdoc])* pub $field: $type),* }

        $(#[$doc])*
        #[derive(Debug, Default, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $input { $($(#[$fdoc])* pub $field: Option<$type>),* }
    )*};
}

sections! {
    /// How fast to probe; every cap holds at once.
    PaceView / PaceInput {
        /// Probes per second of one node.
        node_pps: u32,
        /// Probes per second into one network (a /24 of IPv4, a /64 of IPv6).
        per_network_pps: u32,
        /// Probes per second to one address.
        per_target_pps: u32,
    }
    /// How many observations over how long move an endpoint's state.
    HysteresisView / HysteresisInput {
        /// Open observations that confirm an opening.
        open_count: u32,
        /// Refusals that close.
        refused_count: u32,
        /// Least time from the first to the last of those, in milliseconds.
        refused_span: Millis,
        /// Silences that close.
        silent_count: u32,
        /// Least time from the first to the last of those, in milliseconds.
        silent_span: Millis,
    }
    /// How alerts are gathered into notifications.
    AlertPolicyView / AlertPolicyInput {
        /// How long the first alert of a group waits for others, in milliseconds.
        group_wait: Millis,
        /// Least time between two notifications of one group to one receiver, in milliseconds.
        group_interval: Millis,
        /// More groups than this within the interval become one digest.
        storm_groups: u32,
        /// Tries before a notification is given up.
        max_attempts: u32,
        /// How long a new range learns before it alerts, in milliseconds.
        observe: Millis,
        /// Exposures of at least this severity raise an alert.
        min_severity: Severity,
    }
    /// How long things are kept.
    RetentionView / RetentionInput {
        /// Ended jobs and runs, in milliseconds.
        jobs: Millis,
        /// Coverage that a later one replaced, in milliseconds.
        coverage: Millis,
    }
}

/// Everything an operator may change.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettingsView {
    /// Pace.
    pub pace: PaceView,
    /// Hysteresis.
    pub hysteresis: HysteresisView,
    /// Alerts.
    pub alerts: AlertPolicyView,
    /// Retention.
    pub retention: RetentionView,
}

/// Changes to the settings; what is absent stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsInput {
    /// Pace.
    pub pace: Option<PaceInput>,
    /// Hysteresis.
    pub hysteresis: Option<HysteresisInput>,
    /// Alerts.
    pub alerts: Option<AlertPolicyInput>,
    /// Retention.
    pub retention: Option<RetentionInput>,
}

impl From<Settings> for SettingsView {
    fn from(s: Settings) -> Self {
        SettingsView {
            pace: PaceView {
                node_pps: s.pace.node_pps,
                per_network_pps: s.pace.per_network_pps,
                per_target_pps: s.pace.per_target_pps,
            },
            hysteresis: HysteresisView {
                open_count: s.hysteresis.open_count,
                refused_count: s.hysteresis.refused_count,
                refused_span: s.hysteresis.refused_span.into(),
                silent_count: s.hysteresis.silent_count,
                silent_span: s.hysteresis.silent_span.into(),
            },
            alerts: AlertPolicyView {
                group_wait: s.alerts.group_wait.into(),
                group_interval: s.alerts.group_interval.into(),
                storm_groups: s.alerts.storm_groups,
                max_attempts: s.alerts.max_attempts,
                observe: s.alerts.observe.into(),
                min_severity: s.alerts.min_severity.into(),
            },
            retention: RetentionView { jobs: s.retention.jobs.into(), coverage: s.retention.coverage.into() },
        }
    }
}

impl SettingsInput {
    /// The settings after the change.
    pub fn apply(self, mut to: Settings) -> Settings {
        fn set<T, U: From<T>>(to: &mut U, from: Option<T>) {
            if let Some(value) = from {
                *to = value.into();
            }
        }
        let millis = |m: Option<Millis>| m.map(|m| Duration(m.0));
        let (pace, hysteresis) = (self.pace.unwrap_or_default(), self.hysteresis.unwrap_or_default());
        let (alerts, retention) = (self.alerts.unwrap_or_default(), self.retention.unwrap_or_default());
        set(&mut to.pace.node_pps, pace.node_pps);
        set(&mut to.pace.per_network_pps, pace.per_network_pps);
        set(&mut to.pace.per_target_pps, pace.per_target_pps);
        set(&mut to.hysteresis.open_count, hysteresis.open_count);
        set(&mut to.hysteresis.refused_count, hysteresis.refused_count);
        set(&mut to.hysteresis.refused_span, millis(hysteresis.refused_span));
        set(&mut to.hysteresis.silent_count, hysteresis.silent_count);
        set(&mut to.hysteresis.silent_span, millis(hysteresis.silent_span));
        set(&mut to.alerts.group_wait, millis(alerts.group_wait));
        set(&mut to.alerts.group_interval, millis(alerts.group_interval));
        set(&mut to.alerts.storm_groups, alerts.storm_groups);
        set(&mut to.alerts.max_attempts, alerts.max_attempts);
        set(&mut to.alerts.observe, millis(alerts.observe));
        set(&mut to.alerts.min_severity, alerts.min_severity.map(|s| s.0));
        set(&mut to.retention.jobs, millis(retention.jobs));
        set(&mut to.retention.coverage, millis(retention.coverage));
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_keeps_its_value() {
        let mut before = Settings::default();
        before.pace.node_pps = 77;
        let change: SettingsInput = serde_json::from_str(r#"{"alerts":{"group_wait":0}}"#).unwrap();
        let after = change.apply(before.clone());
        before.alerts.group_wait = Duration(0);
        assert_eq!(after, before);
    }

    #[test]
    fn a_whole_document_comes_back_as_it_was_sent() {
        let settings = Settings::default();
        let view = serde_json::to_value(SettingsView::from(settings.clone())).unwrap();
        assert_eq!(view, serde_json::to_value(&settings).unwrap(), "the view has model's names and numbers");
        let back: SettingsInput = serde_json::from_value(view).unwrap();
        assert_eq!(back.apply(Settings::default()), settings);
    }
}
