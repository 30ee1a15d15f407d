//! Real servers and what is true of them: the one list that the identification benchmark, the slow tests and the fast tests share.
//!
//! A recipe says what to start, on which ports it is expected, when it is ready, and what a client may rightly say of each port;
//! the version comes from the package itself, never from here. One more server is one more entry in one of the files beside this
//! one. Asking the servers is left to those who use the list, installing them to `scripts/ensure`.

mod admin;
mod files;
mod java;
pub mod judge;
mod mail;
mod network;
mod pairs;
mod run;
mod secured;
mod shells;
mod stores;
pub mod street;
mod web;

pub use run::{Cooked, Place};

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// In which tests a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// Starts within a second or two and is small: `make test`.
    Fast,
    /// Everything else: `make test-slow`.
    Slow,
}

/// Transport of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Whether the protocol tells the version, and who else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Not to be had without credentials, or at all: whoever names one has invented it.
    Hidden,
    /// The version of this Debian package.
    Package(&'static str),
    /// The first two numbers of that: servers that tell no more by default.
    Minor(&'static str),
    /// The version of this package in `target/tools/debs`.
    Unpacked(&'static str),
    /// The version of this package in the Python environment of `scripts/ensure slow`.
    Python(&'static str),
    /// The version of this package in the npm folder of `scripts/ensure slow`.
    Npm(&'static str),
    /// What follows the word in what the command prints: `(&["java", "-version"], "openjdk version \"")`.
    Prints(&'static [&'static str], &'static str),
    /// The version in the name of a file of the Python environment: folder, then what stands before it (`zookeeper-`).
    Jar(&'static str, &'static str),
}

/// What a client without credentials gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything, or more than it should: a check must prove it.
    Open,
    /// Nothing without a password.
    Password,
    /// Nothing without a password, which is the one that its maker or its manual gives.
    DefaultPair,
    /// Nothing from this address.
    Acl,
    /// Nothing without a certificate.
    ClientCertificate,
    /// The question does not arise: a greeting, a page that is meant for everybody.
    NotAsked,
}

/// A port of a server, and what is true of it.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// Name in results: `redis`, `spark-ui`.
    pub name: &'static str,
    /// Where it usually is.
    pub port: u16,
    /// Transport.
    pub over: Over,
    /// Names of the protocol that are right: portreeve's first, then what other scanners call it.
    pub service: &'static [&'static str],
    /// Names of the product that are right, the maker's first; empty where the protocol does not tell.
    pub product: &'static [&'static str],
    /// What it stands on, where that names itself too (the web server beneath a panel): no wrong answer, and not the right one.
    pub beneath: &'static [&'static str],
    /// Whether the version is told.
    pub version: Version,
    /// Whether TLS is in front.
    pub tls: bool,
    /// What anybody gets.
    pub access: Access,
}

impl Door {
    /// A TCP port of a server that tells nobody its version.
    pub const fn tcp(name: &'static str, port: u16, service: &'static [&'static str], product: &'static [&'static str]) -> Door {
        let (over, version, access) = (Over::Tcp, Version::Hidden, Access::NotAsked);
        Door { name, port, over, service, product, beneath: &[], version, tls: false, access }
    }

    /// The same over UDP.
    pub const fn udp(name: &'static str, port: u16, service: &'static [&'static str], product: &'static [&'static str]) -> Door {
        Door { over: Over::Udp, ..Door::tcp(name, port, service, product) }
    }

    /// On one of these.
    pub const fn beneath(self, beneath: &'static [&'static str]) -> Door {
        Door { beneath, ..self }
    }

    /// With a version that is told.
    pub const fn version(self, version: Version) -> Door {
        Door { version, ..self }
    }

    /// With this for anybody.
    pub const fn access(self, access: Access) -> Door {
        Door { access, ..self }
    }

    /// Behind TLS.
    pub const fn tls(self) -> Door {
        Door { tls: true, ..self }
    }

    /// The version that the package has, where the protocol tells it; an error when the package is not there.
    pub fn true_version(&self) -> Result<Option<String>> {
        self.version.look_up().with_context(|| format!("the true version of {}", self.name))
    }
}

/// When a server can be asked.
#[derive(Clone, Copy, Debug)]
pub enum Ready {
    /// When its TCP ports accept, and its UDP ports are bound.
    Accepts,
    /// When its log holds this too.
    Logs(&'static str),
    /// When the first port answers these bytes with something that holds the text.
    Answers(&'static [u8], &'static str),
}

/// A server that can be started.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Its name, unlike every other.
    pub name: &'static str,
    /// In which tests it runs.
    pub suite: Suite,
    /// Its ports, the one it is known by first.
    pub doors: &'static [Door],
    /// When it can be asked.
    pub ready: Ready,
    /// Writes what it needs into the place and gives the command that runs it in the foreground.
    pub command: fn(&Place) -> Result<Command>,
    /// What only its user would do once it runs: make a table, load a page.
    pub settle: Option<fn(&Place) -> Result<()>>,
    /// Everything in it that a question could change, as text: equal before and after, or something was changed.
    pub state: Option<fn(&Place) -> Result<String>>,
}

impl Recipe {
    /// A server of the fast tests that is ready when it accepts.
    pub const fn fast(name: &'static str, doors: &'static [Door], command: fn(&Place) -> Result<Command>) -> Recipe {
        Recipe { name, suite: Suite::Fast, doors, ready: Ready::Accepts, command, settle: None, state: None }
    }

    /// The same of the slow tests.
    pub const fn slow(name: &'static str, doors: &'static [Door], command: fn(&Place) -> Result<Command>) -> Recipe {
        Recipe { suite: Suite::Slow, ..Recipe::fast(name, doors, command) }
    }

    /// Ready only then.
    pub const fn ready(self, ready: Ready) -> Recipe {
        Recipe { ready, ..self }
    }

    /// With what its user does first.
    pub const fn settle(self, settle: fn(&Place) -> Result<()>) -> Recipe {
        Recipe { settle: Some(settle), ..self }
    }

    /// With a state to compare.
    pub const fn state(self, state: fn(&Place) -> Result<String>) -> Recipe {
        Recipe { state: Some(state), ..self }
    }

    /// Its ports as they usually are.
    pub fn usual_ports(&self) -> Vec<u16> {
        self.doors.iter().map(|d| d.port).collect()
    }

    /// Other ports for it: one more from `next` for each number that it usually has. Doors of one number, TCP and UDP, keep
    /// together.
    pub fn other_ports(&self, mut next: impl FnMut() -> u16) -> Vec<u16> {
        let mut chosen: Vec<(u16, u16)> = Vec::new();
        let mut ports = Vec::new();
        for door in self.doors {
            let known = chosen.iter().find(|(usual, _)| *usual == door.port).map(|(_, other)| *other);
            let other = known.unwrap_or_else(&mut next);
            chosen.push((door.port, other));
            ports.push(other);
        }
        ports
    }
}

/// Every recipe there is.
pub fn all() -> Vec<&'static Recipe> {
    let lists: [&'static [Recipe]; 10] = [
        stores::RECIPES,
        secured::RECIPES,
        pairs::RECIPES,
        shells::RECIPES,
        files::RECIPES,
        mail::RECIPES,
        web::RECIPES,
        admin::RECIPES,
        network::RECIPES,
        java::RECIPES,
    ];
    lists.into_iter().flatten().collect()
}

/// The recipe of this name. Panics when there is none: names are written by hand, in tests.
pub fn named(name: &str) -> &'static Recipe {
    all().into_iter().find(|r| r.name == name).unwrap_or_else(|| panic!("there is no recipe {name}"))
}

/// The folder into which `scripts/ensure` puts what is no Debian package.
pub fn tools() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools")
}

/// A program: in PATH, where administrators have theirs, or among what `scripts/ensure` fetched.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = path.split(':').map(PathBuf::from).collect();
    folders.extend(["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/lib/postgresql/15/bin"].map(PathBuf::from));
    for package in ["proftpd-core", "pure-ftpd", "exim4-daemon-light"] {
        folders.push(tools().join("debs").join(package).join("usr/sbin"));
    }
    folders.extend([tools().join("venv/bin"), tools().join("npm/node_modules/.bin")]);
    let found = folders.iter().map(|folder| folder.join(name)).find(|p| p.exists());
    found.with_context(|| format!("`{name}` is not installed\nhint: scripts/ensure test (or scripts/ensure slow) installs it"))
}

impl Version {
    fn look_up(&self) -> Result<Option<String>> {
        let said = |program: &str, args: &[&str]| -> Result<String> {
            let out = Command::new(program).args(args).output().with_context(|| format!("{program} cannot be started"))?;
            // java prints its version on standard error
            Ok(String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
        };
        let version = match self {
            Version::Hidden => return Ok(None),
            Version::Package(package) => {
                let full = said("dpkg-query", &["-W", "-f", "${Version}", package])?;
                if full.contains("no packages found") || full.is_empty() {
                    bail!("the Debian package {package} is not installed");
                }
                full
            }
            Version::Minor(package) => {
                let full = Version::Package(package).look_up()?.unwrap_or_default();
                full.split('.').take(2).collect::<Vec<_>>().join(".")
            }
            Version::Unpacked(package) => std::fs::read_to_string(tools().join("debs").join(package).join("version"))?,
            Version::Python(package) => {
                // Beside a package's folder stands one named after its release.
                let before = format!("{}-", package.replace('-', "_"));
                let site = python_package("pip")?.with_file_name("");
                let names = std::fs::read_dir(&site)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
                let version = |n: String| n.strip_prefix(&before)?.strip_suffix(".dist-info").map(str::to_owned);
                names.filter_map(version).next().with_context(|| format!("no {before}*.dist-info in {}", site.display()))?
            }
            Version::Npm(package) => {
                let file = tools().join("npm/node_modules").join(package).join("package.json");
                let json: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
                json["version"].as_str().context("a package without a version")?.to_owned()
            }
            Version::Prints(command, before) => {
                let text = said(&program(command[0])?.to_string_lossy(), &command[1..])?;
                let rest = text.split_once(before).with_context(|| format!("`{before}` is not in: {text}"))?.1;
                let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | ')' | ';'));
                rest[..end.unwrap_or(rest.len())].to_owned()
            }
            Version::Jar(package, before) => {
                let jars = python_package(package)?.join("jars");
                let names = std::fs::read_dir(&jars)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
                let version = |n: String| n.strip_prefix(before)?.strip_suffix(".jar").map(str::to_owned);
                let plain = names.filter_map(version).find(|v| v.starts_with(|c: char| c.is_ascii_digit()));
                plain.with_context(|| format!("no {before}*.jar in {}", jars.display()))?
            }
        };
        Ok(Some(version.trim().to_owned()))
    }
}

/// The folder of a package in the Python environment.
pub(crate) fn python_package(name: &str) -> Result<PathBuf> {
    let lib = tools().join("venv/lib");
    let folders = std::fs::read_dir(&lib).with_context(|| format!("{}\nhint: run scripts/ensure slow", lib.display()))?;
    let found = folders.flatten().map(|e| e.path().join("site-packages").join(name)).find(|p| p.exists());
    found.with_context(|| format!("the Python package {name} is not there\nhint: run scripts/ensure slow"))
}

/// Whether a version that was reported is the package's, exactly: `9.2p1 Debian-2+deb12u10` and `9.2p1` are those of
/// `1:9.2p1-2+deb12u10`; `9.2` is not. What follows the upstream version must be the package's own words.
pub fn same_version(reported: &str, package: &str) -> bool {
    let package = package.split_once(':').map_or(
        package,
        |(epoch, rest)| {
            if epoch.bytes().all(|b| b.is_ascii_digit()) { rest } else { package }
        },
    );
    let upstream = package.rsplit_once('-').map_or(package, |(upstream, _)| upstream);
    // "+dfsg" says that the maintainers left files out, which no server knows; "~rc0" is part of the version
    let plain = upstream.split_once('+').map_or(upstream, |(plain, _)| plain);
    let plain = plain.split_once(".ds").map_or(plain, |(plain, _)| plain);
    let reported = reported.trim().trim_start_matches('v');
    [upstream, plain].into_iter().any(|v| {
        let Some(rest) = reported.strip_prefix(v).filter(|_| !v.is_empty()) else { return false };
        // Jetty's releases end in their day
        let rest = match rest.strip_prefix(".v") {
            Some(day) if day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit()) => "",
            _ => rest,
        };
        let separate = rest.is_empty() || rest.starts_with([' ', '-', '+', '(']);
        // what is left names the distribution, or says again what the package says
        let words = rest.split(|c: char| " -()".contains(c));
        separate
            && words.into_iter().all(|w| {
                let w = w.trim_matches('+');
                ["", "Debian", "MariaDB", "dfsg1", "linux", "Linux", "Unix"].contains(&w) || package.contains(w)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_recipe_and_every_door_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for recipe in all() {
            assert!(names.insert(recipe.name), "{} is there twice", recipe.name);
            assert!(!recipe.doors.is_empty(), "{} has no port", recipe.name);
        }
        let mut doors = BTreeSet::new();
        for door in all().iter().flat_map(|r| r.doors) {
            assert!(doors.insert(door.name), "the port {} is there twice", door.name);
            assert!(!door.service.is_empty(), "{} has no protocol", door.name);
        }
    }

    #[test]
    fn there_are_enough_of_them() {
        let fast = all().iter().filter(|r| r.suite == Suite::Fast).count();
        assert!(fast >= 18 && all().len() >= 40, "{fast} fast ones of {}", all().len());
    }

    #[test]
    fn a_version_is_the_packages_or_it_is_not() {
        let same = [
            ("7.0.15", "5:7.0.15-1~deb12u5"),
            ("9.2p1 Debian-2+deb12u10", "1:9.2p1-2+deb12u10"),
            ("9.2p1", "1:9.2p1-2+deb12u10"),
            ("10.11.19-MariaDB-0+deb12u1", "1:10.11.19-0+deb12u1"),
            ("10.11.19", "1:10.11.19-0+deb12u1"),
            ("20.10.24+dfsg1", "20.10.24+dfsg1-1+deb12u1+b6"),
            ("20.10.24", "20.10.24+dfsg1-1+deb12u1"),
            ("1.6.7~rc0", "1.6.7~rc0-1+b13"),
            ("15.18 (Debian 15.18-0+deb12u1)", "15.18-0+deb12u1"),
            ("1.20.1", "1.20.1"),
            ("3.0.11.33637", "3.0.11.33637.ds4-2+deb12u1"),
            ("9.4.57.v20241219", "9.4.57-1.1~deb12u1"),
        ];
        for (reported, package) in same {
            assert!(same_version(reported, package), "{reported} is {package}");
        }
        let other = [
            ("9.2", "1:9.2p1-2+deb12u10"),
            ("7.0.1", "5:7.0.15-1"),
            ("7.0.15.1", "5:7.0.15-1"),
            ("1.6.7", "1.6.7~rc0-1+b13"),
            ("5.5.5-10.11.19-MariaDB", "1:10.11.19-0+deb12u1"),
            ("9.2p1 Debian-3", "1:9.2p1-2+deb12u10"),
            ("", "1.0-1"),
        ];
        for (reported, package) in other {
            assert!(!same_version(reported, package), "{reported} is not {package}");
        }
    }
}
