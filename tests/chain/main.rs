//! A chain of AN0223 that really happens, by the real binary: an exploited service
//! behind nginx starts a shell, which asks a stand-in of the metadata service and
//! reaches a new address, all in namespaces of the test.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails its test")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../live/lab.rs"]
#[allow(dead_code, reason = "shared with tests/live, which uses more of it")]
mod lab;
mod site;
#[path = "../support/mod.rs"]
mod support;
#[path = "../hosts/watched.rs"]
#[allow(dead_code, reason = "shared with tests/hosts, which uses more of it")]
mod watched;

use std::fs;

use serde_json::Value;

use crate::lab::read;
use crate::site::{EGRESS, EXPLOIT, OUTSIDE, SHELL, Site, chains, time};
use crate::watched::in_time;

/// Severity and what happened, of each alert about a chain.
fn told(summary: &Value) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let story = |alert: &Value| {
        let timeline = alert["case"]["timeline"].as_array().unwrap();
        let mut story: Vec<String> = timeline.iter().map(|moment| text(&moment["what"])).collect();
        story.dedup();
        story
    };
    chains(summary).iter().map(|alert| (text(&alert["severity"]), story(alert))).collect()
}

fn high(summary: &Value) -> bool {
    let alerts = chains(summary);
    let [alert] = alerts.as_slice() else { panic!("not one: {alerts:#?}") };
    alert["severity"] == "high"
}

#[test]
fn a_chain_that_happens_is_one_high_alert_with_its_timeline() {
    in_time(|| {
        let Some(site) = Site::or_skip("a chain that happens") else { return true };
        let run = site.watch(&[EXPLOIT]);
        if !run.is_whole {
            return false;
        }
        let alerts = chains(&run.summary);
        let [alert] = alerts.as_slice() else { panic!("not one: {alerts:#?}") };
        assert_eq!(alert["severity"], "high", "{alert:#}");
        assert_eq!(alert["analytics"], serde_json::json!(["AN0223"]));
        assert_eq!(alert["entity"]["kind"], "host");
        assert!(alert["revision"].as_u64() > Some(1), "it grew: {alert:#}");
        let timeline = alert["case"]["timeline"].as_array().unwrap();
        let has = |what: &str, text: &str| {
            timeline.iter().any(|moment| {
                moment["what"] == what && moment["text"].as_str().unwrap().contains(text)
            })
        };
        assert!(has("exploit_request", "/lookup?name="), "{timeline:#?}");
        assert!(has("shell_from_service", "below gunicorn"), "{timeline:#?}");
        assert!(has("metadata_access", "/latest/meta-data/iam/security-credentials/"));
        assert!(has("new_destination", OUTSIDE), "{timeline:#?}");
        // What was recorded gives the same, whenever the log comes.
        let offline = |log: &str, more: &[&str]| {
            let mut args = vec![run.ring(), "--procs", run.map(), log];
            args.extend(more);
            read(&args)
        };
        let at_once = offline(site.log(), &["--log-host", &run.host]);
        assert!(high(&at_once), "{at_once:#}");
        let missing = |summary: &Value| chains(summary)[0]["missing_telemetry"].clone();
        // A balancer that delivers within the hour names the target alone.
        let late = site.dir().path("elb.log");
        fs::write(&late, site.as_balancer(&time(&timeline[0]))).unwrap();
        let late = offline(late.to_str().unwrap(), &[]);
        assert!(high(&late), "{late:#}");
        assert!(!missing(&late).to_string().contains("process_map"));
        true
    });
}

#[test]
fn each_stage_alone_stays_informational() {
    in_time(|| {
        let Some(site) = Site::or_skip("stages alone") else { return true };
        for (path, stage) in
            [(site::PROBE, "exploit_request"), (SHELL, "shell_from_service"), (EGRESS, "")]
        {
            let run = site.watch(&[path]);
            if !run.is_whole {
                return false;
            }
            let told = told(&run.summary);
            match stage {
                "" => assert!(told.is_empty(), "{told:?}"),
                stage => {
                    assert_eq!(told, [("informational".to_owned(), vec![stage.to_owned()])]);
                }
            }
        }
        true
    });
}
