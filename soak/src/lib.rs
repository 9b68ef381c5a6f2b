//! xtcp2-soak: proves that xtcp2 loses nothing.
//!
//! `reconcile` compares a table with what was produced; `kafka_to_clickhouse` fills that table where
//! ClickHouse has no Kafka engine of its own. `load` gives the daemon something to look at, `clean` removes what
//! a killed load left. `cli` reads the command line of all, `clickhouse` talks
//! to the database.

pub mod clean;
pub mod cli;
pub mod clickhouse;
pub mod duration;
pub mod kafka_to_clickhouse;
pub mod load;
pub mod reconcile;
pub mod record;
pub mod scenario;
