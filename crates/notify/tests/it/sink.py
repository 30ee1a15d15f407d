"""A real SMTP server for the tests (python3-aiosmtpd): takes mail on loopback and prints what it took, one JSON a line.

usage: sink.py plain|starttls|tls|login [CERT KEY]
First line: {"port": N}. Recipients that begin with "nobody" get a 550, with "busy" a 451. Ends when stdin closes.
"""
import asyncio
import json
import logging
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such mailbox here"
        if address.startswith("busy"):
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        line = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or mode == "tls",
            "login": session.auth_data.login.decode() if session.auth_data else None,
            "data": envelope.content.decode("utf-8", "replace"),
        }
        print(json.dumps(line), flush=True)
        return "250 2.0.0 queued as 4F2A"


def authenticate(server, session, envelope, mechanism, data):
    ok = (data.login, data.password) == (b"portreeve", b"right-horse")
    return AuthResult(success=ok, handled=False, auth_data=data)


def certificate():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    return context


async def main():
    kwargs = {"hostname": "sink.test"}
    if mode in ("starttls", "login"):
        kwargs.update(tls_context=certificate(), require_starttls=True)
    if mode == "login":
        kwargs.update(authenticator=authenticate, auth_required=True)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), **kwargs), "127.0.0.1", 0, ssl=certificate() if mode == "tls" else None
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


mode = sys.argv[1]
logging.disable(logging.CRITICAL)  # a refused handshake is what some tests are about
asyncio.run(main())
