mod encode;
mod files;

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::flow::app::{AppInfo, TlsInfo};
use crate::output::samples;

const SECOND_NS: i64 = 1_000_000_000;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

/// A folder of files that were written at second 1000.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("file");
        let file = fs::File::options().write(true).open(&path).expect("file");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        file.set_modified(time).expect("time");
        path
    }

    /// JSON of an answer, without the folder's name.
    fn answer(&self, destinations: &Destinations, address: &str, second: i64) -> serde_json::Value {
        let about = destinations.about(ip(address), second * SECOND_NS);
        let text = serde_json::to_string(&about).expect("JSON");
        let folder = format!("{}/", self.0.path().display());
        serde_json::from_str(&text.replace(&folder, "")).expect("JSON")
    }
}

fn destinations(owners: &[PathBuf], reputation: &[PathBuf]) -> Destinations {
    let (lists, warnings) = Lists::open(owners, reputation).expect("good files");
    assert_eq!(warnings, []);
    Destinations::new(Arc::new(lists))
}

#[test]
fn an_answer_names_its_sources_and_their_ages() {
    let folder = Folder::new();
    let owners = [folder.file("owners.csv", "198.51.100.0/24,Example Org,called on Monday\n")];
    let lists = [
        folder
            .file("bad.csv", "address,category,score\n198.51.100.7,c2,90\n198.51.0.0/16,noisy,\n"),
        folder.file("names.csv", "*.example.org,phish,0.5,seen in mail\nEXAMPLE.org.,young\n"),
    ];
    let mut destinations = destinations(&owners, &lists);
    let mut record = samples::tcp();
    record.start_ns = 2000 * SECOND_NS;
    let tls = TlsInfo { sni: Some("www.example.org".to_owned()), ..TlsInfo::default() };
    record.app = Some(Box::new(AppInfo { tls: Some(tls), ..AppInfo::default() }));
    destinations.learn(&record.outline(), record.app.as_deref());
    let as_of = "1970-01-01T00:16:40.000000000Z";
    let age = 1500_i64 * SECOND_NS;
    assert_eq!(
        folder.answer(&destinations, "198.51.100.7", 2500),
        json!({
            "names": [{
                "name": "www.example.org", "source": "tls",
                "seen": "1970-01-01T00:33:20.000000000Z", "age_ns": 500 * SECOND_NS
            }],
            "owner": {
                "name": "Example Org", "note": "called on Monday", "prefix": "198.51.100.0/24",
                "file": "owners.csv", "as_of": as_of, "age_ns": age
            },
            "reputation": [
                {"list": "bad", "matched": "198.51.100.7", "category": "c2", "score": 90.0,
                 "file": "bad.csv", "as_of": as_of, "age_ns": age},
                {"list": "bad", "matched": "198.51.0.0/16", "category": "noisy",
                 "file": "bad.csv", "as_of": as_of, "age_ns": age},
                {"list": "names", "matched": "*.example.org", "category": "phish", "score": 0.5,
                 "note": "seen in mail", "file": "names.csv", "as_of": as_of, "age_ns": age},
            ]
        })
    );
}

#[test]
fn what_is_absent_is_said_and_why() {
    let folder = Folder::new();
    let none = destinations(&[], &[]);
    assert_eq!(
        folder.answer(&none, "192.0.2.1", 0),
        json!({"absent": {
            "names": "nothing_known", "owner": "no_source", "reputation": "no_source"
        }})
    );
    let owners = [folder.file("o.csv", "198.51.100.0/24,Example Org\n")];
    let lists = [folder.file("l.csv", "198.51.100.0/24,c2\n")];
    let some = destinations(&owners, &lists);
    assert_eq!(
        folder.answer(&some, "192.0.2.1", 0),
        json!({"absent": {
            "names": "nothing_known", "owner": "nothing_known", "reputation": "nothing_known"
        }})
    );
    let later = folder.answer(&some, "198.51.100.1", 999);
    assert_eq!((&later["owner"]["age_ns"], &later["owner"]["later"]), (&json!(0), &json!(true)));
}

#[test]
fn of_several_owners_the_longest_prefix_counts_and_of_equal_ones_the_first_file() {
    let folder = Folder::new();
    let owners = [
        folder.file("1.csv", "network,organisation,asn,country\n10.0.0.0/8,One,AS64500,\n"),
        folder.file("2.csv", "10.0.0.0/8,Two\n10.1.0.0/16,Two\n10.1.1.1,Host\n"),
    ];
    let destinations = destinations(&owners, &[]);
    for (address, name) in [("10.2.0.1", "One"), ("10.1.0.1", "Two"), ("10.1.1.1", "Host")] {
        let owner = destinations.about(ip(address), 0).owner.expect("owner");
        assert_eq!(owner.name, name, "{address}");
    }
    assert_eq!(destinations.about(ip("::ffff:10.2.0.1"), 0).owner.expect("owner").asn, Some(64500));
}

#[test]
fn one_answer_holds_a_bounded_number_of_listings() {
    let folder = Folder::new();
    let rows: String = (0..=32).map(|bits| format!("0.0.0.0/{bits},c{bits}\n")).collect();
    let lists = [folder.file("a.csv", &rows), folder.file("b.csv", &rows)];
    let about = destinations(&[], &lists).about(ip("0.0.0.0"), 0);
    assert_eq!(about.reputation.len(), MAX_LISTINGS);
    assert_eq!(about.reputation[0].category, "c32");
}
