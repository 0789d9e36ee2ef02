//! Flows of UNSW-NB15: `UNSW-NB15_1.csv` to `_4.csv`, which have 49 columns and no header
//! (the first begins with a byte order mark), and copies with the columns' names.
//!
//! Times (`Stime`, `Ltime`) are seconds since 1970: the set's list of features has them as
//! time stamps, and as whole seconds they are of UTC whatever the zone. That its clock was
//! right is assumed; `--shift` moves them. `Label` is 1 for attacks, whose category has blanks around it
//! at times. The sets for training and testing have no addresses.

use std::net::IpAddr;

use anyhow::{Result, bail};
use csv::ByteRecord;

use super::{Column, Row, Rows, Wrong};

const COLUMNS: usize = 49;

#[derive(Debug)]
pub(super) struct Unsw {
    src: Column,
    dst: Column,
    start: Column,
    end: Column,
    category: Column,
    label: Column,
}

impl Unsw {
    /// Whether the first line is a header, too.
    pub(super) fn from_first(first: &[String]) -> Result<Option<(Self, bool)>> {
        if let Some(category) = Column::find(first, &["attack_cat"]) {
            let find = |name| Column::find(first, &[name]);
            let (Some(src), Some(dst), Some(start), Some(end), Some(label)) =
                (find("srcip"), find("dstip"), find("Stime"), find("Ltime"), find("Label"))
            else {
                bail!(
                    "it has no addresses or times (srcip, dstip, Stime, Ltime, Label): take \
                     UNSW-NB15_1.csv to _4.csv, not the sets for training and testing"
                );
            };
            return Ok(Some((Self { src, dst, start, end, category, label }, true)));
        }
        let is_address = |at: usize| first.get(at).is_some_and(|it| it.parse::<IpAddr>().is_ok());
        if first.len() != COLUMNS || !is_address(0) || !is_address(2) {
            return Ok(None);
        }
        let column = |at, name| Column { at, name };
        let rows = Self {
            src: column(0, "srcip"),
            dst: column(2, "dstip"),
            start: column(28, "Stime"),
            end: column(29, "Ltime"),
            category: column(47, "attack_cat"),
            label: column(48, "Label"),
        };
        Ok(Some((rows, false)))
    }
}

impl Rows for Unsw {
    fn row<'a>(&self, record: &ByteRecord, text: &'a mut String) -> Result<Option<Row<'a>>, Wrong> {
        let label = self.label.text(record)?;
        let is_attack = match &*label {
            "0" => false,
            "1" => true,
            other => return Err(self.label.wrong(format!("'{other}' is neither 0 nor 1"))),
        };
        text.clear();
        text.push_str(&self.category.text(record)?);
        if text.is_empty() {
            text.push_str("attack");
        }
        let seconds = |column: Column| -> Result<i64, Wrong> {
            let number = column.number(record)?;
            match (0.0..9e9).contains(&number) {
                true => Ok((number * 1e9) as i64),
                false => Err(column.wrong(format!("{number} is no time since 1970"))),
            }
        };
        let (start_ns, end_ns) = (seconds(self.start)?, seconds(self.end)?);
        let (Some(src), Some(dst)) = (self.src.address(record)?, self.dst.address(record)?) else {
            return Ok(None);
        };
        Ok(Some(Row { start_ns, end_ns, src, dst, label: is_attack.then_some(text.as_str()) }))
    }
}
