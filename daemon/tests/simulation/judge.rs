//! Holds what the daemon does against the invariants, step by step. Knows the truth from the simulated
//! kernel, what was offered from the messages themselves, and what arrived from the receiver; of the
//! daemon's own word it takes only its counters, to compare.

use super::{
    kernel::Kernel,
    mortal_disk::MortalDisk,
    namespace::Life,
    row::{Row, rows},
    violation::{Invariant, Violation, hold, named},
    waiting::{Waiting, plus, sum},
};
use std::collections::{HashMap, HashSet};
use xtcp2::{
    netlink::inet_diag::{SocketKind, States},
    output::{Counters, Identity, Message, Queue, Tally},
    poll::{PollReport, ReadCounters},
};

/// Of messages on disk, so many bytes are in memory too, and besides the one that is next.
const CACHED_BYTES_MAX: usize = 4 << 20;
/// Bytes that a known socket takes.
const KNOWN_BYTES_MAX: usize = 96;

type Checked = Result<(), Violation>;

/// A message as it was made.
#[derive(Debug)]
struct Made {
    identity: Identity,
    rows: u64,
    bytes: Vec<u8>,
    arrived: bool,
}

/// A poll that has ended, and what must be in it.
#[derive(Debug)]
struct Ended {
    report: PollReport,
    began: u64,
    /// Sockets that lived through it, in namespaces of which nothing was kept back, and in others.
    required: Vec<(u64, Life)>,
    perhaps: Vec<(u64, Life)>,
    /// Namespaces that were counted as not read to the end, messages that were counted as malformed.
    counted: u64,
}

#[derive(Debug, Default)]
pub struct Judge {
    states: Option<States>,
    instance_id: u64,
    next_record_counter: u64,
    last_identity: Option<Identity>,
    last_poll: u64,
    reads_before: ReadCounters,
    /// Rows of the poll under way, or of the one that has just ended.
    rows: Vec<Row>,
    ended: Option<Ended>,
    pub polls_checked: u64,
    pub rows_checked: u64,
    /// By instance and first record counter.
    made: HashMap<(u64, u64), Made>,
    offered: Tally,
    counters_before: Counters,
    /// What waits.
    waiting: Waiting,
    /// Sums when it was looked at last: while they are the same, nothing came and nothing left.
    looked_at: Option<(Tally, Tally, Tally, usize)>,
    /// Messages that the disk refused and that were there at a start all the same: a failed fdatasync may have
    /// forgotten them, and then a power cut takes them.
    doubtful: HashSet<Identity>,
    /// Messages that were on disk for certain and left: an acknowledgement that a power cut undoes brings them back.
    left_disk: HashSet<Identity>,
    /// Messages that were counted as dropped. A disk that fails may keep one all the same: it may come late.
    given_up: HashSet<Identity>,
    /// The first record counter of the last message of each instance that arrived.
    last_arrived: HashMap<u64, u64>,
    /// By identity, where it is found in `made`.
    keys: HashMap<Identity, (u64, u64)>,
    largest_bytes: usize,
}

impl Judge {
    /// A daemon starts; what its queue found in the spool is what the one before had left there.
    pub fn starts(
        &mut self,
        instance_id: u64,
        states: States,
        queue: &Queue<MortalDisk>,
        power_cut: bool,
    ) -> Checked {
        let found = Waiting::of(queue);
        for (identity, (_, was_on_disk)) in &self.waiting.0 {
            let is_found = found.copies(identity) > 0;
            let may_be_gone = !was_on_disk || power_cut && self.doubtful.contains(identity);
            hold(is_found || may_be_gone, Invariant::SpoolKeeps, || {
                format!("{} was on disk and is gone", named(*identity))
            })?;
        }
        for (identity, (copies, _)) in &found.0 {
            let is_known = self.keys.contains_key(identity);
            let was_on_disk = self.waiting.0.get(identity).is_some_and(|(_, is)| *is);
            if !was_on_disk && !self.left_disk.contains(identity) {
                self.doubtful.insert(*identity);
            }
            hold(is_known && *copies == 1, Invariant::SpoolKeeps, || {
                format!("{} is there {copies} times, made: {is_known}", named(*identity))
            })?;
        }
        let (recovered, dropped) = (queue.counters.recovered, queue.counters.dropped_total());
        hold(dropped.messages == 0, Invariant::SpoolKeeps, || {
            format!("{dropped:?} were on disk and are damaged")
        })?;
        hold(recovered == queue.queued(), Invariant::BooksBalance, || {
            format!("recovered {recovered:?}, queued {:?}", queue.queued())
        })?;
        *self = Judge {
            states: Some(states),
            instance_id,
            next_record_counter: 1,
            waiting: found,
            counters_before: queue.counters.clone(),
            made: std::mem::take(&mut self.made),
            keys: std::mem::take(&mut self.keys),
            last_arrived: std::mem::take(&mut self.last_arrived),
            doubtful: std::mem::take(&mut self.doubtful),
            left_disk: std::mem::take(&mut self.left_disk),
            given_up: std::mem::take(&mut self.given_up),
            largest_bytes: self.largest_bytes,
            polls_checked: self.polls_checked,
            rows_checked: self.rows_checked,
            ..Judge::default()
        };
        Ok(())
    }

    /// The daemon that is looked at.
    pub fn instance_id(&self) -> u64 {
        self.instance_id
    }

    /// From the next poll on, sockets in other states become rows.
    pub fn reads_states(&mut self, states: States) {
        self.states = Some(states);
    }

    /// Messages leave the pipeline.
    pub fn offered(&mut self, messages: Vec<Message>) -> Checked {
        for message in messages {
            self.offered_one(message)?;
        }
        Ok(())
    }

    fn offered_one(&mut self, message: Message) -> Checked {
        let Identity {
            instance_id,
            envelope_sequence,
            part,
        } = message.identity;
        let follows = match self.last_identity {
            None => envelope_sequence == 1 && part == 0,
            Some(last) => {
                envelope_sequence == last.envelope_sequence && part == last.part + 1
                    || envelope_sequence == last.envelope_sequence + 1 && part == 0
            }
        };
        let last = self.last_identity.replace(message.identity);
        hold(
            follows && instance_id == self.instance_id,
            Invariant::CountersWithoutGaps,
            || format!("{} follows {last:?}", named(message.identity)),
        )?;
        let rows = rows(&message.bytes).unwrap_or_default();
        let expected = self.next_record_counter;
        hold(
            message.first_record_counter == expected && rows.len() == message.rows as usize,
            Invariant::CountersWithoutGaps,
            || {
                let (first, count) = (message.first_record_counter, rows.len());
                format!(
                    "{message:?} begins with row {first} and holds {count}, expected to begin with {expected}"
                )
            },
        )?;
        for row in &rows {
            let expected = self.next_record_counter;
            self.next_record_counter += 1;
            hold(
                row.record_counter == expected,
                Invariant::CountersWithoutGaps,
                || format!("row {}, expected {expected}", row.record_counter),
            )?;
            let poll = self.ended.as_ref().map_or(self.last_poll + 1, |_| self.last_poll);
            let (sequence, instance) = (row.poll_sequence, row.instance_id);
            hold(
                sequence == poll && instance == self.instance_id && message.poll_sequence == poll,
                Invariant::PollSequenceGrows,
                || format!("row of poll {sequence} of {instance:x} in poll {poll}"),
            )?;
        }
        self.rows.extend(&rows);
        self.offered.messages += 1;
        self.offered.rows += u64::from(message.rows);
        self.offered.bytes += message.bytes.len() as u64;
        self.largest_bytes = self.largest_bytes.max(message.bytes.len());
        let key = (instance_id, message.first_record_counter);
        self.keys.insert(message.identity, key);
        self.waiting.add(message.identity, false);
        let made = Made {
            identity: message.identity,
            rows: u64::from(message.rows),
            bytes: message.bytes,
            arrived: false,
        };
        self.made.insert(key, made);
        Ok(())
    }

    /// Messages are with the receiver; from one that takes them one by one they come `in_order`.
    pub fn arrived(&mut self, messages: Vec<Vec<u8>>, in_order: bool) -> Checked {
        for bytes in messages {
            let first = rows(&bytes).and_then(|rows| rows.first().copied());
            let key = first.map(|row| (row.instance_id, row.record_counter));
            let made = key.and_then(|key| self.made.get_mut(&key));
            let Some((key, made)) = key.zip(made).filter(|(_, made)| made.bytes == bytes) else {
                return hold(false, Invariant::DeliveredIsThere, || {
                    format!("{} bytes arrived that nobody sent, with {first:?}", bytes.len())
                });
            };
            // A copy may come at any time.
            let is_copy = std::mem::replace(&mut made.arrived, true);
            if !is_copy && !self.given_up.contains(&made.identity) {
                let last = self.last_arrived.insert(key.0, key.1);
                hold(!in_order || last < Some(key.1), Invariant::Order, || {
                    let name = named(made.identity);
                    format!("{name} of row {} came after that of row {last:?}", key.1)
                })?;
            }
        }
        Ok(())
    }

    /// Where every message is.
    pub fn books(&mut self, queue: &Queue<MortalDisk>) -> Checked {
        let counters = &queue.counters;
        let (delivered, dropped) = (counters.delivered, counters.dropped_total());
        let taken = sum(self.offered, counters.recovered);
        let accounted = sum(sum(delivered, dropped), queue.queued());
        hold(taken == accounted, Invariant::BooksBalance, || {
            format!("offered and recovered {taken:?}, delivered, dropped and queued {accounted:?}")
        })?;
        let looked_at = (taken, accounted, queue.queued(), queue.in_memory_bytes());
        if self.looked_at.replace(looked_at) == Some(looked_at) {
            return Ok(());
        }
        let now = Waiting::of(queue);
        let mut left = Tally::default();
        let (mut arrived, mut lost) = (0, 0);
        for (identity, (copies, was_on_disk)) in &self.waiting.0 {
            let gone = copies.saturating_sub(now.copies(identity));
            if gone > 0 {
                if *was_on_disk {
                    self.left_disk.insert(*identity);
                }
                let made = &self.made[&self.keys[identity]];
                left = plus(left, gone, gone * made.rows, gone * made.bytes.len() as u64);
                if made.arrived {
                    arrived += gone;
                } else {
                    lost += gone;
                    self.given_up.insert(*identity);
                }
            }
        }
        let before = &self.counters_before;
        let (delivered_before, dropped_before) = (before.delivered, before.dropped_total());
        let was = sum(delivered_before, dropped_before);
        hold(
            sum(was, left) == sum(delivered, dropped),
            Invariant::BooksBalance,
            || {
                format!(
                    "{left:?} left the queue; counted were {was:?}, now {delivered:?} delivered, {dropped:?} dropped"
                )
            },
        )?;
        let (newly_delivered, newly_dropped) = (
            delivered.messages - delivered_before.messages,
            dropped.messages - dropped_before.messages,
        );
        hold(
            newly_delivered <= arrived && lost <= newly_dropped,
            Invariant::DeliveredIsThere,
            || {
                format!(
                    "{newly_delivered} counted as delivered, {arrived} of those that left arrived; {newly_dropped} counted as dropped, {lost} never arrived"
                )
            },
        )?;
        self.waiting = now;
        self.counters_before = counters.clone();
        Ok(())
    }

    /// What may never grow past its bound.
    pub fn bounds(
        &self,
        queue: &Queue<MortalDisk>,
        memory_bytes_max: usize,
        cached_bytes: usize,
        disk_bytes: usize,
        disk_bytes_max: usize,
    ) -> Checked {
        let alone = queue.in_memory_bytes();
        hold(alone <= memory_bytes_max, Invariant::Bounds, || {
            format!("{alone} bytes queued in memory, at most {memory_bytes_max}")
        })?;
        // Few seeds have so much on disk: it is as much a bound that there are no other copies.
        let on_disk = usize::try_from(queue.queued().bytes).map_or(0, |queued| queued - alone);
        let cached_max = on_disk.min(CACHED_BYTES_MAX + self.largest_bytes);
        hold(cached_bytes <= cached_max, Invariant::Bounds, || {
            format!("{cached_bytes} bytes of copies in memory, at most {cached_max}")
        })?;
        hold(disk_bytes <= disk_bytes_max, Invariant::Bounds, || {
            format!("{disk_bytes} bytes on disk, at most {disk_bytes_max}")
        })
    }

    /// Rows that are made and not offered yet.
    pub fn pending(&self, rows_made: u64, rows_max: u64) -> Checked {
        let pending = rows_made.checked_sub(self.offered.rows);
        hold(
            pending.is_some_and(|pending| pending <= rows_max),
            match pending {
                Some(_) => Invariant::Bounds,
                None => Invariant::BooksBalance,
            },
            || {
                format!(
                    "{rows_made} rows made, {:?} offered, {rows_max} may wait",
                    self.offered
                )
            },
        )
    }

    /// A poll has ended: what was there all the time, and what went wrong, is written down at once.
    pub fn poll_ended(&mut self, report: PollReport, reads: ReadCounters, kernel: &Kernel) -> Checked {
        let last = std::mem::replace(&mut self.last_poll, report.sequence);
        hold(report.sequence == last + 1, Invariant::PollSequenceGrows, || {
            format!("poll {} ended after poll {last}", report.sequence)
        })?;
        let before = std::mem::replace(&mut self.reads_before, reads);
        let not_read = reads.incomplete + reads.timed_out - before.incomplete - before.timed_out;
        hold(
            not_read <= kernel.faulted.len() as u64,
            Invariant::NoFalseAlarm,
            || {
                format!(
                    "{not_read} namespaces counted as not read to the end, faults in {:?}",
                    kernel.faulted
                )
            },
        )?;
        let began = kernel.poll_began;
        let states = self.states.unwrap_or(States::ALL);
        let lived = |life: &Life| life.since <= began && life.died.is_none();
        let is_wanted = |life: &Life| life.kind != SocketKind::Request && states.contains(life.state);
        let was_there = |netns: u64| {
            let namespace = &kernel.namespaces[&netns];
            namespace.died.is_none() && namespace.born <= began
        };
        let is_reached =
            |netns: u64| kernel.visited.contains(&netns) || !kernel.failed_visits.contains(&netns);
        let (mut required, mut perhaps) = (Vec::new(), Vec::new());
        for (cookie, life) in &kernel.lives {
            if lived(life) && is_wanted(life) && was_there(life.netns) && kernel.is_named(life.netns) {
                match is_reached(life.netns) && !kernel.faulted.contains(&life.netns) {
                    true => required.push((*cookie, *life)),
                    false if is_reached(life.netns) => perhaps.push((*cookie, *life)),
                    false => {}
                }
            }
        }
        self.ended = Some(Ended {
            report,
            began,
            required,
            perhaps,
            counted: not_read + reads.malformed - before.malformed,
        });
        Ok(())
    }

    /// All rows of the poll that has ended were offered: it is looked at.
    pub fn check_poll(&mut self, kernel: &Kernel) -> Checked {
        let Some(ended) = self.ended.take() else {
            return Ok(());
        };
        let rows = std::mem::take(&mut self.rows);
        let poll = ended.report.sequence;
        hold(
            ended.report.rows == rows.len() as u64,
            Invariant::BooksBalance,
            || {
                format!(
                    "poll {poll}: reported {} rows, made {}",
                    ended.report.rows,
                    rows.len()
                )
            },
        )?;
        let mut seen = HashSet::with_capacity(rows.len());
        for row in &rows {
            hold(seen.insert(row.cookie), Invariant::NoSecondRow, || {
                let (cookie, rows) = (row.cookie, rows.iter().filter(|other| other.cookie == row.cookie));
                let rows: Vec<&Row> = rows.collect();
                format!(
                    "poll {poll}: socket {cookie} again, {:?}: {rows:?}",
                    kernel.lives.get(&cookie)
                )
            })?;
            let life = kernel.lives.get(&row.cookie);
            let is_true = life.is_some_and(|life| {
                let cookie = if kernel.profile.has_cookies { life.netns } else { 0 };
                (row.netns, row.inode) == (cookie, life.inode)
                    && life.died.is_none_or(|died| died > ended.began)
                    && row.timestamp_ns == rows[0].timestamp_ns
            });
            hold(is_true, Invariant::RowsAreTrue, || {
                format!("poll {poll}, from change {}: {row:?} of {life:?}", ended.began)
            })?;
        }
        for (cookie, life) in &ended.required {
            hold(seen.contains(cookie), Invariant::RowForEachSocket, || {
                format!(
                    "poll {poll}, from change {}: no row of {cookie}, {life:?}",
                    ended.began
                )
            })?;
        }
        let missing = ended.perhaps.iter().filter(|(cookie, _)| !seen.contains(cookie));
        let not_complete: HashSet<u64> = missing.map(|(_, life)| life.netns).collect();
        hold(
            not_complete.len() as u64 <= ended.counted,
            Invariant::RowForEachSocket,
            || {
                let counted = ended.counted;
                format!(
                    "poll {poll}: rows are missing in namespaces {not_complete:?}, counted were {counted}"
                )
            },
        )?;
        self.polls_checked += 1;
        self.rows_checked += rows.len() as u64;
        Ok(())
    }

    /// What the daemon remembers from poll to poll.
    pub fn memory(&self, known: (usize, usize), kernel: &Kernel) -> Checked {
        let (sockets, bytes) = known;
        let lived = |life: &&Life| life.died.is_none_or(|died| died > kernel.poll_began);
        let sockets_max = kernel.lives.values().filter(lived).count();
        hold(
            sockets <= sockets_max && bytes <= sockets * KNOWN_BYTES_MAX,
            Invariant::Bounds,
            || format!("{sockets} sockets known in {bytes} bytes, {sockets_max} lived"),
        )
    }

    /// The daemon is dead: what is to be found by the next one is what was on disk when it was looked at last,
    /// and has not left since.
    pub fn dies(&mut self, queue: &Queue<MortalDisk>) {
        let now = Waiting::of(queue);
        let left = self
            .waiting
            .0
            .extract_if(.., |identity, _| now.copies(identity) == 0);
        let left_disk = left.filter(|(_, (_, was_on_disk))| *was_on_disk);
        self.left_disk.extend(left_disk.map(|(identity, _)| identity));
    }

    /// Whether everything that was made and is not lost for good is with the receiver.
    pub fn is_settled(&self) -> bool {
        self.waiting.0.is_empty() && self.ended.is_none()
    }
}
