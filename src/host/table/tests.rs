use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

/// Texts of the first column.
#[derive(Debug, PartialEq)]
struct Lines(Vec<String>);

impl Table for Lines {
    const MAX_BYTES: u64 = 1 << 20;

    fn parse(content: Content) -> Result<(Self, Vec<Warning>), TableError> {
        let mut rows = Rows::new(&content);
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            if row.text(0)? == "bad" {
                return Err(row.wrong(0, "bad".to_owned()));
            }
            lines.push(row.text(0)?.to_owned());
        }
        Ok((Self(lines), Vec::new()))
    }
}

/// Looks at a file a second later each time.
struct Looker {
    watched: Watched<Lines>,
    now: Instant,
}

impl Looker {
    fn open(path: &Path) -> Self {
        let (watched, _) = Watched::open(path).expect("a good file");
        Self { watched, now: Instant::now() }
    }

    fn look(&mut self) -> Option<String> {
        self.now += Duration::from_secs(1);
        self.watched.look(self.now)
    }

    /// What three looks tell, without the folder, and what is in force then.
    fn told(&mut self) -> (Vec<String>, String) {
        let folder = format!("{}/", self.watched.path().parent().expect("folder").display());
        let told = (0..3).filter_map(|_| self.look()).map(|text| text.replace(&folder, ""));
        (told.collect(), self.watched.get().0.join(" "))
    }
}

fn told(texts: &[&str], lines: &str) -> (Vec<String>, String) {
    (texts.iter().map(|&text| text.to_owned()).collect(), lines.to_owned())
}

#[test]
fn a_file_written_again_replaced_or_linked_elsewhere_is_read_again() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("list");
    fs::write(&path, "a\nb\n").expect("file");
    let mut file = Looker::open(&path);
    assert_eq!(file.told(), told(&[], "a b"));

    fs::write(&path, "a\nb\nc\n").expect("written in place");
    assert_eq!(file.told(), told(&["list read again"], "a b c"));

    // As editors do: another file under the name, of the same size.
    let new = folder.path().join("list.new");
    fs::write(&new, "d\ne\nf\n").expect("file");
    fs::rename(&new, &path).expect("renamed");
    assert_eq!(file.told(), told(&["list read again"], "d e f"));

    // As Kubernetes does: the link leads elsewhere.
    fs::remove_file(&path).expect("removed");
    fs::write(folder.path().join("v2"), "g\n").expect("file");
    std::os::unix::fs::symlink("v2", &path).expect("link");
    assert_eq!(file.told(), told(&["list read again"], "g"));
}

#[test]
fn what_is_no_good_is_told_once_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("list");
    fs::write(&path, "a\n").expect("file");
    let mut file = Looker::open(&path);
    fs::write(&path, "a\n bad\n").expect("file");
    assert_eq!(file.told(), told(&["list kept as it was: list:2:1: bad"], "a"));
    assert_eq!(file.told(), told(&[], "a"));
    fs::remove_file(&path).expect("removed");
    assert_eq!(file.told(), told(&["list is gone: what it said stays in force"], "a"));
    fs::create_dir(&path).expect("folder");
    assert_eq!(file.told(), told(&["list kept as it was: list: is a folder: name a file"], "a"));
    fs::remove_dir(&path).expect("removed");
    fs::write(&path, "back\n").expect("file");
    assert_eq!(file.told(), told(&["list read again"], "back"));
    fs::write(&path, vec![b'x'; (1 << 20) + 1]).expect("file");
    let large = "list kept as it was: list: is larger than 1 MiB: split it";
    assert_eq!(file.told(), told(&[large], "back"));
}

#[test]
fn a_file_that_is_being_written_is_left_alone_until_it_lies_still() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("list");
    fs::write(&path, "a\nb\nc\n").expect("file");
    let mut file = Looker::open(&path);
    for growing in ["", "d\n", "d\ne\n"] {
        fs::write(&path, growing).expect("file");
        assert_eq!(file.look(), None, "{growing:?}");
        assert_eq!(file.watched.get().0, ["a", "b", "c"]);
    }
    assert!(file.look().is_some());
    assert_eq!(file.watched.get().0, ["d", "e"]);
}

#[test]
fn looks_within_a_second_cost_nothing_and_see_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("list");
    fs::write(&path, "a\n").expect("file");
    let mut file = Looker::open(&path);
    assert_eq!(file.look(), None);
    fs::write(&path, "a\nb\n").expect("file");
    for _ in 0..10 {
        file.now += Duration::from_millis(99);
        assert_eq!(file.watched.look(file.now), None);
    }
    assert_eq!(file.told(), told(&["list read again"], "a b"));
}

#[test]
fn pipes_are_refused_without_waiting_for_a_writer() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    let error = read(&path, 1).expect_err("a pipe").to_string();
    assert!(
        error.ends_with(
            "is no regular file: it is read again when it changes, so save it as a file"
        )
    );
}

fn content(bytes: &[u8]) -> Content {
    Content { file: "f".to_owned(), bytes: bytes.to_vec(), modified_ns: 0 }
}

#[test]
fn places_are_those_that_an_editor_shows() {
    let text = "\u{feff}\n# comment, more\r\na,b,c\r\n\r\n\"x,\"\"\ny\",é,d\n\n#\ne,,f";
    let content = content(text.as_bytes());
    let mut rows = Rows::new(&content);
    let mut places = Vec::new();
    while let Some(row) = rows.next().expect("rows") {
        let of = |column| match row.wrong(column, String::new()) {
            TableError::At { place, .. } => place.to_string(),
            other => panic!("{other}"),
        };
        places.push((row.line, (0..row.len()).map(of).collect::<Vec<_>>().join(" ")));
    }
    let expected = [(3, "3:1 3:3 3:5"), (5, "5:1 6:4 6:6"), (9, "9:1 9:3 9:4")];
    assert_eq!(places, expected.map(|(line, columns)| (line, columns.to_owned())));
}

#[test]
fn blocks_are_read_as_people_write_them() {
    for (text, expected) in [
        ("192.0.2.1", Ok("192.0.2.1/32")),
        ("192.0.2.1/32", Ok("192.0.2.1/32")),
        ("::ffff:192.0.2.1", Ok("192.0.2.1/32")),
        ("::ffff:192.0.2.0/120", Ok("192.0.2.0/24")),
        ("2001:db8::/32", Ok("2001:db8::/32")),
        ("::/0", Ok("::/0")),
        (
            "192.0.2.1/24",
            Err("'192.0.2.1/24' is an address with a prefix length: write 192.0.2.1 for the \
                 address or 192.0.2.0/24 for the network"),
        ),
        (
            "192.0.2.256",
            Err("'192.0.2.256' is neither an address (192.0.2.1) nor a prefix (192.0.2.0/24)"),
        ),
    ] {
        let read = block(text).map(|block| block.net().to_string());
        assert_eq!(read, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }
}

/// Few bits, so that prefixes meet.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = any::<u16>().prop_map(|bits| Ipv4Addr::from(u32::from(bits) << 16 | 7).into());
    let v6 = any::<u16>().prop_map(|bits| Ipv6Addr::from(u128::from(bits) << 112).into());
    prop_oneof![v4, v6]
}

fn net() -> impl Strategy<Value = IpNet> {
    (address(), 0..=128_u8).prop_map(|(address, bits)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, bits.min(most)).expect("length").trunc()
    })
}

proptest! {
    #[test]
    fn the_longest_prefix_is_found_as_by_looking_at_all(
        nets in prop::collection::vec(net(), 0..60), address in address(),
    ) {
        let mut blocks = Blocks::default();
        for (at, net) in nets.iter().enumerate() {
            blocks.entry(*net, || at);
        }
        let mut slow: Vec<IpNet> =
            nets.iter().copied().filter(|net| net.contains(&address)).collect();
        slow.sort_by_key(|net| std::cmp::Reverse(net.prefix_len()));
        slow.dedup();
        let found: Vec<IpNet> = blocks.holding(address).map(|(net, _)| net).collect();
        prop_assert_eq!(found, slow.clone());
        let first = |net: &IpNet| nets.iter().position(|known| known == net);
        let longest = blocks.longest(address).map(|(_, &at)| at);
        prop_assert_eq!(longest, slow.first().and_then(first));
    }

    #[test]
    fn any_bytes_are_rows_with_places_within_the_text(bytes: Vec<u8>, lines in "[a,\"\n\r#é ]{0,60}") {
        for bytes in [&bytes[..], lines.as_bytes()] {
            let content = content(bytes);
            let mut rows = Rows::new(&content);
            let mut last = 0;
            // A quote that is not closed ends it.
            while let Ok(Some(row)) = rows.next() {
                // A lone carriage return ends a row, and no line.
                prop_assert!(row.line >= last.max(1));
                last = row.line;
                let newlines = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
                for column in 0..row.len() {
                    let TableError::At { place, .. } = row.wrong(column, String::new()) else {
                        panic!("another error");
                    };
                    prop_assert!((row.line..=newlines + 1).contains(&place.line));
                }
            }
        }
    }
}
