//! From the rows of a second to what entities did in it.
//!
//! Each row belongs to the addresses at its ends that are at home (or to their
//! instances of the inventory), and to the processes and workloads that a host map
//! names there. Rows are looked at in an order that their flows give, so that what comes
//! out does not depend on shards. Bounded by [`ROWS`] a second and by the ledger's limits.

use std::sync::Arc;

use ahash::{HashMap, RandomState};

use super::recorded::Told;
use super::window::{Assembled, FlowRow, Host, Lying, Seed, Table};
use crate::detect::HomeNets;
use crate::entity::{
    Behind, Bytes, Ledger, LedgerLimits, Minutes, SecondOf, Served, View, Who, WhoId,
};
use crate::host::attribution::Basis;
use crate::host::inventory::{Instance, Inventory};
use crate::host::join::{Joiner, Seat, Seated};

/// Rows of a second that are joined; the largest, and a sample of the rest, where there
/// are more. Joining one takes about half a microsecond: 8 ms of a second.
const ROWS: usize = 16_384;

/// In that sample. A sum over them is known to about 3 %: two standard errors, each
/// `1 / sqrt(n)` for a sample of n of one size. What has more rows is mostly a flood of
/// flows of one packet, beside which nothing else should take a share of each second.
const SAMPLED_ROWS: usize = 4_096;

/// The same where nothing is known of hosts and no normal is learned: only what is large
/// can be found then, and the largest rows are all among them.
const ROWS_UNKNOWN: usize = 1_024;

/// Addresses whose entity is remembered.
const MAX_ADDRESSES: usize = 1 << 16;

/// Rows with fewer bytes in a second are passed over where nothing is known of hosts and
/// no normal is learned: what is left to find there moves more (see `detect::analytic`).
/// Handshakes say who began all the same.
const LEAST_BYTES_UNKNOWN: u64 = 4_096;

pub(super) struct Entities {
    ledger: Ledger,
    seed: Seed,
    rows: Vec<FlowRow>,
    shares: Vec<Share>,
    addresses: Table<Host, Address>,
    address_keys: RandomState,
    /// Hashes of both ends of each row; kept for their memory.
    ends: Vec<[u64; 2]>,
    most_rows: usize,
    sampled_rows: usize,
    least_bytes: u64,
    /// The same where no end is that of a host with a map or of an instance.
    least_bytes_of_strangers: u64,
    /// Of the second at hand: who sent name queries and echoes to whom, by process, with
    /// the bytes of the one that sent the most.
    senders: HashMap<(Host, Host, u8), (u64, Arc<Who>)>,
    /// Of the second at hand, where recorded flows say who is at their ends.
    told: Told,
    served: Served,
    /// Of all rows that were looked at.
    pub(super) bytes: Bytes,
}

/// Which rows are looked at, as far as there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Large ones: nothing is known of hosts, and no normal is learned.
    Large,
    /// All of hosts that something is known of, and large ones of others.
    OfKnown,
    All,
}

/// A row's part of one entity.
#[derive(Clone, Copy)]
struct Share {
    id: WhoId,
    row: u32,
    from_there: bool,
    /// The peer is outside the home networks.
    external: bool,
    /// Of the entity of an address.
    behind: Option<Behind>,
    /// Of a process.
    certainty: Option<f64>,
}

/// What is asked for that many shares ahead: an entity takes a dozen misses to memory, of
/// which about two shares' are under way at a time.
const SHARES_AHEAD: usize = 2;

/// The same of rows, whose ends take two to three.
const ROWS_AHEAD: usize = 8;

/// What an address at home stands for.
struct Address {
    /// Nobody where it is every host's own.
    who: Option<Arc<Who>>,
    digest: u64,
    /// Its number in the ledger, and the minute in which that holds.
    id: Option<(i64, WhoId)>,
}

/// Service whose senders are asked for.
const DNS_PORT: u16 = 53;
/// A process that is less sure to be the one is a candidate: what was sent is its
/// address's.
const LEAST_CERTAINTY: f64 = 0.5;

impl Entities {
    pub(super) fn new(sight: Sight) -> Self {
        let all_rows = sight != Sight::Large;
        let seed = Seed::default();
        Self {
            ledger: Ledger::new("packets".into(), LedgerLimits::default(), seed),
            seed,
            rows: Vec::new(),
            shares: Vec::new(),
            addresses: Table::default(),
            address_keys: RandomState::default(),
            ends: Vec::new(),
            senders: HashMap::default(),
            told: Told::default(),
            served: Served::default(),
            bytes: Bytes::default(),
            most_rows: if all_rows { ROWS } else { ROWS_UNKNOWN },
            sampled_rows: if all_rows { SAMPLED_ROWS } else { ROWS_UNKNOWN },
            least_bytes: if all_rows { 0 } else { LEAST_BYTES_UNKNOWN },
            least_bytes_of_strangers: match sight {
                Sight::All => 0,
                Sight::Large | Sight::OfKnown => LEAST_BYTES_UNKNOWN,
            },
        }
    }

    /// Other settings: who is at home may have changed.
    pub(super) fn forget_addresses(&mut self) {
        self.addresses.clear();
    }

    /// Something is known of hosts after all: by the flows themselves.
    pub(super) fn see_all_rows(&mut self) {
        (self.most_rows, self.sampled_rows) = (ROWS, SAMPLED_ROWS);
        (self.least_bytes, self.least_bytes_of_strangers) = (0, 0);
    }

    /// Who is at the ends of flows of the next second that is counted.
    pub(super) fn tell(&mut self, told: Told) {
        self.told = told;
    }

    /// Begins a second; the minutes that are over.
    pub(super) fn begin(&mut self, second: i64) -> Minutes {
        self.senders.clear();
        self.ledger.begin(second)
    }

    /// Takes back the memory of minutes that were looked at.
    pub(super) fn give_back(&mut self, minutes: Minutes) {
        self.ledger.give_back(minutes);
    }

    /// Lets go of what a minute without entities had no use for.
    pub(super) fn rest(&mut self, before_s: i64) {
        self.ledger.rest(before_s);
    }

    /// The second that the minute at hand ends before; nothing where nobody is in it.
    pub(super) fn minute_end_s(&self) -> Option<i64> {
        self.ledger.end_s()
    }

    /// The last minute.
    pub(super) fn finish(&mut self) -> Minutes {
        self.ledger.close()
    }

    /// What entities did in the second at hand.
    pub(super) fn second(&mut self) -> Vec<&SecondOf> {
        self.ledger.second()
    }

    /// The process that sent name queries (UDP, TCP) or echoes (ICMP) from one address to
    /// another in the second at hand, where a map names it.
    pub(super) fn sender(&self, from: Host, to: Host, protocols: &[u8]) -> Option<Arc<Who>> {
        let known = protocols.iter().filter_map(|&proto| self.senders.get(&(from, to, proto)));
        known.max_by_key(|(bytes, _)| *bytes).map(|(_, who)| Arc::clone(who))
    }

    /// Counts the rows of a second: first whose they are, then what they add.
    pub(super) fn count(
        &mut self,
        assembled: &Assembled,
        joiner: Option<&mut Joiner>,
        home: &HomeNets,
    ) {
        let second = assembled.slice.second();
        let strangers = joiner.as_deref().map(|joiner| Strangers::of(joiner, second, home));
        self.take_rows(assembled, strangers.as_ref());
        self.served.learn(second, self.rows.iter());
        // Small ones were handed out for that alone.
        let (bytes, least_bytes) = (&mut self.bytes, self.least_bytes);
        let least_of_strangers = self.least_bytes_of_strangers;
        self.rows.retain(|row| {
            let (of_row, ends) = (row.wire_bytes(), [row.there.src, row.there.dst]);
            let all_bytes = of_row.saturating_mul(row.scale);
            of_row >= least_bytes
                && (of_row >= least_of_strangers
                    || !pass_over(bytes, ends, all_bytes, strangers.as_ref()))
        });
        self.share_out(second, joiner, home);
        for (at, share) in self.shares.iter().enumerate() {
            if let Some(last) = self.shares.get(at + 4 * SHARES_AHEAD) {
                self.ledger.prefetch_place(last.id);
            }
            if let Some(later) = self.shares.get(at + 2 * SHARES_AHEAD) {
                self.ledger.prefetch(later.id);
            }
            if let Some(next) = self.shares.get(at + SHARES_AHEAD) {
                self.ledger.prefetch_parts(next.id, second);
            }
            let row = &self.rows[share.row as usize];
            let mut view = View::of(row, second, share.from_there, share.external);
            view.leg = self.served.leg(&view);
            self.ledger.add(share.id, &view);
            if let Some(certainty) = share.certainty {
                self.ledger.weigh(share.id, &view, certainty);
            }
            if let Some(behind) = share.behind {
                self.ledger.add_known(share.id, &view, behind);
            }
        }
    }

    /// Finds the entities at the ends of each row.
    fn share_out(&mut self, second: i64, mut joiner: Option<&mut Joiner>, home: &HomeNets) {
        let rows = std::mem::take(&mut self.rows);
        self.shares.clear();
        let told = std::mem::take(&mut self.told);
        let hash = |host: &Host| self.address_keys.hash_one(host);
        self.ends.clear();
        self.ends.extend(rows.iter().map(|row| [hash(&row.there.src), hash(&row.there.dst)]));
        for (number, row) in rows.iter().enumerate() {
            let hashes = self.ends[number];
            if let Some(later) = self.ends.get(number + 2 * ROWS_AHEAD) {
                later.iter().for_each(|&hash| self.addresses.prefetch(hash));
            }
            if let Some(next) = self.ends.get(number + ROWS_AHEAD) {
                next.iter().for_each(|&hash| self.addresses.prefetch_entry(hash));
            }
            let ends = [row.there.src, row.there.dst];
            // No `map` over arrays here: it moves one by one.
            let homes = [home.contains(&ends[0]), home.contains(&ends[1])];
            let is_external = |end: usize| !homes[end] && !ends[end].is_group();
            let external = [is_external(0), is_external(1)];
            self.bytes.add(row.wire_bytes().saturating_mul(row.scale), external == [true; 2]);
            let views = [
                View::of(row, second, true, external[1]),
                View::of(row, second, false, external[0]),
            ];
            let mut seat = |end: usize| match joiner.as_deref_mut() {
                Some(joiner) => joiner.seat(&views[end], row.echo_id),
                None => told.seat(row, end).map_or(Seated::Stranger, Seated::At),
            };
            let seats = [seat(0), seat(1)];
            let instance = |end: usize| match joiner.as_deref() {
                Some(joiner) => joiner.instance_of(ends[end].ip()),
                None => told.instance(row, end),
            };
            if row.wire_bytes() < self.least_bytes_of_strangers
                && seats.iter().all(|seat| matches!(seat, Seated::Stranger))
                && !(0..2).any(|end| homes[end] && instance(end).is_some())
            {
                continue;
            }
            for (end, seat) in seats.into_iter().enumerate() {
                let (from_there, external) = (end == 0, external[1 - end]);
                let row = number as u32;
                let nothing =
                    Share { id: 0, row, from_there, external, behind: None, certainty: None };
                let share = |id| Share { id, ..nothing };
                let behind = match seat {
                    Seated::At(seat) => self.take_process(seat, &views[end], share),
                    Seated::Stranger | Seated::Unclaimed => Behind::Nobody,
                };
                if homes[end] {
                    let id = self.address(ends[end], hashes[end], || instance(end));
                    let share = id.map(|id| Share { behind: Some(behind), ..share(id) });
                    self.shares.extend(share);
                }
            }
        }
        self.rows = rows;
    }

    /// Rows in an order that their flows give, those of one flow put together, but for small
    /// ones that are looked at no further. Most are small and strangers' beside a map, so
    /// they are asked where they lie and not copied.
    fn take_rows(&mut self, assembled: &Assembled, strangers: Option<&Strangers<'_>>) {
        let (sampled, seed) = (self.sampled_rows, self.seed);
        // Of flows without a place in the table each packet is a row, and too small.
        let is_in_parts = assembled.is_crowded_by_few(ROWS);
        let (most, least) =
            if is_in_parts { (usize::MAX, 0) } else { (self.most_rows, self.least_bytes) };
        let mut lying: Vec<(u64, u32, Lying<'_>)> = Vec::new();
        // From within: `extend` asks the chain of filters for each row anew.
        let flows = assembled.flows(most, sampled, least, seed);
        flows.for_each(|row| lying.push((row.hash(seed), lying.len() as u32, row)));
        // By a hash, then by flow: numbers compare faster than flows, which lie far apart.
        lying.sort_unstable_by_key(|&(word, _, _)| word);
        self.rows.clear();
        let (rows, bytes) = (&mut self.rows, &mut self.bytes);
        let (least_bytes, least_of_strangers) = (self.least_bytes, self.least_bytes_of_strangers);
        for equal in lying.chunk_by_mut(|x, y| x.0 == y.0) {
            if let [(_, _, row)] = equal {
                let of_row = row.wire_bytes();
                let is_small = of_row < least_of_strangers && !row.tells();
                let all_bytes = of_row.saturating_mul(row.scale());
                let is_done = is_small
                    && (of_row < least_bytes || pass_over(bytes, row.ends(), all_bytes, strangers));
                if !is_done {
                    rows.push(row.copied());
                }
                continue;
            }
            equal.sort_unstable_by_key(|&(_, at, row)| (row.key(), at));
            for of_flow in equal.chunk_by(|x, y| x.2.key() == y.2.key()) {
                rows.extend(merged(of_flow.iter().map(|(_, _, row)| row)));
            }
        }
    }

    /// The number of an address at home, or of its instance.
    fn address(
        &mut self,
        host: Host,
        hash: u64,
        instance: impl Fn() -> Option<Arc<Instance>>,
    ) -> Option<WhoId> {
        if self.addresses.len() >= MAX_ADDRESSES {
            self.addresses.clear();
        }
        let seed = self.seed;
        let known = self.addresses.find(hash, &host);
        let address = match known {
            Some(place) => self.addresses.at(place),
            None => self.addresses.insert_new(hash, host, {
                // Loopback is every host's own.
                let is_own = host.ip().is_loopback() || host.ip().is_unspecified();
                let instance = if is_own { None } else { instance() };
                let digest = match &instance {
                    Some(instance) => seed.text(2, &instance.id),
                    None => seed.mix(seed.host(&host), 1),
                };
                let who = instance.map_or_else(|| Who::address(&host), |at| Who::instance(&at));
                Address { who: (!is_own).then(|| Arc::new(who)), digest, id: None }
            }),
        };
        let who = address.who.as_ref()?;
        let minute = self.ledger.minute();
        let known = address.id.filter(|&(of, _)| of == minute).map(|(_, id)| id);
        let id = known.or_else(|| self.ledger.id(address.digest, || Arc::clone(who)))?;
        address.id = Some((minute, id));
        Some(id)
    }

    /// Who is known, as far as it is likelier that they were it than not.
    fn take_process(
        &mut self,
        seat: Seat,
        view: &View<'_>,
        share: impl Fn(WhoId) -> Share,
    ) -> Behind {
        let is_process = speaks(&seat, view);
        let Seat { process, workload, host, boot, certainty, basis } = seat;
        // Who may send anything is in no likelier place than any other.
        let workload = workload.filter(|_| is_process || basis != Some(Basis::PacketSocket));
        let id = process.process.id;
        let identity = self.seed.mix(
            self.seed.text(u64::from(id.pid), &process.process.exe),
            self.seed.text(id.start_ticks, &boot),
        );
        let who = || Arc::new(Who::process(&host, &boot, &process, workload.as_ref(), certainty));
        if is_process && let Some(id) = self.ledger.id(identity, who) {
            self.shares.push(Share { certainty: Some(certainty), ..share(id) });
            let is_asked_for = matches!(view.proto, 1 | 58) || view.remote_port == DNS_PORT;
            if is_asked_for && certainty >= LEAST_CERTAINTY && view.sent.wire_bytes > 0 {
                self.note_sender(id, view);
            }
        }
        if let Some(workload) = &workload {
            let digest = self.seed.text(3, &workload.container);
            if let Some(id) = self.ledger.id(digest, || Arc::new(Who::workload(workload))) {
                self.shares.push(share(id));
            }
        }
        match (workload.is_some(), is_process) {
            (true, _) => Behind::Workload,
            (false, true) => Behind::Process,
            (false, false) => Behind::Nobody,
        }
    }

    fn note_sender(&mut self, id: WhoId, view: &View<'_>) {
        let Some(who) = self.ledger.who(id) else { return };
        let key = (view.sent.src, view.peer, view.proto);
        let bytes = view.sent.wire_bytes * view.scale;
        let known = self.senders.entry(key).or_insert_with(|| (bytes, Arc::clone(who)));
        // Of equals the first in the order of rows.
        if bytes > known.0 {
            *known = (bytes, Arc::clone(who));
        }
    }
}

/// Who can't be known in a second, of whom most rows are beside the host of the capture
/// itself: so they are not asked about one by one.
struct Strangers<'a> {
    joiner: &'a Joiner,
    inventory: Option<Arc<Inventory>>,
    home: &'a HomeNets,
    second: i64,
}

impl<'a> Strangers<'a> {
    fn of(joiner: &'a Joiner, second: i64, home: &'a HomeNets) -> Self {
        Self { joiner, inventory: joiner.inventory(), home, second }
    }

    /// Whether a row between these ends is one between outside hosts, unless something may
    /// be known of one of them.
    fn are_outside(&self, ends: [Host; 2]) -> Option<bool> {
        let homes = [self.home.contains(&ends[0]), self.home.contains(&ends[1])];
        let may_be_known = |end: usize| {
            let (address, inventory) = (ends[end].ip(), self.inventory.as_ref());
            self.joiner.may_seat(address, self.second)
                || homes[end] && inventory.is_some_and(|known| known.by_address(address).is_some())
        };
        let are_strangers = !may_be_known(0) && !may_be_known(1);
        are_strangers.then(|| !homes[0] && !homes[1] && !ends.iter().any(Host::is_group))
    }
}

/// Counts a small row and is done with it, where nothing can be known of its ends.
fn pass_over(
    bytes: &mut Bytes,
    ends: [Host; 2],
    all_bytes: u64,
    strangers: Option<&Strangers<'_>>,
) -> bool {
    let are_outside = strangers.and_then(|strangers| strangers.are_outside(ends));
    if let Some(are_outside) = are_outside {
        bytes.add(all_bytes, are_outside);
    }
    are_outside.is_some()
}

/// One row of those of a flow, in the order of the log. Packets lie in that of their arrival.
fn merged<'a>(rows: impl Iterator<Item = &'a Lying<'a>> + Clone) -> Option<FlowRow> {
    let are_packets = rows.clone().all(Lying::is_packet);
    let mut rows = rows.map(Lying::copied);
    let mut sum = rows.next()?;
    let first_there = sum.first_there;
    rows.for_each(|other| sum.merge(&other));
    if are_packets {
        sum.first_there = first_there;
    }
    Some(sum)
}

/// Whether what is found at an end counts as the process's own doing. The one raw socket
/// there is may have sent what nobody else claims: so tools that write packets whole do,
/// and what the kernel sends by itself is no claim of it.
fn speaks(seat: &Seat, view: &View<'_>) -> bool {
    let alone = Basis::RawSocket.certainty();
    let by_raw_socket = seat.basis == Some(Basis::RawSocket) && view.sent.packets() > 0;
    seat.certainty >= LEAST_CERTAINTY || (by_raw_socket && seat.certainty >= alone)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::engine::window::Delta;
    use crate::host::side::ProcessView;
    use crate::host::workload::Workload;
    use crate::packet::PacketClass;

    #[test]
    fn a_candidate_is_no_entity_and_its_address_speaks() {
        let [here, there] = [1, 2].map(|last| Host::from(IpAddr::from([192, 0, 2, last])));
        let mut row = FlowRow {
            there: Delta::new(here, there, 17, 4_000, 9),
            back: Delta::new(there, here, 17, 9, 4_000),
            echo_id: 0,
            scale: 1,
            first_there: None,
        };
        row.there.classes[PacketClass::Udp as usize] = 1;
        let take = |basis: Basis, certainty, from_there, workload: bool| {
            let mut entities = Entities::new(Sight::All);
            entities.begin(0);
            let seat = Seat {
                process: Arc::new(ProcessView::default()),
                workload: workload.then(|| Arc::new(Workload::default())),
                host: "h".into(),
                boot: "b".into(),
                certainty,
                basis: Some(basis),
            };
            let view = View::of(&row, 0, from_there, false);
            let nothing =
                Share { id: 0, row: 0, from_there, external: false, behind: None, certainty: None };
            let share = |id| Share { id, ..nothing };
            let behind = entities.take_process(seat, &view, share);
            (behind, entities.shares.len())
        };
        for (basis, certainty, from_there, expected) in [
            (Basis::Used, 1.0, true, (Behind::Process, 1)),
            (Basis::SharesIt, 0.6, true, (Behind::Process, 1)),
            (Basis::SharesIt, 0.3, true, (Behind::Nobody, 0)),
            (Basis::EndedWith, Basis::EndedWith.certainty(), true, (Behind::Nobody, 0)),
            (Basis::PacketSocket, 0.2, true, (Behind::Nobody, 0)),
            // The one raw socket there is, for what nobody else claims.
            (Basis::RawSocket, Basis::RawSocket.certainty(), true, (Behind::Process, 1)),
            (Basis::RawSocket, Basis::RawSocket.certainty() / 2.0, true, (Behind::Nobody, 0)),
            (Basis::RawSocket, Basis::RawSocket.certainty(), false, (Behind::Nobody, 0)),
        ] {
            assert_eq!(
                take(basis, certainty, from_there, false),
                expected,
                "{basis:?} {certainty}"
            );
        }
        // Of several in one container each is unsure, and the container is not.
        assert_eq!(take(Basis::SharesIt, 0.3, true, true), (Behind::Workload, 1));
        assert_eq!(take(Basis::PacketSocket, 0.2, true, true), (Behind::Nobody, 0));
    }
}
