#!/usr/bin/env python3
"""The manifests of deploy/kubernetes: rendered by kubectl, judged by what will read them, and held
against the configuration, the image, the runbook and Prometheus.

    tests/delivery/kubernetes.py [--verbose] [--only WORD]

- kubernetes-validate knows every field, in the oldest and the newest version of Kubernetes; the
  models of the Prometheus operator those of its kinds; promtool the rules; checkov what is unsafe;
- check-config takes the configuration in the ConfigMap with the variables of the Deployment and the
  files of the Secrets, which the commands of deploy/kubernetes/README.md have made;
- the service runs with all that, beside a real server with the valkey.conf of the component: it is
  probed, scraped, asked, and told to end, as the manifests say;
- ports, probes, grace periods, limits, replicas, names and addresses agree wherever they stand;
- each of manifest_mutations.py spoils one place, and the check that it names must find it. --only
  takes those checks and mutations that have this word.

It needs kubectl, checkov and the packages of .ci/setup, the Debian packages prometheus and
redis-server, and target/release/blueprint-decoder.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from as_in_a_cluster import check_running
from loopback import BINARY, ROOT
from manifest_agreement import (
    check_confined,
    check_grace,
    check_guide,
    check_image,
    check_limits,
    check_monitoring,
    check_names,
    check_ports,
    check_probes,
    check_replicas,
)
from manifest_form import check_checkov, check_config, check_schema
from manifest_mutations import DOCKERFILE, GUIDE, MUTATIONS, Mutation
from manifest_reach import check_access, check_network, check_secrets
from manifests import (
    Tree,
    Wrong,
    kept_environment,
    ran,
)

TREES = (
    "RUNBOOK.md",
    "config",
    "dashboards",
    "deploy/environments",
    "deploy/kubernetes",
    "deploy/logs",
    "deploy/prometheus",
    "src/http/routes.rs",
    "src/policy/registry.rs",
)

# Each says what is wrong.
CHECKS: dict[str, Callable[[Tree], Iterator[str]]] = {
    "schema": check_schema,
    "checkov": check_checkov,
    "config": check_config,
    "ports": check_ports,
    "probes": check_probes,
    "grace": check_grace,
    "limits": check_limits,
    "replicas": check_replicas,
    "confined": check_confined,
    "access": check_access,
    "secrets": check_secrets,
    "guide": check_guide,
    "network": check_network,
    "monitoring": check_monitoring,
    "names": check_names,
    "image": check_image,
    "running": check_running,
}


def faults(check: str, tree: Tree) -> list[str]:
    """What a check says; what it cannot find is a fault, too."""
    found: list[str] = []
    try:
        for fault in CHECKS[check](tree):
            found.append(fault)
    except Wrong as wrong:
        found.append(str(wrong))
    except (KeyError, IndexError, TypeError) as error:
        found.append(f"{check}: something is missing: {error!r}")
    return found


def spoil(mutation: Mutation, tree: Tree, root: Path) -> Tree:
    """A copy with that one thing wrong."""
    copy_of(tree.root, root)
    path = root / mutation.path
    if mutation.path == "Dockerfile":
        path.write_text(DOCKERFILE)
    text = path.read_text()
    if mutation.old not in text:
        sys.exit(f"{mutation.path} has no {mutation.old!r}: mend manifest_mutations.py")
    path.write_text(text.replace(mutation.old, mutation.new))
    return Tree(root, tree.secrets)


def copy_of(root: Path, to: Path) -> None:
    skipped = shutil.ignore_patterns("node_modules", "pictures", "definition", "__pycache__")
    for name in (*TREES, "Dockerfile"):
        source = root / name
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=skipped)
        elif source.is_file():
            shutil.copy(source, to / name)


def secrets_of_the_guide(guide: str, to: Path) -> None:
    """What the commands of the guide make, with a certificate that also fits this machine."""
    block = re.search(r"^```sh secrets\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    if block is None:
        sys.exit("README.md has no block that makes the Secrets")
    commands = block[1].replace("=DNS:", "=DNS:localhost,DNS:")
    env = kept_environment() | {"PATH": f"{BINARY.parent}:{os.environ['PATH']}"}
    done = ran("bash", "-euo", "pipefail", "-c", commands, cwd=to, env=env)
    if done.returncode:
        sys.exit(f"README.md: the Secrets cannot be made: {done.stderr[-500:]}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--verbose", action="store_true")
    arguments.add_argument("--only", default="")
    chosen = arguments.parse_args()
    if not BINARY.is_file():
        sys.exit(f"{BINARY} is missing: cargo build --release --locked")
    for program in ("kubectl", "checkov", "promtool", "redis-server", "openssl"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is missing: .ci/setup installs it, and .ci/env says where it is")
    with tempfile.TemporaryDirectory() as name:
        secrets = Path(name) / "secrets"
        secrets.mkdir()
        secrets_of_the_guide((ROOT / GUIDE).read_text(), secrets)
        tree = Tree(ROOT, secrets)
        wrong = []
        for check in CHECKS:
            if chosen.only in check or any(chosen.only in each.says for each in MUTATIONS):
                began = time.monotonic()
                wrong += [f"{check}: {fault}" for fault in faults(check, tree)]
                print(f"  {check}, {time.monotonic() - began:.1f} s", flush=True)
        if wrong:
            sys.exit("\n".join(wrong))

        def survives(number: int, mutation: Mutation) -> str | None:
            spoilt = spoil(mutation, tree, Path(name) / str(number))
            said = faults(mutation.check, spoilt)
            shutil.rmtree(spoilt.root)
            found = [fault for fault in said if re.search(mutation.finds, fault)]
            if chosen.verbose:
                print(f"{mutation.says}\n    {(found or said or ['nothing'])[0][:200]}", flush=True)
            return None if found else f"not found: {mutation.says}; only {said[:3]}"

        mutations = [each for each in MUTATIONS if chosen.only in each.says]
        with ThreadPoolExecutor(2) as pool:
            survivors = [
                each
                for each in pool.map(survives, itertools.count(), mutations)
                if each is not None
            ]
        if survivors:
            sys.exit("\n".join(survivors))
        print(f"{len(mutations)} ways to spoil them are found, each")


if __name__ == "__main__":
    main()
