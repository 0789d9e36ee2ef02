//! AN0971: a tool or a script floods.
//!
//! Method: each second of a process is held against the floors of its tool (METHODS 1;
//! ATT&CK AN0971, DET0343), and so are the processes of one tool together that share a
//! parent, a session, a unit or a user: without root one ping reaches ten packets a
//! second on macOS, and each turn of a curl loop is a process of its own. Of
//! `burst_time_window_s` at least `tool_flood_seconds` must be over a floor (two in a row
//! suffice at ten times the floor); then terms add up: how far over, how long, without
//! connections, without answers, to one destination, above its own normal, nobody at it.
//! That nobody is at it is never enough. A process within its mature normal is quiet.
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
//! a flood of requests over open connections is none of that. A group has no normal of
//! its own. Memory: [`FOLLOWED`] senders that were over a floor lately; what comes
//! on top is not followed, and counted.

mod finding;
mod rates;
mod together;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::finding::Judged;
use self::rates::{Over, Rates, over};
use self::together::{group_who, groups};
use super::{Analytic, AnalyticContext, Event};
use crate::detect::Finding;
use crate::detect::classes::Class;
use crate::entity::{SecondOf, Who};

const NAME: &str = "tool_flood";

/// Senders over a floor within the window: 200 bytes each.
const FOLLOWED: usize = 4_096;

#[derive(Default)]
pub(super) struct ToolFlood {
    followed: BTreeMap<String, Followed>,
    refused: u64,
}

/// A sender that was over a floor.
struct Followed {
    /// Seconds at or over it, within the window.
    seconds: VecDeque<i64>,
    /// Whom alerts are about: the first that was seen.
    who: Arc<Who>,
}

impl Analytic for ToolFlood {
    fn name(&self) -> &'static str {
        NAME
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
            let over = over(&group.rates, &group.class, ctx.settings);
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
            let over = over(&rates, class, ctx.settings);
            if over.times() >= 1.0 {
                let key = one.who.entity.id.clone();
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
        let followed = self
            .followed
            .entry(key.to_owned())
            .or_insert_with(|| Followed { seconds: VecDeque::new(), who: who() });
        let window_s = i64::try_from(ctx.settings.burst_time_window_s).unwrap_or(i64::MAX);
        let from = second.saturating_sub(window_s);
        followed.seconds.retain(|&at| at > from);
        followed.seconds.push_back(second);
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
        let judged = Judged { rates, class, over, together, seconds, span: (start_s, second) };
        judged.finding(&who, ctx)
    }

    /// Gives up what was not over a floor for a window.
    fn forget(&mut self, second: i64, ctx: &AnalyticContext<'_>) {
        let window_s = i64::try_from(ctx.settings.burst_time_window_s).unwrap_or(i64::MAX);
        let from = second.saturating_sub(window_s);
        self.followed
            .retain(|_, followed| followed.seconds.back().is_some_and(|&last| last > from));
    }
}

/// A sender that is over a floor for long enough.
struct Judged<'a> {
    rates: &'a Rates,
    class: &'a Class,
    over: Over,
    /// What several have in common, and how many they are.
    together: Option<(&'static str, usize)>,
    seconds: u64,
    span: (i64, i64),
}

impl Judged<'_> {
    fn finding(&self, who: &Who, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let view = who.process.as_ref()?;
        let (rates, over) = (self.rates, self.over);
        let normal = self.normal(who, ctx);
        let mature = ctx.baselines.is_mature(&who.baseline);
        let times_normal = normal.as_ref().map(|normal| normal.times_q99(rates.packets as f64));
        if mature && times_normal.is_some_and(|times| times <= 1.2) {
            return None;
        }
        let score = self.score(times_normal, person_at(view), ctx);
        let enough = score.alerts() && score.dimensions() >= 2;
        if !ctx.decide(NAME, who, self.span.1, &score, enough) {
            return None;
        }
        let rule = Rule {
            name: over.what.rule(),
            threshold: over.floor,
            unit: over.what.unit(),
            formula: over.what.formula(),
        };
        let mut finding = about(NAME, who, self.span, rule, score, ctx.seed);
        finding.measured = over.measured;
        finding.kind = self.kind();
        finding.stateless = rates.connectionless * 2 > rates.packets;
        finding.traffic.packets = rates.packets;
        finding.traffic.wire_bytes = rates.wire_bytes;
        finding.traffic.payload_bytes = rates.payload_bytes;
        finding.traffic.sizes = rates.sizes;
        finding.unanswered = rates.unanswered;
        finding.answer_ratio = Some(round3(rates.received as f64 / rates.packets.max(1) as f64));
        finding.sources = rates.senders;
        let concentration = rates.concentration();
        finding.shape = if concentration >= 0.9 { Shape::OneToOne } else { Shape::OneToMany };
        if let Some((host, packets)) = rates.top_peer {
            finding.peers = vec![Peer {
                host,
                role: PeerRole::Destination,
                packets: Some(packets),
                wire_bytes: None,
            }];
        }
        finding.details = details(view, self.class);
        finding.details.insert("tool", json!(self.class.tool.name()));
        finding.details.insert("destination_port", json!(rates.remote_port));
        finding.details.insert("share_of_one_destination", json!(round3(concentration)));
        finding.details.insert("seconds_over_floor", json!(self.seconds));
        if let Some((by, processes)) = self.together {
            finding.details.insert("processes_together", json!(processes));
            finding.details.insert("together_by", json!(by));
        }
        let (severity, severity_reason) = self.severity(person_at(view), ctx);
        let summary = self.summary(who, ctx);
        let case = finding.case.as_mut()?;
        case.severity = severity;
        case.severity_reason = severity_reason;
        case.analytics = vec!["AN0971"];
        case.process_class = Some(self.class.cited());
        case.missing = missing(view, self.class);
        case.baseline_mature = mature;
        case.baseline_days = ctx.baselines.profile(&who.baseline).map_or(0.0, |p| p.days());
        match (&normal, times_normal) {
            (Some(normal), Some(times)) => {
                case.baseline = format!(
                    "usually at most {} packets/s (99th percentile of the busiest seconds of {} minutes); now {}, {:.1} times as many",
                    thousands(normal.q99 as u64),
                    thousands(normal.minutes),
                    thousands(rates.packets),
                    times
                );
                case.baseline_values = json!(normal);
                if mature && times > 1.2 {
                    case.decided_by = DecidedBy::Baseline;
                }
            }
            _ if self.together.is_some() => {
                case.baseline = "none: several processes together have no normal".to_owned();
            }
            _ => {
                case.baseline = "none yet of this program: the tool's floor decided".to_owned();
                case.missing.push("baseline");
            }
        }
        case.confident("start", 0.4);
        if who.certainty >= 0.9 {
            case.confident("process_certain", 0.1);
        }
        if over.times() >= 2.0 {
            case.confident("twice_the_floor", 0.1);
        }
        if self.seconds >= ctx.settings.burst_time_window_s {
            case.confident("whole_window", 0.1);
        }
        if rates.share(rates.unanswered) >= 0.95 {
            case.confident("unanswered", 0.1);
        }
        if times_normal.is_some_and(|times| times >= 2.0) {
            case.confident("twice_its_own_normal", 0.1);
        }
        if who.certainty < 0.5 {
            case.confident("process_uncertain", -0.2);
        }
        let gaps = case.missing.iter().filter(|&&gap| gap != "baseline").count();
        if gaps > 0 {
            case.confident("telemetry_missing", -0.1 * gaps.min(3) as f64);
        }
        case.summary = summary;
        Some(finding)
    }

    fn score(
        &self,
        times_normal: Option<f64>,
        person: Option<bool>,
        ctx: &AnalyticContext<'_>,
    ) -> Score {
        let rates = self.rates;
        let window = ctx.settings.burst_time_window_s as f64;
        let mut terms = vec![
            Term::doubling("times_floor", self.over.times(), 0.5, 4.0, 40.0),
            Term::new("seconds_over_floor", self.seconds as f64, 0.0, window, 20.0),
            Term::new("share_connectionless", rates.share(rates.connectionless), 0.5, 1.0, 15.0),
            Term::new("share_unanswered", rates.share(rates.unanswered), 0.5, 0.95, 15.0),
            Term::new("share_of_one_destination", rates.concentration(), 0.5, 0.95, 15.0),
        ];
        if let Some(times) = times_normal {
            terms.push(Term::doubling("times_own_q99", times, 1.0, 4.0, 20.0));
        }
        let nobody = f64::from(u8::from(person == Some(false)));
        terms.push(Term::new("nobody_at_it", nobody, 1.0, 1.0, 10.0));
        Score::of(terms, THRESHOLD)
    }

    /// Most packets a second that are usual of this program.
    fn normal(&self, who: &Who, ctx: &AnalyticContext<'_>) -> Option<Normal> {
        if self.together.is_some() {
            return None;
        }
        ctx.baselines.profile(&who.baseline)?.normal(Metric::PeakPackets, self.span.1)
    }

    fn severity(&self, person: Option<bool>, ctx: &AnalyticContext<'_>) -> (Severity, String) {
        let times = self.over.times();
        let fast = times >= 10.0 || self.rates.packets >= ctx.settings.packet_rate_threshold;
        let at_it = person == Some(true);
        let testing = at_it && &*self.class.rule == "throughput-test";
        let interactive = self.class.kind == ClassKind::InteractiveClient;
        let severity = match (at_it, fast) {
            _ if testing => Severity::Informational,
            (true, false) => Severity::Low,
            _ if interactive => Severity::Low,
            (true, true) | (false, false) => Severity::Medium,
            (false, true) => Severity::High,
        };
        let who = match person {
            Some(true) => "a person is at it",
            Some(false) => "nobody is at it",
            None => "whether somebody is at it is not known",
        };
        let test = if testing { ", with a tool that measures by filling a path" } else { "" };
        let reason = format!("{times:.1} times the floor of its tool, and {who}{test}");
        (severity, reason)
    }

    /// What most of it is.
    fn kind(&self) -> &'static str {
        let rates = self.rates;
        match self.over.what {
            What::Connections => "tcp_syn",
            _ if rates.icmp * 2 > rates.packets => "icmp",
            _ if (rates.connectionless - rates.icmp.min(rates.connectionless)) * 2
                > rates.packets =>
            {
                "udp"
            }
            _ => "tcp",
        }
    }

    fn summary(&self, who: &Who, ctx: &AnalyticContext<'_>) -> String {
        let rates = self.rates;
        let subject = match (self.together, &who.process) {
            (Some((by, processes)), Some(view)) => {
                format!("{processes} processes of one {by}, such as {},", named(view))
            }
            (None, Some(view)) => named(view),
            (_, None) => who.entity.id.clone(),
        };
        let to = match rates.top_peer {
            Some((host, _)) if rates.concentration() >= 0.9 => format!(" to {}", host.ip()),
            Some((host, _)) => format!(" to several, most to {}", host.ip()),
            None => String::new(),
        };
        let tool = match self.class.tool {
            Tool::Other => "its traffic's floor".to_owned(),
            tool => format!("the floor of {}", tool.name()),
        };
        format!(
            "{subject} sent {} packets/s and {}{to}: {} {} are {:.1} times {tool} ({}), in {} of {} s.",
            thousands(rates.packets),
            bits(rates.wire_bytes.saturating_mul(8)),
            thousands(self.over.measured),
            self.over.what.unit(),
            self.over.times(),
            thousands(self.over.floor),
            self.seconds,
            ctx.settings.burst_time_window_s,
        )
    }
}

/// Those of one tool with the same parent, then session, unit, user: only groups that no
/// single process dominates.
fn groups<'a>(classed: &[(&'a SecondOf, Class)]) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(u8, String), Group<'a>> = BTreeMap::new();
    for (one, class) in classed {
        // Programs that nobody knows have nothing in common, and who talks to many by
        // itself has a floor of its own.
        if class.tool == Tool::Other {
            continue;
        }
        for (rank, by, key) in bonds(one) {
            let key = format!("{}:{}:{key}", class.tool.name(), by);
            let group = groups.entry((rank, key.clone())).or_insert_with(|| Group {
                key,
                by,
                rates: Rates::default(),
                members: Vec::new(),
                class: class.clone(),
            });
            group.rates.add(one);
            group.members.push(one);
        }
    }
    let several = |group: &Group<'_>| {
        let share = group.rates.share(group.rates.most);
        let fewest = usize::try_from(FEWEST_TOGETHER).unwrap_or(usize::MAX);
        group.members.len() >= fewest && share < 0.8
    };
    groups.into_values().filter(several).collect()
}

/// What a process has in common with others of its host, narrowest first.
fn bonds(one: &SecondOf) -> Vec<(u8, &'static str, String)> {
    let Some(view) = &one.who.process else { return Vec::new() };
    let process = &view.process;
    // `boot:pid:start`
    let id = &one.who.entity.id;
    let boot = id.rsplitn(3, ':').nth(2).unwrap_or(id);
    let mut bonds = Vec::new();
    // Orphans are process 1's.
    if let Some(parent) = process.parent.filter(|parent| parent.pid > 1) {
        bonds.push((0, "parent", format!("{boot}:{}:{}", parent.pid, parent.start_ticks)));
    }
    if let Some(session) = process.session.filter(|&session| session > 0) {
        bonds.push((1, "session", format!("{boot}:{session}")));
    }
    if !process.unit.is_empty() {
        bonds.push((2, "unit", format!("{boot}:{}", process.unit)));
    }
    if let Some(uid) = process.uid {
        bonds.push((3, "user", format!("{boot}:{uid}")));
    }
    bonds
}

/// A group is its parent, or else the process of it that was seen first.
fn group_who(group: &Group<'_>, busiest: &SecondOf) -> Who {
    let mut who = Who::clone(&busiest.who);
    if group.by == "parent"
        && let Some(parent) =
            group.key.strip_prefix(&format!("{}:parent:", group.class.tool.name()))
    {
        who.entity = Entity::new(EntityKind::Process, parent.to_owned());
        let name = who.process.as_ref().and_then(|view| view.ancestors.first());
        if let Some(parent) = name.filter(|parent| !parent.name.is_empty()) {
            who.entity.labels.insert("name".to_owned(), parent.name.clone());
        }
    }
    who.entity.labels.insert("together_by".to_owned(), group.by.to_owned());
    who
}
