//! How a seed sets the daemon up.

use super::{inbox::DATAGRAM_SOCKETS_MAX, profile::Profile, random::Random};
use std::time::Duration;
use xtcp2::{
    envelope::Envelope,
    format::{Format, Formatter},
    netlink::inet_diag::{Attributes, States},
    pipeline::POLL_SLICE,
    poll::PollOptions,
    record::{Encoder, Identity},
    rows::Rows,
};

/// How the daemon is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    pub poll: PollOptions,
    pub frequency: Duration,
    pub jitter_percent: u32,
    pub queue_bytes_max: usize,
    pub envelope_rows_max: u32,
    pub envelope_bytes_max: usize,
    pub message_bytes_max: usize,
    pub spool_bytes_max: Option<u64>,
    pub text: String,
}

impl Settings {
    pub fn of(random: &mut Random) -> Settings {
        let states = match random.below(10) {
            0 => States::LISTEN,
            1 => "established,time_wait".parse().unwrap(),
            2 => "established".parse().unwrap(),
            _ => States::ALL,
        };
        let envelope_bytes_max = random.of(&[500, 4_000, 60_000]);
        Settings {
            poll: PollOptions {
                timeout: Duration::from_millis(random.between(2_000, 5_000)),
                idiag_ext: Attributes::DEFAULT.idiag_ext(),
                states,
                plans: !random.happens(100),
                walk_every: Duration::from_secs(random.of(&[1, 30, 3600])),
            },
            frequency: Duration::from_millis(random.between(500, 15_000)),
            jitter_percent: u32::try_from(random.of(&[0, 10, 100])).unwrap(),
            queue_bytes_max: usize::try_from(random.between(1_000, 100_000)).unwrap(),
            envelope_rows_max: u32::try_from(random.of(&[1, 7, 64, 1000])).unwrap(),
            envelope_bytes_max,
            message_bytes_max: if random.happens(200) {
                envelope_bytes_max
            } else {
                usize::MAX
            },
            spool_bytes_max: random.happens(600).then(|| random.between(1 << 20, 2 << 20)),
            text: "x".repeat(random.of(&[0, 0, 250])),
        }
    }

    pub fn rows(&self, instance_id: u64) -> Rows {
        let identity = Identity {
            instance_id,
            daemon_version: "simulated".to_owned(),
            hostname: self.text.clone(),
            location: self.text.clone(),
            label: String::new(),
            tag: self.text.clone(),
        };
        Rows::new(
            instance_id,
            Encoder::new(identity, Attributes::DEFAULT),
            Envelope::new(self.envelope_rows_max, self.envelope_bytes_max),
            Some(Formatter::new(Format::ProtobufList, &[]).unwrap()),
            self.message_bytes_max,
        )
    }

    /// Rows that may be made and not offered: those of a slice, and of an envelope that is not full.
    pub fn pending_rows_max(&self, profile: &Profile) -> u64 {
        let datagrams = POLL_SLICE.as_nanos() / profile.receive_charge.as_nanos() + 2;
        let datagrams = u64::try_from(datagrams).unwrap();
        datagrams * DATAGRAM_SOCKETS_MAX + u64::from(self.envelope_rows_max)
    }
}
