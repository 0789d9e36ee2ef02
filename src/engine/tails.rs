//! Records in the output's order: those of a second, and at the end those that shards
//! still held, merged as they come.

use crossbeam_channel::Receiver;

use super::correlation::{Correlation, SECOND_NS};
use crate::flow::{Ended, FlowRecord};

fn by_start_and_key(x: &FlowRecord, y: &FlowRecord) -> std::cmp::Ordering {
    (x.start_ns, &x.key).cmp(&(y.start_ns, &y.key))
}

/// Records of a second in the output's order. Records are large: only their
/// places are sorted. Stable: records of one key come from one shard, in their
/// order.
pub(super) fn in_order(records: Vec<FlowRecord>) -> impl Iterator<Item = FlowRecord> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by(|&x, &y| by_start_and_key(&records[x], &records[y]));
    let mut records: Vec<_> = records.into_iter().map(Some).collect();
    order.into_iter().filter_map(move |at| records[at].take())
}

/// A shard's tail on its way through the merge.
struct Stream<'a> {
    ready: std::vec::IntoIter<FlowRecord>,
    /// `None` once the shard has said that there is no more.
    more: Option<&'a Receiver<Ended>>,
}

impl Stream<'_> {
    fn refill(&mut self) {
        while self.ready.as_slice().is_empty()
            && let Some(more) = self.more
        {
            match more.recv() {
                Ok(ended) if !ended.records.is_empty() => self.ready = ended.records.into_iter(),
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
            for flows in last.unanswered.into_seconds().into_values() {
                self.count_unanswered(flows);
            }
            return;
        }
        let last = in_order(last.records).collect::<Vec<_>>();
        let mut streams = vec![Stream { ready: last.into_iter(), more: None }];
        streams
            .extend(tails.map(|tail| Stream { ready: Vec::new().into_iter(), more: Some(tail) }));
        loop {
            for stream in &mut streams {
                stream.refill();
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
