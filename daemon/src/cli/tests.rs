//! Whole command lines, with an environment and files of their own.

use super::{Command, Error, Invocation, Shell, parse};
use crate::schema::Schema;
use crate::{config::Config, format::Format, netlink::inet_diag::Attributes, output::Destination};
use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf, time::Duration};

fn with(line: &str, environment: &[(&str, &str)]) -> Result<Invocation, Error> {
    let words = line.split_whitespace().map(OsString::from);
    parse(
        words,
        environment
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    )
}

fn config(line: &str, environment: &[(&str, &str)]) -> Config {
    match with(line, environment)
        .unwrap_or_else(|e| panic!("{line}: {e}"))
        .command
    {
        Command::Run(config) | Command::Check(config) | Command::Replay { config, .. } => config,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str, environment: &[(&str, &str)]) -> String {
    let error = with(line, environment).expect_err(line);
    assert_eq!(error.exit_status(), 78);
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

/// A configuration file that lives as long as the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("xtcp2-cli-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_command_line_of_the_reference_works_unchanged() {
    let config = config(
        "-frequency 10s -dest kafka:127.0.0.1:9092 -marshal protobufList -topic xtcp \
         -promListen 127.0.0.1:9088 -deserializers default -timeout 5s -maxLoops 1 \
         -envelopeFlushRows 10000 -envelopeFlushBytes 786432 -pollJitterPct 20 -label a -tag b -hostname h \
         -location l -d 1",
        &[],
    );
    assert_eq!(config.frequency, Duration::from_secs(10));
    assert_eq!(config.timeout, Duration::from_secs(5));
    assert_eq!(
        config.dest,
        Destination::Kafka(vec!["127.0.0.1:9092".parse().unwrap()])
    );
    assert_eq!(config.marshal, Format::ProtobufList);
    assert_eq!(config.deserializers, Attributes::DEFAULT);
    assert_eq!((config.max_loops, config.poll_jitter_percent), (1, 20));
    assert_eq!(
        (config.envelope_flush_rows, config.envelope_flush_bytes),
        (10_000, 786_432)
    );
    assert_eq!([&config.topic, &config.prom_listen], ["xtcp", "127.0.0.1:9088"]);
    assert_eq!(
        [&config.label, &config.tag, &config.hostname, &config.location],
        ["a", "b", "h", "l"]
    );
    assert_eq!(config.log_level, log::LevelFilter::Info);
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let file = File::new(
        "precedence",
        "label = \"file\"\ntag = \"file\"\nlocation = \"file\"\n",
    );
    let environment = [
        ("XTCP2_CONFIG", file.path()),
        ("XTCP2_LABEL", "env"),
        ("XTCP2_TAG", "env"),
    ];
    let config = config("--label flag", &environment);
    assert_eq!(
        [&config.label, &config.tag, &config.location, &config.topic],
        ["flag", "env", "file", "xtcp"]
    );
    // The variable names a file that is not there; the flag comes before it.
    let environment = [("XTCP2_CONFIG", "/nonexistent"), ("XTCP2_TAG", "")];
    let line = format!("--config {}", file.path());
    assert_eq!(self::config(&line, &environment).tag, "file");
    assert_eq!(self::config("-label a -label b", &[]).label, "b");
    assert!(error("--config=", &[]).contains("expected a file"));
}

#[test]
fn names_of_the_reference_in_the_environment_come_last_and_are_noted() {
    let environment = [
        ("DEST", "null"),
        ("LABEL", "theirs"),
        ("XTCP2_LABEL", "ours"),
        ("TAG", "not a flag's"),
    ];
    let invocation = with("-tag flag", &environment).unwrap();
    assert_eq!(
        invocation.infos,
        ["environment DEST: sets --dest as in the reference program; the name of our own is XTCP2_DEST",]
    );
    let Command::Run(config) = invocation.command else {
        panic!()
    };
    assert_eq!(config.dest, Destination::Null);
    assert_eq!((config.label.as_str(), config.tag.as_str()), ("ours", "flag"));
    assert!(error("", &[("DEST", "/usr/local")]).starts_with("environment DEST: expected stdout, "));
    // Somebody's DEST is none of our business where a flag says where to go.
    assert_eq!(
        self::config("-dest null", &[("DEST", "/usr/local")]).dest,
        Destination::Null
    );
}

#[test]
fn wrong_values_are_one_line_with_where_expected_and_got() {
    let file = File::new("wrong", "# a\nfrequency = 10\n");
    let in_file = format!("{}:2 key frequency: ", file.path());
    let expected = "expected a duration such as 10s, 500ms or 1m30s with a unit (h m s ms us ns), got \"10\"";
    assert_eq!(
        error("-frequency 10", &[]),
        format!("flag -frequency: {expected}")
    );
    assert_eq!(
        error("", &[("XTCP2_FREQUENCY", "10")]),
        format!("environment XTCP2_FREQUENCY: {expected}")
    );
    assert_eq!(
        error(&format!("--config {}", file.path()), &[]),
        format!("{in_file}{expected}")
    );
    for (line, hint) in [
        (
            "--frequency 0s",
            "flag --frequency: expected a duration from 1ms to 168h, got \"0s\"",
        ),
        (
            "--timeout 0s",
            "flag --timeout: expected a duration from 1ms to 168h",
        ),
        (
            "--poll-jitter-pct 101",
            "expected a whole number from 0 to 100, got \"101\"",
        ),
        (
            "--max-loops -1",
            "flag --max-loops: expected a whole number from 0 to",
        ),
        ("--dest nats:x", "flag --dest: expected stdout, stderr"),
        ("--marshal yaml", "flag --marshal: expected one of protobufList"),
        (
            "--kafka-compression br",
            "expected one of auto zstd lz4 snappy gzip none, got \"br\"",
        ),
        (
            "--envelope-flush-bytes 17MiB",
            "expected a number of bytes up to 16MiB",
        ),
        (
            "--log-level loud",
            "expected one of off error warn info debug trace, got \"loud\"",
        ),
        ("replya a.pcap", "got \"replya\" (did you mean \"replay\"?)"),
        ("run now", "run: expected no argument, got \"now\""),
        ("replay", "replay: expected pcap or pcapng files, got none"),
        (
            "replay x --prom-listen none",
            "flag --prom-listen: expected a flag of rows or output",
        ),
        (
            "schema",
            "schema: expected one of proto clickhouse-proto clickhouse clickhouse-kafka json, got nothing",
        ),
        ("schema sql", "got \"sql\""),
        ("completions bash zsh", "got \"zsh\" as well"),
        (
            "man --label x",
            "flag --label: expected no flag, as man has no settings",
        ),
    ] {
        let text = error(line, &[]);
        assert!(text.contains(hint), "{line}: {text}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_named_with_their_sources() {
    assert_eq!(
        error(
            "--output-queue-bytes 1000",
            &[("XTCP2_ENVELOPE_FLUSH_BYTES", "1000")]
        ),
        "--output-queue-bytes (flag --output-queue-bytes): expected at least 2000 bytes, twice \
         --envelope-flush-bytes (environment XTCP2_ENVELOPE_FLUSH_BYTES), got 1000"
    );
    assert_eq!(
        error("--columns hostname", &[]),
        "--columns (flag --columns): expected csv or tsv as --marshal (default), got jsonl"
    );
    assert_eq!(
        config("--columns hostname --marshal csv", &[]).columns,
        ["hostname"]
    );
}

#[test]
fn what_is_written_where_nothing_is_said_depends_on_the_destination() {
    assert_eq!(Config::default().dest, Destination::Stdout);
    assert_eq!(config("", &[]).marshal, Format::Jsonl);
    assert_eq!(config("-dest stderr", &[]).marshal, Format::Jsonl);
    assert_eq!(config("-dest null", &[]).marshal, Format::ProtobufList);
    assert_eq!(config("-marshal protobufList", &[]).marshal, Format::ProtobufList);
    assert_eq!(config("", &[("MARSHAL", "csv")]).marshal, Format::Csv);
}

#[test]
fn zero_and_empty_are_what_the_reference_means_by_them() {
    let config = config(
        "-envelopeFlushRows 0 -envelopeFlushBytes 0 -promListen :9088 -deserializers=",
        &[],
    );
    assert_eq!(
        (config.envelope_flush_rows, config.envelope_flush_bytes),
        (10_000, 786_432)
    );
    assert_eq!(config.prom_listen, "[::]:9088");
    assert_eq!(config.deserializers, Attributes::NONE);
}

#[test]
fn flags_for_threads_get_one_warning() {
    let invocation = with(
        "-netlinkers 4 -ioUring -reconcileBeforePoll=false -dest null",
        &[],
    )
    .unwrap();
    let [warning] = &invocation.warnings[..] else {
        panic!("{:?}", invocation.warnings)
    };
    assert!(
        warning.contains("-netlinkers -ioUring -reconcileBeforePoll: one thread"),
        "{warning}"
    );
    let warnings = with("", &[("XTCP2_DESTT", "null")]).unwrap().warnings;
    assert_eq!(
        warnings,
        ["environment XTCP2_DESTT: sets nothing (did you mean \"XTCP2_DEST\"?)"]
    );
}

#[test]
fn the_log_level_has_two_flags() {
    assert_eq!(
        config("-d 111", &[("XTCP2_LOG_LEVEL", "warn")]).log_level,
        log::LevelFilter::Trace
    );
    assert_eq!(
        config("-d 111 --log-level error", &[]).log_level,
        log::LevelFilter::Error
    );
}

#[test]
fn commands() {
    assert!(matches!(with("run", &[]).unwrap().command, Command::Run(_)));
    assert!(matches!(
        with("check -dest null", &[]).unwrap().command,
        Command::Check(_)
    ));
    let Command::Replay { config, files } = with("replay a -marshal tsv b", &[]).unwrap().command else {
        panic!()
    };
    assert_eq!(
        (config.marshal, files),
        (Format::Tsv, vec![PathBuf::from("a"), PathBuf::from("b")])
    );
    // What else is in the file or the environment is for the daemon, and no error.
    assert_eq!(self::config("replay a", &[("XTCP2_MAX_LOOPS", "3")]).max_loops, 3);
    let command = |line: &str| {
        with(
            line,
            &[("XTCP2_FREQUENCY", "wrong"), ("XTCP2_CONFIG", "/nonexistent")],
        )
        .unwrap()
        .command
    };
    for (schema, name, _) in Schema::ALL {
        assert!(
            matches!(command(&format!("schema {name}")), Command::Schema(got) if got == schema),
            "{name}"
        );
    }
    assert!(matches!(command("man"), Command::Man));
    assert!(matches!(
        command("completions fish"),
        Command::Completions(Shell::Fish)
    ));
    assert!(matches!(command("help"), Command::Help(super::Help::Long)));
    assert!(matches!(
        command("-h --frequency x --nonsense"),
        Command::Help(super::Help::Short)
    ));
    assert!(matches!(
        command("replay -help"),
        Command::Help(super::Help::Long)
    ));
    assert!(matches!(command("-v"), Command::Version));
    assert!(matches!(command("-V"), Command::Version));
}

#[test]
fn printed_settings_are_a_file_that_says_the_same() {
    let file = File::new("print", "\nlocation = \"a \\\"b\\\" # c\"\n");
    let line = format!(
        "--conf -dest udp:[::1]:9 -netnsDirs /a,/b -states listen -envelopeFlushRows=0 -d 50 --config {}",
        file.path()
    );
    let environment = [("XTCP2_LABEL", "x"), ("XTCP2_COLUMNS", "a,b"), ("MARSHAL", "csv")];
    let Command::PrintConfig(text) = with(&line, &environment).unwrap().command else {
        panic!()
    };
    for expected in [
        "frequency = \"10s\" # default\n",
        "netns_dirs = [\"/a\", \"/b\"] # flag -netnsDirs\n",
        "states = \"LISTEN\" # flag -states\n",
        "dest = \"udp:[::1]:9\" # flag -dest\n",
        "marshal = \"csv\" # environment MARSHAL\n",
        "columns = [\"a\", \"b\"] # environment XTCP2_COLUMNS\n",
        "envelope_flush_rows = 10000 # flag -envelopeFlushRows\n",
        "label = \"x\" # environment XTCP2_LABEL\n",
        "log_level = \"debug\" # flag -d\n",
        "hostname = \"\" # default: the name of the host\n",
        &format!(" # {}:2 key location\n", file.path()),
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    let again = File::new("print-again", &text);
    let line = format!("--conf --config {}", again.path());
    let Command::PrintConfig(second) = with(&line, &[]).unwrap().command else {
        panic!()
    };
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1);
        lines
            .map(|line| line.rsplit_once(" # ").unwrap().0.to_owned())
            .collect()
    };
    assert_eq!(settings(&second), settings(&text));
}

#[test]
fn no_command_line_panics_and_each_error_is_one_line() {
    let pieces: [&[u8]; 26] = [
        b"-",
        b"--",
        b"=",
        b"frequency",
        b"-label",
        b"--netns-dirs",
        b"-ioUring",
        b"-d",
        b"10s",
        b"1.5h",
        b"99999999999h",
        b".",
        b"\n",
        b"\xff",
        b"\xc3\xa9",
        b"replay",
        b"schema",
        b"proto",
        b"file:",
        b"udp:[::1]:",
        b"http://",
        b"-columns",
        b",",
        b"--envelope-flush-bytes",
        b"GiB",
        b"--config=/dev/null/\n",
    ];
    // xorshift64: the same lines on every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..4_000 {
        let words: Vec<OsString> = (0..below(5))
            .map(|_| {
                let word: Vec<u8> = (0..1 + below(3))
                    .flat_map(|_| pieces[below(pieces.len())].to_vec())
                    .collect();
                OsString::from_vec(word)
            })
            .collect();
        let environment = [("XTCP2_LABEL", "x")].map(|(name, value)| (name.into(), value.into()));
        match parse(words.clone(), environment) {
            Ok(_) => right += 1,
            Err(error) => {
                wrong += 1;
                assert!(!error.to_string().contains('\n'), "{words:?}: {error}");
            }
        }
    }
    assert!(
        right > 100 && wrong > 1_000,
        "{right} right, {wrong} wrong: the pieces test nothing"
    );
}

#[test]
fn what_only_prints_has_a_text() {
    for (line, start) in [
        ("--help", "xtcp2: "),
        ("--version", "xtcp2 0"),
        ("man", ".TH XTCP2 1"),
        ("completions zsh", "#compdef xtcp2\n"),
        ("--conf", "# xtcp2"),
    ] {
        let text = with(line, &[]).unwrap().command.text().unwrap();
        assert!(text.starts_with(start) && text.ends_with('\n'), "{line}: {text}");
    }
    assert!(with("check", &[]).unwrap().command.text().is_none());
}
