//! Who was at one end of a conversation: a map asked.
//!
//! Of all claims that cover the end and its time the strongest wins (the order of
//! [`Basis`]), then the more exact one, then the one that was there longest; of several
//! datagram sockets at one port the one that the kernel chooses (`port`). The
//! answer depends on what had been told at the time of knowledge and on nothing
//! else.

mod places;
mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;

use super::attribution::{Basis, Method};
pub use super::claim::ProcessKey;
use super::claim::{ANY_PROTOCOL, COVERING, Claim, Endpoint, SocketName};
use super::map::{HostMap, MapSource, Presence};
use super::process::ProcessId;
use super::side::Reason;
use places::are_of_one_boot;

/// How far a claim reaches beyond what was told. A provider speaks after the
/// packet has gone (a process may be set aside in between, for a scheduler's turn
/// or some), and the kernel finishes a closed connection by itself. Claims that
/// were there in time go first.
pub(super) const SLACK_NS: i64 = 100_000_000;

/// How exact the times of other tools are: many have seconds.
const TOLD_NS: i64 = 1_000_000_000;

/// Processes that are named beside the first.
const MAX_OTHERS: usize = 8;

/// One end of a flow, at its time.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub protocol: u8,
    pub local: IpAddr,
    /// Of ICMP echo the identifier.
    pub local_port: u16,
    pub remote: IpAddr,
    pub remote_port: u16,
    /// This end sent packets: only then could they be a packet socket's.
    pub sent: bool,
    /// What it sent the kernel sends by itself, or in a connection of its own, or what it got
    /// the kernel alone answers: no raw or packet socket did.
    pub by_kernel: bool,
    pub start_ns: i64,
    pub end_ns: i64,
    /// Its first packet had been sent by then.
    pub begun_by_ns: i64,
    /// What was told after this does not count.
    pub known_ns: i64,
}

/// Who it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub process: ProcessKey,
    pub basis: Basis,
    pub method: Method,
    /// When it was first known to have the socket.
    pub since_ns: i64,
    /// Others with a claim of the same strength, or with one where somebody else had the
    /// address; ascending.
    pub others: Vec<ProcessKey>,
    /// Hosts and namespaces that had the address too and of which no such socket is known.
    pub elsewhere: usize,
    /// The kernel had changed the addresses on the way.
    pub translated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    late: bool,
    /// Another socket gets the packets to this address and port.
    outreached: bool,
    basis: Basis,
    tier: usize,
    begun: Begun,
    /// Time in common, negative so that most comes first.
    overlap_ns: std::cmp::Reverse<i64>,
}

impl Rank {
    /// Both ends of the flow are known to be the socket's.
    fn is_exact(self) -> bool {
        self.tier == 0
    }
}

/// When an endless claim began, seen from the flow's start: the latest before goes
/// first, then the earliest after. Of others the time in common decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Begun {
    Unasked,
    Before(std::cmp::Reverse<i64>),
    After(i64),
}

impl Begun {
    fn of(claim: &Claim, question: &Question) -> Self {
        if !claim.is_endless() {
            Self::Unasked
        } else if claim.from_ns <= question.start_ns.saturating_add(TOLD_NS) {
            Self::Before(std::cmp::Reverse(claim.from_ns))
        } else {
            Self::After(claim.from_ns)
        }
    }

    /// Whether two are so near to each other that neither is the likelier one.
    fn is_near(self, other: Self) -> bool {
        match (self, other) {
            (Self::Unasked, Self::Unasked) => true,
            (Self::Before(std::cmp::Reverse(one)), Self::Before(std::cmp::Reverse(other)))
            | (Self::After(one), Self::After(other)) => {
                one.abs_diff(other) <= TOLD_NS.unsigned_abs()
            }
            _ => false,
        }
    }
}

/// A claim that may answer. The least one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: Rank,
    process: ProcessKey,
    method: Method,
    since_ns: i64,
    from_ns: i64,
    name: Option<SocketName>,
    netns: Option<u64>,
    learned_ns: i64,
}

impl HostMap {
    /// Who was there. `Ok(None)` where the address belongs to no host with a map.
    pub fn resolve(&self, question: &Question) -> Result<Option<Answer>, Reason> {
        let found = self.resolve_one(question);
        match found {
            // Who is bound to a group may be known; that nobody is says nothing.
            Ok(None) | Err(Reason::NoSocket | Reason::OutsideMap) => {
                // Who sent is no group.
                let group = Some(question).filter(|question| !question.sent);
                group.and_then(|end| self.group_of(end.local, end.known_ns)).map_or(found, Err)
            }
            found => found,
        }
    }

    /// Whether all that can be said of an end at this address is that it belongs to no host
    /// with a map: what [`Self::resolve`] would say of it.
    pub(super) fn is_stranger(&self, address: IpAddr, sent: bool, known_ns: i64) -> bool {
        !self.may_know(address, known_ns) && (sent || self.group_of(address, known_ns).is_none())
    }

    /// The reason that nobody sits at an address which is of several hosts at once.
    fn group_of(&self, address: IpAddr, known_ns: i64) -> Option<Reason> {
        let is_broadcast = |address| {
            let known = || self.may_have.has(address).then(|| self.broadcasts.get(&address));
            address == IpAddr::from(Ipv4Addr::BROADCAST)
                || known().flatten().is_some_and(|known| *known <= known_ns)
        };
        match address {
            _ if address.is_multicast() => Some(Reason::Multicast),
            _ if is_broadcast(address) => Some(Reason::Broadcast),
            _ => None,
        }
    }

    fn resolve_one(&self, question: &Question) -> Result<Option<Answer>, Reason> {
        if !self.may_know(question.local, question.known_ns) {
            return Ok(None);
        }
        let presences = self.presences(question);
        let mut saw_socket = false;
        let here = self.look_up(question, &presences, &mut saw_socket);
        // A translation of before may have ended without a word.
        if let Some((answer, true)) = here {
            return Ok(Some(answer));
        }
        // Packets that are sent on come to no socket here, whatever is bound to the port.
        if let Some((behind, source)) = self.behind_translation(question) {
            let presences = self.presences_of(&behind, source);
            let mut saw_socket = false;
            return match self.look_up(&behind, &presences, &mut saw_socket) {
                Some((answer, _)) => Ok(Some(Answer { translated: true, ..answer })),
                None if presences.is_empty() => Err(Reason::Forwarded),
                None => Err(self.why_not(question, &presences, saw_socket)),
            };
        }
        if let Some((answer, _)) = here {
            return Ok(Some(answer));
        }
        if presences.is_empty() {
            return if self.is_outside(question) { Err(Reason::OutsideMap) } else { Ok(None) };
        }
        Err(self.why_not(question, &presences, saw_socket))
    }

    /// All of 127.0.0.0/8 is the host's own (RFC 1122, section 3.2.1.3), of which it
    /// names 127.0.0.1 alone.
    fn known_as(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) if v4.is_loopback() && !self.addresses.contains_key(&address) => {
                Ipv4Addr::LOCALHOST.into()
            }
            _ => address,
        }
    }

    /// Whether more than this has to be asked about an address. Who claims a socket at one
    /// makes it known.
    pub(super) fn may_know(&self, address: IpAddr, known_ns: i64) -> bool {
        let address = self.known_as(address);
        (self.may_have.has(address) && self.addresses.contains_key(&address))
            || self.had_refused(known_ns)
            || self.has_translated.load(Ordering::Acquire)
    }

    /// Whether the address is that of a host of which nothing was told at this time:
    /// before its map began, or after it ended. While a map grows neither can be. An
    /// address that was told after the time of knowledge, and not with the map's first
    /// look either, may have been anybody's.
    fn is_outside(&self, question: &Question) -> bool {
        let local = self.known_as(question.local);
        let Some(spans) = self.addresses.get(&local) else { return false };
        let sources = self.sources.lock();
        let misses = |of: &MapSource| {
            question.end_ns < of.from_ns || of.ended && question.start_ns > of.until_ns
        };
        // Another watch of the same host would have told of it.
        let nothing_of = |host: &str| sources.iter().all(|of| of.start.host != host || misses(of));
        let mut hosts = spans.iter().filter_map(|span| {
            let of = sources.get(usize::from(span.source))?;
            let by_ns = of.first_told_ns.map_or(i64::MAX, |ns| ns.max(question.known_ns));
            (span.learned_ns <= by_ns).then_some(of)
        });
        hosts.any(|of| nothing_of(&of.start.host))
    }

    /// The hosts and namespaces that had the address then.
    fn presences(&self, question: &Question) -> Vec<Presence> {
        let there = |span: &&Presence| {
            span.from_ns <= question.end_ns.saturating_add(SLACK_NS)
                && span.until_ns >= question.start_ns.saturating_sub(SLACK_NS)
                && span.learned_ns <= question.known_ns
        };
        let spans = self.addresses.get(&self.known_as(question.local));
        let mut presences: Vec<Presence> =
            spans.map_or_else(Vec::new, |spans| spans.iter().filter(there).cloned().collect());
        let sources = self.sources.lock();
        let heard_in = |span: &Presence| sources.get(usize::from(span.source))?.start.netns;
        let is_own = |span: &Presence| span.netns.is_some() && span.netns == heard_in(span);
        // Every namespace has a loopback, and private addresses come again: it is the
        // watcher's own namespace that a capture hears.
        if question.local.is_loopback() || presences.iter().any(is_own) {
            presences
                .retain(|span| is_own(span) || span.netns.is_none() || heard_in(span).is_none());
        }
        presences
    }

    /// Those of one map's host.
    fn presences_of(&self, question: &Question, source: u16) -> Vec<Presence> {
        let mut presences = self.presences(question);
        let sources = self.sources.lock();
        presences.retain(|span| are_of_one_boot(&sources, span.source, source));
        presences
    }

    /// Also whether the socket is known by both ends, so that it is nobody else's.
    fn look_up(
        &self,
        question: &Question,
        presences: &[Presence],
        saw_socket: &mut bool,
    ) -> Option<(Answer, bool)> {
        let mut found: Vec<Candidate> = Vec::new();
        let exact = Endpoint {
            protocol: question.protocol,
            local: question.local,
            local_port: question.local_port,
            remote: question.remote,
            remote_port: question.remote_port,
        };
        // Who was told to hold a socket alone does not where it is found with others later.
        let mut shared: BTreeMap<(u16, SocketName), i64> = BTreeMap::new();
        let mut seen: [Option<Endpoint>; COVERING] = [None; COVERING];
        let sources = self.sources.lock();
        for (tier, at) in exact.covering().into_iter().enumerate() {
            // Without ports, several places are the same.
            if !self.shapes.has(&at) || seen.contains(&Some(at)) {
                continue;
            }
            seen[tier] = Some(at);
            let Some(claims) = self.claims.get(&at) else { continue };
            for claim in claims.iter() {
                if !is_here(claim, presences, at.local.is_unspecified()) {
                    continue;
                }
                let of = sources.get(usize::from(claim.source));
                let known_until_ns = claim.end_ns(at.protocol).min(end_of(of));
                let meant = claim.process.map(|id| self.meant(claim.source, id, claim.from_ns));
                let Some((late, overlap_ns)) = self.overlap(claim, meant, known_until_ns, question)
                else {
                    continue;
                };
                let begun = Begun::of(claim, question);
                // Who connects later did not connect this.
                let connects = matches!(claim.basis, Basis::Opened | Basis::ConnectedTo);
                if connects && matches!(begun, Begun::After(_)) {
                    continue;
                }
                let sends_alone = at.protocol == ANY_PROTOCOL || claim.basis == Basis::PacketSocket;
                let Some(id) = meant else {
                    // A raw or packet socket is there for any packet: that says nothing of this.
                    *saw_socket |= !sends_alone && claim.basis != Basis::RawSocket;
                    continue;
                };
                if sends_alone && !(question.sent && may_send(of, id)) {
                    continue;
                }
                if question.by_kernel && (sends_alone || claim.basis == Basis::RawSocket) {
                    continue;
                }
                let process = ProcessKey { source: claim.source, id };
                if claim.basis == Basis::EndedWith && self.is_born_later(process, question) {
                    continue;
                }
                let overlap_ns = std::cmp::Reverse(overlap_ns);
                let basis = claim.basis;
                let rank = Rank { late, outreached: false, basis, tier, begun, overlap_ns };
                if claim.basis == Basis::SharesIt
                    && !late
                    && let Some(name) = claim.name
                {
                    let found_ns = shared.entry((claim.source, name)).or_insert(i64::MIN);
                    *found_ns = claim.learned_ns.max(*found_ns);
                }
                let &Claim { method, from_ns, name, netns, learned_ns, .. } = claim;
                let since_ns = claim.known_since_ns();
                found.push(Candidate {
                    rank,
                    process,
                    method,
                    since_ns,
                    from_ns,
                    name,
                    netns,
                    learned_ns,
                });
            }
        }
        for candidate in &mut found {
            if candidate.rank.basis == Basis::Holds
                && let Some(name) = candidate.name
                && let Some(&found_ns) = shared.get(&(candidate.process.source, name))
                && candidate.learned_ns < found_ns
            {
                candidate.rank.basis = Basis::SharesIt;
            }
        }
        port::put_back_outreached(&mut found, question);
        let best = found.iter().min()?;
        let &Candidate { rank, process, method, since_ns, .. } = best;
        let mut others: BTreeSet<ProcessKey> = found
            .iter()
            .filter(|candidate| {
                let other = candidate.rank;
                candidate.process != process
                    && (other.late, other.outreached) == (rank.late, rank.outreached)
                    && (other.basis, other.tier) == (rank.basis, rank.tier)
                    && other.begun.is_near(rank.begun)
            })
            .map(|candidate| candidate.process)
            .collect();
        others.extend(port::holders_of_others(&found, best, question));
        let (named, elsewhere) = places::elsewhere(&found, best, presences, &sources);
        others.extend(named);
        let is_looked_for = matches!(method, Method::SockDiag | Method::Polling);
        let heirs = match rank.basis {
            Basis::Holds if is_looked_for => self.heirs(process, best.from_ns, question),
            _ => Vec::new(),
        };
        let basis = if heirs.is_empty() { rank.basis } else { Basis::SharesIt };
        others.extend(heirs);
        // Told by another map of the same host, it is no other.
        let mut distinct: Vec<ProcessKey> = Vec::new();
        for other in others {
            let is_known = |known: &ProcessKey| places::are_same(&sources, *known, other);
            if !is_known(&process) && !distinct.iter().any(is_known) && distinct.len() < MAX_OTHERS
            {
                distinct.push(other);
            }
        }
        let others = distinct;
        let translated = false;
        let answer = Answer { process, basis, method, since_ns, others, elsewhere, translated };
        Some((answer, rank.is_exact() && !rank.late))
    }

    /// Whether the process, as far as its start is known, had not begun when the first
    /// packet was sent. Starts are rounded down, to hundredths of a second.
    fn is_born_later(&self, key: ProcessKey, question: &Question) -> bool {
        let started_ns = self.processes.get(&key).and_then(|history| {
            let first = history.versions.at_or_first(i64::MIN, question.known_ns)?;
            first.value.started_ns
        });
        started_ns.is_some_and(|started_ns| started_ns > question.begun_by_ns)
    }

    /// Whether the claim was there only with slack, and how long both were.
    fn overlap(
        &self,
        claim: &Claim,
        process: Option<ProcessId>,
        known_until_ns: i64,
        question: &Question,
    ) -> Option<(bool, i64)> {
        if claim.learned_ns > question.known_ns {
            return None;
        }
        let exited = process.and_then(|id| {
            let history = self.processes.get(&ProcessKey { source: claim.source, id })?;
            history.exited_ns
        });
        let until = known_until_ns.min(exited.unwrap_or(i64::MAX));
        let from = claim.from_ns.max(question.start_ns);
        let overlap = until.min(question.end_ns).saturating_sub(from);
        if overlap >= 0 {
            return Some((false, overlap));
        }
        (overlap >= -SLACK_NS).then_some((true, 0))
    }

    fn why_not(&self, question: &Question, presences: &[Presence], saw_socket: bool) -> Reason {
        if saw_socket {
            return Reason::NoProcess;
        }
        let sources = self.sources.lock();
        let of = |span: &Presence| sources.get(usize::from(span.source));
        let mut here = presences.iter().filter_map(of).peekable();
        let overlaps = |&(from, until): &(i64, i64)| {
            from <= question.end_ns && until >= question.start_ns.saturating_sub(SLACK_NS)
        };
        let before = |of: &MapSource| question.end_ns < of.from_ns;
        let after = |of: &MapSource| question.start_ns > of.until_ns;
        if here.peek().is_some() && here.clone().all(|of| before(of) || after(of)) {
            return Reason::OutsideMap;
        }
        if here.any(|of| of.losses.iter().any(overlaps)) {
            return Reason::EventsLost;
        }
        if self.had_refused(question.known_ns) {
            return Reason::MapFull;
        }
        Reason::NoSocket
    }
}

/// What a map that has ended knew to be open may be anybody's later.
pub(super) fn end_of(source: Option<&MapSource>) -> i64 {
    source.filter(|source| source.ended).map_or(i64::MAX, |source| source.until_ns)
}

/// Who captures has packet sockets too, and sends nothing through them.
fn may_send(source: Option<&MapSource>, id: ProcessId) -> bool {
    source.is_none_or(|source| !source.start.observers.contains(&id))
}

/// A claim on an open address holds for the addresses of its own namespace.
fn is_here(claim: &Claim, presences: &[Presence], open: bool) -> bool {
    let here = |span: &Presence| {
        span.source == claim.source
            && (span.netns.is_none() || claim.netns.is_none() || span.netns == claim.netns)
    };
    presences.iter().any(here) || (!open && presences.is_empty())
}
