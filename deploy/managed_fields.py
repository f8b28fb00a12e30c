"""Who owns which fields of a Kubernetes object: its `metadata.managedFields`.

Server-side apply removes a field that the tree no longer has only if nobody else owns it.
`kubectl rollout undo` and edits by hand make other owners, and what they added would stay for good.
"""

from __future__ import annotations

from typing import Any

Entry = dict[str, Any]
Fields = dict[str, Any]


def patch(live: dict[str, Any], manager: str) -> list[dict[str, Any]] | None:
    """The JSON patch that makes `manager` the one owner. None if nobody else owns anything.

    It applies to the object only as it was read: its `test` fails if somebody wrote in between.
    """
    metadata = live["metadata"]
    entries = metadata.get("managedFields", [])
    merged = merge(entries, manager, live["apiVersion"])
    if merged == entries:
        return None
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "replace", "path": "/metadata/managedFields", "value": merged},
    ]


def merge(entries: list[Entry], manager: str, version: str) -> list[Entry]:
    """One entry applied by `manager`, for all entries without a subresource; the others stay.

    `spec.replicas` is left out, because it is the autoscaler's. If the applier owned it, an apply
    without it would reset it to 1.
    """
    written = [entry for entry in entries if "subresource" not in entry]
    own = [
        entry for entry in written if (entry["manager"], entry["operation"]) == (manager, "Apply")
    ]
    if written == own[:1]:
        return entries
    fields = union(*(entry["fieldsV1"] for entry in written))
    if "f:replicas" in fields.get("f:spec", {}):
        del fields["f:spec"]["f:replicas"]
        # Without fields below it, it would stand for all of `spec`.
        if not fields["f:spec"]:
            del fields["f:spec"]
    merged = {
        "apiVersion": version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        "manager": manager,
        "operation": "Apply",
    }
    if own:
        merged["time"] = own[0]["time"]
    return [merged, *(entry for entry in entries if "subresource" in entry)]


def union(*sets: Fields) -> Fields:
    """The fields of all these sets, in the form FieldsV1.

    A field belongs to a set if it has nothing below it or a "." below it.
    """
    result: Fields = {}
    for key in dict.fromkeys(key for fields in sets for key in fields if key != "."):
        below = [fields[key] for fields in sets if key in fields]
        result[key] = union(*below)
        if result[key] and any(not fields or "." in fields for fields in below):
            result[key]["."] = {}
    return result
