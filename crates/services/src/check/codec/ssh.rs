//! Which ways to sign in an SSH server offers: keys are agreed on, `none` is asked for, the answer names the ways.
//!
//! Source: RFC 4253 (transport), RFC 4252 section 5.2 (`none`), RFC 8731 (curve25519-sha256), and PROTOCOL.chacha20poly1305 of
//! OpenSSH. The host key's signature is not looked at: nothing secret is sent, and identity is identification's business. No
//! password is tried.

use crate::bytes::{be, tidy};
use crate::check::dialogue::{Decision, Dialogue, Turn, Vars};
use model::exposure::Severity;
use model::finding::Verdict;
use ring::aead::chacha20_poly1305_openssh::{KEY_LEN, OpeningKey, SealingKey, TAG_LEN};
use ring::digest::{SHA256, digest};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

/// The request `none`, and what it is refused with.
pub(super) struct Methods;

const NAME: &str = "ssh-userauth none";

const VERSION: &str = "SSH-2.0-portreeve";

/// The account that every server has. `none` for it is no attempt with a password, and is counted by nobody.
const ACCOUNT: &[u8] = b"root";

const DISCONNECT: u8 = 1;
const SERVICE_REQUEST: u8 = 5;
const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const ECDH_INIT: u8 = 30;
const ECDH_REPLY: u8 = 31;
const USERAUTH_REQUEST: u8 = 50;
const USERAUTH_FAILURE: u8 = 51;
const USERAUTH_SUCCESS: u8 = 52;

const EXCHANGE: &str = "curve25519-sha256,curve25519-sha256@libssh.org";
const HOST_KEYS: &str =
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256,ssh-rsa";
const CIPHER: &str = "chacha20-poly1305@openssh.com";
const MAC: &str = "hmac-sha2-256";

/// RFC 4253 section 6.1 wants packets of 35,000 bytes taken; nothing before signing in is near that.
const PACKET: usize = 35_000;

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes()[..], bytes].concat()
}

/// A string at `at`, and where the next field begins.
fn read_string(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let length = usize::try_from(be::<4>(bytes, at)?).ok()?;
    let end = at.checked_add(4)?.checked_add(length)?;
    Some((bytes.get(at + 4..end)?, end))
}

/// A shared secret as the number that the hash is made of: no leading zeros but one where the first bit is set.
fn number(secret: &[u8; 32]) -> Vec<u8> {
    let start = secret.iter().position(|b| *b != 0).unwrap_or(secret.len());
    let digits = &secret[start..];
    let sign: &[u8] = if digits.first().is_some_and(|b| b & 0x80 != 0) { &[0] } else { &[] };
    string(&[sign, digits].concat())
}

/// A packet's payload with its padding; the length in front is encrypted or not, and counts for the blocks only if not.
fn packet(payload: &[u8], length_counts: bool) -> Vec<u8> {
    let head = if length_counts { 5 } else { 1 };
    let mut padding = 8 - (head + payload.len()) % 8;
    if padding < 4 {
        padding += 8;
    }
    let length = u32::try_from(1 + payload.len() + padding).unwrap_or_default();
    let mut out = length.to_be_bytes().to_vec();
    out.push(padding as u8);
    out.extend_from_slice(payload);
    out.resize(out.len() + padding, 0);
    out
}

fn our_kexinit(vars: &Vars<'_>) -> Vec<u8> {
    let mut out = vec![KEXINIT];
    out.extend_from_slice(&digest(&SHA256, &[&b"cookie"[..], &vars.seed.to_be_bytes()].concat()).as_ref()[..16]);
    for list in [EXCHANGE, HOST_KEYS, CIPHER, CIPHER, MAC, MAC, "none", "none", "", ""] {
        out.extend(string(list.as_bytes()));
    }
    out.extend_from_slice(&[0; 5]);
    out
}

fn private(vars: &Vars<'_>) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, &[&b"exchange"[..], &vars.seed.to_be_bytes()].concat()).as_ref());
    key
}

/// The server's line, without its end, and what follows it. Lines before it are the server's to send.
fn version(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    for _ in 0..16 {
        let end = rest.iter().position(|b| *b == b'\n').filter(|end| *end <= 1_024)?;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        if line.starts_with(b"SSH-") {
            return Some((line, rest));
        }
    }
    None
}

/// Packets in the clear up to NEWKEYS: their payloads, and what follows it once it is there. `Err` when they are none.
#[allow(clippy::type_complexity)]
fn clear(mut bytes: &[u8]) -> Result<(Vec<&[u8]>, Option<&[u8]>), ()> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let Some(length) = be::<4>(bytes, 0).and_then(|l| usize::try_from(l).ok()) else { break };
        if !(5..=PACKET).contains(&length) || all.len() > 16 {
            return Err(());
        }
        let Some(body) = bytes.get(4..4 + length) else { break };
        let padding = usize::from(body[0]);
        let payload = body.get(1..length.checked_sub(padding).ok_or(())?).filter(|p| !p.is_empty()).ok_or(())?;
        all.push(payload);
        bytes = &bytes[4 + length..];
        if payload[0] == NEWKEYS {
            return Ok((all, Some(bytes)));
        }
    }
    Ok((all, None))
}

/// Whether each of our choices is among the server's.
fn agrees(kexinit: &[u8]) -> bool {
    let mut at = 17;
    let mut lists = Vec::new();
    while let (true, Some((list, next))) = (lists.len() < 10, read_string(kexinit, at)) {
        lists.push(list);
        at = next;
    }
    let has = |n: usize, ours: &str| {
        lists.get(n).is_some_and(|list: &&[u8]| {
            list.split(|b| *b == b',').any(|name| ours.as_bytes().split(|b| *b == b',').any(|o| o == name))
        })
    };
    has(0, EXCHANGE) && has(1, HOST_KEYS) && has(2, CIPHER) && has(3, CIPHER) && has(6, "none") && has(7, "none")
}

struct Keys {
    ours: [u8; KEY_LEN],
    theirs: [u8; KEY_LEN],
}

/// The keys that both sides have after the exchange.
fn keys(vars: &Vars<'_>, their_version: &[u8], their_kexinit: &[u8], reply: &[u8]) -> Option<Keys> {
    let (host_key, at) = read_string(reply, 1)?;
    let (point, _) = read_string(reply, at)?;
    let theirs: [u8; 32] = point.try_into().ok()?;
    let private = private(vars);
    let shared = x25519(private, theirs);
    // All zeros: a point of small order, which no server sends.
    if shared == [0; 32] {
        return None;
    }
    let secret = number(&shared);
    let parts = [
        string(VERSION.as_bytes()),
        string(their_version),
        string(&our_kexinit(vars)),
        string(their_kexinit),
        string(host_key),
        string(&x25519(private, X25519_BASEPOINT_BYTES)),
        string(point),
        secret.clone(),
    ];
    let hash = digest(&SHA256, &parts.concat());
    let key = |letter: u8| {
        let first = digest(&SHA256, &[&secret[..], hash.as_ref(), &[letter], hash.as_ref()].concat());
        let second = digest(&SHA256, &[&secret[..], hash.as_ref(), first.as_ref()].concat());
        let mut key = [0; KEY_LEN];
        key[..32].copy_from_slice(first.as_ref());
        key[32..].copy_from_slice(second.as_ref());
        key
    };
    Some(Keys { ours: key(b'C'), theirs: key(b'D') })
}

fn seal(keys: &Keys, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = packet(payload, false);
    let mut tag = [0; TAG_LEN];
    SealingKey::new(&keys.ours).seal_in_place(sequence, &mut out, &mut tag);
    out.extend_from_slice(&tag);
    out
}

/// Encrypted packets of the server from that sequence number on: their payloads. `Err` when one does not open.
fn open(keys: &Keys, first: u32, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, ()> {
    let key = OpeningKey::new(&keys.theirs);
    let mut all = Vec::new();
    while let Some(head) = bytes.get(..4) {
        let sequence = first + u32::try_from(all.len()).map_err(|_| ())?;
        let length = u32::from_be_bytes(key.decrypt_packet_length(sequence, head.try_into().map_err(|_| ())?));
        let length = usize::try_from(length).ok().filter(|l| (8..=PACKET).contains(l)).ok_or(())?;
        let Some(sealed) = bytes.get(..4 + length) else { break };
        let Some(tag) = bytes.get(4 + length..4 + length + TAG_LEN) else { break };
        let mut plain = sealed.to_vec();
        let tag: &[u8; TAG_LEN] = tag.try_into().map_err(|_| ())?;
        let body = key.open_in_place(sequence, &mut plain, tag).map_err(|_| ())?;
        let padding = usize::from(*body.first().ok_or(())?);
        let payload = body.get(1..body.len().checked_sub(padding).ok_or(())?).ok_or(())?;
        all.push(payload.to_vec());
        bytes = &bytes[4 + length + TAG_LEN..];
        if all.len() > 32 {
            return Err(());
        }
    }
    Ok(all)
}

impl Dialogue for Methods {
    fn turn(&self, vars: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn {
        let Some(&first) = heard.first() else { return Turn::Listen };
        let foreign = |why: &str| Decision::new(Verdict::OtherService, NAME).because(why).end();
        let Some((their_version, behind)) = version(first) else {
            return match (ended, first.is_empty()) {
                (false, _) if first.len() < 16_384 => Turn::More,
                (_, true) => Decision::inconclusive(NAME, "no answer").end(),
                _ => foreign("no version of SSH's"),
            };
        };
        if heard.len() == 1 {
            let exchange = [&[ECDH_INIT][..], &string(&x25519(private(vars), X25519_BASEPOINT_BYTES))].concat();
            let ours = [format!("{VERSION}\r\n").into_bytes(), packet(&our_kexinit(vars), true), packet(&exchange, true)];
            return Turn::Say(ours.concat());
        }
        let stream = [behind, heard[1]].concat();
        let Ok((packets, after)) = clear(&stream) else { return foreign("no packets of SSH's") };
        let of_kind = |kind: u8| packets.iter().find(|p| p[0] == kind).copied();
        let (Some(kexinit), Some(reply), Some(after)) = (of_kind(KEXINIT), of_kind(ECDH_REPLY), after) else {
            let over = ended || heard.len() > 2 || of_kind(DISCONNECT).is_some();
            let disagree = of_kind(KEXINIT).is_some_and(|kexinit| !agrees(kexinit));
            return match (over || disagree, disagree) {
                (false, _) => Turn::More,
                (true, true) => Decision::inconclusive(NAME, "has no algorithm in common with us").end(),
                (true, false) => Decision::inconclusive(NAME, "agreed on no keys").end(),
            };
        };
        let Some(keys) = keys(vars, their_version, kexinit, reply) else { return foreign("its answer holds no keys") };
        if heard.len() == 2 {
            let service = [&[SERVICE_REQUEST][..], &string(b"ssh-userauth")].concat();
            let none = [&[USERAUTH_REQUEST][..], &string(ACCOUNT), &string(b"ssh-connection"), &string(b"none")].concat();
            return Turn::Say([packet(&[NEWKEYS], true), seal(&keys, 3, &service), seal(&keys, 4, &none)].concat());
        }
        let answered = u32::try_from(packets.len()).unwrap_or_default();
        let Ok(said) = open(&keys, answered, &[after, heard[2]].concat()) else { return foreign("its packets do not open") };
        // "By application", in the words of RFC 4253 section 11.1.
        let bye = [&[DISCONNECT, 0, 0, 0, 11][..], &string(b""), &string(b"")].concat();
        let leave = |decision: Decision| decision.leaving(&seal(&keys, 5, &bye)).end();
        if said.iter().any(|p| p.first() == Some(&USERAUTH_SUCCESS)) {
            let mut decision = Decision::new(Verdict::Proved, NAME).field("methods", "none").field("account", "root");
            decision.severity = Some(Severity::Critical);
            return leave(decision);
        }
        if let Some(failure) = said.iter().find(|p| p.first() == Some(&USERAUTH_FAILURE)) {
            let Some((methods, _)) = read_string(failure, 1) else { return foreign("its refusal names no way") };
            let text = tidy(&String::from_utf8_lossy(methods), 96);
            let by_password = methods.split(|b| *b == b',').any(|m| m == b"password" || m == b"keyboard-interactive");
            let verdict = if by_password { Verdict::Proved } else { Verdict::NotProved };
            return leave(Decision::new(verdict, NAME).field("methods", &text).because(format!("offers {text}")));
        }
        match ended {
            false if !said.iter().any(|p| p.first() == Some(&DISCONNECT)) => Turn::More,
            _ => Decision::inconclusive(NAME, "did not answer").end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Endpoint;

    fn vars() -> Vars<'static> {
        Vars { endpoint: Endpoint::tcp("192.0.2.7".parse().unwrap(), 22), seed: 7, account: "", password: "" }
    }

    /// A server's side of the exchange: what it sends before and after our keys, with these ways to sign in.
    fn server(vars: &Vars<'_>, methods: &str) -> (Vec<u8>, Vec<u8>) {
        let secret = [9u8; 32];
        let kexinit = our_kexinit(&Vars { seed: 8, ..*vars });
        let point = x25519(secret, X25519_BASEPOINT_BYTES);
        let reply = [&[ECDH_REPLY][..], &string(b"host key"), &string(&point), &string(b"signature")].concat();
        let first = [packet(&kexinit, true), packet(&reply, true), packet(&[NEWKEYS], true)].concat();
        let keys = keys(vars, b"SSH-2.0-test", &kexinit, &reply).unwrap();
        // What is theirs for us is ours for them.
        let mirrored = Keys { ours: keys.theirs, theirs: keys.ours };
        let accept = [&[6u8][..], &string(b"ssh-userauth")].concat();
        let failure = [&[USERAUTH_FAILURE][..], &string(methods.as_bytes()), &[0]].concat();
        (first, [seal(&mirrored, 3, &accept), seal(&mirrored, 4, &failure)].concat())
    }

    #[test]
    fn only_a_server_that_offers_a_password_is_proved() {
        for (methods, verdict) in [
            ("publickey,password", Verdict::Proved),
            ("publickey", Verdict::NotProved),
            ("publickey,keyboard-interactive", Verdict::Proved),
            ("publickey,gssapi-with-mic", Verdict::NotProved),
        ] {
            let vars = vars();
            let (keys, refusal) = server(&vars, methods);
            let heard: [&[u8]; 3] = [b"SSH-2.0-test\r\n", &keys, &refusal];
            for cut in 1..3 {
                assert!(matches!(Methods.turn(&vars, &heard[..cut], false), Turn::Say(_)), "{methods}: after {cut}");
            }
            let Turn::End(decision) = Methods.turn(&vars, &heard, false) else { panic!("{methods}: no end") };
            assert_eq!((decision.verdict, decision.fields["methods"].as_str()), (verdict, methods));
            assert!(!decision.farewell.is_empty());
            // A packet that was changed on the way does not open.
            let mut changed = refusal.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 1;
            let heard: [&[u8]; 3] = [b"SSH-2.0-test\r\n", &keys, &changed];
            assert!(!matches!(Methods.turn(&vars, &heard, true), Turn::End(d) if d.verdict == verdict), "{methods}");
        }
    }

    #[test]
    fn numbers_are_written_as_rfc_4251_wants() {
        let mut secret = [0u8; 32];
        secret[31] = 0x80;
        assert_eq!(number(&secret), [0, 0, 0, 2, 0, 0x80]);
        secret[31] = 0x7f;
        assert_eq!(number(&secret), [0, 0, 0, 1, 0x7f]);
        secret[0] = 1;
        assert_eq!(number(&secret).len(), 4 + 32);
    }
}
