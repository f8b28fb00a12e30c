#!/usr/bin/env python3
"""The container image is what it says it is, and does its work with as little as it may have.

    tests/delivery/image.py IMAGE

Runs it with podman as strictly as an image can be run: a read-only root, no capabilities, no new
privileges, 64 MiB. It serves, decodes from a source over TLS, sheds what is too much, and ends in
time. What each check finds is shown by images, settings and loads that are wrong. As root.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import http.server
import io
import json
import multiprocessing
import re
import shlex
import socket
import socketserver
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import tomllib
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_call"))

import loopback
from loopback import ROOT, tool, wait_for

loopback.PACKAGES |= {"podman": "podman", "openssl": "openssl", "objcopy": "binutils"}

PROGRAM = "/usr/local/bin/blueprint-decoder"
ROOTS = "/etc/ssl/certs/ca-certificates.crt"
LABEL = "org.opencontainers.image."
LARGEST = 15_000_000
MIB = 1024 * 1024
MEMORY = 64 * MIB
# What an engine puts into a container, and is in no image.
ENGINE = re.compile(
    r"(dev|proc|sys|run)/|run$|etc/(hosts|hostname|resolv\.conf|mtab)$|\.dockerenv$"
)
STRICT = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--pids-limit=64",
    f"--memory={MEMORY}",
    f"--memory-swap={MEMORY}",
    "--network=host",
)
# A name that only the name server of this test knows, and its address.
HOST = "scrolls.test"
NAME_SERVER = "127.0.0.99"
# As large as a document may be; with that many secrets an answer has a quarter of a megabyte.
SECRETS = 2560
FULL = SECRETS * (b"decoy " * 680 + b"{*DOOR: east*}\n\n")


class Wrong(Exception):
    """What is not as it should be."""


def podman(*words: object, check: bool = True, seconds: float = 120) -> str:
    command = [tool("podman"), *map(str, words)]
    # Elsewhere, because podman's monitor leaves a file `oom` in the folder that it is started in.
    where = tempfile.gettempdir()
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=where)
    if check and done.returncode != 0:
        raise Wrong(f"podman {' '.join(command[1:4])}: {done.stderr.strip()[-1000:]}")
    return done.stdout.strip()


def succeeds(*words: object) -> bool:
    command = [tool("podman"), *map(str, words)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def told(*words: str) -> str:
    return subprocess.run(
        words, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def expect_fault(what: str, words: str, faults: list[str]) -> None:
    """That something spoilt is found, for its own reason."""
    if not any(words in fault for fault in faults):
        raise Wrong(f"{what} is not found; only {faults}")
    print(f"  {what}: {next(fault for fault in faults if words in fault)[:110]}", flush=True)


# What is in it.


def files_of(image: str) -> dict[str, tarfile.TarInfo | bytes]:
    """Each file that is no folder, with its content where it is a plain one."""
    container = podman("create", image)
    try:
        export = [tool("podman"), "export", container]
        packed = subprocess.run(export, check=True, capture_output=True).stdout
    finally:
        podman("rm", container)
    found: dict[str, tarfile.TarInfo | bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        for file in files:
            if not file.isdir() and not ENGINE.match(file.name):
                content = files.extractfile(file) if file.isreg() else None
                found[f"/{file.name}"] = content.read() if content else file
    return found


def crates_in(program: bytes) -> dict[str, str]:
    """The crates that the program says it is made of, by their names."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "program").write_bytes(program)
        section = f".dep-v0={folder / 'list'}"
        command = [tool("objcopy"), "--dump-section", section, folder / "program", "/dev/null"]
        subprocess.run(command, capture_output=True)
        if not (folder / "list").exists():
            return {}
        listed = json.loads(zlib.decompress((folder / "list").read_bytes()))
    return {each["name"]: each["version"] for each in listed["packages"]}


def labels() -> dict[str, str]:
    """What the image has to say of the tree it was built of."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    changed = "-changed" if told("git", "status", "--porcelain") else ""
    made = time.gmtime(int(told("git", "log", "-1", "--format=%ct")))
    return {
        "title": manifest["name"],
        "description": manifest["description"],
        "licenses": manifest["license"],
        "version": manifest["version"],
        "revision": told("git", "rev-parse", "HEAD") + changed,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", made),
    }


def faults_of(image: str) -> list[str]:
    """All that is wrong with an image as it lies there."""
    said = json.loads(podman("image", "inspect", image))[0]
    config = said["Config"]
    faults = []
    if said["Size"] >= LARGEST:
        faults.append(f"it has {said['Size']} bytes, and may have {LARGEST}")
    if config.get("User") != "65532:65532":
        faults.append(f"its user is {config.get('User')!r}")
    if config.get("Entrypoint") != [PROGRAM] or config.get("Cmd"):
        faults.append(f"it starts {config.get('Entrypoint')} with {config.get('Cmd')}")
    health = said.get("HealthCheck") or said.get("Healthcheck") or {}
    if health.get("Test") != ["CMD", PROGRAM, "health"]:
        faults.append(f"its health is {health.get('Test')}")
    if [each for each in config.get("Env") or [] if not each.startswith("PATH=")]:
        faults.append(f"it brings settings: {config['Env']}")
    if set(config.get("ExposedPorts") or {}) != {"8080/tcp"}:
        faults.append(f"its ports are {config.get('ExposedPorts')}")
    given = config.get("Labels") or {}
    for name, value in labels().items():
        if given.get(LABEL + name) != value:
            faults.append(f"its label {name} is {given.get(LABEL + name)!r}, not {value!r}")
    if not given.get(f"{LABEL}source", "").startswith("https://"):
        faults.append("its label source leads nowhere")

    files = files_of(image)
    for path in sorted(set(files) - {PROGRAM, ROOTS}):
        faults.append(f"it holds {path}")
    roots, program = files.get(ROOTS, b""), files.get(PROGRAM, b"")
    if not isinstance(roots, bytes) or roots.count(b"BEGIN CERTIFICATE") < 50:
        faults.append("it trusts hardly anybody")
    if isinstance(program, bytes):
        faults += faults_of_program(program)
    return faults


def faults_of_program(program: bytes) -> list[str]:
    faults = []
    for path in (b"/build/", b"/usr/local/cargo", str(ROOT).encode() + b"/"):
        if path in program:
            faults.append(f"the program has {path.decode()} in it")
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    versions = {(each["name"], each["version"]) for each in locked}
    crates = crates_in(program)
    if "rustls" not in crates or not versions.issuperset(crates.items()):
        faults.append(f"the program does not say which crates are in it; it names {len(crates)}")
    return faults


def what_it_is(image: str, folder: Path) -> None:
    faults = faults_of(image)
    if faults:
        raise Wrong("; ".join(faults))
    said = json.loads(podman("image", "inspect", image))[0]
    print(f"  {said['Size'] / 1e6:.1f} MB, {said['Digest']}", flush=True)

    program = files_of(image)[PROGRAM]
    (folder / "with-a-path").write_bytes(program + b"/usr/local/cargo/registry")
    (folder / "large").write_bytes(b"\0" * 4_000_000)
    (folder / "shell").write_text("#!/bin/sh\n")
    (folder / "empty").touch()
    stripped = [tool("objcopy"), "--remove-section", ".dep-v0", "-", folder / "without-a-list"]
    (folder / "program").write_bytes(program)
    stripped[3] = folder / "program"
    subprocess.run(stripped, check=True)
    for what, words, change in (
        ("another user", "its user is", "USER 0"),
        ("a shell", "it holds /bin/sh", "COPY shell /bin/sh"),
        ("something large", "and may have", "COPY large /var/large"),
        ("no health", "its health is", "HEALTHCHECK NONE"),
        ("health by a shell", "its health is", f"HEALTHCHECK CMD {PROGRAM} health"),
        ("a command", "it starts", 'CMD ["serve"]'),
        ("a setting", "it brings settings", "ENV DECODER__SERVER__BIND=0.0.0.0:8080"),
        ("another port", "its ports are", "EXPOSE 8081"),
        ("another version", "its label version", f"LABEL {LABEL}version=9.9.9"),
        ("another commit", "its label revision", f"LABEL {LABEL}revision={'f' * 40}"),
        ("no licence", "its label licenses", f'LABEL {LABEL}licenses=""'),
        ("no source", "its label source", f"LABEL {LABEL}source=unknown"),
        ("another age", "its label created", f"LABEL {LABEL}created=unknown"),
        ("no roots", "it trusts hardly anybody", f"COPY empty {ROOTS}"),
        ("a path of the build", "the program has /usr/local/cargo", f"COPY with-a-path {PROGRAM}"),
        ("no list of crates", "which crates are in it", f"COPY without-a-list {PROGRAM}"),
    ):
        (folder / "Dockerfile").write_text(f"FROM {image}\n{change}\n")
        spoilt = podman("build", "--quiet", "--format=docker", folder)
        try:
            expect_fault(what, words, faults_of(spoilt))
        finally:
            podman("rmi", spoilt)


# What it needs around it.


@contextlib.contextmanager
def name_server() -> Iterator[None]:
    """Answers every question for an IPv4 address with that of loopback, and knows no others."""

    class Names(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked, here = self.request
            end = asked.index(b"\0", 12) + 5
            is_ipv4 = asked[end - 4 : end - 2] == b"\0\1"
            head = asked[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_ipv4 else b"\0\0") + b"\0\0\0\0"
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\4\x7f\0\0\1" if is_ipv4 else b""
            here.sendto(head + asked[12:end] + record, self.client_address)

    with socketserver.UDPServer((NAME_SERVER, 53), Names) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def serve(listener: socket.socket, tls: ssl.SSLContext, begun: Event) -> None:
    """/full: a document of full size. /slow: the same, of which half comes late."""

    class Source(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(FULL)))
            self.end_headers()
            half = len(FULL) // 2
            self.wfile.write(FULL[:half])
            if self.path == "/slow":
                begun.set()
                time.sleep(3)
            self.wfile.write(FULL[half:])

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: socket.socket, client: Any) -> None:
            # In the thread of the connection: a handshake keeps nobody else waiting. Whoever has
            # all that was wanted hangs up.
            with contextlib.suppress(OSError):
                request.settimeout(30)
                super().finish_request(tls.wrap_socket(request, server_side=True), client)

    server = Server(listener.getsockname(), Source, bind_and_activate=False)
    server.socket = listener
    server.serve_forever()


@dataclass
class Origin:
    """A source over TLS, in a process of its own: a crowd is served by more than one processor."""

    port: int
    # Whether half of a slow document has left.
    begun: Event

    def url(self, path: str) -> str:
        return f"https://{HOST}:{self.port}/{path}"


@contextlib.contextmanager
def source(folder: Path) -> Iterator[Origin]:
    """A source whose authority, ca.pem, nobody knows."""

    def openssl(*words: object) -> None:
        command = [tool("openssl"), *map(str, words)]
        subprocess.run(command, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    ca, leaf = folder / "ca", folder / "leaf"
    subject = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}")
    openssl("req", "-x509", *new, "-subj", "/CN=test", "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
    signed = ("-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-addext", "basicConstraints=CA:FALSE")
    openssl(
        "req", "-x509", *new, *subject, *signed, "-keyout", f"{leaf}.key", "-out", f"{leaf}.pem"
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(f"{leaf}.pem", f"{leaf}.key")
    forked = multiprocessing.get_context("fork")
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        origin = Origin(listener.getsockname()[1], forked.Event())
        server = forked.Process(target=serve, args=(listener, tls, origin.begun), daemon=True)
        server.start()
    try:
        yield origin
    finally:
        server.kill()
        server.join()


class Container:
    """A container of the image, as strict as can be."""

    def __init__(self, name: str, port: int):
        self.name, self.url, self.port = name, f"http://127.0.0.1:{port}", port

    def state(self) -> dict[str, Any]:
        return json.loads(podman("container", "inspect", self.name))[0]["State"]

    def is_healthy(self) -> bool:
        return succeeds("healthcheck", "run", self.name)

    def decode(self, **asked: object) -> tuple[int, Any]:
        body, kind = json.dumps(asked).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/decode", body, kind)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def memory(self) -> tuple[int, int]:
        """The most that it ever had, and how often something in it was killed for that."""
        groups = Path(f"/proc/{self.state()['Pid']}/cgroup").read_text()
        version_1 = re.search(r"^\d+:memory:/(.*)$", groups, re.MULTILINE)
        if version_1:
            folder = Path("/sys/fs/cgroup/memory") / version_1[1]
            peak, events = folder / "memory.max_usage_in_bytes", folder / "memory.oom_control"
        else:
            folder = Path("/sys/fs/cgroup") / re.search(r"^0::/(.*)$", groups, re.MULTILINE)[1]
            peak, events = folder / "memory.peak", folder / "memory.events"
        killed = re.search(r"^oom_kill (\d+)$", events.read_text(), re.MULTILINE)
        return int(peak.read_text()), int(killed[1])


@contextlib.contextmanager
def container(image: str, folder: Path, settings: str) -> Iterator[Container]:
    port = loopback.free_port()
    folder.chmod(0o755)
    config = folder / f"decoder-{port}.toml"
    config.write_text(settings)
    for public in (config, folder / "ca.pem"):
        public.chmod(0o644)
    name = podman(
        "run",
        "--detach",
        *STRICT,
        f"--dns={NAME_SERVER}",
        f"--volume={folder / 'ca.pem'}:/etc/blueprint-decoder/ca.pem:ro",
        f"--volume={config}:/etc/blueprint-decoder/decoder.toml:ro",
        "--env=DECODER_CONFIG=/etc/blueprint-decoder/decoder.toml",
        f"--env=DECODER__SERVER__BIND=127.0.0.1:{port}",
        image,
    )
    started = Container(name, port)

    def is_up() -> bool:
        if not started.state()["Running"]:
            raise Wrong(f"it ended at once: {podman('logs', name, check=False)[-500:]}")
        return loopback.answers(f"{started.url}/health/ready")

    try:
        wait_for("the container", 20, is_up, every=0.1)
        yield started
    finally:
        podman("rm", "--force", "--time=1", name, check=False)


def settings(origin: Origin, base: str = "", ca: bool = True) -> str:
    """A configuration that may fetch from the source, after what `base` says."""
    trust = 'extra_ca_file = "/etc/blueprint-decoder/ca.pem"\n' if ca else ""
    rule = f'{{ url = "{origin.url("")}", addresses = ["127.0.0.1"] }}'
    # All that comes here comes from one address.
    return f"{base}\n[rate_limit]\nenabled = false\n\n[egress]\nallow = [{rule}]\n{trust}"


# What it does.


def at_work(image: str, folder: Path, origin: Origin) -> None:
    as_told(image)
    full = origin.url("full")
    with container(image, folder, settings(origin)) as decoder:
        confined(decoder)
        status, said = decoder.decode(source=full, max_secrets=10000, output="summary")
        summary = said.get("summary", {})
        found = (status, summary.get("returned"), summary.get("bytes_scanned"))
        if found != (200, SECRETS, len(FULL)):
            raise Wrong(f"it does not decode what it fetches over TLS: {status} {said}")
        print(
            f"  decodes {len(FULL)} bytes over TLS, from a name that a name server knows",
            flush=True,
        )

        if not decoder.is_healthy():
            raise Wrong("HEALTHCHECK says that it is not alive")
        podman("kill", "--signal=STOP", decoder.name)
        if decoder.is_healthy():
            raise Wrong("HEALTHCHECK does not notice that nothing answers")
        podman("kill", "--signal=CONT", decoder.name)
        wait_for("health", 10, decoder.is_healthy, every=0.2)
        print("  HEALTHCHECK: alive, hangs, alive again", flush=True)
    with container(image, folder, settings(origin, ca=False)) as decoder:
        status, said = decoder.decode(source=full)
        if (status, said["code"]) != (424, "source_failed"):
            raise Wrong(f"it trusts an authority that nobody named: {status} {said}")
        print(f"  without the authority: {status} {said['code']}", flush=True)


def as_told(image: str) -> None:
    """The command of README, before whoever has just built the image."""
    block = re.search(
        r"```sh\n(podman run .*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL
    )
    port = loopback.free_port()
    words = shlex.split(
        block[1].replace("\\\n", " ").replace("127.0.0.1:8080:", f"127.0.0.1:{port}:")
    )
    if words[:2] != ["podman", "run"] or words[-1] != "TAG":
        raise Wrong(f"README has another command: {words}")
    name = podman("run", "--detach", *words[2:-1], image)
    try:
        started = Container(name, port)
        wait_for(
            "the service", 10, lambda: loopback.answers(f"{started.url}/health/ready"), every=0.1
        )
        status, said = started.decode(content="{*DOOR: east*}")
        if status != 200 or said["secrets"][0]["value"] != "DOOR: east":
            raise Wrong(f"as README says it, it does not serve: {status} {said}")
        if not started.is_healthy():
            raise Wrong("as README says it, it is not healthy")
    finally:
        podman("rm", "--force", "--time=1", name, check=False)
    print("  serves as README says it, by a published port", flush=True)


def confined(decoder: Container) -> None:
    """What podman was told does hold: the rest is worth nothing without."""
    status = Path(f"/proc/{decoder.state()['Pid']}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    is_so = {
        "Uid": fields["Uid"].split() == ["65532"] * 4,
        "Gid": fields["Gid"].split() == ["65532"] * 4,
        "CapBnd": int(fields["CapBnd"], 16) == 0,
        "CapEff": int(fields["CapEff"], 16) == 0,
        "NoNewPrivs": fields["NoNewPrivs"] == "1",
    }
    mounts = Path(f"/proc/{decoder.state()['Pid']}/mountinfo").read_text()
    is_so["read-only"] = bool(re.search(r" / / ro,| /\S* / ro,", mounts))
    wrong = [name for name, it_is in is_so.items() if not it_is]
    if wrong:
        raise Wrong(f"it is not confined: {wrong}")


def ending(image: str, folder: Path, origin: Origin) -> None:
    """A stop lets work end; one that does not wait is noticed."""

    def stopped(seconds: int) -> tuple[int, int, float]:
        origin.begun.clear()
        answers: list[int] = []

        def ask() -> None:
            try:
                slow = decoder.decode(source=origin.url("slow"), max_secrets=10000)
                answers.append(slow[0])
            except OSError:
                answers.append(0)

        with container(image, folder, settings(origin)) as decoder:
            asking = threading.Thread(target=ask)
            asking.start()
            if not origin.begun.wait(20):
                raise Wrong("the source was not asked")
            began = time.monotonic()
            podman("stop", f"--time={seconds}", decoder.name)
            took = time.monotonic() - began
            asking.join(20)
            return decoder.state()["ExitCode"], answers[0], took

    server = tomllib.loads((ROOT / "config/default.toml").read_text())["server"]
    notice, grace = (int(server["shutdown"][name].rstrip("s")) for name in ("notice", "grace"))
    code, answer, took = stopped(notice + grace + 5)
    if code != 0 or answer != 200 or not notice <= took < notice + grace:
        raise Wrong(f"a stop: exit {code} after {took:.1f} s, and the work under way {answer}")
    print(f"  stopped: exit 0 after {took:.1f} s, and the work under way was done", flush=True)
    code, answer, took = stopped(1)
    if code == 0:
        raise Wrong(f"a stop without patience is not noticed: exit {code}, work {answer}")
    print(f"  stopped without patience: exit {code}", flush=True)


# What becomes of it when everyone comes at once.

CROWD = 96
SECONDS = 8.0


def load(port: int, origin: Origin) -> dict[str, collections.Counter[str]]:
    """A crowd with documents of full size: in text, from a source, in JSON; and one that begins
    requests in JSON and does not end them. How each was answered."""
    of_source = {"source": origin.url("full"), "max_secrets": 10000}
    in_json = json.dumps({"content": FULL.decode(), "max_secrets": 10000}).encode()
    kinds = {
        "text": (b"/decode?max_secrets=10000", b"text/plain", FULL, len(FULL)),
        "source": (b"/decode", b"application/json", json.dumps(of_source).encode(), None),
        "json": (b"/decode", b"application/json", in_json, None),
        "half": (b"/decode", b"application/json", b'{"content": "' + b"x" * 100_000, 120_000),
    }
    answers = {kind: collections.Counter() for kind in kinds}

    async def ask(kind: str) -> str:
        path, media, body, length = kinds[kind]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % (path, media, length or len(body)))

            async def send() -> None:
                with contextlib.suppress(OSError):
                    for begin in range(0, len(body), MIB // 8):
                        writer.write(body[begin : begin + MIB // 8])
                        await writer.drain()

            sending = asyncio.create_task(send())
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?i)\r\ncontent-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                return head.split(" ")[1]
            finally:
                sending.cancel()
        finally:
            writer.close()

    async def client(kind: str) -> None:
        while True:
            try:
                status = await ask(kind)
            except (OSError, EOFError, IndexError) as error:
                status = type(error).__name__
            answers[kind][status] += 1
            if status != "200":
                await asyncio.sleep(0.1)

    async def crowd() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            clients = (client(list(kinds)[number % len(kinds)]) for number in range(CROWD))
            await asyncio.wait_for(asyncio.gather(*clients), SECONDS)

    asyncio.run(crowd())
    return answers


def faults_under_load(image: str, folder: Path, origin: Origin, base: str) -> tuple[list[str], str]:
    """What is wrong with the service in a crowd; and how it was."""
    with container(image, folder, settings(origin, base)) as decoder:
        answers = load(decoder.port, origin)
        state = decoder.state()
        story = ", ".join(f"{kind} {dict(count)}" for kind, count in answers.items())
        if not state["Running"]:
            return [f"it died: exit {state['ExitCode']}"], story
        peak, killed = decoder.memory()
        story = f"peak {peak / MIB:.1f} MiB of {MEMORY // MIB}; {story}"
        faults = [f"{killed} of it were killed"] if killed else []
        faults += [
            f"no {kind} was served" for kind in ("text", "source") if not answers[kind]["200"]
        ]
        if not any(count["503"] for count in answers.values()):
            faults.append("it shed nothing: this was no load")
        status, said = decoder.decode(source=origin.url("full"))
        if status != 200 or not decoder.is_healthy():
            faults.append(f"it is not well afterwards: {status} {said}")
        return faults, story


def crowded(image: str, folder: Path, origin: Origin) -> None:
    faults, story = faults_under_load(
        image, folder, origin, (ROOT / "config/small.toml").read_text()
    )
    if faults:
        raise Wrong(f"in a crowd: {'; '.join(faults)}; {story}")
    print(f"  with config/small.toml: {story}", flush=True)
    faults, story = faults_under_load(image, folder, origin, "")
    expect_fault("with the defaults", "it died", faults)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__.splitlines()[2].strip(), file=sys.stderr)
        return 2
    image = sys.argv[1]
    steps: dict[str, Callable[..., None]] = {
        "does its work": at_work,
        "ends in time": ending,
        "sheds": crowded,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            print("what it is:", flush=True)
            (folder / "spoilt").mkdir()
            what_it_is(image, folder / "spoilt")
            with name_server(), source(folder) as origin:
                for what, step in steps.items():
                    print(f"{what}:", flush=True)
                    step(image, folder, origin)
        except Wrong as wrong:
            print(f"FAILED: {wrong}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
