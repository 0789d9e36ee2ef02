//! HTML that can't be broken by what is in it.
//!
//! Names in traffic are an attacker's. Markup is `&'static str`, so it can only come from
//! this program; all else goes through [`Html::text`] or [`embedded_json`]. The page has a
//! Content-Security-Policy on top of that: a mistake here would still run nothing.
//! Start at [`Html`] and [`Table`].

use std::fmt::Write as _;

use super::super::detail::printable;
use crate::alert::thousands;

/// Rows from which a table has a field to filter by.
const FILTERED_FROM: usize = 12;

/// Rows of a table up to which it is not cut at the end of a page.
const SHORT_ROWS: usize = 8;

/// Letters of a fact's value that fit beside another fact.
const FACT_LETTERS: usize = 44;

/// Of the styles, in the order of [`super::charts::SERIES`].
const SERIES_CLASSES: [&str; super::charts::SERIES.len()] = ["s1", "s2", "s3", "s4", "s5", "s6"];

/// Letters up to which a cell's text stays in one line.
const WORD_LETTERS: usize = 26;

#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Markup of ours.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Any text, as text: in an element or in a quoted attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        escape(&mut self.0, text);
        self
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.0.push_str(&thousands(number));
        self
    }

    /// What another builder made.
    pub(super) fn add(&mut self, part: Self) -> &mut Self {
        self.0.push_str(&part.0);
        self
    }

    /// A chart of [`super::charts`], which escapes what is in it.
    pub(super) fn chart(&mut self, chart: &super::charts::Chart) -> &mut Self {
        self.raw("<figure class=\"chart\">");
        self.0.push_str(chart.svg());
        self.raw("<figcaption>").text(chart.caption());
        for (name, class) in chart.legend().iter().zip(SERIES_CLASSES) {
            self.raw(" <span class=\"key ").raw(class).raw("\">").text(name).raw("</span>");
        }
        self.raw("</figcaption></figure>\n")
    }

    /// Data for the page's script.
    pub(super) fn json(&mut self, id: &'static str, json: &str) -> &mut Self {
        self.raw("<script type=\"application/json\" id=\"").raw(id).raw("\">");
        self.0.push_str(&embedded_json(json));
        self.raw("</script>\n")
    }

    pub(super) fn heading(&mut self, id: &'static str, title: &'static str) -> &mut Self {
        self.raw("<h2 id=\"").raw(id).raw("\">").raw(title).raw("</h2>\n")
    }

    pub(super) fn paragraph(&mut self, text: &str) -> &mut Self {
        self.raw("<p>").text(text).raw("</p>\n")
    }

    /// Names and values; those without a value are left out.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) -> &mut Self {
        self.raw("<dl class=\"facts\">");
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            // A long one needs a line of its own.
            let long = value.chars().count() > FACT_LETTERS;
            self.raw(if long { "<div class=\"long\"><dt>" } else { "<div><dt>" })
                .text(&name.replace('_', " "))
                .raw("</dt><dd>")
                .text(value)
                .raw("</dd></div>");
        }
        self.raw("</dl>\n")
    }

    /// The figures to begin with.
    pub(super) fn tiles(&mut self, tiles: &[(&'static str, String)]) -> &mut Self {
        self.raw("<div class=\"tiles\">");
        for (name, value) in tiles {
            self.raw("<div class=\"tile\"><b>").text(value).raw("</b><span>").raw(name);
            self.raw("</span></div>");
        }
        self.raw("</div>\n")
    }

    pub(super) fn badge(&mut self, severity: &str) -> &mut Self {
        self.raw("<span class=\"badge\" data-severity=\"").text(severity).raw("\">");
        self.text(severity).raw("</span>")
    }

    pub(super) fn table(&mut self, table: &Table) -> &mut Self {
        table.write(self);
        self
    }
}

fn escape(out: &mut String, text: &str) {
    for letter in printable(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
}

/// JSON that ends no script element and begins no comment in one. Letters that HTML minds
/// stand in strings only, where an escape means the same.
pub(super) fn embedded_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' | '>' | '&' | '\'' | '\u{2028}' | '\u{2029}' => {
                // Writing to a String can't fail.
                let _ = write!(safe, "\\u{:04x}", u32::from(letter));
            }
            letter => safe.push(letter),
        }
    }
    safe
}

#[derive(Debug)]
pub(super) enum Cell {
    Text(String),
    /// Sorted by the number, shown as it is or in words.
    Number(u64),
    Shown(f64, String),
    Severity(String),
    /// Hit or missed.
    Hit(bool),
    /// To an element of this page.
    Link {
        to: String,
        text: String,
    },
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl Cell {
    /// Bytes, in the unit that suits them.
    pub(super) fn bytes(bytes: u64) -> Self {
        Self::Shown(bytes as f64, super::super::terminal::bytes(bytes))
    }

    /// Nothing to show sorts below all.
    pub(super) fn figure(figure: Option<f64>) -> Self {
        match figure {
            Some(figure) => Self::Shown(figure, figure_text(figure)),
            None => Self::Shown(-1.0, "–".to_owned()),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Shown(..))
    }
}

/// Digits that say something of a figure that was measured.
const DIGITS: i32 = 6;

/// Without the digits in which binary fractions differ from decimal ones.
pub(super) fn figure_text(figure: f64) -> String {
    let before_point = if figure == 0.0 { 0.0 } else { libm::floor(libm::log10(figure.abs())) };
    let after_point = (DIGITS - 1 - before_point as i32).clamp(0, 12) as usize;
    let text = format!("{figure:.after_point$}");
    if after_point == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A table that sorts by its heads and, with some rows, filters.
#[derive(Debug)]
pub(super) struct Table {
    caption: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(caption: &'static str, columns: &[&'static str]) -> Self {
        Self { caption, columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "{}", self.caption);
        self.rows.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn write(&self, out: &mut Html) {
        out.raw("<div class=\"table");
        // On paper it stays in one piece.
        out.raw(if self.rows.len() <= SHORT_ROWS { " short\"" } else { "\"" });
        if self.rows.len() >= FILTERED_FROM {
            out.raw(" data-filter");
        }
        out.raw("><table><caption>").raw(self.caption).raw("</caption><thead><tr>");
        for (at, column) in self.columns.iter().enumerate() {
            let number = self.rows.first().and_then(|row| row.get(at)).is_some_and(Cell::is_number);
            out.raw(if number { "<th scope=\"col\" class=\"n\">" } else { "<th scope=\"col\">" });
            out.raw(column).raw("</th>");
        }
        out.raw("</tr></thead><tbody>\n");
        for row in &self.rows {
            out.raw("<tr>");
            for (cell, column) in row.iter().zip(&self.columns) {
                out.raw("<td data-head=\"").raw(column).raw("\"");
                cell.write(out);
                out.raw("</td>");
            }
            out.raw("</tr>\n");
        }
        out.raw("</tbody></table></div>\n");
    }
}

impl Cell {
    /// From inside the cell's tag on.
    fn write(&self, out: &mut Html) {
        match self {
            // Broken in two, a short one is hard to read.
            Self::Text(text) if text.len() <= WORD_LETTERS => out.raw(" class=\"w\">").text(text),
            Self::Text(text) => out.raw(">").text(text),
            Self::Number(number) => {
                out.raw(" class=\"n\" data-sort=\"").text(&number.to_string());
                out.raw("\">").number(*number)
            }
            Self::Shown(value, shown) => {
                out.raw(" class=\"n\" data-sort=\"").text(&value.to_string());
                out.raw("\">").text(shown)
            }
            Self::Severity(severity) => {
                let rank = SEVERITIES.iter().position(|name| name == severity).unwrap_or_default();
                out.raw(" class=\"w\" data-sort=\"")
                    .text(&rank.to_string())
                    .raw("\">")
                    .badge(severity)
            }
            Self::Hit(hit) => {
                let (rank, word) = if *hit { ("1", "hit") } else { ("0", "missed") };
                out.raw(" class=\"w\" data-sort=\"").raw(rank).raw("\">").badge(word)
            }
            Self::Link { to, text } => {
                out.raw(" class=\"w\"><a href=\"#").text(to).raw("\">").text(text).raw("</a>")
            }
        };
    }
}

/// From the least on.
pub(super) const SEVERITIES: [&str; 5] = ["informational", "low", "medium", "high", "critical"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_in_elements_and_attributes() {
        let mut html = Html::default();
        html.text("<img src=x onerror='a(\"&\")'>\u{202e}\0");
        assert_eq!(
            html.into_string(),
            "&lt;img src=x onerror=&#39;a(&quot;&amp;&quot;)&#39;&gt;\\u{202e}\\u{0}"
        );
    }

    #[test]
    fn figures_have_the_digits_that_say_something() {
        let shown = [0.1 + 0.2, 0.449_999_999_999_999_96, 1_435_462.0, 7.061_805_555, 0.0, 1e-9];
        let shown = shown.map(figure_text);
        assert_eq!(shown, ["0.3", "0.45", "1435462", "7.06181", "0", "0.000000001"]);
    }

    #[test]
    fn embedded_json_ends_no_script_and_means_the_same() {
        let value =
            serde_json::json!(["</script><script>alert(1)</script>", "<!--", "a&b\u{2028}"]);
        let safe = embedded_json(&value.to_string());
        assert!(!safe.contains(['<', '>', '&', '\u{2028}']), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
