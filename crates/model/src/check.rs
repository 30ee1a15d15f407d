//! Which checks there are: what each proves, how bad that is, what its strongest question does to a target, what to do about
//! it. The part of `catalog/checks/` that people and the server read.
//!
//! Each entry also says how it asks and decides; that part is passed over here and read by `services`, which acts on it.
//! Whether a policy lets a check run is decided here, once, for the node that runs it and for whoever explains why it did not.

use crate::catalog::{Catalog, Text};
use crate::finding::{CheckPolicy, CredentialGrant, FindingKind, SideEffect};
use crate::observation::words;
use crate::time::Ts;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// One line per file of `catalog/checks/`.
macro_rules! files {
    ($($name:literal)*) => {
        &[$((concat!("checks/", $name, ".toml"), include_str!(concat!("../../../catalog/checks/", $name, ".toml"))),)*]
    };
}

const FILES: &[(&str, &str)] = files! {
    "redis" "memcached" "mysql" "postgresql" "mongodb" "ftp" "ldap" "zookeeper" "etcd" "stores" "compute" "registries" "udp" "desktops" "files" "ssh"
    "debuggers" "tls" "panels" "consoles"
};

/// The strongest class that runs where nobody has said otherwise: [`SideEffect::Session`], which [`permitted`] grants to
/// services of the high-risk list and to no other.
pub const DEFAULT_CEILING: SideEffect = SideEffect::Session;

/// A sign-in is attempted at most so often for one account of one address in 24 hours, whatever an approval says.
pub const MAX_ATTEMPTS: u8 = 2;

/// Seconds between two attempts with one account.
pub const ATTEMPT_SPACING_S: i64 = 60;

words! {
    /// How far a check has been proved.
    Proved: "degree of proof" {
        /// Against the real server, in the tests.
        RealServer = "real-server",
        /// Against the real server, by hand; the tests hold it to transcripts.
        ByHand = "by-hand",
        /// Against recorded or specified bytes only.
        Transcript = "transcript",
    }
}

/// What people and the server need to know of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckInfo {
    /// Stable id, lower-case: `redis-unauthenticated`.
    pub id: String,
    /// What it proves, as a headline.
    pub title: Text,
    /// What kind of thing that is.
    pub kind: FindingKind,
    /// How bad, unless the evidence says more.
    pub severity: crate::exposure::Severity,
    /// What its strongest question does to the target.
    pub side_effect: SideEffect,
    /// Account that it tries with an empty password. That is an attempt: reported, audited, and made at most [`MAX_ATTEMPTS`]
    /// times in 24 hours.
    pub signs_in_as: Option<String>,
    /// [`crate::Service::name`]s that it is for; `*`: whatever it is.
    pub services: Vec<String>,
    /// Products that it is for, compared without case; empty: every product of those services.
    pub products: Vec<String>,
    /// What to do about it.
    pub advice: Text,
    /// What to use instead, where there is something.
    pub alternative: Option<Text>,
    /// Where the question and the decisive answer are documented.
    pub source: String,
    /// How far it has been proved.
    pub proved: Proved,
}

/// Why a file of checks was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("check file {file}: {message}")]
pub struct CheckFileError {
    /// File.
    pub file: String,
    /// What is wrong, with line or id where there is one.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// For every check of the file that has none of its own.
    advice: Option<Text>,
    alternative: Option<Text>,
    check: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    title: Text,
    kind: FindingKind,
    severity: crate::exposure::Severity,
    side_effect: SideEffect,
    signs_in_as: Option<String>,
    services: Vec<String>,
    #[serde(default)]
    products: Vec<String>,
    advice: Option<Text>,
    alternative: Option<Text>,
    source: String,
    proved: Proved,
    /// How it asks and decides, and the answers it is held to: read by `services`.
    http: Option<toml::Value>,
    line: Option<toml::Value>,
    datagram: Option<toml::Value>,
    codec: Option<toml::Value>,
    identified: Option<toml::Value>,
    login: Option<toml::Value>,
    cases: Option<toml::Value>,
}

static IN_USE: OnceLock<Checks> = OnceLock::new();

/// The checks of some files, in their order, which is the order in which they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    entries: Vec<CheckInfo>,
}

impl Checks {
    /// The checks that ship with portreeve.
    pub fn builtin() -> &'static Checks {
        static BUILTIN: OnceLock<Checks> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let mut all = Checks::default();
            for (file, text) in FILES {
                all.add(file, text).expect("the built-in checks are read by the tests");
            }
            all
        })
    }

    /// The checks that this process knows: the built-in ones, unless [`Checks::install`] came first.
    pub fn in_use() -> &'static Checks {
        IN_USE.get().unwrap_or_else(|| Checks::builtin())
    }

    /// Makes these the checks that the process knows, an operator's own among them, for titles, advice and what a check is for.
    /// Only the first call counts; whether it was this one.
    pub fn install(self) -> bool {
        IN_USE.set(self).is_ok()
    }

    /// The built-in files, name and text: what `services` reads the other part of.
    pub fn builtin_files() -> &'static [(&'static str, &'static str)] {
        FILES
    }

    /// Adds the checks of one file, all of them or, where it is broken, none.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), CheckFileError> {
        let refuse = |message: String| CheckFileError { file: file.to_owned(), message };
        let parsed: File = toml::from_str(text).map_err(|e| refuse(e.to_string()))?;
        let mut known: BTreeSet<String> = self.entries.iter().map(|e| e.id.clone()).collect();
        let mut new = Vec::with_capacity(parsed.check.len());
        for entry in parsed.check {
            let id = entry.id.clone();
            let wrong = |why: &str| Err(refuse(format!("check `{id}` {why}")));
            let ways = [&entry.http, &entry.line, &entry.datagram, &entry.codec, &entry.identified, &entry.login];
            if ways.iter().filter(|way| way.is_some()).count() != 1 {
                return wrong("asks in exactly one way: `http`, `line`, `datagram`, `codec`, `identified` or `login`");
            }
            if entry.login.is_some() != (entry.kind == FindingKind::DefaultCredential) {
                return wrong("signs in if and only if it is of kind `default-credential`");
            }
            if entry.login.is_some() && entry.side_effect != SideEffect::Intrusive {
                return wrong("signs in, so its side effect is `intrusive`");
            }
            if let Some(account) = &entry.signs_in_as {
                if entry.login.is_some() {
                    return wrong("says `signs_in_as`, which is for an empty password, and its pairs name their accounts");
                }
                if entry.line.is_none() && entry.codec.is_none() {
                    return wrong("says `signs_in_as`, and only `line` and `codec` sign in with an empty password");
                }
                if entry.side_effect < SideEffect::Session {
                    return wrong("says `signs_in_as`, and an attempt to sign in is at least of class `session`");
                }
                if !(1..=64).contains(&account.len()) || !account.bytes().all(|b| b.is_ascii_graphic()) {
                    return wrong("says `signs_in_as` with an account that is not 1 to 64 printable ASCII characters");
                }
            }
            if entry.cases.is_none() {
                return wrong("has no cases");
            }
            if entry.services.is_empty() {
                return wrong("names no service that it is for");
            }
            if !known.insert(id.clone()) {
                return wrong("repeats the id of another");
            }
            let Some(advice) = entry.advice.or_else(|| parsed.advice.clone()) else {
                return wrong("gives no advice, and its file none for all");
            };
            new.push(CheckInfo {
                id: entry.id,
                title: entry.title,
                kind: entry.kind,
                severity: entry.severity,
                side_effect: entry.side_effect,
                signs_in_as: entry.signs_in_as,
                services: entry.services,
                products: entry.products,
                advice,
                alternative: entry.alternative.or_else(|| parsed.alternative.clone()),
                source: entry.source,
                proved: entry.proved,
            });
        }
        self.entries.extend(new);
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> &[CheckInfo] {
        &self.entries
    }

    /// The check of that id.
    pub fn get(&self, id: &str) -> Option<&CheckInfo> {
        self.entries.iter().find(|e| e.id == id)
    }
}

impl CheckInfo {
    /// Whether the check is for that service, whatever its product.
    pub fn is_for_service(&self, service: &str) -> bool {
        self.services.iter().any(|s| s == service || s == "*")
    }

    /// Whether the check is for what was identified.
    pub fn is_for(&self, service: &str, product: Option<&str>) -> bool {
        let product_fits =
            self.products.is_empty() || product.is_some_and(|found| self.products.iter().any(|p| p.eq_ignore_ascii_case(found)));
        product_fits && self.is_for_service(service)
    }
}

/// Whether the approval is in force.
pub fn in_force(grant: &CredentialGrant, now: Ts) -> bool {
    grant.not_before <= now && now < grant.until && grant.max_attempts > 0
}

/// Why a check may not run, or that it may.
///
/// Without a policy for the address nothing runs. A ceiling admits its own class and those before it, with two limits of its
/// own: `session` is for services of the high-risk list, and `intrusive` needs an approval in force as well as the ceiling.
/// Signing in is intrusive.
pub fn permitted(
    side_effect: SideEffect,
    service: &str,
    product: Option<&str>,
    policy: &CheckPolicy,
    now: Ts,
) -> Result<(), &'static str> {
    let Some(ceiling) = policy.ceiling else { return Err("checks are off for this address") };
    if side_effect > ceiling {
        return Err("stronger than the ceiling of this address");
    }
    match side_effect {
        SideEffect::Passive | SideEffect::Benign => Ok(()),
        // An operator who lets intrusive questions pass wants sessions on every service.
        SideEffect::Session if ceiling > SideEffect::Session => Ok(()),
        SideEffect::Session if Catalog::builtin().by_identity(service, product).is_some() => Ok(()),
        SideEffect::Session => Err("leaves a session, and the service is not on the high-risk list"),
        SideEffect::Intrusive if policy.credentials.as_ref().is_some_and(|grant| in_force(grant, now)) => Ok(()),
        SideEffect::Intrusive => Err("no approval is in force"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ApprovalId;

    #[test]
    fn every_check_advises_in_both_languages() {
        let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        for check in Checks::builtin().all() {
            for text in [&check.title, &check.advice].into_iter().chain(&check.alternative) {
                assert!(text.en.len() > 10 && !chinese(&text.en), "{}: {}", check.id, text.en);
                assert!(chinese(&text.zh), "{}: {}", check.id, text.zh);
            }
            assert!(!check.source.is_empty(), "{}", check.id);
        }
    }

    #[test]
    fn a_broken_file_is_refused_whole_and_says_why() {
        let good = FILES[0].1;
        for (from, to, word) in [
            ("side_effect = \"benign\"", "side_effect = \"harmless\"", "harmless"),
            ("side_effect", "side_efect", "side_efect"),
            ("kind = \"unauthenticated-access\"", "kind = \"default-credential\"", "signs in"),
            ("services = [\"redis\"]", "services = []", "names no service"),
        ] {
            let mut checks = Checks::default();
            let err = checks.add("checks/mine.toml", &good.replacen(from, to, 1)).unwrap_err();
            assert!(err.to_string().contains(word) && err.to_string().contains("checks/mine.toml"), "{err}");
            assert!(checks.all().is_empty());
        }
        let mysql = FILES.iter().find(|(file, _)| *file == "checks/mysql.toml").unwrap().1;
        for (from, to, word) in [
            ("side_effect = \"session\"", "side_effect = \"benign\"", "at least of class `session`"),
            ("signs_in_as = \"root\"", "signs_in_as = \"\"", "1 to 64"),
            ("signs_in_as = \"root\"", "signs_in_as = \"the root\"", "1 to 64"),
            ("codec = \"mysql-login\"", "http = { get = [\"/\"] }", "only `line` and `codec`"),
            ("side_effect = \"intrusive\"", "side_effect = \"intrusive\"\nsigns_in_as = \"root\"", "its pairs name"),
        ] {
            assert!(mysql.contains(from), "{from}");
            let err = Checks::default().add("checks/mine.toml", &mysql.replacen(from, to, 1)).unwrap_err();
            assert!(err.to_string().contains(word), "{from}: {err}");
        }
        let mut twice = Checks::builtin().clone();
        assert!(twice.add("checks/again.toml", good).unwrap_err().message.contains("repeats"), "an id stands once");
    }

    #[test]
    fn a_ceiling_admits_its_own_class_and_those_before_it() {
        let now = Ts(1_000_000);
        let grant = |from: i64, until: i64| {
            Some(CredentialGrant {
                approval: ApprovalId(uuid::Uuid::from_u128(1)),
                not_before: Ts(from),
                until: Ts(until),
                max_attempts: 1,
                spent: Vec::new(),
            })
        };
        use SideEffect::{Benign, Intrusive, Passive, Session};
        for (ceiling, credentials, service, class, allowed) in [
            (None, None, "redis", Passive, false),
            (Some(Passive), None, "redis", Passive, true),
            (Some(Passive), None, "redis", Benign, false),
            (Some(Benign), None, "redis", Benign, true),
            (Some(Benign), None, "mysql", Session, false),
            (Some(Session), None, "mysql", Session, true),
            (Some(Session), None, "http", Session, false),
            (Some(Intrusive), None, "http", Session, true),
            (Some(Intrusive), None, "mysql", Intrusive, false),
            (Some(Session), grant(0, 2_000_000), "mysql", Intrusive, false),
            (Some(Intrusive), grant(0, 2_000_000), "mysql", Intrusive, true),
            (Some(Intrusive), grant(0, 1_000_000), "mysql", Intrusive, false),
            (Some(Intrusive), grant(1_000_001, 2_000_000), "mysql", Intrusive, false),
        ] {
            let policy = CheckPolicy { range: "10.0.0.0/8".parse().unwrap(), ceiling, credentials };
            let said = permitted(class, service, None, &policy, now);
            assert_eq!(said.is_ok(), allowed, "{ceiling:?} {service} {class}: {said:?}");
        }
    }
}
