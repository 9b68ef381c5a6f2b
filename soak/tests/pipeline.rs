//! kafka-to-clickhouse and reconcile against a real broker and ClickHouse's real engine, where there are
//! some: XTCP2_TEST_KAFKA=HOST:PORT with a topic xtcp, XTCP2_TEST_CLICKHOUSE=http://HOST:PORT with the tables
//! of proto/clickhouse. `scripts/pipeline up --without-feeder` starts both.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use common::{
    running::Running,
    topic::{TOPIC, envelope_of},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use xtcp2::output::Identity;
use xtcp2_soak::clickhouse::ClickHouse;

/// Envelopes of a poll, and rows of an envelope.
const ENVELOPES: u64 = 5;
const ROWS: u64 = 40;

struct Pipeline {
    brokers: String,
    url: String,
    producer: BaseProducer,
    clickhouse: ClickHouse,
    /// New in each run, as with the daemon: what earlier runs left is not in the way. It is the time, too.
    instance_id: u64,
}

impl Pipeline {
    fn find() -> Option<Pipeline> {
        let of = |name| std::env::var(name).ok();
        let (Some(brokers), Some(url)) = (of("XTCP2_TEST_KAFKA"), of("XTCP2_TEST_CLICKHOUSE")) else {
            println!("skipped: XTCP2_TEST_KAFKA and XTCP2_TEST_CLICKHOUSE name no pipeline");
            return None;
        };
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .create()
            .unwrap();
        let clickhouse = ClickHouse::new(format!("{url}/"), Vec::new(), Duration::from_secs(60));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let instance_id = u64::try_from(since.as_nanos()).unwrap();
        skip_old_messages(&brokers, &group(instance_id));
        Some(Pipeline {
            brokers,
            url,
            producer,
            clickhouse,
            instance_id,
        })
    }

    fn ask(&self, query: &str) -> String {
        let mut answer = String::new();
        let mut line = |line: &str| {
            answer.push_str(line);
            Ok(())
        };
        self.clickhouse.lines(query, &mut line).unwrap();
        answer
    }

    /// Sends the envelopes of some polls, but those that are left out.
    fn send(&self, polls: std::ops::RangeInclusive<u64>, without: &[u64]) {
        for poll in polls {
            for sequence in (poll - 1) * ENVELOPES + 1..=poll * ENVELOPES {
                if without.contains(&sequence) {
                    continue;
                }
                let identity = Identity {
                    instance_id: self.instance_id,
                    envelope_sequence: sequence,
                    part: 0,
                };
                // Now: what is older than the table's TTL is gone at once.
                let timestamp_ns = self.instance_id + poll;
                let first = (sequence - 1) * ROWS + 1;
                let value = envelope_of(self.instance_id, poll, first, ROWS, timestamp_ns);
                self.put(&identity.to_string(), &value);
            }
        }
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    fn put(&self, key: &str, value: &[u8]) {
        let record = BaseRecord::to(TOPIC).key(key).payload(value);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    fn spawn(&self, max_idle: &str) -> Running {
        let table = format!("{}/xtcp.xtcp_flat_records", self.url);
        Command::new(env!("CARGO_BIN_EXE_xtcp2-soak"))
            .args(["kafka-to-clickhouse", "--brokers", &self.brokers, "--clickhouse", &table])
            .args(["--group", &group(self.instance_id), "--max-idle", max_idle])
            // A broker gives the partitions of a killed member away after that.
            .args(["--kafka-property", "session.timeout.ms=6000"])
            .stdin(Stdio::null())
            .spawn()
            .map(Running)
            .unwrap()
    }

    fn drain(&self) {
        assert!(self.spawn("15s").0.wait().unwrap().success());
    }

    fn reconcile(&self) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_xtcp2-soak"))
            .args(["reconcile", "--clickhouse", &self.url])
            .args(["--instance", &format!("{:016x}", self.instance_id)])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        println!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    fn count(&self, table: &str) -> u64 {
        self.rows(table).split_once('\t').unwrap().0.parse().unwrap()
    }

    /// Rows of the instance: all, different ones.
    fn rows(&self, table: &str) -> String {
        let id = self.instance_id;
        self.ask(&format!(
            "SELECT count(), uniqExact(record_counter) FROM {table} WHERE instance_id = {id}"
        ))
    }
}

fn group(instance_id: u64) -> String {
    format!("test-{instance_id}")
}

/// A new group begins behind what earlier runs sent.
fn skip_old_messages(brokers: &str, group: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", group);
    let consumer: BaseConsumer = config.create().unwrap();
    let timeout = Duration::from_secs(30);
    let metadata = consumer.fetch_metadata(Some(TOPIC), timeout).unwrap();
    let mut ends = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (_, end) = consumer.fetch_watermarks(TOPIC, partition.id(), timeout).unwrap();
        ends.add_partition_offset(TOPIC, partition.id(), Offset::Offset(end))
            .unwrap();
    }
    consumer.commit(&ends, CommitMode::Sync).unwrap();
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(120), "it takes too long");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn rows_arrive_once_though_it_is_killed_again_and_again_and_a_view_fails() {
    let Some(pipeline) = Pipeline::find() else { return };
    for query in [
        "CREATE TABLE IF NOT EXISTS xtcp.test_fails (yes UInt8) ENGINE = MergeTree ORDER BY yes",
        "CREATE TABLE IF NOT EXISTS xtcp.test_copy (instance_id UInt64, record_counter UInt64) ENGINE = MergeTree \
         ORDER BY record_counter SETTINGS non_replicated_deduplication_window = 10000",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS xtcp.test_view TO xtcp.test_copy AS \
         SELECT instance_id, record_counter FROM xtcp.xtcp_flat_records \
         WHERE NOT throwIf((SELECT count() FROM xtcp.test_fails) > 0, 'this view fails on purpose')",
    ] {
        pipeline.ask(query);
    }
    let stored = || pipeline.count("xtcp.xtcp_flat_records");
    for round in 0..4 {
        pipeline.send(round * 20 + 1..=round * 20 + 20, &[]);
        let before = stored();
        let mut child = pipeline.spawn("1h");
        wait_until(|| stored() > before + 10 * ROWS);
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        println!("killed at {}", pipeline.rows("xtcp.xtcp_flat_records"));
    }
    pipeline.drain();
    let expected = format!("{0}\t{0}", 80 * ENVELOPES * ROWS);
    assert_eq!(pipeline.rows("xtcp.xtcp_flat_records"), expected);
    assert_eq!(pipeline.rows("xtcp.test_copy"), expected);

    // The table has the rows by the time that the view fails.
    pipeline.ask("INSERT INTO xtcp.test_fails VALUES (1)");
    let key = format!("{:016x}-poison", pipeline.instance_id);
    pipeline.put(&key, b"\x05hello");
    pipeline.send(81..=82, &[]);
    let before = stored();
    let mut child = pipeline.spawn("15s");
    wait_until(|| stored() > before);
    thread::sleep(Duration::from_secs(3));
    let (table, copy) = ("xtcp.xtcp_flat_records", "xtcp.test_copy");
    println!(
        "while the view fails: table {}, view {}",
        pipeline.rows(table),
        pipeline.rows(copy)
    );
    assert_eq!(pipeline.count(copy), before);
    pipeline.ask("TRUNCATE TABLE xtcp.test_fails");
    assert!(child.0.wait().unwrap().success());
    let expected = format!("{0}\t{0}", 82 * ENVELOPES * ROWS);
    assert_eq!(pipeline.rows(table), expected);
    assert_eq!(pipeline.rows(copy), expected);
    let letter = format!("SELECT raw_message, error FROM xtcp.dead_letters FINAL WHERE key = '{key}'");
    assert!(pipeline.ask(&letter).starts_with("\u{5}hello\t"));
    pipeline.ask("DROP TABLE xtcp.test_view");
    pipeline.ask("DROP TABLE xtcp.test_copy");
    pipeline.ask("DROP TABLE xtcp.test_fails");
    assert_eq!(
        pipeline.reconcile().status.code(),
        Some(2),
        "the tail is not known"
    );
}

#[test]
fn reconcile_finds_what_is_missing_and_double() {
    let Some(pipeline) = Pipeline::find() else { return };
    // Lost: the head, an envelope inside a poll, one at the border of two, and a whole poll.
    let lost = [1, 8, 15, 21, 22, 23, 24, 25];
    pipeline.send(1..=6, &lost);
    pipeline.drain();
    let id = pipeline.instance_id;
    // Twice, in another part: FINAL shows it once.
    let repeat = format!(
        "INSERT INTO xtcp.xtcp_flat_records (timestamp_unix_ns, record_counter, instance_id, poll_sequence) \
         SELECT timestamp_unix_ns, record_counter, instance_id, poll_sequence FROM xtcp.xtcp_flat_records \
         WHERE instance_id = {id} AND record_counter BETWEEN 41 AND 47"
    );
    pipeline.ask(&repeat);
    let output = pipeline.reconcile();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "1    40    40     1  unexplained",
        "281   320    40     2  unexplained",
        "561   600    40  3..4  unexplained",
        "801  1000   200  4..6  unexplained",
        "320 missing (0 admitted, 320 unexplained), 0 pending, 7 double (0 after FINAL)",
    ] {
        assert!(text.contains(line), "expected {line:?}");
    }
}
