//! Erlang's port mapper: which nodes are registered and on which ports.
//!
//! Source: Erlang distribution protocol, "NAMES_REQ". Read-only; `KILL_REQ` and `STOP_REQ` are never sent. What a known cookie
//! would allow on those ports is left to nobody here.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const CODEC: Codec = Codec { name: "epmd-names", request: Some(names), unasked: false, read };

/// The mapper's registered port; without a single node its own number is all it says.
const REGISTERED: u64 = 4369;

fn names() -> Vec<u8> {
    b"\0\x01n".to_vec()
}

fn read(bytes: &[u8]) -> Reading {
    // The port it listens on in four bytes, then a line for each node.
    let Some(port) = be::<4>(bytes, 0) else {
        return if bytes.first() == Some(&0) { Reading::Partial } else { Reading::Foreign };
    };
    if !(1..=65_535).contains(&port) {
        return Reading::Foreign;
    }
    let lines = &bytes[4..];
    if lines.is_empty() {
        return if port == REGISTERED { is(&[]) } else { Reading::Foreign };
    }
    let Ok(text) = std::str::from_utf8(lines) else { return Reading::Foreign };
    let mut nodes = Vec::new();
    for line in text.split_inclusive('\n') {
        let node = line.strip_suffix('\n').and_then(|l| l.strip_prefix("name ")).and_then(|l| l.split_once(" at port "));
        match node {
            Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => nodes.push(name),
            _ if !line.ends_with('\n') && ("name ".starts_with(line) || line.starts_with("name ")) => return Reading::Partial,
            _ => return Reading::Foreign,
        }
    }
    is(&nodes)
}

fn is(nodes: &[&str]) -> Reading {
    // A node of this name and no other is a broker's; it says what will be found beside.
    let rabbit = if nodes.contains(&"rabbit") { ", one of them rabbit" } else { "" };
    Reading::Is(Found {
        service: "epmd".into(),
        product: Some("Erlang Port Mapper Daemon".into()),
        shown: Some(format!("{} nodes{rabbit}", nodes.len())),
        ..Found::default()
    })
}
