-- Messages that are no Envelope, with what the engine said of them. Both ways in from Kafka write
-- here. A message that is read twice is one row after the next merge.
CREATE TABLE IF NOT EXISTS xtcp.dead_letters
(
    received_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was put here',
    topic LowCardinality(String) COMMENT 'Kafka topic',
    partition UInt64 COMMENT 'Kafka partition',
    offset UInt64 COMMENT 'Kafka offset in the partition',
    key String COMMENT 'Kafka message key: the identity of the envelope, where xtcp2 wrote it',
    error String COMMENT 'What was wrong with it',
    raw_message String CODEC(ZSTD(1)) COMMENT 'The message, byte for byte'
)
ENGINE = ReplacingMergeTree(received_at)
PARTITION BY toYYYYMM(received_at)
ORDER BY (topic, partition, offset)
TTL toDateTime(received_at) + INTERVAL 30 DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000;

-- A socket's minute: what dashboards over hours and days read. Nothing but smallest and largest
-- values, so that a row that comes twice, even long after the deduplication window, changes nothing.
-- Rows without byte counters (listeners, TIME_WAIT, half-open requests) are not in it: their 0 means
-- absent and would look like a counter that began anew.
CREATE TABLE IF NOT EXISTS xtcp.socket_minutes
(
    hostname LowCardinality(String),
    netns LowCardinality(String),
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the minute',
    inet_diag_msg_socket_cookie UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Identifies the socket for as long as the machine runs',
    source_port UInt16 CODEC(ZSTD(1)) COMMENT 'Local port',
    destination_ip IPv6 CODEC(ZSTD(1)) COMMENT 'Remote address',
    destination_port UInt16 CODEC(ZSTD(1)) COMMENT 'Remote port',
    bytes_acked_min SimpleAggregateFunction(min, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_acked_max SimpleAggregateFunction(max, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_received_min SimpleAggregateFunction(min, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_received_max SimpleAggregateFunction(max, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_sent_min SimpleAggregateFunction(min, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_sent_max SimpleAggregateFunction(max, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_retrans_min SimpleAggregateFunction(min, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_retrans_max SimpleAggregateFunction(max, UInt64) CODEC(Delta, ZSTD(1)),
    rtt_us_min SimpleAggregateFunction(min, UInt32) CODEC(T64, ZSTD(1)),
    rtt_us_max SimpleAggregateFunction(max, UInt32) CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(minute)
PRIMARY KEY (hostname, toStartOfHour(minute), netns, inet_diag_msg_socket_cookie)
ORDER BY (hostname, toStartOfHour(minute), netns, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port, minute)
TTL minute + INTERVAL 90 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS xtcp.socket_minutes_feed TO xtcp.socket_minutes AS
SELECT
    hostname,
    netns,
    toStartOfMinute(toDateTime(timestamp_ns, 'UTC')) AS minute,
    inet_diag_msg_socket_cookie,
    toUInt16(inet_diag_msg_socket_source_port) AS source_port,
    destination_ip,
    toUInt16(inet_diag_msg_socket_destination_port) AS destination_port,
    min(tcp_info_bytes_acked) AS bytes_acked_min,
    max(tcp_info_bytes_acked) AS bytes_acked_max,
    min(tcp_info_bytes_received) AS bytes_received_min,
    max(tcp_info_bytes_received) AS bytes_received_max,
    min(tcp_info_bytes_sent) AS bytes_sent_min,
    max(tcp_info_bytes_sent) AS bytes_sent_max,
    min(tcp_info_bytes_retrans) AS bytes_retrans_min,
    max(tcp_info_bytes_retrans) AS bytes_retrans_max,
    min(tcp_info_rtt) AS rtt_us_min,
    max(tcp_info_rtt) AS rtt_us_max
FROM xtcp.xtcp_flat_records
WHERE inet_diag_msg_state != 10 AND tcp_info_length_bytes >= 136
GROUP BY hostname, netns, minute, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port;
