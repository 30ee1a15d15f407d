//! What a probe asks, what came back, and what that means for a port or a host: the deciding half, without a socket.

use model::{Endpoint, Proto, Reason, State, Ts};
use std::net::IpAddr;

/// One question to one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    /// Does this TCP port accept? A SYN, or a whole `connect`.
    Syn(u16),
    /// Does this UDP port answer? A datagram with what its protocol understands.
    Udp(u16),
    /// Is anybody there? An ACK out of nowhere, which filters without state let pass.
    Ack(u16),
    /// Is anybody there? An ICMP echo request.
    Echo,
    /// Is anybody there on this link? ARP, or a neighbour solicitation.
    Neighbor,
}

impl Ask {
    /// Whether the port of an endpoint is open.
    pub fn of(endpoint: &Endpoint) -> Self {
        match endpoint.proto {
            Proto::Tcp => Ask::Syn(endpoint.port),
            Proto::Udp => Ask::Udp(endpoint.port),
        }
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    SynAck,
    Connected,
    Rst,
    Refused,
    EchoReply,
    Neighbor,
    /// ICMP; `by_target` when the host itself said so rather than something on the way.
    Prohibited {
        by_target: bool,
    },
    Unreachable {
        by_target: bool,
    },
    PortUnreachable {
        by_target: bool,
    },
    /// A UDP answer with our id in it.
    UdpResponse,
    /// A UDP answer without an id, to this port of ours; it may be a guess.
    UdpUnsure {
        to_port: u16,
    },
    /// Not an answer: the probe could not leave, so nothing is known.
    CouldNotSend,
}

/// A validated answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub ip: IpAddr,
    pub ask: Ask,
    pub said: Said,
    pub at: Ts,
    /// How long it took, in [`crate::hosts::TICK`]s; `None` where the answer does not tell.
    pub rtt: Option<u8>,
    /// Window and time to live of a SYN-ACK.
    pub shape: (u16, u8),
}

impl Answer {
    /// A probe could not leave.
    pub fn could_not_send(ip: IpAddr, ask: Ask) -> Self {
        Answer { ip, ask, said: Said::CouldNotSend, at: now(), rtt: None, shape: (0, 0) }
    }
}

impl Said {
    /// What the answer to a SYN says about the port; `None` when it says nothing.
    ///
    /// A port unreachable from the host itself is its own refusal; from anybody else it is a filter that imitates one.
    pub fn port_state(self) -> Option<(State, Reason)> {
        Some(match self {
            Said::SynAck => (State::Open, Reason::SynAck),
            Said::Connected => (State::Open, Reason::Connected),
            Said::Rst => (State::Closed, Reason::Rst),
            Said::Refused => (State::Closed, Reason::ConnectionRefused),
            Said::PortUnreachable { by_target: true } => (State::Closed, Reason::IcmpPortUnreachable),
            Said::PortUnreachable { by_target: false } => (State::Filtered, Reason::IcmpPortUnreachable),
            Said::Prohibited { .. } => (State::Filtered, Reason::IcmpProhibited),
            Said::Unreachable { .. } => (State::Filtered, Reason::IcmpUnreachable),
            Said::UdpResponse => (State::Open, Reason::UdpResponse),
            Said::UdpUnsure { .. } | Said::EchoReply | Said::Neighbor | Said::CouldNotSend => return None,
        })
    }

    /// The reason to believe that the host is up; `None` when the answer does not come from the host.
    pub fn proves_alive(self) -> Option<Reason> {
        Some(match self {
            Said::SynAck => Reason::SynAck,
            Said::Connected => Reason::Connected,
            Said::Rst => Reason::Rst,
            Said::Refused => Reason::ConnectionRefused,
            Said::EchoReply => Reason::EchoReply,
            Said::Neighbor => Reason::ArpReply,
            Said::PortUnreachable { by_target: true } => Reason::IcmpPortUnreachable,
            Said::Prohibited { by_target: true } => Reason::IcmpProhibited,
            Said::UdpResponse => Reason::UdpResponse,
            Said::Prohibited { .. }
            | Said::Unreachable { .. }
            | Said::PortUnreachable { .. }
            | Said::UdpUnsure { .. }
            | Said::CouldNotSend => return None,
        })
    }
}

/// Now, to the millisecond.
pub(crate) fn now() -> Ts {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ts(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_states_and_life() {
        use Reason as R;
        use State::*;
        for (said, state, alive) in [
            (Said::SynAck, Some((Open, R::SynAck)), Some(R::SynAck)),
            (Said::Rst, Some((Closed, R::Rst)), Some(R::Rst)),
            (Said::Connected, Some((Open, R::Connected)), Some(R::Connected)),
            (Said::Refused, Some((Closed, R::ConnectionRefused)), Some(R::ConnectionRefused)),
            (Said::Prohibited { by_target: false }, Some((Filtered, R::IcmpProhibited)), None),
            (Said::Prohibited { by_target: true }, Some((Filtered, R::IcmpProhibited)), Some(R::IcmpProhibited)),
            (Said::Unreachable { by_target: false }, Some((Filtered, R::IcmpUnreachable)), None),
            (Said::PortUnreachable { by_target: true }, Some((Closed, R::IcmpPortUnreachable)), Some(R::IcmpPortUnreachable)),
            (Said::PortUnreachable { by_target: false }, Some((Filtered, R::IcmpPortUnreachable)), None),
            (Said::EchoReply, None, Some(R::EchoReply)),
            (Said::Neighbor, None, Some(R::ArpReply)),
            (Said::UdpResponse, Some((Open, R::UdpResponse)), Some(R::UdpResponse)),
            // One answer that anybody may have guessed proves nothing.
            (Said::UdpUnsure { to_port: 61_000 }, None, None),
            (Said::CouldNotSend, None, None),
        ] {
            assert_eq!((said.port_state(), said.proves_alive()), (state, alive), "{said:?}");
        }
    }
}
