//! Gaps in the numbers that an exporter counts its datagrams or records by.

use std::collections::VecDeque;

/// Datagrams after which a gap is a loss: what was only overtaken has come by then.
const MAX_OVERTAKEN: u32 = 32;
/// Gaps that are watched at a time.
const MAX_GAPS: usize = 16;
/// A step forward over this is an exporter that began anew: so many records are
/// minutes of the fastest exporter.
const MAX_STEP: i32 = 1 << 24;

/// Where the numbers of one exporter stand.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    next: Option<u32>,
    gaps: VecDeque<Gap>,
    /// What followed the last datagram that lay before all that is expected.
    after_late: Option<u32>,
}

#[derive(Debug)]
struct Gap {
    from: u32,
    count: u32,
    /// Datagrams since.
    age: u32,
}

impl Sequence {
    /// A datagram that begins at a number and takes `count` of them; `None` where it is
    /// not known how many, so that no gap can be told after it. Returns how many
    /// numbers are now known to be lost.
    pub(super) fn seen(&mut self, at: u32, count: Option<u32>) -> u64 {
        let after = count.map(|count| at.wrapping_add(count));
        let mut lost = self.aged();
        let Some(next) = self.next else {
            self.next = after;
            return lost;
        };
        match at.wrapping_sub(next) as i32 {
            0 => self.next = after,
            step @ 1..=MAX_STEP => {
                self.gaps.push_back(Gap { from: next, count: step as u32, age: 0 });
                if self.gaps.len() > MAX_GAPS {
                    lost += self.gaps.pop_front().map_or(0, |gap| u64::from(gap.count));
                }
                self.next = after;
            }
            _ if self.fill(at, count.unwrap_or(1)) => {}
            // One that comes late or twice changes nothing; the second in a row that
            // goes on from there, or a wild step, is an exporter that began anew.
            step @ ..0 if step > -MAX_STEP && self.after_late != Some(at) => {
                self.after_late = after;
            }
            _ => {
                lost += self.rest();
                self.next = after;
            }
        }
        lost
    }

    /// Whether a datagram that begins at this number follows the last one.
    pub(super) fn expects(&self, at: u32) -> bool {
        self.next == Some(at)
    }

    /// The exporter began anew: what comes next is the first.
    pub(super) fn restart(&mut self) -> u64 {
        self.next = None;
        self.rest()
    }

    /// The numbers of all gaps that are still open.
    pub(super) fn rest(&mut self) -> u64 {
        self.after_late = None;
        self.gaps.drain(..).map(|gap| u64::from(gap.count)).sum()
    }

    fn aged(&mut self) -> u64 {
        let mut lost = 0;
        for gap in &mut self.gaps {
            gap.age += 1;
        }
        while self.gaps.front().is_some_and(|gap| gap.age > MAX_OVERTAKEN) {
            lost += self.gaps.pop_front().map_or(0, |gap| u64::from(gap.count));
        }
        lost
    }

    /// Whether the numbers lay in a gap; they are no longer missing.
    fn fill(&mut self, at: u32, count: u32) -> bool {
        let place = self.gaps.iter().position(|gap| at.wrapping_sub(gap.from) < gap.count);
        let Some(gap) = place.and_then(|place| self.gaps.get_mut(place)) else { return false };
        let before = at.wrapping_sub(gap.from);
        let left = gap.count - before;
        let filled = count.min(left);
        let behind = Gap { from: at.wrapping_add(filled), count: left - filled, age: gap.age };
        gap.count = before;
        if behind.count > 0
            && let Some(place) = place
        {
            self.gaps.insert(place + 1, behind);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is lost of datagrams of ten records each that begin at these numbers.
    fn lost(begins: &[u32]) -> u64 {
        let mut sequence = Sequence::default();
        let certain: u64 = begins.iter().map(|&at| sequence.seen(at, Some(10))).sum();
        certain + sequence.rest()
    }

    #[test]
    fn missing_numbers_are_lost_and_overtaken_ones_are_not() {
        assert_eq!(lost(&[100, 110, 120]), 0);
        assert_eq!(lost(&[100, 130, 140]), 20);
        assert_eq!(lost(&[100, 130, 110, 120, 140]), 0);
        assert_eq!(lost(&[100, 130, 120, 140]), 10);
        assert_eq!(lost(&[100, 140, 120, 150]), 20, "from the middle of a gap");
        assert_eq!(lost(&[u32::MAX - 9, 0, 20]), 10, "around the end of the numbers");
    }

    #[test]
    fn a_loss_is_told_once_it_can_no_longer_be_overtaken() {
        let mut sequence = Sequence::default();
        sequence.seen(0, Some(1));
        let told: Vec<_> = (5..60).map(|at| sequence.seen(at, Some(1))).collect();
        assert_eq!(told.iter().sum::<u64>(), 4);
        assert_eq!(told.iter().position(|&n| n > 0), Some(MAX_OVERTAKEN as usize + 1));
    }

    #[test]
    fn an_exporter_that_begins_anew_has_lost_nothing() {
        assert_eq!(lost(&[100_000_000, 0, 10, 20]), 0);
        assert_eq!(lost(&[500, 510, 0, 10, 20, 30]), 0);
        assert_eq!(lost(&[500, 510, 0, 10, 20, 40]), 10, "and is watched again");
        assert_eq!(lost(&[0, 3_000_000_000, 3_000_000_010]), 0);
    }

    #[test]
    fn a_datagram_that_comes_twice_changes_nothing() {
        assert_eq!(lost(&[100, 110, 100, 120, 140]), 10);
    }
}
