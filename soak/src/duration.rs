//! Durations as people write them: `90s`, `1m30s`, `12h`.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A duration in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        let text = String::deserialize(deserializer)?;
        xtcp2::cli::duration::parse(&text)
            .map(Seconds)
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&xtcp2::cli::duration::format(self.0))
    }
}
