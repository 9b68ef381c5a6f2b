//! What a flag is. [`super::table::FLAGS`] declares each one once; parsing, help, environment,
//! configuration keys, man page and completions are loops over it.

use super::table::FLAGS;
use crate::config::Config;
use std::borrow::Cow;

/// Puts a value into the settings. Touches nothing else: no file, no clock, no host.
pub type Apply = fn(&mut Config, &str) -> Result<(), String>;

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// `kebab-case`; the camelCase spelling, the environment variable and the configuration key
    /// are made from it.
    pub name: &'static str,
    /// Further spellings; one letter is a short flag.
    pub aliases: &'static [&'static str],
    /// What its value looks like.
    pub value: Value,
    /// One line, without a full stop.
    pub doc: &'static str,
    /// Whole sentences; what the line above leaves out.
    pub long_doc: &'static str,
    /// The heading it is under.
    pub category: Category,
    /// What it does.
    pub action: Action,
}

/// What a flag does.
#[derive(Debug)]
pub enum Action {
    /// Sets something; may also come from the environment or the configuration file.
    Set(Setting),
    /// Another way, on the command line only, to give the setting of that name.
    Also {
        /// Name of the setting.
        of: &'static str,
        /// Reads the value.
        apply: Apply,
    },
    /// Names the configuration file; flag or environment.
    ConfigFile,
    /// Prints something instead of running; takes no value.
    Show(Show),
}

/// A flag that sets something.
#[derive(Debug)]
pub struct Setting {
    /// The value where nothing gives one.
    pub default: &'static str,
    /// What help says of the default where the text above says too little.
    pub default_doc: Option<&'static str>,
    /// The environment variable the reference program has for it.
    pub reference_environment: Option<&'static str>,
    /// Reads a value.
    pub apply: Apply,
    /// Prints the value so that `apply` reads the same one.
    pub get: fn(&Config) -> String,
}

/// What a flag may print instead of running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Show {
    /// `-h`, `--help`
    Help,
    /// `--version`
    Version,
    /// `--print-config`
    Config,
}

/// What a value looks like, for help and completions.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// There is none.
    None,
    /// `10s`
    Duration,
    /// A whole number.
    Count,
    /// `768KiB`
    Bytes,
    /// Any text; its name in help.
    Text(&'static str),
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// Some of these words, with commas between them.
    Words(fn() -> Vec<&'static str>),
    /// Other words with commas between them; their name in help.
    List(&'static str),
    /// `NAME=VALUE`, any number of times; a configuration file has an array of them.
    Pairs,
    /// Path of a file.
    File,
}

impl Value {
    /// Its name in help.
    pub fn name(&self) -> &'static str {
        match self {
            Value::None => "",
            Value::Duration => "DURATION",
            Value::Count => "N",
            Value::Bytes => "BYTES",
            Value::Text(name) | Value::List(name) => name,
            Value::Word(_) => "WORD",
            Value::Words(_) => "WORD,...",
            Value::Pairs => "NAME=VALUE",
            Value::File => "FILE",
        }
    }

    /// The words it may be.
    pub fn words(&self) -> Vec<&'static str> {
        match self {
            Value::Word(words) | Value::Words(words) => words(),
            _ => Vec::new(),
        }
    }

    /// What stands between the words of a list, where a configuration file may give an array.
    pub fn separator(&self) -> Option<char> {
        match self {
            Value::Words(_) | Value::List(_) => Some(','),
            // Values of properties may hold commas.
            Value::Pairs => Some('\n'),
            _ => None,
        }
    }
}

/// Headings of help, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// When and where sockets are read.
    Polling,
    /// What becomes a row.
    Rows,
    /// Where rows go.
    Output,
    /// Metrics, health, profiles.
    Admin,
    /// The rest.
    General,
}

impl Category {
    /// All of them, in help's order.
    pub const ALL: [Category; 5] = [
        Category::Polling,
        Category::Rows,
        Category::Output,
        Category::Admin,
        Category::General,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Category::Polling => "Polling",
            Category::Rows => "Rows",
            Category::Output => "Output",
            Category::Admin => "Admin server",
            Category::General => "General",
        }
    }

    /// Whether `xtcp2 replay` has a use for such flags: it reads files, so it neither polls nor
    /// serves.
    pub fn is_for_replay(self) -> bool {
        !matches!(self, Category::Polling | Category::Admin)
    }
}

impl Flag {
    /// What it sets, if it does.
    pub fn setting(&self) -> Option<&Setting> {
        match &self.action {
            Action::Set(setting) => Some(setting),
            _ => None,
        }
    }

    /// `XTCP2_ENVELOPE_FLUSH_ROWS`, for flags that the environment may give.
    pub fn environment(&self) -> Option<String> {
        match self.action {
            Action::Set(_) | Action::ConfigFile => Some(format!("XTCP2_{}", self.key().to_ascii_uppercase())),
            Action::Also { .. } | Action::Show(_) => None,
        }
    }

    /// `envelope_flush_rows`: its key in a configuration file, if it is a setting.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// `envelopeFlushRows`: how the reference spells it.
    pub fn camel_case(&self) -> Cow<'static, str> {
        if !self.name.contains('-') {
            return Cow::Borrowed(self.name);
        }
        let mut words = self.name.split('-');
        let mut camel = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at(word.len().min(1));
            camel.push_str(&first.to_ascii_uppercase());
            camel.push_str(rest);
        }
        Cow::Owned(camel)
    }

    /// Every spelling, without dashes.
    pub fn spellings(&self) -> Vec<Cow<'static, str>> {
        let mut spellings = vec![Cow::Borrowed(self.name)];
        spellings.extend(self.aliases.iter().map(|alias| Cow::Borrowed(*alias)));
        if self.name.contains('-') {
            spellings.push(self.camel_case());
        }
        spellings
    }

    /// The flag of that spelling.
    pub fn find(spelling: &str) -> Option<&'static Flag> {
        FLAGS
            .iter()
            .find(|flag| flag.spellings().iter().any(|known| known == spelling))
    }

    /// The setting with that key in a configuration file.
    pub fn find_key(key: &str) -> Option<&'static Flag> {
        FLAGS
            .iter()
            .find(|flag| flag.setting().is_some() && flag.key() == key)
    }
}

/// The settings as they are when nothing gives any.
pub fn default_config() -> Config {
    let mut config = Config::blank();
    for flag in FLAGS {
        if let Some(setting) = flag.setting() {
            let applied = (setting.apply)(&mut config, setting.default);
            debug_assert!(applied.is_ok(), "--{}: {applied:?}", flag.name);
        }
    }
    config
}

/// The known word nearest to a misspelt one, when one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = Cow<'a, str>>) -> Option<String> {
    let folded = word.to_ascii_lowercase();
    // A third of the letters: `frequncy` is frequency, `foo` is nothing.
    let distance_max = folded.len() / 3;
    known
        .map(|known| {
            (
                strsim::damerau_levenshtein(&folded, &known.to_ascii_lowercase()),
                known,
            )
        })
        .filter(|(distance, known)| *distance <= distance_max && known.len() > 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.into_owned())
}

/// ` (did you mean "frequency"?)`, or nothing.
pub fn did_you_mean(nearest: Option<String>) -> String {
    nearest.map_or_else(String::new, |word| format!(" (did you mean {word:?}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_distinct(mut names: Vec<String>) {
        names.sort();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1], "twice in the table");
        }
    }

    #[test]
    fn names_are_unique_and_well_formed() {
        all_distinct(
            FLAGS
                .iter()
                .flat_map(|f| f.spellings())
                .map(Cow::into_owned)
                .collect(),
        );
        let ours = FLAGS.iter().filter_map(Flag::environment);
        let theirs = FLAGS
            .iter()
            .filter_map(Flag::setting)
            .filter_map(|s| s.reference_environment);
        all_distinct(ours.chain(theirs.map(str::to_owned)).collect());
        for flag in FLAGS {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(flag.name.chars().all(legal), "{}", flag.name);
        }
    }

    #[test]
    fn every_flag_is_documented() {
        for flag in FLAGS {
            assert!(
                !flag.doc.is_empty() && !flag.doc.ends_with('.'),
                "{}: {}",
                flag.name,
                flag.doc
            );
            assert!(flag.doc.len() <= 64, "{}: one line of help", flag.name);
            assert!(flag.long_doc.ends_with('.'), "{}: {}", flag.name, flag.long_doc);
            assert!(Category::ALL.contains(&flag.category));
        }
    }

    #[test]
    fn every_default_is_a_legal_value_that_prints_back() {
        let config = Config::default();
        for flag in FLAGS {
            let Some(setting) = flag.setting() else { continue };
            let mut again = Config::blank();
            (setting.apply)(&mut again, setting.default).unwrap_or_else(|e| panic!("{}: {e}", flag.name));
            assert_eq!((setting.get)(&again), (setting.get)(&config), "{}", flag.name);
            (setting.apply)(&mut again, &(setting.get)(&config)).unwrap();
            assert_eq!((setting.get)(&again), (setting.get)(&config), "{}", flag.name);
            assert_eq!(
                (setting.get)(&config),
                setting.default,
                "{}: the default is spelt otherwise",
                flag.name
            );
        }
    }

    #[test]
    fn other_ways_to_give_a_setting_name_one() {
        for flag in FLAGS {
            if let Action::Also { of, .. } = flag.action {
                assert!(Flag::find(of).is_some_and(|f| f.setting().is_some()), "{of}");
            }
        }
    }

    #[test]
    fn the_doc_of_dest_is_what_its_parser_takes() {
        let dest = Flag::find("dest").unwrap();
        assert_eq!(
            dest.long_doc,
            format!("One of {}.", crate::output::DESTINATION_EXPECTED)
        );
    }

    #[test]
    fn words_are_taken() {
        for flag in FLAGS {
            let Some(setting) = flag.setting() else { continue };
            for word in flag.value.words() {
                let mut config = Config::default();
                (setting.apply)(&mut config, word).unwrap();
                if matches!(flag.value, Value::Word(_)) {
                    assert_eq!((setting.get)(&config), word);
                }
            }
        }
    }

    #[test]
    fn each_spelling_of_the_reference_is_its_kebab_case() {
        for (camel, kebab) in [
            ("frequency", "frequency"),
            ("dest", "dest"),
            ("marshal", "marshal"),
            ("topic", "topic"),
            ("promListen", "prom-listen"),
            ("promPath", "prom-path"),
            ("deserializers", "deserializers"),
            ("timeout", "timeout"),
            ("maxLoops", "max-loops"),
            ("envelopeFlushRows", "envelope-flush-rows"),
            ("envelopeFlushBytes", "envelope-flush-bytes"),
            ("pollJitterPct", "poll-jitter-pct"),
            ("kafkaCompression", "kafka-compression"),
            ("columns", "columns"),
            ("label", "label"),
            ("tag", "tag"),
            ("hostname", "hostname"),
            ("location", "location"),
            ("d", "debug-level"),
            ("v", "version"),
            ("conf", "print-config"),
        ] {
            assert_eq!(Flag::find(camel).map(|flag| flag.name), Some(kebab));
            assert_eq!(Flag::find(kebab).map(|flag| flag.name), Some(kebab));
        }
    }

    #[test]
    fn a_near_miss_is_recognised() {
        let near = |word| nearest(word, FLAGS.iter().flat_map(Flag::spellings));
        assert_eq!(near("frequncy").as_deref(), Some("frequency"));
        assert_eq!(near("Marshal").as_deref(), Some("marshal"));
        assert_eq!(near("envelopeFlushRow").as_deref(), Some("envelopeFlushRows"));
        assert_eq!(near("envelope-flush-row").as_deref(), Some("envelope-flush-rows"));
        assert_eq!(near("colour"), None);
    }
}
