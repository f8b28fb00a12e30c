#!/usr/bin/env python3
"""Whether the dashboards show what they say they show.

panels.py --names        what is asked for is exported, what is exported is shown, and that a
                         dashboard which is wrong is found; needs nothing
panels.py --stack FILE   that, then every query against the Prometheus of a running local stack
                         (FILE is its stack.json), then every fault: it is switched on until the
                         panels that are meant to show it move, and off until they are back
"""

import argparse
import copy
import dataclasses
import json
import math
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SNAPSHOT = ROOT / (
    "tests/api/snapshots/api__telemetry__every_series_is_there_from_the_first_scrape.snap"
)
RULES = ROOT / "deploy/prometheus/rules"
RUNBOOK = ROOT / "RUNBOOK.md"

# Exported, and deliberately in no panel.
NOT_SHOWN = {
    "process_virtual_memory_bytes": "address space is no resource; what is resident is shown",
}
# Not in the first scrape of a new process: absent where nothing expires.
LATER = {
    "decoder_expiry_timestamp_seconds": {"kind": {"certificate", "key"}},
}
# What others export.
OTHERS = {
    "ALERTS",
    "ALERTS_FOR_STATE",
    "up",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
}
# Empty in the stack while all is well: why, and what fills it. None: nothing here can, but
# what is asked for is exported.
EMPTY = {
    ("decoder-security", "Expires next"): ("no key of the stack has a date", "expiring-key"),
    ("decoder-security", "Days until it expires"): ("the same", "expiring-key"),
    ("decoder-security", "Requests to the administrative routes"): (
        "nobody operates the stack",
        "operator",
    ),
    ("decoder-process", "Throttled"): ("the stack has no quota of processors", None),
}


@dataclasses.dataclass(frozen=True)
class Move:
    """What a panel must do: rise by an amount and by a factor, or fall by an amount."""

    dashboard: str
    panel: str
    series: str = ""
    rise: float = 0
    times: float = 1
    fall: float = 0

    def is_seen(self, before: float, now: float) -> bool:
        if self.fall:
            return now <= before - self.fall
        return now >= max(before + self.rise, before * self.times)

    def __str__(self) -> str:
        series = f" [{self.series}]" if self.series else ""
        return f"{self.dashboard.removeprefix('decoder-')}: {self.panel}{series}"


SERVICE, SOURCES, SECURITY, TENANTS, PROCESS = (
    f"decoder-{name}" for name in ("service", "sources", "security", "tenants", "process")
)
FAULTS = {
    "slow-source": [
        Move(SERVICE, "Latency, p95", rise=2, times=3),
        Move(SOURCES, "Fetch, p95", rise=2, times=3),
        Move(SOURCES, "Where a fetch's time goes, p95", "first_byte", rise=1, times=3),
        Move(SOURCES, "Where a fetch's time goes, p95", "body", rise=1, times=3),
    ],
    "failing-source": [
        Move(SERVICE, "Success of missions", fall=0.1),
        Move(SERVICE, "Whose fault", "source", rise=0.2, times=3),
        Move(SERVICE, "Lost decodes by blame", "source", rise=2, times=3),
        Move(SOURCES, "Attempts by result", "status_5xx", rise=1, times=3),
        Move(SOURCES, "Circuits open", rise=1),
    ],
    "denied-urls": [
        Move(SECURITY, "Denied by the policy", rise=3, times=3),
        Move(SECURITY, "Denied by the policy", "scheme", rise=0.5, times=3),
        Move(SERVICE, "Whose fault", "policy", rise=0.1, times=3),
    ],
    "bad-keys": [
        Move(SECURITY, "Authentication", "auth_failed", rise=1, times=3),
    ],
    "overload": [
        Move(SERVICE, "Saturation", rise=0.5, times=2),
        Move(SERVICE, "Shed", rise=2, times=3),
        Move(SERVICE, "Whose fault", "service", rise=0.1, times=3),
        Move(SERVICE, "Success against the objectives", "service", fall=0.1),
    ],
    "abandoned": [
        Move(SERVICE, "Decodes by outcome", "cancelled", rise=2, times=3),
        Move(TENANTS, "Cancelled by tenant", "guild", rise=2, times=3),
    ],
    "quota-backend-down": [
        Move(SECURITY, "Backend of the quotas", fall=1),
        Move(SECURITY, "Decided where", "memory", rise=2, times=3),
    ],
    "broken-tenants-file": [
        Move(SECURITY, "Tenants file", fall=1),
    ],
    "stopped-instance": [
        Move(PROCESS, "Instances up", fall=0.5),
        Move(SERVICE, "Instances ready", "ready", fall=1),
    ],
}


class Wrong(Exception):
    """What the dashboards or the stack do not keep."""


@dataclasses.dataclass(frozen=True)
class Query:
    """A query of a panel, or of an annotation."""

    dashboard: str
    panel: str
    expression: str
    legend: str
    instant: bool


def dashboards() -> list[dict]:
    found = [json.loads(path.read_text()) for path in sorted(ROOT.glob("dashboards/*.json"))]
    if len(found) != 5:
        raise Wrong(f"five dashboards were expected, there are {len(found)}")
    return found


def panels(dashboard: dict) -> list[dict]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries_of(dashboard: dict) -> list[Query]:
    asked = [(panel["title"], target) for panel in panels(dashboard) for target in panel["targets"]]
    asked += [
        (f"annotation {annotation['name']}", annotation["target"])
        for annotation in dashboard["annotations"]["list"]
    ]
    return [
        Query(
            dashboard["uid"],
            title,
            target["expr"],
            target.get("legendFormat", ""),
            target.get("instant", False),
        )
        for title, target in asked
    ]


# Names: without a stack.


def exported() -> dict[str, dict[str, set[str]]]:
    """What a process exports from its first scrape: the labels of each metric, their values."""
    metrics: dict[str, dict[str, set[str]]] = {}
    for line in SNAPSHOT.read_text().split("---\n")[2].splitlines():
        name, _, labels = line.partition("{")
        values = metrics.setdefault(name, {})
        for label, value in re.findall(r'(\w+)(?:="([^"]*)")?', labels):
            values.setdefault(label, set()).add(value)
    histograms = {name.removesuffix("_sum") for name in metrics if name.endswith("_sum")}
    for name in histograms:
        metrics[name] = metrics.pop(f"{name}_sum")
        del metrics[f"{name}_count"]
    return metrics | LATER


def family(name: str, metrics: dict) -> str:
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if base in metrics else name


SELECTOR = re.compile(
    r"\b((?:decoder[_:]|process_|node_)[\w:]+|ALERTS\w*|up)\b(?!\s*\()(?:\{([^}]*)\})?"
)
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def names(boards: list[dict], says: bool) -> list[str]:
    """What is wrong with names; says what is right with them."""
    metrics = exported()
    recorded = set(re.findall(r"- record: (\S+)", (RULES / "recording.yml").read_text()))
    alerts = {
        alert
        for path in RULES.glob("*.yml")
        for alert in re.findall(r"- alert: (\S+)", path.read_text())
    }
    wrong: list[str] = []
    shown: set[str] = set()
    linked: set[str] = set()
    headings = {
        heading.lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), re.M)
    }
    for dashboard in boards:
        for query in queries_of(dashboard):
            where = f"{query.dashboard}: {query.panel}"
            if re.search(r"\bvector\s*\(", query.expression):
                wrong.append(f"{where}: what is absent must not look like 0: vector()")
            for name, matchers in SELECTOR.findall(query.expression):
                if name.startswith("decoder:"):
                    if name not in recorded:
                        wrong.append(f"{where}: no rule records {name}")
                    continue
                name = family(name, metrics)
                shown.add(name)
                if name in metrics:
                    wrong += [
                        f"{where}: {fault}" for fault in unmatched(name, metrics[name], matchers)
                    ]
                elif name not in OTHERS:
                    wrong.append(f"{where}: nothing exports {name}")
        for panel in panels(dashboard):
            where = f"{dashboard['uid']}: {panel['title']}"
            if len(panel.get("description", "").split()) < 4:
                wrong.append(f"{where}: no sentence of help")
            wrong += [f"{where}: {fault}" for fault in unseen(panel, metrics)]
        for anchor in re.findall(r"RUNBOOK\.md#([^\"$]+)", json.dumps(dashboard)):
            linked.add(anchor)
            if anchor not in headings:
                wrong.append(f"{dashboard['uid']}: RUNBOOK.md has no section #{anchor}")
    if not shown:
        wrong.append("no metric was found in any query")
    wrong += [
        f"{name} is exported, in no panel, and not said to be hidden"
        for name in sorted(metrics.keys() - shown - NOT_SHOWN.keys())
    ]
    wrong += [
        f"{name} is shown, though it is said to be hidden, or not exported"
        for name in sorted(NOT_SHOWN.keys() & (shown | NOT_SHOWN.keys() - metrics.keys()))
    ]
    wrong += [
        f"no panel links to the runbook's section of {alert}"
        for alert in sorted(alerts)
        if alert.lower() not in linked
    ]
    uids = {dashboard["uid"] for dashboard in boards}
    told = {
        uid for path in RULES.glob("*.yml") for uid in re.findall(r"/d/([\w-]+)", path.read_text())
    }
    wrong += [
        f"alerts point to a dashboard {uid}, which there is not" for uid in sorted(told - uids)
    ]
    if says and not wrong:
        print(
            f"{len(metrics)} metrics are exported, {len(metrics) - len(NOT_SHOWN)} shown, "
            f"{len(NOT_SHOWN)} deliberately not; {len(alerts)} alerts have a panel"
        )
        for name, reason in NOT_SHOWN.items():
            print(f"  not shown: {name}: {reason}")
    return wrong


def spoil(boards: list[dict], old: str, new: str) -> list[dict]:
    text = json.dumps(boards, ensure_ascii=False)
    if old not in text:
        raise Wrong(f"there is no {old} to spoil")
    return json.loads(text.replace(old, new))


def blind_spots(boards: list[dict]) -> list[str]:
    """What is wrong with dashboards and is not found."""
    wrongs = {
        "a metric that nothing exports": ("decoder_circuits_open", "decoder_circuit_open"),
        "a rule that records nothing": ("decoder:service_errors:ratio_rate1h", "decoder:e:1h"),
        "a label that there is not": (
            "sum by (le) (rate(decoder_fetch_phase_duration_seconds_bucket{phase",
            "sum by (le) (rate(decoder_fetch_phase_duration_seconds_bucket{part",
        ),
        "a value that there never is": ('blame=\\"service', 'blame=\\"us'),
        "absence that looks like 0": ("max (decoder:", "vector(0) or max (decoder:"),
        "a colour of no series": ('"options": "source_denied"', '"options": "source_refused"'),
        "a section that there is not": ("#decodershedding", "#decodershed"),
        "an alert without a panel": ("#decoderquotabackenddown", "#decodershedding"),
        "a metric in no panel": ("decoder_log_lines_dropped_total", "decoder_ready"),
        "a dashboard that alerts point to": ('"decoder-tenants"', '"decoder-tenant"'),
    }
    blind = [
        what
        for what, (old, new) in wrongs.items()
        if not names(spoil(boards, old, new), says=False)
    ]
    helpless = copy.deepcopy(boards)
    panels(helpless[0])[0]["description"] = ""
    if not names(helpless, says=False):
        blind.append("a panel without help")
    return [f"it is not found: {what}" for what in blind]


def unmatched(name: str, labels: dict[str, set[str]], matchers: str) -> list[str]:
    """Matchers of what there never is."""
    wrong = []
    for label, operator, value in MATCHER.findall(matchers):
        if label in ("instance", "job"):
            continue
        if label not in labels:
            wrong.append(f"{name} has no label {label}")
        elif operator in ("=", "!="):
            if value not in labels[label]:
                wrong.append(f"{name} never has {label}={value!r}")
        else:
            wrong += [
                f"{name} never has {label}={each!r}"
                for each in value.split("|")
                if not any(re.fullmatch(each, known) for known in labels[label])
            ]
    return wrong


def unseen(panel: dict, metrics: dict) -> list[str]:
    """Colours of series that there never are."""
    if panel["type"] not in ("timeseries", "stat"):
        return []
    legends = {target.get("legendFormat", "") for target in panel["targets"]}
    values: set[str] = set()
    for legend in legends:
        labels = re.findall(r"\{\{(\w+)\}\}", legend)
        if not labels:
            values.add(legend)
        for labelled in metrics.values() if labels else []:
            if labels[0] in labelled:
                values |= labelled[labels[0]]
    # A legend of several labels begins with the first.
    return [
        f"no series is called {override['matcher']['options']!r}"
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["options"].split(":")[0] not in values
    ]


# A running stack.


class Prometheus:
    def __init__(self, url: str):
        self.url = url
        config = self.get("status/config")["yaml"]
        found = re.search(r"scrape_interval: (\S+)", config)
        if not found:
            raise Wrong("Prometheus does not say how often it scrapes")
        self.scrape = seconds(found[1])
        # What Grafana takes at least, and enough for a usual mixture to have each kind.
        self.window = max(4 * self.scrape, 5)

    def get(self, path: str, **parameters: object) -> dict:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            detail = json.load(error).get("error")
            raise Wrong(f"{parameters.get('query', path)}: {detail}") from error

    def filled(self, expression: str, step: float) -> str:
        """The expression as Grafana would send it."""
        for name, value in (
            ("$__rate_interval", f"{round(self.window * 1000)}ms"),
            ("$__interval", f"{round(step * 1000)}ms"),
            ("$__range", "5m"),
            ("$instance", ".*"),
        ):
            expression = expression.replace(name, value)
        if "$" in re.sub(r'"\$\d"', "", expression):
            raise Wrong(f"a variable that is not known: {expression}")
        return expression

    def now(self, expression: str) -> list[tuple[dict, list[float]]]:
        """Each series with its value."""
        found = self.get("query", query=self.filled(expression, self.scrape))
        return [(each["metric"], [float(each["value"][1])]) for each in found["result"]]

    def of_late(self, expression: str, back: float) -> list[tuple[dict, list[float]]]:
        """Each series with its values, as many as a chart has."""
        end, step = time.time(), max(back / 60, self.scrape)
        found = self.get(
            "query_range", query=self.filled(expression, step), start=end - back, end=end, step=step
        )
        return [
            (each["metric"], [float(value) for _, value in each["values"]])
            for each in found["result"]
        ]


def seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(
        int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd])", duration)
    )


def until(is_so, bound: float, what: str):
    """What it gives as soon as it gives something."""
    end = time.monotonic() + bound
    while True:
        given = is_so()
        if given:
            return given
        if time.monotonic() > end:
            raise Wrong(f"not within {bound:.0f} s: {what}")
        time.sleep(0.2)


class Stack:
    def __init__(self, path: pathlib.Path):
        self.told = json.loads(path.read_text())
        self.prometheus = Prometheus(self.told["prometheus"])
        self.queries = [query for dashboard in dashboards() for query in queries_of(dashboard)]
        # A minute, where scrapes and rules are as slow as in production a few.
        self.bound = 60 + 8 * self.prometheus.window

    def data(self, query: Query) -> list[tuple[dict, list[float]]]:
        """Finite data, or nothing."""
        if query.panel.startswith("annotation"):
            found = self.prometheus.of_late(query.expression, 7200)
        elif query.instant:
            found = self.prometheus.now(query.expression)
        else:
            found = self.prometheus.of_late(query.expression, 12 * self.prometheus.window)
        for labels, values in found:
            if not all(map(math.isfinite, values)):
                raise Wrong(f"{query.dashboard}: {query.panel}: not finite: {labels} {values}")
        return found

    def healthy(self) -> None:
        """Every query has finite data, or is known to have none and has none."""
        missing = [query for query in self.queries if (query.dashboard, query.panel) not in EMPTY]

        def all_there() -> bool:
            missing[:] = [query for query in missing if not self.data(query)]
            return not missing

        try:
            until(all_there, self.bound, "data for each panel")
        except Wrong:
            raise Wrong(
                "no data:\n"
                + "\n".join(
                    f"  {query.dashboard}: {query.panel}: {query.expression}" for query in missing
                )
            ) from None
        known = set(EMPTY)
        for query in self.queries:
            key = (query.dashboard, query.panel)
            known.discard(key)
            if key in EMPTY and self.data(query):
                raise Wrong(f"{key} has data though all is well: {EMPTY[key][0]}?")
            if key in EMPTY and EMPTY[key][1] is None:
                for name, _ in SELECTOR.findall(query.expression):
                    if not self.prometheus.now(name):
                        raise Wrong(f"{key}: nothing exports {name}")
        if known:
            raise Wrong(f"panels that there are not: {known}")
        print(f"{len(self.queries)} queries have finite data, but {len(EMPTY)} panels:")
        for (dashboard, panel), (reason, _) in EMPTY.items():
            print(f"  {dashboard}: {panel}: {reason}")

    def live_names(self) -> None:
        """What the running instances export is what the snapshot says."""
        scraped: set[str] = set()
        for admin in self.told["admins"]:
            with urllib.request.urlopen(f"{admin}/metrics", timeout=20) as answer:
                text = answer.read().decode()
            scraped |= set(re.findall(r"^# TYPE (\S+)", text, re.M))
        if odd := scraped ^ (exported().keys() - LATER.keys()):
            raise Wrong(f"exported or in the snapshot, but not both: {sorted(odd)}")

    def value(self, move: Move) -> float:
        """What a panel shows now, of one series or of all."""
        total, is_known = 0.0, False
        for query in self.queries:
            if (query.dashboard, query.panel) != (move.dashboard, move.panel):
                continue
            is_known = True
            for labels, values in self.prometheus.now(query.expression):
                if move.series in ("", query.legend, *labels.values()):
                    total += values[0]
        if not is_known:
            raise Wrong(f"there is no panel {move}")
        return total

    def fault(self, name: str, state: str) -> None:
        command = [ROOT / "deploy/local/fault", name, state, "--dir", self.told["dir"]]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)

    def moves(self, name: str) -> None:
        """A fault is seen while it lasts, and no longer."""
        waiting = {move: self.value(move) for move in FAULTS[name]}
        before, during = dict(waiting), {}
        began = time.monotonic()

        def all_seen() -> bool:
            for move, was in list(waiting.items()):
                now = self.value(move)
                if move.is_seen(was, now):
                    during[move] = now, time.monotonic() - began
                    del waiting[move]
            return not waiting

        def all_back() -> bool:
            return not any(move.is_seen(was, self.value(move)) for move, was in before.items())

        self.fault(name, "on")
        try:
            until(all_seen, self.bound, f"{name} is seen by {', '.join(map(str, waiting))}")
        except Wrong as wrong:
            left = {str(move): (was, self.value(move)) for move, was in waiting.items()}
            raise Wrong(f"{name} on: {left}") from wrong
        finally:
            self.fault(name, "off")
        for move, was in before.items():
            now, after = during[move]
            print(f"{name:20} {str(move):54} {was:9.3f} {now:9.3f} {after:6.1f} s", flush=True)
        until(all_back, self.bound, f"{name} is over")

    def fills(self, what: str) -> None:
        """Panels that are empty while all is well have data when they should."""
        waiting = [
            query
            for query in self.queries
            if EMPTY.get((query.dashboard, query.panel), ("", ""))[1] == what
        ]

        def all_there() -> bool:
            if what == "operator":
                self.operate()
            waiting[:] = [query for query in waiting if not self.data(query)]
            return not waiting

        path = pathlib.Path(self.told["tenants_file"])
        text = path.read_text()
        if what == "expiring-key":
            date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 20 * 86400))
            dated = re.sub(r"(?m)^(sha256 = .*)$", rf'\1\nexpires = "{date}"', text, count=1)
            if dated == text:
                raise Wrong(f"no key was found in {path}")
            path.write_text(dated)
        titles = [query.panel for query in waiting]
        try:
            until(all_there, self.bound, f"{what} fills {titles}")
        finally:
            path.write_text(text)
        for title in titles:
            print(f"{what:20} {title:54} {'none':>9} {'some':>9}", flush=True)

    def operate(self) -> None:
        key = self.told["keys"]["operator"]
        for admin in self.told["admins"]:
            request = urllib.request.Request(
                f"{admin}/admin/usage", headers={"Authorization": f"Bearer {key}"}
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                answer.read()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--names", action="store_true")
    which.add_argument("--stack", type=pathlib.Path, metavar="FILE")
    said = parser.parse_args()
    try:
        boards = dashboards()
        if wrong := names(boards, says=True) or blind_spots(boards):
            raise Wrong("\n".join(wrong))
        if said.stack:
            stack = Stack(said.stack)
            stack.live_names()
            stack.healthy()
            print(f"\n{'fault':20} {'panel':54} {'before':>9} {'during':>9}  after")
            for what in sorted({what for _, what in EMPTY.values() if what}):
                stack.fills(what)
            for name in FAULTS:
                stack.moves(name)
    except Wrong as wrong:
        print(wrong, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
