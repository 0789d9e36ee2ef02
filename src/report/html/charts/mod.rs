//! Charts as SVG that follows the page's theme.
//!
//! Drawn by kuva. Colours are the page's CSS variables, so that one drawing serves light,
//! dark and paper; each chart is drawn twice, for a wide and for a narrow screen, because
//! text in a drawing that is only made smaller can't be read on a phone. Nothing here needs
//! a script. Texts are escaped by kuva and made printable here. Start at [`timeline`],
//! [`heat`], [`bars`], [`lanes`] and [`curves`].

mod time;
mod values;

use std::fmt::Write as _;
use std::sync::Arc;

use kuva::backend::svg::SvgBackend;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;
use kuva::render::theme::Theme;

pub(super) use time::{Lane, Marked, lanes, timeline};
pub(super) use values::{bars, curves, heat};

use super::super::detail::printable;

/// Widths of the two drawings in CSS pixels: of a column of text on a large screen, and of
/// a phone's screen less its margins.
const WIDE_PX: f64 = 920.0;
const NARROW_PX: f64 = 350.0;

/// For the marks of an axis below a chart; captions are the page's.
const BELOW_PX: f64 = 26.0;

/// Letters of a label: more leave no room for what it is about.
const LABEL_LETTERS: [usize; 2] = [34, 22];

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
