//! Against librdkafka's mock cluster; tests with real brokers are in the crate xtcp2-soak.

use super::*;
use crate::output::kafka::{Reached, Settings, Unreached, reach};
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::{fs::File, sync::mpsc, thread};

const TOPIC: &str = "rows";

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    cluster
}

fn options(properties: &[&str]) -> Options {
    Options {
        kafka: Settings {
            topic: TOPIC.to_owned(),
            compression: "auto".to_owned(),
            properties: properties.iter().map(|text| text.parse().unwrap()).collect(),
        },
        ..Options::default()
    }
}

fn open(cluster: &Cluster, properties: &[&str]) -> Driver {
    Driver::open(
        &format!("kafka:{}", cluster.bootstrap_servers()),
        options(properties),
    )
}

/// Keys and values of the topic from its start: so many, and none behind them.
fn topic(cluster: &Cluster, count: usize) -> Vec<(String, Vec<u8>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .set("fetch.message.max.bytes", "20000000")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut seen = Vec::new();
    let end = Instant::now() + PATIENCE;
    let mut quiet = 0;
    while quiet < 5 && Instant::now() < end {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
                seen.push((key, message.payload().unwrap().to_vec()));
            }
            Some(Err(_)) => {}
            None => quiet += u32::from(seen.len() >= count),
        }
    }
    seen
}

#[test]
fn a_message_is_delivered_when_it_is_acknowledged_and_its_key_is_its_identity() {
    let cluster = cluster();
    let mut driver = open(&cluster, &[]);
    for sequence in 1..=50 {
        driver.offer(message(sequence, 1000));
    }
    driver.run_until_idle();
    assert_eq!(driver.counters().delivered.messages, 50);
    assert_eq!(driver.counters().retried, 0);
    let seen = topic(&cluster, 50);
    assert_eq!(seen.len(), 50);
    for (sequence, (key, value)) in (1..).zip(&seen) {
        assert_eq!(*key, format!("{:016x}-{sequence}", 7));
        assert_eq!(*value, message(sequence, 1000).bytes, "in their order, unchanged");
    }
    driver.run_until("brokers are counted", |output| output.counters().brokers_up > 0);
    assert!(driver.counters().brokers >= driver.counters().brokers_up);
    driver.assert_quiet();
}

#[test]
fn what_librdkafka_has_no_room_for_waits_and_comes_in_order() {
    let cluster = cluster();
    let properties = [
        "queue.buffering.max.kbytes=300",
        "message.max.bytes=200000",
        "batch.size=100000",
    ];
    let mut driver = open(&cluster, &properties);
    for sequence in 1..=60 {
        driver.offer(message(sequence, 60_000));
    }
    assert!(driver.output.queued().messages > 50, "most of them wait with us");
    driver.run_until_idle();
    let keys: Vec<String> = topic(&cluster, 60).into_iter().map(|(key, _)| key).collect();
    let expected: Vec<String> = (1..=60)
        .map(|sequence| format!("{:016x}-{sequence}", 7))
        .collect();
    assert_eq!(keys, expected);
    assert_eq!(driver.counters().dropped_total().messages, 0);
}

#[test]
fn an_error_of_the_broker_is_tried_again_and_its_message_is_in_the_topic_once() {
    let cluster = cluster();
    let mut driver = open(&cluster, &[]);
    let again = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    cluster.request_errors(RDKafkaApiKey::Produce, &[again; 3]);
    for sequence in 1..=3 {
        driver.offer(message(sequence, 100));
    }
    driver.run_until_idle();
    assert_eq!(driver.counters().delivered.messages, 3);
    assert_eq!(topic(&cluster, 3).len(), 3);
}

#[test]
fn what_a_broker_refuses_for_good_is_dropped_and_the_rest_is_not() {
    let cluster = cluster();
    let mut driver = open(&cluster, &["enable.idempotence=false", "linger.ms=0"]);
    driver.offer(message(1, 100));
    driver.run_until_idle();
    let never = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    cluster.request_errors(RDKafkaApiKey::Produce, &[never]);
    driver.offer(message(2, 100));
    driver.run_until_idle();
    driver.offer(message(3, 100));
    driver.run_until_idle();
    assert_eq!(driver.counters().dropped(DropReason::Rejected).messages, 1);
    assert_eq!(driver.counters().delivered.messages, 2);
}

#[test]
fn a_message_that_timed_out_is_handed_over_again() {
    let cluster = cluster();
    let properties = [
        "message.timeout.ms=400",
        "enable.idempotence=false",
        "retry.backoff.ms=10",
    ];
    let mut driver = open(&cluster, &properties);
    driver.offer(message(1, 100));
    driver.run_until_idle();
    for broker in 1..=3 {
        cluster.broker_down(broker).unwrap();
    }
    driver.offer(message(2, 100));
    driver.run_until("it failed", |output| output.counters().retried > 0);
    assert_eq!(driver.output.queued().messages, 1, "it waits, it is not lost");
    for broker in 1..=3 {
        cluster.broker_up(broker).unwrap();
    }
    driver.run_until_idle();
    assert_eq!(driver.counters().delivered.messages, 2);
}

#[test]
fn a_slow_broker_holds_up_neither_us_nor_the_messages() {
    const ROUND_TRIP: Duration = Duration::from_secs(1);
    let cluster = cluster();
    for broker in 1..=3 {
        cluster.broker_round_trip_time(broker, ROUND_TRIP).unwrap();
    }
    let mut driver = open(&cluster, &[]);
    let mut slowest = Duration::ZERO;
    for sequence in 1..=100 {
        let before = Instant::now();
        driver.offer(message(sequence, 10_000));
        slowest = slowest.max(before.elapsed());
    }
    assert!(slowest < ROUND_TRIP, "offer waited for the broker: {slowest:?}");
    driver.run_until_idle();
    assert_eq!(topic(&cluster, 100).len(), 100);
}

#[test]
fn the_end_of_a_producer_gives_back_what_it_had() {
    let cluster = cluster();
    let mut driver = open(&cluster, &[]);
    driver.offer(message(1, 100));
    driver.run_until_idle();
    for broker in 1..=3 {
        cluster.broker_down(broker).unwrap();
    }
    for sequence in 2..=4 {
        driver.offer(message(sequence, 100));
    }
    driver.turn(Duration::from_millis(50));
    let other = MockCluster::new(1).unwrap();
    other.create_topic(TOPIC, 1, 1).unwrap();
    let to_other = Destination::from_str(&format!("kafka:{}", other.bootstrap_servers())).unwrap();
    let Driver { output, epoll, .. } = &mut driver;
    output
        .replace(&to_other, options(&[]), epoll, Instant::now())
        .unwrap();
    driver.run_until_idle();
    let keys: Vec<String> = topic(&other, 3).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [2, 3, 4].map(|sequence| format!("{:016x}-{sequence}", 7)));
    assert_eq!(driver.counters().delivered.messages, 4);
}

/// The error is first in librdkafka's queue, with the code of its cause; behind it is what became of the
/// messages.
#[test]
fn a_fatal_error_ends_the_producer_and_the_next_one_delivers_what_it_had() {
    let cluster = cluster();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refused]);
    let mut driver = open(&cluster, &[]);
    for sequence in 1..=20 {
        driver.offer(message(sequence, 100));
    }
    // All of it happens before we look.
    thread::sleep(Duration::from_secs(2));
    driver.run_until_idle();
    assert_eq!(driver.counters().delivered.messages, 20);
    assert_eq!(driver.counters().retried, 20);
    assert_eq!(topic(&cluster, 20).len(), 20);
}

#[test]
fn without_a_broker_messages_wait_up_to_the_bound_and_the_log_hears_of_it() {
    let options = Options {
        queue_bytes_max: 1000,
        ..options(&[])
    };
    let mut driver = Driver::open("kafka:127.0.0.1:1", options);
    for sequence in 1..=5 {
        driver.offer(message(sequence, 300));
    }
    driver.run_until("the failure is known", |output| output.last_error().is_some());
    assert!(!driver.output.is_established());
    // What librdkafka has is not dropped for room; what comes later is.
    assert_eq!(driver.counters().dropped(DropReason::QueueFull).messages, 2);
    driver.output.shutdown();
    assert_eq!(driver.counters().dropped(DropReason::Shutdown).messages, 3);
    driver.check_books();
}

/// A look-up of a name hangs while the resolver is away: here in /etc/hosts, a FIFO in a mount namespace of this
/// thread and of those that it starts.
#[test]
fn the_end_of_a_producer_does_not_wait_for_a_look_up_that_hangs() {
    /// Where a machine may be busy elsewhere for a second or two.
    const AT_ONCE: Duration = Duration::from_secs(5);
    use nix::{mount, mount::MsFlags, sched, sched::CloneFlags, sys::stat::Mode, unistd};
    let dir = tempfile::tempdir().unwrap();
    if let Err(error) = sched::unshare(CloneFlags::CLONE_NEWNS) {
        eprintln!("skipped: unshare a mount namespace: {error}");
        return;
    }
    let (none, fifo) = (None::<&str>, dir.path().join("hosts"));
    mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    mount::mount(Some(&fifo), "/etc/hosts", none, MsFlags::MS_BIND, none).unwrap();
    // Who opens it waits for a writer: there is one when the test ends, or is late.
    let (running, ended) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        let _ = ended.recv_timeout(PATIENCE);
        File::options().read(true).write(true).open(&fifo)
    });
    let mut driver = Driver::open("kafka:broker.invalid:1", options(&[]));
    driver.offer(message(1, 100));
    thread::sleep(Duration::from_millis(500));
    let before = Instant::now();
    let other = Destination::from_str("kafka:other.invalid:1").unwrap();
    let Driver { output, epoll, .. } = &mut driver;
    output.replace(&other, options(&[]), epoll, before).unwrap();
    let replaced_after = before.elapsed();
    driver.assert_quiet();
    thread::sleep(Duration::from_millis(500));
    let before = Instant::now();
    driver.output.shutdown();
    let ended_after = before.elapsed();
    drop(running);
    writer.join().unwrap().unwrap();
    assert!(replaced_after < AT_ONCE, "{replaced_after:?}");
    assert!(ended_after < AT_ONCE, "{ended_after:?}");
    assert_eq!(driver.counters().dropped(DropReason::Shutdown).messages, 1);
    driver.check_books();
}

/// A secret that the brokers no longer take, in effect: an address family that they do not have.
#[test]
fn sighup_brings_new_secrets_while_no_broker_is_up() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("family");
    std::fs::write(&secret, "v6").unwrap();
    let property = format!("broker.address.family=@{}", secret.display());
    let mut driver = open(&cluster, &[&property]);
    driver.offer(message(1, 100));
    driver.run_until("the failure is known", |output| output.last_error().is_some());
    std::fs::write(&secret, "v4").unwrap();
    let Driver { output, epoll, .. } = &mut driver;
    output.reopen(epoll, Instant::now());
    driver.run_until_idle();
    assert_eq!(driver.counters().delivered.messages, 1);
    assert_eq!(topic(&cluster, 1).len(), 1);
}

#[test]
fn sighup_brings_new_secrets_after_what_is_in_flight() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("family");
    std::fs::write(&secret, "v4").unwrap();
    let property = format!("broker.address.family=@{}", secret.display());
    let mut driver = open(&cluster, &[&property]);
    driver.run_until("a broker is up", |output| output.counters().brokers_up > 0);
    driver.offer(message(1, 100));
    std::fs::remove_file(&secret).unwrap();
    let Driver { output, epoll, .. } = &mut driver;
    output.reopen(epoll, Instant::now());
    assert_eq!(driver.counters().retried, 0, "it is on its way");
    driver.run_until("the file is read", |output| {
        output
            .last_error()
            .is_some_and(|error| error.contains("No such file"))
    });
    assert_eq!(driver.counters().delivered.messages, 1);
    std::fs::write(&secret, "v4").unwrap();
    driver.offer(message(2, 100));
    driver.run_until_idle();
    assert_eq!(driver.counters().delivered.messages, 2);
    assert_eq!(driver.counters().possibly_persisted, 0);
    driver.assert_quiet();
}

#[test]
fn what_librdkafka_does_not_take_is_an_error_at_start_without_its_value() {
    let epoll = Epoll::new().unwrap();
    let destination = Destination::from_str("kafka:127.0.0.1:1").unwrap();
    for (property, says) in [
        ("no.such.property=abc", "No such configuration property"),
        ("linger.ms=abc", "linger.ms"),
        ("ssl.ca.location=@/nonexistent/ca", "/nonexistent/ca"),
    ] {
        let error = Output::open(&destination, options(&[property]), &epoll, Instant::now()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(says) && !error.contains("=abc"), "{error}");
    }
}

#[test]
fn a_check_names_brokers_and_partitions_and_makes_no_topic() {
    let cluster = cluster();
    let brokers: Vec<HostPort> = cluster
        .bootstrap_servers()
        .split(',')
        .map(|broker| broker.parse().unwrap())
        .collect();
    let reached = reach(&brokers, &options(&[]).kafka, PATIENCE).unwrap();
    let expected = Reached {
        brokers: 3,
        partitions: Some(1),
    };
    assert_eq!(reached, expected);
    let nobody = ["127.0.0.1:1".parse().unwrap()];
    let unreached = reach(&nobody, &options(&[]).kafka, Duration::from_millis(500)).unwrap_err();
    assert!(matches!(unreached, Unreached::Now(_)), "{unreached:?}");
    let wrong = options(&["no.such.property=1"]).kafka;
    assert!(matches!(
        reach(&nobody, &wrong, PATIENCE),
        Err(Unreached::Never(_))
    ));
}
