//! `-h` and `--help`, at most 80 columns wide.

use super::{
    commands::COMMANDS,
    flags::{Category, Flag},
    parse::Help,
    table::FLAGS,
};

const COLUMNS: usize = 80;
/// Where the text of `-h` begins.
const LEFT: usize = 30;
/// Where the text of `--help` begins.
const INDENT: usize = 10;

/// The text of help.
pub fn render(help: Help) -> String {
    let mut text = String::from(
        "xtcp2: every TCP socket of every network namespace of this host, one row each.\n\n\
         Usage: xtcp2 [COMMAND] [FLAG...]\n\nCommands:\n",
    );
    for command in COMMANDS {
        let call = format!("{} {}", command.name, command.arguments);
        left_column(&mut text, call.trim_end());
        wrap(&mut text, command.doc, LEFT, LEFT);
    }
    for category in Category::ALL {
        text.push_str(&format!("\n{}:\n", category.title()));
        for flag in FLAGS.iter().filter(|flag| flag.category == category) {
            match help {
                Help::Short => short(&mut text, flag),
                Help::Long => long(&mut text, flag),
            }
        }
    }
    text.push_str(match help {
        Help::Short => "\n--help says more of each, \"xtcp2 man\" everything.\n",
        Help::Long => {
            "\n\
             A flag comes before the environment, the environment before the configuration\n\
             file, the file before the default. Durations are written 10s, 500ms, 1m30s.\n\
             Spellings of the reference program work: -maxLoops 1 is --max-loops 1.\n\
             A configuration that cannot be used ends with status 78.\n"
        }
    });
    text
}

/// `--frequency DURATION`, with short spellings in front.
pub fn synopsis(flag: &Flag) -> String {
    let mut text = String::new();
    for letter in flag.aliases.iter().filter(|alias| alias.len() == 1) {
        text.push_str(&format!("-{letter}, "));
    }
    text.push_str(&format!("--{}", flag.name));
    if !flag.value.name().is_empty() {
        text.push_str(&format!(" {}", flag.value.name()));
    }
    text
}

/// What help says of a flag's default; nothing where there is nothing to say.
pub fn default_text(flag: &Flag) -> Option<&'static str> {
    let setting = flag.setting()?;
    setting
        .default_doc
        .or((!setting.default.is_empty()).then_some(setting.default))
}

fn short(text: &mut String, flag: &Flag) {
    let default = default_text(flag).map_or_else(String::new, |default| format!(" [{default}]"));
    left_column(text, &synopsis(flag));
    wrap(text, &format!("{}{default}", flag.doc), LEFT, LEFT);
}

/// Appends a flag or command and blanks up to [`LEFT`]; where it leaves no room, on a line of its
/// own.
fn left_column(text: &mut String, what: &str) {
    match what.len() + 3 <= LEFT {
        true => text.push_str(&format!("  {what:<width$}", width = LEFT - 2)),
        false => text.push_str(&format!("  {what}\n{:LEFT$}", "")),
    }
}

fn long(text: &mut String, flag: &Flag) {
    text.push_str(&format!("  {}\n", synopsis(flag)));
    wrap(text, &format!("{}. {}", flag.doc, flag.long_doc), 0, INDENT);
    let words = flag.value.words();
    if !words.is_empty() {
        wrap(text, &format!("Words: {}.", words.join(" ")), 0, INDENT);
    }
    let mut origin = Vec::new();
    if let Some(default) = default_text(flag) {
        origin.push(format!("[default: {default}]"));
    }
    if let Some(name) = flag.environment() {
        origin.push(format!("[environment: {name}]"));
    }
    if !origin.is_empty() {
        wrap(text, &origin.join(" "), 0, INDENT);
    }
}

/// Appends words, breaking lines at the last column; `column` is where the text is now.
fn wrap(text: &mut String, words: &str, column: usize, indent: usize) {
    let mut column = column;
    for word in words.split_whitespace() {
        if column + 1 + word.len() > COLUMNS && column > indent {
            text.push('\n');
            column = 0;
        }
        if column < indent {
            text.push_str(&" ".repeat(indent - column));
            column = indent;
        } else if column > indent {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_helps_fit_and_name_every_flag() {
        for help in [Help::Short, Help::Long] {
            let text = render(help);
            for line in text.lines() {
                assert!(line.chars().count() <= COLUMNS, "{line}");
                assert_eq!(line.trim_end(), line, "blanks at the end");
            }
            for flag in FLAGS {
                assert!(text.contains(&format!("--{}", flag.name)), "{}", flag.name);
            }
            for command in COMMANDS {
                assert!(
                    text.contains(&format!("\n  {}", command.name)),
                    "{}",
                    command.name
                );
            }
        }
    }

    #[test]
    fn short_help() {
        insta::assert_snapshot!(render(Help::Short));
    }

    #[test]
    fn long_help() {
        insta::assert_snapshot!(render(Help::Long));
    }
}
