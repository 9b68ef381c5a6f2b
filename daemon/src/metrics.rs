//! The metrics, as Prometheus reads them: made from the components' counters at each scrape, so
//! that nothing is counted twice and the hot path knows no registry.

use crate::{
    admin::server::Counters as AdminCounters,
    namespaces::{Counters as NamespaceCounters, FailureKind},
    output::{Counters as OutputCounters, DropReason, Tally},
    poll::{PollReport, ReadCounters},
    record::Anomalies,
    rows::RowCounters,
    spool::Spool,
    version::{COMMIT, VERSION},
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};
use std::{fmt, sync::atomic::AtomicU64};

/// Upper bounds of the histogram of poll durations, seconds: from a few namespaces to thousands.
const POLL_DURATION_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Upper bounds of the histogram of start delays, seconds: a schedule that holds stays below 10 ms.
const START_DELAY_BUCKETS: [f64; 9] = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0];

/// An empty histogram of the delays with which polls start.
pub fn poll_start_delay_histogram() -> Histogram {
    Histogram::new(START_DELAY_BUCKETS)
}

/// An empty histogram of poll durations.
pub fn poll_duration_histogram() -> Histogram {
    Histogram::new(POLL_DURATION_BUCKETS)
}

/// What there is to say at the moment of a scrape.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The last poll that was completed.
    pub last_poll: PollReport,
    /// `instance_id` of the rows.
    pub instance_id: u64,
    /// Seconds since 1970 at the start of the daemon.
    pub start_seconds: f64,
    /// Polls completed.
    pub polls: u64,
    /// Rows of the polls that were completed: what one poll made is the difference of two readings, where
    /// the counter of all rows runs ahead while a poll is under way.
    pub completed_poll_rows: u64,
    /// Polls that started late, the one before still running.
    pub polls_late: u64,
    /// Times a poll waited for a slow receiver.
    pub output_stalls: u64,
    /// Duration of all polls.
    pub poll_durations: &'a Histogram,
    /// How much later than due each poll started.
    pub poll_start_delays: &'a Histogram,
    /// Seconds since 1970 at the end of the last poll.
    pub last_poll_end_seconds: f64,
    /// Dumps.
    pub dumps: ReadCounters,
    /// Sockets known from the last poll, and the bytes that takes.
    pub known_sockets: (usize, usize),
    /// Rows and envelopes.
    pub rows: RowCounters,
    /// What could not be written into rows.
    pub anomalies: Anomalies,
    /// Namespaces.
    pub namespaces: NamespaceCounters,
    /// The output.
    pub output: &'a OutputCounters,
    /// What waits in it.
    pub output_queued: Tally,
    /// Where it waits, if that is on disk.
    pub spool: Option<&'a Spool>,
    /// The admin server, if there is one.
    pub admin: AdminCounters,
}

type Label = [(&'static str, &'static str); 1];

/// Names and helps are given here and nowhere else; prometheus-client appends unit and `_total`.
struct Metrics(Registry);

impl Metrics {
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    fn bytes_counter(&mut self, name: &str, help: &str, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        self.0.register_with_unit(name, help, Unit::Bytes, counter);
    }

    fn counters(&mut self, name: &str, help: &str, label: &'static str, values: &[(&'static str, u64)]) {
        let family = Family::<Label, Counter>::default();
        for (value, count) in values {
            family.get_or_create(&[(label, *value)]).inc_by(*count);
        }
        self.0.register(name, help, family);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register(name, help, gauge);
    }

    fn bytes_gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register_with_unit(name, help, Unit::Bytes, gauge);
    }

    fn seconds_gauge(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.0.register_with_unit(name, help, Unit::Seconds, gauge);
    }
}

/// Writes all metrics in the OpenMetrics text format.
///
/// # Errors
/// Only when `text` cannot take more.
pub fn render(snapshot: &Snapshot<'_>, text: &mut String) -> fmt::Result {
    let mut registry = Registry::with_prefix("xtcp2");
    let build = Info::new([("version", VERSION), ("commit", COMMIT)]);
    registry.register("build", "Version of the program", build);
    let instance = Info::new([("instance_id", format!("{:016x}", snapshot.instance_id))]);
    registry.register(
        "instance",
        "This run of the program; instance_id of its rows, in hexadecimal",
        instance,
    );
    registry.register_with_unit(
        "poll_duration",
        "From the start of a poll to its end",
        Unit::Seconds,
        snapshot.poll_durations.clone(),
    );
    registry.register_with_unit(
        "poll_start_delay",
        "From the time a poll is due to its start",
        Unit::Seconds,
        snapshot.poll_start_delays.clone(),
    );
    let mut metrics = Metrics(registry);
    polls(&mut metrics, snapshot);
    namespaces(&mut metrics, snapshot);
    output(&mut metrics, snapshot);
    encode(text, &metrics.0)?;

    // encode() closes the text; one text has one end.
    let end = "# EOF\n";
    text.truncate(text.strip_suffix(end).unwrap_or(text).len());
    let mut process = Metrics(Registry::with_prefix("process"));
    process_metrics(&mut process, snapshot.start_seconds);
    encode(text, &process.0)
}

fn polls(metrics: &mut Metrics, snapshot: &Snapshot<'_>) {
    let Snapshot {
        last_poll,
        dumps,
        rows,
        anomalies,
        ..
    } = snapshot;
    metrics.counter("polls", "Polls completed", snapshot.polls);
    metrics.counter(
        "completed_poll_rows",
        "Rows of completed polls",
        snapshot.completed_poll_rows,
    );
    metrics.counter(
        "polls_late",
        "Polls that started late since the one before still ran",
        snapshot.polls_late,
    );
    metrics.counter(
        "output_stalls",
        "Times that a poll waited for a slow receiver",
        snapshot.output_stalls,
    );
    metrics.seconds_gauge(
        "last_poll_end_timestamp",
        "End of the last poll",
        snapshot.last_poll_end_seconds,
    );
    metrics.seconds_gauge(
        "last_poll_duration",
        "From the start of the last poll to its end",
        last_poll.duration.as_secs_f64(),
    );
    metrics.gauge("last_poll_rows", "Rows made in the last poll", last_poll.rows);
    metrics.gauge(
        "last_poll_sequence",
        "poll_sequence of the rows of the last poll",
        last_poll.sequence,
    );
    metrics.gauge(
        "namespaces",
        "Network namespaces read in the last poll",
        last_poll.namespaces,
    );
    metrics.gauge("sockets", "TCP sockets read in the last poll", last_poll.sockets);
    metrics.counter(
        "sockets_read",
        "TCP sockets read, those outside --states included",
        dumps.sockets,
    );
    metrics.counter("sockets_filtered", "TCP sockets outside --states", dumps.filtered);
    metrics.counter("rows", "Rows made", rows.rows);
    metrics.counter("envelopes", "Envelopes closed", rows.envelopes);
    metrics.bytes_counter("envelope", "Protobuf in closed envelopes", rows.envelope_bytes);
    metrics.bytes_counter("netlink_received", "Replies of the kernel", dumps.received_bytes);
    metrics.counter(
        "dumps",
        "Dumps asked of the kernel, repeated ones included",
        dumps.dumps,
    );
    metrics.counters(
        "namespace_reads",
        "How namespaces were read: skipped, by look-ups, by a walk, by a walk after look-ups that proved too little",
        "plan",
        &[
            ("skip", dumps.skips),
            ("look_up", dumps.look_ups_sufficed),
            ("walk", dumps.walks),
            ("look_up_then_walk", dumps.walks_after_look_ups),
        ],
    );
    metrics.counters(
        "look_ups",
        "Known sockets asked for; those that had gone; those asked for again, unanswered",
        "event",
        &[
            ("asked", dumps.look_ups),
            ("gone", dumps.look_ups_gone),
            ("repeated", dumps.look_ups_repeated),
        ],
    );
    let (sockets, bytes) = snapshot.known_sockets;
    metrics.gauge(
        "known_sockets",
        "Sockets known from the last poll",
        sockets as u64,
    );
    metrics.bytes_gauge(
        "known_sockets_memory",
        "Memory of the known sockets",
        bytes as u64,
    );
    metrics.counters(
        "dump_events",
        "What went wrong in dumps; rows read until then were kept",
        "event",
        &[
            ("repeated", dumps.repeated),
            ("interrupted", dumps.interrupted),
            ("overrun", dumps.overrun),
            ("truncated", dumps.truncated),
            ("failed", dumps.failed),
            ("timed_out", dumps.timed_out),
            ("incomplete", dumps.incomplete),
            ("malformed", dumps.malformed),
            ("unexpected", dumps.unexpected),
            ("duplicate_socket", dumps.duplicates),
        ],
    );
    metrics.counters(
        "row_anomalies",
        "Rows that hold less than the kernel sent, or that the format had to leave out",
        "kind",
        &[
            ("attributes_malformed", anomalies.attributes_malformed),
            ("tcp_info_longer_than_known", anomalies.tcp_info_longer),
            ("overflowed", anomalies.overflowed),
            ("left_out", rows.left_out),
        ],
    );
}

fn namespaces(metrics: &mut Metrics, snapshot: &Snapshot<'_>) {
    let counters = &snapshot.namespaces;
    metrics.counters(
        "namespace_events",
        "Names in the namespace folders that came, went, or went before any poll saw them",
        "event",
        &[
            ("created", counters.folders.created),
            ("deleted", counters.folders.deleted),
            ("missed", counters.folders.missed),
        ],
    );
    metrics.counter(
        "inotify_overflows",
        "Times that events of the folders were lost",
        counters.folders.overflows,
    );
    metrics.counter(
        "namespace_folder_failures",
        "Listings of the folders that failed, or had too many names",
        counters.folders.unreadable,
    );
    metrics.counter("namespace_visits", "Namespaces entered", counters.visited);
    metrics.counter(
        "namespace_retries",
        "Visits put off since nothing was mounted yet",
        counters.retried,
    );
    let failures = FailureKind::ALL.map(|kind| (kind.label(), counters.failed[kind as usize]));
    metrics.counters(
        "namespace_failures",
        "Namespaces that could not be entered",
        "reason",
        &failures,
    );
    metrics.counter(
        "process_scan_rounds",
        "Rounds of the scan of processes",
        counters.scan.rounds,
    );
    metrics.counter(
        "process_scan_failures",
        "Rounds of the scan of processes that could not start",
        counters.scan.failed,
    );
    metrics.gauge(
        "processes_scanned",
        "Processes of the last round",
        counters.scan.processes,
    );
    metrics.gauge(
        "processes_refused",
        "Processes of the last round whose namespace may not be read (CAP_SYS_PTRACE)",
        counters.scan.processes_refused,
    );
}

fn output(metrics: &mut Metrics, snapshot: &Snapshot<'_>) {
    let counters = snapshot.output;
    metrics.counter(
        "output_delivered_messages",
        "Messages delivered",
        counters.delivered.messages,
    );
    metrics.counter("output_delivered_rows", "Rows delivered", counters.delivered.rows);
    metrics.bytes_counter("output_delivered", "Messages delivered", counters.delivered.bytes);
    let dropped = DropReason::NAMES.map(|(reason, name)| (name, counters.dropped(reason).rows));
    metrics.counters("output_dropped_rows", "Rows given up", "reason", &dropped);
    let dropped = DropReason::NAMES.map(|(reason, name)| (name, counters.dropped(reason).messages));
    metrics.counters("output_dropped_messages", "Messages given up", "reason", &dropped);
    metrics.counter(
        "output_recovered_rows",
        "Rows of earlier runs that waited in the spool at the start",
        counters.recovered.rows,
    );
    metrics.counter("output_retries", "Transmissions begun again", counters.retried);
    metrics.counter(
        "output_errors",
        "Failed attempts to resolve, connect, write or be answered",
        counters.errors,
    );
    metrics.counter(
        "output_reconnects",
        "Connections made after the first",
        counters.reconnects,
    );
    metrics.gauge(
        "output_connected",
        "1 while there is a connection or an open file",
        counters.connected.into(),
    );
    metrics.bytes_gauge(
        "output_queued",
        "Messages that wait for the receiver",
        snapshot.output_queued.bytes,
    );
    metrics.gauge(
        "output_queued_rows",
        "Rows that wait for the receiver",
        snapshot.output_queued.rows,
    );
    metrics.counter(
        "output_possibly_persisted_messages",
        "Messages sent again though they may have arrived: readers tell them by their key",
        counters.possibly_persisted,
    );
    metrics.gauge(
        "kafka_brokers",
        "Brokers of the Kafka cluster that are known",
        counters.brokers,
    );
    metrics.gauge(
        "kafka_brokers_up",
        "Brokers of the Kafka cluster that are connected to",
        counters.brokers_up,
    );
    spool(metrics, snapshot.spool);
    let AdminCounters {
        responses_2xx,
        responses_4xx,
        responses_5xx,
        connections,
        rejected,
        accept_errors,
        timed_out,
    } = snapshot.admin;
    let responses = [
        ("2xx", responses_2xx),
        ("4xx", responses_4xx),
        ("5xx", responses_5xx),
    ];
    metrics.counters(
        "admin_responses",
        "Answers of the admin server",
        "code",
        &responses,
    );
    metrics.counter(
        "admin_connections",
        "Connections to the admin server",
        connections,
    );
    metrics.counter(
        "admin_connections_rejected",
        "Connections turned away, all slots in use",
        rejected,
    );
    metrics.counter(
        "admin_accept_errors",
        "Connections that could not be taken, such as for want of a descriptor",
        accept_errors,
    );
    metrics.counter(
        "admin_connections_timed_out",
        "Connections cut off for slowness",
        timed_out,
    );
}

fn spool(metrics: &mut Metrics, spool: Option<&Spool>) {
    let counters = spool.map(Spool::counters).unwrap_or_default();
    metrics.bytes_gauge("spool", "Segments of the spool", spool.map_or(0, Spool::bytes));
    metrics.bytes_gauge(
        "spool_max",
        "What the segments may take",
        spool.map_or(0, Spool::bytes_max),
    );
    metrics.gauge(
        "spool_degraded",
        "1 while the disk refuses messages: they are in memory alone",
        spool.is_some_and(Spool::is_degraded).into(),
    );
    metrics.counter(
        "spool_messages",
        "Messages that the spool took",
        counters.appended_messages,
    );
    metrics.counter(
        "spool_refused_messages",
        "Messages that the spool could not take",
        counters.refused_messages,
    );
    metrics.counters(
        "spool_bad_records",
        "Records that are not what was written: damaged ones had been taken, torn ones had not",
        "kind",
        &[
            ("damaged", counters.corrupt_records),
            ("torn", counters.torn_records),
        ],
    );
    metrics.counter(
        "spool_damaged_rows",
        "Rows in damaged records, as far as record or journal tell",
        counters.corrupt_rows,
    );
    metrics.counter(
        "spool_io_errors",
        "Calls to the disk that failed",
        counters.io_errors,
    );
    metrics.counter("spool_syncs", "fdatasync calls on segments", counters.syncs);
    metrics.counter(
        "spool_journal_entries_lost",
        "Entries that the journal lacks since the disk did not take them",
        counters.journal_entries_lost,
    );
}

/// What Prometheus' client libraries say of every process, under the names they use.
fn process_metrics(metrics: &mut Metrics, start_seconds: f64) {
    // Not from /proc: the time of boot, which the kernel's own figure counts from, is in /proc/stat, and the shipped unit
    // hides that (ProcSubset=pid).
    metrics.seconds_gauge("start_time", "Start of the process", start_seconds);
    let Ok(process) = procfs::process::Process::myself() else {
        return;
    };
    if let Ok(stat) = process.stat() {
        #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are 2.8 million years")]
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        let cpu = Counter::<f64, AtomicU64>::default();
        cpu.inc_by(seconds(stat.utime + stat.stime));
        metrics
            .0
            .register_with_unit("cpu", "User and system CPU time", Unit::Seconds, cpu);
        metrics.bytes_gauge("virtual_memory", "Virtual memory", stat.vsize);
        metrics.bytes_gauge(
            "resident_memory",
            "Resident memory",
            stat.rss * procfs::page_size(),
        );
        metrics.gauge("threads", "Threads", u64::try_from(stat.num_threads).unwrap_or(0));
    }
    if let Ok(count) = process.fd_count() {
        metrics.gauge("open_fds", "Open file descriptors", count as u64);
    }
    if let Ok(limits) = process.limits()
        && let procfs::process::LimitValue::Value(max) = limits.max_open_files.soft_limit
    {
        metrics.gauge("max_fds", "Bound of open file descriptors", max);
    }
}
