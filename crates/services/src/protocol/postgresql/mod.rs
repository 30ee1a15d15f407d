//! PostgreSQL: a start-up message for the user `postgres`, without a password. The server answers by asking for one, by
//! refusing, or, where it trusts everybody, by letting us in and naming its version; then we say goodbye.
//!
//! A demand for a password is made in the same words by everybody who imitates PostgreSQL, so it names the protocol and nobody.
//! Who demands it shows in the complaint about a message that is no password: PostgreSQL names the C file that complains, PgBouncer
//! repeats the header, HSQLDB misses a letter. To the server that is a client that broke off, not one that guessed.
//!
//! Source: PostgreSQL manual, "Frontend/Backend Protocol", message formats; the complaints are those of PostgreSQL 15, PgBouncer
//! 1.18 and HSQLDB 2.7. No password is ever sent; that an open server is a finding is left to `assess`.

use super::{Codec, Found, Reading};
use crate::bytes::{be, c_string, tidy};

pub(crate) const CODEC: Codec = Codec { name: "postgresql-startup", request: Some(request), unasked: false, read };

fn request() -> Vec<u8> {
    let parameters = b"user\0postgres\0database\0postgres\0application_name\0portreeve\0\0";
    // Length (with itself), protocol 3.0, parameters.
    let mut bytes = u32::try_from(parameters.len() + 8).unwrap_or(0).to_be_bytes().to_vec();
    bytes.extend([0, 3, 0, 0]);
    bytes.extend(parameters);
    bytes
}

/// `Sync`, which nobody expects in place of a password, and of a length that no message has: PgBouncer discards the message
/// without a word when it is well-formed.
const NO_PASSWORD: &[u8] = b"S\0\0\0\0";

/// A message: type and body.
type Message<'a> = (u8, &'a [u8]);

/// The messages of an answer, and whether the last one is whole.
fn messages(bytes: &[u8]) -> Option<(Vec<Message<'_>>, bool)> {
    let mut list = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        // Only types that a server sends during start-up.
        if !b"RSKZENv".contains(&bytes[at]) {
            return None;
        }
        let Some(length) = be::<4>(bytes, at + 1) else {
            return Some((list, false));
        };
        // The longest of them, an error with its context, stays far below this.
        if !(4..=16_384).contains(&length) {
            return None;
        }
        let Some(body) = bytes.get(at + 5..at + 1 + length as usize) else {
            return Some((list, false));
        };
        list.push((bytes[at], body));
        at += 1 + length as usize;
    }
    Some((list, true))
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() {
        return Reading::Foreign;
    }
    let Some((messages, whole)) = messages(bytes) else {
        return Reading::Foreign;
    };
    let mut found = Found { service: "postgresql".into(), product: Some("PostgreSQL".into()), ..Found::default() };
    let mut shown = Vec::new();
    let (mut proven, mut let_in, mut ended, mut demanded) = (false, false, false, None);
    for (kind, body) in messages {
        match kind {
            b'R' => {
                let Some(demand) = demand(body) else { return Reading::Foreign };
                shown.push(demand.to_owned());
                proven = true;
                let_in = demand == "AuthenticationOk";
                if !let_in {
                    (found.product, demanded) = (None, Some(demand));
                }
                ended |= !let_in;
            }
            b'E' => {
                let Some(Complaint { code, message, maker }) = error(body) else {
                    return Reading::Foreign;
                };
                found.refuses = message.contains("pg_hba.conf");
                found.product = maker.map(Into::into);
                if demanded == Some("AuthenticationCleartextPassword") && (&*code, &*message) == HSQLDB {
                    (found.service, found.product) = ("hsqldb".into(), Some("HSQLDB".into()));
                }
                demanded = None;
                shown.push(format!("{code} {message}"));
                (proven, ended) = (true, true);
            }
            b'S' if proven => {
                let Some((name, after)) = c_string(body, 0) else {
                    return Reading::Foreign;
                };
                let Some((value, _)) = c_string(body, after) else {
                    return Reading::Foreign;
                };
                let value = tidy(&String::from_utf8_lossy(value), 64);
                match name {
                    b"server_version" => {
                        shown.push(format!("server_version={value}"));
                        // PgBouncer's own console; for a database it repeats what the server behind it says.
                        if value.ends_with("/bouncer") {
                            found.product = Some("PgBouncer".into());
                        }
                        let version = value.strip_suffix("/bouncer").unwrap_or(&value);
                        found.version = Some(version.to_owned()).filter(|v| v.starts_with(|c: char| c.is_ascii_digit()));
                    }
                    b"crdb_version" => found.product = Some("CockroachDB".into()),
                    _ => {}
                }
            }
            b'Z' => ended = true,
            b'N' | b'K' | b'v' | b'S' if proven || kind == b'N' || kind == b'v' => {}
            _ => return Reading::Foreign,
        }
    }
    if !(proven && ended && whole) {
        return Reading::Partial;
    }
    if found.product.as_deref() == Some("CockroachDB") {
        // Its server_version is the PostgreSQL it imitates.
        found.version = None;
    }
    if let_in {
        // Terminate. Before authentication it would be logged as a protocol error, and closing is what a client does.
        found.farewell = Some(b"X\0\0\0\x04".to_vec());
    }
    found.next = demanded.map(|_| NO_PASSWORD.to_vec());
    found.shown = Some(shown.join(", "));
    Reading::Is(found)
}

/// Name of an authentication request, if its body has the shape of one.
fn demand(body: &[u8]) -> Option<&'static str> {
    Some(match (be::<4>(body, 0)?, body.len()) {
        (0, 4) => "AuthenticationOk",
        (2, 4) => "AuthenticationKerberosV5",
        (3, 4) => "AuthenticationCleartextPassword",
        (5, 8) => "AuthenticationMD5Password",
        (7, 4) => "AuthenticationGSS",
        (9, 4) => "AuthenticationSSPI",
        (10, 6..) if body.ends_with(&[0, 0]) => "AuthenticationSASL",
        _ => return None,
    })
}

/// An error, and whose it is as far as its form tells.
struct Complaint {
    code: String,
    message: String,
    maker: Option<&'static str>,
}

/// The C files of PostgreSQL 9 to 18 that complain before a client is let in; each complaint names its own. Others that imitate the
/// protocol name files of their own (Pgpool `pool_auth.c`, CockroachDB `auth.go`) or none.
const POSTGRESQL: &[&str] = &[
    "auth.c",
    "auth-oauth.c",
    "auth-sasl.c",
    "auth-scram.c",
    "backend_startup.c",
    "crypt.c",
    "fe-auth-scram.c",
    "hba.c",
    "miscinit.c",
    "postinit.c",
    "postmaster.c",
    "pqcomm.c",
    "pqformat.c",
    "proc.c",
];

/// How PgBouncer begins its own complaints, which name no file: it speaks for a server that it has not asked.
const PGBOUNCER: &[&str] = &[
    "no such database: ",
    "no such user: ",
    "no such user",
    "pgbouncer cannot connect to server",
    "bad packet header: '5300000000'",
    "client sent partial pkt in startup phase",
];

/// What HSQLDB misses in our answer to its demand: code and message.
const HSQLDB: (&str, &str) = ("08006", "Password value not prefixed with 'p'");

/// An error's fields: a letter and a string each, ended by a zero.
fn error(body: &[u8]) -> Option<Complaint> {
    let (mut severity, mut plain, mut code, mut message, mut file) = (false, false, None, None, None);
    let mut at = 0;
    while *body.get(at)? != 0 {
        let (value, after) = c_string(body, at + 1)?;
        let value = tidy(&String::from_utf8_lossy(value), 200);
        match body[at] {
            b'S' => severity = true,
            b'V' => plain = true,
            b'C' => code = Some(value),
            b'M' => message = Some(value),
            b'F' => file = Some(value),
            _ => {}
        }
        at = after;
    }
    let code = code.filter(|c| c.len() == 5 && c.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let message = message.filter(|_| severity)?;
    let maker = match (plain, file) {
        (_, Some(file)) if POSTGRESQL.contains(&file.as_str()) => Some("PostgreSQL"),
        (false, None) if PGBOUNCER.iter().any(|text| message.starts_with(text)) => Some("PgBouncer"),
        _ => None,
    };
    Some(Complaint { code, message, maker })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_states_its_own_length() {
        let bytes = request();
        assert_eq!(be::<4>(&bytes, 0), Some(bytes.len() as u64));
        assert!(bytes.ends_with(&[0, 0]));
    }

    #[test]
    fn an_answer_cut_anywhere_is_only_partial() {
        let whole = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x19server_version\x0015.18\0Z\0\0\0\x05I";
        let Reading::Is(found) = read(whole) else { panic!("not recognised") };
        assert_eq!(found.version.as_deref(), Some("15.18"));
        assert!(found.farewell.is_some());
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]), Reading::Partial, "{end}");
        }
    }
}
