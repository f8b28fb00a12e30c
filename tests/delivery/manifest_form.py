"""What will read the manifests takes them: every field is known, nothing is unsafe, and the service
takes its configuration."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator import v1 as operator
from manifests import (
    VERSIONS,
    Object,
    Tree,
    Wrong,
    mounted_files,
    ran,
)


def check_schema(tree: Tree) -> Iterator[str]:
    """Every field is known, and of its type."""
    for cluster, version in itertools.product(tree.clusters, VERSIONS):
        for each in (*cluster.objects, *cluster.access):
            what = f"{cluster.overlay}, {version}: {each['kind']}/{each['metadata']['name']}"
            if each["apiVersion"].startswith("monitoring.coreos.com/"):
                continue
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{what}: {'.'.join(map(str, error.path))}: {error.message[:300]}"
            except (kubernetes_validate.SchemaNotFoundError, KeyError) as error:
                yield f"{what}: no such kind: {each['apiVersion']}: {error!r}"
    for each in tree.production.objects:
        if each["apiVersion"].startswith("monitoring.coreos.com/"):
            what = f"{each['kind']}/{each['metadata']['name']}"
            try:
                model = getattr(operator, each["kind"]).model_validate(each)
            except ValueError as error:
                yield f"{what}: {str(error)[:300]}"
                continue
            # What the model does not know, it drops.
            known = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
            yield from (f"{what}: no such field: {path}" for path in missing(each, known))


def missing(said: Any, known: Any, path: str = "") -> Iterator[str]:
    if isinstance(said, dict) and isinstance(known, dict):
        for key, value in said.items():
            if key not in known:
                yield f"{path}.{key}"
            else:
                yield from missing(value, known[key], f"{path}.{key}")
    elif isinstance(said, list) and isinstance(known, list):
        for number, (a, b) in enumerate(zip(said, known)):
            yield from missing(a, b, f"{path}[{number}]")


def check_checkov(tree: Tree) -> Iterator[str]:
    """Nothing unsafe, or the reason beside it."""
    with tempfile.TemporaryDirectory() as name:
        for cluster in tree.clusters:
            (Path(name) / f"{cluster.overlay}.yaml").write_text(cluster.text)
            access = yaml.safe_dump_all(cluster.access)
            (Path(name) / f"{cluster.overlay}-access.yaml").write_text(access)
        options = ["--skip-download", "--framework", "kubernetes", "--compact", "--output", "json"]
        done = ran("checkov", *options, "--directory", name, cwd=name)
    try:
        results = json.loads(done.stdout)["results"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise Wrong(f"checkov says nothing: {(done.stderr or done.stdout)[-500:]}") from None
    if len(results["passed_checks"]) < 200:
        yield f"checkov passed {len(results['passed_checks'])} checks alone: did it read it all?"
    for each in results["failed_checks"]:
        yield f"{each['check_id']} {each['check_name']}: {each['resource']}"
    for each in results["skipped_checks"]:
        if len(each["check_result"].get("suppress_comment", "")) < 40:
            yield f"{each['check_id']} is left out without a reason: {each['resource']}"


def check_config(tree: Tree) -> Iterator[str]:
    """The service takes its configuration, and finds each file that it names."""
    for cluster in tree.clusters:
        config = tree.effective[cluster.overlay]
        if config["auth"]["mode"] != "required":
            yield f"{cluster.overlay}: anyone may call"
        if config["telemetry"]["log_format"] != "json":
            yield f"{cluster.overlay}: lines are not JSON"
        files = mounted_files(cluster, cluster.pod, cluster.container)
        for section, values in sections(config):
            for key, value in values.items():
                if key.endswith("_file") and value and value not in files:
                    yield f"{cluster.overlay}: {section}.{key} is not mounted: {value}"
        variables = {each["name"]: each["value"] for each in cluster.container["env"]}
        if variables.get("DECODER_CONFIG") not in files:
            yield f"{cluster.overlay}: DECODER_CONFIG is not mounted"


def sections(config: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    plain = {key: value for key, value in config.items() if not isinstance(value, dict)}
    yield path, plain
    for key, value in config.items():
        if isinstance(value, dict):
            yield from sections(value, f"{path}.{key}".lstrip("."))
