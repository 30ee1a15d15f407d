//! How an attempt to identify ends: in exactly one [`Identity`], with what proves it. Pure.
//!
//! What is asked until then is `identify`'s; what the ending means for anybody is left to `assess`.

use crate::bytes::{printable, tidy};
use crate::protocol::Found;
use crate::tls;
use model::service::{Confidence, Identity, Service, Tls};
use sha2::{Digest, Sha256};

/// How much of an answer goes into its hash: enough for any banner and any page's head.
const HASHED: usize = 4_096;

/// SHA-256 of the first 4 KiB, lower-case hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(&bytes[..bytes.len().min(HASHED)]).iter().map(|b| format!("{b:02x}")).collect()
}

/// How the attempt ended.
#[derive(Clone, Debug)]
pub(crate) struct Conclusion {
    pub(crate) identity: Identity,
    pub(crate) service: Option<Service>,
    pub(crate) confidence: Option<Confidence>,
    pub(crate) evidence: Option<String>,
    pub(crate) banner: Option<String>,
    pub(crate) sha256: Option<String>,
    /// Hash of what the same server would answer again on another port: without the date and whatever else changes.
    pub(crate) likeness: Option<String>,
}

impl Conclusion {
    pub(crate) fn bare(identity: Identity) -> Self {
        Conclusion { identity, service: None, confidence: None, evidence: None, banner: None, sha256: None, likeness: None }
    }

    /// With what stays the same of the answer, where that is not all of it.
    pub(crate) fn alike(self, lasting: &[u8]) -> Self {
        Conclusion { likeness: Some(digest(lasting)), ..self }
    }
}

/// What has been learned of an endpoint that is no proof of a service.
#[derive(Default)]
pub(crate) struct Ground {
    /// Once a handshake is through, everything goes on inside it.
    pub(crate) tls: Option<Tls>,
    /// The server asked for our certificate on the way; we have none.
    pub(crate) certificate_asked: bool,
    /// A peer that speaks TLS and refuses ours: why, its certificate, whether it asked for ours.
    pub(crate) refused: Option<(String, Option<Tls>, bool)>,
    /// The first answer that no rule recognises, and to what.
    pub(crate) heard: Option<(String, Vec<u8>)>,
    /// A question was answered by closing.
    pub(crate) hung_up: bool,
}

/// What bytes that no rule recognises are: lines of text, or something else.
fn kind(bytes: &[u8]) -> &'static str {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        // The last character may have been cut.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok(),
        Err(_) => None,
    };
    // Escape begins the colours that some greetings are painted with.
    let plain = |c: char| !c.is_control() || matches!(c, '\r' | '\n' | '\t' | '\x1b');
    match whole {
        Some(text) if !text.is_empty() && text.chars().all(plain) => "text",
        _ => "binary",
    }
}

impl Ground {
    /// What a further connection has to offer to be spoken to in the same way.
    pub(crate) fn alpn(&self) -> &'static [&'static str] {
        match self.tls.as_ref().and_then(|t| t.alpn.as_deref()) {
            Some("h2") => tls::HTTP2,
            _ => tls::HTTP1,
        }
    }

    fn service(&self, name: &str) -> Service {
        Service { name: name.to_owned(), tls: self.tls.clone(), ..Service::default() }
    }

    pub(crate) fn found(&self, found: Found, evidence: &str, banner: Option<String>, decided: &[u8]) -> Conclusion {
        // A protocol that anything can be behind is named, but nothing is identified by it.
        let carrier = matches!(found.service.as_str(), "http" | "http2" | "grpc" | "websocket");
        let identity = match (found.refuses, found.wants_certificate, carrier && found.product.is_none()) {
            (_, true, _) => Identity::TlsClientCertRequired,
            (true, _, _) => Identity::RefusesUs,
            (_, _, true) => Identity::ProtocolOnly,
            _ => Identity::Identified,
        };
        Conclusion {
            identity,
            confidence: Some(found.confidence.unwrap_or(Confidence::Structural)),
            service: Some(Service { product: found.product, version: found.version, ..self.service(&found.service) }),
            evidence: Some(evidence.to_owned()),
            banner,
            sha256: Some(digest(decided)),
            likeness: Some(digest(decided)),
        }
    }

    pub(crate) fn protocol_only(&self, name: &str, evidence: &str, banner: Option<String>, decided: &[u8]) -> Conclusion {
        let confidence = match name {
            "text" | "binary" => None,
            _ => Some(Confidence::Structural),
        };
        Conclusion {
            service: Some(self.service(name)),
            confidence,
            evidence: Some(evidence.to_owned()),
            banner,
            sha256: (!decided.is_empty()).then(|| digest(decided)),
            likeness: (!decided.is_empty()).then(|| digest(decided)),
            ..Conclusion::bare(Identity::ProtocolOnly)
        }
    }

    /// Bytes that prove two services prove none of them, and are what no server of either says.
    pub(crate) fn contradiction(&self, evidence: &str, what: &str, bytes: &[u8]) -> Conclusion {
        Conclusion {
            service: self.tls.is_some().then(|| self.service("tls")),
            evidence: Some(format!("{evidence}: contradicts itself, {what}")),
            banner: Some(printable(bytes)),
            sha256: Some(digest(bytes)),
            likeness: Some(digest(bytes)),
            ..Conclusion::bare(Identity::Middlebox)
        }
    }

    fn wants_certificate(&self, tls: Option<Tls>, evidence: &str) -> Conclusion {
        Conclusion {
            service: Some(Service { name: "tls".into(), tls, ..Service::default() }),
            confidence: Some(Confidence::Structural),
            evidence: Some(evidence.to_owned()),
            ..Conclusion::bare(Identity::TlsClientCertRequired)
        }
    }

    pub(crate) fn closed_at_once(&self) -> Conclusion {
        match &self.tls {
            // Some servers hang up where others send the alert.
            Some(tls) if self.certificate_asked => self.wants_certificate(Some(tls.clone()), "tls-client-certificate-required"),
            Some(_) => self.protocol_only("tls", "tls-handshake", None, &[]),
            None => Conclusion::bare(Identity::ClosesAtOnce),
        }
    }

    /// A TLS layer that breaks off after the handshake: with TLS 1.3 that is how a server asks for a client certificate.
    pub(crate) fn alerted(&self, alert: rustls::AlertDescription) -> Conclusion {
        match alert {
            rustls::AlertDescription::CertificateRequired => {
                self.wants_certificate(self.tls.clone(), "tls-client-certificate-required")
            }
            other if self.certificate_asked => self.wants_certificate(self.tls.clone(), &tls::alert_name(other)),
            other => self.protocol_only("tls", &tidy(&tls::alert_name(other), 80), None, &[]),
        }
    }

    /// Nothing has proved a service.
    pub(crate) fn give_up(self) -> Conclusion {
        let heard = self.heard.as_ref().map(|(evidence, bytes)| (evidence.as_str(), bytes.as_slice()));
        match (&self.tls, &self.refused, heard) {
            (Some(_), _, None) if self.hung_up && self.certificate_asked => {
                self.wants_certificate(self.tls.clone(), "tls-client-certificate-required")
            }
            (Some(_), _, None) => self.protocol_only("tls", "tls-handshake", None, &[]),
            (None, Some((evidence, tls, true)), _) => self.wants_certificate(tls.clone(), evidence),
            (None, Some((evidence, tls, false)), _) => {
                let seen = Ground { tls: tls.clone(), ..Ground::default() };
                seen.protocol_only("tls", evidence, None, &[])
            }
            (_, _, Some((evidence, bytes))) => self.protocol_only(kind(bytes), evidence, Some(printable(bytes)), bytes),
            (None, None, None) if self.hung_up => Conclusion::bare(Identity::ClosesOnData),
            (None, None, None) => Conclusion::bare(Identity::Silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_nobody_knows_is_text_or_binary() {
        for (bytes, expected) in [
            (&b"what?\r\n"[..], "text"),
            ("\u{767b}\u{5f55}: ".as_bytes(), "text"),
            (&"\u{767b}\u{5f55}".as_bytes()[..5], "text"),
            (b"\x1b[32mready\x1b[0m\n", "text"),
            (b"\x00\x00\x00\x05hello", "binary"),
            (b"\xff\xfd\x18", "binary"),
            (b"bell\x07", "binary"),
            (b"\xe7", "binary"),
        ] {
            assert_eq!(kind(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn every_way_to_prove_nothing_ends_in_its_own_state() {
        let heard = |bytes: &[u8]| Some(("banner".to_owned(), bytes.to_vec()));
        let refused = |asked| Some(("tls-alert HandshakeFailure".to_owned(), None, asked));
        let tls = || Some(Tls::default());
        for (ground, identity, name) in [
            (Ground::default(), Identity::Silent, None),
            (Ground { hung_up: true, ..Ground::default() }, Identity::ClosesOnData, None),
            (Ground { hung_up: true, heard: heard(b"no\r\n"), ..Ground::default() }, Identity::ProtocolOnly, Some("text")),
            (Ground { heard: heard(&[0, 1]), ..Ground::default() }, Identity::ProtocolOnly, Some("binary")),
            (Ground { refused: refused(false), ..Ground::default() }, Identity::ProtocolOnly, Some("tls")),
            (Ground { refused: refused(true), ..Ground::default() }, Identity::TlsClientCertRequired, Some("tls")),
            (Ground { tls: tls(), ..Ground::default() }, Identity::ProtocolOnly, Some("tls")),
            (Ground { tls: tls(), heard: heard(b"hm"), ..Ground::default() }, Identity::ProtocolOnly, Some("text")),
            (
                Ground { tls: tls(), hung_up: true, certificate_asked: true, ..Ground::default() },
                Identity::TlsClientCertRequired,
                Some("tls"),
            ),
        ] {
            let end = ground.give_up();
            assert_eq!((end.identity, end.service.as_ref().map(|s| s.name.as_str())), (identity, name), "{end:?}");
        }
    }
}
