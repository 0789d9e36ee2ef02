//! Connections whose addresses the kernel translates (NAT): told, and asked for.
//!
//! One lasts until its end is told, until the kernel is told to translate one of its two
//! sides to something else, or, where nobody tells of ends (maps of earlier versions, what was
//! there when a watch began, notices that were lost), for as long as conntrack keeps it
//! unused. What is older than that may still be, as nobody tells of its packets either: it
//! says less the older it gets.

use std::sync::atomic::Ordering;

use super::claim::{ICMP, ICMPV6, TCP};
use super::event::{Ends, Nat};
use super::map::HostMap;
use super::resolve::{Question, SLACK_NS};
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
    /// Its end would have been told.
    ends_told: bool,
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

/// An end as it is on the other side of a translation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    pub(super) question: Question,
    /// The map of the host that translates.
    pub(super) source: u16,
    /// As [`Answer::stale`](super::resolve::Answer::stale).
    pub(super) stale: usize,
}

/// How long conntrack keeps a connection of which no packet comes: the defaults of Linux,
/// Documentation/networking/nf_conntrack-sysctl.rst, of such as had packets both ways.
fn unused_s(protocol: u8) -> i64 {
    match protocol {
        // nf_conntrack_tcp_timeout_established: five days.
        TCP => 432_000,
        // nf_conntrack_udp_timeout_stream; UDP-Lite counts as UDP.
        17 | 136 => 120,
        // nf_conntrack_icmp_timeout and nf_conntrack_icmpv6_timeout.
        ICMP | ICMPV6 => 30,
        // nf_conntrack_gre_timeout_stream.
        47 => 180,
        // nf_conntrack_sctp_timeout_established.
        132 => 210,
        // nf_conntrack_generic_timeout.
        _ => 600,
    }
}

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
            let (netns, ends_told) = (nat.netns, nat.ends_told);
            let to = Translation { to, changed, source, netns, ended: None, ends_told };
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
        let goes_on = before.is_some_and(|before| {
            before.ended.is_none()
                && (before.to, before.changed, before.source) == (to.to, to.changed, to.source)
        });
        let version = Version { from_ns: ns, learned_ns, value: to };
        if goes_on {
            if let Some(latest) = known.latest_mut(ns) {
                latest.ends_told |= to.ends_told;
            }
        } else if !known.insert(version) {
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
    /// own.
    pub(super) fn behind_translation(&self, question: &Question) -> Option<Behind> {
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
            let version = known.at(by_ns, question.known_ns)?;
            let found = version.value;
            let is_over = found.ended.is_some_and(|ended| {
                ended.learned_ns <= question.known_ns
                    && ended.at_ns < question.start_ns.saturating_sub(SLACK_NS)
            });
            (found.changed == changed && !is_over).then_some((found, version.from_ns))
        };
        let (found, from_ns, local, local_port, remote, remote_port) =
            match find(local_is_source, Changed::Source) {
                Some((found, from_ns)) => {
                    let to = found.to;
                    (found, from_ns, to.src, to.src_port, to.dst, to.dst_port)
                }
                None => {
                    let (found, from_ns) = find(local_is_destination, Changed::Destination)?;
                    let to = found.to;
                    (found, from_ns, to.dst, to.dst_port, to.src, to.src_port)
                }
            };
        let remote_port = if echo { 0 } else { remote_port };
        let behind = Question { local, local_port, remote, remote_port, ..*question };
        let is_other = local != question.local || local_port != question.local_port;
        is_other.then(|| Behind {
            question: behind,
            source: found.source,
            stale: self.stale(&found, from_ns, question),
        })
    }

    /// How many times over nobody can have used a translation that is over.
    fn stale(&self, known: &Translation, from_ns: i64, question: &Question) -> usize {
        let lost_since = || {
            let sources = self.sources.lock();
            let source = sources.get(usize::from(known.source));
            source.is_some_and(|source| source.losses.iter().any(|&(_, until)| until >= from_ns))
        };
        if known.ends_told && !lost_since() {
            return 0;
        }
        let age_s = question.start_ns.saturating_sub(from_ns) / 1_000_000_000;
        usize::try_from(age_s / unused_s(question.protocol)).unwrap_or(0)
    }
}
