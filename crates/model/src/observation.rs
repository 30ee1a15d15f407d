//! What a probe saw: the state of an endpoint or of a host, with the evidence for it. What it means over time is `assess`'s.

use crate::id::Vantage;
use crate::port::Endpoint;
use crate::time::Ts;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// Declares an enum whose variants have one spelling everywhere: code, SQL, API, logs.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),*
        }

        impl $name {
            /// Every variant, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The one spelling used in SQL, API, logs and files.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                match s {
                    $($word => Ok($name::$variant),)*
                    _ => Err(format!(concat!("`{}` is not a ", $what, ": one of {}"), s, [$($word),*].join(", "))),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// The state of a port as one probe saw it. nmap's words.
    State: "port state" {
        /// Something accepted.
        Open = "open",
        /// The host refused.
        Closed = "closed",
        /// Nothing came back, or a device on the way forbade it.
        Filtered = "filtered",
        /// Silence that means either (UDP).
        OpenFiltered = "open|filtered",
    }
}

words! {
    /// The evidence for a state.
    Reason: "reason" {
        /// TCP SYN-ACK.
        SynAck = "syn-ack",
        /// A full TCP handshake by the operating system.
        Connected = "connected",
        /// TCP RST.
        Rst = "rst",
        /// The operating system reported a refused connection (a RST, seen through `connect`).
        ConnectionRefused = "conn-refused",
        /// No answer to any try.
        Timeout = "timeout",
        /// ICMP type 3 code 9, 10 or 13; ICMPv6 type 1 code 1 or 5: a device forbade it.
        IcmpProhibited = "icmp-prohibited",
        /// ICMP host or network unreachable.
        IcmpUnreachable = "icmp-unreachable",
        /// ICMP port unreachable.
        IcmpPortUnreachable = "icmp-port-unreachable",
        /// ICMP echo reply.
        EchoReply = "echo-reply",
        /// ARP or neighbour advertisement.
        ArpReply = "arp-reply",
        /// A UDP payload came back.
        UdpResponse = "udp-response",
        /// Taken as up without asking (`--no-ping`, or a loopback address).
        Assumed = "assumed",
        /// We had it closed ourselves.
        OwnOrder = "own-order",
        /// Another scanner said so, without a reason or with one that has no word here.
        Reported = "reported",
    }
}

/// One answer, or its absence, from one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// What was probed.
    pub endpoint: Endpoint,
    /// What was seen.
    pub state: State,
    /// Why we say so.
    pub reason: Reason,
    /// When the answer came, or when the last try timed out.
    pub observed_at: Ts,
}

words! {
    /// Whether a host answers at all.
    Liveness: "liveness" {
        /// Something answered.
        Online = "online",
        /// Nothing answered any kind of probe.
        Offline = "offline",
    }
}

/// One host's liveness as one round of probes saw it (labels IP_ONLINE and IP_OFFLINE).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostObservation {
    /// The host.
    pub ip: IpAddr,
    /// Up or down.
    pub liveness: Liveness,
    /// Evidence.
    pub reason: Reason,
    /// When.
    pub observed_at: Ts,
}

/// An endpoint as seen from one place; the key of all port state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeenFrom {
    /// The door.
    pub endpoint: Endpoint,
    /// The place.
    pub vantage: Vantage,
}

impl fmt::Display for SeenFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.endpoint, self.vantage)
    }
}

impl State {
    /// Whether this state says the endpoint was probed and is not open.
    pub fn is_not_open(self) -> bool {
        matches!(self, State::Closed | State::Filtered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn words_have_one_spelling() {
        for &state in State::ALL {
            assert_eq!(state.as_str().parse::<State>().unwrap(), state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        let err = "opne".parse::<State>().unwrap_err();
        assert_eq!(err, "`opne` is not a port state: one of open, closed, filtered, open|filtered");
        assert!(Reason::from_str("syn-ack").is_ok());
    }
}
