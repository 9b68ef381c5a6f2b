//! A data race on purpose. scripts/test-race runs this one first, and believes what the detector says of
//! the others only after it has reported this one.

#![allow(unsafe_code, reason = "safe code has no data race")]

use std::{cell::UnsafeCell, thread};

struct Shared(UnsafeCell<u64>);

// SAFETY: it does not hold: that is the race. Both threads write the number without anything between them.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared(UnsafeCell::new(0));

fn write() {
    for _ in 0..1000 {
        // SAFETY: none, see above. The pointer is that of a static, so nothing but the number can break.
        unsafe { *SHARED.0.get() += 1 };
    }
}

#[test]
#[ignore = "a race on purpose, for scripts/test-race"]
fn two_threads_write_one_number() {
    let threads = [(); 2].map(|()| thread::spawn(write));
    assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
}
