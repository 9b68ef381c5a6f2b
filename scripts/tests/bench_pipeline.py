#!/usr/bin/env python3
"""What the whole path costs and how fast it is.

    bench_pipeline.py FILE.json        scripts/bench-pipeline builds what it needs, and calls it

About 2,000 sockets in 20 namespaces. Steady: a poll every 10 s for a minute. Lag: a poll a second, and the
table asked again and again. Throughput: polls without a pause, until everything is stored.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import fault_bench
from fault_bench import REPOSITORY, TABLE, Bench, Kafka, commit, wait_for

# Connections are two sockets each.
fault_bench.NAMESPACES, fault_bench.SOCKETS = 20, 100
STEADY_SECONDS, LAG_SECONDS, THROUGHPUT_SECONDS = 60, 30, 15
ROWS_PER_ENVELOPE = "10000"


def cpu_seconds(pid):
    """Of a process by thread name, and in all."""
    tick, by_name = os.sysconf("SC_CLK_TCK"), {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        # Nanoseconds on a processor: finer than the ticks of stat.
        spent = int((task / "schedstat").read_text().split()[0]) / 1e9
        by_name[name] = by_name.get(name, 0) + spent
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return by_name, (int(fields[11]) + int(fields[12])) / tick


def steady(bench):
    """The daemon's CPU with 2,000 sockets every 10 s."""
    daemon = bench.daemon(bench.folder("spool"), "--frequency", "10s", "--envelope-flush-rows", ROWS_PER_ENVELOPE)
    wait_for("the first polls", lambda: daemon.one("xtcp2_polls_total") >= 2, 60)
    time.sleep(1)
    before, start = cpu_seconds(daemon.pid)[0], time.monotonic()
    time.sleep(STEADY_SECONDS)
    after, seconds = cpu_seconds(daemon.pid)[0], time.monotonic() - start
    metrics = daemon.metrics()
    spent = {name: after[name] - before.get(name, 0) for name in after}
    figures = {
        "sockets": int(metrics["xtcp2_sockets"]), "seconds": round(seconds),
        "cpu_percent": round(100 * sum(spent.values()) / seconds, 3),
        "cpu_percent_own_thread": round(100 * spent["xtcp2"] / seconds, 3),
        "memory_mib": round(metrics["process_resident_memory_bytes"] / 2**20, 1), "threads": int(metrics["process_threads"]),
    }  # fmt: skip
    return figures | bench.reckon_all(daemon)


def lag(bench):
    """From the timestamp of a poll's rows until a query sees all of them."""
    daemon = bench.daemon(bench.folder("spool"), "--frequency", "1s", "--envelope-flush-rows", ROWS_PER_ENVELOPE)
    wait_for("the first polls", lambda: daemon.one("xtcp2_polls_total") >= 2, 60)
    seen, lags = 0, []
    end = time.monotonic() + LAG_SECONDS
    while time.monotonic() < end:
        row = bench.clickhouse.query(
            f"SELECT max(poll_sequence), toUnixTimestamp64Nano(max(timestamp_ns)) FROM {TABLE} FORMAT TSV"
        ).split()
        if int(row[0]) > seen:
            seen = int(row[0])
            lags.append(time.time() - int(row[1]) / 1e9)
        time.sleep(0.05)
    lags = sorted(lags[2:])
    figures = {
        "polls": len(lags), "lag_ms_median": round(1e3 * statistics.median(lags)),
        "lag_ms_p95": round(1e3 * lags[int(len(lags) * 0.95)]), "lag_ms_max": round(1e3 * lags[-1]),
    }  # fmt: skip
    return figures | bench.reckon_all(daemon)


def throughput(bench):
    """Rows a second through everything, and bytes a row."""
    log_before = folder_bytes(bench)
    daemon = bench.daemon(bench.folder("spool"), "--frequency", "50ms", "--envelope-flush-rows", ROWS_PER_ENVELOPE)
    start = time.monotonic()
    time.sleep(THROUGHPUT_SECONDS)
    metrics = daemon.metrics()
    daemon.end()
    made = int(bench.drained(daemon))
    seconds = time.monotonic() - start
    log = folder_bytes(bench) - log_before
    bench.clickhouse.query(f"OPTIMIZE TABLE {TABLE} FINAL")
    stored, disk = map(int, bench.clickhouse.query(
        "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = 'xtcp' AND table = 'xtcp_flat_records' FORMAT TSV"
    ).split())  # fmt: skip
    rows, sent = metrics["xtcp2_output_delivered_rows_total"], metrics["xtcp2_output_delivered_bytes_total"]
    figures = {
        "rows": made, "rows_per_second_daemon": round(rows / THROUGHPUT_SECONDS), "rows_per_second_stored": round(made / seconds),
        "bytes_per_row_protobuf": round(sent / rows, 1), "bytes_per_row_kafka_zstd": round(log / made, 1),
        "bytes_per_row_clickhouse": round(disk / stored, 1),
    }  # fmt: skip
    return figures | bench.compared()


def folder_bytes(bench):
    logs = (bench.directory / "pipeline" / "kafka").glob("xtcp-*/*.log")
    return sum(file.stat().st_blocks * 512 for file in logs)


class Whole(Bench):
    """With the end of each measurement: all of it stored, each row once."""

    def drained(self, daemon):
        self.drain_spool(self.directory / "spool")
        self.drain_topic()
        return self.clickhouse.query(f"SELECT count() FROM {TABLE} FORMAT TSV")

    def compared(self):
        total = self.reconcile("--spool-dir", str(self.directory / "spool"))
        letters = int(self.clickhouse.query("SELECT count() FROM xtcp.dead_letters"))
        return {name: total[name] for name in ("produced", "stored", "missing", "double")} | {"dead_letters": letters}

    def reckon_all(self, daemon):
        daemon.end()
        self.drained(daemon)
        return self.compared()


def main():
    figures = {
        "date": date.today().isoformat(), "kernel": platform.release(), "cpus": os.cpu_count(),
        "commit": commit(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        bench = Whole(Path(directory), (REPOSITORY / "target" / "release").resolve())
        try:
            bench.open()
            figures["pipeline"] = {"kafka": Kafka.name, "engine": bench.clickhouse.query("SELECT version()").strip()}
            for measure in (steady, lag, throughput):
                bench.begin()
                figures[measure.__name__] = measure(bench)
                print(f"{measure.__name__}: {figures[measure.__name__]}", flush=True)
                bench.tidy()
        finally:
            bench.close()
    Path(sys.argv[1]).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
