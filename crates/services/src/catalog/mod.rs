//! The rules of `catalog/services/` and `catalog/panels/`, and of an operator's own directory: read once, compiled, asked
//! about bytes.
//!
//! A rule says in which answer it looks (`on`), what must match there, and what that proves; its cases are real answers
//! that the tests and `portreeve catalog test` hold it to. What to ask a server in which order is left to `order`.

mod cases;
mod load;
mod panel;
mod rule;
mod spec;

pub use cases::{CaseFailure, Tally, test};
pub use load::CatalogError;
pub(crate) use panel::{Fetched, PanelFound, Site};
pub(crate) use rule::{Verdict, compile};
pub use spec::Reached;

use crate::check::Library;
use crate::http::{self, Response};
use crate::protocol::{CODECS, Codec, Reading};
use load::Folder;
use panel::{PanelRule, Technology};
use regex::bytes::Regex;
use rule::{On, Rule, settle};
use spec::ExcludedSpec;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

/// One line per file.
macro_rules! files {
    ($($folder:literal: $($name:literal)*;)*) => {
        &[$($((concat!($folder, "/", $name, ".toml"), include_str!(concat!("../../../../catalog/", $folder, "/", $name, ".toml"))),)*)*]
    };
}

/// Services, most specific names first; the order decides nothing but the documentation's.
const SERVICES: &[(&str, &str)] = files! {
    "services":
        "ssh" "ftp" "smtp" "pop3" "imap" "telnet" "rsync" "vnc" "mysql" "nats" "nats-monitor" "redis" "memcached" "postgresql" "mongodb"
        "ldap" "rdp" "smb" "kafka" "zookeeper" "http" "elasticsearch" "docker" "etcd" "couchdb" "influxdb" "kubernetes"
        "flink" "spark" "spark-web" "hadoop" "hadoop-web" "supervisor" "weblogic" "nacos" "glassfish" "rpcbind" "nfs"
        "mountd" "nlockmgr" "rpc-statd" "oracle-tns" "mssql" "drda" "rmi" "iiop" "tls" "mqtt" "amqp" "activemq" "stomp"
        "cassandra" "clickhouse" "x11" "socks" "ajp" "epmd" "adb" "dubbo" "rocketmq" "zabbix-agent" "zabbix" "thrift" "h2" "h2-console"
        "hsqldb" "firebird" "kerberos" "git" "iscsi" "serf-rpc" "dns" "rtmp" "dask" "tor" "svn" "sip" "rtsp" "xmpp" "irc"
        "finger" "ident" "daytime" "chargen" "munin" "gearman" "beanstalkd" "gpsd" "dict" "nut" "nntp" "mpd" "asterisk-manager"
        "tarantool" "ceph" "cvs" "check-mk" "teamspeak" "zeromq" "distcc" "prometheus" "alertmanager" "node-exporter"
        "consul" "kubelet" "ollama" "ray" "neo4j" "http2" "websocket" "podman" "elasticsearch-transport" "jdwp" "pcanywhere"
        "rundeck";
};

const PANELS: &[(&str, &str)] = files! { "panels": "data" "delivery" "java" "monitoring" "web" "technologies"; };

const EXCLUDED: (&str, &str) = ("services/excluded.toml", include_str!("../../../../catalog/services/excluded.toml"));

/// A service as the documentation and `portreeve catalog list` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSummary {
    /// [`model::Service::name`].
    pub name: String,
    /// Products its rules can name.
    pub products: BTreeSet<String>,
    /// Ports that promise it.
    pub ports: Vec<u16>,
    /// Requests and answers that its rules look at.
    pub on: BTreeSet<String>,
    /// How far it is proved.
    pub proved: Reached,
    /// The file it is in.
    pub file: String,
    /// How many rules it has.
    pub rules: usize,
}

/// A console as the documentation and `portreeve catalog list` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanelSummary {
    /// Id of the entry.
    pub id: String,
    /// Product.
    pub product: String,
    /// How far it is proved.
    pub proved: Reached,
    /// Where it is written.
    pub origin: Origin,
}

/// Where an entry is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// File: of the built-in catalogue its path under `catalog/`.
    pub file: String,
    /// Line, from 1; 0 where only the file is known.
    pub line: usize,
    /// In the operator's own directory.
    pub own: bool,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Something to send on a connection, and which ports promise that it is understood.
pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) ports: Vec<u16>,
    pub(crate) request: Vec<u8>,
    pub(crate) codec: Option<&'static Codec>,
    pub(crate) after: Option<Regex>,
}

/// A second path worth a GET.
pub(crate) struct FollowUp {
    pub(crate) path: String,
    pub(crate) ports: Vec<u16>,
    pub(crate) after: Option<Regex>,
}

/// All rules, compiled.
#[derive(Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    panels: Vec<PanelRule>,
    technologies: Vec<Technology>,
    pub(crate) probes: Vec<Probe>,
    pub(crate) follow_ups: Vec<FollowUp>,
    pub(crate) http_ports: Vec<u16>,
    pub(crate) tls_ports: Vec<u16>,
    /// Ports whose service speaks first.
    pub(crate) banner_ports: Vec<u16>,
    excluded: Vec<ExcludedSpec>,
    summaries: Vec<ServiceSummary>,
}

/// The services that portreeve can recognise.
pub fn summaries() -> &'static [ServiceSummary] {
    &Rules::current().summaries
}

/// The consoles that portreeve can recognise.
pub fn panel_summaries() -> Vec<PanelSummary> {
    let one =
        |p: &PanelRule| PanelSummary { id: p.id.clone(), product: p.product.clone(), proved: p.proved, origin: p.origin.clone() };
    Rules::current().panels.iter().map(one).collect()
}

static CURRENT: OnceLock<Rules> = OnceLock::new();

/// The checks that portreeve can run.
pub fn checks() -> &'static model::check::Checks {
    Library::in_use().infos()
}

/// Loads an operator's directory beside the built-in catalogue, for this process from now on. Entries that are refused are
/// returned; all others hold. To be called before anything is identified, and once.
pub fn add_directory(directory: &Path) -> Vec<CatalogError> {
    let (mut rules, _) = Rules::load_builtin();
    let mut errors = rules.add_directory(directory);
    let (library, refused) = load::checks_of(directory);
    errors.extend(refused);
    if !library.install() || CURRENT.set(rules).is_err() {
        let message = "the catalogue is in use already; a directory is added once, at the start".to_owned();
        errors.push(CatalogError { file: directory.display().to_string(), line: None, message });
    }
    errors
}

impl Rules {
    /// The rules that ship with portreeve, where nothing was added.
    #[cfg(test)]
    pub(crate) fn builtin() -> &'static Rules {
        Rules::current()
    }

    /// The rules of this process: those that ship with portreeve, and the operator's.
    pub(crate) fn current() -> &'static Rules {
        CURRENT.get_or_init(|| {
            let (rules, errors) = Rules::load_builtin();
            // The tests hold the built-in catalogue to have none.
            for error in errors {
                tracing::error!(%error, "an entry of the built-in catalogue was refused");
            }
            rules
        })
    }

    fn load_builtin() -> (Rules, Vec<CatalogError>) {
        let mut rules = Rules::default();
        let mut errors = Vec::new();
        for (folder, files) in [(Folder::Services, SERVICES), (Folder::Panels, PANELS)] {
            for (file, text) in files {
                errors.extend(rules.add_file(folder, file, text, false));
            }
        }
        errors.extend(rules.add_excluded(EXCLUDED.0, EXCLUDED.1, false));
        (rules, errors)
    }

    /// Where the entries of that id are written.
    fn origins(&self, id: &str) -> Vec<&Origin> {
        let rules = self.rules.iter().filter(|r| r.id == id).map(|r| &r.origin);
        let panels = self.panels.iter().filter(|p| p.id == id).map(|p| &p.origin);
        let technologies = self.technologies.iter().filter(|t| t.id == id).map(|t| &t.origin);
        rules.chain(panels).chain(technologies).collect()
    }

    /// What unasked bytes, or the answer to the probe named, prove.
    pub(crate) fn text(&self, probe: Option<&str>, bytes: &[u8]) -> Verdict {
        let mut matches = Vec::new();
        for codec in CODECS {
            if (codec.unasked || probe == Some(codec.name))
                && let Reading::Is(found) = (codec.read)(bytes)
            {
                matches.push((false, found));
            }
        }
        for rule in &self.rules {
            let looks = match &rule.on {
                On::Banner => true,
                On::Probe(name) => probe == Some(name),
                On::Codec(_) | On::Http(_) => false,
            };
            if looks && let Some(found) = rule.text(bytes) {
                matches.push((rule.fallback, found));
            }
        }
        settle(matches)
    }

    /// What the answer to a GET proves.
    pub(crate) fn http(&self, path: &str, response: &Response) -> Verdict {
        let on = On::Http(path.to_owned());
        let matched = self.rules.iter().filter(|r| r.on == on).filter_map(|r| Some((r.fallback, r.http(response)?)));
        settle(matched.collect())
    }

    /// Consoles that the site could be, the most promising first; by the port, too, if its promise counts.
    pub(crate) fn promising(&self, port: Option<u16>, site: &Site) -> Vec<&PanelRule> {
        let mut promising: Vec<_> = self.panels.iter().map(|p| (p.promise(port, site), p)).filter(|(n, _)| *n > 0).collect();
        promising.sort_by_key(|(promise, _)| std::cmp::Reverse(*promise));
        promising.into_iter().map(|(_, panel)| panel).collect()
    }

    /// The console that the site is: the one with most to show for it.
    pub(crate) fn panel(&self, site: &Site) -> Option<PanelFound> {
        let found = self.panels.iter().filter_map(|p| p.judge(site));
        // Of several with the same number the first, hence the reversal: `max_by_key` takes the last.
        found.collect::<Vec<_>>().into_iter().rev().max_by_key(|f| f.evidence.len())
    }

    /// Technologies that any of the site's answers shows, in catalogue order.
    pub(crate) fn technologies(&self, answers: &[Response]) -> Vec<String> {
        let shown = self.technologies.iter().filter_map(|t| answers.iter().rev().find_map(|a| t.shown_by(a)));
        let mut seen = BTreeSet::new();
        shown.filter(|name| seen.insert(name.clone())).collect()
    }

    /// Why a port is never talked to (R11).
    pub(crate) fn excluded(&self, port: u16) -> Option<&str> {
        self.excluded.iter().find(|e| e.ports.contains(port)).map(|e| e.why.as_str())
    }

    /// Runs everything over the bytes and looks at nothing: for fuzzing.
    pub(crate) fn feed_everything(&self, bytes: &[u8]) {
        // Each parser once: what a probe's answer means differs by which of them are looked at, not by how they read.
        let _ = self.text(None, bytes);
        for codec in CODECS {
            let _ = (codec.read)(bytes);
        }
        for rule in self.rules.iter().filter(|r| matches!(r.on, On::Probe(_))) {
            let _ = rule.text(bytes);
        }
        http::whole(bytes);
        if let Some(response) = http::parse(bytes) {
            let _ = (self.http("/", &response), self.http("/version", &response), http::shown(&response));
            let paths = self.panels.iter().flat_map(PanelRule::paths).map(|path| {
                let control = Response { status: 404, headers: Vec::new(), body: Vec::new() };
                (path.to_owned(), Fetched { page: response.clone(), control: Some(control) })
            });
            let site = Site { paths: paths.take(64).collect(), front: vec![response.clone()], favicon: Some(0) };
            let _ = (self.panel(&site), self.promising(Some(80), &site).len(), self.technologies(&[response]));
        }
    }
}
