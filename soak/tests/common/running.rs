//! A program that a test started, and that ends with the test, also with one that fails.

use std::process::Child;

#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, where the test got that far.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
