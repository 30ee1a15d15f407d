//! The filter in the kernel that lets only possible answers through to us, so that a busy machine's other traffic costs the
//! scan nothing. Whether an answer is one is left to whoever knows the probes.

use crate::cookie::SourcePorts;
use socket2::SockFilter;

/// Longest part of a frame that is handed over; answers are short, and of a jumbo frame the start is enough.
pub(super) const LONGEST: u32 = 2_048;

/// A classic BPF program that passes ARP replies, TCP and UDP to our source ports, ICMP errors and echo replies, ICMPv6 errors,
/// echo replies and neighbour advertisements; nothing that we send ourselves, and nothing that belongs to a VLAN on top of
/// the interface, which is an interface of its own. Offsets count from the network header, so that it fits sockets with and
/// without link header.
pub(super) fn filter(ports: SourcePorts) -> Vec<SockFilter> {
    // From linux/filter.h and linux/bpf_common.h.
    const LD_W_ABS: u16 = 0x20;
    const LD_H_ABS: u16 = 0x28;
    const LD_B_ABS: u16 = 0x30;
    const LD_H_IND: u16 = 0x48;
    const LD_B_IND: u16 = 0x50;
    const LDX_B_MSH: u16 = 0xb1;
    const JEQ: u16 = 0x15;
    const JGT: u16 = 0x25;
    const JGE: u16 = 0x35;
    const JSET: u16 = 0x45;
    const RET: u16 = 0x06;
    const NET: u32 = -0x10_0000_i32 as u32;
    const PROTOCOL: u32 = -0x1000_i32 as u32;
    const PACKET_TYPE: u32 = PROTOCOL + 4;
    const VLAN_TAG: u32 = PROTOCOL + 44;
    const VLAN_TAGGED: u32 = PROTOCOL + 48;
    const OUTGOING: u32 = libc::PACKET_OUTGOING as u32;
    // (label, code, constant, next if true, next if false); the empty label is the next instruction.
    let program: Vec<(&str, u16, u32, &str, &str)> = vec![
        ("", LD_W_ABS, PACKET_TYPE, "", ""),
        ("", JEQ, OUTGOING, "drop", ""),
        ("", LD_W_ABS, VLAN_TAGGED, "", ""),
        ("", JEQ, 0, "untagged", ""),
        // A tag for VLAN 0 carries a priority and nothing else (IEEE 802.1Q).
        ("", LD_W_ABS, VLAN_TAG, "", ""),
        ("", JSET, 0x0fff, "drop", ""),
        ("untagged", LD_W_ABS, PROTOCOL, "", ""),
        ("", JEQ, libc::ETH_P_ARP as u32, "arp", ""),
        ("", JEQ, libc::ETH_P_IP as u32, "", "v6"),
        // Later fragments have neither ports nor types.
        ("", LD_H_ABS, NET + 6, "", ""),
        ("", JSET, 0x1fff, "drop", ""),
        ("", LDX_B_MSH, NET, "", ""),
        ("", LD_B_ABS, NET + 9, "", ""),
        ("", JEQ, libc::IPPROTO_ICMP as u32, "icmp", ""),
        ("", JEQ, libc::IPPROTO_TCP as u32, "ports4", ""),
        ("", JEQ, libc::IPPROTO_UDP as u32, "", "drop"),
        ("ports4", LD_H_IND, NET + 2, "", ""),
        ("", JGE, 0, "ports", "ports"),
        // Echo reply, unreachable, time exceeded, parameter problem.
        ("icmp", LD_B_IND, NET, "", ""),
        ("", JEQ, 0, "pass", ""),
        ("", JEQ, 3, "pass", ""),
        ("", JEQ, 11, "pass", ""),
        ("", JEQ, 12, "pass", "drop"),
        ("arp", LD_H_ABS, NET + 6, "", ""),
        ("", JEQ, 2, "pass", "drop"),
        ("v6", JEQ, libc::ETH_P_IPV6 as u32, "", "drop"),
        ("", LD_B_ABS, NET + 6, "", ""),
        ("", JEQ, libc::IPPROTO_ICMPV6 as u32, "icmp6", ""),
        ("", JEQ, libc::IPPROTO_TCP as u32, "ports6", ""),
        ("", JEQ, libc::IPPROTO_UDP as u32, "ports6", ""),
        // Answers behind extension headers are rare enough to be looked at here.
        ("", JEQ, libc::IPPROTO_HOPOPTS as u32, "pass", ""),
        ("", JEQ, libc::IPPROTO_ROUTING as u32, "pass", ""),
        ("", JEQ, libc::IPPROTO_FRAGMENT as u32, "pass", ""),
        ("", JEQ, libc::IPPROTO_DSTOPTS as u32, "pass", "drop"),
        // Errors are 1 to 4; echo reply, neighbour advertisement.
        ("icmp6", LD_B_ABS, NET + 40, "", ""),
        ("", JEQ, 129, "pass", ""),
        ("", JEQ, 136, "pass", ""),
        ("", JGT, 4, "drop", ""),
        ("", JEQ, 0, "drop", "pass"),
        ("ports6", LD_H_ABS, NET + 42, "", ""),
        ("ports", JGE, ports.first.into(), "", "drop"),
        ("", JGT, ports.last.into(), "drop", ""),
        ("pass", RET, LONGEST, "", ""),
        ("drop", RET, 0, "", ""),
    ];
    let jump = |from: usize, label: &str| match label {
        "" => 0,
        label => (program.iter().position(|(name, ..)| *name == label).expect("a label of the program") - from - 1) as u8,
    };
    let instruction = |(at, (_, code, k, yes, no)): (usize, &(&str, u16, u32, &str, &str))| {
        SockFilter::new(*code, jump(at, yes), jump(at, no), *k)
    };
    program.iter().enumerate().map(instruction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn the_filter_is_one_the_kernel_takes() {
        // Filters may be attached to any socket, so this needs no permission.
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.attach_filter(&filter(SourcePorts { first: 61_000, last: 65_095 })).unwrap();
    }
}
