//! Whose address it is, by an MMDB file or a list of prefixes (`prefix,owner,note`).

use std::net::IpAddr;
use std::sync::Arc;

use super::list::{each, value};
use super::mmdb::Mmdb;
use super::{Absence, Origin, Owner};
use crate::host::table::{Blocks, Columns, Content, Row, Table, TableError, Warning, block, shown};

/// Commercial MMDB files of everything are about as large; lists are never.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// One file of owners.
#[derive(Debug)]
pub struct Owners {
    file: String,
    as_of_ns: i64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Mmdb(Mmdb),
    List(Blocks<Entry>),
}

#[derive(Debug)]
struct Entry {
    owner: Arc<str>,
    note: Arc<str>,
    asn: Option<u32>,
    country: Option<Arc<str>>,
    line: u64,
}

impl Owners {
    /// The owner, or why there is none.
    pub(super) fn of(&self, address: IpAddr, at_ns: i64) -> Result<Owner, Absence> {
        let origin = Origin::new(&self.file, self.as_of_ns, at_ns);
        match &self.source {
            Source::Mmdb(mmdb) => mmdb.owner(address, origin),
            Source::List(list) => {
                let (prefix, entry) = list.longest(address).ok_or(Absence::NothingKnown)?;
                Ok(Owner {
                    name: entry.owner.to_string(),
                    asn: entry.asn,
                    country: entry.country.as_deref().map(str::to_owned),
                    country_file: None,
                    note: entry.note.to_string(),
                    prefix,
                    origin,
                })
            }
        }
    }
}

impl Table for Owners {
    const MAX_BYTES: u64 = MAX_FILE_BYTES;

    fn parse(content: Content) -> Result<(Self, Vec<Warning>), TableError> {
        let file = content.file.clone();
        if Mmdb::is_one(&content) {
            let mmdb = Mmdb::open(content)?;
            let as_of_ns = mmdb.built_ns();
            return Ok((Self { file, as_of_ns, source: Source::Mmdb(mmdb) }, Vec::new()));
        }
        let mut blocks = Blocks::default();
        let add = |row: &Row<'_>, columns: &Columns<Field>| add(&mut blocks, &file, row, columns);
        let order = [Field::Prefix, Field::Owner, Field::Note];
        let warning = each(&content, &order, "prefix, owner", Field::of, add)?;
        let source = Source::List(blocks);
        Ok((Self { file, as_of_ns: content.modified_ns, source }, warning.into_iter().collect()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Prefix,
    Owner,
    Note,
    Asn,
    Country,
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "prefix" | "network" | "cidr" | "address" => Self::Prefix,
            "owner" | "organization" | "organisation" | "name" => Self::Owner,
            "note" | "comment" => Self::Note,
            "asn" => Self::Asn,
            "country" => Self::Country,
            _ => return None,
        })
    }
}

fn add(
    blocks: &mut Blocks<Entry>,
    file: &str,
    row: &Row<'_>,
    columns: &Columns<Field>,
) -> Result<(), TableError> {
    let at = |field| columns.of(field).unwrap_or(0);
    let prefix = value(row, columns, Field::Prefix)?;
    let net = block(prefix)
        .map_err(|what| row.wrong(at(Field::Prefix), format!("prefix: {what}")))?
        .net();
    let owner = value(row, columns, Field::Owner)?;
    if owner.is_empty() {
        let what = format!("owner is empty: say whose {net} is, or remove the line");
        return Err(row.wrong(at(Field::Owner), what));
    }
    let asn = match value(row, columns, Field::Asn)? {
        "" => None,
        text => Some(asn(text).ok_or_else(|| {
            let what = format!("asn: {} is no AS number: try 64500", shown(text));
            row.wrong(at(Field::Asn), what)
        })?),
    };
    let country = Some(value(row, columns, Field::Country)?).filter(|text| !text.is_empty());
    let note = value(row, columns, Field::Note)?;
    let entry = blocks.entry(net, || Entry {
        owner: owner.into(),
        note: note.into(),
        asn,
        country: country.map(Arc::from),
        line: row.line,
    });
    if *entry.owner != *owner {
        let what = format!(
            "{net} belongs to {} here and to {} on line {}: leave it to one of them",
            shown(owner),
            shown(&entry.owner),
            entry.line
        );
        let (line, earlier_line) = (row.line, entry.line);
        return Err(TableError::Overlap { file: file.to_owned(), line, earlier_line, what });
    }
    Ok(())
}

/// `64500` or `AS64500`.
pub(super) fn asn(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
    digits.parse().ok()
}
