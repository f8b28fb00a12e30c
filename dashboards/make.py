#!/usr/bin/env python3
"""Writes the dashboards from their definition.

  dashboards/make.py           writes dashboards/*.json
  dashboards/make.py --check   fails where a file is not what the definition gives

What the dashboards say is in definition/, in one file each.
"""

import argparse
import difflib
import json
import pathlib
import sys

from definition.process import PROCESS
from definition.security import SECURITY
from definition.service import SERVICE
from definition.sources import SOURCES
from definition.tenants import TENANTS

HERE = pathlib.Path(__file__).resolve().parent


def texts() -> dict[pathlib.Path, str]:
    """The files that the definition gives."""
    return {
        HERE / f"{dashboard['uid'].removeprefix('decoder-')}.json": json.dumps(
            dashboard, indent=2, ensure_ascii=False
        )
        + "\n"
        for dashboard in (SERVICE, SOURCES, SECURITY, TENANTS, PROCESS)
    }


def difference(path: pathlib.Path, text: str) -> str:
    found = path.read_text() if path.exists() else ""
    lines = difflib.unified_diff(
        found.splitlines(True), text.splitlines(True), path.name, "what the definition gives"
    )
    return "".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        for path, text in texts().items():
            path.write_text(text)
    differences = [difference(path, text) for path, text in texts().items()]
    strays = [
        f"{path.name} is not of the definition: remove it"
        for path in HERE.glob("*.json")
        if path not in texts()
    ]
    if wrong := [*filter(None, differences), *strays]:
        print(*wrong, "run dashboards/make.py", sep="\n", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
