#!/usr/bin/env python3
"""deploy/watch passes an hour in which all is well, and fails at once when something is not.

    tests/delivery/watch.py

First against a Prometheus of a few lines, which says what each scene wants it to; then against the
local stack, where a fault is switched on and real rules make an alert of it.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_call"))

import loopback
import smoke
from loopback import LOCAL, ROOT, call, free_port, wait_for
from smoke import Wrong

COMMIT = "0123456789ab"
STARTED = time.time() - 60


def alert(name: str, severity: str, state: str = "firing", began: float = 30, **labels: str) -> Any:
    """One that began so many seconds after the version did."""
    moment = datetime.fromtimestamp(STARTED + began, UTC)
    return {
        "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {"summary": f"the words of {name}"},
        "state": state,
        "activeAt": moment.strftime("%Y-%m-%dT%H:%M:%S.%f123Z"),
    }


WATCHDOG = alert("DecoderWatchdog", "none", began=-99999)


@dataclass
class World:
    """What Prometheus knows."""

    commits: list[str] = field(default_factory=lambda: [COMMIT, COMMIT])
    commits_later: list[str] | None = None
    alerts: list[Any] = field(default_factory=lambda: [WATCHDOG])
    restarts: float = 0
    # When each of them started; none is known where this is empty.
    starts: list[float] = field(default_factory=lambda: [STARTED, STARTED])
    # Instead of those of `commits`.
    builds: list[Any] | None = None
    # What it answers instead; and from which request on.
    broken: Callable[[], bytes] | None = None
    broken_from: int = 0
    broken_until: int = 10**9
    requests: int = 0
    queries: set[str] = field(default_factory=set)

    def answer(self, path: str) -> bytes:
        self.requests += 1
        if self.broken and self.broken_from <= self.requests < self.broken_until:
            return self.broken()
        url = urllib.parse.urlsplit(path)
        if url.path == "/api/v1/alerts":
            data: Any = {"alerts": self.alerts}
        else:
            query = urllib.parse.parse_qs(url.query)["query"][0]
            self.queries.add(query)
            data = {"result": self.result(query)}
        return json.dumps({"status": "success", "data": data}).encode()

    def result(self, query: str) -> list[Any]:
        def series(value: float, **labels: str) -> Any:
            return {"metric": labels, "value": [time.time(), str(value)]}

        if self.commits_later is not None and self.requests > 12:
            self.commits = self.commits_later
        if "build_info" in query:
            if self.builds is not None:
                return self.builds
            return [
                series(1, instance=f"i{place}", commit=commit)
                for place, commit in enumerate(self.commits)
            ]
        if "changes" in query:
            return [series(self.restarts, instance="i0")] if self.restarts else []
        return [series(when, instance=f"i{place}") for place, when in enumerate(self.starts)]


@contextlib.contextmanager
def prometheus(world: World) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = world.answer(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with loopback.serving(Handler) as url:
        yield url


def watched(url: str, *words: str) -> tuple[int, dict[str, Any], str]:
    argv = [sys.executable, ROOT / "deploy/watch", url, *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    if done.returncode not in (0, 1):
        raise Wrong(f"deploy/watch {words}: exit {done.returncode}: {done.stderr}")
    result = json.loads(done.stdout)
    keys = {"ok", "url", "seconds", "looks", "failed", "detail", "told"}
    if set(result) != keys or result["ok"] != (done.returncode == 0):
        raise Wrong(f"a result of another form: {result}, exit {done.returncode}")
    return done.returncode, result, done.stderr


def expect(what: str, check: str | None, words: str, world: World, *more: str) -> dict[str, Any]:
    """It fails by this check (None: it passes), says so, and says what it has to tell."""
    with prometheus(world) as url:
        arguments = (
            "--commit",
            COMMIT,
            "--minutes",
            "0.04",
            "--every",
            "0.1",
            "--settle",
            "0",
            *more,
        )
        code, result, told = watched(url, *arguments)
    if result["failed"] != check or words not in told:
        raise Wrong(f"{what}: {result}, {told!r}; expected {check}, {words!r}")
    if check and "RUNBOOK.md, Rollback" not in told:
        raise Wrong(f"{what}: nobody is told what to do: {told}")
    if check and check != "blind" and result["looks"] > 25:
        raise Wrong(f"{what}: it fails late, after {result['looks']} looks")
    print(f"  {what}: {check or 'passes'}{': ' + words if words else ''}", flush=True)
    return result


def scenes() -> None:
    well = World()
    result = expect("all is well", None, "", well)
    if result["looks"] < 5 or result["seconds"] < 2:
        raise Wrong(f"it does not go on looking: {result}")
    if not any("changes(" in query for query in well.queries):
        raise Wrong(f"it does not ask for restarts: {well.queries}")

    page = alert("DecoderErrorSpike", "page")
    expect("a page", "alerts", "the words of DecoderErrorSpike", World(alerts=[WATCHDOG, page]))
    notify = alert("DecoderShedding", "notify")
    expect("a notice", "alerts", "DecoderShedding", World(alerts=[notify, WATCHDOG]))
    ticket = alert("DecoderExpiresSoon", "ticket")
    expect("a ticket", None, "waits for working hours", World(alerts=[WATCHDOG, ticket]))
    pending = alert("DecoderErrorSpike", "page", state="pending")
    expect("what may become a page", None, "", World(alerts=[WATCHDOG, pending]))
    before = alert("DecoderErrorSpike", "page", began=-5)
    expect(
        "a page of the version before",
        None,
        "before this version",
        World(alerts=[WATCHDOG, before]),
    )
    after = alert("DecoderErrorSpike", "page", began=0.5)
    expect("a page at once", "alerts", "fires", World(alerts=[WATCHDOG, after]))
    unknown = World(alerts=[WATCHDOG, before], starts=[])
    expect("nobody knows since when", "alerts", "fires", unknown)
    # As it is right after a rollout: an old pod is still seen, and an alert that this version mends.
    old_and_new = {
        "commits": [COMMIT, "fedcba987654"],
        "starts": [STARTED, STARTED - 3 * 86400],
        "alerts": [WATCHDOG, alert("DecoderErrorSpike", "page", began=-1800)],
    }
    mended = World(commits_later=[COMMIT], **old_and_new)
    expect("a page of the version that ends", None, "before this version", mended, "--settle", "1")
    ours = old_and_new | {"alerts": [WATCHDOG, after]}
    broken = World(commits_later=[COMMIT], **ours)
    expect("a page beside one that ends", "alerts", "fires", broken, "--settle", "1")
    nothing = World(**old_and_new | {"commits": ["fedcba987654"]})
    words = "nothing is seen of this version so far"
    expect("a page before it is seen", "version", words, nothing, "--settle", "1")
    foreign = alert("NodeDown", "page")
    expect("a page of another service", None, "", World(alerts=[WATCHDOG, foreign]))

    space = ("--namespace", "here")
    elsewhere = alert("DecoderErrorSpike", "page", namespace="there")
    world = World(alerts=[WATCHDOG, elsewhere])
    expect("a page of another namespace", None, "", world, *space)
    if not all('namespace="here"' in query for query in world.queries):
        raise Wrong(f"other namespaces are looked at: {world.queries}")
    ours = alert("DecoderErrorSpike", "page", namespace="here")
    expect("a page of this one", "alerts", "fires", World(alerts=[WATCHDOG, ours]), *space)
    expect("a page of none", "alerts", "fires", World(alerts=[WATCHDOG, page]), *space)

    expect("another version", "version", "i1 runs fedcba", World(commits=[COMMIT, "fedcba987654"]))
    expect("the commit in full", None, "", World(commits=[COMMIT + "0" * 28]))
    expect("no instance", "version", "no instance is seen", World(commits=[]))
    gone = World(commits=[COMMIT, "fedcba987654"], commits_later=[COMMIT])
    expect("a version that ends", None, "so far: i1 runs fedcba", gone, "--settle", "1")
    stays = World(commits=[COMMIT, "fedcba987654"])
    expect("a version that stays", "version", "i1 runs fedcba", stays, "--settle", "1")
    expect("a restart", "restarts", "i0 restarted 1 times", World(restarts=1))

    expect("no watchdog", "blind", "DecoderWatchdog does not fire", World(alerts=[]))
    silent = alert("DecoderWatchdog", "none", state="pending")
    expect("a watchdog that waits", "blind", "does not fire", World(alerts=[silent]))
    refuses = World(broken=lambda: b'{"status": "error", "error": "no"}')
    expect("an error", "blind", "answers {", refuses)
    expect("no JSON", "blind", "cannot be asked", World(broken=lambda: b"<html>"))
    expect("other JSON", "blind", "cannot be asked", World(broken=lambda: b"[]"))
    for what, body in (("no result", b"{}"), ("a list", b"[]"), ("a number", b"1")):
        other = World(broken=lambda body=body: b'{"status": "success", "data": %s}' % body)
        expect(f"data of another form, {what}", "blind", "another form", other)
    nameless = {"labels": {}, "state": "firing", "activeAt": "soon"}
    expect("an alert without a name", None, "", World(alerts=[WATCHDOG, nameless]))
    half = World(alerts=[WATCHDOG, {"labels": {"alertname": "DecoderErrorSpike"}}])
    expect("half an alert", "blind", "another form", half)
    undated = alert("DecoderErrorSpike", "page") | {"activeAt": "soon"}
    expect("an alert of no time", "blind", "another form", World(alerts=[WATCHDOG, undated]))
    for labels in ({"instance": "i0"}, {"instance": "i0", "commit": ""}):
        bare = World(builds=[{"metric": labels, "value": [0, "1"]}])
        expect(f"an instance of no commit, {labels}", "version", "i0 runs", bare)
    hiccup = World(broken=lambda: b"", broken_from=20, broken_until=23)
    expect("a Prometheus that is restarted", None, "cannot be asked", hiccup)
    # Longer than the rest of the hour: nothing was seen at its end.
    late = World(broken=lambda: b"", broken_from=70)
    expect("nothing seen at the end", "blind", "cannot be asked", late)
    url = f"http://127.0.0.1:{free_port()}"
    code, result, _ = watched(url, "--minutes", "1", "--settle", "0", "--every", "0.05")
    if code != 1 or result["failed"] != "blind" or result["seconds"] > 10:
        raise Wrong(f"nobody there: {result}")
    print("  nobody there: blind")


def usage() -> None:
    for words in (
        [],
        ["prometheus:9090"],
        ["http://127.0.0.1:1", "--minutes", "4"],
        ["http://127.0.0.1:1", "--every", "soon"],
        ["http://127.0.0.1:1", "--commit", "0123"],
    ):
        argv = [sys.executable, ROOT / "deploy/watch", *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
        if done.returncode != 2 or done.stdout or not done.stderr:
            raise Wrong(f"deploy/watch {words}: exit {done.returncode}")
    print("  wrong usage: exit 2, five times")


def in_the_stack(stack: dict[str, Any], directory: Path) -> None:
    url = stack["prometheus"]
    commit = call(f"{stack['decoders'][0]}/health")["commit"]

    def firing(name: str) -> bool:
        found = call(f"{url}/api/v1/alerts")["data"]["alerts"]
        return any(it["labels"]["alertname"] == name and it["state"] == "firing" for it in found)

    wait_for("the watchdog", 60, lambda: firing("DecoderWatchdog"), every=0.2)
    instances = f"{url}/api/v1/query?query=decoder_build_info"
    wait_for("instances", 60, lambda: len(call(instances)["data"]["result"]) == 2, every=0.2)
    arguments = ("--commit", commit, "--every", "0.2", "--settle", "0")
    code, result, told = watched(url, *arguments, "--minutes", "0.1")
    if code != 0:
        raise Wrong(f"a stack that is well: {result}, {told}")
    print(f"  a stack that is well: {result['looks']} looks")
    code, result, _ = watched(url, "--commit", "f" * 40, "--minutes", "0.1", "--settle", "0")
    if result["failed"] != "version":
        raise Wrong(f"another version than is expected: {result}")

    def fault(state: str) -> None:
        argv = [LOCAL / "fault", "failing-source", state, "--dir", directory]
        subprocess.run(argv, check=True, capture_output=True)

    begun = time.monotonic()
    fault("on")
    code, result, _ = watched(url, *arguments, "--minutes", "2")
    fault("off")
    if result["failed"] != "alerts" or time.monotonic() - begun > 100:
        raise Wrong(f"sources that fail: {result}")
    print(f"  sources that fail: {result['detail'][:100]}")


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        try:
            scenes()
            usage()
            with smoke.stack(Path(name)) as stack:
                in_the_stack(stack, Path(name))
        except Wrong as wrong:
            print(f"FAILED: {wrong}", file=sys.stderr)
            return 1
    print("the watch tells a good hour from a bad one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
