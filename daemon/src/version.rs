//! Which build this is.

/// Version of the crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// First twelve digits of the commit it was built from, or `unknown`.
pub const COMMIT: &str = env!("BUILD_COMMIT");
/// Date of that commit, or of SOURCE_DATE_EPOCH: `2026-11-23`, or `unknown`. Not the day of the
/// build: two builds of a commit are the same bytes.
pub const BUILD_DATE: &str = env!("BUILD_DATE");
/// What `--version` prints.
pub const LINE: &str = concat!(
    "xtcp2 ",
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("BUILD_COMMIT"),
    ", built ",
    env!("BUILD_DATE"),
    ")"
);
