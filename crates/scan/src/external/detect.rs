//! Which format output is in, from its first bytes.
//!
//! A byte-order mark and white space are passed over. Reading what follows is left to the format's reader.

use super::objects::Objects;
use super::{Format, FormatError, Place};

/// Bytes looked at: the first line or object of every format is shorter by far.
const HEAD: usize = 4_096;
const HINT: &str =
    "nmap XML (-oX), masscan JSON or list (-oJ, -oL) and naabu JSON lines (-json) are read; name the format with --format";

/// The first bytes of an output.
pub(super) struct Detect {
    asked: Option<Format>,
    head: Vec<u8>,
    /// Where the head begins.
    from: Place,
    mark: usize,
    object: Objects,
}

impl Detect {
    pub fn new(asked: Option<Format>) -> Detect {
        Detect { asked, head: Vec::new(), from: Place::START, mark: 0, object: Objects::default() }
    }

    pub fn held(&self) -> usize {
        self.head.len()
    }

    /// What was looked at, and where it begins.
    pub fn into_head(self) -> (Vec<u8>, Place) {
        (self.head, self.from)
    }

    /// Takes one byte; the format once it shows.
    pub fn byte(&mut self, byte: u8, place: Place) -> Result<Option<Format>, FormatError> {
        if self.head.is_empty() {
            const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
            if place.offset == self.mark as u64 && MARK.get(self.mark) == Some(&byte) {
                self.mark += 1;
                return Ok(None);
            }
            if (place.offset == 0 && matches!(byte, 0xfe | 0xff)) || byte == 0 {
                return Err(place.error("the text is UTF-16, or no text at all", "convert it to UTF-8 first"));
            }
            if byte.is_ascii_whitespace() {
                return Ok(None);
            }
            self.from = place;
        }
        self.head.push(byte);
        if let Some(asked) = self.asked {
            return Ok(Some(asked));
        }
        match self.head[0] {
            b'<' => Ok(Some(Format::NmapXml)),
            b'[' => Ok(Some(Format::MasscanJson)),
            b'{' => {
                let whole = self.object.byte(byte, place)?.is_some();
                if whole || self.head.len() >= HEAD { self.by_keys().map(Some) } else { Ok(None) }
            }
            _ if byte == b'\n' || self.head.len() >= HEAD => self.by_line().map(Some),
            _ => Ok(None),
        }
    }

    /// The output ends before the format has shown.
    pub fn end(&mut self, place: Place) -> Result<Format, FormatError> {
        match (self.asked, self.head.first()) {
            // masscan prints nothing at all when it found nothing; whoever names the format means it.
            (Some(asked), _) => Ok(asked),
            (None, None) => Err(place.error("there is nothing in it", HINT)),
            (None, Some(b'{')) => self.by_keys(),
            (None, Some(_)) => self.by_line(),
        }
    }

    /// masscan and naabu both print objects; these are the keys that only one of them has.
    fn by_keys(&self) -> Result<Format, FormatError> {
        let has = |word: &str| self.head.windows(word.len()).any(|w| w == word.as_bytes());
        if ["\"ports\"", "\"proto\"", "\"rec_type\"", "finished"].into_iter().any(has) {
            Ok(Format::MasscanJson)
        } else if has("\"port\"") {
            Ok(Format::NaabuJson)
        } else {
            Err(self.from.error("the JSON is neither masscan's nor naabu's", HINT))
        }
    }

    fn by_line(&self) -> Result<Format, FormatError> {
        let begins = |word: &str| self.head.starts_with(word.as_bytes());
        if ["#masscan", "open ", "closed ", "banner "].into_iter().any(begins) {
            return Ok(Format::MasscanList);
        }
        Err(if ["# Nmap", "Starting Nmap", "Nmap scan report"].into_iter().any(begins) {
            self.from.error("this is what nmap prints for people", "let nmap write XML: -oX FILE")
        } else if begins("#Masscan") || begins("# Masscan") || begins("Host: ") || begins("Timestamp: ") {
            self.from.error("grepable output leaves out too much", "let nmap write XML (-oX FILE), masscan JSON (-oJ FILE)")
        } else if begins("masscan/") {
            self.from.error("this is masscan's binary form", "convert it: masscan --readscan FILE -oJ OUT")
        } else {
            self.from.error("the output is in no format that is known", HINT)
        })
    }
}
