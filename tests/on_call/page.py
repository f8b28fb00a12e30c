#!/usr/bin/env python3
"""The story of one page, from end to end, with the rules and routes that are shipped.

    tests/on_call/page.py [--keep DIR]

Starts the local stack sixty times as fast as production (deploy/local/transform.py is all the
difference), makes the source fail, and waits for DecoderMissionSuccessLow to be pending, to fire
and to reach the receiver that stands for PagerDuty; mends the source and waits for the page to
resolve. Then stops Prometheus, and the dead man's switch must notice. Nothing waits for a fixed
time, and every wait has an end.

With --keep the stack's folder, with all the logs, is DIR and stays.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loopback
import transform
from loopback import LOCAL, ROOT, call, wait_for

FASTER = 60
ALERT = "DecoderMissionSuccessLow"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--keep", type=Path, metavar="DIR")
    keep = options.parse_args().keep
    with contextlib.ExitStack() as held:
        directory = keep or Path(held.enter_context(tempfile.TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        stack = held.enter_context(started(directory.resolve()))
        expect_what_is_shipped(stack)
        wait_until_all_is_well(stack)
        page = tell_of_page(stack)
        print(json.dumps(page, indent=2, ensure_ascii=False))
        expect_readable(page)
        tell_of_silence(stack)


@contextlib.contextmanager
def started(directory: Path) -> Iterator[dict[str, Any]]:
    """A local stack of its own, and what it says of itself."""
    log = directory / "up.log"
    argv = [sys.executable, str(LOCAL / "up"), "--faster", str(FASTER), "--dir", str(directory)]
    with log.open("w") as words:
        argv += ["--port-base", str(loopback.free_ports())]
        up = subprocess.Popen(argv, stdout=words, stderr=subprocess.STDOUT)
    told = directory / "stack.json"

    def is_up() -> bool:
        if up.poll() is not None:
            raise RuntimeError(f"the stack did not start:\n{log.read_text()[-3000:]}")
        return told.exists()

    try:
        wait_for("the local stack", 60, is_up)
        yield json.loads(told.read_text())
    finally:
        up.terminate()
        try:
            up.wait(60)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()


def expect_what_is_shipped(stack: dict[str, Any]) -> None:
    """What runs is what is shipped, transformed, and nothing else."""
    directory = Path(stack["dir"])
    shipped = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
    for path in shipped:
        expected = transform.rules(path.read_text(), FASTER)
        expect(f"the rules of {path.name}", (directory / "rules" / path.name).read_text(), expected)
    groups = call(f"{stack['prometheus']}/api/v1/rules")["data"]["groups"]
    loaded = {Path(group["file"]).name for group in groups}
    expect("the files of rules in force", loaded, {path.name for path in shipped})

    running = call(f"{stack['alertmanager']}/api/v2/status")["config"]["original"]
    mail = re.search(r"smtp_smarthost: (\S+)", running)[1]
    text = (ROOT / "deploy/alertmanager/alertmanager.yml").read_text()
    secrets = re.search(r"slack_api_url_file: (.*)/slack-url", running)[1]
    expected = transform.alertmanager(text, FASTER, stack["receiver"], mail, secrets)
    found = (directory / "alertmanager.yml").read_text()
    expect("the configuration of Alertmanager", found, expected)


def wait_until_all_is_well(stack: dict[str, Any]) -> None:
    """Clients ask and are answered, both instances are scraped, and no page is open. One may have
    been: Prometheus takes up to five seconds to find its targets however fast the rules are, and
    the five minutes after which nothing to scrape is a page are five seconds here."""

    def is_well() -> bool:
        up = query(stack, 'up{job="decoder"} == 1')
        success = query(stack, "decoder:mission_success:ratio_rate10m > 0.99")
        pages = [alert for alert in alerts(stack) if alert["labels"]["severity"] == "page"]
        pages += open_pages(stack)
        return len(up) == 2 and bool(success) and not pages and len(received(stack, "/deadman")) > 2

    wait_for("a stack in which all is well", 120, is_well, every=0.2)


def open_pages(stack: dict[str, Any]) -> list[str]:
    """The pages that were sent and did not resolve."""
    last = {
        entry["body"]["dedup_key"]: entry["body"]["event_action"]
        for entry in received(stack, "/v2/enqueue")
    }
    return [key for key, action in last.items() if action != "resolve"]


def tell_of_page(stack: dict[str, Any]) -> dict[str, Any]:
    """A fault, and what becomes of it. The page that somebody got."""
    story = Story()
    story.tell("the source begins to fail")
    fault(stack, "failing-source", "on")

    def in_state(*states: str) -> bool:
        return any(
            alert["labels"]["alertname"] == ALERT and alert["state"] in states
            for alert in alerts(stack)
        )

    wait_for(f"{ALERT} to be pending", 60, lambda: in_state("pending", "firing"))
    story.tell(f"{ALERT} is pending")
    wait_for(f"{ALERT} to fire", 60, lambda: in_state("firing"))
    story.tell("it fires")
    page = wait_for("the page", 60, lambda: event(stack, "trigger", story.began))
    story.tell("PagerDuty has it", page["time"])

    story.tell("the source is mended")
    fault(stack, "failing-source", "off")
    wait_for(f"{ALERT} to be over", 120, lambda: not in_state("pending", "firing"))
    story.tell("the alert is over")
    end = wait_for("the page to resolve", 60, lambda: event(stack, "resolve", page["time"]))
    story.tell("PagerDuty knows", end["time"])
    expect("what resolves", end["body"]["dedup_key"], page["body"]["dedup_key"])
    pages = [entry for entry in received(stack, "/v2/enqueue") if entry["time"] > story.began]
    others = {entry["body"]["payload"]["class"] for entry in pages} - {ALERT}
    print(f"  other pages meanwhile: {', '.join(sorted(others)) or 'none'}")
    return page["body"]


class Story:
    """What happened when, in seconds since it began; and what that is in production."""

    def __init__(self) -> None:
        self.began = time.time()
        print(f"seconds here  minutes in production ({FASTER} times as slow)")

    def tell(self, what: str, at: float | None = None) -> None:
        since = (at or time.time()) - self.began
        print(f"{since:12.1f}  {since * FASTER / 60:8.1f}  {what}", flush=True)


def expect_readable(page: dict[str, Any]) -> None:
    """The page says what, how bad, where to look and what to do."""
    payload = page["payload"]
    expect("its severity", payload["severity"], "critical")
    if not re.search(r"\d+(\.\d+)?%", payload["summary"]) or len(payload["summary"]) > 120:
        raise AssertionError(f"no title for a phone, with the value: {payload['summary']!r}")
    details = payload["custom_details"]
    if not details["what"]:
        raise AssertionError("the page does not say what it means")
    links = {link["text"]: link["href"] for link in page["links"]}
    if not links["Runbook"].endswith(f"/RUNBOOK.md#{ALERT.lower()}"):
        raise AssertionError(f"the page leads to {links['Runbook']}")
    if "/d/decoder-" not in links["Dashboard"]:
        raise AssertionError(f"the page leads to {links['Dashboard']}")


def tell_of_silence(stack: dict[str, Any]) -> None:
    """While Prometheus runs, the dead man's switch hears of it each minute; then no more."""
    signs = [entry["time"] for entry in received(stack, "/deadman")]
    longest = max(later - sooner for sooner, later in zip(signs, signs[1:]))
    # A minute; some more for a machine that does all of this at once.
    if longest > 3 * 60 / FASTER:
        raise AssertionError(f"the dead man's switch heard nothing for {longest:.1f} s")
    print(f"the dead man's switch was told {len(signs)} times, {longest:.1f} s apart at most")

    stopped = time.time()
    os.kill(stack["pids"]["prometheus"], signal.SIGTERM)

    def last_sign() -> float | None:
        """The last one, once there has been none for five minutes of production."""
        last = received(stack, "/deadman")[-1]["time"]
        return last if time.time() - last > 5 * 60 / FASTER else None

    last = wait_for("the dead man's switch to hear no more", 60, last_sign, every=0.2)
    print(f"Prometheus was stopped: the last sign of life came {last - stopped:.1f} s later")


def fault(stack: dict[str, Any], name: str, state: str) -> None:
    argv = [str(LOCAL / "fault"), name, state, "--dir", stack["dir"]]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=30)


def alerts(stack: dict[str, Any]) -> list[dict[str, Any]]:
    return call(f"{stack['prometheus']}/api/v1/alerts")["data"]["alerts"]


def query(stack: dict[str, Any], expression: str) -> list[Any]:
    asked = loopback.encoded(query=expression)
    return call(f"{stack['prometheus']}/api/v1/query?{asked}")["data"]["result"]


def received(stack: dict[str, Any], path: str) -> list[dict[str, Any]]:
    return call(f"{stack['receiver']}/received?path={path}")


def event(stack: dict[str, Any], action: str, after: float) -> dict[str, Any] | None:
    """The first event of the alert after this time that does this."""
    for entry in received(stack, "/v2/enqueue"):
        body = entry["body"]
        is_ours = body["event_action"] == action and body["payload"]["class"] == ALERT
        if is_ours and entry["time"] > after:
            return entry
    return None


def expect(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, RuntimeError, TimeoutError) as error:
        sys.exit(str(error))
