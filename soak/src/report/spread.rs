//! How values are spread, in flat memory: classes half a percent wide, each of which remembers a value that was
//! really seen. Counts below 200 have a class each, so 4 threads stay 4.

use std::collections::BTreeMap;

/// Classes from one value to e times it: 1 / 200 is half a percent.
const CLASSES_PER_E: f64 = 200.0;

/// Values, by how large they are.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    count: u64,
    min: f64,
    max: f64,
    /// Class, and how many values, and the greatest of them. Values of 0 and less are in the lowest.
    classes: BTreeMap<i32, (u64, f64)>,
}

impl Spread {
    /// Takes a value.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        (self.min, self.max) = match self.count {
            0 => (value, value),
            _ => (self.min.min(value), self.max.max(value)),
        };
        self.count += 1;
        #[allow(clippy::cast_possible_truncation, reason = "ln of an f64 is below 710")]
        let class = if value > 0.0 {
            (value.ln() * CLASSES_PER_E).round() as i32
        } else {
            i32::MIN
        };
        let (count, greatest) = self.classes.entry(class).or_insert((0, value));
        *count += 1;
        *greatest = greatest.max(value);
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The least and the greatest, if there was any.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.min, self.max))
    }

    /// The value that `percent` of all do not exceed, to half a percent.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "counts of samples")]
        let rank = self.count as f64 * percent / 100.0;
        let mut seen = 0;
        for (count, greatest) in self.classes.values() {
            seen += count;
            #[allow(clippy::cast_precision_loss, reason = "counts of samples")]
            if seen as f64 >= rank {
                return Some(*greatest);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_sorted_values_to_half_a_percent() {
        let mut spread = Spread::default();
        for value in 1..=10_000 {
            spread.add(f64::from(value));
        }
        for (percent, expected) in [(50.0, 5000.0), (99.0, 9900.0), (100.0, 10_000.0)] {
            let got = spread.percentile(percent).unwrap();
            assert!((got / expected - 1.0).abs() <= 0.005, "{percent}: {got}");
        }
        assert_eq!(spread.range(), Some((1.0, 10_000.0)));
        assert!(spread.classes.len() < 2000);
    }

    #[test]
    fn small_counts_are_exact_and_nothing_is_nothing() {
        assert_eq!(Spread::default().percentile(50.0), None);
        let mut spread = Spread::default();
        for value in [4.0, 4.0, 0.0, 5.0, 4.0, f64::NAN] {
            spread.add(value);
        }
        assert_eq!((spread.percentile(50.0), spread.count()), (Some(4.0), 5));
    }
}
