//! Zabbix: the agent's own version by its item `agent.version`, and the server's or proxy's refusal of a request unknown to it.
//!
//! Source: Zabbix manual, "Passive and active agent checks" and "Header". No other item is read: `system.run` runs commands.
//! An agent that does not know our address hangs up.

use super::{Codec, Found, Reading};
use crate::bytes::{le, tidy};

pub(crate) const AGENT: Codec = Codec { name: "zabbix-agent", request: Some(agent_request), unasked: false, read: read_agent };
pub(crate) const SERVER: Codec =
    Codec { name: "zabbix-server", request: Some(server_request), unasked: false, read: read_server };

fn message(text: &str) -> Vec<u8> {
    [b"ZBXD\x01", &(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn agent_request() -> Vec<u8> {
    message("agent.version")
}

fn server_request() -> Vec<u8> {
    message("{\"request\":\"portreeve\"}")
}

/// The text of one message that fills the answer. `Err(true)` when more is needed.
fn text(bytes: &[u8]) -> Result<&[u8], bool> {
    let head = b"ZBXD\x01";
    if bytes.len() < head.len() {
        return Err(!bytes.is_empty() && head.starts_with(bytes));
    }
    // Newer peers set bits for compression and long lengths only where they were offered.
    let rest = bytes.strip_prefix(head).ok_or(false)?;
    let length = le::<4>(rest, 0).ok_or(true)?;
    if length > 65_536 {
        return Err(false);
    }
    let text = rest.get(8..8 + length as usize).ok_or(true)?;
    (rest.len() == 8 + text.len()).then_some(text).ok_or(false)
}

fn read_agent(bytes: &[u8]) -> Reading {
    let text = match text(bytes) {
        Ok(text) => String::from_utf8_lossy(text).into_owned(),
        Err(partial) => return if partial { Reading::Partial } else { Reading::Foreign },
    };
    let version = Some(tidy(&text, 64)).filter(|v| v.starts_with(|c: char| c.is_ascii_digit()) && v.contains('.'));
    // An agent may be told not to answer an item; the server's trapper answers in JSON.
    if version.is_none() && !text.starts_with("ZBX_NOTSUPPORTED") && !text.starts_with("ZBX_ERROR") {
        return if text.starts_with('{') { read_server(bytes) } else { Reading::Foreign };
    }
    Reading::Is(Found {
        service: "zabbix-agent".into(),
        product: Some("Zabbix agent".into()),
        shown: Some(format!("agent.version {}", tidy(&text, 64))),
        version,
        ..Found::default()
    })
}

fn read_server(bytes: &[u8]) -> Reading {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(partial) => return if partial { Reading::Partial } else { Reading::Foreign },
    };
    if text.starts_with(b"ZBX_NOTSUPPORTED") {
        return read_agent(bytes);
    }
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(text) else { return Reading::Foreign };
    let Some(response) = json["response"].as_str().filter(|r| matches!(*r, "failed" | "success")) else {
        return Reading::Foreign;
    };
    Reading::Is(Found {
        service: "zabbix".into(),
        // A proxy answers the same.
        product: Some("Zabbix".into()),
        version: json["version"].as_str().map(|v| tidy(v, 32)),
        shown: Some(format!("response {response}: {}", tidy(json["info"].as_str().unwrap_or("-"), 120))),
        ..Found::default()
    })
}
