"""The one difference between what is shipped and what runs locally.

The local stack runs the shipped rules and configurations. So that nobody waits five minutes for
what lasts five minutes, and nobody is paged by an exercise, their text is changed in these ways
and in no other:

1. Every duration is divided by `faster`: ranges, offsets, `for`, intervals, Alertmanager's waits,
   and the durations that Prometheus has as flags (`prometheus_flags`). At least a millisecond
   stays. Not divided: a scrape's timeout, since nothing answers faster for it (it is only clipped
   to the interval, as Prometheus demands); counts ("at least 20 failures"), ratios, rates and
   latencies; and numbers that are seconds for PromQL alone (`time() + 14 * 86400`).
2. Addresses become those on loopback, files of secrets those in `secrets_dir`, and mail goes
   without TLS, which Alertmanager permits a password on loopback alone.

The functions take text and give text. They raise ValueError when something that they must change
is not there, or when an address beyond loopback is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_UNITS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
_DURATION = r"(?:[0-9]+(?:ms|[smhdwy]))+"
_END = r"(?= *(?:#.*)?$)"
_SECRETS = "/etc/alertmanager/secrets/"
_FINDERS = (
    "(?:[a-z_]+_sd_configs|static_configs|relabel_configs"
    "|scheme|tls_config|authorization|basic_auth)"
)
# Beyond loopback: any scheme and host, and any host with a port.
_ADDRESS = re.compile(r"""\bhttps?://([^/\s'"]+)|\b([a-z0-9-]+(?:\.[a-z0-9-]+)+):[0-9]+\b""")


def milliseconds(text: str) -> int:
    """What a duration of Prometheus, `1h30m`, is in milliseconds."""
    if not re.fullmatch(_DURATION, text):
        raise ValueError(f"{text!r} is no duration")
    return sum(
        int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)(ms|[a-z])", text)
    )


def duration(text: str, faster: float) -> str:
    """A duration divided, in the largest unit that leaves a whole number."""
    before = milliseconds(text)
    if before == 0:
        return text
    whole = max(1, round(before / faster))
    unit = next(unit for unit in ("h", "m", "s", "ms") if whole % _UNITS[unit] == 0)
    return f"{whole // _UNITS[unit]}{unit}"


def rules(text: str, faster: float) -> str:
    """A file of recording rules or alerts."""

    def divide(found: re.Match[str]) -> str:
        return re.sub(_DURATION, lambda each: duration(each[0], faster), found[0])

    for where in (
        rf"\[\s*{_DURATION}\s*(?::\s*(?:{_DURATION})?\s*)?\]",  # a range, a subquery
        rf"\boffset\s+-?\s*{_DURATION}\b",
        rf"(?m)^ *(?:- )?(?:for|keep_firing_for|interval|query_offset): *{_DURATION}{_END}",
    ):
        text = re.sub(where, divide, text)
    return text


def alertmanager(
    text: str,
    faster: float,
    receiver_url: str,
    smtp: str,
    secrets_dir: str,
) -> str:
    """The configuration of Alertmanager; `smtp` is `127.0.0.1:port`, `receiver_url` the address
    of receiver.py without a path. What `secrets` gives is to be in `secrets_dir`, and the folder
    `templates` beside the file."""
    times = r"(?:resolve_timeout|group_wait|group_interval|repeat_interval)"
    text = _change(
        rf"(?m)^( *{times}: *)({_DURATION}){_END}",
        lambda found: found[1] + duration(found[2], faster),
        text,
    )
    for key, value in (
        ("pagerduty_url", f"{receiver_url}/v2/enqueue"),
        ("smtp_smarthost", smtp),
        ("smtp_require_tls", "false"),
    ):
        text = _change(
            rf"(?m)^( *{key}: *)\S+{_END}", lambda found, value=value: found[1] + value, text
        )
    text = _change(
        rf"(?m)^( *webhook_configs: *\n *- url: *)\S+{_END}",
        lambda found: f"{found[1]}{receiver_url}/deadman",
        text,
    )
    text = _change(re.escape(_SECRETS), lambda _: f"{secrets_dir}/", text)
    return _on_loopback(text)


def secrets(receiver_url: str) -> dict[str, str]:
    """The files that the changed configuration of Alertmanager reads, by name."""
    return {
        "pagerduty-routing-key": "0123456789abcdef0123456789abcdef\n",
        "slack-url": f"{receiver_url}/slack\n",
        "smtp-password": "only-on-loopback",
        "dead-mans-switch-token": "only-on-loopback\n",
    }


def prometheus(
    text: str,
    faster: float,
    decoders: Sequence[str],
    node: str,
    alertmanager: str,
    rules_glob: str,
) -> str:
    """The configuration of Prometheus; addresses are `127.0.0.1:port`.

    How the targets of a job are found, what is made of what the finder tells of them, and how they
    are spoken to gives way to a list: the keys `…_sd_configs`, `static_configs`,
    `relabel_configs`, `scheme`, `tls_config`, `authorization` and `basic_auth`.
    """
    text = _change(
        rf"(?m)^( *(?:scrape_interval|evaluation_interval): *)({_DURATION}){_END}",
        lambda found: found[1] + duration(found[2], faster),
        text,
    )
    text = _without(text, "scrape_timeout")  # its default is ten seconds, clipped to the interval
    for job, targets in (("decoder", decoders), ("node", [node]), ("alertmanager", [alertmanager])):
        text = _change(
            rf"(?m)^( *)- job_name: *['\"]?{job}['\"]? *(?:#.*)?$(?:\n(?:\1 .*)?)*",
            lambda found, targets=targets: (
                _without(found[0], _FINDERS).rstrip()
                + f"\n{found[1]}  static_configs: [{{targets: {_list(targets)}}}]\n\n"
            ),
            text,
        )
    text = _change(
        r"(?m)^( *)alertmanagers: *(?:\n\1[ -].*)+",
        lambda found: (
            f"{found[1]}alertmanagers:\n"
            f"{found[1]}  - static_configs: [{{targets: {_list([alertmanager])}}}]"
        ),
        text,
    )
    text = _change(
        r"(?m)^rule_files: *(?:\[.*\]|(?:\n *(?:#|- ).*)+)",
        lambda _: f"rule_files: {_list([rules_glob])}",
        text,
    )
    return _on_loopback(text)


def prometheus_flags(faster: float) -> list[str]:
    """The durations that Prometheus has as flags, at their defaults, divided: how long a value
    counts that is not renewed, and how often an alert that fires is told again. Alertmanager takes
    one for resolved after four times the latter, so this is how soon the dead man's switch learns
    that Prometheus is gone."""
    return [
        f"--query.lookback-delta={duration('5m', faster)}",
        f"--rules.alert.resend-delay={duration('1m', faster)}",
        f"--rules.alert.for-outage-tolerance={duration('1h', faster)}",
        f"--rules.alert.for-grace-period={duration('10m', faster)}",
    ]


def _change(where: str, to: Callable[[re.Match[str]], str], text: str) -> str:
    text, count = re.subn(where, to, text)
    if count == 0:
        raise ValueError(f"nothing looks like {where}")
    return text


def _without(text: str, key: str) -> str:
    """Without the keys that this matches, and what is below them."""
    kept, below = [], None
    for line in text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip(" "))
        if below is not None and line.strip():
            # The items of a list may stand as deep as its key.
            if indent > below or (indent == below and line.lstrip().startswith("- ")):
                continue
            below = None
        found = re.match(rf"\s*{key}:(.*)", line)
        if found:
            below = indent
            continue
        kept.append(line)
    return "".join(kept)


def _list(items: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


def _on_loopback(text: str) -> str:
    """The text, if nothing in it leads off this machine. Comments lead nowhere."""
    for line in text.splitlines():
        for found in _ADDRESS.finditer(re.sub(r"(^|\s)#.*", "", line)):
            host = (found[1] or found[2]).rpartition("@")[2].split(":")[0]
            if host not in ("127.0.0.1", "localhost"):
                raise ValueError(f"{host} is not on loopback: {line.strip()}")
    return text
