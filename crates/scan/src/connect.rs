//! Asking by the operating system's `connect`: what processes without raw sockets may do, and what is right for addresses of
//! this machine. Each question is one socket for at most [`LONGEST`]; how many at once is bounded for the whole process.

use crate::ask::{Answer, Ask, Said, now};
use crate::datagram::{self, classify_icmp};
use crate::hear::Inbox;
use crate::link::errors::{self, IcmpError};
use model::InScope;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A try never waits longer: after a second the kernel sends the SYN again by itself (RFC 6298 section 2.1), a probe outside
/// our pace. A retry of ours takes its place.
pub(crate) const LONGEST: Duration = Duration::from_millis(950);

/// Sockets at once, over all sweeps of the process. At the default pace of 5,000 a second against a network that drops
/// everything, 4,750 wait for their timeout.
const MOST_SOCKETS: u64 = 8_192;

/// Asks by `connect`.
pub(crate) struct ConnectAsker {
    inbox: Arc<Inbox>,
    timeout: Duration,
    slots: Arc<Semaphore>,
    /// Cancels what is under way when the asker is dropped.
    stop: CancellationToken,
    _guard: DropGuard,
}

impl ConnectAsker {
    pub fn new(inbox: Arc<Inbox>, timeout: Duration) -> Self {
        let stop = CancellationToken::new();
        ConnectAsker { inbox, timeout: timeout.min(LONGEST), slots: slots(), _guard: stop.clone().drop_guard(), stop }
    }

    /// Begins to ask. [`io::ErrorKind::WouldBlock`] when all sockets are in use.
    pub fn send(&self, to: InScope<IpAddr>, ask: Ask, attempt: u8) -> io::Result<()> {
        let (Ask::Syn(port) | Ask::Udp(port)) = ask else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let (inbox, stop, timeout) = (self.inbox.clone(), self.stop.clone(), self.timeout);
        let to = SocketAddr::new(to.get(), port);
        tokio::spawn(async move {
            let asked = async {
                match ask {
                    Ask::Udp(_) => datagram::ask_once(to, attempt, timeout).await,
                    _ => ask_once(to, timeout).await,
                }
            };
            let said = tokio::select! {
                said = asked => said,
                () = stop.cancelled() => return,
            };
            drop(slot);
            if let Some(said) = said {
                // There are never more of these than sockets, so the inbox has room.
                inbox.put(Answer { ip: to.ip(), ask, said, at: now(), rtt: None, shape: (0, 0) });
                inbox.wake();
            }
        });
        Ok(())
    }
}

/// The slots for sockets of this process. Raises the soft limit on open files towards the hard one, as there is no other use
/// for the difference, and leaves half of it to everybody else.
fn slots() -> Arc<Semaphore> {
    static SLOTS: OnceLock<Arc<Semaphore>> = OnceLock::new();
    SLOTS
        .get_or_init(|| {
            let limit = getrlimit(Resource::Nofile);
            let wanted = limit.maximum.unwrap_or(u64::MAX).min(4 * MOST_SOCKETS);
            let mut current = limit.current.unwrap_or(u64::MAX);
            if current < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok() {
                current = wanted;
            }
            Arc::new(Semaphore::new((current / 2).clamp(8, MOST_SOCKETS) as usize))
        })
        .clone()
}

async fn ask_once(to: SocketAddr, timeout: Duration) -> Option<Said> {
    let v4 = to.is_ipv4();
    let stream = match begin(to) {
        Ok(stream) => stream,
        Err(e) => return classify_error(&e, v4),
    };
    let ended = tokio::time::timeout(timeout, stream.writable()).await;
    // The socket's error also holds what ICMP said without ending the attempt.
    match (stream.take_error(), ended) {
        (Ok(Some(e)) | Err(e), _) | (Ok(None), Ok(Err(e))) => classify_failure(errors::next(stream.as_fd()), &e, to.ip()),
        // Dropping the stream closes it with a FIN; whatever the server has to say is `services`' to hear.
        (Ok(None), Ok(Ok(()))) => Some(classify_connected(stream.local_addr().ok(), to)),
        (Ok(None), Err(_)) => None,
    }
}

/// What a failure says: ICMP's own word, and who said it, if it was that; else what the system made of it. A kernel that
/// keeps no errors for sockets on their way to being connected (before Linux 5.8) has only the latter.
fn classify_failure(icmp: Option<IcmpError>, e: &io::Error, target: IpAddr) -> Option<Said> {
    icmp.and_then(|icmp| classify_icmp(icmp, target)).or_else(|| classify_error(e, target.is_ipv4()))
}

/// A socket on its way to being connected. Registered with the runtime only after `connect`, so that it does not become
/// ready before there is a result.
fn begin(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    errors::keep(socket.as_fd(), to.is_ipv4())?;
    match socket.connect(&to.into()) {
        Err(e) if e.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(e),
        _ => TcpStream::from_std(socket.into()),
    }
}

/// A connection to oneself: when the kernel happens to choose the probed port of this machine as the source port, the socket
/// meets itself (simultaneous open, RFC 9293 section 3.5). It can choose it only because nobody listens there.
fn classify_connected(local: Option<SocketAddr>, to: SocketAddr) -> Said {
    if local == Some(to) { Said::Refused } else { Said::Connected }
}

/// What an error says; `None` for silence.
///
/// Linux turns ICMPv6 "prohibited" into EACCES, and all ICMPv4 "prohibited" codes into EHOSTUNREACH or ENETUNREACH
/// (net/ipv4/icmp.c), where EACCES means a broadcast address. EPERM is a firewall of this machine.
pub(crate) fn classify_error(e: &io::Error, v4: bool) -> Option<Said> {
    Some(match Errno::from_io_error(e)? {
        Errno::CONNREFUSED | Errno::CONNRESET => Said::Refused,
        Errno::HOSTUNREACH | Errno::NETUNREACH => Said::Unreachable { by_target: false },
        Errno::ACCESS if v4 => Said::Unreachable { by_target: false },
        Errno::ACCESS | Errno::PERM => Said::Prohibited { by_target: false },
        Errno::TIMEDOUT => return None,
        errno => {
            tracing::debug!(error = %errno, "a connection could not be tried");
            Said::CouldNotSend
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_connect_mean_what_the_network_said() {
        for (errno, v4, said) in [
            (Errno::CONNREFUSED, true, Some(Said::Refused)),
            (Errno::HOSTUNREACH, true, Some(Said::Unreachable { by_target: false })),
            (Errno::NETUNREACH, false, Some(Said::Unreachable { by_target: false })),
            (Errno::ACCESS, false, Some(Said::Prohibited { by_target: false })),
            (Errno::ACCESS, true, Some(Said::Unreachable { by_target: false })),
            (Errno::PERM, true, Some(Said::Prohibited { by_target: false })),
            (Errno::TIMEDOUT, true, None),
            // Ours to blame: nothing is known about the target.
            (Errno::MFILE, true, Some(Said::CouldNotSend)),
            (Errno::ADDRNOTAVAIL, true, Some(Said::CouldNotSend)),
            (Errno::NOBUFS, false, Some(Said::CouldNotSend)),
        ] {
            assert_eq!(classify_error(&errno.into(), v4), said, "{errno:?} v4={v4}");
        }
    }

    #[test]
    fn icmp_says_more_than_the_error_it_became() {
        use packet::Unreachable::{Host, Port, Prohibited};
        let (target, router): (IpAddr, IpAddr) = ("192.0.2.7".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let icmp = |from, cause| Some(IcmpError { from, cause });
        for (icmp, errno, said) in [
            (None, Errno::CONNREFUSED, Some(Said::Refused)),
            (icmp(target, Some(Port)), Errno::CONNREFUSED, Some(Said::PortUnreachable { by_target: true })),
            (icmp(router, Some(Port)), Errno::CONNREFUSED, Some(Said::PortUnreachable { by_target: false })),
            (icmp(router, Some(Prohibited)), Errno::HOSTUNREACH, Some(Said::Prohibited { by_target: false })),
            (icmp(target, Some(Prohibited)), Errno::HOSTUNREACH, Some(Said::Prohibited { by_target: true })),
            (icmp(router, Some(Host)), Errno::HOSTUNREACH, Some(Said::Unreachable { by_target: false })),
            // An ICMP message that says nothing about the port, such as a time to live that ran out.
            (icmp(router, None), Errno::HOSTUNREACH, Some(Said::Unreachable { by_target: false })),
            (icmp(router, None), Errno::TIMEDOUT, None),
        ] {
            assert_eq!(classify_failure(icmp, &errno.into(), target), said, "{icmp:?} {errno:?}");
        }
    }

    #[test]
    fn a_socket_that_met_itself_is_no_open_port() {
        let to: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        assert_eq!(classify_connected(Some(to), to), Said::Refused);
        assert_eq!(classify_connected(Some("127.0.0.1:40001".parse().unwrap()), to), Said::Connected);
    }
}
