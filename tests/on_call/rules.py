#!/usr/bin/env python3
"""The rules of Prometheus, by promtool, by their form, and by what happens to their tests when a
rule is changed a little.

    tests/on_call/rules.py [tools|form|mutants]... [--only WORD]

tools    promtool checks every file, lints are fatal, and runs every test.
form     Every alert has its labels, its annotations, a heading in the runbook, a dashboard, and a
         test of each case. Every metric, label and value that is asked for is exported.
mutants  Each threshold, comparison, matcher, window, offset, grouping, set operator and `for` is
         changed, one at a time, and a test has to turn red. Who survives is printed, and is a
         fault. --only takes those whose line has this word in it.

Without arguments, all three. Needs promtool and PyYAML.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from loopback import ROOT, tool

PROMETHEUS = ROOT / "deploy/prometheus"
SNAPSHOT = (
    ROOT / "tests/api/snapshots/api__telemetry__every_series_is_there_from_the_first_scrape.snap"
)
RUNBOOK = "https://github.com/blueprint-decoder/blueprint-decoder/blob/main/RUNBOOK.md#"
DASHBOARD = "https://grafana.example.com/d/"
SEVERITIES = {"page", "notify", "ticket", "none"}
SCOPES = {"fleet", "instance"}
ANNOTATIONS = {"summary", "description", "runbook_url", "dashboard_url"}
TOGETHER = 2  # programs at a time

# What others export, and what the service exports only where it applies.
FOREIGN = {
    "up": "Prometheus, of each target",
    "ALERTS": "Prometheus, of each alert",
    "node_filesystem_avail_bytes": "the node exporter",
    "node_filesystem_size_bytes": "the node exporter",
    "decoder_expiry_timestamp_seconds": "the service, where something expires",
}
# Labels that Prometheus adds to what is scraped.
OF_TARGETS = {"job", "namespace", "instance"}

LOUD_CASES = {"fires", "two replicas", "resolves"}
SILENT_CASES = {"just below", "low traffic", "rolling deploy", "counter reset"}
# It is never silent and asks for no series, so the other cases say nothing of it.
ALWAYS_FIRES = "DecoderWatchdog"

# Changes that change nothing, each with its reason.
PAIRED = "operands are paired by equal labels, and the other one still has this matcher"
ONE_JOB = "absent() has the label job alone, and the other side is of the same job"
EQUIVALENT = {
    'DecoderAbsent: 8. up{job="decoder"} is gone': ONE_JOB,
    "DecoderAbsent: 11. (job) without job": ONE_JOB,
    'DecoderCpuThrottled: 16. process_cpu_throttled_periods_total{job="decoder"} is gone': PAIRED,
    'DecoderCpuThrottled: 19. process_cpu_periods_total{job="decoder"} is gone': PAIRED,
    'DecoderCpuThrottled: 22. process_cpu_periods_total{job="decoder"} is gone': PAIRED,
    'DecoderDescriptorsHigh: 5. process_open_fds{job="decoder"} is gone': PAIRED,
    'DecoderDescriptorsHigh: 8. process_max_fds{job="decoder"} is gone': PAIRED,
    'DecoderDiskFilling: 5. node_filesystem_avail_bytes{job=~"node|node-exporter"} is gone': PAIRED,
    'DecoderDiskFilling: 18. node_filesystem_size_bytes{job=~"node|node-exporter"} is gone': PAIRED,
    'DecoderMemoryHigh: 5. process_resident_memory_bytes{job="decoder"} is gone': PAIRED,
    'DecoderMemoryHigh: 8. process_memory_limit_bytes{job="decoder"} is gone': PAIRED,
}


# ------------------------------------------------------------------------------------ what there is


@dataclass(frozen=True)
class Rule:
    """A rule, and where it stands."""

    file: str
    group: str
    name: str
    is_alert: bool
    body: dict[str, Any]

    @property
    def expr(self) -> str:
        return self.body["expr"]


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


class Rules:
    """All rules and all of their tests."""

    def __init__(self, directory: Path = PROMETHEUS) -> None:
        self.directory = directory
        self.rule_files = sorted(directory.glob("rules/*.yml"))
        self.test_files = sorted(directory.glob("tests/*.yml"))
        self.groups = {path.name: load(path)["groups"] for path in self.rule_files}
        self.rules = [
            Rule(file, group["name"], rule.get("alert") or rule["record"], "alert" in rule, rule)
            for file, groups in self.groups.items()
            for group in groups
            for rule in group["rules"]
        ]
        self.tests = {path.name: load(path) for path in self.test_files}
        self.by_name = {rule.name: rule for rule in self.rules}
        self.alerts = [rule for rule in self.rules if rule.is_alert]
        self.needs = {rule.name: self._needs(rule) for rule in self.rules}

    def _needs(self, rule: Rule) -> set[str]:
        """The rules without which this one says nothing, and itself."""
        found, new = set(), {rule.name}
        while new:
            name = new.pop()
            found.add(name)
            expr = self.by_name[name].expr
            asked = set(re.findall(r'decoder:[\w:]+|(?<=ALERTS\{alertname=")\w+', expr))
            new |= (asked & self.by_name.keys()) - found
        return found


# ------------------------------------------------------------------------------------------- PromQL

DURATION = r"(?:[0-9]+(?:ms|[smhdwy]))+"
TOKEN = re.compile(
    rf"""
      (?P<space>\s+)
    | (?P<string>"(?:[^"\\]|\\.)*")
    | \[\s*(?P<range>{DURATION})\s*\]
    | offset\s+(?P<offset>{DURATION})
    | (?P<grouping>\b(?:by|without|on|ignoring)\b)
    | (?P<set>\b(?:and|or|unless)\b)
    | (?P<name>[A-Za-z_:][\w:]*)
    | (?P<number>[0-9]+(?:\.[0-9]+)?)
    | (?P<operator>=~|!~|==|!=|<=|>=|=|<|>)
    | (?P<other>[-+*/(){{}},])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """A piece of an expression: what it is, and what stands from where to where."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Matcher:
    """`label="value"`, and the metric it belongs to."""

    metric: str
    label: str
    operator: str
    value: str
    start: int
    end: int

    @property
    def values(self) -> list[str]:
        """The alternatives of a regular expression, or the one value."""
        return self.value.split("|") if "~" in self.operator else [self.value]


def tokens(expr: str) -> list[Token]:
    found, at = [], 0
    while at < len(expr):
        match = TOKEN.match(expr, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"cannot read {expr[at:]!r}")
        kind = match.lastgroup
        if kind != "space":
            found.append(Token(kind, match[kind], match.start(kind), match.end(kind)))
        at = match.end()
    return found


def matchers(expr: str) -> list[Matcher]:
    found, metric, all_tokens = [], "", tokens(expr)
    for at, token in enumerate(all_tokens):
        if token.text == "{":
            metric = all_tokens[at - 1].text
        if token.kind == "operator" and all_tokens[at + 1].kind == "string":
            label, value = all_tokens[at - 1], all_tokens[at + 1]
            if all_tokens[at - 2].text in "{,":
                found.append(
                    Matcher(
                        metric, label.text, token.text, value.text[1:-1], label.start, value.end
                    )
                )
    return found


def groupings(expr: str) -> list[list[Token]]:
    """The labels of each `by (…)` and its like."""
    all_tokens, found = tokens(expr), []
    for at, token in enumerate(all_tokens):
        if token.kind == "grouping":
            rest = itertools.takewhile(lambda t: t.text != ")", all_tokens[at + 2 :])
            found.append([label for label in rest if label.kind == "name"])
    return found


def metrics(expr: str) -> set[str]:
    """The names of series that are asked for."""
    all_tokens = tokens(expr)
    of_labels = {label.start for labels in groupings(expr) for label in labels}
    of_labels |= {matcher.start for matcher in matchers(expr)}
    return {
        token.text
        for token, after in itertools.zip_longest(all_tokens, all_tokens[1:])
        if token.kind == "name"
        and token.start not in of_labels
        and (after is None or after.text != "(" and after.kind != "grouping")
    }


def seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration))


# -------------------------------------------------------------------------------------------- tools


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("promtool"), *map(str, arguments)], text=True, capture_output=True, timeout=600
    )


def check_tools(rules: Rules) -> list[str]:
    lint = ("--lint=all", "--lint-fatal")
    checks = (
        promtool("check", "config", *lint, rules.directory / "prometheus.yml"),
        promtool("check", "rules", *lint, *rules.rule_files),
    )
    faults = [run.stdout + run.stderr for run in checks if run.returncode]
    # The longest first: it decides when all are done.
    by_length = sorted(rules.test_files, key=lambda path: -path.stat().st_size)
    with ThreadPoolExecutor(TOGETHER) as pool:
        runs = pool.map(lambda path: promtool("test", "rules", path), by_length)
        for path, run in zip(by_length, runs):
            if run.returncode:
                faults.append(f"{path.name}: {run.stdout}{run.stderr}")
    groups = sum(len(test["tests"]) for test in rules.tests.values())
    print(f"tools: {len(rules.rules)} rules, {groups} groups of tests")
    return faults


# --------------------------------------------------------------------------------------------- form


def check_form(rules: Rules) -> list[str]:
    faults = [
        *form_of_alerts(rules),
        *form_of_recordings(rules),
        *form_of_series(rules),
        *form_of_tests(rules),
        *form_of_cases(rules),
    ]
    alerts = len(rules.alerts)
    print(f"form: {alerts} alerts, {len(rules.rules) - alerts} recording rules")
    return faults


def form_of_alerts(rules: Rules) -> Iterator[str]:
    headings = re.findall(r"(?m)^### (.+?) *$", (ROOT / "RUNBOOK.md").read_text())
    boards = {json.loads(path.read_text())["uid"] for path in ROOT.glob("dashboards/*.json")}
    names = [rule.name for rule in rules.alerts]
    for rule in rules.alerts:
        body, name = rule.body, rule.name
        labels, annotations = body.get("labels", {}), body.get("annotations", {})
        if names.count(name) > 1:
            yield f"{name}: there are two"
        if labels.keys() != {"severity", "scope"}:
            yield f"{name}: the labels are {sorted(labels)}"
        if labels.get("severity") not in SEVERITIES or labels.get("scope") not in SCOPES:
            yield f"{name}: severity or scope is none of those that there are: {labels}"
        if annotations.keys() != ANNOTATIONS:
            yield f"{name}: the annotations are {sorted(annotations)}"
            continue
        if "$value" not in annotations["summary"]:
            yield f"{name}: the summary does not say the value"
        if labels.get("scope") == "instance" and "$labels.instance" not in annotations["summary"]:
            yield f"{name}: the summary does not say the instance"
        if len(re.findall(r"First: \S", annotations["description"])) != 1:
            yield f"{name}: the description does not say what to do first"
        if annotations["runbook_url"] != RUNBOOK + name.lower():
            yield f"{name}: runbook_url is {annotations['runbook_url']}"
        if headings.count(name) != 1:
            yield f"{name}: RUNBOOK.md has {headings.count(name)} headings '### {name}'"
        uid = annotations["dashboard_url"].removeprefix(DASHBOARD)
        if uid not in boards:
            yield f"{name}: no dashboard is {annotations['dashboard_url']}"
    for heading in headings:
        if re.fullmatch(r"Decoder\w+", heading) and heading not in names:
            yield f"RUNBOOK.md has '### {heading}', and no alert is called so"


def form_of_recordings(rules: Rules) -> Iterator[str]:
    asked = " ".join(
        [rule.expr for rule in rules.rules]
        + [path.read_text() for path in ROOT.glob("dashboards/*.json")]
    )
    used = set(re.findall(r"decoder:[\w:]+", asked))
    names = [rule.name for rule in rules.rules if not rule.is_alert]
    for name in names:
        if not re.fullmatch(r"decoder:[a-z_]+:[a-z0-9_]+", name):
            yield f"{name}: is not called decoder:what:how"
        if names.count(name) > 1:
            yield f"{name}: there are two"
        if name not in used:
            yield f"{name}: nobody asks for it"
    for name in used - set(names):
        yield f"{name}: is asked for, and not recorded"


def exported() -> dict[str, list[dict[str, str]]]:
    """Labels of the series that the service has from its first scrape, by name."""
    series: dict[str, list[dict[str, str]]] = {}
    for line in SNAPSHOT.read_text().split("---\n", 2)[2].splitlines():
        name, _, labels = line.partition("{")
        series.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))
    for name in [name for name in series if name.endswith("_count")]:
        series[name.removesuffix("_count") + "_bucket"] = series[name]
    return series


def form_of_series(rules: Rules) -> Iterator[str]:
    series = exported()
    recorded = {rule.name for rule in rules.rules if not rule.is_alert}
    asked = {name for rule in rules.rules for name in metrics(rule.expr)}
    source = "".join(path.read_text() for path in ROOT.glob("src/telemetry/*.rs"))
    for name in sorted(asked - recorded - series.keys()):
        if name not in FOREIGN:
            yield f"{name}: nobody exports it"
        elif name.startswith("decoder_") and f'"{name}"' not in source:
            yield f"{name}: the service does not know it"
    for name in sorted(FOREIGN.keys() - asked):
        yield f"{name}: is listed in FOREIGN, and no rule asks for it"
    for rule in rules.rules:
        for found in matchers(rule.expr):
            needs_job = found.metric == "up" or found.metric.startswith("process_")
            if found.metric not in series or found.label in OF_TARGETS:
                if found.label == "job" and needs_job and found.value != "decoder":
                    yield f"{rule.name}: {found.metric} of job {found.value}"
                continue
            for value in found.values:
                if not any(labels.get(found.label) == value for labels in series[found.metric]):
                    yield f"{rule.name}: no {found.metric} has {found.label}={value}"
        with_job = {m.metric for m in matchers(rule.expr) if m.label == "job"}
        for name in metrics(rule.expr):
            if (name == "up" or name.startswith(("process_", "node_"))) and name not in with_job:
                yield f"{rule.name}: {name} is asked for without a job"


def form_of_tests(rules: Rules) -> Iterator[str]:
    """Without an order promtool evaluates groups in any; without the file of a rule, tests that
    want silence find it."""
    for name, test in rules.tests.items():
        files = [Path(path).name for path in test["rule_files"]]
        order = [group["name"] for file in files for group in rules.groups.get(file, [])]
        if files != sorted(files, key=lambda file: file != "recording.yml"):
            yield f"{name}: recording.yml is not the first of rule_files"
        if test.get("group_eval_order") != order:
            yield f"{name}: group_eval_order is not {order}"
        names = [group["name"] for group in test["tests"]]
        for twice in {each for each in names if names.count(each) > 1}:
            yield f"{name}: two groups are called {twice}"
        for group in test["tests"]:
            if group["name"].startswith("recording: "):
                if not group.get("promql_expr_test"):
                    yield f"{group['name']}: expects nothing"
                continue
            alerts, cases = named(group)
            for alert in alerts:
                if alert not in rules.by_name or rules.by_name[alert].file not in files:
                    yield f"{group['name']}: {name} has no rule {alert}"
            for case in cases - LOUD_CASES - SILENT_CASES:
                yield f"{group['name']}: there is no case '{case}'"
            if cases & LOUD_CASES and cases & SILENT_CASES:
                yield f"{group['name']}: is to be loud and silent"


def named(group: dict[str, Any]) -> tuple[list[str], set[str]]:
    """The alerts and the cases that the name of a group of tests says."""
    alerts, _, cases = re.sub(r" \(.*\)$", "", group["name"]).partition(": ")
    return alerts.split(", "), set(cases.split(", "))


def form_of_cases(rules: Rules) -> Iterator[str]:
    groups = [
        group
        for test in rules.tests.values()
        for group in test["tests"]
        if not group["name"].startswith("recording: ")
    ]
    for alert in [rule.name for rule in rules.alerts]:
        cases: set[str] = set()
        for group in groups:
            if alert in named(group)[0]:
                cases |= named(group)[1]
                for case in sorted(named(group)[1]):
                    if fault := lacks(group, alert, case):
                        yield f"{group['name']}: {alert}, {case}: {fault}"
        wanted = {"fires"} if alert == ALWAYS_FIRES else LOUD_CASES | SILENT_CASES
        for case in sorted(wanted - cases):
            yield f"{alert}: no test of '{case}'"


def lacks(group: dict[str, Any], alert: str, case: str) -> str | None:
    """What a group lacks to be a test of this case."""
    heard, unheard, exact = [], [], []
    for test in group.get("alert_rule_test", []):
        if test["alertname"] == alert:
            at = seconds(test["eval_time"])
            (heard if test["exp_alerts"] else unheard).append(at)
            if test["exp_alerts"]:
                exact.append(at)
    never = False
    firing = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
    for test in group.get("promql_expr_test", []):
        at = seconds(test["eval_time"])
        if test["expr"] in (firing, f"count({firing})") and test["exp_samples"]:
            heard.append(at)
        over = re.fullmatch(rf"count_over_time\({re.escape(firing)}\[(\w+)\]\)", test["expr"])
        if over and not test["exp_samples"]:
            never = seconds(over[1]) >= min(at, 3600)
    series = [(each["series"], each["values"].split()) for each in group["input_series"]]
    replicas = {instance(selector) for selector, _ in series} - {None}
    if case in SILENT_CASES and not never:
        return "does not say that it never fires"
    if case == "fires" and not exact:
        return "does not say with which labels and annotations it fires"
    if case == "fires" and alert != ALWAYS_FIRES and not any(at < min(exact) for at in unheard):
        return "does not say when it begins to fire"
    if case == "resolves" and not (heard and max(unheard, default=0) > max(heard)):
        return "does not end in silence"
    if case == "two replicas" and (len(replicas) < 2 or not heard):
        return "has no two replicas"
    if case == "rolling deploy":
        gone = {instance(selector) for selector, values in series if values[-1] == "stale"}
        come = {instance(selector) for selector, values in series if values[0].startswith("_")}
        if not gone or not come - gone:
            return "has no instance that goes and another one that comes"
    if case == "counter reset" and not any(starts_again(*each) for each in series):
        return "has no counter that begins again"
    return None


def instance(selector: str) -> str | None:
    found = re.search(r'instance="([^"]*)"', selector)
    return found[1] if found else None


def starts_again(selector: str, values: list[str]) -> bool:
    """Whether it is a counter that falls."""
    metric = selector.partition("{")[0]
    if not metric.endswith(("_total", "_sum", "_count", "_bucket")):
        return False
    numbers: list[float] = []
    for value in values:
        if found := re.fullmatch(r"([\d.]+)(?:([+-][\d.]+))?(?:x(\d+))?", value):
            first, step, times = float(found[1]), float(found[2] or 0), int(found[3] or 0)
            numbers += [first, first + step * times]
    return any(after < before for before, after in itertools.pairwise(numbers))


# ------------------------------------------------------------------------------------------ mutants


@dataclass(frozen=True)
class Mutant:
    """A rule with one change."""

    rule: Rule
    what: str
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.what}"


COMPARISONS = {
    "<": ("<=", ">"),
    ">": (">=", "<"),
    "<=": ("<", ">="),
    ">=": (">", "<="),
    "==": ("!=",),
    "!=": ("==",),
}
OPPOSITE = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}
SET_OPERATORS = {"and": "or", "or": "and", "unless": "and"}


def mutants_of(rule: Rule) -> Iterator[Mutant]:
    expr, nth = rule.expr, itertools.count(1)

    def changed(start: int, end: int, to: str, what: str) -> Mutant:
        """`what` tells which of several alike it is by the number of the change."""
        body = {**rule.body, "expr": expr[:start] + to + expr[end:]}
        return Mutant(rule, f"{next(nth)}. {what}", body)

    in_matchers = matchers(expr)
    for token in tokens(expr):
        text, start, end = token.text, token.start, token.end
        if token.kind == "number":
            for to in a_little(text):
                yield changed(start, end, to, f"{text} is {to}")
        elif token.kind == "operator" and text in COMPARISONS:
            if not any(matcher.start < start < matcher.end for matcher in in_matchers):
                for to in COMPARISONS[text]:
                    yield changed(start, end, to, f"{text} is {to}")
        elif token.kind == "range":
            for to in times(text, 0.75), times(text, 1.25):
                yield changed(start, end, to, f"[{text}] is [{to}]")
        elif token.kind == "offset":
            for to in shifted(text, -3600), shifted(text, 3600):
                yield changed(start, end, to, f"offset {text} is {to}")
        elif token.kind == "set":
            to = SET_OPERATORS[text]
            yield changed(start, end, to, f"{text} is {to}")
    for found in in_matchers:
        here = expr[found.start : found.end]
        of = f"{found.metric}{{{here}}}"
        yield changed(*with_comma(expr, found.start, found.end), "", f"{of} is gone")
        for value in replaced(found):
            to = f'{found.label}{found.operator}"{value}"'
            yield changed(found.start, found.end, to, f"{of} is {to}")
        to = f'{found.label}{OPPOSITE[found.operator]}"{found.value}"'
        yield changed(found.start, found.end, to, f"{of} is {to}")
    for labels in groupings(expr):
        for label in labels:
            of = ", ".join(each.text for each in labels)
            where = with_comma(expr, label.start, label.end)
            yield changed(*where, "", f"({of}) without {label.text}")
    if "for" in rule.body:
        for to in times(rule.body["for"], 0.75), times(rule.body["for"], 1.25):
            body = {**rule.body, "for": to}
            yield Mutant(rule, f"{next(nth)}. for {rule.body['for']} is {to}", body)


def a_little(number: str) -> Iterator[str]:
    """Less and more: by one what is counted, by a hundredth what is measured."""
    value = float(number)
    by = 1 if value == int(value) and value <= 100 else value / 100
    for near in value - by, value + by:
        yield f"{near:.10g}" if near >= 0 else f"({near:.10g})"


def times(duration: str, factor: float) -> str:
    return f"{round(seconds(duration) * factor)}s"


def shifted(duration: str, by: float) -> str:
    return f"{round(seconds(duration) + by)}s"


def replaced(matcher: Matcher) -> Iterator[str]:
    """Another value; of several, all but one."""
    yield "mutant"
    if len(matcher.values) > 1:
        for left_out in matcher.values:
            yield "|".join(value for value in matcher.values if value != left_out)


def with_comma(expr: str, start: int, end: int) -> tuple[int, int]:
    """The place of an item of a list, with one of the commas beside it."""
    if after := re.compile(r"\s*,\s*").match(expr, end):
        return start, after.end()
    before = re.search(r",\s*$", expr[:start])
    return (before.start() if before else start), end


class Suites:
    """The tests of each rule, with no more rules than they need: so a mutant takes a moment."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.of = {rule.name: list(self._of(rule)) for rule in rules.rules}
        self.heirs = {rule.name: [rule.name, *self._heirs(rule)] for rule in rules.rules}

    def _heirs(self, rule: Rule) -> Iterator[str]:
        """The alerts that ask for a rule: what its own tests do not find, theirs may."""
        for alert in self.rules.alerts:
            if alert.name != rule.name and rule.name in self.rules.needs[alert.name]:
                yield alert.name

    def _of(self, rule: Rule) -> Iterator[Suite]:
        for test in self.rules.tests.values():
            for group in test["tests"]:
                if part := self._part(group, rule):
                    yield Suite({**test, "tests": [part]})

    def _part(self, group: dict[str, Any], rule: Rule) -> dict[str, Any] | None:
        """What of a group is about the rule."""
        word = re.compile(rf"(?<![\w:]){re.escape(rule.name)}(?![\w:])")
        is_about = not rule.is_alert or rule.name in named(group)[0]
        alerts = [t for t in group.get("alert_rule_test", []) if t["alertname"] == rule.name]
        exprs = [t for t in group.get("promql_expr_test", []) if word.search(t["expr"])]
        if not is_about or not alerts and not exprs:
            return None
        return {**group, "alert_rule_test": alerts, "promql_expr_test": exprs}

    def are_green(
        self, name: str, suites: Iterable[Suite], instead: dict[str, dict[str, Any]]
    ) -> bool:
        """Whether tests of a rule pass, some rules being others."""
        groups = []
        for group in itertools.chain(*self.rules.groups.values()):
            needed = [rule for rule in group["rules"] if rule_name(rule) in self.rules.needs[name]]
            changed = [instead.get(rule_name(rule), rule) for rule in needed]
            if changed:
                groups.append({**group, "rules": changed})
        names = {group["name"] for group in groups}
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "rules.yml").write_text(json.dumps({"groups": groups}))
            paths = []
            for number, suite in enumerate(suites):
                order = [group for group in suite.test["group_eval_order"] if group in names]
                here = {"rule_files": ["rules.yml"], "group_eval_order": order}
                paths.append(Path(directory, f"{number}.yml"))
                paths[-1].write_text(json.dumps({**suite.test, **here}))
            run = promtool("test", "rules", *paths)
        said = run.stdout + run.stderr
        # What cannot be read would be no mutant, and its tests would not be red for its sake.
        if run.returncode and not re.search(r"\b(?:exp|err):", said):
            raise ValueError(f"{name} {instead}: {said}")
        return run.returncode == 0

    def survives(self, mutant: Mutant) -> bool:
        """Whether every test stays green; those that have found most are asked first."""
        instead = {mutant.rule.name: mutant.body}
        for heir in self.heirs[mutant.rule.name]:
            for suite in sorted(self.of[heir], key=lambda suite: -suite.found):
                if not self.are_green(heir, [suite], instead):
                    suite.found += 1
                    return False
        return True


@dataclass
class Suite:
    """A file with one group of tests, and how many mutants it has found."""

    test: dict[str, Any]
    found: int = 0


def rule_name(body: dict[str, Any]) -> str:
    return body.get("alert") or body["record"]


def check_mutants(rules: Rules, only: str) -> list[str]:
    suites, began = Suites(rules), time.monotonic()
    mutants = [m for rule in rules.rules for m in mutants_of(rule) if only in str(m)]
    asked = {heir for mutant in mutants for heir in suites.heirs[mutant.rule.name]}
    tested = [rule for rule in rules.rules if rule.name in asked and suites.of[rule.name]]
    faults = [f"{rule.name}: no test" for rule in rules.rules if not suites.of[rule.name]]
    faults += [] if mutants else [f"no mutant has {only!r} in it"]
    with ThreadPoolExecutor(TOGETHER) as pool:
        green = pool.map(lambda rule: suites.are_green(rule.name, suites.of[rule.name], {}), tested)
        for rule, is_green in zip(tested, green):
            if not is_green:
                faults.append(f"{rule.name}: its tests are red without any change")
        if faults:
            return faults
        survive = list(pool.map(suites.survives, mutants))
    survivors = {str(mutant) for mutant, survives in zip(mutants, survive) if survives}
    faults += [f"survives: {each}" for each in sorted(survivors - EQUIVALENT.keys())]
    if not only:
        for each in sorted(EQUIVALENT.keys() - survivors):
            faults.append(f"listed as equivalent, and is killed or is not there: {each}")
    print(
        f"mutants: {len(mutants)}, killed {len(mutants) - len(survivors)}, "
        f"equivalent {len(survivors & EQUIVALENT.keys())}, {time.monotonic() - began:.0f} s"
    )
    return faults


CHECKS = {"tools": check_tools, "form": check_form, "mutants": check_mutants}


def main() -> None:
    options = argparse.ArgumentParser(description="Checks the rules of Prometheus.")
    options.add_argument("checks", nargs="*", metavar="tools|form|mutants")
    options.add_argument("--only", default="", metavar="WORD", help="mutants with this in them")
    options.add_argument("--dir", type=Path, default=PROMETHEUS, metavar="DIR", help="other rules")
    chosen = options.parse_args()
    if unknown := set(chosen.checks) - CHECKS.keys():
        options.error(f"no check is called {sorted(unknown)}")
    rules = Rules(chosen.dir)
    faults = []
    for name in chosen.checks or CHECKS:
        faults += check_mutants(rules, chosen.only) if name == "mutants" else CHECKS[name](rules)
    for fault in faults:
        print(fault)
    if faults:
        sys.exit(f"{len(faults)} faults")


if __name__ == "__main__":
    main()
