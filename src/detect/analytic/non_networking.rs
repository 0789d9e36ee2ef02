//! AN0031: a program that has no business on the network sends.
//!
//! Method: a minute of a process whose class is `never` (METHODS 7, process classes N0),
//! or whose executable lies where anybody may write or is gone. Asking for names, users
//! and groups does not count: any program does that through the C library. A port alone
//! is no question, though: only as much is excused as questions take, outside the home
//! networks only for names. Of `never` a little to the outside is enough, of the others
//! more must speak (see `signs`). Where it is not certain that it was this process, that
//! is told and no more.
//!
//! Limits: whoever can write to a usual folder takes any class; a shell's `/dev/tcp`
//! is the shell's own unless it starts a tool, which inherits the socket (`sort <f >&3`);
//! what leaks no faster than questions, on their ports, is for `dns_tunnel`. Keeps
//! nothing between minutes.

use super::signs::{Signs, is_whitelisted, sent_to, subject};
use super::{Analytic, AnalyticContext, Event, EventKind, about, add, measured_in};
use crate::alert::{DecidedBy, Score, Severity, Term};
use crate::detect::classes::{ClassKind, Doubt};
use crate::detect::{Finding, Rule};
use crate::entity::Minute;

const NAME: &str = "non_networking";
const THRESHOLD: f64 = 50.0;

/// What the C library asks: names, of whoever answers.
const NAMES: u16 = 53;
/// And of its own network: Kerberos, portmapper, LDAP, multicast DNS.
const DIRECTORIES: [u16; 6] = [88, 111, 389, 636, 749, 5353];
/// Of a minute. A question is 30 to 60 bytes of payload, for two families and some
/// suffixes 600 a name: some thirty names.
const ASKED_OUTSIDE_BYTES: u64 = 16 * 1024;
/// A login with tickets takes 10 KiB, a list of files one question of 150 bytes for each
/// of their owners: nearly a thousand of them.
const ASKED_AT_HOME_BYTES: u64 = 128 * 1024;

/// Of who it was: what holds, opens or uses a socket has as much. With less it may as
/// well have been another program.
const CERTAIN: f64 = 0.9;

#[derive(Default)]
pub(super) struct NonNetworking;

impl Analytic for NonNetworking {
    fn name(&self) -> &'static str {
        NAME
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::Minute]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        if let Event::Minute(minute) = event {
            add(found(minute, ctx), out);
        }
    }
}

fn found(minute: &Minute, ctx: &AnalyticContext<'_>) -> Option<Finding> {
    let view = minute.who.process.as_ref()?;
    let class = ctx.settings.classes.classify(view);
    let never = class.kind == ClassKind::Never;
    let displaced = class.doubt.is_some_and(Doubt::is_sign);
    let payload = payload_beyond_lookups(minute);
    let loopback = minute.measures.top.iter().all(|peer| peer.key.ip().is_loopback());
    if !(never || displaced) || payload == 0 || loopback || is_whitelisted(minute, ctx) {
        return None;
    }
    let signs = Signs::of(minute, None, ctx);
    let external = minute.measures.external.payload_bytes as f64
        / minute.measures.sent.payload_bytes.max(1) as f64;
    // Loopback and neighbours are used by build and test programs.
    let weight = if never { 35.0 } else { 20.0 };
    let mut terms = vec![
        Term::new("no_business_there", 1.0, 1.0, 1.0, weight),
        Term::new("share_to_the_outside", external, 0.0, 1.0, 15.0),
        Term::doubling("payload_bytes", payload as f64, 64.0, 1_048_576.0, 20.0),
    ];
    // That it is not expected is what this is about.
    let own = |term: &Term| matches!(term.name, "unexpected_sender" | "share_external");
    terms.extend(signs.terms(ctx).into_iter().filter(|term| !own(term)));
    let score = Score::of(terms, THRESHOLD);
    let enough = score.alerts() && score.dimensions() >= 2;
    if !ctx.decide(NAME, &minute.who, minute.start_s, &score, enough) {
        return None;
    }
    let rule = Rule {
        name: "process_class",
        threshold: 0,
        unit: "bytes",
        formula: "payload bytes sent in a minute, less those of name and user look-ups",
    };
    let person = super::process_context::person_at(view) == Some(true);
    let (severity, why) = match (never, external > 0.5, person) {
        // Of a program that never talks the likelier thing is that another one did.
        _ if minute.who.certainty < CERTAIN => {
            (Severity::Informational, "if it was this process, which is not certain")
        }
        (true, true, false) => (Severity::High, "to the outside, with nobody at it"),
        (true, _, _) => (Severity::Medium, "or something goes by its name"),
        (false, _, false) => (Severity::Medium, "with nobody at it"),
        (false, _, true) => (Severity::Low, "with a person at it: a build or a test does so"),
    };
    let span = (minute.start_s, minute.start_s + minute.length_s - 1);
    let mut finding = about(NAME, &minute.who, span, rule, score, ctx.seed);
    measured_in(&mut finding, minute);
    finding.measured = payload;
    finding.kind = "process_class";
    signs.fill(&mut finding, minute, ctx);
    let what = match (never, class.doubt) {
        (true, _) => "a program that never talks",
        _ if class.kind == ClassKind::Interpreter => {
            "a script from a folder where anybody may write"
        }
        (false, Some(Doubt::Deleted)) => "a program whose file is gone",
        _ => "a program from a folder where anybody may write",
    };
    let case = finding.case.as_mut()?;
    case.severity = severity;
    case.severity_reason = format!("{what} sends, {why}");
    case.decided_by = DecidedBy::Pattern;
    case.summary = format!("{}, {what}, sent {} in a minute.", subject(minute), sent_to(minute));
    Some(finding)
}

/// Measures tell ports and outside apart, not both at once: what may have been questions
/// is excused.
fn payload_beyond_lookups(minute: &Minute) -> u64 {
    let measures = &minute.measures;
    let of = |is_wanted: &dyn Fn(u16) -> bool| -> u64 {
        let wanted = measures.services.iter().filter(|sums| is_wanted(sums.key.1));
        wanted.map(|sums| sums.sent_payload).sum()
    };
    let names = of(&|port| port == NAMES);
    let asked = names + of(&|port| DIRECTORIES.contains(&port));
    let sent = measures.sent.payload_bytes;
    let outside = measures.external.payload_bytes;
    let at_home = sent.saturating_sub(outside);
    let minutes = u64::try_from(minute.length_s / 60).unwrap_or(0).max(1);
    let excused_at_home = asked.min(at_home).min(ASKED_AT_HOME_BYTES * minutes);
    let excused_outside = names.min(outside).min(ASKED_OUTSIDE_BYTES * minutes);
    sent.saturating_sub(asked.min(excused_at_home + excused_outside))
}
