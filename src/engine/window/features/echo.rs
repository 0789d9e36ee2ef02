//! ICMP echo by requester and responder, both versions.
//!
//! Whether replies are like their requests is asked of a sample: of requests and
//! of replies those whose (identifier, sequence) have the lowest hashes are kept, so
//! that an exchange is in both samples or in none. At one ping a second
//! that is all of them.

use super::super::sample::BottomK;
use super::super::table::Merge;
use super::super::{Hll, Host, Seed};
use super::dns::add_all;
use super::template::{TEMPLATES, Template};
use super::{Carried, Ends, Features, Symbols, digest};
use crate::packet::{FlowKey, PacketRow, row_flag};

const ICMPV6: u8 = 58;

/// Bytes of a message that are looked at: more tell no more of what they are, and
/// cost a flood of large ones.
const LOOKED_AT: usize = 256;

/// Exchanges sampled of a second.
const SAMPLE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EchoKey {
    pub requester: Host,
    pub responder: Host,
}

/// What two hosts echoed in a second.
#[derive(Clone, Debug, PartialEq)]
pub struct EchoStats {
    pub requests: u32,
    pub replies: u32,
    /// Data behind the eight bytes of header.
    pub request_bytes: u64,
    pub reply_bytes: u64,
    pub identifiers: Hll,
    pub sequences: Hll,
    /// Distinct lengths of data, the shortest and the longest.
    pub sizes: Hll,
    pub shortest: u32,
    pub longest: u32,
    /// Messages by what their data look like.
    pub templates: [u32; TEMPLATES],
    /// Bytes of those of no template.
    pub strange_bytes: u64,
    /// Distinct data among those of no template: a tool that sends the same random bytes
    /// again and again has one.
    pub strange: Hll,
    /// Bytes of those of no template, up to 256 of each.
    pub symbols: Symbols,
    /// Messages not captured whole, or in fragments: their data were not compared.
    pub incomplete: u32,
    /// Of requests and replies.
    pub carried: Carried,
    pub asked: Sampled,
    pub answered: Sampled,
}

/// Messages of a second with the lowest hashes.
pub type Sampled = BottomK<Exchange, SAMPLE>;

/// A message of the sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    pub identifier: u16,
    pub sequence: u16,
    /// Of the data and their length.
    pub digest: u32,
}

impl Exchange {
    fn hash(self, seed: Seed) -> u64 {
        seed.mix(u64::from(self.identifier) << 16 | u64::from(self.sequence), 11)
    }

    fn number(self) -> (u16, u16) {
        (self.identifier, self.sequence)
    }
}

/// What became of the sampled replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanges {
    pub alike: u32,
    /// The data are not the request's.
    pub unlike: u32,
    /// Nobody asked in this second, nor in the one before if that was given.
    pub unasked: u32,
}

impl Default for EchoStats {
    fn default() -> Self {
        Self {
            requests: 0,
            replies: 0,
            request_bytes: 0,
            reply_bytes: 0,
            identifiers: Hll::default(),
            sequences: Hll::default(),
            sizes: Hll::default(),
            shortest: u32::MAX,
            longest: 0,
            templates: [0; TEMPLATES],
            strange_bytes: 0,
            strange: Hll::default(),
            symbols: Symbols::default(),
            incomplete: 0,
            carried: Carried::default(),
            asked: BottomK::default(),
            answered: BottomK::default(),
        }
    }
}

impl Merge for EchoStats {
    fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.replies = self.replies.saturating_add(other.replies);
        self.request_bytes = self.request_bytes.saturating_add(other.request_bytes);
        self.reply_bytes = self.reply_bytes.saturating_add(other.reply_bytes);
        self.identifiers.merge(&other.identifiers);
        self.sequences.merge(&other.sequences);
        self.sizes.merge(&other.sizes);
        self.shortest = self.shortest.min(other.shortest);
        self.longest = self.longest.max(other.longest);
        add_all(&mut self.templates, &other.templates);
        self.strange_bytes = self.strange_bytes.saturating_add(other.strange_bytes);
        self.strange.merge(&other.strange);
        self.symbols.merge(&other.symbols);
        self.incomplete = self.incomplete.saturating_add(other.incomplete);
        self.carried.merge(&other.carried);
        self.asked.merge(&other.asked);
        self.answered.merge(&other.answered);
    }
}

impl EchoStats {
    /// Holds the sampled replies against the requests of this second and of the one
    /// before. Tells nothing of a reply whose request the samples can't hold.
    pub fn exchanges(&self, before: Option<&Sampled>, seed: Seed) -> Exchanges {
        let highest = |sample: &Sampled| {
            sample
                .is_full()
                .then(|| sample.iter().last())
                .flatten()
                .map_or(u64::MAX, |last| last.hash(seed))
        };
        let covered = before.map_or(u64::MAX, highest).min(highest(&self.asked));
        let mut found = Exchanges::default();
        // Samples are in the order of hashes, which are of the number alone: all three are
        // gone through once.
        let mut asked = [&self.asked].into_iter().chain(before).map(Sampled::hashed);
        let mut asked = [(); 2].map(|()| asked.next().unwrap_or_default());
        for &(hash, reply) in self.answered.hashed() {
            let until = (covered >> 32) as u32;
            if hash > until || hash == until && reply.hash(seed) >= covered {
                continue;
            }
            let mut like = None;
            for rest in &mut asked {
                while let [(before, _), later @ ..] = *rest
                    && *before < hash
                {
                    *rest = later;
                }
                let same_hash = rest.iter().take_while(|&&(at, _)| at == hash);
                for (_, asked) in same_hash.filter(|(_, asked)| asked.number() == reply.number()) {
                    like = Some(like == Some(true) || asked.digest == reply.digest);
                }
            }
            match like {
                None => found.unasked += 1,
                Some(true) => found.alike += 1,
                Some(false) => found.unlike += 1,
            }
        }
        found
    }
}

/// Echo request or reply, by the ports that the decoder gives ICMP.
#[inline]
pub(super) fn is_echo(key: &FlowKey) -> bool {
    let types = (key.port_a.min(key.port_b), key.port_a.max(key.port_b));
    if key.proto == ICMPV6 { types == (128, 129) } else { types == (0, 8) }
}

impl Features {
    pub(super) fn add_echo(&mut self, packet: &PacketRow, ends: &Ends, sequence: u16, data: &[u8]) {
        let is_request = matches!((packet.key.proto, ends.src_port), (ICMPV6, 128) | (1, 8));
        let (requester, responder) =
            if is_request { (ends.src, ends.dst) } else { (ends.dst, ends.src) };
        self.echo.messages = self.echo.messages.saturating_add(1);
        let seed = self.seed;
        let hash = seed.mix(seed.host(&requester), seed.host(&responder));
        let Some(stats) = self.echo.entry(hash, EchoKey { requester, responder }) else { return };
        let bytes = u64::from(packet.payload_bytes);
        let (messages, sum) = match is_request {
            true => (&mut stats.requests, &mut stats.request_bytes),
            false => (&mut stats.replies, &mut stats.reply_bytes),
        };
        *messages = messages.saturating_add(1);
        *sum = sum.saturating_add(bytes);
        stats.carried.add(packet);
        let identifier = packet.key.echo_id;
        stats.identifiers.insert(seed.mix(identifier.into(), 12));
        if packet.is(row_flag::FRAGMENT) || packet.payload_captured < packet.payload_bytes {
            stats.incomplete = stats.incomplete.saturating_add(1);
            return;
        }
        stats.sequences.insert(seed.mix(sequence.into(), 13));
        stats.sizes.insert(seed.mix(bytes, 14));
        stats.shortest = stats.shortest.min(packet.payload_bytes);
        stats.longest = stats.longest.max(packet.payload_bytes);
        let looked_at = data.get(..LOOKED_AT).unwrap_or(data);
        let template = Template::of(looked_at);
        let count = &mut stats.templates[template as usize];
        *count = count.saturating_add(1);
        let data_hash = seed.mix(digest(seed, looked_at), bytes);
        if template == Template::Other {
            stats.strange_bytes = stats.strange_bytes.saturating_add(bytes);
            stats.strange.insert(data_hash);
            stats.symbols.add(looked_at);
        }
        let exchange = Exchange { identifier, sequence, digest: (data_hash >> 32) as u32 };
        let sample = if is_request { &mut stats.asked } else { &mut stats.answered };
        sample.insert(exchange.hash(seed), exchange);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each reply held against each request.
    fn one_by_one(stats: &EchoStats, before: Option<&Sampled>, seed: Seed) -> Exchanges {
        let highest = |sample: &Sampled| match sample.iter().last() {
            Some(last) if sample.is_full() => last.hash(seed),
            _ => u64::MAX,
        };
        let covered = before.map_or(u64::MAX, highest).min(highest(&stats.asked));
        let asked: Vec<Exchange> =
            stats.asked.iter().chain(before.into_iter().flat_map(|before| before.iter())).collect();
        let mut found = Exchanges::default();
        for reply in stats.answered.iter().filter(|reply| reply.hash(seed) < covered) {
            let of_number: Vec<_> =
                asked.iter().filter(|asked| asked.number() == reply.number()).collect();
            match of_number.iter().any(|asked| asked.digest == reply.digest) {
                true => found.alike += 1,
                false if of_number.is_empty() => found.unasked += 1,
                false => found.unlike += 1,
            }
        }
        found
    }

    fn any_sample() -> impl Strategy<Value = Vec<(u16, u16, u32)>> {
        prop::collection::vec((0..2_u16, 0..30_u16, 0..2_u32), 0..60)
    }

    proptest! {
        #[test]
        fn exchanges_are_those_of_each_reply_with_each_request(
            all in [any_sample(), any_sample(), any_sample()],
            has_before: bool,
        ) {
            let seed = Seed::default();
            let [before, asked, answered] = all.map(|all| {
                let mut sample = Sampled::default();
                for (identifier, sequence, digest) in all {
                    let exchange = Exchange { identifier, sequence, digest };
                    sample.insert(exchange.hash(seed), exchange);
                }
                sample
            });
            let stats = EchoStats { asked, answered, ..EchoStats::default() };
            let before = has_before.then_some(&before);
            prop_assert_eq!(stats.exchanges(before, seed), one_by_one(&stats, before, seed));
        }
    }
}
