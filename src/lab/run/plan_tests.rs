use super::*;

const TEXT: &str = r#"
duration_s = 20
[parameters]
strength = 50
[[host]]
name = "app"
[[host]]
name = "web"
outside = true
address = "203.0.113.7"
[[server]]
tool = "nginx"
host = "web"
port = 8080
[[behaviour]]
tool = "hping3"
label = "flood"
attack = true
from = "app"
to = "web"
start_s = 2
rate_per_s = "$strength"
[[behaviour]]
tool = "curl"
label = "page"
from = "app"
to = "web"
[[expect]]
attack = "flood"
"#;

fn planned(text: &str, set: &[(&str, &str)]) -> Result<Plan> {
    let set: Vec<_> = set.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    plan("test", parse(text, &set)?, None)
}

#[track_caller]
fn assert_refused(text: &str, why: &str) {
    let error = format!("{:#}", planned(text, &[]).expect_err("must be refused"));
    assert!(error.contains(why), "{error:?} does not say {why:?}");
}

#[test]
fn a_scenario_becomes_hosts_and_who_does_what() {
    let plan = planned(TEXT, &[("strength", "70")]).unwrap();
    assert_eq!(plan.hosts[1].address, Ipv4Addr::new(203, 0, 113, 7));
    assert!(plan.hosts[0].address.is_private());
    let [flood, page] = plan.actions.as_slice() else { panic!("two behaviours") };
    assert_eq!(flood.behaviour.rate_per_s, Some(70.0));
    assert_eq!((flood.start.as_secs(), flood.end.as_secs()), (2, 20));
    assert_eq!(page.server.map(|at| plan.servers[at].port), Some(8080));
}

#[test]
fn every_embedded_scenario_can_be_run() {
    for (name, _) in EMBEDDED {
        let plan = load(name, &[], None).unwrap();
        assert!(!plan.about.is_empty(), "{name}");
        assert!(!plan.actions.is_empty(), "{name}");
    }
}

#[test]
fn a_destination_outside_of_the_lab_is_refused() {
    for outside in ["8.8.8.8", "203.0.113.8", "example.com", "::1", "web.", "10.77.0.1", "0x7f.1"] {
        let text = TEXT.replacen("to = \"web\"", &format!("to = \"{outside}\""), 1);
        assert_refused(&text, "is outside of the lab: refused");
    }
    for inside in ["203.0.113.7", "127.0.0.1"] {
        let text = TEXT.replacen("to = \"web\"", &format!("to = \"{inside}\""), 1);
        assert_eq!(planned(&text, &[]).unwrap().actions[0].address.to_string(), inside);
    }
    assert_refused(&TEXT.replace("203.0.113.7", "8.8.8.8"), "may belong to somebody");
}

#[test]
fn what_is_no_field_or_out_of_bounds_is_named() {
    let with = |line: &str| TEXT.replacen("start_s = 2", line, 1);
    assert_refused(&with("gap_s = 1"), "behaviour flood: hping3 has no field gap_s");
    assert_refused(&with("colour = 1"), "hping3 has no field colour");
    assert_refused(&with("payload_bytes = 9000"), "payload_bytes is from 0 to 8000");
    assert_refused(&with("start_s = -1"), "start_s is from 0");
    assert_refused(&TEXT.replace("strength = 50", "strength = 1e9"), "rate_per_s is from");
    assert_refused(&TEXT.replace("duration_s = 20", "duration_s = 1e9"), "duration_s is from");
    assert_refused(&TEXT.replace("\"hping3\"", "\"sh\""), "unknown variant `sh`");
    assert_refused(&TEXT.replace("\"nginx\"", "\"dnsmasq\""), "web has no server nginx");
    assert_refused(&TEXT.replace("\"app\"", "\"../app\""), "a name is 1 to 13 small letters");
    assert_refused(&TEXT.replace("label = \"flood\"", "label = \"../x\""), "a label is");
    assert_refused(&TEXT.replace("attack = \"flood\"", "attack = \"flod\""), "no behaviour with");
    let path = |path: &str| TEXT.replace("label = \"page\"", &format!("label = \"page\"\n{path}"));
    assert_refused(&path("path = \"@outside/\""), "path: begins with /");
    assert_refused(&path("path = \"/a b\""), "path: begins with /");
}
