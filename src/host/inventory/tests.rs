use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn parse(text: &[u8]) -> Result<(Inventory, Vec<Warning>), TableError> {
    Inventory::parse(Content { file: "inv".to_owned(), bytes: text.to_vec(), modified_ns: 0 })
}

fn read(text: &str) -> (Inventory, Vec<String>) {
    let (inventory, warnings) = parse(text.as_bytes()).expect("a good inventory");
    (inventory, warnings.into_iter().map(|warning| warning.0).collect())
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

fn id_of(inventory: &Inventory, address: &str) -> Option<String> {
    inventory.by_address(ip(address)).map(|instance| instance.id.clone())
}

const CSV: &str = "\u{feff}\
# exported on 2026-11-20
Instance-ID, name ,owner,Application,env,purpose,role,last change,shared_egress,security_groups,routes,address,interface,price
i-1,web-1,\"Shop, Inc.\",shop,prod,sells,frontend,2026-11-02,no,sg-1;sg-2 sg-2,10.0.0.0/8,10.0.0.5;2001:db8::5,eni-1 vni:4711,7

i-2,nat,,,,,,,YES,,,203.0.113.1,,
net,lab,,,,,,,,,,10.9.0.0/16 ::ffff:10.9.7.0/120,,
";

const JSON: &str = r#"{"version": 1, "instances": [
  {"id": "i-1", "name": "web-1", "owner": "Shop, Inc.", "application": "shop",
   "environment": "prod", "purpose": "sells", "role": "frontend", "last_change": "2026-11-02",
   "shared_egress": false, "security_groups": ["sg-1", "sg-2"], "routes": "10.0.0.0/8",
   "addresses": ["10.0.0.5", "2001:db8::5"], "interfaces": ["eni-1", "vni:4711"], "price": {"eur": [7]}},
  {"id": "i-2", "name": "nat", "owner": null, "shared_egress": true, "address": "203.0.113.1"},
  {"id": "net", "name": "lab", "address": "10.9.0.0/16 10.9.7.0/24"}
]}"#;

#[test]
fn every_format_says_the_same() {
    let list = JSON.split_once('[').expect("list").1.rsplit_once('}').expect("end").0;
    let list = format!("[{list}");
    let values: Vec<serde_json::Value> = serde_json::from_str(&list).expect("JSON");
    let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
    let csv = read(CSV).0;
    for text in [JSON, &list, &lines] {
        assert_eq!(read(text).0.instances(), csv.instances());
    }
    assert_eq!(
        **csv.instances().first().expect("instance"),
        Instance {
            id: "i-1".to_owned(),
            name: "web-1".to_owned(),
            owner: "Shop, Inc.".to_owned(),
            application: "shop".to_owned(),
            environment: "prod".to_owned(),
            purpose: "sells".to_owned(),
            role: "frontend".to_owned(),
            last_change: "2026-11-02".to_owned(),
            shared_egress: false,
            security_groups: vec!["sg-1".to_owned(), "sg-2".to_owned()],
            routes: vec!["10.0.0.0/8".parse().expect("prefix")],
            addresses: vec![ip("10.0.0.5"), ip("2001:db8::5")],
            networks: vec![],
            interfaces: vec!["eni-1".to_owned(), "vni:4711".to_owned()],
        }
    );
    assert!(csv.instances()[1].shared_egress);
}

#[test]
fn an_address_that_is_listed_wins_then_the_longest_prefix() {
    let (inventory, _) =
        read("id,address\nall,0.0.0.0/0\nlab,10.9.0.0/16\nrack,10.9.7.0/24\nhost,10.9.7.1\n");
    for (address, expected) in [
        ("10.9.7.1", "host"),
        ("::ffff:10.9.7.1", "host"),
        ("10.9.7.2", "rack"),
        ("10.9.8.1", "lab"),
        ("10.8.0.1", "all"),
    ] {
        assert_eq!(id_of(&inventory, address).as_deref(), Some(expected), "{address}");
    }
    assert_eq!(id_of(&inventory, "2001:db8::1"), None);
}

#[test]
fn interfaces_are_found_by_their_exact_names() {
    let (inventory, _) = read(CSV);
    let id = |name| inventory.by_interface(name).map(|instance| instance.id.clone());
    assert_eq!(id("vni:4711").as_deref(), Some("i-1"));
    assert_eq!(id("eni-1").as_deref(), Some("i-1"));
    assert_eq!(id("ENI-1"), None);
}

#[test]
fn lines_of_one_instance_are_one_instance() {
    let (inventory, _) = read(
        "id,name,shared_egress,address,interface\n\
         i-1,web,,10.0.0.1,eni-1\ni-2,,,10.0.0.3,\ni-1,,yes,10.0.0.2 10.0.0.1,eni-2\n",
    );
    assert_eq!(inventory.instances().len(), 2);
    let instance = inventory.by_interface("eni-2").expect("instance");
    assert_eq!(instance.addresses, [ip("10.0.0.1"), ip("10.0.0.2")]);
    assert!(instance.shared_egress && instance.name == "web");
    assert_eq!(id_of(&inventory, "10.0.0.2").as_deref(), Some("i-1"));
}

#[test]
fn what_is_left_out_is_told_once() {
    assert_eq!(read(CSV).1, ["inv: unknown column left out: 'price'"]);
    let warning = "inv: unknown keys left out: 'version', 'price'";
    assert_eq!(read(JSON).1, [warning]);
    let (_, warnings) = read("id,address,,a\u{1b}b\nx,,,\ny,10.0.0.1,,\nz,,,\n");
    let nothing = "inv:2: 'x' and 1 more without address and interface: no traffic is theirs";
    assert_eq!(warnings, ["inv: unknown columns left out: '', 'a\\u{1b}b'", nothing]);
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let (_, warnings) = read(&format!("id,address,{}\n", names.join(",")));
    assert!(warnings[0].ends_with("'c7', and others"), "{warnings:?}");
}

/// Each wrong input, and everything that is said about it.
#[test]
fn errors_say_where_and_what_to_do() {
    let long = "x".repeat(1025);
    let unclosed = format!("id,address\n\"a,10.0.0.1\n{long}");
    let mut binary = b"id,name,address\na,".to_vec();
    binary.extend_from_slice(b"caf\xe9,10.0.0.1\n");
    let cases: &[(&[u8], &str)] = &[
        (b" \n", "inv: is empty: an inventory has a header, or is JSON"),
        (b"# nothing\n", "inv: has comments alone: an inventory has a header"),
        (
            b"10.0.0.1,web\n",
            "inv:1:1: no column id: the first line names the columns, such as \
             id,name,owner,address,interface",
        ),
        (b"name;id;address\n", "inv:1:1: columns are separated by ';': use commas"),
        (
            b"id,name\n",
            "inv:1:1: neither a column address nor interface: nothing could be found by it",
        ),
        (
            b"id,address,ip\n",
            "inv:1:12: 'ip' names what another column is for: keep one",
        ),
        (
            b"id,address\na,10.0.0.1\n\nb,10.0.0.2,x\n",
            "inv:4:12: 3 of 2 values: those with commas need quotes, empty ones their \
             comma",
        ),
        (
            b"id,name,address\na,10.0.0.1\n",
            "inv:2:1: 2 of 3 values: those with commas need quotes, empty ones their \
             comma",
        ),
        (
            b"id,address\n,10.0.0.1\n",
            "inv:2:1: id is empty: name the instance (i-0abc, the host's name)",
        ),
        (
            b"id,name,address\na,\"two\nlines\",10.0.0.1;10.0.0\n",
            "inv:3:8: address: '10.0.0' is neither an address (192.0.2.1) nor a prefix \
             (192.0.2.0/24)",
        ),
        (
            b"id,address\na,10.0.0.1/8\n",
            "inv:2:3: address: '10.0.0.1/8' is an address with a prefix length: write 10.0.0.1 \
             for the address or 10.0.0.0/8 for the network",
        ),
        (
            b"id,shared_egress,address\na,maybe,\n",
            "inv:2:3: shared_egress: 'maybe' is neither true nor false",
        ),
        (
            &binary,
            "inv:2:3: 'caf\u{fffd}' is no UTF-8: save the file as UTF-8",
        ),
        (
            unclosed.as_bytes(),
            "inv:2:1: this quote is not closed, and takes rows below it into one value: close \
             it, or write \"\" for a quote in a value",
        ),
        (
            b"id,address\na,10.0.0.1\nb,10.0.0.2\nc,::ffff:10.0.0.1\n",
            "inv:4: address 10.0.0.1 belongs to 'c' here and to 'a' on line 2: leave it to one \
             of them",
        ),
        (
            b"id,address\na,10.0.0.0/24\n\nb,10.0.1.0/24 10.0.0.0/24\n",
            "inv:4: network 10.0.0.0/24 belongs to 'b' here and to 'a' on line 2: leave it to \
             one of them",
        ),
        (
            b"id,interface\na,eni-1\nb,eni-1\n",
            "inv:3: interface 'eni-1' belongs to 'b' here and to 'a' on line 2: leave it to one \
             of them",
        ),
        (
            b"id,owner,address\na,ann,10.0.0.1\na,,10.0.0.2\na,bob,10.0.0.3\n",
            "inv:4: owner of 'a' is 'bob' here and 'ann' where it began on line 2: say the same, \
             or say it once",
        ),
        (b"{\"id\": 1,\n }", "inv:2:2: this is no JSON: key must be a string"),
        (b"[{\"id\": \"a\"}", "inv:1:12: this is no JSON: EOF while parsing a list"),
        (b"[\n  7]", "inv:2:3: an instance is an object: {\"id\": ..., \"address\": ...}"),
        (b"{\"instances\": {}}", "inv:1:15: instances: a list is wanted"),
        (b"{\"instances\": [], \"instances\": []}", "inv:1:19: instances stands here twice: keep one"),
        (b"[{\"id\": \"a\"},\n {\"name\": \"b\"}]", "inv:2:2: id is missing: name the instance (i-0abc, the host's name)"),
        (b"{\"id\": \"a\"}\n{\"id\": 5}\n", "inv:2:8: id: a text in quotes is wanted"),
        (b"[{\"id\": [\"a\"]}]", "inv:1:9: id: a text in quotes is wanted"),
        (b"[{\"id\": \"a\", \"addresses\": [\"10.0.0.1\",\n\t1]}]", "inv:2:2: addresses: texts alone may stand here"),
        (
            "[{\"name\": \"é\\\"]}\", \"address\": [\"10.0.0.1\", \"10.0.0\"], \"id\": \"a\"}]".as_bytes(),
            "inv:1:44: address: '10.0.0' is neither an address (192.0.2.1) nor a prefix \
             (192.0.2.0/24)",
        ),
        (b"[{\"id\": \"a\", \"ip\": 7}]", "inv:1:20: ip: a text or a list of texts is wanted"),
        (b"[{\"id\": \"a\", \"shared_egress\": 1}]", "inv:1:31: shared_egress: true or false is wanted"),
        (b"[{\"id\": \"a\", \"instance\": \"a\"}]", "inv:1:14: 'instance' names what another key is for: keep one"),
        (
            b"[{\"id\": \"a\", \"address\": \"10.0.0.1\"},\n\n{\"id\": \"b\",\n \"address\": \"10.0.0.1\"}]",
            "inv:3: address 10.0.0.1 belongs to 'b' here and to 'a' on line 1: leave it to one \
             of them",
        ),
    ];
    for (input, expected) in cases {
        let input_text = String::from_utf8_lossy(input);
        let error = parse(input).err().unwrap_or_else(|| panic!("no error: {input_text}"));
        assert_eq!(error.to_string(), *expected, "{input_text}");
    }
    let quoted = format!("id,name,address\na,\"{long}\",10.0.0.1\n");
    let error = parse(quoted.as_bytes()).expect_err("too long").to_string();
    assert!(
        error.starts_with("inv:2:3: 'xxx") && error.ends_with("is a quote missing?"),
        "{error}"
    );
    let overlap = parse(b"id,address\na,10.0.0.1\nb,10.0.0.1\n").expect_err("overlap");
    assert!(matches!(overlap, TableError::Overlap { line: 3, earlier_line: 2, .. }));
}

#[test]
fn a_quote_that_takes_rows_into_its_value_is_an_error_where_it_opens() {
    const OPEN: &str = "this quote is not closed, and takes rows below it into one value: close \
                        it, or write \"\" for a quote in a value";
    for (input, place) in [
        ("id,address,name\ni-1,10.66.0.1,\"web\ni-2,10.66.0.2,db\n", "2:15"),
        ("id,address,name\ni-1,10.66.0.1,\"web\ni-2,10.66.0.2,\"db\"\n", "2:15"),
        ("id,name,address\ni-1,\"web,10.66.0.1\r\ni-2,\"db\",10.66.0.2\r\n", "2:5"),
        ("id,address,name\ni-0,10.66.0.9,\"a \"\"b\"\"\"\n\n# x\ni-1,10.66.0.1,\"web", "5:15"),
        ("\"id,address\ni-1,10.66.0.1\n", "1:1"),
        ("id,address\ni-1,\"10.66.0.1\"\"\n", "2:5"),
    ] {
        let error = parse(input.as_bytes()).err().unwrap_or_else(|| panic!("no error: {input}"));
        assert_eq!(error.to_string(), format!("inv:{place}: {OPEN}"), "{input}");
    }
    for (name, expected) in [
        ("\"a\nb\"", "a\nb"),
        ("\"a \"\"b\"\" c\"", "a \"b\" c"),
        ("\"a\r\nb\" ", "a\r\nb"),
        ("5\" disk", "5\" disk"),
        ("\"a\" b", "a b"),
        ("\"\"", ""),
    ] {
        for end in ["", "\n", "\r\n", "\ni-2,x,10.66.0.2\n"] {
            let input = format!("id,name,address\ni-1,{name},10.66.0.1{end}");
            let (inventory, _) = parse(input.as_bytes()).expect(&input);
            assert_eq!(inventory.instances()[0].name, expected, "{input}");
        }
    }
}

#[test]
fn one_prefix_written_in_two_ways_is_one_and_a_longer_one_is_another() {
    for (one, other, name) in [
        ("10.0.0.0/24", "::ffff:10.0.0.0/120", "network 10.0.0.0/24"),
        ("10.0.0.0/24", "::ffff:a00:0/120", "network 10.0.0.0/24"),
        ("10.0.0.1", "10.0.0.1/32", "address 10.0.0.1"),
        ("10.0.0.1", "::ffff:10.0.0.1", "address 10.0.0.1"),
        ("2001:db8::/32", "2001:0db8:0:0::/32", "network 2001:db8::/32"),
        ("2001:db8::1", "2001:DB8:0::1/128", "address 2001:db8::1"),
        ("0.0.0.0/0", "::ffff:0:0/96", "network 0.0.0.0/0"),
    ] {
        for [first, second] in [[one, other], [other, one]] {
            let input = format!("id,address\na,{first}\nb,{second}\n");
            let error =
                parse(input.as_bytes()).err().unwrap_or_else(|| panic!("no error: {input}"));
            assert!(matches!(error, TableError::Overlap { line: 3, earlier_line: 2, .. }));
            assert!(error.to_string().contains(name), "{error}");
            // Of one instance it is said twice.
            parse(input.replace("b,", "a,").as_bytes()).expect("one instance");
        }
    }
    // Neither an address nor a prefix.
    let error = parse(b"id,address\na,10.0.0.0/24\nb,10.0.0.5/24\n").expect_err("neither");
    assert!(error.to_string().contains("10.0.0.5 for the address or 10.0.0.0/24"), "{error}");
    let nested = b"id,address\na,10.0.0.0/8\nb,10.0.0.0/24\nc,10.0.0.1\nd,::ffff:10.0.0.0/121\n";
    let (inventory, _) = parse(nested).expect("the longest prefix counts");
    for (address, id) in
        [("10.9.0.1", "a"), ("10.0.0.200", "b"), ("10.0.0.1", "c"), ("::ffff:10.0.0.2", "d")]
    {
        let found = inventory.by_address(address.parse().expect("an address"));
        assert_eq!(found.expect("an instance").id, id, "{address}");
    }
}

#[test]
fn entries_and_their_lists_have_bounds() {
    let addresses: Vec<String> =
        (0..1025).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    let one = format!("id,address\na,{}\n", addresses.join(" "));
    let error = parse(one.as_bytes()).expect_err("too long a value").to_string();
    assert!(error.starts_with("inv:2:3: '10.0.0.0 "), "{error}");
    let rows: String = addresses.iter().map(|address| format!("a,{address}\n")).collect();
    let error = parse(format!("id,address\n{rows}").as_bytes()).expect_err("too many");
    let most = "more than 1024 values of one instance: name a prefix that holds them";
    assert_eq!(error.to_string(), format!("inv:1026: {most}"));
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]",
        (0..4_u8).prop_map(|n| format!("10.0.0.{n}")),
        (0..4_u8, 28..=32_u8).prop_map(|(n, bits)| format!("10.0.0.{n}/{bits}")),
        Just(String::new()),
        "[\"\\[\\]{}:,;# é\\\\\n]{0,4}",
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_an_inventory_or_an_error(bytes: Vec<u8>) {
        let _ = parse(&bytes);
        for opening in ["id,address\n", "[", "{\"id\":\"", "{\"instances\":["] {
            let _ = parse(&[opening.as_bytes(), &bytes].concat());
        }
    }

    #[test]
    fn rows_of_likely_cells_are_an_inventory_or_an_error(
        cells in prop::collection::vec(cell(), 0..24), json: bool,
    ) {
        let mut text = if json { "[".to_owned() } else { "id,address,interface\n".to_owned() };
        for row in cells.chunks(3) {
            let get = |at: usize| row.get(at).map_or("", String::as_str);
            let (id, address, interface) = (get(0), get(1), get(2));
            let _ = if json {
                write!(text, "{{\"id\":{id:?},\"ip\":[{address:?}],\"interface\":{interface:?}}},")
            } else {
                writeln!(text, "{id},{address},{interface}")
            };
        }
        if json {
            text.truncate(text.len().max(2) - 1);
            text.push(']');
        }
        if let Ok((inventory, _)) = parse(text.as_bytes()) {
            for instance in inventory.instances() {
                for address in &instance.addresses {
                    let found = inventory.by_address(*address).expect("its address");
                    prop_assert_eq!(&found.id, &instance.id);
                }
                for interface in &instance.interfaces {
                    let found = inventory.by_interface(interface).expect("its interface");
                    prop_assert_eq!(&found.id, &instance.id);
                }
            }
        }
    }
}

/// `cargo test --release --lib inventory::tests::load -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
fn load_of_a_hundred_thousand_rows() {
    let resident_kib = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).expect("size").parse::<u64>().expect("number")
    };
    let folder = tempfile::tempdir().expect("folder");
    let row = |n: u32| {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        (format!("i-{n:017x}"), format!("host-{n}"), address, format!("eni-{n:017x}"))
    };
    let mut csv =
        "id,name,owner,application,environment,security_groups,address,interface\n".to_owned();
    let mut ndjson = String::new();
    for (id, name, address, interface) in (0..100_000).map(row) {
        writeln!(csv, "{id},{name},team,shop,prod,sg-1;sg-2,{address},{interface}").expect("text");
        writeln!(
            ndjson,
            "{{\"id\":\"{id}\",\"name\":\"{name}\",\"owner\":\"team\",\"application\":\"shop\",\
             \"environment\":\"prod\",\"security_groups\":[\"sg-1\",\"sg-2\"],\
             \"addresses\":[\"{address}\"],\"interfaces\":[\"{interface}\"]}}"
        )
        .expect("text");
    }
    for (name, text) in [("a.csv", csv), ("a.ndjson", ndjson)] {
        let path = folder.path().join(name);
        std::fs::write(&path, &text).expect("file");
        let before = resident_kib();
        let start = std::time::Instant::now();
        let (inventory, _) = Inventory::read(&path).expect("inventory");
        let (mut took, kib) = (start.elapsed(), resident_kib().saturating_sub(before));
        for _ in 0..4 {
            let start = std::time::Instant::now();
            Inventory::read(&path).expect("inventory");
            took = took.min(start.elapsed());
        }
        let start = std::time::Instant::now();
        let found = (0..100_000).filter(|&n| inventory.by_address(row(n).2.into()).is_some());
        assert_eq!(found.count(), 100_000);
        println!(
            "{name}: {} bytes, 100000 rows in {took:?} (best of 5), {kib} KiB more resident (of the \
             second what the first left free is not counted); 100000 look-ups \
             with their making {:?}",
            text.len(),
            start.elapsed()
        );
    }
}

#[test]
fn a_prefix_is_whose_network_holds_it_unless_another_has_part_of_it() {
    let lines = "id,address\nlab,10.9.0.0/16\nbox,10.9.5.7\nsub,10.9.64.0/20\nv6,2001:db8::/48\n";
    let (inventory, _) = read(lines);
    let whose = |prefix: &str| {
        let found = inventory.by_prefix(prefix.parse().expect("prefix"));
        found.map(|instance| instance.id.clone())
    };
    for (prefix, id) in [
        ("10.9.1.0/24", Some("lab")),
        ("10.9.5.0/24", None),
        ("10.9.5.0/29", None),
        ("10.9.5.8/29", Some("lab")),
        ("10.9.65.0/24", Some("sub")),
        ("10.9.64.0/20", Some("sub")),
        ("10.9.64.0/19", None),
        ("10.9.128.0/17", Some("lab")),
        ("10.9.0.0/16", None),
        ("10.0.0.0/8", None),
        ("192.0.2.0/24", None),
        ("2001:db8:0:7::/64", Some("v6")),
        ("::/0", None),
    ] {
        assert_eq!(whose(prefix).as_deref(), id, "{prefix}");
    }
}
