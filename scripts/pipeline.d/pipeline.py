"""scripts/pipeline: Kafka, ClickHouse and what is between them, on this machine.

    scripts/pipeline up [--kafka-port N] [--clickhouse-port N] [--topic NAME] [--partitions N]
                        [--binaries DIR] [--without-feeder]
    scripts/pipeline status | down
    scripts/pipeline start | stop | kill  kafka | clickhouse | feeder
    scripts/pipeline reconcile [FLAG...]      flags go to xtcp2-soak reconcile

Every command takes --dir DIR first (scripts/pipeline --dir DIR up): another pipeline beside this one.

up      Starts what is not running: a broker with the topic, ClickHouse with the tables, the feeder; waits
        until each is ready, and says what to start xtcp2 with. Ports that are not named are free ones;
        until `down` they stay the same. xtcp2 and xtcp2-soak are built, unless --binaries names a folder
        that has them.
down    Ends exactly those. Data and logs stay in target/pipeline; `rm -r` it for an empty table.
status  What is alive, with ports, memory, lag and rows. Exit status 1 unless everything is.
stop    SIGTERM, and waits. kill: SIGKILL. start: again, on the same port with the same data.

ClickHouse is the server with its Kafka engine, where clickhouse-server is installed; then there is no
feeder, unless XTCP2_PIPELINE_FEEDER is set: with one no copy gets into the table, whatever is killed. Else
it is the same engine behind a small HTTP front, fed by xtcp2-soak kafka-to-clickhouse.
"""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
from parts import PARTS, REPOSITORY, TABLE, ClickHouse, Failed, Feeder, Kafka, free_port, has_server


class Pipeline:
    def __init__(self, directory):
        self.directory = directory
        self.file = directory / "state.json"
        directory.mkdir(parents=True, exist_ok=True)
        # Two commands at once would each start what the other starts. Children do not inherit it.
        self.lock = open(directory / "lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.state = json.loads(self.file.read_text()) if self.file.exists() else None

    def save(self):
        written = self.file.with_suffix(".new")
        written.write_text(json.dumps(self.state, indent=2) + "\n")
        written.rename(self.file)

    def part(self, kind):
        return kind(self.state, self.directory)

    def process(self, kind):
        return self.state["processes"].get(kind.name)

    def is_alive(self, kind):
        return processes.is_alive(self.process(kind))

    def kinds(self):
        """The parts of this pipeline, in the order of their start."""
        return [kind for kind in PARTS if kind is not Feeder or self.state["feeder"]]

    def start(self, kind):
        before = time.monotonic()
        part = self.part(kind)
        part.start()
        # Before it is known to work: whatever happens now, `down` finds it.
        self.save()
        part.wait()
        if kind is Kafka:
            part.make_topic()
        if kind is ClickHouse:
            part.apply(self.part(Kafka).brokers())
        print(f"{kind.name}: 127.0.0.1:{part.port}, ready after {time.monotonic() - before:.1f} s")

    def end(self, kind, kill=False):
        if self.is_alive(kind):
            if not processes.end(self.process(kind), kill):
                print(f"{kind.name} did not end within {processes.STOP_SECONDS} s and was killed", file=sys.stderr)


def up(pipeline, arguments):
    if pipeline.state and pipeline.state["processes"]:
        # It is up, or was until something ended it: as it was, and no other.
        ports = pipeline.state["ports"]
        for what, asked, is_set in (
            ("--kafka-port", arguments.kafka_port, ports["kafka"]),
            ("--clickhouse-port", arguments.clickhouse_port, ports["clickhouse"]),
            ("--topic", arguments.topic, pipeline.state["topic"]),
            ("--partitions", arguments.partitions, pipeline.state["partitions"]),
        ):
            if asked not in (None, is_set):
                raise Failed(f"{what} {asked}: the pipeline was started with {is_set}: scripts/pipeline down first")
    else:
        server = has_server()
        pipeline.state = {
            "server": server,
            "feeder": (not server or "XTCP2_PIPELINE_FEEDER" in os.environ) and not arguments.without_feeder,
            "topic": arguments.topic or "xtcp",
            "partitions": arguments.partitions or 3,
            "ports": {
                "kafka": arguments.kafka_port or free_port(),
                "controller": free_port(),
                "clickhouse": arguments.clickhouse_port or free_port(),
                "feeder": free_port(),
            },
            "processes": {},
        }
    pipeline.state["binaries"] = str(arguments.binaries.resolve() if arguments.binaries else build())
    for kind in pipeline.kinds():
        if not pipeline.is_alive(kind):
            pipeline.start(kind)
    brokers, url = pipeline.part(Kafka).brokers(), pipeline.part(ClickHouse).url()
    topic = "" if pipeline.state["topic"] == "xtcp" else f" --topic {pipeline.state['topic']}"
    print(f"logs: {pipeline.directory / 'logs'}")
    print(f"rows: curl {url}/ -d 'SELECT count() FROM {TABLE}'")
    print(f"start: {pipeline.state['binaries']}/xtcp2 --dest kafka:{brokers}{topic}")


def build():
    """The folder of xtcp2 and xtcp2-soak, both as they are now."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "xtcp2", "--bin", "xtcp2-soak"], check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target").resolve() / "release"


def status(pipeline, _):
    if not pipeline.state:
        raise Failed(f"{pipeline.directory}: no pipeline is set up here")
    alive = {kind: pipeline.is_alive(kind) for kind in pipeline.kinds()}
    well = all(alive.values())
    for kind, is_alive in alive.items():
        process = pipeline.process(kind)
        if not is_alive:
            print(f"{kind.name:10} not running; its port is {pipeline.state['ports'][kind.name]}")
            continue
        part = pipeline.part(kind)
        words = "ready" if part.ready() else "does not answer"
        well &= words == "ready"
        print(f"{kind.name:10} {words}: 127.0.0.1:{part.port}, pid {process['pid']}, {processes.memory_mib(process)} MiB")
    kafka, clickhouse = pipeline.part(Kafka), pipeline.part(ClickHouse)
    if alive[Kafka] and kafka.ready():
        ends, committed = kafka.end_offsets(), kafka.committed()
        behind = sum(ends.values()) - sum(committed.values())
        print(f"topic      {pipeline.state['topic']}: {sum(ends.values())} messages, {behind} of them not read yet")
    if alive[ClickHouse] and clickhouse.ready():
        rows, letters = clickhouse.query(
            f"SELECT (SELECT count() FROM {TABLE}), (SELECT count() FROM xtcp.dead_letters FINAL)"
        ).split()
        print(f"table      {TABLE}: {rows} rows, {letters} dead letters")
    return 0 if well else 1


def down(pipeline, _):
    if not pipeline.state:
        return
    # Backwards: who feeds ends before who is fed.
    for kind in reversed(PARTS):
        pipeline.end(kind)
    pipeline.state["processes"] = {}
    pipeline.save()
    print(f"ended; data and logs are in {pipeline.directory}")


def one(pipeline, arguments):
    if not pipeline.state:
        raise Failed(f"{pipeline.directory}: no pipeline is set up here: scripts/pipeline up")
    kind = next(kind for kind in PARTS if kind.name == arguments.part)
    if kind not in pipeline.kinds():
        raise Failed(f"this pipeline has no {kind.name}")
    if arguments.command != "start":
        pipeline.end(kind, kill=arguments.command == "kill")
    elif pipeline.is_alive(kind):
        print(f"{kind.name} is running")
    else:
        pipeline.start(kind)


def reconcile(pipeline, arguments):
    if not pipeline.state:
        raise Failed(f"{pipeline.directory}: no pipeline is set up here: scripts/pipeline up")
    program = f"{pipeline.state['binaries']}/xtcp2-soak"
    target = f"{pipeline.part(ClickHouse).url()}/{TABLE}"
    os.execv(program, [program, "reconcile", "--clickhouse", target, *arguments.flags])


def main():
    # `scripts/pipeline status | grep -q ...` closes the pipe early.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(
        prog="scripts/pipeline", usage=argparse.SUPPRESS, description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--dir", type=Path, default=REPOSITORY / "target" / "pipeline")
    commands = parser.add_subparsers(dest="command")
    command = commands.add_parser("up", add_help=False, allow_abbrev=False)
    command.add_argument("--kafka-port", type=int)
    command.add_argument("--clickhouse-port", type=int)
    command.add_argument("--topic")
    command.add_argument("--partitions", type=int)
    command.add_argument("--binaries", type=Path)
    command.add_argument("--without-feeder", action="store_true")
    command.set_defaults(run=up)
    for name, run in (("status", status), ("down", down)):
        commands.add_parser(name, add_help=False).set_defaults(run=run)
    for name in ("start", "stop", "kill"):
        command = commands.add_parser(name, add_help=False)
        command.add_argument("part", choices=[kind.name for kind in PARTS])
        command.set_defaults(run=one)
    commands.add_parser("reconcile", add_help=False).set_defaults(run=reconcile)
    # What follows `reconcile` is another program's.
    words = sys.argv[1:]
    own = words.index("reconcile") + 1 if "reconcile" in words else len(words)
    arguments = parser.parse_args(words[:own])
    arguments.flags = words[own:]
    if arguments.help or not arguments.command:
        print(__doc__.strip())
        return 0 if arguments.help else 2
    try:
        return arguments.run(Pipeline(arguments.dir.resolve()), arguments)
    except (Failed, subprocess.CalledProcessError) as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
