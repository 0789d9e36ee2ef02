//! Charts as SVG that follows the page's theme.
//!
//! Drawn by kuva. Colours are the page's CSS variables, so that one drawing serves light,
//! dark and paper; each chart is drawn twice, for a wide and for a narrow screen, because
//! text in a drawing that is only made smaller can't be read on a phone. Nothing here needs
//! a script. Texts are escaped by kuva and made printable here. Start at [`timeline`],
//! [`heat`], [`bars`], [`lanes`] and [`curves`].

use std::fmt::Write as _;
use std::sync::Arc;

use kuva::backend::svg::SvgBackend;
use kuva::plot::{BarPlot, ColorMap, GanttPlot, Heatmap, LinePlot, ScatterPlot};
use kuva::render::annotations::ShadedRegion;
use kuva::render::datetime::{DateTimeAxis, DateUnit};
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;
use kuva::render::theme::Theme;

use super::super::detail::printable;
use super::markup::SEVERITIES;

/// Widths of the two drawings in CSS pixels: of a column of text on a large screen, and of
/// a phone's screen less its margins.
const WIDE_PX: f64 = 920.0;
const NARROW_PX: f64 = 350.0;

/// For the marks of an axis below a chart; captions are the page's.
const BELOW_PX: f64 = 26.0;

/// Letters of a label: more leave no room for what it is about.
const LABEL_LETTERS: [usize; 2] = [34, 15];

/// Colours of series, in their order; [`assets/report.css`] has them.
pub(super) const SERIES: [&str; 6] = [
    "var(--series-1)",
    "var(--series-2)",
    "var(--series-3)",
    "var(--series-4)",
    "var(--series-5)",
    "var(--series-6)",
];

/// A drawing with what it shows in words.
#[derive(Debug)]
pub(super) struct Chart {
    svg: String,
    caption: String,
    /// Names of the series, where there are several.
    legend: Vec<String>,
}

impl Chart {
    pub(super) fn svg(&self) -> &str {
        &self.svg
    }

    pub(super) fn caption(&self) -> &str {
        &self.caption
    }

    /// Names of series in the order of their colours. They stand below the drawing: in it
    /// they would take the room of what they name.
    pub(super) fn legend(&self) -> &[String] {
        &self.legend
    }

    fn with_legend(mut self, names: impl Iterator<Item = String>) -> Self {
        self.legend = names.collect();
        if self.legend.len() < 2 {
            self.legend.clear();
        }
        self
    }

    /// Draws it for both widths.
    fn drawn(caption: String, draw: impl Fn(Size) -> (Vec<Plot>, Layout)) -> Self {
        let mut svg = String::new();
        for size in [Size::Wide, Size::Narrow] {
            let (plots, layout) = draw(size);
            let scene = render_multiple(plots, layout.with_theme(theme()).with_tick_size(11));
            let (width, height) = (scene.width, scene.height);
            let drawing = SvgBackend::new().render_scene(&scene);
            let rest = drawing.strip_prefix("<svg ").unwrap_or(&drawing);
            // Writing to a String can't fail.
            let _ = write!(
                svg,
                "<svg class=\"{}\" viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\" {rest}",
                size.class()
            );
        }
        Self { svg, caption, legend: Vec::new() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Wide,
    Narrow,
}

impl Size {
    fn class(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Narrow => "narrow",
        }
    }

    fn px(self) -> f64 {
        match self {
            Self::Wide => WIDE_PX,
            Self::Narrow => NARROW_PX,
        }
    }

    /// For the numbers of an axis: the same on all charts, so that they stand in line.
    fn left_px(self) -> f64 {
        match self {
            Self::Wide => 70.0,
            Self::Narrow => 52.0,
        }
    }

    /// Marks on an axis of time that don't run into each other.
    fn time_marks(self) -> f64 {
        match self {
            Self::Wide => 9.0,
            Self::Narrow => 3.0,
        }
    }

    fn label(self, text: &str) -> String {
        let letters = LABEL_LETTERS[usize::from(self == Self::Narrow)];
        let text = printable(text).replace('\n', " ");
        match text.char_indices().nth(letters) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

fn theme() -> Theme {
    Theme {
        background: "none".to_owned(),
        axis_color: "var(--line)".to_owned(),
        grid_color: "var(--grid)".to_owned(),
        tick_color: "var(--line)".to_owned(),
        text_color: "var(--ink)".to_owned(),
        legend_bg: "var(--card)".to_owned(),
        legend_border: "var(--line)".to_owned(),
        colorbar_border: "var(--line)".to_owned(),
        font_family: Some("system-ui, sans-serif".to_owned()),
        ..Theme::light()
    }
}

/// An axis of time with whole units and few enough marks.
fn time_axis(from_s: f64, to_s: f64, marks: f64) -> DateTimeAxis {
    use DateUnit::{Day, Hour, Minute, Month, Second, Year};
    const STEPS: [(f64, DateUnit, usize, &str); 20] = [
        (1.0, Second, 1, "%H:%M:%S"),
        (5.0, Second, 5, "%H:%M:%S"),
        (15.0, Second, 15, "%H:%M:%S"),
        (30.0, Second, 30, "%H:%M:%S"),
        (60.0, Minute, 1, "%H:%M"),
        (300.0, Minute, 5, "%H:%M"),
        (600.0, Minute, 10, "%H:%M"),
        (1_800.0, Minute, 30, "%H:%M"),
        (3_600.0, Hour, 1, "%H:%M"),
        (10_800.0, Hour, 3, "%d. %H:%M"),
        (21_600.0, Hour, 6, "%d. %H:%M"),
        (43_200.0, Hour, 12, "%m-%d %Hh"),
        (86_400.0, Day, 1, "%m-%d"),
        (259_200.0, Day, 3, "%m-%d"),
        (604_800.0, Day, 7, "%m-%d"),
        (2_678_400.0, Month, 1, "%Y-%m"),
        (8_035_200.0, Month, 3, "%Y-%m"),
        (31_622_400.0, Year, 1, "%Y"),
        (316_224_000.0, Year, 10, "%Y"),
        (3_162_240_000.0, Year, 100, "%Y"),
    ];
    let wanted_s = (to_s - from_s) / marks;
    let found = STEPS.iter().find(|(seconds, ..)| *seconds >= wanted_s);
    let (_, unit, step, format) = found.unwrap_or(&STEPS[STEPS.len() - 1]);
    DateTimeAxis { unit: unit.clone(), step: *step, format: (*format).to_owned() }
}

/// What an axis counts.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    PacketsPerSecond,
    BitsPerSecond,
    Share,
    Plain,
}

impl Unit {
    fn ticks(self) -> TickFormat {
        TickFormat::Custom(Arc::new(move |value| match self {
            Self::Share => format!("{:.0} %", value * 100.0),
            Self::PacketsPerSecond | Self::BitsPerSecond => short(value),
            Self::Plain => plain(value),
        }))
    }
}

/// `1.5 k`, `20 M`.
fn short(value: f64) -> String {
    const STEPS: [(f64, &str); 4] = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    let found = STEPS.iter().find(|(least, _)| value >= *least);
    found.map_or_else(|| plain(value), |(least, unit)| format!("{}{unit}", plain(value / least)))
}

/// At most two digits after the point, and none that say nothing.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

/// A stretch of time that is marked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marked<'a> {
    pub(super) from_s: f64,
    pub(super) to_s: f64,
    pub(super) severity: &'a str,
}

/// A severity's colour.
fn colour(severity: &str) -> &'static str {
    match severity {
        "critical" => "var(--critical)",
        "high" => "var(--high)",
        "medium" => "var(--medium)",
        "low" => "var(--low)",
        _ => "var(--informational)",
    }
}

/// Rates over time: the mean of each bucket as an area, its busiest second as a line.
pub(super) fn timeline(
    caption: String,
    unit: Unit,
    (from_s, to_s): (f64, f64),
    points: &[(f64, f64, f64)],
    marked: &[Marked<'_>],
) -> Chart {
    let top = points.iter().map(|&(.., peak)| peak).fold(1.0, f64::max);
    let shades = shades((from_s, to_s), marked);
    Chart::drawn(caption, |size| {
        let mean = LinePlot::new()
            .with_data(points.iter().map(|&(at, mean, _)| (at, mean)))
            .with_color(SERIES[0])
            .with_stroke_width(1.2)
            .with_step()
            .with_fill()
            .with_fill_opacity(0.3);
        let peak = LinePlot::new()
            .with_data(points.iter().map(|&(at, _, peak)| (at, peak)))
            .with_color(SERIES[1])
            .with_stroke_width(0.8)
            .with_step();
        let differ = points.iter().any(|&(_, mean, peak)| peak > mean * 1.01);
        let mut plots = vec![Plot::Line(mean)];
        if differ {
            plots.push(Plot::Line(peak));
        }
        let mut layout = Layout::new((from_s, to_s), (0.0, top * 1.05))
            .with_clamp_axis()
            .with_x_axis_min(from_s)
            .with_x_axis_max(to_s)
            .with_y_axis_min(0.0)
            .with_width(size.px())
            .with_height(190.0)
            .with_x_datetime(time_axis(from_s, to_s, size.time_marks()))
            .with_y_tick_format(unit.ticks())
            .with_ticks(4)
            .with_force_margins(size.left_px(), 30.0)
            .with_force_margins_y(10.0, BELOW_PX);
        for mark in &shades {
            let region = ShadedRegion::vertical(mark.from_s, mark.to_s);
            let region = region.with_color(colour(mark.severity)).with_opacity(0.22);
            layout = layout.with_shaded_region(region);
        }
        (plots, layout)
    })
}

/// What is marked without overlaps, by the worst of each time: shades on shades are dark
/// whatever they mean.
fn shades<'a>((from_s, to_s): (f64, f64), marked: &[Marked<'a>]) -> Vec<Marked<'a>> {
    // As wide as can be seen, however short it was.
    let least_s = (to_s - from_s) / 300.0;
    let marked: Vec<Marked<'_>> = marked
        .iter()
        .map(|mark| Marked {
            from_s: mark.from_s.clamp(from_s, to_s),
            to_s: mark.to_s.max(mark.from_s + least_s).clamp(from_s, to_s),
            severity: mark.severity,
        })
        .collect();
    let mut edges: Vec<f64> = marked.iter().flat_map(|mark| [mark.from_s, mark.to_s]).collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    let mut shades: Vec<Marked<'_>> = Vec::new();
    for pair in edges.windows(2) {
        let over = marked.iter().filter(|mark| mark.from_s <= pair[0] && mark.to_s >= pair[1]);
        let rank = |mark: &&Marked<'_>| SEVERITIES.iter().position(|name| *name == mark.severity);
        let Some(worst) = over.max_by_key(rank) else { continue };
        match shades.last_mut() {
            Some(last) if last.to_s == pair[0] && last.severity == worst.severity => {
                last.to_s = pair[1];
            }
            _ => shades.push(Marked { from_s: pair[0], to_s: pair[1], severity: worst.severity }),
        }
    }
    shades
}

/// One line on a chart of lanes.
#[derive(Clone, Debug)]
pub(super) struct Lane<'a> {
    pub(super) label: String,
    pub(super) marked: Marked<'a>,
}

/// When things went on, a lane each.
pub(super) fn lanes(caption: String, (from_s, to_s): (f64, f64), lanes: &[Lane<'_>]) -> Chart {
    Chart::drawn(caption, |size| {
        let least = (to_s - from_s) / 200.0;
        let mut gantt = GanttPlot::new().with_show_labels(false);
        for lane in lanes {
            let Marked { from_s, to_s, severity } = lane.marked;
            let to = to_s.max(from_s + least);
            gantt = gantt.with_colored_task(size.label(&lane.label), from_s, to, colour(severity));
        }
        let plots = vec![Plot::Gantt(gantt)];
        let layout = Layout::auto_from_plots(&plots)
            .with_x_axis_min(from_s)
            .with_x_axis_max(to_s)
            .with_clamp_axis()
            .with_width(size.px())
            .with_height(10.0 + BELOW_PX + 22.0 * lanes.len() as f64)
            .with_force_margins_y(10.0, BELOW_PX)
            .with_x_datetime(time_axis(from_s, to_s, size.time_marks() - 1.0));
        (plots, layout)
    })
}

/// Values of rows in columns, by colour; each doubling counts the same.
pub(super) fn heat(
    caption: String,
    rows: &[String],
    columns: [Vec<String>; 2],
    bytes: &[Vec<u64>],
) -> Chart {
    Chart::drawn(caption, |size| {
        let data = bytes.iter().map(|row| {
            row.iter().map(|&bytes| libm::log2(1.0 + bytes as f64)).collect::<Vec<f64>>()
        });
        let mixed = |share: f64| {
            format!("color-mix(in oklab, var(--heat) {:.0}%, var(--heat-none))", 100.0 * share)
        };
        let map = Heatmap::new()
            .with_data(data.collect::<Vec<_>>())
            .with_color_map(ColorMap::Custom(Arc::new(mixed)));
        let plots = vec![Plot::Heatmap(map)];
        let labels = rows.iter().map(|row| size.label(row)).collect();
        let [wide, narrow] = &columns;
        let columns = if size == Size::Wide { wide } else { narrow };
        let from_log =
            |value: f64| super::super::terminal::bytes((libm::exp2(value) - 1.0).max(0.0) as u64);
        let layout = Layout::auto_from_plots(&plots)
            .with_width(size.px())
            .with_height((10.0 + BELOW_PX + 20.0 * rows.len() as f64).max(140.0))
            .with_force_margins_y(10.0, BELOW_PX)
            .with_y_categories(labels)
            .with_x_categories(columns.clone())
            .with_colorbar_tick_format(TickFormat::Custom(Arc::new(from_log)));
        (plots, layout)
    })
}

/// Shares of sizes, next to each other.
pub(super) fn bars(
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

/// Of lines: those behind are wider, so that none hides another.
const WIDTHS: [f64; SERIES.len()] = [7.0, 5.5, 4.2, 3.0, 2.0, 1.2];

/// A line for each series over named values, in their order. Gaps where there is none.
pub(super) fn curves(
    caption: String,
    values: &[String],
    series: &[(String, Vec<Option<f64>>)],
    unit: Unit,
) -> Chart {
    Chart::drawn(caption, |size| {
        let mut plots = Vec::new();
        for ((_, points), (colour, width)) in series.iter().zip(SERIES.iter().zip(WIDTHS)) {
            let points = points.iter().enumerate();
            let points: Vec<(f64, f64)> =
                points.filter_map(|(at, value)| Some((1.0 + at as f64, (*value)?))).collect();
            // A value alone is no line, but it is a mark.
            let marks = ScatterPlot::new()
                .with_data(points.clone())
                .with_color(*colour)
                .with_size(width + 1.5);
            let line =
                LinePlot::new().with_data(points).with_color(*colour).with_stroke_width(width);
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
    fn shades_never_overlap_and_show_the_worst() {
        let mark = |from_s, to_s, severity| Marked { from_s, to_s, severity };
        let marked = [mark(0.0, 50.0, "low"), mark(20.0, 30.0, "high"), mark(45.0, 60.0, "low")];
        let shades = shades((0.0, 100.0), &marked);
        let told: Vec<_> = shades.iter().map(|it| (it.from_s, it.to_s, it.severity)).collect();
        let expected = [(0.0, 20.0, "low"), (20.0, 30.0, "high"), (30.0, 60.0, "low")];
        assert_eq!(told, expected);
    }

    #[test]
    fn labels_of_an_attacker_stay_text() {
        let lane = Lane {
            label: "</svg><script>alert(1)</script>".to_owned(),
            marked: Marked { from_s: 1.0, to_s: 2.0, severity: "high" },
        };
        let chart = lanes("x".to_owned(), (0.0, 10.0), &[lane]);
        assert!(!chart.svg().contains("<script") && chart.svg().contains("&lt;/svg&gt;"));
    }

    #[test]
    fn any_time_has_an_axis() {
        for (from_s, to_s) in [(0.0, 1.0), (-9.2e9, 9.2e9), (1.7e9, 1.7e9 + 1e-3)] {
            let points = [(from_s, 1.0, 2.0), (to_s, 0.0, 0.0)];
            let chart =
                timeline("x".to_owned(), Unit::PacketsPerSecond, (from_s, to_s), &points, &[]);
            assert_eq!(chart.svg().matches("<svg ").count(), 2);
            assert!(!chart.svg().contains("NaN") && !chart.svg().contains("inf"));
        }
    }
}
