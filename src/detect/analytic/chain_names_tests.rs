//! What is known by different names: a request by its target's address, a program by its
//! host, a flow by its source's address.

use super::*;

const WEB: &str = "10.0.1.5";

fn asked(lab: &mut Lab, at_s: i64, target: &str, host: Option<&str>) {
    let target = Target { address: target.parse().ok(), port: Some(8080), name: None };
    let request = Request { target: Some(target), ..request(at_s, EXPLOIT, 200) };
    let served = Served { host: host.map(Into::into), ..Served::default() };
    let source = lab.source.clone();
    lab.show(at_s, &Event::Request { source: &source, request: &request, served: &served });
    lab.tick();
}

fn began(lab: &mut Lab, at_s: i64, host: &str, addresses: &[&str], workload: Option<&str>) {
    let workload = workload.map(|name| {
        Arc::new(Workload {
            runtime: "docker".to_owned(),
            container: name.to_owned(),
            ..Workload::default()
        })
    });
    let exec = Exec {
        time_ns: at_s * S,
        process: shell(),
        workload,
        begins_container: false,
        host: host.into(),
        boot: "boot".into(),
        instance: None,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    lab.show(at_s, &Event::Exec(&exec));
    lab.tick();
}

/// A flow of an unknown process.
fn flowed(lab: &mut Lab, at_s: i64, from: &str, host: &str, dst: &str, http: Option<HttpInfo>) {
    let outline = outline(at_s, from, dst);
    let attribution = (!host.is_empty()).then(Attribution::default);
    let side = HostSide { host: host.into(), attribution, ..HostSide::default() };
    let hosts = FlowHosts { src: Some(side), dst: None };
    let app = AppInfo { http, ..AppInfo::default() };
    let end = FlowEnd { outline: &outline, app: Some(&app), hosts: Some(&hosts) };
    lab.show(at_s, &Event::Flow(&end));
    lab.tick();
}

fn worst(lab: &Lab) -> Vec<(Severity, String)> {
    let alerts = lab.alerts();
    let told = alerts.iter().filter(|alert| alert.severity > Severity::Informational);
    told.map(|alert| (alert.severity, alert.entity.id.clone())).collect()
}

#[test]
fn what_is_known_of_an_address_alone_is_its_hosts() {
    let mut lab = Lab::new();
    asked(&mut lab, T, WEB, None);
    began(&mut lab, T + 2, "web-1", &[WEB], None);
    flowed(&mut lab, T + 5, WEB, "", OUTSIDE, None);
    assert_eq!(worst(&lab), [(Severity::High, "web-1".to_owned())]);
    // What was told of the address is not told of it again, with the egress.
    let of_address = lab.alerts().into_iter().find(|alert| alert.entity.id == WEB).unwrap();
    assert_eq!(of_address.case.unwrap().timeline.len(), 1);
}

#[test]
fn an_address_that_two_hosts_had_completes_no_chain() {
    let mut lab = Lab::new();
    asked(&mut lab, T, WEB, None);
    began(&mut lab, T + 2, "web-1", &[WEB], None);
    began(&mut lab, T + 3, "web-2", &[WEB], None);
    flowed(&mut lab, T + 5, WEB, "", OUTSIDE, None);
    assert!(worst(&lab).iter().all(|(severity, _)| *severity == Severity::Low));
}

#[test]
fn beside_a_container_only_the_address_that_was_asked_is_its() {
    let mut lab = Lab::new();
    asked(&mut lab, T, WEB, Some("node"));
    began(&mut lab, T + 2, "node", &[], Some("shop"));
    flowed(&mut lab, T + 5, "10.0.1.6", "node", OUTSIDE, None);
    assert_eq!(worst(&lab), [(Severity::Low, "docker:shop".to_owned())]);
    flowed(&mut lab, T + 6, WEB, "node", "198.51.100.200", None);
    assert_eq!(worst(&lab), [(Severity::High, "docker:shop".to_owned())]);
}

#[test]
fn metadata_by_its_address_was_seen_at_the_host_and_by_a_name_anywhere() {
    let named = |path: &str| HttpInfo {
        host: Some("metadata.google.internal".to_owned()),
        path: Some(path.to_owned()),
        ..HttpInfo::default()
    };
    let after = |dst: &str, host: &str, http: Option<HttpInfo>| {
        let mut lab = Lab::new();
        asked(&mut lab, T, WEB, Some(host).filter(|host| !host.is_empty()));
        flowed(&mut lab, T + 1, WEB, host, dst, http);
        worst(&lab).first().map(|(severity, _)| *severity)
    };
    let token = "/computeMetadata/v1/instance/service-accounts/default/token";
    assert_eq!(after(METADATA, "", None), Some(Severity::Low));
    assert_eq!(after("10.9.9.9", "web-1", Some(named(token))), Some(Severity::Low));
    assert_eq!(after("10.9.9.9", "", Some(named(token))), None);
    // Of unknown processes each place polls for itself, and opens nothing.
    let mut lab = Lab::new();
    for second in 0..10 {
        flowed(&mut lab, T + second, "10.0.1.6", "", METADATA, None);
    }
    assert!(lab.alerts().is_empty());
    asked(&mut lab, T + 20, WEB, None);
    flowed(&mut lab, T + 21, WEB, "", METADATA, None);
    assert_eq!(worst(&lab), [(Severity::Low, WEB.to_owned())]);
    asked(&mut lab, T + 30, "10.0.1.6", None);
    flowed(&mut lab, T + 31, "10.0.1.6", "", METADATA, None);
    assert_eq!(worst(&lab).len(), 1, "it polls");
}
