//! A figure over time, in flat memory: the least and the greatest of each of so many columns, so that a spike of
//! one second is still there after twelve hours.

/// Twice the pixels of a plot: after two columns became one there are still as many as pixels.
const COLUMNS_MAX: usize = 1600;
/// Samples come each second.
const WIDTH_FIRST_SECONDS: f64 = 1.0;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// Time of its first value.
    pub seconds: f64,
    /// Least value in it.
    pub min: f64,
    /// Greatest value in it.
    pub max: f64,
    /// Nothing was seen between the column before and this one.
    pub after_gap: bool,
}

/// A figure over time.
#[derive(Clone, Debug)]
pub struct Series {
    width_seconds: f64,
    columns: Vec<Column>,
    gap: bool,
}

impl Default for Series {
    fn default() -> Series {
        Series {
            width_seconds: WIDTH_FIRST_SECONDS,
            columns: Vec::new(),
            gap: false,
        }
    }
}

impl Series {
    /// Takes a value; `None` is that it was not seen. Times do not go back.
    pub fn push(&mut self, seconds: f64, value: Option<f64>) {
        let Some(value) = value.filter(|value| value.is_finite() && seconds.is_finite()) else {
            self.gap = true;
            return;
        };
        let width = self.width_seconds;
        let of = |seconds: f64| (seconds / width).floor();
        match self.columns.last_mut() {
            Some(last) if of(last.seconds) >= of(seconds) && !self.gap => {
                last.min = last.min.min(value);
                last.max = last.max.max(value);
            }
            _ => self.columns.push(Column {
                seconds,
                min: value,
                max: value,
                after_gap: std::mem::take(&mut self.gap),
            }),
        }
        while self.columns.len() > COLUMNS_MAX {
            self.halve();
        }
    }

    /// Makes columns twice as wide. A daemon that comes and goes may leave a gap in each: those narrower than a
    /// column are not seen any more then.
    fn halve(&mut self) {
        self.width_seconds *= 2.0;
        let mut kept: Vec<Column> = Vec::with_capacity(COLUMNS_MAX + 1);
        for column in &self.columns {
            match kept.last_mut() {
                Some(last)
                    if (last.seconds / self.width_seconds).floor()
                        == (column.seconds / self.width_seconds).floor() =>
                {
                    last.min = last.min.min(column.min);
                    last.max = last.max.max(column.max);
                }
                _ => kept.push(*column),
            }
        }
        self.columns = kept;
    }

    /// Its columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The greatest value.
    pub fn max(&self) -> Option<f64> {
        self.columns.iter().map(|column| column.max).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_of_a_second_survives_twelve_hours_in_flat_memory() {
        // In the first and in the second of two columns that become one, at each width.
        for spike in [1024_u32, 1025, 1026, 1028, 1032, 1040, 1056] {
            let mut series = Series::default();
            for second in 0..43_200_u32 {
                series.push(f64::from(second), Some(if second == spike { 99.0 } else { 1.0 }));
            }
            assert!(series.columns().len() <= COLUMNS_MAX && series.columns().len() > COLUMNS_MAX / 2);
            assert_eq!(series.max(), Some(99.0), "{spike}");
            let column = series.columns().iter().find(|column| column.max > 1.0).unwrap();
            assert_eq!(column.min, 1.0);
            assert!((column.seconds - f64::from(spike)).abs() < 64.0, "{column:?}");
        }
    }

    #[test]
    fn what_was_not_seen_is_a_gap_and_not_0() {
        let mut series = Series::default();
        for (second, value) in [
            (0.0, Some(5.0)),
            (1.0, None),
            (2.0, Some(6.0)),
            (3.0, Some(f64::NAN)),
            (4.0, Some(7.0)),
        ] {
            series.push(second, value);
        }
        let gaps: Vec<(f64, bool)> = series.columns().iter().map(|c| (c.min, c.after_gap)).collect();
        assert_eq!(gaps, [(5.0, false), (6.0, true), (7.0, true)]);
    }

    #[test]
    fn gaps_without_end_do_not_grow_it() {
        let mut series = Series::default();
        for second in 0..100_000_u32 {
            series.push(f64::from(second), (second % 2 == 0).then_some(1.0));
        }
        assert!(series.columns().len() <= COLUMNS_MAX);
    }
}
