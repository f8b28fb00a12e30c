#!/usr/bin/env python3
"""Who is told what: the shipped Alertmanager configuration, judged by Alertmanager itself.

    tests/on_call/routing.py [--verbose]

- amtool reads the configuration, and routes a table of labels and every alert of the rules;
- a running Alertmanager is told of every pair of alerts of the rules, and says which of the two it
  keeps silent: exactly those of MUTES, and none of them once the instance, the job or the namespace
  is another's or is missing;
- a receiver that refuses what PagerDuty and Slack refuse takes what the templates make of alerts,
  and of their end;
- each of MUTATIONS spoils the configuration in one place, and the check it names must find it.

It needs the Debian packages prometheus and prometheus-alertmanager.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import loopback
import transform
from loopback import ROOT, call, wait_for

SHIPPED = ROOT / "deploy/alertmanager"
RULES = ROOT / "deploy/prometheus/rules"
RUNBOOK = "https://github.com/blueprint-decoder/blueprint-decoder/blob/main/RUNBOOK.md"

RECEIVERS = {
    "page": "pagerduty",
    "notify": "slack",
    "ticket": "mail",
    "none": "dead-mans-switch",
}
URGENCY = {"none": 0, "ticket": 1, "notify": 2, "page": 3}

# Labels, and who is told. A severity that nobody knows must reach somebody.
ROUTES = [
    ({"severity": "page"}, "pagerduty"),
    ({"severity": "page", "scope": "instance", "instance": "a"}, "pagerduty"),
    ({"severity": "page", "namespace": "staging", "job": "another"}, "pagerduty"),
    ({"severity": "notify"}, "slack"),
    ({"severity": "ticket"}, "mail"),
    ({"severity": "none", "alertname": "DecoderWatchdog"}, "dead-mans-switch"),
    ({"severity": "critical"}, "slack"),
    ({"severity": "Page"}, "slack"),
    ({"alertname": "WithoutSeverity"}, "slack"),
]

_OUTAGE = {
    "DecoderMissionSuccessLow",
    "DecoderMissionSuccessLowForOne",
    "DecoderErrorSpike",
    "DecoderLatencyAverageHigh",
    "DecoderLatencyP95High",
    "DecoderErrorBudgetBurnFast",
    "DecoderErrorBudgetBurn",
    "DecoderErrorBudgetBurnSlow",
    "DecoderSuccessCollapsed",
    "DecoderNoCompletions",
    "DecoderSaturated",
    "DecoderShedding",
    "DecoderTargetDown",
    "DecoderInstanceStuck",
    "DecoderNotReady",
    "DecoderRestarting",
}
# Who mutes whom, of the same job, namespace and, where both have one, instance.
MUTES = {
    "DecoderDown": _OUTAGE,
    "DecoderAbsent": _OUTAGE,
    "DecoderNoCompletions": {"DecoderInstanceStuck"},
    "DecoderMissionSuccessLow": {"DecoderMissionSuccessLowForOne", "DecoderErrorSpike"},
    "DecoderSuccessCollapsed": {"DecoderMissionSuccessLowForOne", "DecoderErrorSpike"},
    "DecoderErrorBudgetBurnFast": {"DecoderErrorBudgetBurn", "DecoderErrorBudgetBurnSlow"},
    "DecoderErrorBudgetBurn": {"DecoderErrorBudgetBurnSlow"},
    "DecoderTargetDown": {"DecoderInstanceStuck", "DecoderNotReady"},
}


@dataclass(frozen=True)
class Alert:
    """What the routing may know of an alert of the rules."""

    name: str
    severity: str
    scope: str

    def labels(self, **more: str) -> dict[str, str]:
        labels = {"alertname": self.name, "severity": self.severity, "scope": self.scope}
        labels |= {"job": "decoder"} | ({"instance": "a"} if self.scope == "instance" else {})
        return {name: value for name, value in (labels | more).items() if value}


def main() -> None:
    verbose = "--verbose" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        alerts = alerts_of_rules(Path(directory))
        faults = [fault for check in CHECKS.values() for fault in check(SHIPPED, alerts)]
        if faults:
            sys.exit("\n".join(faults))
        pairs = sum(map(len, MUTES.values()))
        print(f"{len(alerts)} alerts reach whom they should; {pairs} pairs mute, the others do not")
        survivors = []
        for mutation in MUTATIONS:
            spoilt = mutation.apply(Path(directory) / "spoilt")
            faults = CHECKS[mutation.check](spoilt, alerts)
            found = [fault for fault in faults if re.search(mutation.finds, fault, re.DOTALL)]
            if verbose:
                print(f"{mutation.says}\n    {(found or faults or ['nothing'])[0]}")
            if not found:
                survivors.append(f"not found: {mutation.says}; only {faults[:3]}")
        if survivors:
            sys.exit("\n".join(survivors))
        print(f"{len(MUTATIONS)} ways to spoil the configuration are found, each")


def alerts_of_rules(directory: Path) -> list[Alert]:
    """The alerts as Prometheus reads them from the shipped rules."""
    config = directory / "rules.yml"
    config.write_text(f'rule_files: ["{RULES}/*.yml"]\n')
    with loopback.prometheus(config, directory) as url:
        groups = call(f"{url}/api/v1/rules?type=alert")["data"]["groups"]
    found = {
        Alert(rule["name"], rule["labels"].get("severity", ""), rule["labels"].get("scope", ""))
        for group in groups
        for rule in group["rules"]
    }
    if not found:
        sys.exit(f"no alerts in {RULES}")
    return sorted(found, key=lambda alert: alert.name)


# The configuration and its routes


def faults_of_routes(config: Path, alerts: list[Alert]) -> list[str]:
    faults = []
    checked = amtool("check-config", str(config / "alertmanager.yml"))
    if checked.returncode != 0:
        faults.append(f"amtool check-config: {checked.stdout}{checked.stderr}")
    table = ROUTES + [(alert.labels(), RECEIVERS.get(alert.severity)) for alert in alerts]
    for labels, receiver in table:
        if receiver is None:
            faults.append(f"{labels['alertname']} has no severity of {sorted(RECEIVERS)}")
            continue
        given = [f"{name}={value}" for name, value in labels.items()]
        file = f"--config.file={config / 'alertmanager.yml'}"
        found = amtool("config", "routes", "test", file, f"--verify.receivers={receiver}", *given)
        if found.returncode != 0:
            told = found.stdout.splitlines()[:1]
            faults.append(f"{' '.join(given)} goes to {told}, not to {receiver}")
    for alert in alerts:
        if alert.scope not in ("fleet", "instance"):
            faults.append(f"{alert.name}: scope is fleet or instance, not {alert.scope!r}")
    names = {alert.name for alert in alerts}
    text = (config / "alertmanager.yml").read_text()
    for name in sorted(set(re.findall(r"\bDecoder[A-Z]\w+", text)) - names):
        faults.append(f"{name}, which alertmanager.yml mutes or lets mute, is no alert")
    return faults


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [loopback.tool("amtool"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


# Inhibition

_JOBLESS = {"job": "", "namespace": "own"}
# What is changed of a source and of its target, "" for a label that goes; and whether it mutes.
CASES = [
    ("outside Kubernetes", {}, {}, True),
    ("both in one namespace", {"namespace": "prod"}, {"namespace": "prod"}, True),
    ("in two namespaces", {"namespace": "prod"}, {"namespace": "staging"}, False),
    ("one of them in a namespace", {"namespace": "prod"}, {}, False),
    ("in two jobs", {}, {"job": "another"}, False),
    ("both without a job", _JOBLESS, _JOBLESS, False),
    ("the source without scope", {"scope": ""}, {}, False),
    ("the target without scope", {}, {"scope": ""}, False),
]
CASES_OF_FLEET = [
    ("the source about an instance", {"scope": "instance", "instance": "a"}, {}, False),
]
CASES_OF_INSTANCE = [
    ("on two instances", {}, {"instance": "b"}, False),
    ("both without an instance", {"instance": ""}, {"instance": ""}, False),
    ("the target about the fleet", {}, {"scope": "fleet", "instance": ""}, False),
    ("the source about the fleet", {"scope": "fleet", "instance": ""}, {}, False),
]

Labels = dict[str, str]


def faults_of_inhibition(config: Path, alerts: list[Alert]) -> list[str]:
    by_name = {alert.name: alert for alert in alerts}
    for source, targets in MUTES.items():
        if missing := {source, *targets} - by_name.keys():
            return [f"of MUTES, no alerts: {sorted(missing)}"]
        for target in targets:
            if URGENCY[by_name[source].severity] < URGENCY[by_name[target].severity]:
                return [f"{source} mutes {target}, which is more urgent"]
    told = list(worlds(by_name))
    alone = [labels for _, pair in told for labels, _ in pair]
    muted = muted_among(config, alone)
    return [
        f"{says}: {labels['alertname']} is {'told' if must else 'muted'}"
        for says, pair in told
        for labels, must in pair
        if (frozenset(labels.items()) in muted) != must
    ]


def worlds(alerts: dict[str, Alert]) -> Iterator[tuple[str, list[tuple[Labels, bool]]]]:
    """Pairs of alerts, each of which nothing but the other can mute, and whether it does: they
    have a job, or else a namespace, that no other pair has."""
    names = sorted(alerts)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            job = {"job": f"{one}.{other}"}
            muted_one, muted_other = one in MUTES.get(other, ()), other in MUTES.get(one, ())
            one_told = (alerts[one].labels(**job), muted_one)
            yield f"{one} and {other}", [one_told, (alerts[other].labels(**job), muted_other)]
    for source, targets in MUTES.items():
        of_scope = CASES_OF_FLEET if alerts[source].scope == "fleet" else CASES_OF_INSTANCE
        for target in sorted(targets):
            for case, of_source, of_target, muted in CASES + of_scope:
                says = f"{source} and {target}, {case}"
                own = says.replace(" ", "-")
                pair = []
                for name, changed, must in ((source, of_source, False), (target, of_target, muted)):
                    changed = {"job": own} | changed
                    for label in ("job", "namespace"):
                        if changed.get(label) in ("another", "own"):
                            changed[label] = f"{changed[label]}-{own}"
                    pair.append((alerts[name].labels(**changed), must))
                yield says, pair


def muted_among(config: Path, told: list[Labels]) -> set[frozenset]:
    """Which of these alerts a running Alertmanager keeps silent."""
    sentinel = """inhibit_rules:
  - source_matchers: ['sentinel="source"']
    target_matchers: ['sentinel="target"']
"""
    with tempfile.TemporaryDirectory() as directory:
        text = (config / "alertmanager.yml").read_text().replace("inhibit_rules:\n", sentinel)
        # Nobody is told: this is over before the first message is due, and nobody listens.
        nobody = f"127.0.0.1:{loopback.free_port()}"
        with running(config, Path(directory), text, 1, f"http://{nobody}", nobody) as url:
            tell(url, [{"labels": labels} for labels in told])
            # Alerts are looked at in the order in which they come.
            tell(url, [{"labels": {"sentinel": end}} for end in ("source", "target")])

            def all_seen() -> list[Any] | None:
                found = call(f"{url}/api/v2/alerts")
                last = [alert for alert in found if alert["labels"].get("sentinel") == "target"]
                return found if last and last[0]["status"]["inhibitedBy"] else None

            found = wait_for("Alertmanager to have looked at every alert", 30, all_seen)
    if len(found) != len(told) + 2:
        raise RuntimeError(f"{len(told) + 2} alerts were told, {len(found)} are known")
    return {frozenset(alert["labels"].items()) for alert in found if alert["status"]["inhibitedBy"]}


@contextlib.contextmanager
def running(
    config: Path, directory: Path, text: str, faster: float, receiver_url: str, smtp: str
) -> Iterator[str]:
    """An Alertmanager with a text as configuration, transformed as the local stack does it."""
    for name, content in transform.secrets(receiver_url).items():
        (directory / name).write_text(content)
    shutil.copytree(config / "templates", directory / "templates")
    text = transform.alertmanager(text, faster, receiver_url, smtp, str(directory))
    file = directory / "alertmanager.yml"
    file.write_text(text)
    with loopback.alertmanager(file, directory) as url:
        yield url


def tell(url: str, alerts: list[dict[str, Any]]) -> None:
    call(f"{url}/api/v2/alerts", alerts)


# Messages

# So many times as fast: an hour of Alertmanager's becomes six seconds.
FASTER = 600


def annotations(summary: str) -> dict[str, str]:
    return {
        "summary": summary,
        "description": "Users get errors. Look at who fails first.",
        "runbook_url": f"{RUNBOOK}#decodertest",
        "dashboard_url": "https://grafana.example.com/d/decoder-service",
    }


def told_alerts() -> list[dict[str, Any]]:
    prod = {"job": "decoder", "namespace": "prod"}
    hot = {"alertname": "Hot", "severity": "page", "scope": "instance"} | prod
    alerts = [
        {"labels": hot | {"instance": name}, "annotations": annotations(f"{value} % of memory")}
        for name, value in (("a:1", 91), ("b:1", 87), ("c:1", 99))
    ]
    low = {"alertname": "Low", "severity": "page", "scope": "fleet"}
    alerts += [
        {"labels": low | labels, "annotations": annotations("Success 71.2 % (below 95 %)")}
        for labels in (prod, prod | {"namespace": "staging"}, {"job": "decoder"})
    ]
    bare = {"alertname": "Bare", "severity": "page", "scope": "fleet", "job": "decoder"}
    slow = {"alertname": "Slow", "severity": "notify", "scope": "fleet", "job": "decoder"}
    late = {"alertname": "Late", "severity": "ticket", "scope": "fleet", "job": "decoder"}
    ends = {"alertname": "Watchdog", "severity": "none", "scope": "fleet", "job": "decoder"}
    alerts += [
        {"labels": bare},
        {"labels": slow, "annotations": annotations("p95 <5 s> & more")},
        {"labels": late, "annotations": annotations("A key expires in <9 days>")},
        {"labels": ends, "annotations": annotations("All is well")},
    ]
    now = datetime.now(UTC)
    times = {"startsAt": now - timedelta(minutes=7), "endsAt": now + timedelta(hours=1)}
    return [alert | {name: time.isoformat() for name, time in times.items()} for alert in alerts]


def faults_of_messages(config: Path, _: list[Alert]) -> list[str]:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        ports = stack.enter_context(loopback.receiver(directory))
        received = f"http://127.0.0.1:{ports['http']}"
        smtp = f"127.0.0.1:{ports['smtp']}"
        text = (config / "alertmanager.yml").read_text()
        try:
            url = stack.enter_context(running(config, directory, text, FASTER, received, smtp))
        except RuntimeError as error:
            return [str(error)]
        alerts = told_alerts()
        tell(url, alerts)
        faults = faults_of_beginning(received)
        if not faults:
            now = datetime.now(UTC).isoformat()
            tell(url, [alert | {"endsAt": now} for alert in alerts])
            faults = faults_of_end(received)
        return [f"{fault}\n{refusals(directory)}".rstrip() for fault in faults]


def refusals(directory: Path) -> str:
    """What the two say first of a message that did not get through; they go on trying."""
    told = (directory / "alertmanager.log").read_text().splitlines()
    errors = [line.partition(" msg=")[2] for line in told if "level=error" in line]
    refused = (directory / "receiver.log").read_text().splitlines()
    return "\n".join(errors[:3] + refused[:3])


class Mailbox:
    """What came for the path, by a key of the body."""

    def __init__(self, url: str, path: str) -> None:
        self.url = f"{url}/received?path={path}"

    def bodies(self) -> list[Any]:
        return [entry["body"] for entry in call(self.url)]

    def entries(self) -> list[Any]:
        return call(self.url)


def faults_of_beginning(url: str) -> list[str]:
    """The messages that say that something is wrong."""
    pages, slack, mail, deadman = (
        Mailbox(url, path) for path in ("/v2/enqueue", "/slack", "/mail", "/deadman")
    )

    def of_three() -> Any:
        hot = [page for page in pages.bodies() if page["payload"]["class"] == "Hot"]
        return [page for page in hot if page["payload"]["custom_details"]["num_firing"] == "3"]

    def all_there() -> bool:
        told = [page["payload"] for page in pages.bodies()]
        groups = {(payload["class"], payload.get("group")) for payload in told}
        return len(groups) >= 5 and of_three() and len(deadman.bodies()) >= 9 and mail.bodies()

    try:
        wait_for("five pages, a mail and nine signs of life", 8, all_there)
        wait_for("a message in Slack", 4, slack.bodies)
    except TimeoutError as error:
        return [str(error)]

    faults: list[str] = []

    def expect(what: str, found: Any, expected: Any) -> None:
        if found != expected:
            faults.append(f"{what}: {found!r}, not {expected!r}")

    page = of_three()[0]
    details = page["payload"]["custom_details"]
    silence = "https://alertmanager.example.com/#/silences/new?filter="
    silence += "%7Balertname%3D%22Hot%22%2Cjob%3D%22decoder%22%2Cnamespace%3D%22prod%22%7D"
    dashboard = "https://grafana.example.com/d/decoder-service"
    for what, found, expected in (
        ("key", page["routing_key"], "0123456789abcdef0123456789abcdef"),
        ("title", page["payload"]["summary"], "prod: 91 % of memory (3 instances)"),
        ("severity", page["payload"]["severity"], "critical"),
        ("where", page["payload"]["source"], "prod/decoder"),
        ("component", page["payload"]["component"], "decoder"),
        ("what", details["what"], "Users get errors. Look at who fails first."),
        ("how many", details["how_many"], "3 instances"),
        (
            "each",
            details["firing"].split("\n"),
            ["a:1: 91 % of memory", "b:1: 87 % of memory", "c:1: 99 % of memory", ""],
        ),
        ("runbook", details["runbook"], f"{RUNBOOK}#decodertest"),
        ("dashboard", details["dashboard"], dashboard),
        (
            "links",
            [(link["text"], link["href"]) for link in page["links"]],
            [
                ("Runbook", f"{RUNBOOK}#decodertest"),
                ("Dashboard", dashboard),
                ("Silence", silence),
            ],
        ),
        ("since", bool(re.fullmatch(r"[-0-9]{10} [:0-9]{8} UTC", details["since"])), True),
    ):
        expect(f"a page's {what}", found, expected)
    by_group = {
        (page["payload"]["class"], page["payload"].get("group", "")): page
        for page in pages.bodies()
    }
    titles = {kind: page["payload"]["summary"] for kind, page in by_group.items()}
    expect(
        "the titles of pages",
        titles,
        {
            ("Hot", "prod"): "prod: 91 % of memory (3 instances)",
            ("Low", "prod"): "prod: Success 71.2 % (below 95 %)",
            ("Low", "staging"): "staging: Success 71.2 % (below 95 %)",
            ("Low", ""): "Success 71.2 % (below 95 %)",
            ("Bare", ""): "Bare",
        },
    )
    expect("incidents", len({page["dedup_key"] for page in pages.bodies()}), 5)
    expect("a bare page's runbook", by_group["Bare", ""]["links"][0]["href"], RUNBOOK)

    expect("messages in Slack", len(slack.bodies()), 1)
    message = slack.bodies()[0]["attachments"][0]
    expect("Slack's title", message["title"], "Slow, the fleet")
    text = "p95 &lt;5 s&gt; &amp; more\nUsers get errors. Look at who fails first."
    expect("Slack's text", message["text"], text)
    expect("Slack's link", message["title_link"], f"{RUNBOOK}#decodertest")
    buttons = [button["text"] for button in message["actions"]]
    expect("Slack's buttons", buttons, ["Runbook", "Dashboard", "Silence"])

    letter = mail.entries()[0]
    expect("mails", len(mail.bodies()), 1)
    expect("whom mail is from", letter["authorization"], "alerts@example.com:only-on-loopback")
    expect("a mail's subject", letter["body"]["subject"], "A key expires in <9 days>")
    if f"Runbook:   {RUNBOOK}#decodertest" not in letter["body"]["plain"]:
        faults.append(f"the mail has no runbook: {letter['body']['plain']}")
    if "<strong>A key expires in &lt;9 days&gt;</strong>" not in letter["body"]["html"]:
        faults.append(f"the mail's HTML lets markup in: {letter['body']['html']}")

    signs = deadman.entries()
    expect("what proves the sign of life", signs[0]["authorization"], "Bearer only-on-loopback")
    gaps = [b["time"] - a["time"] for a, b in zip(signs, signs[1:])]
    usual = statistics.median(gaps) * FASTER
    if not 45 <= usual <= 90:
        faults.append(f"a sign of life comes every {usual:.0f} s, not every minute")
    return faults


def faults_of_end(url: str) -> list[str]:
    """The messages that say that it is over."""
    pages, slack, mail, deadman = (
        Mailbox(url, path) for path in ("/v2/enqueue", "/slack", "/mail", "/deadman")
    )

    def of_end() -> list[Any]:
        return [page for page in pages.bodies() if page["event_action"] == "resolve"]

    # Mail is the last: it is looked at once an hour.
    try:
        wait_for("five pages that resolve", 8, lambda: len(of_end()) == 5)
        wait_for("Slack to hear of it", 4, lambda: len(slack.bodies()) == 2)
        wait_for("a mail that it is over", 14, lambda: len(mail.bodies()) == 2)
    except TimeoutError as error:
        return [str(error)]
    faults = []
    began = {page["dedup_key"] for page in pages.bodies() if page["event_action"] == "trigger"}
    if {page["dedup_key"] for page in of_end()} != began:
        faults.append("what resolves is not what began")
    message = slack.bodies()[-1]["attachments"][0]
    if message["title"] != "Resolved: Slow, the fleet" or message["color"] != "good":
        faults.append(f"Slack hears of the end as {message}")
    if not re.search(r"Since [-0-9]{10} [:0-9]{8} UTC, for 7m\d*s$", message["text"]):
        faults.append(f"Slack is not told how long it was: {message['text']!r}")
    if mail.bodies()[-1]["subject"] != "Resolved: A key expires in <9 days>":
        faults.append(f"mail hears of the end as {mail.bodies()[-1]['subject']!r}")
    if any(body["status"] != "firing" for body in deadman.bodies()):
        faults.append("the dead man's switch is told that the watchdog is over: it must notice")
    return faults


CHECKS = {
    "routes": faults_of_routes,
    "inhibition": faults_of_inhibition,
    "messages": faults_of_messages,
}


# Ways to spoil the configuration


@dataclass(frozen=True)
class Mutation:
    """A text of a file that is changed wherever it stands, the check that must find it, and by
    what: a fault of another kind would be luck."""

    check: str
    finds: str
    file: str
    old: str
    new: str

    @property
    def says(self) -> str:
        return f"{self.file}: {self.old.strip()!r} -> {self.new.strip()!r}"

    def apply(self, directory: Path) -> Path:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(SHIPPED, directory)
        path = directory / self.file
        text = path.read_text()
        if self.old not in text:
            raise SystemExit(f"nothing to spoil: {self.says}")
        path.write_text(text.replace(self.old, self.new))
        return directory


def of_routes(finds: str, old: str, new: str) -> Mutation:
    return Mutation("routes", finds, "alertmanager.yml", old, new)


def of_inhibition(finds: str, old: str, new: str) -> Mutation:
    return Mutation("inhibition", finds, "alertmanager.yml", old, new)


def of_messages(finds: str, old: str, new: str) -> Mutation:
    return Mutation("messages", finds, "alertmanager.yml", old, new)


def of_templates(finds: str, old: str, new: str) -> Mutation:
    return Mutation("messages", finds, "templates/decoder.tmpl", old, new)


_BY_FLEET = "equal: [job, namespace]"
_BY_INSTANCE = "equal: [job, namespace, instance]"
_GROUP_BY = "group_by: [alertname, namespace, job]"
_FIVE = "in vain for five pages"

MUTATIONS = [
    of_routes("severity=page goes to .'slack'", 'severity="page"', 'severity="pages"'),
    of_routes(
        "severity=notify goes to .'mail'",
        'severity="notify"\']\n      receiver: slack',
        'severity="notify"\']\n      receiver: mail',
    ),
    of_routes("goes to .'dead-mans-switch'", 'severity="none"', 'severity=~".*"'),
    of_routes(
        "severity=critical goes to .'mail'",
        "  receiver: slack\n  group_wait",
        "  receiver: mail\n  group_wait",
    ),
    of_routes("NotReadyAnyMore, which .* is no alert", "DecoderNotReady", "DecoderNotReadyAnyMore"),
    of_routes("check-config", "routing_key_file", "routing_key_from"),
    of_inhibition("on two instances: .* muted", _BY_INSTANCE, _BY_FLEET),
    of_inhibition("in two namespaces: .* muted", _BY_FLEET, "equal: [job]"),
    of_inhibition("in two jobs: .* muted", _BY_FLEET, "equal: [namespace]"),
    of_inhibition("DecoderAbsent and DecoderInstanceStuck: .* told", _BY_FLEET, _BY_INSTANCE),
    of_inhibition("both without an instance: .* muted", '      - instance=~".+"\n', ""),
    of_inhibition("both without a job: .* muted", '      - job=~".+"\n', ""),
    of_inhibition("source without scope: .* muted", ", 'scope=\"fleet\"', 'job=~\".+\"']", "]"),
    of_inhibition("target without scope: .* muted", '      - scope="instance"\n', ""),
    of_inhibition("about an instance: .* muted", '      - scope="fleet"\n', ""),
    of_inhibition("DecoderErrorSpike is told", "|DecoderErrorSpike", ""),
    of_inhibition(
        "DecoderAddressesDenied and DecoderErrorSpike: DecoderErrorSpike is muted",
        'DecoderMissionSuccessLow|DecoderSuccessCollapsed"',
        'Decoder.*"',
    ),
    of_inhibition(
        "DecoderMemoryHigh is muted",
        'alertname=~"DecoderInstanceStuck|DecoderNotReady"',
        'alertname=~"Decoder.*"',
    ),
    of_messages(_FIVE, _GROUP_BY, "group_by: [alertname, job]"),
    of_messages(_FIVE, _GROUP_BY, "group_by: ['...']"),
    of_messages(
        "in vain for five pages that resolve",
        "send_resolved: true\n        severity",
        "send_resolved: false\n        severity",
    ),
    of_messages("told that the watchdog is over", "send_resolved: false", "send_resolved: true"),
    # A minute would do by chance: it is looked at each minute, and a little later.
    of_messages("comes every 1[12][0-9] s", "repeat_interval: 50s", "repeat_interval: 100s"),
    of_messages("enqueue.* 400", "        severity: critical", "        severity: page"),
    of_messages("Token only-on-loopback", "type: Bearer", "type: Token"),
    of_templates("decoder.title.* not defined", '"decoder.title"', '"decoder.titel"'),
    of_templates(
        "a page's runbook",
        "{{ .CommonAnnotations.runbook_url }}",
        "{{ .CommonAnnotations.dashboard_url }}",
    ),
    of_templates("Slack's text: 'p95 <5", '| reReplaceAll "<" "&lt;" ', ""),
    of_templates("enqueue.* 400", "https://github.com/blueprint-decoder", ""),
    of_templates("index out of range", "{{ if not $alerts }}{{ $alerts = .Alerts }}{{ end -}}", ""),
]


if __name__ == "__main__":
    main()
