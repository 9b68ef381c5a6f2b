"""Benchmarks, faults and checks: the files of results/ beside those of soaks."""

import json
import math

from evidence import RESULTS, number, read, table
from plots import grid, plot

BARE = "bare loop, discards all"
STABLE = "stable, --dest null"
# Those of results/bench-polls.tsv that change one number alone.
SOCKETS_EACH, NAMESPACES = 100, 200


def cpu_ms(row):
    return float(row["user_ms"]) + float(row["system_ms"])


def by_size(rows):
    """Cases by namespaces and sockets in each."""
    sizes = {}
    for row in rows:
        sizes.setdefault((int(row["namespaces"]), int(row["sockets"])), {})[row["case"]] = row
    return sizes


def polls():
    """A table for each size of results/bench-polls.tsv."""
    machine, rows = read("bench-polls.tsv")
    lines = [machine + "."]
    head = ["means of a poll", "rows", "wall ms", "user ms", "sys ms", "ratio", "RSS MiB", "threads"]
    for (namespaces, sockets), cases in by_size(rows).items():
        bare = cpu_ms(cases[BARE])
        cells = [
            [name, row["rows"], row["wall_ms"], row["user_ms"], row["system_ms"], f"{cpu_ms(row) / bare:.3f}", row["rss_mib"] or "", row["threads"] or ""]
            for name, row in cases.items()
        ]
        lines += ["", f"{namespaces} namespaces x {sockets:,} sockets:", ""] + table(head, cells, " rrrrrrr")
    return lines


def axes(rows):
    """Cases by the number of namespaces, and by that of sockets in each."""
    sizes = sorted(by_size(rows).items())
    namespaces = {size[0]: cases for size, cases in sizes if size[1] == SOCKETS_EACH}
    return namespaces, {size[1]: cases for size, cases in sizes if size[0] == NAMESPACES}


def growth(what, along):
    """A line for each case: its cost along an axis, and the power with which it grows."""
    counts = list(along)
    cells = []
    for case in along[counts[0]]:
        costs = [(count, cpu_ms(along[count][case])) for count in counts]
        powers = [math.log(b[1] / a[1]) / math.log(b[0] / a[0]) for a, b in zip(costs, costs[1:])]
        cells.append([case] + [f"{cost:,.1f}" for _, cost in costs] + [", then ".join(f"{power:.2f}" for power in powers)])
    for name, key in (("RSS MiB", "rss_mib"), ("threads", "threads")):
        cells.append([f"{name}, {STABLE}"] + [along[count][STABLE][key] for count in counts] + [""])
    head = ["CPU ms of a poll"] + [f"{count:,} {what}" for count in counts] + ["grows with the power"]
    return table(head, cells, " " + "r" * len(counts) + "r")


def scaling():
    """How CPU, memory and threads grow with the namespaces, and with the sockets in each."""
    machine, rows = read("bench-polls.tsv")
    namespaces, sockets = axes(rows)
    lines = [machine + ".", "", f"{SOCKETS_EACH} sockets in each namespace:", ""] + growth("namespaces", namespaces)
    return lines + ["", f"{NAMESPACES} namespaces:", ""] + growth("sockets in each", sockets)


def poll_cost():
    """The picture of `scaling`."""
    _, rows = read("bench-polls.tsv")
    namespaces, sockets = axes(rows)

    def cases(along, figure):
        return {case: [(count, figure(cases[case])) for count, cases in along.items()] for case in along[next(iter(along))]}

    memory = sorted((namespaces * sockets, float(cases[STABLE]["rss_mib"])) for (namespaces, sockets), cases in by_size(rows).items())
    return grid(
        [
            plot(f"{SOCKETS_EACH} sockets in each namespace", "network namespaces", "CPU ms of a poll", cases(namespaces, cpu_ms)),
            plot(f"{NAMESPACES} namespaces", "sockets in each", "CPU ms of a poll", cases(sockets, cpu_ms)),
            plot("Memory", "sockets in all", "RSS MiB", {STABLE: memory}),
            plot("Threads", "network namespaces", "threads", {STABLE: [(count, int(cases[STABLE]["threads"])) for count, cases in namespaces.items()]}),
        ]
    )


def reference():
    """The daemon beside the reference program, where that was measured: design goals, and what was reached."""
    machine, rows = read("bench-polls.tsv")
    cases = by_size(rows)[NAMESPACES, SOCKETS_EACH]
    own, bare = cases[STABLE], cases[BARE]
    reference, pipeline_run = read("reference.json"), read("bench-pipeline.json")
    through = pipeline_run["throughput"]
    goals = reference["goals"]
    share = f"{100 * through['stored'] / through['produced']:.5g} % of {through['produced']:,}, through Kafka into ClickHouse"
    cells = [
        ["threads", reference["threads"], goals["threads"], own["threads"]],
        ["resident memory", reference["resident_memory"], goals["resident_memory"], f"{own['rss_mib']} MiB"],
        ["rows delivered of rows read", reference["rows_delivered"], goals["rows_delivered"], share],
        ["CPU a poll, connections stable", reference["cpu_a_poll"], goals["cpu_a_poll"], f"{cpu_ms(own):.0f} ms"],
        ["CPU of a bare loop, which only dumps and discards", reference["bare_loop_cpu"], "", f"{cpu_ms(bare):,.0f} ms"],
    ]
    return table(["", "reference", "goal here", "measured"], cells) + ["", f"Reference: {reference['source']}. Measured: {machine}; rows delivered: {machine_of(pipeline_run)}."]


def sizing():
    """What an operator can expect of hosts of several sizes."""
    machine, rows = read("bench-polls.tsv")
    sizes = by_size(rows)
    cells = [
        [f"{namespaces} x {sockets:,}", f"{cpu_ms(cases[STABLE]):,.0f}", f"{cpu_ms(cases['all connections new, --dest null']):,.0f}", cases[STABLE]["rss_mib"]]
        for (namespaces, sockets), cases in sorted(sizes.items())
    ]
    least, most = (sizes[NAMESPACES, sockets][STABLE] for sockets in (10, 1000))
    bytes_each = (float(most["rss_mib"]) - float(least["rss_mib"])) * (1 << 20) / (NAMESPACES * 990)
    head = ["namespaces x sockets in each", "CPU ms of a poll, connections stand", "CPU ms, all new in each poll", "memory, MiB"]
    return table(head, cells, " rrr") + ["", f"A socket that is known takes {bytes_each:.0f} bytes. {machine}."]


def child_tables():
    """200 x 100 sockets in the kernel's one table, and in tables of the namespaces' own."""
    machine, own_rows = read("bench-polls-child-tables.tsv")
    other, rows = read("bench-polls.tsv")
    size = (NAMESPACES, SOCKETS_EACH)
    stock, own = by_size(rows)[size], by_size(own_rows)[size]
    cells = [[case, f"{cpu_ms(stock[case]):.1f}", f"{cpu_ms(own[case]):.1f}", f"{cpu_ms(own[case]) / cpu_ms(stock[case]):.2f}"] for case in stock]
    return [f"One table: {other}.", f"Own tables: {machine}.", ""] + table(["CPU ms of a poll", "one table", "4,096 entries each", "ratio"], cells, " rrr")


def pivot(name, head):
    """A table of a file of cases, what of each, and the figure: a line for each case."""
    machine, rows = read(name)
    cases = {}
    for row in rows:
        cases.setdefault(row["case"], {})[row["what"]] = row["figure"]
    kinds = {}
    for case, figures in cases.items():
        kinds.setdefault(tuple(figures), []).append([case, *figures.values()])
    lines = [machine + "."]
    for whats, cells in kinds.items():
        lines += [""] + table([head, *whats], cells, " " + "r" * len(whats))
    return lines


def schedule():
    return pivot("bench-schedule.tsv", "")


def memory():
    machine, rows = read("bench-memory.tsv")
    return [machine + ".", ""] + table(["output", "peak RSS, MiB"], [[row["output"], row["peak_rss_mib"]] for row in rows], " r")


def machine_of(run):
    return f"Linux {run['kernel']}, {run['cpus']} CPUs, {run['date']}, commit {run['commit']}"


def pipeline():
    found = read("bench-pipeline.json")
    steady, lag, throughput = found["steady"], found["lag"], found["throughput"]
    cells = [
        ["sockets, polled every 10 s", f"{steady['sockets']:,}"],
        ["CPU of the daemon, % of a processor", steady["cpu_percent"]],
        ["memory of the daemon, MiB", steady["memory_mib"]],
        ["threads, Kafka's among them", steady["threads"]],
        ["from the poll to ClickHouse, ms, median / p95 / max", f"{lag['lag_ms_median']} / {lag['lag_ms_p95']} / {lag['lag_ms_max']}"],
        ["rows a second, delivered to Kafka / stored", f"{throughput['rows_per_second_daemon']:,} / {throughput['rows_per_second_stored']:,}"],
        [
            "bytes a row: protobuf / Kafka with zstd / ClickHouse",
            f"{throughput['bytes_per_row_protobuf']} / {throughput['bytes_per_row_kafka_zstd']} / {throughput['bytes_per_row_clickhouse']}",
        ],
        ["rows missing / double", f"{throughput['missing'] + lag['missing'] + steady['missing']} / {throughput['double'] + lag['double'] + steady['double']}"],
    ]
    return [f"{machine_of(found)}.", ""] + table(["what", "figure"], cells, " r")


def faults():
    head = ["fault", "rows made", "stored", "missing", "admitted", "double", "messages twice in the topic", "when, at commit"]
    cells = [
        [
            *(name, f"{run['produced']:,}", f"{run['stored']:,}", f"{run['missing']:,}", f"{run['admitted']:,}"),
            *(run["double_after_final"], run.get("topic_doubles", ""), f"{run['date']}, {run['commit']}"),
        ]
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
    for name, file in (("drifted", "changes/drifting-walks.json"), ("keep their places", "changes/spread-walks.json")):
        run = read(file)
        poll, cpu = run["figures"]["poll_ms"], run["figures"]["cpu_percent"]
        duration = " / ".join(number(poll[key]) for key in ("median", "p99", "max"))
        judged = next(gate for gate in run["gates"] if gate["name"] == "poll_p99_ms_max")
        verdict = f"{judged['status']}: {judged['figure']} of {judged['threshold']}"
        cells.append([name, run["environment"]["commit"], duration, f"{cpu['median']:.1f}", verdict])
    head = ["walks", "commit", "poll ms, median / p99 / max, the first included", "CPU %, median", "gate of the 99th percentile, after the warm-up"]
    return table(head, cells, "  rr")


def optimisations():
    """Before and after of changes: each pair of one run."""
    cells = []

    revision, change = "cb3134e284c9", "encoder: whole loads, long varints without a loop"
    run = read(f"changes/since-{revision}.json")
    for name, bench in run["benches"].items():
        after = f"{time(bench['after_ns'])}; {bench['low_percent']:+.1f} % to {bench['high_percent']:+.1f} %"
        cells.append([change, name, time(bench["before_ns"]), after, run["machine"], f"`scripts/bench --baseline {revision} row/full`"])
    revision, change = "64452d5bda3b", "replies to look-ups: memory that is there already; found by a profile"
    run = read(f"changes/polls-since-{revision}.json")
    after = f"{run['after_cpu_ms']:.2f} ms; ratios of turns {run['ratio_least']:.3f} to {run['ratio_most']:.3f}, median {run['ratio']:.3f}"
    what = f"CPU of a poll, {run['namespaces']} x {run['sockets']} sockets that stand"
    cells.append([change, what, f"{run['before_cpu_ms']:.2f} ms", after, run["machine"], f"`scripts/bench-change {revision}`"])
    return table(["change", "what was measured", "before", "after", "on", "command"], cells)


def compared():
    """Beside the way that others would take: each pair of one run."""
    cells = []

    def add(here, what, unit, other, own):
        cells.append([here, what, f"{other:,.1f} {unit}", f"{own:,.1f} {unit}", f"{other / own:,.1f}"])

    _, rows = read("bench-polls.tsv")
    for size, cases in sorted(by_size(rows).items()):
        add(
            "known sockets are looked up by name, and a namespace is walked only when it may have others; else: `--poll-plan walk`",
            f"a poll of {size[0]} x {size[1]:,} sockets that stand",
            *("CPU ms", cpu_ms(cases["stable, --poll-plan walk"]), cpu_ms(cases[STABLE])),
        )
    benches = {name: run["mean_ns"] / 1000 for name, run in read("bench.json")["benches"].items()}
    for here, what, other, own in (
        (
            "kernel bytes become protobuf where they lie, in one pass; else: prost, from structures that are there already",
            "an envelope of 64 rows",
            *("envelope of 64 rows/prost, structures to envelope", "envelope of 64 rows/kernel bytes to envelope"),
        ),
        (
            "the size of an envelope is kept; else: added up anew for each row",
            "10,000 rows",
            *("envelope accounting/recomputed/10000", "envelope accounting/accumulated/10000"),
        ),
    ):
        add(here, what, "us", benches[other], benches[own])
    return table(["here; else", "what was measured", "else", "here", "times"], cells, "  rrr")


def checks():
    """What scripts/record-run put on record."""
    cells = []
    for path in sorted((RESULTS / "runs").glob("*.json")):
        run = json.loads(path.read_text())
        said = "<br>".join(line.replace("|", "\\|") for line in run["said"])
        cells.append([run["what"], f"`scripts/record-run {path.stem}`", said, f"{number(run['seconds'])} s", f"{run['date']}, {run['commit']}"])
    return table(["what", "command", "outcome", "took", "when, at commit"], cells)
