//! `--print-config`: the settings in effect, as a configuration file.

use super::{error::Source, flags::Value, settings::Settings, table::FLAGS};
use toml::Value as Toml;

/// A configuration file that says what `settings` say, each line with where it came from.
pub fn render(settings: &Settings) -> String {
    let mut text = String::from("# xtcp2: the settings in effect, and where each came from.\n");
    for flag in FLAGS {
        let Some(setting) = flag.setting() else { continue };
        let value = (setting.get)(&settings.config);
        let toml = match flag.value {
            Value::List(_) | Value::Pairs => {
                let separator = flag.value.separator().unwrap_or(',');
                let words = value.split(separator).filter(|word| !word.is_empty());
                Toml::Array(words.map(|word| Toml::String(word.to_owned())).collect())
            }
            Value::Count => value.parse().map_or_else(|_| Toml::String(value), Toml::Integer),
            _ => Toml::String(value),
        };
        let source = settings.source(flag.name);
        let note = match (source, setting.default_doc) {
            (Source::Default, Some(doc)) => format!("default: {doc}"),
            _ => source.to_string(),
        };
        text.push_str(&format!("{} = {toml} # {note}\n", flag.key()));
    }
    text
}
