//! SQL Server: the pre-login message of TDS 7, which is answered with the version before anybody has signed in.
//!
//! Source: MS-TDS 2.2.6.5 (PRELOGIN). Sybase's TDS 5 has no such message: it answers nothing but an attempt to log in, which
//! identification does not make.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const CODEC: Codec = Codec { name: "tds-prelogin", request: Some(request), unasked: false, read };

const PRELOGIN: u8 = 0x12;
const RESPONSE: u8 = 4;
const HEAD: usize = 8;

/// Options: version, encryption, instance, thread, several result sets.
const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;

fn request() -> Vec<u8> {
    // Our version is zero and says nothing; encryption is possible but off; the default instance; no thread.
    let options: [(u8, &[u8]); 5] = [(VERSION, &[0; 6]), (ENCRYPTION, &[0]), (2, &[0]), (3, &[0; 4]), (4, &[0])];
    let mut at = 5 * options.len() + 1;
    let (mut list, mut data) = (Vec::new(), Vec::new());
    for (token, value) in options {
        list.push(token);
        list.extend((at as u16).to_be_bytes());
        list.extend((value.len() as u16).to_be_bytes());
        data.extend(value);
        at += value.len();
    }
    list.push(0xff);
    let length = (HEAD + list.len() + data.len()) as u16;
    [&[PRELOGIN, 1][..], &length.to_be_bytes(), &[0, 0, 0, 0], &list, &data].concat()
}

fn read(bytes: &[u8]) -> Reading {
    // A response, the last of its message; no process; packet 1 (0 in old servers); no window.
    let known = [RESPONSE, 1];
    if bytes.is_empty() || !bytes.iter().zip(known).all(|(&b, k)| b == k) {
        return Reading::Foreign;
    }
    let Some(length) = be::<2>(bytes, 2) else { return Reading::Partial };
    // Five options and their values, in some servers a nonce of 32 bytes too.
    if !(20..=256).contains(&length) || bytes.get(6).is_some_and(|&p| p > 1) || bytes.get(7).is_some_and(|&w| w != 0) {
        return Reading::Foreign;
    }
    if bytes.len() > length as usize {
        return Reading::Foreign;
    }
    let Some(message) = bytes.get(HEAD..length as usize) else { return Reading::Partial };
    let (mut version, mut encryption, mut at) = (None, None, 0);
    loop {
        match message.get(at) {
            Some(0xff) => break,
            Some(&token) if token <= 7 => {
                let (Some(from), Some(size)) = (be::<2>(message, at + 1), be::<2>(message, at + 3)) else {
                    return Reading::Foreign;
                };
                let Some(value) = message.get(from as usize..(from + size) as usize) else { return Reading::Foreign };
                // The version comes first (MS-TDS 2.2.6.5).
                if (token == VERSION) != (at == 0) {
                    return Reading::Foreign;
                }
                match (token, value.len()) {
                    (VERSION, 6) => version = Some(value),
                    (ENCRYPTION, 1) => encryption = Some(value[0]),
                    (VERSION | ENCRYPTION, _) => return Reading::Foreign,
                    _ => {}
                }
                at += 5;
            }
            _ => return Reading::Foreign,
        }
    }
    let (Some(version), Some(encryption)) = (version, encryption) else { return Reading::Foreign };
    let encryption = match encryption & 3 {
        0 => "off",
        1 => "on",
        2 => "not supported",
        _ => "required",
    };
    let mut stated = format!("{}.{}.{}", version[0], version[1], be::<2>(version, 2).unwrap_or(0));
    if let Some(sub @ 1..) = be::<2>(version, 4) {
        stated.push_str(&format!(".{sub}"));
    }
    // SQL Server 7 was the first with this protocol.
    if version[0] < 7 {
        return Reading::Foreign;
    }
    Reading::Is(Found {
        service: "mssql".into(),
        product: Some("Microsoft SQL Server".into()),
        shown: Some(format!("PRELOGIN version={stated} encryption={encryption}")),
        version: Some(stated),
        ..Found::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_states_its_own_lengths() {
        let bytes = request();
        assert_eq!(be::<2>(&bytes, 2), Some(bytes.len() as u64));
        assert_eq!(read(&bytes), Reading::Foreign, "our own request, echoed");
        let mut answer = bytes.clone();
        (answer[0], answer[HEAD + 26]) = (RESPONSE, 15);
        assert!(matches!(read(&answer), Reading::Is(_)), "the options are where they say");
    }

    #[test]
    fn an_answer_cut_anywhere_is_only_partial() {
        let whole =
            b"\x04\x01\0\x25\0\0\x01\0\0\0\x15\0\x06\x01\0\x1b\0\x01\x02\0\x1c\0\x01\x03\0\x1d\0\0\xff\x0f\0\x07\xd0\0\0\x02\0";
        let Reading::Is(found) = read(whole) else { panic!("not recognised") };
        assert_eq!(found.version.as_deref(), Some("15.0.2000"));
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]), Reading::Partial, "{end}");
        }
        assert_eq!(read(&[&whole[..], &[0]].concat()), Reading::Foreign, "a byte too many");
    }
}
