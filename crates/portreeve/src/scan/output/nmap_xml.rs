//! The XML that `nmap -oX` prints (nmap.dtd, version 1.05), for tools that read it. Hosts are grouped, so it is printed
//! at the end.

use super::{Outcome, Record, Sink};
use model::Proto;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;

/// The sink.
pub struct NmapXml {
    out: Box<dyn Write>,
    hosts: BTreeMap<IpAddr, Vec<Record>>,
}

impl NmapXml {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write>) -> Self {
        NmapXml { out, hosts: BTreeMap::new() }
    }
}

fn element<'a>(name: &'a str, attributes: &[(&str, String)]) -> BytesStart<'a> {
    let mut start = BytesStart::new(name);
    for (key, value) in attributes {
        start.push_attribute((*key, printable(value).as_str()));
    }
    start
}

/// XML 1.0 has no way to write most control characters; bytes from targets may hold them.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl Sink for NmapXml {
    fn record(&mut self, record: Record) -> io::Result<()> {
        self.hosts.entry(record.ip).or_default().push(record);
        Ok(())
    }

    fn finish(&mut self, outcome: &Outcome) -> io::Result<()> {
        let mut xml = Writer::new_with_indent(&mut self.out, b' ', 1);
        let secs = |ts: model::Ts| (ts.0.div_euclid(1000)).to_string();
        let close = |name: &'static str| Event::End(BytesEnd::new(name));
        xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        xml.write_event(Event::DocType(BytesText::from_escaped("nmaprun")))?;
        xml.write_event(Event::Start(element(
            "nmaprun",
            &[
                ("scanner", "portreeve".into()),
                ("args", outcome.command_line.clone()),
                ("start", secs(outcome.started)),
                ("version", env!("CARGO_PKG_VERSION").into()),
                ("xmloutputversion", "1.05".into()),
            ],
        )))?;
        for proto in [Proto::Tcp, Proto::Udp] {
            let ports = outcome.ports.of(proto);
            // nmap says `udp` as the type of a UDP scan, too.
            let kind = if proto == Proto::Udp { "udp" } else { outcome.method };
            if !ports.is_empty() {
                xml.write_event(Event::Empty(element(
                    "scaninfo",
                    &[
                        ("type", kind.into()),
                        ("protocol", proto.to_string()),
                        ("numservices", ports.len().to_string()),
                        ("services", ports.to_string()),
                    ],
                )))?;
            }
        }
        for (ip, records) in &mut self.hosts {
            records.sort_by_key(|r| (r.proto, r.port));
            let (from, until) = (records.iter().map(|r| r.ts).min(), records.iter().map(|r| r.ts).max());
            xml.write_event(Event::Start(element(
                "host",
                &[("starttime", secs(from.unwrap_or_default())), ("endtime", secs(until.unwrap_or_default()))],
            )))?;
            xml.write_event(Event::Empty(element(
                "status",
                &[("state", "up".into()), ("reason", "unknown-response".into()), ("reason_ttl", "0".into())],
            )))?;
            let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
            xml.write_event(Event::Empty(element("address", &[("addr", ip.to_string()), ("addrtype", family.into())])))?;
            xml.write_event(Event::Start(element("hostnames", &[])))?;
            for (_, name) in outcome.names.iter().filter(|(of, _)| of == ip) {
                xml.write_event(Event::Empty(element("hostname", &[("name", name.clone()), ("type", "user".into())])))?;
            }
            xml.write_event(close("hostnames"))?;
            xml.write_event(Event::Start(element("ports", &[])))?;
            for r in records {
                xml.write_event(Event::Start(element(
                    "port",
                    &[("protocol", r.proto.to_string()), ("portid", r.port.to_string())],
                )))?;
                xml.write_event(Event::Empty(element(
                    "state",
                    &[("state", r.state.to_string()), ("reason", nmap_reason(r).into()), ("reason_ttl", "0".into())],
                )))?;
                if let Some(service) = &r.service {
                    // nmap has no name for what is only known to be encrypted, or to be text.
                    let name = match service.name.as_str() {
                        "" | "tls" | "text" | "binary" => "unknown".to_owned(),
                        name => name.to_owned(),
                    };
                    let mut attributes = vec![("name", name)];
                    attributes.extend(service.product.clone().map(|p| ("product", p)));
                    attributes.extend(service.version.clone().map(|v| ("version", v)));
                    if service.tls.is_some() {
                        attributes.push(("tunnel", "ssl".into()));
                    }
                    attributes.extend([("method", "probed".into()), ("conf", "10".into())]);
                    xml.write_event(Event::Empty(element("service", &attributes)))?;
                }
                xml.write_event(close("port"))?;
            }
            xml.write_event(close("ports"))?;
            xml.write_event(close("host"))?;
        }
        xml.write_event(Event::Start(element("runstats", &[])))?;
        let elapsed = outcome.finished.since(outcome.started).0 as f64 / 1000.0;
        xml.write_event(Event::Empty(element(
            "finished",
            &[
                ("time", secs(outcome.finished)),
                ("elapsed", format!("{elapsed:.2}")),
                ("exit", if outcome.interrupted { "error" } else { "success" }.into()),
            ],
        )))?;
        let total = u64::try_from(outcome.hosts_total).unwrap_or(u64::MAX);
        xml.write_event(Event::Empty(element(
            "hosts",
            &[
                ("up", outcome.hosts_up.to_string()),
                ("down", total.saturating_sub(outcome.hosts_up).to_string()),
                ("total", total.to_string()),
            ],
        )))?;
        xml.write_event(close("runstats"))?;
        xml.write_event(close("nmaprun"))?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

/// nmap's word for the reason, where it differs from ours.
fn nmap_reason(record: &Record) -> &'static str {
    use model::Reason::*;
    match record.reason {
        Rst => "reset",
        Timeout => "no-response",
        IcmpProhibited => "admin-prohibited",
        IcmpUnreachable => "host-unreach",
        IcmpPortUnreachable => "port-unreach",
        Connected => "syn-ack",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{printed, record, service};
    use crate::cli::Format;
    use quick_xml::{Reader, events::Event};

    #[test]
    fn the_document_is_well_formed_whatever_the_target_says() {
        let text = printed(
            Format::NmapXml,
            vec![
                record("192.0.2.1", 80, Some(service("http", Some("<x>&\"\u{1}"), None))),
                record("192.0.2.1", 22, None),
                record("2001:db8::1", 6379, None),
            ],
        );
        let mut reader = Reader::from_str(&text);
        let (mut ports, mut hosts) = (Vec::new(), 0);
        loop {
            match reader.read_event().expect("well formed") {
                Event::Eof => break,
                Event::Start(e) if e.name().as_ref() == "host" => hosts += 1,
                Event::Start(e) if e.name().as_ref() == "port" => {
                    let id = e.try_get_attribute("portid").unwrap().unwrap();
                    ports.push(id.value.into_owned());
                }
                _ => {}
            }
        }
        assert_eq!((hosts, ports), (2, vec!["22".to_owned(), "80".to_owned(), "6379".to_owned()]));
        assert!(text.contains("&lt;x&gt;&amp;"), "{text}");
        assert!(!text.contains('\u{1}'));
    }
}
