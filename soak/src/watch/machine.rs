//! What the machine had to give: busy and stolen time, pressure, memory.

use crate::record;
use procfs::{Current, CurrentSI};

/// Remembers the counters of the sample before.
#[derive(Debug, Default)]
pub struct Reader {
    before: Option<Ticks>,
}

/// Of all processors together, since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ticks {
    all: u64,
    idle: u64,
    steal: u64,
}

impl Reader {
    /// Reads /proc. The first time, shares of time are 0.
    pub fn read(&mut self) -> record::Machine {
        let (cpus, now) = match procfs::KernelStats::current() {
            Ok(stats) => (stats.cpu_time.len(), Some(ticks(&stats.total))),
            Err(_) => (0, None),
        };
        let spent = match (self.before, now) {
            (Some(before), Some(now)) => Ticks {
                all: now.all.saturating_sub(before.all),
                idle: now.idle.saturating_sub(before.idle),
                steal: now.steal.saturating_sub(before.steal),
            },
            _ => Ticks::default(),
        };
        self.before = now.or(self.before);
        #[expect(clippy::cast_precision_loss, reason = "ticks between two samples")]
        let percent = |part: u64| part as f64 * 100.0 / spent.all.max(1) as f64;
        let pressure = procfs::CpuPressure::current().ok();
        record::Machine {
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            busy_percent: percent(spent.all.saturating_sub(spent.idle)),
            steal_percent: percent(spent.steal),
            cpu_pressure_percent: pressure.map(|pressure| f64::from(pressure.some.avg10)),
            memory_available_kib: procfs::Meminfo::current()
                .ok()
                .and_then(|memory| memory.mem_available)
                .map_or(0, |bytes| bytes / 1024),
        }
    }
}

fn ticks(total: &procfs::CpuTime) -> Ticks {
    let idle = total.idle + total.iowait.unwrap_or(0);
    let steal = total.steal.unwrap_or(0);
    // guest and guest_nice are in user and nice.
    let work = total.user + total.nice + total.system + total.irq.unwrap_or(0) + total.softirq.unwrap_or(0);
    Ticks {
        all: idle + steal + work,
        idle,
        steal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_processors_and_memory_and_shares_are_shares() {
        let mut reader = Reader::default();
        assert_eq!(reader.read().busy_percent, 0.0);
        std::thread::sleep(std::time::Duration::from_millis(50));
        let machine = reader.read();
        assert!(
            machine.cpus > 0 && machine.memory_available_kib > 0,
            "{machine:?}"
        );
        assert!((0.0..=100.0).contains(&machine.busy_percent), "{machine:?}");
        assert!((0.0..=100.0).contains(&machine.steal_percent), "{machine:?}");
    }
}
