//! How a try to deliver ended: the receipt, or why not, whether trying again may help, and what a person can do.
//!
//! Nothing secret gets in here: receivers name servers by host and port, never with a path, an account or a password.
//! What follows from a failure is left to the caller.

use std::fmt;

/// Longest message or receipt that is kept, in characters: a server's answer is a stranger's text and goes into a row.
const LONGEST: usize = 300;

/// What the receiver answered when it took the notification, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt(pub String);

impl Receipt {
    pub(crate) fn new(text: &str) -> Self {
        Receipt(one_line(text))
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a notification was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SendError {
    /// Whether the same try may well succeed later (a timeout, a refused connection, a 4xx of SMTP, a 5xx of HTTP).
    pub transient: bool,
    /// What happened, in one line.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl SendError {
    pub(crate) fn transient(message: impl AsRef<str>) -> Self {
        SendError { transient: true, message: one_line(message.as_ref()), hint: None }
    }
    pub(crate) fn permanent(message: impl AsRef<str>) -> Self {
        SendError { transient: false, message: one_line(message.as_ref()), hint: None }
    }
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The text without control characters, spaces run together, cut to [`LONGEST`].
pub(crate) fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut line = String::new();
    for word in clean.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The chain of an error's causes in one line, without repeating what the outer one already says.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_answer_becomes_one_short_line() {
        assert_eq!(one_line("550 no\r\n such\tuser\u{1b}[31m"), "550 no such user [31m");
        assert_eq!(one_line(&"é".repeat(400)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn the_hint_stands_on_its_own_line() {
        let err = SendError::permanent("refused").hint("ask the postmaster");
        assert_eq!(err.to_string(), "refused\nhint: ask the postmaster");
    }
}
