//! DNS tunnels: data carried in the names that a client asks for, and in the answers.
//!
//! Method: METHODS section 3. By client and registered domain, in windows of five
//! minutes: many names, long ones, of even bytes, hardly one asked twice, of types that
//! carry data, with large answers. No sign is enough by itself, and nothing is judged
//! under the floors of names and bytes. Part of AN0031: a network-only hit
//! stands under `possible_analytics`, since it names no process. What is sent at port 53
//! and is no DNS at all is told of as well ([`super::not_dns`]).
//!
//! Limits: a client that asks through a resolver at home is named, the resolver
//! is not; where only the resolver is seen, it is. DNS over TLS or HTTPS is not
//! seen; names spread over many domains, or fewer than the floors in each window,
//! are not found.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::not_dns::NotDns;
use super::process_context::subject;
use super::tunnelled::{Servers, Tunnelled};
use super::{Analytic, AnalyticContext, DnsSecond, Event, EventKind, about, add, trusts_process};
use crate::alert::{DecidedBy, Score, Severity, Term};
use crate::detect::{Direction, Finding, Rule, Subject, round3};
use crate::engine::window::features::{
    DNS_PORT, DnsStats, DnsType, ORDINARY_ANSWER, SYMBOLS, Text, entropy,
};
use crate::engine::window::{Hll, Host};
use crate::entity::Who;

const NAME: &str = "dns_tunnel";

/// METHODS section 3: long enough for the floors, short enough that ordinary sites
/// show a few names.
const WINDOW_S: i64 = 300;
/// Between two looks at what is over the floors.
const LOOK_S: i64 = 10;
/// A slow tunnel passes the floors late in each window.
const QUIET_S: i64 = 400;

/// Clients' domains of a window, and those told of lately. When they are full, those with
/// few bytes leave, of which an alert is open last; while that frees none, new ones are
/// refused and counted. 0.9 KB each, and 0.2 KB of the windows before.
const MAX_ASKED: usize = 32_768;
/// Share of different names in a window's queries from which they are not asked again. Each
/// asked twice is 0.5, and the estimate of new ones is under this in 3 of 100 windows (a
/// standard error of 13 %).
const NOT_ASKED_AGAIN: f64 = 0.75;
/// Bytes in names from which a domain is worth half a kilobyte for their frequencies.
const DETAILED_BYTES: u64 = 512;

/// Bytes of answers, beyond what as many ordinary ones have, from which they count.
const LEAST_GIVEN: u64 = 128 << 10;

/// Domains that look like tunnels by design, and why.
const ALLOWED: [(&[&str], &str); 4] = [
    (&["arpa"], "addresses backwards: long for IPv6, and each asked once"),
    (
        &[
            "spamhaus.org",
            "spamhaus.net",
            "spamcop.net",
            "barracudacentral.org",
            "sorbs.net",
            "uribl.com",
            "surbl.org",
            "abuseat.org",
            "dnswl.org",
            "mailspike.net",
            "senderscore.com",
            "cymru.com",
            "rspamd.com",
        ],
        "block lists: each name is an address or a digest that a mail server asks about",
    ),
    (
        &[
            "sophosxl.net",
            "mcafee.com",
            "trendmicro.com",
            "e5.sk",
            "kaspersky-labs.com",
            "webrootcloudav.com",
            "bitdefender.net",
            "fsapi.com",
            "avast.com",
        ],
        "reputation of files by antivirus programs: each name is a digest",
    ),
    (
        &[
            "akamai.net",
            "akamaiedge.net",
            "edgekey.net",
            "edgesuite.net",
            "cloudfront.net",
            "fastly.net",
            "googlevideo.com",
            "gvt1.com",
            "fbcdn.net",
            "amazonaws.com",
            "azureedge.net",
            "trafficmanager.net",
            "windows.net",
        ],
        "content and cloud resources: names are made by machines",
    ),
];

/// Default of `dns_tunnel_allowed_domains`.
pub(crate) fn allowed_by_default() -> Vec<String> {
    ALLOWED.iter().flat_map(|(domains, _)| *domains).map(|&domain| domain.to_owned()).collect()
}

#[derive(Default)]
pub(super) struct DnsTunnel {
    window: i64,
    asked: BTreeMap<(Host, u64), Asked>,
    /// When room was last made: looking at all of them for each new one would be no end.
    cleared_s: i64,
    refused: u64,
    not_dns: NotDns,
}

/// What a client asked about a domain in this window.
#[derive(Default)]
struct Asked {
    domain: Text<64>,
    who: Option<Arc<Who>>,
    votes: u64,
    told: bool,
    /// Of several, the last that was asked.
    server: Host,
    servers: Servers,
    sums: Sums,
    /// Of the windows before, where it was told of in them.
    before: Option<Box<Sums>>,
    symbols: Option<Box<[u32; SYMBOLS]>>,
    sample: Option<Text<128>>,
    volume: Tunnelled,
    look_at_s: i64,
    /// When it was told of last, if ever.
    told_s: i64,
    /// As whose it was; nothing where that is the client's.
    told_as: Option<Arc<Who>>,
}

#[derive(Clone, Default)]
struct Sums {
    first_s: i64,
    queries: u64,
    responses: u64,
    nxdomain: u64,
    names: Hll,
    bytes: u64,
    longest: u16,
    types: [u64; 7],
    answer_bytes: u64,
    given_bytes: u64,
}

impl Sums {
    fn of(second: i64, stats: &DnsStats) -> Self {
        Self {
            first_s: second,
            queries: u64::from(stats.queries),
            responses: u64::from(stats.responses),
            nxdomain: u64::from(stats.nxdomain),
            names: stats.names.clone(),
            bytes: stats.subdomain_bytes,
            longest: stats.longest_subdomain,
            types: stats.types.map(u64::from),
            answer_bytes: stats.answer_bytes,
            given_bytes: stats.given_bytes,
        }
    }

    /// Adds what came after these.
    fn add(&mut self, later: &Self) {
        if self.queries + self.responses == 0 {
            self.first_s = later.first_s;
        }
        self.queries += later.queries;
        self.responses += later.responses;
        self.nxdomain += later.nxdomain;
        self.names.merge(&later.names);
        self.bytes += later.bytes;
        self.longest = self.longest.max(later.longest);
        self.answer_bytes += later.answer_bytes;
        self.given_bytes += later.given_bytes;
        for (sum, &more) in self.types.iter_mut().zip(&later.types) {
            *sum += more;
        }
    }
}

impl Asked {
    /// Whether it was told of so lately that its alert is open.
    fn is_alert(&self, second: i64) -> bool {
        let was_told = self.told || self.before.is_some();
        was_told && second <= self.told_s.saturating_add(QUIET_S)
    }

    /// Another window begins: nothing of what is no alert. Who asks is voted anew, and is who
    /// it was where nobody is known to.
    fn goes_on(self, second: i64) -> Option<Self> {
        if !self.is_alert(second) {
            return None;
        }
        // What another sent, and was not told of, is none of it.
        let is_anothers = self.before.is_some() && self.own_before().is_none();
        let whole = (!is_anothers).then(|| Box::new(self.whole()));
        let Self { domain, server, servers, told_s, told_as, mut volume, .. } = self;
        let who = if is_anothers { told_as.clone() } else { self.who };
        volume.begin();
        let of_it =
            Self { domain, who, server, servers, told_s, told_as, volume, ..Self::default() };
        Some(Self { before: whole.or(self.before), ..of_it })
    }

    /// All since it was first told of, and before that in its window.
    fn whole(&self) -> Sums {
        let mut whole = self.own_before().cloned().unwrap_or_default();
        whole.add(&self.sums);
        whole
    }

    /// The windows before, unless they were told of as another's.
    fn own_before(&self) -> Option<&Sums> {
        let [now, then] = [&self.who, &self.told_as].map(|who| who.as_ref().map(|w| &w.entity));
        self.before.as_deref().filter(|_| now == then)
    }

    /// A finding tells of it: with what was carried, unless another was told of that.
    fn tell_volume(&mut self, finding: &mut Finding) {
        if self.own_before().is_none() {
            self.forget_before();
        }
        self.volume.fill(finding, self.server);
        finding.names_all_peers = Some(self.servers.all().is_some());
        finding.to_peers = self.servers.all().unwrap_or_default().to_vec();
        finding.to_ports = vec![DNS_PORT];
        self.volume.told();
        (self.told, self.told_s) = (true, finding.second);
        self.told_as.clone_from(&self.who);
    }

    fn forget_before(&mut self) {
        self.before = None;
        self.volume.forget_before();
    }

    /// Several processes may ask about one domain: whoever asks most of it, by a vote
    /// (Boyer and Moore 1981) in bytes of names; once told of, it stays.
    fn vote(&mut self, dns: &DnsSecond<'_>) {
        let Some(who) = &dns.who else { return };
        let bytes = dns.stats.subdomain_bytes;
        match &self.who {
            _ if self.told => {}
            Some(known) if known.entity == who.entity => self.votes += bytes,
            Some(_) if self.votes > bytes => self.votes -= bytes,
            _ => (self.who, self.votes) = (Some(Arc::clone(who)), bytes),
        }
    }

    fn add(&mut self, dns: &DnsSecond<'_>) {
        let stats = dns.stats;
        if self.domain.is_empty() {
            self.domain = stats.domain;
        }
        self.servers.add(dns.key.server);
        if self.before.is_some() && !self.is_alert(dns.second) {
            self.forget_before();
        }
        self.vote(dns);
        self.server = dns.key.server;
        self.sums.add(&Sums::of(dns.second, stats));
        let unanswered = stats.queries.saturating_sub(stats.responses);
        self.volume.add(dns.second, &stats.carried, unanswered);
        if self.sums.bytes >= DETAILED_BYTES {
            let symbols = self.symbols.get_or_insert_with(|| Box::new([0; SYMBOLS]));
            for (sum, &more) in symbols.iter_mut().zip(&stats.symbols) {
                *sum = sum.saturating_add(more);
            }
            self.sample = self.sample.or_else(|| stats.sample.iter().next());
        }
    }

    /// Of the names' bytes, with Miller and Madow's correction by the symbols seen; names
    /// over the floors have thousands of bytes, where it is good (FORMATS section 3).
    fn entropy(&self) -> f64 {
        let Some(symbols) = &self.symbols else { return 0.0 };
        let bytes: f64 = symbols.iter().map(|&count| f64::from(count)).sum();
        let kinds = symbols.iter().filter(|&&count| count > 0).count() as f64;
        if bytes == 0.0 {
            return 0.0;
        }
        entropy(&symbols[..]) + (kinds - 1.0) / (2.0 * bytes * std::f64::consts::LN_2)
    }

    fn score(&self, names: u64, ctx: &AnalyticContext<'_>) -> Score {
        let (settings, sums) = (ctx.settings, &self.sums);
        let queries = sums.queries.max(1) as f64;
        let (least, floor) = (settings.dns_tunnel_names as f64, settings.dns_tunnel_bytes as f64);
        let new_names = (names as f64 / queries).min(1.0);
        let carrying: u64 = [DnsType::Txt, DnsType::Null, DnsType::Cname, DnsType::Mx]
            .iter()
            .map(|&kind| sums.types[kind as usize])
            .sum();
        let terms = vec![
            // RITA's "high" is 16 times its base.
            Term::doubling("distinct_names", names as f64, least, 16.0 * least, 10.0),
            Term::doubling("bytes_in_names", sums.bytes as f64, floor, 16.0 * floor, 10.0),
            // Ordinary names have 3 to 15 bytes before their domain, their 95th percentile
            // is 40 with it; encoded data fill labels of 63.
            Term::new("bytes_a_name", sums.bytes as f64 / queries, 20.0, 60.0, 25.0),
            // Words and hexadecimal digits have 4 bits, base 32 nearly 5, base 64 nearly 6.
            Term::new("entropy_of_names", self.entropy(), 4.0, 4.7, 15.0),
            Term::new("new_names_by_queries", new_names, 0.5, 0.9, 10.0),
            Term::new("share_of_carrying_types", carrying as f64 / queries, 0.1, 0.7, 20.0),
            Term::doubling(
                "answer_bytes_a_query",
                sums.answer_bytes as f64 / queries,
                ORDINARY_ANSWER as f64,
                400.0,
                10.0,
            ),
            // What is fetched piece by piece: a program, beyond what as many ordinary answers
            // have. Block lists answer with less, and say mostly that there is none; what is
            // asked again brings nothing new.
            Term::doubling(
                "new_answer_bytes",
                sums.given_bytes as f64 * new_names,
                LEAST_GIVEN as f64,
                8.0 * LEAST_GIVEN as f64,
                20.0,
            ),
        ];
        Score::of(terms, settings.dns_tunnel_score)
    }
}

impl DnsTunnel {
    fn take(&mut self, dns: &DnsSecond<'_>, ctx: &AnalyticContext<'_>) -> Option<Finding> {
        let window = dns.second.div_euclid(WINDOW_S);
        if window != self.window {
            self.window = window;
            let before = std::mem::take(&mut self.asked).into_iter();
            let on = before.filter_map(|(key, asked)| Some((key, asked.goes_on(dns.second)?)));
            self.asked = on.collect();
        }
        if is_allowed(dns.stats.domain.as_bytes(), ctx) {
            return None;
        }
        let key = (dns.key.client, dns.key.domain);
        if self.asked.len() >= MAX_ASKED && !self.asked.contains_key(&key) {
            if self.cleared_s != dns.second {
                self.cleared_s = dns.second;
                self.clear(dns.second, MAX_ASKED);
            }
            if self.asked.len() >= MAX_ASKED {
                self.refused += 1;
                return None;
            }
        }
        let asked = self.asked.entry(key).or_default();
        asked.add(dns);
        if asked.sums.bytes < ctx.settings.dns_tunnel_bytes || dns.second < asked.look_at_s {
            return None;
        }
        let names = asked.sums.names.estimate();
        if names < ctx.settings.dns_tunnel_names {
            return None;
        }
        asked.look_at_s = dns.second + LOOK_S;
        let asked = self.asked.get(&key)?;
        let mut found = self.judge(dns, asked, names, ctx)?;
        self.asked.get_mut(&key)?.tell_volume(&mut found);
        Some(found)
    }

    /// What goes for others, until they are fewer than `most`.
    fn clear(&mut self, second: i64, most: usize) {
        let has_bytes = |asked: &Asked| asked.sums.bytes >= DETAILED_BYTES;
        self.asked.retain(|_, asked| has_bytes(asked) || asked.is_alert(second));
        if self.asked.len() >= most {
            self.asked.retain(|_, asked| has_bytes(asked));
        }
    }

    fn judge(
        &self,
        dns: &DnsSecond<'_>,
        asked: &Asked,
        names: u64,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Finding> {
        let client = dns.key.client;
        let at_home = ctx.home().contains(&client);
        if (!at_home && ctx.home().contains(&asked.server)) || self.asks_for_others(dns, asked) {
            return None;
        }
        let score = asked.score(names, ctx);
        let value = score.value;
        let who = asked.who.clone().unwrap_or_else(|| Arc::new(Who::address(&client)));
        let enough = score.alerts() && score.dimensions() >= 2;
        if !ctx.decide(NAME, &who, dns.second, &score, enough) {
            return None;
        }
        let rule = Rule {
            name: "dns_tunnel_score",
            threshold: score.threshold as u64,
            unit: "points",
            formula: "score of names and answers of one domain in five minutes; high from \
                256 KiB of both since it began",
        };
        let whole = asked.whole();
        let times = (whole.first_s, dns.second);
        let mut finding = about(NAME, &who, times, rule, score, ctx.seed);
        if let Subject::Entity(digest) = finding.subject {
            finding.subject = Subject::Entity(ctx.seed.mix(digest, dns.key.domain));
        }
        finding.whole = Some(ctx.seed.mix(ctx.seed.host(&client), dns.key.domain));
        finding.kind = NAME;
        finding.direction = if at_home { Direction::Outbound } else { Direction::Crossing };
        finding.home_sender = at_home;
        finding.measured = value as u64;
        finding.unanswered = asked.sums.queries.saturating_sub(asked.sums.responses);
        asked.tell(&mut finding, &who, &whole);
        Some(finding)
    }

    /// The client is itself asked about the domain by somebody: it is a resolver, and who
    /// asked it is named.
    fn asks_for_others(&self, dns: &DnsSecond<'_>, asked: &Asked) -> bool {
        self.asked.iter().any(|((client, domain), other)| {
            *domain == dns.key.domain
                && other.server == dns.key.client
                && *client != dns.key.client
                && other.sums.bytes * 4 >= asked.sums.bytes
        })
    }
}

impl Asked {
    /// An estimate, and never more than were asked.
    fn window_names(&self) -> u64 {
        self.sums.names.estimate().min(self.sums.queries.max(1))
    }

    /// What is told is the whole of it; names are judged by the window alone, which is told
    /// beside it.
    fn tell(&self, finding: &mut Finding, who: &Who, whole: &Sums) {
        let domain = self.domain.shown();
        let queries = whole.queries.max(1);
        // An estimate, and never more than were asked.
        let names = whole.names.estimate().min(queries);
        let entropy = round3(self.entropy());
        finding.details.extend([
            ("domain", json!(domain)),
            ("server", json!(self.server.ip())),
            ("queries", json!(whole.queries)),
            ("responses", json!(whole.responses)),
            ("nxdomain", json!(whole.nxdomain)),
            ("distinct_names", json!(names)),
            ("bytes_in_names", json!(whole.bytes)),
            ("window_queries", json!(self.sums.queries)),
            ("window_names", json!(self.window_names())),
            ("window_bytes_in_names", json!(self.sums.bytes)),
            ("longest_name_bytes", json!(whole.longest)),
            ("entropy_of_names", json!(entropy)),
            ("answer_bytes", json!(whole.answer_bytes)),
            ("queries_a_aaaa_txt_null_cname_mx_other", json!(whole.types)),
            ("sample_name", json!(self.sample.map(|sample| sample.shown()))),
        ]);
        let Some(case) = finding.case.as_mut() else { return };
        case.decided_by = DecidedBy::Pattern;
        case.baseline = "not asked: names that carry data are no host's normal".to_owned();
        case.quiet_s = QUIET_S;
        let both_ways = whole.answer_bytes / queries >= ORDINARY_ANSWER;
        case.confident("start", 0.4);
        if case.score.value >= 75.0 {
            case.confident("most_signs", 0.1);
        }
        if self.window_names() as f64 >= NOT_ASKED_AGAIN * self.sums.queries.max(1) as f64 {
            case.confident("names_not_asked_again", 0.1);
        }
        if both_ways {
            case.confident("answers_carry_bytes", 0.1);
        }
        trusts_process(case, who, "AN0031");
        let much = whole.bytes + whole.answer_bytes >= 256 << 10;
        case.severity = if much { Severity::High } else { Severity::Medium };
        case.severity_reason = match much {
            true => "High: over 256 KiB went through it.",
            false => "Medium: a tunnel by its shape, under 256 KiB so far.",
        }
        .to_owned();
        let of_window = match self.own_before() {
            Some(_) => format!(" (score of the last five minutes: {:.0})", case.score.value),
            None => String::new(),
        };
        case.summary = format!(
            "{} asked for {names} different names below {domain} in {} s, with {:.0} bytes \
             before the domain on average ({} bytes in all, {entropy} bits a byte), and got {} bytes of \
             answers: they carry data{of_window}.",
            subject(who),
            finding.second - finding.start_second + 1,
            whole.bytes as f64 / queries as f64,
            whole.bytes,
            whole.answer_bytes,
        );
    }
}

fn is_allowed(domain: &[u8], ctx: &AnalyticContext<'_>) -> bool {
    ctx.settings.dns_tunnel_allowed_domains.iter().any(|allowed| {
        let before = domain.strip_suffix(allowed.as_bytes());
        before.is_some_and(|before| before.is_empty() || before.ends_with(b"."))
    })
}

impl Analytic for DnsTunnel {
    fn name(&self) -> &'static str {
        NAME
    }

    fn looks_at(&self) -> &'static [EventKind] {
        &[EventKind::NotDns, EventKind::Dns]
    }

    fn observe(&mut self, event: &Event<'_>, ctx: &AnalyticContext<'_>, out: &mut Vec<Finding>) {
        match event {
            Event::NotDns(seen) => add(self.not_dns.take(seen, ctx), out),
            Event::Dns(dns) => {
                self.not_dns.count(dns);
                add(self.take(dns, ctx), out);
            }
            _ => {}
        }
    }

    fn refused(&self) -> u64 {
        self.refused + self.not_dns.refused
    }
}

#[cfg(test)]
#[path = "dns_tunnel_tests.rs"]
mod tests;
