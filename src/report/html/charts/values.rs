//! Charts of values: a heat map, bars next to each other, curves.

use std::sync::Arc;

use kuva::plot::{BarPlot, ColorMap, Heatmap, LinePlot, ScatterPlot};
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;

use super::{BELOW_PX, Chart, SERIES, Size, Unit};
use crate::report::terminal;

/// Values of rows in columns, by colour; each doubling counts the same.
pub(in crate::report::html) fn heat(
    caption: String,
    rows: &[String],
    columns: [Vec<String>; 2],
    bytes: &[Vec<u64>],
) -> Chart {
    let scale = Scale::of(bytes);
    let caption = format!("{caption} {}", scale.words());
    Chart::drawn(caption, |size| {
        let data = bytes.iter().map(|row| row.iter().map(|&bytes| scale.place(bytes)).collect());
        let mixed = |share: f64| {
            format!("color-mix(in oklab, var(--heat) {:.0}%, var(--heat-none))", 100.0 * share)
        };
        let map = Heatmap::new()
            .with_data(data.collect::<Vec<Vec<f64>>>())
            .with_color_map(ColorMap::Custom(Arc::new(mixed)));
        let plots = vec![Plot::Heatmap(map)];
        let labels = rows.iter().map(|row| size.label(row)).collect();
        let [wide, narrow] = &columns;
        let columns = if size == Size::Wide { wide } else { narrow };
        let from_place = move |place: f64| terminal::bytes(scale.bytes(place));
        let mut layout = Layout::auto_from_plots(&plots)
            .with_width(size.px())
            .with_height((10.0 + BELOW_PX + 20.0 * rows.len() as f64).max(140.0))
            .with_force_margins_y(10.0, BELOW_PX)
            .with_y_categories(labels)
            .with_x_categories(columns.clone())
            .with_colorbar_tick_format(TickFormat::Custom(Arc::new(from_place)));
        // It would take a third of a narrow screen; the caption says the most.
        layout.show_colorbar &= size == Size::Wide;
        (plots, layout)
    })
}

/// Share of the cells with the fewest bytes that all have the faintest colour: a handful of
/// small ones would take the colours from those that are to be told apart.
const FAINTEST: usize = 10;

/// How far the faintest colour is from that of nothing, as a share of all colours.
const FAINTEST_SHARE: f64 = 0.12;

/// From bytes to colours: nothing, and from the faintest one on each doubling the same.
#[derive(Clone, Copy, Debug)]
struct Scale {
    least: u64,
    most: u64,
}

impl Scale {
    fn of(bytes: &[Vec<u64>]) -> Self {
        let mut all: Vec<u64> = bytes.iter().flatten().copied().filter(|&it| it > 0).collect();
        all.sort_unstable();
        let least = all.get(all.len() / FAINTEST).copied().unwrap_or(1);
        Self { least, most: all.last().copied().unwrap_or(1) }
    }

    fn words(self) -> String {
        let [least, most] = [self.least, self.most].map(terminal::bytes);
        if self.least == self.most {
            return format!("All coloured ones have up to {most}.");
        }
        format!(
            "The faintest colour is {least} or less, the strongest {most}; each doubling counts \
             the same."
        )
    }

    fn doublings(self) -> f64 {
        libm::log2(self.most as f64 / self.least as f64)
    }

    fn faintest(self) -> f64 {
        (FAINTEST_SHARE * self.doublings()).max(1.0)
    }

    fn place(self, bytes: u64) -> f64 {
        if bytes == 0 {
            return 0.0;
        }
        self.faintest() + libm::log2(bytes.max(self.least) as f64 / self.least as f64)
    }

    /// For marks beside the colours.
    fn bytes(self, place: f64) -> u64 {
        if place < self.faintest() {
            return 0;
        }
        (self.least as f64 * libm::exp2(place - self.faintest())) as u64
    }
}

/// Shares of sizes, next to each other.
pub(in crate::report::html) fn bars(
    caption: String,
    labels: &[String],
    series: &[(&str, Vec<f64>)],
    unit: Unit,
) -> Chart {
    Chart::drawn(caption, |size| {
        let mut bars = BarPlot::new();
        for (at, label) in labels.iter().enumerate() {
            let values = series
                .iter()
                .zip(SERIES)
                .map(|((_, values), colour)| (values.get(at).copied().unwrap_or_default(), colour));
            bars = bars.with_group(label.clone(), values.collect::<Vec<_>>());
        }
        let plots = vec![Plot::Bar(bars)];
        let mut layout = Layout::auto_from_plots(&plots)
            .with_width(size.px())
            .with_height(240.0)
            .with_y_tick_format(unit.ticks())
            .with_ticks(4);
        layout = if labels.len() > 8 || size == Size::Narrow {
            layout.with_x_tick_rotate(-60.0).with_force_margins_y(10.0, 80.0)
        } else {
            layout.with_force_margins_y(10.0, BELOW_PX)
        };
        (plots, layout)
    })
    .with_legend(series.iter().map(|(name, _)| (*name).to_owned()))
}

/// Of the line in front. Each behind it is wider by a step, so that none hides another.
const LINE_PX: f64 = 2.0;
const LINE_STEP_PX: f64 = 1.6;

/// A line for each series over named values, in their order. Gaps where there is none.
pub(in crate::report::html) fn curves(
    caption: String,
    values: &[String],
    series: &[(String, Vec<Option<f64>>)],
    unit: Unit,
) -> Chart {
    Chart::drawn(caption, |size| {
        let mut plots = Vec::new();
        for (at, ((_, points), colour)) in series.iter().zip(SERIES).enumerate() {
            let width = LINE_PX + LINE_STEP_PX * (series.len() - 1 - at) as f64;
            let points = points.iter().enumerate();
            let points: Vec<(f64, f64)> =
                points.filter_map(|(at, value)| Some((1.0 + at as f64, (*value)?))).collect();
            // A value alone is no line, but it is a mark.
            let marks = ScatterPlot::new()
                .with_data(points.clone())
                .with_color(colour)
                .with_size(width + 1.5);
            let line =
                LinePlot::new().with_data(points).with_color(colour).with_stroke_width(width);
            plots.extend([Plot::Line(line), Plot::Scatter(marks)]);
        }
        let all = series.iter().flat_map(|(_, points)| points.iter().flatten());
        let top = all.copied().fold(if matches!(unit, Unit::Share) { 1.0 } else { 0.0 }, f64::max);
        let top = if top > 0.0 { top * 1.05 } else { 1.0 };
        let layout = Layout::auto_from_plots(&plots)
            .with_width(size.px())
            .with_height(220.0)
            .with_x_categories(values.iter().map(|value| size.label(value)).collect())
            .with_x_axis_min(0.5)
            .with_x_axis_max(values.len() as f64 + 0.5)
            .with_y_axis_min(0.0)
            .with_y_axis_max(top)
            .with_y_tick_format(unit.ticks())
            .with_ticks(4)
            .with_force_margins(size.left_px(), 30.0)
            .with_force_margins_y(10.0, BELOW_PX);
        (plots, layout)
    })
    .with_legend(series.iter().map(|(name, _)| name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_what_is_to_be_told_apart() {
        // One tiny cell among hosts of 1 to 64 MB: it is seen, and takes no colours.
        let mut row: Vec<u64> = (0..19).map(|at| 1_000_000 << (at % 7)).collect();
        row.extend([0, 60]);
        let scale = Scale::of(&[row]);
        assert_eq!((scale.least, scale.most), (1_000_000, 64_000_000));
        assert_eq!(scale.place(0), 0.0);
        assert_eq!(scale.place(60), scale.faintest());
        assert_eq!(scale.place(2_000_000) - scale.place(1_000_000), 1.0);
        assert_eq!(scale.bytes(scale.place(64_000_000)), 64_000_000);
        assert_eq!(scale.bytes(scale.faintest() / 2.0), 0);
    }

    #[test]
    fn nothing_and_one_value_have_a_scale() {
        for bytes in [vec![], vec![vec![0, 0]], vec![vec![0, 7]]] {
            let scale = Scale::of(&bytes);
            assert!(scale.place(scale.most).is_finite() && scale.place(0) == 0.0);
        }
    }
}
