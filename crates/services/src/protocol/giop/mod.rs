//! CORBA's IIOP: where is `NameService`? Whatever the answer, it carries our request's number.
//!
//! Source: OMG CORBA 3, part 2, GIOP 1.0 LocateRequest and LocateReply. Nothing is invoked. WebLogic, GlassFish and name
//! servers speak it; which of them it is, the answer does not say.

use super::{Codec, Found, Reading};
use crate::bytes::{be, le};

pub(crate) const CODEC: Codec = Codec { name: "giop-locate", request: Some(request), unasked: false, read };

const ID: u32 = 0x7072_7401;
const KEY: &[u8] = b"NameService";
const HEAD: usize = 12;

const LOCATE_REQUEST: u8 = 3;
const LOCATE_REPLY: u8 = 4;
const MESSAGE_ERROR: u8 = 6;

fn request() -> Vec<u8> {
    let length = (8 + KEY.len()) as u32;
    [&b"GIOP\x01\0\0"[..], &[LOCATE_REQUEST], &length.to_be_bytes(), &ID.to_be_bytes(), &(KEY.len() as u32).to_be_bytes(), KEY]
        .concat()
}

fn read(bytes: &[u8]) -> Reading {
    let magic = b"GIOP\x01";
    if bytes.len() < HEAD {
        let begun = !bytes.is_empty() && (magic.starts_with(bytes) || bytes.starts_with(magic));
        return if begun { Reading::Partial } else { Reading::Foreign };
    }
    let (minor, flags, kind) = (bytes[5], bytes[6], bytes[7]);
    if !bytes.starts_with(magic) || minor > 2 || flags > 1 {
        return Reading::Foreign;
    }
    let number = |at: usize| if flags == 1 { le::<4>(bytes, at) } else { be::<4>(bytes, at) };
    let length = number(8).unwrap_or(0);
    // A reference to the object forwarded to may follow: a few hundred bytes.
    if length > 16_384 {
        return Reading::Foreign;
    }
    let total = HEAD + length as usize;
    if bytes.len() < total {
        return Reading::Partial;
    }
    let status = match kind {
        LOCATE_REPLY if length >= 8 && number(HEAD) == Some(u64::from(ID)) => match number(HEAD + 4) {
            Some(0) => "unknown object",
            Some(1) => "object here",
            Some(2) => "object elsewhere",
            _ => return Reading::Foreign,
        },
        MESSAGE_ERROR if length == 0 => "message error",
        _ => return Reading::Foreign,
    };
    if bytes.len() != total {
        return Reading::Foreign;
    }
    Reading::Is(Found {
        service: "iiop".into(),
        shown: Some(format!("GIOP 1.{minor}, NameService: {status}")),
        ..Found::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_needs_our_number_and_its_length() {
        let right = b"GIOP\x01\0\0\x04\0\0\0\x08prt\x01\0\0\0\x01";
        assert!(matches!(read(right), Reading::Is(_)));
        for end in 1..right.len() {
            assert_eq!(read(&right[..end]), Reading::Partial, "{end}");
        }
        assert!(matches!(read(b"GIOP\x01\0\x01\x04\x08\0\0\0\x01trp\0\0\0\0"), Reading::Is(_)), "in the other byte order");
        assert_eq!(read(b"GIOP\x01\0\0\x04\0\0\0\x08prt\x02\0\0\0\x01"), Reading::Foreign);
        assert_eq!(read(&request()), Reading::Foreign, "our own request, echoed");
    }
}
