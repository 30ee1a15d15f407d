//! LDAP: a search for the root DSE, which version 3 answers without a bind, so that nobody's log shows a log-in.
//!
//! Source: RFC 4511 (messages, BER), RFC 4512 section 5.1 (root DSE), RFC 3045 (vendor attributes). Whether the directory
//! behind it is readable is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::tidy;

pub(crate) const CODEC: Codec = Codec { name: "ldap-rootdse", request: Some(request), unasked: false, read };

/// Message id of our search; the answer must carry it.
const ID: u8 = 1;

fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    // From 128 bytes on BER writes how many bytes the length has; ours all have one.
    let length = u8::try_from(content.len()).unwrap_or(0xff);
    let mut bytes = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    bytes.extend(content);
    bytes
}

fn request() -> Vec<u8> {
    let attributes: Vec<Vec<u8>> =
        ["objectClass", "vendorName", "vendorVersion", "supportedCapabilities", "domainControllerFunctionality"]
            .iter()
            .map(|a| tlv(4, &[a.as_bytes()]))
            .collect();
    let attributes: Vec<&[u8]> = attributes.iter().map(Vec::as_slice).collect();
    let search = tlv(
        0x63,
        &[
            &tlv(4, &[]),                  // base: the root
            &tlv(10, &[&[0]]),             // scope: base object
            &tlv(10, &[&[0]]),             // aliases: never followed
            &tlv(2, &[&[1]]),              // at most one entry
            &tlv(2, &[&[3]]),              // at most three seconds
            &tlv(1, &[&[0]]),              // with values
            &tlv(0x87, &[b"objectClass"]), // filter: present
            &tlv(0x30, &attributes),
        ],
    );
    tlv(0x30, &[&tlv(2, &[&[ID]]), &search])
}

/// One BER element: tag, content, rest. `Err(true)` when more bytes are needed, `Err(false)` when it is none.
fn element(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), bool> {
    let &tag = bytes.first().ok_or(true)?;
    let &first = bytes.get(1).ok_or(true)?;
    let (length, head) = match first {
        0..=0x7f => (usize::from(first), 2),
        0x81..=0x83 => {
            let digits = usize::from(first & 0x7f);
            let field = bytes.get(2..2 + digits).ok_or(true)?;
            (field.iter().fold(0usize, |n, &b| n << 8 | usize::from(b)), 2 + digits)
        }
        0x84 => {
            // Active Directory always writes four.
            let field: [u8; 4] = bytes.get(2..6).ok_or(true)?.try_into().map_err(|_| false)?;
            (u32::from_be_bytes(field) as usize, 6)
        }
        _ => return Err(false),
    };
    if length > 65_536 {
        return Err(false);
    }
    let content = bytes.get(head..head + length).ok_or(true)?;
    Ok((tag, content, &bytes[head + length..]))
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.first() != Some(&0x30) {
        return Reading::Foreign;
    }
    let mut rest = bytes;
    let mut found = Found { service: "ldap".into(), ..Found::default() };
    let mut level = None;
    loop {
        let (content, after) = match element(rest) {
            Ok((0x30, content, after)) => (content, after),
            Err(true) => return Reading::Partial,
            _ => return Reading::Foreign,
        };
        rest = after;
        let Ok((2, id, operation)) = element(content) else {
            return Reading::Foreign;
        };
        let Ok((tag, body, _)) = element(operation) else {
            return Reading::Foreign;
        };
        match (tag, id) {
            (0x64, [ID]) => {
                if entry(body, &mut found, &mut level).is_none() {
                    return Reading::Foreign;
                }
            }
            // The search is done; or, with id 0, the server says why it hangs up (RFC 4511 section 4.4.1).
            (0x65, [ID]) | (0x78, [0]) => {
                let Ok((10, &[code], _)) = element(body) else {
                    return Reading::Foreign;
                };
                let product = found.product.as_deref().unwrap_or("product not stated");
                found.shown = Some(format!("root DSE, result {code}, {product}"));
                if let Some(level) = &level {
                    found.shown = found.shown.map(|text| format!("{text}, domainControllerFunctionality={level}"));
                }
                // Unbind: the polite end, answered by nothing.
                found.farewell = Some(tlv(0x30, &[&tlv(2, &[&[ID + 1]]), &tlv(0x42, &[])]));
                return Reading::Is(found);
            }
            _ => return Reading::Foreign,
        }
    }
}

/// Capabilities that say what a directory of Microsoft's is (MS-ADTS 3.1.1.3.4.3).
const CAPABILITIES: [(&str, &str); 2] = [
    ("1.2.840.113556.1.4.1851", "Active Directory Lightweight Directory Services"),
    ("1.2.840.113556.1.4.800", "Active Directory"),
];

/// What makers call themselves in `vendorName`, or their product in `vendorVersion`, and what the product is called.
const VENDORS: [(&str, &str); 11] = [
    ("389", "389 Directory Server"),
    ("Red Hat Directory", "Red Hat Directory Server"),
    ("eDirectory", "eDirectory"),
    ("Samba Team", "Samba"),
    ("OpenDJ", "OpenDJ"),
    ("ForgeRock", "ForgeRock Directory Services"),
    ("Apache Software Foundation", "ApacheDS"),
    ("International Business Machines", "IBM Security Directory Server"),
    ("Oracle-Directory-Server", "Oracle Directory Server"),
    ("Sun-Directory-Server", "Sun Directory Server"),
    ("lldap", "LLDAP"),
];

/// What the root DSE tells of its maker.
fn entry(body: &[u8], found: &mut Found, level: &mut Option<String>) -> Option<()> {
    let (4, _dn, rest) = element(body).ok()? else { return None };
    let (0x30, mut attributes, _) = element(rest).ok()? else {
        return None;
    };
    let (mut vendor, mut stated, mut inferred) = (None, None, None::<&str>);
    while !attributes.is_empty() {
        let (0x30, attribute, after) = element(attributes).ok()? else {
            return None;
        };
        attributes = after;
        let (4, name, values) = element(attribute).ok()? else {
            return None;
        };
        let (0x31, mut values, _) = element(values).ok()? else {
            return None;
        };
        while !values.is_empty() {
            let (4, value, after) = element(values).ok()? else {
                return None;
            };
            values = after;
            let text = tidy(&String::from_utf8_lossy(value), 96);
            match name.to_ascii_lowercase().as_slice() {
                b"vendorname" => vendor = Some(text),
                b"vendorversion" => stated = Some(text),
                b"supportedcapabilities" => {
                    let known = CAPABILITIES.iter().position(|(oid, _)| *oid == text);
                    let before = inferred.and_then(|i| CAPABILITIES.iter().position(|(_, product)| *product == i));
                    if let Some(at) = known.filter(|at| before.is_none_or(|b| *at < b)) {
                        inferred = Some(CAPABILITIES[at].1);
                    }
                }
                b"domaincontrollerfunctionality" => *level = Some(text).filter(|t| t.bytes().all(|b| b.is_ascii_digit())),
                b"objectclass" if text == "OpenLDAProotDSE" => inferred = Some("OpenLDAP"),
                _ => {}
            }
        }
    }
    let said = [vendor.as_deref(), stated.as_deref()];
    let maker = VENDORS.iter().find(|(mark, _)| said.iter().flatten().any(|text| text.contains(mark)));
    // Samba imitates Active Directory, capabilities included, and says who it is.
    found.product = maker.map(|(_, product)| (*product).to_owned()).or(inferred.map(Into::into)).or(vendor);
    found.version = stated.and_then(|text| number(&text));
    Some(())
}

/// The version in what `vendorVersion` says: `389-Directory/2.3.10 B2023.1`, `OpenDJ Server 4.4.11`, `4.17.12-Debian`.
fn number(text: &str) -> Option<String> {
    let version =
        |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.') && !word.contains("-Directory");
    text.split([' ', '/', '(', ')']).find(version).map(|word| word.trim_end_matches([',', ';']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_makers_write_around_them() {
        for (text, expected) in [
            ("389-Directory/2.3.10 B2023.1", Some("2.3.10")),
            ("LDAP Agent for Novell eDirectory 8.8 SP8 (20804.04)", Some("8.8")),
            ("OpenDJ Server 4.4.11", Some("4.4.11")),
            ("4.17.12-Debian", Some("4.17.12-Debian")),
            ("Oracle-Directory-Server-Enterprise-Edition/11.1.1.7.0", Some("11.1.1.7.0")),
            ("none", None),
        ] {
            assert_eq!(number(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_request_is_well_formed() {
        let bytes = request();
        let (tag, content, rest) = element(&bytes).unwrap();
        assert_eq!((tag, rest.len()), (0x30, 0));
        let (_, id, operation) = element(content).unwrap();
        assert_eq!(id, [ID]);
        let (0x63, mut search, []) = element(operation).unwrap() else { panic!("not a search") };
        let mut parts = 0;
        while !search.is_empty() {
            search = element(search).unwrap().2;
            parts += 1;
        }
        assert_eq!(parts, 8, "RFC 4511 section 4.5.1 gives a search eight parts");
    }
}
