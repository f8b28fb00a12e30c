#!/usr/bin/env python3
"""Makes rules.yaml, what an operator of Prometheus is told, of the one source of the rules.

    deploy/kubernetes/components/monitoring/make.py            writes it
    deploy/kubernetes/components/monitoring/make.py --check    exits 1 if it is not what this writes

Each file of deploy/prometheus/rules becomes the spec of a PrometheusRule, word by word.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parents[2] / "prometheus/rules"
MADE = HERE / "rules.yaml"

HEAD = "# Made of deploy/prometheus/rules by make.py beside this file. Change those, and run it.\n"
RULE = """---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: blueprint-decoder-{name}
  labels:
    app.kubernetes.io/name: blueprint-decoder
spec:
{spec}"""


def made() -> str:
    rules = []
    for path in sorted(RULES.glob("*.yml")):
        lines = path.read_text().splitlines()
        spec = "".join(f"  {line}".rstrip() + "\n" for line in lines)
        rules.append(RULE.format(name=path.stem, spec=spec))
    return HEAD + "".join(rules)


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        if MADE.is_file() and MADE.read_text() == made():
            return 0
        print(f"{MADE} is not what the rules say: run {sys.argv[0]}", file=sys.stderr)
        return 1
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    MADE.write_text(made())
    return 0


if __name__ == "__main__":
    sys.exit(main())
