//! Properties of the flow table over arbitrary packets.

use proptest::prelude::*;

use super::record::{EndReason, FlowRecord};
use super::settings::{TableSettings, Timeouts, Wanted};
use super::sizes::Sizes;
use super::table::{Admission, Around, FlowTable, Guess};
use super::{Amount, BySecond, Ended, Outline};
use crate::engine::feed::WindowFeed;
use crate::packet::facts::tcp_flag::{ACK, FIN, RST, SYN};
use crate::packet::key::mapped;
use crate::packet::{FlowKey, IpVersion, PacketClass, PacketRow, row_flag};

const SECOND_NS: i64 = 1_000_000_000;
const LATENESS_S: i64 = crate::input::LATENESS_S;

#[derive(Clone, Debug)]
struct Step {
    flow: u8,
    forward: bool,
    /// Since the packet before; may go back.
    advance_ms: i64,
    payload: u32,
    flags: u16,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0u8..6,
        any::<bool>(),
        prop_oneof![4 => 0i64..2_000, 1 => 2_000i64..70_000, 1 => 290_000i64..310_000, 1 => -5_000i64..0],
        0u32..3000,
        prop_oneof![4 => Just(ACK), 2 => Just(SYN), 1 => Just(SYN | ACK), 1 => Just(FIN | ACK), 1 => Just(RST)],
    )
        .prop_map(|(flow, forward, advance_ms, payload, flags)| Step {
            flow,
            forward,
            advance_ms,
            payload,
            flags,
        });
    proptest::collection::vec(step, 0..300)
}

/// Flows 0 to 2 are TCP, 3 and 4 UDP, 5 is ICMP.
fn rows(steps: &[Step]) -> Vec<PacketRow> {
    let state = hash_state();
    let mut time_ns = 1_000 * SECOND_NS;
    let mut clock_ns = time_ns;
    steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            time_ns += step.advance_ms * 1_000_000;
            clock_ns = clock_ns.max(time_ns);
            let (proto, class) = match step.flow {
                0..3 => (6, PacketClass::TcpData),
                3..5 => (17, PacketClass::Udp),
                _ => (1, PacketClass::Icmp),
            };
            let key = FlowKey {
                version: IpVersion::V4,
                proto,
                port_a: 1000 + u16::from(step.flow),
                port_b: 80,
                a: mapped([10, 0, 0, step.flow]),
                b: mapped([10, 0, 1, 1]),
                ..FlowKey::ZERO
            };
            let late = time_ns.div_euclid(SECOND_NS) < clock_ns.div_euclid(SECOND_NS) - LATENESS_S;
            PacketRow {
                key,
                hash: key.hash(&state),
                time_ns,
                clock_ns,
                index: index as u16,
                wire_bytes: step.payload + 54,
                ip_bytes: step.payload + 40,
                payload_bytes: step.payload,
                tcp_seq: index as u32 * 100,
                tcp_flags: if proto == 6 { step.flags } else { 0 },
                ttl: 64,
                class,
                flags: (u16::from(step.forward) * row_flag::FORWARD)
                    | (u16::from(late) * row_flag::LATE),
                ..PacketRow::NOTHING
            }
        })
        .collect()
}

fn hash_state() -> ahash::RandomState {
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

fn settings(max_flows: usize) -> TableSettings {
    TableSettings {
        timeouts: Timeouts::default(),
        max_flows,
        lateness_ns: LATENESS_S * SECOND_NS,
        wanted: Wanted::Records,
        names: true,
    }
}

/// Runs the table; `sweeps` says after which packets closed seconds are swept.
fn run(
    rows: &[PacketRow],
    max_flows: usize,
    sweeps: impl Fn(usize) -> bool,
) -> (Vec<FlowRecord>, u64) {
    let (mut ended, refused) = run_with(settings(max_flows), rows, sweeps);
    ended.records.sort_by(|x, y| {
        (x.decided_ns, x.start_ns, &x.key).cmp(&(y.decided_ns, y.start_ns, &y.key))
    });
    (ended.records, refused)
}

fn run_with(
    settings: TableSettings,
    rows: &[PacketRow],
    sweeps: impl Fn(usize) -> bool,
) -> (Ended, u64) {
    let mut table = FlowTable::new(settings, hash_state());
    let mut feed = WindowFeed::default();
    let mut refused = 0;
    let mut tail = Ended::default();
    let mut clock_ns = i64::MIN;
    let close = |table: &mut FlowTable, feed: &mut WindowFeed, clock_ns: i64| {
        let until_s = clock_ns.div_euclid(SECOND_NS) - LATENESS_S;
        table.sweep(until_s);
        while feed.close_next(until_s).is_some() {}
    };
    for (at, row) in rows.iter().enumerate() {
        if table.update(row, &Around::default(), Guess::default(), &mut feed) == Admission::Refused
        {
            refused += 1;
        }
        clock_ns = row.clock_ns;
        if sweeps(at) {
            close(&mut table, &mut feed, clock_ns);
        }
    }
    if !rows.is_empty() {
        close(&mut table, &mut feed, clock_ns);
        table.finish(clock_ns, |mut ended| {
            tail.records.append(&mut ended.records);
            tail.outlines.append(&mut ended.outlines);
            tail.unanswered.merge(ended.unanswered);
        });
    }
    let mut ended = table.outlet.take();
    ended.records.append(&mut tail.records);
    ended.outlines.append(&mut tail.outlines);
    ended.unanswered.merge(tail.unanswered);
    (ended, refused)
}

proptest! {
    #[test]
    fn records_do_not_depend_on_when_expired_flows_are_swept(
        steps in steps(),
        every in 1usize..50,
    ) {
        let rows = rows(&steps);
        let (never, _) = run(&rows, 1000, |_| false);
        let (always, _) = run(&rows, 1000, |_| true);
        let (sometimes, _) = run(&rows, 1000, |at| at % every == 0);
        prop_assert_eq!(&never, &always);
        prop_assert_eq!(&never, &sometimes);
    }

    #[test]
    fn outlines_are_those_of_the_records(steps in steps(), max_flows in 1usize..8) {
        let rows = rows(&steps);
        let sweeps = |at| at % 7 == 0;
        let (records, refused) = run(&rows, max_flows, sweeps);
        let (with_records, _) = run_with(settings(max_flows), &rows, sweeps);
        let settings = TableSettings { wanted: Wanted::Outlines, ..settings(max_flows) };
        let (ended, refused_there) = run_with(settings, &rows, sweeps);
        prop_assert_eq!(refused, refused_there);
        prop_assert!(ended.records.is_empty());
        let mut outlines: Vec<_> = ended.outlines.iter().map(|flow| flow.outline).collect();
        prop_assert!(outlines.iter().all(Outline::answered));
        let parts = |ended: BySecond| {
            let seconds = ended.into_seconds().into_iter();
            seconds.map(|(second, flows)| (second, flows.into_parts())).collect::<Vec<_>>()
        };
        let unanswered = parts(ended.unanswered);
        prop_assert_eq!(&parts(with_records.unanswered), &unanswered);
        for (second, (flows, left_out)) in unanswered {
            prop_assert_eq!(left_out, Amount::default());
            let of_second = |flow: &Outline| flow.decided_ns.div_euclid(SECOND_NS) == second;
            prop_assert!(flows.iter().all(|flow| of_second(flow) && !flow.answered()));
            outlines.extend(flows);
        }
        outlines.sort_by_key(|flow| (flow.decided_ns, flow.start_ns, flow.key));
        let of_records: Vec<_> = records.iter().map(FlowRecord::outline).collect();
        prop_assert_eq!(outlines, of_records);
        let answered = |record: &FlowRecord| record.answered == record.outline().answered();
        prop_assert!(records.iter().all(answered));
    }

    #[test]
    fn a_sweep_hands_out_everything_that_is_over(steps in steps()) {
        let rows = rows(&steps);
        let mut table = FlowTable::new(settings(1000), hash_state());
        let mut feed = WindowFeed::default();
        for row in &rows {
            table.update(row, &Around::default(), Guess::default(), &mut feed);
            let until_s = row.clock_ns.div_euclid(SECOND_NS) - LATENESS_S;
            table.sweep(until_s);
        }
        let last_s = rows.last().map_or(0, |row| row.clock_ns.div_euclid(SECOND_NS)) - LATENESS_S;
        table.outlet.ended.records.clear();
        let mut left = Vec::new();
        table.finish(i64::MAX, |mut ended| left.append(&mut ended.records));
        for record in &left {
            // As time-outs see it: a late packet counts at the clock less the lateness.
            let last_ns = rows
                .iter()
                .filter(|row| row.key == record.key)
                .map(|row| row.time_ns.max(row.clock_ns - LATENESS_S * SECOND_NS))
                .max();
            let idle_s = if record.key.proto == 1 { 30 } else { 300 };
            let over_s = last_ns.map(|ns| ns.div_euclid(SECOND_NS) + idle_s);
            prop_assert!(over_s >= Some(last_s), "{over_s:?} is before {last_s}");
        }
    }

    #[test]
    fn every_packet_and_byte_is_in_exactly_one_record_or_refused(
        steps in steps(),
        max_flows in 1usize..8,
    ) {
        let rows = rows(&steps);
        let (records, refused) = run(&rows, max_flows, |at| at % 7 == 0);
        let packets: u64 = records.iter().map(|r| r.fwd.packets + r.rev.packets).sum();
        prop_assert_eq!(packets + refused, rows.len() as u64);
        for record in &records {
            for direction in [&record.fwd, &record.rev] {
                let binned: u64 = direction.sizes.bins.iter().map(|&n| u64::from(n)).sum();
                prop_assert_eq!(binned, direction.packets);
                prop_assert_eq!(direction.sizes.sum, direction.payload_bytes);
                prop_assert!(direction.wire_bytes >= direction.payload_bytes);
            }
            prop_assert!(record.start_ns <= record.end_ns);
        }
        if max_flows >= 6 {
            prop_assert_eq!(refused, 0);
            prop_assert!(records.iter().all(|r| r.end_reason != EndReason::Evicted));
        }
    }

    #[test]
    fn a_gap_over_idle_or_an_age_over_active_always_cuts(steps in steps()) {
        let rows = rows(&steps);
        let (records, _) = run(&rows, 1000, |_| true);
        for record in &records {
            let age_ns = record.end_ns - record.start_ns;
            // Packets up to the lateness behind the clock keep their own time.
            prop_assert!(age_ns <= 300 * SECOND_NS + 6 * SECOND_NS, "{age_ns}");
        }
    }
}

/// Counts of 70,000 pass 16 bits; sizes from 57,344 on have no bin in the
/// flow's own histograms.
#[test]
fn payload_sizes_are_counted_whatever_their_number_and_length() {
    let payloads = [70_000, 1, 1_000, 57_343, 57_344, 65_535, 65_536, 1_000, 200_000];
    let steps: Vec<_> = (0..70_300)
        .map(|n| if n < 300 { payloads[n % payloads.len()] } else { 1_000 })
        .map(|payload| Step { flow: 3, forward: true, advance_ms: 0, payload, flags: 0 })
        .collect();
    let (records, _) = run(&rows(&steps), 10, |_| false);
    let mut expected = Sizes::default();
    for step in &steps {
        expected.record(step.payload, 1);
    }
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].fwd.sizes, expected);
    let sequence: Vec<_> = records[0].sequence.iter().map(|step| step.payload_bytes).collect();
    assert_eq!(sequence, steps[..16].iter().map(|step| step.payload).collect::<Vec<_>>());
}

type ShortStep = (u8, bool, i64, u16);

fn records_of(steps: &[ShortStep]) -> Vec<FlowRecord> {
    let step = |&(flow, forward, advance_ms, flags): &ShortStep| Step {
        flow,
        forward,
        advance_ms,
        payload: 100,
        flags,
    };
    let steps: Vec<_> = steps.iter().map(step).collect();
    run(&rows(&steps), 100, |_| true).0
}

/// Who began a flow whose record was cut by age, by what its records say.
fn originators(steps: &[ShortStep]) -> Vec<(bool, bool)> {
    let records = records_of(steps);
    records.iter().map(|record| (record.forward_is_a_to_b, record.originator_guessed)).collect()
}

/// A packet each 50 s, from the server; an answer now and then.
fn long(flow: u8, first: u16) -> Vec<ShortStep> {
    let more = (1..20).map(move |n| (flow, n % 5 == 0, 50_000, ACK));
    [(flow, true, 0, first), (flow, false, 1, ACK)].into_iter().chain(more).collect()
}

#[test]
fn a_record_says_whether_one_of_its_flow_was_cut_by_age_before_it() {
    let told = |steps: &[ShortStep]| -> Vec<(EndReason, bool)> {
        records_of(steps).iter().map(|record| (record.end_reason, record.continues)).collect()
    };
    let cut =
        [(EndReason::Active, false), (EndReason::Active, true), (EndReason::EndOfInput, true)];
    for (flow, first) in [(0, SYN), (0, ACK), (3, 0)] {
        assert_eq!(told(&long(flow, first)), cut, "flow {flow}");
    }
    let idle = [(3, true, 0, 0), (3, false, 10, 0), (3, false, 400_000, 0), (3, false, 10, 0)];
    assert_eq!(told(&idle), [(EndReason::Idle, false), (EndReason::EndOfInput, false)]);
    // Nor does what comes after a record that was cut and then over.
    let mut over = long(3, 0);
    over.extend(&idle[2..]);
    assert_eq!(told(&over).last(), Some(&(EndReason::EndOfInput, false)));
}

#[test]
fn who_began_a_flow_is_known_after_its_record_was_cut_by_age() {
    assert_eq!(originators(&long(0, SYN)), [(true, false); 3]);
    assert_eq!(originators(&long(0, ACK)), [(true, true); 3], "a guess stays one");
    assert_eq!(originators(&long(3, 0)), [(true, false); 3]);
    // After an idle time-out it is another conversation.
    let later = [(3, true, 0, 0), (3, false, 10, 0), (3, false, 400_000, 0), (3, false, 10, 0)];
    assert_eq!(originators(&later), [(true, false), (false, false)]);
}

#[test]
fn of_two_that_open_at_once_the_first_is_the_originator() {
    for first in [true, false] {
        let both = [(0, first, 0, SYN), (0, !first, 1, SYN), (0, first, 1, SYN | ACK)];
        assert_eq!(originators(&both), [(first, false)]);
    }
}

/// Gaps around 2^32 and 2^40 nanoseconds, and of ten years.
#[test]
fn gaps_of_the_sequence_are_kept_whatever_their_length() {
    let gaps_ms = [0, 1, 4_294, 4_295, 1_099_511, 1_099_512, 315_576_000_000, 7];
    let steps: Vec<_> = gaps_ms
        .map(|advance_ms| Step { flow: 3, forward: true, advance_ms, payload: 9, flags: 0 })
        .to_vec();
    let timeouts = Timeouts { udp_idle_ns: None, udp_active_ns: None, ..Timeouts::default() };
    let mut table = FlowTable::new(TableSettings { timeouts, ..settings(10) }, hash_state());
    let mut feed = WindowFeed::default();
    for row in &rows(&steps) {
        table.update(row, &Around::default(), Guess::default(), &mut feed);
    }
    let mut records = Vec::new();
    table.finish(i64::MAX, |mut more| records.append(&mut more.records));
    let gaps: Vec<_> = records[0].sequence.iter().map(|step| step.gap_ns / 1_000_000).collect();
    assert_eq!(gaps, gaps_ms.map(|ms| ms as u64));
}

/// Gaps and the sequence of one record said different things.
#[test]
fn where_time_goes_backwards_gaps_and_the_sequence_agree() {
    let steps = [(0, 5), (-4_000, 5), (2_000, 5), (7_000, 5)].map(|(advance_ms, payload)| Step {
        flow: 3,
        forward: true,
        advance_ms,
        payload,
        flags: 0,
    });
    let (records, _) = run(&rows(&steps), 10, |_| false);
    let gaps: Vec<_> = records[0].sequence.iter().map(|step| step.gap_ns / 1_000_000).collect();
    assert_eq!(gaps, [0, 0, 0, 5_000]);
    assert_eq!((records[0].fwd.gaps.min_ns, records[0].fwd.gaps.max_ns), (0, 5_000_000_000));
}

/// What a flow costs in memory, its place in the index (at most two slots of 8
/// bytes) and in the wheel (4 bytes and a share of a chunk) apart.
#[test]
fn a_flood_that_pushes_out_its_own_flows_enters_each_place_in_the_wheel_once() {
    const PLACES: usize = 64;
    let step = Step { flow: 3, forward: true, advance_ms: 0, payload: 10, flags: 0 };
    let mut row = rows(&[step])[0];
    let mut table = FlowTable::new(settings(PLACES), hash_state());
    let mut feed = WindowFeed::default();
    for n in 0..10_000_u32 {
        row.key.a = mapped(n.to_be_bytes());
        row.hash = row.key.hash(&hash_state());
        row.time_ns += 1_000_000;
        row.clock_ns = row.time_ns;
        table.update(&row, &Around::default(), Guess::default(), &mut feed);
    }
    assert_eq!(table.counters.evicted, 10_000 - PLACES as u64);
    assert_eq!(table.wheel_entries(), PLACES);
    // The last ones there are asked in time all the same.
    table.sweep(row.time_ns / SECOND_NS + 62);
    assert_eq!(table.outlet.flows, 10_000);
}

#[test]
fn a_flow_of_one_packet_and_a_long_one_stay_within_their_memory() {
    // Slots of 8 bytes, at least 44 % of them in use; ids of 4 in chunks.
    const INDEX_AND_WHEEL: usize = 19 + 5;
    assert!(size_of::<super::stub::Stub>() + INDEX_AND_WHEEL <= 256);
    let long = size_of::<super::live::Live>() + size_of::<super::live::Bins>();
    assert!(long + INDEX_AND_WHEEL <= 768, "{long}");
}
