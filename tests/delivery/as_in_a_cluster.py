"""The service with the files and variables of the manifests, beside a server that reads valkey.conf:
probed, scraped, asked and told to end, as a cluster would."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_call"))

import loopback
from loopback import BINARY, wait_for
from manifests import NAME, Cluster, Tree, Wrong, kept_environment, mounted_files


def check_running(tree: Tree) -> Iterator[str]:
    """The service, with the files and variables of production, and Valkey with its own."""
    cluster = tree.production
    with tree.mounted(cluster) as (root, env), valkey(tree, cluster) as valkey_port:
        http, admin = (f"127.0.0.1:{loopback.free_port()}" for _ in range(2))
        env |= {
            # As in a pod: on loopback it would answer to other hosts.
            "DECODER__SERVER__BIND": http.replace("127.0.0.1", "0.0.0.0"),
            "DECODER__SERVER__ADMIN_BIND": admin.replace("127.0.0.1", "0.0.0.0"),
            # The name is the cluster's to know.
            "DECODER__RATE_LIMIT__VALKEY__URL": f"valkeys://localhost:{valkey_port}",
        }
        argv = [str(BINARY), *cluster.container["args"]]
        log = (root / "log").open("w")
        program = subprocess.Popen(
            argv, env=kept_environment() | env, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield from asked_as_in_a_cluster(tree, cluster, program, http, admin)
        finally:
            program.kill()
            program.wait()
            log.close()
        lines = (root / "log").read_text().splitlines()
        if not lines or any(not line.startswith('{"') for line in lines):
            yield f"lines are no JSON: {lines[:2]}"


def asked_as_in_a_cluster(
    tree: Tree, cluster: Cluster, program: subprocess.Popen[bytes], http: str, admin: str
) -> Iterator[str]:
    container = cluster.container
    addresses = {"http": http, "admin": admin}
    key = (tree.secrets / "league.key").read_text().splitlines()[0]

    def probe(name: str) -> int:
        asked = container[name]["httpGet"]
        return answered(f"http://{addresses[asked['port']]}{asked['path']}", Host="10.1.2.3:8081")[
            0
        ]

    def decode(**headers: str) -> tuple[int, Any]:
        return answered(f"http://{http}/decode", b"{*DOOR: east*}", **headers)

    def waited(what: str, limit: float, is_so: Callable[[], bool]) -> bool:
        with contextlib.suppress(TimeoutError):
            return wait_for(what, limit, is_so)
        return False

    start = container["startupProbe"]
    limit = min(10, start["periodSeconds"] * start["failureThreshold"])
    if not waited("a start", limit, lambda: probe("startupProbe") == 200):
        yield f"it does not start: {probe('startupProbe')}, exit code {program.poll()}"
        return
    if [probe("livenessProbe"), probe("readinessProbe")] != [200, 200]:
        yield "it is not alive, or not ready"
    ready = f"http://{admin}/health/ready"

    def counts_together() -> bool:
        return b"counted for all replicas" in answered(ready)[1]

    plain = {"Content-Type": "text/plain"}
    if decode(**plain)[0] != 401:
        yield "anyone may call"
    status, said = decode(**plain, **{"X-Api-Key": key})
    if status != 200 or b'"value":"DOOR: east"' not in said:
        yield f"a key does not open: {status}, {said[:200]!r}"
    if not waited("Valkey", 5, counts_together):
        yield f"limits are not shared: {answered(ready)[1][:300]!r}"
    # Again, now that Valkey counts.
    if decode(**plain, **{"X-Api-Key": key})[0] != 200 or not counts_together():
        yield f"limits are not shared: {answered(ready)[1][:300]!r}"
    path = cluster.one("ServiceMonitor")["spec"]["endpoints"][0]["path"]
    status, metrics = answered(f"http://{admin}{path}")
    if status != 200 or b"\ndecoder_build_info{" not in metrics:
        yield f"there is nothing to scrape: {status}"
    if b'backend="valkey",decision="allowed"' not in metrics:
        yield "Valkey was not asked"
    if answered(f"http://{http}{path}")[0] != 404:
        yield "clients see the metrics"

    began = time.monotonic()
    program.send_signal(signal.SIGTERM)
    if not waited("unready", 2, lambda: probe("readinessProbe") == 503):
        yield "it is ready although it ends"
    if decode(**plain, **{"X-Api-Key": key})[0] != 200:
        yield "it turns clients away before the balancers know"
    try:
        code = program.wait(cluster.pod["terminationGracePeriodSeconds"])
    except subprocess.TimeoutExpired:
        yield "it would be killed"
        return
    if code != 0:
        yield f"it ended with {code}"
    if time.monotonic() - began < 9:
        yield f"it ended after {time.monotonic() - began:.1f} s: balancers had no time"


def answered(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    try:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()
    except OSError as error:
        return 0, str(error).encode()


@contextlib.contextmanager
def valkey(tree: Tree, cluster: Cluster) -> Iterator[int]:
    """A server that reads valkey.conf; other paths and another port are all that is changed."""
    port = loopback.free_port()
    pod = cluster.one("StatefulSet", f"{NAME}-valkey")["spec"]["template"]["spec"]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path, (source, key) in mounted_files(cluster, pod, pod["containers"][0]).items():
            (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            content = source[key] if source else (tree.secrets / key).read_text()
            if source:
                content = re.sub(r"(?<= )/(etc|data)\b", rf"{root}/\1", content)
                content = content.replace("tls-port 6379", f"tls-port {port}")
                content = re.sub(r"^bind .*", "bind 127.0.0.1", content, flags=re.MULTILINE)
            (root / path[1:]).write_text(content)
        (root / "data").mkdir()
        conf = pod["containers"][0]["command"][1]
        with loopback.running(["redis-server", f"{root}{conf}"], root / "log") as program:
            # It says much, and nobody reads.
            said: list[str] = []
            reader = threading.Thread(target=lambda: said.extend(program.stdout), daemon=True)
            reader.start()

            def is_up() -> bool:
                if program.poll() is not None:
                    raise Wrong(f"valkey.conf is refused: {''.join(said)[-500:]}")
                with contextlib.suppress(OSError), loopback.socket.socket() as tried:
                    tried.connect(("127.0.0.1", port))
                    return True
                return False

            wait_for("Valkey", 10, is_up)
            yield port
