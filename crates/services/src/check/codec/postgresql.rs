//! Signing in to PostgreSQL with a pair: in the clear, by MD5, by SCRAM-SHA-256, whichever the server asks for.
//!
//! Source: PostgreSQL frontend/backend protocol 3.0, "Message Formats" and "SASL Authentication"; RFC 5802 and RFC 7677. The
//! check for access without a password needs none of this and is data.

use crate::bytes::{be, c_string, tidy};
use crate::check::dialogue::{Decision, Dialogue, Turn, Vars};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use model::finding::Verdict;
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// The account and password of an attempt.
pub(super) struct SignIn;

const NAME: &str = "postgresql-login";

/// Said once signed in: a client that just hangs up leaves a line in the server's log.
const TERMINATE: &[u8] = b"X\x00\x00\x00\x04";

/// PostgreSQL's default is 4,096 rounds; a server that asks for more than this wants to cost us time.
const ROUNDS: u32 = 20_000;

/// The whole messages of an answer: type and payload; whether something is left over that may still grow.
fn messages(mut bytes: &[u8]) -> (Vec<(u8, &[u8])>, bool) {
    let mut all = Vec::new();
    while let Some(&kind) = bytes.first() {
        let Some(length) = be::<4>(bytes, 1).and_then(|l| usize::try_from(l).ok()).filter(|l| (4..=65_536).contains(l)) else {
            return (all, bytes.len() < 5);
        };
        let Some(payload) = bytes.get(5..1 + length) else { return (all, true) };
        all.push((kind, payload));
        bytes = &bytes[1 + length..];
    }
    (all, false)
}

fn startup(account: &str) -> Vec<u8> {
    let parameters = format!("user\0{account}\0database\0postgres\0application_name\0portreeve\0\0");
    let length = u32::try_from(parameters.len() + 8).unwrap_or_default();
    [&length.to_be_bytes()[..], &0x0003_0000u32.to_be_bytes(), parameters.as_bytes()].concat()
}

fn password_message(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).unwrap_or_default();
    [b"p", &length.to_be_bytes()[..], payload].concat()
}

/// A field of an error: `C` is its code, `M` its text.
fn field(payload: &[u8], wanted: u8) -> Option<String> {
    let mut at = 0;
    while let Some(&kind) = payload.get(at).filter(|k| **k != 0) {
        let (value, next) = c_string(payload, at + 1)?;
        if kind == wanted {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        at = next;
    }
    None
}

fn error(payload: &[u8]) -> Decision {
    let code = field(payload, b'C').unwrap_or_default();
    let text = field(payload, b'M').unwrap_or_default();
    let (verdict, why) = match code.as_str() {
        "28P01" => (Verdict::NotProved, "the password is wrong"),
        "28000" if text.contains("pg_hba") => (Verdict::RefusesUs, "its access list has no line for us"),
        "28000" => (Verdict::NotProved, "the role may not sign in"),
        "53300" => (Verdict::Inconclusive, "too many connections"),
        _ => (Verdict::Inconclusive, "an error that proves neither"),
    };
    Decision::new(verdict, NAME).because(format!("{why} (SQLSTATE {})", tidy(&code, 8)))
}

/// A nonce of printable characters, out of the talk's seed.
fn nonce(vars: &Vars<'_>) -> String {
    STANDARD.encode(digest::digest(&digest::SHA256, &vars.seed.to_be_bytes()).as_ref()).replace(',', "x")
}

struct Scram {
    /// What the client says last.
    last: String,
    /// What the server has to say then.
    signature: String,
}

/// Both halves of the proof, from the server's first message.
fn scram(vars: &Vars<'_>, server_first: &str) -> Option<Scram> {
    let part = |name: &str| server_first.split(',').find_map(|p| p.strip_prefix(name));
    let (nonces, salt, rounds) = (part("r=")?, STANDARD.decode(part("s=")?).ok()?, part("i=")?.parse::<u32>().ok()?);
    let own = nonce(vars);
    if !nonces.starts_with(&own) || nonces.len() <= own.len() || rounds > ROUNDS {
        return None;
    }
    let mut salted = [0u8; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::new(rounds)?, &salt, vars.password.as_bytes(), &mut salted);
    let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let client_key = sign(&salted, b"Client Key");
    let stored = digest::digest(&digest::SHA256, client_key.as_ref());
    let without_proof = format!("c=biws,r={nonces}");
    let message = format!("n=,r={own},{server_first},{without_proof}");
    let signature = sign(stored.as_ref(), message.as_bytes());
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    let server_key = sign(&salted, b"Server Key");
    Some(Scram {
        last: format!("{without_proof},p={}", STANDARD.encode(proof)),
        signature: STANDARD.encode(sign(server_key.as_ref(), message.as_bytes()).as_ref()),
    })
}

/// What the last authentication request of an answer asks for.
fn request<'a>(all: &[(u8, &'a [u8])]) -> Option<(u64, &'a [u8])> {
    let (_, payload) = all.iter().find(|(kind, _)| *kind == b'R')?;
    Some((be::<4>(payload, 0)?, &payload[4..]))
}

impl Dialogue for SignIn {
    fn signs_in(&self) -> bool {
        true
    }

    fn turn(&self, vars: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn {
        let Some((&answer, before)) = heard.split_last() else { return Turn::Say(startup(vars.account)) };
        if answer.is_empty() {
            return if ended { Decision::inconclusive(NAME, "no answer").end() } else { Turn::More };
        }
        let (all, growing) = messages(answer);
        if let Some((_, payload)) = all.iter().find(|(kind, _)| *kind == b'E') {
            return error(payload).end();
        }
        let signed_in = all.iter().any(|(kind, p)| *kind == b'R' && *p == [0, 0, 0, 0]);
        let ready = all.iter().any(|(kind, _)| *kind == b'Z');
        let asked = request(&all).filter(|(code, _)| *code != 0 && !signed_in);
        if !ended && (growing || (asked.is_none() && !(signed_in && ready))) {
            return Turn::More;
        }
        if signed_in {
            let bye = |decision: Decision| decision.leaving(TERMINATE).end();
            if before.is_empty() {
                return bye(Decision::inconclusive(NAME, "asks for no password"));
            }
            // By SCRAM the server has proved that it knows the password, too.
            let server_first = before.iter().find_map(|a| request(&messages(a).0).filter(|(code, _)| *code == 11));
            if let Some((_, first)) = server_first {
                let said = all.iter().find(|(kind, p)| *kind == b'R' && be::<4>(p, 0) == Some(12)).map(|(_, p)| &p[4..]);
                let expected = scram(vars, &String::from_utf8_lossy(first)).map(|s| format!("v={}", s.signature).into_bytes());
                if expected.is_none() || said != expected.as_deref() {
                    return bye(Decision::inconclusive(NAME, "the server does not know the password it accepted"));
                }
            }
            let status = |name: &[u8]| {
                let (_, payload) =
                    all.iter().find(|(kind, p)| *kind == b'S' && c_string(p, 0).is_some_and(|(n, _)| n == name))?;
                let (_, after) = c_string(payload, 0)?;
                Some(tidy(&String::from_utf8_lossy(c_string(payload, after)?.0), 96))
            };
            if status(b"session_authorization").as_deref() != Some(vars.account) || !ready {
                return bye(Decision::inconclusive(NAME, "accepted, and does not say as whom"));
            }
            let mut decision = Decision::new(Verdict::Proved, NAME).field("user", vars.account);
            for name in ["server_version", "is_superuser"] {
                if let Some(value) = status(name.as_bytes()) {
                    decision = decision.field(name, value);
                }
            }
            return bye(decision);
        }
        match asked {
            Some((3, _)) => Turn::Say(password_message(&[vars.password.as_bytes(), &[0]].concat())),
            Some((5, salt)) if salt.len() == 4 => {
                let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
                let inner = hex(&Md5::digest([vars.password.as_bytes(), vars.account.as_bytes()].concat()));
                let outer = hex(&Md5::digest([inner.as_bytes(), salt].concat()));
                Turn::Say(password_message(format!("md5{outer}\0").as_bytes()))
            }
            Some((10, mechanisms)) if mechanisms.split(|b| *b == 0).any(|m| m == b"SCRAM-SHA-256") => {
                let first = format!("n,,n=,r={}", nonce(vars));
                let length = u32::try_from(first.len()).unwrap_or_default().to_be_bytes();
                Turn::Say(password_message(&[b"SCRAM-SHA-256\0", &length[..], first.as_bytes()].concat()))
            }
            Some((11, first)) => match scram(vars, &String::from_utf8_lossy(first)) {
                Some(scram) => Turn::Say(password_message(scram.last.as_bytes())),
                None => Decision::inconclusive(NAME, "its SCRAM is not one we can answer").end(),
            },
            Some((code, _)) => Decision::inconclusive(NAME, format!("wants another way to sign in ({code})")).end(),
            None => Decision::new(Verdict::OtherService, NAME).because("no answer of PostgreSQL's").end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Endpoint;

    #[test]
    fn the_proof_of_scram_is_that_of_rfc_7677() {
        // The RFC's example has the user name in its messages, which PostgreSQL leaves empty; so its keys are checked here by
        // the same steps, and whole talks against real servers.
        let vars =
            Vars { endpoint: Endpoint::tcp("192.0.2.7".parse().unwrap(), 1), seed: 7, account: "user", password: "pencil" };
        let first = format!("r={}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", nonce(&vars));
        let said = scram(&vars, &first).unwrap();
        assert!(said.last.starts_with("c=biws,r=") && said.last.contains(",p="));
        let mut salted = [0u8; 32];
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::new(4096).unwrap(), &salt, b"pencil", &mut salted);
        let auth = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                    c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salted), b"Server Key");
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref()), auth.as_bytes());
        assert_eq!(STANDARD.encode(signature.as_ref()), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        // A server that wants a million rounds, or leaves out our nonce, is not answered.
        assert!(scram(&vars, &first.replace("i=4096", "i=1000000")).is_none());
        assert!(scram(&vars, "r=theirs,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096").is_none());
    }
}
