#!/usr/bin/env python3
"""deploy/diff.sh says what a promotion changes, all of it and nothing else; deploy/pin chooses
the image of one overlay and touches nothing else.

    tests/delivery/diff.py

What deploy/placeholders writes of both can be applied. In a repository of its own, with the files of this one. Each of CHANGES is one change, and what the
diff must then have in it: a change that it does not see is one that nobody reviews.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from placeholders import with_values

ROOT = Path(__file__).resolve().parents[2]
NEW = "sha256:" + 63 * "a" + "1"
NONE = "sha256:" + 64 * "0"
PRODUCTION = "deploy/kubernetes/overlays/production/kustomization.yaml"

# Path, what is replaced by what; then words of each object that changes, and of nothing else.
CHANGES = (
    ("config/production.toml", "fetch = 256", "fetch = 128", {"configmap": "-    fetch = 256"}),
    ("deploy/kubernetes/base/deployment.yaml", "cpu: \"2\"", "cpu: \"3\"", {"deployment": "+            cpu: \"3\""}),
    ("deploy/kubernetes/base/service.yaml", "port: 8080", "port: 80", {"service": "+    port: 80"}),
    ("deploy/kubernetes/components/valkey/valkey.conf", "192mb", "128mb", {"valkey": "+    maxmemory 128mb"}),
    ("deploy/kubernetes/base/network.yaml", "              - 10.0.0.0/8\n", "", {"networkpolicy": "-        - 10.0.0.0/8"}),
    ("dashboards/service.json", '"title": "', '"title": "! ', {"dashboard-service": "! "}),
    (PRODUCTION, "  - ../../components/monitoring\n", "", {"servicemonitor": "-kind: ServiceMonitor"}),
    (PRODUCTION, "namespace: blueprint-decoder\n", "namespace: decoder\n", {"deployment": "+  namespace: decoder"}),
)  # fmt: skip
# What those that come with a generated ConfigMap change besides.
FOLLOWS = {"config/production.toml": "deployment", "deploy/kubernetes/components/valkey/valkey.conf": "statefulset"}  # fmt: skip


class Wrong(Exception):
    """One of the two does not do what it says."""


def run(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=60)


def git(root: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    done = run(root, "git", *who, *words)
    if done.returncode:
        raise Wrong(f"git {' '.join(words)}: {done.stderr}")


def diff(root: Path, *sides: str) -> tuple[int, dict[str, str]]:
    """The exit code, and what is said of each object."""
    done = run(root, "deploy/diff.sh", *sides)
    if done.returncode not in (0, 1):
        raise Wrong(f"diff.sh {' '.join(sides)}: exit {done.returncode}: {done.stderr}")
    parts = re.split(r"^--- \S+/(\S+)\n\+\+\+ .*\n", done.stdout, flags=re.MULTILINE)
    if (done.returncode == 0) != (done.stdout == ""):
        raise Wrong(f"diff.sh {' '.join(sides)}: exit {done.returncode} with {done.stdout[:300]!r}")
    return done.returncode, dict(zip(parts[1::2], parts[2::2]))


def expect(is_so: object, what: str, said: object = "") -> None:
    if not is_so:
        raise Wrong(f"{what}: {said}")


def changes(root: Path) -> None:
    """What is changed is seen, before and after it is committed."""
    expect(
        diff(root, "production@HEAD", "production") == (0, {}), "nothing changed, and it says so"
    )
    for path, old, new, words in CHANGES:
        file = root / path
        text = file.read_text()
        expect(old in text, f"{path} has no {old!r}: mend CHANGES")
        file.write_text(text.replace(old, new))
        _, found = diff(root, "production@HEAD", "production")
        for name, line in words.items():
            told = "".join(told for of, told in found.items() if name in of)
            expect(line in told, f"{path}: {new!r} is not told of {name}", list(found))
        if new and "namespace" not in new:
            names = set(words) | {FOLLOWS.get(path, "")} - {""}
            others = [of for of in found if not any(name in of for name in names)]
            expect(
                not others and len(found) == len(names), f"{path} changes only itself", list(found)
            )
        git(root, "commit", "--quiet", "--all", "--message", path)
        expect(diff(root, "production@HEAD~", "production@HEAD")[1] == found, f"{path}, committed")
        back = diff(root, "production@HEAD", "production@HEAD~")[1]
        expect(set(back) == set(found) and back != found, f"{path}, the other way")
        git(root, "reset", "--quiet", "--hard", "HEAD~")
    print(f"  {len(CHANGES)} changes are told, each as what it is", flush=True)


def overlays(root: Path) -> None:
    """Two overlays: what differs, and not that each is in its own namespace."""
    code, found = diff(root, "staging", "production")
    names = [name.split("_")[-2] for name in found]
    expect(code == 1 and sorted(names) == ["deployment", "horizontalpodautoscaler"], "apart", names)
    expect("minReplicas: 3" in "".join(found.values()), "the numbers of replicas differ", found)
    said = run(root, "deploy/diff.sh", "staging", "production").stdout
    expect(
        "Only in production: monitoring.coreos.com_v1_servicemonitor" in said, "only there", said
    )


def images(root: Path) -> None:
    """One digest is written, and that is all that changes."""
    image = ("deploy/pin", "production", "blueprint-decoder")
    expect(run(root, *image).stdout == NONE + "\n", "no image at first")
    expect(run(root, *image, NEW).returncode == 0, "an image is chosen")
    expect(run(root, *image).stdout == NEW + "\n", "the image that was chosen")
    expect(run(root, *image[:2], "valkey").stdout == NONE + "\n", "the other image stays")
    expect(run(root, "deploy/pin", "staging", image[2]).stdout == NONE + "\n", "staging stays")
    lines = run(root, "git", "diff", "--numstat").stdout
    expect(lines == f"1\t1\t{PRODUCTION}\n", "one line changes", lines)
    _, found = diff(root, "production@HEAD", "production")
    told = "".join(found.values())
    expect(len(found) == 1 and f"@{NEW}" in told and f"@{NONE}" in told, "the image is told", found)
    git(root, "checkout", "--quiet", ".")


def refusals(root: Path) -> None:
    """Who asks for what cannot be is told so, and nothing is written."""
    digest = ("deploy/pin", "production", "blueprint-decoder")
    wrong = (
        ("deploy/diff.sh",),
        ("deploy/diff.sh", "production"),
        ("deploy/diff.sh", "production", "production"),
        ("deploy/diff.sh", "production", "nowhere"),
        ("deploy/diff.sh", "../base", "production"),
        ("deploy/diff.sh", "production@nothing", "production"),
        ("deploy/diff.sh", "production@--help", "production"),
        ("deploy/pin",),
        ("deploy/pin", "nowhere", "valkey", NEW),
        ("deploy/pin", "production", "other", NEW),
        (*digest, "latest"),
        (*digest, NEW[:-1]),
        (*digest, NEW.upper()),
        (*digest, NONE),
        (*digest, f"{NEW}\n"),
    )
    for argv in wrong:
        done = run(root, *argv)
        expect(done.returncode == 2 and done.stderr and not done.stdout, f"{argv} is refused", done)
    (root / "config/kustomization.yaml").write_text("kind: [\n")
    done = run(root, "deploy/diff.sh", "production@HEAD", "production")
    expect(done.returncode == 2 and "cannot be rendered" in done.stderr, "what is broken", done)
    git(root, "checkout", "--quiet", ".")
    expect(run(root, "git", "status", "--porcelain").stdout == "", "nothing was written")
    for script in ("deploy/diff.sh", "deploy/pin"):
        done = run(root, script, "--help")
        expect(done.returncode == 0 and script in done.stdout, f"{script} --help", done)
    print(f"  {len(wrong) + 1} things that cannot be are refused", flush=True)


def unchosen(root: Path) -> None:
    """Whatever image is chosen at present, they begin without."""
    for path in root.glob("deploy/kubernetes/overlays/*/kustomization.yaml"):
        path.write_text(re.sub(r"sha256:[0-9a-f]{64}", NONE, path.read_text()))


def filled(root: Path, host: str) -> None:
    """What deploy/placeholders writes is rendered by itself, and has nothing left to be filled in."""
    unchosen(root)
    shutil.rmtree(root / "filled", ignore_errors=True)
    runbook = root / "RUNBOOK.md"
    runbook.write_text(with_values(runbook.read_text(), lambda _: host))
    shipped = ("deploy/placeholders", "fill", "filled")
    done = run(root, *shipped)
    expect(
        done.returncode == 1 and "no image is chosen" in done.stderr, "noughts are no image", done
    )
    for overlay in ("staging", "production"):
        for image in ("blueprint-decoder", "valkey"):
            run(root, "deploy/pin", overlay, image, NEW)
    done = run(root, *shipped)
    expect(done.returncode == 0, "it is filled in", done)
    done = run(root, "kubectl", "kustomize", "filled/deploy/kubernetes/overlays/production")
    image = f"image: {host}/blueprint-decoder@{NEW}"
    expect(image in done.stdout and "example.com" not in done.stdout, "it is rendered", done.stderr)
    done = run(root, "filled/deploy/kubernetes/components/monitoring/make.py", "--check")
    expect(done.returncode == 0, "its rules are those of its files", done)
    print(f"  what is filled in with {host} is rendered by itself", flush=True)


def main() -> int:
    os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    skipped = shutil.ignore_patterns("node_modules", "pictures", "__pycache__")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        shutil.copy(ROOT / "RUNBOOK.md", root)
        for tree in ("config", "dashboards", "deploy"):
            shutil.copytree(ROOT / tree, root / tree, ignore=skipped)
        unchosen(root)
        try:
            git(root, "init", "--quiet")
            git(root, "add", ".")
            git(root, "commit", "--quiet", "--message", "all")
            changes(root)
            overlays(root)
            images(root)
            refusals(root)
            filled(root, "ours.acme.dev")
            # A tree in which somebody has done that is another case.
            filled(root, "theirs.acme.dev")
        except Wrong as wrong:
            print(f"FAILED: {wrong}", file=sys.stderr)
            return 1
    print("what a promotion changes is told, and nothing else")
    return 0


if __name__ == "__main__":
    sys.exit(main())
