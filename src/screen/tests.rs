//! The screen on a terminal of memory, with snapshots that mean harm.

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::{Theme, draw};
use super::keys::Action;
use super::model::{Message, Overlay, Panel, Screen};
use super::text::Glyphs;
use crate::service::control::{
    AlertLine, Alerts, Conversation, Conversations, Event, Hosts, Interface, PayloadSizes,
    Protocol, Rates, SCHEMA, Snapshot, Talker,
};

const UTF8: Glyphs = Glyphs { utf8: true };
const ASCII: Glyphs = Glyphs { utf8: false };

fn snapshot() -> Snapshot {
    let talker = |number: u64| Talker {
        address: format!("192.0.2.{number}"),
        sent_packets: 10 * number,
        sent_bytes: 10_000 * number,
        received_packets: 5,
        received_bytes: 500,
    };
    let conversation = |number: u16| Conversation {
        protocol: if number.is_multiple_of(2) { "tcp" } else { "udp" }.to_owned(),
        a: "192.0.2.1".to_owned(),
        a_port: 40_000 + number,
        b: "198.51.100.255".to_owned(),
        b_port: 443,
        a_to_b_packets: u64::from(number),
        a_to_b_bytes: 1_000 * u64::from(number),
        b_to_a_packets: 0,
        b_to_a_bytes: 0,
    };
    let alert = |id: &str, over| AlertLine {
        id: id.to_owned(),
        revision: 2,
        severity: "high".to_owned(),
        detector: "syn_flood".to_owned(),
        entity: "192.0.2.7".to_owned(),
        start: "2026-11-22T01:34:37.000000000Z".to_owned(),
        end: "2026-11-22T01:34:57.000000000Z".to_owned(),
        over,
        summary: format!("SYN flood on {id}"),
        peak_packets_per_s: 12_345,
        ..AlertLine::default()
    };
    Snapshot {
        schema: SCHEMA.to_owned(),
        version: "0".to_owned(),
        time: "2026-11-22T01:35:00.000000000Z".to_owned(),
        seconds_behind: 2.1,
        uptime_s: 3_661,
        rates: Rates {
            packets_per_s: 12_345,
            bits_per_s: 98_760_000,
            new_flows_per_s: 321,
            flows_held: 4_567,
            late_packets_per_s: 0,
        },
        history: (0..300).map(|n| (n * 41, n * 1_000)).collect(),
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            present: true,
            up: true,
            packets_per_s: 12_340,
            bits_per_s: 98_000_000,
            packets: 900,
            kernel_drops: 100,
            ring_fill_percent: 7,
            ..Interface::default()
        }],
        overload: "nothing".to_owned(),
        window_s: 10,
        hosts: Hosts { complete: true, estimated: false, top: (1..60).rev().map(talker).collect() },
        conversations: Conversations {
            complete: true,
            seconds_missing: 0,
            top: (1..60).rev().map(conversation).collect(),
        },
        protocols: vec![
            Protocol { name: "tcp".to_owned(), packets: 750, wire_bytes: Some(1) },
            Protocol { name: "udp".to_owned(), packets: 250, wire_bytes: None },
        ],
        payload_sizes: PayloadSizes {
            count: 900,
            empty: 100,
            min: Some(4),
            max: Some(1_460),
            p50: Some(64),
            p90: Some(1_279),
            p99: Some(1_460),
            histogram: vec![(0, 100), (4, 200), (64, 500), (1_280, 200)],
        },
        alerts: Alerts {
            open: 1,
            total: 2,
            list: vec![alert("192.0.2.7", false), alert("192.0.2.8", true)],
        },
        events: Vec::new(),
    }
}

/// Every text hostile, every number as large as it can be.
fn hostile() -> Snapshot {
    let text = || "\x1b[2J\x1b]0;owned\x07\u{9b}31m\u{202e}\r\n\t漢字e\u{301}\u{200d}".repeat(90);
    let most = u64::MAX;
    Snapshot {
        schema: SCHEMA.to_owned(),
        version: text(),
        time: text(),
        seconds_behind: f64::INFINITY,
        uptime_s: most,
        rates: Rates {
            packets_per_s: most,
            bits_per_s: most,
            new_flows_per_s: most,
            flows_held: most,
            late_packets_per_s: most,
        },
        history: vec![(most, most); 5_000],
        interfaces: (0..40)
            .map(|_| Interface {
                name: text(),
                present: true,
                up: true,
                packets_per_s: most,
                bits_per_s: most,
                lost_per_s: most,
                packets: most,
                wire_bytes: most,
                kernel_drops: most,
                interface_drops: most,
                ring_fill_percent: u8::MAX,
            })
            .collect(),
        overload: text(),
        window_s: most,
        hosts: Hosts {
            complete: false,
            estimated: true,
            top: vec![
                Talker {
                    address: text(),
                    sent_packets: most,
                    sent_bytes: most,
                    received_packets: most,
                    received_bytes: most,
                };
                300
            ],
        },
        conversations: Conversations {
            complete: false,
            seconds_missing: most,
            top: vec![
                Conversation {
                    protocol: text(),
                    a: text(),
                    a_port: u16::MAX,
                    b: text(),
                    b_port: u16::MAX,
                    a_to_b_packets: most,
                    a_to_b_bytes: most,
                    b_to_a_packets: most,
                    b_to_a_bytes: most,
                };
                300
            ],
        },
        protocols: vec![Protocol { name: text(), packets: most, wire_bytes: Some(most) }; 300],
        payload_sizes: PayloadSizes {
            count: most,
            empty: most,
            min: Some(u32::MAX),
            max: Some(u32::MAX),
            p50: Some(u32::MAX),
            p90: Some(u32::MAX),
            p99: Some(u32::MAX),
            histogram: (0..500).map(|n| (n * 8_000_000, most)).collect(),
        },
        alerts: Alerts {
            open: most,
            total: most,
            list: vec![
                AlertLine {
                    id: text(),
                    revision: u32::MAX,
                    severity: text(),
                    detector: text(),
                    entity: text(),
                    start: text(),
                    end: text(),
                    over: false,
                    confidence: f64::NAN,
                    summary: text(),
                    analytics: vec![text(); 9],
                    peak_packets_per_s: most,
                    peak_bits_per_s: most,
                    packets: most,
                    wire_bytes: most,
                    peers: vec![text(); 9],
                    missing_telemetry: vec![text(); 9],
                    because: text(),
                    actor: text(),
                };
                300
            ],
        },
        events: vec![Event { time: text(), kind: text(), interface: text(), text: text() }; 300],
    }
}

fn screen(glyphs: Glyphs, snapshot: Snapshot) -> Screen {
    let mut screen = Screen::new(glyphs, "eth0");
    screen.receive(Message::Snapshot(Box::new(snapshot)));
    screen
}

/// The lines of the screen.
fn lines(screen: &Screen, width: u16, height: u16, colour: bool) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, screen, Theme { colour })).expect("drawn");
    let buffer = terminal.backend().buffer();
    if !colour {
        let plain = |cell: &ratatui::buffer::Cell| {
            cell.fg == ratatui::style::Color::Reset && cell.bg == ratatui::style::Color::Reset
        };
        assert!(buffer.content.iter().all(plain), "NO_COLOR is respected");
    }
    let rows = buffer.content.chunks(usize::from(width));
    rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect()).collect()
}

fn assert_has(lines: &[String], wanted: &[&str]) {
    for text in wanted {
        assert!(lines.iter().any(|line| line.contains(text)), "{text:?} in\n{}", lines.join("\n"));
    }
}

const PANELS: [&str; 6] = [
    "Rates",
    "Interfaces",
    "Hosts, 10 s",
    "Conversations, 10 s",
    "Payload sizes",
    "Alerts: 1 open of 2",
];

#[test]
fn all_panels_with_their_figures_are_on_80_by_24() {
    let lines = lines(&screen(UTF8, snapshot()), 80, 24, true);
    assert_has(&lines, &PANELS);
    assert_has(
        &lines,
        &[
            "01:35:00 UTC, 2 s behind, up 01:01:01",
            "12,345 packets/s  98.8 Mbit/s",
            "321 new/s, 4,567 flows",
            "tcp 75.0%  udp 25.0%",
            "eth0",
            // 10.0 % of all that came by.
            "12,340  98.0 Mbit/s 10.0%   7%",
            "192.0.2.59",
            "590.0 kB",
            // 595 packets and 590,500 bytes in ten seconds.
            "59 472.4 kbit/s",
            "192.0.2.1:40059",
            "198.51.100.255:443",
            "p50 64 p90 1,279 p99 1,460",
            "OPEN high     SYN flood on 192.0.2.7",
            "q:quit",
        ],
    );
}

#[test]
fn a_wide_screen_has_more_of_everything() {
    let screen = screen(UTF8, snapshot());
    let (small, wide) = (lines(&screen, 80, 24, true), lines(&screen, 200, 60, true));
    assert_has(&wide, &PANELS);
    assert_has(
        &wide,
        &["most 12,259 packets/s in 100 s", "4 to 1,460 bytes; 10.0% without payload"],
    );
    assert_has(&wide, &["64-127 █", "1,024-2,047", "50.0%", "01:34:37 over high"]);
    let hosts = |lines: &[String]| {
        let is_host = |line: &&String| line.starts_with("192.0.2.") && line.contains("500 B");
        lines.iter().filter(is_host).count()
    };
    assert!(hosts(&small) >= 3 && hosts(&wide) >= 20, "{} {}", hosts(&small), hosts(&wide));
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    for (glyphs, width, height) in
        [(UTF8, 80, 24), (UTF8, 200, 60), (ASCII, 80, 24), (ASCII, 200, 60)]
    {
        for overlay in [Overlay::None, Overlay::Detail, Overlay::Help, Overlay::Filter] {
            for panel in Panel::ALL {
                let mut screen = screen(glyphs, hostile());
                (screen.focus, screen.overlay) = (panel, overlay);
                let lines = lines(&screen, width, height, false);
                let all = lines.concat();
                let harm = |c: char| c.is_control() || "\u{202e}\u{301}\u{200d}".contains(c);
                assert!(!all.contains(harm), "{all:?}");
                assert!(glyphs.utf8 || all.is_ascii(), "{all:?}");
                // Whatever the texts do, the frame stands.
                assert!(lines[0].starts_with("flowtap eth0"), "{}", lines[0]);
                if overlay == Overlay::None {
                    assert_has(&lines, &["Rates", "Hosts", "Conversations", "Payload", "Alerts"]);
                }
            }
        }
    }
}

#[test]
fn keys_move_sort_filter_and_pause() {
    let mut screen = screen(UTF8, snapshot());
    let first = |screen: &Screen| screen.rows(screen.focus)[0].cells[0].clone();
    assert_eq!(first(&screen), "192.0.2.59");
    screen.act(Action::Reverse);
    assert_eq!(first(&screen), "192.0.2.1");
    screen.act(Action::Reverse);
    screen.act(Action::PreviousKey);
    assert_eq!(first(&screen), "192.0.2.1", "by address");
    screen.act(Action::NextKey);

    screen.act(Action::Bottom);
    assert_eq!(screen.place(Panel::Hosts).selected, 58);
    screen.act(Action::Search);
    "2.5".chars().for_each(|c| screen.act(Action::Type(c)));
    screen.act(Action::Enter);
    // 192.0.2.5 and .50 to .59.
    assert_eq!(screen.rows(Panel::Hosts).len(), 11);
    assert_eq!(screen.place(Panel::Hosts).selected, 10, "nobody is behind the end");
    screen.act(Action::Back);
    assert_eq!(screen.rows(Panel::Hosts).len(), 59);

    screen.act(Action::Pause);
    let mut newer = snapshot();
    newer.rates.packets_per_s = 77;
    screen.receive(Message::Snapshot(Box::new(newer)));
    assert_eq!(screen.snapshot.rates.packets_per_s, 12_345);
    assert_has(&lines(&screen, 80, 24, true), &["PAUSED", "Space:go on"]);
    screen.act(Action::Pause);
    assert_eq!(screen.snapshot.rates.packets_per_s, 77);

    screen.act(Action::NextPanel);
    screen.act(Action::NextPanel);
    assert_eq!(screen.focus, Panel::Alerts);
    screen.act(Action::Enter);
    assert_has(&lines(&screen, 80, 24, true), &["─ Alert ", "peak           12,345 packets/s"]);
    screen.act(Action::Back);
    screen.act(Action::Quit);
    assert!(screen.quit);
}

#[test]
fn it_says_that_the_service_is_gone_until_something_comes_again() {
    let mut screen = screen(UTF8, snapshot());
    screen.receive(Message::Lost("the service at /run/x is gone".to_owned()));
    let told = lines(&screen, 80, 24, true);
    assert_has(&told[..1], &["the service at /run/x is gone"]);
    screen.receive(Message::Snapshot(Box::new(snapshot())));
    assert!(!lines(&screen, 80, 24, true)[0].contains("gone"));
}

fn any_action() -> impl Strategy<Value = Action> {
    use Action::*;
    prop_oneof![
        prop::sample::select(vec![
            Help,
            Up,
            Down,
            PageUp,
            PageDown,
            Top,
            Bottom,
            NextPanel,
            PreviousPanel,
            NextKey,
            PreviousKey,
            Reverse,
            Search,
            Pause,
            Zoom,
            Enter,
            Back,
            Erase,
        ]),
        any::<char>().prop_map(Type),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_keys_on_any_size_draw_something(
        actions in prop::collection::vec(any_action(), 0..30),
        width in 1u16..240,
        height in 1u16..90,
        harm: bool,
        utf8: bool,
    ) {
        let mut screen = screen(Glyphs { utf8 }, if harm { hostile() } else { snapshot() });
        for action in actions {
            screen.act(action);
        }
        let lines = lines(&screen, width, height, true);
        prop_assert!(!lines.concat().contains(char::is_control));
        prop_assert!(lines[0].trim_end().len() > width.min(4) as usize / 4);
    }
}
