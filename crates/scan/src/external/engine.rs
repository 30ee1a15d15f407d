//! An external command as the operator of a machine configures it: its command line with placeholders, and whether that can
//! work at all. It is never a shell's, and one that would choose its own targets is refused.
//!
//! What stands in the placeholders is `command_line`'s, running it `command`'s.

use super::{Format, child};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// What a command line may have in braces, with what stands there then.
pub const PLACEHOLDERS: &[(&str, &str)] = &[
    ("targets", "the addresses as CIDRs, separated by commas"),
    ("targets_file", "path of a file with one CIDR a line"),
    ("ports", "the ports, as 22,80,8000-8100"),
    ("rate", "probes per second, at most"),
    ("retries", "repetitions of an unanswered probe"),
    ("seed", "a number that decides the order"),
    ("output", "path of a file that the command writes its results to, instead of standard output"),
];

/// An external command, as the operator of the machine has configured it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// The name that tasks call it by.
    pub name: String,
    /// Command line of a sweep; needs `{ports}` and one of the placeholders for targets.
    pub sweep: Option<Vec<String>>,
    /// Command line of a liveness pass.
    pub liveness: Option<Vec<String>>,
    /// Format of the output; told from the first bytes when none.
    pub format: Option<Format>,
    /// Whether it takes addresses of IPv4.
    pub ipv4: bool,
    /// Whether it takes addresses of IPv6.
    pub ipv6: bool,
    /// Longest time that one run may take.
    pub timeout: Duration,
}

/// Why an engine's configuration is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The name is none.
    #[error("engine name `{0}` is not a name\nhint: at most 32 lower-case letters, digits and `-`; `built-in` is taken")]
    Name(String),
    /// There is nothing to run.
    #[error("engine `{0}` has no command line\nhint: set `sweep = [\"masscan\", \"-iL\", \"{{targets_file}}\", …]`")]
    Empty(String),
    /// A brace that means nothing.
    #[error("engine `{engine}`: `{argument}` has a placeholder that does not exist\nhint: one of {{{known}}}; a brace itself is written twice", known = names())]
    Placeholder {
        /// The engine.
        engine: String,
        /// The argument.
        argument: String,
    },
    /// The command would not know what to probe.
    #[error(
        "engine `{engine}`: the command line of {work} lacks {lacks}\nhint: without it the command would choose by itself what to probe"
    )]
    Lacks {
        /// The engine.
        engine: String,
        /// `sweep` or `liveness`.
        work: &'static str,
        /// What it needs.
        lacks: &'static str,
    },
}

fn names() -> String {
    PLACEHOLDERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("}, {")
}

impl Engine {
    /// Whether the configuration can work at all.
    pub fn check(&self) -> Result<(), EngineError> {
        let name = &self.name;
        let proper = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(proper) || name == "built-in" {
            return Err(EngineError::Name(name.clone()));
        }
        if self.sweep.is_none() && self.liveness.is_none() {
            return Err(EngineError::Empty(name.clone()));
        }
        for (work, argv) in [("sweep", &self.sweep), ("liveness", &self.liveness)] {
            let Some(argv) = argv else { continue };
            if argv.first().is_none_or(|program| program.is_empty() || program.contains('{')) {
                return Err(EngineError::Empty(name.clone()));
            }
            let mut used = HashSet::new();
            for argument in argv {
                let known = |word: &str| {
                    used.insert(word.to_owned());
                    PLACEHOLDERS.iter().any(|(name, _)| *name == word).then(String::new)
                };
                if fill(argument, known).is_none() {
                    return Err(EngineError::Placeholder { engine: name.clone(), argument: argument.clone() });
                }
            }
            let lacks = |lacks| Err(EngineError::Lacks { engine: name.clone(), work, lacks });
            if !used.contains("targets") && !used.contains("targets_file") {
                return lacks("{targets_file} or {targets}");
            }
            if work == "sweep" && !used.contains("ports") {
                return lacks("{ports}");
            }
        }
        Ok(())
    }
}

/// The path of the program of an engine, if it is installed.
pub fn probe(engine: &Engine) -> Option<PathBuf> {
    let argv = engine.sweep.as_ref().or(engine.liveness.as_ref())?;
    child::find(argv.first()?)
}

/// The text with its placeholders replaced; `None` when one does not exist or a brace stands alone.
pub(super) fn fill(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if rest.as_bytes().first() == Some(&brace) {
            out.push(char::from(brace));
            rest = &rest[1..];
        } else if brace == b'{' {
            let end = rest.find('}')?;
            out.push_str(&value(&rest[..end])?);
            rest = &rest[end + 1..];
        } else {
            return None;
        }
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(sweep: &[&str]) -> Engine {
        Engine {
            name: "other".into(),
            sweep: Some(sweep.iter().map(|s| s.to_string()).collect()),
            liveness: None,
            format: None,
            ipv4: true,
            ipv6: false,
            timeout: Duration::from_secs(10),
        }
    }

    #[test]
    fn a_command_that_would_choose_its_own_targets_is_refused() {
        for (sweep, expected) in [
            (vec!["masscan", "-iL", "{targets_file}", "-p{ports}", "--rate={rate}", "-oJ", "-"], None),
            (vec!["sh", "-c", "echo {{targets}} {targets} {ports}"], None),
            (vec!["masscan", "10.0.0.0/8", "-p{ports}"], Some("lacks {targets_file}")),
            (vec!["masscan", "-iL", "{targets_file}"], Some("lacks {ports}")),
            (vec!["masscan", "{target}", "{ports}"], Some("`{target}` has a placeholder")),
            (vec!["masscan", "{targets", "{ports}"], Some("placeholder")),
            (vec!["masscan", "}{targets}", "{ports}"], Some("placeholder")),
            (vec!["{targets}", "{ports}"], Some("no command line")),
            (vec![], Some("no command line")),
        ] {
            let checked = engine(&sweep).check();
            match expected {
                None => assert_eq!(checked, Ok(()), "{sweep:?}"),
                Some(word) => {
                    let text = checked.expect_err(&format!("{sweep:?}")).to_string();
                    assert!(text.contains(word) && text.contains("hint:"), "{sweep:?}: {text}");
                }
            }
        }
        for name in ["", "Masscan", "a b", "built-in", &"x".repeat(33)] {
            let named = Engine { name: (*name).to_owned(), ..engine(&["a", "{targets}", "{ports}"]) };
            assert!(named.check().is_err(), "{name}");
        }
    }
}
