//! Git's own daemon: a repository asked for that cannot be there.
//!
//! Source: gitprotocol-pack, "Git Transport". `git-upload-pack` reads; nothing is named that exists.

use super::{Codec, Found, Reading};
use crate::bytes::tidy;

pub(crate) const CODEC: Codec = Codec { name: "git-upload-pack", request: Some(request), unasked: false, read };

fn request() -> Vec<u8> {
    let line = b"git-upload-pack /portreeve-no-such-repository\0host=portreeve.invalid\0";
    [format!("{:04x}", line.len() + 4).as_bytes(), line].concat()
}

fn read(bytes: &[u8]) -> Reading {
    // A line's length in four hexadecimal digits, itself included; then the error's keyword.
    let Some(digits) = bytes.get(..4) else {
        let hex = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_hexdigit);
        return if hex { Reading::Partial } else { Reading::Foreign };
    };
    let length = std::str::from_utf8(digits).ok().and_then(|d| usize::from_str_radix(d, 16).ok());
    let Some(length) = length.filter(|n| (9..=1024).contains(n)) else { return Reading::Foreign };
    let rest = &bytes[4..];
    if !b"ERR ".starts_with(&rest[..rest.len().min(4)]) {
        return Reading::Foreign;
    }
    if bytes.len() < length {
        return Reading::Partial;
    }
    let text = String::from_utf8_lossy(&rest[4..length - 4]);
    // The daemon names what was asked for, or says that it does not serve it.
    if bytes.len() != length
        || !(text.contains("portreeve-no-such") || text.contains("repository") || text.contains("access denied"))
    {
        return Reading::Foreign;
    }
    Reading::Is(Found {
        service: "git".into(),
        product: Some("git daemon".into()),
        shown: Some(format!("ERR {}", tidy(&text, 120))),
        ..Found::default()
    })
}
