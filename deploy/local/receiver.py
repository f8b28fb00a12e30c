#!/usr/bin/env python3
"""Stands for those whom Alertmanager tells: PagerDuty, Slack, the dead man's switch, a mail server.

    receiver.py --port 18170 --smtp-port 18171

It refuses what the real ones refuse, so that an event that arrives here would have arrived there:

    POST /v2/enqueue   PagerDuty's Events API v2; 202, or 400 with what is wrong
    POST /slack        an incoming webhook of Slack; 200 "ok", or 400
    POST /deadman      the dead man's switch; 200
    SMTP               one mail after the other; AUTH PLAIN takes any name and password
    GET  /received     what came, the newest last: [{"time", "path", "body", "authorization"}];
                       with ?path=/slack that path alone. A mail has the path "/mail".

Nothing is kept but in memory, the last 200 of each path. Only for loopback: it asks nobody who
they are.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import collections
import email
import email.policy
import http.server
import json
import re
import signal
import socketserver
import sys
import threading
import time
import urllib.parse
from typing import Any

KEPT = 200
MAX_BODY = 512 * 1024  # PagerDuty's cap on an event
SECONDS_OF_SILENCE = 60

PATHS = ("/v2/enqueue", "/slack", "/deadman", "/mail")


class Received:
    """What came, the last KEPT of each path, so that a chatty one does not push out the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._kept = {path: collections.deque(maxlen=KEPT) for path in PATHS}

    def add(self, path: str, body: Any, authorization: str | None) -> None:
        entry = {"time": time.time(), "path": path, "body": body, "authorization": authorization}
        with self._lock:
            self._count += 1
            self._kept[path].append((self._count, entry))

    def newest_last(self, path: str | None) -> list[dict[str, Any]]:
        with self._lock:
            numbered = [
                item for name, kept in self._kept.items() if path in (None, name) for item in kept
            ]
        return [entry for _, entry in sorted(numbered, key=lambda item: item[0])]


def faults_of_page(event: Any) -> list[str]:
    """What PagerDuty would say against an event."""
    if not isinstance(event, dict):
        return ["an event is an object"]
    faults = []
    if not re.fullmatch(r"[0-9A-Za-z]{32}", str(event.get("routing_key", ""))):
        faults.append("'routing_key' is 32 letters and digits")
    action = event.get("event_action")
    if action not in ("trigger", "acknowledge", "resolve"):
        faults.append("'event_action' is trigger, acknowledge or resolve")
    key = event.get("dedup_key", "")
    if len(key) > 255 or (action != "trigger" and not key):
        faults.append("'dedup_key' has 1 to 255 characters")
    if action != "trigger":
        return faults
    payload = event.get("payload") or {}
    if not 1 <= len(payload.get("summary") or "") <= 1024:
        faults.append("'payload.summary' has 1 to 1024 characters")
    if not payload.get("source"):
        faults.append("'payload.source' is missing")
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        faults.append("'payload.severity' is critical, error, warning or info")
    faults += [
        f"'links' has a link without a whole address: {link}"
        for link in event.get("links") or []
        if not re.match(r"https?://[^/]+", link.get("href") or "")
    ]
    return faults


def faults_of_slack(message: Any) -> list[str]:
    """What Slack would say against a message."""
    if not isinstance(message, dict):
        return ["invalid_payload"]
    if not message.get("text") and not message.get("attachments"):
        return ["no_text"]
    return []


class Http(http.server.BaseHTTPRequestHandler):
    """The web hooks."""

    protocol_version = "HTTP/1.1"
    timeout = SECONDS_OF_SILENCE
    received: Received

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if url.path != "/received":
            self._answer(404, {"error": "only /received can be read"})
            return
        path = urllib.parse.parse_qs(url.query).get("path", [None])[0]
        self._answer(200, self.received.newest_last(path))

    def do_POST(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self._answer(413, {"error": f"a body has a length, and at most {MAX_BODY} bytes"})
            return
        body = self.rfile.read(int(length))
        try:
            told = json.loads(body)
        except ValueError:
            self._answer(400, {"status": "invalid event", "errors": ["no JSON"]})
            return
        if path == "/v2/enqueue":
            faults = faults_of_page(told)
            if not faults:
                answer = {"status": "success", "message": "Event processed"}
                answer["dedup_key"] = told.get("dedup_key", "")
                self._keep(path, told)
                self._answer(202, answer)
            else:
                self._answer(400, {"status": "invalid event", "errors": faults})
        elif path == "/slack":
            faults = faults_of_slack(told)
            if not faults:
                self._keep(path, told)
            self._answer(400 if faults else 200, faults[0] if faults else "ok")
        elif path == "/deadman":
            self._keep(path, told)
            self._answer(200, "ok")
        else:
            self._answer(404, {"error": f"nobody listens at {path}"})

    def _keep(self, path: str, body: Any) -> None:
        self.received.add(path, body, self.headers.get("Authorization"))

    def _answer(self, status: int, body: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        content = text.encode()
        self.send_response(status)
        kind = "text/plain" if isinstance(body, str) else "application/json"
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Refusals alone: each is a mistake of a template or of a configuration."""
        if len(args) > 1 and not str(args[1]).startswith("2"):
            super().log_message(format, *args)


def address(path: str) -> str:
    """The address in `FROM:<a@example.com> SIZE=10`."""
    found = re.search(r"<([^<>]*)>", path)
    return found[1] if found else ""


class Smtp(socketserver.StreamRequestHandler):
    """As much of SMTP as one client needs that sends mails and looks for no more."""

    timeout = SECONDS_OF_SILENCE
    received: Received

    def handle(self) -> None:
        self._forget()
        self.login: str | None = None
        try:
            self._talk()
        except OSError:
            pass  # silent for too long, or gone

    def _talk(self) -> None:
        self._say("220 receiver ESMTP")
        while line := self.rfile.readline(2048):
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            verb = verb.upper()
            if verb == "EHLO":
                self._say("250-receiver", "250-AUTH PLAIN", f"250 SIZE {MAX_BODY}")
            elif verb == "HELO":
                self._say("250 receiver")
            elif verb == "AUTH":
                self._say(self._authenticate(rest))
            elif verb == "MAIL":
                self.sender = address(rest)
                self._say("250 ok")
            elif verb == "RCPT":
                self.recipients.append(address(rest))
                self._say("250 ok")
            elif verb == "DATA":
                if not self._data():
                    return
            elif verb in ("RSET", "NOOP"):
                self._forget()
                self._say("250 ok")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("502 not known here")

    def _forget(self) -> None:
        self.sender, self.recipients = "", []

    def _authenticate(self, rest: str) -> str:
        mechanism, _, initial = rest.partition(" ")
        if mechanism.upper() != "PLAIN" or not initial:
            return "504 only AUTH PLAIN with an initial response"
        try:
            _, name, password = base64.b64decode(initial, validate=True).decode().split("\0")
        except (binascii.Error, ValueError):
            return "501 not base64 of three parts"
        if not name or not password:
            return "535 a name and a password"
        self.login = f"{name}:{password}"
        return "235 welcome"

    def _data(self) -> bool:
        """Takes one mail; false when its writer cannot be followed any more."""
        if not self.sender or not self.recipients:
            self._say("503 whose mail, and to whom?")
            return True
        self._say("354 go ahead, end with a dot")
        lines, size = [], 0
        while True:
            line = self.rfile.readline(64 * 1024)
            if line in (b".\r\n", b".\n"):
                break
            size += len(line)
            if not line or size > MAX_BODY:
                return False
            lines.append(line[1:] if line.startswith(b".") else line)
        mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        body = {"from": self.sender, "to": self.recipients, "subject": str(mail["Subject"])}
        for kind in ("plain", "html"):
            part = mail.get_body((kind,))
            body[kind] = None if part is None else part.get_content()
        self.received.add("/mail", body, self.login)
        self._forget()
        self._say("250 taken")
        return True

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class SmtpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--port", type=int, required=True, help="HTTP; 0 takes any")
    options.add_argument("--smtp-port", type=int, required=True, help="SMTP; 0 takes any")
    given = options.parse_args()

    received = Received()
    web = HttpServer(("127.0.0.1", given.port), type("Http", (Http,), {"received": received}))
    mail = SmtpServer(("127.0.0.1", given.smtp_port), type("Smtp", (Smtp,), {"received": received}))
    for server in (web, mail):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"http": web.server_address[1], "smtp": mail.server_address[1]}), flush=True)
    sys.exit(0 if signal.sigwait((signal.SIGTERM, signal.SIGINT)) else 1)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    main()
