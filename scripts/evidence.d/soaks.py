"""Soak runs: results/soak, and a picture of each."""

import json
import re
from datetime import datetime, timezone

from evidence import RESULTS, number, table

# In this order.
SCENARIOS = [
    "namespace-churn-300",
    "namespace-churn",
    "tcp-stress",
    "clickhouse-pipeline",
    "namespaces-1000",
    "lifecycle",
    "capabilities",
    "faults",
]
# Of a report: the beginning of a caption.
SHOWN = ["Threads", "Memory", "Duration of polls", "Rows a second"]
WIDTH, HEIGHT, CAPTION = 640, 220, 24


def results():
    """What each run came to, by scenario."""
    paths = {name: RESULTS / "soak" / name / "result.json" for name in SCENARIOS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def gate(result, name):
    return next((gate for gate in result["gates"] if gate["name"] == name), None)


def verdict(result):
    counts = {}
    for one in result["gates"]:
        counts[one["status"]] = counts.get(one["status"], 0) + 1
    return f"{result['verdict']}: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def load(totals):
    words = {
        "namespaces made and deleted": totals["namespaces_created"] + totals["namespaces_deleted"],
        "containers restarted": totals["containers_restarted"],
        "short connections": totals["connections"],
    }
    return "; ".join(f"{count:,} {what}" for what, count in words.items() if count) or "standing"


def started(result):
    return datetime.fromtimestamp(result["started_unix_ms"] / 1000, timezone.utc)


def row(name, result, target):
    figures, totals = result["figures"], result["totals"]
    polls, memory = figures["poll_ms"], figures["rss_mib"]
    restarts = gate(result, "restarts_max")
    return [
        f"[{name}]({target}#{name})",
        verdict(result),
        f"{result['measured_seconds'] / 60:.0f} min",
        load(totals),
        f"{totals['polls']:,}",
        f"{totals['rows']:,}",
        number(max(figures["threads"]["max"], figures.get("cgroup_pids_peak", {}).get("max", 0))),
        restarts["figure"].split()[0] if restarts else "",
        f"{memory['median']:.1f} / {memory['max']:.1f}",
        " / ".join(number(polls[key]) for key in ("median", "p99", "max")),
        number(figures["cpu_percent"]["median"]),
        f"{started(result):%Y-%m-%d}, {result['environment']['commit']}",
    ]


def plots(report):
    """The plots of a report that are shown, two beside each other, as one picture."""
    found = []
    for figure in re.findall(r"<figure>.*?</figure>", report, re.S):
        caption = re.search(r"<figcaption>(.*?)</figcaption>", figure, re.S).group(1)
        words = re.sub(r"<[^>]*>", "", caption.replace("<span>", " · ")).strip()
        if any(words.startswith(shown) for shown in SHOWN):
            found.append((words, re.search(r"<svg[^>]*>(.*?)</svg>", figure, re.S).group(1)))
    rows = (len(found) + 1) // 2
    width, height = 2 * WIDTH, rows * (HEIGHT + CAPTION)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#FFFFFF"/>',
    ]
    for index, (words, svg) in enumerate(found):
        x, y = index % 2 * WIDTH, index // 2 * (HEIGHT + CAPTION)
        parts.append(f'<text x="{x + 12}" y="{y + 17}" font-size="13" fill="#1F2328">{words}</text>')
        parts.append(f'<g transform="translate({x} {y + CAPTION})">{svg}</g>')
    return "\n".join(parts) + "\n</svg>\n"


def section(name, result):
    machine = result["environment"]
    lines = [
        f"### {name}",
        "",
        f"{result['title']}. {started(result):%Y-%m-%d %H:%M} UTC, Linux {machine['kernel']}, {machine['cpus']} CPUs "
        f"({machine['cpu_model']}), {machine['memory_mib'] / 1024:.0f} GiB, commit {machine['commit']}.",
        "",
        f"    {result['command']}",
        "",
    ]
    if result["ended_early"]:
        lines += [f"Ended early: {result['ended_early']}.", ""]
    cells = [[f"`{one['name']}`", one["status"], one["figure"], one["threshold"]] for one in result["gates"]]
    lines += table(["gate", "verdict", "seen", "allowed"], cells)
    return lines + ["", f"![Threads, memory, polls and rows over time](stability/{name}.svg)", ""]


def summary(target=""):
    """A line for each run; its name leads to `target`, the document with the sections."""
    head = ["scenario", "verdict", "measured", "load", "polls", "rows", "threads, most", "restarts nobody ordered", "RSS MiB, median / max"]
    head += ["poll ms, median / p99 / max", "CPU %, median", "when, at commit"]
    found = results()
    lines = table(head, [row(name, result, target) for name, result in found.items()])
    missing = [name for name in SCENARIOS if name not in found]
    return lines + (["", f"No run on record: {', '.join(missing)}."] if missing else [])


def sections():
    """All of each run."""
    lines = []
    for name, result in results().items():
        lines += [""] + section(name, result)
    return lines[:-1]


def pictures():
    """The plots of each run, by scenario."""
    return {name: plots((RESULTS / "soak" / name / "report.html").read_text()) for name in results()}
