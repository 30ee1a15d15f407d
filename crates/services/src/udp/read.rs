//! Answers over UDP that a pattern cannot prove or tell: lengths that must fit, names and ids worth showing.
//!
//! A pattern of the catalogue has matched before anything here is read; these readers may refuse it, add to it, and say what of it
//! is kept as evidence. Nothing here names a product that the bytes do not. Asking is left to the module above.

use crate::bytes::{be, tidy};
use crate::protocol::dns;
use model::service::Service;

/// What a reader makes of an answer.
pub(super) enum Detail {
    /// It has nothing to say about answers of this payload.
    Nothing,
    /// The structure does not hold: the answer proves nothing.
    Refused,
    /// What is kept as evidence instead of the first bytes.
    Shown(String),
}

/// Reads the answer to that payload closer, and adds to the service.
pub(super) fn closer(payload: &str, answer: &[u8], service: &mut Service) -> Detail {
    let read = match payload {
        "dns-version" => return version_bind(answer, service),
        "snmp-engine" => snmp_engine(answer),
        "netbios-nbstat" => node_status(answer),
        "ike-main-mode" => vendor_ids(answer),
        "ipmi-capabilities" => capabilities(answer),
        "quic-version" => quic_versions(answer),
        _ => return Detail::Nothing,
    };
    read.map_or(Detail::Refused, Detail::Shown)
}

fn version_bind(answer: &[u8], service: &mut Service) -> Detail {
    let Some(found) = dns::answer(answer) else { return Detail::Refused };
    service.product = found.product;
    service.version = found.version;
    found.shown.map_or(Detail::Nothing, Detail::Shown)
}

/// A BER element: tag, content, rest.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, &short) = (bytes.first()?, bytes.get(1)?);
    let (length, at) = match short {
        n @ 0..=0x7f => (usize::from(n), 2),
        0x81 => (be::<1>(bytes, 2)? as usize, 3),
        0x82 => (be::<2>(bytes, 2)? as usize, 4),
        _ => return None,
    };
    Some((tag, bytes.get(at..at + length)?, &bytes[at + length..]))
}

/// The content of an element of that tag, and what follows it.
fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    element(bytes).and_then(|(t, content, rest)| (t == tag).then_some((content, rest)))
}

/// Makers of agents by their enterprise numbers (IANA, "Private Enterprise Numbers").
const MAKERS: [(u64, &str); 24] = [
    (2, "IBM"),
    (9, "Cisco"),
    (11, "Hewlett-Packard"),
    (42, "Sun Microsystems"),
    (99, "SNMP Research"),
    (171, "D-Link"),
    (311, "Microsoft"),
    (318, "APC"),
    (343, "Intel"),
    (674, "Dell"),
    (1588, "Brocade"),
    (1916, "Extreme Networks"),
    (2011, "Huawei"),
    (2021, "UCD-SNMP"),
    (2636, "Juniper"),
    (3375, "F5"),
    (4526, "Netgear"),
    (6574, "Synology"),
    (6876, "VMware"),
    (8072, "Net-SNMP"),
    (12_356, "Fortinet"),
    (14_988, "MikroTik"),
    (25_506, "H3C"),
    (30_065, "Arista"),
];

/// The engine's maker, how often it has started and for how many seconds it has run (RFC 3411 section 5, RFC 3414 section 2.4).
fn snmp_engine(answer: &[u8]) -> Option<String> {
    let (message, _) = expect(0x30, answer)?;
    let (_, rest) = expect(2, message)?;
    let (_, rest) = expect(0x30, rest)?;
    let (security, _) = expect(4, rest)?;
    let (security, _) = expect(0x30, security)?;
    let (engine, rest) = expect(4, security)?;
    let (boots, rest) = expect(2, rest)?;
    let (seconds, _) = expect(2, rest)?;
    let number = |n: &[u8]| n.iter().take(5).fold(0u64, |sum, &b| sum << 8 | u64::from(b));
    if engine.len() < 5 || engine.len() > 32 {
        return None;
    }
    let enterprise = be::<4>(engine, 0)? & 0x7fff_ffff;
    let maker = MAKERS.iter().find(|(n, _)| *n == enterprise).map_or("of a maker not known here", |(_, name)| *name);
    Some(format!("engine of enterprise {enterprise} ({maker}), started {} times, runs for {} s", number(boots), number(seconds)))
}

/// The names of a NetBIOS node with their suffixes, groups marked (RFC 1002 section 4.2.18).
fn node_status(answer: &[u8]) -> Option<String> {
    // Behind the head, the name of 34 bytes, kind, class, time to live and length.
    let data = answer.get(12 + 34 + 10..)?;
    let length = be::<2>(answer, 12 + 34 + 8)? as usize;
    let count = usize::from(*data.first()?);
    if data.len() < length || length < 1 + 18 * count {
        return None;
    }
    let mut names = Vec::new();
    for entry in data.get(1..1 + 18 * count)?.chunks_exact(18) {
        let name = tidy(&String::from_utf8_lossy(&entry[..15]), 15);
        let group = if entry[16] & 0x80 != 0 { " group" } else { "" };
        names.push(format!("{name}<{:02x}>{group}", entry[15]));
    }
    Some(format!("names {}", names.join(", "))).filter(|_| count > 0)
}

/// Beginnings of vendor ids that their makers have published, or that their sources hold.
const VENDOR_IDS: [(&[u8], &str); 8] = [
    (b"\x88\x2f\xe5\x6d\x6f\xd2\x0d\xbc\x22\x51\x61\x3b\x2e\xbe\x5b\xeb", "strongSwan"),
    (b"\x12\xf5\xf2\x8c\x45\x71\x68\xa9\x70\x2d\x9f\xe2\x74\xcc", "Cisco Unity"),
    (b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61", "Microsoft"),
    (b"\xf4\xed\x19\xe0\xc1\x14\xeb\x51\x6f\xaa\xac\x0e\xe3\x7d\xaf\x28", "Check Point"),
    (b"\xaf\xca\xd7\x13\x68\xa1\xf1\xc9\x6b\x86\x96\xfc\x77\x57", "dead peer detection"),
    (b"\x4a\x13\x1c\x81\x07\x03\x58\x45\x5c\x57\x28\xf2\x0e\x95\x45\x2f", "NAT traversal (RFC 3947)"),
    (b"\x09\x00\x26\x89\xdf\xd6\xb7\x12", "XAUTH"),
    (b"\x40\x48\xb7\xd5\x6e\xbc\xe8\x85\x25\xe7\xde\x7f\x00\xd6\xc2\xd3", "fragmentation"),
];

/// The chain of payloads behind an IKE header: what was chosen, or why not, and the vendor ids (RFC 2408 section 3.2).
fn vendor_ids(answer: &[u8]) -> Option<String> {
    const VENDOR_ID: u8 = 13;
    const NOTIFICATION: u8 = 11;
    let (mut next, length) = (*answer.get(16)?, be::<4>(answer, 24)? as usize);
    if length < 28 || answer.len() < length {
        return None;
    }
    let mut at = 28;
    let mut said = Vec::new();
    while next != 0 && at < length {
        let size = be::<2>(answer, at + 2)? as usize;
        let content = answer.get(at + 4..at.checked_add(size)?)?;
        match next {
            1 => said.push("a proposal accepted".to_owned()),
            VENDOR_ID => {
                let known = VENDOR_IDS.iter().find(|(head, _)| content.starts_with(head));
                said.push(
                    known
                        .map_or_else(|| format!("vendor id of {} bytes", content.len()), |(_, name)| format!("vendor id {name}")),
                );
            }
            NOTIFICATION => said.push(format!("notification {}", be::<2>(content, 6)?)),
            _ => {}
        }
        (next, at) = (*answer.get(at)?, at + size);
    }
    Some(if said.is_empty() { format!("version {}", answer.get(17)? >> 4) } else { said.join(", ") })
}

/// Channel authentication capabilities: both checksums hold, then what log-ins are offered (IPMI 2.0 section 22.13).
fn capabilities(answer: &[u8]) -> Option<String> {
    let length = usize::from(*answer.get(13)?);
    let message = answer.get(14..14 + length)?;
    let sums = |part: &[u8]| part.iter().fold(0u8, |sum, &b| sum.wrapping_add(b)) == 0;
    if length < 16 || !sums(&message[..3]) || !sums(&message[3..]) {
        return None;
    }
    // Completion code, channel, kinds of authentication, and what anybody gets.
    let (code, kinds, status, extended) = (message[6], message[8], message[9], message[10]);
    let names = [(0x01, "none"), (0x02, "MD2"), (0x04, "MD5"), (0x10, "password"), (0x20, "OEM")];
    let offered: Vec<&str> = names.iter().filter(|(bit, _)| kinds & bit != 0).map(|(_, name)| *name).collect();
    let two = kinds & 0x80 != 0 && extended & 0x02 != 0;
    let anonymous = if status & 0x03 != 0 { ", a log-in without a name" } else { "" };
    Some(format!("IPMI {}, code {code}, authentication {}{anonymous}", if two { "2.0" } else { "1.5" }, offered.join(" ")))
}

/// The versions of a version negotiation (RFC 9000 section 17.2.1).
fn quic_versions(answer: &[u8]) -> Option<String> {
    let first = usize::from(*answer.get(5)?);
    let second = usize::from(*answer.get(6 + first)?);
    let list = answer.get(7 + first + second..).filter(|l| !l.is_empty() && l.len() % 4 == 0)?;
    let versions: Vec<String> = list.chunks_exact(4).take(16).map(|v| format!("{:#x}", be::<4>(v, 0).unwrap_or(0))).collect();
    Some(format!("versions {}", versions.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::udp::unescape;
    use proptest::prelude::*;

    fn shown(payload: &str, answer: &str) -> Option<String> {
        match closer(payload, &unescape(answer).unwrap(), &mut Service::default()) {
            Detail::Shown(text) => Some(text),
            Detail::Nothing | Detail::Refused => None,
        }
    }

    #[test]
    fn answers_are_told_by_their_structure() {
        let names = r"\x12\x34\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\x20CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x00\x00\x21\x00\x01\x00\x00\x00\x00\x00\x25\x02LAB            \x00\x04\x00WORKGROUP      \x00\x84\x00";
        for (payload, answer, expected) in [
            ("netbios-nbstat", names, "names LAB<00>, WORKGROUP<00> group"),
            (
                "snmp-engine",
                r"0q\x02\x01\x030\x11\x02\x04J\x01\x02\x03\x02\x03\x00\xff\xe3\x04\x01\x00\x02\x01\x03\x04!0\x1f\x04\x11\x80\x00\x1f\x88\x80\x11\x223DUfw\x88\x00\x00\x00\x00\x02\x01\x01\x02\x01\x07\x04\x00\x04\x00\x04\x0006\x04\x11\x80\x00\x1f\x88\x80\x11\x223DUfw\x88\x00\x00\x00\x00\x04\x00\xa8\x1f\x02\x04J\x01\x02\x03\x02\x01\x00\x02\x01\x000\x110\x0f\x06\x0a+\x06\x01\x06\x03\x0f\x01\x01\x04\x00A\x01\x01",
                "engine of enterprise 8072 (Net-SNMP), started 1 times, runs for 7 s",
            ),
            (
                "ipmi-capabilities",
                r"\x06\x00\xff\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x81\x1c\x63\x20\x00\x38\x00\x01\x84\x04\x02\x00\x00\x00\x00\x1d",
                "IPMI 2.0, code 0, authentication MD5",
            ),
            (
                "quic-version",
                r"\xca\x00\x00\x00\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08\x08portreev\x00\x00\x00\x01\x6b\x33\x43\xcf",
                "versions 0x1 0x6b3343cf",
            ),
            (
                "ike-main-mode",
                r"\x01\x02\x03\x04\x05\x06\x07\x08\x11\x12\x13\x14\x15\x16\x17\x18\x0b\x10\x05\x00\x00\x00\x00\x01\x00\x00\x00\x28\x00\x00\x00\x0c\x00\x00\x00\x01\x01\x00\x00\x0e",
                "notification 14",
            ),
        ] {
            assert_eq!(shown(payload, answer).as_deref(), Some(expected), "{payload}");
        }
        // A node that claims more names than it sends, a BMC whose checksum is wrong.
        assert_eq!(shown("netbios-nbstat", &names.replace(r"\x25\x02", r"\x25\x03")), None);
        assert_eq!(
            shown(
                "ipmi-capabilities",
                r"\x06\x00\xff\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x81\x1c\x63\x20\x00\x38\x00\x01\x84\x04\x02\x00\x00\x00\x00\x1e"
            ),
            None
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for payload in model::udp::Payloads::builtin().all() {
                closer(&payload.name, &bytes, &mut Service::default());
            }
        }
    }
}
