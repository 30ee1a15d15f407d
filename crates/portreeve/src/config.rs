//! What `serve` needs before its database is up: flags over environment over file over defaults, unknown keys refused.
//!
//! What operators change while the system runs is in `model::settings`, in the database.

use crate::cli::{LogFormat, ServeArgs};
use anyhow::Context;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use model::IpRange;
use scan::external::Engine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Prefix of the environment's variables: PORTREEVE_DB, PORTREEVE_LISTEN …
const ENV_PREFIX: &str = "PORTREEVE_";

/// The process's configuration. The names are the keys of the file and, in capitals, of the environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory of the embedded database and of the first sign-in.
    pub data: PathBuf,
    /// PostgreSQL instead of the embedded SQLite.
    pub db: Option<String>,
    /// Console and API.
    pub listen: SocketAddr,
    /// Ranges added as assets at the first start.
    pub watch: Vec<String>,
    /// How the embedded node asks ports: auto, syn or connect.
    pub method: String,
    /// Jobs it works on at once.
    pub slots: u32,
    /// Name of the place it probes from.
    pub vantage: String,
    /// Rules and checks of the operator's own, beside the built-in catalogue.
    pub catalog: Option<PathBuf>,
    /// URL of the console in notifications.
    pub console_url: Option<String>,
    /// Log format.
    pub log_format: LogFormat,
    /// Other scanners that tasks may name. Only the file has them: whoever may change it may run commands as this process.
    pub engines: BTreeMap<String, EngineConfig>,
}

/// Another scanner: what is run, and how its output is read. Placeholders in braces are filled in for each run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Command line of a sweep.
    pub sweep: Option<Vec<String>>,
    /// Command line of a liveness pass.
    pub liveness: Option<Vec<String>>,
    /// nmap-xml, masscan-json, masscan-list or naabu-json; told from the first bytes when absent.
    pub format: Option<String>,
    /// Addresses that it takes: ipv4, ipv6 or both.
    #[serde(default)]
    pub family: Family,
    /// Longest time that one run may take, in seconds.
    #[serde(default = "an_hour")]
    pub timeout_s: u64,
}

/// Families of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4 alone.
    #[default]
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// Both, in one run.
    Both,
}

/// A job is about a minute of our own work; a scanner that takes an hour for one hangs.
fn an_hour() -> u64 {
    3_600
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: "data".into(),
            db: None,
            listen: ([127, 0, 0, 1], 8460).into(),
            watch: Vec::new(),
            method: "auto".into(),
            slots: 24,
            vantage: "local".into(),
            catalog: None,
            console_url: None,
            log_format: LogFormat::Text,
            engines: BTreeMap::new(),
        }
    }
}

/// The flags that were given, under the names of the file.
#[derive(Serialize)]
struct Flags<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    db: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    watch: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vantage: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    catalog: Option<&'a PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    console_url: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
}

impl Config {
    /// The configuration that these flags, the environment and the file named amount to.
    pub fn load(args: &ServeArgs) -> anyhow::Result<Config> {
        let flags = Flags {
            data: args.data.as_ref(),
            db: args.db.as_ref(),
            listen: args.listen,
            watch: &args.watch,
            method: args.method.map(scan::Method::as_str),
            slots: args.slots,
            vantage: args.vantage.as_ref(),
            catalog: args.catalog.as_ref(),
            console_url: args.console_url.as_ref(),
            log_format: args.log_format,
        };
        let mut layers = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = &args.config {
            if !file.is_file() {
                anyhow::bail!("config file `{}` does not exist", file.display());
            }
            layers = layers.merge(Toml::file_exact(file));
        }
        let from_file = args.config.as_deref();
        let config: Config = layers.merge(environment()).merge(Serialized::defaults(flags)).extract().map_err(explain)?;
        config.check()?;
        if let Some(file) = from_file.filter(|_| !config.engines.is_empty()) {
            only_ours(file)?;
        }
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.method()?;
        if self.slots == 0 || self.slots > 256 {
            anyhow::bail!("setting `slots`: {} is not between 1 and 256", self.slots);
        }
        let name_ok =
            |s: &str| !s.is_empty() && s.len() <= 64 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !name_ok(&self.vantage) {
            anyhow::bail!(
                "setting `vantage`: `{}` is not a name\nhint: at most 64 letters, digits, `-`, `_` and `.`",
                self.vantage
            );
        }
        if let Some(db) = &self.db
            && !db.starts_with("postgres://")
            && !db.starts_with("postgresql://")
        {
            anyhow::bail!(
                "setting `db` is not a PostgreSQL URL\nhint: postgres://user:password@host/database; leave it out to use the embedded SQLite in `data`"
            );
        }
        self.engines()?;
        self.watched().map(drop)
    }

    /// [`Config::engines`] as the node takes them.
    pub fn engines(&self) -> anyhow::Result<Vec<Engine>> {
        let engine = |(name, c): (&String, &EngineConfig)| {
            let setting = || format!("setting `engines.{name}`");
            let format = c.format.as_deref().map(str::parse).transpose().map_err(anyhow::Error::msg).with_context(setting)?;
            if c.timeout_s == 0 || c.timeout_s > 86_400 {
                anyhow::bail!("{}: `timeout_s` {} is not between 1 and 86400", setting(), c.timeout_s);
            }
            let engine = Engine {
                name: name.clone(),
                sweep: c.sweep.clone(),
                liveness: c.liveness.clone(),
                format,
                ipv4: c.family != Family::Ipv6,
                ipv6: c.family != Family::Ipv4,
                timeout: Duration::from_secs(c.timeout_s),
            };
            engine.check().with_context(setting)?;
            Ok(engine)
        };
        self.engines.iter().map(engine).collect()
    }

    /// [`Config::watch`] as ranges.
    pub fn watched(&self) -> anyhow::Result<Vec<IpRange>> {
        self.watch
            .iter()
            .map(|word| word.parse::<IpRange>().and_then(|r| r.require_unicast(word)).context("setting `watch`"))
            .collect()
    }

    /// [`Config::method`] parsed.
    pub fn method(&self) -> anyhow::Result<scan::Method> {
        self.method.parse().map_err(anyhow::Error::msg).context("setting `method`")
    }

    /// URL of the database.
    pub fn database_url(&self) -> anyhow::Result<String> {
        database_url(self.db.as_deref(), &self.data)
    }
}

/// URL of the database that these two settings name.
pub fn database_url(db: Option<&str>, data: &Path) -> anyhow::Result<String> {
    match db {
        Some(url) => Ok(url.to_owned()),
        None => {
            let path = std::path::absolute(data).with_context(|| format!("data directory `{}`", data.display()))?;
            Ok(format!("sqlite://{}", path.join("portreeve.db").display()))
        }
    }
}

/// Whoever may write the file may run commands as this process, so that must be nobody but its owner.
fn only_ours(file: &Path) -> anyhow::Result<()> {
    let mode = file.metadata().map(|m| m.permissions().mode()).unwrap_or(0);
    if mode & 0o022 != 0 {
        anyhow::bail!(
            "config file `{0}` has engines and others than its owner may write it\nhint: chmod go-w {0}",
            file.display()
        );
    }
    Ok(())
}

/// The environment's settings; PORTREEVE_LOG is the log filter's, PORTREEVE_URL and PORTREEVE_TOKEN are `import`'s, and commands
/// come from the file alone.
fn environment() -> Env {
    Env::prefixed(ENV_PREFIX).ignore(&["log", "url", "token", "engines"])
}

/// figment's errors with where the setting came from and what settings there are.
fn explain(error: figment::Error) -> anyhow::Error {
    let mut lines = Vec::new();
    for e in error {
        let from = e.metadata.as_ref().map(|m| match &m.source {
            Some(source) => format!(" (in {source})"),
            None => format!(" (in the {})", m.name),
        });
        let path = if e.path.is_empty() { String::new() } else { format!("setting `{}`: ", e.path.join(".")) };
        lines.push(format!("{path}{}{}", e.kind, from.unwrap_or_default()));
    }
    lines.push(
        "hint: `portreeve serve --help` lists the settings; the file and PORTREEVE_… use the same names with `_` for `-`".into(),
    );
    anyhow::anyhow!(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn load(argv: &[&str], file: Option<&str>) -> Result<Config, String> {
        let mut argv: Vec<String> = ["portreeve", "serve"].iter().chain(argv).map(|s| s.to_string()).collect();
        let path =
            std::env::temp_dir().join(format!("portreeve-config-{}-{:?}.toml", std::process::id(), std::thread::current().id()));
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
            argv.extend(["--config".into(), path.display().to_string()]);
        }
        let crate::cli::Command::Serve(args) = crate::cli::Cli::parse_from(argv).command else { unreachable!() };
        let loaded = Config::load(&args).map_err(|e| format!("{e:#}"));
        let _ = std::fs::remove_file(path);
        loaded
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let config = load(&["--slots", "3"], Some("slots = 5\nvantage = \"dmz\"\n")).unwrap();
        assert_eq!((config.slots, config.vantage.as_str(), config.listen.port()), (3, "dmz", 8460));
        assert!(config.database_url().unwrap().ends_with("/data/portreeve.db"));
    }

    #[test]
    fn wrong_settings_are_named_with_a_hint() {
        for (argv, file, parts) in [
            (vec![], Some("slotz = 5"), vec!["slotz", "hint:"]),
            (vec![], Some("slots = \"many\""), vec!["`slots`", "many"]),
            (vec![], Some("slots = "), vec![".toml"]),
            (vec!["--watch", "10.0.0.0/33"], None, vec!["`watch`", "`10.0.0.0/33`"]),
            (vec!["--watch", "224.0.0.1"], None, vec!["multicast"]),
            (vec!["--db", "mysql://x"], None, vec!["`db`", "postgres://"]),
            (vec!["--slots", "0"], None, vec!["`slots`"]),
            (vec!["--vantage", "a b"], None, vec!["`vantage`", "`a b`"]),
        ] {
            let err = load(&argv, file).unwrap_err();
            for part in parts {
                assert!(err.contains(part), "{argv:?} {file:?}: {err}");
            }
        }
    }
    #[test]
    fn engines_come_from_a_file_that_only_its_owner_writes() {
        let masscan = "[engines.masscan]\nsweep = [\"masscan\", \"-iL\", \"{targets_file}\", \"-p{ports}\", \"-oJ\", \"-\"]\n";
        let config = load(&[], Some(masscan)).unwrap();
        let engines = config.engines().unwrap();
        assert_eq!((engines[0].name.as_str(), engines[0].ipv4, engines[0].ipv6), ("masscan", true, false));
        for (file, parts) in [
            (format!("{masscan}shell = true\n"), vec!["engines.masscan", "shell"]),
            (format!("{masscan}format = \"grepable\"\n"), vec!["engines.masscan", "`grepable`", "nmap-xml"]),
            (format!("{masscan}family = \"ipv5\"\n"), vec!["family", "ipv5"]),
            (format!("{masscan}timeout_s = 0\n"), vec!["timeout_s"]),
            ("[engines.x]\nsweep = [\"masscan\", \"0.0.0.0/0\"]\n".into(), vec!["engines.x", "lacks {targets_file}", "hint:"]),
            ("[engines.Bad]\nsweep = [\"a\", \"{targets}{ports}\"]\n".into(), vec!["`Bad` is not a name"]),
        ] {
            let err = load(&[], Some(&file)).unwrap_err();
            for part in parts {
                assert!(err.contains(part), "{file}: {err}");
            }
        }
        let path = std::env::temp_dir().join(format!("portreeve-open-{}.toml", std::process::id()));
        std::fs::write(&path, masscan).unwrap();
        for (mode, ok) in [(0o666, false), (0o620, false), (0o644, true), (0o600, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(only_ours(&path).is_ok(), ok, "{mode:o}");
        }
        std::fs::remove_file(path).unwrap();
    }
    #[test]
    fn the_guide_shows_engines_that_work() {
        let guide = include_str!("../../../docs/guides/other-engines.md");
        let block =
            guide.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the guide has a block of TOML");
        let engines = load(&[], Some(block)).unwrap().engines().unwrap();
        let names: Vec<&str> = engines.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["masscan", "nmap"]);
        for (name, _) in scan::external::PLACEHOLDERS {
            assert!(guide.contains(&format!("| `{{{name}}}` |")), "the guide does not explain {{{name}}}");
        }
    }
}
