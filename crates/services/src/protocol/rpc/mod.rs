//! ONC RPC: the null procedure of five programs in a version that none has. A server says of each that the program is not
//! there, or that it is, and in which versions.
//!
//! Source: RFC 5531 (messages, record marking), RFC 1833 (rpcbind), RFC 1813 (NFS and mount). The null procedure does nothing
//! and needs no credentials. What is exported to whom is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const CODEC: Codec = Codec { name: "rpc-null", request: Some(request), unasked: false, read };

/// Our transaction ids: this, and the place of the program in the list.
const ID: u32 = 0x7072_7400;

/// Program, name of the service, in the order in which they name a port that has several.
const PROGRAMS: [(u32, &str); 5] =
    [(100_000, "rpcbind"), (100_003, "nfs"), (100_005, "mountd"), (100_021, "nlockmgr"), (100_024, "rpc-statd")];

/// A version beyond any.
const VERSION: u32 = 99;

/// The highest bit of a record's length: it is the last of its message.
const LAST: u64 = 0x8000_0000;

fn request() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, (program, _)) in PROGRAMS.iter().enumerate() {
        bytes.extend((LAST as u32 | 40).to_be_bytes());
        // Id, call, RPC version 2, program, version, procedure 0, no credentials, no verifier.
        for field in [ID + at as u32, 0, 2, *program, VERSION, 0, 0, 0, 0, 0] {
            bytes.extend(field.to_be_bytes());
        }
    }
    bytes
}

fn read(bytes: &[u8]) -> Reading {
    let (mut rest, mut answered, mut there) = (bytes, [false; PROGRAMS.len()], Vec::new());
    if bytes.is_empty() {
        return Reading::Foreign;
    }
    while !rest.is_empty() {
        let Some(mark) = be::<4>(rest, 0) else {
            return if rest[0] == 0x80 { Reading::Partial } else { Reading::Foreign };
        };
        // Id, reply, accepted, verifier of no bytes, how it ended, and the two versions of a mismatch.
        let length = mark & !LAST;
        if mark & LAST == 0 || !matches!(length, 24 | 32) {
            return Reading::Foreign;
        }
        let Some(record) = rest.get(4..4 + length as usize) else {
            let ours = be::<4>(rest, 4).is_none_or(|id| place(id).is_some());
            return if ours { Reading::Partial } else { Reading::Foreign };
        };
        rest = &rest[4 + length as usize..];
        let field = |at: usize| be::<4>(record, 4 * at);
        let Some(at) = field(0).and_then(place) else { return Reading::Foreign };
        if answered[at] || (field(1), field(2), field(3), field(4)) != (Some(1), Some(0), Some(0), Some(0)) {
            return Reading::Foreign;
        }
        answered[at] = true;
        match (field(5), field(6), field(7)) {
            // Not there.
            (Some(1), None, _) => {}
            (Some(2), Some(low), Some(high)) if low <= high && high < u64::from(VERSION) => there.push((at, low, high)),
            // Accepted in version 99: by something that accepts anything.
            _ => return Reading::Foreign,
        }
    }
    if answered.contains(&false) {
        return Reading::Partial;
    }
    there.sort_unstable();
    let Some(&(at, ..)) = there.first() else { return Reading::Foreign };
    let shown: Vec<String> = there.iter().map(|(at, low, high)| format!("{} versions={low}-{high}", PROGRAMS[*at].1)).collect();
    Reading::Is(Found { service: PROGRAMS[at].1.into(), shown: Some(shown.join(", ")), ..Found::default() })
}

/// Which of our questions has this id.
fn place(id: u64) -> Option<usize> {
    let at = usize::try_from(id.checked_sub(u64::from(ID))?).ok()?;
    (at < PROGRAMS.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(at: u32, ended: &[u32]) -> Vec<u8> {
        let fields: Vec<u32> = [&[ID + at, 1, 0, 0, 0][..], ended].concat();
        let mark = LAST as u32 | (4 * fields.len()) as u32;
        std::iter::once(mark).chain(fields).flat_map(u32::to_be_bytes).collect()
    }

    #[test]
    fn the_answers_may_come_in_any_order_and_must_all_come() {
        let absent = |at| reply(at, &[1]);
        let whole = [reply(1, &[2, 3, 4]), absent(3), absent(2), absent(0), absent(4)].concat();
        let Reading::Is(found) = read(&whole) else { panic!("not recognised") };
        assert_eq!((found.service.as_str(), found.shown.as_deref()), ("nfs", Some("nfs versions=3-4")));
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]), Reading::Partial, "{end}");
        }
        let both = [reply(1, &[2, 3, 4]), reply(0, &[2, 2, 4]), absent(3), absent(2), absent(4)].concat();
        let Reading::Is(found) = read(&both) else { panic!("not recognised") };
        assert_eq!(found.service, "rpcbind", "one port may have several");
    }

    #[test]
    fn what_accepts_version_ninety_nine_is_no_server() {
        let absent = |at| reply(at, &[1]);
        assert_eq!(read(&[reply(1, &[0]), absent(0), absent(2), absent(3), absent(4)].concat()), Reading::Foreign);
        assert_eq!(read(&[absent(1), absent(1)].concat()), Reading::Foreign, "the same answer twice");
        assert_eq!(read(&request()), Reading::Foreign, "our own request, echoed");
    }
}
