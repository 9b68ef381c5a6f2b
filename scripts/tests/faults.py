#!/usr/bin/env python3
"""Is every row stored once, whatever fails on its way?

    faults.py [--full] [--seed N] [--jobs N] [--binaries DIR] [--json FILE] [NAME...]

The whole path, for real: daemon, Apache Kafka, kafka-to-clickhouse, ClickHouse's engine. Each fault is
done under load and healed; then spool and topic are drained, and xtcp2-soak reconcile must find every row
once, or exactly those missing that the daemon says it gave up. One line a fault; --json keeps the figures.

--full takes longer outages and more kills. --jobs runs so many pipelines at a time. Needs root (network
namespaces, a tmpfs), what scripts/setup pipeline installs, and in DIR (target/release) xtcp2, xtcp2-soak and
examples/load_sockets. Everything is in a temporary folder, and ended at the end; logs are kept in
target/test-logs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from fault_bench import (
    NAMESPACES, POLLS_PER_SECOND, REPOSITORY, SOCKETS, TABLE, Bench, ClickHouse, Failed, Feeder, Kafka, Wrong, check, commit, free_port, processes, wait_for,
)  # fmt: skip

# librdkafka holds 16 MiB, and the queue 4 MiB beside the spool; the rest is the allocator's.
RSS_GROWTH_BYTES_MAX = 64 << 20
# No broker needs longer to be found again: Kafka's start, and reconnect.backoff.max.ms.
BACK_SECONDS = 120
MIB = 1 << 20
# 4 MB a second, to fill a disk, and few envelopes.
FAST = ("--frequency", "50ms")


def broker_stopped(bench, full, _):
    """Kafka is ended and comes back: polls go on, the spool grows, memory does not."""
    away = 60 if full else 12
    spool = bench.folder("spool")
    daemon = bench.daemon(spool)
    bench.under_load(daemon)
    bench.stop(Kafka)
    before, start = daemon.metrics(), time.monotonic()
    time.sleep(away)
    after, seconds = daemon.metrics(), time.monotonic() - start
    bench.start(Kafka)
    grown = {name: after[name] - before[name] for name in before}
    polls, late = grown["xtcp2_polls_total"], grown["xtcp2_polls_late_total"]
    # Half of them: another test may have the machine meanwhile.
    check(polls >= seconds * POLLS_PER_SECOND / 2, "polls in the outage", f"half of {seconds * POLLS_PER_SECOND:.0f}", polls)
    check(late <= polls / 4, "late polls in the outage", f"at most a quarter of {polls:.0f}", late)
    rss = grown["process_resident_memory_bytes"]
    check(rss <= RSS_GROWTH_BYTES_MAX, "growth of memory in the outage", f"at most {RSS_GROWTH_BYTES_MAX}", rss)
    check(grown["xtcp2_spool_bytes"] > MIB, "growth of the spool", "more than 1 MiB", grown["xtcp2_spool_bytes"])
    check(after["xtcp2_kafka_brokers_up"] == 0, "xtcp2_kafka_brokers_up in the outage", 0, after["xtcp2_kafka_brokers_up"])
    back = wait_for("the backlog to be delivered", daemon.caught_up)
    figures = bench.reckon(spool, daemon)
    return figures | {
        "away_seconds": away, "polls_in_outage": int(polls), "polls_late_in_outage": int(late),
        "memory_mib_before": int(before["process_resident_memory_bytes"]) >> 20,
        "memory_mib_after": int(after["process_resident_memory_bytes"]) >> 20,
        "spool_mib": round(after["xtcp2_spool_bytes"] / MIB, 1), "back_seconds": back,
    }  # fmt: skip


def broker_killed(bench, *_):
    """Kafka is killed under load, twice."""
    spool = bench.folder("spool")
    daemon = bench.daemon(spool)
    for _ in range(2):
        bench.under_load(daemon)
        bench.kill(Kafka)
        time.sleep(2)
        bench.start(Kafka)
        wait_for("the backlog to be delivered", daemon.caught_up, BACK_SECONDS)
    possibly = daemon.one("xtcp2_output_possibly_persisted_messages_total")
    return bench.reckon(spool, daemon) | {"kills": 2, "possibly_persisted": possibly}


def broker_never(bench, *_):
    """The daemon starts while no broker is there."""
    bench.stop(Kafka)
    spool = bench.folder("spool")
    daemon = bench.daemon(spool)
    time.sleep(10)
    before = daemon.metrics()
    check(before["xtcp2_rows_total"] > 0 == daemon.delivered(), "rows without a broker", "made, none delivered", before["xtcp2_rows_total"])
    bench.start(Kafka)
    back = wait_for("the backlog to be delivered", daemon.caught_up, BACK_SECONDS)
    return bench.reckon(spool, daemon) | {"rows_before_broker": int(before["xtcp2_rows_total"]), "back_seconds": back}


def clickhouse_away(bench, *_):
    """ClickHouse is killed and frozen, the feeder killed, under load."""
    spool = bench.folder("spool")
    daemon = bench.daemon(spool)
    bench.under_load(daemon)
    bench.kill(ClickHouse)
    time.sleep(3)
    bench.start(ClickHouse)
    bench.under_load(daemon)
    bench.signal(ClickHouse, signal.SIGSTOP)
    time.sleep(5)
    bench.signal(ClickHouse, signal.SIGCONT)
    bench.under_load(daemon)
    bench.kill(Feeder)
    time.sleep(1)
    bench.start(Feeder)
    bench.under_load(daemon)
    return bench.reckon(spool, daemon)


def daemon_killed(bench, full, seed):
    """kill -9 at random moments, each time another instance on the same spool."""
    kills, moments = 200 if full else 25, random.Random(seed)
    spool = bench.folder("spool")
    for _ in range(kills):
        daemon = bench.daemon(spool, "--envelope-flush-rows", "200")
        # From before the first poll to some polls after the first message was acknowledged.
        time.sleep(moments.uniform(0.02, 1.5))
        daemon.kill()
    figures = bench.reckon(spool)
    check(figures["instances"] > kills / 2, "instances of which there are rows", f"most of {kills}", figures["instances"])
    return figures | {"kills": kills, "seed": seed}


def disk_full(bench, *_):
    """The disk of the spool is full while Kafka is away: memory takes over, and nothing is lost."""
    spool = bench.tmpfs("spool", "8m")
    daemon = bench.daemon(spool, "--spool-max-bytes", "64MiB", *FAST)
    bench.under_load(daemon)
    bench.stop(Kafka)
    wait_for("a full disk", lambda: daemon.one("xtcp2_spool_degraded") == 1, 60)
    check("messages are kept in memory only" in daemon.text(), "the log", "messages are kept in memory only", daemon.text()[-500:])
    time.sleep(3)
    waiting = daemon.metrics()
    bench.start(Kafka)
    wait_for("the backlog to be delivered", daemon.caught_up, BACK_SECONDS)
    healed = wait_for("a disk that takes messages again", lambda: daemon.one("xtcp2_spool_degraded") == 0, 60)
    figures = bench.reckon(spool, daemon)
    return figures | {
        "refused_messages": int(waiting["xtcp2_spool_refused_messages_total"]),
        "queued_rows_in_outage": int(waiting["xtcp2_output_queued_rows"]), "healed_seconds": healed,
    }  # fmt: skip


def spool_bound(bench, *_):
    """The bound of the spool is reached while Kafka is away: what is missing is what was given up."""
    spool = bench.tmpfs("spool", "64m")
    bound = ("--spool-max-bytes", "16MiB")
    daemon = bench.daemon(spool, *bound, *FAST)
    bench.under_load(daemon)
    bench.stop(Kafka)
    full = 'xtcp2_output_dropped_rows_total{reason="queue_full"}'
    wait_for("the bound of the spool", lambda: daemon.one(full) > 0, 120)
    time.sleep(3)
    bench.start(Kafka)
    wait_for("the backlog to be delivered", daemon.caught_up, BACK_SECONDS)
    dropped = daemon.one("xtcp2_output_dropped_rows_total")
    figures = bench.reckon(spool, daemon, dropped=dropped, flags=bound)
    return figures | {"dropped_by_metrics": dropped}


def memory_bound(bench, *_):
    """No spool and a small queue while Kafka is away: what is missing is what was given up."""
    daemon = bench.daemon(None, "--output-queue-bytes", "2MiB")
    bench.under_load(daemon)
    bench.stop(Kafka)
    wait_for("the bound of the queue", lambda: daemon.one("xtcp2_output_dropped_rows_total") > 0, 120)
    time.sleep(3)
    bench.start(Kafka)
    wait_for("the backlog to be delivered", daemon.caught_up, BACK_SECONDS)
    dropped = daemon.one("xtcp2_output_dropped_rows_total")
    # It lives on, and says itself what it has made and given up.
    total = bench.reconcile("--metrics", daemon.url)
    check(daemon.one("xtcp2_output_dropped_rows_total") == dropped, "rows given up after Kafka is back", dropped, daemon.metrics())
    bench.compare(total, dropped)
    daemon.end()
    bench.drain_topic()
    return total | {"dropped_by_metrics": dropped}


def slow_broker(bench, full, _):
    """Kafka stands still for a while, with its connections open."""
    frozen = 45 if full else 10
    spool = bench.folder("spool")
    daemon = bench.daemon(spool)
    bench.under_load(daemon)
    bench.signal(Kafka, signal.SIGSTOP)
    try:
        time.sleep(frozen)
    finally:
        bench.signal(Kafka, signal.SIGCONT)
    back = wait_for("the backlog to be delivered", daemon.caught_up, BACK_SECONDS)
    return bench.reckon(spool, daemon) | {"frozen_seconds": frozen, "back_seconds": back}


def poison(bench, *_):
    """Messages that are no envelopes, with keys and without, among the rows."""
    spool = bench.folder("spool")
    daemon = bench.daemon(spool)
    bench.under_load(daemon)
    # One says that it is an envelope of an instance.
    keyed = "key\tno envelope\n00000000000000ab-1\tno envelope either\n\t\n"
    plain = "no envelope\n\n\x05\x01\x02\n" + "long " * 1000 + "\n"
    for lines, flags in ((keyed, ("--property", "parse.key=true")), (plain, ())):
        words = ["--bootstrap-server", bench.kafka.brokers(), "--topic", bench.pipeline.state["topic"], *flags]
        producer = bench.kafka.java("org.apache.kafka.tools.ConsoleProducer", *words)
        subprocess.run(producer, input=lines, text=True, check=True, capture_output=True, timeout=120)
    bench.under_load(daemon)
    count = keyed.count("\n") + plain.count("\n")
    figures = bench.reckon(spool, daemon, foreign=count)
    letters = int(bench.clickhouse.query("SELECT count() FROM xtcp.dead_letters FINAL"))
    check(letters == count, "dead letters", count, letters)
    check(figures["topic_doubles"] == 0, "messages twice in the topic", 0, figures["topic_doubles"])
    return figures | {"poisonous_messages": count, "dead_letters": letters}


def threads(bench, *_):
    """Never more threads than ours, librdkafka's two, and one for each bootstrap address and broker of the metadata."""
    seen = {}
    spool = bench.folder("spool")
    dead = free_port()
    for addresses in (1, 2):
        brokers = ",".join([bench.kafka.brokers(), f"127.0.0.1:{dead}"][:addresses])
        daemon = bench.daemon(spool, dest=f"kafka:{brokers}")
        most = []

        def look(seconds, until=lambda: False):
            nonlocal most
            end = time.monotonic() + seconds
            while time.monotonic() < end and not until():
                most = max(most, daemon.threads(), key=len)
                time.sleep(0.02)

        look(2)
        bench.under_load(daemon)
        for end in (bench.kill, bench.stop):
            end(Kafka)
            look(3)
            bench.start(Kafka)
            look(BACK_SECONDS, daemon.caught_up)
            bench.under_load(daemon)
            look(1)
        # Its main thread, and one that belongs to no broker.
        bound = 1 + 2 + addresses + daemon.one("xtcp2_kafka_brokers")
        check(len(most) <= bound, f"threads with {addresses} addresses", f"at most {bound}", f"{len(most)}: {most}")
        check(daemon.one("xtcp2_kafka_brokers") == 1, "xtcp2_kafka_brokers", 1, daemon.one("xtcp2_kafka_brokers"))
        seen |= {f"threads_most_{addresses}": len(most), f"threads_bound_{addresses}": bound, f"threads_names_{addresses}": most}
        daemon.end()
    return bench.reckon(spool) | seen


def direct(bench, full, _):
    """Without Kafka: ClickHouse is killed and frozen under load."""
    dest = f"clickhouse:{bench.clickhouse.url()}/{TABLE}"
    spool = bench.folder("spool")
    daemon = bench.daemon(spool, dest=dest)
    bench.under_load(daemon)
    bench.kill(ClickHouse)
    time.sleep(3)
    bench.start(ClickHouse)
    bench.under_load(daemon)
    # An exchange may take 30 s.
    frozen = 40 if full else 5
    bench.signal(ClickHouse, signal.SIGSTOP)
    try:
        time.sleep(frozen)
    finally:
        bench.signal(ClickHouse, signal.SIGCONT)
    bench.under_load(daemon)
    retries = daemon.one("xtcp2_output_retries_total")
    return bench.reckon(spool, daemon, dest=dest) | {"frozen_seconds": frozen, "retries": retries}


# In an order whose halves take about as long.
FAULTS = {
    "broker-stopped": broker_stopped, "daemon-killed": daemon_killed, "broker-killed": broker_killed, "disk-full": disk_full,
    "spool-bound": spool_bound, "memory-bound": memory_bound, "broker-never": broker_never, "clickhouse-away": clickhouse_away,
    "slow-broker": slow_broker, "threads": threads, "poison": poison, "direct": direct,
}  # fmt: skip


def line(name, figures):
    """What a person should see of it, on one line."""
    words = [
        f"{figures['produced']} rows of {figures['instances']} instances, missing {figures['missing']} (admitted {figures['admitted']}), "
        f"double {figures['double']} (after FINAL {figures['double_after_final']})"
    ]
    if "topic_doubles" in figures:
        words.append(f"topic {figures['topic_messages']} messages, {figures['topic_doubles']} of them twice")
    told = {
        "instances", "produced", "stored", "missing", "admitted", "unexplained", "pending", "double", "double_after_final",
        "topic_messages", "topic_doubles", "envelopes",
    }  # fmt: skip
    words += [f"{key.replace('_', ' ')} {value}" for key, value in figures.items() if key not in told and not isinstance(value, list)]
    return f"{name}: {'; '.join(words)}"


def keep_logs(bench, name):
    kept = REPOSITORY / "target" / "test-logs" / f"faults-{name}"
    shutil.rmtree(kept, ignore_errors=True)
    for folder, target in ((bench.directory / "logs", kept), (bench.directory / "pipeline" / "logs", kept / "pipeline")):
        if folder.exists():
            shutil.copytree(folder, target)
    return kept


def run(names, arguments):
    """The figures by name, and whether all went well. A pipeline that a fault has broken is left, not mended."""
    figures, well, bench, directory = {}, True, None, None
    try:
        for name in names:
            start = time.monotonic()
            try:
                if bench is None:
                    directory = tempfile.TemporaryDirectory(prefix="xtcp2-faults-")
                    bench = Bench(Path(directory.name), arguments.binaries)
                    bench.open()
                bench.begin()
                figures[name] = FAULTS[name](bench, arguments.full, arguments.seed)
                figures[name] |= {"seconds": round(time.monotonic() - start), "date": f"{date.today()}", "commit": commit()}
                print(line(name, figures[name]), flush=True)
                keep_logs(bench, name)
                bench.tidy()
            except (Wrong, Failed, OSError, subprocess.SubprocessError) as error:
                well = False
                print(f"{name}: FAILED: {error}; logs: {keep_logs(bench, name)}", flush=True)
                bench.close()
                directory.cleanup()
                bench = None
    finally:
        if bench:
            bench.close()
            directory.cleanup()
    return figures, well


def run_in_parallel(names, arguments):
    """Each of the jobs is this program again, with names of its own."""
    figures, well, started = {}, True, []
    with tempfile.TemporaryDirectory() as directory:
        try:
            for job in range(arguments.jobs):
                of_job, file = names[job :: arguments.jobs], Path(directory) / f"{job}.json"
                flags = ["--seed", str(arguments.seed), "--binaries", str(arguments.binaries), "--json", str(file)]
                command = [sys.executable, __file__, *flags, *(["--full"] if arguments.full else []), *of_job]
                if of_job:
                    started.append((subprocess.Popen(command, stdin=subprocess.DEVNULL), file))
            for process, file in started:
                well &= process.wait() == 0
                figures |= json.loads(file.read_text()) if file.exists() else {}
        finally:
            for process, _ in started:
                process.terminate()
                process.wait()
    return figures, well


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *FAULTS], help=", ".join(FAULTS))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--binaries", type=Path, default=REPOSITORY / "target" / "release")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.binaries = arguments.binaries.resolve()
    if os.geteuid() != 0:
        print("network namespaces with sockets in them, and a tmpfs, need root")
        return 77
    # So that `finally` is reached.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    names = arguments.names or list(FAULTS)
    figures, well = (run_in_parallel if arguments.jobs > 1 else run)(names, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
