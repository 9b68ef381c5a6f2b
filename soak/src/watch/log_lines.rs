//! The daemon's log, as far as it speaks of errors.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Read at a time; what a flood leaves over comes with the next sample.
const READ_BYTES_MAX: u64 = 1 << 20;
/// Of a line that is reported. The file has the rest.
const LINE_CHARS_MAX: usize = 400;
/// The priority of errors of syslog(3); what is worse is below.
const PRIORITY_ERROR: u64 = 3;

/// A log that grows.
#[derive(Debug)]
pub struct Tail {
    file: File,
    /// A line that has no end yet.
    rest: Vec<u8>,
}

impl Tail {
    /// Reads it from its start.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Tail, String> {
        let file = File::open(path).map_err(|error: io::Error| format!("{}: {error}", path.display()))?;
        Ok(Tail {
            file,
            rest: Vec::new(),
        })
    }

    /// Lines of errors since the last call.
    pub fn errors(&mut self) -> Vec<String> {
        // A file that cannot be read any more ends here; what was said until then stands.
        let _ = (&self.file).take(READ_BYTES_MAX).read_to_end(&mut self.rest);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&lines)
            .lines()
            .filter(|line| is_error(line))
            .map(|line| line.chars().take(LINE_CHARS_MAX).collect())
            .collect()
    }
}

/// Whether the line is at error or above: in the daemon's text form, with a priority in front, as a JSON
/// object of its own or of journalctl; or what a Rust program says when it panics.
pub fn is_error(line: &str) -> bool {
    if line.contains("panicked at ") {
        return true;
    }
    if let Some((priority, _)) = line.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        return priority
            .parse()
            .is_ok_and(|priority: u64| priority <= PRIORITY_ERROR);
    }
    if line.starts_with('{') {
        let Ok(object) = serde_json::from_str::<serde_json::Value>(line) else {
            return false;
        };
        let priority = object["PRIORITY"]
            .as_str()
            .and_then(|priority| priority.parse::<u64>().ok());
        return object["level"] == "error" || priority.is_some_and(|priority| priority <= PRIORITY_ERROR);
    }
    // Whatever is not said to be less.
    match line.strip_prefix("xtcp2: ") {
        Some(rest) => !["warning: ", "info: ", "debug: ", "trace: "]
            .iter()
            .any(|level| rest.starts_with(level)),
        None => line.starts_with("memory allocation of "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn errors_are_told_from_the_rest_in_every_form() {
        for line in [
            "xtcp2: error: kafka: broker is gone",
            "xtcp2: error: flag --frequency: expected a duration, got \"x\"",
            "<3>cannot listen",
            "<0>x",
            "{\"level\":\"error\",\"message\":\"m\",\"time\":1.5}",
            "{\"PRIORITY\":\"2\",\"MESSAGE\":\"m\"}",
            "thread 'main' (7) panicked at daemon/src/main.rs:1:1:",
            "{\"PRIORITY\":\"6\",\"MESSAGE\":\"thread 'main' panicked at src/a.rs:1:1:\"}",
            "memory allocation of 8 bytes failed",
        ] {
            assert!(is_error(line), "{line}");
        }
        for line in [
            "xtcp2: info: an error: is not one here",
            "xtcp2: warning: error rate",
            "<4>error",
            "{\"level\":\"warning\",\"message\":\"error\"}",
            "{\"PRIORITY\":\"4\",\"MESSAGE\":\"error\"}",
            "note: run with `RUST_BACKTRACE=1`",
            "<x>",
            "",
        ] {
            assert!(!is_error(line), "{line}");
        }
    }

    #[test]
    fn a_line_counts_once_and_only_when_it_is_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut tail = Tail::open(file.path()).unwrap();
        assert!(tail.errors().is_empty());
        write!(file, "xtcp2: info: a\nxtcp2: error: b\nxtcp2: err").unwrap();
        assert_eq!(tail.errors(), ["xtcp2: error: b"]);
        assert!(tail.errors().is_empty());
        writeln!(file, "or: c").unwrap();
        assert_eq!(tail.errors(), ["xtcp2: error: c"]);
    }
}
