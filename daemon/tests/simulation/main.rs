//! The core of the daemon against a simulated kernel, clock, disk and network: everything that happens comes
//! from a seed, so that what fails once fails again.
//!
//!     XTCP2_SIM_SEED=N cargo test --test simulation one_seed
//!
//! runs one seed. docs/architecture.md says what is real in it and what is simulated.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod bug;
mod inbox;
mod judge;
mod kernel;
mod machine;
mod mortal_disk;
mod namespace;
mod outcome;
mod outlet;
mod profile;
mod random;
mod receiver;
mod regressions;
mod row;
mod settings;
#[allow(dead_code, reason = "each test uses a part")]
#[path = "../common/simulated.rs"]
mod simulated;
#[allow(
    dead_code,
    clippy::cast_possible_truncation,
    reason = "the disk of the spool's own tests, of which a part is used; it lies in memory"
)]
#[path = "../../src/spool/tests/simulated_disk.rs"]
mod simulated_disk;
mod system;
mod violation;
mod waiting;
mod world;

use bug::Bug;
use machine::Machine;
use outcome::Outcome;
// Where simulated_disk looks for them.
use random::Random;
use std::time::Instant;
use xtcp2::spool;

/// Seeds of every run of the tests. Unoptimised, as CI builds it, a seed takes 40 ms of CPU time: these are
/// half of what fits a minute there, since its cores are slower and shared.
const SEEDS: u64 = 600;
/// Seeds of the long run, in the optimised build, where one takes 4 ms; not those of every run.
const SEEDS_MANY: u64 = 10_000;
/// What that may take.
const SECONDS_MANY_MAX: u64 = 120;
/// A planted bug is to be found within so many seeds.
const SEEDS_PER_BUG_MAX: u64 = 300;

const SEED_VARIABLE: &str = "XTCP2_SIM_SEED";

/// Runs a seed, and says how to run it again when it fails.
fn run(seed: u64) -> Outcome {
    match Machine::run(seed, None) {
        Ok(outcome) => outcome,
        Err(violation) => panic!(
            "seed {seed}: {violation}\nagain: {SEED_VARIABLE}={seed} cargo test --test simulation one_seed"
        ),
    }
}

fn run_all(seeds: std::ops::Range<u64>) {
    let (started, count) = (Instant::now(), seeds.end - seeds.start);
    let mut sum = Outcome::default();
    for seed in seeds {
        sum += run(seed);
    }
    println!("{count} seeds in {:.1?}: {sum}", started.elapsed());
    assert!(sum.never().is_empty(), "never happened: {:?}", sum.never());
}

#[test]
fn every_seed_holds() {
    run_all(0..SEEDS);
}

/// The seed of the variable, or all of `FIRST..END`.
#[test]
fn one_seed() {
    let Ok(seeds) = std::env::var(SEED_VARIABLE) else {
        return;
    };
    let (first, end) = match seeds.split_once("..") {
        Some((first, end)) => (first.parse().unwrap(), end.parse().unwrap()),
        None => (seeds.parse().unwrap(), seeds.parse::<u64>().unwrap() + 1),
    };
    let broken = (first..end).filter(|&seed| match Machine::run(seed, None) {
        Ok(outcome) => {
            println!("seed {seed}: {outcome:?}");
            false
        }
        Err(violation) => {
            println!("seed {seed}: {violation}");
            true
        }
    });
    assert_eq!(broken.count(), 0, "seeds break an invariant");
}

#[test]
#[ignore = "takes a minute in the optimised build"]
fn many_seeds_hold_within_two_minutes() {
    let started = Instant::now();
    run_all(SEEDS..SEEDS + SEEDS_MANY);
    let seconds = started.elapsed().as_secs();
    assert!(seconds <= SECONDS_MANY_MAX, "{seconds} s");
}

/// The same seed is the same life, to the last row.
#[test]
fn a_seed_is_reproduced_exactly() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| format!("{:?}", Machine::run(seed, None)));
        assert_eq!(first, second, "seed {seed}");
    }
}

/// The simulation is able to fail: each planted bug breaks the invariant that it should.
#[test]
fn every_planted_bug_is_found_by_its_invariant() {
    for (bug, invariant) in Bug::ALL {
        let found = (0..SEEDS_PER_BUG_MAX).find_map(|seed| {
            let violation = Machine::run(seed, Some(bug)).err()?;
            Some((seed, violation))
        });
        let Some((seed, violation)) = found else {
            panic!("{bug:?} is not found by {SEEDS_PER_BUG_MAX} seeds");
        };
        assert_eq!(
            violation.invariant, invariant,
            "{bug:?}, seed {seed}: {violation}"
        );
        println!("{bug:?}: seed {seed}: {violation}");
    }
}
