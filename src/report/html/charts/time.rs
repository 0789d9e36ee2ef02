//! Charts over time: rates with alerts marked on them, and lanes.

use kuva::plot::{GanttPlot, LinePlot};
use kuva::render::annotations::ShadedRegion;
use kuva::render::datetime::{DateTimeAxis, DateUnit};
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

use super::{BELOW_PX, Chart, SERIES, Unit};
use crate::report::html::markup::SEVERITIES;

/// A stretch of time that is marked.
#[derive(Clone, Copy, Debug)]
pub(in crate::report::html) struct Marked<'a> {
    pub(in crate::report::html) from_s: f64,
    pub(in crate::report::html) to_s: f64,
    pub(in crate::report::html) severity: &'a str,
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
pub(in crate::report::html) fn timeline(
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
pub(in crate::report::html) struct Lane<'a> {
    pub(in crate::report::html) label: String,
    pub(in crate::report::html) marked: Marked<'a>,
}

/// When things went on, a lane each.
pub(in crate::report::html) fn lanes(
    caption: String,
    (from_s, to_s): (f64, f64),
    lanes: &[Lane<'_>],
) -> Chart {
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
