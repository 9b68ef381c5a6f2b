//! From replies to messages: encoder, envelope and formatter in a row, and the numbers that make
//! a table prove itself.

use crate::{
    envelope::{Closed, Envelope},
    format::Formatter,
    netlink::inet_diag::InetDiagMsg,
    output::{Identity as MessageIdentity, Message},
    record::{Anomalies, Encoder, Origin},
};
use std::collections::VecDeque;

/// Counts since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounters {
    /// Rows made; the `record_counter` of the last one.
    pub rows: u64,
    /// Envelopes closed; the sequence of the last one.
    pub envelopes: u64,
    /// Bytes of protobuf in them, length prefixes included.
    pub envelope_bytes: u64,
    /// Rows that no message holds since their bytes were no row; a bug if ever not 0.
    pub left_out: u64,
}

/// Makes rows, closes envelopes, hands out messages.
#[derive(Debug)]
pub struct Rows {
    encoder: Encoder,
    envelope: Envelope,
    sink: Sink,
}

/// What becomes of a closed envelope.
#[derive(Debug)]
struct Sink {
    /// `None` discards: nothing is formatted for an output that takes nothing.
    formatter: Option<Formatter>,
    message_bytes_max: usize,
    instance_id: u64,
    /// Of the rows in the envelope that is open: one never spans polls.
    poll_sequence: u64,
    /// `record_counter` of the first row of the next envelope.
    next_record_counter: u64,
    counters: RowCounters,
    messages: VecDeque<Message>,
}

impl Sink {
    fn close(&mut self, closed: &Closed<'_>) {
        self.counters.envelopes += 1;
        self.counters.envelope_bytes += closed.delimited.len() as u64;
        let mut message = Message {
            identity: MessageIdentity {
                instance_id: self.instance_id,
                envelope_sequence: self.counters.envelopes,
                part: 0,
            },
            poll_sequence: self.poll_sequence,
            first_record_counter: self.next_record_counter,
            rows: closed.rows,
            bytes: Vec::new(),
        };
        self.next_record_counter += u64::from(closed.rows);
        match &mut self.formatter {
            // An output that discards still counts what it was given.
            None => self.messages.push_back(message),
            Some(formatter) => {
                let left_out_before = formatter.malformed_rows();
                formatter.messages(closed, self.message_bytes_max, &mut |rows, bytes| {
                    self.messages.push_back(Message {
                        rows,
                        bytes,
                        ..message.clone()
                    });
                    message.identity.part += 1;
                    message.first_record_counter += u64::from(rows);
                });
                self.counters.left_out += formatter.malformed_rows() - left_out_before;
            }
        }
    }
}

impl Rows {
    /// Rows written by `encoder`, collected in `envelope`, formatted by `formatter` (`None`: only
    /// counted) into messages of at most `message_bytes_max` bytes.
    pub fn new(
        instance_id: u64,
        encoder: Encoder,
        envelope: Envelope,
        formatter: Option<Formatter>,
        message_bytes_max: usize,
    ) -> Rows {
        let sink = Sink {
            formatter,
            message_bytes_max,
            instance_id,
            poll_sequence: 0,
            next_record_counter: 1,
            counters: RowCounters::default(),
            messages: VecDeque::new(),
        };
        Rows {
            encoder,
            envelope,
            sink,
        }
    }

    /// Goes on with the settings of `new`, which has made nothing yet. What was counted, and the
    /// messages that were not taken, stay.
    pub fn reconfigure(&mut self, new: Rows) {
        self.flush();
        let anomalies = self.anomalies();
        self.encoder = new.encoder;
        self.encoder.go_on_from(anomalies);
        self.envelope = new.envelope;
        self.sink.formatter = new.sink.formatter;
        self.sink.message_bytes_max = new.sink.message_bytes_max;
    }

    /// The rows that follow come from another namespace.
    pub fn enter(&mut self, origin: &Origin<'_>) {
        if self.sink.poll_sequence != origin.poll_sequence {
            self.flush();
            self.sink.poll_sequence = origin.poll_sequence;
        }
        self.encoder.enter(origin);
    }

    /// Makes the row of a reply.
    #[inline]
    pub fn push(&mut self, reply: &InetDiagMsg<'_>) {
        let Rows {
            encoder,
            envelope,
            sink,
        } = self;
        sink.counters.rows += 1;
        let length = encoder.row(reply, sink.counters.rows, envelope.room());
        envelope.push(length, &mut |closed| sink.close(&closed));
    }

    /// Closes the envelope that is open, at the end of a poll.
    pub fn flush(&mut self) {
        let Rows { envelope, sink, .. } = self;
        envelope.close(&mut |closed| sink.close(&closed));
    }

    /// The oldest message that was not taken yet.
    pub fn take_message(&mut self) -> Option<Message> {
        self.sink.messages.pop_front()
    }

    /// Bytes of that message.
    pub fn next_message_bytes(&self) -> Option<usize> {
        self.sink.messages.front().map(|message| message.bytes.len())
    }

    /// Whether there is a message that was not taken yet.
    pub fn has_messages(&self) -> bool {
        !self.sink.messages.is_empty()
    }

    /// What was made so far.
    pub fn counters(&self) -> RowCounters {
        self.sink.counters
    }

    /// What could not be written so far.
    pub fn anomalies(&self) -> Anomalies {
        self.encoder.anomalies()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    #[test]
    fn rows_that_no_message_holds_are_counted_over_new_formatters() {
        let formatter = || Some(Formatter::new(Format::Jsonl, &[]).unwrap());
        let mut sink = Sink {
            formatter: formatter(),
            message_bytes_max: usize::MAX,
            instance_id: 1,
            poll_sequence: 1,
            next_record_counter: 1,
            counters: RowCounters::default(),
            messages: VecDeque::new(),
        };
        for _ in 0..2 {
            sink.close(&Closed {
                delimited: &[],
                envelope: b"no envelope",
                rows: 3,
            });
            sink.formatter = formatter();
        }
        assert_eq!(sink.counters.left_out, 6);
        assert_eq!(sink.messages.len(), 0);
    }
}
