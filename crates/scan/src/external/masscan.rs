//! masscan's JSON (`-oJ`, `-oD`) and list (`-oL`).
//!
//! Each record is one port of one host, or one banner. `--ping` and `--arp` come as protocols `icmp` and `arp` with port 0:
//! they say that a host is up. Banners become identifications where the bytes show the protocol; certificates, titles and
//! headings that masscan cuts out of them are left to our own look.

use super::objects::{Objects, parse};
use super::words::{clip, proto, reason, service, state};
use super::{FormatError, MAX_RECORD, Place, Read, Sink, TRUNCATED};
use model::service::{Identification, Identity};
use model::{Endpoint, HostObservation, Liveness, Observation, Reason, Service, Ts};
use serde::Deserialize;
use std::net::IpAddr;

/// Protocols whose banner by masscan is what the server itself sent first, or answered.
const SPOKEN: &[&str] = &["ftp", "http", "imap", "memcached", "pop3", "rdp", "smb", "smtp", "ssh", "telnet", "vnc"];
/// Characters of a banner that are kept, as for our own.
const BANNER: usize = 512;

/// A record of either form of JSON.
#[derive(Deserialize)]
struct Record {
    ip: Option<String>,
    timestamp: Option<Stamp>,
    #[serde(default)]
    ports: Vec<PortRecord>,
    // `-oD`: one port, with what was found in `data`.
    port: Option<u64>,
    proto: Option<String>,
    data: Option<Found>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stamp {
    Number(i64),
    Text(String),
}

impl Stamp {
    fn seconds(&self) -> Option<i64> {
        match self {
            Stamp::Number(n) => Some(*n),
            Stamp::Text(text) => text.trim().parse().ok(),
        }
    }
}

#[derive(Deserialize)]
struct PortRecord {
    port: Option<u64>,
    proto: Option<String>,
    status: Option<String>,
    reason: Option<String>,
    service: Option<Spoken>,
}

#[derive(Deserialize)]
struct Spoken {
    name: Option<String>,
    banner: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    status: Option<String>,
    reason: Option<String>,
    service_name: Option<String>,
    banner: Option<String>,
}

/// One port of one host, whatever form it came in.
struct Port<'a> {
    ip: IpAddr,
    proto: &'a str,
    port: u64,
    at: Ts,
}

impl Port<'_> {
    fn endpoint(&self) -> Option<Endpoint> {
        let port = u16::try_from(self.port).ok().filter(|p| *p > 0)?;
        Some(Endpoint { ip: self.ip, port, proto: proto(self.proto)? })
    }

    fn state(&self, word: &str, why: &str, sink: &mut Sink<'_>) {
        let up = match self.proto {
            "icmp" => Some(Reason::EchoReply),
            "arp" => Some(Reason::ArpReply),
            _ => None,
        };
        match (up, self.endpoint(), state(word)) {
            (Some(reason), ..) if word == "open" => {
                sink.host(HostObservation { ip: self.ip, liveness: Liveness::Online, reason, observed_at: self.at });
            }
            (None, Some(endpoint), Some(state)) => {
                sink.endpoint(Observation { endpoint, state, reason: reason(why), observed_at: self.at });
            }
            _ => sink.tally.unusable += 1,
        }
    }

    fn banner(&self, name: &str, banner: &str, sink: &mut Sink<'_>) {
        let name = service(name);
        match self.endpoint() {
            None => sink.tally.unusable += 1,
            Some(endpoint) if SPOKEN.contains(&name.as_str()) => {
                let identity = if name == "http" { Identity::ProtocolOnly } else { Identity::Identified };
                let service = Service { name, source: Some(sink.source(None)), ..Service::default() };
                let banner: String = banner.escape_debug().take(BANNER).collect();
                sink.service(Identification {
                    service: Some(service),
                    evidence: Some("masscan-banner".into()),
                    banner: Some(banner).filter(|b| !b.is_empty()),
                    ..Identification::bare(endpoint, identity, self.at)
                });
            }
            Some(_) => sink.tally.guesses += 1,
        }
    }
}

fn address(word: Option<&str>) -> Option<IpAddr> {
    word?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// The reader of JSON.
#[derive(Default)]
pub(super) struct Json {
    objects: Objects,
    finished: bool,
}

impl Read for Json {
    fn byte(&mut self, byte: u8, place: Place, sink: &mut Sink<'_>) -> Result<(), FormatError> {
        let Some((object, from)) = self.objects.byte(byte, place)? else { return Ok(()) };
        // The last record of some releases is no JSON: its key has no quotes.
        if object.iter().filter(|b| !b.is_ascii_whitespace()).take(10).eq(b"{finished:") {
            self.finished = true;
            return Ok(());
        }
        let record: Record = parse(&object, from)?;
        let Some(ip) = address(record.ip.as_deref()) else {
            sink.tally.unusable += 1;
            return Ok(());
        };
        let at = sink.instant(record.timestamp.as_ref().and_then(Stamp::seconds));
        if let (Some(port), Some(found)) = (record.port, &record.data) {
            let port = Port { ip, proto: record.proto.as_deref().unwrap_or_default(), port, at };
            match (&found.status, &found.service_name) {
                (Some(status), _) => port.state(status, found.reason.as_deref().unwrap_or_default(), sink),
                (None, Some(name)) => port.banner(name, found.banner.as_deref().unwrap_or_default(), sink),
                (None, None) => sink.tally.unusable += 1,
            }
        }
        for said in &record.ports {
            let port = Port { ip, proto: said.proto.as_deref().unwrap_or_default(), port: said.port.unwrap_or(0), at };
            match (&said.status, &said.service) {
                (Some(status), _) => port.state(status, said.reason.as_deref().unwrap_or_default(), sink),
                (None, Some(spoken)) => {
                    port.banner(spoken.name.as_deref().unwrap_or_default(), spoken.banner.as_deref().unwrap_or_default(), sink)
                }
                (None, None) => sink.tally.unusable += 1,
            }
        }
        Ok(())
    }

    fn end(&mut self, place: Place, _: &mut Sink<'_>) -> Result<(), FormatError> {
        self.objects.end(place, self.finished)
    }

    fn held(&self) -> usize {
        self.objects.held()
    }
}

/// The reader of lists: `open tcp 80 192.0.2.7 1700000000`.
#[derive(Default)]
pub(super) struct List {
    line: Vec<u8>,
    from: Option<Place>,
    headed: bool,
    ended: bool,
}

const LIST_HINT: &str = "a line of a list is `open tcp 80 192.0.2.7 1700000000`; masscan's messages go to standard error";

impl List {
    fn line(&mut self, place: Place, sink: &mut Sink<'_>) -> Result<(), FormatError> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let place = self.from.take().unwrap_or(place);
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            self.headed |= comment.trim() == "masscan";
            self.ended |= comment.trim() == "end";
            return Ok(());
        }
        if line.is_empty() {
            return Ok(());
        }
        let mut words = line.splitn(5, ' ');
        let what = words.next().unwrap_or_default();
        if !matches!(what, "open" | "closed" | "banner") {
            return Err(place.error(format!("`{}` is not a record", clip(what)), LIST_HINT));
        }
        let (proto, port, ip, rest) = (words.next(), words.next(), words.next(), words.next());
        let (Some(proto), Some(port), Some(ip)) = (proto, port, ip) else {
            return Err(place.error("the record is too short", LIST_HINT));
        };
        let (stamp, rest) = rest.map_or((None, ""), |r| r.split_once(' ').map_or((Some(r), ""), |(s, rest)| (Some(s), rest)));
        let (Some(ip), Ok(port)) = (address(Some(ip)), port.parse::<u64>()) else {
            sink.tally.unusable += 1;
            return Ok(());
        };
        let at = sink.instant(stamp.and_then(|s| s.parse().ok()));
        let port = Port { ip, proto, port, at };
        match what {
            "banner" => {
                let (name, banner) = rest.split_once(' ').unwrap_or((rest, ""));
                port.banner(name, banner, sink);
            }
            // The list leaves the reason out.
            word => port.state(word, "", sink),
        }
        Ok(())
    }
}

impl Read for List {
    fn byte(&mut self, byte: u8, place: Place, sink: &mut Sink<'_>) -> Result<(), FormatError> {
        if byte == b'\n' {
            return self.line(place, sink);
        }
        if self.line.len() >= MAX_RECORD {
            return Err(self.from.unwrap_or(place).error(format!("a line is longer than {MAX_RECORD} bytes"), LIST_HINT));
        }
        self.from.get_or_insert(place);
        self.line.push(byte);
        Ok(())
    }

    fn end(&mut self, place: Place, sink: &mut Sink<'_>) -> Result<(), FormatError> {
        // A last line without its end may have lost digits: an address cut short is another address.
        if !self.line.is_empty() && !self.line.starts_with(b"#") {
            return Err(self.from.unwrap_or(place).error("the output ends within a line", TRUNCATED));
        }
        self.line(place, sink)?;
        if self.headed && !self.ended {
            return Err(place.error("the output ends before its last line, `# end`", TRUNCATED));
        }
        Ok(())
    }

    fn held(&self) -> usize {
        self.line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Reading, Tally, read};
    use super::*;

    /// The readings in one line each.
    fn lines(text: &str) -> (Vec<String>, Result<Tally, FormatError>) {
        let (out, end) = read(text.as_bytes(), None, Ts(1_000_000));
        let line = |r: &Reading| match r {
            Reading::Endpoint(o) => format!("{} {} {} {}", o.endpoint, o.state, o.reason, o.observed_at.0 / 1_000),
            Reading::Host(h) => format!("{} {} {}", h.ip, h.liveness, h.reason),
            Reading::Service(s) => {
                let service = s.service.as_ref().unwrap();
                format!("{} {} {} {:?}", s.endpoint, service.name, service.source.as_ref().unwrap().name, s.banner)
            }
            Reading::Ports(p) => format!("{} {}", p.ip, p.ports),
        };
        (out.iter().map(line).collect(), end)
    }

    #[test]
    fn json_is_read_whatever_its_commas() {
        let record = r#"{   "ip": "10.0.0.7",   "timestamp": "99", "ports": [ {"port": 80, "proto": "tcp", "status": "open", "reason": "syn-ack", "ttl": 64} ] }"#;
        let expected = "10.0.0.7:80/tcp open syn-ack 99";
        for text in [
            format!("[\n{record}\n,\n{record}\n]\n"),
            format!("[\n{record},\n{record},\n]\n"),
            format!("[\n{record},\n{record},\n{{finished: 1}}\n]\n"),
            format!("[\n{record}\n{record}\n{{ finished : 1 }}\n"),
            format!("\u{feff}  [{record}{record}]"),
            format!("{record}\n{record}\n"),
        ] {
            let (out, end) = lines(&text);
            assert_eq!(out, [expected, expected], "{text}");
            assert!(end.unwrap().complete, "{text}");
        }
        let (out, end) = lines(&format!("[\n{record},\n{}", &record[..40]));
        assert_eq!((out.len(), end.unwrap_err().line), (1, 3));
        let (out, end) = lines(&format!("[\n{record},\n"));
        assert_eq!((out.len(), end.unwrap_err().line), (1, 3));
    }

    #[test]
    fn every_kind_of_record_is_understood_or_counted() {
        for (text, expected, unusable, guesses) in [
            (
                r#"{"ip":"10.0.0.7","timestamp":"99","port":22,"proto":"tcp","rec_type":"status","data":{"status":"closed","reason":"rst-ack","ttl":64}}"#,
                vec!["10.0.0.7:22/tcp closed rst 99"],
                0,
                0,
            ),
            (
                r#"[{"ip":"10.0.0.7","timestamp":"99","ports":[{"port":22,"proto":"tcp","service":{"name":"ssh","banner":"SSH-2.0-x\r"}},{"port":443,"proto":"tcp","service":{"name":"X509","banner":"MII"}}]}]"#,
                vec!["10.0.0.7:22/tcp ssh import:masscan Some(\"SSH-2.0-x\\\\r\")"],
                0,
                1,
            ),
            (
                "open icmp 0 10.0.0.7 99\nopen arp 0 10.0.0.8 99\n",
                vec!["10.0.0.7 online echo-reply", "10.0.0.8 online arp-reply"],
                0,
                0,
            ),
            ("#masscan\nopen udp 53 2001:db8::1 99\n# end\n", vec!["[2001:db8::1]:53/udp open reported 99"], 0, 0),
            (
                r#"[{"ip":"10.0.0.7","timestamp":"99","ports":[{"port":161,"proto":"udp","status":"open","reason":"none","ttl":64}]}]"#,
                vec!["10.0.0.7:161/udp open reported 99"],
                0,
                0,
            ),
            ("open sctp 5 10.0.0.7 99\nopen tcp 70000 10.0.0.7 99\nopen tcp 5 10.0.0.777 99\n", vec![], 3, 0),
            ("banner tcp 22 10.0.0.7 99 ssh SSH-2.0-x\n", vec!["10.0.0.7:22/tcp ssh import:masscan Some(\"SSH-2.0-x\")"], 0, 0),
            (
                r#"[{"ip":"10.0.0.7","timestamp":99999999999999999,"ports":[{"port":1,"proto":"tcp","status":"open"}]}]"#,
                vec!["10.0.0.7:1/tcp open reported 1000"],
                0,
                0,
            ),
        ] {
            let (out, end) = lines(text);
            assert_eq!(out, expected, "{text}");
            let tally = end.unwrap();
            assert_eq!((tally.unusable, tally.guesses), (unusable, guesses), "{text}");
        }
    }

    #[test]
    fn messages_in_the_output_are_refused_at_their_line() {
        for (text, line, word) in [
            ("#masscan\nFAIL: could not open adapter\n", 2, "FAIL:"),
            ("[\nFAIL: could not", 2, "`F`"),
            ("#masscan\nopen tcp 80 10.0.0.7 99\n", 3, "# end"),
            ("#masscan\nopen tcp 80 10.0.0.1", 2, "within a line"),
            ("open tcp 80\n", 1, "too short"),
            ("[{\"ip\": }]", 1, "not JSON"),
        ] {
            let error = lines(text).1.expect_err(text);
            assert!(error.line == line && error.what.contains(word), "{text}: {error}");
        }
        assert!(read(b"", Some(Format::MasscanJson), Ts(1)).1.unwrap().complete, "masscan prints nothing when it finds nothing");
    }
}
