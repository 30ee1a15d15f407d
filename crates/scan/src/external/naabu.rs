//! naabu's JSON lines (`-json`): one open port an object.
//!
//! naabu prints open ports only and no reason, so nothing is ever closed by it.

use super::objects::{Objects, parse};
use super::words::proto;
use super::{FormatError, Place, Read, Sink};
use model::{Endpoint, Observation, Proto, Reason, State, Ts};
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Deserialize)]
struct Record {
    ip: Option<String>,
    host: Option<String>,
    port: Option<Port>,
    protocol: Option<String>,
    timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u64),
    // naabu 2.1.0 and 2.1.1 printed their own structure.
    Structure {
        #[serde(rename = "Port")]
        port: u64,
        #[serde(rename = "Protocol", default)]
        protocol: u64,
    },
}

/// The reader.
#[derive(Default)]
pub(super) struct Naabu {
    objects: Objects,
}

impl Read for Naabu {
    fn byte(&mut self, byte: u8, place: Place, sink: &mut Sink<'_>) -> Result<(), FormatError> {
        let Some((object, from)) = self.objects.byte(byte, place)? else { return Ok(()) };
        let record: Record = parse(&object, from)?;
        // A target given as an address stands in `host` alone in some releases.
        let ip = record.ip.as_deref().or(record.host.as_deref()).and_then(|w| w.parse::<IpAddr>().ok());
        let (number, spoken) = match record.port {
            Some(Port::Number(port)) => (port, record.protocol.as_deref().map_or(Some(Proto::Tcp), proto)),
            Some(Port::Structure { port, protocol }) => {
                (port, [Proto::Tcp, Proto::Udp].get(usize::try_from(protocol).unwrap_or(usize::MAX)).copied())
            }
            None => (0, None),
        };
        let number = u16::try_from(number).ok().filter(|p| *p > 0);
        let (Some(ip), Some(port), Some(proto)) = (ip, number, spoken) else {
            sink.tally.unusable += 1;
            return Ok(());
        };
        let said = record.timestamp.and_then(|t| t.parse::<Ts>().ok());
        let observed_at = said.filter(|at| at.0 > 0).map_or(sink.undated, |at| at.min(sink.now));
        let endpoint = Endpoint { ip: ip.to_canonical(), port, proto };
        sink.endpoint(Observation { endpoint, state: State::Open, reason: Reason::Reported, observed_at });
        Ok(())
    }

    fn end(&mut self, place: Place, _: &mut Sink<'_>) -> Result<(), FormatError> {
        self.objects.end(place, false)
    }

    fn held(&self) -> usize {
        self.objects.held()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Reader, Reading, Via, read};
    use super::*;

    #[test]
    fn every_release_of_it_is_read() {
        for (line, expected) in [
            (r#"{"ip":"10.0.0.7","port":6379,"protocol":"tcp","tls":false}"#, Some("10.0.0.7:6379/tcp")),
            (
                r#"{"host":"shop.example","ip":"10.0.0.7","timestamp":"1970-01-01T00:00:09Z","port":53,"protocol":"udp"}"#,
                Some("10.0.0.7:53/udp"),
            ),
            (r#"{"ip":"10.0.0.7","port":80}"#, Some("10.0.0.7:80/tcp")),
            (r#"{"host":"10.0.0.7","port":{"Port":443,"Protocol":0,"TLS":true}}"#, Some("10.0.0.7:443/tcp")),
            (r#"{"ip":"10.0.0.7","port":{"Port":53,"Protocol":1,"TLS":false}}"#, Some("10.0.0.7:53/udp")),
            (r#"{"ip":"10.0.0.7","port":{"Port":53,"Protocol":2,"TLS":false}}"#, None),
            (r#"{"host":"shop.example","port":80}"#, None),
            (r#"{"ip":"10.0.0.7","port":0}"#, None),
            (r#"{"ip":"10.0.0.7","port":80,"protocol":"sctp"}"#, None),
        ] {
            let (out, end) = read(format!("{line}\n{line}\n").as_bytes(), None, Ts(10_000));
            let tally = end.unwrap_or_else(|e| panic!("{line}: {e}"));
            let got: Vec<String> =
                out.iter().map(|r| if let Reading::Endpoint(o) = r { o.endpoint.to_string() } else { panic!("{r:?}") }).collect();
            assert_eq!(got, expected.map_or(vec![], |e| vec![e, e]), "{line}");
            assert_eq!((tally.scanner.as_str(), tally.unusable), ("naabu", if expected.is_none() { 2 } else { 0 }));
        }
        let mut reader = Reader::new(None, Via::Import);
        let mut out = Vec::new();
        reader.feed(br#"{"ip":"10.0.0.7","port":80}"#, Ts(1), &mut out).unwrap();
        assert_eq!((reader.format(), out.len()), (Some(Format::NaabuJson), 1), "a record is handed out as soon as it is whole");
    }
}
