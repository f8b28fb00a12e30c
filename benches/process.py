#!/usr/bin/env python3
"""The command line as a whole process.

  process.py memory   peak memory of 1 MiB and of 1 GiB; fails if it grows or is large
  process.py speed    wall time beside ripgrep on the same files; prints, judges nothing

Builds the release binary first. Needs `rg` for speed. Runs are in turn, so that a
drift of the machine hits both; the ratio is the median of the pairs.
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/blueprint-decoder"
MIB = 1 << 20
ROUNDS = int(os.environ.get("ROUNDS", 11))

LINE = b"Decoy data is present to deter villainous operatives.\n"
SPARSE = LINE * (17 * 1024 // len(LINE)) + b"{*VAULT_ACCESS_CODE: DELTA-7*}\n"
FILES = {
    "sparse": (SPARSE, 256),
    "dense": (b"{*A: 123456*}\n", 64),
    "near misses": (b"{ * {x *{ *} {* never closed } * }\n* } {", 64),
}
LONG = ["--max-secrets", "10000000", "--output", "summary"]


def run(command):
    """Seconds, peak memory in MiB and standard output."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, (command, child.returncode)
    return seconds, usage.ru_maxrss / 1024, output


def peak_of(mebibytes, block):
    """Peak memory in MiB of a decode of so many blocks, while its input is open."""
    command = [BINARY, "decode", "-", "--output", "summary", "--max-secrets", "1000000000"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    for _ in range(mebibytes):
        child.stdin.write(block)
    child.stdin.flush()
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    child.stdin.close()
    assert child.wait() == 0
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def memory():
    """A document on one line, one of secrets and one secret that never ends."""
    pieces = {"one line": b"no line feed ", "secrets": FILES["dense"][0], "open": b"{* open "}
    for name, piece in pieces.items():
        block = piece * (MIB // len(piece))
        small, large = peak_of(1, block), peak_of(1024, block)
        print(f"{name:<12} 1 MiB: {small:5.1f} MiB   1 GiB: {large:5.1f} MiB")
        assert large < 20 and large < small + 1, name


def speed():
    print(f"{'document':<12} {'decode ms':>10} {'rg ms':>8} {'ratio':>6} {'peak MiB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (piece, mebibytes) in FILES.items():
            path = pathlib.Path(folder) / "document"
            with path.open("wb") as file:
                for _ in range(mebibytes):
                    file.write(piece * (MIB // len(piece)))
                file.write(b"{*the last one*}\n")
            ours = [BINARY, "decode", "--file", path, "--format", "json", *LONG]
            theirs = ["rg", "--no-mmap", "-o", "-c", r"\{\*.*?\*\}", path]
            found = json.loads(run(ours)[2])["summary"]["returned"]
            assert found == int(run(theirs)[2]), name
            pairs = [(run(ours), run(theirs)[0]) for _ in range(ROUNDS)]
            mine = statistics.median(a for (a, _, _), _ in pairs) * 1000
            peer = statistics.median(b for _, b in pairs) * 1000
            ratio = statistics.median(a / b for (a, _, _), b in pairs)
            peak = max(peak for (_, peak, _), _ in pairs)
            print(f"{name:<12} {mine:>10.1f} {peer:>8.1f} {ratio:>6.2f} {peak:>9.1f}")


subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
{"memory": memory, "speed": speed}[sys.argv[1] if len(sys.argv) > 1 else "speed"]()
