#!/usr/bin/env python3
"""Holds RUNBOOK.md to what it says.

    tests/on_call/runbook.py --form        what can be seen without running anything
    tests/on_call/runbook.py               that, and every command on a local stack of its own
    tests/on_call/runbook.py --dir DIR     the same on the stack that `deploy/local/up --dir DIR`
                                           has started

How blocks are written. ```sh is a block of commands that can be pasted as a whole. What it prints,
on both of its outputs, stands in the ```text block right behind it; without one it prints nothing.
`…` stands for anything within a line, and a line of nothing else for any number of lines. The
exit code is 0: what ends otherwise is made to say so (`|| echo "exit $?"`). Behind `sh` may stand

    setup           defines what all other blocks use; is run in front of each of them
    during FAULT    is what one sees while FAULT is on in the local stack. It only looks, and is
                    repeated until it shows what stands there, for a minute at most
    during FAULT AlertName
                    the same, once that alert is firing
    cluster         needs a Kubernetes cluster. It is not run but read: what it does to which
                    objects is held against a short list

Every block is run or, of the last kind, read; none is skipped. The judges are tried, too: each
must find the fault in something that has been broken on purpose.
"""

import argparse
import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import loopback

ROOT = Path(__file__).resolve().parents[2]
FAULTS = (
    "slow-source",
    "failing-source",
    "denied-urls",
    "bad-keys",
    "overload",
    "abandoned",
    "quota-backend-down",
    "broken-tenants-file",
    "stopped-instance",
)
# By how much the stack is hurried, and how far the commands look back in it.
FASTER = 60
RANGE = "20s"
# How long a block may take, how long one that is repeated may take to show what it must, how
# long an alert may take, and how long the stack may take to be well again.
PATIENCE, UNTIL_SHOWN, UNTIL_FIRING, UNTIL_CALM = 60, 45, 90, 150

PARTS = ("Means", "Confirm", "Likely causes", "Do", "Escalate")
# What a cluster may be asked for in this runbook, and of which names.
VERBS = {
    "annotate",
    "apply",
    "create",
    "delete",
    "describe",
    "exec",
    "get",
    "logs",
    "port-forward",
    "rollout",
    "scale",
    "set",
    "top",
}
READ_ONLY = {"describe", "get", "logs", "top", "port-forward"}
ROLLOUT = {"history", "restart", "status", "undo"}
KINDS = {
    # Its name ends in a hash of its content.
    "configmap": set(),
    "deployment": {"blueprint-decoder"},
    "events": set(),
    "node": set(),
    "pod": set(),
    "secret": {"blueprint-decoder-tenants"},
}
ALIASES = {"pods": "pod", "deploy": "deployment", "nodes": "node", "configmaps": "configmap"}
NAMESPACE, CONTAINER = "blueprint-decoder", "decoder"
FLAGS_WITH_VALUE = {
    "-n",
    "-L",
    "-l",
    "-c",
    "-o",
    "-f",
    "--from-literal",
    "--since",
    "--tail",
    "--replicas",
    "--to-revision",
    "--timeout",
    "--sort-by",
    "--field-selector",
    "--max-log-requests",
}


class Wrong(Exception):
    """The runbook does not say what is so."""


@dataclass(frozen=True)
class Block:
    """A block of commands, with what it prints."""

    line: int
    heading: str
    kind: str
    fault: str | None
    alert: str | None
    commands: str
    shown: str | None

    def __str__(self) -> str:
        return f"RUNBOOK.md, line {self.line} ({self.heading})"


@dataclass
class Page:
    """The runbook, taken apart."""

    text: str
    blocks: list[Block] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    # What is no code, with its line.
    prose: list[tuple[int, str]] = field(default_factory=list)


def parse(text: str) -> Page:
    """Takes the runbook apart."""
    page = Page(text)
    heading, lines = "", text.splitlines()
    # The last block of commands while nothing but empty lines has come since.
    asked: Block | None = None
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not line.startswith("```"):
            if line.startswith("#"):
                heading = line.lstrip("# ")
            if line.strip():
                asked = None
            page.prose.append((number, line))
            continue
        begin, info = number, line[3:].split()
        while number < len(lines) and lines[number] != "```":
            number += 1
        body = "\n".join(lines[begin:number])
        if number == len(lines):
            page.faults.append(f"line {begin}: a block that does not end")
        number += 1
        if info == ["text"]:
            if asked is None:
                page.faults.append(f"line {begin}: an output of no commands")
            else:
                shown = Block(**{**asked.__dict__, "shown": body})
                page.blocks[page.blocks.index(asked)] = shown
            asked = None
            continue
        asked = None
        match info:
            case ["sh"]:
                kind, fault, alert = "plain", None, None
            case ["sh", "setup" | "cluster" as kind]:
                fault, alert = None, None
            case ["sh", "during", fault] if fault in FAULTS:
                kind, alert = "during", None
            case ["sh", "during", fault, alert] if fault in FAULTS:
                kind = "during"
            case ["markdown"]:
                continue
            case _:
                page.faults.append(f"line {begin}: no known kind of block: {line}")
                continue
        asked = Block(begin, heading, kind, fault, alert, body, None)
        page.blocks.append(asked)
    return page


def matches(shown: str | None, printed: str) -> bool:
    """Whether what was printed is what stands there."""
    pattern = []
    for line in (shown or "").splitlines():
        if line.strip() == "…":
            pattern.append(r"(?:.*\n)*?")
        else:
            pieces = [re.escape(piece) for piece in line.rstrip().split("…")]
            pattern.append(r"[^\n]*".join(pieces) + r"[ \t]*\n")
    ended = printed if not printed or printed.endswith("\n") else printed + "\n"
    return re.fullmatch("".join(pattern), ended) is not None


# Form: what can be seen without running anything.


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one that is as high."""
    level = heading.split(" ")[0]
    found = re.search(rf"(?ms)^{re.escape(heading)}$\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", text)
    return found[1] if found else ""


def alerts_of_rules(root: Path) -> set[str]:
    """The alerts that ship."""
    files = (root / "deploy/prometheus/rules").glob("*.yml")
    named = re.compile(r"^\s*-?\s*alert:\s*[\"']?(\w+)", re.MULTILINE)
    alerts = {alert for file in files for alert in named.findall(file.read_text())}
    if not alerts:
        raise Wrong("there are no alerts in deploy/prometheus/rules")
    return alerts


def check_alerts(page: Page, alerts: set[str]) -> Iterator[str]:
    """Every alert has a section, and every section below `## Alerts` its alert."""
    below = section(page.text, "## Alerts")
    sections = re.findall(r"^### (.*)$", below, re.MULTILINE)
    for name in sorted(alerts - set(sections)):
        yield f"{name} has no section"
    for name in sorted(set(sections) - alerts):
        yield f"the section {name} has no alert"
    for name in sorted({name for name in sections if sections.count(name) > 1}):
        yield f"{name} has two sections"
    for name in sections:
        body = section(below, f"### {name}")
        found = re.findall(r"^\*\*([\w ]+)\.\*\*", body, re.MULTILINE)
        if tuple(found) != PARTS:
            yield f"{name} has the parts {found}, and not {list(PARTS)}"
        confirm = body.partition("**Confirm.**")[2].partition("**Likely causes.**")[0]
        if "```sh" not in confirm:
            yield f"{name} has no command that confirms it"
    for block in page.blocks:
        if block.alert and block.alert not in alerts:
            yield f"{block}: no such alert: {block.alert}"


def check_game_day(page: Page, alerts: set[str]) -> Iterator[str]:
    """What is expected of each round is shown to come, by a block that waits for that alert."""
    shown = {(block.fault, block.alert) for block in page.blocks if block.kind == "during"}
    row = re.compile(r"^\| \d+ \| `([\w-]+)` \| (\w+) \|", re.MULTILINE)
    rounds = row.findall(section(page.text, "## Game day"))
    if len(rounds) < 8:
        yield f"the game day has {len(rounds)} rounds"
    for fault, alert in rounds:
        if alert not in alerts:
            yield f"the game day expects {alert}, which is no alert"
        if (fault, alert) not in shown:
            yield f"the game day expects {alert} of {fault}, and no block waits for it"


def codes_of(root: Path) -> set[str]:
    """The codes of problems."""
    source = (root / "src/failure.rs").read_text()
    body = source.partition("pub const fn as_str(self)")[2].partition("\n    }\n")[0]
    return set(re.findall(r'Self::\w+ => "(\w+)"', body))


def check_codes(page: Page, codes: set[str]) -> Iterator[str]:
    """Wherever a code is named as one, there is such a code."""
    named = re.compile(r"""(?:["']?code["']? ?(?:=~|!~|!=|==|=|:) ?["']?|/problems/)([a-z_|]+)""")
    for number, line in enumerate(page.text.splitlines(), 1):
        for found in named.findall(line):
            for code in filter(None, found.split("|")):
                if code not in codes | {"ok", "cancelled", "null"}:
                    yield f"line {number}: no such code: {code}"


def keys_of(root: Path) -> set[str]:
    """Every key and every section of the configuration."""

    def walk(table: dict, before: str) -> Iterator[str]:
        for key, value in table.items():
            yield before + key
            if isinstance(value, dict):
                yield from walk(value, f"{before}{key}.")

    return set(walk(tomllib.loads((root / "config/default.toml").read_text()), ""))


FILE_OR_HOST = re.compile(r"\.(?:md|toml|yml|yaml|json|py|rs|tmpl|sh|com|example)$")


def words_of(root: Path) -> set[str]:
    """What the service and its configuration call things, with an underscore."""
    files = [
        *(root / "src").rglob("*.rs"),
        *(root / "config").glob("*.toml"),
        *(root / "deploy/prometheus").rglob("*.yml"),
    ]
    word = re.compile(r"[a-z]+(?:_[a-z0-9]+)+")
    return {found for file in files for found in word.findall(file.read_text())}


def check_names(page: Page, keys: set[str], codes: set[str], words: set[str]) -> Iterator[str]:
    """What stands in backticks is called so: a key of the configuration if it has a dot, else
    some word of the service."""
    for number, line in page.prose:
        for code in re.findall(r"`([^`]+)`", line):
            dotted = re.match(r"^([a-z_]+(?:\.[a-z_]+)+)(?: = .*)?$", code)
            if dotted and not FILE_OR_HOST.search(dotted[1]) and dotted[1] not in keys:
                yield f"line {number}: no such key of the configuration: {dotted[1]}"
            elif re.fullmatch(r"[a-z]+(?:_[a-z0-9]+)+", code) and code not in codes | words:
                yield f"line {number}: nothing is called {code}"


def check_paths(page: Page, root: Path) -> Iterator[str]:
    """Every file and folder of the repository that is named is there."""
    named = re.compile(r"(?<![\w/.-])((?:deploy|dashboards|config|src|tests)/[\w./-]*\w)")
    for number, line in enumerate(page.text.splitlines(), 1):
        for path in named.findall(line):
            if not (root / path).exists():
                yield f"line {number}: there is no {path}"


def metrics_of(root: Path) -> set[str]:
    """The series of the service, and what is recorded of them."""
    snapshots = root / "tests/api/snapshots"
    shown = snapshots / "api__telemetry__every_series_is_there_from_the_first_scrape.snap"
    names = set(re.findall(r"^((?:decoder|process)_\w+)", shown.read_text(), re.MULTILINE))
    names |= {name.removesuffix("_count") + "_bucket" for name in names if name.endswith("_count")}
    # Absent where nothing expires.
    names.add("decoder_expiry_timestamp_seconds")
    recording = root / "deploy/prometheus/rules/recording.yml"
    return names | set(re.findall(r"record:\s*(decoder:[\w:]+)", recording.read_text()))


def check_metrics(page: Page, metrics: set[str]) -> Iterator[str]:
    """Every series that is asked for is there."""
    for number, line in enumerate(page.text.splitlines(), 1):
        for name in re.findall(r"(?<![\w/.-])(?:(?:decoder|process)_\w+|decoder:[\w:]+)", line):
            if name not in metrics:
                yield f"line {number}: no such series: {name}"


def kubectl_commands(commands: str) -> Iterator[list[str]]:
    """Each call of kubectl, as its words."""
    joined = commands.replace("\\\n", " ")
    for line in joined.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;<>"):
                if words[:1] == ["kubectl"]:
                    yield words
                words = []
            else:
                words.append(word)


def fault_of_kubectl(words: list[str]) -> str | None:
    """What is wrong with a call of kubectl, if anything is."""
    plain: list[str] = []
    flags: dict[str, str] = {}
    rest = iter(words[1:])
    for word in rest:
        if word == "--":
            break
        if word.startswith("-"):
            name, _, value = word.partition("=")
            flags[name] = value or (next(rest, "") if name in FLAGS_WITH_VALUE else "")
        else:
            plain.append(word)
    if flags.get("-n") != NAMESPACE and plain[1:2] != ["node"] and plain[1:2] != ["nodes"]:
        return f"is not about -n {NAMESPACE}"
    if "-c" in flags and flags["-c"] != CONTAINER:
        return f"there is no container {flags['-c']}"
    verb, *objects = plain or [""]
    if verb not in VERBS:
        return f"does not know the verb {verb!r}"
    if verb == "rollout":
        if objects[:1] and objects[0] in ROLLOUT:
            # Repeated without it, it brings back what it has just undone.
            if objects[0] == "undo" and "--to-revision" not in flags:
                return "does not say which revision it goes back to"
            objects = objects[1:]
        else:
            return f"no such thing as rollout {' '.join(objects[:1])}"
    if verb in {"set", "create"}:
        if objects[:1] not in (["image"], ["secret"]):
            return f"does not {verb} {' '.join(objects[:1])}"
        objects = [objects[0], *objects[2:]] if objects[:2] == ["secret", "generic"] else objects
        objects = objects[1:2] if objects[0] == "image" else objects
    if verb in {"apply", "logs", "exec", "port-forward"} and not objects:
        named = {"apply": "-f" in flags, "logs": "-l" in flags}
        return None if named.get(verb) else "names nothing"
    if verb in {"logs", "exec", "port-forward"} and "/" not in objects[0]:
        objects = ["pod", objects[0]]
    kind, slash, name = objects[0].partition("/")
    kind = ALIASES.get(kind, kind)
    names = [name] if slash else [word for word in objects[1:] if "=" not in word]
    if kind not in KINDS:
        return f"there is no kind {kind!r} here"
    for name in names:
        is_variable = name.startswith("$")
        if KINDS[kind] and name not in KINDS[kind] or not KINDS[kind] and not is_variable:
            return f"there is no {kind} {name!r} here"
    if verb not in READ_ONLY and not names and "--all" not in flags:
        return "names nothing that it changes"
    return None


def check_cluster(page: Page) -> Iterator[str]:
    """Blocks that need a cluster are well formed, and about what there is."""
    for block in page.blocks:
        fault = bash_says(block.commands)
        if fault:
            yield f"{block}: {fault}"
        if block.kind != "cluster":
            if "kubectl" in block.commands:
                yield f"{block}: uses kubectl and is not marked `cluster`"
            continue
        if block.shown is not None:
            yield f"{block}: what is not run has no output"
        calls = list(kubectl_commands(block.commands))
        if not calls:
            yield f"{block}: has no kubectl in it, so it can be run"
        for words in calls:
            wrong = fault_of_kubectl(words)
            if wrong:
                yield f"{block}: `{' '.join(words)}` {wrong}"


@functools.cache
def bash_says(commands: str) -> str:
    """What bash says of the form of commands."""
    done = subprocess.run(["bash", "-n"], input=commands, capture_output=True, text=True)
    return done.stderr.strip()


def check_blocks(page: Page) -> Iterator[str]:
    """No block hides how it ends."""
    yield from page.faults
    if not [block for block in page.blocks if block.kind == "setup"]:
        yield "there is no setup"
    for block in page.blocks:
        if re.search(r"\|\| *(?:true|:)(?![\w-])|set \+e", block.commands):
            yield f"{block}: hides how it ends"
        if block.shown is not None and not block.shown.strip("… \n"):
            yield f"{block}: whatever it prints would do"
        if block.kind == "setup" and block.shown is not None:
            yield f"{block}: a setup prints nothing"


@dataclass(frozen=True)
class Facts:
    """What is so, which the page must agree with."""

    alerts: set[str]
    codes: set[str]
    keys: set[str]
    words: set[str]
    metrics: set[str]

    @staticmethod
    def read(root: Path) -> "Facts":
        return Facts(
            alerts_of_rules(root), codes_of(root), keys_of(root), words_of(root), metrics_of(root)
        )


def form(page: Page, facts: Facts) -> list[str]:
    """All that is wrong with the form."""
    return [
        *check_blocks(page),
        *check_alerts(page, facts.alerts),
        *check_game_day(page, facts.alerts),
        *check_codes(page, facts.codes),
        *check_names(page, facts.keys, facts.codes, facts.words),
        *check_paths(page, ROOT),
        *check_metrics(page, facts.metrics),
        *check_cluster(page),
    ]


# Running the blocks.


@dataclass(frozen=True)
class Stack:
    """The local stack that commands are run against."""

    dir: Path
    told: dict
    work: Path

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "STACK": str(self.dir),
            "RANGE": RANGE,
            "PATH": f"{ROOT / 'target/release'}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
        }

    def fault(self, name: str, state: str) -> None:
        command = [ROOT / "deploy/local/fault", name, state, "--dir", self.dir]
        subprocess.run(command, check=True, timeout=60, capture_output=True)

    def ask(self, query: str) -> list[dict]:
        asked = urllib.parse.urlencode({"query": query})
        url = f"{self.told['prometheus']}/api/v1/query?{asked}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def is_firing(self, alert: str) -> bool:
        return bool(self.ask(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))

    def is_calm(self) -> bool:
        """Both instances are there and serve, no source is left alone, nothing has failed of
        late, and there is what there always is of that which nobody can serve."""
        checks = (
            'sum(up{job="decoder"}) == 2 and min(decoder_ready) == 1',
            "sum(decoder_circuits_open) == 0 and min(decoder_rate_limit_backend_up) == 1",
            "min(decoder_config_reload_success) == 1",
            'sum(increase(decoder_decodes_total{outcome="failed"}[5s])) == 0',
            'sum(increase(decoder_decodes_total{outcome="success"}[5s])) > 20',
            f'sum(increase(decoder_decodes_total{{blame!="none"}}[{RANGE}])) > 1',
        )
        return all(self.ask(check) for check in checks)


def wait_until(is_so: Callable[[], bool], patience: float, what: str) -> float:
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > patience:
            raise Wrong(f"not within {patience:.0f} s: {what}")
        time.sleep(0.2)
    return time.monotonic() - began


def run(commands: str, setup: str, environment: dict[str, str], work: Path) -> tuple[int, str]:
    """The exit code of commands, and what they print."""
    script = f"set -euo pipefail\n{setup}\n{commands}\n"
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = process.communicate()
        return 124, printed + f"\n(not done within {PATIENCE} s)\n"
    return process.returncode, printed


def judge(block: Block, code: int, printed: str) -> str | None:
    """What is wrong with how a block ended, if anything is."""
    if code == 0 and matches(block.shown, printed):
        return None
    told = "nothing" if block.shown is None else f"\n{block.shown}"
    return (
        f"{block}\nexit code {code}\n--- commands\n{block.commands}\n--- says {told}\n"
        f"--- printed\n{printed}"
    )


class Switchboard:
    """What is broken in the stack just now, and whether the stack is well."""

    def __init__(self, stack: Stack):
        self.stack = stack
        self.fault: str | None = None
        self.is_calm = False

    def switch(self, fault: str | None) -> None:
        """This fault alone is on. One follows another only when the stack is well again."""
        if fault == self.fault:
            return
        if self.fault:
            self.stack.fault(self.fault, "off")
            self.fault, self.is_calm = None, False
        if fault:
            self.calm_down()
            self.stack.fault(fault, "on")
            self.fault, self.is_calm = fault, False

    def calm_down(self) -> None:
        if not self.is_calm:
            wait_until(self.stack.is_calm, UNTIL_CALM, "the stack is well again")
            self.is_calm = True


def execute(page: Page, stack: Stack) -> list[str]:
    """Runs every block in the order of the page, and says what is wrong with which."""
    setup = "\n".join(block.commands for block in page.blocks if block.kind == "setup")
    environment = stack.environment()
    board = Switchboard(stack)
    wrong = []

    def done(block: Block) -> str | None:
        return judge(block, *run(block.commands, setup, environment, stack.work))

    def of_block(block: Block) -> str | None:
        board.switch(block.fault)
        if block.kind != "during":
            board.calm_down()
            return done(block)
        if block.alert:
            alert = block.alert
            wait_until(lambda: stack.is_firing(alert), UNTIL_FIRING, f"{alert} fires")
        began = time.monotonic()
        while (found := done(block)) and time.monotonic() - began < UNTIL_SHOWN:
            time.sleep(0.5)
        return found

    try:
        for block in page.blocks:
            if block.kind == "cluster":
                continue
            began = time.monotonic()
            try:
                found = of_block(block)
            except Wrong as late:
                found = f"{block}: {late}"
            if found:
                wrong.append(found)
            took, verdict = time.monotonic() - began, "WRONG" if found else "right"
            print(f"  line {block.line:4}  {took:5.1f} s  {verdict}  {block.heading}", flush=True)
    finally:
        board.switch(None)
    return wrong


@contextlib.contextmanager
def own_stack() -> Iterator[Path]:
    """A stack of our own, which ends with us."""
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        where = ["--dir", folder, "--port-base", str(loopback.free_ports())]
        up = [ROOT / "deploy/local/up", *where, "--faster", str(FASTER)]
        process = subprocess.Popen(up, stdout=subprocess.DEVNULL, start_new_session=True)
        try:

            def is_up() -> bool:
                if process.poll() is not None:
                    raise Wrong(f"deploy/local/up ended with {process.returncode}")
                return (Path(folder) / "stack.json").exists()

            wait_until(is_up, 120, "the stack is up")
            yield Path(folder)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


# The judges, tried.


def prove_the_judges(page: Page, facts: Facts) -> None:
    """Each judge finds what has been broken on purpose."""

    def must_find(what: str, text: str, words: str) -> None:
        found = form(parse(text), facts)
        if not any(words in fault for fault in found):
            raise Wrong(f"the judges do not see that {what}: {found}")

    text = page.text
    first = re.search(r"^### (Decoder\w+)$", text, re.MULTILINE)
    if first is None:
        raise Wrong("there is no section of an alert")
    alert = first[1]
    must_find("a section is gone", text.replace(f"### {alert}\n", "", 1), f"{alert} has no section")
    renamed = text.replace(f"### {alert}\n", "### DecoderNothing\n", 1)
    must_find("a section has no alert", renamed, "DecoderNothing has no alert")
    must_find("a part is missing", text.replace("**Escalate.**", "Escalate.", 1), "has the parts")
    swapped = text.replace("**Confirm.**", "**Do.**", 1)
    must_find("parts are in another order", swapped, "has the parts")
    expected = "| `failing-source` | DecoderMissionSuccessLow |"
    changed = text.replace(expected, "| `failing-source` | DecoderShedding |")
    must_find("a round expects what is not shown", changed, "no block waits for it")
    must_find("a code is none", text.replace("code='", "code='sourced_", 1), "no such code")
    must_find("a code in an answer is none", text + '\n"code":"audited"\n', "no such code: audited")
    must_find("a key is none", text + "\n`egress.tries` is 3\n", "no such key")
    must_find("a key with a value is none", text + "\n`server.bound = 1`\n", "no such key")
    must_find("a word is none", text + "\n`source_unheard`\n", "nothing is called source_unheard")
    must_find("a path is none", text + "\n`deploy/remote/up`\n", "there is no deploy/remote/up")
    must_find("a series is none", text + "\ndecoder_decoded_total\n", "no such series")

    def with_block(commands: str, kind: str = "sh") -> str:
        return f"{text}\n```{kind}\n{commands}\n```\n"

    must_find("a block hides its end", with_block("false || true"), "hides how it ends")
    must_find("kubectl is run", with_block("kubectl get pods"), "not marked `cluster`")
    must_find("a block is of no kind", with_block("ls", "sh skip"), "no known kind")
    must_find("a block is no shell", with_block("if then"), "syntax error")
    must_find("a block does not end", f"{text}\n```sh\nls\n", "does not end")
    must_find("an output is of nothing", f"{text}\n\n```text\nx\n```\n", "output of no commands")
    any_output = with_block("ls") + "\n```text\n…\n```\n"
    must_find("any output would do", any_output, "whatever it prints would do")
    must_find("a fault is none", with_block("ls", "sh during rain"), "no known kind")
    for call, words in {
        "kubectl -n blueprint-decoder frobnicate pods": "does not know the verb",
        "kubectl -n blueprint-decoder get gizmo": "no kind 'gizmo'",
        "kubectl -n blueprint-decoder get deployment/decoder": "no deployment 'decoder'",
        "kubectl -n default get pods": "is not about -n",
        "kubectl -n blueprint-decoder rollout unwind deployment/blueprint-decoder": "no such thing",
        "kubectl -n blueprint-decoder rollout undo deployment/blueprint-decoder": "which revision",
        "kubectl -n blueprint-decoder logs -l a=b -c main": "no container main",
        "kubectl -n blueprint-decoder delete pods": "names nothing that it changes",
        "echo nothing": "has no kubectl",
    }.items():
        must_find(f"`{call}` is wrong", with_block(call, "sh cluster"), words)

    for shown, printed, expected in (
        ("a … c", "a b c\n", True),
        ("a … c", "a b d\n", False),
        ("a … c", "a b\nc\n", False),
        ("a\n…\nd", "a\nb\nc\nd\n", True),
        ("a\n…", "a\n", True),
        ("…\nd", "a\nb\nc\n", False),
        ("a.c", "abc\n", False),
        (None, "", True),
        (None, "x\n", False),
        ("x", "", False),
    ):
        if matches(shown, printed) != expected:
            raise Wrong(f"{printed!r} is judged wrongly against {shown!r}")

    def ends(commands: str, shown: str | None) -> bool:
        block = Block(1, "tried", "plain", None, None, commands, shown)
        with tempfile.TemporaryDirectory() as work:
            ended = run(commands, "GREETING=hello", dict(os.environ), Path(work))
        return judge(block, *ended) is None

    for commands, shown, expected in (
        ("echo $GREETING", "hello", True),
        ("echo $GREETING", "goodbye", False),
        ("echo hello; false", "hello", False),
        ("false | cat", None, False),
        ("echo $MISSING", "", False),
        ("false || echo exit $?", "exit 1", True),
        ("echo trouble >&2", None, False),
    ):
        if ends(commands, shown) != expected:
            raise Wrong(f"{commands!r} is judged wrongly against {shown!r}")


def prove_placeholders() -> None:
    """deploy/placeholders names what is not filled in, and ships nothing before."""
    table = (
        "# x\n\nSee grafana.example.com, mail ops@example.com to EXAMPLE_LEAD.\n\n"
        "| placeholder | stands for | value |\n| --- | --- | --- |\n"
        "| `grafana.example.com` | Grafana | {0} |\n"
        "| `ops@example.com` | mail | {1} |\n"
        "| `EXAMPLE_LEAD` | who leads | {2} |\n"
        "| `#decoder-alerts` | Slack | {3} |\n"
    )
    values = ("metrics.acme.dev", "decoder@acme.dev", "Ada Lovelace", "#acme-decoder")

    def tried(runbook: str, alertmanager: str, *arguments: str) -> tuple[int, str, Path]:
        root = Path(tempfile.mkdtemp(dir=folder))
        (root / "deploy/alertmanager").mkdir(parents=True)
        (root / "deploy/local").mkdir()
        (root / "dashboards").mkdir()
        (root / "config").mkdir()
        (root / "RUNBOOK.md").write_text(runbook)
        (root / "deploy/alertmanager/alertmanager.yml").write_text(alertmanager)
        (root / "deploy/local/up").write_text("grafana.example.com")
        (root / "dashboards/service.json").write_text('{"url": "https://grafana.example.com/d/x"}')
        (root / "config/default.toml").write_text("grafana.example.org")
        (root / "config/production.toml").write_text("https://grafana.example.com")
        (root / "dashboards/picture.png").write_bytes(b"\x89PNG\0grafana.example.com")
        command = [sys.executable, ROOT / "deploy/placeholders", "--root", root, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr, root

    def expect(is_so: bool, what: str, said: object) -> None:
        if not is_so:
            raise Wrong(f"deploy/placeholders: {what}: {said}")

    alertmanager = "channel: '#decoder-alerts'\nto: ops@example.com\nhost: smtp.example.com\n"
    fit = alertmanager.replace("smtp.example.com", "smtp.acme.dev")
    with tempfile.TemporaryDirectory() as folder:
        code, said, _ = tried(table.format("", values[1], "", values[3]), alertmanager, "check")
        expected = {
            "grafana.example.com has no value",
            "EXAMPLE_LEAD has no value",
            "smtp.example.com is not in the table: deploy/alertmanager/alertmanager.yml, line 3",
            "not fit for production: see the table in RUNBOOK.md",
        }
        named = set(said.splitlines())
        expect(code == 1 and named == expected, "names what is not filled in", said)
        to = Path(folder) / "shipped"
        code, said, _ = tried(table.format("", *values[1:]), fit, "fill", str(to))
        expect(code == 1 and not to.exists(), "ships nothing while a value is missing", said)
        for wrong in ("loki.example.org", "x.grafana.example.com", 'a"b', "a`b"):
            code, said, _ = tried(table.format(wrong, *values[1:]), fit, "check")
            is_refused = code == 1 and "grafana.example.com has a value" in said
            expect(is_refused, f"refuses {wrong}", said)
        code, said, _ = tried(table.format(*values), "to: ops@example.com\n", "check")
        expect(code == 1 and "#decoder-alerts is in the table, and nothing" in said, "unused", said)
        row = "| `#decoder-alerts` | Slack | #x |\n"
        code, said, _ = tried(table.format(*values) + row, fit, "check")
        expect(code == 1 and "#decoder-alerts is in the table twice" in said, "twice", said)
        unchosen = f"{fit}digest: sha256:{64 * '0'}\n"
        code, said, _ = tried(table.format(*values), unchosen, "check")
        is_told = "no image is chosen: deploy/alertmanager/alertmanager.yml, line 4" in said
        expect(code == 1 and is_told, "no image", said)
        code, said, _ = tried("# x\n", fit, "check")
        expect(code == 1 and "0 tables" in said, "needs a table", said)
        code, said, _ = tried(table.format(*values), fit, "check")
        expect(code == 0 and said == "", "is content where all is filled in", said)
        code, said, root = tried(table.format(*values), fit, "fill", str(to))
        expect(code == 0, "ships what is filled in", said)
        shipped = {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()}
        all_of = {
            "RUNBOOK.md",
            "deploy/alertmanager/alertmanager.yml",
            "dashboards/service.json",
            "dashboards/picture.png",
            "config/production.toml",
        }
        expect(shipped == all_of, "ships what production needs", shipped)
        filled = (to / "deploy/alertmanager/alertmanager.yml").read_text()
        wanted = "channel: '#acme-decoder'\nto: decoder@acme.dev\nhost: smtp.acme.dev\n"
        expect(filled == wanted, "puts values in", filled)
        runbook = (to / "RUNBOOK.md").read_text()
        sentence = "See metrics.acme.dev, mail decoder@acme.dev to Ada Lovelace."
        expect(sentence in runbook and "| `EXAMPLE_LEAD` |" in runbook, "keeps the table", runbook)
        picture = (to / "dashboards/picture.png").read_bytes()
        expect(b"grafana.example.com" in picture, "leaves pictures alone", picture)
        code, said, _ = tried(table.format(*values), fit, "fill", str(to))
        expect(code == 1 and "not empty" in said, "overwrites nothing", said)


def main() -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--form", action="store_true", help="run nothing")
    arguments.add_argument("--dir", type=Path, help="the folder of a stack that runs")
    chosen = arguments.parse_args()
    for tool in ("bash", "curl", "jq"):
        if shutil.which(tool) is None:
            print(f"{tool} is missing: apt-get install {tool}", file=sys.stderr)
            return 1

    began = time.monotonic()
    page = parse((ROOT / "RUNBOOK.md").read_text())
    try:
        facts = Facts.read(ROOT)
        faults = form(page, facts)
        if faults:
            raise Wrong("\n".join(faults))
        prove_the_judges(page, facts)
        prove_placeholders()
        count = {kind: sum(block.kind == kind for block in page.blocks) for kind in KINDS_OF_BLOCKS}
        print(f"form: {len(page.blocks)} blocks, {count}", flush=True)
        if not chosen.form:
            with contextlib.ExitStack() as until_the_end:
                folder = chosen.dir or until_the_end.enter_context(own_stack())
                work = until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="runbook-"))
                # As it stands at the root of the repository.
                (Path(work) / "deploy").symlink_to(ROOT / "deploy")
                told = json.loads((folder / "stack.json").read_text())
                wrong = execute(page, Stack(folder, told, Path(work)))
            if wrong:
                raise Wrong("\n\n".join(wrong))
    except Wrong as wrong:
        print(f"RUNBOOK.md is wrong:\n{wrong}", file=sys.stderr)
        return 1
    print(f"RUNBOOK.md is right ({time.monotonic() - began:.0f} s)")
    return 0


KINDS_OF_BLOCKS = ("setup", "plain", "during", "cluster")

if __name__ == "__main__":
    sys.exit(main())
