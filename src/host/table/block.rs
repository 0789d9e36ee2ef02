//! Addresses and prefixes as texts, and what is known of them by longest match.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// An address, or the prefix of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::host) enum Block {
    Address(IpAddr),
    Network(IpNet),
}

impl Block {
    pub(in crate::host) fn net(self) -> IpNet {
        match self {
            Self::Address(address) => address.into(),
            Self::Network(net) => net,
        }
    }
}

/// Reads one. IPv4 in IPv6's form becomes IPv4, as packets have it; `/32` and
/// `/128` are addresses. What is wrong otherwise, in words.
pub(in crate::host) fn block(text: &str) -> Result<Block, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Block::Address(address.to_canonical()));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(format!(
            "{} is neither an address (192.0.2.1) nor a prefix (192.0.2.0/24)",
            super::shown(text)
        ));
    };
    let net = canonical(net);
    if net.prefix_len() == net.max_prefix_len() {
        return Ok(Block::Address(net.addr()));
    }
    if net.trunc() != net {
        return Err(format!(
            "{} is an address with a prefix length: write {} for the address or {} for the network",
            super::shown(text),
            net.addr(),
            net.trunc()
        ));
    }
    Ok(Block::Network(net))
}

fn canonical(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(MAPPED_BITS)) {
        (IpAddr::V4(address), Some(bits)) if matches!(net, IpNet::V6(_)) => {
            Ipv4Net::new(address, bits).map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

/// Values of addresses and prefixes.
///
/// A table by prefix and the lengths that occur: lists have a few lengths, and each
/// costs one look.
#[derive(Clone, Debug)]
pub(in crate::host) struct Blocks<V> {
    values: HashMap<IpNet, V>,
    /// Prefix lengths that occur, longest first.
    v4_lengths: Vec<u8>,
    v6_lengths: Vec<u8>,
}

impl<V> Default for Blocks<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), v4_lengths: Vec::new(), v6_lengths: Vec::new() }
    }
}

impl<V> Blocks<V> {
    /// The value of exactly this prefix, which is made if there is none.
    pub(in crate::host) fn entry(&mut self, net: IpNet, new: impl FnOnce() -> V) -> &mut V {
        let net = net.trunc();
        let lengths = match net {
            IpNet::V4(_) => &mut self.v4_lengths,
            IpNet::V6(_) => &mut self.v6_lengths,
        };
        let longer = |known: &u8| *known > net.prefix_len();
        let at = lengths.partition_point(longer);
        if lengths.get(at) != Some(&net.prefix_len()) {
            lengths.insert(at, net.prefix_len());
        }
        self.values.entry(net).or_insert_with(new)
    }

    /// All that hold the address, the longest prefix first.
    pub(in crate::host) fn holding(&self, address: IpAddr) -> impl Iterator<Item = (IpNet, &V)> {
        let address = address.to_canonical();
        let lengths = match address {
            IpAddr::V4(_) => &self.v4_lengths,
            IpAddr::V6(_) => &self.v6_lengths,
        };
        lengths.iter().filter_map(move |&length| {
            let net = IpNet::new(address, length).ok()?.trunc();
            self.values.get(&net).map(|value| (net, value))
        })
    }

    /// All of more bits that lie inside of a prefix, in no order.
    pub(in crate::host) fn inside(&self, net: IpNet) -> impl Iterator<Item = &V> {
        let values = self.values.iter();
        values
            .filter(move |(inner, _)| **inner != net && net.contains(*inner))
            .map(|(_, value)| value)
    }

    pub(in crate::host) fn longest(&self, address: IpAddr) -> Option<(IpNet, &V)> {
        self.holding(address).next()
    }
}
