//! What kind of machine a seed makes.

use super::random::Random;
use std::time::Duration;

/// What kind of machine a seed makes, and how much happens there.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    pub namespaces_max: u64,
    pub sockets_max: usize,
    /// Of 1,000 calls, so many meet a world that has just changed.
    pub churn_per_mille: u64,
    /// Of 1,000 answers, so many go wrong.
    pub faults_per_mille: u64,
    /// Before 5.14: no SO_NETNS_COOKIE.
    pub has_cookies: bool,
    /// Dumps both address families at once.
    pub dumps_both: bool,
    /// Files of /proc/net can be read.
    pub says_counts: bool,
    /// What the thread is charged for a receive, the least of all calls, and for a walk.
    pub receive_charge: Duration,
    pub walk_charge: Duration,
    /// Bytes of the path of a namespace: what makes rows long.
    pub path_bytes: usize,
}

impl Profile {
    pub fn of(random: &mut Random) -> Profile {
        Profile {
            namespaces_max: random.between(1, 6),
            sockets_max: random.of(&[5, 20, 80, 200]),
            churn_per_mille: random.of(&[0, 5, 50, 300]),
            faults_per_mille: random.of(&[0, 0, 5, 30, 100]),
            has_cookies: !random.happens(100),
            dumps_both: !random.happens(100),
            says_counts: !random.happens(50),
            receive_charge: Duration::from_micros(random.between(400, 1500)),
            walk_charge: Duration::from_micros(random.of(&[100, 1000, 5000])),
            path_bytes: random.of(&[20, 20, 3000]),
        }
    }
}
