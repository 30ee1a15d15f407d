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
    // Everything we send is shorter than the 128 bytes from which BER writes lengths in another way; the test holds it.
    let mut bytes = vec![tag, u8::try_from(content.len()).unwrap_or(0x7f)];
    bytes.extend(content);
    bytes
}

fn request() -> Vec<u8> {
    let attributes: Vec<Vec<u8>> =
        ["objectClass", "vendorName", "vendorVersion", "forestFunctionality"].iter().map(|a| tlv(4, &[a.as_bytes()])).collect();
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
                if entry(body, &mut found).is_none() {
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
                // Unbind: the polite end, answered by nothing.
                found.farewell = Some(tlv(0x30, &[&tlv(2, &[&[ID + 1]]), &tlv(0x42, &[])]));
                return Reading::Is(found);
            }
            _ => return Reading::Foreign,
        }
    }
}

/// What the root DSE tells of its maker.
fn entry(body: &[u8], found: &mut Found) -> Option<()> {
    let (4, _dn, rest) = element(body).ok()? else { return None };
    let (0x30, mut attributes, _) = element(rest).ok()? else {
        return None;
    };
    let (mut vendor, mut inferred) = (None, None);
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
            let text = tidy(&String::from_utf8_lossy(value), 64);
            match name.to_ascii_lowercase().as_slice() {
                b"vendorname" => vendor = Some(text),
                b"vendorversion" => found.version = Some(text),
                b"forestfunctionality" => inferred = inferred.or(Some("Active Directory".to_owned())),
                b"objectclass" if text == "OpenLDAProotDSE" => inferred = Some("OpenLDAP".to_owned()),
                _ => {}
            }
        }
    }
    found.product = vendor.or(inferred);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
