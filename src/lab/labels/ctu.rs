//! Bidirectional flows of CTU-13 (`*.binetflow`), as Argus wrote them.
//!
//! An attack is what a label names as from a bot: `flow=From-Botnet-...`; normal and
//! background flows, and what is sent to a bot, are none. Times are taken for local in
//! Prague in August 2011 (UTC+2): a time without a zone, of a set made there. No source was
//! found that says so, so that is assumed; `--time-zone` says another.

use csv::ByteRecord;

use super::{Column, Row, Rows, Wrong, at_offset};

const AUGUST_2011_S: i32 = 2 * 3_600;

#[derive(Debug)]
pub(super) struct Ctu {
    start: Column,
    duration: Column,
    src: Column,
    dst: Column,
    label: Column,
    offset_s: i32,
}

impl Ctu {
    pub(super) fn from_header(names: &[String], offset_s: Option<i32>) -> Option<Self> {
        let find = |name| Column::find(names, &[name]);
        Some(Self {
            start: find("StartTime")?,
            duration: find("Dur")?,
            src: find("SrcAddr")?,
            dst: find("DstAddr")?,
            label: find("Label")?,
            offset_s: offset_s.unwrap_or(AUGUST_2011_S),
        })
    }
}

impl Rows for Ctu {
    fn row<'a>(&self, record: &ByteRecord, text: &'a mut String) -> Result<Option<Row<'a>>, Wrong> {
        let label = self.label.text(record)?;
        text.clear();
        text.push_str(label.strip_prefix("flow=").unwrap_or(&label));
        let start = self.start.text(record)?;
        let start_ns = time_of(&start, self.offset_s).ok_or_else(|| {
            self.start.wrong(format!("'{start}' is no time: YEAR/MONTH/DAY HOUR:MINUTE:SECOND"))
        })?;
        let duration_s = self.duration.number(record)?.max(0.0);
        let (Some(src), Some(dst)) = (self.src.address(record)?, self.dst.address(record)?) else {
            return Ok(None);
        };
        let end_ns = start_ns.saturating_add((duration_s * 1e9) as i64);
        let label = text.starts_with("From-Botnet").then_some(text.as_str());
        Ok(Some(Row { start_ns, end_ns, src, dst, label }))
    }
}

fn time_of(text: &str, offset_s: i32) -> Option<i64> {
    let (date, clock) = text.split_once(' ')?;
    let mut date = date.split('/');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let mut clock = clock.split(':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    if date.next().is_some() || clock.next().is_some() {
        return None;
    }
    let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
    let whole_ns = at_offset(
        (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?),
        (hour.parse().ok()?, minute.parse().ok()?, second.parse().ok()?),
        offset_s,
    )?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || fraction.len() > 9 {
        return None;
    }
    let fraction_ns: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole_ns.checked_add(fraction_ns)
}
