//! `junit.xml`: a gate is a test case, for CI.

use super::{RunResult, number};
use crate::gates::Status;

/// The file.
pub fn render(result: &RunResult) -> String {
    let unknown = result.verdict == Status::CannotJudge;
    let time = number_plain(result.measured_seconds);
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{time}\"",
        result.gates.len() + 1,
        result.count(Status::Fail),
        u8::from(unknown),
        result.count(Status::CannotJudge),
    );
    let name = escape(&result.scenario);
    let timestamp = number::utc(result.started_unix_ms);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  <testsuite name=\"{name}\" {counts} \
         timestamp=\"{}\">\n",
        // The schema has no zone.
        timestamp.trim_end_matches('Z')
    );
    for gate in &result.gates {
        let text = escape(&format!(
            "{}; expected {}. {}",
            gate.figure, gate.threshold, gate.why
        ));
        xml.push_str(&format!(
            "    <testcase classname=\"xtcp2-soak.{name}\" name=\"{}\">",
            escape(&gate.name)
        ));
        xml.push_str(&match gate.status {
            Status::Pass => format!("<system-out>{text}</system-out>"),
            Status::Fail => format!("<failure message=\"{text}\" type=\"gate\">{text}</failure>"),
            Status::CannotJudge => format!("<skipped message=\"cannot judge: {text}\"/>"),
        });
        xml.push_str("</testcase>\n");
    }
    // Most servers show skipped tests in green. A run that could not be judged is not.
    xml.push_str(&format!(
        "    <testcase classname=\"xtcp2-soak.{name}\" name=\"all gates could be judged\">"
    ));
    if unknown {
        let text = match result.gates.len() {
            0 => "no gate was asked".to_owned(),
            all => format!("{} of {all} could not", result.count(Status::CannotJudge)),
        };
        xml.push_str(&format!(
            "<error message=\"{text}\" type=\"cannot-judge\">{text}</error>"
        ));
    }
    xml.push_str("</testcase>\n  </testsuite>\n</testsuites>\n");
    xml
}

fn number_plain(value: f64) -> String {
    format!("{value:.3}")
}

/// For text and attributes of XML and HTML. Control characters, which a log may hold, are not allowed in
/// XML at all, not even escaped.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            _ if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}')
            }
            _ => escaped.push(character),
        }
    }
    escaped
}
