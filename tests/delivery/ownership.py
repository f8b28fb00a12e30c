#!/usr/bin/env python3
"""What `rollout undo` or a hand added is removed by the next apply: deploy/managed_fields.py.

    tests/delivery/ownership.py

tests/fixtures/kubernetes has what an API server 1.36 said: a Deployment after an apply, a
`rollout undo`, another apply and a `set env BY_HAND=1`; and the patch after which the next apply
removed what these had added. The rest are properties of generated entries.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))

from managed_fields import merge, patch

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures/kubernetes"
MANAGER = "deploy-rollout"
REPLICAS = ("f:spec", "f:replicas")
Entry = dict[str, Any]
Field = tuple[str, ...]


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


def paths(fields: dict[str, Any], above: Field = ()) -> Iterator[Field]:
    """The paths that are in a set of FieldsV1."""
    for key, below in fields.items():
        if key != ".":
            if not below or "." in below:
                yield (*above, key)
            yield from paths(below, (*above, key))


def owned(entries: list[Entry]) -> set[Field]:
    return {path for entry in entries for path in paths(entry["fieldsV1"])}


def removed(entries: list[Entry], applied: set[Field]) -> set[Field]:
    """What server-side apply removes: what the applier alone owned and does not apply again."""
    own = [entry for entry in entries if is_own(entry)]
    return owned(own) - applied - owned([entry for entry in entries if entry not in own])


def is_own(entry: Entry) -> bool:
    same = (entry["manager"], entry["operation"]) == (MANAGER, "Apply")
    return same and "subresource" not in entry


def the_recorded_entries_merge_into_the_recorded_patch() -> None:
    live = recorded("deployment-after-undo-and-set-env.json")

    assert patch(live, MANAGER) == recorded("merge-managed-fields.patch.json")


def the_next_apply_removes_what_undo_and_a_hand_added() -> None:
    entries = recorded("deployment-after-undo-and-set-env.json")["metadata"]["managedFields"]
    tree = owned([entry for entry in entries if is_own(entry)])

    before = removed(entries, tree)
    after = removed(merge(entries, MANAGER, "apps/v1"), tree)

    assert before == set()
    names = {path[-1] for path in after if path[-1].startswith("k:")}
    assert names == {
        'k:{"name":"BY_HAND"}',
        'k:{"name":"DECODER__SERVER__MAX_IN_FLIGHT"}',
    }
    assert all("f:env" in path for path in after), after


def generated(random: random.Random) -> list[Entry]:
    """Entries of several managers, as a server keeps them: no two of one name."""

    def fields(depth: int) -> dict[str, Any]:
        names = random.sample(
            ["f:spec", "f:replicas", "f:status", "f:a", "k:{}"], random.randint(0, 3)
        )
        return {name: below(depth - 1) for name in names}

    def below(depth: int) -> dict[str, Any]:
        some = fields(depth) if depth else {}
        return {".": {}} | some if some and random.random() < 0.3 else some

    managers = [(MANAGER, "Apply"), (MANAGER, "Update"), ("kubectl", "Update"), ("argo", "Apply")]
    entries = []
    for subresource in ({}, {"subresource": "status"}, {"subresource": "scale"}):
        for manager, operation in random.sample(managers, random.randint(0, 4)):
            entry = {"manager": manager, "operation": operation, "time": f"T{len(entries)}"}
            kind = {"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields(3)}
            entries.append(entry | kind | subresource)
    random.shuffle(entries)
    return entries


def a_merge_keeps_every_field_but_replicas(entries: list[Entry]) -> None:
    written = [entry for entry in entries if "subresource" not in entry]
    first, *rest = merge(entries, MANAGER, "v1")

    assert rest == [entry for entry in entries if "subresource" in entry]
    assert is_own(first)
    # The parent of nothing but `replicas` is not claimed instead of it.
    assert owned([first]) == {path for path in owned(written) if path[:2] != REPLICAS}


def the_order_of_entries_does_not_matter(entries: list[Entry]) -> None:
    def written(merged: list[Entry]) -> list[Entry]:
        return [entry for entry in merged if "subresource" not in entry]

    backwards = merge(entries[::-1], MANAGER, "v1")

    assert written(backwards) == written(merge(entries, MANAGER, "v1"))


def merging_twice_is_merging_once(entries: list[Entry]) -> None:
    once = merge(entries, MANAGER, "v1")

    assert merge(once, MANAGER, "v1") == once


def nobody_else_owns_anything_so_nothing_is_patched(entries: list[Entry]) -> None:
    alone = [entry for entry in entries if "subresource" in entry or is_own(entry)]
    metadata = {"resourceVersion": "1", "managedFields": alone}

    assert patch({"apiVersion": "v1", "metadata": metadata}, MANAGER) is None


def main() -> None:
    the_recorded_entries_merge_into_the_recorded_patch()
    the_next_apply_removes_what_undo_and_a_hand_added()
    merged = 0
    for seed in range(2000):
        entries = generated(random.Random(seed))
        nobody_else_owns_anything_so_nothing_is_patched(entries)
        if all("subresource" in entry or is_own(entry) for entry in entries):
            continue
        merged += 1
        a_merge_keeps_every_field_but_replicas(entries)
        the_order_of_entries_does_not_matter(entries)
        merging_twice_is_merging_once(entries)
    print(f"of {merged} objects with other owners each has one, who owns all but the replicas")


if __name__ == "__main__":
    main()
