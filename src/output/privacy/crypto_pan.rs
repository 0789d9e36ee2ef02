//! Prefix-preserving pseudonyms: Crypto-PAn over AES-128.
//!
//! Xu, Fan, Ammar and Moon, "Prefix-Preserving IP Address Anonymization",
//! ICNP 2002. Each bit of an address is flipped or not by a keyed function of
//! the bits before it, so a common prefix stays one and the mapping is
//! one-to-one. IPv4 is the authors' own; IPv6 and MAC addresses continue the
//! same scheme to 128 and 48 bits.
//!
//! Start at [`Pseudonyms::address`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aes_gcm::aead::KeyInit as _;
use aes_gcm::aes::cipher::BlockCipherEncrypt as _;
use aes_gcm::aes::{Aes128, Block};

use super::hosts::{Remembered, rewrite_hosts, rewrite_process};
use super::key::Key;
use crate::host::side::{FlowHosts, ProcessView};
use crate::host::workload::Workload;
use crate::lock::Lock;
use crate::packet::Mac;

/// Addresses whose pseudonym is remembered: those of a busy second, half a
/// megabyte. Each has one place, so a flood of others can only push out, never
/// grow; a miss costs well under a microsecond.
const REMEMBERED: usize = 8192;

/// Bits of a MAC address's first octet that say what it is, not whose: group
/// and locally administered (IEEE 802-2014, 8.2). They stay.
const MAC_KIND_BITS: u128 = 0x03 << 120;

/// A keyed mapping of addresses. Shared by threads.
pub struct Pseudonyms {
    cipher: Aes128,
    /// What stands behind the bits that were seen, to fill a block.
    pad: u128,
    /// The same for MAC addresses, so that they say nothing about IP addresses.
    mac_pad: u128,
    remembered: Box<[Place]>,
    places: ahash::RandomState,
    /// Hosts that were changed by it.
    hosts: Remembered,
}

/// An address and its pseudonym.
type Place = Lock<Option<(IpAddr, IpAddr)>>;

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the key.
        f.debug_struct("Pseudonyms").finish_non_exhaustive()
    }
}

impl Pseudonyms {
    pub fn new(key: &Key) -> Self {
        let (cipher_key, pad_key) = key.halves();
        let cipher = Aes128::new(&cipher_key.into());
        let encrypt = |bytes: u128| {
            let mut block = Block::from(bytes.to_be_bytes());
            cipher.encrypt_block(&mut block);
            u128::from_be_bytes(block.into())
        };
        let pad = encrypt(u128::from_be_bytes(pad_key));
        let mac_pad = encrypt(pad);
        Self {
            pad,
            mac_pad,
            remembered: (0..REMEMBERED).map(|_| Place::default()).collect(),
            places: ahash::RandomState::new(),
            hosts: Remembered::default(),
            cipher,
        }
    }

    /// The pseudonym of an address, of the same IP version.
    pub fn address(&self, ip: IpAddr) -> IpAddr {
        let place = self.places.hash_one(ip) as usize % REMEMBERED;
        let mut place = self.remembered[place].lock();
        if let Some((of, pseudonym)) = *place
            && of == ip
        {
            return pseudonym;
        }
        let pseudonym = match ip {
            IpAddr::V4(v4) => {
                let bits = self.permute::<32>(u128::from(u32::from(v4)) << 96, self.pad, 0);
                IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32))
            }
            IpAddr::V6(v6) => {
                IpAddr::V6(Ipv6Addr::from(self.permute::<128>(u128::from(v6), self.pad, 0)))
            }
        };
        *place = Some((ip, pseudonym));
        pseudonym
    }

    /// Replaces the addresses in what is known of hosts.
    pub(super) fn hosts(&self, hosts: &mut FlowHosts) {
        rewrite_hosts(self, &self.hosts, hosts);
    }

    /// The same in what an alert knows of its process.
    pub(super) fn process_and_workload(
        &self,
        process: &mut Option<Arc<ProcessView>>,
        workload: &mut Option<Arc<Workload>>,
    ) {
        rewrite_process(self, &self.hosts, process, workload);
    }

    /// The pseudonym of a MAC address: manufacturers stay together, group
    /// addresses stay group addresses.
    pub fn mac(&self, mac: Mac) -> Mac {
        let [a, b, c, d, e, f] = mac;
        let bits = u128::from(u64::from_be_bytes([0, 0, a, b, c, d, e, f])) << 80;
        let [a, b, c, d, e, f, ..] =
            self.permute::<48>(bits, self.mac_pad, MAC_KIND_BITS).to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// Maps the first `BITS` bits of `address`, all but those in `kept`.
    fn permute<const BITS: usize>(&self, address: u128, pad: u128, kept: u128) -> u128 {
        // Every bit's block is known from the start: the cipher takes them side by side.
        let mut blocks: [Block; BITS] = std::array::from_fn(|bit| {
            let seen = u128::MAX.checked_shl(128 - bit as u32).unwrap_or(0);
            Block::from((address & seen | pad & !seen).to_be_bytes())
        });
        self.cipher.encrypt_blocks(&mut blocks);
        let flips = blocks
            .iter()
            .enumerate()
            .fold(0, |flips, (bit, block)| flips | u128::from(block[0] >> 7) << (127 - bit));
        address ^ flips & !kept
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Key of the sample that the authors' implementation comes with.
    const SAMPLE_KEY: [u8; 32] = [
        21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131,
        121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2,
    ];

    fn of(key: [u8; 32], ip: &str) -> String {
        Pseudonyms::new(&Key::from_bytes(key)).address(ip.parse().expect("address")).to_string()
    }

    /// From the authors' sample_trace_raw.dat and sample_trace_sanitized.dat.
    #[test]
    fn ipv4_gives_the_published_trace() {
        for (raw, sanitized) in [
            ("128.11.68.132", "135.242.180.132"),
            ("129.118.74.4", "134.136.186.123"),
            ("130.132.252.244", "133.68.164.234"),
            ("141.223.7.43", "141.167.8.160"),
            ("152.163.225.39", "151.140.114.167"),
            ("192.102.249.13", "252.138.62.131"),
            ("192.41.57.43", "252.222.221.184"),
            ("198.26.132.101", "249.36.123.202"),
            ("205.188.147.153", "242.96.16.101"),
            ("216.227.10.221", "235.28.253.36"),
            ("24.0.250.221", "100.15.198.226"),
            ("4.3.88.225", "124.60.155.63"),
            ("64.39.15.238", "0.219.7.41"),
            ("10.185.25.118", "117.161.29.118"),
        ] {
            assert_eq!(of(SAMPLE_KEY, raw), sanitized, "{raw}");
        }
    }

    /// What other implementations of the scheme give for 128 bits.
    #[test]
    fn ipv6_agrees_with_others() {
        for (key, raw, sanitized) in [
            (SAMPLE_KEY, "::1", "78ff:f001:9fc0:20df:8380:b1f1:704:ed"),
            (SAMPLE_KEY, "::ffff", "78ff:f001:9fc0:20df:8380:b1f1:704:f838"),
            (SAMPLE_KEY, "2001:db8::1", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e"),
            (SAMPLE_KEY, "2001:db8::2", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1c"),
            (
                *b"32-char-str-for-AES-key-and-pad.",
                "2001:db8::1",
                "27fe:8bc7:fee:1e:1e1f:f0fe:f0e1:83fd",
            ),
            (*b"32-char-str-for-AES-key-and-pad.", "192.0.2.1", "192.0.125.244"),
        ] {
            assert_eq!(of(key, raw), sanitized, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn exactly_the_common_prefix_stays_common(a: u128, b: u128, share in 0u32..=128) {
            let pseudonyms = Pseudonyms::new(&Key::from_bytes([3; 32]));
            let mask = u128::MAX.checked_shl(128 - share).unwrap_or(0);
            let b = a & mask | b & !mask;
            let v6 = [a, b].map(|ip| match pseudonyms.address(IpAddr::V6(ip.into())) {
                IpAddr::V6(ip) => u128::from(ip),
                IpAddr::V4(ip) => panic!("{ip}"),
            });
            prop_assert_eq!((v6[0] ^ v6[1]).leading_zeros(), (a ^ b).leading_zeros());
            let [a, b] = [(a >> 96) as u32, (b >> 96) as u32];
            let v4 = [a, b].map(|ip| match pseudonyms.address(IpAddr::V4(ip.into())) {
                IpAddr::V4(ip) => u32::from(ip),
                IpAddr::V6(ip) => panic!("{ip}"),
            });
            prop_assert_eq!((v4[0] ^ v4[1]).leading_zeros(), (a ^ b).leading_zeros());
        }

        #[test]
        fn macs_keep_their_kind_and_their_manufacturer_together(mac: Mac, other: [u8; 3]) {
            let pseudonyms = Pseudonyms::new(&Key::from_bytes([3; 32]));
            let pseudonym = pseudonyms.mac(mac);
            prop_assert_eq!(pseudonym[0] & 3, mac[0] & 3);
            let neighbour = [mac[0], mac[1], mac[2], other[0], other[1], other[2]];
            let other = pseudonyms.mac(neighbour);
            prop_assert_eq!(&pseudonym[..3], &other[..3]);
            prop_assert_eq!(mac == neighbour, pseudonym == other);
        }
    }

    #[test]
    fn what_is_remembered_is_what_would_be_computed() {
        let pseudonyms = Pseudonyms::new(&Key::from_bytes(SAMPLE_KEY));
        let ips: Vec<IpAddr> = (0..3 * REMEMBERED as u32)
            .map(|n| IpAddr::V4((n.wrapping_mul(2_654_435_761)).into()))
            .collect();
        let first: Vec<_> = ips.iter().map(|&ip| pseudonyms.address(ip)).collect();
        let again: Vec<_> = ips.iter().map(|&ip| pseudonyms.address(ip)).collect();
        assert_eq!(first, again);
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), ips.len(), "one-to-one");
        assert_eq!(first[1], Pseudonyms::new(&Key::from_bytes(SAMPLE_KEY)).address(ips[1]));
    }

    #[test]
    fn the_key_is_never_printed() {
        let key = Key::from_bytes(*b"32-char-str-for-AES-key-and-pad.");
        let text = format!("{:?} {key:?}", Pseudonyms::new(&key));
        assert!(!text.contains("32") && !text.contains("51"), "{text}");
    }
}
