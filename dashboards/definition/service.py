"""Is it broken, and whose fault: the first row says it without scrolling."""

from .dashboard import dashboard
from .panels import (
    BLAMES,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    OUTCOMES,
    POOLS,
    PURPLE,
    RED,
    RUNBOOK,
    Query,
    heatmap,
    mean,
    override,
    quantile,
    rate,
    ratio,
    share,
    stat,
    steps,
    table,
    timeseries,
)

DECODES = "decoder_decodes_total"
# What is rejected is so fast that it would hide the rest.
DURATION = 'decoder_decode_duration_seconds{outcome=~"success|failed"}'
LOST = f'sum by (blame) ({rate(f"""{DECODES}{{outcome=~"failed|rejected"}}""")})'
ENDED = f'sum ({rate(f"""{DECODES}{{outcome!="cancelled"}}""")})'
MISSIONS = ratio(
    f'sum ({rate(f"""{DECODES}{{outcome="success"}}""")})',
    f'sum ({rate(f"""{DECODES}{{outcome=~"success|failed"}}""")})',
)
OF_SERVICE = f'{DECODES}{{blame="service"}}'
OURS = "1 - " + ratio(f"sum ({rate(OF_SERVICE)})", ENDED)
IN_USE = "max by (pool) (decoder_pool_in_use / decoder_pool_limit)"
# The mission's objective; below it someone is paged. The service's own is 99.9 %.
OBJECTIVE = steps(GREY, (0, RED), (0.95, ORANGE), (0.99, GREEN))
QUIET = "no traffic"


def spent(window: str) -> str:
    """How many times faster than allowed the error budget of 0.1 % is spent."""
    return f"max (decoder:service_errors:ratio_rate{window}) / 0.001"


def firing() -> str:
    """Since when, pages first. Not for the chosen instances: many alerts have none."""
    of = 'ALERTS_FOR_STATE{{alertname=~"Decoder.*", severity{}}} * 1000'
    is_firing = 'and ignoring (alertstate) ALERTS{alertstate="firing", alertname=~"Decoder.*"}'
    by_severity = (of.format(which) for which in ('="page"', '="notify"', '!~"page|notify"'))
    alerts = " or ".join(f"({alert} {is_firing})" for alert in by_severity)
    # The heading of the runbook is the name in lower case, which a transformation makes of it.
    return f'label_replace({alerts}, "section", "$1", "alertname", "(.*)")'


COLORED = {"type": "color-background", "mode": "basic"}
HIDDEN = {"viz": True, "legend": True, "tooltip": True}
SEVERITY = {
    "type": "value",
    "options": {
        "page": {"color": RED, "index": 0},
        "notify": {"color": ORANGE, "index": 1},
        "ticket": {"color": BLUE, "index": 2},
        "none": {"color": GREY, "index": 3},
    },
}
FIRING = {
    "severity": (
        "Severity",
        {"mappings": [SEVERITY], "custom__width": 90, "custom__cellOptions": COLORED},
    ),
    "alertname": (
        "Alert",
        {
            "links": [
                {
                    "title": "Runbook",
                    "url": f"{RUNBOOK}#${{__data.fields.section}}",
                    "targetBlank": True,
                }
            ]
        },
    ),
    "instance": ("Instance", {"custom__width": 160}),
    "Value": ("Since", {"unit": "dateTimeFromNow", "custom__width": 150}),
    "section": ("section", {"custom__hideFrom": HIDDEN}),
}
LOWER_CASE = {
    "id": "formatString",
    "options": {"stringField": "section", "outputFormat": "Lower Case"},
}

BROKEN = (
    "Is it broken, and whose fault?",
    [
        stat(
            "Success of missions",
            "Of the decodes that should have worked, how many did: success / (success + failed). "
            "Below 95 % someone is paged.",
            Query(MISSIONS, "success"),
            unit="percentunit",
            decimals=1,
            thresholds=OBJECTIVE,
            empty=QUIET,
            alerts=("DecoderMissionSuccessLow", "DecoderSuccessCollapsed"),
        ),
        stat(
            "Whose fault",
            "The share of all decodes that was lost to each: red is ours, orange the source's, blue "
            "the caller's, purple the policy's doing.",
            Query(share(LOST, ENDED), "{{blame}}"),
            unit="percentunit",
            decimals=1,
            width=8,
            names=True,
            graph=False,
            colors=BLAMES,
            empty=QUIET,
            alerts=("DecoderErrorSpike",),
        ),
        stat(
            "Traffic",
            "Decodes that ended, a second.",
            Query(f"sum ({rate(DECODES)})", "decodes"),
            unit="reqps",
            empty=QUIET,
        ),
        stat(
            "Latency, p95",
            "Nineteen of twenty decodes that succeeded or failed took less, from the complete request "
            "to the last byte. Above 5 s someone is told.",
            Query(quantile(0.95, DURATION), "p95"),
            unit="s",
            empty=QUIET,
            thresholds=steps(GREY, (0, GREEN), (2.5, ORANGE), (5, RED)),
            alerts=("DecoderLatencyP95High",),
        ),
        stat(
            "Saturation",
            "The share of its places that the fullest pool of any instance has in use. What does not "
            "fit waits, then is shed.",
            Query(f"max ({IN_USE})", "in use"),
            unit="percentunit",
            decimals=0,
            thresholds=steps(GREEN, (0.7, ORANGE), (0.9, RED)),
            alerts=("DecoderSaturated",),
        ),
        timeseries(
            "Lost decodes by blame",
            "Decodes that were refused or failed, a second, by whose fault it was.",
            Query(LOST, "{{blame}}"),
            unit="reqps",
            stack=True,
            colors=BLAMES,
            height=10,
            alerts=("DecoderErrorSpike", "DecoderMissionSuccessLow"),
        ),
        table(
            "What is firing",
            "Alerts that fire, pages first; a click on a name opens its section of the runbook. The "
            "watchdog is always there: without it the rules are not evaluated.",
            Query(firing(), whole_fleet=True),
            columns=FIRING,
            height=10,
            transformations=[LOWER_CASE],
            empty="not even the watchdog: are the rules evaluated?",
            alerts=("DecoderWatchdog",),
        ),
        timeseries(
            "Success against the objectives",
            "Missions: all but what callers and policy are to blame for; the objective is 95 %. "
            "Service: all that was not our fault; the objective is 99.9 %.",
            Query(MISSIONS, "missions"),
            Query(OURS, "service"),
            unit="percentunit",
            soft_low=0.9,
            high=1,
            width=24,
            height=10,
            decimals=2,
            lines=steps("transparent", (0.95, ORANGE), (0.999, RED)),
            colors={"missions": GREEN, "service": "semi-dark-blue"},
            overrides=[override(name, custom__lineWidth=2) for name in ("missions", "service")],
            ascending=True,
            empty=QUIET,
            alerts=("DecoderMissionSuccessLow", "DecoderErrorBudgetBurn"),
        ),
    ],
)

ROUTES = "decoder_http_requests_total"
TRAFFIC = (
    "Traffic",
    [
        timeseries(
            "Decodes by outcome",
            "All decodes that ended; cancelled are those whose client left.",
            Query(f"sum by (outcome) ({rate(DECODES)})", "{{outcome}}"),
            unit="reqps",
            stack=True,
            colors=OUTCOMES,
            alerts=("DecoderNoCompletions",),
        ),
        timeseries(
            "Requests by status",
            "All requests to all routes but probes and scrapes, by status; 499 is a client that left "
            "before there was an answer.",
            Query(
                "sum by (status) (" + rate(f'{ROUTES}{{route!~"/health.*|/metrics"}}') + ") > 0",
                "{{status}}",
            ),
            unit="reqps",
            stack=True,
            empty=QUIET,
            colors={
                "200": GREEN,
                "400": "light-blue",
                "401": "dark-blue",
                "403": PURPLE,
                "404": "super-light-blue",
                "422": "semi-dark-blue",
                "424": ORANGE,
                "429": BLUE,
                "499": GREY,
                "500": "dark-red",
                "503": RED,
                "504": "semi-dark-red",
            },
        ),
        timeseries(
            "Secrets recovered",
            "Secrets in answers, a second, and how many the average answer has: the scenario of "
            "“returns 0 secrets” shows here.",
            Query(f"sum ({rate('decoder_secrets_recovered_total')})", "a second"),
            Query(mean("decoder_secrets_per_decode"), "per decode"),
            unit="short",
            colors={"a second": GREEN, "per decode": "yellow"},
            empty=QUIET,
        ),
        timeseries(
            "Size of documents, p95",
            "Nineteen of twenty documents were smaller, as far as they were read.",
            Query(quantile(0.95, "decoder_document_bytes", "input"), "{{input}}"),
            unit="bytes",
            colors={"source": ORANGE, "content": BLUE},
            empty=QUIET,
        ),
    ],
)

REFUSED = f'{DECODES}{{outcome=~"failed|rejected"}}'
CODES = {
    "code": (
        "Code",
        {
            "links": [
                {
                    "title": "Runbook",
                    "url": f"{RUNBOOK}#the-first-five-minutes",
                    "targetBlank": True,
                }
            ]
        },
    ),
    "blame": (
        "Blame",
        {
            "mappings": [
                {
                    "type": "value",
                    "options": {
                        blame: {"color": color, "index": n}
                        for n, (blame, color) in enumerate(BLAMES.items())
                    },
                }
            ],
            "custom__cellOptions": {"type": "color-text"},
            "custom__width": 110,
        },
    ),
    "Value #A": ("Decodes", {"unit": "locale", "decimals": 0, "custom__width": 110}),
    "Value #B": ("Of all", {"unit": "percentunit", "decimals": 2, "custom__width": 110}),
}
ERRORS = (
    "Errors",
    [
        timeseries(
            "Lost decodes by code",
            "The problems that callers were told of, a second; GET /problems says what each means.",
            Query(f"sum by (code) ({rate(REFUSED)}) > 0", "{{code}}"),
            unit="reqps",
            stack=True,
            empty="nothing was refused or failed",
            colors={
                "overloaded": RED,
                "internal": "dark-red",
                "service_timeout": "semi-dark-red",
                "shutting_down": "light-red",
                "quota_unavailable": "super-light-red",
                "source_failed": ORANGE,
                "source_timeout": "dark-orange",
                "circuit_open": "light-orange",
                "source_not_found": "super-light-orange",
                "source_rejected": "semi-dark-yellow",
                "source_denied": PURPLE,
                "document_too_large": "light-yellow",
                "malformed_json": "light-blue",
                "invalid_request": "semi-dark-blue",
                "unauthenticated": "dark-blue",
                "forbidden": "super-light-blue",
                "rate_limited": BLUE,
            },
        ),
        table(
            "Codes in the chosen time",
            "How many decodes ended with each code, and their share of all decodes.",
            Query(f"sum by (code, blame) (increase({REFUSED}[$__range])) > 0"),
            Query(
                share(
                    f"(sum by (code) (increase({REFUSED}[$__range])) > 0)",
                    f"sum (increase({DECODES}[$__range]))",
                )
            ),
            columns=CODES,
            key="code",
            sort="Decodes",
            empty="nothing was refused or failed",
        ),
    ],
)

SECONDS = {"p50": GREEN, "p90": "yellow", "p95": ORANGE, "p99": RED, "mean": "semi-dark-blue"}
LATENCY = (
    "Latency",
    [
        timeseries(
            "Latency of decodes",
            "What succeeded or failed; rejections are fast and would hide it. Someone is told above "
            "5 s at p95 or 10 s on average.",
            *(
                Query(quantile(share, DURATION), name)
                for share, name in ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"))
            ),
            Query(mean(DURATION), "mean"),
            unit="s",
            colors=SECONDS,
            empty=QUIET,
            lines=steps("transparent", (5, RED)),
            alerts=("DecoderLatencyP95High", "DecoderLatencyAverageHigh"),
        ),
        heatmap(
            "How long decodes took",
            "Decodes a second by how long they took: two bands are two kinds of requests, which an "
            "average hides.",
            DURATION,
            unit="s",
            empty=QUIET,
        ),
        timeseries(
            "Latency by outcome, p95",
            "What fails slowly waits for a source; what fails fast is refused.",
            Query(quantile(0.95, "decoder_decode_duration_seconds", "outcome"), "{{outcome}}"),
            unit="s",
            colors=OUTCOMES,
            empty=QUIET,
        ),
        timeseries(
            "Latency by route, p95",
            "From the head of a request to the last byte of its answer, for each route that is used.",
            Query(quantile(0.95, "decoder_http_request_duration_seconds", "route"), "{{route}}"),
            unit="s",
            empty=QUIET,
        ),
    ],
)

SATURATION = (
    "Saturation",
    [
        timeseries(
            "Pools in use",
            "The share of its places that the fullest instance has in use, for each pool; above 90 % "
            "someone is told.",
            Query(IN_USE, "{{pool}}"),
            unit="percentunit",
            high=1,
            colors=POOLS,
            lines=steps("transparent", (0.9, RED)),
            alerts=("DecoderSaturated",),
        ),
        timeseries(
            "Shed",
            "Requests that were answered 503 at once or after waiting, a second, by reason.",
            Query(f"sum by (pool, reason) ({rate('decoder_shed_total')})", "{{pool}}: {{reason}}"),
            unit="reqps",
            stack=True,
            alerts=("DecoderShedding",),
            colors={
                "fetch: queue_full": RED,
                "fetch: waited": ORANGE,
                "inline: queue_full": "dark-red",
                "inline: waited": "dark-orange",
                "none: in_flight": PURPLE,
            },
        ),
        timeseries(
            "Waiting for a place",
            "Requests in the queue of each pool, on all instances.",
            Query("sum by (pool) (decoder_queue_depth)", "{{pool}}"),
            unit="short",
            colors=POOLS,
            alerts=("DecoderSaturated",),
        ),
        timeseries(
            "Time in the queue, p95",
            "How long nineteen of twenty waited at most before they had a place; half a second is "
            "the limit by default.",
            Query(quantile(0.95, "decoder_queue_wait_seconds", "pool"), "{{pool}}"),
            unit="s",
            colors=POOLS,
            empty=QUIET,
            alerts=("DecoderShedding",),
        ),
        timeseries(
            "Requests in flight",
            "Between their head and their last byte, by instance. One that only rises belongs to an "
            "instance that hangs.",
            Query("decoder_http_requests_in_flight", "{{instance}}"),
            unit="short",
            alerts=("DecoderNoCompletions", "DecoderInstanceStuck"),
        ),
        timeseries(
            "Instances ready",
            "How many are scraped, and how many of them want requests.",
            Query("sum (up)", "up"),
            Query("sum (decoder_ready)", "ready"),
            unit="short",
            decimals=0,
            colors={"up": "semi-dark-blue", "ready": GREEN},
            alerts=("DecoderDown", "DecoderTargetDown", "DecoderNotReady", "DecoderAbsent"),
        ),
    ],
)

MONTH_BAD = f"sum (increase({OF_SERVICE}[30d]))"
MONTH = f'sum (increase({DECODES}{{outcome!="cancelled"}}[30d]))'
BUDGET = (
    "Error budget of the service (99.9 %)",
    [
        stat(
            "Budget left, 30 days",
            "Of the one in a thousand that may fail through our fault in 30 days, what is left. "
            "Below zero the objective is missed.",
            Query(f"1 - {MONTH_BAD} / ({MONTH} > 0) / 0.001", "left", instant=True),
            unit="percentunit",
            decimals=0,
            width=6,
            height=9,
            graph=False,
            empty=QUIET,
            thresholds=steps(GREY, (-1e6, RED), (0, ORANGE), (0.25, GREEN)),
            alerts=("DecoderErrorBudgetBurnSlow",),
        ),
        timeseries(
            "How fast the budget is spent",
            "1 spends exactly the budget of 30 days in 30 days. Pages at 14.4 over an hour and 6 over "
            "six hours, a ticket at 3 over a day or 1 over three. Always of all instances.",
            *(
                Query(spent(window), window, whole_fleet=True)
                for window in ("5m", "1h", "6h", "3d")
            ),
            unit="suffix:×",
            width=18,
            decimals=1,
            empty=QUIET,
            colors={"5m": "super-light-red", "1h": RED, "6h": ORANGE, "3d": "yellow"},
            lines=steps("transparent", (6, ORANGE), (14.4, RED)),
            alerts=(
                "DecoderErrorBudgetBurnFast",
                "DecoderErrorBudgetBurn",
                "DecoderErrorBudgetBurnSlow",
            ),
        ),
    ],
)

SERVICE = dashboard(
    "decoder-service",
    "Decoder: Service",
    "Is it broken, and whose fault? Success, traffic, errors, latency, saturation, budget.",
    BROKEN,
    TRAFFIC,
    ERRORS,
    LATENCY,
    SATURATION,
    BUDGET,
)
