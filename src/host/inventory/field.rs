//! The values of an entry: their names, and how each is read.

use super::Instance;
use crate::host::table::{Block, block, shown};

/// Values in one list of an entry. The entry stands in flow records: a list that is
/// longer belongs into prefixes.
const MAX_LIST: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Name,
    Owner,
    Application,
    Environment,
    Purpose,
    Role,
    LastChange,
    SharedEgress,
    SecurityGroups,
    Routes,
    Addresses,
    Interfaces,
}

impl Field {
    /// By its name in lower case with underscores, as exports have it too.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "id" | "instance" | "instance_id" => Self::Id,
            "name" | "hostname" => Self::Name,
            "owner" => Self::Owner,
            "application" | "app" => Self::Application,
            "environment" | "env" => Self::Environment,
            "purpose" => Self::Purpose,
            "role" => Self::Role,
            "last_change" => Self::LastChange,
            "shared_egress" => Self::SharedEgress,
            "security_groups" | "security_group" => Self::SecurityGroups,
            "routes" | "route" => Self::Routes,
            "addresses" | "address" | "ip" | "ips" | "networks" | "network" | "prefix" => {
                Self::Addresses
            }
            "interfaces" | "interface" | "interface_id" | "interface_ids" => Self::Interfaces,
            _ => return None,
        })
    }

    /// Values that may be several.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::SecurityGroups | Self::Routes | Self::Addresses | Self::Interfaces)
    }

    /// Takes a value over into an entry: of a list, adds what the text names. What is
    /// wrong with it otherwise.
    pub(super) fn set(self, text: &str, entry: &mut Instance) -> Result<(), String> {
        if self.is_list() {
            let items = text.split(|c: char| c == ';' || c.is_whitespace());
            return items
                .filter(|item| !item.is_empty())
                .try_for_each(|item| self.add(item, entry));
        }
        match self {
            Self::SharedEgress => entry.shared_egress = flag(text)?,
            Self::Id => entry.id = text.to_owned(),
            Self::Name => entry.name = text.to_owned(),
            Self::Owner => entry.owner = text.to_owned(),
            Self::Application => entry.application = text.to_owned(),
            Self::Environment => entry.environment = text.to_owned(),
            Self::Purpose => entry.purpose = text.to_owned(),
            Self::Role => entry.role = text.to_owned(),
            Self::LastChange => entry.last_change = text.to_owned(),
            Self::SecurityGroups | Self::Routes | Self::Addresses | Self::Interfaces => {}
        }
        Ok(())
    }

    fn add(self, item: &str, entry: &mut Instance) -> Result<(), String> {
        match self {
            Self::Addresses => match block(item)? {
                Block::Address(address) => push(&mut entry.addresses, address)?,
                Block::Network(net) => push(&mut entry.networks, net)?,
            },
            Self::Routes => push(&mut entry.routes, block(item)?.net())?,
            Self::SecurityGroups => push(&mut entry.security_groups, item.to_owned())?,
            _ => push(&mut entry.interfaces, item.to_owned())?,
        }
        Ok(())
    }
}

/// Adds an element that is not there yet.
pub(super) fn push<T: PartialEq>(list: &mut Vec<T>, element: T) -> Result<(), String> {
    if list.contains(&element) {
        return Ok(());
    }
    if list.len() >= MAX_LIST {
        return Err(format!(
            "more than {MAX_LIST} values of one instance: name a prefix that holds them"
        ));
    }
    list.push(element);
    Ok(())
}

fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false", shown(text))),
    }
}
