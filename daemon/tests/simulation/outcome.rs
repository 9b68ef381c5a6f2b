//! What seeds did: to see that they reach everything that they are for.

use std::ops::AddAssign;

macro_rules! outcome {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Sums over the daemons of one seed, or of many.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Outcome {
            $($(#[$doc])* pub $name: u64,)*
            /// Messages, by the reason.
            pub dropped: [u64; 7],
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
                all.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
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
