"""Who asks for how much, and whom it does not work for."""

from .dashboard import dashboard
from .panels import (
    GREEN,
    GREY,
    ORANGE,
    RED,
    Query,
    rate,
    ratio,
    share,
    stat,
    steps,
    table,
    timeseries,
)

DECODES = "decoder_tenant_decodes_total"
QUIET = "no traffic"
LIMITS = "decoder_rate_limit_decisions_total"


def of(outcomes: str, window: str = "") -> str:
    """Decodes of each tenant that ended so: a second, or in a window."""
    counter = f'{DECODES}{{outcome=~"{outcomes}"}}'
    counted = f"increase({counter}[{window}])" if window else rate(counter)
    return f"sum by (tenant) ({counted})"


SUCCESS = ratio(of("success"), of("success|failed"))
ALL = f"sum by (tenant) ({rate(DECODES)})"
SHARE = share(ALL, f"sum ({rate(DECODES)})")
COUNT = {"unit": "locale", "decimals": 0, "custom__width": 110}
PERCENT = {"unit": "percentunit", "decimals": 1, "custom__width": 110}

WHO = (
    "Whom does it not work for?",
    [
        stat(
            "Worst success of a tenant",
            "success / (success + failed) of the tenant that fares worst. One tenant alone is "
            "reported apart from the page.",
            Query(f"bottomk (1, {SUCCESS})", "{{tenant}}", instant=True),
            unit="percentunit",
            decimals=1,
            width=6,
            names=True,
            graph=False,
            empty=QUIET,
            thresholds=steps(GREY, (0, RED), (0.95, ORANGE), (0.99, GREEN)),
            alerts=("DecoderMissionSuccessLowForOne",),
        ),
        stat(
            "Largest share",
            "The tenant with the most decodes, and its share of all.",
            Query(f"topk (1, {SHARE})", "{{tenant}}", instant=True),
            unit="percentunit",
            decimals=0,
            width=6,
            names=True,
            graph=False,
            empty=QUIET,
        ),
        stat(
            "Tenants with traffic",
            "How many tenants have asked for something of late.",
            Query(f"count ({ALL} > 0)", "tenants"),
            unit="short",
            decimals=0,
            width=6,
            empty=QUIET,
        ),
        stat(
            "Refused by rates and quotas",
            "Requests a second that were one too many, of all tenants.",
            Query(
                "sum (" + rate(f'{LIMITS}{{decision=~"rate_limited|quota_exceeded"}}') + ")",
                "refused",
            ),
            unit="reqps",
            width=6,
        ),
        timeseries(
            "Decodes by tenant",
            "Decodes a second of each tenant.",
            Query(ALL, "{{tenant}}"),
            unit="reqps",
            stack=True,
            height=10,
        ),
        timeseries(
            "Success by tenant",
            "success / (success + failed): one line that falls is one tenant's sources or markers, "
            "all of them are everyone's problem.",
            Query(SUCCESS, "{{tenant}}"),
            unit="percentunit",
            soft_low=0.9,
            high=1,
            decimals=1,
            height=10,
            lines=steps("transparent", (0.95, ORANGE)),
            ascending=True,
            empty=QUIET,
            alerts=("DecoderMissionSuccessLowForOne", "DecoderMissionSuccessLow"),
        ),
        table(
            "Tenants in the chosen time",
            "What became of the decodes of each tenant; success is of its missions, share of all "
            "decodes.",
            Query(of(".*", "$__range")),
            Query(of("success", "$__range")),
            Query(of("rejected", "$__range")),
            Query(of("failed", "$__range")),
            Query(of("cancelled", "$__range")),
            Query(ratio(of("success", "$__range"), of("success|failed", "$__range"))),
            Query(share(of(".*", "$__range"), f"sum (increase({DECODES}[$__range]))")),
            key="tenant",
            sort="Decodes",
            width=24,
            height=10,
            empty=QUIET,
            columns={
                "tenant": ("Tenant", {}),
                "Value #A": ("Decodes", COUNT),
                "Value #B": ("Success", COUNT),
                "Value #C": ("Rejected", COUNT),
                "Value #D": ("Failed", COUNT),
                "Value #E": ("Cancelled", COUNT),
                "Value #F": (
                    "Of missions",
                    {
                        **PERCENT,
                        "thresholds": steps(GREY, (0, RED), (0.95, ORANGE), (0.99, GREEN)),
                        "custom__cellOptions": {"type": "color-text"},
                    },
                ),
                "Value #G": ("Share", PERCENT),
            },
        ),
    ],
)

HOW = (
    "What becomes of it",
    [
        timeseries(
            "Failed by tenant",
            "Decodes a second that failed by a source's or our fault.",
            Query(of("failed"), "{{tenant}}"),
            unit="reqps",
            stack=True,
            alerts=("DecoderMissionSuccessLowForOne",),
        ),
        timeseries(
            "Rejected by tenant",
            "Decodes a second that were refused: a tenant whose client is wrong, or is told no.",
            Query(of("rejected"), "{{tenant}}"),
            unit="reqps",
            stack=True,
        ),
        timeseries(
            "Cancelled by tenant",
            "Decodes a second whose client left: a tenant whose patience is shorter than its source.",
            Query(of("cancelled"), "{{tenant}}"),
            unit="reqps",
            stack=True,
        ),
        timeseries(
            "Share by tenant",
            "Who of them all uses how much of it.",
            Query(ALL, "{{tenant}}"),
            unit="reqps",
            of_all=True,
            empty=QUIET,
        ),
    ],
)

TENANTS = dashboard(
    "decoder-tenants",
    "Decoder: Tenants",
    "Who asks for how much, and whom does it not work for?",
    WHO,
    HOW,
)
