"""Real programs on loopback, for the checks beside this file: started, waited for, stopped."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / "deploy/local"
BINARY = ROOT / "target/release/blueprint-decoder"
sys.path.insert(0, str(LOCAL))

Found = TypeVar("Found")

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "jq": "jq",
}


def tool(name: str) -> str:
    """Where a program is. A check without its tool fails; it is never skipped."""
    found = shutil.which(name)
    if found is None:
        sys.exit(f"{name} is missing: apt-get install -y {PACKAGES[name]}")
    return found


def free_port() -> int:
    with bound(0) as probe:
        return probe.getsockname()[1]


def bound(port: int) -> socket.socket:
    """A socket that has the port; OSError if another has it."""
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        raise
    return probe


def free_ports() -> int:
    """The first of a hundred ports of which none is taken: a local stack has room there. Whoever
    looks for them at the same time begins elsewhere (PORTS_FROM)."""
    for first in range(int(os.environ.get("PORTS_FROM", "18100")), 30000, 100):
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for port in range(first, first + 100):
                held.enter_context(bound(port))
            return first
    raise RuntimeError("no ports are free")


def encoded(**parameters: str) -> str:
    return urllib.parse.urlencode(parameters)


def call(url: str, body: Any = None, seconds: float = 30) -> Any:
    """GETs JSON, or POSTs it."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def wait_for(what: str, seconds: float, probe: Callable[[], Found], every: float = 0.02) -> Found:
    """What the probe finds, once it finds something."""
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(every)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def running(argv: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that is stopped at the end, whatever happens; its words go to a file."""
    with log.open("w") as words:
        program = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=words, text=True)
    try:
        yield program
    finally:
        program.terminate()
        try:
            program.wait(10)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        program.stdout.close()


@contextlib.contextmanager
def serving(
    handler: type[http.server.BaseHTTPRequestHandler], certificate: Path | None = None
) -> Iterator[str]:
    """A server of ours, by its URL; with a certificate, whose key lies beside it, over TLS."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def tenant_in(folder: Path) -> str:
    """A tenants file with one tenant, league: its key, of role decoder."""
    argv = [BINARY, "keys", "new", "--tenant", "league", "--role", "decoder"]
    made = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    key, _, lines = made.partition("\n")
    (folder / "tenants.toml").write_text(lines)
    return key


@contextlib.contextmanager
def receiver(directory: Path) -> Iterator[dict[str, int]]:
    """The receiver of the local stack: its ports."""
    argv = [sys.executable, str(LOCAL / "receiver.py"), "--port", "0", "--smtp-port", "0"]
    with running(argv, directory / "receiver.log") as program:
        yield json.loads(program.stdout.readline())


@contextlib.contextmanager
def alertmanager(config: Path, directory: Path) -> Iterator[str]:
    """A real Alertmanager: its address."""
    url = f"http://127.0.0.1:{free_port()}"
    argv = [
        tool("prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--web.external-url=https://alertmanager.example.com",
        "--cluster.listen-address=",
    ]
    # It says who it is on standard output, where nobody reads: nothing to fill up with.
    with running(argv, directory / "alertmanager.log") as program:
        wait_until_ready(program, f"{url}/-/ready", directory / "alertmanager.log")
        yield url


@contextlib.contextmanager
def prometheus(config: Path, directory: Path, *flags: str) -> Iterator[str]:
    """A real Prometheus: its address."""
    url = f"http://127.0.0.1:{free_port()}"
    argv = [
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        *flags,
    ]
    with running(argv, directory / "prometheus.log") as program:
        wait_until_ready(program, f"{url}/-/ready", directory / "prometheus.log")
        yield url


def wait_until_ready(program: subprocess.Popen[str], url: str, log: Path) -> None:
    def probe() -> bool:
        if program.poll() is not None:
            raise RuntimeError(f"{program.args[0]} ended:\n{log.read_text()[-2000:]}")
        return answers(url)

    wait_for(url, 30, probe)
