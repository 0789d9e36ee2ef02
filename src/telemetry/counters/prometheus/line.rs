//! A line of the text format: labels, value, time stamp.

use std::borrow::Cow;

use memchr::memchr2;

use crate::telemetry::decode::Bad;

/// Longest list of labels; cAdvisor writes all of a container's own as such.
const MAX_LABELS: usize = 256;

/// Names and values, in the line's order.
type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// What follows the name of a metric.
pub(super) struct Line<'a> {
    labels: Labels<'a>,
    value: &'a [u8],
    time: Option<&'a [u8]>,
}

/// A metric's name, and the rest of its line.
pub(super) fn name(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    let end = line.iter().position(|&byte| matches!(byte, b'{' | b' ' | b'\t'));
    line.split_at(end.unwrap_or(line.len()))
}

impl<'a> Line<'a> {
    pub(super) fn of(rest: &'a [u8]) -> Result<Self, Bad> {
        let text = std::str::from_utf8(rest).map_err(|_| Bad::value("not UTF-8", rest))?;
        let text = text.trim_start();
        let (labels, rest) = match text.strip_prefix('{') {
            Some(text) => labels(text).ok_or_else(|| Bad::value("not labels", text.as_bytes()))?,
            None => (Vec::new(), text),
        };
        // Behind a `#` OpenMetrics has an exemplar.
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let mut words = rest.split_ascii_whitespace().map(str::as_bytes);
        let value = words.next().ok_or_else(|| Bad::new("no value"))?;
        let time = words.next();
        match words.next() {
            Some(word) => Err(Bad::value("more than a value and a time", word)),
            None => Ok(Self { labels, value, time }),
        }
    }

    pub(super) fn labels(&self) -> &[(&'a str, Cow<'a, str>)] {
        &self.labels
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// A counter's value: written as a float, a whole number.
    pub(super) fn count(&self) -> Result<u64, Bad> {
        let value = self.float(self.value).map(f64::round);
        match value {
            Some(value) if (0.0..1.8e19).contains(&value) => Ok(value as u64),
            _ => Err(Bad::value("not a count", self.value)),
        }
    }

    /// Milliseconds since the epoch, in OpenMetrics seconds: told apart by their size.
    pub(super) fn time_ns(&self) -> Result<Option<i64>, Bad> {
        /// As seconds the year 5138, as milliseconds 1973.
        const LEAST_MS: f64 = 1e11;
        let Some(text) = self.time else { return Ok(None) };
        let bad = || Bad::value("not a time", text);
        let value = self.float(text).ok_or_else(bad)?;
        let ms = if value < LEAST_MS { value * 1000.0 } else { value };
        if !(0.0..9e12).contains(&ms) {
            return Err(bad());
        }
        Ok(Some(ms.round() as i64 * 1_000_000))
    }

    fn float(&self, text: &[u8]) -> Option<f64> {
        std::str::from_utf8(text).ok()?.parse().ok()
    }
}

/// `name="value",...}`, and what follows.
fn labels(mut text: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Labels::new();
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = quoted(rest.trim_start().strip_prefix('"')?)?;
        if labels.len() == MAX_LABELS {
            return None;
        }
        labels.push((name.trim_end(), value));
        text = rest;
    }
}

/// A text up to its closing quote with `\\`, `\"` and `\n` undone, and what follows.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = memchr2(b'"', b'\\', text.as_bytes())?;
    if text.as_bytes().get(end) == Some(&b'"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = text[..end].to_owned();
    let mut letters = text[end..].char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((Cow::Owned(value), &text[end + at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_escapes_and_any_spaces() {
        let line = Line::of(br#"{ a = "x,y}" , b="say \"hi\"\\\n",} 12 1772360101900"#).unwrap();
        assert_eq!(line.labels().len(), 2);
        assert_eq!((line.label("a"), line.label("b")), (Some("x,y}"), Some("say \"hi\"\\\n")));
        assert_eq!(line.count().unwrap(), 12);
        assert_eq!(line.time_ns().unwrap(), Some(1_772_360_101_900_000_000));
    }

    #[test]
    fn values_are_floats_and_times_of_either_format() {
        let line = Line::of(b" 4.61746886e+08 1772360101.9 # {trace_id=\"1\"} 2").unwrap();
        assert_eq!(line.count().unwrap(), 461_746_886);
        assert_eq!(line.time_ns().unwrap(), Some(1_772_360_101_900_000_000));
        for value in ["NaN", "+Inf", "-1", "1e300", "x"] {
            assert!(Line::of(value.as_bytes()).unwrap().count().is_err(), "{value}");
        }
        for time in ["NaN", "-1", "1e300", "x"] {
            assert!(Line::of(format!("1 {time}").as_bytes()).unwrap().time_ns().is_err(), "{time}");
        }
    }

    #[test]
    fn lines_that_are_none_are_told() {
        for line in ["", "{", "{a=\"", "{a=\"x\\", "{a=x} 1", "{a=\"x\"}", "1 2 3", "{\"m\"} 1"] {
            assert!(Line::of(line.as_bytes()).is_err(), "{line}");
        }
        assert!(Line::of(b"{a=\"\xff\"} 1").is_err());
    }
}
