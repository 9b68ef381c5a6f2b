"""Benchmarks, faults and checks: the files of results/ beside those of soaks."""

import json
import math

from evidence import RESULTS, number, read, table

BARE = "bare loop, discards all"


def cpu_ms(row):
    return float(row["user_ms"]) + float(row["system_ms"])


def by_size(rows):
    sizes = {}
    for row in rows:
        sizes.setdefault(int(row["namespaces"]), {})[row["case"]] = row
    return sizes


def polls():
    """A table for each size of results/bench-polls.tsv."""
    machine, rows = read("bench-polls.tsv")
    lines = [machine + "."]
    head = ["means of a poll", "rows", "wall ms", "user ms", "sys ms", "ratio", "RSS MiB"]
    for namespaces, cases in by_size(rows).items():
        bare = cpu_ms(cases[BARE])
        cells = [
            [name, row["rows"], row["wall_ms"], row["user_ms"], row["system_ms"], f"{cpu_ms(row) / bare:.3f}", row["rss_mib"] or ""]
            for name, row in cases.items()
        ]
        lines += ["", f"{namespaces} namespaces:", ""] + table(head, cells, " rrrrrr")
    return lines


def scaling():
    """How CPU and memory of a poll grow with the namespaces."""
    machine, rows = read("bench-polls.tsv")
    sizes = by_size(rows)
    counts = list(sizes)
    head = ["CPU ms of a poll"] + [f"{count} namespaces" for count in counts] + ["grows as namespaces to the power of"]
    cells = []
    for case in sizes[counts[0]]:
        costs = [cpu_ms(sizes[count][case]) for count in counts]
        pairs = list(zip(counts, costs))
        powers = [math.log(b[1] / a[1]) / math.log(b[0] / a[0]) for a, b in zip(pairs, pairs[1:])]
        cells.append([case] + [f"{cost:,.1f}" for cost in costs] + [", then ".join(f"{power:.2f}" for power in powers)])
    memory = [sizes[count]["stable, --dest null"]["rss_mib"] for count in counts]
    cells.append(["RSS MiB, stable, --dest null"] + memory + [""])
    return [machine + ".", ""] + table(head, cells, " " + "r" * len(counts) + "r")


def pipeline():
    found = read("bench-pipeline.json")
    steady, lag, throughput = found["steady"], found["lag"], found["throughput"]
    cells = [
        ["sockets, polled every 10 s", f"{steady['sockets']:,}"],
        ["CPU of the daemon, % of a processor", steady["cpu_percent"]],
        ["memory of the daemon, MiB", steady["memory_mib"]],
        ["threads, Kafka's among them", steady["threads"]],
        ["from the poll to ClickHouse, ms, median / p95 / max", f"{lag['lag_ms_median']} / {lag['lag_ms_p95']} / {lag['lag_ms_max']}"],
        ["rows a second, made / stored", f"{throughput['rows_per_second_daemon']:,} / {throughput['rows_per_second_stored']:,}"],
        [
            "bytes a row: protobuf / Kafka with zstd / ClickHouse",
            f"{throughput['bytes_per_row_protobuf']} / {throughput['bytes_per_row_kafka_zstd']} / {throughput['bytes_per_row_clickhouse']}",
        ],
        ["rows missing / double", f"{throughput['missing'] + lag['missing'] + steady['missing']} / {throughput['double'] + lag['double'] + steady['double']}"],
    ]
    machine = f"Linux {found['kernel']}, {found['cpus']} CPUs, {found['date']}, commit {found['commit']}."
    return [machine, ""] + table(["what", "figure"], cells, " r")


def faults():
    head = ["fault", "rows made", "stored", "missing", "admitted by the journal", "double", "messages twice in the topic"]
    cells = [
        [name, f"{run['produced']:,}", f"{run['stored']:,}", f"{run['missing']:,}", f"{run['admitted']:,}", run["double_after_final"], run.get("topic_doubles", "")]
        for name, run in read("faults.json").items()
    ]
    return table(head, cells, " rrrrrr")


def io_uring():
    machine, rows = read("bench-io-uring.tsv")
    head = ["namespaces", "way", "datagrams", "wall ms", "kernel us a datagram", "system calls a datagram", "context switches", "RSS MiB"]
    cells = []
    for row in rows:
        figures = [float(row[key]) for key in ("datagrams", "wall_ms", "system_us_per_datagram", "syscalls_per_datagram")]
        datagrams, wall, kernel, calls = figures
        switches, memory = float(row["context_switches"]), float(row["rss_mib"])
        cells.append([row["namespaces"], row["way"], f"{datagrams:.0f}", f"{wall:.1f}", f"{kernel:.1f}", f"{calls:.2f}", f"{switches:.0f}", f"{memory:.1f}"])
    ways = {(row["namespaces"], row["way"]): float(row["system_us_per_datagram"]) for row in rows}
    counts = [row["namespaces"] for row in rows if row["way"] == "recv"]
    ratios = ", ".join(f"{ways[count, 'io_uring'] / ways[count, 'recv']:.2f}" for count in counts)
    lines = [machine + ".", ""] + table(head, cells, "r rrrrrr")
    return lines + ["", f"Kernel time with io_uring is {ratios} of that with recv."]


def profile():
    machine, rows = read("profile.tsv")
    sizes = list(dict.fromkeys(row["sockets"] for row in rows))
    parts = {}
    for row in rows:
        parts.setdefault(row["part"], {})[row["sockets"]] = float(row["figure"])
    cells = []
    for part, figures in parts.items():
        unit = "{:.2f}" if part.endswith("a row") else "{:.1f} %"
        cells.append([part] + [unit.format(figures[size]) if size in figures else "" for size in sizes])
    return [machine + ".", ""] + table([""] + [f"{int(size):,} sockets" for size in sizes], cells, " " + "r" * len(sizes))


def time(nanoseconds):
    for unit, size in (("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def benches():
    found = read("bench.json")
    cells = [[name, time(run["mean_ns"]), f"{time(run['low_ns'])} to {time(run['high_ns'])}"] for name, run in found["benches"].items()]
    return [found["machine"] + ".", ""] + table(["benchmark", "mean", "95 % confidence"], cells, " rr")


def instructions():
    found = read("instructions.json")
    what = {"row": "kernel bytes to a row", "envelope": "an envelope of 64 rows", "walk": "the messages of a datagram: 20, and the end of a dump"}
    cells = [[what[name], f"{count:,.0f}"] for name, count in found["instructions"].items()]
    return [f"{found['compiler']}, {found['machine']}.", ""] + table(["what", "instructions"], cells, " r")


def builds():
    found = read("builds.json")
    base = next(iter(found["builds"].values()))
    cells = [
        [name, f"{build['bytes'] / (1 << 20):.2f}", f"{build['bytes'] / base['bytes']:.2f}"]
        + [f"{build['instructions'][what] / base['instructions'][what]:.3f}" for what in base["instructions"]]
        + [f"{build['ns_row']:.0f}"]
        for name, build in found["builds"].items()
    ]
    head = ["build", "program MiB", "ratio"] + [f"instructions, {what}" for what in base["instructions"]] + ["ns a row"]
    return [found["machine"] + ".", ""] + table(head, cells, " rrrrrr")


def spread_walks():
    """namespaces-1000 before and after walks stayed spread over --walk-every."""
    cells = []
    for name, file in (("before", "before/namespaces-1000.json"), ("after", "soak/namespaces-1000/result.json")):
        run = read(file)
        poll, cpu = run["figures"]["poll_ms"], run["figures"]["cpu_percent"]
        duration = " / ".join(number(poll[key]) for key in ("median", "p99", "max"))
        cells.append([name, run["environment"]["commit"], duration, f"{cpu['median']:.1f}"])
    return table(["walks drifted", "commit", "poll ms, median / p99 / max, the first included", "CPU %, median"], cells, "  rr")


def checks():
    """What scripts/record-run put on record."""
    cells = []
    for path in sorted((RESULTS / "runs").glob("*.json")):
        run = json.loads(path.read_text())
        said = "<br>".join(line.replace("|", "\\|") for line in run["said"])
        cells.append([run["what"], f"`scripts/record-run {path.stem}`", said, f"{number(run['seconds'])} s", f"{run['date']}, {run['commit']}"])
    return table(["what", "command", "outcome", "took", "when, at commit"], cells)
