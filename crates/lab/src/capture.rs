//! What really passed a device, kept by tcpdump: the witness against whom timing, scope and completeness are checked.
//!
//! It reads just enough of each frame to say who sent what to whom, by code of its own: a test of portreeve's parsers by
//! portreeve's parsers would prove little. What the frames should have been is left to the tests.

use crate::namespace::Namespace;
use crate::proc::Proc;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// One frame that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When, in microseconds since 1970, by the kernel's clock.
    pub at_us: u64,
    /// Tag of the outermost VLAN, if it was tagged.
    pub vlan: Option<u16>,
    /// Sender; of an ARP packet the sender's protocol address.
    pub src: IpAddr,
    /// Receiver; of an ARP packet the address asked for.
    pub dst: IpAddr,
    /// What it carried.
    pub carries: Carries,
}

/// What a frame carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// ARP.
    Arp {
        /// A question rather than an answer.
        asks: bool,
    },
    /// TCP.
    Tcp {
        /// Sender's port.
        src_port: u16,
        /// Receiver's port.
        dst_port: u16,
        /// Sequence number.
        seq: u32,
        /// Acknowledgment number.
        ack: u32,
        /// Flags as the 14th byte has them.
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Sender's port.
        src_port: u16,
        /// Receiver's port.
        dst_port: u16,
    },
    /// A neighbour solicitation or advertisement.
    Neighbor {
        /// A question rather than an answer.
        asks: bool,
        /// The address it is about.
        target: Ipv6Addr,
    },
    /// Any other ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Something else, by its protocol number.
    Other(u8),
}

impl Seen {
    /// The port probed, if this is a TCP SYN that opens something.
    pub fn syn_to(&self) -> Option<u16> {
        match self.carries {
            Carries::Tcp { dst_port, flags, .. } if flags & 0x17 == 0x02 => Some(dst_port),
            _ => None,
        }
    }
    /// The port that refuses, if this is a TCP RST.
    pub fn rst_from(&self) -> Option<u16> {
        match self.carries {
            Carries::Tcp { src_port, flags, .. } if flags & 0x04 != 0 => Some(src_port),
            _ => None,
        }
    }
    /// The port that accepts, if this is a TCP SYN-ACK.
    pub fn syn_ack_from(&self) -> Option<u16> {
        match self.carries {
            Carries::Tcp { src_port, flags, .. } if flags & 0x17 == 0x12 => Some(src_port),
            _ => None,
        }
    }
}

/// A running tcpdump. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    proc: Proc,
    file: PathBuf,
    log: PathBuf,
}

impl Capture {
    /// Starts to keep what passes the device, both ways, as far as the filter (in tcpdump's words) lets it through. `dir` is
    /// for its files.
    pub fn start(namespace: &Namespace, dir: &Path, device: &str, filter: &str) -> Result<Capture> {
        let (file, log) = (dir.join("pcap"), dir.join("log"));
        let mut command = Command::new("tcpdump");
        // 192 bytes hold every header we read; 64 MiB of buffer so that a busy machine loses nothing; root stays root, as the
        // user tcpdump may not write into the lab's directory.
        command.args(["-i", device, "-nn", "-s", "192", "-B", "65536", "--immediate-mode", "-U", "-Z", "root", "-w"]);
        command.arg(&file).arg(filter);
        let mut proc = Proc::start("tcpdump", Some(namespace), &mut command, &log)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("listening on") {
            ensure!(proc.ended().is_none() && Instant::now() < deadline, "tcpdump does not listen\n{}", proc.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Capture { proc, file, log })
    }

    /// Ends it and gives every frame, in order. Fails when one was lost: a witness with gaps proves nothing.
    pub fn stop(mut self) -> Result<Vec<Seen>> {
        // What passed has reached the buffer; tcpdump needs a moment to write it out.
        let len = || std::fs::metadata(&self.file).map_or(0, |m| m.len());
        let (mut last, mut quiet) = (len(), 0);
        while quiet < 10 {
            std::thread::sleep(Duration::from_millis(20));
            let now = len();
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
        self.proc.stop_by(Signal::INT);
        let log = std::fs::read_to_string(&self.log)?;
        let count = |what: &str| -> Result<u64> {
            let line =
                log.lines().find(|l| l.contains(what)).with_context(|| format!("tcpdump does not say `{what}`:\n{log}"))?;
            Ok(line.split(' ').next().unwrap_or_default().parse()?)
        };
        ensure!(count("dropped by kernel")? == 0, "tcpdump lost frames:\n{log}");
        ensure!(count("captured")? == count("received by filter")?, "tcpdump ended too early:\n{log}");
        read_pcap(&std::fs::read(&self.file)?)
    }
}

/// Reads a file that tcpdump or portreeve wrote: microseconds, of this machine's byte order, Ethernet.
pub fn read_pcap(bytes: &[u8]) -> Result<Vec<Seen>> {
    let word = |at: usize| -> Result<u32> {
        let four = bytes.get(at..at + 4).context("the capture ends early")?;
        Ok(u32::from_ne_bytes(four.try_into()?))
    };
    let nanoseconds = match word(0)? {
        0xa1b2_c3d4 => false,
        0xa1b2_3c4d => true,
        other => bail!("{other:#x} begins no capture file of this machine"),
    };
    ensure!(word(20)? == 1, "the capture is not of Ethernet but of link type {}", word(20)?);
    let mut seen = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let fraction = u64::from(word(at + 4)?) / if nanoseconds { 1_000 } else { 1 };
        let at_us = u64::from(word(at)?) * 1_000_000 + fraction;
        let len = word(at + 8)? as usize;
        let frame = bytes.get(at + 16..at + 16 + len).context("the capture ends in a frame")?;
        seen.extend(read_frame(at_us, frame));
        at += 16 + len;
    }
    Ok(seen)
}

fn read_frame(at_us: u64, frame: &[u8]) -> Option<Seen> {
    let be16 = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let be32 = |at: usize| Some(u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    let v4 = |at: usize| Some(IpAddr::from(Ipv4Addr::from(be32(at)?)));
    let v6 = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?));
    let (mut vlan, mut l3) = (None, 14);
    let mut ethertype = be16(12)?;
    while matches!(ethertype, 0x8100 | 0x88a8) {
        vlan = vlan.or(Some(be16(l3)? & 0xfff));
        ethertype = be16(l3 + 2)?;
        l3 += 4;
    }
    let (src, dst, protocol, l4) = match ethertype {
        0x0806 => {
            let carries = Carries::Arp { asks: be16(l3 + 6)? == 1 };
            return Some(Seen { at_us, vlan, src: v4(l3 + 14)?, dst: v4(l3 + 24)?, carries });
        }
        0x0800 => (v4(l3 + 12)?, v4(l3 + 16)?, *frame.get(l3 + 9)?, l3 + usize::from(frame.get(l3)? & 0x0f) * 4),
        0x86dd => (v6(l3 + 8)?.into(), v6(l3 + 24)?.into(), *frame.get(l3 + 6)?, l3 + 40),
        _ => return None,
    };
    let carries = match protocol {
        6 => Carries::Tcp {
            src_port: be16(l4)?,
            dst_port: be16(l4 + 2)?,
            seq: be32(l4 + 4)?,
            ack: be32(l4 + 8)?,
            flags: *frame.get(l4 + 13)?,
        },
        17 => Carries::Udp { src_port: be16(l4)?, dst_port: be16(l4 + 2)? },
        58 if matches!(frame.get(l4)?, 135 | 136) => Carries::Neighbor { asks: *frame.get(l4)? == 135, target: v6(l4 + 8)? },
        1 | 58 => Carries::Icmp { kind: *frame.get(l4)?, code: *frame.get(l4 + 1)? },
        other => Carries::Other(other),
    };
    Some(Seen { at_us, vlan, src, dst, carries })
}
