//! Files of owners and reputation, good and bad.

use ipnet::IpNet;
use proptest::prelude::*;

use super::encode::{Value, mmdb};
use super::{Folder, destinations, ip};
use crate::host::destination::{Absence, Origin, Owners, Reputation};
use crate::host::table::{Content, Table, TableError, Warning};

fn read<T: Table>(bytes: &[u8]) -> Result<(T, Vec<Warning>), TableError> {
    T::parse(Content { file: "list".to_owned(), bytes: bytes.to_vec(), modified_ns: 0 })
}

fn net(text: &str) -> IpNet {
    text.parse().expect("prefix")
}

fn asn(number: u32, organisation: &str) -> Value {
    Value::Map(vec![
        ("autonomous_system_number", Value::U32(number)),
        ("autonomous_system_organization", Value::text(organisation)),
    ])
}

fn country(code: &str) -> Value {
    let names = Value::Map(vec![("en", Value::text("Somewhere"))]);
    let country = Value::Map(vec![("iso_code", Value::text(code)), ("names", names)]);
    Value::Map(vec![("country", country)])
}

#[test]
fn owners_come_from_files_of_as_numbers_countries_and_others() {
    let folder = Folder::new();
    let asns = mmdb(
        6,
        7,
        &[
            (net("192.0.0.0/16"), asn(64500, "Example Net")),
            (net("2001:db8::/32"), asn(64501, "Six")),
        ],
    );
    let other = Value::Map(vec![
        ("asn", Value::text("AS64502")),
        ("as_name", Value::text("Lab")),
        ("country", Value::text("DE")),
    ]);
    let others =
        mmdb(4, 8, &[(net("192.0.2.0/24"), other), (net("198.51.100.0/24"), Value::text("?"))]);
    let countries =
        mmdb(6, 9, &[(net("192.0.0.0/8"), country("SE")), (net("203.0.113.0/24"), country("NL"))]);
    let files = [
        folder.file("asn.mmdb", asns),
        folder.file("other", others),
        folder.file("country.mmdb", countries),
    ];
    let destinations = destinations(&files, &[]);
    let mut told = Vec::new();
    for address in ["192.0.3.1", "192.0.2.1", "2001:db8::7", "203.0.113.1", "198.51.100.1", "::1"] {
        let about = destinations.about(ip(address), 10_000_000_000);
        told.push(about.owner.map_or_else(
            || "-".to_owned(),
            |owner| {
                let Origin { file, as_of_ns, age_ns, .. } = owner.origin;
                let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                let (asn, country) = (owner.asn, owner.country.as_deref().unwrap_or("-"));
                let from = owner.country_file.as_deref().map(name);
                let seconds = (as_of_ns / 1_000_000_000, age_ns / 1_000_000_000);
                let (file, prefix) = (name(&file), owner.prefix);
                format!("{} {asn:?} {country} {from:?} {prefix} {file} {seconds:?}", owner.name)
            },
        ));
    }
    assert_eq!(
        told,
        [
            "Example Net Some(64500) SE Some(\"country.mmdb\") 192.0.0.0/16 asn.mmdb (7, 3)",
            "Lab Some(64502) DE None 192.0.2.0/24 other (8, 2)",
            "Six Some(64501) - None 2001:db8::/32 asn.mmdb (7, 3)",
            " None NL None 203.0.113.0/24 country.mmdb (9, 1)",
            "-",
            "-",
        ]
    );
}

#[test]
fn lists_with_errors_say_where_and_what_to_do() {
    let owners: &[(&[u8], &str)] = &[
        (b"", "list: has no entry: a list has some"),
        (b"# x\n", "list: has no entry: a list has some"),
        (b"owner,note\nx,y\n", "list:1:1: the header lacks a column: prefix, owner are wanted"),
        (
            b"10.0.0.0/8,A\n10.0.0.1/8,B\n",
            "list:2:1: prefix: '10.0.0.1/8' is an address with a prefix length: write 10.0.0.1 \
             for the address or 10.0.0.0/8 for the network",
        ),
        (b"10.0.0.0/8\n", "list:1:11: owner is empty: say whose 10.0.0.0/8 is, or remove the line"),
        (b"prefix,asn,owner\n10.0.0.0/8,x,A\n", "list:2:12: asn: 'x' is no AS number: try 64500"),
        (
            b"10.0.0.0/8,A\n10.0.0.0/8,A\n10.0.0.0/8,B\n",
            "list:3: 10.0.0.0/8 belongs to 'B' here and to 'A' on line 1: leave it to one of them",
        ),
        (
            b"10.0.0.0/8,A,b,c\n",
            "list:1:16: 4 of 3 values: those with commas need quotes, empty ones their \
             comma",
        ),
    ];
    for (input, expected) in owners {
        let error = read::<Owners>(input).expect_err("an error").to_string();
        assert_eq!(error, *expected, "{}", String::from_utf8_lossy(input));
    }
    let reputation: &[(&[u8], &str)] = &[
        (b"category\nc2\n", "list:1:1: the header lacks a column: address, category are wanted"),
        (b"192.0.2.1\n", "list:1:10: category is empty: say what it is listed for (c2, scanner)"),
        (b"192.0.2.1,c2,high\n", "list:1:14: score: 'high' is no number: try 75"),
        (b"192.0.2.1,c2,inf\n", "list:1:14: score: 'inf' is no number: try 75"),
        (
            b"a.example,c2\n192.0.2.256,c2\n",
            "list:2:1: '192.0.2.256' is neither an address (192.0.2.1), a prefix (192.0.2.0/24) \
             nor a name (example.org, *.example.org)",
        ),
        (
            b"http://a.example/,c2\n",
            "list:1:1: 'http://a.example/' is neither an address (192.0.2.1), a prefix \
             (192.0.2.0/24) nor a name (example.org, *.example.org)",
        ),
        (
            b"192.0.2.1/24,c2\n",
            "list:1:1: '192.0.2.1/24' is an address with a prefix length: write 192.0.2.1 for \
             the address or 192.0.2.0/24 for the network",
        ),
    ];
    for (input, expected) in reputation {
        let error = read::<Reputation>(input).expect_err("an error").to_string();
        assert_eq!(error, *expected, "{}", String::from_utf8_lossy(input));
    }
    let (_, warnings) = read::<Owners>(b"prefix,owner,colour\n::/0,A,red\n").expect("a list");
    assert_eq!(warnings, [Warning("list: unknown column left out: 'colour'".to_owned())]);
}

#[test]
fn a_broken_mmdb_file_is_told_from_a_list() {
    let whole = mmdb(4, 0, &[(net("10.0.0.0/8"), asn(1, "A"))]);
    let mut broken = whole.clone();
    broken.truncate(whole.len() - 20);
    let error = read::<Owners>(&broken).expect_err("cut").to_string();
    assert!(error.starts_with("list: is no MMDB file that can be read ("), "{error}");
    assert!(error.ends_with("): get it again"), "{error}");
}

#[test]
fn names_are_listed_exactly_or_with_all_beneath() {
    let (list, _) = read::<Reputation>(b"*.a.example,beneath\na.example,exact\n").expect("a list");
    let of = |name: &str| {
        let seen = crate::host::destination::SeenName {
            name: name.to_owned(),
            source: crate::host::destination::NameSource::Dns,
            seen_ns: 0,
            age_ns: 0,
            ttl_s: None,
        };
        let mut listings = Vec::new();
        list.of(ip("192.0.2.1"), &[seen.clone(), seen], 0, 16, &mut listings);
        listings.iter().map(|listing| listing.category.clone()).collect::<Vec<_>>().join(" ")
    };
    for (name, expected) in [
        ("a.example", "exact"),
        ("b.a.example", "beneath"),
        ("c.b.a.example", "beneath"),
        ("ba.example", ""),
        ("example", ""),
    ] {
        assert_eq!(of(name), expected, "{name}");
    }
}

/// Prefixes of few bits, so that they meet.
fn nets() -> impl Strategy<Value = Vec<IpNet>> {
    let net = (any::<u8>(), 1..=8_u8, any::<bool>()).prop_map(|(bits, length, v6)| {
        let address = if v6 { [0x20 | bits >> 4, bits << 4, 0, 0].map(u128::from) } else { [0; 4] };
        let net = if v6 {
            let address = address[0] << 120 | address[1] << 112;
            IpNet::new(std::net::Ipv6Addr::from(address).into(), 4 + length)
        } else {
            IpNet::new([bits, 0, 0, 0].into(), length)
        };
        net.expect("length").trunc()
    });
    prop::collection::vec(net, 1..20)
}

proptest! {
    #[test]
    fn both_kinds_of_files_find_the_longest_prefix(nets in nets(), low in any::<u8>(), v6: bool) {
        let mut nets = nets;
        nets.sort();
        nets.dedup();
        let address = if v6 {
            std::net::Ipv6Addr::from(u128::from(0x2000_u16 | u16::from(low) << 4) << 112).into()
        } else {
            std::net::IpAddr::from([low, 1, 2, 3])
        };
        let holding = nets.iter().filter(|net| net.contains(&address));
        let slow = holding.max_by_key(|net| net.prefix_len()).copied();
        let values: Vec<(IpNet, Value)> =
            nets.iter().map(|net| (*net, asn(1, &net.to_string()))).collect();
        let list: String = nets.iter().map(|net| format!("{net},{net}\n")).collect();
        for bytes in [mmdb(6, 0, &values), list.into_bytes()] {
            let (owners, _) = read::<Owners>(&bytes).expect("a good file");
            let found = owners.of(address, 0);
            prop_assert_eq!(found.as_ref().ok().map(|owner| owner.name.clone()), slow.map(|net| net.to_string()));
            if let Ok(owner) = found {
                // A tree cuts prefixes where longer ones lie within.
                prop_assert!(owner.prefix.contains(&address));
                prop_assert!(slow.expect("a prefix").contains(&owner.prefix));
            }
        }
    }

    #[test]
    fn any_bytes_are_a_file_or_an_error(bytes: Vec<u8>, at: usize, byte: u8) {
        let _ = read::<Owners>(&bytes);
        let _ = read::<Reputation>(&bytes);
        let _ = read::<Owners>(&[&b"prefix,owner\n10.0.0.0/8,"[..], &bytes].concat());
        let _ = read::<Reputation>(&[&b"a.example,"[..], &bytes].concat());
        let mut damaged = mmdb(6, 0, &[(net("10.0.0.0/8"), asn(1, "A")), (net("::1/128"), country("SE"))]);
        let at = at % damaged.len();
        damaged[at] = byte;
        if let Ok((owners, _)) = read::<Owners>(&damaged) {
            for address in ["10.1.2.3", "::1", "192.0.2.1", "ff::1"] {
                let found = owners.of(ip(address), 0);
                prop_assert!(found.is_ok() || found.is_err_and(|absence| absence != Absence::NoSource));
            }
        }
    }
}
