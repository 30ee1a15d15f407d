//! Memcached: `version`, the one command of its text protocol that tells without touching an item.
//!
//! Source: memcached's doc/protocol.txt. Whether `stats` is open to anybody is left to the checks.

use super::{Codec, Found, Reading};

pub(crate) const CODEC: Codec = Codec { name: "memcached-version", request: Some(request), unasked: false, read };

fn request() -> Vec<u8> {
    b"version\r\n".to_vec()
}

fn read(bytes: &[u8]) -> Reading {
    let found = |version: Option<&str>| {
        Reading::Is(Found {
            service: "memcached".into(),
            product: Some("memcached".into()),
            version: version.map(Into::into),
            farewell: Some(b"quit\r\n".to_vec()),
            ..Found::default()
        })
    };
    if bytes == b"CLIENT_ERROR unauthenticated\r\n" {
        return found(None);
    }
    for head in [&b"VERSION "[..], b"CLIENT_ERROR unauthenticated\r\n"] {
        if !bytes.is_empty() && head.starts_with(bytes) {
            return Reading::Partial;
        }
    }
    let Some(rest) = bytes.strip_prefix(b"VERSION ") else {
        return Reading::Foreign;
    };
    let Some(line) = rest.strip_suffix(b"\r\n") else {
        return if rest.len() < 64 && !rest.contains(&b'\n') { Reading::Partial } else { Reading::Foreign };
    };
    // The whole answer is this one line, and the line is one version.
    match std::str::from_utf8(line) {
        Ok(v)
            if v.starts_with(|c: char| c.is_ascii_digit())
                && v.len() <= 64
                && v.contains('.')
                && v.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+~".contains(&b)) =>
        {
            found(Some(v))
        }
        _ => Reading::Foreign,
    }
}
