//! The walls between crates: who may use whom, and what the pure ones may not link.
//!
//! A crate that is not in the table fails, so that a new one is thought about. Why the walls stand where they do is
//! ARCHITECTURE.md's.

use super::Violation;
use anyhow::Context;
use serde::Deserialize;

/// Who may use whom (ARCHITECTURE.md, "Who may use whom").
const WALLS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("packet", &[]),
    ("plan", &["model"]),
    ("assess", &["model"]),
    ("scan", &["model", "packet"]),
    ("services", &["model"]),
    ("notify", &["model"]),
    ("store", &["model"]),
    ("wire", &["model"]),
    ("node", &["model", "packet", "wire", "scan", "services"]),
    ("console", &[]),
    ("server", &["model", "wire", "plan", "assess", "notify", "store", "console"]),
    ("lab", &[]),
    (
        "portreeve",
        &["model", "packet", "plan", "assess", "scan", "services", "notify", "store", "wire", "node", "console", "server"],
    ),
    ("xtask", &["lab"]),
];

/// What tests may use beyond the walls: the crate, what it uses, and why that is no breach.
const FOR_TESTS: &[(&str, &str, &str)] = &[
    ("portreeve", "lab", "the end-to-end tests drive the real binary against the lab"),
    ("services", "lab", "identification is tried on the real servers of the lab"),
];

/// Crates that decide and never act (ARCHITECTURE.md, "Must never", 3).
pub const PURE: &[&str] = &["model", "packet", "plan", "assess"];

/// What a pure crate does not link: runtimes, sockets, system calls, randomness, databases.
const IMPURE: &[&str] = &[
    "async-io",
    "async-std",
    "axum",
    "fastrand",
    "getrandom",
    "hickory-resolver",
    "hyper",
    "lettre",
    "libc",
    "mio",
    "nix",
    "rand",
    "rand_core",
    "reqwest",
    "rustix",
    "rustls",
    "sea-orm",
    "smol",
    "socket2",
    "sqlx",
    "tempfile",
    "tokio",
    "tokio-rustls",
    "tokio-stream",
    "tokio-util",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for an ordinary one, else `dev` or `build`.
    kind: Option<String>,
    /// Set for crates of this workspace.
    path: Option<String>,
}

/// Holds what `cargo metadata` says to the tables above.
pub fn check(metadata: &str) -> anyhow::Result<Vec<Violation>> {
    let metadata: Metadata = serde_json::from_str(metadata).context("cargo metadata is not of the expected shape")?;
    let mut found = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let at = if name == "xtask" { "xtask/Cargo.toml".to_owned() } else { format!("crates/{name}/Cargo.toml") };
        let Some((_, may_use)) = WALLS.iter().find(|(crate_name, _)| *crate_name == name) else {
            found.push(Violation::new(
                at,
                format!("`{name}` is not in the table of walls, say in xtask/src/tidy/walls.rs whom it may use"),
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            let for_tests = dependency.kind.as_deref() == Some("dev");
            let ours = dependency.path.is_some();
            let excused = for_tests && FOR_TESTS.iter().any(|(who, what, _)| (*who, *what) == (name, used));
            if ours && used != name && !may_use.contains(&used) && !excused {
                let how = if for_tests { "its tests may use it only if xtask/src/tidy/walls.rs says why" } else { "it may use " };
                let list = match (for_tests, may_use.is_empty()) {
                    (true, _) => String::new(),
                    (false, true) => "nothing of ours".to_owned(),
                    (false, false) => may_use.join(", "),
                };
                found.push(Violation::new(&at, format!("`{name}` may not use `{used}`, {how}{list}")));
            }
            if PURE.contains(&name) && !for_tests && IMPURE.contains(&used) {
                found.push(Violation::new(
                    &at,
                    format!("`{name}` decides and may not link `{used}`, take what it gives as an argument"),
                ));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metadata of one package with dependencies written `kind:name`, a crate of ours with `@` before its name.
    fn of(name: &str, dependencies: &[&str]) -> String {
        let dependencies: Vec<serde_json::Value> = dependencies
            .iter()
            .map(|word| {
                let (kind, used) = word.split_once(':').unwrap_or(("", word));
                let ours = used.strip_prefix('@');
                serde_json::json!({
                    "name": ours.unwrap_or(used),
                    "kind": if kind.is_empty() { serde_json::Value::Null } else { kind.into() },
                    "path": ours.map(|o| format!("crates/{o}")),
                })
            })
            .collect();
        serde_json::json!({ "packages": [{ "name": name, "dependencies": dependencies }] }).to_string()
    }

    #[test]
    fn who_may_use_whom() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("plan", &["@model", "serde"], &[]),
            ("plan", &["@model", "@store"], &["`plan` may not use `store`, it may use model"]),
            ("model", &["@packet"], &["`model` may not use `packet`, it may use nothing of ours"]),
            ("plan", &["tokio"], &["`plan` decides and may not link `tokio`"]),
            ("plan", &["dev:tokio", "dev:rand"], &[]),
            ("packet", &["build:libc"], &["`packet` decides and may not link `libc`"]),
            ("store", &["tokio", "@model"], &[]),
            ("server", &["@scan"], &["`server` may not use `scan`"]),
            ("node", &["@store"], &["`node` may not use `store`"]),
            ("portreeve", &["@server", "@node", "dev:@lab"], &[]),
            ("portreeve", &["@lab"], &["`portreeve` may not use `lab`"]),
            ("notify", &["dev:@store"], &["its tests may use it only if"]),
            ("helpers", &[], &["`helpers` is not in the table"]),
        ];
        for (name, dependencies, expected) in cases {
            let found = check(&of(name, dependencies)).unwrap();
            assert_eq!(found.len(), expected.len(), "{name} {dependencies:?}: {found:?}");
            for (violation, words) in found.iter().zip(*expected) {
                assert!(violation.to_string().contains(words), "{name}: {violation}");
            }
        }
    }

    #[test]
    fn the_table_names_only_crates_that_it_knows() {
        for (name, may_use) in WALLS {
            for used in *may_use {
                assert!(WALLS.iter().any(|(known, _)| known == used), "{name} may use {used}, which is nobody");
            }
        }
        for (who, what, why) in FOR_TESTS {
            assert!(
                WALLS.iter().any(|(n, _)| n == who) && WALLS.iter().any(|(n, _)| n == what) && !why.is_empty(),
                "{who} {what}"
            );
        }
    }
}
