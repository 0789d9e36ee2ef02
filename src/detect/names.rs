//! Names of destinations, for those who ask whether one is new.
//!
//! A name is told by an answer of DNS, or claimed by the client (SNI, host of a request). Whoever
//! forges a claim (domain fronting) names himself what he likes: it makes nothing known. An
//! answer does, where it was asked for and comes from a server at home or one that the
//! entity, or whoever asked, knew on an earlier day: malware that brings its own resolver
//! gains nothing by what that says. What a server at home or a spoofed answer in its
//! name says is believed.
//!
//! A flow's names are what its client claims, and what the client itself was told of the
//! address last, unless that claim is among what it was told. What others were told counts
//! for making an address known alone: many names stand for one address of a content network.
//!
//! Bounded: [`MOST_ADDRESSES`] with [`MOST_TOLD`] names each, an eighth of which goes when
//! there are more, what was told longest ago first; [`MOST_LEARNED`] flows of a minute are
//! known to be learned, and as many that were cut, past which all are forgotten; and what
//! [`waiting`] has.

mod waiting;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ahash::HashSet;

use self::waiting::Waiting;
use super::HomeNets;
use super::analytic::{FlowEnd, make_room};
use crate::baseline::{Baselines, NameDigest, Profile};
use crate::engine::window::features::{ToldKey, ToldName, shown};
use crate::engine::window::{Host, Seed};
use crate::entity::{Minute, Who};
use crate::flow::app::AppInfo;
use crate::host::destination::{NameSource, is_name, requested_host, server_name};
use crate::packet::FlowKey;

/// Of some 2.5 KiB each where they have all names that they may: 40 MiB.
const MOST_ADDRESSES: usize = 16_384;
/// Names and clients of an address.
const MOST_TOLD: usize = 16;
/// 1 MiB of digests, 4 MiB of keys: more than a busy office begins in a minute.
const MOST_LEARNED: usize = 65_536;

const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// How much longer than an answer may be kept it is used: programs keep it on for as long
/// as they like, and addresses are given to others.
const LINGERS_NS: i64 = 3_600 * SECOND_NS;

/// IP protocol numbers (IANA): flows of others never have names.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What answers said, and what of flows was learned.
#[derive(Debug, Default)]
pub struct Names {
    by_address: BTreeMap<Host, Known>,
    /// Digests of what was learned in this minute.
    learned: HashSet<u64>,
    minute: i64,
    waiting: Waiting,
    /// Flows that go on: what begins a connection is not seen again.
    cut: HashSet<FlowKey>,
    refused: u64,
}

#[derive(Debug, Default)]
struct Known {
    told: Vec<Told>,
    last_ns: i64,
}

/// A name of an address, as one client was told.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    name: Name,
    client: Host,
    server: Host,
    first_ns: i64,
    last_ns: i64,
    until_ns: i64,
}

/// Whose a destination is, and who says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub digest: NameDigest,
    /// The whole of it.
    pub text: Arc<str>,
    pub source: NameSource,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = match self.source {
            NameSource::Dns => "by DNS",
            NameSource::Tls => "by SNI alone",
            NameSource::Http => "by HTTP host alone",
        };
        write!(f, "{} ({source})", self.text)
    }
}

impl Name {
    /// Of a name in lower case.
    fn of(name: &[u8], source: NameSource) -> Option<Self> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let text = std::str::from_utf8(name).ok().filter(|text| is_name(text))?;
        let digest = NameDigest::of(text);
        Some(Self { digest, text: shown(name).into(), source })
    }

    /// What the client says whom it means.
    fn claimed(app: &AppInfo) -> Option<Self> {
        let of = |name: &str, source| Self::of(name.to_ascii_lowercase().as_bytes(), source);
        let host = || of(app.http.as_ref().and_then(requested_host)?, NameSource::Http);
        server_name(app).and_then(|name| of(name, NameSource::Tls)).or_else(host)
    }
}

/// Names of one flow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowNames(Vec<Name>);

impl FlowNames {
    /// The claim first.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter()
    }

    fn digests(&self) -> Vec<NameDigest> {
        self.0.iter().map(|name| name.digest).collect()
    }
}

impl Told {
    /// Whether it may be why a flow went there that began at this time.
    fn holds(&self, at_ns: i64) -> bool {
        self.first_ns <= at_ns && at_ns <= self.until_ns
    }

    /// Which of several it was that a client went by.
    fn recency(&self, at_ns: i64) -> (i64, i64, NameDigest) {
        (self.last_ns.min(at_ns), self.first_ns, self.name.digest)
    }
}

impl Names {
    /// An answer that was asked for in this second, or in the one before.
    pub fn tell(&mut self, second: i64, key: &ToldKey, told: &ToldName) {
        let Some(name) = Name::of(told.name.as_bytes(), NameSource::Dns) else { return };
        if self.by_address.len() >= MOST_ADDRESSES && !self.by_address.contains_key(&key.address) {
            self.refused += make_room(&mut self.by_address, MOST_ADDRESSES, |known| known.last_ns);
        }
        let at_ns = second.saturating_mul(SECOND_NS);
        let kept_ns = i64::from(told.ttl_s).saturating_mul(SECOND_NS).min(DAY_NS);
        let until_ns = at_ns.saturating_add(SECOND_NS + kept_ns + LINGERS_NS);
        let (client, server) = (key.asked.client, key.asked.server);
        let known = self.by_address.entry(key.address).or_default();
        known.last_ns = known.last_ns.max(at_ns);
        let same = |told: &&mut Told| {
            (told.name.digest, told.client, told.server) == (name.digest, client, server)
        };
        if let Some(told) = known.told.iter_mut().find(same) {
            // What had run out is as good as told anew.
            if told.until_ns < at_ns {
                told.first_ns = at_ns;
            }
            told.last_ns = told.last_ns.max(at_ns);
            told.until_ns = told.until_ns.max(until_ns);
            return;
        }
        if known.told.len() >= MOST_TOLD {
            let oldest = known.told.iter().enumerate().min_by_key(|(_, told)| told.last_ns);
            if let Some((oldest, _)) = oldest {
                known.told.remove(oldest);
            }
        }
        known.told.push(Told { name, client, server, first_ns: at_ns, last_ns: at_ns, until_ns });
    }

    /// How often there was no place.
    pub fn refused(&self) -> u64 {
        self.refused + self.waiting.refused
    }

    fn told(&self, address: &Host, at_ns: i64) -> impl Iterator<Item = &Told> {
        let told = self.by_address.get(address).into_iter().flat_map(|known| &known.told);
        told.filter(move |told| told.holds(at_ns))
    }

    fn told_to(&self, client: &Host, address: &Host, at_ns: i64) -> Option<&Told> {
        let told = self.told(address, at_ns).filter(|told| told.client == *client);
        told.max_by_key(|told| told.recency(at_ns))
    }

    /// Names of a flow from `client` to `address` that began at this time.
    pub fn of(
        &self,
        client: &Host,
        address: &Host,
        app: Option<&AppInfo>,
        at_ns: i64,
    ) -> FlowNames {
        let claimed = app.and_then(Name::claimed);
        let last = self.told_to(client, address, at_ns).map(|told| &told.name);
        let is_told = |claim: &Name| {
            let told = self.told(address, at_ns).filter(|told| told.client == *client);
            told.map(|told| &told.name).find(|name| name.digest == claim.digest)
        };
        let names = match (claimed, last) {
            (None, last) => last.into_iter().cloned().collect(),
            (Some(claim), None) => vec![claim],
            (Some(claim), Some(last)) => match is_told(&claim) {
                Some(told) => vec![told.clone()],
                None => vec![claim, last.clone()],
            },
        };
        FlowNames(names)
    }

    /// The name that DNS gives an address for a flow of this client: the one that the client
    /// claims, where there was such an answer, the one it was told last, or what others were.
    /// Nothing where the server that said so is a stranger.
    pub fn vouched(
        &self,
        (client, profile): (&Host, &Profile),
        address: &Host,
        names: &FlowNames,
        at_ns: i64,
        (home, baselines): (&HomeNets, &Baselines),
    ) -> Option<&Name> {
        let day = at_ns.div_euclid(DAY_NS);
        let knows = |profile: &Profile, server: &Host| {
            profile.destination(server).is_some_and(|known| known.first_day < day)
        };
        let is_trusted = |told: &&Told| {
            home.contains(&told.server)
                || knows(profile, &told.server)
                || baselines
                    .profile(&Who::address(&told.client).baseline)
                    .is_some_and(|asker| knows(asker, &told.server))
        };
        let rank = |told: &&Told| {
            let is_claimed = names.iter().any(|name| name.digest == told.name.digest);
            (is_claimed, told.client == *client, told.recency(at_ns))
        };
        let told = self.told(address, at_ns).filter(is_trusted).max_by_key(rank);
        told.map(|told| &told.name)
    }

    /// Notes for the baselines what an answered flow out of the home networks is called, once
    /// a minute for who it is of, where it goes and what that is called: learned is it with
    /// its minute. Nothing of an entity that has learned no minute yet.
    pub(super) fn note(
        &mut self,
        flow: &FlowEnd<'_>,
        home: &HomeNets,
        baselines: &Baselines,
        seed: Seed,
    ) {
        let outline = flow.outline;
        let (src, dst) = (Host::from(outline.src_ip()), Host::from(outline.dst_ip()));
        if outline.originator_guessed
            || !outline.answered()
            || !matches!(outline.key.proto, TCP | UDP)
            || !home.contains(&src)
            || home.contains(&dst)
            || dst.is_group()
        {
            return;
        }
        let names = self.of(&src, &dst, flow.app, outline.start_ns);
        let goes_on = match outline.is_cut {
            true => !self.note_cut(outline.key),
            false => self.cut.remove(&outline.key),
        };
        if goes_on && names.0.is_empty() {
            return;
        }
        let minute = outline.decided_ns.div_euclid(60 * SECOND_NS);
        if minute != self.minute || self.learned.len() >= MOST_LEARNED {
            self.learned.clear();
            self.minute = minute;
        }
        let side = flow.hosts.and_then(|hosts| hosts.src.as_ref());
        let process = side.and_then(|side| side.process.as_ref()).map(|view| view.process.id);
        let process = process.map_or(0, |id| seed.mix(id.start_ticks, id.pid.into()));
        let digest = seed.mix(seed.mix(seed.host(&src), seed.host(&prefix(&dst))), process);
        let digest = names.iter().fold(digest, |sum, name| seed.mix(sum, name.digest.number()));
        if !self.learned.insert(digest) {
            return;
        }
        let digests = names.digests();
        let instance = side.and_then(|side| side.instance.as_ref());
        let at = instance.map_or_else(|| Who::address(&src), Who::instance);
        let workload = side.and_then(|side| side.workload.as_ref());
        let process = side.and_then(|side| {
            let view = side.process.as_ref()?;
            Some(Who::process(&side.host, "", view, side.workload.as_ref(), 1.0).baseline)
        });
        let workload = workload.map(|workload| Who::workload(workload).baseline);
        for key in [Some(at.baseline), workload, process].into_iter().flatten() {
            if let Some(key) = baselines.known(&key) {
                self.waiting.add((minute.saturating_mul(60), key), (src, dst), &digests);
            }
        }
    }

    /// A minute that packets tell of is over, and learned or held back.
    pub(super) fn teach(&mut self, minute: &Minute, baselines: &mut Baselines) {
        // Other sources' may come before those of packets.
        if minute.reported.is_none() {
            self.waiting.teach(minute, baselines);
        }
    }

    /// No minute comes any more.
    pub(super) fn end(&mut self, baselines: &mut Baselines) {
        self.waiting.end(baselines);
    }

    /// False where it was cut before.
    fn note_cut(&mut self, key: FlowKey) -> bool {
        if self.cut.len() >= MOST_LEARNED && !self.cut.contains(&key) {
            self.cut.clear();
        }
        self.cut.insert(key)
    }
}

/// The /24 or /48 of an address, as baselines know destinations.
pub(super) fn prefix(host: &Host) -> Host {
    Host::from(match host.ip() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(address) => IpAddr::from((u128::from(address) >> 80 << 80).to_be_bytes()),
    })
}
