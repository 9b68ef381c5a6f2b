//! What two configurations differ in, by the names of the flag table.

use super::{
    flags::{Flag, Setting},
    table::FLAGS,
};
use crate::config::Config;

fn settings() -> impl Iterator<Item = (&'static Flag, &'static Setting)> {
    FLAGS.iter().filter_map(|flag| Some((flag, flag.setting()?)))
}

/// Whether a setting has that name.
pub fn is_setting(name: &str) -> bool {
    settings().any(|(flag, _)| flag.name == name)
}

/// Names of the settings that are not the same, in the order of help.
pub fn changed_settings(old: &Config, new: &Config) -> Vec<&'static str> {
    settings()
        .filter(|(_, setting)| (setting.get)(old) != (setting.get)(new))
        .map(|(flag, _)| flag.name)
        .collect()
}

/// Copies the settings of those names.
pub fn copy_settings(names: &[&str], from: &Config, to: &mut Config) {
    for (flag, setting) in settings().filter(|(flag, _)| names.contains(&flag.name)) {
        let applied = (setting.apply)(to, &(setting.get)(from));
        debug_assert!(applied.is_ok(), "--{}: {applied:?}", flag.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_told_apart_and_copied() {
        let (old, mut new) = (Config::default(), Config::default());
        assert_eq!(changed_settings(&old, &new), Vec::<&str>::new());
        new.label = "b".to_owned();
        new.record = Some("/a".into());
        new.prom_listen = String::new();
        assert_eq!(changed_settings(&old, &new), ["record", "label", "prom-listen"]);
        copy_settings(&["record", "prom-listen"], &old, &mut new);
        assert_eq!(changed_settings(&old, &new), ["label"]);
        let mut all = Config::default();
        copy_settings(&changed_settings(&all, &new), &new, &mut all);
        assert_eq!(changed_settings(&all, &new), Vec::<&str>::new());
    }

    #[test]
    fn no_server_and_no_recording_are_copied_too() {
        let (none, mut some) = (
            Config {
                prom_listen: String::new(),
                ..Config::default()
            },
            Config::default(),
        );
        some.record = Some("/a".into());
        copy_settings(&["record", "prom-listen"], &none, &mut some);
        assert_eq!(changed_settings(&none, &some), Vec::<&str>::new());
    }
}
