//! What may differ between two looks at the same socket: values that the kernel computes from
//! its clock. Everything else is equal or wrong.

use super::output::Line;

/// Longest jiffy, that of a kernel with HZ=100: ages and timers are kept in jiffies.
const JIFFY_MS: u64 = 10;

/// Ages and durations that grow with time, and the width of a step in which `ss` prints them.
const GROWING: [&str; 6] = [
    "lastsnd",
    "lastrcv",
    "lastack",
    "busy",
    "rwnd_limited",
    "sndbuf_limited",
];

/// The words on which the two lines differ by more than `elapsed_ms` explains; our look came
/// first.
pub fn differences(ours: &Line, theirs: &Line, elapsed_ms: Option<u64>) -> Vec<String> {
    let keys = ours
        .keys()
        .chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
    keys.filter_map(|key| {
        let (ours, theirs) = (ours.get(key), theirs.get(key));
        let agree = ours == theirs
            || elapsed_ms.is_some_and(|elapsed_ms| {
                let ours = ours.map_or("", String::as_str);
                let theirs = theirs.map_or("", String::as_str);
                match key.as_str() {
                    "timer" => timers_agree(ours, theirs, elapsed_ms),
                    key if GROWING.contains(&key) => grew(ours, theirs, elapsed_ms),
                    _ => false,
                }
            });
        (!agree).then(|| format!("{key}: ours {ours:?}, ss {theirs:?}"))
    })
    .collect()
}

/// `5`, `1203ms`, `1203ms(50.2%)`; nothing is 0, which `ss` leaves out. The share follows from two
/// durations; that it is right is seen where both look at the same bytes.
fn grew(ours: &str, theirs: &str, elapsed_ms: u64) -> bool {
    let number = |text: &str| -> Option<u64> {
        match text.split("ms").next() {
            None | Some("") => Some(0),
            Some(number) => number.parse().ok(),
        }
    };
    match (number(ours), number(theirs)) {
        (Some(ours), Some(theirs)) => ours <= theirs + JIFFY_MS && theirs <= ours + elapsed_ms + 2 * JIFFY_MS,
        _ => false,
    }
}

/// `(on,1.234ms,2)`: the same timer and count, and as much time left as can have passed.
fn timers_agree(ours: &str, theirs: &str, elapsed_ms: u64) -> bool {
    let parts = |text: &str| -> Option<(String, u64, u64, String)> {
        let mut parts = text.strip_prefix('(')?.strip_suffix(')')?.split(',');
        let name = parts.next()?.to_owned();
        let (left_ms, step_ms) = time_left(parts.next()?)?;
        Some((name, left_ms, step_ms, parts.next()?.to_owned()))
    };
    let (Some(ours), Some(theirs)) = (parts(ours), parts(theirs)) else {
        return false;
    };
    let step_ms = ours.2.max(theirs.2);
    (&ours.0, &ours.3) == (&theirs.0, &theirs.3)
        && theirs.1 <= ours.1 + JIFFY_MS + step_ms
        && ours.1 <= theirs.1 + elapsed_ms + JIFFY_MS + step_ms
}

/// Time as `ss` prints it (`2min3sec`, `59sec`, `1.234ms`, `040ms`, nothing), in milliseconds, and
/// how much it may have left out.
fn time_left(text: &str) -> Option<(u64, u64)> {
    let (minutes, rest) = match text.split_once("min") {
        Some((minutes, rest)) => (Some(minutes.parse::<u64>().ok()?), rest),
        None => (None, text),
    };
    let (seconds, milliseconds) = if let Some(seconds) = rest.strip_suffix("sec") {
        (seconds.parse().ok()?, 0)
    } else if let Some(rest) = rest.strip_suffix("ms") {
        match rest.split_once('.') {
            Some((seconds, milliseconds)) => (seconds.parse().ok()?, milliseconds.parse().ok()?),
            None => (0, rest.parse().ok()?),
        }
    } else if rest.is_empty() {
        (0, 0)
    } else {
        return None;
    };
    let step_ms = match (minutes, seconds) {
        (Some(10..), _) => 60_000,
        (Some(_), _) | (None, 10..) => 1000,
        (None, _) => 1,
    };
    let ms: u64 = minutes.unwrap_or(0) * 60_000 + seconds * 1000 + milliseconds;
    Some((ms, step_ms))
}
