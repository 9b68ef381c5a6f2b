//! Kernel bytes to one encoded row, and back.

mod encode;
mod fields;
mod row;
pub mod wire;

pub use encode::{Anomalies, Encoder, Identity, Origin};
pub use fields::{CONGESTION_ALGORITHMS, ENVELOPE_ROW, FIELD_COUNT, FIELDS, Field, Kind, Source, index_of};
pub use row::{MalformedRow, Row, Value, rows_of};

/// Version of the record format, in every row.
pub const SCHEMA_VERSION: u32 = 1;

/// Longest `--hostname`, `--location`, `--label` and `--tag`, bytes: a DNS name has at most 253.
pub const TEXT_BYTES_MAX: usize = 255;

/// Longest path of a namespace, bytes: the kernel's PATH_MAX.
pub const NETNS_BYTES_MAX: usize = 4096;

/// No row is longer than this. Per field at most 3 bytes of tag and 10 of value; beyond that
/// four texts of the operator, one path, the version and the names of congestion control and
/// upper-layer protocol.
pub const ROW_BYTES_MAX: usize =
    FIELD_COUNT * 13 + 4 * TEXT_BYTES_MAX + NETNS_BYTES_MAX + 3 * 64 + wire::SLACK_BYTES;
