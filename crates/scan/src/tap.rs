//! Looking on: every frame that left and every frame that came in past the filter, as it was on the wire, with its time. A
//! packet file for Wireshark and tcpdump, and one readable line for each frame. What frames mean for a scan is not looked at
//! here.

use packet::{Body, Flags, Frame, Framing, Packet, QuotedProbe, Unreachable, decode};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From us.
    Sent,
    /// To us.
    Received,
}

/// A frame that went by.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When: by the kernel's clock when it came in, by ours when it had left.
    pub at: SystemTime,
    /// Which way.
    pub direction: Direction,
    /// The index of the interface.
    pub interface: u32,
    /// What the frame begins with.
    pub framing: Framing,
    /// Its bytes.
    pub frame: &'a [u8],
}

/// Sees every frame. Called by the threads that send and receive, so whatever time it takes, the scan takes too.
pub trait Tap: Send + Sync {
    /// A frame that has left or come in.
    fn see(&self, seen: &Seen<'_>);
}

impl Tap for Vec<Arc<dyn Tap>> {
    fn see(&self, seen: &Seen<'_>) {
        self.iter().for_each(|tap| tap.see(seen));
    }
}

/// A tap, if there is one, on one interface.
#[derive(Clone)]
pub(crate) struct Tapped {
    pub interface: u32,
    pub framing: Framing,
    pub tap: Option<Arc<dyn Tap>>,
}

impl Tapped {
    /// Frames that have left just now.
    pub fn sent<'a>(&self, frames: impl Iterator<Item = &'a [u8]>) {
        if let Some(tap) = &self.tap {
            let at = SystemTime::now();
            frames.for_each(|frame| tap.see(&self.seen(at, Direction::Sent, frame)));
        }
    }

    /// A frame that came in.
    pub fn received(&self, at: SystemTime, frame: &[u8]) {
        if let Some(tap) = &self.tap {
            tap.see(&self.seen(at, Direction::Received, frame));
        }
    }

    fn seen<'a>(&self, at: SystemTime, direction: Direction, frame: &'a [u8]) -> Seen<'a> {
        Seen { at, direction, interface: self.interface, framing: self.framing, frame }
    }
}

/// A file of packets in the pcapng format (draft-ietf-opsawg-pcapng), one interface description for each interface, times in
/// nanoseconds, with the direction of every packet. pcapng rather than pcap because one file then holds Ethernet and bare
/// links; libpcap (tcpdump) reads it as long as all interfaces are of one kind, Wireshark always.
pub struct PcapFile {
    writing: Mutex<Writing>,
}

struct Writing {
    out: BufWriter<File>,
    /// The number in the file of each interface.
    interfaces: HashMap<(u32, Framing), u32>,
    frames: u64,
    /// The first error; nothing is written after it.
    failed: Option<io::Error>,
    block: Vec<u8>,
}

impl PcapFile {
    /// Creates the file or empties it.
    pub fn create(path: &Path) -> io::Result<PcapFile> {
        let mut writing = Writing {
            out: BufWriter::with_capacity(1 << 18, File::create(path)?),
            interfaces: HashMap::new(),
            frames: 0,
            failed: None,
            block: Vec::new(),
        };
        writing.section()?;
        Ok(PcapFile { writing: Mutex::new(writing) })
    }

    /// Writes out what is still in memory, and says how many frames the file holds or what went wrong on the way.
    pub fn finish(&self) -> io::Result<u64> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match writing.failed.take() {
            Some(e) => Err(e),
            None => writing.out.flush().map(|()| writing.frames),
        }
    }
}

impl Tap for PcapFile {
    fn see(&self, seen: &Seen<'_>) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.failed.is_none()
            && let Err(e) = writing.packet(seen)
        {
            writing.failed = Some(e);
        }
    }
}

impl Writing {
    fn section(&mut self) -> io::Result<()> {
        self.block.clear();
        // The byte order (that of this machine), version 1.0, length not known beforehand.
        self.block.extend_from_slice(&0x1a2b_3c4d_u32.to_ne_bytes());
        self.block.extend_from_slice(&1u16.to_ne_bytes());
        self.block.extend_from_slice(&0u16.to_ne_bytes());
        self.block.extend_from_slice(&u64::MAX.to_ne_bytes());
        self.option(4, b"portreeve");
        self.end_of_options();
        self.write_block(0x0a0d_0d0a)
    }

    fn interface(&mut self, interface: u32, framing: Framing) -> io::Result<u32> {
        if let Some(number) = self.interfaces.get(&(interface, framing)) {
            return Ok(*number);
        }
        let number = self.interfaces.len() as u32;
        self.interfaces.insert((interface, framing), number);
        self.block.clear();
        // LINKTYPE_ETHERNET and LINKTYPE_RAW; no limit of length.
        let link_type: u16 = if framing == Framing::Ethernet { 1 } else { 101 };
        self.block.extend_from_slice(&link_type.to_ne_bytes());
        self.block.extend_from_slice(&[0; 6]);
        self.option(2, format!("if{interface}").as_bytes());
        // Times in units of 10^-9 s.
        self.option(9, &[9]);
        self.end_of_options();
        self.write_block(1)?;
        Ok(number)
    }

    fn packet(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        let number = self.interface(seen.interface, seen.framing)?;
        let nanoseconds = seen.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        self.block.clear();
        let len = seen.frame.len() as u32;
        for word in [number, (nanoseconds >> 32) as u32, nanoseconds as u32, len, len] {
            self.block.extend_from_slice(&word.to_ne_bytes());
        }
        self.block.extend_from_slice(seen.frame);
        self.pad();
        let direction: u32 = if seen.direction == Direction::Received { 1 } else { 2 };
        self.option(2, &direction.to_ne_bytes());
        self.end_of_options();
        self.frames += 1;
        self.write_block(6)
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.block.extend_from_slice(&code.to_ne_bytes());
        self.block.extend_from_slice(&(value.len() as u16).to_ne_bytes());
        self.block.extend_from_slice(value);
        self.pad();
    }

    fn end_of_options(&mut self) {
        self.block.extend_from_slice(&[0; 4]);
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// Writes what was gathered as a block of that kind, its length before and behind.
    fn write_block(&mut self, kind: u32) -> io::Result<()> {
        let len = (self.block.len() as u32 + 12).to_ne_bytes();
        self.out.write_all(&kind.to_ne_bytes())?;
        self.out.write_all(&len)?;
        self.out.write_all(&self.block)?;
        self.out.write_all(&len)
    }
}

/// Writes one line for each frame that leaves, as [`line`] has it: what `--dry-run` shows.
pub struct Printer<W> {
    out: Mutex<W>,
}

impl<W: Write + Send> Printer<W> {
    /// Lines to `out`. Errors of writing are for whoever owns it: a closed pipe is no failure of a scan.
    pub fn new(out: W) -> Self {
        Printer { out: Mutex::new(out) }
    }
}

impl<W: Write + Send> Tap for Printer<W> {
    fn see(&self, seen: &Seen<'_>) {
        if seen.direction == Direction::Sent {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(out, "{}", line(seen.framing, seen.frame));
        }
    }
}

/// A frame in words: `192.0.2.1:61000 > 192.0.2.2:443 tcp syn seq 17 win 64240 mss 1460 …`. Whatever the bytes, it is one
/// line of printable characters.
pub fn line(framing: Framing, frame: &[u8]) -> String {
    match decode(frame, framing) {
        Some(Frame::Arp(arp)) if arp.is_reply => format!("arp {} is at {}", arp.sender_ip, arp.sender_mac),
        Some(Frame::Arp(arp)) => format!("arp who has {}, tell {} at {}", arp.target_ip, arp.sender_ip, arp.sender_mac),
        Some(Frame::Ip(packet)) => ip_line(&packet),
        None => format!("{} bytes that are not understood", frame.len()),
    }
}

fn ip_line(packet: &Packet<'_>) -> String {
    let (src, dst) = (packet.ip.src, packet.ip.dst);
    let with_ports = |from: u16, to: u16| format!("{} > {}", SocketAddr::new(src, from), SocketAddr::new(dst, to));
    match packet.body {
        Body::Tcp(tcp) => {
            let mut text = with_ports(tcp.src_port, tcp.dst_port);
            text += " tcp";
            for (flag, name) in [(Flags::SYN, " syn"), (Flags::FIN, " fin"), (Flags::RST, " rst"), (Flags::ACK, " ack")] {
                if tcp.flags.has(flag) {
                    text += name;
                }
            }
            // Writing to a string does not fail.
            let _ = write!(text, " seq {}", tcp.seq);
            if tcp.flags.has(Flags::ACK) {
                let _ = write!(text, " acks {}", tcp.ack);
            }
            let _ = write!(text, " win {}", tcp.window);
            let options = tcp.options;
            if let Some(mss) = options.mss {
                let _ = write!(text, " mss {mss}");
            }
            if options.sack_permitted {
                text += " sack";
            }
            if let Some((value, echo)) = options.timestamps {
                let _ = write!(text, " ts {value} {echo}");
            }
            if let Some(shift) = options.window_scale {
                let _ = write!(text, " wscale {shift}");
            }
            text
        }
        Body::Udp { udp, payload } => {
            format!("{} udp {} bytes{}", with_ports(udp.src_port, udp.dst_port), payload.len(), printable(payload))
        }
        Body::Echo { is_reply, id, seq, .. } => {
            format!("{src} > {dst} icmp echo {} id {id} seq {seq}", if is_reply { "reply" } else { "request" })
        }
        Body::Unreachable { code, quoted } => {
            let meaning = if src.is_ipv4() { Unreachable::from_v4(code) } else { Unreachable::from_v6(code) };
            let meaning = match meaning {
                Some(Unreachable::Prohibited) => "prohibited",
                Some(Unreachable::Host) => "host unreachable",
                Some(Unreachable::Port) => "port unreachable",
                None => "unreachable",
            };
            format!("{src} > {dst} icmp {meaning} (code {code}){}", quoted_line(quoted))
        }
        Body::NeighborSolicitation { target, .. } => format!("{src} > {dst} icmp6 who has {target}"),
        Body::NeighborAdvertisement { target, mac: Some(mac) } => format!("{src} > {dst} icmp6 {target} is at {mac}"),
        Body::NeighborAdvertisement { target, mac: None } => format!("{src} > {dst} icmp6 {target} is here"),
        Body::Other { protocol } => format!("{src} > {dst} protocol {protocol}"),
    }
}

fn quoted_line(packet: &[u8]) -> String {
    let Some(quoted) = packet::Quoted::parse(packet) else { return String::new() };
    let at = |ip: IpAddr, port: u16| SocketAddr::new(ip, port);
    match quoted.probe {
        QuotedProbe::Tcp { src_port, dst_port, seq } => {
            format!(" for {} > {} tcp seq {seq}", at(quoted.src, src_port), at(quoted.dst, dst_port))
        }
        QuotedProbe::Udp { src_port, dst_port, .. } => {
            format!(" for {} > {} udp", at(quoted.src, src_port), at(quoted.dst, dst_port))
        }
        QuotedProbe::Echo { id, seq } => format!(" for {} > {} icmp echo id {id} seq {seq}", quoted.src, quoted.dst),
    }
}

/// The start of a payload, what is not ASCII as dots.
fn printable(payload: &[u8]) -> String {
    if payload.is_empty() {
        return String::new();
    }
    let shown = |b: &u8| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' };
    format!(" \"{}\"", payload.iter().take(24).map(shown).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Arp, Ip, Mac, Udp, build};

    fn ip(src: &str, dst: &str) -> Ip {
        Ip { src: src.parse().unwrap(), dst: dst.parse().unwrap(), ttl: 64, id: 7 }
    }

    #[test]
    fn frames_read_as_lines() {
        let mut frame = Vec::new();
        let mut quoted = Vec::new();
        let v4 = ip("192.0.2.1", "192.0.2.2");
        let v6 = ip("2001:db8::1", "2001:db8::2");
        let bare = |frame: &Vec<u8>| line(Framing::Bare, frame);

        build::tcp(&mut frame, None, &v4, &build::syn(61_000, 443, 17, true));
        let ts = 17u32.rotate_left(16);
        let expected = format!("192.0.2.1:61000 > 192.0.2.2:443 tcp syn seq 17 win 64240 mss 1460 sack ts {ts} 0 wscale 7");
        assert_eq!(bare(&frame), expected);

        build::tcp(&mut frame, None, &v6, &build::ack(61_000, 80, 1, 2));
        assert_eq!(bare(&frame), "[2001:db8::1]:61000 > [2001:db8::2]:80 tcp ack seq 1 acks 2 win 1024");

        build::udp(&mut frame, None, &v4, &Udp { src_port: 61_000, dst_port: 53 }, b"\0hello\n");
        assert_eq!(bare(&frame), "192.0.2.1:61000 > 192.0.2.2:53 udp 7 bytes \".hello.\"");

        build::echo_request(&mut frame, None, &v4, 3, 4, b"data");
        assert_eq!(bare(&frame), "192.0.2.1 > 192.0.2.2 icmp echo request id 3 seq 4");

        build::tcp(&mut quoted, None, &v4, &build::syn(61_000, 443, 17, true));
        build::unreachable(&mut frame, None, &ip("192.0.2.9", "192.0.2.1"), 13, &quoted);
        let expected = "192.0.2.9 > 192.0.2.1 icmp prohibited (code 13) for 192.0.2.1:61000 > 192.0.2.2:443 tcp seq 17";
        assert_eq!(bare(&frame), expected);

        let arp = Arp {
            is_reply: false,
            sender_mac: Mac([2; 6]),
            sender_ip: "192.0.2.1".parse().unwrap(),
            target_mac: Mac::ZERO,
            target_ip: "192.0.2.2".parse().unwrap(),
        };
        build::arp(&mut frame, &arp);
        assert_eq!(line(Framing::Ethernet, &frame), "arp who has 192.0.2.2, tell 192.0.2.1 at 02:02:02:02:02:02");
        assert_eq!(line(Framing::Ethernet, b"\x1b[31m"), "5 bytes that are not understood");
    }

    #[test]
    fn a_printer_shows_what_leaves() {
        let out = Arc::new(Mutex::new(Vec::new()));
        struct To(Arc<Mutex<Vec<u8>>>);
        impl Write for To {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let tapped = Tapped { interface: 1, framing: Framing::Bare, tap: Some(Arc::new(Printer::new(To(out.clone())))) };
        let mut frame = Vec::new();
        build::echo_request(&mut frame, None, &ip("192.0.2.1", "192.0.2.2"), 3, 4, b"");
        tapped.sent([&frame[..]].into_iter());
        tapped.received(SystemTime::now(), &frame);
        let text = String::from_utf8(out.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "192.0.2.1 > 192.0.2.2 icmp echo request id 3 seq 4\n");
    }

    #[test]
    fn a_disk_that_is_full_is_said_at_the_end() {
        let Ok(file) = PcapFile::create(Path::new("/dev/full")) else { return };
        let frame = [0u8; 1_500];
        let seen =
            Seen { at: SystemTime::now(), direction: Direction::Sent, interface: 1, framing: Framing::Ethernet, frame: &frame };
        (0..1_000).for_each(|_| file.see(&seen));
        assert_eq!(file.finish().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    }
}
