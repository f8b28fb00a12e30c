#!/usr/bin/env python3
"""deploy/policy finds what may not land, and nothing in a tree that is well.

    tests/delivery/policies.py

A small tree that is well is made for each row of SPOILT and spoilt in one place: the policy that is
named must find it, at that file, and no other policy may. Then deny.toml, by cargo deny itself, over
crates that are each wrong in one way.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "deploy/policy"
SHA = "11bd71901bbe5b1630ceea73d27597364c9af683"
DIGEST = "sha256:" + "0123456789abcdef" * 4
WORKFLOW = ".github/workflows/ci.yml"
CONTAINER = f"    container: node:1.2.3@{DIGEST}\n"
OWNERS = ".github/CODEOWNERS"
PRODUCTION = "deploy/kubernetes/overlays/production"
DEPLOYMENT = "deploy/kubernetes/base/deployment.yaml"


class Wrong(Exception):
    """A policy that finds too little or too much."""


def joined(*parts: str) -> str:
    """What would be a finding in this file, if it stood here in one piece."""
    return "".join(parts)


WELL = {
    WORKFLOW: f"""\
name: ci
on:
  pull_request:
permissions: {{}}
concurrency:
  group: ci
jobs:
  gate:
    runs-on: ubuntu-24.04
{CONTAINER}    timeout-minutes: 5
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@{SHA} # v4.2.2
        with:
          persist-credentials: false
      - run: .ci/run "$GITHUB_SHA"
""",
    ".github/CODEOWNERS": "# Who.\n* @acme/team\n/src @acme/team @somebody a@b.dev # Both.\n",
    ".ci/run": "#!/usr/bin/env bash\necho 1 passed\n",
    "ARCHITECTURE.md": """\
# Architecture

## Dependencies

| crate | why |
| --- | --- |
| `bytes`, `flate2` with `zlib-rs` | documents |
| `insta` (tests) | snapshots |
| `cc` (build) | the compiler |

## More
""",
    "Cargo.toml": """\
[package]
name = "x"

[dependencies]
bytes = "1"
flate2 = { version = "1", features = ["zlib-rs"] }

[dev-dependencies]
insta = "1"

[target.'cfg(unix)'.build-dependencies]
cc = "1"
""",
    "Dockerfile": f"""\
ARG RUST=1.95.0
FROM --platform=$BUILDPLATFORM docker.io/library/rust:${{RUST}} AS build
FROM docker.io/library/debian:12@{DIGEST} AS roots
FROM scratch
COPY --from=build /x /x
""",
    DEPLOYMENT: """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: x
spec:
  template:
    spec:
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: x
          image: x
          ports: [{containerPort: 8080}]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
      volumes: [{name: v, emptyDir: {}}]
""",
    "deploy/kubernetes/base/kustomization.yaml": "resources: [deployment.yaml]\n",
    f"{PRODUCTION}/kustomization.yaml": f"""\
resources: [../../base]
images: [{{name: x, newName: registry.example.com/x, digest: '{DIGEST}'}}]
""",
    "deploy/kubernetes/overlays/staging/kustomization.yaml": """\
resources: [../../base]
images: [{name: x, newName: registry.example.com/x, newTag: '1'}]
""",
    # What looks a little like a secret, and is none.
    "src/lib.rs": f"""\
// token: the caller's; password = "<yours>", secret: "${{SECRET}}", https://user:word@host
const KEY: &str = "bpd_short_example";
const DIGEST: &str = "{DIGEST}";
const SECRET_PATH: &str = "/etc/decoder/secrets/key";
const PATH: &str = "deploy/kubernetes/overlays/production/kustomization";
const SIGNS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
""",
}


@dataclass(frozen=True)
class Spoilt:
    """A file of WELL with one thing in it changed; or, with nothing to change, a new file."""

    policy: str
    words: str
    path: str
    old: str
    new: str


KEY = joined("q7Xz0RkT2mVbN8cLp4Wd", "Ys6HgJf1EaUo3iKxQvBtMnS")
LONG = joined("Zx9kQ2mVb7RtL4nWp8Hs", "Yd3JfG6cTa1EuOiKxBvQ")
PRIVILEGED = "privileged"
SPOILT = [
    Spoilt("secrets", "API key of this service", "tests/a.py", "", joined("bpd_", "acme_", KEY)),
    Spoilt("secrets", "private key", "a.txt", "", joined("-----BEGIN RSA ", "PRIVATE KEY-----")),
    Spoilt("secrets", "private key", "a.txt", "", joined("-----BEGIN ", "PRIVATE KEY-----")),
    Spoilt("secrets", "without a head", "a.rs", "", joined('"MIG', 'HAgEAMBMGByqGSM49AgEG"')),
    Spoilt("secrets", "key of AWS", "a.env.txt", "", joined("id: AKIA", "IOSFODNN7EXAMPLE")),
    Spoilt("secrets", "token of GitHub", "a.md", "", joined("gh", "p_", KEY[:36])),
    Spoilt("secrets", "token of Slack", "a.md", "", joined("xox", "b-123456789012-abcdefghij")),
    Spoilt(
        "secrets", "signed token", "a.md", "", joined("eyJhbGciOiJub25l.", "eyJzdWIiOiIxMjM0.", KEY)
    ),
    Spoilt(
        "secrets", "credentials in a URL", "a.md", "", joined("redis://app:", "s3cretWord@valkey")
    ),
    Spoilt("secrets", "written out", "a.toml", "", joined('smtp_password = "', 'correct-horse-9"')),
    Spoilt("secrets", "written out", "a.json", "", joined('{"api_key": "', 'abcdefgh1234"}')),
    Spoilt("secrets", "dice made", "a.sh", "", joined("export LICENCE=", LONG)),
    Spoilt("secrets", "dice made", "a.yaml", "", joined("  seed: ", LONG)),
    Spoilt("secrets", "a file of this name", "deploy/tls.pem", "", "-"),
    Spoilt("secrets", "a file of this name", "home/.env", "", "A=b"),
    Spoilt(
        "registries",
        "host of a registry",
        "x/package-lock.json",
        "",
        joined("https://registry.", "npmjs.org/x"),
    ),
    Spoilt(
        "registries",
        "host of a registry",
        "setup.sh",
        "",
        joined("pip -i https://py", "pi.org/simple"),
    ),
    Spoilt(
        "registries",
        "host of a registry",
        "setup.sh",
        "",
        joined("http://ftp.deb.", "debian.org/debian"),
    ),
    Spoilt("pinned", "not pinned", WORKFLOW, SHA, "v4"),
    Spoilt("pinned", "not pinned", WORKFLOW, SHA, SHA[:12]),
    Spoilt("pinned", "lacks its version", WORKFLOW, " # v4.2.2", ""),
    Spoilt("pinned", "lacks its version", WORKFLOW, "# v4.2.2", "# v4"),
    Spoilt(
        "pinned",
        "different ways",
        WORKFLOW,
        "      - run",
        f"      - uses: actions/checkout@{SHA[::-1]} # v4.2.1\n        with: {{persist-credentials: false}}\n      - run",
    ),
    Spoilt(
        "pinned", "not read here", WORKFLOW, "      - run", "      - {uses: a/b@v1}\n      - run"
    ),
    Spoilt("pinned", "no tag and digest", WORKFLOW, CONTAINER, "    container: node:20.1.2\n"),
    Spoilt("pinned", "no tag and digest", WORKFLOW, f":1.2.3@{DIGEST}", f"@{DIGEST}"),
    Spoilt("pinned", "no tag and digest", WORKFLOW, f"@{DIGEST}", f"@{DIGEST[:-1]}"),
    Spoilt(
        "pinned",
        "no tag and digest",
        WORKFLOW,
        CONTAINER,
        "    container:\n      image: node:20.1.2\n      options: --init\n",
    ),
    Spoilt(
        "pinned",
        "no tag and digest",
        WORKFLOW,
        CONTAINER,
        f"{CONTAINER}    services: {{db: {{image: 'db:1'}}}}\n",
    ),
    Spoilt("permissions", "permissions: {}", WORKFLOW, "permissions: {}\n", ""),
    Spoilt("permissions", "permissions: {}", WORKFLOW, "permissions: {}", "permissions: read-all"),
    Spoilt("permissions", "one by one", WORKFLOW, "    permissions:\n      contents: read\n", ""),
    Spoilt(
        "permissions",
        "one by one",
        WORKFLOW,
        "    permissions:\n      contents: read\n",
        "    permissions: write-all\n",
    ),
    Spoilt("permissions", "may not have contents", WORKFLOW, "contents: read", "contents: write"),
    Spoilt("permissions", "may not have id-token", WORKFLOW, "contents: read", "id-token: write"),
    Spoilt(
        "credentials",
        "stored credentials",
        WORKFLOW,
        "      - run",
        "      - env: {K: '${{ secrets.CLOUD_KEY }}'}\n        run",
    ),
    Spoilt(
        "credentials",
        "stored credentials",
        WORKFLOW,
        "      - run",
        "      - env: {K: \"${{ secrets['CLOUD_KEY'] }}\"}\n        run",
    ),
    Spoilt(
        "credentials",
        "leaves its token",
        WORKFLOW,
        "persist-credentials: false",
        "persist-credentials: true",
    ),
    Spoilt(
        "credentials",
        "leaves its token",
        WORKFLOW,
        "        with:\n          persist-credentials: false\n",
        "",
    ),
    Spoilt("triggers", "strangers steer", WORKFLOW, "pull_request:", "pull_request_target:"),
    Spoilt(
        "triggers", "strangers steer", WORKFLOW, "on:\n  pull_request:", "on: [push, workflow_run]"
    ),
    Spoilt("triggers", "no concurrency", WORKFLOW, "concurrency:\n  group: ci\n", ""),
    Spoilt("triggers", "no timeout", WORKFLOW, "    timeout-minutes: 5\n", ""),
    Spoilt("owners", "* belongs to nobody", OWNERS, "* @acme/team", "* EXAMPLE_OWNERS"),
    Spoilt("owners", "* belongs to nobody", OWNERS, "* @acme/team", "* @acme/"),
    Spoilt("owners", "/src belongs to nobody", OWNERS, "@somebody", "somebody"),
    Spoilt("owners", "to nobody", OWNERS, "* @acme/team", "*"),
    Spoilt("owners", "no other rule names", OWNERS, "* @acme/team", "/docs @acme/team"),
    Spoilt("owners", "no other rule names", OWNERS, "* @acme/team", "#* @acme/team"),
    Spoilt("scripts", "is a script", WORKFLOW, ".ci/run", "cargo test"),
    Spoilt(
        "scripts",
        "is a script",
        WORKFLOW,
        'run: .ci/run "$GITHUB_SHA"',
        "run: |\n          .ci/run\n          rm -rf /",
    ),
    Spoilt("scripts", "is a script", WORKFLOW, '.ci/run "$GITHUB_SHA"', ".ci/run || true"),
    Spoilt("scripts", "not there", WORKFLOW, ".ci/run", ".ci/runs"),
    Spoilt("scripts", "hand it over", WORKFLOW, "$GITHUB_SHA", "${{ github.sha }}"),
    Spoilt("latest", "tomorrow", WORKFLOW, "ubuntu-24.04", "ubuntu-latest"),
    Spoilt("latest", "tomorrow", "Dockerfile", "rust:${RUST}", "rust:latest"),
    Spoilt("latest", "tomorrow", "Dockerfile", "RUST=1.95.0", "RUST=latest"),
    Spoilt("latest", "neither a tag", "Dockerfile", "rust:${RUST}", "rust"),
    Spoilt(
        "latest",
        "tomorrow",
        "deploy/kubernetes/overlays/staging/kustomization.yaml",
        "newTag: '1'",
        "newTag: latest",
    ),
    Spoilt(
        "latest",
        "neither a tag",
        "deploy/kubernetes/overlays/staging/kustomization.yaml",
        ", newTag: '1'",
        "",
    ),
    Spoilt(
        "latest",
        "tomorrow",
        "deploy/local/compose.yaml",
        "",
        "services:\n  x:\n    image: x:latest\n",
    ),
    Spoilt(
        "digests",
        "no digest",
        f"{PRODUCTION}/kustomization.yaml",
        f"digest: '{DIGEST}'",
        "newTag: '1.2.3'",
    ),
    Spoilt(
        "digests",
        "no digest",
        DEPLOYMENT,
        "      volumes",
        "        - {name: y, image: 'y:1', securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}}\n      volumes",
    ),
    Spoilt(
        PRIVILEGED,
        "is privileged",
        DEPLOYMENT,
        "allowPriv",
        "privileged: true\n            allowPriv",
    ),
    Spoilt(
        PRIVILEGED,
        "gain privileges",
        DEPLOYMENT,
        "allowPrivilegeEscalation: false",
        "allowPrivilegeEscalation: true",
    ),
    Spoilt(
        PRIVILEGED,
        "gain privileges",
        DEPLOYMENT,
        "            allowPrivilegeEscalation: false\n",
        "",
    ),
    Spoilt(PRIVILEGED, "as root", DEPLOYMENT, "        runAsNonRoot: true\n", ""),
    Spoilt(PRIVILEGED, "as root", DEPLOYMENT, "runAsUser: 65532", "runAsUser: 0"),
    Spoilt(PRIVILEGED, "as root", DEPLOYMENT, "allowPriv", "runAsUser: 0\n            allowPriv"),
    Spoilt(
        PRIVILEGED,
        "write to its image",
        DEPLOYMENT,
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
    ),
    Spoilt(PRIVILEGED, "keeps capabilities", DEPLOYMENT, "drop: [ALL]", "drop: [NET_RAW]"),
    Spoilt(
        PRIVILEGED, "adds capabilities", DEPLOYMENT, "drop: [ALL]", "drop: [ALL], add: [NET_ADMIN]"
    ),
    Spoilt(PRIVILEGED, "any system call", DEPLOYMENT, "RuntimeDefault", "Unconfined"),
    Spoilt(PRIVILEGED, "node's files", DEPLOYMENT, "emptyDir: {}", "hostPath: {path: /}"),
    Spoilt(
        PRIVILEGED,
        "namespace of the node",
        DEPLOYMENT,
        "      automount",
        "      hostNetwork: true\n      automount",
    ),
    Spoilt(
        PRIVILEGED,
        "namespace of the node",
        DEPLOYMENT,
        "      automount",
        "      hostPID: true\n      automount",
    ),
    Spoilt(
        PRIVILEGED,
        "port of the node",
        DEPLOYMENT,
        "containerPort: 8080",
        "containerPort: 8080, hostPort: 80",
    ),
    Spoilt(
        PRIVILEGED,
        "token of the cluster",
        DEPLOYMENT,
        "      automountServiceAccountToken: false\n",
        "",
    ),
    Spoilt("reasons", "serde has no reason", "Cargo.toml", "bytes =", 'serde = "1"\nbytes ='),
    Spoilt("reasons", "tempfile has no reason", "Cargo.toml", "insta =", 'tempfile = "3"\ninsta ='),
    Spoilt("reasons", "cmake has no reason", "Cargo.toml", "cc =", 'cmake = "1"\ncc ='),
    Spoilt(
        "reasons",
        "arbitrary has no reason",
        "fuzz/Cargo.toml",
        "",
        '[dependencies]\narbitrary = "1"\n',
    ),
    Spoilt("reasons", "insta has no reason", "ARCHITECTURE.md", "snapshots |", "|"),
    Spoilt("reasons", "zlib-rs has no reason", "Cargo.toml", "bytes =", 'zlib-rs = "1"\nbytes ='),
    Spoilt("reasons", "is not used", "Cargo.toml", 'bytes = "1"\n', ""),
    Spoilt("reasons", "no table", "ARCHITECTURE.md", "## Dependencies", "## Others"),
]


def tree(folder: Path, files: dict[str, str]) -> Path:
    root = Path(tempfile.mkdtemp(dir=folder))
    subprocess.run(["git", "init", "--quiet", root], check=True)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    if (root / ".ci/run").exists():
        (root / ".ci/run").chmod(0o755)
    return root


def judged(root: Path, *names: str) -> tuple[int, list[str]]:
    argv = [sys.executable, POLICY, "--root", root, *names]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if not re.search(r"^\d+ policies, \d+ files, \d+ faults$", done.stdout.strip()):
        raise Wrong(f"deploy/policy ended otherwise than it should: {done.stdout}{done.stderr}")
    return done.returncode, done.stderr.splitlines()


def all_policies() -> list[str]:
    listed = subprocess.run([sys.executable, POLICY, "--list"], capture_output=True, text=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


def expect(folder: Path, spoilt: Spoilt, names: list[str]) -> None:
    files = dict(WELL)
    if spoilt.old:
        if spoilt.old not in files[spoilt.path]:
            raise Wrong(f"nothing to spoil: {spoilt}")
        files[spoilt.path] = files[spoilt.path].replace(spoilt.old, spoilt.new, 1)
    else:
        files[spoilt.path] = spoilt.new + "\n"
    code, found = judged(tree(folder, files), *names)
    said = [line for line in found if f" {spoilt.policy}: " in line and spoilt.words in line]
    others = [line for line in found if f" {spoilt.policy}: " not in line]
    if code != 1 or not said or others:
        raise Wrong(
            f"{spoilt.policy} should find {spoilt.words!r} alone, and says {found}: {spoilt}"
        )


def spoilt_trees(folder: Path) -> None:
    names = all_policies()
    # What a job may do is told by name of this repository's jobs, which the small tree has not.
    exempt = "strike it from MAY"
    code, found = judged(tree(folder, WELL))
    if any(exempt not in line for line in found):
        raise Wrong(f"a tree that is well is found wrong: {found}")
    without = {spoilt.policy for spoilt in SPOILT}
    if without != set(names):
        raise Wrong(f"policies that are shown nothing: {set(names) ^ without}")
    for spoilt in SPOILT:
        # Alone and, where it is not itself about MAY, among all that do not need the real jobs.
        others = [name for name in names if name != "permissions" or spoilt.policy == name]
        if spoilt.policy == "permissions":
            others = ["permissions", "pinned", "triggers"]
        expect(folder, spoilt, others)
    print(f"  {len(SPOILT)} spoilt trees, each found by its policy and by no other")

    not_run = tree(folder, WELL)
    (not_run / ".ci/run").chmod(0o644)
    code, found = judged(not_run, "scripts")
    if code != 1 or "cannot be run" not in "".join(found):
        raise Wrong(f"a script that cannot be run: {found}")
    ignored = tree(folder, WELL | {".gitignore": "/target\n", "target/a.pem": "x\n"})
    code, found = judged(ignored, "secrets")
    if code != 0:
        raise Wrong(f"what is not committed is found: {found}")
    for missing, names in (
        (PRODUCTION, ["digests", PRIVILEGED]),
        (".github", ["triggers", "owners"]),
    ):
        less = {path: text for path, text in WELL.items() if not path.startswith(missing)}
        code, found = judged(tree(folder, less), *names)
        if code != 1 or len(found) != len(names):
            raise Wrong(f"without {missing} nothing is judged, and that is no fault: {found}")


CRATE = """\
[package]
name = "{name}"
version = "1.0.0"
edition = "2024"
{more}
"""
# What is wrong, what cargo deny calls it, and the crate beside ours.
DENIED = [
    (
        "a licence that is not allowed",
        "licenses",
        "rejected",
        "other",
        'license = "GPL-3.0-only"',
        "",
    ),
    ("no licence", "licenses", "unlicensed", "other", "", ""),
    ("another TLS", "bans", "banned", "openssl-sys", 'license = "MIT"', ""),
    ("any version", "bans", "wildcard", "other", 'license = "MIT"', "*"),
    (
        "a source that nobody knows",
        "sources",
        "source-not-allowed",
        "other",
        'license = "MIT"',
        "git",
    ),
]


def denied(folder: Path) -> None:
    """deny.toml finds each of DENIED, and nothing where there is nothing."""
    if shutil.which("cargo-deny") is None:
        sys.exit("cargo-deny is missing: .ci/setup installs it")
    wells = [("nothing wrong", "", "", "other", 'license = "MIT"', "")]
    for what, kind, word, name, more, how in wells + DENIED:
        root = Path(tempfile.mkdtemp(dir=folder))
        for crate, words in (("ours", 'license = "MIT"'), (name, more)):
            (root / crate / "src").mkdir(parents=True)
            (root / crate / "src/lib.rs").write_text("")
            (root / crate / "Cargo.toml").write_text(CRATE.format(name=crate, more=words))
        where = f'path = "../{name}"'
        version = f', version = "{how}"' if how == "*" else ', version = "1"'
        if how == "git":
            for argv in (
                ["init", "--quiet"],
                ["add", "."],
                ["-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "x"],
            ):
                subprocess.run(["git", "-C", root / name, *argv], check=True)
            where, version = f'git = "file://{root / name}"', ""
        with (root / "ours/Cargo.toml").open("a") as manifest:
            manifest.write(f"[dependencies]\n{name} = {{ {where}{version} }}\n")
        argv = [
            "cargo",
            "generate-lockfile",
            "--quiet",
            "--manifest-path",
            root / "ours/Cargo.toml",
        ]
        subprocess.run(argv, check=True, timeout=60)
        argv = ["cargo", "deny", "--offline", "--manifest-path", root / "ours/Cargo.toml"]
        argv += ["--config", ROOT / "deny.toml", "check", "bans", "licenses", "sources"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        is_found = f"{kind} FAILED" in said and f"error[{word}]" in said
        if not (is_found and done.returncode if kind else done.returncode == 0):
            raise Wrong(f"cargo deny, {what}: exit {done.returncode}: {said}")
        print(f"  cargo deny, {what}: {f'error[{word}]' if kind else 'passes'}", flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        try:
            spoilt_trees(Path(name))
            denied(Path(name))
        except Wrong as wrong:
            print(f"FAILED: {wrong}", file=sys.stderr)
            return 1
    print("the policies tell right from wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
