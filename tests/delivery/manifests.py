"""The manifests as a cluster would get them, and the service's configuration within them."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_call"))

from loopback import BINARY

OVERLAYS = ("staging", "production")
# Of Kubernetes: the oldest that is promised, and the newest.
VERSIONS = ("1.29", "1.37")
NAME = "blueprint-decoder"
MIB = 1024**2
Object = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """What one overlay tells a cluster."""

    overlay: str
    text: str
    objects: list[Object]
    # What an administrator makes before.
    access: list[Object]

    @property
    def namespace(self) -> Object:
        """The one, and its labels."""
        found = [each for each in self.access if each["kind"] == "Namespace"]
        if len(found) != 1:
            raise Wrong(f"{self.overlay}: {len(found)} namespaces are made, not one")
        return found[0]["metadata"]

    def all(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str = NAME) -> Object:
        """By name; of generated ones, without the hash."""
        pattern = re.compile(rf"{re.escape(name)}(-[a-z0-9]{{10}})?")
        found = [each for each in self.all(kind) if pattern.fullmatch(each["metadata"]["name"])]
        if len(found) != 1:
            raise Wrong(f"{self.overlay}: {len(found)} of {kind}/{name}, not one")
        return found[0]

    @property
    def pod(self) -> Object:
        return self.one("Deployment")["spec"]["template"]["spec"]

    @property
    def container(self) -> Object:
        return named(self.pod["containers"], "decoder")

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def templates(self) -> Iterator[tuple[str, Object]]:
        for each in self.objects:
            if "template" in each.get("spec", {}):
                yield f"{each['kind']}/{each['metadata']['name']}", each["spec"]["template"]


class Wrong(Exception):
    """Something is not as it must be, and what comes after cannot be judged."""


class Tree:
    """The repository, or a copy that was spoilt."""

    def __init__(self, root: Path, secrets: Path):
        self.root, self.secrets = root, secrets

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    @functools.cached_property
    def clusters(self) -> list[Cluster]:
        return [self.rendered(overlay) for overlay in OVERLAYS]

    @property
    def production(self) -> Cluster:
        return next(each for each in self.clusters if each.overlay == "production")

    def rendered(self, overlay: str) -> Cluster:
        folder = self.root / "deploy/kubernetes/overlays" / overlay
        done = ran("kubectl", "kustomize", folder)
        if done.returncode:
            raise Wrong(f"{overlay} cannot be rendered: {done.stderr.strip()[-300:]}")
        made = yaml.safe_load_all(self.read(f"deploy/kubernetes/access/{overlay}.yaml"))
        return Cluster(overlay, done.stdout, list(yaml.safe_load_all(done.stdout)), list(made))

    @contextlib.contextmanager
    def mounted(self, cluster: Cluster) -> Iterator[tuple[Path, dict[str, str]]]:
        """The files that the container sees, below a folder, and its variables with their paths
        there."""
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            mounts = mounted_files(cluster, cluster.pod, cluster.container)

            def here(text: str) -> str:
                return re.sub(r"(?<![\w.])/etc/", f"{root}/etc/", text)

            for path, (source, key) in mounts.items():
                (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                content = source.get(key) if source else (self.secrets / key).read_text()
                (root / path[1:]).write_text(here(content) if source else content)
            env = {each["name"]: here(each["value"]) for each in cluster.container["env"]}
            yield root, env

    @functools.cached_property
    def effective(self) -> dict[str, Object]:
        """The configuration in force, by overlay."""
        return {cluster.overlay: self.effective_of(cluster) for cluster in self.clusters}

    def effective_of(self, cluster: Cluster) -> Object:
        with self.mounted(cluster) as (root, env):
            done = ran(BINARY, "check-config", env=kept_environment() | env)
            said = done.stderr.replace(str(root), "").strip()
            if done.returncode:
                raise Wrong(f"{cluster.overlay}: check-config says {done.returncode}: {said[:600]}")
            return tomllib.loads(done.stdout.replace(str(root), ""))


def ran(*argv: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in argv]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, **more)


def kept_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def named(objects: list[Object], name: str) -> Object:
    for each in objects:
        if each["name"] == name:
            return each
    raise Wrong(f"nothing is called {name}: {[each['name'] for each in objects]}")


def mounted_files(
    cluster: Cluster, pod: Object, container: Object
) -> dict[str, tuple[dict[str, str] | None, str]]:
    """Each file that a container sees: its path, the data of its ConfigMap (of a Secret, none),
    and its key."""
    files: dict[str, tuple[dict[str, str] | None, str]] = {}
    for mount in container["volumeMounts"]:
        volume = named(pod["volumes"], mount["name"]) if mount["name"] != "data" else {}
        if "configMap" in volume:
            name = volume["configMap"]["name"]
            maps = [each for each in cluster.all("ConfigMap") if each["metadata"]["name"] == name]
            if not maps:
                raise Wrong(f"{cluster.overlay}: there is no ConfigMap {name}")
            for key in maps[0]["data"]:
                files[f"{mount['mountPath']}/{key}"] = (maps[0]["data"], key)
        elif "secret" in volume:
            all_of = [{"key": key, "path": key} for key in SECRETS[volume["secret"]["secretName"]]]
            for item in volume["secret"].get("items", all_of):
                files[f"{mount['mountPath']}/{item['path']}"] = (None, item["key"])
    return files


# The Secrets that the guide makes, with their keys.
SECRETS = {
    "blueprint-decoder-tenants": {"tenants.toml"},
    "blueprint-decoder-valkey": {"password", "users.acl"},
    "blueprint-decoder-valkey-tls": {"ca.crt", "tls.crt", "tls.key"},
}


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


def amount(text: str) -> float:
    """Bytes, or processors."""
    number, unit = re.fullmatch(r"([\d.]+)(m|[KMG]iB?|B)?", str(text)).groups()
    scale = {"m": 0.001, "K": 1024, "M": MIB, "G": 1024 * MIB, "B": 1}
    return float(number) * scale[unit[0] if unit else "B"]
