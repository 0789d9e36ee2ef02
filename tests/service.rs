//! `flowtap doctor` with and without rights, and the unit for systemd.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod common;
mod support;

use std::path::Path;
use std::process::{Command, Output};

use common::{Dir, text};
use serde_json::Value;
use support::netns::{LinkOptions, Netns, wait_for};

const FLOWTAP: &str = env!("CARGO_BIN_EXE_flowtap");

/// As an ordinary user, with these capabilities and no way to get others.
fn with_capabilities(capabilities: &str) -> Vec<String> {
    let capabilities = format!("-all{capabilities}");
    vec![
        "setpriv".to_owned(),
        "--reuid=65534".to_owned(),
        "--regid=65534".to_owned(),
        "--clear-groups".to_owned(),
        format!("--inh-caps={capabilities}"),
        format!("--ambient-caps={capabilities}"),
        format!("--bounding-set={capabilities}"),
    ]
}

/// Runs the doctor in the namespace and gives its exit status and report.
fn doctor(net: &Netns, rights: &[String], args: &[&str]) -> (i32, Value) {
    let program = [FLOWTAP, "doctor", "--json"].into_iter().chain(args.iter().copied());
    let command = rights.iter().map(String::as_str).chain(program);
    let output = net.command(0, command).output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}", text(&output.stderr)));
    (output.status.code().unwrap(), report)
}

/// The check of this name; of an interface where one is named.
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks.find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[test]
fn root_may_capture_and_is_told_what_the_offloads_do() {
    let Some(mut net) = Netns::or_skip("root_may_capture", 2, &["ethtool"]) else { return };
    let link = net.join(0, 1, LinkOptions { mtu: 4_000, ..LinkOptions::default() });
    let interface = link.names[0].as_str();
    net.run(0, ["ethtool", "-K", interface, "gro", "on", "tso", "on", "gso", "off"]);

    let (status, report) = doctor(&net, &[], &["-i", interface]);
    assert_eq!(status, 0, "{report:#}");
    assert_eq!(report["status"], "warning");
    assert_eq!(report["capture"]["method"], "ring");
    for name in ["cap_net_raw", "ring", "fanout", "state", "link_type", "memory"] {
        assert_eq!(check(&report, name)["status"], "ok", "{report:#}");
    }
    assert_eq!(check(&report, "mtu")["found"], "4000 bytes");
    // A namespace has all but the connector, which knows the host's alone.
    assert_eq!(check(&report, "procs_sock_diag")["status"], "ok", "{report:#}");
    let is_there = check(&report, "procs_ebpf")["status"] == "ok";
    let method = if is_there { "ebpf" } else { "sock-diag" };
    assert_eq!(report["procs"]["method"], method, "{report:#}");
    let offloads = check(&report, "offloads");
    assert_eq!(offloads["status"], "warning");
    // Without gso, the kernel turns tso off as well.
    let features = text(&net.run(0, ["ethtool", "-k", interface]).stdout);
    let is_on = |feature: &str| {
        let line = features.lines().find(|line| line.starts_with(feature)).unwrap();
        line.contains(": on")
    };
    let expected: Vec<&str> = [
        ("gro", "generic-receive-offload"),
        ("lro", "large-receive-offload"),
        ("gso", "generic-segmentation-offload"),
        ("tso", "tcp-segmentation-offload"),
    ]
    .into_iter()
    .filter(|(_, feature)| is_on(feature))
    .map(|(name, _)| name)
    .collect();
    assert!(expected.contains(&"gro") && !expected.contains(&"gso"), "{features}");
    let found = offloads["found"].as_str().unwrap();
    assert!(found.starts_with(&format!("{} on", expected.join(", "))), "{found}");

    // The command does what it says.
    let remedy = offloads["remedy"].as_str().unwrap();
    net.run(0, remedy.split(' '));
    let (_, report) = doctor(&net, &[], &["-i", interface]);
    assert_eq!(check(&report, "offloads")["status"], "ok", "{report:#}");
}

#[test]
fn the_capability_alone_is_enough_and_without_it_the_way_to_it_is_told() {
    let test = "the_capability_alone_is_enough";
    let Some(mut net) = Netns::or_skip(test, 2, &["setpriv"]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    let interface = link.names[0].as_str();

    let (status, report) = doctor(&net, &with_capabilities(",+net_raw"), &["-i", interface]);
    assert_eq!(status, 0, "{report:#}");
    assert_eq!(check(&report, "cap_net_raw")["found"], "effective");
    // It does not do for processes.
    assert_eq!(report["procs"]["method"], Value::Null);
    for name in ["procs_ebpf", "procs_sock_diag", "procs_polling"] {
        let row = check(&report, name);
        assert_eq!(row["status"], "warning");
        assert!(row["remedy"].as_str().unwrap().contains("cap_sys_ptrace"), "{row:#}");
    }
    assert_eq!(report["capture"]["method"], "ring");

    let (status, report) = doctor(&net, &with_capabilities(""), &["-i", interface]);
    assert_eq!(status, 1, "{report:#}");
    assert_eq!(report["status"], "failing");
    assert_eq!(report["capture"]["method"], Value::Null);
    let capability = check(&report, "cap_net_raw");
    assert_eq!(capability["status"], "failing");
    let remedy = capability["remedy"].as_str().unwrap();
    assert!(remedy.starts_with("sudo setcap cap_net_raw+ep /"), "{remedy}");
    assert_eq!(check(&report, "ring")["status"], "failing");
    // What needs no rights is still told.
    assert_eq!(check(&report, "state")["found"], "up");

    let mut bound = with_capabilities("");
    bound.push("--no-new-privs".to_owned());
    let (_, report) = doctor(&net, &bound, &["-i", interface]);
    let remedy = check(&report, "cap_net_raw")["remedy"].as_str().unwrap();
    assert!(remedy.contains("AmbientCapabilities=CAP_NET_RAW"), "{remedy}");
}

#[test]
fn interfaces_that_are_down_or_missing_are_told() {
    let Some(mut net) = Netns::or_skip("interfaces_that_are_down", 2, &[]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    let interface = link.names[0].as_str();
    net.run(1, ["ip", "link", "set", link.names[1].as_str(), "down"]);
    // The kernel tells this end a moment later.
    let carrier = format!("/sys/class/net/{interface}/operstate");
    wait_for("the carrier to go", || !net.run(0, ["cat", &carrier]).stdout.starts_with(b"up"));
    let (status, report) = doctor(&net, &[], &["-i", interface]);
    assert_eq!(status, 0);
    assert_eq!(check(&report, "state")["found"], "up, without a carrier");
    net.run(0, ["ip", "link", "set", interface, "down"]);
    // All interfaces, when none is named.
    let (_, report) = doctor(&net, &[], &[]);
    let state = check(&report, "state");
    assert_eq!((&state["interface"], &state["found"]), (&interface.into(), &"down".into()));
    assert_eq!(state["remedy"], format!("ip link set {interface} up"));

    let (status, report) = doctor(&net, &[], &["-i", "nosuch0"]);
    assert_eq!(status, 1);
    assert_eq!(check(&report, "interface")["remedy"], format!("there are: {interface}"));
}

#[test]
fn rings_that_do_not_fit_into_memory_fail() {
    let dir = Dir::new();
    let output = dir.run(["doctor", "--json", "--ring-mib", "4096", "--workers", "1024"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(check(&report, "memory")["meaning"], "the rings can't be made");
}

fn systemd_analyze(args: &[&str], unit: &Path) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(args).arg(unit).output();
    if output.is_err() {
        eprintln!("SKIPPED: systemd-analyze: not installed (tools/setup test)");
    }
    output.ok()
}

#[test]
fn systemd_finds_nothing_to_object_to_in_the_unit() {
    let dir = Dir::new();
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/flowtap.service");
    // What it starts has to be there.
    let unit = std::fs::read_to_string(unit).unwrap().replace("/usr/local/bin/flowtap", FLOWTAP);
    let unit = dir.write("flowtap.service", unit.as_bytes());
    let objections = |unit: &Path| -> Option<()> {
        let output = systemd_analyze(&["verify", "--man=no"], unit)?;
        let said = text(&output.stderr);
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("flowtap")).collect();
        assert!(output.status.success() && ours.is_empty(), "{said}");
        Some(())
    };
    if objections(&unit).is_none() {
        return;
    }
    // And as it says that it is to be changed for --procs.
    let watching = std::fs::read_to_string(&unit).unwrap();
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_uppercase());
    let watching: Vec<&str> = watching
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line))
        .collect();
    let changed = watching.iter().filter(|line| line.contains("CAP_SYS_PTRACE")).count();
    assert_eq!(changed, 2, "{watching:#?}");
    std::fs::create_dir(dir.path("procs")).unwrap();
    objections(&dir.write("procs/flowtap.service", watching.join("\n").as_bytes())).unwrap();

    // From 0, nothing exposed, to 100: below 2.0 of 10.
    let score = ["security", "--offline=true", "--threshold=20"];
    let Some(output) = systemd_analyze(&score, &unit) else { return };
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn groff_finds_nothing_to_object_to_in_the_manual_pages() {
    let dir = Dir::new();
    let made = dir.run(["man", "--out", "man"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let mut pages = 0;
    for entry in std::fs::read_dir(dir.path("man")).unwrap() {
        let page = entry.unwrap().path();
        let Ok(output) = Command::new("groff").args(["-man", "-ww", "-z"]).arg(&page).output()
        else {
            eprintln!("SKIPPED: groff: not installed (tools/setup test)");
            return;
        };
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{}", page.display());
        pages += 1;
    }
    assert!(pages > 8, "a page for each command: {pages}");
    for (command, there) in [("procs-record", true), ("procs-show", true), ("coverage", true)]
        .into_iter()
        .chain([("procs-watch", false), ("confined", false)])
    {
        let page = dir.path("man").join(format!("flowtap-{command}.1"));
        assert_eq!(page.is_file(), there, "{command}");
    }
    let live = std::fs::read_to_string(dir.path("man").join("flowtap-live.1")).unwrap();
    assert!(live.contains("keep\\-flows\\-for"), "each option is in the page of its command");
}
