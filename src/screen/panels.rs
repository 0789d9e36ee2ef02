//! The panels: a title each, then what is in them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::draw::{Theme, put};
use super::model::{Panel, Screen, Tone};
use super::text::{Glyphs, count, percent, right};
use crate::alert::{bits, thousands};

/// Title, percentiles and shares, and a row for each power of two.
pub(crate) const SIZES_ROWS: u16 = 3 + OCTAVES as u16;

/// No payload, 1 to 7 bytes, then by power of two.
const OCTAVES: usize = 16;
const OCTAVE_NAMES: [&str; OCTAVES] = [
    "0", "1", "8", "16", "32", "64", "128", "256", "512", "1k", "2k", "4k", "8k", "16k", "32k",
    "64k",
];

struct Column {
    title: &'static str,
    /// Nothing for one that takes what is left.
    width: Option<u16>,
    right: bool,
    /// Shown in panels that are at least so wide.
    from: u16,
}

const fn column(title: &'static str, width: u16, right: bool) -> Column {
    Column { title, width: Some(width), right, from: 0 }
}

const fn rest(title: &'static str) -> Column {
    Column { title, width: None, right: false, from: 0 }
}

const HOSTS: [Column; 5] = [
    rest("address"),
    column("sent", 8, true),
    column("received", 8, true),
    column("pkt/s", 7, true),
    column("rate", 12, true),
];

const CONVERSATIONS: [Column; 7] = [
    column("proto", 6, false),
    rest("from"),
    column("", 1, false),
    rest("to"),
    Column { title: "bytes", width: Some(8), right: true, from: 100 },
    column("pkt/s", 7, true),
    column("rate", 12, true),
];

const ALERTS: [Column; 4] = [
    Column { title: "since", width: Some(8), right: false, from: 60 },
    column("", 4, false),
    column("severity", 8, false),
    rest("what"),
];

const INTERFACES: [Column; 5] = [
    rest("interface"),
    column("pkt/s", 7, true),
    column("rate", 12, true),
    column("lost", 5, true),
    column("ring", 4, true),
];

/// A list with its title, head and as many rows as there is room for.
pub(crate) fn list(buffer: &mut Buffer, area: Rect, screen: &Screen, panel: Panel, theme: Theme) {
    let (title, columns): (String, &[Column]) = match panel {
        Panel::Hosts => (hosts_title(screen), &HOSTS),
        Panel::Conversations => (conversations_title(screen), &CONVERSATIONS),
        Panel::Alerts => (alerts_title(screen), &ALERTS),
        Panel::Interfaces => ("Interfaces".to_owned(), &INTERFACES),
    };
    let place = screen.place(panel);
    let rows = screen.rows(panel);
    let mut title = title;
    let order = if place.reversed { ", reversed" } else { "" };
    let key = panel.keys().get(place.key).copied().unwrap_or_default();
    if place.key > 0 || panel == Panel::Hosts || panel == Panel::Conversations || place.reversed {
        title.push_str(&format!(", by {key}{order}"));
    }
    if !place.filter.is_empty() {
        title.push_str(&format!(", with \"{}\"", screen.glyphs.clean(&place.filter)));
    }
    let focused = screen.focus == panel;
    let Some(inner) = titled(buffer, area, &title, focused, screen.glyphs, theme) else { return };
    let widths = widths(columns, inner.width);
    let cells = columns.iter().map(|column| column.title);
    put_cells(buffer, inner, 0, cells, (columns, &widths), theme.tone(Tone::Dim), screen.glyphs);
    let room = usize::from(inner.height).saturating_sub(1);
    if rows.is_empty() && room > 0 {
        let text = if place.filter.is_empty() { "none" } else { "nothing with this text" };
        put(buffer, inner.x, inner.y + 1, text, theme.tone(Tone::Dim), inner);
    }
    let first = (place.selected + 1).saturating_sub(room.max(1));
    for (line, (number, row)) in rows.iter().enumerate().skip(first).take(room).enumerate() {
        let style = if focused && number == place.selected {
            theme.tone(row.tone).patch(theme.selected())
        } else {
            theme.tone(row.tone)
        };
        let cells = row.cells.iter().map(String::as_str);
        let line = line as u16 + 1;
        put_cells(buffer, inner, line, cells, (columns, &widths), style, screen.glyphs);
    }
}

fn hosts_title(screen: &Screen) -> String {
    let hosts = &screen.snapshot.hosts;
    let how = match (hosts.estimated, hosts.complete) {
        (true, _) => ", estimated",
        (false, false) => ", largest only",
        (false, true) => "",
    };
    format!("Hosts{how}, {} s", screen.snapshot.window_s)
}

fn conversations_title(screen: &Screen) -> String {
    let conversations = &screen.snapshot.conversations;
    let how = match conversations.seconds_missing {
        0 if conversations.complete => String::new(),
        0 => ", largest only".to_owned(),
        missing => format!(", {missing} s too full to list"),
    };
    format!("Conversations{how}, {} s", screen.snapshot.window_s)
}

fn alerts_title(screen: &Screen) -> String {
    let alerts = &screen.snapshot.alerts;
    format!("Alerts: {} open of {}", count(alerts.open, 7), count(alerts.total, 7))
}

/// Draws the line with the title. What is left below it, if anything.
fn titled(
    buffer: &mut Buffer,
    area: Rect,
    title: &str,
    focused: bool,
    glyphs: Glyphs,
    theme: Theme,
) -> Option<Rect> {
    if area.height == 0 || area.width < 4 {
        return None;
    }
    let columns = usize::from(area.width);
    let line = glyphs.line();
    let mark = if focused { '>' } else { line };
    let mut text = format!("{line}{mark} {title} ");
    let used = text.chars().count();
    if used > columns {
        text = glyphs.fit(&text, columns);
    } else {
        text.extend(std::iter::repeat_n(line, columns - used));
    }
    let style = if focused { theme.title().patch(theme.head()) } else { theme.title() };
    put(buffer, area.x, area.y, &text, style, area);
    (area.height > 1).then(|| Rect { y: area.y + 1, height: area.height - 1, ..area })
}

/// Width of each column; 0 for those without room.
fn widths(columns: &[Column], all: u16) -> Vec<u16> {
    let shown = |column: &Column| all >= column.from;
    let gaps = columns.iter().filter(|column| shown(column)).count().saturating_sub(1) as u16;
    let fixed: u16 =
        columns.iter().filter(|column| shown(column)).filter_map(|column| column.width).sum();
    let sharing = columns.iter().filter(|column| column.width.is_none()).count().max(1) as u16;
    let rest = all.saturating_sub(fixed + gaps) / sharing;
    columns
        .iter()
        .map(|column| if shown(column) { column.width.unwrap_or(rest) } else { 0 })
        .collect()
}

fn put_cells<'a>(
    buffer: &mut Buffer,
    area: Rect,
    line: u16,
    cells: impl Iterator<Item = &'a str>,
    (columns, widths): (&[Column], &[u16]),
    style: Style,
    glyphs: Glyphs,
) {
    let mut text = String::new();
    for ((cell, column), &width) in cells.zip(columns).zip(widths) {
        if width == 0 {
            continue;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        let width = usize::from(width);
        let is_text = column.title == "what";
        text.push_str(&match (column.right, is_text) {
            (true, _) => glyphs.fit(&right(cell, width), width),
            (false, true) => glyphs.fit(cell, width),
            (false, false) => glyphs.squeeze(cell, width),
        });
    }
    let text = glyphs.fit(&text, usize::from(area.width));
    put(buffer, area.x, area.y.saturating_add(line), &text, style, area);
}

/// Rates of the newest second, and those of the last seconds as columns.
pub(crate) fn rates(buffer: &mut Buffer, area: Rect, screen: &Screen, theme: Theme) {
    let snapshot = &screen.snapshot;
    let Some(inner) = titled(buffer, area, "Rates", false, screen.glyphs, theme) else { return };
    let rates = &snapshot.rates;
    let packets: u64 = snapshot.protocols.iter().map(|p| p.packets).fold(0, u64::saturating_add);
    let share = |p: &crate::service::control::Protocol| {
        format!("{} {}", p.name, percent(p.packets, packets))
    };
    let shares: Vec<_> = snapshot.protocols.iter().take(8).map(share).collect();
    let lines = [
        format!("{} packets/s  {}", count(rates.packets_per_s, 13), bits(rates.bits_per_s)),
        format!("{} new/s, {} flows", count(rates.new_flows_per_s, 9), count(rates.flows_held, 13)),
        shares.join("  "),
    ];
    for (line, text) in lines.iter().enumerate() {
        let text = screen.glyphs.fit(text, usize::from(inner.width));
        put(buffer, inner.x, inner.y + line as u16, &text, Style::new(), inner);
    }
    let used = lines.len() as u16;
    let (Some(y), height) = (inner.y.checked_add(used), inner.height.saturating_sub(used)) else {
        return;
    };
    let area = Rect { y, height, ..inner };
    let history: Vec<u64> = snapshot.history.iter().map(|&(packets, _)| packets).collect();
    let newest = history.len().saturating_sub(usize::from(area.width));
    let shown = history.get(newest..).unwrap_or_default();
    // The newest stands at the right edge.
    let x = area.right().saturating_sub(shown.len() as u16);
    let most = shown.iter().copied().max().unwrap_or(0);
    let columns = Rect { x, width: area.right().saturating_sub(x), ..area };
    fill(buffer, columns, shown, 1, screen.glyphs, theme);
    if area.height >= 4 && most > 0 {
        let text = format!("most {} packets/s in {} s", thousands(most), shown.len());
        put(buffer, area.x, area.y, &text, theme.tone(Tone::Dim), area);
    }
}

/// Columns from below, each so wide. Something is never drawn as nothing.
fn fill(buffer: &mut Buffer, area: Rect, values: &[u64], wide: u16, glyphs: Glyphs, theme: Theme) {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let steps = glyphs.columns();
    let fine = steps.len() - 1;
    let whole = usize::from(area.height) * fine;
    for (number, &value) in values.iter().enumerate() {
        let share = value as f64 / most as f64;
        let filled = (share * whole as f64).ceil() as usize;
        for row in 0..area.height {
            let below = usize::from(area.height - 1 - row) * fine;
            let step = filled.saturating_sub(below).min(fine);
            let cell = steps.get(step).copied().unwrap_or(' ').to_string();
            // A column of one cell leaves no gap.
            let solid = if wide > 1 { wide - 1 } else { 1 };
            let x = area.x.saturating_add((number as u16).saturating_mul(wide));
            put(buffer, x, area.y + row, &cell.repeat(usize::from(solid)), theme.bar(), area);
        }
    }
}

/// The payload-size distribution by power of two.
pub(crate) fn sizes(buffer: &mut Buffer, area: Rect, screen: &Screen, theme: Theme) {
    let sizes = &screen.snapshot.payload_sizes;
    let title = format!("Payload sizes, {} s", screen.snapshot.window_s);
    let glyphs = screen.glyphs;
    let Some(inner) = titled(buffer, area, &title, false, glyphs, theme) else { return };
    let all = sizes.count.saturating_add(sizes.empty);
    if all == 0 {
        put(buffer, inner.x, inner.y, "none", theme.tone(Tone::Dim), inner);
        return;
    }
    let size = |bytes: Option<u32>| match bytes {
        None => "-".to_owned(),
        Some(u32::MAX) => "over 65,535".to_owned(),
        Some(bytes) => thousands(u64::from(bytes)),
    };
    let columns = usize::from(inner.width);
    let line = format!("p50 {} p90 {} p99 {}", size(sizes.p50), size(sizes.p90), size(sizes.p99));
    put(buffer, inner.x, inner.y, &glyphs.fit(&line, columns), theme.head(), inner);
    let octaves = by_octave(&sizes.histogram);
    if inner.height + 1 >= SIZES_ROWS {
        let line = format!(
            "{} to {} bytes; {} without payload",
            size(sizes.min),
            size(sizes.max),
            percent(sizes.empty, all)
        );
        put(buffer, inner.x, inner.y + 1, &glyphs.fit(&line, columns), Style::new(), inner);
        let area = Rect { y: inner.y + 2, height: inner.height - 2, ..inner };
        size_rows(buffer, area, &octaves, all, glyphs, theme);
        return;
    }
    let wide = (inner.width / OCTAVES as u16).max(1);
    let area = Rect { y: inner.y + 1, height: inner.height.saturating_sub(2), ..inner };
    fill(buffer, area, &octaves, wide, glyphs, theme);
    let mut free = inner.x;
    for (number, name) in OCTAVE_NAMES.iter().enumerate() {
        let x = inner.x + number as u16 * wide;
        let end = x + name.len() as u16;
        if x >= free && end <= inner.right() {
            put(buffer, x, inner.bottom() - 1, name, theme.tone(Tone::Dim), inner);
            free = end + 1;
        }
    }
}

fn size_rows(
    buffer: &mut Buffer,
    area: Rect,
    octaves: &[u64; OCTAVES],
    all: u64,
    glyphs: Glyphs,
    theme: Theme,
) {
    const LABEL: usize = 13;
    const SHARE: usize = 7;
    let room = usize::from(area.width).saturating_sub(LABEL + SHARE + 2);
    let most = octaves.iter().copied().max().unwrap_or(0).max(1);
    let steps = glyphs.bars();
    let fine = steps.len() - 1;
    for (number, &packets) in octaves.iter().enumerate() {
        let filled = (packets as f64 / most as f64 * (room * fine) as f64).ceil() as usize;
        let mut bar = steps[fine].to_string().repeat(filled / fine);
        if !filled.is_multiple_of(fine) {
            bar.push(steps[filled % fine]);
        }
        let y = area.y + number as u16;
        let label = right(&octave_range(number), LABEL);
        put(buffer, area.x, y, &label, theme.tone(Tone::Dim), area);
        let x = area.x + LABEL as u16 + 1;
        put(buffer, x, y, &glyphs.fit(&bar, room), theme.bar(), area);
        let share = if packets > 0 { percent(packets, all) } else { String::new() };
        put(buffer, x + room as u16, y, &right(&share, SHARE), Style::new(), area);
    }
}

fn octave_range(octave: usize) -> String {
    match octave {
        0 => "no payload".to_owned(),
        1 => "1-7".to_owned(),
        15.. => "65,536 up".to_owned(),
        _ => {
            let low = 2u64 << octave;
            format!("{}-{}", thousands(low), thousands(2 * low - 1))
        }
    }
}

/// Bins by their smallest size to powers of two.
fn by_octave(histogram: &[(u32, u64)]) -> [u64; OCTAVES] {
    let mut octaves = [0u64; OCTAVES];
    for &(low, packets) in histogram {
        let octave = match low {
            0 => 0,
            1..8 => 1,
            8..65_536 => low.ilog2() as usize - 1,
            _ => OCTAVES - 1,
        };
        octaves[octave] = octaves[octave].saturating_add(packets);
    }
    octaves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::sizes::{BINS, bin_range};

    #[test]
    fn each_bin_is_in_the_octave_whose_range_holds_it() {
        for bin in 0..BINS {
            let (low, high) = bin_range(bin);
            let octave = by_octave(&[(low, 1)]).iter().position(|&packets| packets == 1);
            let range = octave_range(octave.expect("one octave"));
            let edges: Vec<u32> =
                range.replace(',', "").split('-').filter_map(|edge| edge.parse().ok()).collect();
            match edges[..] {
                [least, most] => assert!(least <= low && high <= most, "{bin}: {range}"),
                _ => assert!(low == 0 || low >= 65_536, "{bin}: {range}"),
            }
        }
    }
}
