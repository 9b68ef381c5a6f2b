//! What comes from outside must not panic, loop or be taken for more than it is, whatever it is.
//!
//! Each test is a bolero target: under `cargo test` it goes through the corpus that it may have in `__fuzz__`, then gets some
//! thousand random inputs in [`TEST_TIME`], or in as many milliseconds as `BOLERO_RANDOM_TEST_TIME_MS` says.
//! `scripts/fuzz` looks for new ones guided by coverage, and keeps the corpora. Random bytes alone hardly get past a magic
//! number, so inputs are also made from valid ones, damaged at random.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

use std::time::Duration;

/// Of each target: some thousand inputs, and ten seconds for all targets on one processor.
const TEST_TIME: Duration = Duration::from_millis(400);

macro_rules! target {
    () => {
        bolero::check!().with_test_time($crate::TEST_TIME)
    };
}

mod answers;
mod captures;
#[path = "../messages/mod.rs"]
mod messages;
mod planted;
#[path = "../common/proto.rs"]
mod proto;
mod records;
mod requests;
mod settings;
mod spool;

/// Bytes to overwrite in a valid input (place, value), and where to cut it.
pub type Damage = (Vec<(u16, u8)>, Option<u16>);

/// `valid` with that damage.
pub fn damaged(valid: &[u8], (overwrite, cut): &Damage) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for (place, value) in overwrite {
        let place = usize::from(*place) % bytes.len();
        bytes[place] = *value;
    }
    if let Some(cut) = cut {
        bytes.truncate(usize::from(*cut) % bytes.len());
    }
    bytes
}
