//! Random runs against a model: whatever is killed, cut off, full or failing, what was taken and has not
//! left is there, in order, byte for byte, and the journal knows.

use super::{
    super::journal::EventKind,
    simulated_disk::{Faults, SimulatedDisk},
    *,
};
use std::{
    cell::Cell,
    collections::{BTreeSet, VecDeque},
};

const SEEDS: u64 = 500;
const SEEDS_MANY: u64 = 20_000;
const STEPS: u64 = 50;

/// What the model knows of a message that was offered, in the order of offering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Taken, and not left: must be there.
    Taken,
    /// Taken, and left; what a power cut forgets may bring it back.
    Left,
    /// Refused: may be there after a start or not.
    Refused,
}

struct Run {
    seed: u64,
    random: Random,
    disk: SimulatedDisk,
    /// Whether calls fail.
    faulty: bool,
    spool: Option<Spool<SimulatedDisk>>,
    kept: VecDeque<Kept>,
    offered: Vec<(Message, Fate)>,
    /// The bound; or what was there at the start, as a power cut may undo the cutting off of what failed.
    bytes_max: usize,
    /// What was ever refused.
    refused: BTreeSet<u64>,
}

impl Run {
    fn new(seed: u64, lies: bool) -> Run {
        let mut disk = SimulatedDisk::new(seed);
        disk.lies = lies;
        let (spool, _) = open(disk.clone());
        Run {
            seed,
            random: Random(!seed),
            faulty: seed % 2 == 1,
            disk,
            spool: Some(spool),
            kept: VecDeque::new(),
            offered: Vec::new(),
            bytes_max: 1 << 20,
            refused: BTreeSet::new(),
        }
    }

    fn spool(&mut self) -> &mut Spool<SimulatedDisk> {
        self.spool.as_mut().unwrap()
    }

    fn fate(&mut self, identity: Identity) -> &mut Fate {
        &mut self.offered[identity.envelope_sequence as usize].1
    }

    fn step(&mut self) {
        if self.faulty && self.random.below(4) == 0 {
            self.change_faults();
        }
        match self.random.below(16) {
            0..=6 => self.append(),
            7..=10 => self.leave(),
            11 => self.read(),
            12 => self.restart(false),
            13 => self.restart(true),
            _ => {}
        }
        assert!(
            self.disk.used() <= self.bytes_max,
            "seed {}: past the bound",
            self.seed
        );
    }

    fn change_faults(&mut self) {
        let random = &mut self.random;
        let mut some = |most| {
            if random.below(2) == 0 {
                0
            } else {
                random.below(most)
            }
        };
        self.disk.faults.set(Faults {
            writes: some(300),
            syncs: some(300),
            others: some(300),
            reads: some(100),
        });
        let space = match self.random.below(3) {
            0 => self.disk.used() + self.random.below(20_000) as usize,
            _ => usize::MAX,
        };
        self.disk.space.set(space);
    }

    fn append(&mut self) {
        let count = 1 + self.random.below(4);
        let most = if self.seed % 64 < 2 { 150_000 } else { 3_000 };
        let first = self.offered.len() as u64;
        let batch: Vec<Message> = (first..first + count)
            .map(|sequence| message(sequence, self.random.below(most) as usize))
            .collect();
        while !self
            .spool()
            .room_for(batch.iter().map(|message| message.bytes.len()))
        {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            *self.fate(oldest.identity) = Fate::Left;
            self.spool().give_up(oldest);
        }
        let fate = match self.spool().append_all(&batch) {
            Ok(kept) => {
                self.kept.extend(kept);
                Fate::Taken
            }
            Err(error) => {
                assert!(self.faulty, "seed {}: {error}", self.seed);
                self.refused.extend(first..first + count);
                Fate::Refused
            }
        };
        self.offered
            .extend(batch.into_iter().map(|message| (message, fate)));
    }

    fn leave(&mut self) {
        for _ in 0..=self.random.below(4) {
            // Mostly the oldest, as it is.
            let count = self.kept.len() as u64;
            let place = if self.random.below(4) > 0 {
                0
            } else {
                self.random.below(count + 1)
            };
            let Some(kept) = self.kept.remove(place as usize) else {
                return;
            };
            *self.fate(kept.identity) = Fate::Left;
            match self.random.below(3) {
                0 => self.spool().give_up(kept),
                _ => self.spool().acknowledge(kept),
            }
        }
    }

    fn read(&mut self) {
        let Some(kept) = self.kept.front() else { return };
        match self.spool.as_mut().unwrap().read(kept) {
            Ok(message) => assert_eq!(message, self.offered[kept.identity.envelope_sequence as usize].0),
            Err(error) => assert!(self.faulty, "seed {}: {error}", self.seed),
        }
    }

    fn restart(&mut self, power_cut: bool) {
        let seed = self.seed;
        self.spool = None;
        if power_cut {
            self.disk.power_cut();
        }
        // A record that cannot be read at the start is lost; that has a test of its own.
        let faults = self.disk.faults.get();
        self.disk.faults.set(Faults { reads: 0, ..faults });
        let (mut spool, found) = open(self.disk.clone());
        self.disk.faults.set(Faults::default());
        let space = self.disk.space.replace(usize::MAX);

        let is_aside = |(name, _): &(String, usize)| name.ends_with(".damaged");
        assert!(
            !self.disk.files().iter().any(is_aside),
            "seed {seed}: what is torn is ours"
        );
        let counters = spool.counters();
        assert_eq!(counters.recovered_messages, found.len() as u64);
        let mut last = None;
        for kept in &found {
            let sequence = kept.identity.envelope_sequence;
            assert!(last < Some(sequence), "seed {seed}: {sequence} out of order");
            last = Some(sequence);
            let read = spool
                .read(kept)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(read, self.offered[sequence as usize].0, "seed {seed}");
        }
        let waiting: BTreeSet<u64> = found.iter().map(|kept| kept.identity.envelope_sequence).collect();
        let (mut produced, mut dropped) = (BTreeSet::new(), BTreeSet::new());
        for slot in journal_of(&self.disk) {
            let entry = slot.entry;
            let sequence = entry.identity.envelope_sequence;
            let message = &self.offered[sequence as usize].0;
            assert_eq!(
                entry.first_record_counter, message.first_record_counter,
                "seed {seed}"
            );
            match entry.kind {
                EventKind::Produced => produced.insert(sequence),
                EventKind::Dropped => dropped.insert(sequence),
            };
        }
        if !self.faulty {
            assert!(
                dropped.is_disjoint(&waiting),
                "seed {seed}: dropped, and yet delivered"
            );
        }
        // What was refused, came back at a start, and went with the next power cut, as a failed fdatasync
        // had forgotten it: counted as any other loss.
        let is_gone_again = |sequence: &&u64| produced.contains(sequence) && !waiting.contains(sequence);
        let gone_again = self.refused.iter().filter(is_gone_again).count() as u64;
        assert!(self.faulty || gone_again == 0, "seed {seed}");
        assert!(
            counters.corrupt_records <= gone_again,
            "seed {seed}: {counters:?}"
        );
        for (sequence, (_, fate)) in (0..).zip(&self.offered) {
            match fate {
                Fate::Taken => assert!(
                    waiting.contains(&sequence),
                    "seed {seed}: {sequence} was taken and is lost, power cut: {power_cut}"
                ),
                Fate::Left if !power_cut && !self.faulty => {
                    assert!(!waiting.contains(&sequence), "seed {seed}")
                }
                _ => {}
            }
            if !self.faulty {
                let is_there = produced.contains(&sequence);
                assert!(
                    is_there || *fate == Fate::Refused,
                    "seed {seed}: {sequence} is not in the journal, power cut: {power_cut}"
                );
            }
        }
        for kept in &found {
            // It is back, and as durable as it was.
            let was_refused = self.refused.contains(&kept.identity.envelope_sequence);
            *self.fate(kept.identity) = if was_refused { Fate::Refused } else { Fate::Taken };
        }
        self.kept = found.into();
        self.bytes_max = if self.faulty {
            self.disk.used().max(1 << 20)
        } else {
            1 << 20
        };
        self.spool = Some(spool);
        self.disk.faults.set(faults);
        self.disk.space.set(space);
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.restart(self.seed % 4 < 2);
    }
}

#[test]
fn nothing_that_was_taken_is_lost_and_the_journal_knows() {
    for seed in 0..SEEDS {
        Run::new(seed, false).run();
    }
}

#[test]
#[ignore = "takes minutes"]
fn nothing_that_was_taken_is_lost_in_many_runs() {
    let (mut messages, mut refused) = (0, 0);
    for seed in SEEDS..SEEDS_MANY {
        let mut run = Run::new(seed, false);
        run.run();
        messages += run.offered.len();
        refused += run.refused.len();
    }
    eprintln!(
        "{} runs of {STEPS} steps: of {messages} messages {refused} were refused, of the others none was lost",
        SEEDS_MANY - SEEDS
    );
}

/// The test above would see it.
#[test]
fn a_disk_that_does_not_sync_is_seen_by_the_model() {
    let seen = Cell::new(0);
    for seed in 0..20 {
        let run = std::panic::AssertUnwindSafe(|| Run::new(4 * seed, true).run());
        seen.set(seen.get() + u64::from(std::panic::catch_unwind(run).is_err()));
    }
    assert!(seen.get() > 10, "{} of 20", seen.get());
}
