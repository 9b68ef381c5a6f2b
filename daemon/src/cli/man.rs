//! `xtcp2 man`: the manual page, in man(7) macros.

use super::{
    commands::COMMANDS,
    error::EX_CONFIG,
    flags::{Category, Flag},
    help,
    table::FLAGS,
};

/// The manual page of a version; `date` as in `2026-11-23`.
pub fn render(version: &str, date: &str) -> String {
    // The date is not running text: formatters parse it, and must see its dashes.
    let mut page = format!(
        ".TH XTCP2 1 \"{date}\" \"xtcp2 {}\" \"User Commands\"
",
        escape(version)
    );
    section(&mut page, "NAME");
    page.push_str("xtcp2 \\- every TCP socket of every network namespace, one row each\n");

    section(&mut page, "SYNOPSIS");
    page.push_str(".B xtcp2\n.RI [ COMMAND ]\n.RI [ FLAG ...]\n");

    section(&mut page, "DESCRIPTION");
    text(
        &mut page,
        "Reads the state of every TCP socket of a host from the kernel: round-trip times, retransmissions, \
         windows, pacing, buffers, congestion control. It does so in every network namespace, at a fixed \
         frequency, and delivers a row for each. One thread does all of it.",
    );
    for command in COMMANDS {
        let arguments = match command.arguments {
            "" => String::new(),
            arguments => format!(" \\fI{}\\fR", escape(arguments)),
        };
        page.push_str(&format!(".TP\n\\fB{}\\fR{arguments}\n", escape(command.name)));
        text(&mut page, &format!("{}.", command.doc));
    }

    section(&mut page, "OPTIONS");
    text(
        &mut page,
        "One dash is as good as two, and a value follows a blank or an equals sign. The spellings of the \
         reference program work: -maxLoops 1 is --max-loops 1. Durations are written 10s, 500ms or 1m30s. A \
         flag comes before the environment, the environment before the configuration file, the file before \
         the default.",
    );
    for category in Category::ALL {
        page.push_str(&format!(".SS {}\n", escape(category.title())));
        for flag in FLAGS.iter().filter(|flag| flag.category == category) {
            option(&mut page, flag);
        }
    }

    section(&mut page, "ENVIRONMENT");
    text(
        &mut page,
        "An empty variable counts as unset. The second name, where there is one, is the reference \
         program's; the first comes before it.",
    );
    for flag in FLAGS {
        let Some(name) = flag.environment() else { continue };
        let theirs = flag.setting().and_then(|setting| setting.reference_environment);
        let theirs = theirs.map_or_else(String::new, |name| format!(", \\fB{}\\fR", escape(name)));
        page.push_str(&format!(".TP\n\\fB{}\\fR{theirs}\n", escape(&name)));
        text(&mut page, &format!("As --{}.", flag.name));
    }

    section(&mut page, "FILES");
    text(
        &mut page,
        "The file of --config is TOML without tables. Its keys are the names of the flags with underscores; \
         a list may be an array. An unknown key is an error.",
    );
    example(
        &mut page,
        &[
            "frequency = \"30s\"",
            "dest = \"kafka:broker:9092\"",
            "states = [\"ESTABLISHED\", \"LISTEN\"]",
        ],
    );

    section(&mut page, "EXIT STATUS");
    for (status, meaning) in [
        (
            0,
            "The daemon was told to end, or --max-loops were done, and everything was flushed.",
        ),
        (1, "It failed while running; the log says why."),
        (
            EX_CONFIG,
            "The command line, the environment or the configuration file cannot be used, or check found that the daemon would not start.",
        ),
    ] {
        page.push_str(&format!(".TP\n\\fB{status}\\fR\n"));
        text(&mut page, meaning);
    }

    section(&mut page, "SIGNALS");
    for (signal, meaning) in [
        (
            "SIGTERM, SIGINT",
            "Finish the poll, flush, and end with status 0, within --shutdown-timeout.",
        ),
        (
            "SIGHUP",
            "Read the configuration file again and open the output anew: rotated files, changed addresses. What needs a \
             restart instead, a line in the log names.",
        ),
        ("SIGUSR1", "Log a summary."),
    ] {
        page.push_str(&format!(".TP\n\\fB{signal}\\fR\n"));
        text(&mut page, meaning);
    }

    section(&mut page, "EXAMPLES");
    for (i, (meaning, command)) in EXAMPLES.iter().enumerate() {
        if i > 0 {
            page.push_str(".PP\n");
        }
        text(&mut page, meaning);
        example(&mut page, &[command]);
    }
    page
}

const EXAMPLES: [(&str, &str); 4] = [
    (
        "The sockets of this host, once, for people:",
        "xtcp2 --max-loops 1 --marshal json",
    ),
    (
        "Everything to Kafka, twice a minute:",
        "xtcp2 --frequency 30s --dest kafka:broker:9092 --topic xtcp",
    ),
    (
        "A spreadsheet of the round-trip times of a capture:",
        "xtcp2 replay netlink.pcapng --marshal csv --columns hostname,tcpInfoRtt",
    ),
    (
        "Completions for this shell:",
        "eval \"$(xtcp2 completions bash)\"",
    ),
];

fn option(page: &mut String, flag: &Flag) {
    page.push_str(&format!(".TP\n\\fB{}\\fR\n", escape(&help::synopsis(flag))));
    text(page, &format!("{}. {}", flag.doc, flag.long_doc));
    let words = flag.value.words();
    if !words.is_empty() {
        text(page, &format!("Words: {}.", words.join(" ")));
    }
    if let Some(default) = help::default_text(flag) {
        text(page, &format!("Default: {default}."));
    }
}

fn section(page: &mut String, title: &str) {
    page.push_str(&format!(".SH {title}\n"));
}

fn text(page: &mut String, text: &str) {
    // A line a sentence, as roff wants it: it spaces sentences itself.
    for sentence in text.split_inclusive(". ") {
        let line = escape(sentence.trim_end());
        if line.starts_with(['.', '\'']) {
            page.push_str("\\&");
        }
        page.push_str(&line);
        page.push('\n');
    }
}

fn example(page: &mut String, lines: &[&str]) {
    page.push_str(".PP\n.RS 4\n.nf\n");
    for line in lines {
        text(page, line);
    }
    page.push_str(".fi\n.RE\n");
}

/// Keeps roff from reading a backslash as a command and from turning a dash into a hyphen, which
/// could not be pasted into a shell.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    #[test]
    fn page() {
        insta::assert_snapshot!(render("1.2.3", "2026-11-23"));
    }

    /// Runs a formatter over the page; `None` where it is not installed.
    fn complaints(program: &str, arguments: &[&str]) -> Option<String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        child
            .stdin
            .take()
            .unwrap()
            .write_all(render("1.2.3", "2026-11-23").as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        Some(
            String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(match program {
                    "mandoc" => &output.stdout,
                    _ => &[],
                }),
        )
    }

    #[test]
    fn formatters_have_nothing_to_say() {
        let groff = complaints("groff", &["-man", "-Tutf8", "-ww", "-z"]);
        let mandoc = complaints("mandoc", &["-Tlint", "-Wwarning"]);
        if groff.is_none() && mandoc.is_none() {
            eprintln!("neither groff nor mandoc is installed: not checked");
        }
        assert_eq!(groff.unwrap_or_default(), "");
        assert_eq!(mandoc.unwrap_or_default(), "");
    }
}
