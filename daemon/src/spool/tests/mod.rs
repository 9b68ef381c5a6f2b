//! What the spool promises, on a real folder and on a simulated disk that forgets.

mod real;

use super::{Options, Spool};
use crate::output::{Identity, Message};
use std::path::Path;

/// A message that is known by its bytes too.
pub(super) fn message(sequence: u64, bytes: usize) -> Message {
    let mut state = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    Message {
        identity: Identity {
            instance_id: 0xfeed_0000_0000_0001,
            envelope_sequence: sequence,
            part: u32::from(sequence.is_multiple_of(7)),
        },
        poll_sequence: sequence / 3,
        first_record_counter: 1 + 10 * sequence,
        rows: 10,
        bytes: (0..bytes).map(|_| next()).collect(),
    }
}

pub(super) fn options(dir: &Path, bytes_max: u64) -> Options {
    Options {
        dir: dir.to_owned(),
        bytes_max,
        format: "protobufList".to_owned(),
    }
}
