//! Turns the words of `portreeve scan` into ranges: addresses, CIDRs, ranges, hostnames and @files.
//!
//! Every refusal names the word. What may be probed is decided here once, as the run's scope; pacing is left to `scan`.

use anyhow::{Context, bail};
use hickory_resolver::TokioResolver;
use model::address::{PUBLIC_WITHOUT_AUTHORISATION, merge, public_addresses, subtract};
use model::{IpRange, Scope};
use std::path::Path;

/// A wrong word on the command line; ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// What a run is about.
#[derive(Debug)]
pub struct Targets {
    /// Addresses to probe, disjoint.
    pub ranges: Vec<IpRange>,
    /// The same as a scope.
    pub scope: Scope,
    /// Hostname of an address, where one was given.
    pub names: Vec<(std::net::IpAddr, String)>,
}

/// Reads the words; resolves hostnames.
pub async fn resolve(words: &[String], exclude: &[String], authorized: bool) -> anyhow::Result<Targets> {
    let mut names = Vec::new();
    let wanted = ranges_of(words, &mut names).await?;
    let excluded = ranges_of(exclude, &mut Vec::new()).await?;
    let ranges = subtract(&wanted, &excluded);
    if ranges.is_empty() {
        bail!(UsageError("nothing is left to probe: the exclusions cover every target".into()));
    }
    let public = public_addresses(&ranges);
    if public > PUBLIC_WITHOUT_AUTHORISATION && !authorized {
        bail!(UsageError(format!(
            "these targets hold {public} public addresses, more than {PUBLIC_WITHOUT_AUTHORISATION}\nhint: probe only what you are authorised to probe; if you are, say so with --authorized"
        )));
    }
    Ok(Targets { scope: Scope::new(&ranges, &[]), ranges, names })
}

async fn ranges_of(words: &[String], names: &mut Vec<(std::net::IpAddr, String)>) -> anyhow::Result<Vec<IpRange>> {
    let mut ranges = Vec::new();
    let mut resolver = None;
    for (word, origin) in expand_files(words)? {
        let refused = |e: String| UsageError(format!("{e}{origin}"));
        match word.parse::<IpRange>() {
            Ok(range) => ranges.push(range.require_unicast(&word).map_err(|e| refused(e.to_string()))?),
            Err(e) if !looks_like_hostname(&word) => bail!(refused(e.to_string())),
            Err(_) => {
                let resolver =
                    match &resolver {
                        Some(r) => r,
                        None => resolver.insert(TokioResolver::builder_tokio().and_then(|b| b.build()).context(
                            "the system's resolver configuration cannot be read\nhint: give addresses instead of names",
                        )?),
                    };
                let found: Vec<_> = match resolver.lookup_ip(word.as_str()).await {
                    Ok(found) => found.iter().collect(),
                    Err(_) => {
                        bail!(refused(format!("`{word}` is not an address, CIDR or range, and does not resolve as a hostname")))
                    }
                };
                for ip in found {
                    ranges.push(IpRange::single(ip).require_unicast(&word).map_err(|e| refused(e.to_string()))?);
                    names.push((ip, word.clone()));
                }
            }
        }
    }
    Ok(merge(&ranges))
}

/// The words with every `@file` replaced by its lines; each with where it stands, for error messages.
fn expand_files(words: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let mut expanded = Vec::new();
    for word in words {
        let Some(file) = word.strip_prefix('@') else {
            expanded.push((word.clone(), String::new()));
            continue;
        };
        let text = std::fs::read_to_string(Path::new(file)).map_err(|e| {
            UsageError(format!("target file `{file}` cannot be read: {e}\nhint: @FILE names a text file with one target a line"))
        })?;
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            for word in line.split([' ', '\t', ',']).filter(|w| !w.is_empty()) {
                expanded.push((word.to_owned(), format!(" ({file}, line {})", n + 1)));
            }
        }
    }
    Ok(expanded)
}

/// Whether the word could be a DNS name: labels of letters, digits and hyphens, at least one letter in the last one.
fn looks_like_hostname(word: &str) -> bool {
    let name = word.strip_suffix('.').unwrap_or(word);
    let label_ok = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253
        && name.split('.').all(label_ok)
        && name.rsplit('.').next().is_some_and(|l| l.bytes().any(|b| b.is_ascii_alphabetic()))
        // `10.0.0.1-x` is a mistyped range, not a name.
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || name.bytes().any(|b| b.is_ascii_alphabetic() && b != b'x'))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(words: &[&str], exclude: &[&str], authorized: bool) -> Result<Vec<String>, String> {
        let own = |w: &[&str]| w.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        resolve(&own(words), &own(exclude), authorized)
            .await
            .map(|t| t.ranges.iter().map(ToString::to_string).collect())
            .map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn words_become_disjoint_ranges() {
        let found = run(&["10.0.0.0/30", "10.0.0.2-9", "2001:db8::1"], &["10.0.0.1"], false).await.unwrap();
        assert_eq!(found, ["10.0.0.0", "10.0.0.2-10.0.0.9", "2001:db8::1"]);
    }

    #[tokio::test]
    async fn wrong_words_are_named() {
        for (word, part) in [
            ("10.0.0.0/33", "`10.0.0.0/33`"),
            ("300.1.2.3", "`300.1.2.3`"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("0.0.0.0", "unspecified"),
            ("ff02::1", "multicast"),
            ("10.0.0.9-10.0.0.1", "`10.0.0.9-10.0.0.1`"),
            ("no_such_file", "no_such_file"),
            ("@no-such-file", "`no-such-file`"),
        ] {
            let err = run(&[word], &[], false).await.unwrap_err();
            assert!(err.contains(part), "{word}: {err}");
        }
    }

    #[tokio::test]
    async fn many_public_addresses_ask_for_authorisation() {
        assert!(run(&["8.8.8.0/24"], &[], false).await.is_ok());
        let err = run(&["8.8.8.0/23"], &[], false).await.unwrap_err();
        assert!(err.contains("512 public addresses") && err.contains("--authorized"), "{err}");
        assert!(run(&["8.8.8.0/23"], &[], true).await.is_ok());
        assert!(run(&["10.0.0.0/8"], &[], false).await.is_ok());
        assert!(run(&["10.0.0.0/7"], &[], false).await.is_err(), "11.0.0.0/8 is public");
    }

    #[tokio::test]
    async fn files_hold_targets_and_comments_and_errors_name_the_line() {
        let dir = std::env::temp_dir().join(format!("portreeve-targets-{}", std::process::id()));
        std::fs::write(&dir, "10.0.0.1 # router\n\n10.0.0.2, 10.0.0.3\n").unwrap();
        let file = format!("@{}", dir.display());
        assert_eq!(run(&[&file], &[], false).await.unwrap(), ["10.0.0.1-10.0.0.3"]);
        std::fs::write(&dir, "10.0.0.1\n10.0.0.0/99\n").unwrap();
        let err = run(&[&file], &[], false).await.unwrap_err();
        assert!(err.contains("line 2"), "{err}");
        std::fs::remove_file(dir).unwrap();
    }
}
