//! Reports of a run that was lent a baseline, and of one over several days.

use crate::browser::{Browser, DESKTOP};
use crate::common::{Dir, text};
use crate::{holds_on, keep, page};

/// A service whose pieces become of one size: a few hundred connections an hour, so that days
/// of it are made in no time.
const SCENARIO: &str = r#"
about = "A service begins to send pieces of one size"
start = "2026-03-02T09:00:00Z"
duration_s = 3600
[learn]
days = 8
[[host]]
name = "app"
address = "10.0.5.10"
watched = true
[[host]]
name = "sites"
address = "192.0.2.10"
count = 5
outside = true
[[host]]
name = "drop"
address = "203.0.113.99"
outside = true
[[process]]
name = "service"
host = "app"
exe = "/opt/app/bin/orders"
unit = "orders.service"
[[behaviour]]
kind = "tls"
from = "service"
to = "sites"
gap_s = 5
[[behaviour]]
kind = "size_shift"
label = "shift"
from = "service"
to = "drop"
start_s = 1800
duration_s = 1200
rate_per_s = 10
payload_bytes = 1200
[[expect]]
attack = "shift"
entity = "service"
analytic = "AN0031"
"#;

fn done(dir: &Dir, args: &[&str]) {
    let output = dir.run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
}

/// Makes the day itself (0) or one before; gives its capture and its map.
fn day(dir: &Dir, before: u32) -> [String; 2] {
    let folder = format!("day{before}");
    let mut command = dir.command(["lab", "make", "shift.toml", "-o", &folder, "--seed", "9000"]);
    if before > 0 {
        command.args(["--days-before", &before.to_string()]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    ["traffic.pcap", "map.jsonl"].map(|file| format!("{folder}/{file}"))
}

#[test]
fn sizes_stand_next_to_the_learned_ones_and_days_are_told_apart() {
    let Some(mut browser) = Browser::or_skip("a baseline, and days") else { return };
    let dir = Dir::new();
    dir.write("shift.toml", SCENARIO.as_bytes());
    let days: Vec<[String; 2]> = (0..=8).map(|before| day(&dir, before)).collect();
    for [capture, map] in days[1..].iter().rev() {
        done(&dir, &["read", "-q", capture, "--procs", map, "--baseline", "b.redb", "--learn"]);
    }

    let [capture, map] = &days[0];
    let with_baseline = ["read", "-q", capture, "--procs", map, "--baseline", "b.redb"];
    let file = page(&dir, &[&with_baseline[..], &["--report", "report.html"]].concat());
    holds_on(&mut browser, &file, 5);
    keep(&mut browser, "read-baseline", &file);
    browser.open(&file, DESKTOP);
    let both = "[...document.querySelectorAll('details figcaption')]\
                .filter((it) => it.querySelectorAll('.key').length === 2)\
                .map((it) => it.textContent)";
    let captions = browser.value(both);
    let caption = captions[0].as_str().unwrap_or_default();
    assert!(caption.contains("in the alert") && caption.ends_with("baseline"), "{captions}");
    // Bars of both have a height that is seen.
    let heights = "(() => {
      const figure = [...document.querySelectorAll('details figure')]
        .find((it) => it.querySelectorAll('.key').length === 2);
      figure.closest('details').open = true;
      const of = (colour) => Math.max(0, ...[...figure.querySelectorAll('svg.wide :is(rect, path)')]
        .filter((it) => it.outerHTML.includes(`fill=\"${colour}\"`))
        .map((it) => it.getBoundingClientRect().height));
      return [of('var(--series-1)'), of('var(--series-2)')];
    })()";
    let heights = browser.value(heights);
    for height in heights.as_array().unwrap() {
        assert!(height.as_f64().unwrap() > 20.0, "{heights}");
    }
    // The process by its name, not by an identifier of fifty letters.
    let about = browser.value("document.querySelector('a[href^=\"#alert-\"]').textContent");
    assert!(about.as_str().unwrap().starts_with("orders("), "{about}");

    let [three, two, one, now] = [&days[3][0], &days[2][0], &days[1][0], &days[0][0]];
    let file = page(&dir, &["read", "-q", three, two, one, now, "--report", "report.html"]);
    holds_on(&mut browser, &file, 5);
    keep(&mut browser, "read-days", &file);
    browser.open(&file, DESKTOP);
    let charts = "[...document.querySelectorAll('#hosts ~ figure')].slice(0, 2)\
                  .map((it) => [it.querySelector('figcaption').textContent,\
                    [...it.querySelectorAll('svg.wide text')].map((at) => at.textContent)])";
    let charts = browser.value(charts);
    assert!(charts[0][0].as_str().unwrap().contains("by hour of the day"), "{charts}");
    let labels =
        |chart: usize| -> Vec<String> { serde_json::from_value(charts[chart][1].clone()).unwrap() };
    for hour in ["00", "09", "23"] {
        assert!(labels(0).iter().any(|label| label == hour), "{hour}: {charts}");
    }
    // Over time each mark says its day, and marks stand at whole hours of it.
    assert!(charts[1][0].as_str().unwrap().contains("h a column"), "{charts}");
    let marks: Vec<String> = labels(1).into_iter().filter(|it| it.contains(". ")).collect();
    assert!(marks.iter().any(|mark| mark == "01. 00:00"), "{marks:?}");
    assert!(marks.iter().any(|mark| mark.starts_with("28. ")), "{marks:?}");
}
