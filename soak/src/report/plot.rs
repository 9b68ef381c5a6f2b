//! A plot over time as SVG, to stand inside a page. Colours are fixed ones that the page's style sheet
//! replaces where it is dark; words around a plot are the page's.

use super::{
    events::{Kind, Marker},
    number,
    series::{Column, Series},
};
use plotters::{
    coord::ranged1d::{DefaultFormatting, KeyPointHint},
    prelude::*,
    style::RGBColor,
};
use std::ops::Range;

/// Half of a page that is 1,300 wide: texts are then as large as they say.
const SIZE: (u32, u32) = (640, 220);
/// Height of letters.
const LETTERS: u32 = 13;
/// Numbers at each axis.
const TICKS_MAX: f64 = 6.0;
/// A limit beyond so many times of what was seen would press the line to the ground; it is left to the words.
const LIMIT_IN_SIGHT: f64 = 4.0;
/// Columns further apart than so many times what they mostly are have nothing in between.
const GAP: f64 = 5.0;

/// Colours, as style.css knows them.
const INK: RGBColor = RGBColor(0x57, 0x60, 0x6a);
const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
const LINES: [RGBColor; 2] = [RGBColor(0x09, 0x69, 0xda), RGBColor(0xbc, 0x4c, 0x00)];
const LIMIT: RGBColor = RGBColor(0xcf, 0x22, 0x2e);
const ACTION: RGBColor = RGBColor(0x82, 0x50, 0xdf);
const BAD: RGBColor = RGBColor(0xd1, 0x24, 0x2f);

/// Steps of time that people count in, in seconds.
const TIME_STEPS: [f64; 18] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0,
    21_600.0, 43_200.0, 86_400.0,
];

/// Draws figures with the limit that a gate sets, and lines where something happened.
///
/// # Errors
/// What the drawing library says; it writes to memory, so there should be none.
pub fn svg(
    all: &[&Series],
    limit: Option<f64>,
    markers: &[Marker],
    end_seconds: f64,
) -> Result<String, Box<dyn std::error::Error>> {
    // The last sample of a minute is at 59.0 s.
    let end = (end_seconds / 5.0).ceil().max(1.0) * 5.0;
    let seen = all.iter().filter_map(|series| series.max()).fold(0.0, f64::max);
    let limit = limit.filter(|limit| *limit <= LIMIT_IN_SIGHT * seen);
    let top = seen.max(limit.unwrap_or(0.0)).max(f64::MIN_POSITIVE) * 1.12;
    let top = if seen == 0.0 && limit.is_none() { 1.0 } else { top };
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(4)
            .margin_right(16)
            .x_label_area_size(24)
            .y_label_area_size(56)
            .build_cartesian_2d(Axis(0.0..end, times(end)), Axis(0.0..top, numbers(top)))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_label_formatter(&|seconds| number::clock(*seconds))
            .y_label_formatter(&|value| number::text(*value))
            .label_style(("sans-serif", LETTERS).into_font().color(&INK))
            .draw()?;
        for marker in markers {
            let color = if marker.kind == Kind::Bad { BAD } else { ACTION };
            let at = marker.seconds.clamp(0.0, end);
            chart.draw_series([PathElement::new([(at, 0.0), (at, top)], color.stroke_width(1))])?;
        }
        if let Some(limit) = limit {
            let line = [(0.0, limit), (end, limit)];
            chart.draw_series(DashedLineSeries::new(line, 6, 4, LIMIT.stroke_width(1)))?;
        }
        // The first on top, and thinner: both are seen where they are the same.
        for (series, (color, width)) in all.iter().zip(LINES.into_iter().zip([2, 4])).rev() {
            for piece in pieces(series.columns()) {
                match piece.as_slice() {
                    [point] => {
                        chart.draw_series([Circle::new(*point, 2, color.filled())])?;
                    }
                    _ => {
                        chart.draw_series([PathElement::new(piece, color.stroke_width(width))])?;
                    }
                }
            }
        }
        area.present()?;
    }
    Ok(text)
}

/// Lines that are broken where nothing was seen. A column is drawn from its least to its greatest value.
fn pieces(columns: &[Column]) -> Vec<Vec<(f64, f64)>> {
    let mut distances: Vec<f64> = columns
        .windows(2)
        .map(|pair| pair[1].seconds - pair[0].seconds)
        .collect();
    distances.sort_by(f64::total_cmp);
    let usual = distances.get(distances.len() / 2).copied().unwrap_or(0.0);
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut before = f64::NEG_INFINITY;
    for column in columns {
        if column.after_gap || column.seconds - before > GAP * usual || pieces.is_empty() {
            pieces.push(Vec::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push((column.seconds, column.min));
            if column.max > column.min {
                piece.push((column.seconds, column.max));
            }
        }
        before = column.seconds;
    }
    pieces
}

/// A linear axis with numbers where we want them; plotters' own combinator for that cannot be labelled.
struct Axis(Range<f64>, Vec<f64>);

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.0.start) / (self.0.end - self.0.start);
        #[allow(clippy::cast_possible_truncation, reason = "pixels")]
        let pixels = (share * f64::from(to - from)).round() as i32;
        from + pixels
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        self.1.clone()
    }

    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

/// Times to write at the axis.
fn times(end: f64) -> Vec<f64> {
    let step = TIME_STEPS.into_iter().find(|step| end / step <= TICKS_MAX);
    multiples(
        step.unwrap_or_else(|| (end / TICKS_MAX / 86_400.0).ceil() * 86_400.0),
        end,
    )
}

/// Values to write at the axis: 1, 2 or 5 of a power of ten apart.
fn numbers(top: f64) -> Vec<f64> {
    let rough = top / (TICKS_MAX - 1.0);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough);
    multiples(step.unwrap_or(rough), top)
}

fn multiples(step: f64, end: f64) -> Vec<f64> {
    (0..=100)
        .map(|count| f64::from(count) * step)
        .take_while(|value| *value <= end)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_labelled_with_round_numbers() {
        assert_eq!(times(1800.0), [0.0, 300.0, 600.0, 900.0, 1200.0, 1500.0, 1800.0]);
        assert_eq!(times(43_200.0).len(), 7);
        assert_eq!(numbers(1.12), [0.0, 0.5, 1.0]);
        assert_eq!(numbers(280.0), [0.0, 100.0, 200.0]);
    }

    #[test]
    fn a_line_breaks_where_nothing_was_seen() {
        let mut series = Series::default();
        for second in (0..100).filter(|second| !(40..60).contains(second)) {
            series.push(f64::from(second), Some(1.0));
        }
        series.push(100.0, None);
        series.push(101.0, Some(2.0));
        let lengths: Vec<usize> = pieces(series.columns()).iter().map(Vec::len).collect();
        assert_eq!(lengths, [40, 40, 1]);
    }

    #[test]
    fn limits_that_are_far_away_do_not_flatten_the_line() {
        let mut series = Series::default();
        series.push(0.0, Some(1.0));
        series.push(1.0, Some(1.0));
        let with = |limit| svg(&[&series], Some(limit), &[], 2.0).unwrap();
        assert!(with(2.0).contains("#CF222E") && !with(1000.0).contains("#CF222E"));
        assert!(svg(&[&Series::default()], None, &[], 0.0).is_ok());
    }
}
