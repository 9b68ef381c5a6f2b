//! A scenario in words.

use super::{Load, Scenario, What, gates, validate::timeline};
use crate::{cli::wrap, duration::Seconds};
use std::fmt::Write;

/// More than these repeat themselves.
const ACTIONS_SHOWN_MAX: usize = 40;

/// What a machine has to have for it.
pub fn needs(scenario: &Scenario) -> Vec<&'static str> {
    // Namespaces, cgroups, mounts.
    let mut needs = vec!["root"];
    if scenario
        .loads
        .iter()
        .any(|load| matches!(load, Load::Containers { .. }))
    {
        needs.push("docker");
    }
    if scenario.pipeline.is_some() {
        needs.push("java and chdb (scripts/setup pipeline)");
    }
    needs
}

/// All of it.
pub fn text(name: &str, scenario: &Scenario) -> String {
    let mut text = String::new();
    head(&mut text, name, scenario);
    heading(&mut text, "Load");
    for load in &scenario.loads {
        item(&mut text, &of_load(load));
    }
    if let Some(pipeline) = &scenario.pipeline {
        heading(&mut text, "Pipeline");
        item(
            &mut text,
            &format!(
                "Rows go through the daemon's spool and Kafka to ClickHouse. Those produced and those stored are compared \
                 every {}, and once more at the end, when everything has come to rest.",
                pipeline.reconcile_every
            ),
        );
    }
    if !scenario.actions.is_empty() {
        heading(&mut text, "What is done to it");
        table(&mut text, &done(scenario));
    }
    heading(&mut text, "Gates");
    for (gate, threshold) in gates::asked(&scenario.gates) {
        wrap(&mut text, &format!("{}: {threshold}", gate.key), 2);
        let sentence = format!("{}. Cannot judge: {}.", gate.meaning, gate.cannot_judge);
        wrap(&mut text, &sentence, 6);
    }
    wrap(
        &mut text,
        &format!("{}: asked of every run", gates::MACHINE.key),
        2,
    );
    wrap(&mut text, &format!("{}.", gates::MACHINE.meaning), 6);
    heading(&mut text, "What --target host cannot judge");
    for sentence in not_on_host(scenario) {
        item(&mut text, &sentence);
    }
    text
}

fn head(text: &mut String, name: &str, scenario: &Scenario) {
    wrap(text, &format!("{name}: {}", scenario.title), 0);
    text.push('\n');
    wrap(text, &scenario.description, 2);
    heading(text, "Run");
    let machine = scenario.machine;
    let flags = match scenario.daemon.flags.as_slice() {
        [] => String::new(),
        flags => format!(", with {}", flags.join(" ")),
    };
    for sentence in [
        format!("Lasts {}; --duration gives another time.", scenario.duration),
        format!(
            "The first {} do not count for gates about growth and speed.",
            scenario.warm_up
        ),
        format!(
            "Machine: {} processors, {} MiB. Needs {}.",
            machine.cpus,
            machine.memory_mib,
            needs(scenario).join("; ")
        ),
        format!("The daemon polls every {}{flags}.", scenario.daemon.frequency),
    ] {
        item(text, &sentence);
    }
    let ports = scenario.ports;
    let named: Vec<String> = [
        ("metrics", ports.admin),
        ("Kafka", ports.kafka),
        ("ClickHouse", ports.clickhouse),
    ]
    .into_iter()
    .filter_map(|(name, port)| port.map(|port| format!("{name} {port}")))
    .collect();
    if !named.is_empty() {
        let sentence = format!("Ports of a guest: {}. A host gives free ones.", named.join(", "));
        item(text, &sentence);
    }
}

fn of_load(load: &Load) -> String {
    match load {
        Load::Sockets {
            namespaces,
            sockets,
            bytes_per_second,
            delay_ms,
            loss_percent,
            congestion_control,
        } => {
            let mut sentence = format!(
                "sockets: {namespaces} namespaces that last, with {sockets} established sockets each ({} in all); each \
                 connection carries {bytes_per_second} bytes a second.",
                u64::from(*namespaces) * u64::from(*sockets)
            );
            if *delay_ms > 0 || *loss_percent > 0.0 {
                let _ = write!(
                    sentence,
                    " Their network delays by {delay_ms} ms and loses {loss_percent} %, where the kernel has netem."
                );
            }
            if !congestion_control.is_empty() {
                let _ = write!(
                    sentence,
                    " Congestion controls, those that the kernel has: {}.",
                    congestion_control.join(", ")
                );
            }
            sentence
        }
        Load::Churn {
            events_per_second,
            namespaces,
            sockets,
        } => format!(
            "churn: {namespaces} namespaces alive at a time, {events_per_second} created or deleted a second, so each \
             lives {:.1} s; a listener and {sockets} established sockets in each.",
            f64::from(*namespaces) / (events_per_second / 2.0)
        ),
        Load::Containers {
            containers,
            sockets,
            restarts_per_minute,
        } => format!(
            "containers: {containers} Docker containers with {sockets} sockets each; {restarts_per_minute} a minute end \
             and are made anew."
        ),
        Load::Short {
            connections_per_second,
            lifetime_ms,
        } => format!(
            "short: {connections_per_second} connections a second that live {lifetime_ms} ms, and are in TIME_WAIT for a \
             minute after."
        ),
    }
}

/// What an action does.
pub fn of_action(what: What) -> &'static str {
    match what {
        What::ReloadDaemon => "reload the daemon (SIGHUP)",
        What::RestartDaemon => "stop the daemon (SIGTERM) and start it",
        What::KillDaemon => "kill the daemon (SIGKILL) and start it",
        What::StopKafka => "stop the broker",
        What::KillKafka => "kill the broker",
        What::FreezeKafka => "freeze the broker (SIGSTOP): connections stay, answers do not come",
        What::StartKafka => "bring the broker back",
        What::KillClickhouse => "kill ClickHouse",
        What::StartClickhouse => "bring ClickHouse back",
        What::KillFeeder => "kill kafka-to-clickhouse",
        What::StartFeeder => "bring kafka-to-clickhouse back",
        What::FillDisk => "fill the disk of the spool",
        What::EmptyDisk => "make room on the disk of the spool",
        What::DropNextCapability => "start the daemon without the next capability",
    }
}

/// Times and actions, in their order.
fn done(scenario: &Scenario) -> Vec<[String; 2]> {
    let all = timeline(scenario);
    let mut rows: Vec<[String; 2]> = all
        .iter()
        .take(ACTIONS_SHOWN_MAX)
        .map(|(at, index)| {
            [
                Seconds(*at).to_string(),
                of_action(scenario.actions[*index].what).to_owned(),
            ]
        })
        .collect();
    if all.len() > ACTIONS_SHOWN_MAX {
        rows.push(["...".into(), format!("{} more", all.len() - ACTIONS_SHOWN_MAX)]);
    }
    rows
}

fn not_on_host(scenario: &Scenario) -> Vec<String> {
    let machine = scenario.machine;
    let mut sentences = vec![
        format!(
            "A host is as large as it is, and others use it: figures are those of {} processors and {} MiB only where it \
             has as many to give.",
            machine.cpus, machine.memory_mib
        ),
        "The runner starts the daemon itself. That systemd's unit restarts it after a hang, and lets it do all it needs, is \
         seen in a guest."
            .to_owned(),
        "The kernel is the host's: others are seen in a guest, --target vm.".to_owned(),
    ];
    if scenario
        .loads
        .iter()
        .any(|load| matches!(load, Load::Sockets { delay_ms, loss_percent, .. } if *delay_ms > 0 || *loss_percent > 0.0))
    {
        sentences.push("Delay and loss need sch_netem, which a host may lack; they are then left out, and said.".to_owned());
    }
    sentences
}

fn heading(text: &mut String, title: &str) {
    let _ = writeln!(text, "\n{title}");
}

/// A sentence, indented.
fn item(text: &mut String, sentence: &str) {
    wrap(text, sentence, 2);
}

/// Two columns.
fn table(text: &mut String, rows: &[[String; 2]]) {
    let width = rows.iter().map(|[first, _]| first.len()).max().unwrap_or(0);
    for [first, second] in rows {
        let _ = writeln!(text, "  {first:>width$}  {second}");
    }
}
