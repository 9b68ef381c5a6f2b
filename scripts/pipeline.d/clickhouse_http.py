#!/usr/bin/env python3
"""ClickHouse's engine behind the part of its HTTP interface that xtcp2 uses, for machines without a server.

    clickhouse_http.py --path DIRECTORY [--listen 127.0.0.1:8123] [--schemas DIRECTORY] [--user NAME --password TEXT]

The engine is the package chdb: the server's own code in this process. Known here are / and /ping; queries
by GET (reading only) and POST, in the parameter `query` or the body; the rest of the body as data of
INSERT ... FORMAT; settings and query parameters (param_NAME) in the URL; the format of the answer by
FORMAT, `default_format` or X-ClickHouse-Format; errors as the server reports them, by status,
X-ClickHouse-Exception-Code and text. Not here: compression, sessions, progress headers, several
users, background consumers of Kafka.

One thread owns the engine; requests wait for it. The answer to an insert comes when it is done, as with
wait_end_of_query=1. SIGTERM ends it after the requests that have begun.
"""

import argparse
import base64
import errno
import os
import queue
import re
import signal
import sys
import threading
import uuid
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

# A body is held in memory twice. Envelopes are below 1 MiB; this leaves room for loads by hand.
BODY_BYTES_MAX = 256 << 20
# How long requests that have begun may take after SIGTERM.
SHUTDOWN_SECONDS = 20
# A client that keeps its connection open without asking holds a thread.
IDLE_SECONDS = 300

READONLY, AUTHENTICATION_FAILED, QUERY_IS_TOO_LARGE, UNKNOWN_EXCEPTION = 164, 516, 229, 1002

# What the server answers for an exception's code (its exceptionCodeToHTTPStatus); 500 for all others.
STATUS_OF_CODE = {
    code: status
    for status, codes in {
        # Text, values and queries that cannot be parsed; columns and arguments that do not fit.
        400: (6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676),
        401: (194,),
        403: (192, 193, 497, 512, 516),
        # Unknown function, identifier, type, table or database engine, table, aggregate function, format, ...
        404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
        408: (159,),
        411: (381,),
        413: (229,),
        501: (48,),
        503: (76, 209, 439),
    }.items()
    for code in codes
}

# Of the interface itself, not settings of the engine.
OF_THE_INTERFACE = {
    "buffer_size", "database", "default_format", "password", "query", "query_id", "user", "wait_end_of_query",
}  # fmt: skip

# INSERT ... FORMAT name, then the data: a newline or blank ends the name, the rest is the format's.
INSERT = re.compile(rb"\s*INSERT\s+INTO\s+(?P<target>.+?)(?P<format>\s+FORMAT\s+\w+)(?:\s(?P<data>.*))?$", re.I | re.S)
# Of INSERT ... SELECT and INSERT ... VALUES the engine takes the text as it is.
NO_DATA_BEHIND = re.compile(rb"\b(SELECT|VALUES|INFILE|WITH)\b", re.I)
READS = re.compile(rb"[\s(]*(SELECT|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN)\b", re.I)


class Refused(Exception):
    """An exception as the server reports it: code and text."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Engine(threading.Thread):
    """Owns the one connection that a process may have to a database."""

    def __init__(self, path, schemas):
        super().__init__(name="engine", daemon=True)
        self.path, self.schemas = path, schemas
        self.jobs = queue.Queue()
        self.ready = Future()
        self.version = ""

    def ask(self, *arguments):
        """The answer's bytes. Raises Refused."""
        answer = Future()
        self.jobs.put((answer, arguments))
        return answer.result()

    def stop(self):
        self.jobs.put(None)
        self.join()

    def run(self):
        try:
            from chdb import session

            self.session = session.Session(str(self.path))
            self.version = self.query("SELECT version()").decode().strip()
            # In a process alone a bare expression is a query; a mistyped word is none on a server.
            self.query("SET implicit_select = 0")
            # Bodies lie in memory under a name that the engine can open, and leave nothing behind.
            self.body = os.memfd_create("body")
        except Exception as error:
            self.ready.set_exception(error)
            return
        self.ready.set_result(None)
        while (job := self.jobs.get()) is not None:
            answer, arguments = job
            try:
                answer.set_result(self.answer(*arguments))
            except Exception as error:
                answer.set_exception(error)
        self.session.close()

    def query(self, text, output="TabSeparated"):
        try:
            return self.session.query(text, output).bytes()
        except Exception as error:
            message = str(error)
            # The library says it twice: the inner one has the name of the code too.
            codes = re.findall(r"Code: (\d+)\. ", message)
            message = re.sub(r"^Code: \d+\. DB::Exception: (?=Code: )", "", message)
            raise Refused(int(codes[0]) if codes else UNKNOWN_EXCEPTION, message) from error

    def answer(self, query, body, settings, database, output):
        changed = []
        try:
            if database:
                self.query(f"USE {quoted_name(database)}")
            for name, value in settings:
                if name == "format_schema" and "/" not in value:
                    # The engine in a process ignores format_schema_path, but takes a whole path.
                    value = f"{self.schemas}/{value}"
                if not re.fullmatch(r"\w+", name):
                    raise Refused(115, f"Code: 115. DB::Exception: Unknown setting {name!r}. (UNKNOWN_SETTING)")
                self.query(f"SET {name} = {quoted(value)}")
                changed.append(name)
            return self.run_query(query, body, output)
        finally:
            for name in changed:
                # A query parameter has no default; it is only ever asked for by name.
                if not name.startswith("param_"):
                    self.query(f"SET {name} = DEFAULT")
            if database:
                self.query("USE default")

    def run_query(self, query, body, output):
        # The server joins them too: a query may begin in the URL and end in the body.
        text = query + b"\n" + body if query else body
        insert = INSERT.match(text)
        if not insert or NO_DATA_BEHIND.search(insert["target"]):
            return self.query(text.decode(errors="surrogateescape"), output)
        os.ftruncate(self.body, 0)
        data = insert["data"] or b""
        written = 0
        while written < len(data):
            written += os.pwrite(self.body, data[written:], written)
        target, settings, values = insert["target"].partition(b" SETTINGS ")
        statement = b"INSERT INTO %s FROM INFILE '/proc/self/fd/%d'%s%s%s" % (
            target, self.body, settings, values, insert["format"]
        )  # fmt: skip
        try:
            return self.query(statement.decode(errors="surrogateescape"), output)
        finally:
            os.ftruncate(self.body, 0)


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quoted_name(text):
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "xtcp2-clickhouse-front"
    timeout = IDLE_SECONDS
    # Headers and a short body are two writes: without this the second waits for the client's ACK.
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.handle_query()

    do_HEAD = do_POST = do_GET

    def handle_query(self):
        with self.server.in_flight:
            url = urlsplit(self.path)
            try:
                body = self.read_body()
                if url.path not in ("/", "/ping"):
                    self.answer(404, b"There is no handle %s\n" % url.path.encode())
                elif url.path == "/ping" or not (url.query or body):
                    self.answer(200, b"Ok.\n")
                else:
                    self.run(dict(parse_qsl(url.query, keep_blank_values=True)), body)
            except Refused as error:
                text = f"{error} (version {self.server.engine.version})\n".encode(errors="replace")
                status = STATUS_OF_CODE.get(error.code, 500)
                # The bytes of a body that was not read are no request.
                self.close_connection |= error.code == QUERY_IS_TOO_LARGE
                self.answer(status, text, {"X-ClickHouse-Exception-Code": str(error.code)})

    def run(self, parameters, body):
        self.authenticate(parameters)
        query = parameters.get("query", "").encode(errors="surrogateescape")
        if self.command != "POST" and not READS.match(query or body):
            raise Refused(
                READONLY,
                "Code: 164. DB::Exception: Cannot execute query in readonly mode. For queries over HTTP, method GET "
                "implies readonly. You should use method POST for modifying queries. (READONLY)",
            )
        output = self.headers.get("X-ClickHouse-Format") or parameters.get("default_format") or "TabSeparated"
        settings = [(name, value) for name, value in parameters.items() if name not in OF_THE_INTERFACE]
        database = parameters.get("database") or self.headers.get("X-ClickHouse-Database")
        answer = self.server.engine.ask(query, body, settings, database, output)
        query_id = parameters.get("query_id") or str(uuid.uuid4())
        self.answer(200, answer, {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Timezone": "UTC"})

    def authenticate(self, parameters):
        user = self.headers.get("X-ClickHouse-User", parameters.get("user"))
        password = self.headers.get("X-ClickHouse-Key", parameters.get("password"))
        scheme, _, basic = self.headers.get("Authorization", "").partition(" ")
        if user is None and scheme.lower() == "basic":
            user, _, password = base64.b64decode(basic + "==").decode(errors="replace").partition(":")
        user = "default" if user is None else user
        if (user, password or "") != self.server.login:
            raise Refused(
                AUTHENTICATION_FAILED,
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user "
                "with such name. (AUTHENTICATION_FAILED)",
            )

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self.chunks())
        length = int(self.headers.get("Content-Length") or 0)
        self.check_length(length)
        return self.exactly(length)

    def chunks(self):
        total = 0
        while length := int(self.rfile.readline(1024).split(b";")[0], 16):
            total += length
            self.check_length(total)
            yield self.exactly(length)
            self.rfile.readline(1024)
        # Trailers, up to the empty line.
        while self.rfile.readline(65536).strip():
            pass

    def exactly(self, length):
        data = self.rfile.read(length)
        if len(data) != length:
            # Half of a body is no body: nothing of it may reach the engine.
            raise ConnectionResetError(f"body: expected {length} bytes, got {len(data)}")
        return data

    def check_length(self, length):
        if length > BODY_BYTES_MAX:
            raise Refused(
                QUERY_IS_TOO_LARGE,
                f"Code: 229. DB::Exception: body: expected at most {BODY_BYTES_MAX} bytes, "
                f"got {length}. (QUERY_IS_TOO_LARGE)",
            )

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        if self.server.stopping:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


class InFlight:
    """Counts the requests that have begun."""

    def __init__(self):
        self.count, self.changed = 0, threading.Condition()

    def __enter__(self):
        with self.changed:
            self.count += 1

    def __exit__(self, *_):
        with self.changed:
            self.count -= 1
            self.changed.notify_all()

    def wait_for_none(self, seconds):
        with self.changed:
            return self.changed.wait_for(lambda: self.count == 0, seconds)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    stopping = False

    def __init__(self, address, engine, login):
        super().__init__(address, Handler)
        self.engine, self.login, self.in_flight = engine, login, InFlight()

    def handle_error(self, request, client_address):
        error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
        # Clients that leave are no news.
        if not isinstance(error, (ConnectionError, TimeoutError)):
            print(f"{client_address[0]}:{client_address[1]}: {error!r}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True, help="folder of the database; made where it is missing")
    parser.add_argument("--listen", default="127.0.0.1:8123", help="address to listen on")
    parser.add_argument(
        "--schemas",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "proto" / "clickhouse",
        help="folder that a format_schema without a path is looked for in",
    )
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    if not port.isdigit():
        sys.exit(f"--listen: expected HOST:PORT, got {arguments.listen!r}")

    stop = threading.Event()
    # Before the engine starts: it has handlers of its own, and starts threads.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = Engine(arguments.path.resolve(), arguments.schemas.resolve())
    try:
        server = Server((host, int(port)), engine, (arguments.user, arguments.password))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sys.exit(f"--listen {arguments.listen}: expected a free port, got one that something listens on already")
        sys.exit(f"--listen {arguments.listen}: {error.strerror}")
    engine.start()
    try:
        engine.ready.result()
    except Exception as error:
        sys.exit(f"--path {arguments.path}: the engine did not start: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    print(f"ClickHouse engine {engine.version}, http://{host}:{server.server_port}/", file=sys.stderr, flush=True)
    stop.wait()
    server.stopping = True
    server.shutdown()
    if not server.in_flight.wait_for_none(SHUTDOWN_SECONDS):
        print(f"requests still run after {SHUTDOWN_SECONDS} s: ended without them", file=sys.stderr)
    engine.stop()


if __name__ == "__main__":
    main()
