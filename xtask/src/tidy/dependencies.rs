//! What we link: every dependency under a permissive licence, and one TLS stack.
//!
//! Read from cargo's own resolution, so it holds for what is really built. Advisories against versions are left to the
//! people who update them.

use super::Violation;
use anyhow::Context;
use serde::Deserialize;

/// Licences that ask for a notice and nothing else, by their SPDX names.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Mozilla's root certificates as data (webpki-root-certs).
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// A second TLS stack or crypto provider in the graph: rustls then refuses to choose, or two sets of trust disagree.
const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for crates of this workspace.
    source: Option<String>,
}

/// Holds what `cargo metadata` says of all packages to the lists above.
pub fn check(metadata: &str) -> anyhow::Result<Vec<Violation>> {
    let metadata: Metadata = serde_json::from_str(metadata).context("cargo metadata is not of the expected shape")?;
    let mut found = Vec::new();
    for package in metadata.packages.iter().filter(|p| p.source.is_some()) {
        let named = format!("{} {}", package.name, package.version);
        if BANNED.contains(&package.name.as_str()) {
            found.push(Violation::new(
                "Cargo.lock",
                format!("links `{named}`, a second TLS stack; choose rustls with ring in the features"),
            ));
        }
        match &package.license {
            None => found.push(Violation::new("Cargo.lock", format!("`{named}` states no licence, use another"))),
            Some(license) if !permissive(license) => {
                found.push(Violation::new(
                    "Cargo.lock",
                    format!("`{named}` is under {license}, use one under a permissive licence"),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(found)
}

/// Whether an SPDX expression lets us choose permissive terms only: one alternative of every part that is required.
/// `/` is the old spelling of OR.
fn permissive(expression: &str) -> bool {
    let flat = expression.replace('/', " OR ");
    let mut depth = 0;
    // Split at the ANDs outside of parentheses; then every part needs one alternative that is fine.
    let mut parts = vec![String::new()];
    for word in flat.split_whitespace() {
        if word == "AND" && depth == 0 {
            parts.push(String::new());
            continue;
        }
        depth += word.matches('(').count();
        depth -= word.matches(')').count().min(depth);
        let part = parts.last_mut().expect("one part at least");
        if !part.is_empty() {
            part.push(' ');
        }
        part.push_str(word.trim_matches(['(', ')']));
    }
    parts.iter().all(|part| part.split(" OR ").any(|licence| licence.split(" AND ").all(|l| PERMISSIVE.contains(&l.trim()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_permissive_when_one_choice_is() {
        for (expression, fine) in [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("MIT OR Apache-2.0 OR LGPL-2.1-or-later", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("MPL-2.0", false),
            ("GPL-3.0-only", false),
            ("MIT AND GPL-3.0-only", false),
            ("(MIT OR GPL-3.0-only) AND MPL-2.0", false),
            ("EUPL-1.2", false),
        ] {
            assert_eq!(permissive(expression), fine, "{expression}");
        }
    }

    #[test]
    fn a_copyleft_dependency_and_a_second_tls_stack_are_found() {
        let package = |name: &str, license: &str| {
            format!(r#"{{"name":"{name}","version":"1.0.0","license":{license},"source":"registry"}}"#)
        };
        let of = |packages: &[String]| check(&format!(r#"{{"packages":[{}]}}"#, packages.join(","))).unwrap();
        assert_eq!(of(&[package("ring", r#""Apache-2.0 AND ISC""#)]), []);
        assert_eq!(of(&[package("openssl", r#""Apache-2.0""#)]).len(), 1);
        assert_eq!(of(&[package("x", r#""MPL-2.0""#), package("y", "null")]).len(), 2);
    }
}
