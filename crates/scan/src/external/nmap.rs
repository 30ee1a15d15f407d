//! nmap's XML (`-oX`, nmap.dtd 1.05), and that of others who write the same.
//!
//! Hosts, ports and services become observations with nmap's own reasons. A service that nmap only looked up by port number
//! (`method="table"`) is counted and not taken: what a port is registered for is no identification (I3). Scripts' output,
//! operating systems and traceroutes are passed over.

use super::words::{clip, proto, reason, service, some, state};
use super::xml::{Elements, Token, attributes};
use super::{FormatError, Place, PortsReading, Read, Sink};
use model::service::{Identification, Identity};
use model::{Endpoint, HostObservation, Liveness, Observation, PortSet, Proto, Reason, Service, State, Ts};
use std::net::IpAddr;

/// The reader.
#[derive(Default)]
pub(super) struct Nmap {
    elements: Elements,
    /// When the scan began; for hosts without a time of their own.
    began: Option<i64>,
    host: Option<Host>,
    port: Option<Port>,
    /// State of the `extraports` in hand.
    extra: Option<State>,
}

#[derive(Default)]
struct Host {
    at: Option<i64>,
    ip: Option<IpAddr>,
    status: Option<(Liveness, Reason)>,
    /// The status has been told.
    told: bool,
}

struct Port {
    proto: Option<Proto>,
    number: u16,
    state: Option<(State, Reason)>,
    named: bool,
    service: Option<Named>,
}

/// A service as nmap names it.
#[derive(Default)]
struct Named {
    name: String,
    product: Option<String>,
    version: Option<String>,
    probed: bool,
    tls: bool,
    confidence: Option<u8>,
}

impl Read for Nmap {
    fn byte(&mut self, byte: u8, place: Place, sink: &mut Sink<'_>) -> Result<(), FormatError> {
        match self.elements.byte(byte, place)? {
            None => Ok(()),
            Some(Token::Start { name, text, empty }) => {
                self.start(&name, &text, empty, sink)?;
                if empty {
                    self.end_of(&name, sink);
                }
                Ok(())
            }
            Some(Token::End { name }) => {
                self.end_of(&name, sink);
                Ok(())
            }
        }
    }

    fn end(&mut self, place: Place, _: &mut Sink<'_>) -> Result<(), FormatError> {
        self.elements.end(place)
    }

    fn held(&self) -> usize {
        self.elements.held()
    }
}

impl Nmap {
    fn start(&mut self, name: &str, text: &str, empty: bool, sink: &mut Sink<'_>) -> Result<(), FormatError> {
        let place = self.elements.from();
        let open = self.elements.open();
        // The element itself is the last of those open, unless it is empty.
        let around = &open[..open.len() - usize::from(!empty)];
        let parent = around.last().map(String::as_str);
        if parent.is_none() && name != "nmaprun" {
            let what = format!("the document is a <{}>, not an <nmaprun>", clip(name));
            return Err(place.error(what, "only XML that `nmap -oX` writes is read"));
        }
        match (parent, name) {
            (None, _) => attributes(name, text, place, |key, value| match key {
                "start" => self.began = value.parse().ok(),
                "scanner" => {
                    let word: String =
                        value.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(32).collect();
                    if !word.is_empty() {
                        sink.tally.scanner = word.to_ascii_lowercase();
                    }
                }
                _ => {}
            }),
            (Some("nmaprun"), "host") => {
                let (mut from, mut until) = (None, None);
                attributes(name, text, place, |key, value| match key {
                    "starttime" => from = value.parse().ok(),
                    "endtime" => until = value.parse().ok(),
                    _ => {}
                })?;
                self.host = Some(Host { at: until.or(from), ..Host::default() });
                Ok(())
            }
            (Some("host"), "status") => {
                let (mut up, mut why) = (None, Reason::Reported);
                attributes(name, text, place, |key, value| match key {
                    "state" => {
                        up = match value {
                            "up" => Some(Liveness::Online),
                            "down" => Some(Liveness::Offline),
                            _ => None,
                        }
                    }
                    "reason" => why = reason(value),
                    _ => {}
                })?;
                if let Some(host) = &mut self.host {
                    // nmap calls a host up when it was told not to ask; that is nobody's observation.
                    host.status = up.map(|up| (up, why)).filter(|_| why != Reason::Assumed);
                }
                Ok(())
            }
            (Some("host"), "address") => {
                let (mut addr, mut kind) = (None, String::new());
                attributes(name, text, place, |key, value| match key {
                    "addr" => addr = value.parse::<IpAddr>().ok(),
                    "addrtype" => value.clone_into(&mut kind),
                    _ => {}
                })?;
                if let Some(host) = &mut self.host
                    && kind != "mac"
                {
                    match addr {
                        Some(ip) if host.ip.is_none() => host.ip = Some(ip.to_canonical()),
                        Some(_) => {}
                        None => sink.tally.unusable += 1,
                    }
                }
                Ok(())
            }
            (Some("host"), "ports") => {
                self.tell_host(sink);
                Ok(())
            }
            (Some("ports"), "extraports") => {
                self.extra = None;
                attributes(name, text, place, |key, value| {
                    if key == "state" {
                        self.extra = state(value);
                    }
                })
            }
            (Some("extraports"), "extrareasons") => self.extra_reasons(name, text, place, sink),
            (Some("ports"), "port") => {
                let mut port = Port { proto: None, number: 0, state: None, named: false, service: None };
                attributes(name, text, place, |key, value| match key {
                    "protocol" => port.proto = proto(value),
                    "portid" => port.number = value.parse().unwrap_or(0),
                    _ => {}
                })?;
                self.port = Some(port);
                Ok(())
            }
            (Some("port"), "state") => {
                let (mut word, mut why) = (None, Reason::Reported);
                attributes(name, text, place, |key, value| match key {
                    "state" => word = state(value),
                    "reason" => why = reason(value),
                    _ => {}
                })?;
                if let Some(port) = &mut self.port {
                    port.state = word.map(|word| (word, why));
                }
                Ok(())
            }
            (Some("port"), "service") => {
                let mut named = Named::default();
                attributes(name, text, place, |key, value| match key {
                    "name" => value.clone_into(&mut named.name),
                    "product" => named.product = some(value),
                    "version" => named.version = some(value),
                    "method" => named.probed = value == "probed",
                    "tunnel" => named.tls = value == "ssl",
                    "conf" => named.confidence = value.parse().ok().filter(|c| *c <= 10),
                    _ => {}
                })?;
                if let Some(port) = &mut self.port {
                    port.named = true;
                    port.service = Some(named).filter(|n| n.probed);
                }
                Ok(())
            }
            (Some("runstats"), "finished") => {
                let (mut failed, mut why) = (false, None);
                attributes(name, text, place, |key, value| match key {
                    "exit" => failed = value == "error",
                    "errormsg" => why = some(value),
                    _ => {}
                })?;
                if failed {
                    sink.tally.failure = Some(why.unwrap_or_else(|| "it says that it failed".into()));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The ports of one reason among those that nmap does not list one by one.
    fn extra_reasons(&mut self, name: &str, text: &str, place: Place, sink: &mut Sink<'_>) -> Result<(), FormatError> {
        let (mut why, mut of, mut ports, mut count) = (Reason::Reported, None, None, 0u64);
        attributes(name, text, place, |key, value| match key {
            "reason" => why = reason(value),
            "proto" => of = Some(proto(value)),
            "ports" => ports = value.parse::<PortSet>().ok(),
            "count" => count = value.parse().unwrap_or(0),
            _ => {}
        })?;
        let host = self.host.as_ref();
        match (ports, self.extra, of, host.and_then(|h| h.ip)) {
            (Some(ports), Some(state), Some(Some(proto)), Some(ip)) => {
                let observed_at = self.at(sink);
                sink.ports(PortsReading { ip, proto, ports, state, reason: why, observed_at });
            }
            // Before 7.80 nmap did not say which ports these are. A closed UDP port is no closed TCP port, so without its protocol
            // nothing is said about a port either.
            (None, ..) | (_, _, None, _) => sink.tally.unnamed = sink.tally.unnamed.saturating_add(count),
            _ => sink.tally.unusable += 1,
        }
        Ok(())
    }

    fn end_of(&mut self, name: &str, sink: &mut Sink<'_>) {
        match (self.elements.open().last().map(String::as_str), name) {
            (Some("nmaprun"), "host") => {
                self.tell_host(sink);
                self.host = None;
            }
            (Some("ports"), "port") => self.tell_port(sink),
            (Some("ports"), "extraports") => self.extra = None,
            _ => {}
        }
    }

    fn at(&self, sink: &Sink<'_>) -> Ts {
        sink.instant(self.host.as_ref().and_then(|h| h.at).or(self.began))
    }

    fn tell_host(&mut self, sink: &mut Sink<'_>) {
        let observed_at = self.at(sink);
        let Some(host) = self.host.as_mut().filter(|h| !h.told) else { return };
        host.told = true;
        match (host.ip, host.status) {
            (Some(ip), Some((liveness, reason))) => sink.host(HostObservation { ip, liveness, reason, observed_at }),
            (None, _) => sink.tally.unusable += 1,
            (Some(_), None) => {}
        }
    }

    fn tell_port(&mut self, sink: &mut Sink<'_>) {
        let Some(port) = self.port.take() else { return };
        let ip = self.host.as_ref().and_then(|h| h.ip);
        let (Some(ip), Some(proto), Some((state, reason)), 1..) = (ip, port.proto, port.state, port.number) else {
            sink.tally.unusable += 1;
            return;
        };
        let endpoint = Endpoint { ip, port: port.number, proto };
        let observed_at = self.at(sink);
        sink.endpoint(Observation { endpoint, state, reason, observed_at });
        if state != State::Open {
            return;
        }
        match port.service {
            Some(named) => {
                let seen = identification(endpoint, named, observed_at, sink);
                sink.service(seen);
            }
            None => sink.tally.guesses += u64::from(port.named),
        }
    }
}

/// What nmap's probes got to know.
fn identification(endpoint: Endpoint, named: Named, observed_at: Ts, sink: &Sink<'_>) -> Identification {
    let evidence = Some(if named.tls { "nmap-probe-over-tls" } else { "nmap-probe" }.to_owned());
    let name = service(&named.name);
    let identity = match (name.as_str(), &named.product) {
        // A whole handshake, then the end of the connection before a byte: a wrapper refuses to say what it guards.
        ("tcpwrapped", _) => Identity::ClosesAtOnce,
        ("unknown" | "", None) => Identity::ProtocolOnly,
        ("http" | "tls", None) => Identity::ProtocolOnly,
        _ => Identity::Identified,
    };
    let named_something = !matches!(name.as_str(), "unknown" | "") || named.product.is_some();
    let service = (identity.is_told() && named_something).then(|| Service {
        name: if name == "unknown" { String::new() } else { name },
        product: named.product,
        version: named.version,
        source: Some(sink.source(named.confidence)),
        ..Service::default()
    });
    Identification { service, evidence, ..Identification::bare(endpoint, identity, observed_at) }
}

#[cfg(test)]
mod tests {
    use super::super::{Reading, Tally, read};
    use super::*;

    fn document(inner: &str) -> String {
        format!("<?xml version=\"1.0\"?>\n<!DOCTYPE nmaprun>\n<nmaprun scanner=\"nmap\" start=\"100\">\n{inner}\n</nmaprun>\n")
    }

    fn host(ports: &str) -> String {
        document(&format!(
            "<host starttime=\"101\" endtime=\"109\"><status state=\"up\" reason=\"arp-response\"/>\
             <address addr=\"10.0.0.7\" addrtype=\"ipv4\"/><address addr=\"02:00:00:00:00:01\" addrtype=\"mac\"/>\
             <ports>{ports}</ports></host>"
        ))
    }

    fn readings(text: &str) -> (Vec<Reading>, Tally) {
        let (out, end) = read(text.as_bytes(), None, Ts(1_000_000));
        (out, end.unwrap_or_else(|e| panic!("{e}\n{text}")))
    }

    #[test]
    fn a_name_looked_up_by_port_number_is_no_identification() {
        let port = |number: u16, service: &str| {
            format!("<port protocol=\"tcp\" portid=\"{number}\"><state state=\"open\" reason=\"syn-ack\"/>{service}</port>")
        };
        for (service, expected) in [
            ("<service name=\"redis\" method=\"table\" conf=\"3\"/>", None),
            ("", None),
            (
                "<service name=\"redis\" product=\"Redis\" version=\"7.0\" method=\"probed\" conf=\"10\"/>",
                Some((Identity::Identified, "redis", Some(10))),
            ),
            (
                "<service name=\"http\" tunnel=\"ssl\" method=\"probed\" conf=\"8\"/>",
                Some((Identity::ProtocolOnly, "http", Some(8))),
            ),
            ("<service name=\"tcpwrapped\" method=\"probed\" conf=\"8\"/>", Some((Identity::ClosesAtOnce, "", None))),
            ("<service name=\"unknown\" servicefp=\"SF:x\" method=\"probed\"/>", Some((Identity::ProtocolOnly, "", None))),
            ("<service name=\"ms-wbt-server\" method=\"probed\" conf=\"99\"/>", Some((Identity::Identified, "rdp", None))),
        ] {
            let (out, tally) = readings(&host(&port(6379, service)));
            let seen: Vec<_> = out.iter().filter_map(|r| if let Reading::Service(s) = r { Some(s) } else { None }).collect();
            let got = seen.first().map(|s| {
                let source = s.service.as_ref().and_then(|s| s.source.clone());
                if let Some(source) = &source {
                    assert_eq!(source.name, "import:nmap");
                }
                (s.identity, s.service.as_ref().map_or("", |s| s.name.as_str()), source.and_then(|s| s.confidence))
            });
            assert_eq!(got, expected, "{service}");
            assert_eq!(tally.guesses, u64::from(service.contains("table")), "{service}");
        }
    }

    #[test]
    fn times_reasons_and_lists_of_ports_are_kept() {
        let (out, tally) = readings(&host(
            "<extraports state=\"filtered\" count=\"3\"><extrareasons reason=\"no-responses\" count=\"3\" proto=\"tcp\" ports=\"1-2,9\"/>\
             </extraports><extraports state=\"closed\" count=\"4\"><extrareasons reason=\"resets\" count=\"4\"/></extraports>\
             <port protocol=\"udp\" portid=\"53\"><state state=\"open|filtered\" reason=\"no-response\"/></port>\
             <port protocol=\"sctp\" portid=\"7\"><state state=\"open\" reason=\"init-ack\"/></port>\
             <port protocol=\"tcp\" portid=\"70000\"><state state=\"open\" reason=\"syn-ack\"/></port>\
             <port protocol=\"tcp\" portid=\"81\"><state state=\"unfiltered\" reason=\"reset\"/></port>",
        ));
        let ip: IpAddr = "10.0.0.7".parse().unwrap();
        let at = Ts(109_000);
        assert_eq!(
            out,
            [
                Reading::Host(HostObservation { ip, liveness: Liveness::Online, reason: Reason::ArpReply, observed_at: at }),
                Reading::Ports(PortsReading {
                    ip,
                    proto: Proto::Tcp,
                    ports: "1,2,9".parse().unwrap(),
                    state: State::Filtered,
                    reason: Reason::Timeout,
                    observed_at: at
                }),
                Reading::Endpoint(Observation {
                    endpoint: "10.0.0.7:53/udp".parse().unwrap(),
                    state: State::OpenFiltered,
                    reason: Reason::Timeout,
                    observed_at: at
                }),
            ]
        );
        assert_eq!((tally.ports, tally.unnamed, tally.unusable, tally.complete), (4, 4, 3, true));
    }

    #[test]
    fn udp_ports_are_never_taken_for_tcp_ports() {
        let extra = |proto: &str| {
            format!(
                "<extraports state=\"closed\" count=\"3\"><extrareasons reason=\"port-unreaches\" count=\"3\" {proto} ports=\"1-3\"/></extraports>"
            )
        };
        let port = |number: u16, state: &str, reason: &str, service: &str| {
            format!("<port protocol=\"udp\" portid=\"{number}\"><state state=\"{state}\" reason=\"{reason}\"/>{service}</port>")
        };
        let ports = [
            extra("proto=\"udp\""),
            extra(""),
            port(53, "open", "udp-response", "<service name=\"domain\" method=\"probed\" conf=\"10\"/>"),
            port(161, "open|filtered", "no-response", "<service name=\"snmp\" method=\"table\" conf=\"3\"/>"),
            port(69, "closed", "port-unreach", ""),
        ];
        let (out, tally) = readings(&host(&ports.concat()));
        let said = |r: &Reading| match r {
            Reading::Endpoint(o) => format!("{} {} {}", o.endpoint, o.state, o.reason),
            Reading::Ports(p) => format!("{} {}/{} {}", p.ip, p.ports, p.proto, p.state),
            Reading::Service(s) => format!("{} {}", s.endpoint, s.identity),
            Reading::Host(h) => format!("{} {}", h.ip, h.liveness),
        };
        let expected = [
            "10.0.0.7 online",
            "10.0.0.7 1-3/udp closed",
            "10.0.0.7:53/udp open udp-response",
            "10.0.0.7:53/udp identified",
            "10.0.0.7:161/udp open|filtered timeout",
            "10.0.0.7:69/udp closed icmp-port-unreachable",
        ];
        assert_eq!(out.iter().map(said).collect::<Vec<_>>(), expected);
        assert_eq!((tally.ports, tally.unnamed, tally.unusable), (6, 3, 0), "what has no protocol is counted");
    }

    #[test]
    fn hosts_are_up_down_or_unasked() {
        for (status, expected) in [
            ("state=\"up\" reason=\"echo-reply\"", Some((Liveness::Online, Reason::EchoReply))),
            ("state=\"down\" reason=\"no-response\"", Some((Liveness::Offline, Reason::Timeout))),
            ("state=\"up\" reason=\"user-set\"", None),
            ("state=\"skipped\"", None),
        ] {
            let text = document(&format!(
                "<hosthint><status state=\"up\" reason=\"arp-response\"/><address addr=\"10.0.0.9\" addrtype=\"ipv4\"/></hosthint>\
                 <host><status {status}/><address addr=\"2001:db8::7\" addrtype=\"ipv6\"/></host>"
            ));
            let (out, _) = readings(&text);
            let got = out.first().map(|r| match r {
                Reading::Host(h) => {
                    assert_eq!((h.ip, h.observed_at), ("2001:db8::7".parse().unwrap(), Ts(100_000)));
                    (h.liveness, h.reason)
                }
                other => panic!("{other:?}"),
            });
            assert_eq!((got, out.len()), (expected, usize::from(expected.is_some())), "{status}");
        }
    }

    #[test]
    fn a_truncated_document_gives_what_was_complete_and_the_place() {
        let whole = host("<port protocol=\"tcp\" portid=\"22\"><state state=\"open\" reason=\"syn-ack\"/></port>");
        let cut = &whole[..whole.find("</ports>").unwrap()];
        let (out, end) = read(cut.as_bytes(), None, Ts(1_000_000));
        assert_eq!(out.len(), 2, "{out:?}");
        let error = end.unwrap_err();
        assert_eq!((error.line, error.offset), (4, cut.len() as u64));
        assert!(error.to_string().contains("within <ports>") && error.to_string().contains("hint:"), "{error}");
    }

    #[test]
    fn entities_bombs_and_foreign_documents_are_refused_at_their_place() {
        let bomb =
            "<?xml version=\"1.0\"?>\n<!DOCTYPE nmaprun [\n<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>\n<nmaprun args=\"&b;\"/>";
        let deep = format!("<nmaprun>{}", "<table>".repeat(100));
        let many: String = (0..100).map(|i| format!(" a{i}=\"\"")).collect();
        for (text, line, word) in [
            (bomb.to_owned(), 2, "declarations of its own"),
            (
                "<!DOCTYPE nmaprun SYSTEM \"file:///etc/passwd\" [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>".into(),
                1,
                "declarations",
            ),
            ("\n<!ENTITY a \"b\">".into(), 2, "declares"),
            ("<nmaprun start=\"&b;\"/>".into(), 1, "`b`"),
            (deep, 1, "deeper than 64"),
            (format!("<nmaprun>\n<host{many}/></nmaprun>"), 2, "more than 64 attributes"),
            ("<html></html>".into(), 1, "<html>"),
            ("<nmaprun></host>".into(), 1, "is open"),
            ("<nmaprun/>\n<nmaprun/>".into(), 2, "follows the end"),
            ("<nmaprun/>\nFAIL".into(), 2, "outside"),
            ("<nmaprun a=\"1\" a=\"2\"/>".into(), 1, "nmaprun"),
            ("<".into(), 1, "within an element"),
            (format!("<nmaprun args=\"{}\"/>", "x".repeat(2 << 20)), 1, "longer than"),
        ] {
            let (out, end) = read(text.as_bytes(), None, Ts(1_000_000));
            let error = end.expect_err(&text.chars().take(80).collect::<String>());
            assert!(
                out.is_empty() && error.line == line && error.what.contains(word),
                "{}: {error}",
                &text[..text.len().min(80)]
            );
        }
        // Old releases name their document type's home; it is not visited.
        let old = "<!DOCTYPE nmaprun PUBLIC \"-//IDN nmap.org//DTD Nmap XML 1.04//EN\" \"https://svn.nmap.org/nmap/docs/nmap.dtd\">\n<nmaprun/>";
        assert!(read(old.as_bytes(), None, Ts(1)).1.unwrap().complete);
    }
}
