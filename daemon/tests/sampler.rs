//! Alone in its process, since a process takes one profile at a time.

#![allow(clippy::unwrap_used)]
#![cfg(all(target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]

use nix::time::{ClockId, clock_gettime};
use std::{hint::black_box, ops::Range, time::Duration};
use xtcp2::sys::sampler::{FRAMES_MAX, Sampler};

#[inline(never)]
fn hot_leaf(mut x: u64) -> u64 {
    let mut rounds = 20_000;
    while rounds > 0 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        rounds -= 1;
    }
    x
}

/// Of this thread, which is what is sampled: on a busy machine much more time may pass.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[inline(never)]
fn caller(until: Duration) {
    let mut x = 1;
    while cpu_time() < until {
        x = black_box(hot_leaf(black_box(x)));
    }
}

#[inline(never)]
fn deep(levels: usize, until: Duration) -> usize {
    if levels == 0 {
        caller(until);
        return black_box(0);
    }
    black_box(deep(levels - 1, until)) + 1
}

fn stack() -> Range<u64> {
    let local = 0_u8;
    let address = std::ptr::from_ref(&local).addr() as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ranges = maps.lines().map(|line| {
        let (start, rest) = line.split_once('-').unwrap();
        let end = rest.split_once(' ').unwrap().0;
        u64::from_str_radix(start, 16).unwrap()..u64::from_str_radix(end, 16).unwrap()
    });
    ranges.into_iter().find(|range| range.contains(&address)).unwrap()
}

fn within(address: u64, function: *const ()) -> bool {
    (function.addr() as u64..function.addr() as u64 + 0x400).contains(&address)
}

#[test]
fn the_hot_function_is_on_top_and_its_caller_below() {
    let sampler = Sampler::start(250, &stack()).unwrap();
    assert_eq!(
        Sampler::start(250, &stack()).unwrap_err().kind(),
        std::io::ErrorKind::ResourceBusy
    );
    caller(cpu_time() + Duration::from_millis(500));
    let samples = sampler.finish();
    assert!(samples.cpu > Duration::ZERO && samples.cpu < Duration::from_secs(2));
    assert_eq!(samples.lost, 0);
    let all: Vec<&[u64]> = samples.stacks().collect();
    let right = all
        .iter()
        .filter(|stack| {
            within(stack[0], hot_leaf as *const ())
                && stack.len() > 2
                && within(stack[1], caller as *const ())
        })
        .count();
    assert!(
        !all.is_empty() && right * 10 >= all.len() * 8,
        "{right} of {} samples",
        all.len()
    );

    // A second profile starts afresh, and a stack deeper than is kept is cut, not dropped.
    let sampler = Sampler::start(250, &stack()).unwrap();
    assert_eq!(
        deep(2 * FRAMES_MAX, cpu_time() + Duration::from_millis(200)),
        2 * FRAMES_MAX
    );
    let samples = sampler.finish();
    assert!(samples.stacks().count() > 0);
    assert!(samples.stacks().any(|stack| stack.len() == FRAMES_MAX));

    // When none runs, a SIGPROF from outside is ignored.
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGPROF).unwrap();
}
