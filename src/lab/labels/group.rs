//! Rows that are one attack.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Result, bail};

use super::MAX_ATTACKS;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Grouped {
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) label: String,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
}

/// Spans of time of each label, source and destination, those that are near made one.
#[derive(Debug)]
pub(super) struct Groups {
    gap_ns: i64,
    labels: Vec<String>,
    spans: HashMap<(u32, IpAddr, IpAddr), Vec<(i64, i64)>>,
    /// Spans in all.
    count: usize,
}

impl Groups {
    pub(super) fn new(gap_ns: i64) -> Self {
        Self { gap_ns, labels: Vec::new(), spans: HashMap::new(), count: 0 }
    }

    /// Rows come in any order.
    pub(super) fn add(
        &mut self,
        label: &str,
        (src, dst): (IpAddr, IpAddr),
        (start_ns, end_ns): (i64, i64),
    ) -> Result<()> {
        let id = match self.labels.iter().position(|known| known == label) {
            Some(id) => id,
            // Sets have some tens; a file with a label a row is none of them.
            None if self.labels.len() >= 1_000 => {
                bail!("over 1,000 different labels: is the last column the label?")
            }
            None => {
                self.labels.push(label.to_owned());
                self.labels.len() - 1
            }
        };
        let spans = self.spans.entry((id as u32, src, dst)).or_default();
        let before = spans.len();
        insert(spans, (start_ns, end_ns), self.gap_ns);
        self.count = self.count + spans.len() - before;
        if self.count > MAX_ATTACKS {
            bail!("over {MAX_ATTACKS} attacks: take fewer files at once, or a longer --gap");
        }
        Ok(())
    }

    /// In the order of time.
    pub(super) fn finish(self) -> Vec<Grouped> {
        let mut all = Vec::with_capacity(self.count);
        for ((id, src, dst), spans) in self.spans {
            let label = self.labels.get(id as usize).cloned().unwrap_or_default();
            all.extend(spans.into_iter().map(|(start_ns, end_ns)| Grouped {
                start_ns,
                end_ns,
                label: label.clone(),
                src,
                dst,
            }));
        }
        all.sort();
        all
    }
}

/// Into spans that are in order and further apart than the gap; they stay so.
fn insert(spans: &mut Vec<(i64, i64)>, (start_ns, end_ns): (i64, i64), gap_ns: i64) {
    let from = spans.partition_point(|&(_, end)| end.saturating_add(gap_ns) < start_ns);
    let to = spans.partition_point(|&(start, _)| start <= end_ns.saturating_add(gap_ns));
    if from >= to {
        spans.insert(from, (start_ns, end_ns));
        return;
    }
    let first = spans.get(from).map_or(start_ns, |&(start, _)| start.min(start_ns));
    let last = spans.get(to - 1).map_or(end_ns, |&(_, end)| end.max(end_ns));
    spans.splice(from..to, [(first, last)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However rows come, the spans are those of sorting them first.
        #[test]
        fn spans_do_not_depend_on_the_order(
            rows in prop::collection::vec((0_i64..200, 0_i64..20), 0..60), gap in 0_i64..8,
        ) {
            let mut spans = Vec::new();
            for &(start, length) in &rows {
                insert(&mut spans, (start, start + length), gap);
            }
            let mut sorted: Vec<(i64, i64)> =
                rows.iter().map(|&(start, length)| (start, start + length)).collect();
            sorted.sort_unstable();
            let mut expected: Vec<(i64, i64)> = Vec::new();
            for (start, end) in sorted {
                match expected.last_mut() {
                    Some(last) if start - last.1 <= gap => last.1 = last.1.max(end),
                    _ => expected.push((start, end)),
                }
            }
            prop_assert_eq!(spans, expected);
        }
    }
}
