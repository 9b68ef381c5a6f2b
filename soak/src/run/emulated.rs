//! What a run asks of a machine whose processor is emulated: a tenth of the load, half as many polls, and nothing
//! about speed.

use crate::scenario::{Gates, Load, Scenario};

/// QEMU's own processor has a tenth to a twentieth of the host's speed.
const LOAD_PARTS: u32 = 10;
/// So that a sample a second sees every poll, though samples come late there.
const FREQUENCY_TIMES: u32 = 2;

/// Makes the scenario one for such a machine. The names of the gates that are not asked then.
pub fn adapt(scenario: &mut Scenario) -> Vec<String> {
    scenario.loads.iter_mut().for_each(reduce);
    scenario.daemon.frequency.0 *= FREQUENCY_TIMES;
    if let Some(rows) = &mut scenario.gates.rows_per_poll_min {
        *rows = (*rows / u64::from(LOAD_PARTS)).max(1);
    }
    if let Some(namespaces) = &mut scenario.gates.namespaces_per_poll_min {
        *namespaces = (*namespaces / LOAD_PARTS).max(1);
    }
    leave_out_speed(&mut scenario.gates)
}

fn reduce(load: &mut Load) {
    let part = |count: &mut u32| *count = (*count / LOAD_PARTS).max(1);
    match load {
        Load::Sockets { namespaces, .. } => part(namespaces),
        Load::Churn {
            events_per_second,
            namespaces,
            ..
        } => {
            *events_per_second /= f64::from(LOAD_PARTS);
            part(namespaces);
        }
        Load::Containers { containers, .. } => part(containers),
        Load::Short {
            connections_per_second,
            ..
        } => *connections_per_second /= f64::from(LOAD_PARTS),
    }
}

fn leave_out_speed(gates: &mut Gates) -> Vec<String> {
    let asked = [
        ("poll_p99_ms_max", gates.poll_p99_ms_max.take().is_some()),
        ("poll_max_ms", gates.poll_max_ms.take().is_some()),
        (
            "polls_late_percent_max",
            gates.polls_late_percent_max.take().is_some(),
        ),
        ("cpu_percent_max", gates.cpu_percent_max.take().is_some()),
    ];
    let names = asked.into_iter().filter(|(_, was_asked)| *was_asked);
    names.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{read, validate};
    use std::path::Path;

    #[test]
    fn every_scenario_stays_one_that_makes_sense() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../microvms/scenarios");
        for entry in std::fs::read_dir(Path::new(folder)).unwrap().flatten() {
            let mut scenario = read::file(&entry.path()).unwrap();
            let asked_before = crate::scenario::gates::asked(&scenario.gates).count();
            let left_out = adapt(&mut scenario);
            assert!(validate(&scenario).is_empty(), "{:?}", entry.path());
            assert_eq!(
                crate::scenario::gates::asked(&scenario.gates).count(),
                asked_before - left_out.len()
            );
        }
    }
}
