#!/usr/bin/env python3
"""deploy/smoke.sh passes a service that is well, and names what is wrong with one that is not.

    tests/delivery/smoke.py

The service is target/release/blueprint-decoder, first by itself, then in the local stack with
keys, two replicas, a source and Alertmanager. What is wrong is put in by a proxy before it, which
changes one thing of one answer: so each check fails for its own reason, and no other does.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_call"))

import loopback
from loopback import BINARY, LOCAL, ROOT, call, running, wait_for

OK = "ok"


@dataclass
class Answer:
    status: int
    kind: str
    body: bytes

    def change(self, change: Callable[[Any], None]) -> Answer:
        said = json.loads(self.body)
        change(said)
        return Answer(self.status, self.kind, json.dumps(said).encode())


class Asked:
    """One request that came to the proxy; `answer` asks those behind it."""

    def __init__(self, method: str, path: str, body: bytes | None, answer: Callable[[], Answer]):
        self.method, self.path, self.body, self.answer = method, path, body, answer

    @property
    def is_denial(self) -> bool:
        return self.path == "/decode" and b"169.254" in (self.body or b"")

    @property
    def is_decode(self) -> bool:
        return self.path == "/decode" and b"SMOKE" in (self.body or b"")


Spoil = Callable[[Asked], Answer | None]


@contextlib.contextmanager
def before(target: str, spoil: Spoil) -> Iterator[str]:
    """A proxy before the target. What `spoil` gives is answered instead; None hangs up."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.forward(None)

        def do_POST(self) -> None:
            self.forward(self.rfile.read(int(self.headers["Content-Length"])))

        def forward(self, body: bytes | None) -> None:
            kept = ("Content-Type", "Authorization")
            headers = {name: self.headers[name] for name in kept if name in self.headers}

            def answer() -> Answer:
                asked = urllib.request.Request(target + self.path, body, headers)
                try:
                    with urllib.request.urlopen(asked, timeout=20) as given:
                        return Answer(given.status, given.headers["Content-Type"], given.read())
                except urllib.error.HTTPError as refused:
                    return Answer(refused.code, refused.headers["Content-Type"], refused.read())

            given = spoil(Asked(self.command, self.path, body, answer))
            if given is None:
                return
            # Whoever asks may have lost patience.
            with contextlib.suppress(OSError):
                self.send_response(given.status)
                self.send_header("Content-Type", given.kind or "text/plain")
                self.end_headers()
                self.wfile.write(given.body)

        def log_message(self, *_: object) -> None:
            pass

    with loopback.serving(Proxy) as url:
        yield url


# What may be wrong, by what it is called: the check that must say so, its words, and how.


def at_decode(change: Callable[[Any], None]) -> Spoil:
    return lambda asked: asked.answer().change(change) if asked.is_decode else asked.answer()


def instead(is_it: Callable[[Asked], bool], answer: Answer) -> Spoil:
    """Those behind are asked all the same, so that they count it."""

    def spoil(asked: Asked) -> Answer:
        given = asked.answer()
        return answer if is_it(asked) else given

    return spoil


def at_denial(answer: Answer) -> Spoil:
    return instead(lambda asked: asked.is_denial, answer)


def at_path(path: str, answer: Answer) -> Spoil:
    return lambda asked: answer if asked.path == path else asked.answer()


def first_forever(is_it: Callable[[Asked], bool]) -> Spoil:
    """What was answered first is answered ever after."""
    kept: list[Answer] = []

    def spoil(asked: Asked) -> Answer:
        if not is_it(asked):
            return asked.answer()
        if not kept:
            kept.append(asked.answer())
        return kept[0]

    return spoil


def slowly(is_it: Callable[[Asked], bool]) -> Spoil:
    def spoil(asked: Asked) -> Answer | None:
        if not is_it(asked):
            return asked.answer()
        time.sleep(15)
        return None

    return spoil


def shifted(said: Any) -> None:
    said["secrets"][1]["offset"] += 1


def swapped(said: Any) -> None:
    one, other = said["secrets"]
    one["value"], other["value"] = other["value"], one["value"]


TEXT = "text/plain"
JSON = "application/json"
PROBLEM = "application/problem+json"
FAULTS: dict[str, tuple[str, str, Spoil]] = {
    "a page of something else": (
        "health",
        "not that of a decoder",
        at_path("/health", Answer(200, "text/html", b"<h1>It works!</h1>")),
    ),
    "a health without a commit": (
        "health",
        "not that of a decoder",
        at_path("/health", Answer(200, JSON, b'{"status":"ok","version":"0.1.0","commit":""}')),
    ),
    "a health of nothing": ("health", "not that", at_path("/health", Answer(200, JSON, b""))),
    "a readiness of nothing": ("ready", "", at_path("/health/ready", Answer(200, JSON, b""))),
    "a decode of nothing": (
        "decode",
        "decoded wrongly",
        instead(lambda asked: asked.is_decode, Answer(200, JSON, b"")),
    ),
    "a denial of nothing": ("denial", "", at_denial(Answer(403, JSON, b""))),
    "an error at its health": ("health", "503", at_path("/health", Answer(503, TEXT, b"no"))),
    "not ready": (
        "ready",
        "503",
        at_path("/health/ready", Answer(503, JSON, b'{"status":"unready","checks":{}}')),
    ),
    "ready by its status alone": (
        "ready",
        "not ready",
        at_path("/health/ready", Answer(200, JSON, b'{"status":"starting","checks":{}}')),
    ),
    "values that are exchanged": ("decode", "decoded wrongly", at_decode(swapped)),
    "an offset that is off": ("decode", "decoded wrongly", at_decode(shifted)),
    "a secret that is missing": (
        "decode",
        "decoded wrongly",
        at_decode(lambda said: said["secrets"].pop()),
    ),
    "a secret too many": (
        "decode",
        "decoded wrongly",
        at_decode(lambda said: said["secrets"].append(said["secrets"][0])),
    ),
    "a count that is wrong": (
        "decode",
        "decoded wrongly",
        at_decode(lambda said: said["summary"].update(unterminated=0)),
    ),
    "an end that was not reached": (
        "decode",
        "decoded wrongly",
        at_decode(lambda said: said["summary"].update(stopped_by="max_bytes")),
    ),
    "no decode": (
        "decode",
        "500",
        instead(lambda asked: asked.is_decode, Answer(500, PROBLEM, b"{}")),
    ),
    "a decode that is no JSON": (
        "decode",
        "decoded wrongly",
        instead(lambda asked: asked.is_decode, Answer(200, JSON, b"{*")),
    ),
    "what the policy forbids is fetched": (
        "denial",
        "not denied: 200",
        at_denial(Answer(200, JSON, b'{"secrets":[{"value":"a credential"}]}')),
    ),
    "what the policy forbids is tried": (
        "denial",
        "not denied: 424",
        at_denial(Answer(424, PROBLEM, b'{"code":"source_timeout"}')),
    ),
    "denied by another than the policy": (
        "denial",
        "not by the policy",
        at_denial(Answer(403, PROBLEM, b'{"code":"forbidden"}')),
    ),
    "denied by a wall before it": (
        "denial",
        "not denied: 403",
        at_denial(Answer(403, "text/html", b"<h1>Forbidden</h1>")),
    ),
    "counts that stand still": (
        "metric",
        "not counted",
        first_forever(lambda asked: asked.path == "/metrics"),
    ),
    "denials that are not counted": (
        "metric",
        "not counted",
        lambda asked: (
            without(asked.answer(), b'code="source_denied"')
            if asked.path == "/metrics"
            else asked.answer()
        ),
    ),
}


def at_metrics(change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(asked: Asked) -> Answer:
        given = asked.answer()
        if asked.path != "/metrics":
            return given
        return Answer(given.status, given.kind, change(given.body))

    return spoil


UP = b"\ndecoder_rate_limit_backend_up 1\n"
FAULTS |= {
    "limits that are counted nowhere": (
        "limits",
        "does not reach",
        at_metrics(lambda said: said.replace(UP, UP.replace(b"1", b"0"))),
    ),
    "limits of which nothing is said": (
        "limits",
        "does not say",
        at_metrics(lambda said: said.replace(UP, b"\n")),
    ),
}


def without(answer: Answer, words: bytes) -> Answer:
    lines = [line for line in answer.body.splitlines(keepends=True) if words not in line]
    return Answer(answer.status, answer.kind, b"".join(lines))


class Wrong(Exception):
    """What the smoke test should have said and did not."""


def smoke(*urls: str, **settings: object) -> tuple[int, dict[str, Any] | None, str]:
    """Its exit code, its result, and what it told people."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    said = subprocess.run(
        [ROOT / "deploy/smoke.sh", *urls],
        env=kept | {name: str(value) for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    result = json.loads(said.stdout) if said.stdout else None
    return said.returncode, result, said.stderr


def faults(*urls: str, **settings: object) -> tuple[int, dict[str, str]]:
    """Its exit code, and each check that failed with what it said."""
    code, result, told = smoke(*urls, **settings)
    if result is None:
        raise Wrong(f"no result; exit {code}: {told}")
    return code, {each["name"]: each["detail"] for each in result["checks"] if not each["ok"]}


def expect(what: str, check: str, words: str, *urls: str, **settings: object) -> dict[str, Any]:
    """That it fails (or, with OK as the check, passes) by this check alone, and says so."""
    code, result, told = smoke(*urls, **settings)
    if result is None:
        raise Wrong(f"{what}: no result; exit {code}: {told}")
    wrong = {each["name"]: each["detail"] for each in result["checks"] if not each["ok"]}
    problems = []
    if check == OK:
        if code != 0 or wrong or result["ok"] is not True:
            problems.append(f"it should pass; exit {code}, {wrong}")
    else:
        # Where there is no health, nothing else is tried.
        tried = {name for name, detail in wrong.items() if detail != "not tried"}
        if code != 1 or result["ok"] is not False or "FAILED" not in told:
            problems.append(f"it should fail loudly; exit {code}, {told!r}")
        if tried != {check}:
            problems.append(f"it should fail by {check} alone: {wrong}")
        elif words not in wrong[check]:
            problems.append(f"{check} should say {words!r}: {wrong[check]}")
    for each in result["checks"]:
        if set(each) != {"name", "ok", "detail", "ms"} or not each["detail"]:
            problems.append(f"a check of another form: {each}")
    if problems:
        raise Wrong(f"{what}: " + "; ".join(problems))
    print(f"  {what}: {check}{': ' + wrong[check][:110] if check != OK else ''}", flush=True)
    return result


@contextlib.contextmanager
def decoder(directory: Path) -> Iterator[str]:
    port = loopback.free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [str(BINARY), "serve", "--bind", f"127.0.0.1:{port}"]
    with running(argv, directory / "decoder.log") as program:
        # It writes a line for each request, and nobody reads them.
        threading.Thread(target=program.stdout.read, daemon=True).start()
        wait_for("the decoder", 10, lambda: loopback.answers(f"{url}/health/ready"))
        yield url


def alone(directory: Path) -> None:
    """A decoder by itself, and everything that may be wrong with it."""
    nothing = f"http://127.0.0.1:{loopback.free_port()}"
    expect("nothing there", "health", "connect", nothing)
    with decoder(directory) as url:
        health = call(f"{url}/health")
        version, commit = health["version"], health["commit"]
        result = expect("a decoder", OK, "", url, EXPECT_VERSION=version, EXPECT_COMMIT=commit)
        names = [each["name"] for each in result["checks"]]
        if names != [
            "health",
            "version",
            "ready",
            "before",
            "decode",
            "denial",
            "metric",
            "limits",
        ]:
            raise Wrong(f"other checks than are described: {names}")
        expect("a commit in full", OK, "", url, EXPECT_COMMIT=commit + "0" * 28)
        expect("a commit in short", OK, "", f"{url}/", EXPECT_COMMIT=commit[:7])
        for other in ("f" * 40, commit[:6], commit[:-1] + "x"):
            words = "is expected"
            expect(f"the commit {other}", "version", words, url, EXPECT_COMMIT=other)
        for other in ("9.9.9", version[:-1]):
            expect(f"version {other}", "version", "is expected", url, EXPECT_VERSION=other)

        for what, (check, words, spoil) in FAULTS.items():
            with before(url, spoil) as spoilt:
                expect(what, check, words, spoilt)
        unbounded(url)
        no_usage(url, directory)


def unbounded(url: str) -> None:
    """A service that says nothing, one that hangs, and one that does not stop."""
    with before(url, slowly(lambda _: True)) as spoilt:
        begun = time.monotonic()
        expect("nothing but silence", "health", "timed out", spoilt, SMOKE_SECONDS=2)
        if time.monotonic() - begun > 6:
            raise Wrong(f"silence took {time.monotonic() - begun:.0f} s")
    with before(url, slowly(lambda asked: asked.is_decode)) as spoilt:
        begun = time.monotonic()
        code, wrong = faults(spoilt, SMOKE_SECONDS=4)
        took = time.monotonic() - begun
        # What comes after has no time left.
        if code != 1 or "timed out" not in wrong.get("decode", "") or took > 9:
            raise Wrong(f"a decoder that hangs: exit {code} after {took:.0f} s, {wrong}")
        print(f"  a decoder that hangs: decode: {wrong['decode']}, after {took:.0f} s")
    endless = at_path("/health", Answer(200, JSON, b" " * 5_000_000))
    with before(url, endless) as spoilt:
        expect("an answer without an end", "health", "writ", spoilt)
    with before(url, at_path("/metrics", Answer(200, TEXT, b"up 1\n"))) as spoilt:
        code, wrong = faults(spoilt)
        if code != 1 or set(wrong) != {"before", "metric", "limits"}:
            raise Wrong(f"metrics of another program: exit {code}, {wrong}")


def no_usage(url: str, directory: Path) -> None:
    """Whoever calls it wrongly is told so, and nothing is asked."""
    empty = directory / "empty.key"
    empty.write_text('x" url = "http://elsewhere.example\n')
    for urls, settings in (
        ([], {}),
        (["127.0.0.1:8080"], {}),
        ([url, "admin"], {}),
        ([url], {"ALERTMANAGER_URL": "alertmanager:9093"}),
        ([url], {"SMOKE_KEY_FILE": directory / "missing.key"}),
        ([url], {"SMOKE_KEY_FILE": empty}),
        ([url], {"SMOKE_SECONDS": "soon"}),
    ):
        code, result, told = smoke(*urls, **settings)
        if code != 2 or result is not None or not told:
            raise Wrong(f"{urls} {settings}: exit {code}, {told!r}")
    print("  wrong usage: exit 2, seven times")


@contextlib.contextmanager
def stack(directory: Path) -> Iterator[dict[str, Any]]:
    argv = [sys.executable, str(LOCAL / "up"), "--faster", "60", "--dir", str(directory)]
    argv += ["--port-base", str(loopback.free_ports())]
    told = directory / "stack.json"
    with (directory / "up.log").open("w") as words:
        up = subprocess.Popen(argv, stdout=words, stderr=subprocess.STDOUT)

    def is_up() -> bool:
        if up.poll() is not None:
            raise RuntimeError(f"no stack:\n{(directory / 'up.log').read_text()[-3000:]}")
        return told.exists()

    try:
        wait_for("the local stack", 90, is_up)
        yield json.loads(told.read_text())
    finally:
        up.terminate()
        up.wait(60)


def in_the_stack(stack: dict[str, Any]) -> None:
    """Keys, replicas, a source, and the way of an alert."""
    alertmanager = stack["alertmanager"]
    watchdog = f"{alertmanager}/api/v2/alerts?filter=alertname=DecoderWatchdog"
    wait_for("the watchdog", 60, lambda: call(watchdog), every=0.2)
    url = stack["decoders"][0]
    admin, other_admin = stack["admins"]
    source = f"https://{stack['hosts'][0]}:{stack['source_port']}"
    whole = {
        "SMOKE_KEY_FILE": stack["key_files"]["league"],
        "SMOKE_SOURCE": f"{source}/scroll/1",
        "ALERTMANAGER_URL": alertmanager,
        "EXPECT_COMMIT": call(f"{url}/health")["commit"],
    }
    result = expect("all of it", OK, "", url, admin, other_admin, **whole)
    names = [each["name"] for each in result["checks"]]
    if names[-5:] != ["fetch", "metric", "limits", "alert", "watchdog"]:
        raise Wrong(f"other checks than are described: {names}")

    missing = whole | {"SMOKE_SOURCE": f"{source}/missing"}
    expect("a source that is not there", "fetch", "424", url, admin, **missing)
    empty = at_path_of_fetch(lambda said: said["summary"].update(returned=0))
    with before(url, empty) as spoilt:
        expect("a source without secrets", "fetch", "nothing found", spoilt, admin, **whole)

    stale = at_path(
        "/health", Answer(200, JSON, b'{"status":"ok","version":"0.0.9","commit":"0123456789ab"}')
    )
    with before(other_admin, stale) as spoilt:
        words = f"{spoilt} runs 0.0.9"
        expect("a replica that was left behind", "version", words, url, admin, spoilt, **whole)
    apart = at_metrics(lambda said: said.replace(UP, UP.replace(b"1", b"0")))
    with before(other_admin, apart) as spoilt:
        expect("a replica without Valkey", "limits", "a replica", url, admin, spoilt, **whole)
    without_key = {name: value for name, value in whole.items() if name != "SMOKE_KEY_FILE"}
    code, wrong = faults(url, admin, **without_key)
    if code != 1 or any("401" not in wrong.get(name, "") for name in ("decode", "denial")):
        raise Wrong(f"without a key: exit {code}, {wrong}")

    quiet = whole | {"SMOKE_SOURCE": ""}
    nobody = quiet | {"ALERTMANAGER_URL": f"http://127.0.0.1:{loopback.free_port()}"}
    code, wrong = faults(url, admin, **nobody)
    if code != 1 or set(wrong) != {"alert", "watchdog"}:
        raise Wrong(f"no Alertmanager: exit {code}, {wrong}")

    elsewhere = quiet | {"ALERT_RECEIVER": "nobody"}
    expect("a ticket for somebody else", "alert", "does not go to nobody", url, admin, **elsewhere)
    nobody_is_told(stack)
    for what, check, words, spoil in (
        ("alerts that are swallowed", "alert", "did not become active", swallow(0)),
        ("alerts that do not end", "alert", "did not end", swallow(1)),
        ("alerts that are refused", "alert", "takes no alert: 400", refuse),
        ("a watchdog that is silent", "watchdog", "not active", silent),
    ):
        with before(alertmanager, spoil) as spoilt:
            expect(what, check, words, url, admin, **(quiet | {"ALERTMANAGER_URL": spoilt}))


def at_path_of_fetch(change: Callable[[Any], None]) -> Spoil:
    def spoil(asked: Asked) -> Answer:
        is_fetch = asked.path == "/decode" and b"/scroll/" in (asked.body or b"")
        return asked.answer().change(change) if is_fetch else asked.answer()

    return spoil


def swallow(after: int) -> Spoil:
    """So many alerts are let through, and all others answered as if they had been."""
    passed: list[None] = []

    def spoil(asked: Asked) -> Answer:
        if asked.method == "GET":
            return asked.answer()
        passed.append(None)
        return asked.answer() if len(passed) <= after else Answer(200, JSON, b"")

    return spoil


def refuse(asked: Asked) -> Answer:
    return asked.answer() if asked.method == "GET" else Answer(400, JSON, b'"bad request"')


def silent(asked: Asked) -> Answer:
    return Answer(200, JSON, b"[]") if "DecoderWatchdog" in asked.path else asked.answer()


def nobody_is_told(stack: dict[str, Any]) -> None:
    """The test alerts wrote no mail. That they would have become one shows a ticket that is sent
    later and does arrive."""
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    labels = {"alertname": "DecoderControl", "severity": "ticket", "job": "decoder-control"}
    call(f"{stack['alertmanager']}/api/v2/alerts", [{"labels": labels, "endsAt": ends}])

    def mails() -> str:
        return json.dumps(call(f"{stack['receiver']}/received?path=/mail"))

    wait_for("a ticket that is meant", 60, lambda: "DecoderControl" in mails(), every=0.1)
    if "DecoderSmokeTest" in mails():
        raise Wrong(f"somebody was told of a test alert: {mails()[:500]}")
    print("  no mail of any test alert, and one of another that was sent after them")


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        try:
            alone(directory)
            (directory / "stack").mkdir()
            with stack(directory / "stack") as running_stack:
                in_the_stack(running_stack)
        except Wrong as wrong:
            print(f"FAILED: {wrong}", file=sys.stderr)
            return 1
    print("the smoke test tells right from wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
