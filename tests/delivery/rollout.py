#!/usr/bin/env python3
"""deploy/rollout does to a cluster what it says, and nothing where something is wrong.

    tests/delivery/rollout.py

kubectl is one that keeps a diary: it renders as the real one does, hands out what a scene says, and
forwards to the local stack, so the smoke test and the watch behind it are real. Each scene spoils one
thing and must be told so; then what this repository ships is rolled out in the same way. Last,
deploy/identity between a real kubectl and an issuer and a cluster that are each a few lines.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_call"))

import loopback
import ownership
import smoke
import yaml
from loopback import ROOT, call, wait_for
from placeholders import with_values
from smoke import Wrong

DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGE = f"registry.acme.dev/team/blueprint-decoder@{DIGEST}"
SERVER = "https://kubernetes.acme.dev"
SCRIPTS = ("placeholders", "managed_fields.py", "rollout", "pin", "identity", "watch", "smoke.sh")
REAL = shutil.which("kubectl") or sys.exit("kubectl is missing: .ci/setup installs it")

# What a scene says is in SCENE; what was asked goes to DIARY.
KUBECTL = r"""#!/usr/bin/env python3
import json, os, re, socket, subprocess, sys, threading, time
words = sys.argv[1:]
scene = json.load(open(os.environ["SCENE"]))
given = "" if sys.stdin.isatty() or "-f" not in words else sys.stdin.read()
with open(os.environ["DIARY"], "a") as diary:
    config = os.environ.get("KUBECONFIG")
    config = open(config).read() if config else ""
    diary.write(json.dumps({"words": words, "given": given, "config": config}) + "\n")
if words[0] == "kustomize":
    sys.exit(subprocess.run([scene["real"], *words]).returncode)
asked = " ".join(words)
for beginning, code in scene["fails"].items():
    if re.search(beginning, asked):
        print(f"refused: {beginning}", file=sys.stderr)
        sys.exit(code)
if "config view" in asked:
    print(scene["server"])
elif "apply" in words:
    manager = [word.split("=")[1] for word in words if word.startswith("--field-manager=")]
    if "--server-side" not in words or not manager:
        sys.exit("nobody is the owner of what is applied")
    if manager != [scene["owner"]] and "--force-conflicts" not in words:
        sys.exit(f"conflict with {scene['owner']}: .spec.template.spec.containers")
    print("deployment.apps/blueprint-decoder serverside-applied")
elif asked.startswith("get -f -"):
    if scene["live"]:
        print(json.dumps({"items": scene["live"]}))
elif words[0] == "patch":
    name = json.loads(given)["metadata"]["name"]
    (live,) = [each["metadata"] for each in scene["live"] if each["metadata"]["name"] == name]
    def write():
        live["resourceVersion"] = str(int(live["resourceVersion"]) + 1)
        json.dump(scene, open(os.environ["SCENE"], "w"))
    if scene["writes"]:
        scene["writes"] -= 1
        write()
    test, replace = json.loads(words[words.index("--patch") + 1])
    if test["value"] != live["resourceVersion"]:
        sys.exit("The request is invalid: the server rejected our request due to an error in our request")
    live["managedFields"] = replace["value"]
    write()
elif "rollout status" in asked:
    print("successfully rolled out")
elif "get pods" in asked and "json" in words:
    print(json.dumps({"items": scene["pods"]}))
elif "get secret" in asked:
    print(json.dumps({"data": scene["secret"]}))
elif "port-forward" in words:
    local, port = words[-1].split(":")
    to = scene["forwards"].get(f"{words[-2]}:{port}")
    if to is None:
        sys.exit(f"there is no {words[-2]}:{port}")
    listener = socket.create_server(("127.0.0.1", int(local)))
    print(f"Forwarding from 127.0.0.1:{local} -> {port}", flush=True)
    if scene["lasts"]:
        threading.Timer(scene["lasts"], lambda: os._exit(1)).start()
    def pump(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    while True:
        ours, _ = listener.accept()
        theirs = socket.create_connection(tuple(to))
        for pair in ((ours, theirs), (theirs, ours)):
            threading.Thread(target=pump, args=pair, daemon=True).start()
"""

TABLE = (
    "# x\n\n| placeholder | stands for | value |\n| --- | --- | --- |\n"
    "| `registry.example.com` | the registry | {value} |\n"
)
BASE = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: blueprint-decoder}
spec:
  template:
    spec:
      containers:
        - {name: decoder, image: blueprint-decoder}
        - {name: other, image: other}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: blueprint-decoder-valkey, labels: {name: other}}
"""
OVERLAY = """\
namespace: decoder-here
resources: [../../base]
images:
  - name: blueprint-decoder
    newName: registry.example.com/blueprint-decoder
    digest: sha256:%s
  - name: other
    newName: registry.example.com/other
    digest: sha256:%s
"""


@dataclass
class Scene:
    """What kubectl finds; and the tree that is rolled out."""

    root: Path
    url: str = "https://decoder.acme.dev"
    source: str = ""
    says: dict[str, Any] = field(default_factory=dict)
    told: str = ""
    printed: str = ""

    def __post_init__(self) -> None:
        for name in SCRIPTS:
            self.write(f"deploy/{name}", (ROOT / "deploy" / name).read_text())
            (self.root / "deploy" / name).chmod(0o755)
        self.write("RUNBOOK.md", TABLE.format(value="registry.acme.dev/team"))
        self.write("deploy/kubernetes/base/deployment.yaml", BASE)
        self.write("deploy/kubernetes/base/kustomization.yaml", "resources: [deployment.yaml]\n")
        for overlay in ("production", "staging"):
            path = f"deploy/kubernetes/overlays/{overlay}/kustomization.yaml"
            self.write(path, OVERLAY % ("0" * 64, "ab" * 32))
        for path in ("config/x.toml", "dashboards/x.json"):
            self.write(path, "x")
        self.write(
            "deploy/environments/production.env",
            f"# x\nSERVER={SERVER}\nCA=Y2E=\nURL={self.url}\nSOURCE={self.source}\n"
            "PROMETHEUS=monitoring service/prometheus 9090\n"
            "ALERTMANAGER=monitoring service/alertmanager 9093\n",
        )
        self.write("bin/kubectl", KUBECTL)
        (self.root / "bin/kubectl").chmod(0o755)
        self.says = {
            "real": REAL,
            "server": SERVER,
            "fails": {},
            # Who changed it last.
            "owner": "deploy-rollout",
            "lasts": 0,
            "pods": [],
            # What exists; and how often somebody writes to it just before a patch.
            "live": [],
            "writes": 0,
        } | self.says
        # What a scene needs itself is no change of the tree.
        self.write(".gitignore", "bin\ndiary\nscene\n__pycache__\n")
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "all")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def git(self, *words: str) -> str:
        argv = ("git", "-c", "user.name=x", "-c", "user.email=x@acme.dev", *words)
        done = subprocess.run(argv, cwd=self.root, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def change(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        if old not in text:
            raise Wrong(f"nothing to change in {path}: {old}")
        self.write(path, text.replace(old, new))

    def run(self, *words: str, **variables: str) -> int:
        diary, scene = self.root / "diary", self.root / "scene"
        diary.write_text("")
        scene.write_text(json.dumps(self.says))
        environment = {
            name: value
            for name, value in os.environ.items()
            if "ACTIONS" not in name and not name.startswith("GITHUB_")
        }
        environment |= {"DIARY": str(diary), "SCENE": str(scene)} | variables
        environment["PATH"] = f"{self.root / 'bin'}:{environment['PATH']}"
        done = subprocess.run(
            [self.root / "deploy/rollout", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.says = json.loads(scene.read_text())
        self.printed, self.told = done.stdout, done.stdout + done.stderr
        return done.returncode

    @property
    def diary(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "diary").read_text().splitlines()]

    def asked(self, word: str) -> list[dict[str, Any]]:
        return [entry for entry in self.diary if word in " ".join(entry["words"])]

    def expect(self, what: str, code: int, words: str, *argv: str, **variables: str) -> None:
        got = self.run(*argv, **variables)
        if got != code or words not in self.told:
            raise Wrong(f"{what}: exit {got}, {self.told!r}; expected {code} and {words!r}")
        print(f"  {what}: {words or 'passes'}", flush=True)


def pod(name: str, ready: bool = True, ending: bool = False) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    metadata = {"name": name} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if ending else {})
    return {"metadata": metadata, "status": {"conditions": conditions}}


def applied(folder: Path) -> None:
    scene = Scene(folder / "apply")
    scene.expect("an image", 0, f"production runs {IMAGE}", "apply", "production", IMAGE)
    first, second = scene.asked("apply")
    if "--dry-run=server" not in first["words"] or "--dry-run=server" in second["words"]:
        raise Wrong(f"it is not tried before it is done: {scene.diary}")
    if first["given"] != second["given"] or f"image: {IMAGE}" not in second["given"]:
        raise Wrong(f"something else is applied: {second['given']}")
    if "example" in second["given"]:
        raise Wrong(f"placeholders are applied: {second['given']}")
    status = [" ".join(entry["words"][:5]) for entry in scene.asked("rollout status")]
    waits = ("deployment/blueprint-decoder", "statefulset/blueprint-decoder-valkey")
    if status != [f"-n decoder-here rollout status {workload}" for workload in waits]:
        raise Wrong(f"it does not wait, or for something else: {status}")
    for owner in ("kubectl-rollout", "kubectl-client-side-apply"):
        scene.says["owner"] = owner
        scene.expect(f"after {owner}", 0, "production runs", "apply", "production", IMAGE)
    scene.says["owner"] = "deploy-rollout"
    for what, image in (
        ("a tag", "registry.acme.dev/team/blueprint-decoder:1.0.0"),
        ("half a digest", IMAGE[:-1]),
        ("a digest of nothing", DIGEST),
        ("nothing at all", ""),
    ):
        scene.expect(what, 1, "not an image by its digest", "apply", "production", image)
        untouched(scene)
    other = f"registry.acme.dev/other/blueprint-decoder@{DIGEST}"
    scene.expect("another image", 1, "does not run", "apply", "production", other)
    untouched(scene)
    scene.expect("another place", 1, "no environment", "apply", "moon", IMAGE)
    scene.expect("a path for a place", 2, "not the name", "apply", "../x", IMAGE)

    scene.says["server"] = "https://staging.acme.dev"
    scene.expect("another cluster", 1, "your context", "apply", "production", IMAGE)
    untouched(scene)
    scene.says["server"] = SERVER
    for what, fails, words, applies in (
        ("what the cluster refuses", "--dry-run=server", "failed", 1),
        ("what cannot be applied", "apply", "failed", 1),
        ("what breaks off halfway", "apply .* -f -$", "Rollback", 2),
        ("pods that do not come up", "rollout status", "Rollback", 2),
        ("a Valkey that does not", "rollout status statefulset", "Rollback", 2),
    ):
        scene.says["fails"] = {fails: 1}
        scene.expect(what, 1, words, "apply", "production", IMAGE)
        if len(scene.asked("apply")) != applies:
            raise Wrong(f"{what}: {scene.diary}")
        if bool(scene.asked("get events")) != (words == "Rollback"):
            raise Wrong(f"{what}: nobody is shown why, or without need: {scene.diary}")
    scene.says["fails"] = {}

    overlay = "deploy/kubernetes/overlays/production/kustomization.yaml"
    scene.change(overlay, "ab" * 32, "0" * 64)
    scene.expect(
        "an image that nobody chose", 1, "no image is chosen", "apply", "production", IMAGE
    )
    untouched(scene)
    scene.write("RUNBOOK.md", TABLE.format(value=""))
    scene.expect("a table with a gap", 1, "no value", "apply", "production", IMAGE)
    untouched(scene)
    scene.change("deploy/environments/production.env", SERVER, "https://kubernetes.example.com")
    scene.expect("a place with a gap", 1, "no value", "apply", "production", IMAGE)
    if scene.diary:
        raise Wrong(f"a cluster is asked all the same: {scene.diary}")


def owned(folder: Path) -> None:
    """What undo and a hand added, as a real API server has recorded it."""
    live = ownership.recorded("deployment-after-undo-and-set-env.json")
    patch = ownership.recorded("merge-managed-fields.patch.json")

    def asked(scene: Scene) -> list[str]:
        return [entry["words"][0] for entry in scene.diary if entry["words"][0] in PARTS]

    def patches(scene: Scene) -> list[Any]:
        return [json.loads(entry["words"][-1]) for entry in scene.asked("--type=json")]

    scene = Scene(folder / "owned", says={"live": [live]})
    arguments = ("apply", "production", IMAGE)
    scene.expect("a deployment with other owners", 0, "production runs", *arguments)
    # The dry run tries what the apply then does.
    if asked(scene) != ["get", "patch", "apply", "apply"] or patches(scene) != [patch]:
        raise Wrong(f"the owners are not merged, or not before the dry run: {scene.diary}")
    scene.expect("one with no other owner", 0, "production runs", *arguments)
    if asked(scene) != ["get", "apply", "apply"]:
        raise Wrong(f"what needs no patch is patched: {scene.diary}")

    scene.says |= {"live": [live], "writes": 1}
    scene.expect("somebody writes in between", 0, "production runs", *arguments)
    versions = [each[0]["value"] for each in patches(scene)]
    if versions != ["2033", "2034"] or patches(scene)[1][1] != patch[1]:
        raise Wrong(f"it is not read again: {patches(scene)}")
    scene.says |= {"live": [live], "writes": 1000}
    scene.expect("somebody keeps writing", 1, "somebody keeps writing", *arguments)
    if asked(scene) != 5 * ["get", "patch"]:
        raise Wrong(f"it goes on, or gives up at once: {asked(scene)}")
    untouched(scene)


PARTS = ("get", "patch", "apply")


def marked(folder: Path) -> None:
    """What is applied says its commit, and the history of rollouts what was applied and by whom."""
    scene = Scene(folder / "marked")
    commit = scene.git("rev-parse", "HEAD")
    run = {
        "GITHUB_RUN_ID": "7",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "acme/decoder",
    }
    for what, version, origin, variables in (
        ("a commit", commit, "from somebody@", {"LOGNAME": "somebody"}),
        ("a run", commit, "from https://github.com/acme/decoder/actions/runs/7", run),
        ("a tree that was changed", f"{commit}-changed", "from ", {}),
    ):
        if version != commit:
            scene.change("deploy/kubernetes/base/deployment.yaml", "image: other", "image: other ")
        scene.expect(what, 0, "production runs", "apply", "production", IMAGE, **variables)
        cause = f"{IMAGE} with the tree of {version}, applied {origin}"
        for each in yaml.safe_load_all(scene.asked("apply")[-1]["given"]):
            check_marks(each, version, cause)
    shutil.rmtree(scene.root / ".git")
    words = "is no checkout of git"
    scene.expect("no commit", 1, words, "apply", "production", IMAGE)
    untouched(scene)


def check_marks(applied: dict[str, Any], commit: str, cause: str) -> None:
    """Every object has the label of the commit, and the pods of the service; no selector has it."""
    marks = {"app.kubernetes.io/version": commit}
    if not marks.items() <= applied["metadata"]["labels"].items():
        raise Wrong(f"{applied['kind']} has another commit than {commit}: {applied['metadata']}")
    del applied["metadata"]["labels"]
    if applied["kind"] == "Deployment":
        told = applied["metadata"].pop("annotations")["kubernetes.io/change-cause"]
        if not told.startswith(cause):
            raise Wrong(f"the history of rollouts has {told!r}, and not {cause!r}")
        labels = applied["spec"]["template"]["metadata"].pop("labels")
        if not marks.items() <= labels.items():
            raise Wrong(f"pods have another commit than {commit}: {labels}")
    if "app.kubernetes.io/version" in (rest := json.dumps(applied)) or "change-cause" in rest:
        raise Wrong(f"a commit stands where the next one may not change it: {applied}")


def untouched(scene: Scene) -> None:
    if scene.asked("apply"):
        raise Wrong(f"the cluster is changed all the same: {scene.asked('apply')}")


def in_the_stack(stack: dict[str, Any], folder: Path) -> None:
    """What stands behind the forwards is real."""

    def place(url: str) -> list[Any]:
        host, port = url.removeprefix("http://").split(":")
        return [host, int(port)]

    forwards = {
        f"pod/{name}:8081": place(admin) for name, admin in zip("ab", stack["admins"], strict=True)
    }
    forwards["service/prometheus:9090"] = place(stack["prometheus"])
    forwards["service/alertmanager:9093"] = place(stack["alertmanager"])
    key = Path(stack["key_files"]["league"]).read_bytes()
    commit = call(f"{stack['decoders'][0]}/health")["commit"]
    source = f"https://{stack['hosts'][0]}:{stack['source_port']}/scroll/1"
    scene = Scene(folder / "stack", url=stack["decoders"][0], source=source)
    # The names of the stack are placeholders elsewhere.
    scene.change("deploy/placeholders", '    r"|(?:[\\w-]+\\.)+example(?!\\.?[\\w-])"\n', "")
    scene.says |= {
        "pods": [pod("a"), pod("b"), pod("old", ending=True), pod("young", ready=False)],
        "secret": {"key": base64.b64encode(key).decode()},
        "forwards": forwards,
    }
    watchdog = f"{stack['alertmanager']}/api/v2/alerts?filter=alertname=DecoderWatchdog"
    wait_for("the watchdog", 60, lambda: call(watchdog), every=0.2)
    scene.expect("a smoke test", 0, '"ok": true', "smoke", "production", commit)
    result = json.loads(scene.printed)
    names = [each["name"] for each in result["checks"]]
    if not {"fetch", "alert", "watchdog", "metric"} <= set(names):
        raise Wrong(f"not everything is tried: {names}")
    if key.decode().strip() in scene.told:
        raise Wrong("the key is told")
    other = "f" * 40
    scene.expect("another version", 1, "is expected", "smoke", "production", other)
    scene.says["pods"] = [pod("a", ready=False)]
    scene.expect("no pod", 1, "no pod of production is ready", "smoke", "production", commit)
    scene.says["pods"] = [pod("c")]
    scene.expect("a pod out of reach", 1, "cannot be reached", "smoke", "production", commit)
    scene.says["pods"] = [pod("a"), pod("b")]
    scene.says["secret"] = {"key": base64.b64encode(b"bpd_no_key").decode()}
    scene.expect("another key", 1, "401", "smoke", "production", commit)
    scene.says["secret"] = {"key": base64.b64encode(key).decode()}
    alerts = "ALERTMANAGER=monitoring service/alertmanager 9093"
    scene.change("deploy/environments/production.env", alerts, "ALERTMANAGER=")
    scene.expect("no Alertmanager", 0, '"ok": true', "smoke", "production", commit)
    if "watchdog" in scene.printed:
        raise Wrong("Alertmanager is asked all the same")
    scene.expect("no commit", 2, "not a commit", "smoke", "production", "main")

    # The local stack has no namespaces; the overlay names one, and finds nothing by it.
    words = "no instance is seen"
    scene.expect("nobody there", 1, words, "watch", "production", commit, "--settle", "0")
    watched = "deploy/watch"
    scene.change(
        watched,
        'parser.add_argument("--namespace", default="")',
        'parser.add_argument("--namespace", default="", type=lambda _: "")',
    )
    scene.says["lasts"] = 3
    arguments = (
        "watch",
        "production",
        commit,
        "--minutes",
        "0.2",
        "--every",
        "0.5",
        "--settle",
        "3",
    )
    scene.expect("a watch over a forward that breaks", 0, '"ok": true', *arguments)
    if len(scene.asked("port-forward")) < 2:
        raise Wrong("the forward did not break")


def values_of(who: str) -> Callable[[str], str]:
    count = itertools.count()
    known = {
        "registry.example.com": f"registry.{who}.dev/team",
        "kubernetes.example.com": f"api.{who}.dev",
    }
    return lambda name: known.get(name, f"value-{next(count)}.{who}.dev")


def what_is_shipped(folder: Path) -> None:
    """This repository's own overlays and environments, with every placeholder filled in, and once
    more where somebody has filled them in otherwise before."""
    root = folder / "shipped"
    for tree in ("deploy", "dashboards", "config"):
        skipped = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(ROOT / tree, root / tree, ignore=skipped)
    runbook = (ROOT / "RUNBOOK.md").read_text()
    scene = Scene.__new__(Scene)
    scene.root, scene.told = root, ""
    scene.write("bin/kubectl", KUBECTL)
    (root / "bin/kubectl").chmod(0o755)
    scene.says = {"real": REAL, "fails": {}, "owner": "deploy-rollout", "lasts": 0, "live": []}
    scene.git("init", "--quiet")
    scene.git("add", "config")
    scene.git("commit", "--quiet", "--message", "all")
    commit = scene.git("rev-parse", "HEAD")
    overlays = list((root / "deploy/kubernetes/overlays").glob("*/kustomization.yaml"))
    if len(overlays) != 2:
        raise Wrong(f"other overlays than two: {overlays}")
    for who in ("ours", "theirs"):
        runbook = with_values(runbook, values_of(who))
        scene.write("RUNBOOK.md", runbook)
        # Other images than ours were chosen.
        for path in overlays:
            path.write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + 32 * "ab", path.read_text()))
        scene.says["server"] = f"https://api.{who}.dev"
        image = f"registry.{who}.dev/team/blueprint-decoder@{DIGEST}"
        what = f"what is shipped, with {who}"
        scene.expect(what, 0, f"production runs {image}", "apply", "production", image)
        manifests = scene.asked("apply")[-1]["given"]
        if re.search(r"image: (?!\S+@sha256:[0-9a-f]{64}$)", manifests, re.MULTILINE):
            raise Wrong("an image without a digest is applied")
        if "Namespace" in re.findall(r"(?m)^kind: (\S+)$", manifests):
            raise Wrong("a namespace is applied: no pipeline may, an administrator does")
        for each in yaml.safe_load_all(manifests):
            check_marks(each, commit, image)


class Answers(http.server.BaseHTTPRequestHandler):
    """An issuer of tokens, the API of a cluster, and the health of what runs there."""

    answer: Any = None
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"]))
        is_told = self.path == "/health" or "token" in self.path
        body = json.dumps(self.answer if is_told else {"major": "1"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def answering(answer: Any, certificate: Path | None = None) -> Iterator[tuple[str, list[Any]]]:
    handler = type("Handler", (Answers,), {"answer": answer, "seen": []})
    with loopback.serving(handler, certificate) as url:
        yield url, handler.seen


def certified(folder: Path) -> Path:
    certificate = folder / "api.crt"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-nodes", "-days", "1", "-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1"]
    argv += ["-out", certificate, "-keyout", certificate.with_suffix(".key")]
    subprocess.run(argv, check=True, capture_output=True)
    return certificate


def signed(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b"c2lnbmVk"]).decode()


def identified(folder: Path) -> None:
    audience = "https://kubernetes.acme.dev"
    token = signed(
        {"sub": "repo:acme/decoder:environment:production", "exp": int(time.time()) + 300}
    )

    def identity(url: str, **more: str) -> subprocess.CompletedProcess[str]:
        variables = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{url}/token?v=1"} | more
        argv = [ROOT / "deploy/identity", audience]
        environment = {name: it for name, it in os.environ.items() if "ACTIONS" not in name}
        return subprocess.run(
            argv, env=environment | variables, capture_output=True, text=True, timeout=60
        )

    asks = {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "asks"}
    with answering({"value": token}) as (url, seen):
        done = identity(url, **asks)
        said = json.loads(done.stdout)
        if said["status"]["token"] != token or not said["status"]["expirationTimestamp"].endswith(
            "Z"
        ):
            raise Wrong(f"no credential: {done}")
        if seen != [("/token?v=1&audience=https%3A%2F%2Fkubernetes.acme.dev", "Bearer asks")]:
            raise Wrong(f"the issuer is asked otherwise: {seen}")
        done = identity(url)
        if done.returncode != 1 or "id-token: write" not in done.stderr:
            raise Wrong(f"a job that may not: {done}")
        in_a_workflow(folder, token, url, asks)
    for what, answer in (("no token", {"message": "no"}), ("no claims", {"value": "a.b.c"})):
        with answering(answer) as (url, _):
            done = identity(url, **asks)
            if done.returncode == 0 or done.stdout:
                raise Wrong(f"{what}: {done}")
    print("  a workflow proves to the cluster who it is, by a token that nobody keeps")


def in_a_workflow(folder: Path, token: str, issuer: str, asks: dict[str, str]) -> None:
    """What deploy/rollout gives to kubectl there: a real one asks for the token, and shows it."""
    certificate = certified(folder)
    variables = asks | {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer}/token?v=1"}
    with answering(None, certificate) as (api, seen):
        scene = Scene(folder / "workflow")
        place = "deploy/environments/production.env"
        scene.change(place, SERVER, api)
        scene.change(place, "Y2E=", base64.b64encode(certificate.read_bytes()).decode())
        # Whoever it is at a terminal does not matter.
        scene.says["server"] = "https://elsewhere.acme.dev"
        scene.expect("a workflow", 0, "production runs", "apply", "production", IMAGE, **variables)
        config = folder / "kubeconfig"
        config.write_text(scene.asked("apply")[-1]["config"])
        argv = [REAL, "--kubeconfig", config, "get", "--raw", "/version"]
        done = subprocess.run(
            argv, env=os.environ | variables, capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0 or ("/version", f"Bearer {token}") not in seen:
            raise Wrong(f"kubectl does not show the token: {done}, {seen}")


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            applied(folder)
            owned(folder)
            marked(folder)
            identified(folder)
            (folder / "up").mkdir()
            with smoke.stack(folder / "up") as stack:
                in_the_stack(stack, folder)
            what_is_shipped(folder)
        except Wrong as wrong:
            print(f"FAILED: {wrong}", file=sys.stderr)
            return 1
    print("a rollout does what it says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
