//! WebLogic's T3: its greeting, which states the server's version, or the reason why there is none.
//!
//! Source: the bootstrap messages of `weblogic.rjvm` as Oracle's notes on connection filters quote them. Nothing is
//! deserialised: the conversation ends after the greeting. That T3 can be reached at all is a finding, and left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::tidy;

pub(crate) const CODEC: Codec = Codec { name: "weblogic-t3", request: Some(request), unasked: false, read };

/// The version that we claim. Some servers say only what they hear, so an answer of this version states none.
const OURS: &str = "12.1.2";

/// First words of an answer that is no greeting (`weblogic.rjvm.t3`): who asks is not wanted, or the server is not ready.
const REFUSALS: [&str; 8] = ["LGIN", "SERV", "UNAV", "LICN", "RESC", "VERS", "CATA", "CMND"];

fn request() -> Vec<u8> {
    format!("t3 {OURS}\nAS:2048\nHL:19\n\n").into_bytes()
}

fn read(bytes: &[u8]) -> Reading {
    let text = String::from_utf8_lossy(bytes);
    let Some(word) = text.get(..5) else {
        let begun = |w: &str| !text.is_empty() && w.starts_with(&*text);
        return if begun("HELO") || REFUSALS.iter().any(|w| begun(w)) { Reading::Partial } else { Reading::Foreign };
    };
    let found = |version: Option<String>, refuses: bool| {
        Reading::Is(Found {
            service: "weblogic".into(),
            product: Some("Oracle WebLogic Server".into()),
            version,
            refuses,
            shown: Some(tidy(&text, 200)),
            ..Found::default()
        })
    };
    if word == "HELO:" {
        if !text.ends_with("\n\n") {
            let begun = text[5..].split('\n').next().is_some_and(|v| v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'));
            return if begun && text.len() < 256 { Reading::Partial } else { Reading::Foreign };
        }
        let mut lines = text[5..].split('\n');
        let stated = lines.next().unwrap_or_default();
        let number = stated.strip_suffix(".false").or_else(|| stated.strip_suffix(".true"));
        // Two settings at least, each a word and its value, and an empty line behind.
        let settings: Vec<&str> = lines.take_while(|l| !l.is_empty()).collect();
        let setting =
            |l: &&str| l.split_once(':').is_some_and(|(k, v)| k.bytes().all(|b| b.is_ascii_uppercase()) && !v.is_empty());
        return match number.filter(|n| n.contains('.') && n.bytes().all(|b| b.is_ascii_digit() || b == b'.')) {
            Some(n) if settings.len() >= 2 && settings.iter().all(setting) => found((n != OURS).then(|| n.to_owned()), false),
            _ => Reading::Foreign,
        };
    }
    let refusal = REFUSALS.iter().any(|w| word.strip_suffix(':') == Some(w));
    match (refusal, text.contains("weblogic.") || text.contains("Connection rejected"), text.ends_with('\n')) {
        (true, true, true) => found(None, text.contains("filter")),
        (true, _, false) if text.len() < 1024 => Reading::Partial,
        _ => Reading::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_only_our_own_come_back_is_none() {
        for (answer, version) in [
            ("HELO:12.2.1.3.0.false\nAS:2048\nHL:19\n\n", Some("12.2.1.3.0")),
            ("HELO:10.3.6.0.false\nAS:2048\nHL:19\n\n", Some("10.3.6.0")),
            ("HELO:14.1.1.0.0.true\nAS:2048\nHL:19\nMS:10000000\nPN:DOMAIN\n\n", Some("14.1.1.0.0")),
            ("HELO:12.1.2.false\nAS:2048\nHL:19\n\n", None),
        ] {
            let Reading::Is(found) = read(answer.as_bytes()) else { panic!("{answer}") };
            assert_eq!(found.version.as_deref(), version, "{answer}");
            for end in 1..answer.len() {
                assert_eq!(read(&answer.as_bytes()[..end]), Reading::Partial, "{answer} {end}");
            }
        }
    }

    #[test]
    fn a_filter_that_keeps_us_out_says_whose_it_is() {
        let answer =
            b"LGIN:Connection rejected, filter blocked Socket, weblogic.security.net.FilterException: [Security:090220]rule 3\n";
        let Reading::Is(found) = read(answer) else { panic!("not recognised") };
        assert!(found.refuses);
        assert_eq!(read(b"LGIN:please\n"), Reading::Foreign);
        assert_eq!(read(&request()), Reading::Foreign, "our own request, echoed");
    }
}
