-- Rows from Kafka by the engine's own consumer. Apply xtcp.sql first.
--
-- Made from the daemon's field table by `xtcp2 schema clickhouse-kafka`. Set these three for your
-- brokers, in the table xtcp.kafka below: kafka_broker_list, kafka_topic_list, kafka_group_name.
-- XtcpFlatRecord.proto must lie in the server's format_schema_path.
--
-- A Kafka table cannot be altered, so everything is made anew; offsets are kept by the broker under
-- the group's name, and consumption goes on where it was. It starts with the last statement, when
-- all that a message needs is there: a consumer with two views that are attached one after the
-- other would feed only the first in between.
--
--     xtcp.kafka  ->  kafka_feed  ->  kafka_messages (keeps nothing)  ->  kafka_rows          -> the table
--                                                                    ->  kafka_dead_letters  -> xtcp.dead_letters

DROP VIEW IF EXISTS xtcp.kafka_feed SYNC;
DROP VIEW IF EXISTS xtcp.kafka_rows SYNC;
DROP VIEW IF EXISTS xtcp.kafka_dead_letters SYNC;
DROP TABLE IF EXISTS xtcp.kafka_messages SYNC;
DROP TABLE IF EXISTS xtcp.kafka SYNC;

CREATE TABLE xtcp.kafka_messages
(
    @COLUMNS@,
    message_topic LowCardinality(String),
    message_partition UInt64,
    message_offset UInt64,
    message_key String,
    message_error String,
    message_raw String
)
ENGINE = Null;

CREATE MATERIALIZED VIEW xtcp.kafka_rows TO @TABLE@ AS
SELECT
    @NAMES@
FROM xtcp.kafka_messages
WHERE message_error = '';

CREATE MATERIALIZED VIEW xtcp.kafka_dead_letters TO xtcp.dead_letters AS
SELECT
    message_topic AS topic,
    message_partition AS partition,
    message_offset AS offset,
    message_key AS key,
    message_error AS error,
    message_raw AS raw_message
FROM xtcp.kafka_messages
WHERE message_error != '';

-- One message is one Envelope. A message that is none stops nothing: it becomes a dead letter.
-- Blocks of 1,024 rows and 2 s: rows are seen within seconds, and memory stays small.
CREATE TABLE xtcp.kafka
(
    @COLUMNS@
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'localhost:9092',
    kafka_topic_list = 'xtcp',
    kafka_group_name = 'xtcp-clickhouse',
    kafka_format = 'ProtobufList',
    kafka_schema = 'XtcpFlatRecord:XtcpFlatRecord',
    kafka_handle_error_mode = 'stream',
    kafka_max_block_size = 1024,
    kafka_flush_interval_ms = 2000,
    kafka_num_consumers = 1;

CREATE MATERIALIZED VIEW xtcp.kafka_feed TO xtcp.kafka_messages AS
SELECT
    @NAMES@,
    _topic AS message_topic,
    _partition AS message_partition,
    _offset AS message_offset,
    _key AS message_key,
    _error AS message_error,
    _raw_message AS message_raw
FROM xtcp.kafka;
