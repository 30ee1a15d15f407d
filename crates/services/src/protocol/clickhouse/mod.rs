//! ClickHouse's native protocol: a client's hello as `default` without a password, which every client says first.
//!
//! Source: ClickHouse's description of the native protocol, "Hello" and "Exception". No query follows. That a hello was
//! accepted is the proof of open access that the checks report.

use super::{Codec, Found, Reading};
use crate::bytes::le;

pub(crate) const CODEC: Codec = Codec { name: "clickhouse-hello", request: Some(hello), unasked: false, read };

/// The protocol's revision from which time zone and display name are sent, and the patch level (54372 and 54401); we claim a
/// revision every server of the last eight years understands.
const REVISION: u64 = 54_401;
const WITH_ZONE: u64 = 54_058;
const WITH_NAME: u64 = 54_372;
const WITH_PATCH: u64 = 54_401;

fn number(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn hello() -> Vec<u8> {
    let mut bytes = vec![0];
    let text = |t: &str, out: &mut Vec<u8>| {
        number(t.len() as u64, out);
        out.extend(t.as_bytes());
    };
    text("portreeve", &mut bytes);
    for n in [1, 1, REVISION] {
        number(n, &mut bytes);
    }
    for t in ["", "default", ""] {
        text(t, &mut bytes);
    }
    bytes
}

/// Bytes taken one after the other; `None` when they run out or make no sense.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for i in 0..9 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            n |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }
    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let text = self.0.get(..length)?;
        self.0 = &self.0[length..];
        std::str::from_utf8(text).ok()
    }
}

fn read(bytes: &[u8]) -> Reading {
    match bytes.first() {
        Some(0) => greeting(bytes),
        Some(2) => exception(bytes),
        _ => Reading::Foreign,
    }
}

fn greeting(bytes: &[u8]) -> Reading {
    let name = b"\0\x0aClickHouse";
    if bytes.len() < name.len() {
        return if name.starts_with(bytes) { Reading::Partial } else { Reading::Foreign };
    }
    if !bytes.starts_with(name) {
        return Reading::Foreign;
    }
    let mut rest = Reader(&bytes[name.len()..]);
    let mut fields = || {
        let (major, minor, revision) = (rest.number()?, rest.number()?, rest.number()?);
        // The name that it displays is the host's: not for storing.
        for since in [WITH_ZONE, WITH_NAME] {
            if revision >= since {
                rest.text()?;
            }
        }
        let patch = if revision >= WITH_PATCH { rest.number()? } else { revision };
        Some((major, minor, revision, patch))
    };
    let Some((major, minor, revision, patch)) = fields() else { return Reading::Partial };
    if !(1..1000).contains(&major) || minor > 1000 || !(50_000..60_000).contains(&revision) {
        return Reading::Foreign;
    }
    let version = if patch == revision { format!("{major}.{minor}") } else { format!("{major}.{minor}.{patch}") };
    Reading::Is(Found {
        service: "clickhouse".into(),
        product: Some("ClickHouse".into()),
        shown: Some(format!("hello {version} revision {revision}")),
        version: Some(version),
        ..Found::default()
    })
}

/// A code of four bytes, the exception's class and its message.
fn exception(bytes: &[u8]) -> Reading {
    let Some(code) = le::<4>(bytes, 1) else { return Reading::Partial };
    let rest = &bytes[5..];
    let classes = [b"\x0dDB::Exception".as_slice(), b"\x10DB::NetException"];
    let Some(class) = classes.iter().find(|class| rest.starts_with(class)) else {
        return if classes.iter().any(|class| class.starts_with(rest)) { Reading::Partial } else { Reading::Foreign };
    };
    if code == 0 || code > 10_000 {
        return Reading::Foreign;
    }
    let mut reader = Reader(&rest[class.len()..]);
    let Some(message) = reader.text() else { return Reading::Partial };
    Reading::Is(Found {
        service: "clickhouse".into(),
        product: Some("ClickHouse".into()),
        // The message may name users and addresses; the code says enough.
        shown: Some(format!("exception {code}, {} bytes", message.len())),
        ..Found::default()
    })
}
