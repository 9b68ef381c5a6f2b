//! Reads and prints the values of flags. Each reader takes the same text from the command line,
//! the environment and the configuration file, and says what it expected and what it got.

use super::duration;
use crate::{
    netlink::inet_diag::{ATTRIBUTE_NAMES, Attributes, STATE_NAMES, States},
    output::{HostPort, kafka::Property},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// Longest label, tag, hostname or location in bytes: these are in every row, and 255 is also the
/// longest host name DNS knows.
pub const TEXT_BYTES_MAX: usize = 255;

const BYTE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A whole number within `minimum` and `maximum`.
pub fn number<T>(text: &str, minimum: T, maximum: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(number) if number >= minimum && number <= maximum => Ok(number),
        _ => Err(format!(
            "expected a whole number from {minimum} to {maximum}, got {text:?}"
        )),
    }
}

/// A duration within `minimum` and `maximum`.
pub fn duration(text: &str, minimum: Duration, maximum: Duration) -> Result<Duration, String> {
    let value = duration::parse(text)?;
    if value < minimum || value > maximum {
        return Err(format!(
            "expected a duration from {} to {}, got {text:?}",
            duration::format(minimum),
            duration::format(maximum)
        ));
    }
    Ok(value)
}

/// A number of bytes: plain, or with KiB, MiB or GiB behind it.
pub fn bytes(text: &str, maximum: usize) -> Result<usize, String> {
    let error = || {
        let maximum = show_bytes(maximum);
        format!("expected a number of bytes up to {maximum}, plain or in KiB, MiB or GiB, got {text:?}")
    };
    let (number, unit) = BYTE_UNITS
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number.trim_end(), *unit)))
        .unwrap_or((text, 1));
    let value = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    match value.and_then(|value| usize::try_from(value).ok()) {
        Some(value) if value <= maximum => Ok(value),
        _ => Err(error()),
    }
}

/// Prints a number of bytes in the largest unit that divides it.
pub fn show_bytes(bytes: usize) -> String {
    for (name, unit) in BYTE_UNITS {
        let whole = usize::try_from(unit)
            .ok()
            .filter(|unit| bytes > 0 && bytes.is_multiple_of(*unit));
        if let Some(unit) = whole {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// Adds properties of librdkafka, one a line, to those that are there; one of the same name replaces it.
pub fn add_properties(properties: &mut Vec<Property>, text: &str) -> Result<(), String> {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let property: Property = line.parse()?;
        properties.retain(|earlier| earlier.name != property.name);
        properties.push(property);
    }
    Ok(())
}

/// A path, or nothing.
pub fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// Prints a path, or nothing.
pub fn show_path(path: &Option<PathBuf>) -> String {
    path.as_deref()
        .map_or_else(String::new, |path| path.to_string_lossy().into_owned())
}

/// Text that goes into rows.
pub fn row_text(text: &str) -> Result<String, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!(
            "expected at most {TEXT_BYTES_MAX} bytes, got {}",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("expected text without control characters, got {text:?}"));
    }
    Ok(text.to_owned())
}

/// One of a few words.
pub fn one_of(text: &str, words: &[&str]) -> Result<String, String> {
    match words.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected one of {}, got {text:?}", words.join(" "))),
    }
}

/// Words with commas between them; blank text is an empty list.
pub fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Field names with commas between them.
pub fn columns(text: &str) -> Result<Vec<String>, String> {
    let columns = list(text);
    for (i, column) in columns.iter().enumerate() {
        if !column.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!(
                "expected field names with commas between them, got {column:?}"
            ));
        }
        if columns[..i].contains(column) {
            return Err(format!("expected each field once, got {column:?} twice"));
        }
    }
    Ok(columns)
}

/// Absolute paths with commas between them.
pub fn folders(text: &str) -> Result<Vec<PathBuf>, String> {
    list(text)
        .into_iter()
        .map(|folder| match Path::new(&folder).is_absolute() {
            true => Ok(PathBuf::from(folder)),
            false => Err(format!(
                "expected absolute paths with commas between them, got {folder:?}"
            )),
        })
        .collect()
}

/// Where the admin server listens: `host:port`, `:port` for every address of the host, nothing or
/// `none` for no server. Port 0 lets the kernel choose.
pub fn listen(text: &str) -> Result<String, String> {
    if text.is_empty() || text == "none" {
        return Ok(String::new());
    }
    // `[::]` takes IPv4 as well (unless net.ipv6.bindv6only is set), as the reference's `:9088`.
    let full = if text.starts_with(':') {
        format!("[::]{text}")
    } else {
        text.to_owned()
    };
    match (full.parse::<SocketAddr>(), full.parse::<HostPort>()) {
        (Ok(_), _) | (_, Ok(_)) => Ok(full),
        _ => Err(format!("expected host:port, :port or none, got {text:?}")),
    }
}

/// A path of the admin server for the metrics, which none of its other paths may hide.
pub fn metrics_path(text: &str) -> Result<String, String> {
    let taken = ["/", "/healthz", "/readyz"].contains(&text) || text.starts_with("/debug/");
    let plain = text.starts_with('/')
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#');
    match plain && !taken {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "expected a path such as /metrics, not /, /healthz, /readyz or below /debug/, got {text:?}"
        )),
    }
}

/// A Kafka topic as brokers allow it.
pub fn topic(text: &str) -> Result<String, String> {
    /// A topic is a folder name on the broker, with a partition number behind it.
    const TOPIC_BYTES_MAX: usize = 249;
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let dots = text == "." || text == "..";
    match (1..=TOPIC_BYTES_MAX).contains(&text.len()) && text.bytes().all(legal) && !dots {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "expected 1 to {TOPIC_BYTES_MAX} letters, digits, dots, dashes or underscores, got {text:?}"
        )),
    }
}

/// Names of the log levels.
pub const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A log level by its name.
pub fn log_level(text: &str) -> Result<log::LevelFilter, String> {
    let name = one_of(text, &LOG_LEVELS)?;
    name.parse()
        .map_err(|_| format!("expected a log level, got {text:?}"))
}

/// The log level that stands for a debug level of the reference.
pub fn debug_level(text: &str) -> Result<log::LevelFilter, String> {
    Ok(match number::<u32>(text, 0, u32::MAX)? {
        0..=10 => log::LevelFilter::Info,
        11..=100 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    })
}

/// Prints what [`Attributes`] reads.
pub fn show_attributes(set: Attributes) -> String {
    match set {
        Attributes::DEFAULT => "default".to_owned(),
        Attributes::ALL => "all".to_owned(),
        Attributes::NONE => "none".to_owned(),
        _ => {
            let first = |i: usize, number: u8| ATTRIBUTE_NAMES[..i].iter().all(|(_, other)| *other != number);
            names(
                ATTRIBUTE_NAMES
                    .iter()
                    .enumerate()
                    .filter_map(|(i, (name, number))| {
                        (set.contains(*number) && first(i, *number)).then_some(*name)
                    }),
            )
        }
    }
}

/// Prints what [`States`] reads.
pub fn show_states(set: States) -> String {
    match set {
        States::ALL => "all".to_owned(),
        _ => names(
            STATE_NAMES
                .iter()
                .filter_map(|(name, number)| set.contains(*number).then_some(*name)),
        ),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_units_and_print_back() {
        for (text, bytes_expected) in [
            ("0", 0),
            ("786432", 786_432),
            ("64MiB", 64 << 20),
            ("1 KiB", 1024),
        ] {
            let value = bytes(text, 1 << 30).unwrap();
            assert_eq!(value, bytes_expected);
            assert_eq!(bytes(&show_bytes(value), 1 << 30).unwrap(), value);
        }
        assert_eq!(show_bytes(64 << 20), "64MiB");
        assert_eq!(show_bytes(786_432), "768KiB");
        for text in [
            "",
            "-1",
            "1MB",
            "2GiB",
            "18446744073709551615GiB",
            "MiB",
            "1.5MiB",
        ] {
            assert!(bytes(text, 1 << 30).unwrap_err().contains("got"), "{text}");
        }
    }

    #[test]
    fn listen_takes_the_spellings_of_the_reference() {
        assert_eq!(listen(":9088").unwrap(), "[::]:9088");
        assert_eq!(listen("127.0.0.1:0").unwrap(), "127.0.0.1:0");
        assert_eq!(listen("localhost:9088").unwrap(), "localhost:9088");
        assert_eq!(listen("[::1]:9088").unwrap(), "[::1]:9088");
        assert_eq!(listen("none").unwrap(), "");
        assert_eq!(listen("").unwrap(), "");
        for text in ["9088", "host", ":http", ":70000", "::1:9088"] {
            assert!(listen(text).unwrap_err().contains("host:port"), "{text}");
        }
    }

    #[test]
    fn sets_print_what_they_read() {
        for text in ["default", "all", "none", "info,tclass,bbr", "info"] {
            assert_eq!(show_attributes(text.parse().unwrap()), text);
        }
        assert_eq!(show_attributes("tc".parse().unwrap()), "tclass");
        for text in ["all", "ESTABLISHED,LISTEN"] {
            assert_eq!(show_states(text.parse().unwrap()), text);
        }
    }

    #[test]
    fn text_of_rows_is_bounded_and_plain() {
        assert_eq!(row_text(&"é".repeat(127)).unwrap().len(), 254);
        assert!(
            row_text(&"é".repeat(128))
                .unwrap_err()
                .contains("at most 255 bytes, got 256")
        );
        assert!(row_text("a\nb").unwrap_err().contains("control"));
    }

    #[test]
    fn lists_are_checked() {
        assert_eq!(
            columns(" hostname, tcpInfoRtt,").unwrap(),
            ["hostname", "tcpInfoRtt"]
        );
        assert!(columns("a,b c").unwrap_err().contains("\"b c\""));
        assert!(columns("a,b,a").unwrap_err().contains("twice"));
        assert_eq!(folders("/run/netns").unwrap(), [PathBuf::from("/run/netns")]);
        assert!(folders("").unwrap().is_empty());
        assert!(folders("/run/netns,netns").unwrap_err().contains("\"netns\""));
    }

    #[test]
    fn other_values() {
        assert_eq!(metrics_path("/metrics").unwrap(), "/metrics");
        for text in ["metrics", "/", "/readyz", "/debug/pprof/heap", "/a b", "/a?b", ""] {
            assert!(metrics_path(text).is_err(), "{text}");
        }
        assert_eq!(topic("xtcp.rows-1_a").unwrap(), "xtcp.rows-1_a");
        for text in ["", "a b", "..", &"a".repeat(250)] {
            assert!(topic(text).is_err(), "{text}");
        }
        assert_eq!(debug_level("10").unwrap(), log::LevelFilter::Info);
        assert_eq!(debug_level("11").unwrap(), log::LevelFilter::Debug);
        assert_eq!(debug_level("111").unwrap(), log::LevelFilter::Trace);
        assert!(
            number::<u32>("101", 0, 100)
                .unwrap_err()
                .contains("from 0 to 100")
        );
    }
}
