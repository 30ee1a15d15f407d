"""A host behind a tun device: answers TCP SYNs with SYN-ACK on port 22 and RST elsewhere, and says on stdout whether the
checksums of what it got were right. Run inside a namespace by the test in namespaces.rs."""
import fcntl
import os
import struct
import subprocess

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

device = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
for command in (
    "ip addr add 198.18.40.1/24 dev tun0",
    "ip link set tun0 up",
    "ip addr add fd00:40::1/64 dev tun0 nodad",
):
    subprocess.run(command.split(), check=True)
print("ready", flush=True)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


while True:
    packet = os.read(device, 4096)
    if packet[0] >> 4 == 4 and packet[9] == 6:
        start = (packet[0] & 15) * 4
        source, target = packet[12:16], packet[16:20]
        right = checksum(packet[:start]) == 0
    elif packet[0] >> 4 == 6 and packet[6] == 6:
        start = 40
        source, target = packet[8:24], packet[24:40]
        right = True
    else:
        continue
    segment = packet[start:]
    pseudo = lambda a, b, length: a + b + struct.pack("!II", length, 6)
    right = right and checksum(pseudo(source, target, len(segment)) + segment) == 0
    from_port, to_port, sequence, _, _, flags = struct.unpack("!HHIIBB", segment[:14])
    print("right" if right else "wrong", to_port, flags, flush=True)
    if flags != 0x02:
        continue
    answer_flags = 0x12 if to_port == 22 else 0x14
    answer = struct.pack("!HHIIBBHHH", to_port, from_port, 77, (sequence + 1) & 0xFFFFFFFF, 0x50, answer_flags, 1000, 0, 0)
    answer = answer[:16] + struct.pack("!H", checksum(pseudo(target, source, 20) + answer)) + answer[18:]
    if start == 40:
        header = struct.pack("!IHBB", 6 << 28, 20, 6, 64) + target + source
    else:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + target + source
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    os.write(device, header + answer)
