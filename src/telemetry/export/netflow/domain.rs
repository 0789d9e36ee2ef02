//! What is known of the exporters: templates, samplers, where their numbers stand.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::record::{Export, Parts, Sampled};
use super::sampler::{Rate, Samplers};
use super::template::Templates;
use super::value::address_text;
use crate::telemetry::decode::Out;
use crate::telemetry::export::sequence::Sequence;
use crate::telemetry::export::texts::Texts;
use crate::telemetry::observation::FlowDirection;

/// Domains that are known at a time; those that have long said nothing go first.
const MAX_DOMAINS: usize = 4096;
/// Templates of all domains, in fields of 8 bytes and a name for some.
const MAX_WEIGHT: usize = 1 << 18;
/// Of data that waits for its template: templates are sent again after at most some
/// minutes, and senders that never do must not fill the memory.
const MAX_PENDING_BYTES: usize = 1 << 20;
const MAX_ALL_PENDING_BYTES: usize = 32 << 20;
const NS_PER_MS: i64 = 1_000_000;
/// Applications that one domain has named.
const MAX_APPLICATIONS: usize = 4096;

/// Whose templates and numbers are the same: a version of one transport session and
/// observation domain (NetFlow v9: source id; v5: engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DomainId {
    pub(super) exporter: SocketAddr,
    pub(super) version: u16,
    pub(super) number: u32,
}

#[derive(Default)]
pub(super) struct Domain {
    pub(super) known: Known,
    pub(super) templates: Templates,
    pub(super) sequence: Sequence,
    /// What the last datagram with an uptime said of time.
    last: Option<Export>,
    /// By template.
    pending: HashMap<u16, Vec<Pending>, ahash::RandomState>,
    pending_bytes: usize,
    /// Of IPFIX: the last message's number, and whether numbers include the message's
    /// own records.
    last_number: Option<u32>,
    numbers_after: bool,
    not_sent: Option<u64>,
    /// When it last said something, in datagrams of all.
    used: u64,
}

/// A data set whose template has not come yet.
pub(super) struct Pending {
    pub(super) export: Export,
    pub(super) set: Box<[u8]>,
}

/// What reports of a domain take from elsewhere than their own record.
#[derive(Default)]
pub(super) struct Known {
    pub(super) observer: Arc<str>,
    /// Number of the domain, where it is not 0.
    pub(super) domain: Option<Arc<str>>,
    pub(super) since_it_began: Arc<str>,
    pub(super) system_start_ms: Option<u64>,
    pub(super) samplers: Samplers,
    /// It was told that flows may be of any of several samplers.
    ambiguity_told: Cell<bool>,
    applications: HashMap<u128, Arc<str>, ahash::RandomState>,
}

impl Known {
    /// Of a flow that does not say itself: by its sampler, or by the only rate there is.
    ///
    /// Of several rates none is taken, be it the one announced last: samplers of several
    /// interfaces are announced in turn and hold side by side.
    pub(super) fn sampled_1_of(
        &self,
        flow: &Sampled,
        interfaces: [Option<u64>; 2],
        direction: Option<FlowDirection>,
        out: &mut Out,
    ) -> Option<u32> {
        match self.samplers.rate_of(flow, interfaces, direction) {
            Rate::None => None,
            Rate::OneOf(one_of) => Some(one_of),
            Rate::Unclear => {
                out.bad_part("flow whose sampling rate is not known");
                if !flow.is_off() && !self.ambiguity_told.replace(true) {
                    out.notices.push(format!(
                        "{} samples at several rates and does not say which flow has which: \
                         such flows are counted as they are",
                        self.observer
                    ));
                }
                None
            }
        }
    }

    pub(super) fn application(&self, id: u128) -> Option<Arc<str>> {
        self.applications.get(&id).map(Arc::clone)
    }
}

impl Domain {
    fn new(id: &DomainId, texts: &mut Texts, out: &mut Out) -> Self {
        let known = Known {
            observer: address_text(id.exporter.ip().to_canonical(), texts),
            domain: (id.number != 0).then(|| texts.number(u64::from(id.number))),
            since_it_began: out.names.of(b"since the flow began"),
            ..Known::default()
        };
        Self { known, ..Self::default() }
    }

    /// Takes an options record.
    pub(super) fn learn(&mut self, template: u16, parts: Parts, export: &Export, out: &mut Out) {
        let said = &parts.sampling;
        let mut used = said.one_of().is_some() || said.is_off() || said.names_sampler();
        if used && !self.known.samplers.learn(said, template, export.exported_ns) {
            out.bad_part("sampler over the bound on samplers");
        }
        if let Some(start_ms) = parts.system_start_ms {
            used = true;
            self.known.system_start_ms = Some(start_ms);
        }
        if let Some((id, name)) = parts.application.zip(parts.application_name) {
            used = true;
            let applications = &mut self.known.applications;
            if applications.len() < MAX_APPLICATIONS || applications.contains_key(&id) {
                applications.insert(id, name);
            }
        }
        if let Some(total) = parts.not_sent {
            used = true;
            // Totals of before the first one were told to nobody who can be asked.
            let before = self.not_sent.replace(total).unwrap_or(total);
            if total > before {
                out.lost("flows that the exporter did not send", total - before);
            }
        }
        if !used {
            out.pass("options records");
        }
    }

    /// Whether the exporter has begun anew since its last datagram: its uptime went back.
    ///
    /// Not where it only ran over, as it does each 49.7 days: then it went on by as much
    /// as the exporter's clock did. IPFIX says nothing of uptime, and its templates over
    /// UDP hold until they are withdrawn, replaced or long silent.
    pub(super) fn up(&mut self, export: &Export) -> bool {
        /// Datagrams that overtook others are no new start, and clocks are set.
        const TOLERATED_MS: i64 = 60_000;
        let Some(uptime_ms) = export.uptime_ms else { return false };
        let Some(last) = self.last.replace(*export) else { return false };
        let Some(before_ms) = last.uptime_ms else { return false };
        if i64::from(uptime_ms) >= i64::from(before_ms) - TOLERATED_MS {
            return false;
        }
        let on_ms = i64::from(uptime_ms.wrapping_sub(before_ms));
        let clock_ms = (export.exported_ns - last.exported_ns) / NS_PER_MS;
        (on_ms - clock_ms).abs() > TOLERATED_MS
    }

    /// Forgets what an exporter sends again after a new start, as any of it may mean
    /// something else now. Returns how many numbers are now known to be lost.
    pub(super) fn begin_anew(&mut self, out: &mut Out) -> u64 {
        self.drop_pending(out);
        self.templates = Templates::default();
        self.known.system_start_ms = None;
        self.known.samplers = Samplers::default();
        self.known.applications.clear();
        self.not_sent = None;
        self.sequence.restart()
    }

    /// A message of IPFIX with its number and so many data records. Returns how many
    /// records are now known to be lost.
    ///
    /// The number is that of the records before the message; softflowd's includes the
    /// message's own. What agrees with the message before it is taken.
    pub(super) fn records_seen(&mut self, number: u32, count: Option<u32>) -> u64 {
        let before = self.last_number.replace(number);
        let Some(records) = count else { return self.sequence.seen(number, None) };
        let first = |after: bool| number.wrapping_sub(if after { records } else { 0 });
        let expected = |after: bool| match after {
            true => before == Some(first(true)),
            false => self.sequence.expects(number),
        };
        let mut lost = 0;
        if !expected(self.numbers_after) && expected(!self.numbers_after) {
            self.numbers_after = !self.numbers_after;
            lost = self.sequence.restart();
        }
        lost + self.sequence.seen(first(self.numbers_after), count)
    }

    /// Keeps a data set until its template comes; where too much waits already, in place
    /// of that: templates that have not come for so long may never do.
    pub(super) fn keep(&mut self, template: u16, pending: Pending, out: &mut Out) {
        if self.pending_bytes + pending.weight() > MAX_PENDING_BYTES {
            self.drop_pending(out);
        }
        self.pending_bytes += pending.weight();
        self.pending.entry(template).or_default().push(pending);
    }

    pub(super) fn take_pending(&mut self, template: u16) -> Vec<Pending> {
        let ready = self.pending.remove(&template).unwrap_or_default();
        self.pending_bytes -= ready.iter().map(Pending::weight).sum::<usize>();
        ready
    }

    /// Forgets what waited, and counts it.
    fn drop_pending(&mut self, out: &mut Out) {
        for _ in self.pending.drain().flat_map(|(_, sets)| sets) {
            out.bad_part(NO_TEMPLATE);
        }
        self.pending_bytes = 0;
    }
}

const NO_TEMPLATE: &str = "data set whose template never came";

/// All domains.
#[derive(Default)]
pub(super) struct Domains {
    by_id: HashMap<DomainId, Domain, ahash::RandomState>,
    /// Datagrams so far.
    now: u64,
    weight: usize,
    pending_bytes: usize,
}

impl Domains {
    /// Does something with a domain, which is made where it is new, and keeps within
    /// the bounds on all of them.
    pub(super) fn with<T>(
        &mut self,
        id: DomainId,
        texts: &mut Texts,
        out: &mut Out,
        work: impl FnOnce(&mut Domain, &mut Texts, &mut Out) -> T,
    ) -> T {
        if (self.by_id.len() >= MAX_DOMAINS && !self.by_id.contains_key(&id))
            || self.weight > MAX_WEIGHT
        {
            self.forget(out);
        }
        self.now += 1;
        let domain = self.by_id.entry(id).or_insert_with(|| Domain::new(&id, texts, out));
        domain.used = self.now;
        let before = (domain.templates.weight(), domain.pending_bytes);
        let result = work(domain, texts, out);
        self.weight = self.weight + domain.templates.weight() - before.0;
        self.pending_bytes = self.pending_bytes + domain.pending_bytes - before.1;
        if self.pending_bytes > MAX_ALL_PENDING_BYTES {
            self.pending_bytes -= domain.pending_bytes;
            domain.drop_pending(out);
        }
        result
    }

    /// The source has ended.
    pub(super) fn end(&mut self, out: &mut Out) {
        for (id, domain) in &mut self.by_id {
            domain.drop_pending(out);
            lose(id.version, domain.sequence.rest(), out);
        }
        self.pending_bytes = 0;
    }

    /// How many domains are known, and what their templates weigh.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.by_id.len(), self.by_id.values().map(|domain| domain.templates.weight()).sum())
    }

    /// Forgets the quarter that has said nothing for longest: many at once, so that a
    /// sender of ever new domains pays for the search.
    fn forget(&mut self, out: &mut Out) {
        let mut used: Vec<_> = self.by_id.values().map(|domain| domain.used).collect();
        let at = used.len() / 4;
        if at >= used.len() {
            return;
        }
        let (_, &mut last, _) = used.select_nth_unstable(at);
        self.by_id.retain(|id, domain| {
            if domain.used > last {
                return true;
            }
            lose(id.version, domain.sequence.rest(), out);
            self.weight -= domain.templates.weight();
            self.pending_bytes -= domain.pending_bytes;
            domain.drop_pending(out);
            false
        });
    }
}

/// Counts numbers that never came: of v9 they are those of datagrams.
pub(super) fn lose(version: u16, count: u64, out: &mut Out) {
    match (version, count) {
        (_, 0) => {}
        (9, count) => out.lost("netflow v9 datagrams", count),
        (_, count) => out.lost("netflow records", count),
    }
}

impl Pending {
    fn weight(&self) -> usize {
        /// Sets can be empty, and each of another template.
        const OWN_BYTES: usize = 128;
        self.set.len() + OWN_BYTES
    }
}
