"""UDP on a host of the lab: udp.py ANSWERS SILENT. Answers every datagram on the ports ANSWERS (as 7,53) with one of its own, and
listens without a word on the ports SILENT. Prints "ready" when it listens."""
import selectors, socket, sys

selector = selectors.DefaultSelector()
for answers, ports in ((True, sys.argv[1]), (False, sys.argv[2])):
    for port in filter(None, ports.split(",")):
        listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Answers come from the address that was asked, which is the only one of its family here.
        listener.bind(("::", int(port)))
        selector.register(listener, selectors.EVENT_READ, answers)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        datagram, sender = key.fileobj.recvfrom(2048)
        if key.data:
            key.fileobj.sendto(b"an answer of %d bytes" % len(datagram), sender)
