//! Settings from environment variables: `XTCP2_FREQUENCY`, and behind them the names that the
//! reference program has.

use super::{
    error::{Error, Source, one_line},
    flags::{Flag, did_you_mean, nearest},
    table::FLAGS,
};
use std::{borrow::Cow, collections::BTreeMap, ffi::OsString};

const PREFIX: &str = "XTCP2_";

/// The variables that are ours or the reference's, without the empty ones: an empty variable is
/// an unset one, as in unit files that always set each.
#[derive(Debug)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Keeps what matters of an environment.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let known = |name: &str| {
            let mut settings = FLAGS.iter().filter_map(Flag::setting);
            name.starts_with(PREFIX) || settings.any(|s| s.reference_environment == Some(name))
        };
        let variables = variables.into_iter().filter(|(_, value)| !value.is_empty());
        Environment(
            variables
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .filter(|(name, _)| known(name))
                .collect(),
        )
    }

    /// The value of a variable, if it is set.
    pub fn get(&self, name: &str) -> Result<Option<&str>, Error> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        value.to_str().map(Some).ok_or_else(|| Error::Wrong {
            source: Source::Environment(name.to_owned()),
            problem: format!("expected UTF-8, got {value:?}"),
        })
    }

    /// A line for each `XTCP2_*` variable that sets nothing. A warning, not an error: whoever
    /// shares the environment may have uses of their own for the prefix.
    pub fn unknown(&self) -> Vec<String> {
        let names = || FLAGS.iter().filter_map(Flag::environment);
        self.0
            .keys()
            .filter(|name| name.starts_with(PREFIX) && !names().any(|known| known == **name))
            .map(|name| {
                let hint = did_you_mean(nearest(name, names().map(Cow::Owned)));
                format!("environment {}: sets nothing{hint}", one_line(name))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn of(variables: &[(&str, &str)]) -> Environment {
        Environment::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn only_names_that_mean_something_are_kept_and_empty_is_unset() {
        let environment = of(&[
            ("XTCP2_LABEL", "a"),
            ("LABEL", ""),
            ("PATH", "/bin"),
            ("DEST", "null"),
        ]);
        assert_eq!(environment.get("XTCP2_LABEL").unwrap(), Some("a"));
        assert_eq!(environment.get("LABEL").unwrap(), None);
        assert_eq!(environment.get("PATH").unwrap(), None);
        assert_eq!(environment.get("DEST").unwrap(), Some("null"));
    }

    #[test]
    fn a_misspelt_name_is_pointed_out() {
        let unknown = of(&[("XTCP2_FREQUENY", "1s"), ("XTCP2_CONFIG", "x"), ("TOPIC", "y")]).unknown();
        assert_eq!(
            unknown,
            ["environment XTCP2_FREQUENY: sets nothing (did you mean \"XTCP2_FREQUENCY\"?)"]
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_an_error() {
        let environment = Environment::new([("XTCP2_LABEL".into(), OsString::from_vec(vec![0xff]))]);
        let error = environment.get("XTCP2_LABEL").unwrap_err().to_string();
        assert_eq!(error, "environment XTCP2_LABEL: expected UTF-8, got \"\\xFF\"");
    }
}
