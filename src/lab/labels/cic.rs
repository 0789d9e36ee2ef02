//! Labelled flows of CIC-IDS2017 and CSE-CIC-IDS2018, as CICFlowMeter wrote them.
//!
//! - 2017 (`TrafficLabelling`): `Source IP`, `Destination IP`, names with a blank before
//!   them; times day first, often without seconds. 2018: `Src IP`, `Dst IP`; most of its
//!   files lack both and can't be scored.
//! - The clock has twelve hours and does not say which: both sets were recorded by day,
//!   so hours from 1 to 7 are after noon. Where AM or PM is there, it counts.
//! - Times are local in Fredericton: UTC-3 in July 2017 (users found its labels three hours
//!   off the captures, and on a clock of twelve hours: ahlashkari/CICFlowMeter, issue 173).
//!   UTC-4 in February 2018: the set's author names AST for its schedule of attacks (issue 69
//!   there); that the files of flows keep to it is assumed. CICFlowMeter writes in the zone of
//!   the machine that it runs on (GintsEngelen/WTMC2021-Code, issue 5), so files made anew
//!   have another: `--time-zone` says which.
//! - `Flow Duration` is in microseconds, and below 0 at times. Blank rows and headers
//!   within a file are passed over.

use anyhow::{Result, bail};
use csv::ByteRecord;

use super::{Column, Row, Rows, Wrong, at_offset};

const JULY_2017_S: i32 = -3 * 3_600;
const FEBRUARY_2018_S: i32 = -4 * 3_600;

/// Before it, an hour without AM and PM is after noon.
const FIRST_HOUR: i8 = 8;

#[derive(Debug)]
pub(super) struct Cic {
    src: Column,
    dst: Column,
    time: Column,
    duration: Option<Column>,
    label: Column,
    offset_s: i32,
}

impl Cic {
    pub(super) fn from_header(names: &[String], offset_s: Option<i32>) -> Result<Option<Self>> {
        let (Some(time), Some(label)) =
            (Column::find(names, &["Timestamp"]), Column::find(names, &["Label"]))
        else {
            return Ok(None);
        };
        let src = Column::find(names, &["Source IP", "Src IP"]);
        let dst = Column::find(names, &["Destination IP", "Dst IP"]);
        let (Some(src), Some(dst)) = (src, dst) else {
            bail!(
                "it has no column of source or destination addresses: take the files that have \
                 (of 2017 TrafficLabelling, of 2018 the one of 20 February)"
            );
        };
        let usual_s = if src.name == "Source IP" { JULY_2017_S } else { FEBRUARY_2018_S };
        Ok(Some(Self {
            src,
            dst,
            time,
            duration: Column::find(names, &["Flow Duration"]),
            label,
            offset_s: offset_s.unwrap_or(usual_s),
        }))
    }
}

impl Rows for Cic {
    fn row<'a>(&self, record: &ByteRecord, text: &'a mut String) -> Result<Option<Row<'a>>, Wrong> {
        if record.iter().all(|field| field.trim_ascii().is_empty()) {
            return Ok(None);
        }
        let label = self.label.text(record)?;
        if label.eq_ignore_ascii_case("Label") {
            return Ok(None);
        }
        text.clear();
        text.push_str(&label);
        let time = self.time.text(record)?;
        let start_ns = time_of(&time, self.offset_s).ok_or_else(|| {
            self.time.wrong(format!("'{time}' is no time: DAY/MONTH/YEAR HOUR:MINUTE[:SECOND]"))
        })?;
        let duration_us = match self.duration {
            Some(column) => column.number(record)?.max(0.0),
            None => 0.0,
        };
        let (Some(src), Some(dst)) = (self.src.address(record)?, self.dst.address(record)?) else {
            return Ok(None);
        };
        let is_benign = text.eq_ignore_ascii_case("BENIGN") || text.is_empty();
        let end_ns = start_ns.saturating_add((duration_us * 1e3) as i64);
        let label = (!is_benign).then_some(text.as_str());
        Ok(Some(Row { start_ns, end_ns, src, dst, label }))
    }
}

fn time_of(text: &str, offset_s: i32) -> Option<i64> {
    let mut words = text.split_ascii_whitespace();
    let (date, clock, half) = (words.next()?, words.next()?, words.next());
    let mut date = date.split('/');
    let (day, month, year) = (date.next()?, date.next()?, date.next()?);
    let mut clock = clock.split(':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next().unwrap_or("0"));
    if date.next().is_some() || clock.next().is_some() || words.next().is_some() {
        return None;
    }
    let told: i8 = hour.parse().ok()?;
    let hour = match half {
        Some(half) if half.eq_ignore_ascii_case("AM") => told % 12,
        Some(half) if half.eq_ignore_ascii_case("PM") => told % 12 + 12,
        Some(_) => return None,
        None if (1..FIRST_HOUR).contains(&told) => told + 12,
        None => told,
    };
    at_offset(
        (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?),
        (hour, minute.parse().ok()?, second.parse().ok()?),
        offset_s,
    )
}
