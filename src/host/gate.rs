//! Live: seconds are closed when host watchers have told everything up to then, so
//! that late knowledge still reaches the records it belongs to. A bounded wait:
//! watchers that fall behind or end never stop a capture.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::join::{HOLD_NS, HostKnowledge};
use super::map::{HostMap, KEEP_NS};

const SECOND_NS: i64 = 1_000_000_000;

/// Longest that a second waits for watchers: as long as a window may be late at
/// worst before a flood's alert would be.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the end looks whether watchers have caught up.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How often the map forgets: it looks at everything then.
const FORGET_EVERY_S: i64 = 60;

#[derive(Debug)]
pub(crate) struct Gate {
    map: Arc<HostMap>,
    /// Which second waits, since when.
    waiting: Option<(i64, Instant)>,
    forgot_s: i64,
}

impl Gate {
    /// Of knowledge that is still growing.
    pub(crate) fn of(hosts: &HostKnowledge) -> Option<Self> {
        let map = hosts.map.as_ref().filter(|_| hosts.live)?;
        Some(Self { map: Arc::clone(map), waiting: None, forgot_s: i64::MIN })
    }

    /// The second up to which all has been told, at most `now_s`; and whether
    /// patience ran out.
    pub(crate) fn held_to(&mut self, now_s: i64) -> (i64, bool) {
        if now_s >= self.forgot_s.saturating_add(FORGET_EVERY_S) {
            self.forgot_s = now_s;
            self.map.forget_before(now_s.saturating_mul(SECOND_NS).saturating_sub(KEEP_NS));
        }
        let told_s = self.map.told_before_ns().saturating_sub(HOLD_NS).div_euclid(SECOND_NS);
        if told_s >= now_s {
            self.waiting = None;
            return (now_s, false);
        }
        let since = match self.waiting {
            Some((second, since)) if second > told_s => since,
            _ => self.waiting.insert((now_s, Instant::now())).1,
        };
        if since.elapsed() < PATIENCE {
            return (told_s, false);
        }
        self.waiting = None;
        (now_s, true)
    }

    /// Waits until everything before the end of `last_s` has been told; false when
    /// patience ran out.
    pub(crate) fn wait_for_the_end(&self, last_s: i64) -> bool {
        let needed_ns = last_s.saturating_add(1).saturating_mul(SECOND_NS).saturating_add(HOLD_NS);
        let until = Instant::now() + PATIENCE;
        while self.map.told_before_ns() < needed_ns && Instant::now() < until {
            thread::sleep(LOOK_INTERVAL);
        }
        self.map.told_before_ns() >= needed_ns
    }
}
