//! Cutting a stream of JSON into its outermost objects, whatever stands between them: masscan's commas come on lines of their
//! own, one too many or one too few; naabu's objects have a line each.
//!
//! What an object says is left to its reader.

use super::{FormatError, MAX_DEPTH, MAX_RECORD, Place, TRUNCATED};

const HINT: &str = "only the scanner's own records belong in there; its messages go to standard error";

/// The cutter.
#[derive(Default)]
pub(super) struct Objects {
    buf: Vec<u8>,
    depth: usize,
    text: bool,
    escaped: bool,
    /// Where the object in hand begins.
    from: Option<Place>,
    /// Arrays that are open around the objects.
    arrays: i32,
}

impl Objects {
    pub fn held(&self) -> usize {
        self.buf.len()
    }

    /// Takes one byte; an object once it is whole, with its place.
    pub fn byte(&mut self, byte: u8, place: Place) -> Result<Option<(Vec<u8>, Place)>, FormatError> {
        if self.depth == 0 {
            match byte {
                b'{' => self.from = Some(place),
                b'[' => {
                    self.arrays += 1;
                    return Ok(None);
                }
                b']' => {
                    self.arrays -= 1;
                    return Ok(None);
                }
                b',' => return Ok(None),
                _ if byte.is_ascii_whitespace() => return Ok(None),
                // Said printable, so that a message of the scanner's in the stream can be recognised.
                _ => return Err(place.error(format!("`{}` is not the start of a record", byte.escape_ascii()), HINT)),
            }
        }
        self.buf.push(byte);
        if self.buf.len() > MAX_RECORD {
            return Err(self.place(place).error(format!("a record is longer than {MAX_RECORD} bytes"), HINT));
        }
        if self.text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.text = false,
                _ => {}
            }
            return Ok(None);
        }
        match byte {
            b'"' => self.text = true,
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(self.place(place).error(format!("a record is nested deeper than {MAX_DEPTH} levels"), HINT));
                }
            }
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        if self.depth > 0 {
            return Ok(None);
        }
        let from = self.place(place);
        self.from = None;
        Ok(Some((std::mem::take(&mut self.buf), from)))
    }

    fn place(&self, now: Place) -> Place {
        self.from.unwrap_or(now)
    }

    /// The stream ends here; `finished` when the scanner has said that it was through.
    pub fn end(&self, place: Place, finished: bool) -> Result<(), FormatError> {
        if self.depth > 0 {
            return Err(self.place(place).error("the output ends within a record", TRUNCATED));
        }
        if self.arrays > 0 && !finished {
            return Err(place.error("the output ends before its list does", TRUNCATED));
        }
        Ok(())
    }
}

/// Reads one object. Bytes that are no UTF-8 (banners) become replacement characters.
pub(super) fn parse<T: serde::de::DeserializeOwned>(object: &[u8], place: Place) -> Result<T, FormatError> {
    serde_json::from_str(&String::from_utf8_lossy(object)).map_err(|e| place.error(format!("the record is not JSON: {e}"), HINT))
}
