//! Signing in to MySQL and MariaDB: with an empty password in the check for access without one, with a default pair under an
//! approval. Then one question, who we are, and the farewell. Whether an account may be tried is left to the ledger.
//!
//! Source: MySQL client/server protocol, `Protocol::HandshakeResponse41`, `AuthSwitchRequest`, `caching_sha2_password`. A
//! handshake that is begun is always finished: the server counts the others and blocks us at `max_connect_errors` (R13).

use crate::bytes::{c_string, le, tidy};
use crate::check::dialogue::{Decision, Dialogue, Turn, Vars};
use model::finding::Verdict;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

/// The account and password of an attempt.
pub(super) struct SignIn;

/// What we ask once signed in, the one query that a check may send.
const WHO: &[u8] = b"\x03SELECT CURRENT_USER()";

/// COM_QUIT, the first packet of a new exchange.
const QUIT: &[u8] = b"\x01\x00\x00\x00\x01";

impl Dialogue for SignIn {
    fn signs_in(&self) -> bool {
        true
    }

    fn turn(&self, vars: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn {
        // What proves is the answer to the question who we are.
        talk("SELECT CURRENT_USER()", vars.account, vars.password, heard, ended)
    }
}

/// The packets of an answer: sequence number and payload. `None` while the last is cut off; nothing is longer than 64 KiB here.
fn packets(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(le::<3>(bytes, 0)?).ok().filter(|l| *l <= 65_536)?;
        let sequence = *bytes.get(3)?;
        all.push((sequence, bytes.get(4..4 + length)?));
        bytes = &bytes[4 + length..];
    }
    Some(all)
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

/// The salt and the way to sign in that a greeting proposes.
fn greeting(payload: &[u8]) -> Option<(Vec<u8>, String)> {
    if payload.first() != Some(&0x0a) {
        return None;
    }
    let (_, after) = c_string(payload, 1)?;
    let first = payload.get(after + 4..after + 12)?;
    if payload.get(after + 12) != Some(&0) {
        return None;
    }
    // Behind the salt's first part and its zero: capabilities 2, charset 1, status 2, capabilities 2, length 1, reserved 10.
    let second_at = after + 13 + 2 + 1 + 2 + 2 + 1 + 10;
    let rest = payload.get(second_at..).unwrap_or_default();
    let end = rest.iter().position(|&b| b == 0).unwrap_or(rest.len());
    let salt = [first, &rest[..end.min(12)]].concat();
    let plugin = rest.get(end + 1..).and_then(|p| c_string(p, 0)).map(|(name, _)| String::from_utf8_lossy(name).into_owned());
    Some((salt, plugin.filter(|p| !p.is_empty()).unwrap_or_else(|| NATIVE.into())))
}

const NATIVE: &str = "mysql_native_password";
const CACHING: &str = "caching_sha2_password";

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// The answer to a salt. Empty for an empty password, whatever the plugin; `None` for a plugin that we do not speak.
fn response(plugin: &str, password: &str, salt: &[u8]) -> Option<Vec<u8>> {
    if password.is_empty() {
        return Some(Vec::new());
    }
    match plugin {
        NATIVE => {
            let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
            let mut salted = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            salted.update(salt);
            salted.update(digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref()).as_ref());
            Some(xor(once.as_ref(), salted.finish().as_ref()))
        }
        CACHING => {
            let once = digest(&SHA256, password.as_bytes());
            let mut salted = Context::new(&SHA256);
            salted.update(digest(&SHA256, once.as_ref()).as_ref());
            salted.update(salt);
            Some(xor(once.as_ref(), salted.finish().as_ref()))
        }
        _ => None,
    }
}

fn sign_in(account: &str, password: &str, salt: &[u8], plugin: &str) -> Vec<u8> {
    // A plugin that we do not speak is answered as the native one: the server then says which it wants.
    let (plugin, proof) = match response(plugin, password, salt) {
        Some(proof) => (plugin, proof),
        None => (NATIVE, response(NATIVE, password, salt).unwrap_or_default()),
    };
    // LONG_PASSWORD, PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH.
    let capabilities = 0x0008_8201u32.to_le_bytes();
    let mut payload = Vec::new();
    payload.extend_from_slice(&capabilities);
    payload.extend_from_slice(&65_536u32.to_le_bytes());
    payload.push(33); // utf8_general_ci, known to every version
    payload.extend_from_slice(&[0; 23]);
    payload.extend_from_slice(account.as_bytes());
    payload.push(0);
    payload.push(u8::try_from(proof.len()).unwrap_or_default());
    payload.extend_from_slice(&proof);
    payload.extend_from_slice(plugin.as_bytes());
    payload.push(0);
    packet(1, &payload)
}

/// What an error packet means.
fn error(name: &str, payload: &[u8]) -> Decision {
    let code = le::<2>(payload, 1).unwrap_or_default();
    let (verdict, why) = match code {
        1045 | 1698 => (Verdict::NotProved, "access denied"),
        1130 => (Verdict::RefusesUs, "our address may not sign in"),
        // mysqld_error.h: host blocked; account locked in MySQL, for a time in MySQL, in MariaDB.
        1129 => (Verdict::Locked, "our address is blocked"),
        3118 | 3955 | 4151 => (Verdict::Locked, "the account is locked"),
        1820 | 1862 => (Verdict::Inconclusive, "the password has expired"),
        1040 => (Verdict::Inconclusive, "too many connections"),
        3159 => (Verdict::Inconclusive, "wants TLS"),
        _ => (Verdict::Inconclusive, "an error that proves neither"),
    };
    Decision::new(verdict, name).because(format!("{why} (error {code})"))
}

fn talk(name: &str, account: &str, password: &str, heard: &[&[u8]], ended: bool) -> Turn {
    let Some((&answer, before)) = heard.split_last() else { return Turn::Listen };
    let foreign = |why: &str| Decision::new(Verdict::OtherService, name).because(why).end();
    if answer.is_empty() && ended {
        return Decision::inconclusive(name, "no answer").end();
    }
    let Some(all) = packets(answer).filter(|all| !all.is_empty()) else {
        return if ended { foreign("the answer is not MySQL's") } else { Turn::More };
    };
    let (sequence, payload) = all[0];
    if before.is_empty() {
        return match payload.first() {
            Some(0xff) => error(name, payload).end(),
            _ => match greeting(payload) {
                Some((salt, plugin)) => Turn::Say(sign_in(account, password, &salt, &plugin)),
                None => foreign("no greeting of MySQL's"),
            },
        };
    }
    // Once we are in, the answer to the question who we are: column count, column, end of columns, row, end of rows.
    let in_already = before.iter().skip(1).any(|a| packets(a).is_some_and(|all| all.iter().any(|(_, p)| p.first() == Some(&0))));
    if in_already {
        if payload.first() == Some(&0xff) {
            return error(name, payload).leaving(QUIT).end();
        }
        let ends = all.iter().filter(|(_, p)| p.first() == Some(&0xfe) && p.len() < 9).count();
        if ends < 2 && !ended {
            return Turn::More;
        }
        let row = all.iter().rev().find(|(_, p)| p.first().is_some_and(|&n| usize::from(n) + 1 == p.len() && p.contains(&b'@')));
        let Some((_, row)) = row.filter(|_| payload == [1]) else {
            return Decision::inconclusive(name, "the answer to the question who we are is not one").leaving(QUIT).end();
        };
        let who = tidy(&String::from_utf8_lossy(&row[1..]), 96);
        // An old server takes any name for its anonymous account.
        if !who.starts_with(&format!("{account}@")) {
            let verdict = if password.is_empty() { Verdict::Proved } else { Verdict::Inconclusive };
            return Decision::new(verdict, name).because("signed in as another account").field("user", who).leaving(QUIT).end();
        }
        return Decision::new(Verdict::Proved, name).field("user", who).leaving(QUIT).end();
    }
    match payload.first() {
        Some(0x00) => Turn::Say(packet(0, WHO)),
        Some(0xff) => error(name, payload).end(),
        // Another plugin, and a salt of its own.
        Some(0xfe) if payload.len() > 1 => {
            let Some((plugin, after)) = c_string(payload, 1) else { return foreign("no answer of MySQL's") };
            let plugin = String::from_utf8_lossy(plugin).into_owned();
            let tail = payload.get(after..).unwrap_or_default();
            let salt = tail.strip_suffix(&[0]).unwrap_or(tail);
            match response(&plugin, password, salt) {
                Some(proof) => Turn::Say(packet(sequence.wrapping_add(1), &proof)),
                None => Decision::new(Verdict::NotProved, name).because(format!("wants `{}`", tidy(&plugin, 32))).end(),
            }
        }
        // caching_sha2_password: the short way was enough, and OK follows; or the long way, which needs TLS.
        Some(0x01) if payload.get(1) == Some(&3) => match all.get(1).map(|(_, p)| *p) {
            Some([0x00, ..]) => Turn::Say(packet(0, WHO)),
            Some(p @ [0xff, ..]) => error(name, p).end(),
            _ if ended => Decision::inconclusive(name, "the answer is cut off").end(),
            _ => Turn::More,
        },
        Some(0x01) => Decision::inconclusive(name, "wants the password over TLS").end(),
        _ => foreign("no answer of MySQL's"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_those_of_the_documented_functions() {
        // SHA1(password) xor SHA1(salt + SHA1(SHA1(password))) and its SHA-256 counterpart, computed with Python's hashlib.
        let salt: Vec<u8> = (1..=20).collect();
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(response(NATIVE, "secret", &salt).unwrap()), NATIVE_SECRET);
        assert_eq!(hex(response(CACHING, "secret", &salt).unwrap()), CACHING_SECRET);
        assert_eq!(response(NATIVE, "", &salt), Some(vec![]));
        assert_eq!(response("client_ed25519", "secret", &salt), None);
    }

    const NATIVE_SECRET: &str = "b32bb3a583e1340c0a1108d58b1be49781ad8c2f";
    const CACHING_SECRET: &str = "746ebe205d56a0707acb3e796e834e0dd7b1d61743b26bd5202c7a623230c7c9";
}
