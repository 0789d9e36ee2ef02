//! Labels of public data sets as the truth that [`score`](crate::lab::scenario::score) holds
//! alerts against.
//!
//! Read are the labelled flows of CIC-IDS2017 and CSE-CIC-IDS2018 (CSV), CTU-13
//! (binetflow) and UNSW-NB15 (CSV with and without header). Rows of one label, source and
//! destination are one attack as long as no more than [`LabelOptions::gap_ns`] lies between
//! them; each is expected to be hit by some alert about either end. What is no attack by
//! its label only says which time the file covers. The files are read line by line, and
//! attacks are bounded by [`MAX_ATTACKS`]. These readers were tested on rows written by hand
//! after the sets' own descriptions; a run on the sets themselves is pending. Start at
//! [`truth_of`].

mod cic;
mod ctu;
mod group;
mod line;
mod unsw;

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use csv::ByteRecord;

use crate::alert::{Severity, time_text};
use crate::detect::HomeNets;
use crate::lab::scenario::truth::{Attack, Expected, SCHEMA, Truth};
use group::Groups;
use line::ShortLines;

/// Attacks of one set of files: the largest set has some tens of thousands of pairs of hosts.
pub const MAX_ATTACKS: usize = 1 << 20;

/// Inside hosts that are counted.
const MAX_HOSTS: usize = 1 << 16;

/// An alert may begin so long after the last row: windows close, alerts end.
const LATE_NS: i64 = 300_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CicIds,
    Ctu13,
    UnswNb15,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::CicIds, Self::Ctu13, Self::UnswNb15];

    pub fn name(self) -> &'static str {
        match self {
            Self::CicIds => "cic-ids",
            Self::Ctu13 => "ctu-13",
            Self::UnswNb15 => "unsw-nb15",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct LabelOptions {
    /// By the first line, where it is not given.
    pub kind: Option<Kind>,
    /// Seconds east of UTC that local times have; by the set, where it is not given.
    pub offset_s: Option<i32>,
    /// Added to every time.
    pub shift_ns: i64,
    /// Rows further apart than this are another attack.
    pub gap_ns: i64,
    /// What an alert must have at least to be a hit.
    pub least: Severity,
}

/// A row, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row<'a> {
    /// Before the shift.
    start_ns: i64,
    end_ns: i64,
    src: IpAddr,
    dst: IpAddr,
    /// Nothing for what is no attack.
    label: Option<&'a str>,
}

/// A set's way to write a row.
trait Rows {
    /// Nothing for rows that say nothing: blank ones, repeated headers, those without IP
    /// addresses. `text` is where a label is put.
    fn row<'a>(&self, record: &ByteRecord, text: &'a mut String) -> Result<Option<Row<'a>>, Wrong>;
}

/// What is wrong in a record: the column, from 1, and why.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    column: usize,
    name: &'static str,
    why: String,
}

/// The truth of a file of labels, or of all files in a folder.
pub fn truth_of(path: &Path, options: &LabelOptions) -> Result<Truth> {
    let mut all = All {
        groups: Groups::new(options.gap_ns),
        hosts: HashSet::new(),
        home: HomeNets::default(),
        span: None,
    };
    for file in files(path)? {
        all.read(&file, options).with_context(|| file.display().to_string())?;
    }
    let (start_ns, end_ns) = all.span.ok_or_else(|| anyhow!("{}: no flows", path.display()))?;
    let mut attacks = Vec::new();
    let mut expects = Vec::new();
    for attack in all.groups.finish() {
        let ends = vec![attack.src.to_string(), attack.dst.to_string()];
        let label = format!("{}: {} to {}", attack.label, ends[0], ends[1]);
        let start = time_text(attack.start_ns);
        expects.push(Expected {
            name: format!("{label}, {start}"),
            detectors: vec!["*".to_owned()],
            entities: ends.clone(),
            analytic: None,
            severity: options.least,
            start: start.clone(),
            until: time_text(attack.end_ns.saturating_add(LATE_NS)),
        });
        attacks.push(Attack { label, start, end: time_text(attack.end_ns), entities: ends });
    }
    Ok(Truth {
        schema: SCHEMA.to_owned(),
        scenario: path.display().to_string(),
        seed: 0,
        start: time_text(start_ns),
        end: time_text(end_ns),
        home_hosts: all.hosts.len() as u64,
        log_host: None,
        packets: 0,
        wire_bytes: 0,
        attacks,
        expects,
        quiets: Vec::new(),
    })
}

/// Sets come as a file a day or scene.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().with_context(|| format!("can't read {}", path.display()))? {
        let file = entry.with_context(|| format!("can't read {}", path.display()))?.path();
        let extension = file.extension().and_then(|it| it.to_str()).unwrap_or_default();
        if extension.eq_ignore_ascii_case("csv") || extension.eq_ignore_ascii_case("binetflow") {
            files.push(file);
        }
    }
    files.sort();
    match files.is_empty() {
        true => bail!("{}: there is no .csv or .binetflow in it", path.display()),
        false => Ok(files),
    }
}

struct All {
    groups: Groups,
    hosts: HashSet<IpAddr>,
    home: HomeNets,
    span: Option<(i64, i64)>,
}

impl All {
    fn read(&mut self, path: &Path, options: &LabelOptions) -> Result<()> {
        let file = File::open(path).context("can't be opened")?;
        self.read_from(file, options)
    }

    fn read_from(&mut self, file: impl Read, options: &LabelOptions) -> Result<()> {
        // None of the sets quotes; a stray quote must not swallow what follows.
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .quoting(false)
            .from_reader(ShortLines::new(file));
        let mut record = ByteRecord::new();
        let mut text = String::new();
        let mut rows: Option<Box<dyn Rows>> = None;
        while reader.read_byte_record(&mut record).map_err(plain)? {
            let line = record.position().map_or(0, csv::Position::line);
            let known = match &rows {
                Some(known) => known,
                None => {
                    if line == 1 {
                        without_mark(&mut record);
                    }
                    let (found, is_header) =
                        recognise(&record, options).with_context(|| format!("line {line}"))?;
                    let found = rows.insert(found);
                    if is_header {
                        continue;
                    }
                    found
                }
            };
            let row = known.row(&record, &mut text).map_err(|Wrong { column, name, why }| {
                anyhow!("line {line}, column {column} ({name}): {why}")
            })?;
            if let Some(row) = row {
                self.take(row, options.shift_ns).with_context(|| format!("line {line}"))?;
            }
        }
        match rows {
            Some(_) => Ok(()),
            None => bail!("it is empty"),
        }
    }

    fn take(&mut self, row: Row<'_>, shift_ns: i64) -> Result<()> {
        let start_ns = row.start_ns.saturating_add(shift_ns);
        let end_ns = row.end_ns.saturating_add(shift_ns).max(start_ns);
        let (first_ns, last_ns) = self.span.unwrap_or((start_ns, end_ns));
        self.span = Some((first_ns.min(start_ns), last_ns.max(end_ns)));
        for end in [row.src, row.dst] {
            if self.hosts.len() < MAX_HOSTS && self.home.contains_ip(end) {
                self.hosts.insert(end);
            }
        }
        match row.label {
            Some(label) => self.groups.add(label, (row.src, row.dst), (start_ns, end_ns)),
            None => Ok(()),
        }
    }
}

/// How a file writes its rows, and whether its first line is a header.
fn recognise(first: &ByteRecord, options: &LabelOptions) -> Result<(Box<dyn Rows>, bool)> {
    let names: Vec<String> = first.iter().map(text_of).collect();
    let wanted = |kind| options.kind.is_none_or(|told| told == kind);
    if wanted(Kind::Ctu13)
        && let Some(rows) = ctu::Ctu::from_header(&names, options.offset_s)
    {
        return Ok((Box::new(rows), true));
    }
    if wanted(Kind::CicIds)
        && let Some(rows) = cic::Cic::from_header(&names, options.offset_s)?
    {
        return Ok((Box::new(rows), true));
    }
    if wanted(Kind::UnswNb15)
        && let Some(found) = unsw::Unsw::from_first(&names)?
    {
        return Ok((Box::new(found.0), found.1));
    }
    let told = options
        .kind
        .map_or_else(|| Kind::ALL.map(Kind::name).join(", "), |kind| kind.name().to_owned());
    bail!("it begins like no file of labels that is read ({told}), nor like a scenario's truth")
}

/// UTF-8's byte order mark, which one of the sets begins with.
fn without_mark(record: &mut ByteRecord) {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if record.get(0).is_some_and(|first| first.starts_with(MARK)) {
        let fields = record.iter().enumerate().map(|(at, field)| match at {
            0 => field.get(MARK.len()..).unwrap_or_default(),
            _ => field,
        });
        let mut other: ByteRecord = fields.collect();
        other.set_position(record.position().cloned());
        *record = other;
    }
}

/// A field without the blanks around it. One set has single bytes of Windows' code page in
/// its labels.
fn text_of(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim().to_owned()
}

/// Errors of csv say no more than their source does.
fn plain(error: csv::Error) -> anyhow::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => anyhow!("{other:?}"),
    }
}

/// A column of a file.
#[derive(Clone, Copy, Debug)]
struct Column {
    at: usize,
    name: &'static str,
}

impl Column {
    /// The first that has one of these names.
    fn find(names: &[String], any_of: &[&'static str]) -> Option<Self> {
        names.iter().enumerate().find_map(|(at, found)| {
            let name = any_of.iter().find(|name| found.eq_ignore_ascii_case(name))?;
            Some(Self { at, name })
        })
    }

    fn text(self, record: &ByteRecord) -> Result<std::borrow::Cow<'_, str>, Wrong> {
        let field = record.get(self.at);
        let field = field.ok_or_else(|| self.wrong("the row ends before it".to_owned()))?;
        Ok(String::from_utf8_lossy(field.trim_ascii()))
    }

    fn number(self, record: &ByteRecord) -> Result<f64, Wrong> {
        let text = self.text(record)?;
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.wrong(format!("'{text}' is no number"))),
        }
    }

    /// Nothing for what is another kind of address: flows of ARP have MACs.
    fn address(self, record: &ByteRecord) -> Result<Option<IpAddr>, Wrong> {
        Ok(self.text(record)?.parse().ok())
    }

    fn wrong(self, why: String) -> Wrong {
        Wrong { column: self.at + 1, name: self.name, why }
    }
}

/// A civil time at an offset from UTC.
fn at_offset(
    (year, month, day): (i16, i8, i8),
    (hour, minute, second): (i8, i8, i8),
    offset_s: i32,
) -> Option<i64> {
    let time = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let utc = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    utc.checked_sub(i64::from(offset_s))?.checked_mul(1_000_000_000)
}

#[cfg(test)]
mod tests;
