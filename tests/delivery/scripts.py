#!/usr/bin/env python3
"""The short scripts that workflows call: each does its work, and stops where it must not.

    tests/delivery/scripts.py

podman, skopeo, gh, cargo, rustup and the like are a few lines each, which say what a scene wants them to say and
keep what they were asked; the scripts, git and the checksums are real.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "0123456789abcdef" * 4
RELEASED = {"total_count": 1, "branch_policies": [{"type": "tag", "name": "v*"}]}
TABLE = "| placeholder | stands for | value |\n| --- | --- | --- |\n| `registry.example.com` | x | {} |\n"
BINARY = b"\x7fELF .dep-v0 blueprint"

FAKES = {
    "podman": r"""
case "$1 $2" in
"image inspect") case $4 in *Architecture*) echo amd64 ;; *revision*) echo "$REVISION" ;; *) echo /blueprint-decoder ;; esac ;;
"save --quiet") echo an image >"$6" ;;
"create --no-healthcheck") echo c1 ;;
"export --output") tar --create --file "$3" --directory "$FILES" . --transform 's,^\./,,' ;;
pull*) [ -e "$REGISTRY_AUTH_FILE" ] || exit 9 ;;
rm* | tag*) ;;
*) exit 9 ;;
esac
""",
    "skopeo": r"""
case "$*" in
"inspect --config --raw docker-archive:"*) echo "the configuration" ;;
"inspect --config --raw docker://"*) echo "$THERE" ;;
"inspect --format {{.Digest}} docker://"*)
  [ -n "$THERE" ] || { echo "${TROUBLE:-manifest unknown}" >&2; exit 1; }
  echo "$DIGEST" ;;
login*) cat >"$DIARY.password" ;;
copy*docker://*) echo "$DIGEST" >"$6" ;;
*) exit 9 ;;
esac
""",
    "gh": 'case $1 in api) cat "$ANSWERS/${2//\\//_}" ;; release) cat "$8" >"$DIARY.notes" ;; *) exit 9 ;; esac\n',
    "rustup": "",
}


class Wrong(Exception):
    """A script that did what it should not, or did not what it should."""


class Scene:
    def __init__(self, folder: Path, **variables: str):
        self.root = Path(tempfile.mkdtemp(dir=folder))
        self.diary = self.root / "diary"
        self.variables = {"DIARY": str(self.diary), **variables}
        for name, body in FAKES.items():
            self.write(f"bin/{name}", f'#!/bin/bash\necho "{name} $*" >>"$DIARY"\n{body}', True)
        for script in (
            "deploy/placeholders",
            "deploy/publish",
            "deploy/changes",
            "deploy/fetch",
            "deploy/registry",
            "deploy/release",
            "deploy/pack",
            "deploy/guarded",
            ".ci/scan",
            ".ci/env",
            ".ci/toolchain",
            ".ci/coverage",
        ):
            self.write(script, (ROOT / script).read_text(), True)

    def write(self, path: str, text: str | bytes, runs: bool = False) -> Path:
        to = self.root / path
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(text if isinstance(text, bytes) else text.encode())
        if runs:
            to.chmod(0o755)
        return to

    def expect(self, what: str, code: int, words: str, *argv: str, **more: str) -> str:
        self.diary.write_text("")
        environment = os.environ | self.variables | more
        environment["PATH"] = more.get("PATH", f"{self.root / 'bin'}:{os.environ['PATH']}")
        done = subprocess.run(
            [self.root / argv[0], *argv[1:]],
            env=environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=60,
        )
        told = done.stdout + done.stderr
        if done.returncode != code or words not in told:
            raise Wrong(f"{what}: exit {done.returncode}, {told!r}; expected {code}, {words!r}")
        print(f"  {argv[0]}, {what}: {words or 'passes'}", flush=True)
        return told

    def asked(self, words: str) -> bool:
        return words in self.diary.read_text()


def packed(folder: Path) -> None:
    files = folder / "files"
    (files / "etc/ssl/certs").mkdir(parents=True)
    (files / "blueprint-decoder").write_bytes(BINARY)
    (files / "etc/ssl/certs/ca-certificates.crt").write_text("x")
    (files / "etc/passwd").write_text("x")
    scene = Scene(folder, FILES=str(files))
    scene.expect("an image", 0, "contents.txt", "deploy/pack", "x:1", "out")
    out = scene.root / "out"
    if (out / "blueprint-decoder-linux-amd64").read_bytes() != BINARY:
        raise Wrong("another binary is packed than the one in the image")
    contents = (out / "contents.txt").read_text().split()
    if contents != ["blueprint-decoder", "etc/passwd", "etc/ssl/certs/ca-certificates.crt"]:
        raise Wrong(f"the image holds something else: {contents}")
    if not scene.asked("podman rm c1"):
        raise Wrong("a container is left behind")
    scene.expect("a folder with something in it", 1, "not empty", "deploy/pack", "x:1", "out")
    scene.expect("no image", 2, "usage", "deploy/pack", "x:1")

    scene.write(".ci/setup", '#!/bin/bash\necho "setup $*" >>"$DIARY"\n', True)
    scene.write("bin/cargo", '#!/bin/bash\necho "cargo $*" >>"$DIARY"\nexit "${FOUND:-0}"\n', True)
    scene.write(".ci/env", 'step() { echo "$*"; }\n', True)
    scene.expect("an image", 0, "", ".ci/scan", "image", "out")
    if not scene.asked("cargo audit") or not scene.asked("out/blueprint-decoder-linux-amd64"):
        raise Wrong("the binary is not looked at")
    scene.expect("a flaw", 1, "", ".ci/scan", "image", "out", FOUND="1")
    scene.expect("what is in it", 0, "", ".ci/scan", "contents", "out", FOUND="1")
    if scene.asked("cargo") or scene.asked("setup"):
        raise Wrong("what is in an image is asked of a database")
    for argv in (["contents"], ["image"], ["dependencies", "out"]):
        scene.expect("wrong usage", 2, "usage", ".ci/scan", *argv)
    scene.expect("dependencies", 0, "", ".ci/scan", "dependencies")
    if not scene.asked("cargo deny --locked check advisories"):
        raise Wrong("dependencies are not looked at")
    scene.expect("a flaw in one", 1, "", ".ci/scan", "dependencies", FOUND="1")
    scene.expect("nothing to do", 2, "usage", ".ci/scan")

    def again(words: str, what: str, path: str, text: bytes) -> None:
        (files / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).write_bytes(text)
        shutil.rmtree(out)
        scene.expect(f"{what}, packed", 0, "", "deploy/pack", "x:1", "out")
        scene.expect(what, 1, words, ".ci/scan", "contents", "out")
        scene.expect(what, 1, words, ".ci/scan", "image", "out")
        if scene.asked("cargo audit"):
            raise Wrong(f"{what}: it is scanned as if that were all")

    scene.write("RUNBOOK.md", TABLE.format("registry.acme.dev/team"))
    words = ("deploy/fetch", "abc", "fetched")
    there = {"DIGEST": DIGEST, "THERE": "x", "REVISION": "abc", "GITHUB_OUTPUT": ""}
    image = f"registry.acme.dev/team/blueprint-decoder@{DIGEST}"
    scene.expect("what was deployed", 0, f"image={image}", *words, **there)
    if not scene.asked(f"podman pull --quiet {image}"):
        raise Wrong(f"something else is fetched: {scene.diary.read_text()}")
    if (scene.root / "fetched/blueprint-decoder-linux-amd64").read_bytes() != BINARY:
        raise Wrong("something else is packed")
    output = folder / "output"
    words = ("deploy/fetch", "abc", "more")
    given = there | {"GITHUB_OUTPUT": str(output), "REGISTRY_TOKEN": "t0k"}
    scene.expect("in a workflow", 0, "", *words, **given)
    if output.read_text().strip() != f"image={image}" or scene.asked("t0k"):
        raise Wrong("no output, or the token is in a list of processes")
    words = ("deploy/fetch", "abc", "none")
    scene.expect("never deployed", 1, "deployed from main", *words, **there | {"THERE": ""})
    scene.expect("of another", 1, "was built of abc-x", *words, **there | {"REVISION": "abc-x"})
    if (scene.root / "none").exists():
        raise Wrong("it is packed all the same")
    scene.expect("no folder", 2, "usage", "deploy/fetch", "abc")

    again("bin/sh", "a shell", "bin/sh", b"x")
    (files / "bin/sh").unlink()
    again("cargo auditable", "a binary that says nothing", "blueprint-decoder", b"\x7fELF")
    (out / "contents.txt").write_text("blueprint-decoder\n")
    scene.expect("a changed list", 1, "FAILED", ".ci/scan", "image", "out")


def published(folder: Path) -> None:
    scene = Scene(folder, DIGEST=DIGEST, THERE="", GITHUB_OUTPUT="", REGISTRY_TOKEN="")
    scene.write("RUNBOOK.md", TABLE.format("registry.acme.dev/team"))
    scene.write("out/blueprint-decoder-image.tar", "an image")
    sums = "sha256sum * >SHA256SUMS"
    subprocess.run(sums, shell=True, cwd=scene.root / "out", check=True)
    image = f"image=registry.acme.dev/team/blueprint-decoder@{DIGEST}"
    arguments = ("deploy/publish", "out", "abc")
    scene.expect("an image", 0, image, *arguments)
    if not scene.asked("copy") or not scene.asked(
        "docker://registry.acme.dev/team/blueprint-decoder:abc"
    ):
        raise Wrong(f"nothing is pushed: {scene.diary.read_text()}")
    if scene.asked("login"):
        raise Wrong("somebody logs in without a token")
    output = scene.root / "output"
    scene.expect(
        "in a workflow", 0, "", *arguments, GITHUB_OUTPUT=str(output), REGISTRY_TOKEN="t0k"
    )
    if output.read_text().strip() != image or scene.asked("t0k"):
        raise Wrong("no output, or the token is in a list of processes")
    if Path(f"{scene.diary}.password").read_text().strip() != "t0k":
        raise Wrong("nobody logs in")
    scene.expect("the same again", 0, image, *arguments, THERE="the configuration")
    if scene.asked("copy"):
        raise Wrong("it is pushed twice")
    scene.expect("another one there", 1, "is another image", *arguments, THERE="another")
    scene.expect("no registry", 1, "refused", *arguments, TROUBLE="connection refused")
    if scene.asked("copy"):
        raise Wrong("it is pushed where nobody knows what is there")
    scene.expect("no digest", 1, "no digest", *arguments, DIGEST="sha256:0")
    scene.expect("no tag", 2, "usage", "deploy/publish", "out")
    there = f"registry.acme.dev/team/blueprint-decoder@{DIGEST}"
    named = ("deploy/publish", there, "v1.2.3")
    scene.expect("one more name", 0, image, *named)
    if not scene.asked(
        f"--preserve-digests docker://{there} docker://{there.split('@')[0]}:v1.2.3"
    ):
        raise Wrong(f"something else gets the name: {scene.diary.read_text()}")
    scene.expect("the same name again", 0, image, *named, THERE="whatever")
    if scene.asked("copy"):
        raise Wrong("it is copied twice")
    other = "sha256:" + 64 * "b"
    words = "is another image"
    scene.expect("the name of another", 1, words, *named, THERE="whatever", DIGEST=other)
    elsewhere = ("deploy/publish", there.replace("team", "others"), "v1.2.3")
    scene.expect("an image from elsewhere", 1, "is not of", *elsewhere)
    if scene.asked("copy"):
        raise Wrong("it is copied from elsewhere")
    scene.write("RUNBOOK.md", TABLE.format(""))
    scene.expect("no name of the registry", 1, "no value", *arguments)
    scene.write("RUNBOOK.md", TABLE.format("registry.acme.dev/team"))
    scene.write("out/blueprint-decoder-image.tar", "another image")
    scene.expect("a changed image", 1, "is not what deploy/pack", *arguments)
    if scene.asked("copy"):
        raise Wrong("a changed image is pushed")


def released(folder: Path) -> None:
    scene = Scene(folder, IMAGE="registry.acme.dev/x@sha256:1", MAIN="main")
    scene.write(
        "Cargo.toml", '[package]\nname = "x"\nversion = "1.2.3"\n\n[dependencies]\ny = "1"\n'
    )
    scene.write(
        "CHANGELOG.md",
        "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-01\n\n### Added\n\n- A thing.\n\n"
        "## [1.2.2] - 2025-01-01\n\n- Another.\n",
    )
    scene.write("out/blueprint-decoder-linux-amd64", BINARY)
    subprocess.run("sha256sum * >SHA256SUMS", shell=True, cwd=scene.root / "out", check=True)

    def git(*argv: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
        subprocess.run(["git", *who, *argv], cwd=scene.root, check=True, capture_output=True)

    git("init", "--initial-branch=main")
    git("commit", "--allow-empty", "-m", "x")
    scene.expect("a version", 0, "", "deploy/release", "check", "v1.2.3")
    for what, tag, words in (
        ("another version", "v1.2.4", "Cargo.toml says version 1.2.3"),
        ("no version", "v1.2", "is no version"),
        ("no v", "1.2.3", "is no version"),
        ("more than a version", "v1.2.3;ls", "is no version"),
    ):
        scene.expect(what, 1, words, "deploy/release", "check", tag)
    scene.expect("a release", 0, "", "deploy/release", "make", "v1.2.3", "out")
    notes = Path(f"{scene.diary}.notes").read_text()
    if "A thing" not in notes or "Another" in notes or "registry.acme.dev/x@sha256:1" not in notes:
        raise Wrong(f"other notes: {notes}")
    for words in (
        "release create v1.2.3 --verify-tag",
        "out/SHA256SUMS",
        "out/blueprint-decoder-linux",
    ):
        if not scene.asked(words):
            raise Wrong(f"not released: {words}: {scene.diary.read_text()}")
    if scene.asked("--prerelease"):
        raise Wrong("a version becomes a candidate")
    scene.write("out/blueprint-decoder-linux-amd64", b"other")
    scene.expect("a changed binary", 1, "is not what", "deploy/release", "make", "v1.2.3", "out")
    if scene.asked("release create"):
        raise Wrong("a changed binary is released")
    git("checkout", "-b", "side")
    git("commit", "--allow-empty", "-m", "y")
    scene.expect("a side branch", 1, "not merged", "deploy/release", "check", "v1.2.3")
    git("checkout", "main")
    scene.write("Cargo.toml", '[package]\nversion = "1.2.4"\n')
    scene.expect(
        "nothing in the changelog", 1, "no section [1.2.4]", "deploy/release", "check", "v1.2.4"
    )
    for argv in ([], ["check"], ["make", "v1.2.3"], ["sell", "v1.2.3"]):
        scene.expect("wrong usage", 2, "usage", "deploy/release", *argv)


def guarded(folder: Path) -> None:
    answers = folder / "answers"
    scene = Scene(folder, GITHUB_REPOSITORY="acme/decoder", ANSWERS=str(answers))
    rule = {
        "type": "required_reviewers",
        "prevent_self_review": True,
        "reviewers": [{"type": "Team"}],
    }
    review = {"required_approving_review_count": 1, "require_code_owner_review": True}
    contexts = [{"context": name} for name in ("hygiene", "gate", "image", "more")]
    checks = {"required_status_checks": contexts}
    main = [
        {"type": "non_fast_forward"},
        {"type": "pull_request", "parameters": review},
        {"type": "required_status_checks", "parameters": checks},
    ]
    tags = [
        json.loads((ROOT / f".github/rulesets/{name}.json").read_text())
        for name in ("tags", "new-tags")
    ]
    well = {
        "": {
            "protection_rules": [{"type": "wait_timer"}, rule],
            "can_admins_bypass": False,
            "deployment_branch_policy": {
                "protected_branches": False,
                "custom_branch_policies": True,
            },
        },
        "policies": {"total_count": 1, "branch_policies": [{"type": "branch", "name": "main"}]},
        "main": main,
        "tags": [{"id": 1}, {"id": 2}],
        "tag1": tags[0],
        "tag2": tags[1],
    }

    def expect(name: str, what: str, code: int, words: str, **change: Any) -> None:
        shutil.rmtree(answers, ignore_errors=True)
        answers.mkdir()
        says = well | ({"policies": RELEASED} if name == "release" else {}) | change
        of = f"repos_acme_decoder_environments_{name}"
        for path, part in (
            (of, says.get("environment", says[""])),
            (f"{of}_deployment-branch-policies", says["policies"]),
            ("repos_acme_decoder_rules_branches_main?per_page=100", says["main"]),
            ("repos_acme_decoder_rulesets?targets=tag&per_page=100", says["tags"]),
            ("repos_acme_decoder_rulesets_1", says["tag1"]),
            ("repos_acme_decoder_rulesets_2", says["tag2"]),
        ):
            (answers / path).write_text(part if isinstance(part, str) else json.dumps(part))
        scene.expect(f"{name}, {what}", code, words, "deploy/guarded", name)

    def environment(**change: object) -> dict[str, object]:
        return well[""] | change

    for name, branch in (("staging", "main"), ("production", "main"), ("release", "v*")):
        expect(name, "as it should be", 0, branch)
        for bypass in (True, None):
            given = environment(can_admins_bypass=bypass)
            expect(name, "an administrator", 1, "administrators", environment=given)
        old = {"protected_branches": True, "custom_branch_policies": False}
        for policy in (old, None):
            given = environment(deployment_branch_policy=policy)
            expect(name, "any branch", 1, "does not say which", environment=given)
        for policies in (
            [],
            [{"type": "branch", "name": "*"}],
            [{"type": "branch", "name": "v*"}],
            [{"type": "tag", "name": "main"}],
            [{"type": "branch", "name": "main"}, {"type": "tag", "name": "v*"}],
        ):
            given = {"total_count": len(policies), "branch_policies": policies}
            expect(name, f"{policies}", 1, "something else", policies=given)
        if name == "release":
            continue
        for at, (words, how) in enumerate(
            (
                ("rewritten", None),
                ("nobody has reviewed", review | {"required_approving_review_count": 0}),
                ("was not tested", {"required_status_checks": contexts[1:]}),
            )
        ):
            less = [*main[:at], *main[at + 1 :]]
            expect(name, f"without {main[at]['type']}", 1, words, main=less)
            if how:
                changed = [*less, main[at] | {"parameters": how}]
                expect(name, f"less {main[at]['type']}", 1, words, main=changed)
        alone = [main[0], main[1] | {"parameters": review | {"require_code_owner_review": False}}]
        expect(name, "any reviewer", 1, "nobody has reviewed", main=[*alone, main[2]])
        expect(name, "no rules", 1, "nobody has reviewed", main=[])

    def rules(**change: object) -> dict[str, Any]:
        return {"environment": environment(**change)}

    words = "nobody has to approve"
    expect("production", "no rules", 1, words, **rules(protection_rules=[]))
    nobody = [rule | {"reviewers": []}]
    expect("production", "no reviewers", 1, words, **rules(protection_rules=nobody))
    own = [rule | {"prevent_self_review": False}]
    expect("production", "one's own", 1, "may approve it", **rules(protection_rules=own))
    expect("production", "no answer", 1, words, environment="")
    expect("staging", "nobody to approve", 0, "main", **rules(protection_rules=[]))

    expect("release", "no ruleset of tags", 1, "creation", tags=[])
    expect("release", "tags that are new", 1, "creation", tag2=tags[0])
    expect("release", "tags that move", 1, "update", tag1=tags[1])
    expect("release", "a rule that is off", 1, "creation", tag2=tags[1] | {"enforcement": "off"})
    for names in (
        {"include": ["refs/tags/x*"], "exclude": []},
        {"include": ["refs/tags/v*"], "exclude": ["refs/tags/v1*"]},
    ):
        other = tags[1] | {"conditions": {"ref_name": names}}
        expect("release", "a rule of other tags", 1, "creation", tag2=other)
    for argv in ([], ["moon"], ["production", "staging"]):
        scene.expect("wrong usage", 2, "usage", "deploy/guarded", *argv)


def changed(folder: Path) -> None:
    answers = folder / "answers"
    answers.mkdir()
    scene = Scene(folder, GITHUB_REPOSITORY="acme/decoder", ANSWERS=str(answers))
    summary = folder / "summary"
    scene.variables["GITHUB_STEP_SUMMARY"] = str(summary)
    diff = 'echo "diff $*" >>"$DIARY"\n[ "$DIFF" = 0 ] || echo "+ one line"\nexit "$DIFF"\n'
    scene.write("deploy/diff.sh", f"#!/bin/bash\n{diff}", True)

    def git(*argv: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
        argv = ("git", *who, *argv)
        return subprocess.run(
            argv, cwd=scene.root, check=True, capture_output=True, text=True
        ).stdout

    git("init", "--initial-branch=main")
    commits = []
    for subject in ("first", "second", "third", "fourth"):
        git("commit", "--allow-empty", "-m", subject)
        commits.append(git("rev-parse", "HEAD").strip())

    def deployments(*states: str) -> None:
        listed = []
        for at, state in enumerate(states):
            listed.insert(0, {"id": at, "sha": commits[at]})
            statuses = [{"state": state}] if state else []
            path = f"repos_acme_decoder_deployments_{at}_statuses?per_page=1"
            (answers / path).write_text(json.dumps(statuses))
        path = "repos_acme_decoder_deployments?environment=production&per_page=100"
        (answers / path).write_text(json.dumps(listed))

    arguments = ("deploy/changes", "production")
    deployments("inactive", "success", "failure", "")
    told = scene.expect("a change", 0, "+ one line", *arguments, DIFF="1")
    if not scene.asked(f"diff production@{commits[1]} production@HEAD"):
        raise Wrong(f"something else is compared: {scene.diary.read_text()}")
    if "third" not in told or "fourth" not in told or "second" in told:
        raise Wrong(f"other commits are told: {told}")
    if summary.read_text() != told:
        raise Wrong(f"another summary: {summary.read_text()}")
    scene.expect("no change", 0, "No object changes", *arguments, DIFF="0")
    scene.expect("what cannot be told", 2, "", *arguments, DIFF="2")
    for states in ((), ("failure", "error", "")):
        deployments(*states)
        scene.expect("nothing before", 0, "all of it is new", *arguments, DIFF="2")
    (answers / "repos_acme_decoder_deployments?environment=production&per_page=100").unlink()
    scene.expect("no answer", 1, "", *arguments, DIFF="1")
    scene.expect("no name", 2, "usage", "deploy/changes")


def counted(folder: Path) -> None:
    def measured(scene: Scene, covered: int, count: int) -> None:
        lines = {"summary": {"lines": {"covered": covered, "count": count}}}
        files = [
            {"filename": "/x/src/scan/pair.rs", **lines},
            {"filename": "/x/src/main.rs", **lines},
        ]
        scene.write("target/coverage.json", json.dumps({"data": [{"files": files}]}))

    summary = folder / "summary"
    scene = Scene(folder, GITHUB_STEP_SUMMARY="")
    scene.expect("nothing measured", 1, ".ci/run measures it", ".ci/coverage")
    measured(scene, 80, 100)
    told = scene.expect("enough", 0, "80.0 %", ".ci/coverage", GITHUB_STEP_SUMMARY=str(summary))
    if "| `scan` | 100 | 80.0 % |" not in told or summary.read_text() != told:
        raise Wrong(f"another summary: {told}")
    measured(scene, 79, 100)
    scene.expect("too little", 1, "below the floor", ".ci/coverage")
    measured(scene, 0, 0)
    scene.expect("of nothing", 1, "measures nothing", ".ci/coverage")


def installed(folder: Path) -> None:
    config = folder / "gitconfig"
    scene = Scene(folder, GIT_CONFIG_SYSTEM=str(config), GITHUB_WORKSPACE="")
    # The rustup of this machine is not touched.
    scene.variables["CARGO_HOME"] = str(folder / ".cargo")
    scene.expect("the compiler", 0, "", ".ci/toolchain")
    version = (ROOT / "Cargo.toml").read_text().partition('rust-version = "')[2].partition('"')[0]
    if not scene.asked(f"rustup default {version}.") or scene.asked("nightly"):
        raise Wrong(f"another compiler than Cargo.toml asks for: {scene.diary.read_text()}")
    scene.expect("the one that fuzzes", 0, "", ".ci/toolchain", "nightly")
    if not scene.asked("install nightly") or scene.asked("default nightly"):
        raise Wrong(f"the nightly compiler is not beside the other: {scene.diary.read_text()}")
    if config.exists():
        raise Wrong("git is told of a folder that there is not")
    scene.expect("in a container", 0, "", ".ci/toolchain", GITHUB_WORKSPACE="/__w/a/a")
    if "directory = /__w/a/a" not in config.read_text():
        raise Wrong(f"git is not told whose folder it is: {config.read_text()}")

    # Where there is no rustup, and what is downloaded is a script that puts one there.
    (scene.root / "bin/rustup").rename(scene.root / "rustup")
    rustup_init = f'#!/bin/bash\necho "init $*" >>"$DIARY"\nmkdir -p "$CARGO_HOME/bin"\ncp {scene.root}/rustup "$CARGO_HOME/bin/"\n'
    scene.write("given", rustup_init)
    scene.write(
        "bin/curl", '#!/bin/bash\necho "curl $*" >>"$DIARY"\ncp "$GIVEN" "${@: -2:1}"\n', True
    )
    bare = {"PATH": f"{scene.root}/bin:/usr/bin:/bin", "GIVEN": str(scene.root / "given")}
    scene.expect("another rustup than was meant", 1, "FAILED", ".ci/toolchain", **bare)
    if scene.asked("init -y"):
        raise Wrong("what nobody knows is run")
    text = (scene.root / ".ci/toolchain").read_text()
    mine = hashlib.sha256(rustup_init.encode()).hexdigest()
    scene.write(".ci/toolchain", re.sub("sum=[0-9a-f]{64}", f"sum={mine}", text), True)
    scene.expect("no rustup", 0, "", ".ci/toolchain", **bare)
    said = scene.diary.read_text()
    if "init -y" not in said or not 0 < said.find("init -y") < said.find(
        "rustup toolchain install"
    ):
        raise Wrong(f"no compiler by the new rustup: {said}")

    del scene.variables["CARGO_HOME"]
    scene.write(".ci/setup", (ROOT / ".ci/setup").read_text(), True)
    scene.write("bin/apt-get", '#!/bin/bash\necho "apt-get $*" >>"$DIARY"\n', True)
    cache = str(folder / "cache")
    words = "is taken from Debian"
    scene.expect("no Debian", 1, words, ".ci/setup", "quick", XDG_CACHE_HOME=cache)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        try:
            for part in (packed, published, released, guarded, changed, counted, installed):
                folder = Path(name) / part.__name__
                folder.mkdir()
                part(folder)
        except Wrong as wrong:
            print(f"FAILED: {wrong}", file=sys.stderr)
            return 1
    print("the scripts do what they say, and stop where they must not go on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
