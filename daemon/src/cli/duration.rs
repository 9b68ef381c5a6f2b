//! Durations as text: `10s`, `500ms`, `1m30s`, `1.5h`. The same spellings as Go's flags, which the
//! command lines of the reference program use.

use std::time::Duration;

/// Units, largest first, and their length in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// Longest duration taken: what Go's 64-bit nanoseconds can hold, about 292 years.
const NANOSECONDS_MAX: u128 = i64::MAX as u128;

/// Digits behind the point that can matter: an hour has 3.6e12 nanoseconds.
const FRACTION_DIGITS_MAX: usize = 13;

/// Reads a duration; the error says what was expected and what came.
pub fn parse(text: &str) -> Result<Duration, String> {
    let error = |why: &str| format!("expected a duration such as 10s, 500ms or 1m30s{why}, got {text:?}");
    if text.starts_with('-') {
        return Err(error(" that is not negative"));
    }
    if text.is_empty() {
        return Err(error(""));
    }
    let mut rest = text;
    let mut nanoseconds: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        if number.is_empty() {
            return Err(error(""));
        }
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if unit.is_empty() {
            return Err(error(" with a unit (h m s ms us ns)"));
        }
        let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(error(" with a unit of h m s ms us ns"));
        };
        let part = scaled(number, *unit).ok_or_else(|| error(""))?;
        nanoseconds = nanoseconds.saturating_add(part);
        rest = tail;
    }
    match u64::try_from(nanoseconds) {
        Ok(total) if nanoseconds <= NANOSECONDS_MAX => Ok(Duration::from_nanos(total)),
        _ => Err(error(" of at most 292 years")),
    }
}

/// `number`, digits with at most one point, times `unit`; saturates. Integers all the way: a float
/// would turn 1.1s into 1.100000000000000088s.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| {
        text.bytes().fold(0u128, |n, digit| {
            n.saturating_mul(10).saturating_add(u128::from(digit - b'0'))
        })
    };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let divisor = fraction.bytes().fold(1u128, |n, _| n * 10);
    let below_one = digits(fraction) * unit / divisor;
    Some(digits(whole).saturating_mul(unit).saturating_add(below_one))
}

/// Prints a duration so that [`parse`] reads the same one: `1m30s`, `1s500ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, unit) in UNITS.iter().filter(|(name, _)| name.is_ascii()) {
        if left >= *unit {
            text.push_str(&format!("{}{name}", left / unit));
            left %= unit;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_go_are_read_and_print_back() {
        for (text, nanoseconds, printed) in [
            ("10s", 10_000_000_000, "10s"),
            ("500ms", 500_000_000, "500ms"),
            ("1m30s", 90_000_000_000, "1m30s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1h0m0s", 3_600_000_000_000, "1h"),
            ("250us", 250_000, "250us"),
            ("250µs", 250_000, "250us"),
            ("1.5s", 1_500_000_000, "1s500ms"),
            (".5h", 1_800_000_000_000, "30m"),
            ("1.1s", 1_100_000_000, "1s100ms"),
            ("0.00000000000000000000001h", 0, "0s"),
            ("0s", 0, "0s"),
            ("1ns", 1, "1ns"),
        ] {
            let duration = parse(text).unwrap();
            assert_eq!(duration, Duration::from_nanos(nanoseconds), "{text}");
            assert_eq!(format(duration), printed);
            assert_eq!(parse(printed).unwrap(), duration);
        }
        assert_eq!(
            parse("9223372036854775807ns").unwrap().as_nanos(),
            NANOSECONDS_MAX
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, hint) in [
            ("", "such as 10s"),
            ("10", "with a unit"),
            ("1m30", "with a unit"),
            ("0", "with a unit"),
            ("10 s", "with a unit of"),
            ("10sec", "with a unit of"),
            ("10d", "with a unit of"),
            ("s", "such as"),
            (".s", "such as"),
            ("1.2.3s", "such as"),
            ("-5s", "not negative"),
            ("10000000h", "292 years"),
            ("9223372036854775808ns", "292 years"),
            ("99999999999999999999999999999999999999999999h", "292 years"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains(hint) && error.contains(&format!("got {text:?}")),
                "{text}: {error}"
            );
        }
    }
}
