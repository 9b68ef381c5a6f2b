//! `xtcp2 completions SHELL`: made from the tables of flags and commands.

use super::{
    commands::COMMANDS,
    flags::{Flag, Value},
    parse::Shell,
    table::FLAGS,
};

/// The completion script of a shell.
pub fn render(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

/// Forms of `--dest`, for completion only: their parser knows them better.
const DESTINATIONS: &str = "stdout stderr null file: udp: tcp: unix: unixgram: http:// https:// kafka:";

/// The words a value may be. Of a list it is the first one: behind a comma nothing is completed.
fn words(flag: &Flag) -> Option<String> {
    match flag.name {
        "dest" => Some(DESTINATIONS.to_owned()),
        _ => Some(flag.value.words().join(" ")).filter(|words| !words.is_empty()),
    }
}

/// `--debug-level` and `-d`.
fn spellings(flag: &Flag) -> Vec<String> {
    let letters = flag.aliases.iter().filter(|alias| alias.len() == 1);
    letters
        .map(|letter| format!("-{letter}"))
        .chain([format!("--{}", flag.name)])
        .collect()
}

fn bash() -> String {
    let mut cases = String::new();
    for flag in FLAGS.iter().filter(|flag| !matches!(flag.value, Value::None)) {
        let reply = match (words(flag), flag.value) {
            (Some(words), _) => format!("COMPREPLY=($(compgen -W '{words}' -- \"$current\"))"),
            (None, Value::File) => {
                "compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$current\"))".to_owned()
            }
            (None, _) => "COMPREPLY=()".to_owned(),
        };
        cases.push_str(&format!(
            "    {}) {reply}; return ;;\n",
            spellings(flag).join("|")
        ));
    }
    for command in COMMANDS.iter().filter(|command| !command.words.is_empty()) {
        let words = command.words.join(" ");
        cases.push_str(&format!(
            "    {}) COMPREPLY=($(compgen -W '{words}' -- \"$current\")); return ;;\n",
            command.name
        ));
    }
    let flags: Vec<String> = FLAGS.iter().flat_map(spellings).collect();
    let commands: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    let with_files: Vec<&str> = COMMANDS
        .iter()
        .filter(|c| c.takes_files)
        .map(|c| c.name)
        .collect();
    format!(
        r#"# bash completion of xtcp2
_xtcp2() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}"
  local previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  # bash takes --flag=word apart at the equals sign.
  if [[ $current == "=" ]]; then
    current=""
  elif [[ $previous == "=" ]]; then
    previous="${{COMP_WORDS[COMP_CWORD-2]}}"
  fi
  case "$previous" in
{cases}  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W '{flags}' -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
    {files})
      if ((COMP_CWORD > 1)); then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$current"))
        return
      fi ;;
  esac
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W '{commands}' -- "$current"))
  fi
}}
complete -F _xtcp2 xtcp2
"#,
        flags = flags.join(" "),
        files = with_files.join("|"),
        commands = commands.join(" "),
    )
}

fn zsh() -> String {
    let mut specs = String::new();
    for flag in FLAGS {
        let doc = flag
            .doc
            .replace('\'', "'\\''")
            .replace('[', "\\[")
            .replace(']', "\\]");
        let value = match (words(flag), flag.value) {
            (_, Value::None) => String::new(),
            (Some(words), _) => format!(":{}:({})", zsh_name(flag), words.replace(':', "\\:")),
            (None, Value::File) => format!(":{}:_files", zsh_name(flag)),
            (None, _) => format!(":{}: ", zsh_name(flag)),
        };
        for spelling in spellings(flag) {
            let equals = if spelling.starts_with("--") && !value.is_empty() {
                "="
            } else {
                ""
            };
            specs.push_str(&format!("    '{spelling}{equals}[{doc}]{value}' \\\n"));
        }
    }
    let mut commands = String::new();
    let mut cases = String::new();
    for command in COMMANDS {
        commands.push_str(&format!("    '{}:{}'\n", command.name, command.doc));
        if command.takes_files {
            cases.push_str(&format!("        {}) _files ;;\n", command.name));
        } else if !command.words.is_empty() {
            cases.push_str(&format!(
                "        {}) compadd -- {} ;;\n",
                command.name,
                command.words.join(" ")
            ));
        }
    }
    format!(
        r#"#compdef xtcp2
# zsh completion of xtcp2
_xtcp2() {{
  local state line
  local -a commands
  commands=(
{commands}  )
  _arguments \
{specs}    '1:command:->command' \
    '*::argument:->argument'
  case "$state" in
    command) _describe command commands ;;
    argument)
      case "$line[1]" in
{cases}      esac ;;
  esac
}}
if [[ "$funcstack[1]" == _xtcp2 ]]; then
  _xtcp2 "$@"
else
  compdef _xtcp2 xtcp2
fi
"#
    )
}

fn zsh_name(flag: &Flag) -> String {
    flag.value.name().replace(':', "\\:")
}

fn fish() -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    let names = names.join(" ");
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut script = String::from("# fish completion of xtcp2\ncomplete -c xtcp2 -f\n");
    for command in COMMANDS {
        script.push_str(&format!(
            "complete -c xtcp2 -n 'not __fish_seen_subcommand_from {names}' -a {} -d '{}'\n",
            command.name,
            quoted(command.doc)
        ));
        let condition = format!("-n '__fish_seen_subcommand_from {}'", command.name);
        if command.takes_files {
            script.push_str(&format!("complete -c xtcp2 {condition} -F\n"));
        } else if !command.words.is_empty() {
            script.push_str(&format!(
                "complete -c xtcp2 {condition} -a '{}'\n",
                command.words.join(" ")
            ));
        }
    }
    for flag in FLAGS {
        let letters = flag.aliases.iter().filter(|alias| alias.len() == 1);
        let short: String = letters.map(|letter| format!(" -s {letter}")).collect();
        let value = match (words(flag), flag.value) {
            (_, Value::None) => String::new(),
            (Some(words), _) => format!(" -x -a '{words}'"),
            (None, Value::File) => " -r -F".to_owned(),
            (None, _) => " -x".to_owned(),
        };
        script.push_str(&format!(
            "complete -c xtcp2 -l {}{short}{value} -d '{}'\n",
            flag.name,
            quoted(flag.doc)
        ));
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Runs a script; `None` where the shell is not installed.
    fn run(shell: &str, arguments: &[&str], script: &str) -> Option<String> {
        let output = match Command::new(shell).args(arguments).arg(script).output() {
            Ok(output) => output,
            Err(error) => {
                eprintln!("{shell}: {error}: its completions are not checked");
                return None;
            }
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{shell}: {errors}");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    fn bash_completes(words: &[&str]) -> Option<Vec<String>> {
        let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_xtcp2\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            render(Shell::Bash),
            line.join(" "),
            words.len() - 1
        );
        Some(
            run("bash", &["-c"], &script)?
                .lines()
                .map(str::to_owned)
                .collect(),
        )
    }

    #[test]
    fn bash_completes_flags_words_and_commands() {
        if run("bash", &["-n", "-c"], &render(Shell::Bash)).is_none() {
            return;
        }
        for (words, completed) in [
            (&["xtcp2", "--freq"][..], &["--frequency"][..]),
            (
                &["xtcp2", "--envelope-flush-"],
                &["--envelope-flush-rows", "--envelope-flush-bytes"],
            ),
            (
                &["xtcp2", "--marshal", "proto"],
                &["protobufList", "protoJson", "protoText"],
            ),
            (&["xtcp2", "--marshal", "=", "js"], &["jsonl", "json"]),
            (&["xtcp2", "--log-format", "="], &["text", "json"]),
            (&["xtcp2", "s"], &["schema"]),
            (&["xtcp2", "completions", "f"], &["fish"]),
            (&["xtcp2", "replay", "/proc/self/statu"], &["/proc/self/status"]),
            (&["xtcp2", "--config", "/proc/self/statu"], &["/proc/self/status"]),
            (&["xtcp2", "--dest", "un"], &["unix:", "unixgram:"]),
        ] {
            assert_eq!(bash_completes(words).unwrap(), completed, "{words:?}");
        }
    }

    #[test]
    fn zsh_accepts_its_script() {
        run("zsh", &["-f", "-n", "-c"], &render(Shell::Zsh));
        let load = format!(
            "autoload -U compinit; compinit -u -D\n{}\nprint $_comps[xtcp2]",
            render(Shell::Zsh)
        );
        if let Some(registered) = run("zsh", &["-f", "-c"], &load) {
            assert_eq!(registered, "_xtcp2\n");
        }
    }

    #[test]
    fn fish_completes_flags_words_and_commands() {
        let script = render(Shell::Fish);
        for (line, completed) in [
            ("xtcp2 --freq", "--frequency"),
            ("xtcp2 --marshal msg", "msgpack"),
            ("xtcp2 sch", "schema"),
        ] {
            let Some(words) = run(
                "fish",
                &["--no-config", "-c"],
                &format!("{script}\ncomplete -C '{line}'"),
            ) else {
                return;
            };
            assert_eq!(words.split_whitespace().next(), Some(completed), "{words}");
        }
    }

    #[test]
    fn every_flag_is_in_every_script() {
        for flag in FLAGS {
            for (shell, text) in [
                (Shell::Bash, format!("--{}", flag.name)),
                (Shell::Zsh, format!("--{}", flag.name)),
                (Shell::Fish, format!("-l {}", flag.name)),
            ] {
                assert!(render(shell).contains(&text), "{shell:?} {}", flag.name);
            }
        }
    }
}
