//! Records in the output's order: those of a second, and at the end those that shards
//! still held, merged as they come.

use std::collections::BTreeMap;

use crossbeam_channel::Receiver;

use super::correlation::{Correlation, SECOND_NS};
use crate::flow::{BySecond, Ended, FlowRecord};
use crate::packet::FlowKey;

fn by_start_and_key(x: &FlowRecord, y: &FlowRecord) -> std::cmp::Ordering {
    (x.start_ns, &x.key).cmp(&(y.start_ns, &y.key))
}

/// Records of a second in the output's order. Records are large: only their
/// places are sorted.
pub(super) fn in_order(records: Vec<FlowRecord>) -> impl Iterator<Item = FlowRecord> {
    let order = places_in_order(&records, |record| (record.start_ns, record.key));
    let mut records: Vec<_> = records.into_iter().map(Some).collect();
    order.into_iter().filter_map(move |at| records[at as usize].take())
}

/// Places by start and key, those of equals in the order in which they are: they come
/// from one shard, in its order.
pub(super) fn places_in_order<T>(flows: &[T], of: impl Fn(&T) -> (i64, FlowKey)) -> Vec<u32> {
    // By numbers first: flows lie far apart. A second never has 2^32 of them.
    let mut order: Vec<(i64, u32)> =
        flows.iter().zip(0_u32..).map(|(flow, at)| (of(flow).0, at)).collect();
    order.sort_unstable_by_key(|&(start_ns, _)| start_ns);
    for equal in order.chunk_by_mut(|x, y| x.0 == y.0).filter(|equal| equal.len() > 1) {
        equal.sort_unstable_by_key(|&(_, at)| (of(&flows[at as usize]).1, at));
    }
    order.into_iter().map(|(_, at)| at).collect()
}

/// Adds flows to those of the seconds in which it was decided that they are over. What ends
/// at one look is mostly of one second: then it is taken over whole.
pub(super) fn add_by_second<T>(
    mut flows: Vec<T>,
    decided_ns: impl Fn(&T) -> i64,
    seconds: &mut BTreeMap<i64, Vec<T>>,
) {
    let second = |flow: &T| decided_ns(flow).div_euclid(SECOND_NS);
    let Some(first) = flows.first().map(second) else { return };
    if flows.iter().any(|flow| second(flow) != first) {
        for flow in flows {
            seconds.entry(second(&flow)).or_default().push(flow);
        }
        return;
    }
    let there = seconds.entry(first).or_default();
    if there.is_empty() {
        *there = flows;
    } else {
        there.append(&mut flows);
    }
}

/// A shard's tail on its way through the merge.
struct Stream<'a> {
    ready: std::vec::IntoIter<FlowRecord>,
    /// `None` once the shard has said that there is no more.
    more: Option<&'a Receiver<Ended>>,
}

impl Stream<'_> {
    /// What nobody answered is put with that of the others.
    fn refill(&mut self, unanswered: &mut BySecond) {
        while self.ready.as_slice().is_empty()
            && let Some(more) = self.more
        {
            match more.recv() {
                Ok(ended) if !ended.records.is_empty() => {
                    unanswered.merge(ended.unanswered);
                    self.ready = ended.records.into_iter();
                }
                _ => self.more = None,
            }
        }
    }
}

impl Correlation<'_> {
    /// Merges what the shards still held at the end of the input with what
    /// else was decided in the stream's last second.
    pub(super) fn end_tails<'b>(
        &mut self,
        tails: impl Iterator<Item = &'b Receiver<Ended>> + Clone,
    ) {
        let mut last = std::mem::take(&mut self.last);
        if !self.wants_records {
            let mut named = self.count(std::mem::take(&mut last.outlines));
            for tail in tails {
                while let Ok(ended) = tail.recv()
                    && !ended.is_empty()
                {
                    named.append(&mut self.count(ended.outlines));
                    last.unanswered.merge(ended.unanswered);
                }
            }
            self.learn(named);
        } else {
            let records = std::mem::take(&mut last.records);
            self.write_tails(records, tails, &mut last.unanswered);
        }
        for flows in last.unanswered.into_seconds().into_values() {
            self.take_unanswered(flows);
        }
    }

    fn write_tails<'b>(
        &mut self,
        last: Vec<FlowRecord>,
        tails: impl Iterator<Item = &'b Receiver<Ended>>,
        unanswered: &mut BySecond,
    ) {
        let last = in_order(last).collect::<Vec<_>>();
        let mut streams = vec![Stream { ready: last.into_iter(), more: None }];
        streams
            .extend(tails.map(|tail| Stream { ready: Vec::new().into_iter(), more: Some(tail) }));
        loop {
            for stream in &mut streams {
                stream.refill(unanswered);
            }
            // The first of equals: of one key, the earlier record is in front.
            let second = |record: &FlowRecord| record.decided_ns.div_euclid(SECOND_NS);
            let next = streams
                .iter()
                .enumerate()
                .filter_map(|(at, stream)| Some((at, stream.ready.as_slice().first()?)))
                .min_by(|(_, x), (_, y)| {
                    second(x).cmp(&second(y)).then_with(|| by_start_and_key(x, y))
                })
                .map(|(at, _)| at);
            let Some(record) = next.and_then(|at| streams[at].ready.next()) else { break };
            self.write(record);
        }
    }
}
