//! A strict reader of the OpenMetrics text format (openmetrics.io, version 1.0), as far as the
//! program writes it: any other line is an error.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub unit: String,
}

/// What a scrape said.
#[derive(Debug, Default)]
pub struct Exposition {
    pub families: BTreeMap<String, Family>,
    /// By name and labels, as written.
    samples: BTreeMap<String, f64>,
}

impl Exposition {
    pub fn value(&self, sample: &str) -> f64 {
        *self
            .samples
            .get(sample)
            .unwrap_or_else(|| panic!("no sample {sample}"))
    }

    /// Of all label values together.
    pub fn sum(&self, name: &str) -> f64 {
        let prefix = format!("{name}{{");
        let of_name = |key: &&String| *key == name || key.starts_with(&prefix);
        let values: Vec<f64> = self
            .samples
            .keys()
            .filter(of_name)
            .map(|key| self.samples[key])
            .collect();
        assert!(!values.is_empty(), "no sample {name}");
        values.iter().sum()
    }
}

/// Endings of the samples' names that each type has.
fn suffixes(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_count", "_sum"],
        _ => return None,
    })
}

/// Reads a whole scrape.
pub fn parse(text: &str) -> Result<Exposition, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("expected # EOF at the end")?;
    let mut exposition = Exposition::default();
    let mut current = String::new();
    for line in body.split_terminator('\n') {
        let error = |what: &str| format!("{what}: {line:?}");
        match line.strip_prefix("# ") {
            Some(rest) => {
                let [keyword, name, value] = rest
                    .splitn(3, ' ')
                    .collect::<Vec<_>>()
                    .try_into()
                    .map_err(|_| error("expected keyword, name and text"))?;
                if name != current {
                    if exposition.families.contains_key(name) {
                        return Err(error("a family in two places"));
                    }
                    name.clone_into(&mut current);
                }
                let family = exposition.families.entry(current.clone()).or_default();
                let slot = match keyword {
                    "HELP" => &mut family.help,
                    "TYPE" if suffixes(value).is_some() => &mut family.kind,
                    "UNIT" if name.ends_with(&format!("_{value}")) => &mut family.unit,
                    _ => return Err(error("unknown comment")),
                };
                if !slot.is_empty() || value.is_empty() {
                    return Err(error("said twice, or nothing"));
                }
                value.clone_into(slot);
            }
            None => {
                let family = exposition
                    .families
                    .get(&current)
                    .ok_or(error("a sample of no family"))?;
                sample(line, &current, family, &mut exposition.samples).map_err(|what| error(&what))?;
            }
        }
    }
    for (name, family) in &exposition.families {
        if family.help.is_empty() || family.kind.is_empty() {
            return Err(format!("{name}: HELP or TYPE is missing"));
        }
        if family.kind == "histogram" {
            histogram(name, &exposition)?;
        }
    }
    Ok(exposition)
}

fn sample(
    line: &str,
    name: &str,
    family: &Family,
    samples: &mut BTreeMap<String, f64>,
) -> Result<(), String> {
    let (key, value) = line.rsplit_once(' ').ok_or("expected a value")?;
    let value: f64 = value.parse().map_err(|_| "expected a number")?;
    let (sample, labels) = match key.split_once('{') {
        Some((sample, labels)) => (sample, labels.strip_suffix('}').ok_or("expected }")?),
        None => (key, ""),
    };
    let suffix = sample.strip_prefix(name).ok_or("a sample of another family")?;
    let known = suffixes(&family.kind).is_some_and(|suffixes| suffixes.contains(&suffix));
    if !known
        || !sample
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(format!("expected the name of a {}", family.kind));
    }
    let mut names = BTreeSet::new();
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').ok_or("expected name=value")?;
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let plain = quoted.is_some_and(|value| !value.contains(['"', '\\']));
        if !plain || !names.insert(name) {
            return Err("expected labels once, and quoted".to_owned());
        }
    }
    if value < 0.0 || (value.is_nan() && family.kind != "gauge") {
        return Err("expected no negative number".to_owned());
    }
    match samples.insert(key.to_owned(), value) {
        Some(_) => Err("a sample twice".to_owned()),
        None => Ok(()),
    }
}

/// Buckets never shrink, and the last holds everything.
fn histogram(name: &str, exposition: &Exposition) -> Result<(), String> {
    let prefix = format!("{name}_bucket{{le=\"");
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for (key, count) in &exposition.samples {
        if let Some(bound) = key.strip_prefix(&prefix) {
            let bound = bound.trim_end_matches("\"}").parse();
            buckets.push((
                bound.map_err(|_| format!("{name}: a bound is no number"))?,
                *count,
            ));
        }
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let grows = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
    let all = exposition.samples.get(&format!("{name}_count"));
    match buckets.last() {
        Some((bound, count)) if bound.is_infinite() && Some(count) == all && grows => Ok(()),
        _ => Err(format!("{name}: the buckets do not add up")),
    }
}
