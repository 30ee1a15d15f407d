//! The list of an SMB server's shares, read without a name: a null session, its pipe, one call, and the session is logged off.
//!
//! Source: [MS-SMB2] sections 2.2 and 3.2, [MS-NLMP] 2.2.1, [MS-RPCE] 2.2.2, [MS-SRVS] 3.1.4.8. SMB 2.0.2 and 2.1 only: a null
//! session has no key, so there is nothing that a newer dialect would sign or encrypt. No share is opened but the pipe's.

use crate::bytes::le;
use crate::check::dialogue::{Decision, Dialogue, Turn, Vars};
use model::finding::Verdict;

/// A null session and NetrShareEnum.
pub(super) struct NullSession;

const NAME: &str = "smb-null-session NetShareEnum";

const NEGOTIATE: u16 = 0;
const SESSION_SETUP: u16 = 1;
const LOGOFF: u16 = 2;
const TREE_CONNECT: u16 = 3;
const CREATE: u16 = 5;
const IOCTL: u16 = 11;

/// The order of our questions; each message is numbered by its place.
const ORDER: [u16; 7] = [NEGOTIATE, SESSION_SETUP, SESSION_SETUP, TREE_CONNECT, CREATE, IOCTL, IOCTL];

const SUCCESS: u64 = 0;
const MORE_PROCESSING: u64 = 0xc000_0016;
/// An IOCTL whose answer is longer than we take.
const BUFFER_OVERFLOW: u64 = 0x8000_0005;

/// More shares than any server has: beyond it the number is noise.
const SHARES: u64 = 10_000;

/// What earlier answers gave us to go on with.
#[derive(Default)]
struct So<'a> {
    session: u64,
    tree: u64,
    file: &'a [u8],
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A message with its header and the length in front.
fn message(command: u16, id: u64, so: &So<'_>, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(68 + body.len());
    let length = u32::try_from(64 + body.len()).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&[0, length[1], length[2], length[3]]);
    out.extend_from_slice(b"\xfeSMB\x40\x00");
    out.extend_from_slice(&1u16.to_le_bytes()); // one credit each
    out.extend_from_slice(&0u32.to_le_bytes());
    out.extend_from_slice(&command.to_le_bytes());
    out.extend_from_slice(&8u16.to_le_bytes()); // credits asked for
    out.extend_from_slice(&[0; 8]); // flags, next command
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&0u32.to_le_bytes());
    out.extend_from_slice(&u32::try_from(so.tree).unwrap_or_default().to_le_bytes());
    out.extend_from_slice(&so.session.to_le_bytes());
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(body);
    out
}

/// An answer: its command, status, and the whole message from its header on.
struct Answer<'a> {
    status: u64,
    session: u64,
    tree: u64,
    message: &'a [u8],
}

/// Takes an answer apart; `Ok(None)` while it is not all there. An interim answer (pending) is passed over.
fn read(bytes: &[u8], command: u16, id: u64) -> Result<Option<Answer<'_>>, ()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(&head) = rest.first() else { break };
        if head != 0 {
            return Err(());
        }
        let Some(length) = crate::bytes::be::<3>(rest, 1).and_then(|l| usize::try_from(l).ok()) else { return Ok(None) };
        if !(64..=131_072).contains(&length) {
            return Err(());
        }
        let Some(message) = rest.get(4..4 + length) else {
            return if rest.len() < 8 || rest[4..].starts_with(b"\xfeSMB") { Ok(None) } else { Err(()) };
        };
        rest = &rest[4 + length..];
        if !message.starts_with(b"\xfeSMB\x40\x00") {
            return Err(());
        }
        let field = |at| le::<4>(message, at).unwrap_or_default();
        let is_answer = field(16) & 1 == 1;
        if !is_answer || le::<2>(message, 12) != Some(u64::from(command)) || le::<8>(message, 24) != Some(id) {
            return Err(());
        }
        // STATUS_PENDING: the real answer follows.
        if field(8) == 0x103 {
            continue;
        }
        let session = le::<8>(message, 40).unwrap_or_default();
        return Ok(Some(Answer { status: field(8), session, tree: field(36), message }));
    }
    Ok(None)
}

/// The bytes that an offset and a length inside a message point at.
fn pointed(message: &[u8], offset_at: usize, length_at: usize, wide: bool) -> Option<&[u8]> {
    let read = |at| if wide { le::<4>(message, at) } else { le::<2>(message, at) };
    let (offset, length) = (usize::try_from(read(offset_at)?).ok()?, usize::try_from(read(length_at)?).ok()?);
    message.get(offset..offset.checked_add(length)?)
}

fn negotiate() -> Vec<u8> {
    let mut body = Vec::new();
    for field in [36u16, 2, 1, 0] {
        body.extend_from_slice(&field.to_le_bytes());
    }
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(b"portreeve-client"); // 16 bytes of our own for a GUID
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&0x0202u16.to_le_bytes());
    body.extend_from_slice(&0x0210u16.to_le_bytes());
    body
}

/// A message of NTLM as the security buffer, bare.
fn session_setup(blob: &[u8]) -> Vec<u8> {
    let mut body = vec![25, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&88u16.to_le_bytes());
    body.extend_from_slice(&u16::try_from(blob.len()).unwrap_or_default().to_le_bytes());
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(blob);
    body
}

/// NEGOTIATE: Unicode, NTLM, always sign, extended session security.
const NTLM_FIRST: &[u8] = b"NTLMSSP\0\x01\0\0\0\x05\x82\x08\xa0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// AUTHENTICATE of nobody: no name, no response but the one zero byte of an anonymous LM response.
fn ntlm_anonymous() -> Vec<u8> {
    let mut out = b"NTLMSSP\0\x03\0\0\0".to_vec();
    let end = 64u32;
    // LM response, NT response, domain, user, workstation, key: length, capacity, offset.
    for (length, offset) in [(1u16, end), (0, end + 1), (0, end), (0, end), (0, end), (0, end + 1)] {
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
    }
    // The flags of the first message, and "anonymous".
    out.extend_from_slice(&(0xa008_8205u32 | 0x0800).to_le_bytes());
    out.push(0);
    out
}

fn tree_connect(vars: &Vars<'_>) -> Vec<u8> {
    let path = utf16(&format!("\\\\{}\\IPC$", vars.endpoint.ip));
    let mut body = vec![9, 0, 0, 0];
    body.extend_from_slice(&72u16.to_le_bytes());
    body.extend_from_slice(&u16::try_from(path.len()).unwrap_or_default().to_le_bytes());
    body.extend_from_slice(&path);
    body
}

fn create() -> Vec<u8> {
    let name = utf16("srvsvc");
    let mut body = vec![57, 0, 0, 0];
    body.extend_from_slice(&2u32.to_le_bytes()); // impersonation
    body.extend_from_slice(&[0; 16]);
    body.extend_from_slice(&0x0012_019fu32.to_le_bytes()); // read and write a pipe
    body.extend_from_slice(&0u32.to_le_bytes());
    body.extend_from_slice(&7u32.to_le_bytes()); // shared with everybody
    body.extend_from_slice(&1u32.to_le_bytes()); // open what is there, make nothing
    body.extend_from_slice(&0u32.to_le_bytes());
    body.extend_from_slice(&120u16.to_le_bytes());
    body.extend_from_slice(&u16::try_from(name.len()).unwrap_or_default().to_le_bytes());
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&name);
    body
}

/// A call through the pipe: written and read in one.
fn transceive(file: &[u8], input: &[u8]) -> Vec<u8> {
    let mut body = vec![57, 0, 0, 0];
    body.extend_from_slice(&0x0011_c017u32.to_le_bytes());
    body.extend_from_slice(file);
    body.extend_from_slice(&120u32.to_le_bytes());
    body.extend_from_slice(&u32::try_from(input.len()).unwrap_or_default().to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&16_384u32.to_le_bytes());
    body.extend_from_slice(&1u32.to_le_bytes());
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(input);
    body
}

fn rpc(kind: u8, call: u32, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(16 + body.len()).unwrap_or_default();
    [&[5, 0, kind, 3, 0x10, 0, 0, 0][..], &length.to_le_bytes(), &[0, 0], &call.to_le_bytes(), body].concat()
}

/// Binds to the server service, version 3.0, in NDR.
fn bind() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&4_280u16.to_le_bytes());
    body.extend_from_slice(&4_280u16.to_le_bytes());
    body.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]);
    body.extend_from_slice(b"\xc8\x4f\x32\x4b\x70\x16\xd3\x01\x12\x78\x5a\x47\xbf\x6e\xe1\x88\x03\0\0\0");
    body.extend_from_slice(b"\x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\x00\x2b\x10\x48\x60\x02\0\0\0");
    rpc(11, 1, &body)
}

/// NetrShareEnum at level 1: names, kinds and remarks, as many as there are.
fn share_enum(vars: &Vars<'_>) -> Vec<u8> {
    let server = utf16(&format!("\\\\{}\0", vars.endpoint.ip));
    let count = u32::try_from(server.len() / 2).unwrap_or_default();
    let mut stub = Vec::new();
    for field in [0x0002_0000, count, 0, count] {
        stub.extend_from_slice(&field.to_le_bytes());
    }
    stub.extend_from_slice(&server);
    stub.resize(stub.len().next_multiple_of(4), 0);
    for field in [1u32, 1, 0x0002_0004, 0, 0, u32::MAX, 0] {
        stub.extend_from_slice(&field.to_le_bytes());
    }
    let size = u32::try_from(stub.len()).unwrap_or_default().to_le_bytes();
    rpc(0, 2, &[&size[..], &[0, 0, 15, 0], &stub].concat())
}

/// How many shares a response of NetrShareEnum lists; an error's status if it lists none.
fn shares(response: &[u8]) -> Option<u64> {
    // Version 5, a response, of our call; then size and context, then the stub.
    if !response.starts_with(&[5, 0, 2]) || le::<4>(response, 12) != Some(2) {
        return None;
    }
    let field = |n: usize| le::<4>(response, 24 + 4 * n);
    let (level, switch, container, count, array, most) = (field(0)?, field(1)?, field(2)?, field(3)?, field(4)?, field(5)?);
    (level == 1 && switch == 1 && container != 0 && array != 0 && count == most && (1..=SHARES).contains(&count)).then_some(count)
}

impl Dialogue for NullSession {
    fn turn(&self, vars: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn {
        let mut so = So::default();
        let mut null = String::new();
        for (i, answer) in heard.iter().enumerate() {
            let last = i + 1 == heard.len();
            let Some(&command) = ORDER.get(i) else { return Decision::inconclusive(NAME, "the talk is over").end() };
            let leave = |decision: Decision| match so.session {
                0 => decision.end(),
                _ => decision.leaving(&message(LOGOFF, i as u64 + 1, &so, &[4, 0, 0, 0])).end(),
            };
            let parsed = match read(answer, command, i as u64) {
                Ok(Some(parsed)) => parsed,
                Ok(None) if last && !ended => return Turn::More,
                Ok(None) if answer.is_empty() => return leave(Decision::inconclusive(NAME, "no answer")),
                Ok(None) => return leave(Decision::inconclusive(NAME, "the answer is cut off")),
                Err(()) => return leave(Decision::new(Verdict::OtherService, NAME).because("no answer of SMB's")),
            };
            let status = parsed.status;
            let expected = if i == 1 { MORE_PROCESSING } else { SUCCESS };
            if status != expected && !(command == IOCTL && status == BUFFER_OVERFLOW) {
                // ACCESS_DENIED, LOGON_FAILURE, ACCOUNT_RESTRICTION, INVALID_PARAMETER of servers that know no null session.
                let verdict = match status {
                    0xc000_0022 | 0xc000_006d | 0xc000_006e | 0xc000_000d | 0xc000_0072 | 0xc000_035c => Verdict::NotProved,
                    _ => Verdict::Inconclusive,
                };
                return leave(Decision::new(verdict, NAME).because(format!("refused at step {} (status {status:#010x})", i + 1)));
            }
            match i {
                1 => so.session = parsed.session,
                2 => {
                    let flags = le::<2>(parsed.message, 66).unwrap_or_default();
                    null = match flags & 3 {
                        1 => "guest".into(),
                        2 => "null".into(),
                        // We gave no name, so whatever it takes us for is nobody.
                        _ => "unnamed".into(),
                    };
                }
                3 => so.tree = parsed.tree,
                4 => {
                    let Some(file) = parsed.message.get(64 + 64..64 + 80) else {
                        return leave(Decision::inconclusive(NAME, "no handle for the pipe"));
                    };
                    so.file = file;
                }
                5 | 6 => {
                    let output = pointed(parsed.message, 64 + 32, 64 + 36, true).unwrap_or_default();
                    if i == 5 {
                        if !output.starts_with(&[5, 0, 12]) {
                            return leave(Decision::new(Verdict::NotProved, NAME).because("the pipe takes no call"));
                        }
                    } else {
                        return leave(match shares(output) {
                            Some(count) => Decision::new(Verdict::Proved, NAME).field("shares", count).field("session", &null),
                            None => Decision::new(Verdict::NotProved, NAME).because("lists no share"),
                        });
                    }
                }
                _ => {}
            }
        }
        let body = match heard.len() {
            0 => negotiate(),
            1 => session_setup(NTLM_FIRST),
            2 => session_setup(&ntlm_anonymous()),
            3 => tree_connect(vars),
            4 => create(),
            5 => transceive(so.file, &bind()),
            6 => transceive(so.file, &share_enum(vars)),
            _ => return Decision::inconclusive(NAME, "the talk is over").end(),
        };
        Turn::Say(message(ORDER[heard.len()], heard.len() as u64, &so, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_that_adds_up_is_one() {
        let list = |fields: [u32; 6]| {
            let stub: Vec<u8> = fields.iter().flat_map(|f| f.to_le_bytes()).collect();
            rpc(2, 2, &[&[0u8; 8][..], &stub].concat())
        };
        for (fields, expected) in [
            ([1, 1, 0x20000, 3, 0x20004, 3], Some(3)),
            ([1, 1, 0x20000, 3, 0x20004, 2], None),
            ([1, 1, 0x20000, 0, 0, 0], None),
            ([1, 1, 0, 0, 0, 0], None),
            ([2, 2, 0x20000, 3, 0x20004, 3], None),
            ([1, 1, 0x20000, 4_000_000, 0x20004, 4_000_000], None),
        ] {
            assert_eq!(shares(&list(fields)), expected, "{fields:?}");
        }
        assert_eq!(shares(&[]), None);
    }
}
