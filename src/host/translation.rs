//! Connections whose addresses the kernel translates (NAT): told, and asked for.
//!
//! One lasts until its end is told, until the kernel is told to translate one of its two
//! sides to something else, or until its map ends. Maps of earlier versions tell of no ends:
//! how old a translation is says nothing there, as nobody tells of its packets either.

use std::sync::atomic::Ordering;

use super::claim::{ICMP, ICMPV6};
use super::event::{Ends, Nat};
use super::map::HostMap;
use super::resolve::{Question, SLACK_NS, end_of};
use super::versions::Version;

/// What a conversation is on the other side of a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Translation {
    pub(super) to: Ends,
    pub(super) changed: Changed,
    /// The map of the host that translates.
    pub(super) source: u16,
    /// Where: what is translated elsewhere says nothing of it.
    netns: Option<u64>,
    ended: Option<Ended>,
}

/// Which end is not its own: who began knows the destination by another address than it
/// has, who answers the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    at_ns: i64,
    learned_ns: i64,
}

/// One connection after the other between the same ends, of which each is kept by itself;
/// further ones count as the last of them going on. A name server that is asked each minute
/// from one port has thousands.
const MAX_AGAIN: usize = 8;

/// An end and what it is on the other side. Of an echo the identifier is the "port" of both
/// ends.
fn two_sides(nat: &Nat) -> [Ends; 2] {
    let echo = matches!(nat.protocol, ICMP | ICMPV6);
    let echoed = |ends: Ends| {
        if echo { Ends { dst_port: ends.src_port, ..ends } } else { ends }
    };
    let (original, reply) = (echoed(nat.original), echoed(nat.reply));
    let as_seen_behind =
        Ends { src: reply.dst, src_port: reply.dst_port, dst: reply.src, dst_port: reply.src_port };
    [original, as_seen_behind]
}

impl HostMap {
    pub(super) fn translate(&self, ns: i64, learned_ns: i64, source: u16, nat: &Nat) {
        let [original, behind] = two_sides(nat);
        let sides = [(original, behind, Changed::Destination), (behind, original, Changed::Source)];
        for (from, to, changed) in sides {
            let to = Translation { to, changed, source, netns: nat.netns, ended: None };
            self.side(nat.protocol, from, (ns, learned_ns), to);
        }
        self.has_translated.store(true, Ordering::Release);
    }

    pub(super) fn untranslate(&self, ns: i64, learned_ns: i64, source: u16, nat: &Nat) {
        let [original, behind] = two_sides(nat);
        for (from, to) in [(original, behind), (behind, original)] {
            self.end(nat.protocol, from, (ns, learned_ns), |known| {
                (known.to, known.source, known.netns) == (to, source, nat.netns)
            });
        }
    }

    /// What one side is from now on; what it was before is over, on the other side too.
    fn side(&self, protocol: u8, from: Ends, (ns, learned_ns): (i64, i64), to: Translation) {
        let key = (protocol, from);
        if self.translations.len() as u64 >= self.limits.translations
            && !self.translations.contains_key(&key)
        {
            self.refuse(learned_ns);
            return;
        }
        let mut known = self.translations.entry(key).or_default();
        let before = known.latest(ns).copied();
        let is_again = before.is_some_and(|before| {
            (before.to, before.changed, before.source) == (to.to, to.changed, to.source)
        });
        let goes_on = before.is_some_and(|before| before.ended.is_none());
        if is_again && (goes_on || known.len() >= MAX_AGAIN) {
            if let Some(latest) = known.latest_mut(ns) {
                latest.ended = None;
            }
        } else if !known.insert(Version { from_ns: ns, learned_ns, value: to }) {
            self.refuse(learned_ns);
        }
        drop(known);
        if let Some(before) = before.filter(|before| before.to != to.to) {
            self.end(protocol, before.to, (ns, learned_ns), |known| {
                (known.to, known.source, known.netns) == (from, to.source, to.netns)
            });
        }
    }

    /// The latest of one side is over, if it is meant.
    fn end(
        &self,
        protocol: u8,
        from: Ends,
        (at_ns, learned_ns): (i64, i64),
        is_meant: impl Fn(&Translation) -> bool,
    ) {
        if let Some(mut known) = self.translations.get_mut(&(protocol, from))
            && let Some(latest) = known.latest_mut(at_ns).filter(|latest| is_meant(latest))
        {
            latest.ended.get_or_insert(Ended { at_ns, learned_ns });
        }
    }

    /// The same end as it is on the other side of a translation, where it is not this side's
    /// own; and the map that tells of it.
    pub(super) fn behind_translation(&self, question: &Question) -> Option<(Question, u16)> {
        if !self.has_translated.load(Ordering::Acquire) {
            return None;
        }
        let local_is_source = Ends {
            src: question.local,
            src_port: question.local_port,
            dst: question.remote,
            dst_port: question.remote_port,
        };
        let local_is_destination = Ends {
            src: question.remote,
            src_port: question.remote_port,
            dst: question.local,
            dst_port: question.local_port,
        };
        // Of an echo the identifier is the "port" of both ends.
        let echo = matches!(question.protocol, ICMP | ICMPV6);
        let echoed = |ends: Ends| {
            let id = question.local_port;
            if echo { Ends { src_port: id, dst_port: id, ..ends } } else { ends }
        };
        let find = |ends: Ends, changed: Changed| {
            let known = self.translations.get(&(question.protocol, echoed(ends)))?;
            let by_ns = question.end_ns.saturating_add(SLACK_NS);
            let found = known.at(by_ns, question.known_ns)?.value;
            let is_over = found.ended.is_some_and(|ended| {
                ended.learned_ns <= question.known_ns
                    && ended.at_ns < question.start_ns.saturating_sub(SLACK_NS)
            });
            (found.changed == changed && !is_over).then_some(found)
        };
        let (source, local, local_port, remote, remote_port) =
            match find(local_is_source, Changed::Source) {
                Some(Translation { to, source, .. }) => {
                    (source, to.src, to.src_port, to.dst, to.dst_port)
                }
                None => {
                    let found = find(local_is_destination, Changed::Destination)?;
                    let to = found.to;
                    (found.source, to.dst, to.dst_port, to.src, to.src_port)
                }
            };
        let has_ended = end_of(self.sources.lock().get(usize::from(source)))
            < question.start_ns.saturating_sub(SLACK_NS);
        let remote_port = if echo { 0 } else { remote_port };
        let behind = Question { local, local_port, remote, remote_port, ..*question };
        let is_other = local != question.local || local_port != question.local_port;
        (is_other && !has_ended).then_some((behind, source))
    }
}
