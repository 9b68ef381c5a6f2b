//! A robust slope over a series of any length, in bounded memory: Theil and Sen's median of the slopes between
//! all pairs of points. A few outliers, steps and teeth of a saw do not move it.
//!
//! What comes and goes (a backlog that is freed a moment later) scatters widely and evenly, while the least and
//! the most of each stretch of time hardly move. A leak raises all three, so the quietest of them tells it best.

/// Points that are kept. When there are more, every other one goes: those that stay are evenly apart.
const POINTS_MAX: usize = 240;
/// Fewer say nothing about a trend.
pub const POINTS_MIN: usize = 20;
/// From so many points on, scatter is that of the medians of [`BLOCKS`] blocks: what averages out within a
/// block (noise, teeth of a saw) hides no growth, and what does not, does. Of fewer, it is that of the points.
const POINTS_OF_BLOCKS_MIN: usize = 60;
/// The slope of a line through 12 values is as uncertain as one of them is, from end to end.
const BLOCKS: usize = 12;
/// Growth over the series has to be this many deviations to be told from scatter.
const DEVIATIONS: f64 = 4.0;
/// Of the median deviation: the standard deviation, where the scatter is normal.
const DEVIATION_OF_MEDIAN: f64 = 1.4826;

/// A series of which every `stride`th point is kept.
#[derive(Clone, Debug)]
pub struct Series {
    points: Vec<(f64, f64)>,
    stride: u64,
    seen: u64,
    /// The smallest difference that values can have.
    quantum: f64,
}

/// A line through a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Growth an hour.
    pub per_hour: f64,
    /// What a leak has to grow an hour to be told from this series' scatter.
    pub visible_per_hour: f64,
    /// From the first to the last point.
    pub seconds: f64,
}

impl Series {
    /// No point yet.
    pub fn new(quantum: f64) -> Series {
        Series {
            points: Vec::with_capacity(POINTS_MAX),
            stride: 1,
            seen: 0,
            quantum,
        }
    }

    /// Another value.
    pub fn push(&mut self, seconds: f64, value: f64) {
        if self.seen.is_multiple_of(self.stride) {
            if self.points.len() == POINTS_MAX {
                let mut is_kept = false;
                self.points.retain(|_| {
                    is_kept = !is_kept;
                    is_kept
                });
                self.stride *= 2;
            }
            // After thinning, the next to be kept may be another.
            if self.seen.is_multiple_of(self.stride) {
                self.points.push((seconds, value));
            }
        }
        self.seen += 1;
    }

    /// From the first to the last point that was kept.
    pub fn seconds(&self) -> f64 {
        match (self.points.first(), self.points.last()) {
            (Some(first), Some(last)) => last.0 - first.0,
            _ => 0.0,
        }
    }

    /// Points that are kept.
    pub fn points(&self) -> usize {
        self.points.len()
    }

    /// The line, once there are [`POINTS_MIN`].
    pub fn line(&self) -> Option<Line> {
        let seconds = self.seconds();
        if self.points.len() < POINTS_MIN || seconds <= 0.0 {
            return None;
        }
        let line = |points: &[(f64, f64)]| {
            let slope = slope(points)?;
            Some(Line {
                per_hour: slope * 3600.0,
                visible_per_hour: scatter(points, slope)?.max(self.quantum) / seconds * 3600.0,
                seconds,
            })
        };
        let mut lines = vec![line(&self.points)?];
        if self.points.len() >= POINTS_OF_BLOCKS_MIN {
            let envelope = |end: fn(f64, f64) -> f64| -> Vec<(f64, f64)> {
                let blocks = self.points.chunks(self.points.len().div_ceil(BLOCKS));
                let of_block = |block: &[(f64, f64)]| {
                    let value = block.iter().map(|point| point.1).reduce(end)?;
                    Some((block[block.len() / 2].0, value))
                };
                blocks.filter_map(of_block).collect()
            };
            lines.extend(line(&envelope(f64::min)));
            lines.extend(line(&envelope(f64::max)));
        }
        lines
            .into_iter()
            .min_by(|a, b| a.visible_per_hour.total_cmp(&b.visible_per_hour))
    }
}

/// Median of the slopes between all pairs, a second.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (at, value)) in points.iter().enumerate() {
        let later = points[index + 1..].iter().filter(|point| point.0 > *at);
        slopes.extend(later.map(|point| (point.1 - value) / (point.0 - at)));
    }
    median(&mut slopes)
}

/// What is left beside the line.
fn scatter(points: &[(f64, f64)], slope: f64) -> Option<f64> {
    let mut rests: Vec<f64> = points.iter().map(|point| point.1 - slope * point.0).collect();
    if rests.len() >= POINTS_OF_BLOCKS_MIN {
        let length = rests.len().div_ceil(BLOCKS);
        rests = rests.chunks_mut(length).filter_map(median).collect();
    }
    let middle = median(&mut rests)?;
    let mut off: Vec<f64> = rests.iter().map(|rest| (rest - middle).abs()).collect();
    Some(median(&mut off)? * DEVIATION_OF_MEDIAN * DEVIATIONS)
}

fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_points_stay_evenly_apart() {
        let mut series = Series::new(1.0);
        for second in 0..12 * 3600 {
            series.push(f64::from(second), f64::from(second) / 60.0);
            assert!(series.points.len() <= POINTS_MAX && series.points.capacity() == POINTS_MAX);
        }
        let apart: Vec<f64> = series
            .points
            .windows(2)
            .map(|pair| pair[1].0 - pair[0].0)
            .collect();
        assert!(apart.iter().all(|seconds| *seconds == apart[0]), "{apart:?}");
        let line = series.line().unwrap();
        assert!((line.per_hour - 60.0).abs() < 0.01, "{line:?}");
        assert!(line.seconds > 11.0 * 3600.0);
    }

    /// As resident memory is where a backlog of 2 MiB comes and is freed: 8 KiB a second are seen behind it.
    #[test]
    fn what_comes_and_goes_hides_no_leak() {
        let of = |leak: f64| {
            let (mut series, mut random) = (Series::new(4.0), 1_u32);
            for second in 0..60 {
                // Numerical Recipes' generator; its upper bits are random enough.
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let backlog = f64::from((random >> 30).min(2)) * 1024.0;
                series.push(f64::from(second), 10_000.0 + backlog + leak * f64::from(second));
            }
            series.line().unwrap()
        };
        let (healthy, leaky) = (of(0.0), of(8.0));
        assert!(healthy.per_hour.abs() <= healthy.visible_per_hour, "{healthy:?}");
        assert!(healthy.visible_per_hour < 8.0 * 3600.0 / 2.0, "{healthy:?}");
        assert!(leaky.per_hour > leaky.visible_per_hour, "{leaky:?}");
        assert!((leaky.per_hour / 3600.0 - 8.0).abs() < 4.0, "{leaky:?}");
    }

    #[test]
    fn outliers_do_not_move_it_and_few_points_say_nothing() {
        let mut series = Series::new(1.0);
        for second in 0..100 {
            assert_eq!(series.line().is_some(), second >= 20, "{second}");
            let outlier = if second % 10 == 9 { 10_000.0 } else { 0.0 };
            series.push(f64::from(second), 5.0 + outlier);
        }
        assert_eq!(series.line().unwrap().per_hour, 0.0);
    }
}
