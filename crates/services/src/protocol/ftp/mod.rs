//! FTP: once a greeting has said that it is FTP, the list of features, which tells whether the connection can be encrypted.
//!
//! Source: RFC 959 (replies), RFC 2389 (FEAT), RFC 4217 (AUTH TLS). Which product greets so is left to the rules of
//! `catalog/services/ftp.toml`; whether anybody may sign in is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::tidy;

pub(crate) const CODEC: Codec = Codec { name: "ftp-greeting", request: None, unasked: true, read };

/// A reply: its code, its text, and what follows. `None` when it is not whole, or none.
fn reply(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let code = bytes.get(..3).filter(|c| c.iter().all(u8::is_ascii_digit))?;
    let mut at = 0;
    loop {
        let line = &bytes[at..];
        let end = at + line.iter().position(|&b| b == b'\n')? + 1;
        // The last line repeats the code, with a space behind it.
        let last = line.starts_with(code) && line.get(3) == Some(&b' ');
        if !last && at == 0 && line.get(3) != Some(&b'-') {
            return None;
        }
        at = end;
        if last {
            return Some((code, &bytes[..at], &bytes[at..]));
        }
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word))
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() || !b"220".starts_with(&bytes[..bytes.len().min(3)]) {
        return Reading::Foreign;
    }
    // Greetings and lists of features stay far below this.
    let more = || if bytes.len() < 8_192 { Reading::Partial } else { Reading::Foreign };
    let Some((b"220", greeting, rest)) = reply(bytes) else { return more() };
    if !contains(greeting, b"ftp") || contains(greeting, b"smtp") {
        return Reading::Foreign;
    }
    let mut found = Found { service: "ftp".into(), ..Found::default() };
    if rest.is_empty() {
        found.next = Some(b"FEAT\r\n".to_vec());
        return Reading::Is(found);
    }
    let Some((code, features, _)) = reply(rest) else { return more() };
    let encrypted = match code {
        b"211" if contains(features, b"AUTH TLS") || contains(features, b"AUTH SSL") => "yes",
        b"211" => "no",
        _ => "not stated",
    };
    found.shown = Some(format!("{} AUTH-TLS={encrypted}", tidy(&String::from_utf8_lossy(greeting), 200)));
    Reading::Is(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_say_whether_the_connection_can_be_encrypted() {
        for (said, expected) in [
            ("220 (vsFTPd 3.0.3)\r\n211-Features:\r\n EPRT\r\n PASV\r\n211 End\r\n", Some("220 (vsFTPd 3.0.3) AUTH-TLS=no")),
            ("220 FTP\r\n211-Extensions supported:\r\n AUTH TLS\r\n PBSZ\r\n211 End.\r\n", Some("220 FTP AUTH-TLS=yes")),
            (
                "220-Hello\r\n more\r\n220 FTP ready\r\n530 Please login.\r\n",
                Some("220-Hello more 220 FTP ready AUTH-TLS=not stated"),
            ),
        ] {
            let Reading::Is(found) = read(said.as_bytes()) else { panic!("{said}") };
            assert_eq!((found.shown.as_deref(), found.next), (expected, None), "{said}");
        }
        let Reading::Is(found) = read(b"220 FTP\r\n") else { panic!("a greeting is enough") };
        assert_eq!(found.next.as_deref(), Some(&b"FEAT\r\n"[..]));
        assert_eq!(read(b"220 mail.example ESMTP, no FTP here\r\n"), Reading::Foreign);
        assert_eq!(read(b"220-Hello\r\n"), Reading::Partial);
    }
}
