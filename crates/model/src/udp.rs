//! What is said to a UDP port: the built-in payloads, by port, and how the id that goes out is known when it comes back.
//!
//! The payloads are data (`catalog/udp/*.toml`); this parses and renders them, so that whoever sweeps and whoever identifies
//! asks the same. Sending them is left to `scan` and `services`; what their answers prove, the regular expressions of the
//! same files, to `services`.

use crate::catalog::CatalogError;
use crate::port::PortSet;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

/// One payload: a harmless question in the protocol that its ports promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Stable name, lower-case, e.g. `ntp-client`.
    pub name: String,
    /// [`crate::Service::name`] of what answers as expected.
    pub service: String,
    /// Ports that promise the protocol.
    pub ports: Vec<u16>,
    /// What it asks, for people.
    pub asks: String,
    /// The document that it follows.
    pub source: String,
    /// The answer comes from a port of its own rather than from the one asked (TFTP).
    pub any_port: bool,
    /// The payload whose answer makes this one worth asking, for a version that the first does not tell. Never in a sweep.
    pub follows: Option<String>,
    /// The most bytes that an answer is expected to have for each byte asked.
    pub ratio: u16,
    /// What answers prove.
    pub rules: Vec<PayloadRule>,
    /// Answers that the rules are held to.
    pub cases: Vec<PayloadCase>,
    /// How far its recognition has been proved: `real-server`, `by-hand` or `transcript`.
    pub proved: String,
    parts: Vec<Part>,
    /// Where an answer carries the id; anywhere if absent.
    back: Option<usize>,
}

/// What an answer proves beyond the protocol: the product stated, or those captured as `product` and `version`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadRule {
    /// Regular expression over the answer's bytes.
    pub pattern: String,
    /// Product as its maker writes it.
    pub product: Option<String>,
}

/// An answer and what is to be made of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadCase {
    /// The answer, escaped as [`unescape`] reads it.
    pub bytes: String,
    /// Product.
    pub product: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// No rule may match these bytes.
    #[serde(default)]
    pub no: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Raw,
    Hex,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    /// The first so many bytes of the probe's id.
    Id(usize, Form),
    /// Our port, decimal.
    Port,
    /// Zeros up to this length.
    Pad(usize),
}

/// What an answer says of the id that went out with the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echoed {
    /// The protocol has no id, or none that comes back.
    NoId,
    /// It came back.
    Yes,
    /// It did not: the answer is to something else, or of something else.
    No,
}

impl Payload {
    /// Writes the question with this id, leaving from this port.
    pub fn render(&self, id: u64, src_port: u16, out: &mut Vec<u8>) {
        out.clear();
        let id = id.to_be_bytes();
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => out.extend_from_slice(bytes),
                Part::Id(n, form) => write_id(&id[..*n], *form, out),
                Part::Port => out.extend_from_slice(src_port.to_string().as_bytes()),
                Part::Pad(len) => out.resize((*len).max(out.len()), 0),
            }
        }
    }

    /// Whether the answer carries the id.
    pub fn echoed(&self, id: u64, answer: &[u8]) -> Echoed {
        let Some((n, form)) = self.id() else { return Echoed::NoId };
        let mut wanted = Vec::with_capacity(16);
        write_id(&id.to_be_bytes()[..n], form, &mut wanted);
        let came = match self.back {
            Some(at) => answer.get(at..).is_some_and(|rest| rest.starts_with(&wanted)),
            None => answer.windows(wanted.len()).any(|window| window == wanted),
        };
        if came { Echoed::Yes } else { Echoed::No }
    }

    /// The longest id in the question, and how it is written.
    fn id(&self) -> Option<(usize, Form)> {
        if self.any_port {
            // What answers from elsewhere has nothing of the question in it but what a person may read.
            return None;
        }
        let ids = self.parts.iter().filter_map(|part| if let Part::Id(n, form) = part { Some((*n, *form)) } else { None });
        ids.max_by_key(|(n, _)| *n)
    }

    fn from_spec(spec: Spec) -> Result<Payload, String> {
        let mut parts = Vec::new();
        for piece in &spec.send {
            parse_parts(piece, &mut parts)?;
        }
        let payload = Payload {
            name: spec.name,
            service: spec.service,
            ports: spec.ports,
            asks: spec.asks,
            source: spec.source,
            any_port: spec.any_port,
            follows: spec.follows,
            ratio: spec.ratio,
            rules: spec.rules,
            cases: spec.cases,
            proved: spec.proved,
            parts,
            back: spec.back,
        };
        match payload.id() {
            // Two bytes turn up somewhere in a long answer by chance; their place must be known.
            Some((n, _)) if n < 3 && payload.back.is_none() => Err("so short an id needs `back`, where it comes back".into()),
            None if payload.back.is_some() => Err("`back` without an id".into()),
            _ if payload.rules.is_empty() => Err("no rule says what its answer looks like".into()),
            _ => Ok(payload),
        }
    }
}

fn write_id(id: &[u8], form: Form, out: &mut Vec<u8>) {
    match form {
        Form::Raw => out.extend_from_slice(id),
        Form::Hex => id.iter().for_each(|byte| out.extend_from_slice(format!("{byte:02x}").as_bytes())),
    }
}

/// `{id:2}`, `{hex:4}`, `{port}` and `{pad:1200}` between escaped bytes.
fn parse_parts(text: &str, parts: &mut Vec<Part>) -> Result<(), String> {
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('{') {
        let (word, tail) = after.split_once('}').ok_or_else(|| format!("`{{{after}` is not closed"))?;
        let bytes = unescape(plain)?;
        if !bytes.is_empty() {
            parts.push(Part::Bytes(bytes));
        }
        let number = |n: &str, most: usize| {
            n.parse::<usize>()
                .ok()
                .filter(|n| (1..=most).contains(n))
                .ok_or_else(|| format!("`{{{word}}}` has no number from 1 to {most}"))
        };
        parts.push(match word.split_once(':') {
            Some(("id", n)) => Part::Id(number(n, 8)?, Form::Raw),
            Some(("hex", n)) => Part::Id(number(n, 8)?, Form::Hex),
            Some(("pad", n)) => Part::Pad(number(n, MOST_BYTES)?),
            None if word == "port" => Part::Port,
            _ => return Err(format!("`{{{word}}}` is none of {{id:N}}, {{hex:N}}, {{port}}, {{pad:N}}")),
        });
        rest = tail;
    }
    let bytes = unescape(rest)?;
    if !bytes.is_empty() {
        parts.push(Part::Bytes(bytes));
    }
    Ok(())
}

/// The longest payload: what fits into an IPv6 packet of the least MTU (RFC 8200 section 5), so that no question is cut up.
const MOST_BYTES: usize = 1_280 - 40 - 8;

/// Reads printable text with the escapes `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN`. Characters beyond ASCII stand for their
/// UTF-8 bytes.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('r') => out.push(b'\r'),
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('0') => out.push(0),
            Some('\\') => out.push(b'\\'),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                match u8::from_str_radix(&digits, 16) {
                    Ok(byte) if digits.len() == 2 => out.push(byte),
                    _ => return Err(format!("`\\x{digits}` is not a byte: two hexadecimal digits are")),
                }
            }
            other => {
                return Err(format!("`\\{}` is not an escape", other.map(String::from).unwrap_or_default()));
            }
        }
    }
    Ok(out)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    name: String,
    service: String,
    ports: Vec<u16>,
    asks: String,
    source: String,
    proved: String,
    send: Vec<String>,
    back: Option<usize>,
    #[serde(default)]
    any_port: bool,
    follows: Option<String>,
    ratio: u16,
    rules: Vec<PayloadRule>,
    cases: Vec<PayloadCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    payload: Vec<Spec>,
}

/// All payloads, by port.
#[derive(Debug)]
pub struct Payloads {
    all: Vec<Payload>,
    by_port: HashMap<u16, Vec<usize>>,
}

impl Payloads {
    /// Those that ship with portreeve.
    pub fn builtin() -> &'static Payloads {
        static BUILTIN: OnceLock<Payloads> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            Payloads::parse(&[
                ("udp/names.toml", include_str!("../../../catalog/udp/names.toml")),
                ("udp/network.toml", include_str!("../../../catalog/udp/network.toml")),
                ("udp/data.toml", include_str!("../../../catalog/udp/data.toml")),
                ("udp/small.toml", include_str!("../../../catalog/udp/small.toml")),
            ])
            .expect("the built-in payloads are held to their cases by the tests")
        })
    }

    /// Payloads from the text of their files.
    pub fn parse(files: &[(&str, &str)]) -> Result<Payloads, CatalogError> {
        let (mut all, mut by_port, mut names): (Vec<Payload>, HashMap<u16, Vec<usize>>, _) =
            (Vec::new(), HashMap::new(), BTreeSet::new());
        for (name, text) in files {
            let malformed = |message: String| CatalogError::Malformed { file: (*name).to_owned(), message };
            let file: File = toml::from_str(text).map_err(|e| malformed(e.to_string()))?;
            for spec in file.payload {
                let id = spec.name.clone();
                if !names.insert(id.clone()) {
                    return Err(CatalogError::Repeated { id, what: "its name".into() });
                }
                let payload = Payload::from_spec(spec).map_err(|e| malformed(format!("payload `{id}`: {e}")))?;
                // What follows another is asked because of its answer, not because of the port.
                if payload.follows.is_none() {
                    payload.ports.iter().for_each(|&port| by_port.entry(port).or_default().push(all.len()));
                }
                all.push(payload);
            }
        }
        for payload in &all {
            let first = |name: &str| all.iter().any(|p| p.name == name && p.service == payload.service && p.follows.is_none());
            if let Some(followed) = payload.follows.as_deref().filter(|name| !first(name)) {
                let message = format!("payload `{}` follows `{followed}`, which asks for no {}", payload.name, payload.service);
                return Err(CatalogError::Malformed { file: "udp".into(), message });
            }
        }
        Ok(Payloads { all, by_port })
    }

    /// All of them, in the order of the files.
    pub fn all(&self) -> &[Payload] {
        &self.all
    }
    /// Those for a port, the one to try first first; none for a port that promises nothing.
    pub fn of_port(&self, port: u16) -> impl ExactSizeIterator<Item = &Payload> {
        self.by_port.get(&port).map_or(&[][..], Vec::as_slice).iter().map(|&i| &self.all[i])
    }
    /// What is worth asking once that payload has been answered.
    pub fn following<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Payload> {
        self.all.iter().filter(move |p| p.follows.as_deref() == Some(name))
    }
    /// What the n-th try at a port says: its payloads by turns, or nothing at all where none is known, which every UDP
    /// service may ignore and a closed port refuses all the same.
    pub fn for_try(&self, port: u16, attempt: u8) -> Option<&Payload> {
        let known = self.by_port.get(&port)?;
        Some(&self.all[known[usize::from(attempt) % known.len()]])
    }
    /// The ports that have a payload: the word `udp` in a choice of ports.
    pub fn ports(&self) -> PortSet {
        self.by_port.keys().copied().collect()
    }
    /// The services recognised, each with its ports.
    pub fn services(&self) -> BTreeMap<&str, PortSet> {
        let mut services: BTreeMap<&str, PortSet> = BTreeMap::new();
        for payload in &self.all {
            let ports = services.entry(&payload.service).or_default();
            *ports = ports.union(&payload.ports.iter().copied().collect());
        }
        services
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u64 = 0x0102_0304_0506_0708;

    fn rendered(payload: &Payload, id: u64) -> Vec<u8> {
        let mut bytes = vec![9; 9];
        payload.render(id, 61_007, &mut bytes);
        bytes
    }

    #[test]
    fn requirement_d9_names_are_covered() {
        let ports = Payloads::builtin().ports();
        for port in [53, 69, 111, 123, 137, 161, 389, 500, 1900, 5060, 5353, 11211] {
            assert!(ports.contains(port), "{port}");
        }
        assert!(ports.len() >= 28, "{ports}");
    }

    #[test]
    fn every_payload_is_one_small_packet_with_a_source_and_cases_of_both_kinds() {
        for payload in Payloads::builtin().all() {
            let name = &payload.name;
            let bytes = rendered(payload, ID);
            assert!(!bytes.is_empty() && bytes.len() <= MOST_BYTES, "{name}: {} bytes", bytes.len());
            assert!(!payload.source.is_empty() && !payload.asks.is_empty() && !payload.ports.is_empty(), "{name}");
            assert!(["real-server", "by-hand", "transcript"].contains(&payload.proved.as_str()), "{name}: {}", payload.proved);
            assert!(payload.cases.iter().any(|c| c.no) && payload.cases.iter().any(|c| !c.no), "{name}");
            for case in payload.cases.iter().filter(|c| !c.no) {
                let answer = unescape(&case.bytes).unwrap_or_else(|e| panic!("{name}: {e}")).len();
                assert!(answer <= usize::from(payload.ratio) * bytes.len(), "{name}: {answer} for {}", bytes.len());
            }
        }
    }

    #[test]
    fn an_id_comes_back_where_the_protocol_says_and_nowhere_else() {
        for payload in Payloads::builtin().all() {
            let name = &payload.name;
            let (asked, other) = (rendered(payload, ID), rendered(payload, !ID));
            if payload.id().is_none() {
                assert_eq!(payload.echoed(ID, &asked), Echoed::NoId, "{name}");
                continue;
            }
            assert_ne!(asked, other, "{name}");
            let (n, form) = payload.id().unwrap();
            let mut answer = vec![0; payload.back.unwrap_or(5)];
            write_id(&ID.to_be_bytes()[..n], form, &mut answer);
            assert_eq!(payload.echoed(ID, &answer), Echoed::Yes, "{name}");
            assert_eq!(payload.echoed(!ID, &answer), Echoed::No, "{name}");
            answer.pop();
            assert_eq!(payload.echoed(ID, &answer), Echoed::No, "{name}: cut short");
            if payload.back.is_some() {
                answer.insert(0, 0xee);
                assert_eq!(payload.echoed(ID, &answer), Echoed::No, "{name}: moved");
            }
        }
    }

    #[test]
    fn a_port_with_two_questions_is_asked_them_by_turns() {
        let payloads = Payloads::builtin();
        let name = |port, attempt| payloads.for_try(port, attempt).map(|p| p.name.as_str());
        assert_eq!((name(53, 0), name(53, 1), name(53, 2)), (Some("dns-version"), Some("dns-localhost"), Some("dns-version")));
        assert_eq!((name(123, 0), name(123, 1)), (Some("ntp-client"), Some("ntp-client")));
        assert_eq!(name(9, 0), None);
        assert_eq!((payloads.of_port(53).len(), payloads.of_port(9).len()), (2, 0));
    }

    #[test]
    fn what_follows_an_answer_is_never_asked_in_a_sweep() {
        let payloads = Payloads::builtin();
        let names: Vec<&str> = payloads.following("ntp-client").map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["ntp-variables"]);
        for payload in payloads.all().iter().filter(|p| p.follows.is_some()) {
            assert!(payload.ports.iter().all(|&port| payloads.of_port(port).all(|p| p.name != payload.name)), "{}", payload.name);
        }
    }

    #[test]
    fn templates_write_what_they_say() {
        let file = "[[payload]]\nname = 'x'\nservice = 'x'\nports = [1]\nasks = 'x'\nsource = 'x'\nproved = 'transcript'\nratio = 1\n\
                    rules = [{ pattern = 'x' }]\ncases = []\nsend = ['a{id:3}\\x00', '{hex:2};{port}', '{pad:16}']";
        let payloads = Payloads::parse(&[("x", file)]).unwrap();
        assert_eq!(rendered(&payloads.all()[0], ID), b"a\x01\x02\x03\x000102;61007\0");
        for (wrong, named) in [
            ("send = ['{id:9}']", "{id:9}"),
            ("send = ['{what}']", "{what}"),
            ("send = ['{id:2']", "not closed"),
            ("send = ['{id:2}']", "`back`"),
            ("send = ['\\xg0']", "\\xg0"),
            ("send = ['x']\nback = 0", "`back` without"),
        ] {
            let file = format!("{}\n{wrong}", file.split_once("\nsend").unwrap().0);
            let error = Payloads::parse(&[("udp/x.toml", &file)]).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("`x`") && error.contains("udp/x.toml"), "{wrong}: {error}");
        }
        let twice = format!("{file}\n{file}");
        assert!(Payloads::parse(&[("x", &twice)]).unwrap_err().to_string().contains("repeats its name"));
    }
}
