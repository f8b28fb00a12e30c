"""The table of RUNBOOK.md with values of a test, whether somebody has filled it in or not."""

from __future__ import annotations

import re
from collections.abc import Callable

HEAD = "| placeholder | stands for | value |\n| --- | --- | --- |\n"


def with_values(runbook: str, value: Callable[[str], str]) -> str:
    before, head, rest = runbook.partition(HEAD)
    rows, end, after = rest.partition("\n\n")
    rows = re.sub(
        r"(?m)^\| `([^`]+)` \|([^|]*)\|[^|]*\|$",
        lambda row: f"| `{row[1]}` |{row[2]}| {value(row[1])} |",
        rows,
    )
    return before + head + rows + end + after
