//! Other scanners' words for states, reasons and services, in ours.
//!
//! A word that has no counterpart is said to have none; nothing is guessed. What the words lead to is left to `assess`.

use super::MAX_TEXT;
use model::{Proto, Reason, State};

/// The state; `None` for what says neither open nor not (`unfiltered`, `closed|filtered`).
pub(super) fn state(word: &str) -> Option<State> {
    word.parse().ok()
}

/// The protocol; `None` for SCTP and IP protocol scans.
pub(super) fn proto(word: &str) -> Option<Proto> {
    word.parse().ok()
}

/// The reason. nmap uses the plural where many ports share one.
pub(super) fn reason(word: &str) -> Reason {
    let one = match word {
        "port-unreaches" | "host-unreaches" | "net-unreaches" | "proto-unreaches" => &word[..word.len() - 2],
        "echo-replies" => "echo-reply",
        "syn-acks" | "resets" | "no-responses" | "udp-responses" | "arp-responses" | "nd-responses" | "admin-prohibiteds"
        | "host-prohibiteds" | "net-prohibiteds" | "time-exceededs" | "ttl-exceededs" => &word[..word.len() - 1],
        _ => word,
    };
    match one {
        "syn-ack" | "split-handshake-syn" => Reason::SynAck,
        "conn-accept" => Reason::Connected,
        "reset" | "rst" | "rst-ack" => Reason::Rst,
        "conn-refused" => Reason::ConnectionRefused,
        "no-response" => Reason::Timeout,
        "port-unreach" => Reason::IcmpPortUnreachable,
        "admin-prohibited" | "host-prohibited" | "net-prohibited" => Reason::IcmpProhibited,
        "host-unreach" | "net-unreach" | "proto-unreach" | "dest-unreach" | "time-exceeded" | "ttl-exceeded" => {
            Reason::IcmpUnreachable
        }
        "echo-reply" => Reason::EchoReply,
        "arp-response" | "nd-response" => Reason::ArpReply,
        "udp-response" => Reason::UdpResponse,
        "localhost-response" | "user-set" => Reason::Assumed,
        _ => Reason::Reported,
    }
}

/// The name of a service as we write it. Only synonyms of one protocol are here.
pub(super) fn service(name: &str) -> String {
    let ours = match name {
        "ms-wbt-server" => "rdp",
        "microsoft-ds" | "netbios-ssn" => "smb",
        "http-proxy" | "http-alt" | "https" | "https-alt" => "http",
        "imaps" | "imap4" => "imap",
        "pop3s" => "pop3",
        "smtps" => "smtp",
        "ldaps" => "ldap",
        "ftps" => "ftp",
        "telnets" => "telnet",
        "mongod" => "mongodb",
        "memcache" => "memcached",
        "ssl" | "tls" => "tls",
        other => other,
    };
    clip(&ours.to_ascii_lowercase())
}

/// At most [`MAX_TEXT`] characters, none of them a control character.
pub(super) fn clip(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

/// [`clip`], and `None` when nothing is left.
pub(super) fn some(text: &str) -> Option<String> {
    Some(clip(text)).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_without_a_counterpart_is_not_guessed() {
        for (word, expected) in [
            ("syn-ack", Reason::SynAck),
            ("resets", Reason::Rst),
            ("rst-ack", Reason::Rst),
            ("no-responses", Reason::Timeout),
            ("admin-prohibiteds", Reason::IcmpProhibited),
            ("port-unreaches", Reason::IcmpPortUnreachable),
            ("nd-response", Reason::ArpReply),
            ("tcp-response", Reason::Reported),
            ("", Reason::Reported),
            ("s", Reason::Reported),
        ] {
            assert_eq!(reason(word), expected, "{word}");
        }
        assert_eq!(state("unfiltered"), None);
        assert_eq!(state("closed|filtered"), None);
        assert_eq!(state("open|filtered"), Some(State::OpenFiltered));
        assert_eq!(proto("sctp"), None);
    }
}
