//! What an attacker chooses stays text: names of servers, paths, processes.

use std::path::Path;

use crate::browser::{Browser, DESKTOP};
use crate::common::{Dir, text};
use crate::{CHAIN, all_open, filter, made};

/// Replaces a text by one of the same length: lengths in the capture stay right.
fn replaced(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len());
    let mut found = 0;
    let mut at = 0;
    while let Some(next) = bytes[at..].windows(from.len()).position(|part| part == from) {
        at += next;
        bytes[at..at + to.len()].copy_from_slice(to);
        found += 1;
    }
    found
}

fn rewrite(file: &Path, pairs: &[(&str, &str)]) {
    let mut bytes = std::fs::read(file).unwrap();
    for (from, to) in pairs {
        let times = replaced(&mut bytes, from.as_bytes(), to.as_bytes());
        assert!(times > 0, "{from} is not in {}", file.display());
    }
    std::fs::write(file, bytes).unwrap();
}

/// In a server's name, in a Host header, in a path and in the name of a process.
const SNI: &str = "\"><img src=x";
const HOST: &str = "</script>ab";
const PATH: &str = "/<svg/onload=window.bad=1>";
const PROCESS: &str = "<img src=x onerror=window.bad=2>";

#[test]
fn names_of_an_attacker_are_text_and_nothing_else() {
    let Some(mut browser) = Browser::or_skip("hostile names") else { return };
    let dir = Dir::new();
    let scenario = made(&dir, "web-chain", &["duration_s=1400"]);
    rewrite(
        &scenario.join("traffic.pcap"),
        &[
            ("drop.example", SNI),
            ("web.example", HOST),
            ("/index.php?page=../../../../", "/<svg/onload=window.bad=1>ab"),
        ],
    );
    let map = std::fs::read_to_string(scenario.join("map.jsonl")).unwrap();
    let map = map.replace("\"name\":\"curl\"", &format!("\"name\":{PROCESS:?}"));
    std::fs::write(scenario.join("map.jsonl"), map).unwrap();
    let log = std::fs::read_to_string(scenario.join("access.log")).unwrap();
    std::fs::write(scenario.join("access.log"), log.replace("/item?id=", "/</script><b>?id="))
        .unwrap();
    let output = dir.run(CHAIN);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let file = dir.path("report.html");

    // As bytes: the only elements of these kinds are the page's own.
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(!page.contains("<img") && !page.contains("onload=window.bad=1>\""));
    assert_eq!(page.matches("<script").count(), 2, "data and script");
    assert_eq!(page.matches("</script").count(), 2);

    browser.open(&file, DESKTOP);
    all_open(&mut browser);
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
    assert!(browser.requests().is_empty(), "{:?}", browser.requests());
    let made = "document.querySelectorAll('img, b[onload], svg[onload], iframe, object').length";
    assert_eq!(browser.value(made), 0);
    // They are there, as they are.
    for (name, what) in
        [(SNI, "a server"), (PATH, "a path"), (PROCESS, "a process"), (HOST, "a host")]
    {
        let shown = filter(&mut browser, ".table.lazy", name);
        let first = shown.split(' ').next().unwrap().replace(',', "");
        assert!(first.parse::<u64>().unwrap() > 0, "{what}: {shown}");
    }
    let alert = browser.value("document.querySelector('details[id^=alert-]').textContent");
    assert!(alert.as_str().unwrap().contains(PROCESS), "{alert}");
    assert_eq!(browser.value("typeof window.bad"), "undefined");

    // What would run if some of it became markup all the same: nothing.
    browser.value(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.bad=3>'); 0",
    );
    browser.value("new Promise((done) => setTimeout(done, 300))");
    assert_eq!(browser.value("typeof window.bad"), "undefined", "the policy forbids it");
    assert!(!browser.complaints().is_empty(), "and says so");
}
