#!/usr/bin/env python3
"""nginx, with the file that is shipped, is a good proxy before the service as its unit starts it.

    tests/delivery/proxy.py

The service is target/release's, with config/production.toml and the variables of deploy/systemd. Of
both files ports and paths are exchanged, and nothing else (LOCAL). Then the same with files that are
spoilt, each of which must be noticed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_call"))

import loopback
from loopback import BINARY, ROOT, running, tool, wait_for

loopback.PACKAGES |= {"nginx": "nginx-light", "openssl": "openssl", "curl": "curl"}
os.environ["PATH"] += ":/usr/sbin"

CONF = ROOT / "deploy/nginx/blueprint-decoder.conf"
UNIT = ROOT / "deploy/systemd/blueprint-decoder.service"
NAME = "decoder.example.com"
MIB = 1024 * 1024
# What stands in the shipped file, and what stands there here. Each is there once.
LOCAL = {
    "listen 443 ": "listen 127.0.0.1:{port} ",
    "listen [::]:443 ssl http2;": "",
    "server 127.0.0.1:8080;": "server 127.0.0.1:{behind};",
    f"/etc/ssl/certs/{NAME}.pem": "{folder}/nginx.pem",
    f"/etc/ssl/private/{NAME}.key": "{folder}/nginx.key",
}
# What nginx has around it on any machine.
AROUND = """daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/site.conf;
}}
"""


class Wrong(Exception):
    """What is not as it should be."""


@dataclass
class Service:
    folder: Path
    port: int
    admin: int
    key: str


@contextlib.contextmanager
def service(folder: Path, unit: str) -> Iterator[Service]:
    """The service, as the unit would start it."""
    key = loopback.tenant_in(folder)
    ports = {"8080": str(loopback.free_port()), "8081": str(loopback.free_port())}
    variables = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))
    for name, value in variables.items():
        variables[name] = re.sub(r"(?<=:)80\d\d$", lambda port: ports[port[0]], value)
    variables |= {
        "DECODER_CONFIG": str(ROOT / "config/production.toml"),
        "DECODER__AUTH__TENANTS_FILE": str(folder / "tenants.toml"),
        # A burst that is used up stays used up, however slow this machine is.
        "DECODER__RATE_LIMIT__REQUESTS_PER_MINUTE": "1",
    }
    command = ["env", *(f"{name}={value}" for name, value in variables.items()), str(BINARY)]
    with running(command, folder / "service.log") as program:
        threading.Thread(target=program.stdout.read, daemon=True).start()
        started = Service(folder, int(ports["8080"]), int(ports["8081"]), key)
        ready = f"http://127.0.0.1:{started.admin}/health/ready"
        wait_for("the service", 10, lambda: loopback.answers(ready))
        try:
            yield started
        finally:
            # Nobody has to notice.
            program.kill()


@contextlib.contextmanager
def proxy(service: Service, conf: str, behind: int) -> Iterator[int]:
    """nginx before a port: its own port."""
    port, folder = loopback.free_port(), service.folder
    for shipped, here in LOCAL.items():
        conf = conf.replace(shipped, here.format(port=port, behind=behind, folder=folder))
    (folder / "site.conf").write_text(conf)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(AROUND.format(user=user, folder=folder))
    command = [tool("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True)
    if tried.returncode != 0 or "[warn]" in tried.stderr:
        raise Wrong(f"nginx does not take it: {tried.stderr}")

    def is_up() -> bool:
        if program.poll() is not None:
            raise Wrong(f"nginx ended: {(folder / 'nginx.log').read_text()[-500:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with running(command, folder / "nginx.log") as program:
        wait_for("nginx", 10, is_up)
        yield port


class Client:
    """One connection over TLS, from an address of this machine."""

    def __init__(self, service: Service, port: int, address: str = "127.0.0.1"):
        self.key = service.key
        self.tls = ssl.create_default_context(cafile=service.folder / "nginx.pem")
        # The certificate is for the name that is public.
        self.socket = socket.create_connection(("127.0.0.1", port), 10, (address, 0))
        # A head and its body are two packets, and neither waits for the other.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = self.tls.wrap_socket(self.socket, server_hostname=NAME)
        self.connection = http.client.HTTPConnection(NAME)
        self.connection.sock = self.socket

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, body: object = None, **headers: str):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, named)
        answer = self.connection.getresponse()
        return answer, answer.read()

    def decode(self, body: bytes, **headers: str):
        given = {"Content_Type": "text/plain", "X_Api_Key": self.key} | headers
        return self.ask("POST", "/decode", body, **given)


# What may be wrong.


def faults(service: Service, conf: str) -> Iterator[str]:
    with proxy(service, conf, service.port) as port:
        yield from faults_of_decodes(service, port)
        yield from faults_of_addresses(service, port)
    # Even if what listens behind has all of it.
    with proxy(service, conf, service.admin) as port, Client(service, port) as client:
        for path in (
            "/metrics",
            "/admin/config",
            "/admin/",
            "//metrics",
            "/problems/../metrics",
            "/problems/%2e%2e/metrics",
            "/decode/../metrics",
            "/metrics?x",
        ):
            answer, _ = client.ask("GET", path)
            if answer.status != 404:
                yield f"strangers come to {path}: {answer.status}"


def faults_of_decodes(service: Service, port: int) -> Iterator[str]:
    with Client(service, port) as client:
        answer, said = client.decode(b"{*DOOR: east*}")
        if answer.status != 200 or b'"value":"DOOR: east"' not in said:
            yield f"it does not decode: {answer.status} {said[:200]!r}"
            return
        if answer.headers["Strict-Transport-Security"] is None:
            yield "browsers may come without TLS"
        if "Content-Encoding" in client.decode(b"{*A*}" * 2000, Accept_Encoding="gzip")[0].headers:
            yield "secrets are compressed"
        answer, said = client.ask("POST", "/decode", b"{**}", Content_Type="text/plain")
        if answer.status != 401 or json.loads(said)["code"] != "unauthenticated":
            yield f"a problem does not come through: {answer.status}"
        for path in ("/", "/health", "/problems", "/problems/overloaded"):
            if client.ask("GET", path)[0].status != 200:
                yield f"{path} is not there"
        answer, _ = client.decode(b"x" * (9 * MIB))
        if answer.status != 200:
            yield f"a large document does not come through: {answer.status}"
    (service.folder / "large").write_bytes(b"x" * (12 * MIB))
    too_large = ["--data-binary", f"@{service.folder / 'large'}", "--header", "Expect:"]
    told = curl(service, port, "/decode", *too_large)
    if '"code":"request_too_large"' not in told:
        yield f"one that is too large is not told so by the service: {told[:200]}"
    if not curl(service, port, "/").endswith(" 2"):
        yield "it speaks no HTTP/2"
    if not streams(service, port):
        yield "no line comes before the document has ended"


def curl(service: Service, port: int, path: str, *words: str) -> str:
    """What is answered to HTTP/2, where there is any, and its version."""
    command = [tool("curl"), "--silent", "--http2", "--cacert", service.folder / "nginx.pem"]
    command += ["--resolve", f"{NAME}:{port}:127.0.0.1", "--write-out", " %{http_version}"]
    command += ["--header", "Content-Type: text/plain", "--header", f"X-Api-Key: {service.key}"]
    command += [*words, f"https://{NAME}:{port}{path}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


def streams(service: Service, port: int) -> bool:
    """Whether a line comes while the document is still on its way."""
    with Client(service, port) as client:
        head = (
            f"POST /decode HTTP/1.1\r\nHost: {NAME}\r\nX-Api-Key: {service.key}\r\n"
            "Content-Type: text/plain\r\nAccept: application/x-ndjson\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        client.socket.sendall(head.encode() + b"f\r\n{*DOOR: east*}\n\r\n")
        client.socket.settimeout(3)
        come = b""
        with contextlib.suppress(TimeoutError):
            while b'"value":"DOOR: east"' not in come:
                come += client.socket.recv(4096)
            return True
    return False


def faults_of_addresses(service: Service, port: int) -> Iterator[str]:
    """Whoever guesses keys is held back by the address that nginx sees, and no one else is."""
    with Client(service, port, "127.0.0.2") as guesser:
        statuses = [
            guesser.ask(
                "POST",
                "/decode",
                b"{**}",
                Content_Type="text/plain",
                X_Api_Key=f"bpd_k1_{number:043}",
                X_Forwarded_For=f"192.0.2.{number % 250}",
            )[0].status
            for number in range(160)
        ]
        if 429 not in statuses:
            yield f"who guesses is not held back: {set(statuses)}"
    with Client(service, port, "127.0.0.3") as other:
        if other.decode(b"{**}", X_Api_Key="bpd_k1_" + "0" * 43)[0].status != 401:
            yield "one address is held back for what another did"


def faults_at_rest(conf: str) -> Iterator[str]:
    """Times and sizes, beside those of the service."""
    below = tomllib.loads((ROOT / "config/default.toml").read_text())
    above = tomllib.loads((ROOT / "config/production.toml").read_text())
    server, limits = ({**below[part], **above[part]} for part in ("server", "limits"))

    def given(name: str, otherwise: str) -> int:
        """In seconds, or bytes."""
        found = re.search(rf"^\s*{name} (\d+)([sm]?);", conf, re.MULTILINE)
        number, unit = found.groups() if found else re.fullmatch(r"(\d+)(\w?)", otherwise).groups()
        return int(number) * (MIB if unit == "m" else 1)

    def said(text: str) -> int:
        number, unit = re.fullmatch(r"(\d+)(s|MiB)", text).groups()
        return int(number) * (MIB if unit == "MiB" else 1)

    for name in ("proxy_read_timeout", "proxy_send_timeout", "client_body_timeout", "send_timeout"):
        if given(name, "0s") <= said(server["request_timeout"]):
            yield f"{name} ends what the service would still answer"
    if given("keepalive_timeout", "60s") >= said(server["idle_timeout"]):
        yield "a connection may end while a request is on its way to the service"
    largest = max(said(limits[name]) for name in ("max_document_bytes", "max_request_bytes"))
    if given("client_max_body_size", "1m") < largest:
        yield "client_max_body_size refuses what the service takes"


AT_REST = (
    ("proxy_read_timeout 30s;", "proxy_read_timeout 15s;", "proxy_read_timeout"),
    ("proxy_send_timeout 30s;", "", "proxy_send_timeout"),
    ("client_body_timeout 30s;", "client_body_timeout 10s;", "client_body_timeout"),
    ("send_timeout 30s;", "send_timeout 5s;", "send_timeout"),
    ("client_max_body_size 16m;", "", "client_max_body_size"),
    ("keepalive 64;", "keepalive 64;\n  keepalive_timeout 80s;", "on its way"),
)
AT_WORK = (
    ("proxy_request_buffering off;", "", "no line comes"),
    ("proxy_buffering off;", "", "no line comes"),
    ("client_max_body_size 16m;", "", "a large document"),
    ("client_max_body_size 16m;", "client_max_body_size 11m;", "one that is too large"),
    ("proxy_set_header Host localhost;", "", "it does not decode"),
    ("proxy_set_header X-Forwarded-For $remote_addr;", "", "not held back"),
    (
        "location / { return 404; }",
        "location / { proxy_pass http://blueprint_decoder; }",
        "strangers",
    ),
    ("location = /problems {", "location = /nowhere {", "/problems is not there"),
    ("listen 443 ssl http2;", "listen 443 ssl;", "no HTTP/2"),
    ("gzip off;", "gzip on;\n  gzip_types application/json;", "compressed"),
    ("add_header Strict-Transport-Security", "# add_header", "browsers may come"),
)


def first(found: Iterator[str]) -> str:
    return next(found, "nothing")


def expect(what: str, words: str, found: str) -> None:
    if words not in found:
        raise Wrong(f"{what}: {words!r} is expected, and it says {found}")
    print(f"  {what}: {found[:100]}", flush=True)


def certificate(folder: Path) -> None:
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    named = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    to = ["-keyout", folder / "nginx.key", "-out", folder / "nginx.pem"]
    subprocess.run(
        [tool("openssl"), "req", "-x509", *new, *named, *to], check=True, capture_output=True
    )


def prove(folder: Path) -> None:
    conf, unit = CONF.read_text(), UNIT.read_text()
    for shipped in LOCAL:
        if conf.count(shipped) != 1:
            raise Wrong(f"{CONF.name} does not have {shipped!r} once")
    certificate(folder)

    def spoilt(line: str, instead: str) -> str:
        if conf.count(f"  {line}") != 1:
            raise Wrong(f"{CONF.name} does not have {line!r} once")
        return conf.replace(f"  {line}", f"  {instead}", 1)

    if found := list(faults_at_rest(conf)):
        raise Wrong("; ".join(found))
    for line, instead, words in AT_REST:
        expect(instead or f"no {line}", words, first(faults_at_rest(spoilt(line, instead))))
    with service(folder, unit) as started:
        if found := list(faults(started, conf)):
            raise Wrong("; ".join(found))
    print(
        "  decodes, streams, tells callers apart, and lets nobody to what is not public", flush=True
    )
    for line, instead, words in AT_WORK:
        # Anew, since who was held back still is.
        with service(folder, unit) as started:
            expect(instead or f"no {line}", words, first(faults(started, spoilt(line, instead))))
    # Of the unit; the configuration trusts other networks.
    line = "Environment=DECODER__SERVER__TRUSTED_PROXIES=127.0.0.1\n"
    with service(folder, unit.replace(line, "")) as started:
        expect(f"no {line.strip()}", "what another did", first(faults(started, conf)))


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        try:
            prove(Path(name))
        except Wrong as wrong:
            print(f"FAILED: {wrong}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
