//! Faults of memory on purpose. scripts/test-memory runs these first, and believes what a detector says of the others
//! only after it has reported each of them.

#![allow(unsafe_code, reason = "safe code has no such fault")]

use std::hint::black_box;

#[test]
#[ignore = "a fault on purpose, for scripts/test-memory"]
fn reads_behind_the_end() {
    let bytes = vec![0_u8; black_box(64)];
    let behind = black_box(bytes.as_ptr()).wrapping_add(64);
    // SAFETY: none: the 65th byte of 64 is not ours.
    let byte = unsafe { behind.read_volatile() };
    black_box(byte);
}

#[test]
#[ignore = "a fault on purpose, for scripts/test-memory"]
fn reads_what_is_freed() {
    let bytes = vec![0_u8; black_box(64)];
    let pointer = black_box(bytes.as_ptr());
    drop(bytes);
    // SAFETY: none: it was freed.
    let byte = unsafe { pointer.read_volatile() };
    black_box(byte);
}

#[test]
#[ignore = "a fault on purpose, for scripts/test-memory"]
fn leaks() {
    std::mem::forget(black_box(vec![0_u8; black_box(64)]));
}
