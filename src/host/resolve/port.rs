//! Several datagram sockets at one port: to which of them the kernel gives a packet.
//!
//! What a process was seen doing with one of them says nothing of what comes in for
//! another. The kernel gives a packet to the socket that is bound most exactly (Linux,
//! `compute_score` in net/ipv4/udp.c); among equals to the one that a hash chooses, or
//! that was bound last, or of multicast to all.

use std::collections::BTreeMap;

use super::super::claim::SocketName;
use super::{Candidate, ProcessKey, Question};

const UDP: u8 = 17;
const UDP_LITE: u8 = 136;

/// Places in the order of [`Endpoint::covering`](super::Endpoint::covering).
const BOUND_TO_THE_ADDRESS: usize = 1;
const BOUND_TO_ANY_ADDRESS: usize = 3;

/// Whether two names can't be one socket's: cookies and inodes are not compared.
fn are_different(one: SocketName, other: SocketName) -> bool {
    use SocketName::{Cookie, Inode};
    match (one, other) {
        (Cookie(one), Cookie(other)) | (Inode(one), Inode(other)) => one != other,
        (Cookie(_), Inode(_)) | (Inode(_), Cookie(_)) => false,
    }
}

fn is_datagram(question: &Question) -> bool {
    matches!(question.protocol, UDP | UDP_LITE)
}

/// Sockets bound to any address get nothing where another one is bound to this.
pub(super) fn put_back_outreached(found: &mut [Candidate], question: &Question) {
    if !is_datagram(question) {
        return;
    }
    let exact: Vec<_> = found
        .iter()
        .filter(|one| one.rank.tier == BOUND_TO_THE_ADDRESS && !one.rank.late)
        // A later one changes nothing for the packets before.
        .filter(|one| one.from_ns <= question.begun_by_ns)
        .filter_map(|one| Some((one.process.source, one.name?)))
        .collect();
    for candidate in found {
        let Some(name) = candidate.name else { continue };
        candidate.rank.outreached = candidate.rank.tier == BOUND_TO_ANY_ADDRESS
            && exact.iter().any(|&(source, other)| {
                source == candidate.process.source && are_different(name, other)
            });
    }
}

/// Who has the other sockets that could have got the packets of `best` as well.
pub(super) fn holders_of_others(
    found: &[Candidate],
    best: &Candidate,
    question: &Question,
) -> Vec<ProcessKey> {
    let is_bound = matches!(best.rank.tier, BOUND_TO_THE_ADDRESS | BOUND_TO_ANY_ADDRESS);
    let Some(name) = best.name.filter(|_| is_bound && is_datagram(question)) else {
        return Vec::new();
    };
    let like = |one: &Candidate| (one.rank.late, one.rank.outreached, one.rank.tier);
    let mut sockets: BTreeMap<SocketName, Vec<&Candidate>> = BTreeMap::new();
    for other in found.iter().filter(|other| like(other) == like(best)) {
        if other.process.source == best.process.source
            && other.from_ns <= question.begun_by_ns
            && let Some(other_name) = other.name.filter(|&other| are_different(name, other))
        {
            sockets.entry(other_name).or_default().push(other);
        }
    }
    let strongest = sockets.into_values().flat_map(|holders| {
        let basis = holders.iter().map(|holder| holder.rank.basis).min();
        holders.into_iter().filter(move |holder| Some(holder.rank.basis) == basis)
    });
    strongest.map(|holder| holder.process).filter(|&process| process != best.process).collect()
}
