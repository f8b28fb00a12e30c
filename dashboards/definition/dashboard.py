"""A dashboard from rows of panels: their places, and what each dashboard has."""

from .panels import DATASOURCE, RUNBOOK, Panel

COLUMNS = 24
# What a screen of 1920x1080 shows at once.
ROWS_IN_VIEW = 27
PANELS_IN_VIEW = 8

Row = tuple[str, list[Panel]]


class Crowded(Exception):
    """There is more in view than can be read."""


def dashboard(uid: str, title: str, description: str, *rows: Row) -> dict:
    panels = placed(rows)
    tops = {panel["gridPos"]["y"] for panel in panels}
    for top in tops:
        seen = [
            p
            for p in panels
            if p["type"] != "row"
            and top <= p["gridPos"]["y"]
            and p["gridPos"]["y"] + p["gridPos"]["h"] <= top + ROWS_IN_VIEW
        ]
        if len(seen) > PANELS_IN_VIEW:
            raise Crowded(f"{title}: {len(seen)} panels in view below {seen[0]['title']!r}")
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["decoder"],
        "schemaVersion": 39,
        "editable": True,
        # The line that is followed is the same in all panels.
        "graphTooltip": 1,
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "refresh": "30s",
        "templating": {"list": variables()},
        "annotations": {"list": [deploys()]},
        "links": links(),
        "panels": panels,
    }


def placed(rows: tuple[Row, ...]) -> list[dict]:
    """Panels from left to right; a new line where the width is used up."""
    panels: list[dict] = []
    y = 0
    for title, content in rows:
        panels.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }
        )
        x, y, tallest = 0, y + 1, 0
        for panel in content:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append({**panel.body, "gridPos": place})
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return [{"id": n, **panel} for n, panel in enumerate(panels, 1)]


def variables() -> list[dict]:
    every = {"text": ["All"], "value": ["$__all"]}
    instances = "label_values(decoder_build_info, instance)"
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
        },
        # The first question after "is it broken" is "all of it, or one instance".
        {
            "name": "instance",
            "label": "Instance",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": instances, "refId": "instances"},
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": every,
            "refresh": 2,
            "sort": 1,
        },
    ]


def deploys() -> dict:
    """A mark where a version or a commit runs that did not run before."""
    running = "sum by (version, commit) (decoder_build_info{})"
    now, before = running.format(""), running.format(" offset $__interval")
    return {
        "name": "Deploys",
        "enable": True,
        "iconColor": "light-blue",
        "datasource": DATASOURCE,
        "target": {"refId": "Deploys", "expr": f"{now} unless {before}"},
        "titleFormat": "Deploy of {{version}}",
        "textFormat": "commit {{commit}}",
    }


def links() -> list[dict]:
    looks = {"asDropdown": False, "includeVars": True, "keepTime": True, "targetBlank": False}
    return [
        {
            "type": "dashboards",
            "title": "",
            "tags": ["decoder"],
            "icon": "dashboard",
            "tooltip": "",
            **looks,
        },
        {
            "type": "link",
            "title": "Runbook: first five minutes",
            "tags": [],
            "icon": "doc",
            "tooltip": "What to look at first, and what to do",
            **looks,
            "includeVars": False,
            "keepTime": False,
            "targetBlank": True,
            "url": f"{RUNBOOK}#the-first-five-minutes",
        },
    ]
