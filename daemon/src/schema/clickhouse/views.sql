-- Views. Those with (since, until) take a window of time, until not included:
--     SELECT * FROM xtcp.top_talkers(since = now('UTC') - 300, until = now('UTC')) LIMIT 20
-- They are DateTime64: compared with a DateTime, timestamp_ns would be cut to whole seconds.
-- The kernel's byte counters run from a connection's start, so what passed in a window is the largest
-- value in it less the smallest. What a connection did before its first row in the window is not in it.

-- Every row once, also before doubles have been merged away.
CREATE OR REPLACE VIEW xtcp.rows_once AS
SELECT *, source_ip, destination_ip, source_ip_text, destination_ip_text
FROM xtcp.xtcp_flat_records FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Who moved the most bytes: one row a connection. Doubles change neither max nor min.
CREATE OR REPLACE VIEW xtcp.top_talkers AS
SELECT
    hostname,
    netns,
    any(source_ip_text) AS source,
    inet_diag_msg_socket_source_port AS source_port,
    any(destination_ip_text) AS destination,
    inet_diag_msg_socket_destination_port AS destination_port,
    max(tcp_info_bytes_acked) - min(tcp_info_bytes_acked) AS bytes_sent,
    max(tcp_info_bytes_received) - min(tcp_info_bytes_received) AS bytes_received,
    bytes_sent + bytes_received AS bytes,
    dateDiff('millisecond', min(timestamp_ns), max(timestamp_ns)) / 1000 AS seconds,
    if(seconds > 0, round(8 * bytes / seconds), 0) AS bits_per_second,
    inet_diag_msg_socket_cookie
FROM xtcp.xtcp_flat_records
WHERE timestamp_ns >= {since:DateTime64(9, 'UTC')} AND timestamp_ns < {until:DateTime64(9, 'UTC')}
    -- Up to the byte counters: in shorter ones they are absent, not 0.
    AND inet_diag_msg_state != 10 AND tcp_info_length_bytes >= 136
GROUP BY hostname, netns, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port
ORDER BY bytes DESC;

-- Where bytes had to be sent again: one row a namespace and remote address. NULL: nothing was sent.
CREATE OR REPLACE VIEW xtcp.retransmit_rate AS
SELECT
    hostname,
    netns,
    destination,
    count() AS connections,
    sum(sent) AS bytes_sent,
    sum(retransmitted) AS bytes_retransmitted,
    if(bytes_sent > 0, round(100 * bytes_retransmitted / bytes_sent, 3), NULL) AS retransmit_percent,
    sum(timeouts) AS retransmission_timeouts
FROM
(
    SELECT
        hostname,
        netns,
        any(destination_ip_text) AS destination,
        max(tcp_info_bytes_sent) - min(tcp_info_bytes_sent) AS sent,
        max(tcp_info_bytes_retrans) - min(tcp_info_bytes_retrans) AS retransmitted,
        max(tcp_info_total_rto) - min(tcp_info_total_rto) AS timeouts
    FROM xtcp.xtcp_flat_records
    WHERE timestamp_ns >= {since:DateTime64(9, 'UTC')} AND timestamp_ns < {until:DateTime64(9, 'UTC')}
        AND inet_diag_msg_state != 10 AND tcp_info_length_bytes >= 216
    GROUP BY hostname, netns, inet_diag_msg_socket_cookie, inet_diag_msg_socket_source_port, destination_ip,
        inet_diag_msg_socket_destination_port
)
GROUP BY hostname, netns, destination
ORDER BY retransmit_percent DESC NULLS LAST, bytes_retransmitted DESC;

-- Round-trip times: one row a namespace, every established connection weighed by its rows. A double
-- would weigh twice, hence FINAL.
CREATE OR REPLACE VIEW xtcp.rtt_quantiles AS
SELECT
    hostname,
    netns,
    connections,
    samples,
    quantiles[1] AS rtt_us_p50,
    quantiles[2] AS rtt_us_p90,
    quantiles[3] AS rtt_us_p99,
    rtt_us_max
FROM
(
    SELECT
        hostname,
        netns,
        uniqExact(inet_diag_msg_socket_cookie) AS connections,
        count() AS samples,
        -- Exact, in memory that is bounded by the different values: whole microseconds.
        quantilesExactWeighted(0.5, 0.9, 0.99)(tcp_info_rtt, 1) AS quantiles,
        max(tcp_info_rtt) AS rtt_us_max
    FROM xtcp.xtcp_flat_records FINAL
    WHERE timestamp_ns >= {since:DateTime64(9, 'UTC')} AND timestamp_ns < {until:DateTime64(9, 'UTC')}
        AND inet_diag_msg_state = 1 AND tcp_info_rtt > 0
    GROUP BY hostname, netns
)
ORDER BY rtt_us_p99 DESC
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- For dashboards: one row a namespace and minute. What passed is counted from the last row of the
-- connection before the minute, at most an hour back; for its first minute from its first row.
CREATE OR REPLACE VIEW xtcp.namespace_minutes AS
SELECT
    minute,
    hostname,
    netns,
    count() AS connections,
    sum(acked) AS bytes_acked,
    sum(received) AS bytes_received,
    sum(sent) AS bytes_sent,
    sum(retransmitted) AS bytes_retransmitted,
    if(bytes_sent > 0, round(100 * bytes_retransmitted / bytes_sent, 3), NULL) AS retransmit_percent,
    max(rtt_us) AS rtt_us_max
FROM
(
    SELECT
        minute,
        hostname,
        netns,
        max(bytes_acked_max) AS acked_max,
        max(bytes_received_max) AS received_max,
        max(bytes_sent_max) AS sent_max,
        max(bytes_retrans_max) AS retransmitted_max,
        max(rtt_us_max) AS rtt_us,
        acked_max - lagInFrame(acked_max, 1, min(bytes_acked_min)) OVER earlier AS acked,
        received_max - lagInFrame(received_max, 1, min(bytes_received_min)) OVER earlier AS received,
        sent_max - lagInFrame(sent_max, 1, min(bytes_sent_min)) OVER earlier AS sent,
        retransmitted_max - lagInFrame(retransmitted_max, 1, min(bytes_retrans_min)) OVER earlier AS retransmitted
    FROM xtcp.socket_minutes
    WHERE minute >= {since:DateTime64(9, 'UTC')} - INTERVAL 1 HOUR AND minute < {until:DateTime64(9, 'UTC')}
    GROUP BY hostname, netns, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port, minute
    WINDOW earlier AS (
        PARTITION BY hostname, netns, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port
        ORDER BY minute ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE minute >= {since:DateTime64(9, 'UTC')}
GROUP BY minute, hostname, netns
ORDER BY minute, hostname, netns;

-- What is missing and what came twice, one row a run of a daemon. It counts copies, so it reads
-- without FINAL. missing_head: rows before the first one here, lost or deleted by age. What is
-- missing behind the last one only the daemon knows (xtcp2_rows_total). Ask with
-- WHERE instance = '...' on large tables: every record_counter is held in memory.
CREATE OR REPLACE VIEW xtcp.reconciliation AS
SELECT
    leftPad(lower(hex(instance_id)), 16, '0') AS instance,
    instance_id,
    any(hostname) AS hostname,
    min(timestamp_ns) AS first_poll,
    max(timestamp_ns) AS last_poll,
    count() AS rows_physical,
    uniqExact(record_counter) AS rows_distinct,
    min(record_counter) AS first_record_counter,
    max(record_counter) AS last_record_counter,
    first_record_counter - 1 AS missing_head,
    last_record_counter - first_record_counter + 1 - rows_distinct AS missing_inside,
    rows_physical - rows_distinct AS doubled
FROM xtcp.xtcp_flat_records
GROUP BY instance_id
ORDER BY last_poll DESC;

-- The same by poll: where it happened. missing_before: rows between the poll that has rows before
-- this one and this one's first row; polls that are missing altogether show here too.
CREATE OR REPLACE VIEW xtcp.reconciliation_per_poll AS
SELECT
    leftPad(lower(hex(instance_id)), 16, '0') AS instance,
    instance_id,
    poll_sequence,
    min(timestamp_ns) AS poll_time,
    count() AS rows_physical,
    uniqExact(record_counter) AS rows_distinct,
    min(record_counter) AS first_record_counter,
    max(record_counter) AS last_record_counter,
    first_record_counter - 1 - lagInFrame(last_record_counter, 1, toUInt64(0)) OVER (
        PARTITION BY instance_id ORDER BY poll_sequence ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS missing_before,
    last_record_counter - first_record_counter + 1 - rows_distinct AS missing_inside,
    rows_physical - rows_distinct AS doubled
FROM xtcp.xtcp_flat_records
GROUP BY instance_id, poll_sequence
ORDER BY instance_id, poll_sequence;
