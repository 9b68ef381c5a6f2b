#!/usr/bin/env python3
"""Does scripts/pipeline start, stop and know its parts?

    pipeline.py            takes about half a minute

The real broker and the real engine, in a folder of their own, beside any pipeline that runs already.
The feeder is stood in for: what it does is proved where it is written.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts" / "pipeline.d"))

import processes  # noqa: E402

# Listens where its metrics would be, until it is told to end.
FEEDER = """\
#!/usr/bin/env python3
import socket, sys
flags = dict(zip(sys.argv[2::2], sys.argv[3::2]))
if sys.argv[1] == "reconcile":
    print(" ".join(sys.argv[1:]))
    sys.exit(3)
print(" ".join(sys.argv[1:]), flush=True)
listener = socket.create_server(("127.0.0.1", int(flags["--metrics"].rpartition(":")[2])))
while True:
    listener.accept()
"""


def main():
    with tempfile.TemporaryDirectory() as directory:
        binaries = Path(directory) / "bin"
        binaries.mkdir()
        (binaries / "xtcp2-soak").write_text(FEEDER)
        (binaries / "xtcp2-soak").chmod(0o755)
        pipeline = Pipeline(Path(directory) / "pipeline", binaries)
        bystander = subprocess.Popen(["sleep", "600"])
        try:
            check(pipeline, bystander)
        finally:
            pipeline.run("down")
            bystander.kill()
            bystander.wait()
        for name, process in pipeline.seen.items():
            # A zombie is ended; whoever adopted it is slow to look.
            if processes.start_time(process) is not None:
                fail("down", f"no process {process} of {name}", "one")
    print("pipeline: everything is ended")


class Pipeline:
    def __init__(self, directory, binaries):
        self.directory, self.binaries, self.seen = directory, binaries, {}

    def run(self, *words, status=0):
        done = subprocess.run(
            [REPOSITORY / "scripts" / "pipeline", "--dir", self.directory, *words] if words[0] != "up" else
            # As the wrapper does it, without looking for what is missing: scripts/test has done that.
            [sys.executable, REPOSITORY / "scripts/pipeline.d/pipeline.py", "--dir", self.directory, *words, "--binaries", self.binaries],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=400,
        )  # fmt: skip
        text = done.stdout + done.stderr
        if status is not None and done.returncode != status:
            fail(f"pipeline {' '.join(words)}", f"status {status}", f"{done.returncode}: {text}")
        return text

    def state(self):
        state = json.loads((self.directory / "state.json").read_text())
        self.seen |= {f"{name} {p['pid']}": p["pid"] for name, p in state["processes"].items()}
        return state

    def query(self, text):
        port = self.state()["ports"]["clickhouse"]
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/", text.encode(), timeout=60).read().decode().strip()


def fail(what, wanted, got):
    sys.exit(f"{what}: expected {wanted}, got {got}")


def contains(what, text, *wanted):
    for part in wanted:
        if part not in text:
            fail(what, f"{part!r} in it", text)


def check(pipeline, bystander):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        contains("a taken port", pipeline.run("up", "--kafka-port", port, status=1), f"port {port} for kafka: expected a free one")
    text = pipeline.run("up", "--topic", "sockets")
    ports = pipeline.state()["ports"]
    contains("up", text, f"xtcp2 --dest kafka:127.0.0.1:{ports['kafka']} --topic sockets")
    contains(
        "status", pipeline.run("status"), "kafka      ready", "clickhouse ready", "feeder     ready", "sockets: 0 messages, 0 of them",
        "xtcp.xtcp_flat_records: 0 rows, 0 dead letters",
    )  # fmt: skip
    contains(
        "the feeder's command line", (pipeline.directory / "logs" / "feeder.log").read_text(),
        f"--brokers 127.0.0.1:{ports['kafka']} --topic sockets", f"--clickhouse http://127.0.0.1:{ports['clickhouse']}/xtcp.xtcp_flat_records",
    )  # fmt: skip
    got = pipeline.run("reconcile", "--json", status=3)
    contains("reconcile", got, f"reconcile --clickhouse http://127.0.0.1:{ports['clickhouse']}/xtcp.xtcp_flat_records --json")
    print("pipeline: up, ready, the right command lines")

    pipeline.query("INSERT INTO xtcp.dead_letters (topic, offset) VALUES ('t', 7)")
    before = pipeline.state()["processes"]
    for part in ("clickhouse", "kafka", "feeder"):
        pipeline.run("kill", part)
        contains(f"status after kill {part}", pipeline.run("status", status=1), f"{part:10} not running; its port is {ports[part]}")
    contains("up otherwise", pipeline.run("up", "--topic", "other", status=1), "started with sockets")
    contains("up again", pipeline.run("up"), "kafka: ", "clickhouse: ", "feeder: ")
    state = pipeline.state()
    if state["ports"] != ports or any(state["processes"][part]["pid"] == before[part]["pid"] for part in before):
        fail("up after kill", "new processes on the same ports", state)
    contains("rows after kill", pipeline.run("status"), "0 rows, 1 dead letters")
    pipeline.run("stop", "clickhouse")
    contains("start", pipeline.run("start", "clickhouse"), f"clickhouse: 127.0.0.1:{ports['clickhouse']}")
    contains("start of what runs", pipeline.run("start", "kafka"), "kafka is running")
    os.kill(pipeline.state()["processes"]["feeder"]["pid"], signal.SIGKILL)
    contains("status after a death", pipeline.run("status", status=1), "feeder     not running")
    print("pipeline: parts killed and started again, on their ports and with their data")

    # The number of a process of ours may belong to another one by now.
    state = pipeline.state()
    state["processes"]["feeder"] = {"pid": bystander.pid, "started": 1}
    (pipeline.directory / "state.json").write_text(json.dumps(state))
    pipeline.run("stop", "feeder")
    if bystander.poll() is not None:
        fail("stop", "a process of the same number and another start to live on", "it ended")
    print("pipeline: what only has the number of a part is left alone")


if __name__ == "__main__":
    main()
