//! What leaves the sensor about people: pseudonyms for addresses, no payload,
//! masked query strings.
//!
//! A [`Privacy`] changes records and alerts before they are written or sent;
//! nothing behind it needs to know. It is applied once: twice would give
//! pseudonyms of pseudonyms.
//!
//! Pseudonyms keep prefixes: two addresses that share their first bits, and
//! only those, have pseudonyms that share as many. So subnets, scans and carpet
//! bombing look as before, and the home networks stay recognisable as the
//! prefixes that [`Privacy::prefix`] names. They are one-to-one under one key.
//! What is derived from addresses (Community ID, flow and alert identifiers)
//! is derived from the pseudonyms, because an unkeyed hash of an address gives
//! it away to whoever tries them all. Address literals inside texts and
//! reverse DNS names are replaced too. A name that spells an address in its
//! own way (`ec2-192-0-2-1.example`) stays: `no_payload` keeps names out.
//!
//! Never reads or changes a packet, and never a length or a count.

mod crypto_pan;
mod hosts;
mod key;
mod observed;
mod payload;
mod text;

use ipnet::IpNet;
use serde_json::Value;

pub use self::crypto_pan::Pseudonyms;
pub use self::key::{Key, KeyError};
use super::Summary;
use super::names::Icmp;
use crate::alert::{Alert, Case, Entity, alert_id};
use crate::engine::SensorEvent;
use crate::flow::FlowRecord;
use crate::flow::app::AppInfo;
use crate::packet::key::{from_ip, to_ip};

const NS_PER_S: i64 = 1_000_000_000;

/// What is changed. By default the values in query strings are masked and
/// nothing else is.
#[derive(Debug, Default)]
pub struct Privacy {
    /// Replaces addresses, MAC addresses included.
    pub pseudonyms: Option<Pseudonyms>,
    /// Drops what was derived from payload bytes: entropy and application
    /// hints. Sizes and counts stay.
    pub no_payload: bool,
    /// Leaves `/a?x=1` as it is instead of writing `/a?x=*`.
    pub keep_query_values: bool,
}

impl Privacy {
    /// Changes nothing.
    pub fn none() -> Self {
        Self { pseudonyms: None, no_payload: false, keep_query_values: true }
    }

    /// True if [`Self::record`] would change it. Cheap.
    pub fn concerns(&self, record: &FlowRecord) -> bool {
        let entropy = || record.fwd.entropy.is_some() || record.rev.entropy.is_some();
        self.pseudonyms.is_some()
            || self.no_payload && (record.app.is_some() || entropy())
            || !self.keep_query_values && record.app.as_deref().is_some_and(has_query)
    }

    /// Changes a record in place.
    pub fn record(&self, record: &mut FlowRecord) {
        if self.no_payload {
            record.app = None;
            record.fwd.entropy = None;
            record.rev.entropy = None;
        }
        if let Some(app) = record.app.as_deref_mut() {
            self.app(app);
        }
        let Some(pseudonyms) = &self.pseudonyms else { return };
        let [src, dst] =
            [record.src_ip(), record.dst_ip()].map(|ip| from_ip(pseudonyms.address(ip)).1);
        // Endpoints of a key are in order, by the pseudonyms as well: one
        // conversation has one Community ID, whoever speaks first.
        (record.key.a, record.key.b) =
            if record.forward_is_a_to_b { (src, dst) } else { (dst, src) };
        put_in_order(record);
        for layer in &mut record.tunnels {
            for outer in [&mut layer.outer_src, &mut layer.outer_dst] {
                let ip = to_ip(layer.version, outer);
                *outer = from_ip(pseudonyms.address(ip)).1;
            }
        }
        for mac in [&mut record.src_mac, &mut record.dst_mac].into_iter().flatten() {
            *mac = pseudonyms.mac(*mac);
        }
        if let Some(hosts) = record.hosts.as_deref_mut() {
            pseudonyms.hosts(hosts);
        }
    }

    /// The alert as it may leave. Its identifier is the one of its pseudonymous
    /// entity, the same for all its revisions: whatever refers to the alert
    /// outside of the sensor takes it from here.
    pub fn alert(&self, alert: &Alert) -> Alert {
        let mut alert = alert.clone();
        if self.no_payload {
            payload::leave_out(&mut alert);
        }
        let Some(pseudonyms) = &self.pseudonyms else { return alert };
        if let Some(case) = alert.case.as_deref_mut() {
            pseudonymise(case, pseudonyms);
        }
        // Texts about a process are made of its host's.
        let rewriter = |has_case: bool| match has_case {
            true => text::rewrite_glued,
            false => text::rewrite,
        };
        let rewrite = rewriter(alert.case.is_some());
        rewrite_entity(&mut alert.entity, &|text| rewrite(pseudonyms, text));
        for related in alert.part_of.as_deref_mut().into_iter().chain(&mut alert.parts) {
            // The same as in that alert itself.
            let rewrite = rewriter(related.has_case);
            rewrite_entity(&mut related.entity, &|text| rewrite(pseudonyms, text));
            related.id = alert_id(&related.detector, &related.entity, related.start_second);
        }
        for peer in &mut alert.peers {
            peer.address = pseudonyms.address(peer.address);
            hosts::rewrite_known(pseudonyms, &mut peer.known);
        }
        hosts::rewrite_known(pseudonyms, &mut alert.known);
        let texts =
            [&mut alert.summary, &mut alert.grade.severity_reason, &mut alert.evidence.baseline];
        texts.into_iter().for_each(|text| *text = rewrite(pseudonyms, text));
        for value in alert.evidence.details.values_mut() {
            rewrite_value(value, &|text| rewrite(pseudonyms, text));
        }
        let start_second = alert.start_ns.div_euclid(NS_PER_S);
        alert.id = alert_id(&alert.detector, &alert.entity, start_second);
        alert
    }

    /// What happened to the sensor, as it may leave.
    pub fn event(&self, event: &SensorEvent) -> SensorEvent {
        let (interface, text) = (self.text(&event.interface), self.text(&event.text));
        SensorEvent { interface, text, ..event.clone() }
    }

    /// A text of any kind, as it may leave.
    pub fn text(&self, text: &str) -> String {
        let pseudonyms = self.pseudonyms.as_ref();
        pseudonyms.map_or_else(|| text.to_owned(), |pseudonyms| text::rewrite(pseudonyms, text))
    }

    /// Changes what a run says at its end.
    pub fn summary(&self, summary: &mut Summary) {
        for alert in summary.alerts.iter_mut().chain(&mut summary.allowed_alerts) {
            *alert = self.alert(alert);
        }
        let Some(pseudonyms) = &self.pseudonyms else { return };
        let rewrite = |text: &mut String| *text = text::rewrite(pseudonyms, text);
        summary.top_talkers.iter_mut().for_each(|talker| rewrite(&mut talker.ip));
        for source in &mut summary.sources {
            rewrite(&mut source.path);
            [&mut source.first_bad, &mut source.error].into_iter().flatten().for_each(rewrite);
        }
        let capture = summary.capture.iter_mut().flat_map(|capture| &mut capture.delivery);
        capture.for_each(|receiver| rewrite(&mut receiver.target));
        for allowed in &mut summary.alerts_allowed {
            [&mut allowed.entity, &mut allowed.reason].into_iter().for_each(rewrite);
            allowed.peer.iter_mut().for_each(rewrite);
        }
    }

    /// What a prefix looks like in the output: home networks, for the reader.
    pub fn prefix(&self, prefix: IpNet) -> IpNet {
        let Some(pseudonyms) = &self.pseudonyms else { return prefix };
        hosts::prefix(pseudonyms, prefix)
    }

    fn app(&self, app: &mut AppInfo) {
        if !self.keep_query_values
            && let Some(path) = app.http.as_mut().and_then(|http| http.path.as_mut())
            && path.contains('?')
        {
            *path = text::mask_query(path);
        }
        let Some(pseudonyms) = &self.pseudonyms else { return };
        let rewrite = |text: &mut String| *text = text::rewrite(pseudonyms, text);
        if let Some(dns) = &mut app.dns {
            match text::reverse_name(&dns.query) {
                Some(ip) => dns.query = text::reverse_name_of(pseudonyms.address(ip)),
                None => rewrite(&mut dns.query),
            }
            for found in &mut dns.addresses {
                found.address = pseudonyms.address(found.address);
            }
        }
        if let Some(quoted) = &mut app.icmp_error {
            quoted.src = pseudonyms.address(quoted.src);
            quoted.dst = pseudonyms.address(quoted.dst);
        }
        let tls = app.tls.as_mut().and_then(|tls| tls.sni.as_mut());
        let quic = app.quic.as_mut().and_then(|quic| quic.sni.as_mut());
        tls.into_iter().chain(quic).for_each(rewrite);
        if let Some(http) = &mut app.http {
            [&mut http.host, &mut http.path].into_iter().flatten().for_each(rewrite);
            if let Some(agent) = &mut http.user_agent {
                *agent = text::rewrite_agent(pseudonyms, agent);
            }
        }
    }
}

fn pseudonymise(case: &mut Case, pseudonyms: &Pseudonyms) {
    let rewrite = |text: &str| text::rewrite_glued(pseudonyms, text);
    pseudonyms.process_and_workload(&mut case.process, &mut case.workload);
    for moment in &mut case.timeline {
        let texts = [&mut moment.what, &mut moment.text, &mut moment.source];
        texts.into_iter().for_each(|text| *text = rewrite(text));
    }
    let texts = [&mut case.baseline, &mut case.severity_reason, &mut case.summary];
    let texts = texts.into_iter().chain(&mut case.process_class);
    texts.for_each(|text| *text = rewrite(text));
    rewrite_value(&mut case.baseline_values, &rewrite);
    case.baseline_key = case.baseline_key.as_deref().map(|key| rewrite(key).into());
}

fn has_query(app: &AppInfo) -> bool {
    let path = app.http.as_ref().and_then(|http| http.path.as_deref());
    path.is_some_and(|path| path.contains('?'))
}

/// Swaps the ends of a key whose endpoints are ordered and came out of order.
/// Equal addresses keep theirs: ports did not change.
fn put_in_order(record: &mut FlowRecord) {
    let key = &mut record.key;
    // The sender of a one-way ICMP type stands first, whatever its address.
    let icmp = Icmp::of(key.proto, key.port_a, key.port_b);
    if icmp.is_some_and(|icmp| icmp.code.is_some()) {
        return;
    }
    if (key.a, key.port_a) > (key.b, key.port_b) {
        std::mem::swap(&mut key.a, &mut key.b);
        std::mem::swap(&mut key.port_a, &mut key.port_b);
        record.forward_is_a_to_b = !record.forward_is_a_to_b;
    }
}

fn rewrite_entity(entity: &mut Entity, rewrite: &dyn Fn(&str) -> String) {
    entity.id = rewrite(&entity.id);
    for label in entity.labels.values_mut() {
        *label = rewrite(label);
    }
}

fn rewrite_value(value: &mut Value, rewrite: &dyn Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = rewrite(text),
        Value::Array(values) => values.iter_mut().for_each(|value| rewrite_value(value, rewrite)),
        Value::Object(fields) => {
            // Names are of our making, but for those that stand for addresses.
            let old = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                rewrite_value(&mut value, rewrite);
                (rewrite(&name), value)
            });
            *fields = old.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::alert::{Moment, Score};
    use crate::flow::app::{DnsAddress, HttpInfo};
    use crate::flow::community_id::community_id;
    use crate::output::ndjson::flow_line;
    use crate::output::{Format, samples};

    fn with_pseudonyms() -> Privacy {
        let pseudonyms = Some(Pseudonyms::new(&Key::from_bytes([7; 32])));
        Privacy { pseudonyms, ..Privacy::none() }
    }

    /// Everything of `record` that names an address, as it would be printed.
    fn addresses(record: &FlowRecord) -> Vec<String> {
        let outer = record.tunnels.iter().flat_map(|layer| {
            [layer.outer_src, layer.outer_dst].map(|ip| to_ip(layer.version, &ip).to_string())
        });
        let quoted = record.app.as_deref().and_then(|app| app.icmp_error.as_deref());
        let quoted = quoted.into_iter().flat_map(|quoted| [quoted.src, quoted.dst]);
        let macs = [record.src_mac, record.dst_mac].into_iter().flatten();
        let macs = macs.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
        [record.src_ip().to_string(), record.dst_ip().to_string()]
            .into_iter()
            .chain(outer)
            .chain(quoted.map(|ip| ip.to_string()))
            .chain(macs)
            .collect()
    }

    proptest! {
        #[test]
        fn no_address_of_a_record_is_left_in_its_line(seed: u64) {
            let before = samples::random(seed);
            let mut after = before.clone();
            let privacy = with_pseudonyms();
            privacy.record(&mut after);
            let line = flow_line(&after);
            for address in addresses(&before) {
                prop_assert!(!line.contains(&format!("\"{address}\"")), "{address} in {line}");
            }
            prop_assert_ne!(community_id(&before.key, 0), community_id(&after.key, 0));
        }

        #[test]
        fn nothing_but_addresses_changes_and_ports_stay_with_their_side(seed: u64) {
            let before = samples::random(seed);
            let mut after = before.clone();
            let privacy = with_pseudonyms();
            let pseudonyms = privacy.pseudonyms.as_ref().expect("pseudonyms");
            privacy.record(&mut after);
            prop_assert_eq!(after.src_ip(), pseudonyms.address(before.src_ip()));
            prop_assert_eq!(after.dst_ip(), pseudonyms.address(before.dst_ip()));
            prop_assert_eq!(
                (after.src_port(), after.dst_port()),
                (before.src_port(), before.dst_port())
            );
            prop_assert_eq!((&after.fwd, &after.rev), (&before.fwd, &before.rev));
            prop_assert_eq!(&after.sequence, &before.sequence);
        }

        #[test]
        fn both_directions_of_a_conversation_keep_one_community_id(seed: u64) {
            let forward = samples::random(seed);
            let icmp = Icmp::of(forward.key.proto, forward.key.port_a, forward.key.port_b);
            prop_assume!(icmp.is_none());
            // Another record of the same conversation that the other side began.
            let mut backward =
                FlowRecord { forward_is_a_to_b: !forward.forward_is_a_to_b, ..forward.clone() };
            let mut forward = forward;
            let privacy = with_pseudonyms();
            privacy.record(&mut forward);
            privacy.record(&mut backward);
            prop_assert_eq!(forward.key, backward.key);
            prop_assert_ne!(forward.forward_is_a_to_b, backward.forward_is_a_to_b);
        }

        #[test]
        fn what_does_not_concern_a_record_leaves_it_alone(seed: u64, no_payload: bool) {
            let before = samples::random(seed);
            for privacy in [
                Privacy::none(),
                Privacy::default(),
                Privacy { no_payload, ..Privacy::none() },
            ] {
                let mut after = before.clone();
                privacy.record(&mut after);
                prop_assert!(privacy.concerns(&before) || after == before);
            }
        }
    }

    #[test]
    fn no_address_is_left_in_the_case_of_an_alert() {
        let host = samples::hosts::hosts().src.expect("a source");
        let mut case = Case::new(Score::of(Vec::new(), 1.0));
        (case.process, case.workload) = (host.process, host.workload);
        if let Some(view) = case.process.as_mut().map(Arc::make_mut) {
            view.process.args = vec!["curl".to_owned(), "-h192.0.2.77".to_owned()];
        }
        case.baseline = "never sent to 192.0.2.77 before".to_owned();
        case.baseline_values = json!({"known": {"192.0.2.77": ["192.0.2.77:80"]}});
        case.baseline_key = Some("process:192.0.2.77:/usr/bin/curl:".into());
        case.severity_reason = "High: to 192.0.2.77.".to_owned();
        case.process_class = Some("client of 192.0.2.77".to_owned());
        case.timeline.push(Moment {
            time_ns: samples::START_NS,
            what: "exploit_request".to_owned(),
            text: "GET /?u=http://192.0.2.77/x".to_owned(),
            source: "lb-192.0.2.77.log".to_owned(),
        });
        let mut alert = samples::alert();
        alert.grade.severity_reason.clone_from(&case.severity_reason);
        alert.evidence.baseline.clone_from(&case.baseline);
        alert.summary = "curl -h192.0.2.77".to_owned();
        alert.case = Some(Box::new(case));
        let before = serde_json::to_string(&alert).expect("JSON");
        assert!(before.matches("192.0.2.77").count() >= 10, "{before}");
        let after = serde_json::to_string(&with_pseudonyms().alert(&alert)).expect("JSON");
        for telltale in ["192.0.2.", "198.51.100.", "2001:db8:"] {
            assert!(!after.contains(telltale), "{telltale}: {after}");
        }
        let without = Privacy { no_payload: true, ..Privacy::none() }.alert(&alert);
        assert_eq!(without.case.expect("a case").timeline[0].text, "left out: payload");
    }

    /// Parquet has the cells of CSV, compressed.
    #[test]
    fn no_file_of_any_format_has_an_address_of_a_host() {
        const TELLTALES: [&str; 4] = ["192.0.2.", "2001:db8:", "02:00:00:00:00:0a", "198.51.100."];
        let (privacy, hosts) = (with_pseudonyms(), samples::hosts::hosts());
        let mut records: Vec<_> = (0..300).map(samples::random).collect();
        records.push(FlowRecord { hosts: Some(Box::new(hosts)), ..samples::tcp() });
        let written = |records: &[FlowRecord], format: Format| {
            let folder = tempfile::tempdir().expect("folder");
            let mut writer = format.create(folder.path()).expect("file");
            writer.write(records).expect("written");
            writer.finish().expect("finished");
            std::fs::read_to_string(folder.path().join(format.file_name())).expect("text")
        };
        let formats = [Format::Ndjson, Format::Csv, Format::Eve, Format::Zeek];
        let before = formats.map(|format| written(&records, format));
        records.iter_mut().for_each(|record| privacy.record(record));
        for (format, before) in formats.into_iter().zip(before) {
            let after = written(&records, format);
            for telltale in TELLTALES {
                assert!(!after.contains(telltale), "{telltale} in {}", format.name());
            }
            assert!(before.contains(TELLTALES[0]), "{}", format.name());
            assert_eq!(before.lines().count(), after.lines().count(), "{}", format.name());
        }
    }

    #[test]
    fn without_payload_neither_hints_nor_entropy_leave() {
        let mut record = samples::tcp();
        assert!(record.app.is_some() && record.fwd.entropy.is_some());
        let privacy = Privacy { no_payload: true, ..Privacy::none() };
        assert!(privacy.concerns(&record));
        privacy.record(&mut record);
        let line = flow_line(&record);
        assert!(!line.contains("app") && !line.contains("entropy"), "{line}");
        assert!(line.contains("payload_bytes"));
    }

    #[test]
    fn query_values_are_masked_unless_they_are_to_stay() {
        let http = |path: &str| {
            let http = HttpInfo { path: Some(path.to_owned()), ..HttpInfo::default() };
            let app = AppInfo { http: Some(http), ..AppInfo::default() };
            FlowRecord { app: Some(Box::new(app)), ..samples::tcp() }
        };
        let path = |privacy: &Privacy| {
            let mut record = http("/login?user=ann&password=secret");
            assert_eq!(privacy.concerns(&record), !privacy.keep_query_values);
            privacy.record(&mut record);
            record.app.and_then(|app| app.http).and_then(|http| http.path)
        };
        assert_eq!(path(&Privacy::default()).as_deref(), Some("/login?user=*&password=*"));
        assert_eq!(path(&Privacy::none()).as_deref(), Some("/login?user=ann&password=secret"));
        assert!(!Privacy::default().concerns(&http("/a")));
    }

    #[test]
    fn addresses_in_names_and_targets_are_replaced() {
        let privacy = with_pseudonyms();
        let pseudonyms = privacy.pseudonyms.as_ref().expect("pseudonyms");
        let of = |ip: &str| pseudonyms.address(ip.parse::<IpAddr>().expect("address"));
        let mut record = samples::dns();
        let app = record.app.as_mut().expect("hints");
        let dns = app.dns.as_mut().expect("dns");
        dns.query = "10.2.0.192.in-addr.arpa".to_owned();
        let address = "192.0.2.10".parse().expect("address");
        dns.addresses = vec![DnsAddress { address, ttl_s: 60 }];
        app.http = Some(HttpInfo {
            host: Some("[2001:db8::7]:8080".to_owned()),
            path: Some("/from/192.0.2.10".to_owned()),
            user_agent: Some("Probe/120.0.0.0 (at 192.0.2.10)".to_owned()),
            ..HttpInfo::default()
        });
        privacy.record(&mut record);
        let app = record.app.expect("hints");
        let http = app.http.expect("http");
        let IpAddr::V4(pseudonym) = of("192.0.2.10") else { panic!("a version is kept") };
        let [a, b, c, d] = pseudonym.octets();
        let dns = app.dns.expect("dns");
        assert_eq!(dns.query, format!("{d}.{c}.{b}.{a}.in-addr.arpa"));
        assert_eq!(dns.addresses, [DnsAddress { address: of("192.0.2.10"), ttl_s: 60 }]);
        assert_eq!(http.host, Some(format!("[{}]:8080", of("2001:db8::7"))));
        assert_eq!(http.path, Some(format!("/from/{pseudonym}")));
        assert_eq!(http.user_agent, Some(format!("Probe/120.0.0.0 (at {pseudonym})")));
    }

    #[test]
    fn an_alert_gives_no_address_away() {
        let alert = samples::alert();
        let privacy = with_pseudonyms();
        let pseudonyms = privacy.pseudonyms.as_ref().expect("pseudonyms");
        let told = privacy.alert(&alert);
        let text = serde_json::to_string(&told).expect("JSON");
        for secret in ["192.0.2.1", "198.51.100.7", "203.0.113.9", "02:00:00:00:00:0a"] {
            assert!(serde_json::to_string(&alert).expect("JSON").contains(secret), "{secret}");
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        // The identifier is recomputable from what is written, and only from that.
        let second = alert.start_ns.div_euclid(NS_PER_S);
        assert_eq!(told.id, alert_id(&told.detector, &told.entity, second));
        assert_ne!(told.id, alert.id);
        let later = Alert { revision: 9, end_ns: alert.end_ns + 1, ..alert.clone() };
        assert_eq!(privacy.alert(&later).id, told.id, "the same for all revisions");
        let victim = pseudonyms.address("192.0.2.1".parse().expect("address"));
        assert_eq!(told.entity.id, victim.to_string());
        assert!(told.summary.contains(&told.entity.id), "{}", told.summary);
        assert_eq!(Privacy::none().alert(&alert), alert);
    }

    #[test]
    fn a_home_network_is_where_its_hosts_pseudonyms_are() {
        let privacy = with_pseudonyms();
        let pseudonyms = privacy.pseudonyms.as_ref().expect("pseudonyms");
        let home: IpNet = "10.20.0.0/16".parse().expect("prefix");
        let shown = privacy.prefix(home);
        assert_ne!(shown, home);
        for (host, inside) in [("10.20.0.1", true), ("10.20.255.255", true), ("10.21.0.1", false)] {
            let pseudonym = pseudonyms.address(host.parse().expect("address"));
            assert_eq!(shown.contains(&pseudonym), inside, "{host}");
        }
    }
}
