//! What seeds did: to see that they reach everything that they are for.

use std::{fmt, ops::AddAssign};
use xtcp2::output::DropReason;

/// Only the output to a file or pipe finds that it can never be written again, and it is not in the simulation.
const NEVER_DROPPED_FOR: [DropReason; 1] = [DropReason::WriteError];

macro_rules! outcome {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Sums over the daemons of one seed, or of many.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Outcome {
            $($(#[$doc])* pub $name: u64,)*
            /// Messages, by the reason.
            pub dropped: [u64; DropReason::NAMES.len()],
        }

        impl AddAssign for Outcome {
            fn add_assign(&mut self, other: Outcome) {
                $(self.$name += other.$name;)*
                for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
                    *sum += more;
                }
            }
        }

        impl Outcome {
            /// Names of what never happened.
            pub fn never(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name)),*];
                let dropped = DropReason::NAMES.iter().zip(self.dropped);
                let dropped = dropped.filter(|((reason, _), _)| !NEVER_DROPPED_FOR.contains(reason));
                let dropped = dropped.map(|((_, name), count)| (*name, count));
                let never = all.into_iter().chain(dropped).filter(|(_, count)| *count == 0);
                never.map(|(name, _)| name).collect()
            }
        }
    };
}

outcome! {
    steps polls rows kills power_cuts ends
    /// Namespaces, by how they were read.
    looked_up walked_after_look_ups skipped
    /// What the kernel did to dumps.
    interrupted overrun failed truncated incomplete timed_out
    /// Polls that waited for the output, and that were late.
    stalls late
    /// Messages.
    recovered retried spool_refused torn_records
}

/// A number, for people.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = Grouped;
        write!(
            f,
            "{} steps, {} polls, {} rows",
            n(self.steps),
            n(self.polls),
            n(self.rows)
        )?;
        write!(
            f,
            "; {} kills, {} of them power cuts, and {} ends",
            n(self.kills),
            n(self.power_cuts),
            n(self.ends)
        )?;
        write!(
            f,
            "; namespaces: {} looked up, {} walked after look-ups, {} skipped",
            n(self.looked_up),
            n(self.walked_after_look_ups),
            n(self.skipped)
        )?;
        write!(
            f,
            "; dumps: {} interrupted, {} overrun, {} failed, {} truncated, {} incomplete, {} timed out",
            n(self.interrupted),
            n(self.overrun),
            n(self.failed),
            n(self.truncated),
            n(self.incomplete),
            n(self.timed_out)
        )?;
        write!(
            f,
            "; {} polls waited for the output, {} were late",
            n(self.stalls),
            n(self.late)
        )?;
        write!(
            f,
            "; messages: {} recovered, {} retried, {} refused by the disk, {} torn there",
            n(self.recovered),
            n(self.retried),
            n(self.spool_refused),
            n(self.torn_records)
        )?;
        let mut separator = "; dropped:";
        for ((reason, name), count) in DropReason::NAMES.iter().zip(self.dropped) {
            if !NEVER_DROPPED_FOR.contains(reason) {
                write!(f, "{separator} {} {}", n(count), name.replace('_', " "))?;
                separator = ",";
            }
        }
        Ok(())
    }
}
