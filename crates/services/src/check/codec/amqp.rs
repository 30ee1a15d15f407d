//! Signing in to a broker of AMQP 0-9-1 with a pair: the mechanism PLAIN, then the virtual host `/` is opened and closed.
//!
//! Source: AMQP 0-9-1 sections 2.2.4 and 4.2.3; RabbitMQ's capability `authentication_failure_close`, without which a refusal is a
//! closed connection and nothing else. No channel is opened, so there is nothing to publish to or to take from.

use crate::bytes::{be, tidy};
use crate::check::dialogue::{Decision, Dialogue, Turn, Vars};
use model::finding::Verdict;

/// The account and password of an attempt.
pub(super) struct SignIn;

const NAME: &str = "amqp-login";

const START: (u64, u64) = (10, 10);
const TUNE: (u64, u64) = (10, 30);
const OPEN_OK: (u64, u64) = (10, 41);
const CLOSE: (u64, u64) = (10, 50);

/// Connection.Close, 200.
const GOODBYE: &[u8] = b"\x01\0\0\0\0\0\x0b\0\x0a\0\x32\0\xc8\0\0\0\0\0\xce";

/// The first method of an answer and its arguments; `Ok(None)` while it is not all there.
#[allow(clippy::type_complexity)]
fn method(bytes: &[u8]) -> Result<Option<((u64, u64), &[u8])>, ()> {
    match bytes.first() {
        None => return Ok(None),
        Some(1) => {}
        Some(_) => return Err(()),
    }
    let (Some(channel), Some(length)) = (be::<2>(bytes, 1), be::<4>(bytes, 3)) else { return Ok(None) };
    let length = usize::try_from(length).ok().filter(|l| (4..=65_536).contains(l) && channel == 0).ok_or(())?;
    let Some(payload) = bytes.get(7..7 + length) else { return Ok(None) };
    match bytes.get(7 + length) {
        None => Ok(None),
        Some(0xce) => Ok(Some(((be::<2>(payload, 0).ok_or(())?, be::<2>(payload, 2).ok_or(())?), &payload[4..]))),
        Some(_) => Err(()),
    }
}

fn frame(class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + arguments.len()).unwrap_or_default().to_be_bytes();
    [&[1u8, 0, 0][..], &length, &class.to_be_bytes(), &method.to_be_bytes(), arguments, &[0xce]].concat()
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap_or_default()][..], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes()[..], bytes].concat()
}

fn start_ok(vars: &Vars<'_>) -> Vec<u8> {
    let capability = [&short(b"authentication_failure_close")[..], b"t\x01"].concat();
    let properties =
        [&short(b"capabilities")[..], b"F", &long(&capability), &short(b"product"), b"S", &long(b"portreeve")].concat();
    let response = [b"\0", vars.account.as_bytes(), b"\0", vars.password.as_bytes()].concat();
    frame(10, 11, &[long(&properties), short(b"PLAIN"), long(&response), short(b"en_US")].concat())
}

/// Why the server closes: its code and its words.
fn close(arguments: &[u8]) -> Decision {
    let code = be::<2>(arguments, 0).unwrap_or_default();
    let text = arguments.get(3..3 + usize::from(arguments.get(2).copied().unwrap_or_default())).unwrap_or_default();
    let verdict = if code == 403 { Verdict::NotProved } else { Verdict::Inconclusive };
    Decision::new(verdict, NAME).because(format!("{} ({code})", tidy(&String::from_utf8_lossy(text), 80)))
}

impl Dialogue for SignIn {
    fn signs_in(&self) -> bool {
        true
    }

    fn turn(&self, vars: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn {
        let Some(&answer) = heard.last() else { return Turn::Say(b"AMQP\0\0\x09\x01".to_vec()) };
        let (called, arguments) = match method(answer) {
            Ok(Some(found)) => found,
            Ok(None) if !ended => return Turn::More,
            Ok(None) if answer.is_empty() => return Decision::inconclusive(NAME, "no answer").end(),
            _ => return Decision::new(Verdict::OtherService, NAME).because("no answer of AMQP's").end(),
        };
        match (heard.len(), called) {
            (_, CLOSE) => close(arguments).leaving(&frame(10, 51, &[])).end(),
            (1, START) => match arguments.windows(5).any(|w| w == b"PLAIN") {
                true => Turn::Say(start_ok(vars)),
                false => Decision::inconclusive(NAME, "does not take PLAIN").end(),
            },
            (2, TUNE) => {
                // What it proposes is what we take, without a heartbeat.
                let tune = frame(10, 31, &[arguments.get(..6).unwrap_or(&[0, 1, 0, 1, 0, 0]), &[0, 0]].concat());
                let open = frame(10, 40, &[short(b"/"), vec![0, 0]].concat());
                Turn::Say([tune, open].concat())
            }
            (3, OPEN_OK) => {
                Decision::new(Verdict::Proved, NAME).field("user", vars.account).field("vhost", "/").leaving(GOODBYE).end()
            }
            _ => Decision::inconclusive(NAME, "the answer proves neither").end(),
        }
    }
}
