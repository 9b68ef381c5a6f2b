//! Splits a command line into flags with their values and words, in Go's syntax and the usual
//! one: `-maxLoops 1`, `-maxLoops=1`, `--maxLoops 1`, `--max-loops=1`. No flag has short ones
//! that cluster, so one dash and two mean the same.

use super::{
    error::{Error, Source},
    flags::{Action, Flag, Show, did_you_mean, nearest},
    reference::{self, Answer, REFERENCE_FLAGS, ReferenceFlag},
    table::FLAGS,
};
use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// A flag on the command line and its value.
#[derive(Debug)]
pub struct Given {
    /// The flag.
    pub flag: &'static Flag,
    /// As it was spelt, dashes included.
    pub spelling: String,
    /// The value.
    pub value: String,
}

/// A command line taken apart.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Flags with a value, in their order.
    pub given: Vec<Given>,
    /// Flags that print something, and whether the short form was asked for.
    pub show: Vec<Show>,
    /// Whether help was asked for as `-h`.
    pub short_help: bool,
    /// What is not a flag: the command and what follows it.
    pub words: Vec<OsString>,
    /// Flags of the reference that nothing needs to be done for, as spelt.
    pub not_needed: Vec<String>,
    /// The first thing that was wrong. Kept, not returned: `--help` answers a wrong command line.
    pub error: Option<Error>,
}

/// What a spelling on the command line stands for.
enum Known {
    Ours(&'static Flag),
    Reference(&'static ReferenceFlag),
}

impl Known {
    fn find(name: &str) -> Option<Known> {
        Flag::find(name)
            .map(Known::Ours)
            .or_else(|| reference::find(name).map(Known::Reference))
    }

    fn takes_value(&self) -> bool {
        match self {
            Known::Ours(flag) => !matches!(flag.action, Action::Show(_)),
            Known::Reference(flag) => !flag.is_switch,
        }
    }
}

/// Takes a command line apart; the program's own name is not part of it.
pub fn split(arguments: impl IntoIterator<Item = OsString>) -> Arguments {
    let (normal, mut spellings) = two_dashes(arguments);
    let mut split = Arguments::default();
    let mut parser = lexopt::Parser::from_args(normal);
    loop {
        let name = match parser.next() {
            Ok(Some(lexopt::Arg::Long(name))) => name.to_owned(),
            Ok(Some(lexopt::Arg::Value(word))) => {
                split.words.push(word);
                continue;
            }
            // Not reached: there are no short flags behind `two_dashes`.
            Ok(Some(lexopt::Arg::Short(_))) => continue,
            Ok(None) => return split,
            Err(error) => {
                split.error.get_or_insert(Error::Arguments(error.to_string()));
                continue;
            }
        };
        let spelling = spellings.next().unwrap_or_default();
        if let Err(error) = split.flag(&name, &spelling, &mut parser) {
            split.error.get_or_insert(error);
        }
    }
}

impl Arguments {
    fn flag(&mut self, name: &str, spelling: &str, parser: &mut lexopt::Parser) -> Result<(), Error> {
        let wrong = |problem: String| Error::Wrong {
            source: Source::Flag(spelling.to_owned()),
            problem,
        };
        let Some(known) = Known::find(name) else {
            // A value behind `=` belongs to the unknown flag, not to the next one.
            parser.optional_value();
            let ours = FLAGS.iter().flat_map(Flag::spellings);
            let theirs = REFERENCE_FLAGS.iter().map(|flag| Cow::Borrowed(flag.name));
            let hint = did_you_mean(nearest(name, ours.chain(theirs)));
            return Err(wrong(format!("no such flag{hint}")));
        };
        let value = match known.takes_value() {
            true => Some(
                parser
                    .value()
                    .map_err(|_| wrong("expected a value behind it, got none".to_owned()))?,
            ),
            false => parser.optional_value(),
        };
        let value = match value.map(OsString::into_string) {
            None => None,
            Some(Ok(value)) => Some(value),
            Some(Err(value)) => return Err(wrong(format!("expected UTF-8, got {value:?}"))),
        };
        match known {
            Known::Ours(
                flag @ Flag {
                    action: Action::Show(show),
                    ..
                },
            ) => {
                let on = value.as_deref().map_or(Some(true), go_boolean);
                match on {
                    Some(true) => {
                        self.short_help |= flag.name != name && *show == Show::Help;
                        self.show.push(*show);
                    }
                    Some(false) => {}
                    None => return Err(wrong(format!("expected no value, true or false, got {value:?}"))),
                }
            }
            Known::Ours(flag) => self.given.push(Given {
                flag,
                spelling: spelling.to_owned(),
                value: value.unwrap_or_default(),
            }),
            Known::Reference(flag) => match flag.answer {
                Answer::NotNeeded => self.not_needed.push(spelling.to_owned()),
                Answer::Unsupported(instead) => {
                    let instead = if instead.is_empty() {
                        String::new()
                    } else {
                        format!(": {instead}")
                    };
                    return Err(wrong(format!(
                        "this flag of the reference program is not supported{instead}"
                    )));
                }
            },
        }
        Ok(())
    }
}

/// The values Go's boolean flags take.
fn go_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Puts two dashes in front of each flag, and hands back how each was spelt. A value is left as it
/// is, whatever it begins with: `-label -x` labels rows `-x`.
fn two_dashes(
    arguments: impl IntoIterator<Item = OsString>,
) -> (Vec<OsString>, impl Iterator<Item = String>) {
    let mut normal = Vec::new();
    let mut spellings = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            normal.push(argument);
            normal.extend(arguments.by_ref());
            break;
        }
        let Some(body) = bytes.strip_prefix(b"-").filter(|body| !body.is_empty()) else {
            normal.push(argument);
            continue;
        };
        let body = body.strip_prefix(b"-").unwrap_or(body);
        let name_bytes = body.iter().position(|b| *b == b'=').unwrap_or(body.len());
        let name = String::from_utf8_lossy(&body[..name_bytes]);
        let has_value = name_bytes < body.len();
        let takes_next = !has_value && Known::find(&name).is_some_and(|known| known.takes_value());
        let dashes = bytes.len() - body.len();
        spellings.push(
            OsStr::from_bytes(&bytes[..dashes + name_bytes])
                .to_string_lossy()
                .into_owned(),
        );
        normal.push(OsString::from_vec([b"--", body].concat()));
        if takes_next {
            normal.extend(arguments.next());
        }
    }
    (normal, spellings.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Arguments {
        split(line.split_whitespace().map(OsString::from))
    }

    fn given(line: &str) -> Vec<(&'static str, String, String)> {
        let arguments = of(line);
        assert_eq!(arguments.error, None, "{line}");
        arguments
            .given
            .into_iter()
            .map(|g| (g.flag.name, g.spelling, g.value))
            .collect()
    }

    #[test]
    fn one_dash_or_two_camel_or_kebab_equals_or_blank() {
        for (line, spelling) in [
            ("-maxLoops 1", "-maxLoops"),
            ("-maxLoops=1", "-maxLoops"),
            ("--maxLoops 1", "--maxLoops"),
            ("--max-loops=1", "--max-loops"),
            ("-max-loops 1", "-max-loops"),
        ] {
            assert_eq!(
                given(line),
                [("max-loops", spelling.to_owned(), "1".to_owned())],
                "{line}"
            );
        }
        assert_eq!(given("-d 1")[0], ("debug-level", "-d".to_owned(), "1".to_owned()));
        assert_eq!(given("--d=1")[0].2, "1");
    }

    #[test]
    fn a_value_may_begin_with_a_dash_or_hold_an_equals_sign() {
        assert_eq!(
            given("-label -x -tag --help"),
            [
                ("label", "-label".to_owned(), "-x".to_owned()),
                ("tag", "-tag".to_owned(), "--help".to_owned()),
            ]
        );
        assert_eq!(given("-label=-a=b")[0].2, "-a=b");
        assert_eq!(given("-label --")[0].2, "--");
        assert_eq!(given("-label=")[0].2, "");
    }

    #[test]
    fn words_are_kept_apart() {
        let arguments = of("replay -label x a.pcap - -- -b.pcap --help");
        assert_eq!(arguments.words, ["replay", "a.pcap", "-", "-b.pcap", "--help"]);
        assert!(arguments.show.is_empty());
    }

    #[test]
    fn switches_take_a_value_only_behind_an_equals_sign() {
        let arguments = of("-h -v --conf -help=true replay");
        assert_eq!(
            arguments.show,
            [Show::Help, Show::Version, Show::Config, Show::Help]
        );
        assert!(arguments.short_help);
        assert_eq!(arguments.words, ["replay"]);
        assert!(of("-v=false --help=0").show.is_empty());
        assert!(of("-v=maybe").error.unwrap().to_string().contains("maybe"));
        assert!(!of("--help").short_help);
    }

    #[test]
    fn flags_for_threads_are_taken() {
        let arguments = of("-netlinkers 4 -ioUring -packetSize=0 -ioUring=true --goMaxProcs 4 replay");
        assert_eq!(arguments.error, None);
        assert_eq!(
            arguments.not_needed,
            [
                "-netlinkers",
                "-ioUring",
                "-packetSize",
                "-ioUring",
                "--goMaxProcs"
            ]
        );
        assert_eq!(arguments.words, ["replay"]);
    }

    #[test]
    fn what_is_wrong_is_named_as_it_was_spelt() {
        for (line, error) in [
            (
                "-frequncy 10s",
                "flag -frequncy: no such flag (did you mean \"frequency\"?)",
            ),
            (
                "-frequency",
                "flag -frequency: expected a value behind it, got none",
            ),
            (
                "-netlinkers",
                "flag -netlinkers: expected a value behind it, got none",
            ),
            (
                "--capturePath=/tmp",
                "flag --capturePath: this flag of the reference program is not supported: use --record FILE",
            ),
            ("---x", "flag ---x: no such flag"),
            ("-d1", "flag -d1: no such flag"),
        ] {
            assert_eq!(of(line).error.unwrap().to_string(), error);
        }
        let invalid = split([OsString::from("-label"), OsString::from_vec(vec![0xff])]);
        assert!(invalid.error.unwrap().to_string().contains("UTF-8"));
        let invalid = split([OsString::from_vec(b"-\xff\n=x".to_vec()), OsString::from("-v")]);
        assert!(!invalid.error.unwrap().to_string().contains('\n'));
        assert_eq!(invalid.show, [Show::Version]);
    }
}
