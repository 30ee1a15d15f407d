"""A VLAN sub-interface for kernels that have none: vlan.py DEVICE TRUNK ID makes the tap device DEVICE; what is sent by it leaves by
TRUNK with the tag ID, and what arrives on TRUNK with that tag comes in by it without. Prints "ready" when it does."""
import fcntl, os, select, socket, struct, sys

device, trunk, tag = sys.argv[1], sys.argv[2], int(sys.argv[3])

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))

SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING, STATUS_VLAN_VALID = 263, 8, 4, 1 << 4
line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
line.bind((trunk, 0))
line.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
# Frames for the addresses of the tap are none of the trunk's own.
ETHERNET_ALL = struct.pack("IHH8s", socket.if_nametoindex(trunk), 1, 0, b"")
line.setsockopt(SOL_PACKET, 1, ETHERNET_ALL)


def untagged(frame, ancillary):
    """The frame without our tag; None if it has another or none. The kernel takes tags off and keeps them beside the frame."""
    for level, kind, data in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tci = struct.unpack_from("IIIHHH", data)
            if status & STATUS_VLAN_VALID:
                return frame if tci & 0xFFF == tag else None
    if frame[12:14] == b"\x81\x00" and struct.unpack("!H", frame[14:16])[0] & 0xFFF == tag:
        return frame[:12] + frame[16:]
    return None


print("ready", flush=True)
while True:
    for ready in select.select([tap, line], [], [])[0]:
        if ready is tap:
            frame = os.read(tap, 4096)
            line.send(frame[:12] + struct.pack("!HH", 0x8100, tag) + frame[12:])
            continue
        frame, ancillary, _, address = line.recvmsg(4096, 256)
        if address[2] != PACKET_OUTGOING:
            inner = untagged(frame, ancillary)
            if inner:
                try:
                    os.write(tap, inner)
                except OSError:
                    pass  # the device is not up yet
