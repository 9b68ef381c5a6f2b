//! The one queue of an output, and what is given up when it is full.
//!
//! Messages leave in the order they came. A transport with one message in flight looks at the front;
//! one with many (Kafka) takes them by ticket, and says of each what became of it.
//!
//! The bound is in bytes. Past it, the OLDEST message goes whose transmission has not begun: fresh
//! rows are worth more than old ones, and a message that is half out on a stream must be finished,
//! or its reader could not find the start of the next. A message that could never fit goes at once,
//! alone, instead of emptying the queue in vain.

use super::{Counters, DropReason, Message, Tally};
use std::collections::BTreeMap;

/// A message of the queue, for as long as it is there. Tickets grow in the order of the messages.
pub(super) type Ticket = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its transmission has not begun, or was broken off.
    Waiting,
    /// Handed to the transport, and nothing heard of it yet: it may not be dropped for room.
    Begun,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    state: State,
}

/// Messages that wait, and the counts of those that no longer do.
#[derive(Debug)]
pub(super) struct Queue {
    entries: BTreeMap<Ticket, Entry>,
    next_ticket: Ticket,
    /// No message before this one waits.
    first_waiting: Ticket,
    queued: Tally,
    bytes_max: usize,
    /// The largest message so far: what must still fit for the queue not to be full.
    largest_bytes: usize,
    pub counters: Counters,
    /// What the last failed connection said.
    pub last_error: Option<String>,
}

impl Queue {
    pub fn new(bytes_max: usize) -> Queue {
        Queue {
            entries: BTreeMap::new(),
            next_ticket: 0,
            first_waiting: 0,
            queued: Tally::default(),
            bytes_max,
            largest_bytes: 0,
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
        self.queued.add(&message);
        let state = State::Waiting;
        self.entries.insert(self.next_ticket, Entry { message, state });
        self.next_ticket += 1;
        while self.bytes() > self.bytes_max
            && let Some(oldest) = self.oldest_waiting()
        {
            self.dropped(oldest, DropReason::QueueFull);
        }
    }

    pub fn front(&self) -> Option<&Message> {
        self.entries.values().next().map(|entry| &entry.message)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Messages, rows and bytes that are neither delivered nor dropped.
    pub fn queued(&self) -> Tally {
        self.queued
    }

    pub fn bytes(&self) -> usize {
        usize::try_from(self.queued.bytes).unwrap_or(usize::MAX)
    }

    /// Whether another message as large as the largest so far would push one out.
    pub fn is_full(&self) -> bool {
        self.bytes() + self.largest_bytes > self.bytes_max
    }

    /// Whether so many bytes push none out.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.bytes() + bytes <= self.bytes_max
    }

    /// The oldest message that waits, and its ticket.
    pub fn next_waiting(&mut self) -> Option<(Ticket, &Message)> {
        let ticket = self.oldest_waiting()?;
        self.entries.get(&ticket).map(|entry| (ticket, &entry.message))
    }

    fn oldest_waiting(&mut self) -> Option<Ticket> {
        let mut from_there = self.entries.range(self.first_waiting..);
        let found = from_there.find(|(_, entry)| entry.state == State::Waiting);
        let ticket = found.map(|(ticket, _)| *ticket);
        self.first_waiting = ticket.unwrap_or(self.next_ticket);
        ticket
    }

    /// The message was handed to the transport.
    pub fn begun(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.get_mut(&ticket) {
            entry.state = State::Begun;
        }
    }

    /// The transport could not deliver it, and no longer tries: it waits again, in its old place.
    pub fn retry(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.get_mut(&ticket) {
            self.counters.retried += u64::from(entry.state == State::Begun);
            entry.state = State::Waiting;
            self.first_waiting = self.first_waiting.min(ticket);
        }
    }

    pub fn delivered(&mut self, ticket: Ticket) {
        if let Some(message) = self.take(ticket) {
            self.counters.delivered.add(&message);
        }
    }

    pub fn dropped(&mut self, ticket: Ticket, reason: DropReason) {
        if let Some(message) = self.take(ticket) {
            self.counters.drop(&message, reason);
        }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Message> {
        let entry = self.entries.remove(&ticket)?;
        self.queued.subtract(&entry.message);
        Some(entry.message)
    }

    fn front_ticket(&self) -> Option<Ticket> {
        self.entries.keys().next().copied()
    }

    /// The front message is on its way, or again waits from its first byte.
    pub fn set_front_begun(&mut self, begun: bool) {
        if let Some(mut front) = self.entries.first_entry() {
            let (ticket, state) = match begun {
                true => (*front.key(), State::Begun),
                false => (*front.key(), State::Waiting),
            };
            front.get_mut().state = state;
            self.first_waiting = self.first_waiting.min(ticket);
        }
    }

    /// The front message was broken off: it will be sent again, whole.
    pub fn retry_front(&mut self) {
        if let Some(ticket) = self.front_ticket() {
            self.retry(ticket);
        }
    }

    pub fn front_delivered(&mut self) {
        if let Some(ticket) = self.front_ticket() {
            self.delivered(ticket);
        }
    }

    pub fn front_dropped(&mut self, reason: DropReason) {
        if let Some(ticket) = self.front_ticket() {
            self.dropped(ticket, reason);
        }
    }

    pub fn all_dropped(&mut self, reason: DropReason) {
        while !self.is_empty() {
            self.front_dropped(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::message;
    use super::*;

    fn sequences(queue: &Queue) -> Vec<u64> {
        let sequence = |entry: &Entry| entry.message.identity.envelope_sequence;
        queue.entries.values().map(sequence).collect()
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

    #[test]
    fn several_in_flight_end_in_any_order_and_come_back_in_their_own() {
        let mut queue = Queue::new(1000);
        for sequence in 0..5 {
            queue.push(message(sequence, 40));
        }
        let mut out = Vec::new();
        while let Some((ticket, message)) = queue.next_waiting() {
            out.push((ticket, message.identity.envelope_sequence));
            queue.begun(ticket);
        }
        assert_eq!(
            out.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        queue.delivered(out[3].0);
        queue.retry(out[4].0);
        queue.retry(out[1].0);
        queue.delivered(out[0].0);
        queue.delivered(out[0].0);
        assert_eq!(sequences(&queue), [1, 2, 4]);
        assert_eq!(queue.next_waiting().unwrap().0, out[1].0, "older than 4");
        queue.begun(out[1].0);
        assert_eq!(queue.next_waiting().unwrap().0, out[4].0);
        assert_eq!(
            (queue.counters.delivered.messages, queue.counters.retried),
            (2, 2)
        );
        assert_eq!((queue.queued().messages, queue.queued().rows), (3, 9));
    }
}
