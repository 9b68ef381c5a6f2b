//! Which network namespaces there are, and how to get a socket in each.
//!
//! [`Discovery`] says, poll by poll, what to visit: the own namespace, every name in the configured
//! folders, and one process for each namespace that only processes hold. [`Home`] makes the visits.
//! The poll brings the two together and tells how each visit went:
//!
//! ```no_run
//! # use std::time::{Duration, Instant};
//! # use xtcp2::namespaces::{Discovery, Home, Next};
//! let home = Home::open()?;
//! let mut discovery = Discovery::new(home.name(), &["/run/netns".into()], "/proc".into(), Duration::from_secs(60));
//! discovery.start_poll();
//! loop {
//!     match discovery.next(Instant::now()) {
//!         Next::Visit(candidate) => {
//!             let visit = match candidate.path() {
//!                 None => home.visit_own(),
//!                 Some(path) => home.visit(path),
//!             };
//!             match visit {
//!                 Ok(visit) if discovery.visited(&candidate, visit.identity) => { /* dump */ }
//!                 Ok(_) => {} // was visited under another name
//!                 Err(error) => discovery.failed(candidate, &error, Instant::now()),
//!             }
//!         }
//!         Next::Scan => discovery.scan(Instant::now(), || true),
//!         Next::WaitUntil(instant) => std::thread::sleep(instant - Instant::now()),
//!         Next::Done => break,
//!     }
//! }
//! # Ok::<(), xtcp2::namespaces::VisitError>(())
//! ```

mod counts;
mod discovery;
mod folders;
mod processes;
mod system;
mod visit;
mod watch;

pub use counts::{CountFiles, Counts};
pub use discovery::{Candidate, Counters, Discovery, Next};
pub use folders::FolderCounters;
pub use processes::{SCAN_SLICE, ScanCounters};
pub use system::{Linux, System};
pub use visit::{FailureKind, Home, Identity, Visit, VisitError};

/// Which kinds of failure of a namespace are in the log already, so that each is logged once.
#[derive(Clone, Copy, Debug, Default)]
struct Reported(u8);

const _: () = assert!(FailureKind::ALL.len() <= u8::BITS as usize);

impl Reported {
    fn contains(self, kind: FailureKind) -> bool {
        self.0 >> kind as u8 & 1 == 1
    }

    /// Whether it is the first failure of that kind; the second is not.
    fn first(&mut self, kind: FailureKind) -> bool {
        let first = !self.contains(kind);
        self.0 |= 1 << kind as u8;
        first
    }
}
