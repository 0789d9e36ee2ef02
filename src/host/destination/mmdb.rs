//! Owners from a MaxMind DB file: GeoLite2 ASN and Country, and others that call an
//! organisation by one of the usual names.

use std::net::IpAddr;

use ipnet::IpNet;
use maxminddb::{LookupResult, PathElement, Reader};

use super::owners::asn;
use super::{Absence, Origin, Owner};
use crate::host::table::{Content, TableError};

/// Where an organisation's name stands in the layouts that are in use, the most exact
/// first.
const NAMES: [&[&str]; 6] = [
    &["autonomous_system_organization"],
    &["organization"],
    &["as_name"],
    &["isp"],
    &["traits", "autonomous_system_organization"],
    &["name"],
];

const ASNS: [&[&str]; 3] =
    [&["autonomous_system_number"], &["asn"], &["traits", "autonomous_system_number"]];

const COUNTRIES: [&[&str]; 4] = [
    &["country", "iso_code"],
    &["registered_country", "iso_code"],
    &["country_code"],
    &["country"],
];

/// Stands before the metadata, which are in the last 128 KiB of a file.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
const METADATA_BYTES: usize = 128 << 10;

/// Longest text taken from a file: names in registries are shorter.
const MAX_CHARACTERS: usize = 255;

const NS_PER_S: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Mmdb {
    reader: Reader<Vec<u8>>,
}

impl Mmdb {
    pub(super) fn is_one(content: &Content) -> bool {
        let bytes = &content.bytes;
        let tail = &bytes[bytes.len().saturating_sub(METADATA_BYTES)..];
        content.file.ends_with(".mmdb") || tail.windows(MARKER.len()).any(|found| found == MARKER)
    }

    pub(super) fn open(content: Content) -> Result<Self, TableError> {
        let Content { file, bytes, .. } = content;
        match Reader::from_source(bytes) {
            Ok(reader) => Ok(Self { reader }),
            Err(error) => {
                let what = format!("is no MMDB file that can be read ({error}): get it again");
                Err(TableError::File { file, what })
            }
        }
    }

    /// When the file was made, as it says.
    pub(super) fn built_ns(&self) -> i64 {
        let ns = self.reader.metadata().build_epoch.saturating_mul(NS_PER_S);
        i64::try_from(ns).unwrap_or(i64::MAX)
    }

    pub(super) fn owner(&self, address: IpAddr, origin: Origin) -> Result<Owner, Absence> {
        if address.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Err(Absence::NothingKnown);
        }
        let found = self.reader.lookup(address).map_err(|_| Absence::Unreadable)?;
        if !found.has_data() {
            return Err(Absence::NothingKnown);
        }
        let network = found.network().map_err(|_| Absence::Unreadable)?;
        let prefix = IpNet::new(network.ip(), network.prefix()).map_err(|_| Absence::Unreadable)?;
        let text = |path: &&[&str]| text(&found, path);
        let owner = Owner {
            name: NAMES.iter().find_map(text).unwrap_or_default(),
            asn: ASNS.iter().find_map(|path| number(&found, path)),
            country: COUNTRIES.iter().find_map(text),
            country_file: None,
            note: String::new(),
            prefix,
            origin,
        };
        if owner.name.is_empty() && owner.asn.is_none() && owner.country.is_none() {
            return Err(Absence::NothingKnown);
        }
        Ok(owner)
    }
}

type Found<'a> = LookupResult<'a, Vec<u8>>;

fn keys<'a>(path: &[&'a str]) -> Vec<PathElement<'a>> {
    path.iter().map(|key| PathElement::Key(key)).collect()
}

/// Layouts differ: what stands there as something else is no text.
fn text(found: &Found<'_>, path: &[&str]) -> Option<String> {
    let text: String = found.decode_path(&keys(path)).ok().flatten()?;
    Some(text.chars().take(MAX_CHARACTERS).collect()).filter(|text: &String| !text.is_empty())
}

/// A number, or a text with one (`AS64500`).
fn number(found: &Found<'_>, path: &[&str]) -> Option<u32> {
    let number = found.decode_path(&keys(path)).ok().flatten();
    number.or_else(|| asn(&text(found, path)?))
}
