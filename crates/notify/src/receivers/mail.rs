//! Mail over SMTP: one message with a text and an HTML part, given to the server for every recipient it will take.
//!
//! A recipient that the server refuses does not cost the others their alert; the receipt names it. Trust in certificates is
//! the operating system's.

use crate::error::{Receipt, SendError, chain};
use crate::message::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use model::alert::{Destination, MailSecurity};
use std::time::Duration;

/// For the connection, and for each answer of the server: RFC 5321 section 4.5.3.2 allows minutes, for servers that queue
/// behind filters; a stuck server must not hold the other receivers up that long.
const STEP: Duration = Duration::from_secs(10);
/// For the whole conversation.
const TOTAL: Duration = Duration::from_secs(40);

/// The parts of [`Destination::Mail`].
struct Server<'a> {
    host: &'a str,
    port: u16,
    security: MailSecurity,
    login: Option<(&'a str, &'a str)>,
}

pub(super) async fn deliver(message: &Message<'_>) -> Result<Receipt, SendError> {
    let Destination::Mail { host, port, security, username, password, from, to } = &message.receiver.destination else {
        return Err(SendError::permanent("not a mail receiver"));
    };
    let login = username.as_deref().filter(|u| !u.is_empty()).map(|u| (u, password.as_deref().unwrap_or_default()));
    let server = Server { host, port: *port, security: *security, login };
    let from = mailbox(from, "sender")?;
    let to = to.iter().map(|address| mailbox(address, "recipient")).collect::<Result<Vec<_>, _>>()?;
    if to.is_empty() {
        return Err(SendError::permanent("the receiver has no recipient").hint("give it at least one mail address"));
    }
    let letter = letter(message, &from, &to)?;
    let conversation = server.converse(&from, &to, &letter);
    tokio::time::timeout(TOTAL, conversation).await.unwrap_or_else(|_| {
        let at = server.name();
        Err(SendError::transient(format!("mail server {at} did not finish within {} s", TOTAL.as_secs())))
    })
}

fn mailbox(address: &str, what: &str) -> Result<Mailbox, SendError> {
    address.trim().parse().map_err(|_| {
        SendError::permanent(format!("`{address}` is not a mail address ({what})"))
            .hint("write it as name@example.net or Name <name@example.net>")
    })
}

/// The message in the form in which it crosses the wire.
fn letter(message: &Message<'_>, from: &Mailbox, to: &[Mailbox]) -> Result<Vec<u8>, SendError> {
    let broken = |e: &dyn std::error::Error| SendError::permanent(format!("the mail could not be written: {}", chain(e)));
    let (text, html) = (message.text().map_err(|e| broken(&e))?, message.html().map_err(|e| broken(&e))?);
    let id = message.notification.id.to_string();
    let mut builder = lettre::Message::builder()
        .from(from.clone())
        .subject(message.subject())
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        // RFC 3834: nobody's holiday notice is to answer this
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into()))
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("X-Portreeve-Notification"), id));
    for recipient in to {
        builder = builder.to(recipient.clone());
    }
    let letter = builder.multipart(MultiPart::alternative_plain_html(text, html)).map_err(|e| broken(&e))?;
    Ok(letter.formatted())
}

impl Server<'_> {
    /// How errors name it.
    fn name(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    async fn converse(&self, from: &Mailbox, to: &[Mailbox], letter: &[u8]) -> Result<Receipt, SendError> {
        let mut connection = self.open().await?;
        let result = self.hand_over(&mut connection, from, to, letter).await;
        // the letter's fate is known; how the server says goodbye changes nothing
        let _ = tokio::time::timeout(STEP, connection.quit()).await;
        result
    }

    /// Connects, protects and signs in.
    async fn open(&self) -> Result<AsyncSmtpConnection, SendError> {
        let hello = ClientId::default();
        let tls = || TlsParameters::new(self.host.to_owned()).map_err(|e| self.failed("TLS cannot be set up for", &e));
        let at_once = match self.security {
            MailSecurity::Tls => Some(tls()?),
            MailSecurity::None | MailSecurity::StartTls => None,
        };
        let connecting = AsyncSmtpConnection::connect_tokio1((self.host, self.port), Some(STEP), &hello, at_once, None);
        let mut connection = self.step(connecting).await?.map_err(|e| self.failed("cannot reach", &e))?;
        if self.security == MailSecurity::StartTls {
            if !connection.can_starttls() {
                let message = format!("mail server {} does not offer STARTTLS", self.name());
                return Err(SendError::permanent(message).hint("choose `tls` (often port 465), or have STARTTLS switched on"));
            }
            let upgrade = connection.starttls(tls()?, &hello);
            self.step(upgrade).await?.map_err(|e| self.failed("cannot start TLS with", &e))?;
        }
        if let Some((user, password)) = self.login {
            let credentials = Credentials::new(user.to_owned(), password.to_owned());
            let auth = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            self.step(auth).await?.map_err(|e| {
                let error = self.failed("cannot sign in to", &e);
                if error.transient { error } else { error.hint("check user name and password of the receiver") }
            })?;
        }
        Ok(connection)
    }

    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        from: &Mailbox,
        to: &[Mailbox],
        letter: &[u8],
    ) -> Result<Receipt, SendError> {
        let info = connection.server_info();
        let mut parameters = Vec::new();
        if !letter.is_ascii() && info.supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let international = std::iter::once(from).chain(to).any(|m| !AsRef::<str>::as_ref(&m.email).is_ascii());
        if international && info.supports_feature(Extension::SmtpUtfEight) {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let sender = connection.command(Mail::new(Some(from.email.clone()), parameters));
        self.step(sender).await?.map_err(|e| {
            let error = self.failed(&format!("sender {} was refused by", from.email), &e);
            if error.transient { error } else { error.hint("use a sender address that this server may send for") }
        })?;

        let mut refused = Vec::new();
        for recipient in to {
            let asked = connection.command(Rcpt::new(recipient.email.clone(), Vec::new()));
            if let Err(e) = self.step(asked).await? {
                let error = self.failed(&format!("recipient {} was refused by", recipient.email), &e);
                if e.status().is_none() {
                    return Err(error); // no answer at all: the connection is gone
                }
                refused.push(error);
            }
        }
        if refused.len() == to.len() {
            let transient = refused.iter().any(|e| e.transient);
            let all: Vec<&str> = refused.iter().map(|e| e.message.as_str()).collect();
            let error = SendError { transient, ..SendError::permanent(all.join("; ")) };
            return Err(error.hint("check the addresses of the receiver"));
        }
        self.step(connection.command(Data)).await?.map_err(|e| self.failed("the message was refused by", &e))?;
        // a filter may read the whole letter before it answers
        let taken = tokio::time::timeout(2 * STEP, connection.message(letter)).await;
        let answer = taken.map_err(|_| self.silent())?.map_err(|e| self.failed("the message was refused by", &e))?;
        let mut receipt = format!("{} {}", answer.code(), answer.message().collect::<Vec<_>>().join(" "));
        if !refused.is_empty() {
            let names: Vec<&str> = refused.iter().map(|e| e.message.as_str()).collect();
            receipt = format!("{receipt}; {} of {} recipients refused: {}", refused.len(), to.len(), names.join("; "));
        }
        Ok(Receipt::new(&receipt))
    }

    async fn step<T>(&self, step: impl Future<Output = T>) -> Result<T, SendError> {
        tokio::time::timeout(STEP, step).await.map_err(|_| self.silent())
    }

    fn silent(&self) -> SendError {
        SendError::transient(format!("mail server {} did not answer within {} s", self.name(), STEP.as_secs())).hint(
            "check host, port and protection: a server that expects TLS from the first byte says nothing to a plain connection",
        )
    }

    fn failed(&self, what: &str, e: &smtp::Error) -> SendError {
        let text = chain(e);
        let message = format!("{what} mail server {}: {text}", self.name());
        if text.contains("certificate") || text.contains("UnknownIssuer") {
            return SendError::permanent(message).hint(
                "the server's certificate is not trusted here: give the server one for this name from a known authority, or add \
                 the organisation's own authority to this machine's trust store (ca-certificates)",
            );
        }
        if e.is_tls() || text.contains("InvalidContentType") || text.contains("corrupt message") {
            return SendError::permanent(message)
                .hint("the server does not speak TLS on this port: try `starttls` (often port 587)");
        }
        if e.is_permanent() {
            return SendError::permanent(message);
        }
        SendError::transient(message)
    }
}
