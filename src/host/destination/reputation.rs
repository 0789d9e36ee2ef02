//! What a list says of addresses, prefixes and names: `address,category,score,note`.
//!
//! A name stands for itself, `*.example.org` for what is beneath it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::list::{each, value};
use super::{Listing, Origin, SeenName};
use crate::host::table::{
    Blocks, Columns, Content, MAX_TEXT_BYTES, Row, Table, TableError, Warning, block, shown,
};

/// Longest name of DNS.
const MAX_NAME_BYTES: usize = 253;

/// Entries of one address, prefix or name: a list that says more of it than that
/// repeats itself.
const MAX_PER_KEY: usize = 8;

/// One list.
#[derive(Debug)]
pub struct Reputation {
    file: String,
    list: String,
    as_of_ns: i64,
    entries: Entries,
}

#[derive(Debug, Default)]
struct Entries {
    blocks: Blocks<Vec<Entry>>,
    /// In lower case; of what is beneath a name with `*.` before it.
    names: HashMap<Box<str>, Vec<Entry>>,
    /// Categories and notes occur again and again.
    texts: HashSet<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    category: Arc<str>,
    score: Option<f64>,
    note: Arc<str>,
}

impl Reputation {
    /// Adds what the list says of an address and its names, at most so many.
    pub(super) fn of(
        &self,
        address: IpAddr,
        names: &[SeenName],
        at_ns: i64,
        room: usize,
        listings: &mut Vec<Listing>,
    ) {
        let blocks = self.entries.blocks.holding(address).map(|(net, entries)| {
            let single = net.prefix_len() == net.max_prefix_len();
            let matched = if single { net.addr().to_string() } else { net.to_string() };
            (matched, entries)
        });
        let names = names.iter().flat_map(|name| self.entries.named(&name.name));
        let listed = blocks.chain(names).flat_map(|(matched, entries)| {
            entries.iter().map(move |entry| (matched.clone(), entry))
        });
        let mut told = HashSet::new();
        let listed = listed.filter(|(matched, entry)| {
            // A name may be known from several sources, and two be beneath the same.
            told.insert((matched.clone(), std::ptr::from_ref(*entry)))
        });
        listings.extend(listed.take(room).map(|(matched, entry)| Listing {
            list: self.list.clone(),
            matched,
            category: entry.category.to_string(),
            score: entry.score,
            note: entry.note.to_string(),
            origin: Origin::new(&self.file, self.as_of_ns, at_ns),
        }));
    }
}

impl Entries {
    /// Entries of a name, then of those above it.
    fn named(&self, name: &str) -> Vec<(String, &Vec<Entry>)> {
        let above = name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]));
        let keys = std::iter::once(name.to_owned()).chain(above);
        let found = |key: String| self.names.get(key.as_str()).map(|entries| (key, entries));
        keys.filter_map(found).collect()
    }

    fn add(&mut self, row: &Row<'_>, columns: &Columns<Field>) -> Result<(), TableError> {
        let at = |field| columns.of(field).unwrap_or(0);
        let category = value(row, columns, Field::Category)?;
        if category.is_empty() {
            let what = "category is empty: say what it is listed for (c2, scanner)".to_owned();
            return Err(row.wrong(at(Field::Category), what));
        }
        let score = match value(row, columns, Field::Score)? {
            "" => None,
            text => {
                let score: Option<f64> = text.parse().ok().filter(|score: &f64| score.is_finite());
                Some(score.ok_or_else(|| {
                    let what = format!("score: {} is no number: try 75", shown(text));
                    row.wrong(at(Field::Score), what)
                })?)
            }
        };
        let entry = Entry {
            category: self.text(category),
            score,
            note: self.text(value(row, columns, Field::Note)?),
        };
        let key = value(row, columns, Field::Key)?;
        let entries = match (block(key), name(key)) {
            (Ok(block), _) => self.blocks.entry(block.net(), Vec::new),
            (Err(_), Some(name)) => self.names.entry(name.into()).or_default(),
            (Err(what), None) => {
                // A prefix with too much of an address says so better.
                let what = if key.parse::<ipnet::IpNet>().is_ok() {
                    what
                } else {
                    format!(
                        "{} is neither an address (192.0.2.1), a prefix (192.0.2.0/24) \
                         nor a name (example.org, *.example.org)",
                        shown(key)
                    )
                };
                return Err(row.wrong(at(Field::Key), what));
            }
        };
        if entries.len() < MAX_PER_KEY && !entries.contains(&entry) {
            entries.push(entry);
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

/// A name as it is looked for: in lower case, without the dot at its end.
fn name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let plain = name.strip_prefix("*.").unwrap_or(&name);
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(allowed)
    };
    let last = plain.rsplit('.').next()?;
    // What ends in a number is a mistyped address.
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    let fits = plain.len() <= MAX_NAME_BYTES && plain.split('.').all(is_label) && !is_number;
    fits.then_some(name)
}

impl Table for Reputation {
    const MAX_BYTES: u64 = MAX_TEXT_BYTES;

    fn parse(content: Content) -> Result<(Self, Vec<Warning>), TableError> {
        let mut entries = Entries::default();
        let add = |row: &Row<'_>, columns: &Columns<Field>| entries.add(row, columns);
        let order = [Field::Key, Field::Category, Field::Score, Field::Note];
        let warning = each(&content, &order, "address, category", Field::of, add)?;
        entries.texts = HashSet::new();
        let stem = Path::new(&content.file).file_stem().unwrap_or_default();
        let reputation = Self {
            list: stem.to_string_lossy().into_owned(),
            file: content.file,
            as_of_ns: content.modified_ns,
            entries,
        };
        Ok((reputation, warning.into_iter().collect()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Key,
    Category,
    Score,
    Note,
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "address"
            | "prefix"
            | "name"
            | "indicator"
            | "address_or_prefix_or_name"
            | "ip"
            | "domain" => Self::Key,
            "category" => Self::Category,
            "score" => Self::Score,
            "note" | "comment" => Self::Note,
            _ => return None,
        })
    }
}
