use super::*;

fn options() -> LabelOptions {
    LabelOptions {
        kind: None,
        offset_s: None,
        shift_ns: 0,
        gap_ns: 300_000_000_000,
        least: Severity::Low,
    }
}

fn truth_with(text: &[u8], options: &LabelOptions) -> Result<Truth> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("labels.csv");
    std::fs::write(&path, text)?;
    truth_of(&path, options)
}

fn attacks(text: &str) -> Vec<(String, String, String)> {
    let truth = truth_with(text.as_bytes(), &options()).unwrap();
    truth.attacks.into_iter().map(|it| (it.label, it.start, it.end)).collect()
}

fn error(text: &str) -> String {
    format!("{:#}", truth_with(text.as_bytes(), &options()).unwrap_err())
}

fn attack(label: &str, start: &str, end: &str) -> (String, String, String) {
    let whole = |time: &str| match time.contains('.') {
        true => format!("{time}Z"),
        false => format!("{time}.000000000Z"),
    };
    (label.to_owned(), whole(start), whole(end))
}

const CIC_2017: &str = "Flow ID, Source IP, Source Port, Destination IP, Destination Port, \
                        Protocol, Timestamp, Flow Duration, Label\n";

/// Times day first, without AM and PM, in UTC-3; microseconds of duration.
#[test]
fn flows_of_2017_are_local_and_by_a_clock_of_twelve_hours() {
    let rows = "\
x, 192.168.10.5, 4000, 8.8.8.8, 53, 17, 5/7/2017 8:59, 100, BENIGN
x, 172.16.0.1, 4001, 192.168.10.50, 80, 6, 5/7/2017 11:58, 2000000, DoS Hulk
x, 172.16.0.1, 4002, 192.168.10.50, 80, 6, 5/7/2017 12:02, 500000, DoS Hulk
x, 172.16.0.1, 4003, 192.168.10.50, 80, 6, 05/07/2017 01:30:09, -1, DoS Hulk
x, 172.16.0.1, 4003, 192.168.10.51, 80, 6, 5/7/2017 1:30 PM, 1, DoS Hulk
,,,,,,,,
";
    assert_eq!(
        attacks(&format!("{CIC_2017}{rows}")),
        [
            attack(
                "DoS Hulk: 172.16.0.1 to 192.168.10.50",
                "2017-07-05T14:58:00",
                "2017-07-05T15:02:00.500000000"
            ),
            attack(
                "DoS Hulk: 172.16.0.1 to 192.168.10.51",
                "2017-07-05T16:30:00",
                "2017-07-05T16:30:00.000001000"
            ),
            attack(
                "DoS Hulk: 172.16.0.1 to 192.168.10.50",
                "2017-07-05T16:30:09",
                "2017-07-05T16:30:09"
            ),
        ]
    );
    let truth = truth_with(format!("{CIC_2017}{rows}").as_bytes(), &options()).unwrap();
    assert_eq!(truth.start, "2017-07-05T11:59:00.000000000Z");
    // 192.168.10.5, .50, .51 and 172.16.0.1.
    assert_eq!(truth.home_hosts, 4);
    let expected = &truth.expects[0];
    assert_eq!(expected.entities, ["172.16.0.1", "192.168.10.50"]);
    assert_eq!(expected.until, "2017-07-05T15:07:00.500000000Z");
    assert_eq!(expected.severity, Severity::Low);
}

/// A label with a byte of Windows' code page, and the names of 2018, in UTC-4; a header
/// again within the file.
#[test]
fn flows_of_2018_have_other_names_and_another_offset() {
    let mut text =
        b"Flow ID,Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Flow Duration,Label\n"
            .to_vec();
    text.extend(b"x,18.219.5.43,1,172.31.69.25,80,6,20/02/2018 10:12:33,0,Web Attack \x96 XSS\n");
    text.extend(
        b"Flow ID,Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Flow Duration,Label\n",
    );
    text.extend(b"x,18.219.5.43,1,172.31.69.25,80,6,20/02/2018 10:12:34,0,Benign\n");
    let truth = truth_with(&text, &options()).unwrap();
    assert_eq!(truth.attacks.len(), 1);
    assert_eq!(truth.attacks[0].start, "2018-02-20T14:12:33.000000000Z");
    assert!(truth.attacks[0].label.starts_with("Web Attack \u{fffd} XSS: "), "{truth:?}");
    let shifted = LabelOptions { offset_s: Some(0), shift_ns: 1_500_000_000, ..options() };
    let truth = truth_with(&text, &shifted).unwrap();
    assert_eq!(truth.attacks[0].start, "2018-02-20T10:12:34.500000000Z");
}

const CTU: &str = "StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,sTos,dTos,TotPkts,\
                   TotBytes,SrcBytes,Label\n";

#[test]
fn flows_of_ctu_13_are_attacks_when_they_are_from_a_bot() {
    let rows = "\
2011/08/18 12:00:00.500000,10.25,tcp,147.32.84.165,1025,   ->,203.0.113.9,25,S_,0,,3,186,186,flow=From-Botnet-V50-TCP-Attempt-SPAM
2011/08/18 12:01:00.000000,0.0,icmp,147.32.84.165,0x0008,  <->,203.0.113.9,0x1f90,ECO,0,0,2,200,100,flow=From-Botnet-V50-TCP-Attempt-SPAM
2011/08/18 12:02:00.000000,1,udp,147.32.84.170,1,  <->,147.32.80.9,53,CON,0,0,2,200,80,flow=From-Normal-V50-Stribrek
2011/08/18 12:02:30.000000,1,udp,147.32.80.9,53,  <->,147.32.84.165,1,CON,0,0,2,200,80,flow=To-Botnet-V50-UDP-DNS
2011/08/18 12:03:00.000000,1,arp,00:11:22:33:44:55,,who,147.32.84.165,,INT,,,1,60,60,flow=From-Botnet-ARP
2011/08/18 12:04:00.000000,1,ipv6-icmp,fe80::1,,   ->,ff02::1,,INT,,,1,60,60,flow=Background
";
    assert_eq!(
        attacks(&format!("{CTU}{rows}")),
        [attack(
            "From-Botnet-V50-TCP-Attempt-SPAM: 147.32.84.165 to 203.0.113.9",
            "2011-08-18T10:00:00.500000000",
            "2011-08-18T10:01:00"
        )]
    );
}

/// A row of 49 columns with these in their places.
fn unsw(src: &str, dst: &str, start: &str, end: &str, category: &str, label: &str) -> String {
    let mut fields = vec!["0"; 49];
    (fields[0], fields[2], fields[4], fields[28], fields[29]) = (src, dst, "tcp", start, end);
    (fields[47], fields[48]) = (category, label);
    fields.join(",") + "\n"
}

#[test]
fn flows_of_unsw_nb15_have_no_header_or_one() {
    let rows = [
        unsw("59.166.0.0", "149.171.126.6", "1421927414", "1421927415", "", "0"),
        unsw("175.45.176.0", "149.171.126.18", "1421927500", "1421927503", " Fuzzers ", "1"),
        unsw("175.45.176.0", "149.171.126.18", "1421927803", "1421927804", "Fuzzers", "1"),
        unsw("175.45.176.0", "149.171.126.18", "1421928200", "1421928200", "Fuzzers", "1"),
        unsw("175.45.176.1", "149.171.126.18", "1421928300", "1421928300", "", "1"),
    ]
    .concat();
    let mut names = vec!["other"; 49];
    (names[0], names[2], names[28], names[29]) = ("srcip", "dstip", "Stime", "Ltime");
    (names[47], names[48]) = ("attack_cat", "Label");
    let expected = [
        attack(
            "Fuzzers: 175.45.176.0 to 149.171.126.18",
            "2015-01-22T11:51:40",
            "2015-01-22T11:56:44",
        ),
        attack(
            "Fuzzers: 175.45.176.0 to 149.171.126.18",
            "2015-01-22T12:03:20",
            "2015-01-22T12:03:20",
        ),
        attack(
            "attack: 175.45.176.1 to 149.171.126.18",
            "2015-01-22T12:05:00",
            "2015-01-22T12:05:00",
        ),
    ];
    assert_eq!(attacks(&format!("\u{feff}{rows}")), expected);
    assert_eq!(attacks(&format!("{}\n{rows}", names.join(","))), expected);
}

#[test]
fn errors_name_file_line_and_column() {
    let bad = |row: &str| error(&format!("{CIC_2017}{row}\n"));
    let wrong = bad("x, 172.16.0.1, 1, 192.168.10.50, 80, 6, 2017-07-05 11:58, 0, DDoS");
    assert!(
        wrong.contains("labels.csv: line 2, column 7 (Timestamp): '2017-07-05 11:58'"),
        "{wrong}"
    );
    let wrong = bad("x, 172.16.0.1, 1, 192.168.10.50, 80, 6, 5/7/2017 11:58, long, DDoS");
    assert!(wrong.contains("line 2, column 8 (Flow Duration): 'long' is no number"), "{wrong}");
    let wrong = bad("x, 172.16.0.1, 1");
    assert!(wrong.contains("line 2, column 9 (Label): the row ends before it"), "{wrong}");
    let wrong =
        error(&format!("{CTU}noon,0,tcp,10.0.0.1,1,->,10.0.0.2,2,,,,1,1,1,flow=Background\n"));
    assert!(wrong.contains("line 2, column 1 (StartTime): 'noon' is no time"), "{wrong}");
    let wrong = error(&unsw("10.0.0.1", "10.0.0.2", "1421927414", "1421927415", "", "yes"));
    assert!(wrong.contains("line 1, column 49 (Label): 'yes' is neither 0 nor 1"), "{wrong}");
    let wrong = error(&unsw("10.0.0.1", "10.0.0.2", "1e30", "1421927415", "", "1"));
    assert!(wrong.contains("column 29 (Stime)"), "{wrong}");
}

#[test]
fn what_has_no_addresses_or_is_something_else_is_refused() {
    let wrong = error("Dst Port,Protocol,Timestamp,Flow Duration,Label\n");
    assert!(wrong.contains("no column of source or destination addresses"), "{wrong}");
    let wrong = error("id,dur,proto,attack_cat,label\n");
    assert!(wrong.contains("not the sets for training"), "{wrong}");
    assert!(error("name,colour\n").contains("cic-ids, ctu-13, unsw-nb15"));
    assert!(error("").contains("it is empty"));
    let told = LabelOptions { kind: Some(Kind::UnswNb15), ..options() };
    let wrong = format!("{:#}", truth_with(CTU.as_bytes(), &told).unwrap_err());
    assert!(wrong.contains("(unsw-nb15)"), "{wrong}");
    let endless = format!("{CIC_2017}{}", "x".repeat(2 << 20));
    assert!(error(&endless).contains("line 2: over 1048576 bytes long"), "{}", error(&endless));
}

#[test]
fn files_of_a_folder_are_one_truth() {
    let folder = tempfile::tempdir().unwrap();
    let row = "x, 172.16.0.1, 1, 192.168.10.50, 80, 6, 7/7/2017 3:5";
    for (name, minute) in [("a.csv", 6), ("b.CSV", 7)] {
        let text = format!("{CIC_2017}{row}{minute}, 0, DDoS\n");
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("README.txt"), "not read").unwrap();
    let truth = truth_of(folder.path(), &options()).unwrap();
    assert_eq!(truth.attacks.len(), 1);
    assert_eq!(truth.attacks[0].end, "2017-07-07T18:57:00.000000000Z");
}

proptest::proptest! {
    /// Nothing that lies in a file makes it panic.
    #[test]
    fn arbitrary_rows_give_a_truth_or_an_error(
        text in "(?s)(.|,|\n|/|:|[0-9]){0,300}", header in 0_usize..3,
    ) {
        let header = [CIC_2017, CTU, ""][header];
        let _ = truth_with(format!("{header}{text}").as_bytes(), &options());
    }
}
