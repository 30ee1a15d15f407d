//! The command line: every command and flag, with the help a person reads. What the commands do is in their own modules.

use clap::{Args, Parser, Subcommand, ValueEnum};
use model::udp::Payloads;
use model::{PortSet, Ports, Role, task::PortChoice};
use scan::{Method, Retries, Shard};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Watches every port you expose, says what answers there and whether it may.
#[derive(Debug, Parser)]
#[command(name = "portreeve", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Scan targets once and print what is open.
    Scan(Box<ScanArgs>),
    /// Run the system: server, console and an embedded scan node, in one process.
    Serve(Box<ServeArgs>),
    /// Send another scanner's results into a running system.
    Import(Box<ImportArgs>),
    /// Make API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Reset what a user forgot.
    #[command(subcommand)]
    User(UserCommand),
    /// What can be recognised and checked, and how far that is proved.
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Print the OpenAPI document of the API.
    Openapi,
}

/// `portreeve catalog`.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Run every case of every entry, and of the entries of DIR beside the built-in ones; exit code 1 when one fails.
    Test {
        /// Directory of your own, laid out like the built-in catalogue: services, panels, checks.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// List services, panels and checks, with how far each is proved.
    List {
        /// Directory of your own.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people.
    Table,
    /// One JSON object a line, as found.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// The XML that nmap -oX prints, for tools that read it.
    NmapXml,
}

/// `portreeve scan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portreeve scan 127.0.0.1 -p common --identify
  portreeve scan 192.0.2.0/24 --exclude 192.0.2.1 --format jsonl -o found.jsonl
  portreeve scan @targets.txt -p 22,80,8000-8100 --rate 2000

Probe only what you are authorised to probe.")]
pub struct ScanArgs {
    /// Address, CIDR, range (192.0.2.1-192.0.2.9), hostname, or @file with one of these a line.
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Leave these out; written like targets, and may be given several times or separated by commas.
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// high-risk, common, all, udp, or a list such as 22,80,8000-8100,U:53.
    #[arg(short, long, value_name = "PORTS", default_value = "common")]
    pub ports: PortChoice,
    /// UDP ports as well: top (those for which there is something to ask), or a list such as 53,161.
    #[arg(long, value_name = "PORTS", value_parser = udp_ports)]
    pub udp: Option<PortSet>,
    /// auto (raw SYN probes where raw sockets are allowed, full connections otherwise), syn, or connect.
    #[arg(long, default_value = "auto")]
    pub method: Method,
    /// Probes per second: auto (as fast as the path takes it, up to --max-rate), max (as fast as this machine can), or a
    /// number, kept exactly.
    #[arg(long, value_name = "PPS", default_value = "auto")]
    pub rate: Rate,
    /// Ceiling of --rate auto, in probes per second [default: 100000].
    #[arg(long, value_name = "PPS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    pub max_rate: Option<u32>,
    /// Times an unanswered probe is repeated: a number, or auto (where it buys most, at most half a probe more per endpoint).
    #[arg(long, value_name = "N", default_value = "auto")]
    pub retries: RetryChoice,
    /// Milliseconds to wait for an answer to a probe.
    #[arg(long, value_name = "MS", default_value_t = 1_500, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub timeout_ms: u64,
    /// Do not ask first which hosts are up; probe the ports of every address. ICMP echoes are sent all the same where they
    /// tell what the path loses: with --rate auto when there are 24 hosts or fewer, with --retries auto one to each silent
    /// address when answers were lost.
    #[arg(long)]
    pub no_ping: bool,
    /// Say what answers on each open port.
    #[arg(long)]
    pub identify: bool,
    /// Ask once more, with every question there is, what --identify left silent, hanging up or unrecognised, what speaks TLS (for
    /// its versions), and the UDP ports that said nothing: up to 128 connections and two minutes each.
    #[arg(long, requires = "identify")]
    pub thorough: bool,
    /// Rules of your own for --identify, read beside the built-in catalogue; see `portreeve catalog test`.
    #[arg(long, value_name = "DIR", env = "PORTREEVE_CATALOG")]
    pub catalog: Option<PathBuf>,
    /// Print closed and filtered ports as well.
    #[arg(long)]
    pub all_states: bool,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Write results to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Seed of the order in which targets are probed; the same seed gives the same order.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Do part K of N of the sweep, 1/3 say; the parts, done anywhere, cover it without overlap when seed and targets agree.
    #[arg(long, value_name = "K/N", requires = "seed")]
    pub shard: Option<ShardChoice>,
    /// Keep in FILE how far the sweep has come; when FILE is there already, go on from it. Results are appended.
    #[arg(long, value_name = "FILE", conflicts_with = "identify")]
    pub resume: Option<PathBuf>,
    /// Write every packet sent and every answer to FILE (pcapng).
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Print the packets that would be sent, and send none.
    #[arg(long, conflicts_with_all = ["identify", "resume", "output"])]
    pub dry_run: bool,
    /// You are authorised to probe these targets; needed for more than 256 public addresses.
    #[arg(long)]
    pub authorized: bool,
    /// No progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Ceiling of `--rate auto` unless said otherwise: 100,000 frames of 74 bytes are 60 Mbit/s, which an office's line carries.
const DEFAULT_CEILING: u32 = 100_000;

/// More than a link of ours has ever taken.
const MOST: u32 = 10_000_000;

/// `--rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As the path takes it.
    Auto,
    /// As this machine can.
    Max,
    /// So many a second.
    Fixed(u32),
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Rate::Auto),
            "max" => Ok(Rate::Max),
            _ => match s.parse() {
                Ok(pps @ 1..=MOST) => Ok(Rate::Fixed(pps)),
                _ => Err(format!("`{s}` is not a rate: auto, max, or 1 to {MOST} probes a second")),
            },
        }
    }
}

/// `--retries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryChoice(pub Retries);

impl FromStr for RetryChoice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(RetryChoice(Retries::Auto)),
            _ => match s.parse() {
                Ok(n @ 0..=10) => Ok(RetryChoice(Retries::Fixed(n))),
                _ => Err(format!("`{s}` is not a number of repetitions: auto, or 0 to 10")),
            },
        }
    }
}

/// `--shard`, counted from 1 as people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardChoice(pub Shard);

impl FromStr for ShardChoice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let (part, of) = s.split_once('/').ok_or_else(|| format!("`{s}` is not a part: write 1/3 for the first of three"))?;
        match (part.parse::<u32>(), of.parse::<u32>()) {
            (Ok(part), Ok(of)) if part >= 1 && part <= of => Ok(ShardChoice(Shard { index: part - 1, of })),
            _ => Err(format!("`{s}` is not a part: the first number is 1 to the second, as in 2/3")),
        }
    }
}

impl ScanArgs {
    /// Probes per second that the run may not exceed.
    pub fn ceiling_pps(&self) -> u32 {
        match self.rate {
            Rate::Auto => self.max_rate.unwrap_or(DEFAULT_CEILING),
            Rate::Max => scan::UNLIMITED_PPS,
            Rate::Fixed(pps) => pps,
        }
    }

    /// What would be without effect beside what else was said, if anything.
    pub fn without_effect(&self) -> Option<&'static str> {
        if self.max_rate.is_some() && self.rate != Rate::Auto {
            return Some(
                "--max-rate is the ceiling of --rate auto; another --rate is kept as it is\nhint: leave one of them out",
            );
        }
        if self.pcap.is_some() && self.method == Method::Connect {
            return Some(
                "--pcap has nothing to write with --method connect: the operating system makes the packets\nhint: use --method syn",
            );
        }
        None
    }

    /// The ports meant.
    pub fn port_set(&self) -> Ports {
        let ports = self.ports.resolve(model::catalog::Catalog::builtin());
        match &self.udp {
            Some(udp) => Ports { udp: ports.udp.union(udp), ..ports },
            None => ports,
        }
    }
}

/// What `--udp` takes.
fn udp_ports(word: &str) -> Result<PortSet, String> {
    match word {
        "top" => Ok(Payloads::builtin().ports()),
        list => list.parse().map_err(|e| format!("{e} (or the word top)")),
    }
}

/// `portreeve serve`. A flag wins over the environment (PORTREEVE_…), that over the config file, that over the default.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// TOML file with settings of the same names; unknown ones are refused.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory for the embedded database and the first sign-in [default: ./data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// PostgreSQL to use instead of the embedded SQLite: postgres://user:password@host/database.
    #[arg(long, value_name = "URL")]
    pub db: Option<String>,
    /// Address and port of console and API [default: 127.0.0.1:8460].
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Watch this range from the first start on: added as an asset when there are none yet. May be repeated.
    #[arg(long, value_name = "RANGE")]
    pub watch: Vec<String>,
    /// How the embedded node asks ports: auto, syn or connect [default: auto].
    #[arg(long)]
    pub method: Option<Method>,
    /// Jobs the embedded node works on at once [default: 24].
    #[arg(long, value_name = "N")]
    pub slots: Option<u32>,
    /// Name of the place the embedded node probes from [default: local].
    #[arg(long, value_name = "NAME")]
    pub vantage: Option<String>,
    /// Directory with rules and checks of your own, read beside the built-in catalogue.
    #[arg(long, value_name = "DIR")]
    pub catalog: Option<PathBuf>,
    /// URL of the console in notifications [default: http://<listen>/].
    #[arg(long, value_name = "URL")]
    pub console_url: Option<String>,
    /// Log format [default: text].
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which database a command talks to.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    /// Data directory of the system [default: ./data].
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Its PostgreSQL, if it uses one.
    #[arg(long, value_name = "URL", env = "PORTREEVE_DB", hide_env_values = true)]
    pub db: Option<String>,
}

/// `portreeve import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What nmap (-oX), masscan (-oJ, -oD, -oL) or naabu (-json) wrote; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// auto, nmap-xml, masscan-json, masscan-list or naabu-json.
    #[arg(long, default_value = "auto", value_parser = import_format)]
    pub format: ImportFormat,
    /// Name of the place that the scan was made from. What is imported closes only what was opened from there.
    #[arg(long, value_name = "NAME", default_value = "import")]
    pub vantage: String,
    /// URL of the running system.
    #[arg(long, value_name = "URL", env = "PORTREEVE_URL", default_value = "http://127.0.0.1:8460")]
    pub url: String,
    /// API token of an operator; better given in the environment, where other users of this machine do not see it.
    #[arg(long, value_name = "TOKEN", env = "PORTREEVE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Print what would be imported, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// A format named, or none to find out.
#[derive(Clone, Copy, Debug)]
pub struct ImportFormat(pub Option<scan::external::Format>);

fn import_format(word: &str) -> Result<ImportFormat, String> {
    match word {
        "auto" => Ok(ImportFormat(None)),
        word => word.parse().map(|f| ImportFormat(Some(f))).map_err(|e| format!("{e}, auto")),
    }
}

/// `portreeve token …`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; it is shown this once.
    Create {
        /// What it is for.
        #[arg(long)]
        name: String,
        /// viewer, owner, operator, approver, admin or auditor.
        #[arg(long)]
        role: Role,
        /// Database.
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

/// `portreeve user …`.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Give a user a new random password and print it.
    ResetPassword {
        /// Name of the user.
        name: String,
        /// Database.
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(words: &[&str]) -> Result<ScanArgs, String> {
        let all = ["portreeve", "scan", "192.0.2.1"].iter().chain(words).copied();
        match Cli::try_parse_from(all).map_err(|e| e.to_string())?.command {
            Command::Scan(args) => Ok(*args),
            _ => unreachable!("scan was asked for"),
        }
    }

    #[test]
    fn rates_retries_and_parts_are_words_or_numbers_in_bounds() {
        let plain = scan(&[]).unwrap();
        assert_eq!((plain.rate, plain.ceiling_pps(), plain.retries.0), (Rate::Auto, 100_000, Retries::Auto));
        let set = scan(&["--rate", "max", "--retries", "3", "--shard", "2/3", "--seed", "9"]).unwrap();
        assert_eq!((set.rate, set.ceiling_pps(), set.retries.0), (Rate::Max, scan::UNLIMITED_PPS, Retries::Fixed(3)));
        assert_eq!(set.shard, Some(ShardChoice(Shard { index: 1, of: 3 })));
        assert_eq!(scan(&["--rate", "1"]).unwrap().rate, Rate::Fixed(1));
        for (words, named) in [
            (&["--rate", "0"][..], "`0` is not a rate"),
            (&["--rate", "fast"], "`fast` is not a rate"),
            (&["--max-rate", "0"], "0 is not in"),
            (&["--retries", "11"], "`11` is not a number of repetitions"),
            (&["--shard", "0/3", "--seed", "1"], "`0/3` is not a part"),
            (&["--shard", "4/3", "--seed", "1"], "`4/3` is not a part"),
            (&["--shard", "1", "--seed", "1"], "`1` is not a part"),
            (&["--shard", "1/2"], "--seed"),
            (&["--resume", "state", "--identify"], "cannot be used with"),
        ] {
            let refusal = scan(words).unwrap_err();
            assert!(refusal.contains(named), "{words:?}: {refusal}");
        }
        assert_eq!(scan(&["--max-rate", "7"]).unwrap().ceiling_pps(), 7);
        for (words, refused) in [
            (&["--max-rate", "7"][..], None),
            (&["--rate", "9", "--max-rate", "7"], Some("--max-rate")),
            (&["--rate", "max", "--max-rate", "7"], Some("--max-rate")),
            (&["--pcap", "file", "--method", "connect"], Some("--pcap")),
            (&["--pcap", "file"], None),
        ] {
            let said = scan(words).unwrap().without_effect();
            assert_eq!(said.and_then(|said| said.split(' ').next()), refused, "{words:?}");
        }
    }
}
