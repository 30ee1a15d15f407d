//! Which method this process may use, and why, in one line. Opening the sockets that carry probes is the link's.

use crate::api::Method;
use socket2::{Domain, Protocol, Socket, Type};

/// The method that [`Method::Auto`] means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodChoice {
    /// [`Method::Syn`] or [`Method::Connect`].
    pub method: Method,
    /// Why, in one line; where the operator can change it, a second line begins with `hint:`.
    pub note: String,
}

/// Tries to open a raw socket, and says which method follows from that.
pub fn capability() -> MethodChoice {
    match try_raw() {
        Ok(()) => MethodChoice { method: Method::Syn, note: "raw sockets: permitted; using syn".into() },
        Err(e) => MethodChoice { method: Method::Connect, note: why_connect(&e) },
    }
}

pub(crate) fn try_raw() -> std::io::Result<()> {
    // Protocol 0 receives nothing, so the trial has no effect on anybody.
    Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).map(drop)
}

fn why_connect(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::PermissionDenied => "raw sockets: no permission (CAP_NET_RAW); using connect\n\
             hint: run as root, or `setcap cap_net_raw+ep` the portreeve binary"
            .into(),
        _ => format!("raw sockets: {e}; using connect"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_permission_is_said_with_its_remedy() {
        let note = why_connect(&std::io::Error::from_raw_os_error(1));
        assert!(note.starts_with("raw sockets: no permission (CAP_NET_RAW); using connect\nhint:"), "{note}");
        assert_eq!(note.lines().count(), 2);
    }
}
