//! Asking a UDP port by an ordinary socket: what processes without raw sockets may do, and what is right for addresses of this
//! machine. What is asked and how an answer is known is `udp`'s, how many sockets there are at a time `connect`'s.

use crate::ask::Said;
use crate::connect::classify_error;
use crate::link::errors::{self, IcmpError};
use crate::udp;
use model::udp::Payloads;
use packet::Unreachable;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Sends the n-th question that the port is asked, and says what came back; `None` for silence.
pub(crate) async fn ask_once(to: SocketAddr, attempt: u8, timeout: Duration) -> Option<Said> {
    let v4 = to.is_ipv4();
    let question = Payloads::builtin().for_try(to.port(), attempt);
    let any_port = question.is_some_and(|question| question.any_port);
    let (socket, our_port) = match begin(to, any_port) {
        Ok(begun) => begun,
        Err(e) => return classify_error(&e, v4),
    };
    let (id, mut bytes) = (rand::random(), Vec::new());
    udp::render(question, id, our_port, &mut bytes);
    let sent = if any_port { socket.send_to(&bytes, to).await } else { socket.send(&bytes).await };
    if let Err(e) = sent {
        return failed(&socket, &e, to.ip());
    }
    let until = Instant::now() + timeout;
    // What does not carry the id may be somebody's guess; what does may still come.
    let mut unsure = None;
    // An id stands within the first kilobyte of every answer; what is longer is cut off, so that thousands of sockets stay small.
    bytes.resize(2_048, 0);
    loop {
        match timeout_at(until, socket.recv_from(&mut bytes)).await {
            Err(_) => return unsure,
            Ok(Ok((_, from))) if from.ip() != to.ip() => {}
            Ok(Ok((len, _))) => match udp::said(question, id, our_port, &bytes[..len]) {
                Said::UdpResponse => return Some(Said::UdpResponse),
                said => unsure = Some(said),
            },
            Ok(Err(e)) => {
                if let Some(said) = failed(&socket, &e, to.ip()) {
                    return unsure.or(Some(said));
                }
                // An error that says nothing about the port: it is still being waited for.
            }
        }
    }
}

/// A socket that hears of errors, connected unless the answer comes from another port than was asked; and its port.
fn begin(to: SocketAddr, any_port: bool) -> io::Result<(UdpSocket, u16)> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    errors::keep(socket.as_fd(), to.is_ipv4())?;
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    socket.bind(&SocketAddr::new(any, 0).into())?;
    if !any_port {
        socket.connect(&to.into())?;
    }
    let socket = UdpSocket::from_std(socket.into())?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

/// What an error of the socket says: what ICMP said if it was that, else what the system said.
fn failed(socket: &UdpSocket, e: &io::Error, target: IpAddr) -> Option<Said> {
    match errors::next(socket.as_fd()) {
        Some(icmp) => classify_icmp(icmp, target),
        None => classify_error(e, target.is_ipv4()),
    }
}

/// What an ICMP error about a question to this target says; `None` when it says nothing about the port.
pub(crate) fn classify_icmp(icmp: IcmpError, target: IpAddr) -> Option<Said> {
    let by_target = icmp.from == target;
    Some(match icmp.cause? {
        Unreachable::Port => Said::PortUnreachable { by_target },
        Unreachable::Prohibited => Said::Prohibited { by_target },
        Unreachable::Host => Said::Unreachable { by_target },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_icmp_says_counts_by_who_says_it() {
        let (target, router): (IpAddr, IpAddr) = ("192.0.2.7".parse().unwrap(), "192.0.2.1".parse().unwrap());
        for (from, cause, said) in [
            (target, Some(Unreachable::Port), Some(Said::PortUnreachable { by_target: true })),
            (router, Some(Unreachable::Port), Some(Said::PortUnreachable { by_target: false })),
            (router, Some(Unreachable::Prohibited), Some(Said::Prohibited { by_target: false })),
            (target, Some(Unreachable::Host), Some(Said::Unreachable { by_target: true })),
            (router, None, None),
        ] {
            assert_eq!(classify_icmp(IcmpError { from, cause }, target), said, "{from} {cause:?}");
        }
    }
}
