//! A host of the lab: a namespace on the inside network with the manners of some kind of machine.

use crate::lab::{Open, Shared, v4, v6};
use crate::namespace::Namespace;
use crate::server::{self, Running, Server};
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// How a host answers on ports where nothing listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers ping; refuses with RST. An ordinary machine without a firewall.
    Refusing,
    /// Answers ping; says nothing on ports that are not served.
    Dropping,
    /// Says nothing at all but on ports that are served: looks dead.
    Dark,
    /// Answers ping; refuses with ICMP "administratively prohibited".
    Prohibiting,
    /// Answers ping; refuses with ICMP "port unreachable", as a firewall does that would pass for a host without one.
    PortUnreachable,
    /// Answers ping; refuses with ICMP "host unreachable".
    HostUnreachable,
    /// Accepts on every port: a firewall. Ports that are served are real, the rest says nothing.
    AcceptsAll,
    /// The kernel's SYN proxy answers for every port, and resets the connection afterwards where nothing is served.
    SynProxy,
}

/// A host on the inside network. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host {
    pub(crate) name: String,
    pub(crate) number: u8,
    pub(crate) kind: Kind,
    pub(crate) namespace: Namespace,
    pub(crate) shared: Arc<Shared>,
}

impl Host {
    /// Name given when the lab was described.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// How it answers.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// Its IPv4 address.
    pub fn v4(&self) -> Ipv4Addr {
        v4(self.number)
    }
    /// Its IPv6 address.
    pub fn v6(&self) -> Ipv6Addr {
        v6(self.number)
    }
    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Starts a real server on the host, waits until it accepts, and opens the host's firewall for it. It runs until it is
    /// stopped or the lab ends.
    pub fn serve(&self, server: Server) -> Result<Running> {
        let port = server.port();
        self.permit(port)?;
        let dir = self.shared.fresh_dir(&format!("{}-{}-{port}", self.name, server.word()))?;
        let alive =
            server::start(&server, &self.namespace, &dir).with_context(|| format!("{} on {}", server.word(), self.name))?;
        Ok(self.shared.add(self, server, dir, alive))
    }

    /// Lets TCP to the port through the host's firewall.
    pub fn permit(&self, port: u16) -> Result<()> {
        self.namespace.nft(&format!("add element inet lab open {{ {port} }}\nadd element inet lab shut {{ {port} }}\ndelete element inet lab shut {{ {port} }}"))?;
        Ok(())
    }

    /// Makes the host's firewall swallow TCP to the port, whatever listens there.
    pub fn forbid(&self, port: u16) -> Result<()> {
        self.namespace.nft(&format!("add element inet lab open {{ {port} }}\ndelete element inet lab open {{ {port} }}\nadd element inet lab shut {{ {port} }}"))?;
        Ok(())
    }

    /// What is open on this host now.
    pub fn truth(&self) -> Vec<Open> {
        self.shared.truth().into_iter().filter(|open| open.host == self.name).collect()
    }

    /// Sets up the firewall that the kind of host has.
    pub(crate) fn set_up(&self) -> Result<()> {
        let manners = match self.kind {
            Kind::Refusing | Kind::AcceptsAll => "",
            Kind::PortUnreachable => {
                "tcp dport @open accept\n    meta l4proto { tcp, udp } reject with icmpx type port-unreachable"
            }
            Kind::HostUnreachable => {
                "tcp dport @open accept\n    meta l4proto { tcp, udp } reject with icmpx type host-unreachable"
            }
            // A SYN comes here untracked, see below; with the ACK that proves its sender, the connection to the server begins.
            Kind::SynProxy => "meta l4proto tcp ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm",
            Kind::Dropping => "tcp dport @open accept\n    meta l4proto { tcp, udp } drop",
            // Everything but what IPv6 needs to find its neighbours: an echo is not the only ICMP request there is.
            Kind::Dark => {
                "tcp dport @open accept\n    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept\n    drop"
            }
            Kind::Prohibiting => "tcp dport @open accept\n    meta l4proto { tcp, udp } reject with icmpx type admin-prohibited",
        };
        self.namespace.nft(&format!(
            "table inet lab {{
  set open {{ type inet_service; }}
  set shut {{ type inet_service; }}
  chain input {{
    type filter hook input priority 0; policy accept;
    iifname lo accept
    tcp dport @shut drop
    {manners}
  }}
}}"
        ))?;
        if self.kind == Kind::AcceptsAll {
            self.namespace.nft(&format!(
                "table inet lab {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto tcp tcp dport != @open redirect to :{PITFALL_PORT}
  }}
}}"
            ))?;
        }
        if self.kind == Kind::SynProxy {
            self.namespace.nft(
                "table inet lab {
  chain untracked {
    type filter hook prerouting priority raw; policy accept;
    iifname eth0 tcp flags & (syn | ack) == syn notrack
  }
}",
            )?;
            // What is no part of a known connection must be invalid, or the proxy would not see the ACK (nft(8), SYNPROXY).
            self.namespace.sysctl(&[("net/netfilter/nf_conntrack_tcp_loose", "0")]);
        }
        Ok(())
    }
}

/// Port of the listener to which an [`Kind::AcceptsAll`] host redirects every other.
pub(crate) const PITFALL_PORT: u16 = 9;
