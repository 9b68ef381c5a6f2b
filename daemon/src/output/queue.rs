//! The one queue of an output, and what is given up when it is full.
//!
//! Messages leave in the order they came. A transport with one message in flight looks at the front;
//! one with many (Kafka) takes them by ticket, and says of each what became of it.
//!
//! With a spool, a message is on disk before it is here, and only a few are in memory too: those that
//! are sent next. While the disk refuses, messages are in memory alone, as without a spool.
//!
//! A disk that fails to read is asked again after a while, and until then nothing behind that message is
//! read: order is kept. `FAILED_READS_MAX` says when such a message is given up.
//!
//! The bounds are in bytes. Past them, the OLDEST message goes whose transmission has not begun: fresh
//! rows are worth more than old ones, and a message that is half out on a stream must be finished,
//! or its reader could not find the start of the next. A message that could never fit goes at once,
//! alone, instead of emptying the queue in vain.

use super::{Backoff, Counters, DropReason, Identity, Message, Tally, held::Held};
use crate::spool::{Disk, Kept, ReadError, RealDisk, Spool};
use std::{collections::BTreeMap, time::Duration};

/// A message of the queue, for as long as it is there. Tickets grow in the order of the messages.
pub type Ticket = usize;

/// Of messages that are on disk, so many bytes are also in memory, not to be read again when they are
/// sent at once.
const CACHED_BYTES_MAX: usize = 4 << 20;

/// So many reads in a row fail, over about three minutes, before messages are given up that the disk fails
/// to read: far longer than another path to a disk, or memory for an open file, takes to be there. Even then
/// only where waiting on helps nobody: another message is read, so it is this one that is bad; or the disk
/// takes none either, and fresh rows in memory would never get their turn.
const FAILED_READS_MAX: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its transmission has not begun, or was broken off.
    Waiting,
    /// Handed to the transport, and nothing heard of it yet: it may not be dropped for room.
    Begun,
}

/// Whether a message can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loaded {
    Yes,
    /// The disk fails to read it; it waits.
    NotNow,
    /// It was given up.
    Never,
}

#[derive(Debug)]
struct Entry {
    held: Held,
    state: State,
}

/// Messages that wait, and the counts of those that no longer do.
#[derive(Debug)]
pub struct Queue<D: Disk = RealDisk> {
    entries: BTreeMap<Ticket, Entry>,
    next_ticket: Ticket,
    /// No message before this one waits.
    first_waiting: Ticket,
    /// No message before this one is in memory alone.
    first_in_memory: Ticket,
    queued: Tally,
    /// Of the messages that are in memory alone.
    in_memory_bytes: usize,
    in_memory_bytes_max: usize,
    cached_bytes: usize,
    /// The largest message under the present bound: what must still fit for the queue not to be full.
    largest_bytes: usize,
    spool: Option<Spool<D>>,
    /// The disk failed to read: nothing is read until [`Queue::read_again`], after so long.
    read_pause: Option<Duration>,
    read_backoff: Backoff,
    /// In a row.
    failed_reads: u32,
    /// What became of messages so far.
    pub counters: Counters,
    /// What the last failed connection said.
    pub last_error: Option<String>,
}

impl<D: Disk> Queue<D> {
    /// An empty one in memory.
    pub fn new(bytes_max: usize) -> Queue<D> {
        Queue {
            entries: BTreeMap::new(),
            next_ticket: 0,
            first_waiting: 0,
            first_in_memory: 0,
            queued: Tally::default(),
            in_memory_bytes: 0,
            in_memory_bytes_max: bytes_max,
            cached_bytes: 0,
            largest_bytes: 0,
            spool: None,
            read_pause: None,
            // No fleet shares the disk: any jitter will do.
            read_backoff: Backoff::new(1),
            failed_reads: 0,
            counters: Counters::default(),
            last_error: None,
        }
    }

    /// One on disk, with what waits there; `bytes_max` is for what the disk refuses.
    pub fn on_disk(bytes_max: usize, spool: Spool<D>, waiting: Vec<Kept>) -> Queue<D> {
        let mut queue = Queue::new(bytes_max);
        for kept in waiting {
            queue.counters.recovered.add(kept.rows, u64::from(kept.bytes_len));
            queue.insert(Held::on_disk(kept));
        }
        queue.spool = Some(spool);
        queue.load_front();
        queue
    }

    /// Another bound of what may be in memory alone, from the next message on.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.in_memory_bytes_max = bytes_max;
        // What was larger and is gone was made for another bound.
        let bytes = self.entries.values().map(|entry| entry.held.bytes());
        self.largest_bytes = bytes.max().unwrap_or(0);
    }

    /// Bytes that no message should be longer than: one may be on its way while the next comes. What is on
    /// disk may have to be in memory.
    pub fn message_bytes_max(&self) -> usize {
        let on_disk = self.spool.as_ref().map_or(u64::MAX, Spool::bytes_max);
        let on_disk = usize::try_from(on_disk).unwrap_or(usize::MAX);
        self.in_memory_bytes_max.min(on_disk) / 2
    }

    /// What comes is of another format; nothing waits.
    pub fn set_format(&mut self, format: String) {
        debug_assert!(self.is_empty(), "{:?} of the old format", self.queued);
        if let Some(spool) = &mut self.spool {
            spool.set_format(format);
        }
    }

    /// Takes messages; all of them with one wait for the disk.
    pub fn push(&mut self, messages: Vec<Message>) {
        let message_bytes_max = match &self.spool {
            None => self.in_memory_bytes_max,
            Some(spool) => usize::try_from(spool.bytes_max()).unwrap_or(usize::MAX),
        };
        let mut fitting = Vec::with_capacity(messages.len());
        for message in messages {
            match message.bytes.len() > message_bytes_max {
                true => self.never_fits(&message),
                false => fitting.push(message),
            }
        }
        match self.save(&fitting) {
            Some(kept) => {
                for (message, kept) in fitting.into_iter().zip(kept) {
                    let cache = self.cached_bytes + message.bytes.len() <= CACHED_BYTES_MAX;
                    self.cached_bytes += if cache { message.bytes.len() } else { 0 };
                    let mut held = Held::on_disk(kept);
                    if cache {
                        held.load(message);
                    }
                    self.insert(held);
                }
            }
            None => {
                for message in fitting {
                    if let Some(spool) = &mut self.spool {
                        spool.note_produced(&message);
                    }
                    self.in_memory_bytes += message.bytes.len();
                    self.insert(Held::in_memory(message));
                }
            }
        }
        while self.in_memory_bytes > self.in_memory_bytes_max
            && let Some(oldest) = self.oldest_waiting_in_memory()
        {
            self.dropped(oldest, DropReason::QueueFull);
        }
        self.load_front();
    }

    /// Counts a message that is not taken.
    pub fn never_fits(&mut self, message: &Message) {
        self.refused(message, DropReason::TooLarge);
    }

    /// Counts a message that is not taken, and lets the journal know.
    pub fn refused(&mut self, message: &Message, reason: DropReason) {
        self.counters
            .drop(message.rows, message.bytes.len() as u64, reason);
        if let Some(spool) = &mut self.spool {
            spool.note_produced(message);
            spool.note_dropped(message);
        }
    }

    fn insert(&mut self, held: Held) {
        self.largest_bytes = self.largest_bytes.max(held.bytes());
        self.queued.add(held.rows(), held.bytes() as u64);
        let state = State::Waiting;
        self.entries.insert(self.next_ticket, Entry { held, state });
        self.next_ticket += 1;
    }

    /// Brings messages to the disk, and before them those that it refused earlier. `None` when it
    /// refuses, or there is none.
    fn save(&mut self, messages: &[Message]) -> Option<Vec<Kept>> {
        self.spool.as_ref()?;
        while let Some(ticket) = self.oldest_in_memory() {
            let bytes = self.entries.get(&ticket)?.held.bytes();
            self.make_room(&[bytes]);
            let (spool, entry) = (self.spool.as_mut()?, self.entries.get_mut(&ticket)?);
            entry.held.save(spool).ok()?;
            self.in_memory_bytes -= bytes;
            self.cached_bytes += bytes;
            // The front may be half out: whoever sends it needs the other half.
            if self.front_ticket() != Some(ticket) {
                self.uncache(ticket);
            }
        }
        let bytes: Vec<usize> = messages.iter().map(|message| message.bytes.len()).collect();
        self.make_room(&bytes);
        // It has logged and counted the error.
        self.spool.as_mut()?.append_all(messages).ok()
    }

    /// Gives up the oldest until messages of these lengths fit on the disk.
    fn make_room(&mut self, bytes: &[usize]) {
        while self
            .spool
            .as_ref()
            .is_some_and(|spool| !spool.room_for(bytes.iter().copied()))
        {
            let Some(oldest) = self.oldest_waiting() else {
                return;
            };
            self.dropped(oldest, DropReason::QueueFull);
        }
    }

    /// The front message, unless it is on its way and no longer needed here.
    pub fn front(&self) -> Option<&Message> {
        self.entries
            .values()
            .next()
            .and_then(|entry| entry.held.message())
    }

    /// Whether nothing waits and nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether everything that waits outlives the process.
    pub fn is_on_disk(&self) -> bool {
        self.spool.is_some() && self.in_memory_bytes == 0
    }

    /// Messages, rows and bytes that are neither delivered nor dropped.
    pub fn queued(&self) -> Tally {
        self.queued
    }

    /// Who they are, in their order, and whether each outlives the process.
    pub fn identities(&self) -> impl Iterator<Item = (Identity, bool)> {
        let entries = self.entries.values();
        entries.map(|entry| (entry.held.identity(), entry.held.is_on_disk()))
    }

    /// Bytes of the messages that are in memory alone: never more than the bound.
    pub fn in_memory_bytes(&self) -> usize {
        self.in_memory_bytes
    }

    /// Bytes of the copies in memory of messages that are on disk and about to be sent.
    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// The spool, if there is one.
    pub fn spool(&self) -> Option<&Spool<D>> {
        self.spool.as_ref()
    }

    /// Whether another message as large as the largest would push one out that a receiver who is
    /// merely slow could still get. A spool takes what comes: its bound is for receivers that are away.
    pub fn is_full(&self) -> bool {
        !self.is_empty() && !self.has_room_for(self.largest_bytes)
    }

    /// Whether so many bytes push none out.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        let disk_takes_them = self.spool.as_ref().is_some_and(|spool| !spool.is_degraded());
        disk_takes_them || self.in_memory_bytes + bytes <= self.in_memory_bytes_max
    }

    /// The oldest message that waits, and its ticket.
    pub fn next_waiting(&mut self) -> Option<(Ticket, &Message)> {
        loop {
            let ticket = self.oldest_waiting()?;
            match self.load(ticket) {
                Loaded::Yes => {
                    let message = self.entries.get(&ticket)?.held.message()?;
                    return Some((ticket, message));
                }
                Loaded::NotNow => return None,
                Loaded::Never => {}
            }
        }
    }

    /// How long after a failure the disk is to be asked again.
    pub fn read_pause(&self) -> Option<Duration> {
        self.read_pause
    }

    /// The pause is over.
    pub fn read_again(&mut self) {
        self.read_pause = None;
        self.load_front();
    }

    fn oldest_waiting(&mut self) -> Option<Ticket> {
        let mut from_there = self.entries.range(self.first_waiting..);
        let found = from_there.find(|(_, entry)| entry.state == State::Waiting);
        let ticket = found.map(|(ticket, _)| *ticket);
        self.first_waiting = ticket.unwrap_or(self.next_ticket);
        ticket
    }

    fn oldest_in_memory(&mut self) -> Option<Ticket> {
        if self.in_memory_bytes == 0 {
            self.first_in_memory = self.next_ticket;
            return None;
        }
        let mut from_there = self.entries.range(self.first_in_memory..);
        let found = from_there.find(|(_, entry)| !entry.held.is_on_disk());
        let ticket = found.map(|(ticket, _)| *ticket);
        self.first_in_memory = ticket.unwrap_or(self.next_ticket);
        ticket
    }

    fn oldest_waiting_in_memory(&mut self) -> Option<Ticket> {
        let first = self.oldest_in_memory()?;
        let mut from_there = self.entries.range(first..);
        let found = from_there.find(|(_, entry)| entry.state == State::Waiting && !entry.held.is_on_disk());
        found.map(|(ticket, _)| *ticket)
    }

    /// Sees to it that the front message can be looked at.
    fn load_front(&mut self) {
        while let Some((&ticket, entry)) = self.entries.first_key_value() {
            if entry.state == State::Begun || self.load(ticket) != Loaded::Never {
                return;
            }
        }
    }

    /// Reads a message from the disk if need be.
    fn load(&mut self, ticket: Ticket) -> Loaded {
        let (Some(entry), Some(spool)) = (self.entries.get_mut(&ticket), &mut self.spool) else {
            return Loaded::Yes;
        };
        let Some(kept) = entry.held.unloaded() else {
            return Loaded::Yes;
        };
        if self.read_pause.is_some() {
            return Loaded::NotNow;
        }
        match spool.read(kept) {
            Ok(message) => {
                self.cached_bytes += message.bytes.len();
                entry.held.load(message);
                if std::mem::take(&mut self.failed_reads) > 0 {
                    log::info!("spool: messages are read again");
                    self.read_backoff.reset();
                }
                Loaded::Yes
            }
            Err(ReadError::Corrupt) => {
                self.dropped_without_loading(ticket, DropReason::Damaged);
                Loaded::Never
            }
            Err(ReadError::Io(error)) => {
                self.failed_reads = self.failed_reads.saturating_add(1);
                if self.failed_reads >= FAILED_READS_MAX && self.waiting_is_in_vain(ticket) {
                    log::error!("spool: a message that cannot be read is given up: {error}");
                    self.dropped_without_loading(ticket, DropReason::Unreadable);
                    return Loaded::Never;
                }
                let pause = self.read_backoff.next_wait();
                if self.failed_reads == 1 {
                    log::error!("spool: a message cannot be read: {error}; next try in {pause:?}");
                }
                self.read_pause = Some(pause);
                Loaded::NotNow
            }
        }
    }

    /// Whether it is no use to wait on for a message that the disk fails to read.
    fn waiting_is_in_vain(&mut self, ticket: Ticket) -> bool {
        let Some(spool) = &mut self.spool else {
            return false;
        };
        if spool.is_degraded() {
            return true;
        }
        let mut on_disk = self
            .entries
            .range(ticket..)
            .filter_map(|(_, entry)| entry.held.kept());
        let Some(segment) = on_disk.next().map(|kept| kept.position.segment()) else {
            return false;
        };
        // Its own segment may be bad as a whole.
        let mut elsewhere = on_disk.filter(|kept| kept.position.segment() != segment);
        elsewhere.next().is_some_and(|kept| spool.is_readable(kept))
    }

    /// The message was handed to the transport, which has a copy.
    pub fn begun(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.get_mut(&ticket) {
            entry.state = State::Begun;
        }
        self.uncache(ticket);
    }

    fn uncache(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.get_mut(&ticket) {
            self.cached_bytes -= entry.held.unload();
        }
    }

    /// The transport could not deliver it, and no longer tries: it waits again, in its old place.
    pub fn retry(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.get_mut(&ticket) {
            self.counters.retried += u64::from(entry.state == State::Begun);
            entry.state = State::Waiting;
            self.first_waiting = self.first_waiting.min(ticket);
        }
        self.load_front();
    }

    /// The transport is gone, and with it all word of what it had, which waits again. Returns how many.
    pub fn retry_all_begun(&mut self) -> u64 {
        let begun = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Begun);
        let begun: Vec<Ticket> = begun.map(|(ticket, _)| *ticket).collect();
        begun.iter().for_each(|ticket| self.retry(*ticket));
        begun.len() as u64
    }

    /// The receiver has the message.
    pub fn delivered(&mut self, ticket: Ticket) {
        if let Some(held) = self.take(ticket) {
            self.counters.delivered.add(held.rows(), held.bytes() as u64);
            if let (Some(kept), Some(spool)) = (held.into_kept(), &mut self.spool) {
                spool.acknowledge(kept);
            }
        }
        self.load_front();
    }

    /// The message is given up.
    pub fn dropped(&mut self, ticket: Ticket, reason: DropReason) {
        self.dropped_without_loading(ticket, reason);
        self.load_front();
    }

    fn dropped_without_loading(&mut self, ticket: Ticket, reason: DropReason) {
        let Some(held) = self.take(ticket) else { return };
        self.counters.drop(held.rows(), held.bytes() as u64, reason);
        let Some(spool) = &mut self.spool else { return };
        match held {
            Held::InMemory(message) => spool.note_dropped(&message),
            Held::OnDisk { kept, .. } => spool.give_up(kept),
        }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Held> {
        self.uncache(ticket);
        let held = self.entries.remove(&ticket)?.held;
        self.queued.subtract(held.rows(), held.bytes() as u64);
        if !held.is_on_disk() {
            self.in_memory_bytes -= held.bytes();
        }
        Some(held)
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

    /// The receiver has the front message.
    pub fn front_delivered(&mut self) {
        if let Some(ticket) = self.front_ticket() {
            self.delivered(ticket);
        }
    }

    /// The front message is given up.
    pub fn front_dropped(&mut self, reason: DropReason) {
        if let Some(ticket) = self.front_ticket() {
            self.dropped(ticket, reason);
        }
    }

    /// All messages are given up.
    pub fn all_dropped(&mut self, reason: DropReason) {
        while let Some(ticket) = self.front_ticket() {
            self.dropped_without_loading(ticket, reason);
        }
    }

    /// Takes messages that the end of the daemon leaves no time to send: onto the disk, or else they are
    /// counted as dropped.
    pub fn came_too_late(&mut self, messages: Vec<Message>) {
        match self.spool {
            Some(_) => self.push(messages),
            None => messages
                .iter()
                .for_each(|message| self.refused(message, DropReason::Shutdown)),
        }
    }

    /// The end: what is in memory alone is lost. A disk that takes messages again gets them now.
    pub fn end(&mut self) {
        let _ = self.save(&[]);
        let lost = self.entries.iter().filter(|(_, entry)| !entry.held.is_on_disk());
        let lost: Vec<Ticket> = lost.map(|(ticket, _)| *ticket).collect();
        for ticket in lost {
            self.dropped_without_loading(ticket, DropReason::Shutdown);
        }
    }
}

#[cfg(test)]
mod tests;
