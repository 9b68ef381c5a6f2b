//! What the daemon says of itself: its /metrics, of which only that is kept which gates and plots use.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use ureq::Agent;

/// A daemon in the middle of a poll answers within milliseconds. Twice this, and the run's own sampling is
/// late.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Kept whole.
const NAMES: [&str; 10] = [
    "xtcp2_instance_info",
    "xtcp2_polls_total",
    "xtcp2_polls_late_total",
    "xtcp2_rows_total",
    "xtcp2_completed_poll_rows_total",
    "xtcp2_namespaces",
    "xtcp2_sockets",
    "xtcp2_poll_duration_seconds_sum",
    "xtcp2_poll_duration_seconds_count",
    "xtcp2_namespace_failures_total",
];
/// Families that are kept whole.
const FAMILIES: [&str; 6] = [
    "xtcp2_last_poll_",
    "xtcp2_poll_start_delay_seconds_",
    "xtcp2_output_",
    "xtcp2_spool_",
    "xtcp2_dump_events_total",
    "process_",
];

/// Samples of /metrics, by name and labels.
pub type Metrics = BTreeMap<String, f64>;

/// Asks one daemon, again and again.
#[derive(Debug)]
pub struct Scraper {
    agent: Agent,
    url: String,
}

impl Scraper {
    /// Of the daemon at `address`, `HOST:PORT`.
    pub fn new(address: &str) -> Scraper {
        let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None);
        Scraper {
            agent: config.build().into(),
            url: format!("http://{address}/metrics"),
        }
    }

    /// Asks, and says how long the answer took. `None` when there was none in time.
    pub fn scrape(&self) -> Option<(Metrics, Duration)> {
        let start = Instant::now();
        let mut answer = self.agent.get(&self.url).call().ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        Some((parse(&text), start.elapsed()))
    }
}

/// Reads OpenMetrics text: a sample a line, `name{labels} value [time]`. Lines that are none are left out.
pub fn parse(text: &str) -> Metrics {
    let sample = |line: &str| {
        let end_of_key = line
            .rfind('}')
            .map_or_else(|| line.find(' '), |brace| Some(brace + 1))?;
        let (key, rest) = line.split_at_checked(end_of_key)?;
        let name = key.split('{').next()?;
        let is_kept = NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family));
        let value = rest.split_whitespace().next()?.parse().ok()?;
        (is_kept && !line.starts_with('#')).then(|| (key.to_owned(), value))
    };
    text.lines().filter_map(sample).collect()
}

/// `instance_id` of the daemon that answered.
pub fn instance_id(metrics: &Metrics) -> Option<&str> {
    let label = "xtcp2_instance_info{instance_id=\"";
    let (key, _) = metrics.range(label.to_owned()..).next()?;
    key.strip_prefix(label)?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gates_use_is_kept_with_its_labels() {
        let metrics = parse(
            "# HELP xtcp2_polls Polls completed.\n# TYPE xtcp2_polls counter\nxtcp2_polls_total 7\n\
             xtcp2_instance_info{instance_id=\"00000000000000ff\"} 1\n\
             xtcp2_output_dropped_rows_total{reason=\"queue full\"} 3 1700000000.5\n\
             xtcp2_poll_start_delay_seconds_bucket{le=\"+Inf\"} 7\n\
             xtcp2_sockets_read_total 9\nxtcp2_admin_connections_total 9\nxtcp2_rows_total many\n# EOF\n",
        );
        let keys: Vec<_> = metrics.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "xtcp2_instance_info{instance_id=\"00000000000000ff\"}",
                "xtcp2_output_dropped_rows_total{reason=\"queue full\"}",
                "xtcp2_poll_start_delay_seconds_bucket{le=\"+Inf\"}",
                "xtcp2_polls_total",
            ]
        );
        assert_eq!(
            metrics["xtcp2_output_dropped_rows_total{reason=\"queue full\"}"],
            3.0
        );
        assert_eq!(instance_id(&metrics), Some("00000000000000ff"));
        assert_eq!(instance_id(&Metrics::new()), None);
    }

    #[test]
    fn nobody_there_is_none() {
        // Port 9 is that of discard, which nobody runs.
        assert!(Scraper::new("127.0.0.1:9").scrape().is_none());
    }
}
