//! MySQL and MariaDB: the greeting the server sends unasked, or the error it sends in its place.
//!
//! Source: MySQL client/server protocol, `Protocol::HandshakeV10` and `ERR_Packet`. Nothing is sent, so each visit counts as
//! an interrupted handshake at the server (R13: at `max_connect_errors` it blocks us); asking seldom is left to the planner.

use super::{Codec, Found, Reading};
use crate::bytes::{c_string, le, tidy};

pub(crate) const CODEC: Codec = Codec { name: "mysql-greeting", request: None, unasked: true, read };

/// Error codes that say "not you": host not allowed, host blocked.
const REFUSALS: [u64; 2] = [1130, 1129];

fn read(bytes: &[u8]) -> Reading {
    let Some(length) = le::<3>(bytes, 0) else {
        return if bytes.is_empty() { Reading::Foreign } else { Reading::Partial };
    };
    // A greeting is some eighty bytes, an error message at most 512; the first packet has sequence number 0 (1 in some
    // proxies' errors).
    if !(5..=1024).contains(&length) || bytes.get(3).is_some_and(|&s| s > 1) {
        return Reading::Foreign;
    }
    match bytes.get(4) {
        None => return Reading::Partial,
        Some(0x0a | 0xff) => {}
        Some(_) => return Reading::Foreign,
    }
    let Some(packet) = bytes.get(4..4 + length as usize) else {
        return Reading::Partial;
    };
    // The server waits for us now: anything behind the packet is another protocol's.
    if bytes.len() > packet.len() + 4 {
        return Reading::Foreign;
    }
    match packet[0] {
        0x0a => greeting(packet),
        _ => error(packet),
    }
    .map_or(Reading::Foreign, Reading::Is)
}

fn greeting(packet: &[u8]) -> Option<Found> {
    let (version, after) = c_string(packet, 1)?;
    let version = std::str::from_utf8(version).ok().filter(|v| !v.is_empty() && v.len() <= 100 && v.is_ascii())?;
    // Behind the version: thread id (4), salt (8), a zero byte, capabilities (2). Without the zero it is no greeting.
    if packet.get(after + 12) != Some(&0) || packet.len() < after + 15 {
        return None;
    }
    let (product, version) = name_version(version);
    // The salt is of use to nobody, so it is no secret, but no evidence either.
    let shown = Some(format!("protocol 10, version {}", tidy(std::str::from_utf8(c_string(packet, 1)?.0).ok()?, 100)));
    Some(Found { service: "mysql".into(), product: Some(product.into()), version, shown, ..Found::default() })
}

/// Who wrote the server, from its version. MariaDB 10 puts `5.5.5-` in front, because replicas of old MySQL refuse a
/// version that begins with 10 (R6).
fn name_version(stated: &str) -> (&'static str, Option<String>) {
    let some = |v: &str| v.starts_with(|c: char| c.is_ascii_digit()).then(|| tidy(v, 64));
    let plain = stated.strip_suffix("-log").unwrap_or(stated);
    if plain.contains("MariaDB") || plain.contains("-maria-") {
        let own = plain.strip_prefix("5.5.5-").unwrap_or(plain);
        return ("MariaDB", some(&own.replacen("-MariaDB", "", 1)));
    }
    // Others that speak the protocol put the version they imitate first and their own behind their name.
    for (mark, product) in OTHERS {
        if let Some((_, own)) = plain.split_once(mark) {
            let own = own.trim_start_matches(['-', 'v', '.', ' ']);
            return (product, some(own.split(' ').next().unwrap_or_default()));
        }
    }
    for (mark, product) in IN_FRONT {
        if let Some((own, _)) = plain.split_once(mark) {
            return (product, some(own));
        }
    }
    if percona(plain) {
        return ("Percona Server", some(plain));
    }
    ("MySQL", some(plain))
}

/// Products by the mark in front of their own version.
const OTHERS: [(&str, &str); 6] = [
    ("-TiDB-", "TiDB"),
    ("-OceanBase", "OceanBase"),
    ("mysql_aurora", "Amazon Aurora MySQL"),
    ("-PolarDB-X-", "PolarDB-X"),
    ("-Doris-", "Apache Doris"),
    ("-Dolt-", "Dolt"),
];

/// Products by the mark behind their own version.
const IN_FRONT: [(&str, &str); 4] =
    [("-ClickHouse", "ClickHouse"), ("-Vitess", "Vitess"), ("-Dolt", "Dolt"), ("-maxscale", "MaxScale")];

/// Whether a version is built as Percona documents its own: the upstream version, a dash, and a build number of digits alone
/// (`8.0.36-28`, `5.7.44-48`). Distributions put letters there.
fn percona(version: &str) -> bool {
    let Some((upstream, build)) = version.split_once('-') else { return false };
    let numbers = |text: &str, parts: std::ops::RangeInclusive<usize>| {
        let list: Vec<&str> = text.split('.').collect();
        parts.contains(&list.len()) && list.iter().all(|p| !p.is_empty() && p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit()))
    };
    numbers(upstream, 3..=3) && numbers(build, 1..=2)
}

fn error(packet: &[u8]) -> Option<Found> {
    let code = le::<2>(packet, 1)?;
    // Server errors have codes 1000-1999 and 3000-4999 (mysqld_error.h).
    if !(1000..5000).contains(&code) {
        return None;
    }
    let text = packet.get(3..)?;
    let text = match text.strip_prefix(b"#") {
        Some(rest) => rest.get(5..)?,
        None => text,
    };
    let message = std::str::from_utf8(text).ok().filter(|m| m.len() >= 8 && !m.contains(|c: char| c.is_control()))?;
    let product = match message {
        m if m.contains("MariaDB") => Some("MariaDB"),
        m if m.contains("MySQL") => Some("MySQL"),
        _ => None,
    };
    // Sent before any handshake, in any language, an error packet has these words only in a MySQL.
    let known = REFUSALS.contains(&code) || matches!(code, 1040 | 1043 | 1045 | 1158 | 1159 | 1203);
    (known || product.is_some()).then(|| Found {
        service: "mysql".into(),
        product: product.map(Into::into),
        refuses: REFUSALS.contains(&code),
        shown: Some(format!("error {code}: {}", tidy(message, 200))),
        ..Found::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_makers_own() {
        for (stated, product, version) in [
            ("5.5.5-10.11.19-MariaDB-0+deb12u1", "MariaDB", Some("10.11.19-0+deb12u1")),
            ("11.4.2-MariaDB-log", "MariaDB", Some("11.4.2")),
            ("8.0.36-0ubuntu0.22.04.1", "MySQL", Some("8.0.36-0ubuntu0.22.04.1")),
            ("5.7.44-log", "MySQL", Some("5.7.44")),
            ("8.0.11-TiDB-v7.5.1", "TiDB", Some("7.5.1")),
            ("custom", "MySQL", None),
            ("8.0.36-28", "Percona Server", Some("8.0.36-28")),
            ("5.7.44-48-log", "Percona Server", Some("5.7.44-48")),
            ("8.0.35-27.1", "Percona Server", Some("8.0.35-27.1")),
            ("8.0.40-0ubuntu0.24.04.1", "MySQL", Some("8.0.40-0ubuntu0.24.04.1")),
            ("5.7.25-OceanBase-v4.2.1.2", "OceanBase", Some("4.2.1.2")),
            ("8.0.mysql_aurora.3.04.0", "Amazon Aurora MySQL", Some("3.04.0")),
            ("21.3.2.5-ClickHouse", "ClickHouse", Some("21.3.2.5")),
            ("8.0.30-Vitess", "Vitess", Some("8.0.30")),
            ("5.5.5-10.6.18-MariaDB-0ubuntu0.22.04.1", "MariaDB", Some("10.6.18-0ubuntu0.22.04.1")),
            ("10.4.34-MariaDB-1:10.4.34+maria~ubu2004-log", "MariaDB", Some("10.4.34-1:10.4.34+maria~ubu2004")),
        ] {
            assert_eq!(name_version(stated), (product, version.map(String::from)), "{stated}");
        }
    }

    #[test]
    fn a_greeting_cut_anywhere_is_only_partial() {
        let mut greeting = b"\x0a8.0.36\0\x01\0\0\0abcdefgh\0\xff\xf7".to_vec();
        greeting.extend([0; 31]);
        let mut bytes = vec![greeting.len() as u8, 0, 0, 0];
        bytes.extend(&greeting);
        assert!(matches!(read(&bytes), Reading::Is(_)));
        for end in 1..bytes.len() {
            assert_eq!(read(&bytes[..end]), Reading::Partial, "{end}");
        }
        bytes.push(0);
        assert_eq!(read(&bytes), Reading::Foreign, "a byte too many");
    }
}
