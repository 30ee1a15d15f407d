//! Cutting a stream of XML into its elements, without ever holding more than one of them.
//!
//! Comments, text and processing instructions are passed over. A document type with declarations of its own is refused
//! before one of them is read: that is where entity bombs and external entities live, and no scanner needs it. What the
//! elements mean is left to `nmap`.

use super::{FormatError, MAX_ATTRIBUTES, MAX_DEPTH, MAX_ELEMENT, Place, TRUNCATED};
use quick_xml::XmlVersion;
use quick_xml::events::BytesStart;

const HINT: &str = "this is not what `nmap -oX` writes";
const DECLARES: &str = "remove the declarations of the document type: entities are never expanded here";

/// What a byte completed.
pub(super) enum Token {
    /// An element begins; its attributes are [`attributes`] of the text.
    Start { name: String, text: String, empty: bool },
    /// An element ends.
    End { name: String },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// `<` was read, and what follows is not known yet.
    Open,
    /// `<!` was read.
    Bang,
    Tag {
        quote: u8,
    },
    Comment,
    Cdata,
    Instruction,
    Doctype {
        quote: u8,
    },
}

/// The cutter.
pub(super) struct Elements {
    state: State,
    buf: Vec<u8>,
    /// The last three bytes, for the ends of what is passed over.
    tail: [u8; 3],
    from: Place,
    open: Vec<String>,
    seen_root: bool,
}

impl Default for Elements {
    fn default() -> Self {
        Elements { state: State::Text, buf: Vec::new(), tail: [0; 3], from: Place::START, open: Vec::new(), seen_root: false }
    }
}

impl Elements {
    pub fn held(&self) -> usize {
        self.buf.len()
    }

    /// Names of the elements that are open, outermost first.
    pub fn open(&self) -> &[String] {
        &self.open
    }

    /// Takes one byte; an element's start or end once it is whole. A start is on [`Elements::open`] from then on, an end is
    /// not any more.
    pub fn byte(&mut self, byte: u8, place: Place) -> Result<Option<Token>, FormatError> {
        self.tail = [self.tail[1], self.tail[2], byte];
        match self.state {
            State::Text => {
                if byte == b'<' {
                    self.state = State::Open;
                    self.from = place;
                    self.buf.clear();
                } else if self.open.is_empty() && !byte.is_ascii_whitespace() {
                    let what = format!("`{}` stands outside the document", byte.escape_ascii());
                    return Err(place.error(what, HINT));
                }
            }
            State::Open => match byte {
                b'!' => self.state = State::Bang,
                b'?' => self.begin(State::Instruction),
                b'>' | b'<' => return Err(self.from.error("an element has no name", HINT)),
                _ => {
                    self.state = State::Tag { quote: 0 };
                    self.buf.push(byte);
                }
            },
            State::Bang => {
                self.buf.push(byte);
                match self.buf.as_slice() {
                    b"--" => self.begin(State::Comment),
                    b"[CDATA[" => self.begin(State::Cdata),
                    b"DOCTYPE" => self.begin(State::Doctype { quote: 0 }),
                    so_far => {
                        let partial = [b"--".as_slice(), b"[CDATA[", b"DOCTYPE"].iter().any(|word| word.starts_with(so_far));
                        if !partial {
                            return Err(self.from.error("the document declares something of its own", DECLARES));
                        }
                    }
                }
            }
            State::Comment if self.tail == *b"-->" => self.state = State::Text,
            State::Cdata if self.tail == *b"]]>" => self.state = State::Text,
            State::Instruction if self.tail[1..] == *b"?>" => self.state = State::Text,
            State::Comment | State::Cdata | State::Instruction => {}
            State::Doctype { quote } => match byte {
                _ if quote != 0 => self.state = State::Doctype { quote: if byte == quote { 0 } else { quote } },
                b'"' | b'\'' => self.state = State::Doctype { quote: byte },
                b'[' | b'<' => return Err(self.from.error("the document type has declarations of its own", DECLARES)),
                b'>' => self.state = State::Text,
                _ => {}
            },
            State::Tag { quote } => {
                if byte == b'>' && quote == 0 {
                    self.state = State::Text;
                    return self.tag().map(Some);
                }
                let next = match byte {
                    _ if quote != 0 => {
                        if byte == quote {
                            0
                        } else {
                            quote
                        }
                    }
                    b'"' | b'\'' => byte,
                    b'<' => return Err(self.from.error("an element does not end", HINT)),
                    _ => 0,
                };
                self.state = State::Tag { quote: next };
                self.buf.push(byte);
                if self.buf.len() > MAX_ELEMENT {
                    return Err(self.from.error(format!("an element is longer than {MAX_ELEMENT} bytes"), HINT));
                }
            }
        }
        Ok(None)
    }

    /// Begins something that is passed over.
    fn begin(&mut self, state: State) {
        self.state = state;
        self.buf.clear();
        // `<!-->` is no comment: its end must not overlap its beginning.
        self.tail = [0; 3];
    }

    fn tag(&mut self) -> Result<Token, FormatError> {
        let mut text = String::from_utf8_lossy(&self.buf).into_owned();
        self.buf = Vec::new();
        if let Some(name) = text.strip_prefix('/') {
            let name = name.trim_end();
            return match self.open.pop() {
                Some(open) if open == name => Ok(Token::End { name: open }),
                Some(open) => Err(self.from.error(format!("<{open}> is open where <{}> ends", short(name)), HINT)),
                None => Err(self.from.error(format!("<{}> ends without having begun", short(name)), HINT)),
            };
        }
        let empty = text.ends_with('/');
        if empty {
            text.pop();
        }
        let name = text.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default().to_owned();
        if name.is_empty() || name.len() > 256 {
            return Err(self.from.error("an element has no proper name", HINT));
        }
        if self.open.is_empty() && std::mem::replace(&mut self.seen_root, true) {
            return Err(self
                .from
                .error(format!("<{name}> follows the end of the document"), "give each document a file of its own"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.from.error(format!("elements are nested deeper than {MAX_DEPTH} levels"), HINT));
        }
        if !empty {
            self.open.push(name.clone());
        }
        Ok(Token::Start { name, text, empty })
    }

    /// Where the element in hand begins.
    pub fn from(&self) -> Place {
        self.from
    }

    /// The document ends here.
    pub fn end(&self, place: Place) -> Result<(), FormatError> {
        match (self.state, self.open.last()) {
            (State::Text, None) if self.seen_root => Ok(()),
            (State::Text, None) => Err(place.error("there is no element in the document", HINT)),
            (State::Text, Some(open)) => Err(place.error(format!("the document ends within <{open}>"), TRUNCATED)),
            _ => Err(self.from.error("the document ends within an element", TRUNCATED)),
        }
    }
}

fn short(name: &str) -> String {
    name.chars().take(40).collect()
}

/// The attributes of an element, by name. Only the five entities of XML and characters by number are resolved.
pub(super) fn attributes(name: &str, text: &str, place: Place, mut take: impl FnMut(&str, &str)) -> Result<(), FormatError> {
    let element = BytesStart::from_content(text, name.len());
    for (count, attribute) in element.attributes().enumerate() {
        if count == MAX_ATTRIBUTES {
            return Err(place.error(format!("<{name}> has more than {MAX_ATTRIBUTES} attributes"), HINT));
        }
        let attribute = attribute.map_err(|e| place.error(format!("<{name}>: {e}"), HINT))?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|e| place.error(format!("<{name}>: {e}"), "only the entities of XML itself are known"))?;
        take(attribute.key.as_ref(), &value);
    }
    Ok(())
}
