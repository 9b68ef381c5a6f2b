#!/usr/bin/env python3
"""Does what proto/clickhouse promises hold on the real engine?

    clickhouse.py DESCRIPTORS

DESCRIPTORS is the compiled .proto (`cargo run --example reader_inputs DIR` makes it). Rows go in as the
daemon and kafka-to-clickhouse send them: envelopes, POSTed to scripts/pipeline.d/clickhouse_http.py,
which this starts on a free port. What views must say is worked out by hand beside the rows.

The Kafka engine does not run inside a process. Its SQL is read by the engine here, and everything
behind it runs, fed by a table in the place of the Kafka table.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

REPOSITORY = Path(__file__).resolve().parents[2]
SQL = REPOSITORY / "proto" / "clickhouse"
FRONT = REPOSITORY / "scripts" / "pipeline.d" / "clickhouse_http.py"
sys.path.insert(0, str(FRONT.parent))

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: E402
from sql import statements  # noqa: E402

TABLE = "xtcp.xtcp_flat_records"
INSERT = f"INSERT INTO {TABLE} FORMAT ProtobufList"
# A young full minute: the tables delete what is old.
MINUTE = int(time.time()) // 60 * 60 - 1200
ESTABLISHED, TIME_WAIT, LISTEN = 1, 6, 10
A, B = "/run/netns/a", "/run/netns/b"
INSTANCE, GAPS = 0x00000000000ABC01, 0xF00000000000000D


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    envelope_type = message_type(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as directory:
        front = Front(f"{directory}/rows")
        try:
            check_interface(front)
            apply(front, "xtcp.sql")
            polls, gaps = synthetic(envelope_type)
            check_insert(front, polls)
            check_views(front)
            check_kill(front)
            check_doubles(front, polls)
            check_reconciliation(front, gaps)
            check_upgrade(front)
            check_views_on_the_way(front, envelope_type)
            check_behind_kafka(front, envelope_type)
            check_garbage(front, polls)
        finally:
            front.end()
        check_kafka_sql(f"{directory}/kafka")


# --- the machinery


def message_type(path):
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("xtcp_flat_record.v1.Envelope"))


class Front:
    """The engine behind HTTP, as a process of its own."""

    def __init__(self, path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.path = path
        self.start()

    def start(self):
        command = [sys.executable, FRONT, "--path", self.path, "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 120
        while True:
            try:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
                if self.request("GET", "/ping") == (200, b"Ok.\n", None):
                    return
            except ConnectionRefusedError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    fail("front", "to listen", self.process.returncode)
                time.sleep(0.05)

    def end(self):
        self.process.terminate()
        equal("front: status after SIGTERM", self.process.wait(60), 0)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def request(self, method, target, body=None, headers=None, chunked=False):
        body = iter([body[:7], body[7:]]) if chunked else body
        self.connection.request(method, target, body, headers or {}, encode_chunked=chunked)
        answer = self.connection.getresponse()
        return answer.status, answer.read(), answer.headers["X-ClickHouse-Exception-Code"]

    def post(self, query, body=b"", chunked=False, **settings):
        headers = {"Transfer-Encoding": "chunked"} if chunked else {}
        target = f"/?{urlencode({'query': query, **settings})}"
        return self.request("POST", target, body, headers, chunked)

    def do(self, query, body=b"", **settings):
        status, text, _ = self.post(query, body, **settings)
        if status != 200:
            fail(query[:200], "status 200", f"{status}: {text.decode()}")
        return text

    def rows(self, query):
        text = self.do(query, default_format="JSONEachRow", output_format_json_quote_64bit_integers=0)
        return [json.loads(line) for line in text.splitlines()]

    def row(self, query):
        (row,) = self.rows(query)
        return tuple(row.values())

    def envelope(self, body, token, **more):
        return self.post(INSERT, body, **token_settings(token), **more)


def token_settings(token):
    return {
        "insert_deduplication_token": token,
        "async_insert": 0,
        "wait_end_of_query": 1,
        # The default from 26.2 on; servers before it have to be told.
        "deduplicate_blocks_in_dependent_materialized_views": 1,
        "format_schema": "XtcpFlatRecord:XtcpFlatRecord",
    }


def fail(what, wanted, got):
    sys.exit(f"{what}: expected {wanted}, got {got}")


def equal(what, got, wanted):
    if got != wanted:
        fail(what, repr(wanted), repr(got))


def apply(front, name):
    for statement in statements((SQL / name).read_text()):
        front.do(statement)


# --- the rows


def packed(envelope):
    data = envelope.SerializeToString()
    length, prefix = len(data), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*prefix, length]) + data


def envelope(envelope_type, instance, poll, seconds, rows):
    """One poll's rows: each a record counter and what differs from a plain connection."""
    message = envelope_type()
    for counter, fields in rows:
        plain = dict(
            timestamp_ns=(MINUTE + seconds) * 10**9 + 123456789, hostname="h", netns=A, instance_id=instance,
            poll_sequence=poll, record_counter=counter, inet_diag_msg_family=2, inet_diag_msg_state=ESTABLISHED,
            tcp_info_length_bytes=248,
        )  # fmt: skip
        message.row.add(**{**plain, **fields})
    return packed(message)


def synthetic(envelope_type):
    """Four polls of two namespaces with numbers that are easy to add up, and an instance with gaps."""

    def one(acked, received, sent, retrans, rtt, timeouts):
        return dict(
            inet_diag_msg_socket_cookie=1, inet_diag_msg_socket_source_port=1001,
            inet_diag_msg_socket_destination_port=443,
            inet_diag_msg_socket_source=socket.inet_aton("192.0.2.9") + bytes(12),
            inet_diag_msg_socket_destination=socket.inet_aton("192.0.2.1") + bytes(12),
            tcp_info_bytes_acked=acked, tcp_info_bytes_received=received, tcp_info_bytes_sent=sent,
            tcp_info_bytes_retrans=retrans, tcp_info_rtt=rtt, tcp_info_total_rto=timeouts,
        )  # fmt: skip

    ipv6 = dict(
        inet_diag_msg_family=10, inet_diag_msg_socket_cookie=2, inet_diag_msg_socket_source_port=1002,
        inet_diag_msg_socket_destination_port=80,
        inet_diag_msg_socket_source=socket.inet_pton(socket.AF_INET6, "2001:db8::9"),
        inet_diag_msg_socket_destination=socket.inet_pton(socket.AF_INET6, "2001:db8::2"),
    )  # fmt: skip

    def two(received, rtt):
        return dict(ipv6, tcp_info_bytes_acked=10, tcp_info_bytes_received=received, tcp_info_bytes_sent=10, tcp_info_rtt=rtt)

    listener = dict(inet_diag_msg_socket_cookie=3, inet_diag_msg_state=LISTEN, inet_diag_msg_socket_source_port=22)
    idle = dict(
        netns=B, inet_diag_msg_socket_cookie=4, inet_diag_msg_socket_source_port=1004,
        inet_diag_msg_socket_destination_port=443,
        inet_diag_msg_socket_destination=socket.inet_aton("192.0.2.1") + bytes(12),
        tcp_info_bytes_acked=7, tcp_info_bytes_sent=100, tcp_info_rtt=40,
    )  # fmt: skip
    polls = [
        (0, [one(1000, 0, 1100, 0, 100, 0), two(50, 1000), listener, idle]),
        (30, [one(5000, 100, 5200, 200, 200, 1), two(1050, 2000), listener, idle]),
        (60, [one(9000, 300, 9400, 400, 300, 1), two(2050, 3000), listener, idle]),
        # TIME_WAIT has no tcp_info: its zeros are no counters.
        (90, [dict(ipv6, inet_diag_msg_state=TIME_WAIT, tcp_info_length_bytes=0)]),
    ]
    bodies, counter = [], 1
    for poll, (seconds, rows) in enumerate(polls, 1):
        bodies.append(envelope(envelope_type, INSTANCE, poll, seconds, list(enumerate(rows, counter))))
        counter += len(rows)
    # Rows 1, 2, 5, 7 and 8 are missing, and poll 2 as a whole.
    gaps = [
        envelope(envelope_type, GAPS, 1, 0, [(3, dict(hostname="g")), (4, dict(hostname="g")), (6, dict(hostname="g"))]),
        envelope(envelope_type, GAPS, 3, 60, [(9, dict(hostname="g"))]),
    ]
    return bodies, gaps


# --- the checks


def check_interface(front):
    """The part of HTTP that is promised, by what a server answers."""
    taken = subprocess.run(
        [sys.executable, FRONT, "--path", f"{front.path}-taken", "--listen", f"127.0.0.1:{front.port}"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if taken.returncode == 0 or "expected a free port" not in taken.stderr:
        fail("a taken port", "an error that says so", f"{taken.returncode}: {taken.stderr}")
    wrong = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"}
    right = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""}
    for what, method, target, body, headers, status, code in [
        ("text of a query in the body", "POST", "/", b"SELECT 1", right, 200, None),
        ("a wrong password", "POST", "/", b"SELECT 1", wrong, 403, "516"),
        ("no such table", "POST", "/", b"SELECT * FROM system.nope", {}, 404, "60"),
        ("no such database", "POST", "/", b"SELECT * FROM nope.nope", {}, 404, "81"),
        ("no such setting", "POST", "/?nope=1", b"SELECT 1", {}, 404, "115"),
        ("a query that is none", "POST", "/", b"SELEC 1", {}, 400, "62"),
        ("a value that is none", "POST", "/", b"SELECT toUInt8('x')", {}, 400, "6"),
        ("an exception of any other kind", "POST", "/", b"SELECT throwIf(1)", {}, 500, "395"),
        ("a change by GET", "GET", "/?query=CREATE+DATABASE+y", None, {}, 500, "164"),
        ("no such page", "GET", "/nope", None, {}, 404, None),
    ]:
        got = front.request(method, target, body, headers)
        equal(f"front: {what}", (got[0], got[2]), (status, code))
    equal("front: a parameter", front.do("SELECT {a:UInt8} + 1", param_a=4), b"5\n")
    equal("front: JSONCompact", json.loads(front.do("SELECT 7 AS n FORMAT JSONCompact"))["data"], [[7]])
    equal("front: a database", front.do("SELECT currentDatabase()", database="system"), b"system\n")
    equal("front: the next has the default again", front.do("SELECT currentDatabase()"), b"default\n")
    token = "SELECT value FROM system.settings WHERE name = 'insert_deduplication_token'"
    equal("front: a setting", front.do(token, insert_deduplication_token="t"), b"t\n")
    equal("front: settings end with the request", front.do(token), b"\n")
    print("front: statuses, settings, formats as a server has them")


def check_insert(front, polls):
    for poll, body in enumerate(polls, 1):
        # One in chunks, as clients send what they do not know the length of.
        equal("insert", front.envelope(body, f"{INSTANCE:016x}-{poll}", chunked=poll == 2)[:2], (200, b""))
    equal(
        "the timestamp, and rows",
        front.row(f"SELECT toUnixTimestamp64Nano(min(timestamp_ns)) AS a, toTypeName(any(timestamp_ns)) AS b, count() AS c FROM {TABLE}"),
        (MINUTE * 10**9 + 123456789, "DateTime64(9, 'UTC')", 13),
    )
    print("insert: plain INSERT ... FORMAT ProtobufList, 13 rows, timestamp as a date")


def window(seconds_from, seconds_until):
    return f"(since = {MINUTE + seconds_from}, until = {MINUTE + seconds_until})"


def check_views(front):
    talkers = (
        "SELECT inet_diag_msg_socket_cookie AS cookie, source, destination, destination_port, bytes_sent, bytes_received, "
        "bytes, seconds, bits_per_second FROM xtcp.top_talkers"
    )
    equal(
        "top_talkers",
        [tuple(row.values()) for row in front.rows(talkers + window(0, 120))],
        [
            (1, "192.0.2.9", "192.0.2.1", 443, 8000, 300, 8300, 60, 1107),
            (2, "2001:db8::9", "2001:db8::2", 80, 0, 2000, 2000, 60, 267),
            (4, "0.0.0.0", "192.0.2.1", 443, 0, 0, 0, 60, 0),
        ],
    )
    # until is not in the window.
    equal("top_talkers of half a minute", front.rows(talkers + window(0, 31))[0]["bytes"], 4100)
    equal("top_talkers of one poll", front.rows(talkers + window(0, 30))[0]["bytes"], 0)
    equal(
        "retransmit_rate",
        [tuple(row.values()) for row in front.rows(f"SELECT * FROM xtcp.retransmit_rate{window(0, 120)} ORDER BY ALL")],
        [
            ("h", A, "192.0.2.1", 1, 8300, 400, 4.819, 1),
            ("h", A, "2001:db8::2", 1, 0, 0, None, 0),
            ("h", B, "192.0.2.1", 1, 0, 0, None, 0),
        ],
    )
    quantiles = [
        # The 3rd and 6th of 100 200 300 1000 2000 3000.
        ("h", A, 2, 6, 300, 3000, 3000, 3000),
        ("h", B, 1, 3, 40, 40, 40, 40),
    ]
    check_quantiles(front, quantiles)
    minutes = [
        (A, 2, 4000, 1100, 4100, 200, 4.878, 2000),
        (B, 1, 0, 0, 0, 0, None, 40),
        (A, 2, 4000, 1200, 4200, 200, 4.762, 3000),
        (B, 1, 0, 0, 0, 0, None, 40),
    ]
    check_minutes(front, minutes)
    # The second minute alone still counts from the first.
    got = front.rows(f"SELECT * EXCEPT (minute, hostname) FROM xtcp.namespace_minutes{window(60, 120)}")
    equal("namespace_minutes from the second on", [tuple(row.values()) for row in got], minutes[2:])
    print("views: top_talkers, retransmit_rate, rtt_quantiles, namespace_minutes as worked out by hand")


def check_quantiles(front, wanted):
    got = front.rows(f"SELECT * FROM xtcp.rtt_quantiles{window(0, 120)} ORDER BY netns")
    equal("rtt_quantiles", [tuple(row.values()) for row in got], wanted)


def check_minutes(front, wanted):
    got = front.rows(f"SELECT * EXCEPT (minute, hostname) FROM xtcp.namespace_minutes{window(0, 120)}")
    equal("namespace_minutes", [tuple(row.values()) for row in got], wanted)


def check_kill(front):
    before = front.row(f"SELECT count(), sum(record_counter), (SELECT count() FROM xtcp.socket_minutes) FROM {TABLE}")
    front.kill()
    front.start()
    equal("rows after kill -9", front.row(f"SELECT count(), sum(record_counter), (SELECT count() FROM xtcp.socket_minutes) FROM {TABLE}"), before)
    print("front: killed and started again, every row is there")


def check_doubles(front, polls):
    """Copies: an insert tried again adds nothing; a copy that does come in is seen, and changes no view."""
    views = [
        f"SELECT * FROM xtcp.{view}{window(0, 120)} ORDER BY ALL"
        for view in ("top_talkers", "retransmit_rate", "rtt_quantiles", "namespace_minutes")
    ] + ["SELECT * EXCEPT (inet_diag_msg_socket_source, inet_diag_msg_socket_destination) FROM xtcp.rows_once ORDER BY record_counter"]
    before = [front.rows(view) for view in views]
    front.do(f"SYSTEM STOP MERGES {TABLE}")
    front.do("SYSTEM STOP MERGES xtcp.socket_minutes")
    minutes = front.row("SELECT count() FROM xtcp.socket_minutes")
    for poll, body in enumerate(polls, 1):
        equal("the same token again", front.envelope(body, f"{INSTANCE:016x}-{poll}")[0], 200)
    equal("rows after the same tokens again", front.row(f"SELECT count() FROM {TABLE}"), (13,))
    equal("rollup after the same tokens again", front.row("SELECT count() FROM xtcp.socket_minutes"), minutes)

    # As a producer's copy beyond the window, or by another way in.
    equal("another token", front.envelope(polls[1], "copy")[0], 200)
    equal("rows with a copy", front.row(f"SELECT count() FROM {TABLE}"), (17,))
    equal("reconciliation with a copy", reconciliation(front, INSTANCE), [(17, 13, 1, 13, 0, 0, 4)])
    for view, wanted in zip(views, before):
        equal(f"with a copy, {view}", front.rows(view), wanted)
    front.do(f"SYSTEM START MERGES {TABLE}")
    front.do("SYSTEM START MERGES xtcp.socket_minutes")
    front.do(f"OPTIMIZE TABLE {TABLE} FINAL")
    equal("rows after a merge", front.row(f"SELECT count() FROM {TABLE}"), (13,))
    equal("reconciliation after a merge", reconciliation(front, INSTANCE), [(13, 13, 1, 13, 0, 0, 0)])
    print("doubles: none by a second try, those that come are counted, change no view, and go with a merge")


def reconciliation(front, instance):
    query = (
        "SELECT rows_physical, rows_distinct, first_record_counter, last_record_counter, missing_head, missing_inside, doubled "
        f"FROM xtcp.reconciliation WHERE instance = '{instance:016x}'"
    )
    return [tuple(row.values()) for row in front.rows(query)]


def check_reconciliation(front, gaps):
    for number, body in enumerate(gaps):
        for token in (f"{GAPS:016x}-{number}", "once more" if number else f"{GAPS:016x}-{number}"):
            equal("insert", front.envelope(body, token)[0], 200)
    # 3 4 6 9 9: 1 and 2 before, 5 7 8 inside.
    equal("reconciliation of gaps", reconciliation(front, GAPS), [(5, 4, 3, 9, 2, 3, 1)])
    polls = front.rows(
        "SELECT poll_sequence, rows_physical, rows_distinct, missing_before, missing_inside, doubled "
        f"FROM xtcp.reconciliation_per_poll WHERE instance_id = {GAPS}"
    )
    equal("reconciliation_per_poll of gaps", [tuple(row.values()) for row in polls], [(1, 3, 3, 2, 1, 0), (3, 2, 1, 2, 0, 1)])
    polls = front.rows(f"SELECT missing_before, missing_inside, doubled FROM xtcp.reconciliation_per_poll WHERE instance_id = {INSTANCE}")
    equal("reconciliation_per_poll without gaps", [tuple(row.values()) for row in polls], [(0, 0, 0)] * 4)
    print("reconciliation: gaps before, between and inside polls, and doubles")


def check_upgrade(front):
    columns = "SELECT arraySort(groupArray((name, type, default_kind, compression_codec))) AS c FROM system.columns WHERE database = 'xtcp' AND table = 'xtcp_flat_records'"
    wanted = front.row(columns)
    rows = front.row(f"SELECT count(), sum(record_counter) FROM {TABLE}")
    for column in ("tcp_info_accecn_opt_seen", "ulp_name", "source_ip_text"):
        front.do(f"ALTER TABLE {TABLE} DROP COLUMN {column}")
    apply(front, "xtcp.sql")
    equal("columns after the upgrade of an older table", front.row(columns), wanted)
    equal("rows after it", front.row(f"SELECT count(), sum(record_counter) FROM {TABLE}"), rows)
    print("upgrade: xtcp.sql applied again gives an older table its columns")


def check_views_on_the_way(front, envelope_type):
    """A materialised view that fails, that comes back, and one whose target has no window."""
    body = lambda counter: envelope(envelope_type, 0xE, 1, 0, [(counter, {"hostname": "e"}), (counter + 1, {"hostname": "e"})])  # noqa: E731
    for name, dedup in (("kept", 10000), ("unkept", 0)):
        front.do(
            f"CREATE TABLE xtcp.counted_{name} (instance_id UInt64, rows UInt64) ENGINE = SummingMergeTree "
            f"ORDER BY instance_id SETTINGS non_replicated_deduplication_window = {dedup}"
        )
    select = f"AS SELECT instance_id, count() AS rows FROM {TABLE} GROUP BY instance_id"
    counted = f"SELECT (SELECT count() FROM {TABLE} WHERE instance_id = 14) AS a, (SELECT sum(rows) FROM xtcp.counted_kept WHERE instance_id = 14) AS b"

    front.do(f"CREATE MATERIALIZED VIEW xtcp.count_kept TO xtcp.counted_kept {select}")
    for _ in range(2):
        equal("insert", front.envelope(body(1), "e-1")[0], 200)
    equal("a sum in a view with a window, after two tries", front.row(counted), (2, 2))

    # It fails for half of the block: whatever was written stays, the insert is an error, and a second
    # try with the token writes what is missing, everywhere, once.
    front.do("DROP VIEW xtcp.count_kept SYNC")
    failing = select.replace("count() AS rows", "sum(throwIf(record_counter = 4) + 1) AS rows")
    front.do(f"CREATE MATERIALIZED VIEW xtcp.count_kept TO xtcp.counted_kept {failing}")
    minutes = "SELECT count(DISTINCT minute) FROM xtcp.socket_minutes WHERE hostname = 'e'"
    for _ in range(2):
        status, text, code = front.envelope(body(3), "e-2")
        equal("an insert with a failing view", (status, code), (500, "395"))
    front.do("DROP VIEW xtcp.count_kept SYNC")
    front.do(f"CREATE MATERIALIZED VIEW xtcp.count_kept TO xtcp.counted_kept {select}")
    for _ in range(2):
        equal("the insert tried again", front.envelope(body(3), "e-2")[0], 200)
    equal("table and view after a failure and two more tries", front.row(counted), (4, 4))
    equal("the rollup after them", front.row(minutes), (1,))

    # Why that setting: without it a second try that the table knows already goes into the view again.
    for _ in range(2):
        body_of_three = envelope(envelope_type, 0xE3, 1, 0, [(counter, {}) for counter in (1, 2, 3)])
        settings = {**token_settings("e-3"), "deduplicate_blocks_in_dependent_materialized_views": 0}
        equal("insert", front.post(INSERT, body_of_three, **settings)[0], 200)
    equal(
        "table and view without deduplication in views",
        front.row(f"SELECT (SELECT count() FROM {TABLE} WHERE instance_id = 227), (SELECT sum(rows) FROM xtcp.counted_kept WHERE instance_id = 227)"),
        (3, 6),
    )

    # Why every target needs its window: this one has none, and doubles.
    front.do("DROP VIEW xtcp.count_kept SYNC")
    front.do(f"CREATE MATERIALIZED VIEW xtcp.count_unkept TO xtcp.counted_unkept {select}")
    for _ in range(2):
        equal("insert", front.envelope(body(5), "e-4")[0], 200)
    equal("a sum in a view without a window", front.row("SELECT sum(rows) FROM xtcp.counted_unkept"), (4,))
    front.do("DROP VIEW xtcp.count_unkept SYNC")
    for name in ("xtcp_flat_records", "socket_minutes", "dead_letters"):
        create = front.do(f"SHOW CREATE TABLE xtcp.{name}").decode()
        if "non_replicated_deduplication_window = 10000" not in create:
            fail(f"xtcp.{name}", "a deduplication window of 10,000", create)
    print("views on the way: a second try doubles none that has a window, and repairs what failed")


def without_kafka():
    """The statements of xtcp_kafka.sql with a table in the place of the Kafka table."""
    virtual = "_topic String, _partition UInt64, _offset UInt64, _key String, _error String, _raw_message String"
    for statement in statements((SQL / "xtcp_kafka.sql").read_text()):
        if statement.startswith("CREATE TABLE xtcp.kafka\n"):
            columns, found, _ = statement.partition("\n)\nENGINE = Kafka")
            equal("xtcp_kafka.sql: a Kafka table", bool(found), True)
            statement = f"{columns},\n{virtual}\n)\nENGINE = Null"
        yield statement


def check_behind_kafka(front, envelope_type):
    for _ in range(2):
        for statement in without_kafka():
            front.do(statement)
    names = "instance_id, record_counter, timestamp_unix_ns, hostname, _topic, _partition, _offset, _key, _error, _raw_message"
    time_ns = MINUTE * 10**9 + 5
    front.do(
        f"INSERT INTO xtcp.kafka ({names}) VALUES (15, 1, {time_ns}, 'k', 'xtcp', 0, 7, 'f-1', '', ''), "
        "(0, 0, 0, '', 'xtcp', 0, 8, 'f-2', 'no envelope', unhex('FF00')), "
        f"(15, 2, {time_ns}, 'k', 'xtcp', 0, 9, 'f-3', '', '')"
    )
    equal(
        "rows behind Kafka",
        front.row(f"SELECT groupArray(record_counter) AS a, toUnixTimestamp64Nano(any(timestamp_ns)) AS b FROM {TABLE} WHERE instance_id = 15"),
        ([1, 2], time_ns),
    )
    letters = "SELECT topic, partition, offset, key, error, hex(raw_message) AS raw FROM xtcp.dead_letters FINAL"
    equal("dead letters", [tuple(row.values()) for row in front.rows(letters)], [("xtcp", 0, 8, "f-2", "no envelope", "FF00")])
    # The other way in writes the same table.
    for _ in range(2):
        front.do(
            "INSERT INTO xtcp.dead_letters (topic, partition, offset, key, error, raw_message) FORMAT RowBinary",
            b"\x04xtcp" + (1).to_bytes(8, "little") + (2).to_bytes(8, "little") + b"\x00" + b"\x03why" + b"\x02\xff\x0a",
        )
    equal("a dead letter by HTTP", front.rows(letters + " WHERE partition = 1")[0]["raw"], "FF0A")
    print("behind Kafka: rows to the table, what is none to xtcp.dead_letters")


def check_garbage(front, polls):
    """What is no envelope is an error, adds nothing, and stops nothing."""
    before = front.row(f"SELECT count() FROM {TABLE}")
    codes = []
    for number, body in enumerate([b"\x01", b"garbage", b"\xff" * 40, polls[0][:-3], polls[0][1:], bytes(range(1, 250))]):
        status, text, code = front.envelope(body, f"garbage-{number}")
        if status == 200:
            fail(f"garbage {body[:20]!r}", "an error", status)
        codes.append(f"{code} ({status})")
    equal("rows after garbage", front.row(f"SELECT count() FROM {TABLE}"), before)
    print(f"garbage: refused with the codes {', '.join(codes)}")


KAFKA_IS_READ = """
import sys
from pathlib import Path
from chdb import session
from sql import statements

engine = session.Session(sys.argv[1])
for statement in statements(Path(sys.argv[2]).read_text()):
    engine.query(statement)
for statement in statements(Path(sys.argv[3]).read_text()):
    try:
        engine.query(statement)
    except Exception as error:
        # 49: understood, and then not to be had inside a process. What comes behind cannot be made.
        kafka = statement.startswith("CREATE TABLE xtcp.kafka\\n")
        print("accepted" if kafka and "Code: 49." in str(error) else f"{statement[:60]}: {error}")
        break
sys.stdout.flush()
# The database is spoiled: no goodbye.
import os
os._exit(0)
"""


def check_kafka_sql(path):
    environment = {**os.environ, "PYTHONPATH": str(FRONT.parent)}
    command = [sys.executable, "-c", KAFKA_IS_READ, path, SQL / "xtcp.sql"]
    wrong = Path(f"{path}.sql")
    text = (SQL / "xtcp_kafka.sql").read_text()
    wrong.write_text(text.replace("kafka_flush_interval_ms", "kafka_flush_intervall_ms"))
    for file, wanted in ((SQL / "xtcp_kafka.sql", True), (wrong, False)):
        got = subprocess.run([*command, file], env=environment, capture_output=True, text=True, timeout=120)
        command[3] = f"{path}-wrong"
        equal(f"{file.name}: accepted by the engine: {got.stdout}{got.stderr}", got.stdout == "accepted\n", wanted)
    print("xtcp_kafka.sql: the engine takes every statement up to the Kafka table, and no misspelt setting")


if __name__ == "__main__":
    main()
