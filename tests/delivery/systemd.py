#!/usr/bin/env python3
"""The unit does what it says, under a systemd that was booted for it.

    tests/delivery/systemd.py IMAGE

IMAGE is a machine that can be booted (.ci/base systemd). The service, target/release's, is installed
on it by the words of README, started, asked, hung, killed, told to read its files again, and stopped.
Then the same with units that are spoilt, each of which must be noticed. As root.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_call"))

import loopback
from loopback import BINARY, ROOT, tool, wait_for

loopback.PACKAGES |= {"podman": "podman", "systemd-analyze": "systemd", "nsenter": "util-linux"}

NAME = "blueprint-decoder"
UNIT = ROOT / f"deploy/systemd/{NAME}.service"
CONFIG = ROOT / "config/production.toml"
# In tenths, as systemd-analyze counts.
WORST = 20
# What systemd-analyze would have otherwise, and why it is not.
NEEDED = {
    "RestrictAddressFamilies_AF_INET_INET6": "it is a server",
    "RestrictAddressFamilies_AF_UNIX": "systemd is told of readiness and liveness by such a socket",
    "RestrictAddressFamilies_AF_NETLINK": "the C library asks for addresses of this machine by it",
    "PrivateNetwork": "it is a server",
    "IPAddressDeny": "documents come from anywhere; the egress policy judges each address",
    "ProcSubset": "/proc/meminfo, for process_memory_limit_bytes",
    "DeviceAllow": "ProtectClock lets /dev/rtc be read, and PrivateDevices has none",
    "RootDirectoryOrRootImage": "ProtectSystem makes all of it read-only",
}
# What only matters over a time that no test has, or where something else is broken, too.
UNSEEN = {
    "TasksMax": "a bound that is never reached",
    "MemoryMax": "a bound that is never reached",
    "OOMPolicy": "what is done at that bound",
    "DevicePolicy": "PrivateDevices says the same",
    "NoNewPrivileges": "a filter of system calls without root says the same",
    "RestrictSUIDSGID": "DynamicUser says the same",
    "RemoveIPC": "DynamicUser says the same",
    "PrivateTmp": "DynamicUser says the same",
    "ProtectSystem": "DynamicUser says the same",
    "AmbientCapabilities": "there are none where none is bounding",
    "SystemCallErrorNumber": "it makes no call that is refused",
    "RestartSec": "a tenth of a second is usual",
    "NotifyAccess": "main is usual where Type is notify",
    "TimeoutStartSec": "it starts at once",
}


class Wrong(Exception):
    """What is not as it should be."""


# What can be said of the unit where it lies.


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def seconds(text: str) -> float:
    return float(re.fullmatch(r"(\d+)s", text)[1])


def faults_at_rest(unit: str, folder: Path) -> list[str]:
    file = folder / UNIT.name
    file.write_text(unit)
    command = [tool("systemd-analyze"), "security", "--offline=yes", f"--threshold={WORST}"]
    judged = subprocess.run([*command, file], capture_output=True, text=True)
    exposure = re.search(r"exposure level for \S+ ([\d.]+)", judged.stdout)
    faults = []
    if judged.returncode != 0 or exposure is None:
        faults.append(f"its exposure is {exposure and exposure[1]}: {judged.stderr[-300:]}")
    listed = subprocess.run([*command, "--json=short", file], capture_output=True, text=True)
    open_ = {each["json_field"] for each in json.loads(listed.stdout) if each["set"] is False}
    faults += [f"it may {name}" for name in sorted(open_ - set(NEEDED))]
    faults += [f"{name} has a reason, and needs none" for name in sorted(set(NEEDED) - open_)]

    said = settings(unit)
    config = in_force()
    server = config["server"]
    patience = sum(seconds(server["shutdown"][name]) for name in ("notice", "grace"))
    stop = seconds(said.get("TimeoutStopSec", ["0s"])[0])
    if not patience + 5 <= stop <= patience + 30:
        faults.append(f"TimeoutStopSec is {stop:g} s, and a stop may take {patience:g}")
    descriptors = int(said.get("LimitNOFILE", ["0"])[0])
    if descriptors < server["max_connections"] + config["overload"]["fetch"] + 1024:
        faults.append(f"LimitNOFILE is {descriptors}: fewer than it may have open")
    return faults


def in_force() -> dict[str, Any]:
    """The configuration that the unit is written for."""

    def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
        inner = {
            key: merged(below.get(key, {}), value) if isinstance(value, dict) else value
            for key, value in above.items()
        }
        return below | inner

    texts = (CONFIG.with_name("default.toml").read_text(), CONFIG.read_text())
    return merged(*map(tomllib.loads, texts))


# What it is on a machine.


class Machine:
    def __init__(self, name: str):
        self.name = name

    def run(self, *words: str, check: bool = True, limit: float = 60) -> str:
        command = [tool("podman"), "exec", "--workdir=/install", self.name, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        if check and done.returncode != 0:
            raise Wrong(f"{' '.join(words)}: {done.stdout[-500:]}{done.stderr[-1000:]}")
        return done.stdout.strip()

    def succeeds(self, *words: str) -> bool:
        command = [tool("podman"), "exec", self.name, *words]
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0

    def write(self, path: str, text: str) -> None:
        command = [tool("podman"), "exec", "--interactive", self.name, "sh", "-c", f"cat >{path}"]
        subprocess.run(command, input=text, text=True, check=True, timeout=60)

    def show(self, name: str) -> str:
        return self.run("systemctl", "show", "--property", name, "--value", NAME)

    def journal(self) -> str:
        """Of the service as it was started last."""
        this = f"_SYSTEMD_INVOCATION_ID={self.show('InvocationID')}"
        return self.run("journalctl", "--no-pager", "--output=cat", this)

    def inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As root, but with the files that the service sees."""
        command = ["nsenter", f"--target={self.show('MainPID')}", "--mount", "--", *words]
        exec_ = [tool("podman"), "exec", self.name, *command]
        return subprocess.run(exec_, capture_output=True, text=True, timeout=30)

    def decode(self, key: str = "") -> int:
        """The status of an answer. The machine has a loopback of its own, and no client."""
        pid = subprocess.run(
            [tool("podman"), "inspect", "--format={{.State.Pid}}", self.name],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        asked = ["curl", "--silent", "--max-time", "5", "--output", "/dev/null"]
        asked += ["--write-out", "%{http_code}", "--header", "Content-Type: text/plain"]
        asked += ["--header", f"X-Api-Key: {key}"] if key else []
        asked += ["--data-binary", "{*DOOR: east*}", "http://127.0.0.1:8080/decode"]
        command = [tool("nsenter"), f"--target={pid}", "--net", *asked]
        return int(subprocess.run(command, capture_output=True, text=True, timeout=30).stdout)


@contextlib.contextmanager
def machine(image: str, folder: Path) -> Iterator[Machine]:
    mounts = [f"--volume={ROOT}/{each}:/install/{each}:ro" for each in ("config", "deploy")]
    mounts += [f"--volume={BINARY}:/install/target/release/{NAME}:ro"]
    mounts += [f"--volume={folder / 'tenants.toml'}:/install/tenants.toml:ro"]
    # The unit takes rights away, which takes rights; and a secret is mounted for all to see.
    boot = "mount --make-rshared / && exec /usr/lib/systemd/systemd"
    command = ["run", "--detach", "--privileged", "--systemd=always", "--network=none", *mounts]
    started = subprocess.run(
        [tool("podman"), *command, image, "sh", "-c", boot], capture_output=True, text=True
    )
    if started.returncode != 0:
        raise Wrong(f"no machine: {started.stderr[-1000:]}")
    booted = Machine(started.stdout.strip())
    try:
        is_up = ("systemctl", "is-system-running")
        wait_for("a machine", 30, lambda: booted.run(*is_up, check=False) == "running", every=0.2)
        yield booted
    finally:
        subprocess.run(
            [tool("podman"), "rm", "--force", "--time=2", booted.name], capture_output=True
        )


def install(machine: Machine) -> None:
    """By the words of README."""
    block = re.search(
        r"^## systemd\n.*?```sh\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.S | re.M
    )
    machine.run("sh", "-euc", block[1])


# No test waits as long as a unit may.
SHORTER = "[Service]\nTimeoutStartSec=4s\nWatchdogSec=1s\nRestartSec=100ms\nTimeoutStopSec=20s\n"


def start(machine: Machine, unit: str, more: str = "") -> bool:
    """Whether it starts, anew."""
    machine.run("systemctl", "kill", "--signal=KILL", NAME, check=False)
    machine.run("systemctl", "stop", NAME, check=False)
    machine.run("systemctl", "reset-failed", NAME, check=False)
    machine.write(f"/etc/systemd/system/{NAME}.service", unit)
    # What a variant leaves out is not brought back by what makes the others faster.
    shorter = "".join(
        line
        for line in SHORTER.splitlines(keepends=True)
        if line[0] == "[" or line.split("=")[0] in settings(unit)
    )
    folder = f"/etc/systemd/system/{NAME}.service.d"
    machine.run("mkdir", "-p", folder)
    machine.write(f"{folder}/shorter.conf", shorter + more)
    machine.run("systemctl", "daemon-reload")
    return machine.succeeds("timeout", "10", "systemctl", "start", NAME)


def faults_at_work(machine: Machine, unit: str, key: str) -> Iterator[str]:
    """All that is wrong with a service under this unit, the first of it first."""
    if not start(machine, unit):
        yield f"it does not start: {machine.show('Result')}: {machine.journal()[-200:]}"
        return
    if machine.show("StatusText") != "serving":
        yield "it does not tell that it is ready"
    if machine.decode(key) != 200 or machine.decode() != 401:
        yield f"it does not serve whom it should: {machine.decode(key)}, {machine.decode()}"
    if "limit of open files" in machine.journal():
        yield "it has fewer descriptors than it may need"

    status = machine.run("cat", f"/proc/{machine.show('MainPID')}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    if "0" in fields["Uid"].split():
        yield "it is root"
    if int(fields["CapBnd"], 16) or int(fields["CapEff"], 16):
        yield "it has capabilities"
    if fields["NoNewPrivs"] != "1" or fields["Seccomp"] != "2":
        yield "it may gain privileges, or make any call"
    for path in ("/usr/x", "/etc/x", "/var/x"):
        if machine.inside("touch", path).returncode == 0:
            yield f"it can write {path}"
    secret = f"/run/credentials/{NAME}.service/secrets_valkey-password"
    if machine.inside("cat", secret).stdout != "a secret of this machine\n":
        yield "it has no secret"

    pid = machine.show("MainPID")
    if not machine.succeeds("systemctl", "reload", NAME):
        yield "it cannot be told to read its files again"
    if machine.show("MainPID") != pid or not is_active(machine):
        yield "it ends when it is told to read its files again"

    machine.run("kill", "-STOP", pid)
    if not became(lambda: machine.show("MainPID") not in (pid, "0") and is_active(machine), 6):
        yield "it hangs, and nobody notices"
        return
    pid = machine.show("MainPID")
    machine.run("kill", "-KILL", pid)
    if not became(lambda: machine.show("MainPID") not in (pid, "0") and is_active(machine), 6):
        yield "it is gone, and does not come back"
        return

    began = time.monotonic()
    machine.run("systemctl", "stop", NAME)
    took = time.monotonic() - began
    notice = seconds(in_force()["server"]["shutdown"]["notice"])
    if (machine.show("Result"), machine.show("ExecMainStatus")) != ("success", "0"):
        yield f"it does not end well: {machine.show('Result')}"
    if took < notice:
        yield f"it ended after {took:.1f} s: nobody could notice"

    wrong = "Environment=DECODER__SERVER__BIND=nowhere\n"
    if start(machine, unit, wrong):
        yield "it counts as started before it is"
    if became(lambda: machine.show("NRestarts") != "0", 1.5):
        yield "it is started again and again with a configuration that is wrong"


def is_active(machine: Machine) -> bool:
    return machine.show("ActiveState") == "active"


def became(is_so, limit: float) -> bool:
    with contextlib.suppress(TimeoutError):
        return bool(wait_for("it", limit, is_so, every=0.1))
    return False


# Units that are spoilt.


def without(unit: str, line: str) -> str:
    return unit.replace(f"\n{line}\n", "\n", 1)


AT_WORK = {
    "Type=notify": (None, "it counts as started"),
    "ExecReload=/bin/kill -HUP $MAINPID": (None, "read its files again"),
    "Environment=DECODER_CONFIG=/etc/blueprint-decoder/production.toml": (None, "whom it should"),
    "LoadCredential=secrets:/etc/blueprint-decoder/secrets": (None, "it has no secret"),
    "WatchdogSec=20s": (None, "it hangs"),
    "Restart=always": (None, "it hangs"),
    "RestartPreventExitStatus=78": (None, "again and again"),
    "DynamicUser=yes": ("DynamicUser=no", "it is root"),
    "CapabilityBoundingSet=": (None, "it has capabilities"),
    "LimitNOFILE=16384": ("LimitNOFILE=512", "fewer descriptors"),
    # What is too strict is noticed, too.
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX": (
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK",
        "it does not start",
    ),
    "SystemCallFilter=~@privileged @resources": (
        "SystemCallFilter=~@privileged @resources @network-io",
        "it does not start",
    ),
    "ExecStart=/usr/local/bin/blueprint-decoder serve": (
        "ExecStart=/usr/local/bin/blueprint-decoder serve --bind 127.0.0.1:8090",
        "whom it should",
    ),
}
# What the rest of the service's section is held to at rest, or why it is not.
ELSEWHERE = {
    "DECODER__SERVER__BIND": "tests/delivery/proxy.py",
    "DECODER__SERVER__ADMIN_BIND": "tests/delivery/proxy.py",
    "DECODER__SERVER__TRUSTED_PROXIES": "tests/delivery/proxy.py",
}


def at_rest(unit: str, folder: Path) -> None:
    if faults := faults_at_rest(unit, folder):
        raise Wrong("; ".join(faults))
    for line, words in (
        ("TimeoutStopSec=20s", "TimeoutStopSec is 20"),
        ("TimeoutStopSec=5min", None),
        ("LimitNOFILE=1024", "LimitNOFILE is 1024"),
    ):
        spoilt = re.sub(rf"^{line.split('=')[0]}=.*$", line, unit, flags=re.MULTILINE)
        try:
            faults = faults_at_rest(spoilt, folder)
        except TypeError:
            faults = ["TimeoutStopSec is in no seconds"]
        if not faults or (words and words not in faults[0]):
            raise Wrong(f"{line}: nobody minds: {faults}")
    noticed, ignored = 0, []
    for line in unit.partition("[Service]\n")[2].partition("\n[Install]")[0].splitlines():
        if not line or line.startswith("#") or line in AT_WORK:
            continue
        if faults_at_rest(without(unit, line), folder):
            noticed += 1
        elif not any(line.startswith(f"Environment={name}=") for name in ELSEWHERE):
            ignored.append(line.split("=")[0])
    if set(ignored) != set(UNSEEN):
        extra, missing = sorted(set(ignored) - set(UNSEEN)), sorted(set(UNSEEN) - set(ignored))
        raise Wrong(f"lines without which nothing changes: {extra}; these do change it: {missing}")
    print(f"  {noticed} lines cannot be left out without a fault; {len(ignored)} say why they can")


def at_work(image: str, unit: str, folder: Path) -> None:
    key = loopback.tenant_in(folder)
    with machine(image, folder) as booted:
        install(booted)
        if verified := booted.run("systemd-analyze", "verify", f"{NAME}.service"):
            raise Wrong(f"systemd-analyze verify: {verified}")
        wait_for("the service", 10, lambda: is_active(booted))
        booted.write("/etc/blueprint-decoder/secrets/valkey-password", "a secret of this machine\n")
        if faults := list(faults_at_work(booted, unit, key)):
            raise Wrong("; ".join(faults))
        print(
            "  started, asked, hung, killed, reloaded, stopped, and not started wrongly", flush=True
        )
        for line, (instead, words) in AT_WORK.items():
            if f"\n{line}\n" not in unit:
                raise Wrong(f"the unit has no line {line}")
            spoilt = unit.replace(line, instead) if instead else without(unit, line)
            found = next((fault for fault in faults_at_work(booted, spoilt, key)), "nothing")
            if words not in found:
                raise Wrong(
                    f"{instead or f'no {line}'}: {words!r} is expected, and it says {found}"
                )
            print(f"  {instead or f'no {line}'}: {found[:100]!r}", flush=True)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__.splitlines()[2].strip(), file=sys.stderr)
        return 2
    unit = UNIT.read_text()
    with tempfile.TemporaryDirectory() as name:
        try:
            print("at rest:", flush=True)
            at_rest(unit, Path(name))
            print("at work:", flush=True)
            at_work(sys.argv[1], unit, Path(name))
        except Wrong as wrong:
            print(f"FAILED: {wrong}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
