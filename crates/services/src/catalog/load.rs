//! Reading the catalogue's files: one entry at a time, so that a broken one is refused with its file, its line and the reason
//! while all others stand.
//!
//! Whether an entry keeps what its cases promise is left to `cases`.

use super::panel::{PanelRule, Technology};
use super::rule::{On, Rule, compile};
use super::spec::{ExcludedFile, PanelFile, PanelSpec, ProbeSpec, RuleSpec, ServiceFile, TechnologySpec};
use super::{FollowUp, Origin, Probe, Rules, ServiceSummary};
use crate::bytes::unescape;
use crate::check::Library;
use crate::protocol::CODECS;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// The largest catalogue file that is read. The largest built-in one is a fiftieth of it.
const FILE_BYTES: u64 = 1 << 20;

/// Why a catalogue entry, or a whole file, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CatalogError {
    /// File.
    pub file: String,
    /// Line of the entry, or of the mistake itself where the file is no TOML; counted from 1. `None` where the file could not be read.
    pub line: Option<usize>,
    /// What is wrong, with the entry's id where there is one.
    pub message: String,
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Which of the folders a file lies in; each has its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folder {
    Services,
    Panels,
}

/// One file while it is read.
struct Reading<'a> {
    file: &'a str,
    text: &'a str,
    own: bool,
    errors: Vec<CatalogError>,
}

impl Reading<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|&&b| b == b'\n').count()
    }

    fn origin(&self, at: usize) -> Origin {
        Origin { file: self.file.to_owned(), line: self.line(at), own: self.own }
    }

    fn refuse(&mut self, at: Option<usize>, message: impl Into<String>) {
        let line = at.map(|at| self.line(at));
        self.errors.push(CatalogError { file: self.file.to_owned(), line, message: tidy_toml(&message.into()) });
    }

    /// The file's outer form; `None` when it is refused as a whole.
    fn outer<T: DeserializeOwned>(&mut self) -> Option<T> {
        match toml::from_str(self.text) {
            Ok(outer) => Some(outer),
            Err(e) => {
                self.refuse(e.span().map(|span| span.start).or(Some(0)), e.message());
                None
            }
        }
    }

    /// One entry, with where it stands.
    fn entry<T: DeserializeOwned>(&mut self, entry: toml::Spanned<toml::Value>, what: &str) -> Option<(T, usize)> {
        let at = entry.span().start;
        let value = entry.into_inner();
        let id = ["id", "name"].iter().find_map(|key| value.get(key)?.as_str()).unwrap_or("without id").to_owned();
        match T::deserialize(value) {
            Ok(spec) => Some((spec, at)),
            Err(e) => {
                self.refuse(Some(at), format!("{what} `{id}`: {}", e.message()));
                None
            }
        }
    }
}

/// The parser's message in one line.
fn tidy_toml(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Bytes from hexadecimal digits, with spaces between them or none.
fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|t| t.len() == 2 && !t.starts_with('+'));
        text.and_then(|t| u8::from_str_radix(t, 16).ok()).ok_or_else(|| "`hex` has pairs of hexadecimal digits".to_owned())
    };
    digits.chunks(2).map(pair).collect()
}

impl Rules {
    /// Adds one file. What is wrong in it is returned; the rest of it stands.
    pub(super) fn add_file(&mut self, folder: Folder, file: &str, text: &str, own: bool) -> Vec<CatalogError> {
        let mut reading = Reading { file, text, own, errors: Vec::new() };
        match folder {
            Folder::Services => {
                if let Some(outer) = reading.outer::<ServiceFile>() {
                    self.add_service(outer, &mut reading);
                }
            }
            Folder::Panels => {
                if let Some(outer) = reading.outer::<PanelFile>() {
                    self.add_panels(outer, &mut reading);
                }
            }
        }
        reading.errors
    }

    pub(super) fn add_excluded(&mut self, file: &str, text: &str, own: bool) -> Vec<CatalogError> {
        let mut reading = Reading { file, text, own, errors: Vec::new() };
        if let Some(outer) = reading.outer::<ExcludedFile>() {
            self.excluded.extend(outer.excluded);
        }
        reading.errors
    }

    /// Adds an operator's directory, laid out as `catalog/` is: `services/*.toml` (with `excluded.toml`), `panels/*.toml`. Its
    /// checks are read by [`checks_of`].
    pub(super) fn add_directory(&mut self, directory: &Path) -> Vec<CatalogError> {
        let mut errors = Vec::new();
        if !directory.is_dir() {
            let (file, message) = (directory.display().to_string(), "not a directory".to_owned());
            return vec![CatalogError { file, line: None, message }];
        }
        for (folder, name) in [(Folder::Services, "services"), (Folder::Panels, "panels")] {
            let inside = directory.join(name);
            if !inside.exists() {
                continue;
            }
            for (file, text) in texts(&inside, &mut errors) {
                let excluded = folder == Folder::Services && file.ends_with("/excluded.toml");
                errors.extend(match excluded {
                    true => self.add_excluded(&file, &text, true),
                    false => self.add_file(folder, &file, &text, true),
                });
            }
        }
        errors
    }

    fn add_service(&mut self, file: ServiceFile, reading: &mut Reading<'_>) {
        let known = self.summaries.iter().position(|s| s.name == file.service);
        let mut summary = ServiceSummary {
            name: file.service.clone(),
            products: BTreeSet::new(),
            ports: file.ports.clone(),
            on: BTreeSet::new(),
            proved: file.proved,
            file: reading.file.to_owned(),
            rules: 0,
        };
        match file.service.as_str() {
            "http" => self.http_ports.extend(&file.ports),
            "tls" => self.tls_ports.extend(&file.ports),
            _ => {}
        }
        let mut names = BTreeSet::new();
        for entry in file.probe {
            let Some((probe, at)) = reading.entry::<ProbeSpec>(entry, "probe") else { continue };
            let name = probe.name.clone();
            match self.add_probe(probe, &file.ports) {
                Ok(()) => drop(names.insert(name)),
                Err(message) => reading.refuse(Some(at), format!("probe `{name}`: {message}")),
            }
        }
        for entry in file.rule {
            let Some((spec, at)) = reading.entry::<RuleSpec>(entry, "rule") else { continue };
            let (id, looks, replaces) = (spec.id.clone(), spec.on.clone(), spec.replaces);
            let products: BTreeSet<String> = spec.cases.iter().filter_map(|c| c.product.clone()).collect();
            let origin = reading.origin(at);
            match self.compile_rule(spec, &file.service, &file.ports, &names, origin) {
                Ok(rule) => match self.admit_id(&id, replaces, reading.own) {
                    Ok(()) => {
                        summary.on.insert(looks);
                        summary.products.extend(products);
                        summary.rules += 1;
                        self.rules.push(rule);
                    }
                    Err(message) => reading.refuse(Some(at), format!("rule `{id}`: {message}")),
                },
                Err(message) => reading.refuse(Some(at), format!("rule `{id}`: {message}")),
            }
        }
        match known {
            // A second file of a service adds to the first; how far the first is proved says nothing of the second.
            Some(known) if reading.own => {
                let first = &mut self.summaries[known];
                first.products.extend(summary.products);
                first.on.extend(summary.on);
                first.rules += summary.rules;
            }
            _ => self.summaries.push(summary),
        }
    }

    fn add_probe(&mut self, probe: ProbeSpec, ports: &[u16]) -> Result<(), String> {
        let after = probe.after.as_deref().map(compile).transpose()?;
        let request = match (probe.send, probe.hex, probe.path) {
            (Some(send), None, None) => unescape(&send)?,
            (None, Some(hex), None) => from_hex(&hex)?,
            (None, None, Some(path)) => {
                if !path.starts_with('/') || !path.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
                    return Err("`path` starts with `/` and has no spaces".into());
                }
                self.follow_ups.push(FollowUp { path, ports: ports.to_vec(), after });
                return Ok(());
            }
            _ => return Err("has one of `send`, `hex` and `path`".into()),
        };
        if request.is_empty() {
            return Err("sends nothing; a rule on `banner` needs no probe".into());
        }
        if self.probes.iter().any(|p| p.name == probe.name) {
            return Err("another probe or codec has that name".into());
        }
        self.probes.push(Probe { name: probe.name, ports: ports.to_vec(), request, codec: None, after });
        Ok(())
    }

    fn compile_rule(
        &mut self,
        spec: RuleSpec,
        service: &str,
        ports: &[u16],
        probes: &BTreeSet<String>,
        origin: Origin,
    ) -> Result<Rule, String> {
        let on = match spec.on.as_str() {
            "banner" => On::Banner,
            "http" => On::Http("/".into()),
            other => match (other.strip_prefix("http "), CODECS.iter().find(|c| c.name == other)) {
                (Some(path), _) => On::Http(path.to_owned()),
                (_, Some(codec)) => On::Codec(codec.name),
                _ if probes.contains(other) => On::Probe(other.to_owned()),
                _ => return Err(format!("looks on `{other}`, which is no probe of this file, codec, `banner` or `http`")),
            },
        };
        let after = spec.after.as_deref().map(compile).transpose()?;
        let rule = Rule::compile(spec, service, on, origin)?;
        match &rule.on {
            On::Banner => self.banner_ports.extend(ports),
            On::Codec(name) => {
                let codec = CODECS.iter().find(|c| c.name == *name).ok_or("no such codec")?;
                match codec.request {
                    None => self.banner_ports.extend(ports),
                    // Several services may be told apart by one question.
                    Some(_) if self.probes.iter().any(|p| p.name == codec.name) => {
                        let known = self.probes.iter_mut().filter(|p| p.name == codec.name);
                        known.for_each(|p| p.ports.extend(ports));
                    }
                    Some(request) => self.probes.push(Probe {
                        name: codec.name.to_owned(),
                        ports: ports.to_vec(),
                        request: request(),
                        codec: Some(codec),
                        after,
                    }),
                }
            }
            _ => {}
        }
        Ok(rule)
    }

    fn add_panels(&mut self, file: PanelFile, reading: &mut Reading<'_>) {
        for entry in file.panel {
            let Some((spec, at)) = reading.entry::<PanelSpec>(entry, "panel") else { continue };
            let (id, replaces) = (spec.id.clone(), spec.replaces);
            let origin = reading.origin(at);
            let made = PanelRule::compile(spec, origin).and_then(|rule| self.admit_id(&id, replaces, reading.own).map(|()| rule));
            match made {
                Ok(rule) => self.panels.push(rule),
                Err(message) => reading.refuse(Some(at), format!("panel `{id}`: {message}")),
            }
        }
        for entry in file.technology {
            let Some((spec, at)) = reading.entry::<TechnologySpec>(entry, "technology") else { continue };
            let (id, replaces) = (spec.id.clone(), spec.replaces);
            let origin = reading.origin(at);
            let made =
                Technology::compile(spec, origin).and_then(|rule| self.admit_id(&id, replaces, reading.own).map(|()| rule));
            match made {
                Ok(rule) => self.technologies.push(rule),
                Err(message) => reading.refuse(Some(at), format!("technology `{id}`: {message}")),
            }
        }
    }

    /// Ids are unique. An operator's entry may stand in the place of a built-in one only if it says so.
    fn admit_id(&mut self, id: &str, replaces: bool, own: bool) -> Result<(), String> {
        if id.is_empty() {
            return Err("has an empty id".into());
        }
        let origins = self.origins(id);
        let taken = origins.first().map(|o| (o.own, o.to_string()));
        match (taken, replaces) {
            (None, false) => Ok(()),
            (None, true) => Err("`replaces` is for the id of a built-in entry, and there is none of this id".into()),
            (Some((false, _)), true) if own => {
                self.rules.retain(|r| r.id != id);
                self.panels.retain(|p| p.id != id);
                self.technologies.retain(|t| t.id != id);
                Ok(())
            }
            (Some((false, at)), false) if own => {
                Err(format!("is the id of a built-in entry ({at}); choose another, or say `replaces = true` to take its place"))
            }
            (Some((_, at)), _) => Err(format!("the id is taken by {at}")),
        }
    }
}

/// Adds an operator's checks, entry by entry: each stands or falls by itself, with the advice that the file's head gives for all.
fn add_checks(library: &mut Library, file: &str, text: &str) -> Vec<CatalogError> {
    let starts: Vec<usize> =
        text.match_indices("[[check]]").map(|(at, _)| at).filter(|&at| at == 0 || text[..at].ends_with('\n')).collect();
    let Some(&first) = starts.first() else {
        return vec![CatalogError { file: file.to_owned(), line: Some(1), message: "has no `[[check]]`".into() }];
    };
    let mut errors = Vec::new();
    for (n, &start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(text.len());
        let line = 1 + text[..start].matches('\n').count();
        if let Err(e) = library.add(file, &format!("{}{}", &text[..first], &text[start..end])) {
            errors.push(CatalogError { file: file.to_owned(), line: Some(line), message: tidy_toml(&e.message) });
        }
    }
    errors
}

/// Reads the checks of an operator's directory, `checks/*.toml`, beside the built-in ones.
pub(super) fn checks_of(directory: &Path) -> (Library, Vec<CatalogError>) {
    let mut library = Library::builtin();
    let mut errors = Vec::new();
    let inside = directory.join("checks");
    if inside.exists() {
        for (file, text) in texts(&inside, &mut errors) {
            errors.extend(add_checks(&mut library, &file, &text));
        }
    }
    (library, errors)
}

/// Names and texts of a folder's files. What cannot be read is an error of its own.
fn texts(folder: &Path, errors: &mut Vec<CatalogError>) -> Vec<(String, String)> {
    let mut unreadable =
        |path: &Path, message: String| errors.push(CatalogError { file: path.display().to_string(), line: None, message });
    let files = match toml_files(folder) {
        Ok(files) => files,
        Err(e) => {
            unreadable(folder, e.to_string());
            return Vec::new();
        }
    };
    let mut texts = Vec::new();
    for path in files {
        let text = match std::fs::metadata(&path) {
            Ok(meta) if meta.len() > FILE_BYTES => Err(format!("larger than {FILE_BYTES} bytes")),
            _ => std::fs::read_to_string(&path).map_err(|e| e.to_string()),
        };
        match text {
            Ok(text) => texts.push((path.display().to_string(), text)),
            Err(message) => unreadable(&path, message),
        }
    }
    texts
}

/// The TOML files of a folder, by name, so that the order of loading is the same everywhere.
fn toml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
