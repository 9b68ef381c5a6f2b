"""What the fault tests stand on: a pipeline of their own, sockets to read, daemons, and the reckoning at the end."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request
from argparse import Namespace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "scripts" / folder) for folder in ("pipeline.d", "evidence.d")]

import pipeline as whole  # noqa: E402
import processes  # noqa: E402
from evidence import commit  # noqa: E402, F401
from parts import TABLE, ClickHouse, Failed, Feeder, Kafka, free_port  # noqa: E402

# 600 sockets and those of the machine's own namespace, read five times a second: 3,000 rows and 1 MB a
# second. An envelope a poll, since the engine needs 40 to 200 ms an INSERT, as busy as the machine is.
NAMESPACES, SOCKETS = 10, 60
POLLS_PER_SECOND = 5
ENVELOPE_ROWS = 1_000
# Fewer were no load, and would prove little.
PRODUCED_MIN = 5_000
# What a backlog may take to arrive on a busy machine of two cores.
DRAIN_SECONDS = 600
# Two polls' rows wait at any time, on a machine that is merely busy.
CAUGHT_UP_ROWS = 2 * NAMESPACES * SOCKETS

# Of the spool's journal (docs/spool.md): what begins an entry, and an entry.
ENTRY = struct.Struct("<4sIQQQQqIIII")


class Wrong(Exception):
    """A fault did harm: one line for a person."""


def check(holds, what, wanted, got):
    if not holds:
        raise Wrong(f"{what}: expected {wanted}, got {got}")


def wait_for(what, holds, seconds=DRAIN_SECONDS):
    """Waits; returns for how long, in seconds."""
    start = time.monotonic()
    if not processes.wait_until(holds, seconds):
        raise Wrong(f"{what}: expected within {seconds} s, got nothing of it")
    return round(time.monotonic() - start, 1)


def identities(spool):
    """Every message of the journal, and the rows of those that were given up, by identity."""
    made, dropped = set(), {}
    for name in ("journal.1", "journal"):
        file = spool / name
        data = file.read_bytes() if file.exists() else b""
        for at in range(0, len(data) - ENTRY.size + 1, ENTRY.size):
            kind, _, instance, sequence, _, _, _, rows, part, _, _ = ENTRY.unpack_from(data, at)
            if kind in (b"PROD", b"FIND", b"DROP"):
                made.add((instance, sequence, part))
            if kind == b"DROP":
                dropped[(instance, sequence, part)] = rows
    return made, dropped


def metrics_of(url):
    """Each metric, summed over its labels, and with each set of labels."""
    values = {}
    for line in urllib.request.urlopen(url, timeout=10).read().decode().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            for key in {name, name.partition("{")[0]}:
                values[key] = values.get(key, 0) + float(value)
    return values


class Daemon:
    """One run of xtcp2."""

    def __init__(self, bench, command):
        bench.runs += 1
        self.log = bench.directory / "logs" / f"daemon-{bench.runs}.log"
        self.process = processes.start(command, self.log)
        self.url = None

    @property
    def pid(self):
        return self.process["pid"]

    def text(self):
        return self.log.read_text(errors="replace")

    def is_up(self):
        found = re.search(r"admin HTTP on (http://\S+)", self.text())
        self.url = found and found[1]
        return bool(found) or not processes.is_alive(self.process)

    def metrics(self):
        if not self.url:
            wait_for("the daemon's start", self.is_up, 60)
            check(self.url, "the daemon's start", "its admin server", self.text()[-500:])
        return metrics_of(self.url)

    def one(self, name):
        return int(self.metrics()[name])

    def delivered(self):
        return self.one("xtcp2_output_delivered_rows_total")

    def caught_up(self):
        return self.one("xtcp2_output_queued_rows") <= CAUGHT_UP_ROWS

    def threads(self):
        """The names of its threads."""
        names = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            # One that has just ended has no name any more.
            with contextlib.suppress(OSError):
                names.append((task / "comm").read_text().strip())
        return sorted(names)

    def end(self):
        check(processes.is_alive(self.process), "the daemon", "to run", self.text()[-500:])
        check(processes.end(self.process), "SIGTERM to the daemon", "its end", "none")

    def kill(self):
        check(processes.is_alive(self.process), "the daemon", "to run", self.text()[-500:])
        processes.send(self.process, signal.SIGKILL)
        # Its threads end one by one, the first perhaps first: only when it can be waited for is all of it gone,
        # and its lock on the spool.
        os.waitpid(self.pid, 0)


class Bench:
    """A pipeline, and sockets to read; everything that it starts ends with `close`."""

    def __init__(self, directory, binaries):
        self.directory, self.binaries = directory, binaries
        self.namespaces, self.nothing = directory / "namespaces", directory / "nothing"
        for folder in (self.namespaces, self.nothing, directory / "logs"):
            folder.mkdir(parents=True)
        self.runs, self.daemons, self.mounts, self.load = 0, [], [], None
        self.topic_messages = 0
        self.pipeline = whole.Pipeline(directory / "pipeline")

    def open(self):
        defaults = dict.fromkeys(("kafka_port", "clickhouse_port", "topic", "partitions"))
        with contextlib.redirect_stdout(io.StringIO()):
            whole.up(self.pipeline, Namespace(**defaults, binaries=self.binaries, without_feeder=False))
        log = self.directory / "logs" / "load.log"
        words = [str(NAMESPACES), str(SOCKETS), str(self.namespaces)]
        self.load = processes.start([str(self.binaries / "examples" / "load_sockets"), *words], log)
        wait_for("sockets to read", lambda: "ready:" in log.read_text() or not processes.is_alive(self.load), 60)
        check(processes.is_alive(self.load), "sockets to read", "a process that holds them", log.read_text()[-500:])

    def close(self):
        for daemon in self.daemons:
            processes.end(daemon.process, kill=True)
        processes.end(self.load)
        if self.pipeline.state:
            with contextlib.redirect_stdout(io.StringIO()):
                whole.down(self.pipeline, None)
        for folder in self.mounts:
            subprocess.run(["umount", "--lazy", folder], check=True)

    # --- parts

    @property
    def kafka(self):
        return self.pipeline.part(Kafka)

    @property
    def clickhouse(self):
        return self.pipeline.part(ClickHouse)

    def start(self, kind):
        """Again: its topic and tables are there already, and Kafka's tools take seconds of a core."""
        part = self.pipeline.part(kind)
        part.start()
        self.pipeline.save()
        part.wait()

    def stop(self, kind):
        self.pipeline.end(kind)

    def kill(self, kind):
        check(self.pipeline.is_alive(kind), kind.name, "to run", "nothing of it")
        self.pipeline.end(kind, kill=True)

    def signal(self, kind, number):
        processes.send(self.pipeline.process(kind), number)

    # --- daemons

    def daemon(self, spool, *flags, dest=None, namespaces=None):
        """Starts one that reads the sockets, five times a second."""
        command = [
            str(self.binaries / "xtcp2"), "--dest", dest or f"kafka:{self.kafka.brokers()}",
            "--netns-dirs", str(namespaces or self.namespaces), "--proc-scan-every", "0s",
            "--frequency", f"{1000 // POLLS_PER_SECOND}ms", "--poll-jitter-pct", "0", "--prom-listen", "127.0.0.1:0",
            "--envelope-flush-rows", str(ENVELOPE_ROWS), *(["--spool-dir", str(spool)] if spool else []), *flags,
        ]  # fmt: skip
        daemon = Daemon(self, command)
        self.daemons.append(daemon)
        return daemon

    def under_load(self, daemon, rows=2 * NAMESPACES * SOCKETS):
        """Until so many more rows were delivered."""
        before = daemon.delivered()
        wait_for(f"{rows} rows more delivered", lambda: daemon.delivered() >= before + rows)

    def folder(self, name):
        folder = self.directory / name
        folder.mkdir()
        return folder

    def tmpfs(self, name, size):
        folder = self.folder(name)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", folder], check=True)
        self.mounts.append(folder)
        return folder

    def tidy(self):
        """Nothing of a fault is left for the next one."""
        for daemon in self.daemons:
            processes.end(daemon.process, kill=True)
        self.daemons.clear()
        for folder in self.mounts:
            subprocess.run(["umount", folder], check=True)
        self.mounts.clear()
        shutil.rmtree(self.directory / "spool", ignore_errors=True)

    # --- the end

    def begin(self):
        """An empty table."""
        for table in (TABLE, "xtcp.dead_letters"):
            self.clickhouse.query(f"TRUNCATE TABLE {table}")

    def drain_spool(self, spool, *flags, dest=None):
        """A last run, which reads next to nothing, until nothing waits in the spool."""
        daemon = self.daemon(spool, "--frequency", "1h", *flags, dest=dest, namespaces=self.nothing)

        def is_empty():
            # Both of the same moment: the rows of its own poll wait too.
            now = daemon.metrics()
            return now["xtcp2_output_queued_rows"] == 0 < now["xtcp2_polls_total"]

        wait_for("an empty spool", is_empty)
        daemon.end()

    def drain_topic(self):
        """Until everything in the topic is committed. Returns messages that came since the last time, and seconds."""
        end, start = sum(self.kafka.end_offsets().values()), time.monotonic()

        def is_empty():
            # Kafka's own tool takes seconds of a core, which the feeder needs: it is asked when that rests.
            before = self.fed()
            time.sleep(1)
            return self.fed() == before and sum(self.kafka.committed().values()) == end

        wait_for("an empty topic", is_empty)
        came, self.topic_messages = end - self.topic_messages, end
        return came, round(time.monotonic() - start, 1)

    def fed(self):
        """Messages that this run of the feeder has stored or put aside."""
        url = f"http://127.0.0.1:{self.pipeline.state['ports']['feeder']}/metrics"
        return metrics_of(url)["xtcp2_kafka_to_clickhouse_messages_total"]

    def reconcile(self, *flags):
        """The totals of its report. Its exit status must say the same as its numbers."""
        words = ["reconcile", "--clickhouse", f"{self.clickhouse.url()}/{TABLE}", "--settle", "60s", "--json", *flags]
        done = subprocess.run(
            [self.binaries / "xtcp2-soak", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900
        )
        check(done.returncode in (0, 1), "reconcile", "status 0 or 1", f"{done.returncode}: {done.stderr}{done.stdout[-800:]}")
        report = json.loads(done.stdout)
        (self.directory / "logs" / "reconcile.json").write_text(done.stdout)
        total = report["total"]
        differs = total["missing"] + total["double"] > 0
        check(done.returncode == differs, "reconcile's status", int(differs), done.returncode)
        names = ("instances", "produced", "stored", "missing", "admitted", "unexplained", "pending", "double", "double_after_final")
        return {name: total[name] for name in names}

    def reckon(self, spool, daemon=None, *, dropped=0, foreign=0, dest=None, flags=()):
        """Ends the daemon, drains, and compares: exactly `dropped` rows are missing, none is double.
        Returns the figures; `foreign` messages in the topic are not the daemon's."""
        if daemon:
            daemon.end()
        self.drain_spool(spool, *flags, dest=dest)
        made, given_up = identities(spool)
        figures = {}
        if dest is None:
            messages, seconds = self.drain_topic()
            doubles = messages - foreign - (len(made) - len(given_up))
            figures = {"topic_messages": messages, "topic_doubles": doubles, "topic_drain_seconds": seconds}
            check(doubles >= 0, "messages in the topic", f"at least {len(made) - len(given_up)}", messages - foreign)
        total = self.reconcile("--spool-dir", str(spool))
        check(sum(given_up.values()) == dropped, "rows that the journal says were given up", dropped, sum(given_up.values()))
        self.compare(total, dropped)
        return total | {"envelopes": len(made)} | figures

    def compare(self, total, dropped):
        check(total["produced"] >= PRODUCED_MIN, "rows produced", f"at least {PRODUCED_MIN}", total["produced"])
        wanted = {"missing": dropped, "admitted": dropped, "unexplained": 0, "pending": 0, "double": 0, "double_after_final": 0}
        got = {name: total[name] for name in wanted}
        check(got == wanted, "reconcile", wanted, got)
        check(total["stored"] == total["produced"] - dropped, "rows stored", total["produced"] - dropped, total["stored"])


__all__ = ["TABLE", "Bench", "ClickHouse", "Failed", "Feeder", "Kafka", "Wrong", "check", "free_port", "processes", "wait_for"]
