//! Several hosts, or namespaces of one, that had the same address at the same time.
//!
//! How a socket is bound says which of one namespace's it is, and nothing of another's:
//! private addresses come again. What several may have had is as likely each one's.

use std::collections::{BTreeMap, BTreeSet};

use super::super::map::{MapSource, Presence};
use super::{Candidate, ProcessKey};

/// A host, by its name or else by its map, and a namespace of it; nothing where the map
/// does not say which.
type Place<'a> = (&'a str, u16, Option<u64>);

/// Whether two maps, or parts of one, are of the same host in the same boot: processes of
/// one are those of the other.
pub(super) fn are_of_one_boot(sources: &[MapSource], one: u16, other: u16) -> bool {
    let of = |source: u16| sources.get(usize::from(source)).map(|of| &of.start);
    one == other
        || of(one).zip(of(other)).is_some_and(|(one, other)| {
            !one.host.is_empty() && (&one.host, &one.boot) == (&other.host, &other.boot)
        })
}

/// Whether both name one process, each in its map.
pub(super) fn are_same(sources: &[MapSource], one: ProcessKey, other: ProcessKey) -> bool {
    one.id == other.id && are_of_one_boot(sources, one.source, other.source)
}

struct Places<'a> {
    sources: &'a [MapSource],
    /// Hosts of which not every presence says its namespace.
    vague: BTreeSet<(&'a str, u16)>,
}

impl<'a> Places<'a> {
    fn new(sources: &'a [MapSource], presences: &[Presence]) -> Self {
        let mut places = Self { sources, vague: BTreeSet::new() };
        let vague = presences.iter().filter(|span| span.netns.is_none());
        let vague = vague.map(|span| places.host(span.source)).collect();
        places.vague = vague;
        places
    }

    fn host(&self, source: u16) -> (&'a str, u16) {
        match self.sources.get(usize::from(source)).map(|of| of.start.host.as_str()) {
            Some(host) if !host.is_empty() => (host, 0),
            _ => ("", source),
        }
    }

    fn of(&self, source: u16, netns: Option<u64>) -> Place<'a> {
        let host = self.host(source);
        (host.0, host.1, netns.filter(|_| !self.vague.contains(&host)))
    }
}

/// Who else it may have been, since they had the address elsewhere; and in how many places
/// more nobody is known to have had a socket for it.
pub(super) fn elsewhere(
    found: &[Candidate],
    best: &Candidate,
    presences: &[Presence],
    sources: &[MapSource],
) -> (Vec<ProcessKey>, usize) {
    if presences.len() < 2 {
        return (Vec::new(), 0);
    }
    let places = Places::new(sources, presences);
    let here = places.of(best.process.source, best.netns);
    // A socket that is not told with its namespace may be in any of its host.
    let is_here = |place: &Place<'_>| {
        *place == here || (best.netns.is_none() && (place.0, place.1) == (here.0, here.1))
    };
    let mut others: BTreeMap<Place<'_>, Option<&Candidate>> = presences
        .iter()
        .map(|span| (places.of(span.source, span.netns), None))
        .filter(|(place, _)| !is_here(place))
        .collect();
    for candidate in found.iter().filter(|one| one.rank.late == best.rank.late) {
        let place = places.of(candidate.process.source, candidate.netns);
        if let Some(known) = others.get_mut(&place) {
            *known = Some(known.map_or(candidate, |known| known.min(candidate)));
        }
    }
    // A socket with both ends of the flow is in one place, whoever else may have the address.
    if best.rank.is_exact() {
        others.retain(|_, known| known.is_some_and(|known| known.rank.is_exact()));
    }
    let unnamed = others.values().filter(|known| known.is_none()).count();
    (others.into_values().flatten().map(|known| known.process).collect(), unnamed)
}
