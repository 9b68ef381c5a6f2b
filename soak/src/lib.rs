//! xtcp2-soak: proves that xtcp2 loses nothing.
//!
//! `reconcile` compares a table with what was produced; `kafka_to_clickhouse` fills that table where
//! ClickHouse has no Kafka engine of its own. `cli` reads the command line of all, `clickhouse` talks to the
//! database. For soaks there are so far: `scenario` (what is to be run, as data), `load` (what the daemon has to
//! look at) and `clean` (what a killed load left), `watch` (samples of a daemon from outside), `record` (what they
//! are written down as), `gates` (the verdict) and `report` (what people and CI read of it). `program` writes programs that
//! several of them start.

pub mod clean;
pub mod cli;
pub mod clickhouse;
pub mod duration;
pub mod gates;
pub mod kafka_to_clickhouse;
pub mod load;
pub mod program;
pub mod reconcile;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod watch;
