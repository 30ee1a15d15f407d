//! The first two messages of TLS, written and read as bytes: which versions a server agrees to, also those that no library of
//! ours speaks any more (SSLv3 to TLS 1.1), and the certificate it shows on the way.
//!
//! Nothing is negotiated to the end and no key is made; sending and waiting is left to `tls`.

use crate::bytes::be;

/// A protocol version, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    Ssl3,
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl Version {
    pub(crate) const ALL: [Version; 5] = [Version::Ssl3, Version::Tls10, Version::Tls11, Version::Tls12, Version::Tls13];

    const fn number(self) -> u16 {
        match self {
            Version::Ssl3 => 0x0300,
            Version::Tls10 => 0x0301,
            Version::Tls11 => 0x0302,
            Version::Tls12 => 0x0303,
            Version::Tls13 => 0x0304,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Version::Ssl3 => "SSLv3",
            Version::Tls10 => "TLSv1.0",
            Version::Tls11 => "TLSv1.1",
            Version::Tls12 => "TLSv1.2",
            Version::Tls13 => "TLSv1.3",
        }
    }

    fn of(number: u64) -> Option<Version> {
        Version::ALL.into_iter().find(|v| u64::from(v.number()) == number)
    }
}

/// What a server said to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// More has to come.
    Partial,
    /// This is not TLS.
    Foreign,
    /// It will not; the alert's number.
    Alert(u8),
    /// It agrees to this version, and shows this certificate where it does so in the clear.
    Agrees { version: Version, leaf: Option<Vec<u8>> },
}

/// The suites offered up to TLS 1.2: what servers of three decades have in common with anybody, strongest first. Export and
/// anonymous suites are left out.
const SUITES: &[u16] = &[
    0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a, 0xc014, 0xc023, 0xc027, 0x009e, 0x009f, 0x0033,
    0x0039, 0x0067, 0x006b, 0x009c, 0x009d, 0x003c, 0x003d, 0x002f, 0x0035, 0x0041, 0x0084, 0xc012, 0xc008, 0x0016, 0x000a,
    0x0032, 0x0038, 0x0013, 0x0005, 0x0004, 0xc011, 0xc007, 0x0007, 0x0009, 0x0015,
];

/// And the three of TLS 1.3.
const SUITES_13: &[u16] = &[0x1301, 0x1302, 0x1303];

/// A hello that offers exactly one version, to the server of that name or to none.
pub(crate) fn client_hello(version: Version, name: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    // TLS 1.3 says its version in an extension, and 1.2 here (RFC 8446, section 4.1.2).
    body.extend(version.number().min(0x0303).to_be_bytes());
    // Sixteen of these 32 bytes need to be unlike any other hello's only where keys are made of them; none are here.
    body.extend(*b"portreeve asks which TLS version");
    body.push(0);
    let suites = if version == Version::Tls13 { SUITES_13 } else { SUITES };
    // The last is the signalling suite of RFC 5746, without which patched servers refuse an old version.
    let suites: Vec<u8> = suites.iter().chain(&[0x00ff]).flat_map(|s| s.to_be_bytes()).collect();
    body.extend((suites.len() as u16).to_be_bytes());
    body.extend(suites);
    body.extend([1, 0]);
    if version > Version::Ssl3 {
        let mut extensions = Vec::new();
        let mut add = |kind: u16, content: &[u8]| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend((content.len() as u16).to_be_bytes());
            extensions.extend(content);
        };
        if let Some(name) = name.filter(|name| name.len() < 254) {
            let length = name.len() as u16;
            let inner = [&[0][..], &length.to_be_bytes(), name.as_bytes()].concat();
            add(0, &[&(length + 3).to_be_bytes()[..], &inner].concat());
        }
        // Groups: x25519, P-256, P-384, P-521; uncompressed points; the usual signature algorithms with SHA-2 and SHA-1.
        add(10, &[0, 8, 0, 0x1d, 0, 0x17, 0, 0x18, 0, 0x19]);
        add(11, &[1, 0]);
        if version >= Version::Tls12 {
            add(13, &[0, 22, 4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 8, 6, 8, 7, 4, 1, 5, 1, 6, 1, 2, 1]);
        }
        if version == Version::Tls13 {
            add(43, &[2, 3, 4]);
            // No key share: the server asks for one, and says its version with it.
            add(51, &[0, 0]);
        }
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
    }
    let mut message = vec![1];
    message.extend(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend(body);
    let mut record = vec![22];
    record.extend(version.number().min(0x0301).to_be_bytes());
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

/// The largest record of TLS 1.2, with what encryption adds (RFC 5246, section 6.2.3).
const RECORD: usize = (1 << 14) + 2_048;

/// Reads what came back. Total: any bytes at all give an answer.
pub(crate) fn read(bytes: &[u8]) -> Said {
    let mut messages = Vec::new();
    let mut at = 0;
    let mut complete = true;
    while at < bytes.len() {
        let kind = bytes[at];
        if !matches!(kind, 20..=23) || bytes.get(at + 1).is_some_and(|&major| major != 3) {
            // What follows a hello may be anything; what comes instead of one is not TLS.
            if messages.is_empty() {
                return Said::Foreign;
            }
            break;
        }
        let Some(length) = be::<2>(bytes, at + 3) else {
            complete = false;
            break;
        };
        let length = length as usize;
        if length > RECORD {
            return if messages.is_empty() { Said::Foreign } else { agreed(&messages, true) };
        }
        let end = at + 5 + length;
        let content = &bytes[at + 5..end.min(bytes.len())];
        match kind {
            21 if messages.is_empty() => {
                return match content {
                    [1 | 2, description] => Said::Alert(*description),
                    _ if end > bytes.len() => Said::Partial,
                    _ => Said::Foreign,
                };
            }
            22 => messages.extend_from_slice(content),
            _ if messages.is_empty() => return Said::Foreign,
            // Whatever is sent under other types is not for us.
            _ => break,
        }
        if end > bytes.len() {
            complete = false;
        }
        at = end;
    }
    if messages.is_empty() && bytes.len() >= 5 && complete {
        return Said::Foreign;
    }
    agreed(&messages, !complete || at >= bytes.len())
}

/// The version and certificate in a server's handshake messages; with `more`, what is missing may still come.
fn agreed(messages: &[u8], more: bool) -> Said {
    let mut at = 0;
    let mut version = None;
    while let (Some(&kind), Some(length)) = (messages.get(at), be::<3>(messages, at + 1)) {
        let Some(body) = messages.get(at + 4..at + 4 + length as usize) else { break };
        at += 4 + length as usize;
        match (kind, version) {
            (2, None) => match server_hello(body) {
                // Everything after it is encrypted.
                Some(Version::Tls13) => return Said::Agrees { version: Version::Tls13, leaf: None },
                Some(agreed) => version = Some(agreed),
                None => return Said::Foreign,
            },
            (_, None) => return Said::Foreign,
            (11, Some(version)) => {
                let leaf = be::<3>(body, 3).and_then(|n| body.get(6..6 + n as usize)).map(<[u8]>::to_vec);
                return Said::Agrees { version, leaf };
            }
            (14, Some(version)) => return Said::Agrees { version, leaf: None },
            _ => {}
        }
    }
    match version {
        Some(version) if !more => Said::Agrees { version, leaf: None },
        _ if more => Said::Partial,
        _ => Said::Foreign,
    }
}

/// The version that a server's hello agrees to.
fn server_hello(body: &[u8]) -> Option<Version> {
    let spoken = be::<2>(body, 0)?;
    let session = *body.get(34)? as usize;
    // The suite and the compression method, then the extensions, if any.
    let mut at = 35 + session + 3;
    body.get(at - 1)?;
    let end = match be::<2>(body, at) {
        Some(length) => (at + 2 + length as usize).min(body.len()),
        None => at,
    };
    at += 2;
    while at + 4 <= end {
        let (kind, length) = (be::<2>(body, at)?, be::<2>(body, at + 2)? as usize);
        if kind == 43 && length == 2 {
            return Version::of(be::<2>(body, at + 4)?);
        }
        at += 4 + length;
    }
    Version::of(spoken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        [&[kind, 3, 1][..], &(content.len() as u16).to_be_bytes(), content].concat()
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &(body.len() as u32).to_be_bytes()[1..], body].concat()
    }

    fn hello(version: u16, extensions: &[u8]) -> Vec<u8> {
        let mut body = [&version.to_be_bytes()[..], &[7; 32], &[0], &[0xc0, 0x2f], &[0]].concat();
        if !extensions.is_empty() {
            body.extend((extensions.len() as u16).to_be_bytes());
            body.extend(extensions);
        }
        message(2, &body)
    }

    #[test]
    fn a_servers_answer_says_its_version_and_shows_its_certificate() {
        let certificate = message(11, &[0, 0, 6, 0, 0, 3, b'd', b'e', b'r']);
        let agrees = |version, leaf: Option<&[u8]>| Said::Agrees { version, leaf: leaf.map(<[u8]>::to_vec) };
        for (bytes, expected) in [
            (record(22, &[hello(0x0301, &[]), certificate.clone()].concat()), agrees(Version::Tls10, Some(b"der"))),
            ([record(22, &hello(0x0302, &[])), record(22, &certificate)].concat(), agrees(Version::Tls11, Some(b"der"))),
            (record(22, &[hello(0x0300, &[]), message(14, &[])].concat()), agrees(Version::Ssl3, None)),
            (record(22, &hello(0x0303, &[0, 43, 0, 2, 3, 4])), agrees(Version::Tls13, None)),
            (record(22, &hello(0x0303, &[])), Said::Partial),
            (record(21, &[2, 70]), Said::Alert(70)),
            (record(21, &[2]), Said::Foreign),
            (record(22, &hello(0x0303, &[]))[..20].to_vec(), Said::Partial),
            (vec![22, 3], Said::Partial),
            (Vec::new(), Said::Partial),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Said::Foreign),
            (b"SSH-2.0-x\r\n".to_vec(), Said::Foreign),
            (record(23, b"x"), Said::Foreign),
            (record(22, &message(1, &[0; 40])), Said::Foreign),
            (record(22, &hello(0x0505, &[])), Said::Foreign),
        ] {
            assert_eq!(read(&bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_hello_declares_its_own_length() {
        for version in Version::ALL {
            for name in [None, Some("panel.example")] {
                let bytes = client_hello(version, name);
                assert_eq!(be::<2>(&bytes, 3).unwrap() as usize, bytes.len() - 5, "{version:?}");
                assert_eq!(be::<3>(&bytes, 6).unwrap() as usize, bytes.len() - 9, "{version:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(
            head in prop::sample::select(vec![vec![], vec![22, 3, 1], record(22, &hello(0x0303, &[])), record(22, &hello(0x0301, &[0, 43, 0, 2, 3, 4]))]),
            rest in proptest::collection::vec(any::<u8>(), 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = [head, rest].concat();
            read(&bytes);
            read(&bytes[..cut.index(bytes.len() + 1)]);
        }
    }
}
