//! What lies over the panels: the help, and one line in full.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::draw::{Theme, put};
use super::keys::HELP;
use super::model::{Panel, Screen, end_of};
use super::text::{Glyphs, count, percent};
use crate::alert::{bits, thousands};
use crate::report::terminal::bytes;

const NAME: usize = 14;

pub(crate) fn help(buffer: &mut Buffer, area: Rect, screen: &Screen, theme: Theme) {
    let mut lines: Vec<String> =
        HELP.iter().map(|(keys, what)| format!("{keys:<24} {what}")).collect();
    lines.push(String::new());
    for text in [
        "Rates are those of the newest closed second; a second is closed two seconds after its \
         end. Interfaces show the counts of now.",
        "Hosts, conversations, protocols and payload sizes are sums over the last seconds, as \
         many as their titles say. \"Largest only\": there were more than are kept, and what is \
         shown may lack seconds in which it was small.",
        "Sizes are the upper edges of bins: at most 25 % over the true value.",
    ] {
        lines.push(text.to_owned());
    }
    overlay(buffer, area, "Help", &lines, screen, theme);
}

/// The selected line of the panel with the focus.
pub(crate) fn selected(buffer: &mut Buffer, area: Rect, screen: &Screen, theme: Theme) {
    let at = screen.place(screen.focus).selected;
    let seconds = screen.snapshot.window_s;
    let (title, lines) = match screen.focus {
        Panel::Hosts => {
            ("Host", screen.hosts().get(at).map(|host| host_lines(host, seconds, screen)))
        }
        Panel::Conversations => (
            "Conversation",
            screen.conversations().get(at).map(|one| conversation_lines(one, seconds)),
        ),
        Panel::Alerts => ("Alert", screen.alerts().get(at).map(|alert| alert_lines(alert))),
        Panel::Interfaces => {
            ("Interface", screen.interfaces().get(at).map(|one| interface_lines(one)))
        }
    };
    let lines = lines.unwrap_or_else(|| vec!["It is not in the list any more.".to_owned()]);
    overlay(buffer, area, title, &lines, screen, theme);
}

fn field(name: &str, text: &str) -> String {
    format!("{name:<NAME$} {text}")
}

fn traffic(packets: u64, wire_bytes: u64) -> String {
    format!("{} packets, {}", thousands(packets), bytes(wire_bytes))
}

fn host_lines(
    host: &crate::service::control::Talker,
    seconds: u64,
    screen: &Screen,
) -> Vec<String> {
    let mut lines = vec![
        field("address", &host.address),
        field("over", &format!("{seconds} s")),
        field("sent", &traffic(host.sent_packets, host.sent_bytes)),
        field("received", &traffic(host.received_packets, host.received_bytes)),
        String::new(),
        "Its conversations among those listed:".to_owned(),
    ];
    let all = &screen.snapshot.conversations.top;
    let its = all.iter().filter(|one| one.a == host.address || one.b == host.address);
    lines.extend(its.map(|one| {
        let ends = [end_of(one, true), end_of(one, false)];
        let ends = ends.join(&format!(" {} ", screen.glyphs.arrow()));
        format!("{} {ends}: {}", one.protocol, traffic(one.packets(), one.bytes()))
    }));
    lines
}

fn conversation_lines(one: &crate::service::control::Conversation, seconds: u64) -> Vec<String> {
    let (a, b) = (end_of(one, true), end_of(one, false));
    vec![
        field("protocol", &one.protocol),
        field("one end", &a),
        field("other end", &b),
        field("over", &format!("{seconds} s")),
        field("one to other", &traffic(one.a_to_b_packets, one.a_to_b_bytes)),
        field("other to one", &traffic(one.b_to_a_packets, one.b_to_a_bytes)),
    ]
}

fn alert_lines(alert: &crate::service::control::AlertLine) -> Vec<String> {
    let state = if alert.over { "over" } else { "open" };
    let mut lines = vec![
        alert.summary.clone(),
        String::new(),
        field("alert", &format!("{} (revision {})", alert.id, alert.revision)),
        field("state", &format!("{state}, {}", alert.severity)),
        field("detector", &alert.detector),
        field("entity", &alert.entity),
        field("from", &alert.start),
        field("to", &alert.end),
        field(
            "peak",
            &format!(
                "{} packets/s, {}",
                thousands(alert.peak_packets_per_s),
                bits(alert.peak_bits_per_s)
            ),
        ),
        field("in all", &traffic(alert.packets, alert.wire_bytes)),
        field("confidence", &format!("{:.2}", alert.confidence)),
    ];
    for (name, text) in [("by", &alert.actor), ("because", &alert.because)] {
        if !text.is_empty() {
            lines.push(field(name, text));
        }
    }
    for (name, list) in [
        ("analytics", &alert.analytics),
        ("peers", &alert.peers),
        ("missing", &alert.missing_telemetry),
    ] {
        if !list.is_empty() {
            lines.push(field(name, &list.join(", ")));
        }
    }
    lines
}

fn interface_lines(one: &crate::service::control::Interface) -> Vec<String> {
    let state = match (one.present, one.up) {
        (true, true) => "up",
        (true, false) => "down; waiting for it",
        (false, _) => "gone; waiting for it",
    };
    let lost = one.kernel_drops.saturating_add(one.interface_drops);
    let seen = one.packets.saturating_add(lost);
    vec![
        field("interface", &one.name),
        field("state", state),
        field(
            "now",
            &format!("{} packets/s, {}", count(one.packets_per_s, 26), bits(one.bits_per_s)),
        ),
        field("since start", &traffic(one.packets, one.wire_bytes)),
        field("lost", &format!("{} ({})", thousands(lost), percent(lost, seen))),
        field("in the ring", &thousands(one.kernel_drops)),
        field("at the device", &thousands(one.interface_drops)),
        field("lost now", &format!("{} packets/s", thousands(one.lost_per_s))),
        field("ring", &format!("{}% full", one.ring_fill_percent)),
    ]
}

/// A frame in the middle, with lines that are wrapped and can be scrolled.
fn overlay(
    buffer: &mut Buffer,
    area: Rect,
    title: &str,
    lines: &[String],
    screen: &Screen,
    theme: Theme,
) {
    let glyphs = screen.glyphs;
    let width = area.width.saturating_sub(4).clamp(10, 100);
    let room = usize::from(width).saturating_sub(4).max(1);
    let lines: Vec<String> = lines.iter().flat_map(|line| wrapped(line, room, glyphs)).collect();
    let height = (lines.len() as u16).saturating_add(2).min(area.height);
    let x = area.x + (area.width.saturating_sub(width)) / 2;
    let y = area.y + (area.height.saturating_sub(height)) / 2;
    let frame = Rect { x, y, width, height }.intersection(area);
    let inside = usize::from(frame.height).saturating_sub(2);
    let first = screen.scrolled.min(lines.len().saturating_sub(inside));
    let rest = lines.len().saturating_sub(first + inside);
    let end = if rest > 0 { format!("{rest} more below") } else { "any key: back".to_owned() };
    for row in 0..frame.height {
        let text = if row == 0 {
            edge(glyphs, title, frame.width)
        } else if row + 1 == frame.height {
            edge(glyphs, &end, frame.width)
        } else {
            let line = lines.get(first + usize::from(row) - 1).map_or("", String::as_str);
            let side = if glyphs.utf8 { '│' } else { '|' };
            format!("{side} {} {side}", glyphs.fit(line, room))
        };
        // Nothing of the panels shines through.
        let is_edge = row == 0 || row + 1 == frame.height;
        let style = Style::reset().patch(if is_edge { theme.head() } else { Style::new() });
        put(buffer, frame.x, frame.y + row, &text, style, frame);
    }
}

fn edge(glyphs: Glyphs, text: &str, width: u16) -> String {
    let line = glyphs.line();
    let text = format!("{line}{line} {text} ");
    let fill = usize::from(width).saturating_sub(text.chars().count());
    text + &line.to_string().repeat(fill)
}

/// Lines of at most so many columns, cut between words where there are any.
fn wrapped(text: &str, columns: usize, glyphs: Glyphs) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    loop {
        let line: String = rest.iter().collect();
        if glyphs.fit(&line, columns).trim_end() == line.trim_end() || rest.len() <= 1 {
            lines.push(line);
            return lines;
        }
        // Wide characters: fewer of them than columns.
        let mut cut = rest.len().min(columns);
        while cut > 1 && width(&rest[..cut]) > columns {
            cut -= 1;
        }
        let space = rest[..cut].iter().rposition(|&c| c == ' ').filter(|&at| at > NAME + 1);
        let end = if rest.get(cut) == Some(&' ') { cut } else { space.unwrap_or(cut) };
        lines.push(rest[..end].iter().collect());
        rest.drain(..end);
        while rest.first() == Some(&' ') {
            rest.remove(0);
        }
    }
}

fn width(chars: &[char]) -> usize {
    ratatui::text::Span::raw(chars.iter().collect::<String>()).width()
}
