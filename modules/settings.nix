# The keys of the daemon's configuration file, one option a flag of `xtcp2 --help` that sets something.
# scripts/test-nix holds names, words and descriptions against the daemon's own flag table.
{ lib }:
let
  inherit (lib) types;
  # null leaves the key out of the file: the default stays with the daemon, and is not kept here a second time.
  setting =
    type: description:
    lib.mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };
  duration = types.strMatching "([0-9.]+(h|m|s|ms|us|ns))+" // {
    description = "duration such as 10s, 500ms or 1m30s";
  };
  bytes = types.either types.ints.unsigned (types.strMatching "[0-9]+ *(KiB|MiB|GiB)?") // {
    description = "bytes, plain or in KiB, MiB or GiB";
  };
  count = types.ints.unsigned;
  words = names: types.listOf (types.enum names);
in
{
  frequency = setting duration "From the start of a poll to the start of the next.";
  timeout = setting duration "How long one namespace may take in a poll.";
  max_loops = setting count "Polls until the daemon ends by itself; 0 is for ever.";
  poll_jitter_pct = setting (types.ints.between 0 100) "Jitter of the start of each poll, in percent of the frequency.";
  poll_plan = setting (types.enum [ "auto" "walk" ]) "How a namespace is read: the cheapest way, or always a walk.";
  walk_every = setting duration "Each namespace is walked at least so often.";
  netns_dirs = setting (types.listOf types.str) "Folders in which network namespaces are bind-mounted.";
  proc_scan_every = setting duration "How often each process is looked at for a namespace of its own.";
  record = setting types.str "Record the kernel's replies to FILE as pcapng.";

  deserializers = setting (words [
    "default" "all" "none" "info" "cong" "tos" "tclass" "tc" "meminfo" "skmem" "shut" "vegas" "dctcp" "bbr" "classid"
    "cgroup" "sockopt" "ulp" "mark"
  ]) "Which attributes of a socket are asked for and written.";
  states = setting (words [
    "all" "ESTABLISHED" "SYN_SENT" "SYN_RECV" "FIN_WAIT1" "FIN_WAIT2" "TIME_WAIT" "CLOSE" "CLOSE_WAIT" "LAST_ACK"
    "LISTEN" "CLOSING" "NEW_SYN_RECV"
  ]) "Which TCP states become rows.";
  label = setting types.str ''"label" of each row.'';
  tag = setting types.str ''"tag" of each row.'';
  hostname = setting types.str ''"hostname" of each row.'';
  location = setting types.str ''"location" of each row.'';

  dest = setting types.str "Where rows go.";
  marshal = setting (types.enum [
    "protobufList" "protoJson" "jsonl" "json" "csv" "tsv" "protoText" "msgpack"
  ]) "How rows are written.";
  columns = setting (types.listOf types.str) "Columns of csv and tsv.";
  topic = setting types.str "Kafka topic.";
  kafka_compression = setting (types.enum [
    "auto" "zstd" "lz4" "snappy" "gzip" "none"
  ]) "Compression of Kafka messages.";
  kafka_property = setting (types.listOf types.str) "A property of librdkafka, as its CONFIGURATION.md has them.";
  http_headers_file = setting types.str "Header lines that go with every request of http: and clickhouse:.";
  envelope_flush_rows = setting count "An envelope is closed at this many rows.";
  envelope_flush_bytes = setting bytes "An envelope is closed at this many bytes of protobuf.";
  output_queue_bytes = setting bytes "Bytes that may wait for a slow receiver.";
  spool_dir = setting types.str "Folder in which messages wait for the receiver, on disk.";
  spool_max_bytes = setting bytes "Bytes that the spool may take.";

  prom_listen = setting types.str "Where the admin server listens: metrics, health, profiles.";
  prom_path = setting types.str "Path of the metrics.";

  log_level = setting (types.enum [
    "off" "error" "warn" "info" "debug" "trace"
  ]) "Most verbose level that is logged.";
  log_format = setting (types.enum [ "text" "json" ]) "How log lines look.";
  shutdown_timeout = setting duration "How long ending may take.";
}
