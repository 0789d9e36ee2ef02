//! Access to a cloud's metadata service: stage 2 of a chain (AN0223).
//!
//! Method (METHODS section 11, ANALYTICS; ATT&CK MetadataEndpoints): a flow to an address
//! of `metadata_endpoints`, or a request with one of their names, from a process that is
//! new to it: one that its baseline never saw there, or a listed tool below a service.
//! SDKs and agents ask all day: a process that asked before counts only behind a request
//! that the target answered, and one that polls not even then. A path with a role's
//! credentials raises it.
//!
//! Without a process it needs a capture on the host itself: neither flow logs nor mirrors
//! of clouds carry this traffic (FORMATS section 8), so a flow to such an address was seen
//! on the host, but one that only claims such a name needs the asking address to be in a
//! map. Then it counts behind an answered request alone, and who asks is the place. Feeds [`super::chain`] alone. Bounded: [`MAX_ASKING`] programs; the eighth
//! that was quiet longest makes room (`super::room`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::programs::is_one_of;
use super::room::make_room;
use super::shell::{Services, USUAL};
use super::stage::{Place, Sign, Stage, cut, named};
use super::{AnalyticContext, FlowEnd, Source};
use crate::engine::window::Host;
use crate::flow::app::HttpInfo;
use crate::host::side::FlowHosts;
use crate::telemetry::observation::{Action, FlowReport};

const MAX_ASKING: usize = 4_096;

const DAY_NS: i64 = 86_400_000_000_000;

/// Who asked so often in this run polls.
const POLLS: u64 = 3;

/// Parts of paths behind which credentials are: AWS, ECS, Google, Azure, Alibaba.
const CREDENTIALS: [&str; 7] = [
    "/security-credentials",
    "/v2/credentials",
    "/v1/credentials",
    "/service-accounts/",
    "/identity/oauth2/token",
    "/ram/security-credentials",
    "/opc/v2/identity",
];

/// What is shown of a path.
const SHOWN: usize = 120;

/// Finds them.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// By program: how often it asked, and when last.
    asking: BTreeMap<Arc<str>, (u64, i64)>,
    refused: u64,
}

impl Metadata {
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn flow(
        &mut self,
        flow: &FlowEnd<'_>,
        services: &Services,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Sign> {
        let (outline, http) = (flow.outline, flow.app.and_then(|app| app.http.as_ref()));
        // Asked of every flow.
        if http.is_none() && !is_endpoint(outline.dst_ip(), ctx) {
            return None;
        }
        let side = flow.hosts.and_then(|hosts| hosts.src.as_ref());
        let is_at_host = side.is_some_and(|side| side.attribution.is_some());
        // On a wire elsewhere a name may be anybody's.
        let endpoint = endpoint(outline.dst_ip(), http.filter(|_| is_at_host), ctx)?;
        let place = Place::of_flow(side, outline.src_ip());
        self.access(outline.start_ns, place, &endpoint, http, services, ctx)
    }

    pub(super) fn report(
        &mut self,
        source: &Source,
        flow: &FlowReport,
        hosts: Option<&FlowHosts>,
        services: &Services,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Sign> {
        if flow.action == Some(Action::Rejected) {
            return None;
        }
        let endpoint = endpoint(flow.dst, None, ctx)?;
        let place = Place::of_flow(hosts.and_then(|hosts| hosts.src.as_ref()), flow.src);
        let mut sign = self.access(flow.start_ns, place, &endpoint, None, services, ctx)?;
        sign.source = Arc::clone(&source.name);
        Some(sign)
    }

    fn access(
        &mut self,
        time_ns: i64,
        mut place: Place,
        endpoint: &str,
        http: Option<&HttpInfo>,
        services: &Services,
        ctx: &AnalyticContext<'_>,
    ) -> Option<Sign> {
        let view = place.process.clone();
        place.service = view.as_ref().and_then(|view| services.of(view, ctx)).map(|(id, _)| id);
        let key = match place.process_baseline() {
            Some(key) => key,
            None => place.who()?.baseline,
        };
        let asked = self.asked(&key, time_ns);
        let address = endpoint.parse().ok().map(|ip: IpAddr| Host::from(ip));
        let profile = ctx.baselines.profile(&key);
        let known = profile.zip(address).map(|(profile, host)| {
            let known = profile.destination(&host);
            // What it learned today may be this.
            known.is_some_and(|known| known.first_day < time_ns.div_euclid(DAY_NS))
        });
        // What a place was learned from need not have shown this traffic.
        let known = known.filter(|&known| known || view.is_some());
        let is_tool = view.as_ref().is_some_and(|view| {
            let process = &view.process;
            is_one_of(&ctx.settings.child_tool_list, &process.name, &process.exe)
        }) && place.service.is_some();
        let role = http
            .and_then(|http| http.path.as_deref())
            .filter(|path| CREDENTIALS.iter().any(|part| path.contains(part)));
        let mut sign = Sign::new(Stage::Foothold, "metadata_access", time_ns, place);
        sign.by_baseline = known.is_some();
        let (strength, why) = match (known, is_tool) {
            (Some(true), _) if asked < POLLS => (0.4, "as it did before"),
            (Some(true), _) => (USUAL, "as it does all the time"),
            (Some(false), _) => (1.0, "which its baseline never saw"),
            (None, true) => (1.0, "a tool below a service"),
            (None, false) if asked >= POLLS => (USUAL, "as it does all the time"),
            (None, false) => (0.5, "new in this run; no baseline says more"),
        };
        sign.strength = strength;
        // Whether it is new nobody knows: only behind a request it means anything.
        sign.only_after_request = !is_tool && known != Some(false);
        if role.is_some() && strength > USUAL {
            sign.strength = (strength + 0.3).min(1.0);
        }
        let who = view.as_ref().map_or_else(|| "an unknown process".to_owned(), |view| named(view));
        let path = http.and_then(|http| http.path.as_deref()).unwrap_or_default();
        let path = cut(path, SHOWN);
        let role = if role.is_some() { ", where credentials of a role are" } else { "" };
        sign.text = format!("{who} asked {endpoint}{path}{role} ({why})");
        sign.peer = address.map(|host| host.ip());
        if view.is_none() {
            sign.missing.push("process_map");
        }
        Some(sign)
    }

    /// How often the program asked before.
    fn asked(&mut self, key: &Arc<str>, time_ns: i64) -> u64 {
        if !self.asking.contains_key(key) {
            self.refused += make_room(&mut self.asking, MAX_ASKING, |&(_, last_ns)| last_ns);
        }
        let (count, last_ns) = self.asking.entry(Arc::clone(key)).or_default();
        let before = *count;
        *count += 1;
        *last_ns = time_ns.max(*last_ns);
        before
    }
}

/// Whether a flow is to a metadata service: by address, or by the name that was asked.
pub(super) fn endpoint(
    dst: IpAddr,
    http: Option<&HttpInfo>,
    ctx: &AnalyticContext<'_>,
) -> Option<String> {
    if is_endpoint(dst, ctx) {
        return Some(dst.to_string());
    }
    let list = ctx.settings.metadata_endpoints.listed();
    let host = http.and_then(|http| http.host.as_deref())?;
    let name = host.trim_end_matches('.');
    let name =
        name.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(name, |(name, _)| name);
    let name = name.trim_matches(['[', ']']);
    list.iter().find(|listed| listed.eq_ignore_ascii_case(name)).cloned()
}

/// Whether an address is one of a metadata service.
pub(super) fn is_endpoint(dst: IpAddr, ctx: &AnalyticContext<'_>) -> bool {
    ctx.settings.metadata_endpoints.has(dst)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
