//! What is known of the address at the other end: its names, its owner, and what
//! lists say of it. Each with where it is from and how old it is; what nothing is
//! known of is said to be absent.
//!
//! Names come from the traffic itself ([`Names`]), owners from the user's MMDB files
//! and prefix lists, reputation from the user's lists. Nobody is ever asked over the
//! network. Ages are reckoned from the time of the traffic, never from a clock. Start
//! at [`Destinations::about`].

mod list;
mod mmdb;
mod names;
mod owners;
mod reputation;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use serde::Serialize;

use super::process::is_false;
use super::table::{TableError, Warning, Watched};
use crate::flow::Outline;
use crate::flow::app::AppInfo;

pub use names::{NameSource, Names, SeenName};
pub(crate) use names::{is_name, requested_host, server_name};
pub use owners::Owners;
pub use reputation::Reputation;

/// Listings in one answer: what many lists say of one address in many categories is
/// told well enough by the first of them.
const MAX_LISTINGS: usize = 16;

/// What is known of one address.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Context {
    /// The newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<SeenName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// In the order of the files; of one, what fits closest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reputation: Vec<Listing>,
    #[serde(skip_serializing_if = "Absent::is_empty")]
    pub absent: Absent,
}

/// Whose address it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Owner {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// ISO 3166 code, as the file has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The file that the country is from, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country_file: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    pub prefix: IpNet,
    #[serde(flatten)]
    pub origin: Origin,
}

/// What a list says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listing {
    /// The file's name without its ending.
    pub list: String,
    /// The address, prefix or name that is listed.
    pub matched: String,
    pub category: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(flatten)]
    pub origin: Origin,
}

/// The file that says so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Origin {
    /// Its name, as the user gave it.
    pub file: String,
    /// When it was built or, where it does not say, last written.
    #[serde(rename = "as_of", serialize_with = "super::time_text::serialize")]
    pub as_of_ns: i64,
    /// By how much it was older than the traffic; 0 where it is newer.
    pub age_ns: u64,
    /// It was written after the traffic, and may not have been true then.
    #[serde(skip_serializing_if = "is_false")]
    pub later: bool,
}

impl Origin {
    fn new(file: &str, as_of_ns: i64, at_ns: i64) -> Self {
        Self {
            file: file.to_owned(),
            as_of_ns,
            age_ns: age_ns(as_of_ns, at_ns),
            later: as_of_ns > at_ns,
        }
    }
}

fn age_ns(then_ns: i64, at_ns: i64) -> u64 {
    u64::try_from(at_ns.saturating_sub(then_ns)).unwrap_or(0)
}

/// Why something is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Absent {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Absence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Absence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reputation: Option<Absence>,
}

impl Absent {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// No file was given for it.
    NoSource,
    /// The sources have nothing of this address.
    NothingKnown,
    /// A file has something that can't be read.
    Unreadable,
}

/// Files of owners and reputation. They may be shared with a thread that looks
/// whether they changed.
#[derive(Debug, Default)]
pub struct Lists {
    owners: Vec<Watched<Owners>>,
    reputation: Vec<Watched<Reputation>>,
}

impl Lists {
    /// Reads all files. An error is that of the first that is no good.
    pub fn open(
        owners: &[PathBuf],
        reputation: &[PathBuf],
    ) -> Result<(Self, Vec<Warning>), TableError> {
        let (mut lists, mut warnings) = (Self::default(), Vec::new());
        for path in owners {
            let (owners, told) = Watched::open(path)?;
            lists.owners.push(owners);
            warnings.extend(told);
        }
        for path in reputation {
            let (reputation, told) = Watched::open(path)?;
            lists.reputation.push(reputation);
            warnings.extend(told);
        }
        Ok((lists, warnings))
    }

    /// There are no lists.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.reputation.is_empty()
    }

    /// See [`Watched::look`].
    pub fn look(&self, now: Instant) -> Vec<String> {
        let owners = self.owners.iter().filter_map(|file| file.look(now));
        owners.chain(self.reputation.iter().filter_map(|file| file.look(now))).collect()
    }
}

/// Answers what is known of an address.
#[derive(Debug, Default)]
pub struct Destinations {
    names: Names,
    lists: Arc<Lists>,
}

impl Destinations {
    pub fn new(lists: Arc<Lists>) -> Self {
        Self { names: Names::default(), lists }
    }

    /// Takes names from an ended flow. The order of flows decides what is kept when
    /// there is no room: the correlation stage calls it in the order of the output.
    pub fn learn(&mut self, flow: &Outline, app: Option<&AppInfo>) {
        self.names.learn(flow, app);
    }

    /// What is known of an address that took part in traffic at this time.
    pub fn about(&self, address: IpAddr, at_ns: i64) -> Context {
        let address = address.to_canonical();
        let names = self.names.of(address, at_ns);
        let owner = self.owner(address, at_ns);
        let reputation = self.reputation(address, &names, at_ns);
        let absent = Absent {
            names: names.is_empty().then_some(Absence::NothingKnown),
            owner: owner.as_ref().err().copied(),
            reputation: match (&reputation[..], &self.lists.reputation[..]) {
                ([], []) => Some(Absence::NoSource),
                ([], _) => Some(Absence::NothingKnown),
                _ => None,
            },
        };
        Context { names, owner: owner.ok(), reputation, absent }
    }

    /// The owner by the longest prefix of any file, of equal ones the first file's. Of
    /// files that know the country alone, that is added.
    fn owner(&self, address: IpAddr, at_ns: i64) -> Result<Owner, Absence> {
        let mut absence = Absence::NoSource;
        let mut best: Option<Owner> = None;
        let mut country: Option<Owner> = None;
        for file in &self.lists.owners {
            match file.get().of(address, at_ns) {
                Ok(owner) if owner.name.is_empty() && owner.asn.is_none() => {
                    country.get_or_insert(owner);
                }
                Ok(owner) => {
                    let longer =
                        |best: &Owner| owner.prefix.prefix_len() > best.prefix.prefix_len();
                    if best.as_ref().is_none_or(longer) {
                        best = Some(owner);
                    }
                }
                Err(Absence::Unreadable) => absence = Absence::Unreadable,
                Err(_) if absence == Absence::NoSource => absence = Absence::NothingKnown,
                Err(_) => {}
            }
        }
        let Some(mut owner) = best else { return country.ok_or(absence) };
        if let Some(other) = country
            && owner.country.is_none()
        {
            owner.country = other.country;
            owner.country_file = Some(other.origin.file);
        }
        Ok(owner)
    }

    fn reputation(&self, address: IpAddr, names: &[SeenName], at_ns: i64) -> Vec<Listing> {
        let mut listings = Vec::new();
        for file in &self.lists.reputation {
            file.get().of(address, names, at_ns, MAX_LISTINGS - listings.len(), &mut listings);
        }
        listings
    }
}

#[cfg(test)]
mod tests;
