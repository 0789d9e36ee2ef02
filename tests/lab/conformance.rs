//! The program against captures that others made and counted: packets, bytes,
//! conversations, tunnels, attacks. `tools/conformance` compares; what differs
//! needs a line with its reason in tools/conformance.*.tsv.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the comparison; fails on what nobody explained and on explanations
/// that no longer apply. Returns the last line, which holds the figures.
fn conforms(corpus: &Path, options: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/conformance");
    let state = tempfile::tempdir().expect("a folder for runs");
    let output = Command::new("python3")
        .arg(script)
        .args(options)
        .env("FLOWTAP_CORPUS", corpus)
        .env("FLOWTAP", env!("CARGO_BIN_EXE_flowtap"))
        .env("XDG_STATE_HOME", state.path())
        .output()
        .expect("python3 starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    said.trim_end().lines().last().unwrap_or_default().to_owned()
}

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("FLOWTAP_CORPUS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: FLOWTAP_CORPUS names no folder with captures; nothing was compared");
    }
    folder
}

/// The first number before `what` in the figures.
fn figure(figures: &str, what: &str) -> u64 {
    let (before, _) = figures.split_once(what).unwrap_or_else(|| panic!("{what} in {figures:?}"));
    let digits = before.rsplit([' ', ',']).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("a number before {what} in {figures:?}"))
}

#[test]
fn packets_bytes_and_flows_are_as_others_count_them() {
    let Some(corpus) = corpus() else { return };
    let figures = conforms(&corpus, &[]);
    println!("{figures}");
    // Guards against a comparison of nothing.
    assert!(figure(&figures, " captures,") > 500, "{figures}");
    assert!(figure(&figures, " with an oracle") > 100, "{figures}");
}

#[test]
fn attacks_are_found_and_ordinary_traffic_stays_quiet() {
    let Some(corpus) = corpus() else { return };
    let figures = conforms(&corpus, &["--detect"]);
    println!("{figures}");
    assert!(figure(&figures, " hit") > 20, "{figures}");
    assert!(figure(&figures, " quiet") > 20, "{figures}");
}
