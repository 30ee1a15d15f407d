//! TLS in front of a service: the handshake with whatever certificate is shown, and what that certificate says.
//!
//! Nothing is trusted here and nothing secret is ever sent: the point is to see and record, not to be safe. Whether a
//! certificate is expired, weak or the wrong one is left to `assess`.

use crate::bytes::tidy;
use crate::connection::{Stream, Visit, alert_in};
use crate::tls_hello::{self, Said, Version};
use model::Ts;
use model::service::Tls;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::*;
use x509_parser::public_key::PublicKey;

/// Accepts and remembers any certificate. It remembers, rather than the connection, because a handshake that fails for
/// want of a client certificate has shown the server's all the same.
#[derive(Debug)]
struct Recorder {
    schemes: Vec<SignatureScheme>,
    leaf: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Ok(mut seen) = self.leaf.lock() {
            *seen = Some(leaf.to_vec());
        }
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Answers a request for our certificate with none, and remembers that it was asked.
#[derive(Debug, Default)]
struct NoCertificate(AtomicBool);

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }
    fn has_certs(&self) -> bool {
        false
    }
}

/// How a handshake ended; the last field says whether our certificate was asked for.
pub(crate) enum Handshake {
    /// Through, with what it showed.
    Done(Stream, Tls, bool),
    /// The peer speaks TLS, but not with us: its alert, and its certificate when it got so far.
    Alert(AlertDescription, Option<Tls>, bool),
    /// Not TLS, or too slow to tell.
    Foreign,
}

/// The application protocols that are offered first: what an ordinary client of the last decade offers.
pub(crate) const HTTP1: &[&str] = &["http/1.1"];
/// To a server that refuses these.
pub(crate) const HTTP2: &[&str] = &["h2"];

/// Tries a handshake on a fresh connection. No server name is sent: we know the endpoint by its address only.
pub(crate) async fn handshake(visit: &mut Visit<'_>, stream: Stream, wait: Duration, alpn: &[&str]) -> Handshake {
    connect(visit, stream, wait, alpn, None).await
}

async fn connect(visit: &mut Visit<'_>, stream: Stream, wait: Duration, alpn: &[&str], name: Option<&str>) -> Handshake {
    let Stream::Plain(tcp) = stream else {
        return Handshake::Foreign;
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let recorder =
        Arc::new(Recorder { schemes: provider.signature_verification_algorithms.supported_schemes(), leaf: Mutex::new(None) });
    let ours = Arc::new(NoCertificate::default());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map(|builder| {
        builder.dangerous().with_custom_certificate_verifier(recorder.clone()).with_client_cert_resolver(ours.clone())
    });
    let Ok(mut config) = config else { return Handshake::Foreign };
    let named = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    config.enable_sni = named.is_some();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let name = named.unwrap_or(ServerName::IpAddress(visit.endpoint().ip.into()));
    let attempt = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let outcome = timeout(wait.min(visit.time_left()), attempt).await;
    // A handshake alone is no answer: what it was made for has yet to be asked, inside.
    if matches!(outcome, Ok(Err(_))) {
        visit.answered();
    }
    let leaf = recorder.leaf.lock().ok().and_then(|mut seen| seen.take());
    let seen = leaf.as_deref().and_then(describe);
    let asked = ours.0.load(Ordering::Relaxed);
    match outcome {
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            let mut tls = seen.unwrap_or_else(|| unreadable(leaf.as_deref().unwrap_or_default()));
            tls.version = match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".into(),
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".into(),
                _ => String::new(),
            };
            tls.alpn = session.alpn_protocol().map(|p| tidy(&String::from_utf8_lossy(p), 32));
            Handshake::Done(Stream::Tls(Box::new(stream)), tls, asked)
        }
        Ok(Err(e)) => match alert_in(&e) {
            Some(alert) => Handshake::Alert(alert, seen, asked),
            // It showed a certificate, asked for ours, and hung up: what others say with an alert.
            None if asked => Handshake::Alert(AlertDescription::CertificateRequired, seen, true),
            None => Handshake::Foreign,
        },
        Err(_) => Handshake::Foreign,
    }
}

/// The alert as evidence names it.
pub(crate) fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "tls-client-certificate-required".to_owned(),
        other => format!("tls-alert {other:?}"),
    }
}

/// Whether the alert is what servers of old versions say to a client of new ones.
pub(crate) fn says_too_new(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity
    )
}

/// One hello of one version on a connection of its own.
async fn hello(visit: &mut Visit<'_>, version: Version, name: Option<&str>, wait: Duration) -> Option<Said> {
    let mut stream = visit.dial().await.ok()?;
    let request = tls_hello::client_hello(version, name);
    let whole = |b: &[u8]| !matches!(tls_hello::read(b), Said::Partial);
    let answer = visit.ask(&mut stream, &request, wait, whole).await;
    Some(tls_hello::read(&answer.bytes))
}

/// The newest of the old versions that a server agrees to who refuses the new ones, with its certificate.
pub(crate) async fn legacy(visit: &mut Visit<'_>, wait: Duration) -> Option<Tls> {
    match hello(visit, Version::Tls11, None, wait).await? {
        Said::Agrees { version, leaf } => {
            let seen = leaf.as_deref().map(|der| describe(der).unwrap_or_else(|| unreadable(der)));
            Some(Tls { version: version.as_str().to_owned(), ..seen.unwrap_or_default() })
        }
        _ => None,
    }
}

/// Application protocols that are asked for one after the other. The names are IANA's.
const ALPNS: &[&str] = &["h2", "http/1.1", "http/1.0", "grpc-exp", "mqtt", "postgresql", "imap", "pop3", "dot", "tds/8.0"];

/// Asks what the quick look leaves out: each version, each application protocol, and the certificate for a name. Costs a
/// connection for each version, one for the name, and one for each protocol that is agreed to and one more.
pub(crate) async fn survey(visit: &mut Visit<'_>, tls: &mut Tls, wait: Duration) {
    let name = tls.names.iter().find_map(|n| {
        let host = n.strip_prefix("*.").map_or_else(|| n.clone(), |parent| format!("www.{parent}"));
        (host.parse::<IpAddr>().is_err() && host.contains('.')).then_some(host)
    });
    let mut versions = Vec::new();
    for version in Version::ALL {
        if let Some(Said::Agrees { version: agreed, .. }) = hello(visit, version, None, wait).await
            && agreed == version
        {
            versions.push(version.as_str().to_owned());
        }
    }
    // What was negotiated was agreed to, whatever the single hellos brought.
    if !tls.version.is_empty() && !versions.contains(&tls.version) {
        versions.push(tls.version.clone());
    }
    tls.versions = versions;
    let mut offered: Vec<&str> = ALPNS.to_vec();
    let mut agreed = Vec::new();
    while !offered.is_empty() {
        let Ok(stream) = visit.dial().await else { break };
        let Handshake::Done(_, seen, _) = connect(visit, stream, wait, &offered, None).await else { break };
        let Some(chosen) = seen.alpn.filter(|chosen| offered.contains(&chosen.as_str())) else { break };
        offered.retain(|protocol| *protocol != chosen);
        agreed.push(chosen);
    }
    tls.alpns = agreed;
    if let Some(name) = name
        && let Ok(stream) = visit.dial().await
        && let Handshake::Done(_, seen, _) = connect(visit, stream, wait, HTTP1, Some(&name)).await
        && seen.sha256 != tls.sha256
    {
        tls.sha256_named = Some(seen.sha256);
    }
}

/// A certificate that no parser of ours can read still has a fingerprint.
fn unreadable(der: &[u8]) -> Tls {
    Tls { sha256: fingerprint(der), ..Tls::default() }
}

fn fingerprint(der: &[u8]) -> String {
    Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect()
}

/// What a certificate says, from its DER bytes. `version` and `alpn` are the connection's and stay empty.
pub(crate) fn describe(der: &[u8]) -> Option<Tls> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let instant = |t: &ASN1Time| Ts(t.timestamp().saturating_mul(1_000));
    let mut names = Vec::new();
    if let Ok(Some(san)) = cert.subject_alternative_name() {
        // A certificate can name thousands; a hundred tell whose it is.
        for name in san.value.general_names.iter().take(100) {
            match name {
                GeneralName::DNSName(name) => names.push(tidy(name, 253)),
                GeneralName::IPAddress(octets) => {
                    let ip = match octets.len() {
                        4 => <[u8; 4]>::try_from(*octets).ok().map(IpAddr::from),
                        16 => <[u8; 16]>::try_from(*octets).ok().map(IpAddr::from),
                        _ => None,
                    };
                    names.extend(ip.map(|ip| ip.to_string()));
                }
                _ => {}
            }
        }
    }
    Some(Tls {
        subject: rfc4514(cert.subject()),
        issuer: rfc4514(cert.issuer()),
        names,
        not_before: instant(&cert.validity().not_before),
        not_after: instant(&cert.validity().not_after),
        self_signed: cert.subject().as_raw() == cert.issuer().as_raw(),
        sha256: fingerprint(der),
        key: key(cert.public_key()),
        ..Tls::default()
    })
}

/// Type and size of a public key.
fn key(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let curve = || {
        let oid = key.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string();
        // RFC 5480 section 2.1.1.1, and the curve of SM2 (GB/T 32918).
        Some(match oid.as_str() {
            "1.2.840.10045.3.1.7" => "P-256".to_owned(),
            "1.3.132.0.34" => "P-384".to_owned(),
            "1.3.132.0.35" => "P-521".to_owned(),
            "1.2.156.10197.1.301" => "SM2".to_owned(),
            _ => oid,
        })
    };
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => Some(format!("RSA {}", rsa.key_size())),
        Ok(PublicKey::EC(_)) => Some(format!("EC {}", curve()?)),
        Ok(PublicKey::DSA(_)) => Some("DSA".to_owned()),
        // RFC 8410.
        _ => match key.algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => Some("Ed25519".to_owned()),
            "1.3.101.113" => Some("Ed448".to_owned()),
            _ => None,
        },
    }
}

/// A name as RFC 4514 writes it: last RDN first, joined by commas, with its escapes. Attribute types without a short
/// name are written as their object identifier.
fn rfc4514(name: &X509Name<'_>) -> String {
    let rdns: Vec<_> = name.iter_rdn().collect();
    let written = rdns.iter().rev().map(|rdn| {
        let parts = rdn.iter().map(|attribute| {
            let oid = attribute.attr_type();
            // The table of RFC 4514 section 3, and the e-mail attribute that old certificates carry.
            let key = match oid.to_id_string().as_str() {
                "2.5.4.3" => "CN".into(),
                "2.5.4.7" => "L".into(),
                "2.5.4.8" => "ST".into(),
                "2.5.4.10" => "O".into(),
                "2.5.4.11" => "OU".into(),
                "2.5.4.6" => "C".into(),
                "2.5.4.9" => "STREET".into(),
                "0.9.2342.19200300.100.1.25" => "DC".into(),
                "0.9.2342.19200300.100.1.1" => "UID".into(),
                "1.2.840.113549.1.9.1" => "emailAddress".into(),
                other => other.to_owned(),
            };
            let value = match attribute.as_str() {
                Ok(text) => escape(&tidy(text, 256)),
                Err(_) => format!("#{}", attribute.as_slice().iter().take(64).map(|b| format!("{b:02x}")).collect::<String>()),
            };
            format!("{key}={value}")
        });
        parts.collect::<Vec<String>>().join("+")
    });
    written.collect::<Vec<String>>().join(",")
}

fn escape(value: &str) -> String {
    let mut out = String::new();
    let last = value.chars().count().saturating_sub(1);
    for (i, c) in value.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (i == 0 && matches!(c, '#' | ' '))
            || (i == last && c == ' ');
        if special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Whether bytes are a TLS alert record: a server that was spoken to in the clear and would rather be encrypted.
pub(crate) fn is_alert(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15, 0x03, 0..=4, 0x00, 0x02, 1..=2, _, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_escaped_as_rfc_4514_wants() {
        for (value, written) in
            [("plain", "plain"), ("a,b+c", "a\\,b\\+c"), ("#x", "\\#x"), ("x#", "x#"), ("a\"<>;\\", "a\\\"\\<\\>\\;\\\\")]
        {
            assert_eq!(escape(value), written);
        }
    }

    #[test]
    fn an_alert_in_the_clear_is_seen_as_tls() {
        assert!(is_alert(&[0x15, 3, 1, 0, 2, 2, 70]));
        for other in [&b"HTTP/1.1 400"[..], &[0x16, 3, 1, 0, 2, 2, 70], &[0x15, 3, 1, 0, 3, 2, 70], &[0x15, 3, 1], &[]] {
            assert!(!is_alert(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_certificate_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            describe(&bytes);
            is_alert(&bytes);
        }
    }
}
