//! AN0971: a tool or a script floods.
//!
//! Method: each second of a process is held against the floors of its tool (METHODS 1;
//! ATT&CK AN0971, DET0343), and so are the processes of one tool, or of one program that
//! nobody knows (by its executable and script), together that share a
//! parent, a session, a unit or a user: without root one ping reaches ten packets a
//! second on macOS, and each turn of a curl loop is a process of its own. Of
//! `burst_time_window_s` at least `tool_flood_seconds` must be over a floor (two in a row
//! suffice at ten times the floor); then terms add up: how far over, how long, without
//! connections, without answers, to one destination, above its own normal, nobody at it.
//! That nobody is at it is never enough. A process within its mature normal is quiet, unless
//! it sends far more into silence than it ever did (`usual`).
//!
//! The tool is known by its name; a renamed one is judged by its traffic, with the same
//! floor for echo. Network-only floods are the business of the detectors of windows.
//!
//! Measured in a namespace on two busy cores: `ping` 1/s, `ping -i 0.2` 5/s, `ping -i
//! 0.002` without root 140 to 500/s, `ping -f` as root 26,000/s, `hping3 --fast` 10/s,
//! `--faster` 7,600/s, `--flood` 63,000/s, a Python sender of datagrams 70,000/s; new
//! connections a second: one `curl` after the other 56, through `xargs -P8` 60, one curl
//! with many addresses 950.
//!
//! Limits: only what floods is counted, packets nobody answered, echo, new connections:
//! a flood of requests over open connections is none of that. A busy program whose flood
//! goes to where it always sends, at its usual rate, is informational: so does one whose
//! servers are down, as far as they are in sixteen prefixes. A group has no normal of its own. Memory: [`FOLLOWED`] senders that were over a floor lately; what comes
//! on top is not followed, and counted.

mod finding;
mod rates;
mod together;
mod usual;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::finding::Judged;
use self::rates::{Over, Rates, over};
use self::together::{group_who, groups};
use super::{Analytic, AnalyticContext, Event, EventKind};
use crate::detect::Finding;
use crate::detect::classes::Class;
use crate::entity::{SecondOf, Who};

const NAME: &str = "tool_flood";

/// Senders over a floor within the window: 200 bytes each, and 900 for each second that
/// no finding has told of.
const FOLLOWED: usize = 4_096;

/// As many as the window has by default; of a longer one the newest.
const UNTOLD: usize = 15;

#[derive(Default)]
pub(super) struct ToolFlood {
    followed: BTreeMap<String, Followed>,
    refused: u64,
}

/// A sender that was over a floor.
struct Followed {
    /// Seconds at or over it, within the window.
    seconds: VecDeque<i64>,
    /// Those that no finding has told of: the first one tells of all.
    untold: VecDeque<Second>,
    /// Whom alerts are about: the first that was seen.
    who: Arc<Who>,
}

/// What was sent in a second at or over a floor.
struct Second {
    second: i64,
    rates: Rates,
    over: Over,
}

impl Analytic for ToolFlood {
    fn name(&self) -> &'static str {
        NAME
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Second, EventKind::Time]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        match event {
            Event::Second { second, entities } => self.second(*second, entities, ctx, out),
            Event::Time { second } => self.forget(*second, ctx),
            _ => {}
        }
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

impl ToolFlood {
    fn second(
        &mut self,
        second: i64,
        entities: &[&SecondOf],
        ctx: &AnalyticContext<'_>,
        out: &mut Vec<Finding>,
    ) {
        let processes = entities.iter().filter(|one| one.sent.packets > 0);
        let classed: Vec<(&SecondOf, Class)> = processes
            .filter_map(|&one| {
                let view = one.who.process.as_ref()?;
                Some((one, ctx.settings.classes.classify(view)))
            })
            .collect();
        let mut told: Vec<&str> = Vec::new();
        for group in groups(&classed) {
            let over = over(&group.rates, &group.class, true, ctx.settings);
            if over.times() < 1.0 {
                continue;
            }
            // Those with a narrower bond were looked at first.
            if group.members.iter().any(|member| told.contains(&&*member.who.entity.id)) {
                continue;
            }
            let Some(busiest) = group.members.iter().max_by_key(|one| one.sent.packets) else {
                continue;
            };
            let who = || Arc::new(group_who(&group, busiest));
            let found = self.judge(
                second,
                &group.key,
                who,
                (&group.rates, &group.class, over),
                Some((group.by, group.members.len())),
                ctx,
            );
            if let Some(finding) = found {
                told.extend(group.members.iter().map(|member| &*member.who.entity.id));
                out.push(finding);
            }
        }
        for (one, class) in &classed {
            if told.contains(&&*one.who.entity.id) {
                continue;
            }
            let mut rates = Rates::default();
            rates.add(one);
            let over = over(&rates, class, false, ctx.settings);
            if over.times() >= 1.0 {
                let key = one.who.entity.id.clone();
                if let Some(followed) = self.followed.get_mut(&key) {
                    // By now it may be more or less sure.
                    followed.who = Arc::clone(&one.who);
                }
                let who = || Arc::clone(&one.who);
                out.extend(self.judge(second, &key, who, (&rates, class, over), None, ctx));
            }
        }
    }

    /// A second at or over a floor: is it a flood by now?
    fn judge(
        &mut self,
        second: i64,
        key: &str,
        who: impl FnOnce() -> Arc<Who>,
        (rates, class, over): (&Rates, &Class, Over),
        together: Option<(&'static str, usize)>,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Finding> {
        if !self.followed.contains_key(key) && self.followed.len() >= FOLLOWED {
            self.refused += 1;
            return None;
        }
        let followed = self.followed.entry(key.to_owned()).or_insert_with(|| Followed {
            seconds: VecDeque::new(),
            untold: VecDeque::new(),
            who: who(),
        });
        let window_s = i64::try_from(ctx.settings.burst_time_window_s).unwrap_or(i64::MAX);
        let from = second.saturating_sub(window_s);
        followed.seconds.retain(|&at| at > from);
        followed.seconds.push_back(second);
        followed.untold.retain(|one| one.second > from);
        if followed.untold.len() >= UNTOLD {
            followed.untold.pop_front();
        }
        followed.untold.push_back(Second { second, rates: rates.clone(), over });
        let seconds = followed.seconds.len() as u64;
        let in_a_row = followed.seconds.iter().any(|&at| at == second - 1);
        let sudden = over.times() >= 10.0 && in_a_row;
        if seconds < ctx.settings.tool_flood_seconds.min(ctx.settings.burst_time_window_s)
            && !sudden
        {
            return None;
        }
        let who = Arc::clone(&followed.who);
        let start_s = followed.seconds.front().copied().unwrap_or(second);
        let busiest = followed.untold.iter().max_by_key(|one| one.rates.packets)?;
        let untold = &followed.untold;
        let span = (start_s, second);
        let judged = Judged { rates, class, over, together, seconds, span, busiest, untold };
        let found = judged.finding(&who, ctx);
        if found.is_some() {
            followed.untold.clear();
        }
        found
    }

    /// Gives up what was not over a floor for a window.
    fn forget(&mut self, second: i64, ctx: &AnalyticContext<'_>) {
        let window_s = i64::try_from(ctx.settings.burst_time_window_s).unwrap_or(i64::MAX);
        let from = second.saturating_sub(window_s);
        self.followed
            .retain(|_, followed| followed.seconds.back().is_some_and(|&last| last > from));
    }
}
