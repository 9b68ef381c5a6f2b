//! A topic of librdkafka's mock cluster with messages as the daemon sends them.

use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use std::time::Duration;
use xtcp2::{output::Identity, record::wire::Writer};

pub const TOPIC: &str = "xtcp";
pub const INSTANCE: u64 = 0xfeed_0000_0000_0001;

pub struct Topic {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Topic {
    pub fn new(partitions: i32) -> Topic {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, partitions, 1).unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .create()
            .unwrap();
        Topic { cluster, producer }
    }

    pub fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Lets its only broker come or go.
    pub fn set_up(&self, is_up: bool) {
        match is_up {
            true => self.cluster.broker_up(1),
            false => self.cluster.broker_down(1),
        }
        .unwrap();
    }

    pub fn send(&self, partition: i32, key: Option<&str>, value: &[u8]) {
        let mut record = BaseRecord::<str, [u8]>::to(TOPIC)
            .partition(partition)
            .payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    /// Sends envelopes of the sequences given, each with `rows` rows.
    pub fn send_envelopes(&self, partition: i32, sequences: std::ops::RangeInclusive<u64>, rows: u64) {
        for sequence in sequences {
            self.send(
                partition,
                Some(&key(sequence)),
                &envelope(INSTANCE, sequence, rows),
            );
        }
    }

    /// The offset from which a group would go on.
    pub fn committed(&self, group: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .set("group.id", group)
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(TOPIC, partition);
        let list = consumer.committed_offsets(list, Duration::from_secs(30)).unwrap();
        list.elements()[0].offset().to_raw().filter(|offset| *offset >= 0)
    }
}

/// The key of an envelope of [`INSTANCE`].
pub fn key(envelope_sequence: u64) -> String {
    Identity {
        instance_id: INSTANCE,
        envelope_sequence,
        part: 0,
    }
    .to_string()
}

/// A delimited envelope; its rows are numbered from `sequence * 1000`.
pub fn envelope(instance_id: u64, sequence: u64, rows: u64) -> Vec<u8> {
    envelope_of(instance_id, 1, sequence * 1000, rows, 1)
}

/// A delimited envelope of one poll; its rows are numbered from `first`.
pub fn envelope_of(instance_id: u64, poll: u64, first: u64, rows: u64, timestamp_ns: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for counter in first..first + rows {
        let encoded = written(|writer| {
            writer.uint64::<10>(timestamp_ns);
            writer.uint64::<60>(counter);
            writer.uint64::<70>(instance_id);
            writer.uint64::<71>(poll);
        });
        body.push(0x52);
        body.extend(written(|writer| writer.varint(encoded.len() as u64)));
        body.extend(encoded);
    }
    let mut message = written(|writer| writer.varint(body.len() as u64));
    message.extend(body);
    message
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; 128];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer);
    let length = writer.len();
    buffer[..length].to_vec()
}
