//! Bytes as people read and write them: printable ASCII with `\xNN` escapes, in evidence and in the catalogue's cases.
//!
//! What of an answer may be shown at all (R10: no secrets) is left to the codec or rule that read it.

/// How much of an answer is kept as evidence, in characters.
const SHOWN: usize = 512;

/// The first bytes of an answer in printable ASCII; everything else as `\r`, `\n`, `\t`, `\\` or `\xNN`. At most 512
/// characters, never cut inside an escape.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        let mut hex = [0u8; 4];
        let piece: &str = match byte {
            b'\r' => "\\r",
            b'\n' => "\\n",
            b'\t' => "\\t",
            b'\\' => "\\\\",
            b' '..=b'~' => {
                hex[0] = byte;
                std::str::from_utf8(&hex[..1]).unwrap_or("?")
            }
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                hex = [b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
                std::str::from_utf8(&hex).unwrap_or("?")
            }
        };
        if out.len() + piece.len() > SHOWN {
            break;
        }
        out.push_str(piece);
    }
    out
}

/// The inverse of [`printable`]; also knows `\0`.
pub(crate) use model::udp::unescape;

/// Text of a stranger on its way into a report: control characters become spaces, runs of spaces one, at most `max`
/// characters.
pub(crate) fn tidy(text: &str, max: usize) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(max).collect()
}

/// A number of `N` big-endian bytes at `at`, if they are there.
pub(crate) fn be<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(N)?)?;
    Some(field.iter().fold(0u64, |n, &b| n << 8 | u64::from(b)))
}

/// A number of `N` little-endian bytes at `at`, if they are there.
pub(crate) fn le<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(N)?)?;
    Some(field.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b)))
}

/// The bytes from `at` up to the next NUL, and the position after it.
pub(crate) fn c_string(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|&b| b == 0)?;
    Some((&rest[..end], at + end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escapes_read_back_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            prop_assert_eq!(unescape(&printable(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn evidence_is_short_printable_ascii(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let shown = printable(&bytes);
            prop_assert!(shown.len() <= SHOWN && shown.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert!(unescape(&shown).is_ok(), "cut inside an escape: {}", shown);
        }
    }

    #[test]
    fn a_wrong_escape_is_named() {
        for (text, word) in [("\\q", "`\\q`"), ("\\x4", "`\\x4`"), ("\\xzz", "`\\xzz`"), ("end\\", "`\\`")] {
            let err = unescape(text).unwrap_err();
            assert!(err.contains(word), "{text}: {err}");
        }
    }

    #[test]
    fn numbers_that_are_not_all_there_are_none() {
        assert_eq!((be::<2>(&[1, 2, 3], 1), le::<2>(&[1, 2, 3], 1)), (Some(0x0203), Some(0x0302)));
        assert_eq!((be::<4>(&[1, 2, 3], 0), le::<1>(&[], 0), be::<2>(&[0], usize::MAX)), (None, None, None));
    }
}
