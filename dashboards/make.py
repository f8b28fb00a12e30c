#!/usr/bin/env python3
"""Writes the dashboards from their definition.

  dashboards/make.py           writes dashboards/*.json
  dashboards/make.py --check   fails where a file is not what the definition gives

What the dashboards say is in definition/, in one file each.
"""
import argparse, difflib, json, pathlib, sys

from definition.process import PROCESS
from definition.security import SECURITY
from definition.service import SERVICE
from definition.sources import SOURCES
from definition.tenants import TENANTS

HERE = pathlib.Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    texts = {
        HERE / f"{dashboard['uid'].removeprefix('decoder-')}.json":
            json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
        for dashboard in (SERVICE, SOURCES, SECURITY, TENANTS, PROCESS)
    }
    wrong = 0
    for path in sorted({*texts, *HERE.glob("*.json")}):
        old, new = path.read_text() if path.exists() else "", texts.get(path, "")
        if old == new:
            continue
        wrong += 1
        if check:
            sys.stdout.writelines(difflib.unified_diff(
                old.splitlines(True), new.splitlines(True), str(path), "the definition"))
        elif new:
            path.write_text(new)
        else:
            print(f"{path} is nobody's: remove it", file=sys.stderr)
            return 1
    if check and wrong:
        print(f"{wrong} files are not what the definition gives: run dashboards/make.py",
              file=sys.stderr)
    return 1 if check and wrong else 0


sys.exit(main())
