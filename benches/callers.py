#!/usr/bin/env python3
"""What it costs to know who calls, and how much they may.

  callers.py    inline decodes of a small document: for anyone and unlimited, with a key of one
                of a hundred tenants and limits in memory, and the same counted in Valkey

Builds the release binary first. Needs `wrk` and `redis-server`. Each service has the first
processor to itself. Rounds are in turn, so that a drift of the machine hits all alike; the ratio
is the median of the rounds. Prints, judges nothing.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/blueprint-decoder"
ROUNDS = int(os.environ.get("ROUNDS", 9))
SECONDS = int(os.environ.get("SECS", 2))
TENANTS = 100

LINE = "Decoy data is present to deter villainous operatives.\n"
DOCUMENT = LINE * 9 + "{*AGENT_CODENAME: SHADOWMIND*}\n" + LINE * 9
OUT = re.compile(r"OUT (\d+) (\d+) (\d+) (\d+) (\d+)")
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-Api-Key"] = {key}
wrk.body = {body}
done = function(summary, latency)
  local errors = summary.errors
  local bad = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("OUT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), bad))
end
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def roster():
    """A tenants file, and the key of one of its tenants."""
    text = ""
    for number in range(TENANTS):
        command = [BINARY, "keys", "new", "--tenant", f"tenant-{number}", "--role", "decoder"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        key, lines = said.split("\n\n", 1)
        text += lines + "\n"
    return text, key.strip().splitlines()[-1]


@contextlib.contextmanager
def running(command, port, path):
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                if path is None:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                else:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).read()
                break
            time.sleep(0.05)
        yield
    finally:
        child.terminate()
        child.wait()


def load(port, script, connections, seconds):
    """Requests per second, and the milliseconds of half of them and of nearly all."""
    url = f"http://127.0.0.1:{port}/decode"
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s"]
    said = subprocess.run([*command, script, url], check=True, capture_output=True, text=True)
    requests, micros, half, most, bad = map(int, OUT.search(said.stdout).groups())
    assert bad == 0, f"{bad} of {requests} failed: {said.stdout}"
    return requests / micros * 1e6, half / 1000, most / 1000


def main():
    for tool in ("wrk", "redis-server", "taskset"):
        assert shutil.which(tool), f"{tool} is missing: install wrk, redis-server and util-linux"
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        text, key = roster()
        (folder / "tenants.toml").write_text(text)
        body = json.dumps({"content": DOCUMENT})
        (folder / "load.lua").write_text(LUA.format(key=json.dumps(key), body=f"[==[{body}]==]"))
        valkey = free_port()
        server = ["redis-server", "--port", str(valkey), "--save", "", "--bind", "127.0.0.1"]
        stack.enter_context(running(["taskset", "-c", "1", *server], valkey, None))
        # Whoever else uses the machine makes nobody wait in vain.
        patient = '[overload]\nmax_wait = "10s"\n'
        auth = f'[auth]\nmode = "required"\ntenants_file = "{folder}/tenants.toml"\n'
        limit = "[rate_limit]\nrequests_per_minute = 1000000000\nburst = 1000000000\n"
        shared = f'backend = "valkey"\nvalkey.url = "valkey://127.0.0.1:{valkey}"\nvalkey.timeout = "1s"\n'
        configs = {
            "anyone": "[rate_limit]\nenabled = false\n",
            "keys, memory": auth + limit,
            "keys, valkey": auth + limit + shared + 'on_failure = "deny"\n',
        }
        for connections in (64, 1):
            rows = {name: [] for name in configs}
            for _ in range(ROUNDS):
                for name, config in configs.items():
                    path, port = folder / "config.toml", free_port()
                    path.write_text(f'[server]\nbind = "127.0.0.1:{port}"\n{patient}{config}')
                    command = ["taskset", "-c", "0", BINARY, "serve", "--config", path]
                    with running(command, port, "/health"):
                        load(port, folder / "load.lua", connections, 1)
                        rows[name].append(load(port, folder / "load.lua", connections, SECONDS))
            print(f"\n{connections} connections, {ROUNDS} rounds of {SECONDS} s")
            print(f"{'':<14} {'requests/s':>11} {'ratio':>6} {'p50 ms':>8} {'p99 ms':>8}")
            for name, measured in rows.items():
                rate, half, most = (statistics.median(column) for column in zip(*measured))
                pairs = zip(measured, rows["anyone"])
                ratio = statistics.median(mine[0] / other[0] for mine, other in pairs)
                print(f"{name:<14} {rate:>11.0f} {ratio:>6.2f} {half:>8.3f} {most:>8.3f}")


subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
main()
