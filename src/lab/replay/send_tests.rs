//! The sender against a wire and a clock of the tests' own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::admission::Refusal;
use super::clock::Clock;
use super::feed::{Entry, Fate, Load};
use super::send::{BATCH, End, Manner, Outgoing, Sender, Wire};
use crate::input::BlockBytes;
use crate::pace::{Pace, Speed};

/// What a call to send costs.
const CALL_NS: u64 = 1_000;

/// Time that passes only when somebody waits or sends.
#[derive(Default)]
struct World {
    now_ns: Cell<u64>,
    wall_ns: i64,
    /// Each frame taken, and when.
    taken: RefCell<Vec<(u64, Vec<u8>)>>,
    /// Answers to the next calls; afterwards everything is taken.
    answers: RefCell<VecDeque<Answer>>,
    /// Sets the stop flag at this moment.
    stop_at_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Take(usize),
    Error(i32),
}

impl Wire for &World {
    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<usize> {
        assert!(!frames.is_empty() && frames.len() <= BATCH);
        let count = match self.answers.borrow_mut().pop_front() {
            Some(Answer::Error(number)) => return Err(io::Error::from_raw_os_error(number)),
            Some(Answer::Take(count)) => count.min(frames.len()),
            None => frames.len(),
        };
        for frame in &frames[..count] {
            let mut bytes = frame.bytes.to_vec();
            bytes.resize(bytes.len() + frame.zeros as usize, 0);
            self.taken.borrow_mut().push((self.now_ns.get(), bytes));
        }
        self.now_ns.set(self.now_ns.get() + CALL_NS);
        Ok(count)
    }
}

impl Clock for &World {
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn wall_ns(&self) -> i64 {
        self.wall_ns + self.now_ns.get() as i64
    }

    fn wait_until(&self, moment_ns: u64, stop: &AtomicBool) {
        match self.stop_at_ns {
            Some(stop_at_ns) if stop_at_ns <= moment_ns => {
                self.now_ns.set(self.now_ns.get().max(stop_at_ns));
                stop.store(true, Ordering::Relaxed);
            }
            _ => self.now_ns.set(self.now_ns.get().max(moment_ns)),
        }
    }

    fn rest(&self, duration_ns: u64) {
        self.now_ns.set(self.now_ns.get() + duration_ns);
    }
}

/// One-byte frames 0, 1, 2, ... stamped with these times.
fn load(times_ns: &[i64]) -> Load {
    let entries = (0u32..).zip(times_ns).map(|(offset, &time_ns)| Entry {
        time_ns,
        offset,
        fate: Fate::Send { bytes: 1, zeros: 0 },
    });
    let bytes = (0..times_ns.len()).map(|index| index as u8).collect();
    Load { entries: entries.collect(), bytes: BlockBytes::Owned(bytes) }
}

fn sender<'w>(
    world: &'w World,
    speed: Speed,
    manner: Manner,
    stop: &'w AtomicBool,
) -> Sender<'w, &'w World, &'w World> {
    Sender::new(world, world, Pace::new(speed), manner, stop)
}

fn taken_times(world: &World) -> Vec<u64> {
    world.taken.borrow().iter().map(|(at_ns, _)| *at_ns).collect()
}

fn taken_frames(world: &World) -> Vec<u8> {
    world.taken.borrow().iter().map(|(_, bytes)| bytes[0]).collect()
}

#[test]
fn packets_leave_at_their_time_stamps() {
    let (world, stop) = (World::default(), AtomicBool::new(false));
    let mut sender = sender(&world, Speed::Times(2.0), Manner::default(), &stop);
    let load = load(&[7_000_000, 7_000_000, 9_000_000, 13_000_000]);
    assert!(sender.send(0, &load).is_continue());
    assert_eq!(taken_times(&world), [0, 0, 1_000_000, 3_000_000]);
    assert_eq!(sender.tally().lateness().unwrap().worst_ns, 0);
    assert_eq!(sender.tally().duration_ns(), 3_000_000 + CALL_NS);
}

#[test]
fn what_is_late_is_sent_at_once_and_told() {
    let (world, stop) = (World::default(), AtomicBool::new(false));
    let mut sender = sender(&world, Speed::Times(1.0), Manner::default(), &stop);
    // The call for the first takes a microsecond, so the second is 900 ns late.
    assert!(sender.send(0, &load(&[0, 100, 5_000])).is_continue());
    assert_eq!(taken_times(&world), [0, 1_000, 5_000]);
    let lateness = sender.tally().lateness().unwrap();
    assert_eq!((lateness.worst_ns, lateness.mean_ns), (900, 300.0));
    assert_eq!(lateness.over_1ms_packets, 0);
}

#[test]
fn nothing_is_late_where_nothing_is_due() {
    let (world, stop) = (World::default(), AtomicBool::new(false));
    let mut sender = sender(&world, Speed::Max, Manner::default(), &stop);
    assert!(sender.send(0, &load(&[0; 200])).is_continue());
    assert_eq!(sender.tally().lateness(), None);
    // Batches as large as they get.
    assert_eq!(world.now_ns.get(), 200u64.div_ceil(BATCH as u64) * CALL_NS);
}

#[test]
fn a_full_queue_loses_nothing_and_is_counted() {
    let (world, stop) = (World::default(), AtomicBool::new(false));
    world.answers.borrow_mut().extend([
        Answer::Error(libc::ENOBUFS),
        Answer::Take(2),
        Answer::Error(libc::ENOBUFS),
        Answer::Take(1),
    ]);
    let mut sender = sender(&world, Speed::Max, Manner::default(), &stop);
    assert!(sender.send(0, &load(&[0; 5])).is_continue());
    assert_eq!(taken_frames(&world), [0, 1, 2, 3, 4]);
    // Two were said, two showed in calls that took less than they were given.
    assert_eq!(sender.tally().full_queue_waits, 4);
}

#[test]
fn a_queue_that_stays_full_is_given_up() {
    let (world, stop) = (World::default(), AtomicBool::new(false));
    world.answers.borrow_mut().extend(std::iter::repeat_n(Answer::Error(libc::ENOBUFS), 20_000));
    let mut sender = sender(&world, Speed::Max, Manner::default(), &stop);
    let ControlFlow::Break(End::Failed(error)) = sender.send(0, &load(&[0])) else {
        panic!("not given up");
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!((10_000_000_000..10_100_000_000).contains(&world.now_ns.get()));
}

#[test]
fn a_refused_frame_is_counted_and_the_others_go_on() {
    let (world, stop) = (World::default(), AtomicBool::new(false));
    world.answers.borrow_mut().extend([
        Answer::Take(1),
        Answer::Error(libc::EMSGSIZE),
        Answer::Error(libc::EINVAL),
    ]);
    let mut sender = sender(&world, Speed::Max, Manner::default(), &stop);
    let mut load = load(&[0; 6]);
    load.entries[5].fate = Fate::Refuse(Refusal::Cut);
    assert!(sender.send(0, &load).is_continue());
    assert_eq!(taken_frames(&world), [0, 3, 4]);
    let tally = sender.tally();
    assert_eq!((tally.not_sent.too_long, tally.not_sent.not_taken, tally.not_sent.cut), (1, 1, 1));
    assert_eq!((tally.sent_packets, tally.full_queue_waits), (3, 0));
}

#[test]
fn a_dead_interface_ends_it_with_what_was_sent_before() {
    let (world, stop) = (World::default(), AtomicBool::new(false));
    world.answers.borrow_mut().extend([Answer::Take(2), Answer::Error(libc::ENETDOWN)]);
    let mut sender = sender(&world, Speed::Max, Manner::default(), &stop);
    let ControlFlow::Break(End::Failed(error)) = sender.send(0, &load(&[0; 4])) else {
        panic!("not failed");
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
    assert_eq!(sender.tally().sent_packets, 2);
}

#[test]
fn a_limit_counts_what_was_sent_not_what_was_refused() {
    let (world, stop) = (World::default(), AtomicBool::new(false));
    world.answers.borrow_mut().push_back(Answer::Error(libc::EMSGSIZE));
    let manner = Manner { limit: Some(3), ..Manner::default() };
    let mut sender = sender(&world, Speed::Max, manner, &stop);
    let end = sender.send(0, &load(&[0; 10]));
    assert!(matches!(end, ControlFlow::Break(End::Limit)));
    assert_eq!(taken_frames(&world), [1, 2, 3]);
}

#[test]
fn a_stop_ends_a_long_wait() {
    let world = World { stop_at_ns: Some(5_000), ..World::default() };
    let stop = AtomicBool::new(false);
    let mut sender = sender(&world, Speed::Times(1.0), Manner::default(), &stop);
    let end = sender.send(0, &load(&[0, 3_600_000_000_000]));
    assert!(matches!(end, ControlFlow::Break(End::Stopped)));
    assert_eq!((sender.tally().sent_packets, world.now_ns.get()), (1, 5_000));
}

#[test]
fn seconds_are_aligned_at_the_start_of_every_round() {
    let world = World { wall_ns: 100_900_000_000, ..World::default() };
    let stop = AtomicBool::new(false);
    let manner = Manner { align_second: true, ..Manner::default() };
    let mut sender = sender(&world, Speed::Times(1.0), manner, &stop);
    let load = load(&[33_250_000_000, 33_500_000_000]);
    assert!(sender.send(0, &load).is_continue());
    assert!(sender.send(1, &load).is_continue());
    let phases: Vec<u64> =
        taken_times(&world).iter().map(|at_ns| (at_ns + 900_000_000) % 1_000_000_000).collect();
    assert_eq!(phases, [250_000_000, 500_000_000, 250_000_000, 500_000_000]);
    assert_eq!(sender.tally().start_wall_ns, 101_250_000_000);
}

#[test]
fn seconds_are_aligned_at_no_pace_too() {
    let world = World { wall_ns: 100_900_000_000, ..World::default() };
    let stop = AtomicBool::new(false);
    let manner = Manner { align_second: true, ..Manner::default() };
    let mut sender = sender(&world, Speed::Max, manner, &stop);
    assert!(sender.send(0, &load(&[33_250_000_000, 33_500_000_000])).is_continue());
    assert_eq!(taken_times(&world), [350_000_000, 350_000_000]);
    assert_eq!(sender.tally().duration_ns(), CALL_NS);
}

#[test]
fn a_round_in_several_loads_keeps_its_pace() {
    let (world, stop) = (World::default(), AtomicBool::new(false));
    let mut sender = sender(&world, Speed::Times(1.0), Manner::default(), &stop);
    for round in 0..2 {
        assert!(sender.send(round, &load(&[0, 10_000])).is_continue());
        assert!(sender.send(round, &load(&[20_000])).is_continue());
    }
    // The second round's first is due with the first round's last.
    assert_eq!(taken_times(&world), [0, 10_000, 20_000, 21_000, 30_000, 40_000]);
    assert_eq!(sender.tally().rounds, 2);
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        (0usize..80).prop_map(Answer::Take),
        prop_oneof![
            Just(libc::ENOBUFS),
            Just(libc::EINTR),
            Just(libc::EMSGSIZE),
            Just(libc::EINVAL)
        ]
        .prop_map(Answer::Error),
    ];
    prop::collection::vec(answer, 0..40)
}

proptest! {
    #[test]
    fn every_frame_is_sent_once_in_order_or_counted(
        answers in answers(),
        gaps_ns in prop::collection::vec(0i64..3_000, 1..250),
        speed in prop_oneof![
            Just(Speed::Max), Just(Speed::Times(1.0)), Just(Speed::PacketsPerSecond(1e6)),
        ],
    ) {
        let refusals = answers
            .iter()
            .filter(|a| matches!(a, Answer::Error(libc::EMSGSIZE | libc::EINVAL)))
            .count() as u64;
        let (world, stop) = (World::default(), AtomicBool::new(false));
        world.answers.borrow_mut().extend(answers);
        let times_ns: Vec<i64> = gaps_ns
            .iter()
            .scan(0, |at_ns, gap_ns| {
                *at_ns += gap_ns;
                Some(*at_ns)
            })
            .collect();
        let load = load(&times_ns);
        let mut sender = sender(&world, speed, Manner::default(), &stop);
        prop_assert!(sender.send(0, &load).is_continue());
        let tally = sender.tally();
        let frames = times_ns.len() as u64;
        prop_assert_eq!(tally.sent_packets + tally.not_sent.total(), frames);
        prop_assert!(tally.not_sent.total() <= refusals);
        let taken = taken_frames(&world);
        prop_assert_eq!(taken.len() as u64, tally.sent_packets);
        prop_assert!(taken.is_sorted_by(|a, b| a < b), "{taken:?}");
        // Never early.
        let mut pace = Pace::new(speed);
        pace.begin(0, times_ns[0]);
        let dues: Vec<u64> =
            times_ns.iter().map(|&time_ns| pace.due_ns(time_ns, 1).unwrap_or(0)).collect();
        for (at_ns, index) in taken_times(&world).into_iter().zip(taken) {
            prop_assert!(at_ns >= dues[usize::from(index)]);
        }
    }
}
