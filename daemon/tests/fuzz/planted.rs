//! A fault that `scripts/fuzz` has to find before what it does not find means anything.

/// Only these end badly; random bytes would need years to hit them.
const FAULT: [u8; 6] = *b"xtcp2!";

#[test]
#[ignore = "fails when it is fuzzed, which is what it is for"]
fn panics_on_six_bytes() {
    target!().for_each(|bytes| {
        // One at a time, as a parser compares: it is coverage that leads from each to the next.
        let same = bytes
            .iter()
            .zip(FAULT)
            .take_while(|(byte, wanted)| **byte == *wanted)
            .count();
        assert!(same < FAULT.len(), "the planted fault");
    });
}
