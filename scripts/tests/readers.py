#!/usr/bin/env python3
"""Do readers that are not ours see the values that we wrote?

    readers.py DESCRIPTORS ROWS.pb ROWS.jsonl

DESCRIPTORS is the compiled .proto, ROWS.pb holds delimited Envelopes (`--marshal protobufList`),
ROWS.jsonl the same rows, one a line (`--marshal jsonl`). `cargo run --example reader_inputs DIR`
makes all three, with extreme values; the last two may also come from the daemon.

ROWS.jsonl must be what the committed JSON Schema says. Google's protobuf runtime and the ClickHouse
engine (chdb) read ROWS.pb by the committed schemas, and ClickHouse keeps the rows in the committed
table. Each must give what ROWS.jsonl says.
"""

import base64
import ipaddress
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline.d"))

import jsonschema
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, unknown_fields
from sql import statements

PROTO = Path(__file__).resolve().parents[2] / "proto"
PACKAGE = "xtcp_flat_record.v1"
TABLE = "xtcp.xtcp_flat_records"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    descriptors, rows_pb, rows_jsonl = map(Path, sys.argv[1:])
    wanted = [json.loads(line) for line in rows_jsonl.read_text().splitlines()]
    if not wanted:
        sys.exit(f"{rows_jsonl}: expected rows, got none")
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
        pool.Add(file)
    envelopes = list(split(rows_pb.read_bytes()))
    check_json(wanted)
    check_protobuf(pool, envelopes, wanted)
    check_clickhouse(pool, envelopes, wanted)


def split(data):
    """The Envelopes of a file, each with the varint of its length before it."""
    start = 0
    while start < len(data):
        length, shift, at = 0, 0, start
        while True:
            byte = data[at]
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        if at + length > len(data):
            sys.exit(f"envelope at byte {start}: expected {length} bytes, got {len(data) - at}")
        yield data[start:at], data[at : at + length]
        start = at + length


def differ(reader, index, name, got, want):
    sys.exit(f"{reader}: row {index + 1}, {name}: expected {want!r}, got {got!r}")


def check_json(wanted):
    schema = json.loads((PROTO / "xtcp_flat_record.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    # Readers let unknown properties pass; here one is a property that the schema misnames.
    validator = jsonschema.Draft202012Validator(schema | {"additionalProperties": False})
    for i, row in enumerate(wanted):
        for error in validator.iter_errors(row):
            sys.exit(f"JSON Schema: row {i + 1}, {error.json_path}: {error.message}")
    print(f"JSON Schema: {len(wanted)} rows, all valid")


def check_protobuf(pool, envelopes, wanted):
    reader = "protobuf"
    envelope_type = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Envelope"))
    record_type = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.XtcpFlatRecord"))
    rows = []
    for _, data in envelopes:
        envelope = envelope_type.FromString(data)
        if envelope.SerializeToString() != data:
            sys.exit(f"{reader}: an envelope of {len(data)} bytes is not written again as it was read")
        rows.extend(envelope.row)
    if len(rows) != len(wanted):
        sys.exit(f"{reader}: expected {len(wanted)} rows, got {len(rows)}")
    for i, (row, want) in enumerate(zip(rows, wanted)):
        if len(unknown_fields.UnknownFieldSet(row)) != 0:
            sys.exit(f"{reader}: row {i + 1} has fields that the .proto lacks")
        got = json_format.MessageToDict(row)
        for name in got.keys() | want.keys():
            if got.get(name) != want.get(name):
                differ(reader, i, name, got.get(name), want.get(name))
        if json_format.ParseDict(want, record_type()) != row:
            differ(reader, i, "the whole row", row, want)
    print(f"{reader}: {len(rows)} rows in {len(envelopes)} envelopes, every value equal")


def plain(pool, wanted):
    """Rows by .proto name with plain values and zeros in the place of what JSON omits."""
    record = pool.FindMessageTypeByName(f"{PACKAGE}.XtcpFlatRecord")
    rows = []
    for want in wanted:
        row = {}
        for field in record.fields:
            value = want.get(field.json_name)
            if field.enum_type:
                names = field.enum_type.values_by_number
                row[field.name] = names[0].name if value is None else value
            elif field.type == field.TYPE_BYTES:
                row[field.name] = base64.b64decode(value or "")
            elif field.type == field.TYPE_STRING:
                row[field.name] = value or ""
            else:
                row[field.name] = int(value or 0)
        rows.append(row)
    return rows


def check_clickhouse(pool, envelopes, wanted):
    from chdb import session

    wanted = plain(pool, wanted)
    columns = list(wanted[0])
    addresses = [f"hex({name}) AS {name}" for name in columns if isinstance(wanted[0][name], bytes)]
    with tempfile.TemporaryDirectory() as directory:
        engine = session.Session(f"{directory}/engine")
        engine.query("SET output_format_json_quote_64bit_integers = 0")
        print(f"clickhouse: engine {select(engine, 'SELECT version() AS version')[0]['version']}")
        schema = f"SETTINGS format_schema = '{PROTO}/clickhouse/XtcpFlatRecord:XtcpFlatRecord'"
        files = []
        for i, (prefix, data) in enumerate(envelopes):
            # The engine takes a file, like a message of Kafka, for one Envelope.
            files.append(f"{directory}/{i}.pb")
            Path(files[-1]).write_bytes(prefix + data)

        got = []
        for file in files:
            query = f"SELECT * REPLACE ({', '.join(addresses)}) FROM file('{file}', 'ProtobufList') {schema}"
            got.extend(select(engine, query))
        for row in got:
            row["timestamp_ns"] = row.pop("timestamp_unix_ns")
        compare("clickhouse ProtobufList", got, wanted)

        for statement in statements((PROTO / "clickhouse" / "xtcp.sql").read_text()):
            engine.query(statement)
        # Rows of an example are older than the table keeps them.
        engine.query(f"SYSTEM STOP MERGES {TABLE}")
        for file in files:
            # What a POST of the file's bytes does: no list of columns, nothing rewritten.
            engine.query(f"INSERT INTO {TABLE} FROM INFILE '{file}' {schema}, async_insert = 0 FORMAT ProtobufList")
        kept = ", ".join(["toUnixTimestamp64Nano(timestamp_ns) AS timestamp_ns", *addresses])
        got = select(engine, f"SELECT * EXCEPT timestamp_unix_ns REPLACE ({kept}) FROM {TABLE}")
        if list(got[0]) != columns:
            sys.exit(f"{TABLE}: expected the columns {columns}, got {list(got[0])}")
        compare("clickhouse table", got, wanted)
        check_addresses(engine)
        engine.close()


def select(engine, query):
    text = engine.query(query, "JSONEachRow").bytes().decode()
    return [json.loads(line) for line in text.splitlines()]


def compare(reader, got, wanted):
    if len(got) != len(wanted):
        sys.exit(f"{reader}: expected {len(wanted)} rows, got {len(got)}")
    # The engine keeps to no order of its own.
    def identity(row):
        return row["instance_id"], row["record_counter"]

    for i, (row, want) in enumerate(zip(sorted(got, key=identity), sorted(wanted, key=identity))):
        for name, value in want.items():
            value = value.hex().upper() if isinstance(value, bytes) else value
            if row[name] != value:
                differ(reader, i, name, row[name], value)
    print(f"{reader}: {len(got)} rows, every value equal")


def check_addresses(engine):
    """The columns made of the 16 bytes."""
    rows = select(
        engine,
        "SELECT inet_diag_msg_family AS family, hex(inet_diag_msg_socket_source) AS raw_source, "
        "hex(inet_diag_msg_socket_destination) AS raw_destination, source_ip, destination_ip, "
        f"source_ip_text, destination_ip_text FROM {TABLE}",
    )
    for i, row in enumerate(rows):
        for side in ("source", "destination"):
            raw = bytes.fromhex(row[f"raw_{side}"])
            if row["family"] == 2:
                text = str(ipaddress.IPv4Address(raw[:4]))
                want = ipaddress.IPv6Address(f"::ffff:{text}")
            else:
                want = ipaddress.IPv6Address(raw)
                text = str(want.ipv4_mapped or want)
            got = row[f"{side}_ip"]
            if ipaddress.IPv6Address(got) != want:
                differ(TABLE, i, f"{side}_ip", got, str(want))
            if ipaddress.ip_address(row[f"{side}_ip_text"]) != ipaddress.ip_address(text):
                differ(TABLE, i, f"{side}_ip_text", row[f"{side}_ip_text"], text)
    print(f"clickhouse addresses: {len(rows)} rows, equal")


if __name__ == "__main__":
    main()
