//! Takes a line of `ss -O` apart.

use std::collections::BTreeMap;

/// What a line says, by the words of `ss`. Its columns are `state`, `recv-q`, `send-q`, `local`
/// and `peer`; a flag has an empty value. Nothing is left out: a word that is new to this parser
/// ends up under a key that nobody expects.
pub type Line = BTreeMap<String, String>;

const COLUMNS: [&str; 5] = ["state", "recv-q", "send-q", "local", "peer"];
const FLAGS: [&str; 9] = [
    "ts",
    "usec_ts",
    "sack",
    "ecn",
    "ecnseen",
    "fastopen",
    "app_limited",
    "zc_ro_tx",
    "no_pad_rx",
];
/// Words whose value is the next word.
const PAIRS: [&str; 7] = [
    "send",
    "pacing_rate",
    "delivery_rate",
    "version:",
    "cipher:",
    "rxconf:",
    "txconf:",
];

/// Takes a line apart; the error is what could not be.
pub fn parse(text: &str) -> Result<Line, String> {
    let mut line = Line::new();
    let mut words = text.split_whitespace();
    for column in COLUMNS {
        let word = words.next().ok_or(format!("no column {column}"))?;
        line.insert(column.to_owned(), word.to_owned());
    }
    while let Some(word) = words.next() {
        let (key, value) = if FLAGS.contains(&word) {
            (word, String::new())
        } else if PAIRS.contains(&word) {
            let value = words.next().ok_or(format!("nothing behind {word}"))?;
            (word.trim_end_matches(':'), value.to_owned())
        } else if word == "inet-sockopt:" {
            let mut options = Vec::new();
            loop {
                let option = words.next().ok_or("no end of inet-sockopt")?;
                options.push(option.trim_matches(['(', ')']));
                if option.ends_with(')') {
                    break;
                }
            }
            options.retain(|option| !option.is_empty());
            ("inet-sockopt", options.join(" "))
        } else if matches!(word, "<->" | "<--" | "-->" | "---") {
            ("shutdown", word.to_owned())
        } else if let Some(name) = word.strip_prefix("tcp-ulp-") {
            ("tcp-ulp", name.to_owned())
        } else if let Some(keys) = word.strip_prefix("md5keys:") {
            // Rows hold no secrets: only the number of keys can be compared.
            ("md5keys", format!("{} keys", keys.split(',').count()))
        } else if let Some((key, value)) = word.split_once(':') {
            (key, value.to_owned())
        } else {
            // The only value without a name in front.
            ("cong", word.to_owned())
        };
        if line.insert(key.to_owned(), value).is_some() {
            return Err(format!("{key} came twice"));
        }
    }
    Ok(line)
}
