"""Answers the SYNs that arrive at a host of the lab with frames of its own making, true ones and forged ones.

forger.py DEVICE REPLAY: the port probed says how (see ANSWERS). The host's kernel must keep quiet. Prints "ready" when it listens.
Once the file REPLAY is there, answers held back until then are sent whenever port 14 is probed.
"""
import os, socket, struct, sys, threading, time

device, replay = sys.argv[1:]
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
link.bind((device, 0))

SYN, RST, ACK = 0x02, 0x04, 0x10


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Probe:
    """A SYN: who sent it to whom, and what its headers say."""

    def __init__(self, frame):
        self.dst_mac, self.src_mac, kind = frame[:6], frame[6:12], struct.unpack("!H", frame[12:14])[0]
        self.v6 = kind == 0x86DD
        if kind == 0x0800 and frame[23] == 6:
            self.ip = frame[14 : 14 + (frame[14] & 15) * 4]
            self.src, self.dst = frame[26:30], frame[30:34]
        elif self.v6 and frame[20] == 6:
            self.ip = frame[14:54]
            self.src, self.dst = frame[22:38], frame[38:54]
        else:
            raise ValueError("no TCP")
        self.tcp = frame[14 + len(self.ip) :]
        self.sport, self.dport, self.seq, _, _, flags = struct.unpack("!HHIIBB", self.tcp[:14])
        if flags & 0x17 != SYN:
            raise ValueError("no SYN")

    def packet(self, protocol, body, sums_at, src=None):
        """A whole frame back to the prober, its checksum filled in at sums_at."""
        src = src or self.dst
        pseudo = src + self.src + struct.pack("!I3xB" if self.v6 else "!HxB", len(body), protocol)
        if not self.v6:
            pseudo = src + self.src + struct.pack("!BBH", 0, protocol, len(body))
        total = checksum((b"" if protocol == 1 else pseudo) + body)
        body = body[:sums_at] + struct.pack("!H", total) + body[sums_at + 2 :]
        if self.v6:
            head = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + src + self.src
            kind = 0x86DD
        else:
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0) + src + self.src
            head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
            kind = 0x0800
        return self.src_mac + self.dst_mac + struct.pack("!H", kind) + head + body

    def segment(self, flags, ack, sport=None, dport=None, seq=7, src=None):
        body = struct.pack("!HHIIBBHHH", sport or self.dport, dport or self.sport, seq, ack & 0xFFFFFFFF, 0x50, flags, 1000, 0, 0)
        return self.packet(6, body, 16, src)

    def error(self, code, quoted, src=None):
        kind, protocol = (1, 58) if self.v6 else (3, 1)
        return self.packet(protocol, struct.pack("!BBHI", kind, code, 0, 0) + quoted, 2, src)

    def quote(self, seq=None, dport=None, sport=None):
        head = struct.pack("!HHI", sport or self.sport, dport or self.dport, self.seq if seq is None else seq)
        return self.ip + head + self.tcp[8:20]

    def neighbour(self, by=1):
        """Another address of the same network."""
        return self.dst[:-1] + bytes([self.dst[-1] ^ by])


def send(*frames):
    for frame in frames:
        link.send(frame)


def later(seconds, *frames):
    threading.Timer(seconds, send, frames).start()


def true_answer(p):
    return p.segment(SYN | ACK, p.seq + 1)


held = []
prohibited = lambda p: 1 if p.v6 else 13

ANSWERS = {
    # Lies: whatever they say, nothing is known of the port.
    1: lambda p: send(p.segment(SYN | ACK, p.seq), p.segment(SYN | ACK, p.seq + 2), p.segment(SYN | ACK, 0)),
    2: lambda p: send(p.segment(SYN | ACK, int.from_bytes(os.urandom(4), "big") | 1)),
    3: lambda p: send(p.segment(SYN | ACK, p.seq + 1, dport=p.sport ^ 1), p.segment(SYN | ACK, p.seq + 1, dport=40000)),
    4: lambda p: send(p.segment(SYN | ACK, p.seq + 1, src=p.neighbour())),
    5: lambda p: send(p.segment(RST | ACK, p.seq), p.segment(RST | ACK, 0), p.segment(RST, p.seq + 1)),
    6: lambda p: send(p.error(3 if not p.v6 else 4, p.quote(seq=p.seq ^ 1)), p.error(prohibited(p), p.quote(seq=0))),
    7: lambda p: send(p.error(prohibited(p), p.quote(sport=p.sport ^ 1))),
    8: lambda p: send(p.error(prohibited(p), p.quote()[: len(p.ip) + 7]), p.error(prohibited(p), b"")),
    9: lambda p: send(true_answer(p)[:-8], true_answer(p)[:20], b"\xff" * 60, os.urandom(90)),
    10: lambda p: send(p.segment(ACK, p.seq + 1), p.segment(SYN, p.seq + 1), p.segment(0x3B, p.seq + 1)),
    # For the port beside it: port 12 never answers, and its neighbour's answers must not count for it.
    11: lambda p: send(p.segment(SYN | ACK, p.seq + 1, sport=12)),
    12: lambda p: None,
    # Answers to somebody who is no longer there: held back until another sweep asks.
    13: lambda p: None if os.path.exists(replay) else held.append(true_answer(p)),
    14: lambda p: os.path.exists(replay) and send(*held),
    # The truth, however often and late it comes, and whatever comes after it.
    20: lambda p: send(*[true_answer(p)] * 5),
    21: lambda p: later(0.5, true_answer(p)),
    22: lambda p: (send(true_answer(p)), later(0.05, p.segment(RST | ACK, p.seq + 1))),
    23: lambda p: (send(p.segment(RST | ACK, p.seq + 1)), later(0.05, true_answer(p))),
    24: lambda p: send(*[p.segment(RST | ACK, p.seq + 1, seq=0)] * 5),
    25: lambda p: send(*[p.error(prohibited(p), p.quote())] * 3),
    # Lies first, then the truth.
    26: lambda p: (send(p.segment(SYN | ACK, p.seq), p.segment(RST | ACK, p.seq)), later(0.05, true_answer(p))),
    # The host's own word from another of its addresses is somebody else's.
    27: lambda p: send(p.error(4 if p.v6 else 3, p.quote(), src=p.neighbour())),
    28: lambda p: send(p.error(4 if p.v6 else 3, p.quote())),
}

print("ready", flush=True)
while True:
    frame = link.recv(2048)
    try:
        probe = Probe(frame)
    except (ValueError, IndexError, struct.error):
        continue
    ANSWERS.get(probe.dport, lambda p: None)(probe)
