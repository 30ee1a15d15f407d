//! A catalogue file as it is written: TOML tables and their fields, nothing compiled and nothing checked against the rest.
//!
//! What the fields mean together is left to `rule` and `panel`, whether they may stand beside the others to `load`.

use model::PortSet;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How far a service's recognition has been proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Against the real server, in the tests of this crate.
    RealServer,
    /// Against the real server, by hand; the tests hold it to transcripts.
    ByHand,
    /// Against recorded or specified bytes only.
    Transcript,
}

impl Reached {
    /// The word in the catalogue and in `portreeve catalog list`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reached::RealServer => "real-server",
            Reached::ByHand => "by-hand",
            Reached::Transcript => "transcript",
        }
    }
}

/// The head of a service's file; its probes and rules are read one by one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceFile {
    pub(super) service: String,
    #[serde(default)]
    pub(super) ports: Vec<u16>,
    pub(super) proved: Reached,
    #[serde(default)]
    pub(super) probe: Vec<toml::Spanned<toml::Value>>,
    #[serde(default)]
    pub(super) rule: Vec<toml::Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeSpec {
    pub(super) name: String,
    /// Bytes to send, escaped; or
    pub(super) send: Option<String>,
    /// the same in hexadecimal digits, spaces allowed; or
    pub(super) hex: Option<String>,
    /// a path to GET after `/` did not tell.
    pub(super) path: Option<String>,
    /// An unrecognised answer that matches this makes the probe worth asking on any port.
    pub(super) after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleSpec {
    pub(super) id: String,
    #[serde(default)]
    pub(super) on: String,
    pub(super) pattern: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) title: Option<String>,
    pub(super) body: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) product: Option<String>,
    /// The match says that the service will not talk to this address.
    #[serde(default)]
    pub(super) refuses: bool,
    /// The match says that the service wants a client's certificate.
    #[serde(default)]
    pub(super) wants_certificate: bool,
    /// Only when no other rule matches.
    #[serde(default)]
    pub(super) fallback: bool,
    /// How much a match proves, where it is not what its kind of rule proves.
    pub(super) confidence: Option<model::service::Confidence>,
    /// Of a codec's rule: an unrecognised answer that matches this makes the codec worth asking on any port.
    pub(super) after: Option<String>,
    /// An operator's rule that takes the place of the built-in one of the same id says so.
    #[serde(default)]
    pub(super) replaces: bool,
    pub(super) cases: Vec<Case>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) bytes: String,
    pub(super) product: Option<String>,
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) refuses: bool,
    #[serde(default)]
    pub(super) wants_certificate: bool,
    /// These bytes must not match the rule.
    #[serde(default)]
    pub(super) no: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PanelFile {
    #[serde(default)]
    pub(super) panel: Vec<toml::Spanned<toml::Value>>,
    #[serde(default)]
    pub(super) technology: Vec<toml::Spanned<toml::Value>>,
}

/// An admin console: at least two tokens of different kinds have to be seen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PanelSpec {
    pub(super) id: String,
    pub(super) product: String,
    /// Ports that promise it.
    #[serde(default)]
    pub(super) ports: Vec<u16>,
    pub(super) proved: Reached,
    /// A front page (head and body) that matches this makes the paths of the tokens worth asking on any port.
    pub(super) after: Option<String>,
    #[serde(default)]
    pub(super) replaces: bool,
    pub(super) token: Vec<TokenSpec>,
    pub(super) cases: Vec<PanelCase>,
}

/// One thing that a panel gives itself away by; exactly one of the kinds, or several conditions on one answer to `get`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenSpec {
    /// A path to GET; without it the front page is looked at.
    pub(super) get: Option<String>,
    pub(super) status: Option<u16>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Name of a cookie that is set.
    pub(super) cookie: Option<String>,
    pub(super) title: Option<String>,
    pub(super) body: Option<String>,
    /// Address of a script, style sheet or picture of the page.
    pub(super) asset: Option<String>,
    /// Hashes of the site's icon.
    #[serde(default)]
    pub(super) favicon: Vec<i32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PanelCase {
    /// Answers by path; `/` is the front page.
    pub(super) pages: BTreeMap<String, String>,
    /// What the site answers at any path that is not listed; a plain 404 when left out.
    pub(super) elsewhere: Option<String>,
    pub(super) version: Option<String>,
    /// Where the panel lies, when that is not `/`.
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) no: bool,
}

/// A technology that a page shows: a framework, a language, a generator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TechnologySpec {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) cookie: Option<String>,
    pub(super) generator: Option<String>,
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) replaces: bool,
    pub(super) cases: Vec<TechnologyCase>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TechnologyCase {
    pub(super) bytes: String,
    /// The name as it is shown, with its version where one was captured.
    pub(super) shows: Option<String>,
    #[serde(default)]
    pub(super) no: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExcludedFile {
    pub(super) excluded: Vec<ExcludedSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExcludedSpec {
    pub(super) ports: PortSet,
    pub(super) why: String,
    pub(super) cases: Vec<ExcludedCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExcludedCase {
    pub(super) port: u16,
    pub(super) excluded: bool,
}
