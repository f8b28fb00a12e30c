"""Are the sources well, and if not: which, and what is wrong with them."""

from .dashboard import dashboard
from .panels import (
    GREEN,
    GREY,
    ORANGE,
    OUTCOMES,
    PHASES,
    RED,
    RESULTS,
    Query,
    heatmap,
    mean,
    quantile,
    rate,
    ratio,
    stat,
    steps,
    table,
    timeseries,
)

ATTEMPTS = "decoder_fetch_attempts_total"
# What the policy denied or a client gave up says nothing about a source, and a source without
# the document (4xx) works.
TRIED = f'{ATTEMPTS}{{result!~"denied|cancelled|status_4xx"}}'
SENT = f'{ATTEMPTS}{{result!~"denied|cancelled"}}'
OK = f'{ATTEMPTS}{{result="ok"}}'
AGAIN = 'decoder_fetch_retries_total{decision="retried"}'
PHASE = "decoder_fetch_phase_duration_seconds"
RULES = "decoder_rule_decodes_total"
BY_SOURCE = 'decoder_decodes_total{blame="source"}'
QUIET = "nothing is fetched"
DECISIONS = {
    "retried": GREEN,
    "attempts_exhausted": ORANGE,
    "budget_exhausted": RED,
    "deadline": "dark-orange",
}

WELL = (
    "Are the sources well?",
    [
        stat(
            "Attempts that worked",
            "Of the attempts to fetch a document, how many came to its end. Documents that a source "
            "does not have (4xx) are left out: they say nothing about its health.",
            Query(ratio(f"sum ({rate(OK)})", f"sum ({rate(TRIED)})"), "ok"),
            unit="percentunit",
            decimals=1,
            width=5,
            empty=QUIET,
            thresholds=steps(GREY, (0, RED), (0.9, ORANGE), (0.97, GREEN)),
            alerts=("DecoderMissionSuccessLow",),
        ),
        stat(
            "Circuits open",
            "Origins that are left alone for a while because they kept failing, counted on each "
            "instance; GET /admin/circuits names them.",
            Query("sum (decoder_circuits_open)", "open"),
            unit="short",
            decimals=0,
            width=5,
            thresholds=steps(GREEN, (1, ORANGE)),
            alerts=("DecoderCircuitsOpen",),
        ),
        stat(
            "Fetch, p95",
            "Nineteen of twenty attempts took less, from the lookup to the last byte.",
            Query(quantile(0.95, "decoder_fetch_duration_seconds"), "p95"),
            unit="s",
            width=5,
            thresholds=steps(GREY, (0, GREEN), (2.5, ORANGE), (5, RED)),
            empty=QUIET,
            alerts=("DecoderLatencyP95High",),
        ),
        stat(
            "Attempts a fetch",
            "How many attempts a document takes; 1 where nothing is tried again.",
            Query(
                ratio(f"sum ({rate(SENT)})", f"sum ({rate(SENT)}) - sum ({rate(AGAIN)})"),
                "attempts",
            ),
            unit="short",
            decimals=2,
            width=5,
            empty=QUIET,
            thresholds=steps(GREY, (0, GREEN), (1.1, ORANGE), (1.5, RED)),
        ),
        stat(
            "Bytes fetched",
            "Bytes of documents as they came from the network, a second.",
            Query(f"sum ({rate('decoder_fetch_bytes_total')})", "bytes"),
            unit="Bps",
        ),
        timeseries(
            "Attempts by result",
            "How attempts to fetch a document ended, a second. Shades of orange are the source's "
            "doing, purple is the policy's.",
            Query(f"sum by (result) ({rate(ATTEMPTS)})", "{{result}}"),
            unit="reqps",
            stack=True,
            colors=RESULTS,
            height=10,
            alerts=("DecoderCircuitsOpen",),
        ),
        timeseries(
            "Success by rule",
            "success / (success + failed) of the decodes that each rule allows: one line that falls "
            "is one source, all of them are us or the network.",
            Query(
                ratio(
                    "sum by (rule) (" + rate(f'{RULES}{{outcome="success"}}') + ")",
                    "sum by (rule) (" + rate(f'{RULES}{{outcome=~"success|failed"}}') + ")",
                ),
                "{{rule}}",
            ),
            unit="percentunit",
            soft_low=0.9,
            high=1,
            decimals=1,
            height=10,
            ascending=True,
            lines=steps("transparent", (0.95, ORANGE)),
            empty=QUIET,
            alerts=("DecoderMissionSuccessLow", "DecoderMissionSuccessLowForOne"),
        ),
        timeseries(
            "Where a fetch's time goes, p95",
            "Each phase of an attempt; connect is TCP and TLS together. A slow first_byte is a slow "
            "source, a slow dns or connect more likely the way to it.",
            Query(quantile(0.95, PHASE, "phase"), "{{phase}}"),
            unit="s",
            colors=PHASES,
            width=24,
            height=10,
            empty=QUIET,
            alerts=("DecoderLatencyP95High",),
        ),
    ],
)

RETRIES = (
    "What is wrong with them",
    [
        timeseries(
            "Failures that may pass",
            "What became of attempts that failed in a way that may pass, a second: tried again, or "
            "not, because of the attempts, the budget of retries or the deadline.",
            Query(f"sum by (decision) ({rate('decoder_fetch_retries_total')})", "{{decision}}"),
            unit="reqps",
            stack=True,
            colors=DECISIONS,
        ),
        timeseries(
            "Lost to sources by code",
            "What callers were told when the source was to blame, a second.",
            Query(f"sum by (code) ({rate(BY_SOURCE)})", "{{code}}"),
            unit="reqps",
            stack=True,
            colors={
                "source_failed": ORANGE,
                "source_timeout": "dark-orange",
                "circuit_open": "light-orange",
                "source_not_found": "super-light-orange",
                "source_rejected": "semi-dark-yellow",
                "document_too_large": "light-yellow",
                "unsupported_document": "yellow",
            },
            alerts=("DecoderErrorSpike",),
        ),
        timeseries(
            "Circuits open by instance",
            "Each instance finds out for itself which origins to leave alone.",
            Query("decoder_circuits_open", "{{instance}}"),
            unit="short",
            decimals=0,
            alerts=("DecoderCircuitsOpen",),
        ),
        table(
            "Rules in the chosen time",
            "What became of the decodes that each rule allows, and the success of its missions.",
            Query(f"sum by (rule) (increase({RULES}[$__range]))"),
            Query(f'sum by (rule) (increase({RULES}{{outcome="failed"}}[$__range]))'),
            Query(
                ratio(
                    f'sum by (rule) (increase({RULES}{{outcome="success"}}[$__range]))',
                    f'sum by (rule) (increase({RULES}{{outcome=~"success|failed"}}[$__range]))',
                )
            ),
            key="rule",
            sort="Failed",
            empty=QUIET,
            columns={
                "rule": ("Rule", {}),
                "Value #A": ("Decodes", {"unit": "locale", "decimals": 0, "custom__width": 110}),
                "Value #B": ("Failed", {"unit": "locale", "decimals": 0, "custom__width": 110}),
                "Value #C": (
                    "Success",
                    {
                        "unit": "percentunit",
                        "decimals": 1,
                        "custom__width": 110,
                        "thresholds": steps(GREY, (0, RED), (0.95, ORANGE), (0.99, GREEN)),
                        "custom__cellOptions": {"type": "color-text"},
                    },
                ),
            },
        ),
    ],
)

TIME = (
    "How long it takes",
    [
        timeseries(
            "Attempts by result, p95",
            "How long attempts took that ended so; a timeout takes as long as it may.",
            Query(quantile(0.95, "decoder_fetch_duration_seconds", "result"), "{{result}}"),
            unit="s",
            colors=RESULTS,
            empty=QUIET,
        ),
        heatmap(
            "How long attempts took",
            "Attempts a second by how long they took: a second band is a second kind of source.",
            "decoder_fetch_duration_seconds",
            unit="s",
            empty=QUIET,
        ),
        timeseries(
            "An average attempt, by phase",
            "The mean of each phase; what did not happen, as the connect of a connection that is "
            "used again, is not in its mean.",
            Query(mean(PHASE, "phase"), "{{phase}}"),
            unit="s",
            colors=PHASES,
            empty=QUIET,
        ),
        timeseries(
            "First byte by percentile",
            "What sources alone are to blame for: from the request to the first byte of the answer.",
            *(
                Query(quantile(share, f'{PHASE}{{phase="first_byte"}}'), name)
                for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ),
            unit="s",
            colors={"p50": GREEN, "p95": ORANGE, "p99": RED},
            empty=QUIET,
        ),
    ],
)

BYTES = (
    "What comes",
    [
        timeseries(
            "Bytes fetched by instance",
            "Bytes of documents as they came from the network, a second.",
            Query(rate("decoder_fetch_bytes_total"), "{{instance}}"),
            unit="Bps",
            stack=True,
        ),
        timeseries(
            "Size of fetched documents",
            "As far as they were read, unpacked.",
            *(
                Query(quantile(share, 'decoder_document_bytes{input="source"}'), name)
                for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ),
            Query(mean('decoder_document_bytes{input="source"}'), "mean"),
            unit="bytes",
            empty=QUIET,
            colors={"p50": GREEN, "p95": ORANGE, "p99": RED, "mean": "semi-dark-blue"},
        ),
        timeseries(
            "Decodes by rule",
            "Decodes a second that each rule allowed.",
            Query(f"sum by (rule) ({rate(RULES)})", "{{rule}}"),
            unit="reqps",
            stack=True,
            empty=QUIET,
        ),
        timeseries(
            "Decodes of fetched documents by outcome",
            "Those alone for which something was fetched.",
            Query(
                "sum by (outcome) (" + rate('decoder_decodes_total{input="source"}') + ")",
                "{{outcome}}",
            ),
            unit="reqps",
            stack=True,
            colors=OUTCOMES,
        ),
    ],
)

SOURCES = dashboard(
    "decoder-sources",
    "Decoder: Sources",
    "Are the sources well, and if not: which, and what is wrong with them?",
    WELL,
    RETRIES,
    TIME,
    BYTES,
)
