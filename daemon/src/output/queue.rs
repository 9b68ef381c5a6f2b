//! The one queue of an output, and what is given up when it is full.
//!
//! The bound is in bytes. Past it, the OLDEST message goes whose transmission has not begun: fresh
//! rows are worth more than old ones, and a message that is half out on a stream must be finished,
//! or its reader could not find the start of the next. A message that could never fit goes at once,
//! alone, instead of emptying the queue in vain.

use super::{Counters, DropReason, Message};
use std::collections::VecDeque;

/// Messages that wait, and the counts of those that no longer do.
#[derive(Debug)]
pub(super) struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    bytes_max: usize,
    /// The largest message so far: what must still fit for the queue not to be full.
    largest_bytes: usize,
    /// The front message is partly out: it may not be dropped for room.
    front_begun: bool,
    pub counters: Counters,
    /// What the last failed connection said.
    pub last_error: Option<String>,
}

impl Queue {
    pub fn new(bytes_max: usize) -> Queue {
        Queue {
            messages: VecDeque::new(),
            bytes: 0,
            bytes_max,
            largest_bytes: 0,
            front_begun: false,
            counters: Counters::default(),
            last_error: None,
        }
    }

    /// Another bound, from the next message on.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    pub fn push(&mut self, message: Message) {
        let bytes = message.bytes.len();
        if bytes > self.bytes_max {
            self.counters.drop(&message, DropReason::TooLarge);
            return;
        }
        self.largest_bytes = self.largest_bytes.max(bytes);
        self.bytes += bytes;
        self.messages.push_back(message);
        while self.bytes > self.bytes_max {
            let Some(message) = self.messages.remove(usize::from(self.front_begun)) else {
                return;
            };
            self.bytes -= message.bytes.len();
            self.counters.drop(&message, DropReason::QueueFull);
        }
    }

    pub fn front(&self) -> Option<&Message> {
        self.messages.front()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether another message as large as the largest so far would push one out.
    pub fn is_full(&self) -> bool {
        self.bytes + self.largest_bytes > self.bytes_max
    }

    /// The front message is on its way, or again waits from its first byte.
    pub fn set_front_begun(&mut self, begun: bool) {
        self.front_begun = begun && !self.messages.is_empty();
    }

    /// The front message was broken off: it will be sent again, whole.
    pub fn retry_front(&mut self) {
        self.counters.retried += u64::from(self.front_begun);
        self.front_begun = false;
    }

    pub fn front_delivered(&mut self) {
        if let Some(message) = self.take_front() {
            self.counters.delivered.add(&message);
        }
    }

    pub fn front_dropped(&mut self, reason: DropReason) {
        if let Some(message) = self.take_front() {
            self.counters.drop(&message, reason);
        }
    }

    pub fn all_dropped(&mut self, reason: DropReason) {
        while !self.is_empty() {
            self.front_dropped(reason);
        }
    }

    fn take_front(&mut self) -> Option<Message> {
        self.front_begun = false;
        let message = self.messages.pop_front()?;
        self.bytes -= message.bytes.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::message;
    use super::*;

    fn sequences(queue: &Queue) -> Vec<u64> {
        let sequence = |m: &Message| m.identity.envelope_sequence;
        queue.messages.iter().map(sequence).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_is_counted() {
        let mut queue = Queue::new(100);
        for sequence in 0..5 {
            queue.push(message(sequence, 40));
        }
        assert_eq!(sequences(&queue), [3, 4]);
        assert_eq!(queue.counters.dropped(DropReason::QueueFull).messages, 3);
        assert!(queue.is_full());
        assert_eq!(queue.bytes(), 80);
    }

    #[test]
    fn a_message_in_mid_transmission_stays() {
        let mut queue = Queue::new(100);
        queue.push(message(0, 60));
        queue.set_front_begun(true);
        queue.push(message(1, 30));
        queue.push(message(2, 40));
        assert_eq!(sequences(&queue), [0, 2]);
        queue.push(message(3, 90));
        assert_eq!(sequences(&queue), [0], "there is no room beside the front");
        queue.retry_front();
        queue.push(message(4, 90));
        assert_eq!(sequences(&queue), [4]);
        assert_eq!(queue.counters.retried, 1);
        assert_eq!(queue.counters.dropped_total().messages, 4);
    }

    #[test]
    fn what_can_never_fit_does_not_empty_the_queue() {
        let mut queue = Queue::new(100);
        queue.push(message(0, 100));
        queue.push(message(1, 101));
        assert_eq!(sequences(&queue), [0]);
        assert_eq!(queue.counters.dropped(DropReason::TooLarge).messages, 1);
        queue.front_delivered();
        assert!(!queue.is_full(), "an empty queue is never full");
    }
}
