"""Is someone trying something, and does what keeps them out still work."""

from .dashboard import dashboard
from .panels import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    Query,
    rate,
    share,
    stat,
    steps,
    table,
    timeseries,
)

EVENTS = "decoder_security_events_total"
# Kinds by what they are about; together all there are.
DENIED = {
    "address": "dark-purple",
    "redirect": PURPLE,
    "host": "light-purple",
    "port": "super-light-purple",
    "path": "semi-dark-blue",
    "scheme": "light-blue",
    "userinfo": "dark-blue",
}
CREDENTIALS = {"auth_failed": RED, "forbidden": BLUE, "cross_site": "yellow"}
HOSTILE = {"malformed_url": "light-blue", "malformed_input": BLUE, "decompression": RED}
LIMITS = "decoder_rate_limit_decisions_total"
DECISIONS = {
    "allowed": GREEN,
    "rate_limited": BLUE,
    "quota_exceeded": "dark-blue",
    "unavailable": RED,
}
EXPIRY = "(decoder_expiry_timestamp_seconds - time()) / 86400"
KEEPS = "nothing expires"


def kinds(of: dict[str, str]) -> str:
    return f'sum by (kind) ({rate(f"""{EVENTS}{{kind=~"{"|".join(of)}"}}""")})'


HOLDS = (
    "Does what protects us hold?",
    [
        stat(
            "Policy's self-check",
            "Whether the policy still denies all that it must, on each instance. Red: take the "
            "instance out of service.",
            Query("min (decoder_policy_selfcheck_ok)", "self-check"),
            unit="short",
            width=5,
            thresholds=steps(RED, (1, GREEN)),
            graph=False,
            says={"1": ("denies what it must", GREEN), "0": ("FAILED", RED)},
            alerts=("DecoderSelfCheckFailed",),
        ),
        stat(
            "Tenants file",
            "Whether the file could be used when it was last read; a broken one leaves the old state "
            "in force.",
            Query("min (decoder_config_reload_success)", "reload"),
            unit="short",
            width=5,
            thresholds=steps(RED, (1, GREEN)),
            graph=False,
            says={"1": ("in force", GREEN), "0": ("NOT LOADED", RED)},
            alerts=("DecoderReloadFailing",),
        ),
        stat(
            "Backend of the quotas",
            "Whether what rates and quotas are counted in answers. Red: each instance counts for "
            "itself, or denies, as it is configured.",
            Query("min (decoder_rate_limit_backend_up)", "backend"),
            unit="short",
            width=5,
            thresholds=steps(RED, (1, GREEN)),
            graph=False,
            says={"1": ("answers", GREEN), "0": ("DOWN", RED)},
            alerts=("DecoderQuotaBackendDown",),
        ),
        stat(
            "Expires next",
            "Days until the next certificate or key expires that has a date; a ticket below 14, a "
            "page below 2.",
            Query(f"min by (kind) ({EXPIRY})", "{{kind}}"),
            unit="suffix:days",
            decimals=0,
            width=5,
            thresholds=steps(GREY, (0, RED), (2, ORANGE), (14, GREEN)),
            graph=False,
            empty=KEEPS,
            alerts=("DecoderExpiresSoon", "DecoderExpiresNow"),
        ),
        stat(
            "Events",
            "All that an attack would look like, a second.",
            Query(f"sum ({rate(EVENTS)})", "events"),
            unit="suffix:/s",
            decimals=2,
            alerts=("DecoderAddressesDenied", "DecoderAuthFailures"),
        ),
        timeseries(
            "Denied by the policy",
            "What URLs and redirects asked for that no rule allows, a second, by what was wrong. "
            "Addresses and redirects are what someone tries who wants to reach inside.",
            Query(kinds(DENIED), "{{kind}}"),
            unit="suffix:/s",
            stack=True,
            colors=DENIED,
            height=10,
            alerts=("DecoderAddressesDenied",),
        ),
        timeseries(
            "Authentication",
            "Credentials that open nothing, what a caller may not do, and browsers on other sites, "
            "a second.",
            Query(kinds(CREDENTIALS), "{{kind}}"),
            unit="suffix:/s",
            stack=True,
            colors=CREDENTIALS,
            height=10,
            alerts=("DecoderAuthFailures",),
        ),
        timeseries(
            "Events by instance",
            "One line that rises is one client at one instance; all of them are a campaign.",
            Query(f"sum by (instance) ({rate(EVENTS)})", "{{instance}}"),
            unit="suffix:/s",
            width=24,
            height=10,
        ),
    ],
)

TRIES = (
    "What is tried",
    [
        timeseries(
            "Hostile input",
            "URLs and bodies that cannot be parsed, and documents that unpack to too much, a second.",
            Query(kinds(HOSTILE), "{{kind}}"),
            unit="suffix:/s",
            stack=True,
            colors=HOSTILE,
        ),
        table(
            "Events in the chosen time",
            "How many of each kind there were.",
            Query(f"sum by (kind) (increase({EVENTS}[$__range])) > 0"),
            sort="Events",
            empty="nothing of the kind",
            columns={
                "kind": ("Kind", {}),
                "Value": ("Events", {"unit": "locale", "decimals": 0, "custom__width": 130}),
            },
        ),
        timeseries(
            "Refused by policy and identity",
            "Decodes a second that callers were refused by these codes.",
            Query(
                "sum by (code) ("
                + rate('decoder_decodes_total{code=~"source_denied|unauthenticated|forbidden"}')
                + ")",
                "{{code}}",
            ),
            unit="reqps",
            stack=True,
            colors={"source_denied": PURPLE, "unauthenticated": RED, "forbidden": BLUE},
            alerts=("DecoderAuthFailures",),
        ),
        timeseries(
            "Requests to the administrative routes",
            "Who operates it, a second, by route and status; 401 and 403 are those who may not.",
            Query(
                "sum by (route, status) ("
                + rate('decoder_http_requests_total{route=~"/admin.*"}')
                + ") > 0",
                "{{route}} {{status}}",
            ),
            unit="reqps",
            empty="nobody operates it",
        ),
    ],
)

ALLOWED = (
    "Rates and quotas",
    [
        timeseries(
            "Decisions",
            "What rates and quotas said of requests, a second; unavailable are those that the lost "
            "backend decided.",
            Query(f"sum by (decision) ({rate(LIMITS)})", "{{decision}}"),
            unit="reqps",
            stack=True,
            colors=DECISIONS,
            alerts=("DecoderQuotaBackendDown",),
        ),
        timeseries(
            "Refused of all",
            "The share of requests that rates or quotas refused.",
            Query(
                share(
                    "sum by (decision) (" + rate(f'{LIMITS}{{decision!="allowed"}}') + ")",
                    f"sum ({rate(LIMITS)})",
                ),
                "{{decision}}",
            ),
            unit="percentunit",
            decimals=1,
            colors=DECISIONS,
            empty="no traffic",
        ),
        timeseries(
            "Decided where",
            "Which backend decided, a second: memory is each instance for itself, valkey all "
            "together. A change of one for the other is a backend that went away.",
            Query(f"sum by (backend) ({rate(LIMITS)})", "{{backend}}"),
            unit="reqps",
            stack=True,
            colors={"valkey": GREEN, "memory": ORANGE},
            alerts=("DecoderQuotaBackendDown",),
        ),
        timeseries(
            "Backend by instance",
            "1 where what rates and quotas are counted in answers, 0 where it does not.",
            Query("decoder_rate_limit_backend_up", "{{instance}}"),
            unit="short",
            high=1,
            decimals=0,
            ascending=True,
            alerts=("DecoderQuotaBackendDown",),
        ),
    ],
)

DATES = (
    "What changes and what expires",
    [
        timeseries(
            "Days until it expires",
            "For the next certificate and the next key that have a date.",
            Query(f"min by (kind) ({EXPIRY})", "{{kind}}"),
            unit="suffix:days",
            decimals=1,
            lines=steps("transparent", (2, RED), (14, ORANGE)),
            ascending=True,
            empty=KEEPS,
            colors={"certificate": "semi-dark-blue", "key": GREEN},
            alerts=("DecoderExpiresSoon", "DecoderExpiresNow"),
        ),
        timeseries(
            "Age of what is in force",
            "Since the tenants file, or the start, last came into force, by instance: they fall "
            "together when a file is changed, and one that does not fall has not read it.",
            Query("time() - decoder_config_reload_timestamp_seconds", "{{instance}}"),
            unit="s",
            alerts=("DecoderReloadFailing",),
        ),
    ],
)

SECURITY = dashboard(
    "decoder-security",
    "Decoder: Security",
    "Is someone trying something, and does what keeps them out still work?",
    HOLDS,
    TRIES,
    ALLOWED,
    DATES,
)
