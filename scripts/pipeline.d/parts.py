"""The parts of the pipeline: how each is started, and when it is ready."""

import http.client
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import processes
from sql import statements

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
SQL = REPOSITORY / "proto" / "clickhouse"
JARS = REPOSITORY / "target" / "kafka"

TABLE = "xtcp.xtcp_flat_records"
GROUP = "xtcp-clickhouse"
# On a busy machine of two cores; idle, each needs 2 to 4 s.
READY_SECONDS = 120


class Failed(Exception):
    """What stops a command: one line for a person."""


def has_server():
    return shutil.which("clickhouse-server") is not None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_free(part, port):
    with socket.socket() as probe:
        # As the parts themselves listen: a port whose connections have just ended is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Failed(f"port {port} for {part}: expected a free one, got {error.strerror}") from error


def answers(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Part:
    """One process. `state` is what `up` has settled: ports, topic, folders."""

    name = ""

    def __init__(self, state, directory):
        self.state, self.directory = state, directory
        self.log = directory / "logs" / f"{self.name}.log"

    @property
    def port(self):
        return self.state["ports"][self.name]

    def ready(self):
        return answers(self.port)

    def start(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        check_free(self.name, self.port)
        process = processes.start(self.command(), self.log)
        self.state["processes"][self.name] = process
        return process

    def wait(self):
        process = self.state["processes"][self.name]
        gone = lambda: not processes.is_alive(process)  # noqa: E731
        if not processes.wait_until(lambda: gone() or self.ready(), READY_SECONDS) or gone():
            how = "ended" if gone() else f"was not ready within {READY_SECONDS} s"
            last = self.log.read_text(errors="replace").strip().splitlines()[-5:]
            raise Failed("\n    ".join([f"{self.name} {how}; {self.log} ends with", *last]))


class Kafka(Part):
    """Broker and controller in one process."""

    name = "kafka"

    def java(self, main, *arguments, heap="128m", level="error"):
        """Serial GC and no C2: threads and memory of a small machine."""
        flags = [
            f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true",
            f"-Dorg.slf4j.simpleLogger.defaultLogLevel={level}", "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
        ]  # fmt: skip
        return ["java", *flags, "-cp", f"{JARS}/*", main, *arguments]

    def tool(self, main, *arguments):
        done = subprocess.run(self.java(main, *arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Failed(f"{main} {' '.join(arguments)}: {(done.stderr + done.stdout).strip()[-500:]}")
        return done.stdout

    def command(self):
        data = self.directory / "kafka"
        properties = self.directory / "server.properties"
        properties.write_text(PROPERTIES.format(port=self.port, controller=self.state["ports"]["controller"], data=data))
        check_free("kafka's controller", self.state["ports"]["controller"])
        if not (data / "meta.properties").exists():
            cluster = self.tool("kafka.tools.StorageTool", "random-uuid").strip()
            self.tool("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties))
        return self.java("kafka.Kafka", str(properties), heap="512m", level="warn")

    def brokers(self):
        return f"127.0.0.1:{self.port}"

    def make_topic(self):
        self.tool(
            "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.brokers(), "--create", "--if-not-exists",
            "--topic", self.state["topic"], "--partitions", str(self.state["partitions"]), "--replication-factor", "1",
        )  # fmt: skip

    def end_offsets(self):
        """Messages that were ever written, by partition."""
        lines = self.tool(
            "org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", self.brokers(), "--topic", self.state["topic"]
        ).splitlines()
        return {int(line.split(":")[1]): int(line.split(":")[2]) for line in lines if line.count(":") == 2}

    def committed(self):
        """What the group has read, by partition."""
        lines = self.tool(
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", self.brokers(), "--describe",
            "--group", GROUP,
        ).splitlines()  # fmt: skip
        rows = [line.split() for line in lines]
        return {int(row[2]): int(row[3]) for row in rows if row[:2] == [GROUP, self.state["topic"]] and row[3].isdigit()}


# One node. What is written is in the page cache, not on the disk: it survives kill -9 of the broker.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


class ClickHouse(Part):
    """The server where one is installed, else its engine in a process of ours."""

    name = "clickhouse"

    def command(self):
        data = self.directory / "clickhouse"
        if not self.state["server"]:
            front = [sys.executable, str(HERE / "clickhouse_http.py")]
            return [*front, "--path", str(data), "--listen", f"127.0.0.1:{self.port}", "--schemas", str(SQL)]
        data.mkdir(exist_ok=True)
        (self.directory / "users.xml").write_text(USERS)
        config = self.directory / "config.xml"
        config.write_text(CONFIG.format(port=self.port, data=data, schemas=SQL, users=self.directory / "users.xml"))
        return ["clickhouse-server", f"--config-file={config}"]

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ready(self):
        try:
            return urllib.request.urlopen(f"{self.url()}/ping", timeout=2).read() == b"Ok.\n"
        except (OSError, http.client.HTTPException):
            return False

    def query(self, text):
        request = urllib.request.Request(f"{self.url()}/?{urlencode({'wait_end_of_query': 1})}", text.encode())
        try:
            return urllib.request.urlopen(request, timeout=600).read().decode()
        except urllib.error.HTTPError as error:
            raise Failed(f"{text[:80]}: {error.read().decode(errors='replace')[:500]}") from error
        except OSError as error:
            raise Failed(f"{self.url()}: {error}") from error

    def apply(self, brokers):
        for statement in statements((SQL / "xtcp.sql").read_text()):
            self.query(statement)
        # Without the feeder the server reads the topic itself.
        if not self.state["server"] or self.state["feeder"]:
            return
        text = (SQL / "xtcp_kafka.sql").read_text()
        for setting, shipped, here in (
            ("kafka_broker_list", "localhost:9092", brokers),
            ("kafka_topic_list", "xtcp", self.state["topic"]),
        ):
            text = text.replace(f"{setting} = '{shipped}'", f"{setting} = '{here}'")
        for statement in statements(text):
            self.query(statement)


CONFIG = """\
<clickhouse>
    <logger><level>warning</level><console>1</console></logger>
    <listen_host>127.0.0.1</listen_host>
    <http_port>{port}</http_port>
    <path>{data}/</path>
    <tmp_path>{data}/tmp/</tmp_path>
    <user_files_path>{data}/user_files/</user_files_path>
    <format_schema_path>{schemas}/</format_schema_path>
    <default_profile>default</default_profile>
    <default_database>default</default_database>
    <user_directories><users_xml><path>{users}</path></users_xml></user_directories>
</clickhouse>
"""
USERS = """\
<clickhouse>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
    <users>
        <default>
            <password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
        </default>
    </users>
</clickhouse>
"""


class Feeder(Part):
    """kafka-to-clickhouse. Its port is that of its metrics."""

    name = "feeder"

    def command(self):
        return [
            str(Path(self.state["binaries"]) / "xtcp2-soak"), "kafka-to-clickhouse",
            "--brokers", f"127.0.0.1:{self.state['ports']['kafka']}", "--topic", self.state["topic"], "--group", GROUP,
            "--clickhouse", f"http://127.0.0.1:{self.state['ports']['clickhouse']}/{TABLE}",
            "--metrics", f"127.0.0.1:{self.port}",
        ]  # fmt: skip


PARTS = (Kafka, ClickHouse, Feeder)
