#!/usr/bin/env python3
"""The collection of logs, on lines of the real program.

    tests/on_call/logs.py [--binary FILE] [--verbose]

Runs the release binary through requests of every kind, a broken tenants file and a machine
without memory, and keeps what it says. Then:

- deploy/logs/remap.vrl, run by VRL itself, compiles without a warning and loses nothing: each field
  of each line is in the event, under the name that this file expects, and nothing else is;
- each `jq` of deploy/logs/README.md is run on the lines and must find what was done to the program;
  each name in its LogQL is one that a mapped event or vector.yaml has;
- in vector.yaml with each of its variants every input exists and every component is used;
- no line has anything in it that must never be in a line;
- each of MUTATIONS spoils the mapping in one place and must be found.

Vector itself is not run. It needs `vrl`, `jq` and PyYAML:

    cargo install vrl --version 0.38.0 --locked --no-default-features --features cli,stdlib
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import http.server
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import loopback
import yaml
from loopback import ROOT, wait_for

LOGS = ROOT / "deploy/logs"
VARIANTS = ("kubernetes.yaml", "systemd.yaml", "file.yaml")

# What a source of Vector's adds to a line, and what becomes of it.
JOURNAL = {
    "host": "machine-1",
    "_SYSTEMD_UNIT": "blueprint-decoder.service",
    "_PID": "4711",
    "source_type": "journald",
    "timestamp": "2026-01-01T00:00:00Z",
}
OF_JOURNAL = {
    "service.name": "blueprint-decoder",
    "service.namespace": "",
    "service.instance.id": "machine-1",
    "host.name": "machine-1",
    "systemd.unit": "blueprint-decoder.service",
    "process.pid": 4711,
}
POD = {
    "kubernetes": {
        "pod_name": "decoder-5d9",
        "pod_namespace": "prod",
        "pod_uid": "0af7-1916",
        "pod_node_name": "node-3",
        "container_name": "decoder",
        "container_image": "registry.example.com/blueprint-decoder:0.1.0",
        "pod_labels": {"app.kubernetes.io/version": "0.1.0"},
    },
    "stream": "stdout",
    "timestamp": "2026-01-01T00:00:01Z",
    "file": "/var/log/pods/prod_decoder-5d9_0af7-1916/decoder/0.log",
}
OF_POD = {
    "service.name": "blueprint-decoder",
    "service.namespace": "prod",
    "service.version": "0.1.0",
    "service.instance.id": "decoder-5d9",
    "k8s.namespace.name": "prod",
    "k8s.pod.name": "decoder-5d9",
    "k8s.pod.uid": "0af7-1916",
    "k8s.node.name": "node-3",
    "k8s.container.name": "decoder",
    "container.image.name": "registry.example.com/blueprint-decoder:0.1.0",
    "log.iostream": "stdout",
}

# Fields of a line that are called otherwise in an event.
RENAMED = {
    "timestamp": "timestamp",
    "level": "severity_text",
    "message": "body",
    "target": "scope.name",
    "trace_id": "trace_id",
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
}
SEVERITY = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17}
# The fields of a request's line, as the contract of the service lists them, and `reason`.
FIELDS = {
    "timestamp", "level", "target", "message", "request_id", "trace_id", "tenant", "method",
    "route", "status", "code", "outcome", "blame", "duration_ms", "secrets_recovered",
    "fetch_duration_ms", "bytes", "attempts", "rule", "source_host", "reason",
}  # fmt: skip

REQUEST_ID = "0af7-the-one"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CANARY = "canary-in-the-query"
SECRET = "canary in the document"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    release = ROOT / "target/release/blueprint-decoder"
    options.add_argument("--binary", type=Path, default=release)
    options.add_argument("--verbose", action="store_true")
    given = options.parse_args()
    if not given.binary.exists():
        sys.exit(f"{given.binary} is missing: cargo build --release")
    expect_resolved()
    program = (LOGS / "remap.vrl").read_text()
    with tempfile.TemporaryDirectory() as directory:
        lines, keys = lines_of_program(given.binary.resolve(), Path(directory))
        expect_nothing_secret(lines, keys)
        lines += lines_without_memory(given.binary.resolve()) + [panic_of_program(lines)]
        faults = faults_of_mapping(program, lines)
        if faults:
            sys.exit("\n".join(faults))
        print(f"{len(lines)} lines of the program are mapped, and nothing of them is lost")
        asked = answers_of_readme(Path(directory), lines, mapped(program, lines, JOURNAL))
        print(f"{asked} questions of deploy/logs/README.md are answered by these lines")
    for mutation in MUTATIONS:
        if mutation.old not in program:
            sys.exit(f"nothing to spoil: {mutation.old!r}")
        found = faults_of_mapping(program.replace(mutation.old, mutation.new), lines)
        if given.verbose:
            print(f"{mutation.old!r} -> {mutation.new!r}\n    {(found or ['NOT FOUND'])[0]}")
        if not found:
            sys.exit(f"no check finds {mutation.old!r} -> {mutation.new!r}")
    print(f"{len(MUTATIONS)} ways to spoil the mapping are found, each")


# Lines of the program


def lines_of_program(binary: Path, directory: Path) -> tuple[list[str], list[str]]:
    """What the program says of requests of every kind, and the keys that were shown to it."""
    key, tenant = new_key(binary, "--tenant", "league", "--role", "decoder")
    operator, staff = new_key(binary, "--staff", "--role", "operator")
    tenants = directory / "tenants.toml"
    tenants.write_text(f"{tenant}\n{staff}\n")
    log = directory / "decoder.log"
    with source() as port, contextlib.ExitStack() as held:
        config = directory / "decoder.toml"
        shelf = f"127.0.0.1:{port}"
        admin = f"127.0.0.1:{loopback.free_port()}"
        public = f"127.0.0.1:{loopback.free_port()}"
        config.write_text(
            f'[server]\nbind = "{public}"\nadmin_bind = "{admin}"\n'
            f'[server.shutdown]\nnotice = "1s"\n'
            f'[auth]\nmode = "required"\ntenants_file = "{tenants}"\n'
            f"[egress]\nattempts = 1\n"
            f'allow = [{{ name = "shelf", url = "http://{shelf}", addresses = ["{shelf}"] }}]\n'
        )
        with log.open("w") as words:
            argv = [str(binary), "serve", "--config", str(config)]
            program = subprocess.Popen(argv, stdout=words, stderr=subprocess.STDOUT)
        held.callback(program.kill)
        wait_for("the program", 20, lambda: loopback.answers(f"http://{admin}/health/ready"))

        def ask(body: str, shown: str = key, **more: str) -> None:
            post(f"http://{public}/decode", shown, body, more)

        def fetch(path: str, **more: str) -> None:
            ask(json.dumps({"source": f"http://{shelf}{path}?token={CANARY}"}), **more)

        trace = f"00-{TRACE_ID}-b7ad6b7169203331-01"
        fetch("/scroll", traceparent=trace, **{"X-Request-Id": REQUEST_ID})
        fetch("/broken")
        fetch("/broken")
        fetch("/missing")
        ask(json.dumps({"content": f"{{*{SECRET}*}}"}))
        ask(json.dumps({"source": f"https://10.0.0.1/?token={CANARY}"}))
        ask("{")
        ask("{}", shown="bpd_nobody_" + "A" * 43)

        def is_said(text: str) -> bool:
            return text in log.read_text()

        good = tenants.read_text()
        tenants.write_text("[[tenant]\n")
        wait_for(
            "a word about a broken file", 10, lambda: is_said("tenants file could not be loaded")
        )
        tenants.write_text(good)
        wait_for("a word about a whole file", 10, lambda: is_said("tenants file reloaded"))
        post(f"http://{admin}/admin/reload", operator, "", {})
        program.send_signal(signal.SIGTERM)
        program.wait(30)
    return log.read_text().splitlines(), [key, operator]


def new_key(binary: Path, *words: str) -> tuple[str, str]:
    """A key, and the lines for the tenants file."""
    argv = [str(binary), "keys", "new", *words]
    told = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout
    key, _, lines = told.partition("\n\n")
    return key, lines


@contextlib.contextmanager
def source() -> Iterator[int]:
    """A source with a scroll, one that is broken, and nothing else."""

    class Shelf(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            status = {"/scroll": 200, "/broken": 503}.get(path, 404)
            body = f"decoy {{*{SECRET}*}} decoy\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with loopback.serving(Shelf) as url:
        yield urllib.parse.urlsplit(url).port


def post(url: str, key: str, body: str, headers: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | headers
    request = urllib.request.Request(url, body.encode(), headers)
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=30).read()


def lines_without_memory(binary: Path) -> list[str]:
    """What the program says when the system gives it no memory: not JSON."""
    most = 40_000_000
    ended = subprocess.run(
        [str(binary), "serve"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)),
    )
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if line]
    if not any(line.startswith("memory allocation of") for line in lines):
        raise AssertionError(f"without memory it says {lines}")
    return lines


def panic_of_program(lines: list[str]) -> str:
    """A panic's line. The release binary has no door to a panic (tests/api/panics.rs makes one in
    process), so this is a real line with what the hook in src/telemetry/log.rs puts in it."""
    hook = (ROOT / "src/telemetry/log.rs").read_text()
    said = 'tracing::error!(target: "blueprint_decoder::panic", place, "panicked");'
    if said not in hook:
        raise AssertionError(f"src/telemetry/log.rs has no {said}")
    line = {"timestamp": json.loads(lines[0])["timestamp"], "level": "ERROR"}
    line |= {"target": "blueprint_decoder::panic", "message": "panicked"}
    return json.dumps(line | {"place": "src/scan/engine.rs:120:17"})


def expect_nothing_secret(lines: list[str], keys: list[str]) -> None:
    text = "\n".join(lines)
    for never in [*keys, *(key.rpartition("_")[2] for key in keys), CANARY, SECRET]:
        if never in text:
            raise AssertionError(f"{never!r} is in the log")


# The mapping


def mapped(program: str, lines: list[str], source: dict[str, Any]) -> list[dict[str, Any]]:
    """The events that VRL makes of lines which a source of Vector's brings."""
    with tempfile.TemporaryDirectory() as directory:
        file, given = Path(directory) / "remap.vrl", Path(directory) / "lines"
        file.write_text(f"{program}\nencode_json(.)\n")
        given.write_text("".join(f"{json.dumps({'message': line} | source)}\n" for line in lines))
        argv = [vrl(), "--quiet", "--print-warnings", "--program", str(file), "--input", str(given)]
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode != 0 or ran.stderr.strip():
        raise ValueError(f"VRL: {ran.stderr.strip()}")
    return [json.loads(json.loads(event)) for event in ran.stdout.splitlines()]


def vrl() -> str:
    found = shutil.which("vrl")
    if found is None:
        sys.exit(f"vrl is missing:{__doc__.rpartition(':')[2].rstrip()}")
    return found


def faults_of_mapping(program: str, lines: list[str]) -> list[str]:
    try:
        return [
            fault
            for source, expected in ((JOURNAL, OF_JOURNAL), (POD, OF_POD))
            for fault in faults_of_source(program, lines, source, expected)
        ]
    except ValueError as error:
        return [str(error)]


def faults_of_source(
    program: str, lines: list[str], source: dict[str, Any], of_source: dict[str, Any]
) -> list[str]:
    strange = ["42", "null", "[1]", '"text"', '{"a": 1}', "{", ""]
    strange += ["thread 'main' panicked at src/main.rs:1:2:"]
    strange += ['{"timestamp": "2026-01-01T00:00:00Z", "level": "LOUD", "message": "x"}']
    strange += ['{"timestamp": "yesterday", "level": "INFO", "message": "x"}']
    new = json.loads(lines[0]) | {"level": "TRACE", "a_new_field": {"of": ["any", 1, True]}}
    given = [*lines, json.dumps(new), json.dumps(new | {"level": "DEBUG"}), *strange]
    events = mapped(program, given, source)
    if len(events) != len(given):
        return [f"{len(given)} lines became {len(events)} events"]
    faults = []
    for line, event in zip(given, events):
        expected = of_source | expected_of(line, strange)
        if "timestamp" not in expected:
            # The source's time, and why it is no line: in words of VRL's, whatever they are.
            expected["timestamp"] = source["timestamp"]
            expected["log.parse_error"] = event.get("log.parse_error") or "why it is no line"
        for name in sorted(event.keys() | expected.keys()):
            if event.get(name) != expected.get(name):
                found, wanted = event.get(name), expected.get(name)
                faults.append(f"{name} is {found!r}, not {wanted!r}, of {line}")
    seen = {name for line in lines if line.startswith("{") for name in json.loads(line)}
    if missing := FIELDS - seen:
        faults.append(f"no line of the program has {sorted(missing)}")
    return faults


def expected_of(line: str, strange: list[str]) -> dict[str, Any]:
    """The event of a line, by the rules of deploy/logs/README.md."""
    if line in strange or not line.startswith("{"):
        panics = line.startswith("thread ")
        event = {"body": line, "severity_text": "ERROR", "severity_number": 17}
        event |= {"event_name": "panic" if panics else "unparsed"}
        return event | ({"exception.type": "panic"} if panics else {})
    fields = json.loads(line)
    event = {RENAMED.get(name, f"decoder.{name}"): value for name, value in fields.items()}
    event["severity_number"] = SEVERITY[fields["level"]]
    kind = fields["target"].removeprefix("blueprint_decoder::")
    event["event_name"] = kind if kind in ("request", "panic") else "other"
    if fields.get("outcome") in ("failed", "rejected"):
        event["error.type"] = fields["code"]
    if kind == "panic":
        file, row, column = fields["place"].split(":")
        event |= {"exception.type": "panic", "code.file.path": file}
        event |= {"code.line.number": int(row), "code.column.number": int(column)}
    return event


# Vector's configuration


def expect_resolved() -> None:
    """Every input is somebody's output, nobody's output goes nowhere, and what is included is
    there."""
    shared = yaml.safe_load((LOGS / "vector.yaml").read_text())
    for variant in VARIANTS:
        added = yaml.safe_load((LOGS / variant).read_text())
        sources = shared["sources"] | added["sources"]
        transforms, sinks = shared["transforms"], shared["sinks"]
        outputs = set(sources) | set(transforms)
        rerouting = {name for name, of in transforms.items() if of.get("reroute_dropped")}
        outputs |= {f"{name}.dropped" for name in rerouting}
        used = set()
        for name, component in (transforms | sinks).items():
            for wanted in component["inputs"]:
                found = set(fnmatch.filter(outputs - {name}, wanted))
                if not found:
                    raise AssertionError(f"{variant}: {name} wants {wanted}, which nobody has")
                used |= found
        if idle := outputs - used:
            raise AssertionError(f"{variant}: nobody takes what {sorted(idle)} have")
        for name, transform in transforms.items():
            if "file" in transform and not (LOGS / Path(transform["file"]).name).is_file():
                raise AssertionError(f"{name} includes {transform['file']}")
    # The program that is not in a file of its own compiles, too.
    mapped(shared["transforms"]["unmapped"]["source"], ["a line"], JOURNAL)
    for label, value in shared["sinks"]["loki"]["labels"].items():
        if re.search(r"tenant|request|trace|host|path|pod|reason|source", f"{label} {value}"):
            raise AssertionError(f"Loki's label {label} has as many values as there are {value}")


# The questions of the README


def expected_answers() -> dict[str, str]:
    """What each question must find, as a regular expression: what was done to the program."""
    at, ms = r"\d{4}-\d\d-\d\dT[\d:.]+Z", r"\d+(\.\d+)?"
    took = rf"{ms} ms, of it fetching {ms} ms: "
    return {
        "Whose fault is it?": "2 source source_failed\n1 source source_not_found\n"
        "1 policy source_denied\n1 caller unauthenticated\n1 caller malformed_json\n",
        "What failed for one tenant in the last hour?": "2 source_failed\n",
        "What became of one request?": rf'\{{\n(  .*\n)*  "request_id": "{REQUEST_ID}",\n'
        r"(  .*\n)*\}\n",
        "What belongs to one trace?": f"{at} {REQUEST_ID} 200 ok\n",
        "Which decodes were the slowest, and where was the time?": rf"({took}\S+ .+\n){{5}}",
        "Which source fails?": "2 127.0.0.1 source_failed\n1 127.0.0.1 source_not_found\n",
        "What was denied, and by what?": "league source_denied: not the scheme of any rule: .*\n",
        "Who gets 401?": "1 there is no key of this id\n",
        "Did it panic, or say anything that is no line?": "(no line: .*\n)+"
        rf"{at} panic at src/scan/engine\.rs:120:17\n",
        "What changed?": rf"({at} INFO listening \n){{2}}"
        rf"{at} ERROR tenants file could not be loaded; keeping the previous one .*\n"
        rf"({at} INFO tenants file reloaded .*\n)+"
        rf"{at} INFO shutting down \n(.*\n)*{at} ERROR panicked \n",
        "Are lines missing?": r"\d\d\n",
    }


def answers_of_readme(directory: Path, lines: list[str], events: list[dict[str, Any]]) -> int:
    loopback.tool("jq")
    (directory / "decoder.log").write_text("".join(f"{line}\n" for line in lines))
    text = (LOGS / "README.md").read_text()
    sections = re.findall(r"(?ms)^### (.+?)\n(.*?)(?=^### |\Z)", text)
    expected = expected_answers()
    asked = [title for title, _ in sections]
    if asked != list(expected):
        raise AssertionError(f"questions of the README {asked}, expected {list(expected)}")
    for title, section in sections:
        commands = re.findall(r"(?ms)^```sh\n(.*?)^```$", section)
        queries = re.findall(r"(?ms)^```logql\n(.*?)^```$", section)
        if len(commands) != 1 or len(queries) != 1:
            raise AssertionError(f"{title}: it is asked once of Loki and once of raw lines")
        argv = ["bash", "-euo", "pipefail", "-c", commands[0]]
        ran = subprocess.run(
            argv, cwd=directory, capture_output=True, text=True, timeout=60, check=False
        )
        if ran.returncode != 0 or ran.stderr:
            raise AssertionError(f"{title}: exit code {ran.returncode}, {ran.stderr}")
        if not same_lines(expected[title], ran.stdout):
            raise AssertionError(f"{title}:\n{ran.stdout}is not\n{expected[title]}")
        expect_known_names(title, queries[0], events)
    return len(sections)


def same_lines(wanted: str, found: str) -> bool:
    """Whether the text is as expected; lines with the same count come in any order."""
    if re.fullmatch(wanted, found):
        return True
    return sorted(wanted.splitlines()) == sorted(found.splitlines())


def expect_known_names(title: str, query: str, events: list[dict[str, Any]]) -> None:
    """LogQL names nothing that events and labels do not have."""
    labels = yaml.safe_load((LOGS / "vector.yaml").read_text())["sinks"]["loki"]["labels"]
    fields = {re.sub(r"\W", "_", name) for event in events for name in event}
    selector = re.search(r"\{(.*?)\}", query)[1]
    for name, value in re.findall(r'(\w+)=~?"([^"]*)"', selector):
        if name not in labels:
            raise AssertionError(f"{title}: Loki has no label {name}")
        for part in value.split("|") if name == "event" else []:
            if part not in {event["event_name"] for event in events} | {"unmapped"}:
                raise AssertionError(f"{title}: no event is called {part}")
    rest = query.replace(selector, "")
    named = set(re.findall(r'\b(\w+)=~?"|\{\{\.(\w+)\}\}|unwrap (\w+)', rest))
    named = {name for found in named for name in found if name}
    for group in re.findall(r"by \((.*?)\)", rest):
        named |= set(group.split(", "))
    if unknown := named - fields:
        raise AssertionError(f"{title}: no event has {sorted(unknown)}")


# Ways to spoil the mapping


@dataclass(frozen=True)
class Mutation:
    old: str
    new: str


MUTATIONS = [
    Mutation("for_each(line)", "for_each({})"),
    Mutation('"decoder." + name', '"decoder_" + name'),
    Mutation("  .trace_id = del(line.trace_id)\n", "  del(line.trace_id)\n"),
    Mutation('."http.route" = del', '."url.path" = del'),
    Mutation('"WARN": 13', '"WARN": 9'),
    Mutation('["failed", "rejected"]', '["failed"]'),
    Mutation("blueprint_decoder::request", "blueprint_decoder::requests"),
    Mutation("blueprint_decoder::panic", "blueprint_decoder::panics"),
    Mutation("to_int(place.line)", "to_int(place.column)"),
    Mutation("  .body = text\n", ""),
    Mutation('  ."log.parse_error" = to_string(problem)\n', ""),
    Mutation("  .severity_number = 17\n", "  .severity_number = 9\n"),
    Mutation('."service.version" = given', '."service.release" = given'),
    Mutation('  ."service.namespace" = ""\n', ""),
    Mutation("^thread .* panicked at ", "^panicked at "),
    Mutation(".timestamp, problem =", ".observed, problem ="),
    Mutation('parse_timestamp(given.timestamp, "%+") ?? ', ""),
    Mutation("to_string(given.message) ?? ", ""),
    Mutation('    problem = "the level is unknown"\n', "    problem = null\n"),
]


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, TimeoutError) as error:
        sys.exit(str(error))
