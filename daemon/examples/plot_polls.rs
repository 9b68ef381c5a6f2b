//! The plot of docs/performance.md: `plot_polls results/bench-polls.tsv docs/poll-cost.svg`. The first is
//! what scripts/bench-polls wrote.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool for the documentation")]

use plotters::prelude::*;
use std::{collections::BTreeMap, env, fs};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [table, picture] = arguments.as_slice() else {
        panic!("expected TABLE.tsv PICTURE.svg, got {arguments:?}");
    };
    // Cases in the order in which they stand in the table.
    let mut cases: Vec<(String, BTreeMap<u32, f64>)> = Vec::new();
    let mut sockets = String::new();
    // The machine, then the names of the columns.
    for line in fs::read_to_string(table).unwrap().lines().skip(2) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [
            namespaces,
            per_namespace,
            case,
            _rows,
            _wall_ms,
            user_ms,
            system_ms,
            _rss_mib,
        ] = cells.as_slice()
        else {
            panic!("expected 8 columns, got {line:?}");
        };
        sockets = (*per_namespace).to_owned();
        let cpu_ms = user_ms.parse::<f64>().unwrap() + system_ms.parse::<f64>().unwrap();
        let at = cases
            .iter()
            .position(|(name, _)| name == case)
            .unwrap_or_else(|| {
                cases.push(((*case).to_owned(), BTreeMap::new()));
                cases.len() - 1
            });
        cases[at].1.insert(namespaces.parse().unwrap(), cpu_ms);
    }

    let points = || cases.iter().flat_map(|(_, points)| points);
    let namespaces_max = points().map(|(namespaces, _)| *namespaces).max().unwrap();
    let namespaces_min = points().map(|(namespaces, _)| *namespaces).min().unwrap();
    let cpu_ms_max = points().map(|(_, cpu_ms)| *cpu_ms).fold(0.0, f64::max);
    let cpu_ms_min = points().map(|(_, cpu_ms)| *cpu_ms).fold(f64::MAX, f64::min);

    let area = SVGBackend::new(picture, (900, 560)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!("CPU of a poll, {sockets} sockets in each namespace (both axes logarithmic)"),
            ("sans-serif", 20),
        )
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(
            (f64::from(namespaces_min) * 0.8..f64::from(namespaces_max) * 1.25).log_scale(),
            (cpu_ms_min * 0.7..cpu_ms_max * 1.4).log_scale(),
        )
        .unwrap();
    chart
        .configure_mesh()
        .x_desc("network namespaces")
        .y_desc("user + system time of a poll, ms")
        .x_label_formatter(&|namespaces| format!("{namespaces:.0}"))
        .y_label_formatter(&|cpu_ms| format!("{cpu_ms:.0}"))
        .label_style(("sans-serif", 14))
        .draw()
        .unwrap();
    for (number, (case, points)) in cases.iter().enumerate() {
        let color = Palette99::pick(number).stroke_width(2);
        let points = || {
            points
                .iter()
                .map(|(namespaces, cpu_ms)| (f64::from(*namespaces), *cpu_ms))
        };
        chart
            .draw_series(LineSeries::new(points(), color))
            .unwrap()
            .label(case)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
        chart
            .draw_series(points().map(|point| Circle::new(point, 4, color.filled())))
            .unwrap();
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK)
        .label_font(("sans-serif", 14))
        .draw()
        .unwrap();
    area.present().unwrap();
}
