//! The words, instants and ranges of the API: `model`'s spellings with a schema of their own.
//!
//! `model` stays plain; here each of its word lists becomes a named enum of the OpenAPI document and is parsed so that a
//! wrong word is named in the error. What the words mean is left to `model`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! word_views {
    ($($(#[$doc:meta])* $name:ident = $model:path),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub $model);

        impl From<$model> for $name {
            fn from(word: $model) -> Self {
                $name(word)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.0.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let word = Cow::<'de, str>::deserialize(d)?;
                word.parse().map($name).map_err(serde::de::Error::custom)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                words_of(<$model>::ALL.iter().map(|w| w.as_str()))
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

fn words_of(words: impl Iterator<Item = &'static str>) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).enum_values(Some(words)).into()
}

word_views! {
    /// Port state as one probe saw it.
    State = model::State,
    /// Evidence.
    Reason = model::Reason,
    /// Life of an endpoint.
    Phase = model::port_state::Phase,
    /// Whether a host answers.
    Liveness = model::Liveness,
    /// Risk kind.
    RiskKind = model::exposure::RiskKind,
    /// Severity.
    Severity = model::exposure::Severity,
    /// Decision about an exposure.
    DispositionKind = model::exposure::DispositionKind,
    /// How an identification ended.
    Identity = model::service::Identity,
    /// How much an answer proves.
    Confidence = model::service::Confidence,
    /// Zone of an asset.
    Zone = model::asset::Zone,
    /// Kind of task.
    TaskKind = model::task::TaskKind,
    /// State of a task.
    TaskState = model::task::TaskState,
    /// Label that tasks consume and produce.
    Label = model::task::Label,
    /// Why a run began.
    Cause = model::task::Cause,
    /// State of a run.
    RunState = model::task::RunState,
    /// State of a job.
    JobState = model::job::JobState,
    /// Kind of event.
    EventKind = model::event::EventKind,
    /// Kind of alert.
    AlertKind = model::alert::AlertKind,
    /// State of an alert.
    AlertState = model::alert::AlertState,
    /// State of a notification.
    NotificationState = model::alert::NotificationState,
    /// Protection of mail on its way.
    MailSecurity = model::alert::MailSecurity,
    /// Language of notifications.
    Language = model::alert::Language,
    /// Role of a user or token.
    Role = model::Role,
    /// Permission.
    Permission = model::Permission,
    /// Whether what is seen of a segment can be believed.
    SegmentStatus = model::segment::SegmentStatus,
    /// By whose canaries a segment is judged.
    Guard = model::segment::Guard,
    /// What an endpoint is to be as a canary.
    CanaryRole = model::segment::CanaryRole,
    /// Strongest class of check that an asset allows.
    CheckCeiling = model::asset::CheckCeiling,
    /// What a question does to its target.
    SideEffect = model::finding::SideEffect,
    /// What kind of thing a check proves.
    FindingKind = model::finding::FindingKind,
    /// Whether a finding holds.
    FindingPhase = model::finding::FindingPhase,
    /// How far a check has been proved.
    DegreeOfProof = model::check::Proved,
    /// Why the catalogue lists a service.
    Category = model::catalog::Category,
}

/// An instant: RFC 3339, UTC, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub model::Ts);

impl From<model::Ts> for Instant {
    fn from(ts: model::Ts) -> Self {
        Instant(ts)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        model::Ts::deserialize(d).map(Instant)
    }
}

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, milliseconds"))
            .into()
    }
}

impl ToSchema for Instant {
    fn name() -> Cow<'static, str> {
        "Instant".into()
    }
}

/// A span of time: a number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl From<model::Duration> for Millis {
    fn from(d: model::Duration) -> Self {
        Millis(d.0)
    }
}

impl PartialSchema for Millis {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(0))
            .description(Some("milliseconds"))
            .into()
    }
}

impl ToSchema for Millis {
    fn name() -> Cow<'static, str> {
        "Millis".into()
    }
}

/// A field of a body that tells "absent" from "null": `None` when absent, `Some(None)` when null.
pub fn double_option<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_word_is_named_and_every_word_is_in_the_schema() {
        let err = serde_json::from_str::<Severity>("\"hgih\"").unwrap_err().to_string();
        assert!(err.contains("`hgih` is not a severity"), "{err}");
        let schema = serde_json::to_value(Severity::schema()).unwrap();
        assert_eq!(schema["enum"], serde_json::json!(["low", "medium", "high", "critical"]));
    }
}
