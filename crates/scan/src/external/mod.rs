//! Other people's scanners: reading what they print, and running one as an engine of ours.
//!
//! The readers take bytes as they come and hand out observations; they know no file, no socket and no clock. Output is a
//! stranger's: sizes are capped, nothing is resolved, and a document that breaks off gives what was complete and then an
//! error with its place. Whether a finding is in scope is left to whoever reads ([`command`], or the server for an import).

#![forbid(unsafe_code)]

mod admit;
mod child;
mod command;
mod command_line;
mod detect;
mod engine;
mod masscan;
mod naabu;
mod nmap;
mod objects;
mod words;
mod xml;

pub use command::{CommandError, CommandJob, Findings, Ran, run};
pub use engine::{Engine, EngineError, PLACEHOLDERS, probe};

use detect::Detect;
use model::service::Identification;
use model::{HostObservation, Observation, PortSet, Proto, Reason, State, Ts};
use std::net::IpAddr;

/// Longest element of XML. nmap's longest are the outputs of its scripts, a page of HTML at worst.
pub(crate) const MAX_ELEMENT: usize = 1 << 20;
/// Deepest nesting of XML elements: nmap's tables of scripts are about a dozen deep.
pub(crate) const MAX_DEPTH: usize = 64;
/// Most attributes of one element: nmap's richest has sixteen.
pub(crate) const MAX_ATTRIBUTES: usize = 64;
/// Longest JSON object or line: masscan's banners end at a few kilobytes, certificates at some ten.
pub(crate) const MAX_RECORD: usize = 256 << 10;
/// Longest text taken over from another scanner, in characters: products and versions are a few words.
pub(crate) const MAX_TEXT: usize = 256;

/// A form of output that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `nmap -oX`, and what imitates it (`masscan -oX`, portreeve's own).
    NmapXml,
    /// `masscan -oJ`, and its one object a line (`-oD`).
    MasscanJson,
    /// `masscan -oL`.
    MasscanList,
    /// `naabu -json`.
    NaabuJson,
}

impl Format {
    /// Every format.
    pub const ALL: &'static [Format] = &[Format::NmapXml, Format::MasscanJson, Format::MasscanList, Format::NaabuJson];

    /// `nmap-xml`, `masscan-json`, `masscan-list` or `naabu-json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::NmapXml => "nmap-xml",
            Format::MasscanJson => "masscan-json",
            Format::MasscanList => "masscan-list",
            Format::NaabuJson => "naabu-json",
        }
    }

    /// The scanner that prints it, where the output does not say.
    const fn tool(self) -> &'static str {
        match self {
            Format::NmapXml => "nmap",
            Format::MasscanJson | Format::MasscanList => "masscan",
            Format::NaabuJson => "naabu",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let names = || Format::ALL.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(", ");
        Format::ALL.iter().copied().find(|f| f.as_str() == s).ok_or_else(|| format!("`{s}` is not a format: one of {}", names()))
    }
}

/// How the findings came here; with the scanner's name it is the source of every identification (I3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A file that a person imports.
    Import,
    /// The engine of a task, by its name in the node's configuration.
    Engine(String),
}

/// One thing that another scanner said.
// Few readings exist at a time, each soon taken apart; a box would cost an allocation for every service and save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The state of an endpoint.
    Endpoint(Observation),
    /// The state of many ports of a host at once, said port by port (nmap's `extraports` with their list).
    Ports(PortsReading),
    /// Liveness of a host.
    Host(HostObservation),
    /// What answers, as far as bytes showed it: never what a port number is registered for.
    Service(Identification),
}

/// The same state of many ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortsReading {
    /// The host.
    pub ip: IpAddr,
    /// Protocol.
    pub proto: Proto,
    /// Which ports.
    pub ports: PortSet,
    /// What was seen of all of them.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// When.
    pub observed_at: Ts,
}

/// What was read so far.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// The scanner, as the output names it, else as its format says.
    pub scanner: String,
    /// Port states said, each port of [`Reading::Ports`] counted.
    pub ports: u64,
    /// Hosts said to be up or down.
    pub hosts: u64,
    /// Identifications.
    pub services: u64,
    /// Names of services that were only looked up by port number, and are therefore not taken.
    pub guesses: u64,
    /// Records about something that has no meaning here: SCTP, `unfiltered`, an address that is none.
    pub unusable: u64,
    /// Ports that the scanner counted without naming them; nothing is concluded about those.
    pub unnamed: u64,
    /// The scanner's own word that it failed.
    pub failure: Option<String>,
    /// The output is complete: its last record was read.
    pub complete: bool,
}

/// Where and why output could not be read further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} (byte {offset}): {what}\nhint: {hint}")]
pub struct FormatError {
    /// What is wrong.
    pub what: String,
    /// Line, from 1.
    pub line: u64,
    /// Byte, from 0.
    pub offset: u64,
    /// What to do about it.
    pub hint: &'static str,
}

/// A place in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub line: u64,
    pub offset: u64,
}

impl Place {
    pub(crate) const START: Place = Place { line: 1, offset: 0 };

    pub(crate) fn pass(&mut self, byte: u8) {
        self.offset += 1;
        self.line += u64::from(byte == b'\n');
    }
    pub(crate) fn error(self, what: impl Into<String>, hint: &'static str) -> FormatError {
        FormatError { what: what.into(), line: self.line, offset: self.offset, hint }
    }
}

/// The hint for output that ends too early.
pub(crate) const TRUNCATED: &str = "the scanner was interrupted or the copy is incomplete; what came before was read";

/// What every reader writes to.
pub(crate) struct Sink<'a> {
    pub out: &'a mut Vec<Reading>,
    pub tally: &'a mut Tally,
    pub via: &'a Via,
    /// The latest instant that anything can have been seen at.
    pub now: Ts,
    /// When something without an instant was seen.
    pub undated: Ts,
}

impl Sink<'_> {
    pub fn endpoint(&mut self, observation: Observation) {
        self.tally.ports += 1;
        self.out.push(Reading::Endpoint(observation));
    }
    pub fn host(&mut self, host: HostObservation) {
        self.tally.hosts += 1;
        self.out.push(Reading::Host(host));
    }
    pub fn service(&mut self, seen: Identification) {
        self.tally.services += 1;
        self.out.push(Reading::Service(seen));
    }
    pub fn ports(&mut self, reading: PortsReading) {
        self.tally.ports += reading.ports.len() as u64;
        self.out.push(Reading::Ports(reading));
    }
    pub fn source(&self, confidence: Option<u8>) -> model::service::Source {
        let name = match self.via {
            Via::Import => format!("import:{}", self.tally.scanner),
            Via::Engine(name) => format!("engine:{name}"),
        };
        model::service::Source { name, confidence }
    }
    /// An instant in whole seconds, if it can be one: nothing was seen in the future.
    pub fn instant(&self, seconds: Option<i64>) -> Ts {
        seconds.and_then(|s| s.checked_mul(1_000)).filter(|ms| *ms > 0).map_or(self.undated, |ms| Ts(ms).min(self.now))
    }
}

/// One reader for each format behind one shape.
trait Read {
    /// Takes one byte.
    fn byte(&mut self, byte: u8, place: Place, sink: &mut Sink<'_>) -> Result<(), FormatError>;
    /// The output ends here.
    fn end(&mut self, place: Place, sink: &mut Sink<'_>) -> Result<(), FormatError>;
    /// Bytes kept.
    fn held(&self) -> usize;
}

/// Reads one scanner's output, bytes at a time.
pub struct Reader {
    format: Option<Format>,
    stage: Stage,
    place: Place,
    tally: Tally,
    via: Via,
    undated: Option<Ts>,
    broken: Option<FormatError>,
}

enum Stage {
    Detecting(Detect),
    Reading(Box<dyn Read + Send>),
}

impl Reader {
    /// A reader of the format, or of the one that the first bytes show.
    pub fn new(format: Option<Format>, via: Via) -> Reader {
        let stage = Stage::Detecting(Detect::new(format));
        Reader { format, stage, place: Place::START, tally: Tally::default(), via, undated: None, broken: None }
    }

    /// The same, with the instant at which things were seen that come without one; else that is when they are read.
    pub fn undated(self, at: Ts) -> Reader {
        Reader { undated: Some(at), ..self }
    }

    /// The format, once it is known.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// What was read so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Bytes kept at the moment: never more than one element or record.
    pub fn held(&self) -> usize {
        match &self.stage {
            Stage::Detecting(detect) => detect.held(),
            Stage::Reading(reader) => reader.held(),
        }
    }

    /// Takes some bytes and adds what they complete to `out`. After an error nothing more is read; `out` has what came before.
    /// `now` bounds the instants: a scanner's clock that is ahead must not outlive what is observed later.
    pub fn feed(&mut self, bytes: &[u8], now: Ts, out: &mut Vec<Reading>) -> Result<(), FormatError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        for &byte in bytes {
            if let Err(error) = self.step(byte, now, out) {
                self.broken = Some(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    fn step(&mut self, byte: u8, now: Ts, out: &mut Vec<Reading>) -> Result<(), FormatError> {
        match &mut self.stage {
            Stage::Reading(reader) => {
                let undated = self.undated.map_or(now, |at| at.min(now));
                let mut sink = Sink { out, tally: &mut self.tally, via: &self.via, now, undated };
                reader.byte(byte, self.place, &mut sink)?;
                self.place.pass(byte);
            }
            Stage::Detecting(detect) => {
                let found = detect.byte(byte, self.place)?;
                self.place.pass(byte);
                if let Some(format) = found {
                    self.begin(format, now, out)?;
                }
            }
        }
        Ok(())
    }

    /// The format is known: reads again what was looked at to know it.
    fn begin(&mut self, format: Format, now: Ts, out: &mut Vec<Reading>) -> Result<(), FormatError> {
        let reader: Box<dyn Read + Send> = match format {
            Format::NmapXml => Box::new(nmap::Nmap::default()),
            Format::MasscanJson => Box::new(masscan::Json::default()),
            Format::MasscanList => Box::new(masscan::List::default()),
            Format::NaabuJson => Box::new(naabu::Naabu::default()),
        };
        self.format = Some(format);
        format.tool().clone_into(&mut self.tally.scanner);
        let Stage::Detecting(detect) = std::mem::replace(&mut self.stage, Stage::Reading(reader)) else { return Ok(()) };
        let (head, from) = detect.into_head();
        self.place = from;
        head.iter().try_for_each(|&byte| self.step(byte, now, out))
    }

    /// The output ends here. An error says that it ended too early; what was complete has been handed out.
    pub fn finish(&mut self, now: Ts, out: &mut Vec<Reading>) -> Result<&Tally, FormatError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if let Stage::Detecting(detect) = &mut self.stage {
            let format = detect.end(self.place)?;
            self.begin(format, now, out)?;
        }
        if let Stage::Reading(reader) = &mut self.stage {
            let undated = self.undated.map_or(now, |at| at.min(now));
            let mut sink = Sink { out, tally: &mut self.tally, via: &self.via, now, undated };
            reader.end(self.place, &mut sink)?;
        }
        self.tally.complete = true;
        Ok(&self.tally)
    }
}

/// Reads a whole output; for tests and fuzzing.
pub fn read(bytes: &[u8], format: Option<Format>, now: Ts) -> (Vec<Reading>, Result<Tally, FormatError>) {
    let mut reader = Reader::new(format, Via::Import);
    let mut out = Vec::new();
    let end = reader.feed(bytes, now, &mut out).and_then(|()| reader.finish(now, &mut out).cloned());
    (out, end)
}
