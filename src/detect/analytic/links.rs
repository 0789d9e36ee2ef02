//! Signs of one workload, and which of them make a chain.

use std::sync::Arc;

use super::AnalyticContext;
use super::stage::{Place, Sign, Stage};
use super::story;

/// Signs of a stage that are held.
pub(super) const MAX_SIGNS: usize = 16;

const SECOND_NS: i64 = 1_000_000_000;

/// Clocks of packets and of the host's kernel agree to less than that.
const CLOCKS_NS: i64 = SECOND_NS;

/// Weights of the stages: what happens on the host is the surest.
const WEIGHTS: [f64; 3] = [30.0, 40.0, 30.0];

/// Strength from which a request was answered, so that something may have come of it.
const ANSWERED: f64 = 0.6;

/// Points of all three stages, one of them below a third, that are high all the same.
const SURE: f64 = 75.0;

/// Signs of a story beside those of the chain itself.
const MAX_MORE: usize = 16;

/// How long after the last stage what happens still belongs to the story.
const AFTERWARDS_NS: i64 = 60 * SECOND_NS;

/// A workload and what was seen of it.
#[derive(Debug, Default)]
pub(super) struct Case {
    pub place: Place,
    signs: [Vec<Sign>; 3],
    pub last_ns: i64,
}

/// Signs by stage that are known only of what a workload is a part of: its host, instance
/// or address.
pub(super) type Lent<'a> = [Vec<&'a Sign>; 3];

/// Signs that belong together, one a stage at most.
#[derive(Clone, Debug)]
pub(super) struct Links<'a> {
    pub stages: [Option<&'a Sign>; 3],
    pub score: f64,
}

impl Links<'_> {
    /// Stages that count.
    pub(super) fn counted(&self) -> usize {
        self.stages.iter().flatten().filter(|sign| sign.counts()).count()
    }

    /// All three, or enough of them to be sure.
    pub(super) fn is_whole(&self, threshold: f64) -> bool {
        let present = self.stages.iter().flatten().count();
        self.score >= threshold && (self.counted() == 3 || (present == 3 && self.score >= SURE))
    }

    /// Whether somebody should see it at all.
    pub(super) fn is_worth_telling(&self, threshold: f64) -> bool {
        let [request, foothold, _] = self.stages;
        (self.counted() >= 2 && self.score >= threshold)
            || foothold.is_some_and(|sign| sign.counts() && !sign.only_after_request)
            || request.is_some_and(|sign| sign.strength >= ANSWERED)
    }
}

impl Case {
    /// False where another had to make room.
    pub(super) fn add(&mut self, sign: Sign) -> bool {
        self.last_ns = self.last_ns.max(sign.time_ns);
        self.place.learn(&sign.place);
        let Some(signs) = self.signs.get_mut(sign.stage as usize) else { return true };
        let again = |known: &&mut Sign| known.text == sign.text && known.place == sign.place;
        if let Some(known) = signs.iter_mut().find(again) {
            // The same again: of a request, which comes first, the latest counts.
            let is_later = sign.time_ns > known.time_ns;
            if is_later == (sign.stage == Stage::Request) {
                *known = sign;
            }
            return true;
        }
        signs.push(sign);
        if signs.len() <= MAX_SIGNS {
            return true;
        }
        let weakest = signs.iter().enumerate().min_by(|(_, one), (_, other)| {
            one.strength.total_cmp(&other.strength).then(one.time_ns.cmp(&other.time_ns))
        });
        if let Some(at) = weakest.map(|(at, _)| at) {
            signs.remove(at);
        }
        false
    }

    pub(super) fn signs(&self, stage: Stage) -> &[Sign] {
        self.signs.get(stage as usize).map_or(&[], Vec::as_slice)
    }

    /// Its own, then what is lent to it.
    fn with<'a>(&'a self, stage: Stage, lent: &Lent<'a>) -> Vec<&'a Sign> {
        let lent = lent.get(stage as usize).into_iter().flatten().copied();
        self.signs(stage).iter().chain(lent).collect()
    }

    /// Gives up what was before; false where nothing is left.
    pub(super) fn forget(&mut self, before_ns: i64) -> bool {
        for signs in &mut self.signs {
            signs.retain(|sign| sign.time_ns >= before_ns);
        }
        self.signs.iter().any(|signs| !signs.is_empty())
    }

    /// What else belongs to the story of a chain, in order of time.
    pub(super) fn more<'a>(&'a self, links: &Links<'a>, lent: &Lent<'a>) -> Vec<&'a Sign> {
        let told = || links.stages.iter().flatten().copied();
        let times = || told().map(|sign| sign.time_ns);
        let (Some(from_ns), Some(to_ns)) = (times().min(), times().max()) else {
            return Vec::new();
        };
        let to_ns = to_ns.saturating_add(AFTERWARDS_NS);
        let [_, foothold, _] = links.stages;
        let follows = |sign: &Sign| match (sign.stage, foothold) {
            (Stage::Request, _) => true,
            (_, Some(foothold)) => sign.place.can_follow(&foothold.place),
            (_, None) => false,
        };
        let all = self.signs.iter().flatten().chain(lent.iter().flatten().copied());
        let mut more: Vec<&Sign> = all
            .filter(|sign| (from_ns..=to_ns).contains(&sign.time_ns) && follows(sign))
            .filter(|sign| told().all(|one| one != *sign))
            .collect();
        more.sort_by(|one, other| {
            other.strength.total_cmp(&one.strength).then(one.time_ns.cmp(&other.time_ns))
        });
        more.truncate(MAX_MORE);
        more
    }

    /// The signs that make the most of a chain.
    pub(super) fn best<'a>(
        &'a self,
        lent: &Lent<'a>,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Links<'a>> {
        let window_ns =
            i64::try_from(ctx.settings.time_window_s).unwrap_or(i64::MAX).saturating_mul(SECOND_NS);
        let [requests, footholds, egress] =
            [Stage::Request, Stage::Foothold, Stage::Egress].map(|stage| self.with(stage, lent));
        let before = |sign: &Sign| {
            let fits = requests.iter().copied().filter(|first| {
                let from_ns = first.time_ns.saturating_sub(first.may_be_earlier_ns);
                from_ns <= sign.time_ns.saturating_add(CLOCKS_NS)
                    && sign.time_ns.saturating_sub(first.time_ns) <= window_ns
            });
            strongest(fits)
        };
        let after = |sign: &Sign| {
            let fits = egress.iter().copied().filter(|last| {
                last.time_ns.saturating_add(CLOCKS_NS) >= sign.time_ns
                    && last.time_ns.saturating_sub(sign.time_ns) <= window_ns
                    && last.place.can_follow(&sign.place)
            });
            strongest(fits)
        };
        // What is usual for the service is part of the story alone.
        let footholds = footholds.iter().copied().filter(|sign| sign.counts());
        let with_foothold = footholds.filter_map(|foothold| {
            let request = before(foothold);
            let answered = request.is_some_and(|request| request.strength >= ANSWERED);
            (answered || !foothold.only_after_request)
                .then(|| links([request, Some(foothold), after(foothold)]))
        });
        let without = egress.iter().copied().map(|last| {
            // On a host without containers only services' own traffic follows on requests.
            let place = &last.place;
            let is_served =
                place.workload.is_some() || place.process.is_none() || place.service.is_some();
            links([before(last).filter(|_| is_served), None, Some(last)])
        });
        let alone = strongest(requests.iter().copied()).map(|sign| links([Some(sign), None, None]));
        with_foothold.chain(without).chain(alone).max_by(|one, other| {
            let first = |links: &Links<'_>| {
                links.stages.iter().flatten().map(|sign| sign.time_ns).min().unwrap_or_default()
            };
            // Of equals the earlier one.
            one.score.total_cmp(&other.score).then_with(|| first(other).cmp(&first(one)))
        })
    }
}

/// The strongest, of equals the earliest.
fn strongest<'a>(signs: impl Iterator<Item = &'a Sign>) -> Option<&'a Sign> {
    signs.max_by(|one, other| {
        one.strength.total_cmp(&other.strength).then(other.time_ns.cmp(&one.time_ns))
    })
}

fn links(stages: [Option<&Sign>; 3]) -> Links<'_> {
    let points = story::terms(&stages).iter().map(|term| term.points).sum::<f64>();
    Links { stages, score: points }
}

/// Weight of a stage.
pub(super) fn weight(stage: usize) -> f64 {
    WEIGHTS.get(stage).copied().unwrap_or_default()
}

impl Place {
    /// Takes over what is not known yet.
    fn learn(&mut self, other: &Self) {
        let take = |mine: &mut Option<Arc<str>>, theirs: &Option<Arc<str>>| {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        };
        take(&mut self.host, &other.host);
        if self.workload.is_none() {
            self.workload.clone_from(&other.workload);
        }
        if self.instance.is_none() {
            self.instance.clone_from(&other.instance);
        }
        if self.address.is_none() {
            self.address = other.address;
        }
    }
}
