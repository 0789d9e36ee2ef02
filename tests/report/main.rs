//! Reports as people get them: made by the real binary, opened in a real Chromium.
//!
//! With FLOWTAP_REPORTS=DIR pages and pictures of them stay in that folder, to be looked at.
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod browser;
#[path = "../common/mod.rs"]
mod common;
mod days;
mod hostile;
mod lab;

use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{Dir, text};

use crate::browser::{Browser, DESKTOP, PAPER, PHONE};

/// Makes a scenario in a folder of the test's.
fn made(dir: &Dir, scenario: &str, set: &[&str]) -> PathBuf {
    let mut command = dir.command(["lab", "make", scenario, "-o", scenario, "--seed", "9000"]);
    for pair in set {
        command.args(["--set", pair]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    dir.path(scenario)
}

/// Runs the binary, which must do what it is told, and gives the page that it wrote.
fn page(dir: &Dir, args: &[&str]) -> PathBuf {
    let output = dir.run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    let left: Vec<_> = std::fs::read_dir(dir.path("")).unwrap().flatten().collect();
    assert!(!left.iter().any(|it| it.file_name().to_string_lossy().ends_with(".partial")));
    dir.path("report.html")
}

/// What the scenario `web-chain` gives, with its logs and its host map.
const CHAIN: [&str; 10] = [
    "read",
    "-q",
    "web-chain/traffic.pcap",
    "web-chain/access.log",
    "--log-host",
    "web",
    "--procs",
    "web-chain/map.jsonl",
    "--report",
    "report.html",
];

fn chain_page(dir: &Dir) -> PathBuf {
    made(dir, "web-chain", &["duration_s=1400"]);
    page(dir, &CHAIN)
}

/// Leaves a page and its pictures where somebody wants to look at them.
fn keep(browser: &mut Browser, name: &str, file: &Path) {
    let Some(folder) = std::env::var_os("FLOWTAP_REPORTS").map(PathBuf::from) else { return };
    std::fs::copy(file, folder.join(format!("{name}.html"))).unwrap();
    for (screen, device) in [(DESKTOP, "desktop"), (PHONE, "phone")] {
        for scheme in ["light", "dark"] {
            browser.theme(scheme);
            browser.open(file, screen);
            let picture = browser.picture();
            std::fs::write(folder.join(format!("{name}-{device}-{scheme}.png")), picture).unwrap();
        }
    }
    std::fs::write(folder.join(format!("{name}.pdf")), browser.pdf()).unwrap();
    browser.theme("light");
}

/// What holds of every page: it complains of nothing, fetches nothing, has this many charts,
/// all drawn, is not wider than the screen, and prints.
fn holds_on(browser: &mut Browser, file: &Path, charts: u64) {
    for screen in [DESKTOP, PHONE] {
        browser.open(file, screen);
        assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
        assert!(browser.requests().is_empty(), "{:?}", browser.requests());
        all_open(browser);
        let drawn = browser.value(DRAWN);
        assert_eq!(drawn["figures"], drawn["drawn"], "{drawn}");
        assert!(drawn["drawn"].as_u64().unwrap() >= charts, "{drawn}");
        let wide = browser.value("[document.documentElement.scrollWidth, innerWidth]");
        assert!(wide[0].as_u64() <= wide[1].as_u64(), "{wide}: {}", browser.value(TOO_WIDE));
    }
    on_paper(browser, file);
    let pdf = browser.pdf();
    assert!(pdf.starts_with(b"%PDF-") && pdf.len() > 10_000, "{}", pdf.len());
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
}

/// On paper all stands within the page, words and numbers stay whole, and heads are there
/// without the buttons that a browser leaves out where it repeats them.
fn on_paper(browser: &mut Browser, file: &Path) {
    browser.paper(true);
    browser.open(file, PAPER);
    all_open(browser);
    let wrong = browser.value(WRONG_ON_PAPER);
    assert_eq!(wrong, serde_json::json!([]), "{}", file.display());
    browser.paper(false);
}

/// Tables wider than the page, cells with more lines than words, heads without a name.
const WRONG_ON_PAPER: &str = "(() => {
  const wrong = [];
  for (const table of document.querySelectorAll('table')) {
    if (table.getBoundingClientRect().right > innerWidth) wrong.push('wide: ' + table.caption.textContent + table.getBoundingClientRect().right);
  }
  for (const cell of document.querySelectorAll('td.n, td.w:not(:has(*)), .badge')) {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
    const words = cell.textContent.trim().split(/[\\s\\u2013-]+/).length;
    if (lines > words) wrong.push('broken: ' + cell.textContent);
  }
  for (const head of document.querySelectorAll('thead th')) {
    const button = head.querySelector('button');
    const shown = getComputedStyle(head, '::before').content;
    if (button && (button.offsetWidth > 0 || shown !== JSON.stringify(button.textContent)))
      wrong.push('head: ' + head.textContent);
  }
  return wrong.slice(0, 5);
})()";

fn all_open(browser: &mut Browser) {
    browser.value("for (const it of document.querySelectorAll('details')) it.open = true; 0");
}

/// Figures, and those in which the drawing for this screen has a size and marks with one.
const DRAWN: &str = "(() => {
  const figures = [...document.querySelectorAll('figure.chart')];
  const size = (it) => { const box = it.getBoundingClientRect(); return box.width * box.height; };
  const drawn = figures.filter((figure) => {
    const svg = [...figure.querySelectorAll('svg')].filter((it) => size(it) > 0);
    if (svg.length !== 1 || size(svg[0]) < 5000) return false;
    const marks = [...svg[0].querySelectorAll('path, rect, line, polyline')];
    const painted = marks.filter((it) => {
      const style = getComputedStyle(it);
      return [style.fill, style.stroke].some((paint) => paint !== 'none');
    });
    return painted.length > 3 && svg[0].querySelectorAll('text').length > 1;
  });
  return { figures: figures.length, drawn: drawn.length };
})()";

/// For the message of a failure: what sticks out.
const TOO_WIDE: &str = "[...document.querySelectorAll('body *')]
  .filter((it) => it.getBoundingClientRect().right > innerWidth && !it.closest('.table'))
  .slice(0, 5).map((it) => it.outerHTML.slice(0, 120)).join(' | ')";

/// Types into a table's filter and waits until the table says how many rows are left.
fn filter(browser: &mut Browser, table: &str, words: &str) -> String {
    let words = serde_json::to_string(words).unwrap();
    let script = format!(
        "(async () => {{
          const box = document.querySelector({table:?});
          const input = box.querySelector('.filter input');
          input.value = {words};
          input.dispatchEvent(new Event('input'));
          for (let tries = 0; tries < 200; tries += 1) {{
            await new Promise((done) => setTimeout(done, 50));
            const count = box.querySelector('output').textContent;
            if ((count !== '') === (input.value !== '') && tries > 3) return count;
          }}
          return 'never';
        }})()"
    );
    browser.value(&script).as_str().unwrap().to_owned()
}

/// Cells of a column that are shown, from above.
fn column(browser: &mut Browser, table: &str, column: usize) -> Vec<String> {
    let script = format!(
        "[...document.querySelectorAll('{table} tbody tr')].filter((it) => !it.hidden)\
         .map((it) => it.cells[{column}].textContent)"
    );
    serde_json::from_value(browser.value(&script)).unwrap()
}

fn press_head(browser: &mut Browser, table: &str, column: usize) {
    browser
        .value(&format!("document.querySelectorAll('{table} thead th button')[{column}].click()"));
}

const FLOWS: &str = ".table.lazy";
/// Columns of flows.
const PORT_TO: usize = 6;
const PACKETS: usize = 7;

#[test]
fn a_run_with_a_chain_is_one_page_that_draws_sorts_filters_and_prints() {
    let Some(mut browser) = Browser::or_skip("a run with a chain") else { return };
    let dir = Dir::new();
    let file = chain_page(&dir);
    // Two of traffic, alerts, the chain twice, sizes twice, heat map.
    holds_on(&mut browser, &file, 7);
    keep(&mut browser, "read-web-chain", &file);

    browser.open(&file, DESKTOP);
    // The same alert as files say, with its evidence and its story.
    let alert = browser.value("document.querySelector('details[id^=alert-]').textContent");
    let alert = alert.as_str().unwrap();
    for expected in ["chain", "Measured", "threshold", "Terms", "What happened", "exploit request"]
    {
        assert!(alert.contains(expected), "{expected}: {alert}");
    }

    // All flows, in pages.
    let summary = dir.summary(["web-chain/traffic.pcap"]);
    let flows = summary["flows"].as_u64().unwrap();
    let data = "JSON.parse(document.getElementById('flow-data').textContent).rows.length";
    assert_eq!(browser.value(data), flows);
    assert_eq!(column(&mut browser, FLOWS, 0).len(), 50);

    // Sorting: packets fall, then rise.
    press_head(&mut browser, FLOWS, PACKETS);
    let packets = |cells: Vec<String>| -> Vec<u64> {
        cells.iter().map(|cell| cell.replace(',', "").parse().unwrap()).collect()
    };
    let falling = packets(column(&mut browser, FLOWS, PACKETS));
    assert!(falling.is_sorted_by(|x, y| x >= y) && falling[0] > *falling.last().unwrap());
    press_head(&mut browser, FLOWS, PACKETS);
    let rising = packets(column(&mut browser, FLOWS, PACKETS));
    assert!(rising.is_sorted() && rising[0] < falling[0], "{rising:?}");

    // Filtering: two words, both in each row that is left; and back.
    let count = filter(&mut browser, FLOWS, "203.0.113.200 443");
    let ports = column(&mut browser, FLOWS, PORT_TO);
    assert_eq!(count, format!("{} of {}", ports.len(), thousands(flows)));
    assert!(!ports.is_empty() && ports.iter().all(|port| port == "443"), "{count}: {ports:?}");
    assert_eq!(filter(&mut browser, FLOWS, "nothing has this in it").split(' ').next(), Some("0"));
    assert_eq!(column(&mut browser, FLOWS, 0).len(), 0);
    filter(&mut browser, FLOWS, "");
    assert_eq!(column(&mut browser, FLOWS, 0).len(), 50);

    // A table whose rows are there: top talkers, by packets sent.
    let talkers = "#talkers + .table";
    press_head(&mut browser, talkers, 3);
    let sent = packets(column(&mut browser, talkers, 3));
    assert!(sent.is_sorted_by(|x, y| x >= y) && sent.len() > 10, "{sent:?}");
    assert_eq!(filter(&mut browser, talkers, "10.0.1.10").split(' ').next(), Some("1"));
    assert_eq!(column(&mut browser, talkers, 0), ["10.0.1.10"]);
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    match digits.len() {
        0..=3 => digits,
        length => format!("{},{}", &digits[..length - 3], &digits[length - 3..]),
    }
}

#[test]
fn the_theme_follows_the_system_and_the_switch() {
    let Some(mut browser) = Browser::or_skip("the theme") else { return };
    let dir = Dir::new();
    made(&dir, "udp-flood", &["strength=1500"]);
    let file = page(&dir, &["read", "-q", "udp-flood/traffic.pcap", "--report", "report.html"]);
    holds_on(&mut browser, &file, 5);
    keep(&mut browser, "read-udp-flood", &file);
    let mut seen = Vec::new();
    for scheme in ["light", "dark"] {
        browser.theme(scheme);
        browser.open(&file, DESKTOP);
        // What the page and the text in a chart really look like.
        seen.push(browser.value(
            "[getComputedStyle(document.body).backgroundColor, \
              getComputedStyle(document.querySelector('svg.wide text')).fill]",
        ));
    }
    let [light, dark] = [&seen[0], &seen[1]];
    assert!(light[0] != dark[0] && light[1] != dark[1], "{light} {dark}");
    // From dark by the system to light by the switch: auto, light, dark, auto.
    let press = "document.getElementById('theme').click(); \
                 [getComputedStyle(document.body).backgroundColor, \
                  getComputedStyle(document.querySelector('svg.wide text')).fill]";
    assert_eq!(browser.value(press), *light);
    assert_eq!(browser.value(press), *dark);
    assert_eq!(browser.value(press), *dark, "auto again");
}

#[test]
fn a_report_is_refused_before_the_run_where_it_can_not_be_written() {
    let dir = Dir::new();
    for place in ["nowhere/report.html", "."] {
        let output = dir.run(["read", "missing.pcap", "--report", place]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("--report"), "{}", text(&output.stderr));
    }
}

#[test]
fn the_same_captures_give_the_same_report() {
    let dir = Dir::new();
    made(&dir, "udp-flood", &["duration_s=60", "strength=200"]);
    let pages: Vec<String> = ["1", "3"]
        .iter()
        .map(|workers| {
            let args = ["read", "-q", "udp-flood/traffic.pcap", "--workers", workers];
            let file = page(&dir, &[&args[..], &["--report", "report.html"]].concat());
            std::fs::read_to_string(file).unwrap()
        })
        .collect();
    assert!(pages[0] == pages[1]);
}

/// A report of more flows than are kept, as large as it gets. Times are printed: they say
/// how a machine was busy, too.
#[test]
#[ignore = "makes and reads 120,000 flows"]
fn a_hundred_thousand_flows_are_loaded_filtered_and_sorted() {
    let Some(mut browser) = Browser::or_skip("a hundred thousand flows") else { return };
    let dir = Dir::new();
    let synth = ["lab", "synth", "growth", "-o", "many.pcap", "--packets", "130000"];
    let output = dir.run([&synth[..], &["--flows", "120000"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let file = page(&dir, &["read", "-q", "many.pcap", "--report", "report.html"]);
    let megabytes = std::fs::metadata(&file).unwrap().len() as f64 / 1e6;
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(
        page.contains("100,000 of 120,000 flow records") && page.contains("20,000 are left out")
    );
    let started = Instant::now();
    browser.open(&file, DESKTOP);
    let loaded = started.elapsed();
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
    let started = Instant::now();
    let first = filter(&mut browser, FLOWS, "udp");
    let first_time = started.elapsed();
    let started = Instant::now();
    let second = filter(&mut browser, FLOWS, "udp 10.");
    let second_time = started.elapsed();
    assert!(first.ends_with("of 100,000") && second.ends_with("of 100,000"), "{first} {second}");
    filter(&mut browser, FLOWS, "");
    let started = Instant::now();
    press_head(&mut browser, FLOWS, PACKETS);
    let sorted = started.elapsed();
    let pages = browser.value("document.querySelector('.pages').textContent");
    assert!(pages.as_str().unwrap().contains("of 2,000"), "{pages}");
    println!(
        "100,000 flows: {megabytes:.1} MB, loaded in {loaded:.1?}, filtered in {first_time:.1?} \
         and {second_time:.1?} (0.25 s of it waiting), sorted in {sorted:.1?}"
    );
}

/// The page of a live run on the machine's loopback, and a port that was used there; nothing
/// where frames can't be taken.
#[cfg(target_os = "linux")]
fn live_page(more: &[&str]) -> Option<(String, u16)> {
    let dir = Dir::new();
    let live = ["live", "-i", "lo", "--seconds", "3", "--control", "none", "-q"];
    let child = dir
        .command([&live[..], &["--report", "report.html"], more].concat())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = socket.local_addr().unwrap();
    for _ in 0..80 {
        socket.send_to(b"for the report", to).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    if said.contains("permitted") || said.contains("privilege") {
        eprintln!("SKIPPED: frames can't be taken here: {said}");
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some((std::fs::read_to_string(dir.path("report.html")).unwrap(), to.port()))
}

#[cfg(target_os = "linux")]
#[test]
fn a_live_run_writes_its_report_at_its_end() {
    let Some((page, port)) = live_page(&[]) else { return };
    assert!(page.contains(&format!(",{port},")), "the flow is in it");
    assert!(page.contains("127.0.0.1"), "and its host");
}

#[cfg(target_os = "linux")]
#[test]
fn with_pseudonyms_no_address_is_in_the_page() {
    let Some((page, port)) = live_page(&["--pseudonyms", "key"]) else { return };
    assert!(page.contains(&format!(",{port},")), "the flow is in it");
    assert!(!page.contains("127.0.0.1"), "and its host is not");
}
