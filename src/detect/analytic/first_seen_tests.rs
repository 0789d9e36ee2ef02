//! Which destinations are new, by prefix and by name.

use super::*;
use crate::baseline::{BaselineSettings, Baselines};
use crate::detect::analytic::testing::{Stream, address, minute, outline};
use crate::detect::analytic::{FlowEnd, Inputs};
use crate::detect::{DetectSettings, Names};
use crate::engine::window::Seed;
use crate::engine::window::features::tests::{features, resolved, udp};
use crate::entity::Who;
use crate::flow::Outline;
use crate::flow::app::TlsInfo;

const OWN: &str = "10.0.0.1";
/// The service that it uses each day, its neighbour, and where it has moved.
const SHOP: &str = "203.0.113.80";
const BESIDE: &str = "203.0.113.9";
const MOVED: &str = "198.51.100.80";
/// Last octets of servers at home, and of what asks them.
const RESOLVER: u8 = 53;
const CLIENT: u8 = 1;
/// 2026-03-01T10:15:00Z.
const T: i64 = 1_772_360_100;
const DAY_S: i64 = 86_400;

/// One host, which has learned, and what DNS has said.
struct Lab {
    baselines: Baselines,
    names: Names,
    settings: DetectSettings,
    known: FirstSeen,
}

impl Lab {
    /// So many days of the shop, whose flows have this server name.
    fn learned(days: i64, sni: Option<&str>) -> Self {
        let mut lab = Self {
            baselines: Baselines::in_memory(BaselineSettings::default(), true),
            names: Names::default(),
            settings: DetectSettings::default(),
            known: FirstSeen::default(),
        };
        for hour in (1..=24 * days).rev() {
            lab.learn(OWN, T - hour * 3_600, SHOP, sni);
        }
        lab
    }

    fn learn(&mut self, own: &str, at_s: i64, dst: &str, sni: Option<&str>) {
        let streams = [Stream::tcp(dst, 443, (10, 500), (10, 500))];
        self.baselines.learn(&minute(&address(own), at_s, &streams));
        let (outline, app) = (outline(at_s, own, dst), app(sni));
        let end = FlowEnd { outline: &outline, app: app.as_ref(), hosts: None };
        let home = &self.settings.home_nets;
        self.names.note(&end, home, &self.baselines, Seed::default());
        self.names.end(&mut self.baselines);
    }

    /// A server at home answers.
    fn told(&mut self, at_s: i64, (client, server): (u8, u8), name: &str, addresses: &[&str]) {
        let octets = |text: &&str| match text.parse() {
            Ok(IpAddr::V4(address)) => address.octets(),
            _ => panic!("{text}"),
        };
        let addresses: Vec<[u8; 4]> = addresses.iter().map(octets).collect();
        let answer = udp((server, 53), (client, 40_000), &resolved(name, &addresses));
        for (key, told) in features(&[answer]).told.sorted() {
            self.names.tell(at_s, key, told);
        }
    }

    /// The same of a server outside.
    fn told_by(&mut self, at_s: i64, server: &str, name: &str, address: &str) {
        let answer = udp((RESOLVER, 53), (CLIENT, 40_000), &resolved(name, &[[192, 0, 2, 1]]));
        for (key, told) in features(&[answer]).told.sorted() {
            let mut key = *key;
            key.asked.server = server.parse::<IpAddr>().unwrap().into();
            key.address = address.parse::<IpAddr>().unwrap().into();
            self.names.tell(at_s, &key, told);
        }
    }

    /// What is said of a flow, and how strong a sign it is.
    fn judge(&mut self, at_s: i64, dst: &str, sni: Option<&str>) -> Option<(String, f64)> {
        let inputs = Inputs::default();
        let ctx = AnalyticContext {
            settings: &self.settings,
            baselines: &self.baselines,
            inputs: &inputs,
            names: &self.names,
            seed: Seed::default(),
        };
        let (outline, app) = (outline(at_s, OWN, dst), app(sni));
        let end = FlowEnd { outline: &outline, app: app.as_ref(), hosts: None };
        let sign = self.known.flow(&end, &Services::default(), &ctx)?;
        Some((sign.text, sign.strength))
    }

    fn is_new(&mut self, at_s: i64, dst: &str, sni: Option<&str>) -> bool {
        self.judge(at_s, dst, sni).is_some()
    }
}

fn app(sni: Option<&str>) -> Option<AppInfo> {
    let tls = TlsInfo { sni: Some(sni?.to_owned()), ..TlsInfo::default() };
    Some(AppInfo { tls: Some(tls), ..AppInfo::default() })
}

#[test]
fn a_known_name_that_dns_gives_to_another_address_is_known() {
    let mut lab = Lab::learned(10, Some("api.shop.example"));
    assert!(lab.is_new(T, MOVED, None), "nobody has said whose it is");
    lab.told(T + 1, (CLIENT, RESOLVER), "api7.shop.example", &[MOVED]);
    for sni in [None, Some("api7.shop.example"), Some("www.shop.example")] {
        assert!(!lab.is_new(T + 2, MOVED, sni), "{sni:?}");
    }
    // Behind that address there may be others.
    assert!(lab.is_new(T + 3, MOVED, Some("evil.example")));
    // An address is given to others.
    assert!(!lab.is_new(T + 3_600, MOVED, None));
    assert!(lab.is_new(T + DAY_S, MOVED, None));
    // What was not yet said was no reason to go there.
    lab.told(T + 2 * DAY_S, (CLIENT, RESOLVER), "api.shop.example", &[MOVED]);
    assert!(lab.is_new(T + 2 * DAY_S - 10, MOVED, None));
}

#[test]
fn a_name_that_the_client_alone_claims_makes_nothing_known() {
    let mut lab = Lab::learned(10, Some("api.shop.example"));
    let (text, strength) = lab.judge(T, MOVED, Some("api.shop.example")).expect("new");
    assert!(text.contains("api.shop.example (by SNI alone): its prefix was never"), "{text}");
    assert!(strength > 0.9);
}

#[test]
fn a_resolver_that_nobody_knew_makes_nothing_known() {
    let mut lab = Lab::learned(10, Some("api.shop.example"));
    lab.told_by(T, "192.0.2.53", "api.shop.example", MOVED);
    assert!(lab.is_new(T + 1, MOVED, Some("api.shop.example")));
    // It was asked on days before.
    lab.learn(OWN, T - 2 * DAY_S, "192.0.2.53", None);
    assert!(!lab.is_new(T + 2, MOVED, Some("api.shop.example")));
}

#[test]
fn what_others_were_told_counts_for_an_address() {
    let mut lab = Lab::learned(10, Some("api.shop.example"));
    // A resolver at home, or another pod behind the same one.
    lab.told(T, (77, RESOLVER), "api.shop.example", &[MOVED]);
    assert!(!lab.is_new(T + 1, MOVED, None));
    // Many names stand for one address: what another asked for says nothing of this one.
    lab.told(T, (77, RESOLVER), "other.example", &[SHOP]);
    assert!(!lab.is_new(T + 1, SHOP, Some("api.shop.example")));
    assert!(!lab.is_new(T + 1, SHOP, None));
}

#[test]
fn a_new_name_is_new_at_a_known_prefix() {
    let mut lab = Lab::learned(10, Some("api.shop.example"));
    for (sni, expected) in [
        (Some("api.shop.example"), None),
        (Some("a1b2.cdn.shop.example"), None),
        (None, None),
        (Some("c2.evil.example"), Some("the domain of c2.evil.example (by SNI alone) was never")),
    ] {
        let told = lab.judge(T, BESIDE, sni);
        let text = told.as_ref().map(|(text, _)| text.as_str()).unwrap_or_default();
        assert_eq!(told.is_some(), expected.is_some(), "{sni:?}: {text}");
        assert!(text.contains(expected.unwrap_or_default()), "{text}");
    }
    lab.told(T, (CLIENT, RESOLVER), "evil.example", &[BESIDE]);
    let (text, strength) = lab.judge(T, BESIDE, None).expect("new");
    assert!(text.contains("evil.example (by DNS)") && strength > 0.9, "{text}");
    // Asked for one, it claims the other: domain fronting.
    assert!(lab.is_new(T, BESIDE, Some("api.shop.example")));
    // Both stand for that address.
    lab.told(T, (CLIENT, RESOLVER), "api.shop.example", &[BESIDE]);
    assert!(!lab.is_new(T, BESIDE, Some("api.shop.example")));
}

#[test]
fn who_has_no_names_yet_or_hides_them_is_not_alarmed_by_them() {
    for (days, sni) in [(10, None), (5, Some("api.shop.example"))] {
        let mut lab = Lab::learned(days, sni);
        assert!(!lab.is_new(T, BESIDE, Some("evil.example")), "{days} days of {sni:?}");
    }
    // Names elsewhere say nothing of a prefix whose flows mostly have none.
    let mut lab = Lab::learned(10, None);
    for hour in (1..=240).rev() {
        lab.learn(OWN, T - hour * 3_600 + 60, "192.0.2.80", Some("mirror.example"));
    }
    assert!(!lab.is_new(T, BESIDE, Some("evil.example")));
    assert!(lab.is_new(T, "192.0.2.81", Some("evil.example")));
}

#[test]
fn a_name_that_many_others_reach_is_common_and_the_prefix_does_not_count() {
    let mut lab = Lab::learned(10, Some("api.shop.example"));
    for n in 10..30 {
        lab.learn(&format!("10.0.0.{n}"), T - DAY_S, SHOP, Some("common.example"));
    }
    let (text, strength) = lab.judge(T, BESIDE, Some("common.example")).expect("new to it");
    assert!((strength - 0.3).abs() < 1e-9 && text.contains("of all others reach it"), "{text}");
    // That prefix all reach.
    let (_, strength) = lab.judge(T, BESIDE, Some("evil.example")).expect("new");
    assert!(strength > 0.9);
    // Of a prefix that nobody reaches a claim is none; that DNS says so is one.
    let (_, strength) = lab.judge(T, MOVED, Some("common.example")).expect("new");
    assert!(strength > 0.9);
    lab.told(T, (CLIENT, RESOLVER), "common.example", &[MOVED]);
    let (_, strength) = lab.judge(T, MOVED, Some("common.example")).expect("new to it");
    assert!((strength - 0.3).abs() < 1e-9);
}

#[test]
fn a_name_that_was_not_reached_for_a_month_is_new_again() {
    let mut lab = Lab::learned(10, Some("api.shop.example"));
    lab.learn(OWN, T - 40 * DAY_S, SHOP, Some("old.example"));
    let (text, _) = lab.judge(T, BESIDE, Some("old.example")).expect("long ago");
    assert!(text.contains("old.example (by SNI alone) was not reached for 40 days"), "{text}");
}

#[test]
fn a_flow_is_learned_once_a_minute_and_one_that_goes_on_is_not_without_a_name() {
    let mut lab = Lab::learned(10, Some("api.shop.example"));
    let meet = |lab: &mut Lab, at_s: i64, is_cut: bool, sni: Option<&str>| {
        let outline = Outline { is_cut, ..outline(at_s, OWN, SHOP) };
        let app = app(sni);
        let end = FlowEnd { outline: &outline, app: app.as_ref(), hosts: None };
        let home = &lab.settings.home_nets;
        lab.names.note(&end, home, &lab.baselines, Seed::default());
        lab.names.end(&mut lab.baselines);
    };
    // A connection of a day is cut each five minutes.
    meet(&mut lab, T, true, Some("api.shop.example"));
    for part in 1..1_000 {
        meet(&mut lab, T + 300 * part, true, None);
    }
    let key = Who::address(&OWN.parse::<IpAddr>().unwrap().into()).baseline;
    let shop = Host::from(SHOP.parse::<IpAddr>().unwrap());
    assert!(lab.baselines.profile(&key).unwrap().is_named(&shop));
    // So many in one minute are one.
    for _ in 0..1_000 {
        meet(&mut lab, T + 400_000, false, None);
    }
    assert!(lab.baselines.profile(&key).unwrap().is_named(&shop));
}

#[test]
fn answers_about_ever_other_addresses_take_bounded_memory() {
    let mut lab = Lab::learned(1, None);
    let all: Vec<String> = (0..70_000)
        .map(|n| format!("198.{}.{}.{}", 51 + n / 62_500, n / 250 % 250, n % 250))
        .collect();
    for (at, some) in all.chunks(16).enumerate() {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        lab.told(T + at as i64, (CLIENT, RESOLVER), "shop.example", &some);
    }
    assert!(lab.names.refused() > 0);
    let last = Host::from(all[69_999].parse::<IpAddr>().unwrap());
    let own = Host::from(OWN.parse::<IpAddr>().unwrap());
    let names = lab.names.of(&own, &last, None, (T + 5_000) * 1_000_000_000);
    assert_eq!(names.iter().map(|name| &*name.text).collect::<Vec<_>>(), ["shop.example"]);
}
