//! Receivers at the other end of a simulated network: one of a stream of bytes, that the daemon's own
//! transmission writes, and one that takes many messages at once and acknowledges each, as Kafka does.

use super::{bug::Bug, mortal_disk::MortalDisk, random::Random};
use std::{
    io::{self, ErrorKind},
    time::Duration,
};
use xtcp2::output::{Backoff, DropReason, Queue, Ticket, Transmission};

/// Between two turns of a receiver that takes something.
const TURN: Duration = Duration::from_millis(3);
/// A receiver that stalls is looked at again when its mood changes, and after so long at the latest.
const STALL_MAX: Duration = Duration::from_secs(3600);
/// Between two attempts of a client of a broker that is away.
const RETRY: Duration = Duration::from_millis(250);
/// Messages that one receiver has in hand at most.
const IN_FLIGHT_MAX: u64 = 8;
/// Of 1,000 writes on a stream, so many break it.
const BREAKS_PER_MILLE: u64 = 5;
/// Written at the start of each stream.
pub const PREAMBLE: &[u8] = b"xtcp2\n";

/// What a receiver is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Takes,
    Stalls,
    Away,
}

#[derive(Debug)]
enum Kind {
    Stream(Stream),
    Broker(Broker),
}

#[derive(Debug)]
pub struct Receiver {
    random: Random,
    bug: Option<Bug>,
    mood: Mood,
    mood_until: Duration,
    /// The longest of its moods.
    mood_max: Duration,
    /// It takes everything from now on.
    calm: bool,
    was_away: bool,
    kind: Kind,
    next_turn: Duration,
    /// What arrived whole since that was taken last.
    pub arrived: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Stream {
    is_up: bool,
    transmission: Transmission,
    backoff: Backoff,
    /// Of the stream that is up; a message, or the preamble, that is not whole yet.
    bytes: Vec<u8>,
    preamble_read: bool,
    bytes_a_turn_max: u64,
}

#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    bytes: Vec<u8>,
    due: Duration,
}

#[derive(Debug)]
struct Broker {
    in_flight: Vec<InFlight>,
    in_flight_max: usize,
    answer_ms_max: u64,
    /// Of 1,000 messages, so many are refused for good.
    rejects_per_mille: u64,
}

impl Receiver {
    pub fn new(mut random: Random, bug: Option<Bug>) -> Receiver {
        let kind = match random.below(2) {
            0 => Kind::Stream(Stream {
                is_up: false,
                transmission: Transmission::default(),
                backoff: Backoff::new(random.next()),
                bytes: Vec::new(),
                preamble_read: false,
                bytes_a_turn_max: random.of(&[1000, 20_000, 1 << 20]),
            }),
            _ => Kind::Broker(Broker {
                in_flight: Vec::new(),
                in_flight_max: usize::try_from(random.between(1, IN_FLIGHT_MAX)).unwrap(),
                answer_ms_max: 50,
                rejects_per_mille: random.of(&[0, 0, 20]),
            }),
        };
        let mood_max = Duration::from_millis(random.of(&[500, 20_000, 300_000]));
        Receiver {
            random,
            bug,
            mood: Mood::Takes,
            mood_until: Duration::ZERO,
            mood_max,
            calm: false,
            was_away: false,
            kind,
            next_turn: Duration::ZERO,
            arrived: Vec::new(),
        }
    }

    pub fn calm_down(&mut self) {
        self.calm = true;
        self.mood = Mood::Takes;
        self.mood_until = Duration::MAX;
        match &mut self.kind {
            Kind::Stream(stream) => stream.bytes_a_turn_max = 1 << 20,
            Kind::Broker(broker) => {
                broker.rejects_per_mille = 0;
                broker.answer_ms_max = 1;
            }
        }
    }

    /// Whether it gets one message after the other.
    pub fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    /// When its turn is next, as the daemon's outputs have a deadline.
    pub fn deadline(&self) -> Duration {
        self.next_turn
    }

    /// Something was offered where nothing was before.
    pub fn wake(&mut self, now: Duration) {
        self.next_turn = now;
    }

    /// Does what can be done now.
    pub fn turn(&mut self, queue: &mut Queue<MortalDisk>, now: Duration) {
        if self.mood_until <= now {
            self.mood = self
                .random
                .of(&[Mood::Takes, Mood::Takes, Mood::Takes, Mood::Stalls, Mood::Away]);
            let mood_ms_max = u64::try_from(self.mood_max.as_millis()).unwrap();
            self.mood_until = now + Duration::from_millis(self.random.between(1, mood_ms_max));
        }
        let Receiver {
            random,
            bug,
            mood,
            kind,
            arrived,
            calm,
            was_away,
            ..
        } = self;
        *was_away |= *mood == Mood::Away;
        let before = arrived.len();
        let wait = match kind {
            _ if *was_away && *bug == Some(Bug::NoReconnect) => TURN,
            Kind::Stream(stream) => stream.turn(*mood, *calm, random, queue, arrived),
            Kind::Broker(broker) => broker.turn(*mood, *bug, now, random, queue, arrived),
        };
        if *bug == Some(Bug::Overtaken) && arrived.len() > before + 1 && random.happens(500) {
            arrived.swap(before, before + 1);
        }
        if *bug == Some(Bug::TornMessage)
            && let Some(bytes) = arrived.get_mut(before)
            && random.happens(100)
        {
            bytes.pop();
        }
        self.next_turn = (now + wait).min(self.mood_until);
    }

    /// The daemon ends, or reopens its output, in order: nothing is left in hand.
    pub fn close(&mut self, queue: &mut Queue<MortalDisk>) {
        match &mut self.kind {
            Kind::Stream(stream) => stream.lose(queue),
            Kind::Broker(broker) => {
                for in_flight in broker.in_flight.drain(..) {
                    queue.retry(in_flight.ticket);
                }
            }
        }
    }

    /// The daemon is killed: what was in flight has arrived, or not.
    pub fn abandoned(&mut self) {
        match &mut self.kind {
            Kind::Stream(stream) => {
                stream.is_up = false;
                stream.transmission = Transmission::default();
                stream.bytes.clear();
            }
            Kind::Broker(broker) => {
                for in_flight in broker.in_flight.drain(..) {
                    if self.random.happens(500) {
                        self.arrived.push(in_flight.bytes);
                    }
                }
            }
        }
        self.next_turn = Duration::ZERO;
    }
}

impl Stream {
    /// Returns how long it waits for its next turn.
    fn turn(
        &mut self,
        mood: Mood,
        calm: bool,
        random: &mut Random,
        queue: &mut Queue<MortalDisk>,
        arrived: &mut Vec<Vec<u8>>,
    ) -> Duration {
        if !self.is_up {
            if mood == Mood::Away {
                return self.backoff.next_wait();
            }
            self.is_up = true;
            self.preamble_read = false;
            self.transmission.restart(queue);
        }
        let delivered_before = queue.counters.delivered.messages;
        let mut window = match mood {
            Mood::Takes => random.between(1, self.bytes_a_turn_max),
            Mood::Stalls | Mood::Away => 0,
        };
        let breaks = mood == Mood::Away || !calm && random.happens(BREAKS_PER_MILLE);
        let bytes = &mut self.bytes;
        let written = self.transmission.step(queue, PREAMBLE, |offered| {
            if random.happens(20) {
                return Err(ErrorKind::Interrupted.into());
            }
            if window == 0 {
                return Err(match breaks {
                    true => ErrorKind::ConnectionReset.into(),
                    false => io::Error::from(ErrorKind::WouldBlock),
                });
            }
            let taken = random.between(1, window.min(offered.len() as u64));
            window -= taken;
            let taken = usize::try_from(taken).unwrap();
            bytes.extend(&offered[..taken]);
            Ok(taken)
        });
        self.read(arrived);
        if queue.counters.delivered.messages > delivered_before {
            self.backoff.reset();
        }
        match written {
            Ok(_) if mood == Mood::Stalls => STALL_MAX,
            // Nothing is there to be sent until the disk is read again.
            Ok(_) if queue.read_pause().is_some() => RETRY,
            Ok(_) => TURN,
            Err(_) => {
                self.lose(queue);
                self.backoff.next_wait()
            }
        }
    }

    fn lose(&mut self, queue: &mut Queue<MortalDisk>) {
        self.is_up = false;
        self.bytes.clear();
        self.transmission.restart(queue);
    }

    /// Takes whole messages off the stream.
    fn read(&mut self, arrived: &mut Vec<Vec<u8>>) {
        if !self.preamble_read && self.bytes.len() >= PREAMBLE.len() {
            assert_eq!(self.bytes.drain(..PREAMBLE.len()).as_slice(), PREAMBLE);
            self.preamble_read = true;
        }
        while self.preamble_read
            && let Ok(length) = prost::decode_length_delimiter(self.bytes.as_slice())
            && let end = length + prost::length_delimiter_len(length)
            && self.bytes.len() >= end
        {
            arrived.push(self.bytes.drain(..end).collect());
        }
    }
}

impl Broker {
    fn turn(
        &mut self,
        mood: Mood,
        bug: Option<Bug>,
        now: Duration,
        random: &mut Random,
        queue: &mut Queue<MortalDisk>,
        arrived: &mut Vec<Vec<u8>>,
    ) -> Duration {
        if mood == Mood::Stalls {
            return STALL_MAX;
        }
        let due = self.in_flight.extract_if(.., |in_flight| in_flight.due <= now);
        for InFlight { ticket, bytes, .. } in due {
            match random.below(1000) {
                _ if mood == Mood::Away => queue.retry(ticket),
                chance if chance < self.rejects_per_mille => queue.dropped(ticket, DropReason::Rejected),
                chance if chance > 980 => {
                    // Taken, but nobody says so: it is sent again.
                    arrived.push(bytes);
                    queue.retry(ticket);
                }
                chance if chance > 950 => queue.retry(ticket),
                _ => {
                    let is_there = bug != Some(Bug::FalseDelivery) || !random.happens(50);
                    if is_there {
                        arrived.push(bytes);
                    }
                    queue.delivered(ticket);
                }
            }
        }
        while mood == Mood::Takes
            && self.in_flight.len() < self.in_flight_max
            && let Some((ticket, message)) = queue.next_waiting()
        {
            self.in_flight.push(InFlight {
                ticket,
                bytes: message.bytes.clone(),
                due: now + Duration::from_millis(random.between(1, self.answer_ms_max)),
            });
            queue.begun(ticket);
        }
        let next = self.in_flight.iter().map(|in_flight| in_flight.due).min();
        match next {
            Some(due) => due.saturating_sub(now),
            // Or the disk fails to read the next.
            None if mood == Mood::Away || queue.read_pause().is_some() => RETRY,
            None => TURN,
        }
    }
}
