"""The kinds of panels, so that units, colours, legends and links are the same everywhere.

A query is written without `instance` and `job`: `scoped` puts them where they belong. What is
not said here is left to Grafana's defaults, so that the files stay short.
"""

import dataclasses
import re
from collections.abc import Sequence

RUNBOOK = "https://github.com/blueprint-decoder/blueprint-decoder/blob/main/RUNBOOK.md"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# What a colour means, on each dashboard: whose fault, and how it ended.
GREEN, ORANGE, RED, BLUE, PURPLE, GREY = "green", "orange", "red", "blue", "purple", "#8e8e8e"
BLAMES = {"source": ORANGE, "service": RED, "caller": BLUE, "policy": PURPLE}
OUTCOMES = {"success": GREEN, "rejected": BLUE, "failed": RED, "cancelled": GREY}
# The shades of orange are the source's; what came to an end by itself is green or grey.
RESULTS = {
    "ok": GREEN,
    "status_4xx": "super-light-orange",
    "status_5xx": ORANGE,
    "connect": "light-orange",
    "tls": "dark-yellow",
    "timeout": "dark-orange",
    "protocol": "semi-dark-orange",
    "denied": PURPLE,
    "cancelled": GREY,
}
PHASES = {"dns": "light-blue", "connect": "semi-dark-blue", "first_byte": ORANGE, "body": "yellow"}
POOLS = {"fetch": "semi-dark-blue", "inline": "light-green"}

COUNTED = ("reqps", "short", "suffix:/s")

METRIC = re.compile(r"\b(decoder_\w+|process_\w+|up)\b(?:\{([^}]*)\})?")


def scoped(expression: str) -> str:
    """The expression for the chosen instances; what any process exports, for this job alone."""

    def scope(found: re.Match) -> str:
        name, matchers = found.groups()
        job = "" if name.startswith("decoder_") else 'job="decoder"'
        words = ", ".join(filter(None, [job, matchers, 'instance=~"$instance"']))
        return f"{name}{{{words}}}"

    return METRIC.sub(scope, " ".join(expression.split()))


def rate(metric: str) -> str:
    return f"rate({metric}[$__rate_interval])"


def ratio(part: str, whole: str) -> str:
    """Absent, not a division by zero, where there is nothing to have a part of."""
    return f"{part} / ({whole} > 0)"


def share(parts: str, whole: str) -> str:
    """Each of several parts of one whole."""
    return f"{parts} / on () group_left () ({whole} > 0)"


def quantile(part: float, metric: str, by: str = "") -> str:
    """Absent, not NaN, where nothing was observed."""
    name, brace, matchers = metric.partition("{")
    labels = f"le, {by}" if by else "le"
    rates = rate(f"{name}_bucket{brace}{matchers}")
    return f"histogram_quantile({part}, sum by ({labels}) ({rates})) >= 0"


def mean(metric: str, by: str = "") -> str:
    name, brace, matchers = metric.partition("{")
    total, count = (rate(f"{name}_{end}{brace}{matchers}") for end in ("sum", "count"))
    labels = f" by ({by}) " if by else " "
    return f"sum{labels}({total}) / (sum{labels}({count}) > 0)"


@dataclasses.dataclass
class Query:
    """What is asked, and what the answer is called."""

    expression: str
    legend: str = ""
    # Of the whole fleet, whatever instances are chosen.
    whole_fleet: bool = False
    instant: bool = False
    format: str = "time_series"

    def target(self, ref: str) -> dict:
        expression = " ".join(self.expression.split())
        target = {"refId": ref, "expr": expression if self.whole_fleet else scoped(expression)}
        if self.legend:
            target["legendFormat"] = self.legend
        if self.format != "time_series":
            target["format"] = self.format
        # One value is asked for once, not once for each pixel.
        target["instant" if self.instant else "range"] = True
        return target


@dataclasses.dataclass
class Panel:
    """A panel but for its place."""

    body: dict
    width: int
    height: int


def steps(first: str, *others: tuple[float, str]) -> dict:
    """Thresholds: a colour, and the values at which others begin. The first colour is also that
    of what is absent."""
    above = [{"color": color, "value": value} for value, color in others]
    return {"mode": "absolute", "steps": [{"color": first, "value": None}, *above]}


def override(name: str, **properties: object) -> dict:
    """What is different for one series or column; `custom__width` is written custom.width."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [
            {"id": key.replace("__", "."), "value": value} for key, value in properties.items()
        ],
    }


def fixed(color: str) -> dict:
    return {"mode": "fixed", "fixedColor": color}


def panel(
    kind: str,
    title: str,
    help: str,
    queries: list[Query],
    *,
    width: int,
    height: int,
    defaults: dict,
    options: dict,
    overrides: Sequence[dict],
    colors: dict[str, str] | None,
    empty: str,
    alerts: tuple[str, ...],
    transformations: list[dict] | None = None,
) -> Panel:
    links = [
        {"title": f"Runbook: {alert}", "url": f"{RUNBOOK}#{alert.lower()}", "targetBlank": True}
        for alert in alerts
    ]
    if empty:
        defaults["noValue"] = empty
    colored = [override(name, color=fixed(color)) for name, color in (colors or {}).items()]
    body = {
        "type": kind,
        "title": title,
        "description": help,
        "datasource": DATASOURCE,
        "targets": [query.target(chr(ord("A") + n)) for n, query in enumerate(queries)],
        "fieldConfig": {"defaults": defaults, "overrides": [*colored, *overrides]},
        "options": options,
    }
    if links:
        body["links"] = links
    if transformations:
        body["transformations"] = transformations
    return Panel(body, width, height)


def timeseries(
    title: str,
    help: str,
    *queries: Query,
    unit: str,
    width: int = 12,
    height: int = 9,
    colors: dict[str, str] | None = None,
    stack: bool = False,
    of_all: bool = False,
    lines: dict | None = None,
    low: float | None = 0,
    soft_low: float | None = None,
    high: float | None = None,
    decimals: int | None = None,
    overrides: Sequence[dict] = (),
    sort: str = "Last *",
    ascending: bool = False,
    empty: str = "",
    alerts: tuple[str, ...] = (),
) -> Panel:
    """Lines over time; `stack` where they add up to something, `of_all` as shares of it. `lines`
    are thresholds that are drawn. `soft_low` is the foot of the chart until a value is lower.
    The legend begins with what most likely matters."""
    custom: dict = {
        "lineWidth": 1,
        "fillOpacity": 60 if stack or of_all else 0,
        "showPoints": "never",
        "lineInterpolation": "linear",
    }
    if stack or of_all:
        custom["stacking"] = {"mode": "percent" if of_all else "normal", "group": "A"}
        custom["lineWidth"] = 0
    defaults: dict = {"unit": unit, "color": {"mode": "palette-classic"}, "custom": custom}
    if soft_low is not None:
        custom["axisSoftMin"] = soft_low
    elif low is not None:
        defaults["min"] = low
    if high is not None:
        defaults["max"] = high
    if unit in COUNTED:
        # Nothing at all is drawn at the foot, not under an empty hundred.
        custom["axisSoftMax"] = 1
    if decimals is not None:
        defaults["decimals"] = decimals
    if lines:
        defaults["thresholds"] = lines
        custom["thresholdsStyle"] = {"mode": "dashed"}
    options = {
        "legend": {
            "displayMode": "table",
            "placement": "right" if width > 8 else "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull", "max"],
            "sortBy": sort,
            "sortDesc": not ascending,
        },
        "tooltip": {"mode": "multi", "sort": "asc" if ascending else "desc"},
    }
    return panel(
        "timeseries",
        title,
        help,
        list(queries),
        width=width,
        height=height,
        defaults=defaults,
        options=options,
        overrides=overrides,
        colors=colors,
        empty=empty,
        alerts=alerts,
    )


def stat(
    title: str,
    help: str,
    *queries: Query,
    unit: str,
    thresholds: dict | None = None,
    width: int = 4,
    height: int = 5,
    colors: dict[str, str] | None = None,
    decimals: int | None = None,
    says: dict[str, tuple[str, str]] | None = None,
    graph: bool = True,
    names: bool = False,
    overrides: Sequence[dict] = (),
    empty: str = "",
    alerts: tuple[str, ...] = (),
) -> Panel:
    """The latest value, large; in its background the colour of its threshold, where it has one.
    `says` gives words and colour to a value."""
    defaults: dict = {"unit": unit}
    if thresholds:
        defaults["thresholds"] = thresholds
        defaults["color"] = {"mode": "thresholds"}
    else:
        defaults["color"] = fixed("text")
    if decimals is not None:
        defaults["decimals"] = decimals
    if says:
        words = {
            value: {"text": text, "color": color, "index": n}
            for n, (value, (text, color)) in enumerate(says.items())
        }
        defaults["mappings"] = [{"type": "value", "options": words}]
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "vertical" if names else "auto",
        "textMode": "value_and_name" if names else "value",
        "colorMode": "background" if thresholds else "value",
        "graphMode": "area" if graph else "none",
        "justifyMode": "center" if names else "auto",
    }
    return panel(
        "stat",
        title,
        help,
        list(queries),
        width=width,
        height=height,
        defaults=defaults,
        options=options,
        overrides=overrides,
        colors=colors,
        empty=empty,
        alerts=alerts,
    )


def heatmap(
    title: str,
    help: str,
    metric: str,
    *,
    unit: str,
    width: int = 12,
    height: int = 9,
    empty: str = "",
) -> Panel:
    """How many fell into which bucket, over time."""
    name, brace, matchers = metric.partition("{")
    expression = f"sum by (le) ({rate(f'{name}_bucket{brace}{matchers}')})"
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Viridis",
            "steps": 64,
            "exponent": 0.5,
            "fill": "dark-green",
            "reverse": False,
        },
        "filterValues": {"le": 1e-9},
        "cellValues": {"unit": "reqps"},
        "yAxis": {"unit": unit, "axisPlacement": "left"},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": True},
    }
    return panel(
        "heatmap",
        title,
        help,
        [Query(expression, "{{le}}", format="heatmap")],
        width=width,
        height=height,
        defaults={},
        options=options,
        overrides=(),
        colors=None,
        empty=empty,
        alerts=(),
    )


def table(
    title: str,
    help: str,
    *queries: Query,
    columns: dict[str, tuple[str, dict]],
    key: str = "",
    sort: str = "",
    width: int = 12,
    height: int = 9,
    empty: str = "",
    transformations: Sequence[dict] = (),
    alerts: tuple[str, ...] = (),
) -> Panel:
    """Rows of what is so now. `columns`: a field of the answers, by what it is called here and
    how it looks, in order; others are left out. Where there is more than one query, their rows
    are joined by `key`, and the values are called `Value #A` and so on."""
    asked = [dataclasses.replace(query, instant=True, format="table") for query in queries]
    names = {field: name for field, (name, _) in columns.items()}
    organize = {
        "id": "organize",
        "options": {
            "indexByName": {field: n for n, field in enumerate(columns)},
            "renameByName": {field: name for field, name in names.items() if field != name},
            "includeByName": {field: True for field in columns},
        },
    }
    join = [{"id": "joinByField", "options": {"byField": key, "mode": "outer"}}] if key else []
    overrides = [override(name, **looks) for name, looks in columns.values() if looks]
    options: dict = {"showHeader": True, "cellHeight": "sm"}
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": True}]
    return panel(
        "table",
        title,
        help,
        asked,
        width=width,
        height=height,
        defaults={"custom": {"align": "auto"}},
        options=options,
        overrides=overrides,
        colors=None,
        empty=empty,
        alerts=alerts,
        transformations=[*join, *transformations, organize],
    )
