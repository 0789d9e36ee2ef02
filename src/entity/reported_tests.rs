use crate::telemetry::label;
use crate::telemetry::observation::{Action, FlowDirection, Measures};

use super::*;

const SECOND_NS: i64 = 1_000_000_000;

fn flow(src: &str, dst: &str, start_s: i64, end_s: i64, bytes: u64) -> FlowReport {
    let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut flow = FlowReport::between(src, dst, start_s * SECOND_NS, end_s * SECOND_NS);
    flow.protocol = Some(17);
    (flow.src_port, flow.dst_port) = (Some(40_000), Some(53));
    flow.fwd = Measures { packets: Some(10), ip_bytes: Some(bytes), ..Measures::default() };
    flow
}

fn back(of: &FlowReport, bytes: u64) -> FlowReport {
    let mut back = of.clone();
    (back.src, back.dst) = (of.dst, of.src);
    (back.src_port, back.dst_port) = (of.dst_port, of.src_port);
    back.fwd.ip_bytes = Some(bytes);
    back
}

struct Run {
    reported: Reported,
    home: HomeNets,
    minutes: Vec<Minute>,
    /// The kind of the source always has both directions.
    both_ways: bool,
}

impl Run {
    fn new() -> Self {
        let reported = Reported::new(ReportedLimits::default(), Seed::default());
        Self { reported, home: HomeNets::default(), minutes: Vec::new(), both_ways: false }
    }

    fn take(&mut self, flow: &FlowReport) {
        let mut over = self.reported.take(&"log".into(), self.both_ways, flow, None, &self.home);
        self.minutes.append(&mut over);
    }

    fn gap(&mut self, observer: &str, start_s: i64, end_s: i64) {
        let (start_ns, end_ns) = (start_s * SECOND_NS, end_s * SECOND_NS);
        let gap = FlowGap { start_ns, end_ns, observer: observer.into() };
        let mut over = self.reported.take_gap(&"log".into(), &gap, &self.home);
        self.minutes.append(&mut over);
    }

    fn close(mut self) -> (Vec<Minute>, ReportedCounts) {
        self.minutes.append(&mut self.reported.close(&self.home));
        (self.minutes, self.reported.counts)
    }
}

#[test]
fn directions_that_are_reported_apart_are_one_flow() {
    let mut run = Run::new();
    let there = flow("10.0.0.1", "203.0.113.9", 10, 20, 5_000);
    run.take(&there);
    run.take(&back(&there, 700));
    let (minutes, counts) = run.close();
    assert_eq!(minutes.len(), 1, "what is not at home is no entity");
    let minute = &minutes[0];
    assert_eq!((minute.start_s, minute.length_s, &*minute.source), (0, 60, "log"));
    assert_eq!(minute.measures.sent.wire_bytes, 5_000);
    assert_eq!(minute.measures.received.wire_bytes, 700);
    assert_eq!(minute.measures.unanswered_packets, 0);
    assert_eq!((counts.counted, counts.duplicates), (2, 0));
}

#[test]
fn an_interval_feeds_no_window_shorter_than_itself() {
    let mut run = Run::new();
    let mut first = flow("10.0.0.1", "203.0.113.9", 1_200, 1_790, 60_000);
    first.span = Span::Interval;
    run.take(&first);
    // A short record of the same source: counted over the same ten minutes.
    let mut second = flow("10.0.0.1", "203.0.113.10", 1_800, 1_820, 1_000);
    second.span = Span::Interval;
    run.take(&second);
    let (minutes, _) = run.close();
    let lengths: Vec<_> = minutes.iter().map(|minute| (minute.start_s, minute.length_s)).collect();
    assert_eq!(lengths, [(1_200, 600), (1_800, 600)]);
    assert_eq!(minutes[0].measures.busiest.2, 100, "the mean of a second, no peak");
    assert!(minutes[0].reported.as_ref().unwrap().one_sided, "nothing came back anywhere");
}

#[test]
fn who_had_both_directions_once_or_always_has_them_shows_what_went_unanswered() {
    let one_sided = |minutes: &[Minute]| -> Vec<bool> {
        minutes.iter().map(|minute| minute.reported.as_ref().unwrap().one_sided).collect()
    };
    let mut run = Run::new();
    run.take(&flow("10.0.0.1", "203.0.113.9", 0, 50, 5_000));
    let asked = flow("10.0.0.1", "203.0.113.10", 180, 200, 5_000);
    run.take(&asked);
    run.take(&back(&asked, 700));
    run.take(&flow("10.0.0.1", "203.0.113.9", 360, 380, 5_000));
    let (minutes, _) = run.close();
    assert_eq!(one_sided(&minutes), [true, false, false]);
    assert_eq!(minutes[2].measures.unanswered_packets, 10);

    let mut run = Run { both_ways: true, ..Run::new() };
    run.take(&flow("10.0.0.1", "203.0.113.9", 0, 50, 5_000));
    let (minutes, _) = run.close();
    assert_eq!(one_sided(&minutes), [false]);
    assert_eq!(minutes[0].measures.unanswered_packets, 10);
}

#[test]
fn an_interface_that_left_out_flows_is_named_for_its_window_alone() {
    let mut run = Run::new();
    for start_s in [0, 120] {
        for (observer, src) in [("eni-1", "10.0.0.1"), ("eni-2", "10.0.0.2")] {
            let mut flow = flow(src, "203.0.113.9", start_s, start_s + 50, 5_000);
            (flow.observer, flow.span) = (observer.into(), Span::Interval);
            run.take(&flow);
        }
    }
    run.gap("eni-1", 125, 170);
    let (minutes, _) = run.close();
    let skipped: Vec<_> = minutes
        .iter()
        .filter(|minute| minute.reported.as_ref().unwrap().skipped)
        .map(|minute| (minute.start_s, &*minute.who.entity.id))
        .collect();
    assert_eq!(skipped, [(120, "10.0.0.1")]);
}

#[test]
fn gaps_are_forgotten_with_their_time_though_no_flow_comes() {
    let mut run = Run::new();
    for minute in 0..2_000 {
        run.gap("eni-1", 60 * minute, 60 * minute + 59);
    }
    let windows: usize = run.reported.sources.values().map(|source| source.windows.len()).sum();
    assert!((1..=3).contains(&windows), "{windows}");
    let (minutes, counts) = run.close();
    assert_eq!((minutes.len(), counts), (0, ReportedCounts::default()));
}

#[test]
fn observers_that_left_out_flows_are_bounded_and_then_it_may_be_any() {
    let mut run = Run::new();
    let mut flow = flow("10.0.0.1", "203.0.113.9", 0, 50, 5_000);
    (flow.observer, flow.span) = ("eni-other".into(), Span::Interval);
    run.take(&flow);
    // Of an hour and of a minute.
    for (n, start_s) in (0..MAX_SKIPPING).flat_map(|n| [(n, -3_541), (n + MAX_SKIPPING, 0)]) {
        run.gap(&format!("eni-{n}"), start_s, 59);
    }
    let named: usize =
        run.reported.sources["log"].windows.values().map(|window| window.skipping.len()).sum();
    assert!(named <= MAX_SKIPPING, "{named}");
    let (minutes, _) = run.close();
    assert!(minutes[0].reported.as_ref().unwrap().skipped);
}

#[test]
fn a_long_gap_is_of_all_its_windows_and_makes_none_longer() {
    let mut run = Run::new();
    let seen = |run: &mut Run, start_s: i64| {
        let mut flow = flow("10.0.0.1", "203.0.113.9", start_s, start_s + 50, 5_000);
        (flow.observer, flow.span) = ("eni-1".into(), Span::Interval);
        run.take(&flow);
    };
    seen(&mut run, 3_480);
    seen(&mut run, 3_540);
    run.gap("eni-1", 0, 3_600);
    seen(&mut run, 3_660);
    let (minutes, _) = run.close();
    let found: Vec<_> = minutes
        .iter()
        .map(|minute| (minute.start_s, minute.length_s, minute.reported.as_ref().unwrap().skipped))
        .collect();
    assert_eq!(found, [(3_480, 60, false), (3_540, 60, true), (3_660, 60, false)]);
}

#[test]
fn both_ends_interfaces_report_one_flow_once() {
    let mut run = Run::new();
    let mut first = flow("10.0.0.1", "10.0.0.2", 0, 50, 5_000);
    first.observer = "eni-1".into();
    run.take(&first);
    let mut second = first.clone();
    second.observer = "eni-2".into();
    run.take(&second);
    let (minutes, counts) = run.close();
    assert_eq!(minutes[0].measures.sent.wire_bytes, 5_000);
    assert_eq!((counts.counted, counts.duplicates), (1, 1));
}

#[test]
fn what_was_rejected_never_left() {
    let mut run = Run::new();
    let mut rejected = flow("10.0.0.1", "203.0.113.9", 0, 50, 5_000);
    rejected.action = Some(Action::Rejected);
    run.take(&rejected);
    let (minutes, counts) = run.close();
    let facts = minutes[0].reported.as_ref().unwrap();
    assert_eq!(minutes[0].measures.sent.wire_bytes, 0);
    assert_eq!((facts.rejected_flows, facts.rejected_bytes), (1, 5_000));
    assert_eq!((counts.counted, counts.rejected), (0, 1));
}

#[test]
fn samples_stand_for_what_they_were_taken_from() {
    let mut run = Run::new();
    let mut sampled = flow("10.0.0.1", "203.0.113.9", 0, 50, 5_000);
    sampled.sampled_1_of = Some(100);
    run.take(&sampled);
    let (minutes, _) = run.close();
    assert_eq!(minutes[0].measures.sent.wire_bytes, 500_000);
    assert_eq!(minutes[0].reported.as_ref().unwrap().sampled_1_of, 100);
}

#[test]
fn windows_close_when_no_report_can_belong_to_them_and_late_ones_are_counted() {
    let mut run = Run::new();
    run.take(&flow("10.0.0.1", "203.0.113.9", 0, 50, 1));
    run.take(&flow("10.0.0.1", "203.0.113.9", 85, 90, 1));
    assert_eq!(run.minutes.len(), 0, "one of 59 to 89 s would belong to the first");
    run.take(&flow("10.0.0.1", "203.0.113.9", 85, 92, 1));
    assert_eq!(run.minutes.len(), 1);
    run.take(&flow("10.0.0.1", "203.0.113.9", 0, 50, 1));
    // Longer than a day.
    run.take(&flow("10.0.0.1", "203.0.113.9", -100_000, 100, 1));
    let (_, counts) = run.close();
    assert_eq!((counts.late, counts.too_long), (1, 1));
}

#[test]
fn a_source_that_names_instances_needs_no_inventory() {
    let mut run = Run::new();
    let mut named = flow("10.0.0.1", "203.0.113.9", 0, 50, 1);
    named.labels = vec![(label::INSTANCE.into(), "i-0abc".into())];
    named.direction = Some(FlowDirection::Egress);
    run.take(&named);
    let (minutes, _) = run.close();
    assert_eq!(minutes[0].who.entity.id, "i-0abc");
}

#[test]
fn flows_without_a_place_are_counted() {
    let limits = ReportedLimits { flows: 1, ..ReportedLimits::default() };
    let mut reported = Reported::new(limits, Seed::default());
    let home = HomeNets::default();
    for dst in ["203.0.113.1", "203.0.113.2"] {
        reported.take(&"log".into(), false, &flow("10.0.0.1", dst, 0, 50, 1), None, &home);
    }
    assert_eq!((reported.counts.counted, reported.counts.refused), (1, 1));
}

proptest::proptest! {
    /// What comes first of one window does not matter to its sums.
    #[test]
    fn the_order_of_reports_does_not_matter(
        mut rows in proptest::collection::vec((1u8..5, 1u8..5, 0i64..60, 1u64..10_000), 1..30),
        seed: u64,
    ) {
        let sums = |rows: &[(u8, u8, i64, u64)]| {
            let mut run = Run::new();
            for &(src, dst, at, bytes) in rows {
                let (src, dst) = (format!("10.0.0.{src}"), format!("10.0.1.{dst}"));
                run.take(&flow(&src, &dst, at, at, bytes));
            }
            let (minutes, _) = run.close();
            minutes
                .iter()
                .map(|minute| {
                    let measures = &minute.measures;
                    (minute.who.entity.id.clone(), measures.sent, measures.received.wire_bytes)
                })
                .collect::<Vec<_>>()
        };
        let before = sums(&rows);
        rows.sort_by_key(|row| row.3 ^ seed);
        proptest::prop_assert_eq!(sums(&rows), before);
    }
}
