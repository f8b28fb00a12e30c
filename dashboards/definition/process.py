"""Do the processes have what they need."""

from .dashboard import dashboard
from .panels import (
    GREEN,
    GREY,
    ORANGE,
    RED,
    Query,
    rate,
    ratio,
    stat,
    steps,
    table,
    timeseries,
)

MEMORY = "process_resident_memory_bytes / process_memory_limit_bytes"
DESCRIPTORS = "process_open_fds / process_max_fds"
THROTTLED = ratio(rate("process_cpu_throttled_periods_total"), rate("process_cpu_periods_total"))
NODE = 'job=~"node|node-exporter", fstype!~"tmpfs|ramfs|squashfs|iso9660|overlay"'
FREE = f"node_filesystem_avail_bytes{{{NODE}}} / node_filesystem_size_bytes{{{NODE}}}"
NO_QUOTA = "no limit on processors"

ENOUGH = (
    "Do they have what they need?",
    [
        stat(
            "Instances up",
            "How many instances are scraped, of those that there should be.",
            Query("sum (up) / count (up)", "up"),
            unit="percentunit",
            decimals=0,
            width=5,
            thresholds=steps(RED, (0.01, ORANGE), (1, GREEN)),
            empty="nothing is scraped",
            alerts=("DecoderDown", "DecoderTargetDown", "DecoderAbsent"),
        ),
        stat(
            "Memory of its limit",
            "Of the instance that is nearest to its limit, above which it is killed.",
            Query(f"max ({MEMORY})", "memory"),
            unit="percentunit",
            decimals=0,
            width=5,
            thresholds=steps(GREEN, (0.7, ORANGE), (0.85, RED)),
            alerts=("DecoderMemoryHigh",),
        ),
        stat(
            "Descriptors of their limit",
            "Of the instance that is nearest to its limit, above which it takes no connection.",
            Query(f"max ({DESCRIPTORS})", "descriptors"),
            unit="percentunit",
            decimals=0,
            width=5,
            thresholds=steps(GREEN, (0.6, ORANGE), (0.8, RED)),
            alerts=("DecoderDescriptorsHigh",),
        ),
        stat(
            "Throttled",
            "The share of scheduling periods in which the most throttled instance was held back.",
            Query(f"max ({THROTTLED})", "throttled"),
            unit="percentunit",
            decimals=0,
            width=5,
            thresholds=steps(GREY, (0, GREEN), (0.1, ORANGE), (0.25, RED)),
            empty=NO_QUOTA,
            alerts=("DecoderCpuThrottled",),
        ),
        stat(
            "Restarts",
            "Starts of instances in the last 30 minutes that were not their first; more than two of "
            "one are reported.",
            Query("sum (changes (process_start_time_seconds[30m]))", "restarts"),
            unit="short",
            decimals=0,
            thresholds=steps(GREEN, (1, ORANGE), (3, RED)),
            alerts=("DecoderRestarting",),
        ),
        timeseries(
            "Memory",
            "Resident memory of each instance. It should be flat, whatever the documents.",
            Query("process_resident_memory_bytes", "{{instance}}"),
            unit="bytes",
            height=10,
            alerts=("DecoderMemoryHigh",),
        ),
        timeseries(
            "Processors",
            "How many processors each instance keeps busy.",
            Query(rate("process_cpu_seconds_total"), "{{instance}}"),
            unit="suffix:cores",
            decimals=2,
            height=10,
            alerts=("DecoderCpuThrottled",),
        ),
        timeseries(
            "Network",
            "Bytes a second that the instances' machines (in a container, the instances) received, "
            "above, and sent, below.",
            Query(rate("process_network_receive_bytes_total"), "{{instance}} in"),
            Query(f"-{rate('process_network_transmit_bytes_total')}", "{{instance}} out"),
            unit="Bps",
            low=None,
            width=24,
            height=10,
        ),
    ],
)

LIMITS = (
    "Limits",
    [
        timeseries(
            "Memory of its limit, by instance",
            "The share of its limit (of the container, else of the machine) that an instance has; "
            "above all of it, it is killed.",
            Query(MEMORY, "{{instance}}"),
            unit="percentunit",
            high=1,
            lines=steps("transparent", (0.85, RED)),
            alerts=("DecoderMemoryHigh",),
        ),
        timeseries(
            "Descriptors of their limit, by instance",
            "The share of the descriptors that an instance may open; a connection of a client takes "
            "one, one to a source another.",
            Query(DESCRIPTORS, "{{instance}}"),
            unit="percentunit",
            high=1,
            lines=steps("transparent", (0.8, RED)),
            alerts=("DecoderDescriptorsHigh",),
        ),
        timeseries(
            "Descriptors",
            "Open descriptors of each instance.",
            Query("process_open_fds", "{{instance}}"),
            unit="short",
            alerts=("DecoderDescriptorsHigh",),
        ),
        timeseries(
            "Connections",
            "Connections of clients that are open, by instance: far more than requests in flight are "
            "clients that keep them, or hold them on purpose.",
            Query("decoder_http_connections", "{{instance}}"),
            unit="short",
            alerts=("DecoderDescriptorsHigh",),
        ),
        timeseries(
            "Throttled",
            "The share of scheduling periods in which an instance was held back by its limit on "
            "processors.",
            Query(THROTTLED, "{{instance}}"),
            unit="percentunit",
            high=1,
            empty=NO_QUOTA,
            lines=steps("transparent", (0.25, RED)),
            alerts=("DecoderCpuThrottled",),
        ),
        timeseries(
            "Threads",
            "Threads of each instance; they do not grow with the requests.",
            Query("process_threads", "{{instance}}"),
            unit="short",
            decimals=0,
        ),
        timeseries(
            "Disk left",
            "The free share of the file systems of all machines, the fullest first.",
            Query(
                f"min by (instance, mountpoint) ({FREE})",
                "{{instance}} {{mountpoint}}",
                whole_fleet=True,
            ),
            unit="percentunit",
            high=1,
            ascending=True,
            lines=steps(RED, (0.1, "transparent")),
            empty="no node exporter is scraped",
            alerts=("DecoderDiskFilling",),
        ),
        timeseries(
            "Log lines dropped",
            "Lines a second that nobody read in time: what this is not 0 for, the logs do not tell.",
            Query(rate("decoder_log_lines_dropped_total"), "{{instance}}"),
            unit="suffix:/s",
            stack=True,
            alerts=("DecoderLogLinesDropped",),
        ),
    ],
)

RUNS = (
    "What runs",
    [
        timeseries(
            "Uptime",
            "How long each instance has run; a saw is one that keeps falling over.",
            Query("time() - process_start_time_seconds", "{{instance}}"),
            unit="s",
            ascending=True,
            alerts=("DecoderRestarting",),
        ),
        table(
            "Versions",
            "What each instance runs, and since when.",
            Query(
                "decoder_build_info * on (instance) group_left () "
                "(process_start_time_seconds * 1000)"
            ),
            sort="Since",
            empty="nothing is scraped",
            columns={
                "instance": ("Instance", {}),
                "version": ("Version", {"custom__width": 110}),
                "commit": ("Commit", {"custom__width": 150}),
                "Value": ("Since", {"unit": "dateTimeFromNow", "custom__width": 150}),
            },
        ),
    ],
)

PROCESS = dashboard(
    "decoder-process",
    "Decoder: Process",
    "Do the processes have what they need?",
    ENOUGH,
    LIMITS,
    RUNS,
)
