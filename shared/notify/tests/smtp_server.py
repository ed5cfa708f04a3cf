"""A mail server for tests/smtp.rs, and the check of what it received.

    smtp_server.py <directory> <command...>

Serves STARTTLS and TLS on free ports of 127.0.0.1 while the command runs, then reads the messages.
"""

import email
import email.policy
import logging
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

DIRECTORY, COMMAND = Path(sys.argv[1]).resolve(), sys.argv[2:]
SUBJECT = "Zahlung abgelehnt: größer als 5 € ✉ 日本語, und der Betreff ist so lang, dass er umbricht"
TEXT = "Grüße aus Zürich.\nDie Karte …4242 wurde abgelehnt: 5 € ≠ 6 €.\n.\nEin Punkt allein. 日本語 ✓\n"
HTML = "<p>Grüße aus <b>Zürich</b>.</p>\n<p>5 € ≠ 6 €, 日本語 ✓</p>\n"


class Handler:
    def __init__(self):
        self.received = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("busy@"):
            return "451 4.3.0 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        if message["subject"] == "refuse this":
            return "554 5.7.1 not this"
        is_encrypted = server.transport.get_extra_info("sslcontext") is not None
        self.received.append((is_encrypted, envelope.mail_from, envelope.rcpt_tos, message))
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    is_known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"alerts", b"correct horse")
    # Not handled: aiosmtpd then answers 535 itself.
    return AuthResult(success=is_known, handled=False)


class TlsOnConnect(Controller):
    def factory(self):
        # aiosmtpd takes only STARTTLS for TLS when it decides whether a login is safe.
        return SMTP(self.handler, authenticator=authenticate, auth_required=True, auth_require_tls=False)


def context():
    certificate, key = DIRECTORY / "certificate.pem", DIRECTORY / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    # A certificate that is its own authority may not be a server's: webpki tells them apart.
    authority = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority"]

    def run(*command):
        subprocess.run(command, check=True, capture_output=True, cwd=DIRECTORY)

    run(*authority, "-keyout", "authority-key.pem", "-out", "authority.pem")
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", "request.pem", *subject)
    run("openssl", "x509", "-req", "-in", "request.pem", "-CA", "authority.pem", "-CAkey", "authority-key.pem",
        "-days", "2", "-copy_extensions", "copy", "-out", str(certificate))
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(certificate, key)
    return made


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check(received):
    ids = [str(message["message-id"]) for *_, message in received]
    expected = ["<starttls@acme.example>"] * 2 + ["<tls@acme.example>"] * 2
    assert ids == expected, ids
    for is_encrypted, sender, recipients, message in received:
        assert is_encrypted, "a message came in the clear"
        assert (sender, recipients) == ("alerts@acme.example", ["ann@example.org"]), (sender, recipients)
        assert message["subject"] == SUBJECT, message["subject"]
        assert str(message["from"]) == "Schaltwerk Zürich <alerts@acme.example>", message["from"]
        assert message["to"] == "ann@example.org" and message["reply-to"] == "help@acme.example"
        assert message["date"].datetime.isoformat() == "2026-01-05T10:00:00+00:00", message["date"]
        assert message.get_content_type() == "multipart/alternative", message.get_content_type()
        bodies = {part.get_content_type(): part.get_content().replace("\r\n", "\n") for part in message.iter_parts()}
        assert bodies == {"text/plain": TEXT, "text/html": HTML}, bodies
        assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
        assert not message.defects, message.defects


def main():
    logging.disable()  # clients that hang up on purpose
    handler, tls = Handler(), context()
    options = {"authenticator": authenticate, "auth_required": True}
    # aiosmtpd tries its own server out, and for that wants to know the port beforehand.
    ports = [free_port(), free_port()]
    starttls = Controller(handler, "127.0.0.1", ports[0], tls_context=tls, require_starttls=True, **options)
    implicit = TlsOnConnect(handler, "127.0.0.1", ports[1], ssl_context=tls)
    starttls.start()
    implicit.start()
    variables = {"SMTP_TEST_PORT": str(ports[0]), "SMTP_TEST_TLS_PORT": str(ports[1]),
                 "SMTP_TEST_ROOTS": str(DIRECTORY / "authority.pem")}
    try:
        status = subprocess.run(COMMAND, env=os.environ | variables).returncode
    finally:
        starttls.stop()
        implicit.stop()
    if status == 0:
        check(handler.received)
        print(f"{len(handler.received)} messages as they should be")
    sys.exit(status)


main()
