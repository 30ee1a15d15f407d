//! What goes wrong between scanner and hosts, on demand: loss, policers, routers that refuse, hosts that answer seldom.
//!
//! Everything is real: rules of nftables in the namespaces. What portreeve should make of it is left to the tests.

use crate::capture::Capture;
use crate::host::Host;
use crate::lab::{Lab, v4, v6};
use crate::namespace::ip_batch;
use anyhow::Result;
use std::net::IpAddr;

/// What a router says instead of forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// ICMP "administratively prohibited".
    Prohibited,
    /// ICMP "host unreachable".
    HostUnreachable,
    /// ICMP "port unreachable", which only the host itself should say.
    PortUnreachable,
    /// A RST in the host's name.
    Rst,
}

impl Lab {
    /// Loses so many packets of a thousand, each way by itself, at random, from now on.
    pub fn lose(&self, per_mille: u32) -> Result<()> {
        // The border's own counters come earlier: they count what was sent, not what got through.
        self.border().nft(&format!(
            "table inet weather {{
  chain loss {{
    type filter hook forward priority 10; policy accept;
    iifname scan0 numgen random mod 1000 < {per_mille} drop
    oifname scan0 numgen random mod 1000 < {per_mille} drop
  }}
}}"
        ))?;
        Ok(())
    }

    /// Lets so many packets a second pass towards the hosts, and a burst of so many, from now on; the rest is swallowed.
    pub fn police(&self, per_second: u32, burst: u32) -> Result<()> {
        self.border().nft(&format!(
            "table inet weather {{
  chain policer {{
    type filter hook forward priority 5; policy accept;
    iifname scan0 limit rate over {per_second}/second burst {burst} packets counter drop
  }}
}}"
        ))?;
        Ok(())
    }

    /// Makes the border refuse TCP and UDP to the host, in both families, but for the TCP port `but`.
    pub fn refuse_at_border(&self, host: &Host, with: Refusal, but: u16) -> Result<()> {
        let (what, said) = match with {
            Refusal::Prohibited => ("meta l4proto { tcp, udp }", "icmpx type admin-prohibited"),
            Refusal::HostUnreachable => ("meta l4proto { tcp, udp }", "icmpx type host-unreachable"),
            Refusal::PortUnreachable => ("meta l4proto { tcp, udp }", "icmpx type port-unreachable"),
            Refusal::Rst => ("meta l4proto tcp", "tcp reset"),
        };
        self.border().nft(&format!(
            "table inet weather {{
  chain refuse {{
    type filter hook forward priority 0; policy accept;
    iifname scan0 ip daddr {v4} tcp dport != {but} {what} reject with {said}
    iifname scan0 ip6 daddr {v6} tcp dport != {but} {what} reject with {said}
    iifname scan0 ip daddr {v4} meta l4proto udp {what} reject with {said}
    iifname scan0 ip6 daddr {v6} meta l4proto udp {what} reject with {said}
  }}
}}",
            v4 = host.v4(),
            v6 = host.v6(),
        ))?;
        Ok(())
    }

    /// Makes the address of host `number`, which must not be there, one that never answers anything: not even the border says
    /// that nobody is there.
    pub fn deaden(&self, number: u8) -> Result<()> {
        // The border believes in a neighbour that nobody is.
        let lladdr = format!("02:00:00:00:de:{number:02x}");
        let lines = [IpAddr::from(v4(number)), IpAddr::from(v6(number))]
            .map(|ip| format!("neigh replace {ip} lladdr {lladdr} dev lan0 nud permanent\n"));
        ip_batch(Some(self.border()), &lines.concat())
    }

    /// Keeps what passes between the scanner and the border, both ways, before anything above befalls it on the way in and
    /// after it on the way back.
    pub fn capture(&self, filter: &str) -> Result<Capture> {
        Capture::start(self.border(), &self.fresh_dir("capture")?, "scan0", filter)
    }
}

impl Host {
    /// Makes the host send at most so many TCP segments with exactly these flags (in nftables' words, such as `rst | ack`) a
    /// second, from now on, both families together.
    fn limit(&self, flags: &str, per_second: u32, burst: u32) -> Result<()> {
        self.namespace().nft(&format!(
            "table inet weather {{
  chain answers {{
    type filter hook output priority 0; policy accept;
    oifname eth0 tcp flags & (syn | rst) == {flags} limit rate over {per_second}/second burst {burst} packets drop
  }}
}}"
        ))?;
        Ok(())
    }

    /// Makes the host refuse at most so many times a second: RSTs beyond that are swallowed.
    pub fn limit_refusals(&self, per_second: u32) -> Result<()> {
        self.limit("rst", per_second, 5)
    }

    /// Makes the host accept at most so many times a second: SYN-ACKs beyond that are swallowed.
    pub fn limit_accepts(&self, per_second: u32) -> Result<()> {
        self.limit("syn", per_second, 5)
    }

    /// Lets one silent listener, on port `listener`, accept for all of `ports`. To a scanner each of them is open.
    pub fn accept_on(&self, ports: &[u16], listener: u16) -> Result<()> {
        self.serve(crate::Server::Silent { port: listener })?;
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        self.namespace().nft(&format!(
            "table inet many {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    tcp dport {{ {} }} redirect to :{listener}
  }}
}}",
            ports.join(", ")
        ))?;
        Ok(())
    }

    /// Keeps what passes the host's own device, both ways.
    pub fn capture(&self, filter: &str) -> Result<Capture> {
        Capture::start(self.namespace(), &self.shared.fresh_dir("capture")?, "eth0", filter)
    }

    /// Its address of the family.
    pub fn ip(&self, v6: bool) -> IpAddr {
        if v6 { self.v6().into() } else { self.v4().into() }
    }
}
