//! Reports of the lab: a score, and the curves of a sweep.

use crate::browser::{Browser, DESKTOP};
use crate::common::{Dir, text};
use crate::{column, holds_on, keep, made, page};

/// Below the first of these a flood is not told; the second is.
const SWEEP: [&str; 8] =
    ["lab", "sweep", "udp-flood", "--vary", "strength=100,3000", "--seeds", "1", "--report"];

#[test]
fn a_score_says_of_each_expectation_whether_it_was_hit() {
    let Some(mut browser) = Browser::or_skip("a score") else { return };
    let dir = Dir::new();
    made(&dir, "udp-flood", &["strength=1500"]);
    let truth = "udp-flood/truth.json";
    let read = dir.run(["read", "-q", "udp-flood/traffic.pcap", "--out", "run"]);
    assert!(read.status.success(), "{}", text(&read.stderr));
    let score = ["lab", "score", truth, "run/alerts.ndjson", "--report", "report.html"];
    let file = page(&dir, &score);
    holds_on(&mut browser, &file, 1);
    keep(&mut browser, "score", &file);
    browser.open(&file, DESKTOP);
    assert_eq!(column(&mut browser, "#expected + .table", 0), ["hit"]);

    // The same truth without any alert: missed. And an alert of nobody's: false.
    dir.write(
        "other.ndjson",
        b"{\"event_type\":\"alert\",\"timestamp\":\"2026-03-02T09:01:00.000000+0000\",\
          \"src_ip\":\"203.0.113.99\",\"dest_ip\":\"203.0.113.98\",\
          \"alert\":{\"signature\":\"<b>bad</b>\",\"severity\":1}}\n",
    );
    let file = page(&dir, &["lab", "score", truth, "other.ndjson", "--report", "report.html"]);
    holds_on(&mut browser, &file, 1);
    browser.open(&file, DESKTOP);
    assert_eq!(column(&mut browser, "#expected + .table", 0), ["missed"]);
    let wrong = column(&mut browser, "#false + .table", 1);
    assert!(!wrong.is_empty() && wrong.iter().all(|name| name.contains("<b>bad</b>")), "{wrong:?}");
    assert_eq!(browser.value("document.querySelectorAll('#false + .table b').length"), 0);
}

#[test]
fn a_sweep_has_a_curve_of_each_figure_and_the_gate_that_was_not_met() {
    let Some(mut browser) = Browser::or_skip("a sweep") else { return };
    let dir = Dir::new();
    let args = [&SWEEP[..], &["report.html", "--gate", "recall>=0.5"]].concat();
    let output = dir.run(args);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let file = dir.path("report.html");
    // Recall, time to detect, false alerts.
    holds_on(&mut browser, &file, 3);
    keep(&mut browser, "sweep", &file);
    browser.open(&file, DESKTOP);
    let rows = "#rows + .table";
    assert_eq!(column(&mut browser, rows, 0), ["strength=100", "strength=3000"]);
    assert_eq!(column(&mut browser, rows, 2), ["0", "1"], "recall");
    let note = browser.value("document.querySelector('.note').textContent");
    assert!(note.as_str().unwrap().contains("strength=100: recall is 0"), "{note}");
}
