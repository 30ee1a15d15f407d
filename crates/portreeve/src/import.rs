//! `portreeve import`: another scanner's file, read here, sent part by part into a running system.
//!
//! Parts are cut by what is read and named by the digest of the file, so that sending a file again, or the rest of one after
//! an interruption, changes nothing that is there already. Scope is the server's to hold; what it refuses is counted.

use crate::cli::ImportArgs;
use anyhow::{Context, bail};
use model::{Proto, State, Ts};
use reqwest::{Client, StatusCode, Url};
use scan::external::{FormatError, Reader, Reading, Tally, Via};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sightings of a part: what the server writes in one statement.
const PART: usize = 500;
/// Characters of lists of ports that count as one sighting, so that a part stays far below the megabyte that the server takes.
const PORTS_TEXT: usize = 1_000;
/// Bytes read in one go.
const CHUNK: usize = 64 << 10;
/// Open ports at which a host is told as accepting on every port: no host has as many services.
const PSEUDO: u32 = 1_000;
/// How long one part may take: longer than the server's own limit.
const TOTAL: Duration = Duration::from_secs(40);
/// Times a part is sent again when the server cannot take it, and the wait before the first.
const AGAIN: (u32, Duration) = (5, Duration::from_millis(500));

/// Sightings on their way.
#[derive(Default)]
struct Part {
    observations: Vec<Value>,
    ports: Vec<Value>,
    hosts: Vec<Value>,
    services: Vec<Value>,
    pseudo_open: Vec<Value>,
    weight: usize,
}

/// What the server made of all parts.
#[derive(Default)]
struct Sum {
    parts: u32,
    known: u32,
    taken: u64,
    refused: u64,
}

/// Where the parts go.
struct Server {
    client: Client,
    url: Url,
    token: String,
    digest: String,
    vantage: String,
}

/// Runs the command.
pub async fn run(args: ImportArgs) -> anyhow::Result<()> {
    let name = if args.file == Path::new("-") { "standard input".to_owned() } else { format!("`{}`", args.file.display()) };
    let named = |s: &str| !s.is_empty() && s.len() <= 64 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !named(&args.vantage) {
        bail!("vantage `{}` is not a name\nhint: at most 64 letters, digits, `-`, `_` and `.`", args.vantage);
    }
    let mut file = open(&args.file).with_context(|| format!("{name} cannot be read"))?;
    let now = now();
    // Nothing in a file was seen after it was last written; its own instants are believed as far as they are in the past.
    let written = file.metadata().ok().and_then(|m| m.modified().ok()).map_or(now, epoch_ms);
    let digest = digest(&mut file, &args).with_context(|| format!("{name} cannot be read"))?;
    let server = if args.dry_run { None } else { Some(Server::new(&args, digest)?) };

    let mut reader = Reader::new(args.format.0, Via::Import).undated(written.min(now));
    let mut sum = Sum::default();
    let mut part = Part::default();
    let mut open_ports: HashMap<IpAddr, u32> = HashMap::new();
    let mut buf = vec![0u8; CHUNK];
    let end: Result<(), FormatError> = loop {
        let n = file.read(&mut buf).with_context(|| format!("{name} cannot be read"))?;
        let mut readings = Vec::new();
        let step = match n {
            0 => reader.finish(now, &mut readings).map(drop),
            n => reader.feed(&buf[..n], now, &mut readings),
        };
        let scanner = reader.tally().scanner.clone();
        for reading in readings {
            let Some(reading) = once_pseudo(reading, &mut open_ports, &mut part) else { continue };
            match &server {
                None => print(&reading)?,
                Some(server) => {
                    part.add(reading);
                    if part.weight >= PART {
                        server.send(std::mem::take(&mut part), &scanner, &mut sum).await?;
                    }
                }
            }
        }
        if step.is_err() || n == 0 {
            break step;
        }
    };
    for (ip, open) in open_ports.iter().filter(|(_, open)| **open > PSEUDO) {
        part.pseudo(*ip, *open, now);
    }
    if let Some(server) = &server
        && part.weight > 0
    {
        server.send(part, &reader.tally().scanner.clone(), &mut sum).await?;
    }
    let format = reader.format().map_or("unknown", |f| f.as_str());
    summary(&name, format, &args, reader.tally(), server.is_some().then_some(&sum));
    end.with_context(|| format!("{name} could be read only in part"))
}

/// The file; standard input is kept aside, because it is read twice.
fn open(path: &Path) -> std::io::Result<File> {
    if path != Path::new("-") {
        return File::open(path);
    }
    let mut file = tempfile::tempfile()?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// Names what is imported, and as what: the same file from another vantage is another import.
fn digest(file: &mut File, args: &ImportArgs) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    hash.update(args.vantage.as_bytes());
    hash.update([0]);
    hash.update(args.format.0.map_or("auto", |f| f.as_str()).as_bytes());
    hash.update([0]);
    let mut buf = vec![0u8; CHUNK];
    loop {
        match file.read(&mut buf)? {
            0 => break,
            n => hash.update(&buf[..n]),
        }
    }
    file.rewind()?;
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

fn now() -> Ts {
    epoch_ms(SystemTime::now())
}

fn epoch_ms(at: SystemTime) -> Ts {
    Ts(at.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
}

/// Passes a sighting on, unless it is one of sixty-five thousand doors of a host that accepts on every port. Nobody accepts on
/// UDP, so what answers there is no such door.
fn once_pseudo(reading: Reading, open: &mut HashMap<IpAddr, u32>, part: &mut Part) -> Option<Reading> {
    let Reading::Endpoint(o) = &reading else { return Some(reading) };
    if o.state != State::Open || o.endpoint.proto != Proto::Tcp {
        return Some(reading);
    }
    let n = open.entry(o.endpoint.ip).or_default();
    *n += 1;
    if *n == PSEUDO {
        part.pseudo(o.endpoint.ip, *n, o.observed_at);
    }
    (*n < PSEUDO).then_some(reading)
}

impl Part {
    fn pseudo(&mut self, ip: IpAddr, open_ports: u32, at: Ts) {
        self.pseudo_open.push(json!({ "ip": ip, "open_ports": open_ports, "observed_at": at }));
        self.weight += 1;
    }

    fn add(&mut self, reading: Reading) {
        self.weight += 1;
        match reading {
            Reading::Endpoint(o) => self.observations.push(json!({
                "endpoint": o.endpoint.to_string(), "state": o.state, "reason": o.reason, "observed_at": o.observed_at,
            })),
            Reading::Ports(p) => {
                let ports = p.ports.to_string();
                self.weight += ports.len() / PORTS_TEXT;
                self.ports.push(json!({
                    "ip": p.ip, "proto": p.proto, "ports": ports, "state": p.state, "reason": p.reason, "observed_at": p.observed_at,
                }));
            }
            Reading::Host(h) => self.hosts.push(json!({
                "ip": h.ip, "liveness": h.liveness, "reason": h.reason, "observed_at": h.observed_at,
            })),
            Reading::Service(s) => {
                let known = s.service.unwrap_or_default();
                self.services.push(json!({
                    "endpoint": s.endpoint.to_string(), "identity": s.identity, "observed_at": s.observed_at,
                    "name": Some(known.name).filter(|n| !n.is_empty()), "product": known.product, "version": known.version,
                    "confidence": known.source.and_then(|s| s.confidence), "evidence": s.evidence, "banner": s.banner,
                }));
            }
        }
    }
}

impl Server {
    fn new(args: &ImportArgs, digest: String) -> anyhow::Result<Server> {
        let Some(token) = args.token.clone().filter(|t| !t.trim().is_empty()) else {
            bail!(
                "there is no token to sign in with\nhint: make one with `portreeve token create --name import --role operator`, and set PORTREEVE_TOKEN"
            );
        };
        let base =
            Url::parse(&args.url).with_context(|| format!("`{}` is not a URL such as https://portreeve.example", args.url))?;
        let local = base
            .host_str()
            .is_some_and(|h| h == "localhost" || h.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()));
        if base.scheme() != "https" && !local {
            anstream::eprintln!("warning: the token goes to {} unencrypted\nhint: use its https URL", args.url);
        }
        let mut builder = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(TOTAL);
        if local {
            builder = builder.no_proxy();
        }
        let client = builder.build().context("no HTTP client could be made")?;
        let url = base.join("/api/v1/results/import").context("the URL")?;
        Ok(Server { client, url, token, digest, vantage: args.vantage.clone() })
    }

    /// Sends a part until the server has it.
    async fn send(&self, part: Part, scanner: &str, sum: &mut Sum) -> anyhow::Result<()> {
        sum.parts += 1;
        let body = json!({
            "digest": self.digest, "part": sum.parts, "vantage": self.vantage, "source": format!("import:{scanner}"),
            "observations": part.observations, "ports": part.ports, "hosts": part.hosts, "services": part.services,
            "pseudo_open": part.pseudo_open,
        });
        let sent = self.until_taken(&body).await;
        let outcome = sent.with_context(|| match sum.parts {
            1 => "nothing was imported".to_owned(),
            n => format!("{} parts were imported and part {n} was not; importing the file again goes on from there", n - 1),
        })?;
        sum.known += u32::from(outcome["recorded"] == false);
        sum.taken += outcome["taken"].as_u64().unwrap_or(0);
        sum.refused += outcome["refused"].as_u64().unwrap_or(0);
        Ok(())
    }

    async fn until_taken(&self, body: &Value) -> anyhow::Result<Value> {
        let mut wait = AGAIN.1;
        for tries in 0.. {
            let sent = self.client.post(self.url.clone()).bearer_auth(&self.token).json(body).send().await;
            let error = match sent {
                Ok(reply) if reply.status().is_success() => return reply.json().await.context("the server's answer"),
                Ok(reply) => {
                    let status = reply.status();
                    let problem: Value = reply.json().await.unwrap_or_default();
                    let error = refused(status, &problem);
                    if status != StatusCode::SERVICE_UNAVAILABLE {
                        return Err(error);
                    }
                    error
                }
                Err(e) => {
                    let hint = "hint: is it running there? name it with --url";
                    anyhow::Error::new(e).context(format!("{} cannot be reached\n{hint}", self.url))
                }
            };
            if tries == AGAIN.0 {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        unreachable!("the loop ends by returning")
    }
}

/// What the server's refusal means for whoever imports.
fn refused(status: StatusCode, problem: &Value) -> anyhow::Error {
    let said = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("it gave no reason");
    let hint = match status {
        StatusCode::UNAUTHORIZED => "\nhint: the token is unknown, revoked or expired; make one with `portreeve token create`",
        StatusCode::FORBIDDEN => "\nhint: importing takes a token of the role operator",
        StatusCode::NOT_FOUND => "\nhint: is this the URL of portreeve, of this release?",
        _ => "",
    };
    let fields = problem["fields"].as_array().into_iter().flatten().take(3);
    let fields: String =
        fields.map(|f| format!("; {}: {}", f["field"].as_str().unwrap_or(""), f["message"].as_str().unwrap_or(""))).collect();
    anyhow::anyhow!("the server refused it ({status}): {said}{fields}{hint}")
}

/// One sighting, as `--dry-run` shows it.
fn print(reading: &Reading) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match reading {
        Reading::Endpoint(o) => writeln!(out, "{}  {}  {}  {}", o.observed_at, o.endpoint, o.state, o.reason),
        Reading::Ports(p) => {
            let (n, ports) = (p.ports.len(), p.ports.to_string());
            // The list of a whole host does not fit a line.
            let ports = if ports.len() > 60 { format!("{n} ports") } else { ports };
            writeln!(out, "{}  {} {ports}/{}  {}  {}", p.observed_at, p.ip, p.proto, p.state, p.reason)
        }
        Reading::Host(h) => writeln!(out, "{}  {}  {}  {}", h.observed_at, h.ip, h.liveness, h.reason),
        Reading::Service(s) => {
            let service = s.service.clone().unwrap_or_default();
            let what = [Some(service.name), service.product, service.version].into_iter().flatten().collect::<Vec<_>>().join(" ");
            let source = service.source.map(|s| match s.confidence {
                Some(c) => format!("  {} confidence {c}", s.name),
                None => format!("  {}", s.name),
            });
            writeln!(out, "{}  {}  {}  {what}{}", s.observed_at, s.endpoint, s.identity, source.unwrap_or_default())
        }
    }
}

/// What was read and what became of it, for people.
fn summary(name: &str, format: &str, args: &ImportArgs, tally: &Tally, sum: Option<&Sum>) {
    let verb = if sum.is_some() { "imported" } else { "would import" };
    anstream::eprintln!(
        "{verb} {name} ({format}, by {}) from vantage `{}`: {} port states, {} hosts, {} services",
        if tally.scanner.is_empty() { "nobody known" } else { &tally.scanner },
        args.vantage,
        tally.ports,
        tally.hosts,
        tally.services
    );
    if let Some(sum) = sum {
        if sum.known > 0 {
            anstream::eprintln!("  {} of {} parts had been imported before; nothing changed by them", sum.known, sum.parts);
        }
        if sum.refused > 0 {
            anstream::eprintln!("  {} sightings refused: outside the scope", sum.refused);
        }
    }
    for (count, what) in [
        (tally.guesses, "names of services were only looked up by port number, and not taken"),
        (tally.unusable, "records are about something that has no meaning here, and not taken"),
        (tally.unnamed, "ports were counted by the scanner without being named; nothing is concluded about them"),
    ] {
        if count > 0 {
            anstream::eprintln!("  {count} {what}");
        }
    }
    if let Some(failure) = &tally.failure {
        anstream::eprintln!("warning: the scanner itself says that it failed: {failure}");
    }
}
