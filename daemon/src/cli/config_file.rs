//! Settings from a TOML file: one key a flag, no tables. Values may be written as TOML has them
//! (10000, ["a", "b"]) or as on the command line ("10000", "a,b").

use super::{
    error::{Error, Source},
    flags::{Flag, did_you_mean, nearest},
    table::FLAGS,
};
use crate::settings_file::{self, Unread, When};
use std::{borrow::Cow, path::Path};
use toml::de::{DeTable, DeValue};

/// Largest configuration file in bytes; a file with every key and a comment on each has 8 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A key of a configuration file and its value, as text.
#[derive(Debug)]
pub struct Entry {
    /// The flag it sets.
    pub flag: &'static Flag,
    /// The value as the command line would have it.
    pub value: String,
    /// Where it is.
    pub source: Source,
}

/// Reads a configuration file: the one place of this module that touches the world.
pub fn read(path: &Path) -> Result<String, Error> {
    settings_file::read(path, FILE_BYTES_MAX, When::Start).map_err(|unread| Error::File {
        path: path.to_owned(),
        line: None,
        problem: match unread {
            Unread::Io(error) => format!("expected a readable configuration file, got: {error}"),
            unread => unread.to_string(),
        },
    })
}

/// The entries of a configuration file, in the order of its lines.
pub fn parse(text: &str, path: &Path) -> Result<Vec<Entry>, Error> {
    let table = DeTable::parse(text).map_err(|error| Error::File {
        path: path.to_owned(),
        line: error.span().map(|span| line_of(text, span.start)),
        problem: format!("expected TOML, got: {}", error.message().replace('\n', "; ")),
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        let source = Source::File {
            path: path.to_owned(),
            line: line_of(text, key.span().start),
            key: key.get_ref().to_string(),
        };
        let wrong = |problem: String| Error::Wrong {
            source: source.clone(),
            problem,
        };
        let Some(flag) = Flag::find_key(key.get_ref()) else {
            let settings = FLAGS.iter().filter(|flag| flag.setting().is_some());
            let hint = did_you_mean(nearest(
                key.get_ref(),
                settings.map(|flag| Cow::Owned(flag.key())),
            ));
            return Err(wrong(format!("no such key{hint}")));
        };
        let value = value_text(value.get_ref(), flag.value.separator()).map_err(wrong)?;
        entries.push(Entry { flag, value, source });
    }
    entries.sort_by_key(|entry| match entry.source {
        Source::File { line, .. } => line,
        _ => 0,
    });
    Ok(entries)
}

fn value_text(value: &DeValue<'_>, separator: Option<char>) -> Result<String, String> {
    match (value, separator) {
        (DeValue::String(text), _) => Ok(text.to_string()),
        (DeValue::Integer(number), _) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(format!("expected a smaller number, got {number}")),
        },
        (DeValue::Float(number), _) => Ok(number.as_str().to_owned()),
        (DeValue::Boolean(truth), _) => Ok(truth.to_string()),
        (DeValue::Array(values), Some(separator)) => {
            let words: Result<Vec<String>, String> = values
                .iter()
                .map(|value| match value.get_ref() {
                    DeValue::String(text) if !text.contains(separator) => Ok(text.to_string()),
                    DeValue::String(text) => {
                        let what = if separator == ',' { "commas" } else { "line ends" };
                        Err(format!("expected an array of text without {what}, got {text:?}"))
                    }
                    other => Err(format!(
                        "expected an array of text, got {} in it",
                        other.type_str()
                    )),
                })
                .collect();
            Ok(words?.join(&separator.to_string()))
        }
        (other, separator) => {
            let expected = if separator.is_some() {
                "text or an array of text"
            } else {
                "text or a number"
            };
            Err(format!("expected {expected}, got {}", other.type_str()))
        }
    }
}

/// Line of a byte, from 1.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|b| *b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, String, String)>, String> {
        let entries = parse(text, Path::new("x.toml")).map_err(|error| error.to_string())?;
        Ok(entries
            .into_iter()
            .map(|e| (e.flag.key(), e.value, e.source.to_string()))
            .collect())
    }

    #[test]
    fn native_values_become_text() {
        let text = "# comment\nfrequency = \"10s\"\nmax_loops = 0x10\n\nnetns_dirs = [\"/a\",\n \"/b\"]\nstates = \"all\"\n";
        let entries = of(text).unwrap();
        let entry = |key: &str, value: &str, line| {
            (
                key.to_owned(),
                value.to_owned(),
                format!("x.toml:{line} key {key}"),
            )
        };
        assert_eq!(
            entries,
            [
                entry("frequency", "10s", 2),
                entry("max_loops", "16", 3),
                entry("netns_dirs", "/a,/b", 5),
                entry("states", "all", 7),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_line() {
        for (text, error) in [
            (
                "\n\nfrequenzy = \"10s\"",
                "x.toml:3 key frequenzy: no such key (did you mean \"frequency\"?)",
            ),
            (
                "[polling]\nfrequency = \"10s\"",
                "x.toml:1 key polling: no such key",
            ),
            ("config = \"y\"", "x.toml:1 key config: no such key"),
            (
                "label = [\"a\"]",
                "x.toml:1 key label: expected text or a number, got array",
            ),
            (
                "states = [1]",
                "x.toml:1 key states: expected an array of text, got integer in it",
            ),
            (
                "states = [\"a,b\"]",
                "x.toml:1 key states: expected an array of text without commas, got \"a,b\"",
            ),
            (
                "label = 1979-05-27",
                "x.toml:1 key label: expected text or a number, got datetime",
            ),
        ] {
            assert_eq!(of(text).unwrap_err(), error);
        }
        for text in ["a = 1\nlabel = ", "tag = \"x\"\ntag = \"y\"", "\n\u{1}"] {
            let error = of(text).unwrap_err();
            assert!(error.starts_with("x.toml:2: expected TOML, got: "), "{error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = read(Path::new("/nonexistent/x.toml")).unwrap_err().to_string();
        assert!(
            error.starts_with("/nonexistent/x.toml: expected a readable"),
            "{error}"
        );
        assert!(
            read(Path::new("/dev/zero"))
                .unwrap_err()
                .to_string()
                .contains("at most")
        );
    }
}
