//! How far the front message got on a stream of bytes.

use super::queue::Queue;
use crate::spool::Disk;
use std::io::{self, ErrorKind};

/// Bytes written before the loop gets its turn again: about a millisecond of copying.
pub(super) const BYTES_PER_TURN: usize = 1 << 20;

/// Why a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmitted {
    /// Nothing is left to write.
    Drained,
    /// There was no room, or enough was written for this turn.
    More,
}

/// Position in the stream: the preamble once, then message after message.
#[derive(Debug, Default)]
pub struct Transmission {
    preamble_sent: usize,
    message_sent: usize,
}

impl Transmission {
    /// A new stream begins: the preamble is due again, and the front message from its first byte.
    pub fn restart<D: Disk>(&mut self, queue: &mut Queue<D>) {
        *self = Transmission::default();
        queue.retry_front();
    }

    /// Writes until the queue is empty, there is no room, or the turn is over.
    ///
    /// # Errors
    /// When the stream is broken: what `write` said.
    pub fn step<D: Disk>(
        &mut self,
        queue: &mut Queue<D>,
        preamble: &[u8],
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<Transmitted> {
        let mut budget = BYTES_PER_TURN;
        loop {
            let Some(message) = queue.front() else {
                return Ok(Transmitted::Drained);
            };
            let in_preamble = self.preamble_sent < preamble.len();
            let rest = match in_preamble {
                true => &preamble[self.preamble_sent..],
                false => &message.bytes[self.message_sent..],
            };
            if rest.is_empty() {
                self.message_sent = 0;
                queue.front_delivered();
                continue;
            }
            if budget == 0 {
                return Ok(Transmitted::More);
            }
            match write(&rest[..rest.len().min(budget)]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    budget = budget.saturating_sub(count);
                    if in_preamble {
                        self.preamble_sent += count;
                    } else {
                        self.message_sent += count;
                        queue.set_front_begun(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Transmitted::More),
                Err(error) => return Err(error),
            }
        }
    }
}
