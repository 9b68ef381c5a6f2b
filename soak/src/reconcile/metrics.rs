//! What a living daemon says of itself: its /metrics, as far as they count rows.

use std::time::Duration;
use ureq::Agent;

/// A daemon in the middle of a poll answers within milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The counters of one daemon, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Who it is.
    pub instance_id: u64,
    /// Rows it made.
    pub rows: u64,
    /// Rows it gave up.
    pub dropped_rows: u64,
    /// Rows that it still holds, be it in its queue, its spool, or an envelope that is not full yet.
    pub waiting_rows: u64,
}

/// Asks the daemon at `url`; without a path that is /metrics.
///
/// # Errors
/// Where, what was expected, what came.
pub fn fetch(url: &str) -> Result<Reading, String> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let url = match authority.split_once('/') {
        Some((_, path)) if !path.is_empty() => url.to_owned(),
        _ => format!("{}/metrics", url.trim_end_matches('/')),
    };
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .proxy(None)
        .build()
        .into();
    let answer = agent
        .get(&url)
        .call()
        .and_then(|mut response| response.body_mut().read_to_string());
    let text = answer.map_err(|error| format!("metrics {url}: {error}"))?;
    parse(&text).map_err(|problem| format!("metrics {url}: {problem}"))
}

/// Reads the OpenMetrics text.
fn parse(text: &str) -> Result<Reading, String> {
    let label = "xtcp2_instance_info{instance_id=\"";
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix(label)?.split_once('"'));
    let (id, _) = id.ok_or("expected xtcp2_instance_info, got none: is this xtcp2?")?;
    let instance_id =
        u64::from_str_radix(id, 16).map_err(|_| format!("expected an instance id in hex, got {id:?}"))?;
    let rows = sum(text, "xtcp2_rows_total").ok_or("expected xtcp2_rows_total, got none")?;
    let count = |name| sum(text, name).unwrap_or(0);
    let dropped_rows = count("xtcp2_output_dropped_rows_total");
    // Everything made, or found in the spool at the start, is delivered, dropped, or still here. The gauge
    // does not have the rows of the envelope that is being filled.
    let here = rows.saturating_add(count("xtcp2_output_recovered_rows_total"));
    let left = here
        .saturating_sub(count("xtcp2_output_delivered_rows_total"))
        .saturating_sub(dropped_rows);
    let waiting_rows = left.max(count("xtcp2_output_queued_rows")).min(rows);
    Ok(Reading {
        instance_id,
        rows,
        dropped_rows,
        waiting_rows,
    })
}

/// A metric, all of its labels together; `None` where it is not there.
fn sum(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        // A time may follow.
        value.split(' ').next()?.parse::<u64>().ok()
    });
    values.fold(None, |sum: Option<u64>, value| {
        Some(sum.unwrap_or(0).saturating_add(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE xtcp2_instance info\n\
        xtcp2_instance_info{instance_id=\"00000000000000ff\"} 1\n\
        xtcp2_rows_total 100\n\
        xtcp2_rows_total_of_something_else 7\n\
        xtcp2_output_dropped_rows_total{reason=\"full\"} 3\n\
        xtcp2_output_dropped_rows_total{reason=\"shutdown\"} 4\n\
        xtcp2_output_delivered_rows_total 60 1700000000.5\n";

    #[test]
    fn counters_are_read_and_what_waits_is_the_rest() {
        let expected = Reading {
            instance_id: 255,
            rows: 100,
            dropped_rows: 7,
            waiting_rows: 33,
        };
        assert_eq!(parse(TEXT), Ok(expected));
        let more = format!("{TEXT}xtcp2_output_recovered_rows_total 10\nxtcp2_output_queued_rows 40\n");
        assert_eq!(
            parse(&more).unwrap().waiting_rows,
            43,
            "three are in an open envelope"
        );
        assert!(
            parse("xtcp2_rows_total 1\n")
                .unwrap_err()
                .contains("is this xtcp2?")
        );
        assert!(
            parse(&TEXT.replace("xtcp2_rows_total 100\n", ""))
                .unwrap_err()
                .contains("xtcp2_rows_total")
        );
    }
}
