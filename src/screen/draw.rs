//! Where each panel is, and the lines around them.
//!
//! At 80 by 24 six panels share the screen and the one with the focus has a
//! little more of it; a wide screen has them in two columns. Start at [`draw`].

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};

use super::detail;
use super::model::{Overlay, Panel, Screen, Tone};
use super::panels;
use super::text::{clock, duration};

/// Smaller ones show nothing that is of use.
const LEAST: (u16, u16) = (40, 12);
/// From here on there are two columns.
const WIDE: (u16, u16) = (140, 40);

/// Colour or not (no-color.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Theme {
    pub(crate) colour: bool,
}

impl Theme {
    pub(crate) fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Dim => self.coloured(Color::DarkGray, Modifier::DIM),
            Tone::Warning => self.coloured(Color::Yellow, Modifier::BOLD),
            Tone::Bad => self.coloured(Color::Red, Modifier::BOLD),
        }
    }

    pub(crate) fn title(self) -> Style {
        self.coloured(Color::Cyan, Modifier::empty())
    }

    pub(crate) fn bar(self) -> Style {
        self.coloured(Color::Cyan, Modifier::empty())
    }

    pub(crate) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(crate) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn coloured(self, colour: Color, else_: Modifier) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new().add_modifier(else_) }
    }
}

pub(crate) fn draw(frame: &mut Frame<'_>, screen: &Screen, theme: Theme) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("too small: {} by {} at least", LEAST.0, LEAST.1);
        put(buffer, area.x, area.y, &text, Style::new(), area);
        return;
    }
    let rows = Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]);
    let [head, body, foot] = rows.areas(area);
    draw_head(buffer, head, screen, theme);
    if !screen.has_snapshot {
        let text = "waiting for the first second...";
        put(buffer, body.x + 1, body.y + 1, text, Style::new(), body);
    } else if screen.zoomed {
        panels::list(buffer, body, screen, screen.focus, theme);
    } else if area.width >= WIDE.0 && area.height >= WIDE.1 {
        draw_wide(buffer, body, screen, theme);
    } else {
        draw_narrow(buffer, body, screen, theme);
    }
    draw_foot(buffer, foot, screen, theme);
    match screen.overlay {
        Overlay::Help => detail::help(buffer, body, screen, theme),
        Overlay::Detail => detail::selected(buffer, body, screen, theme),
        Overlay::None | Overlay::Filter => {}
    }
}

fn draw_narrow(buffer: &mut Buffer, body: Rect, screen: &Screen, theme: Theme) {
    let focused = |panel| u16::from(screen.focus == panel);
    let top = if body.height >= 20 { 6 } else { 4 } + 2 * focused(Panel::Interfaces);
    let bottom = (body.height / 4).max(6) + 2 * focused(Panel::Alerts);
    let middle = body.height.saturating_sub(top + bottom);
    let hosts = middle / 2 + focused(Panel::Hosts);
    let rows = Layout::vertical([
        Constraint::Length(top),
        Constraint::Length(hosts.saturating_sub(focused(Panel::Conversations))),
        Constraint::Min(0),
        Constraint::Length(bottom),
    ]);
    let [top, hosts, conversations, bottom] = rows.areas(body);
    let [rates, interfaces] = beside(top, 36);
    let [sizes, alerts] = beside(bottom, 34);
    panels::rates(buffer, rates, screen, theme);
    panels::list(buffer, interfaces, screen, Panel::Interfaces, theme);
    panels::list(buffer, hosts, screen, Panel::Hosts, theme);
    panels::list(buffer, conversations, screen, Panel::Conversations, theme);
    panels::sizes(buffer, sizes, screen, theme);
    panels::list(buffer, alerts, screen, Panel::Alerts, theme);
}

fn draw_wide(buffer: &mut Buffer, body: Rect, screen: &Screen, theme: Theme) {
    let [left, right] = beside(body, body.width / 2);
    let rows = Layout::vertical([Constraint::Length(10), Constraint::Fill(1), Constraint::Fill(1)]);
    let [rates, hosts, conversations] = rows.areas(left);
    let interfaces = (screen.snapshot.interfaces.len() as u16).clamp(2, 8) + 2;
    let rows = Layout::vertical([
        Constraint::Length(interfaces),
        Constraint::Length(panels::SIZES_ROWS),
        Constraint::Fill(1),
    ]);
    let [interfaces, sizes, alerts] = rows.areas(right);
    panels::rates(buffer, rates, screen, theme);
    panels::list(buffer, hosts, screen, Panel::Hosts, theme);
    panels::list(buffer, conversations, screen, Panel::Conversations, theme);
    panels::list(buffer, interfaces, screen, Panel::Interfaces, theme);
    panels::sizes(buffer, sizes, screen, theme);
    panels::list(buffer, alerts, screen, Panel::Alerts, theme);
}

/// Two parts with a column between them; the first has half at most.
fn beside(area: Rect, left: u16) -> [Rect; 2] {
    let left = left.min(area.width / 2);
    let columns =
        Layout::horizontal([Constraint::Length(left), Constraint::Length(1), Constraint::Min(0)]);
    let [left, _, right] = columns.areas(area);
    [left, right]
}

fn draw_head(buffer: &mut Buffer, area: Rect, screen: &Screen, theme: Theme) {
    let snapshot = &screen.snapshot;
    let mut text = format!("flowtap {}", screen.glyphs.fit(&screen.source, 24).trim_end());
    if screen.has_snapshot {
        text.push_str(&format!(
            "  {} UTC, {:.0} s behind, up {}",
            clock(&snapshot.time),
            snapshot.seconds_behind.max(0.0),
            duration(snapshot.uptime_s)
        ));
    }
    put(buffer, area.x, area.y, &text, theme.head(), area);
    let (note, style) = match screen.warning() {
        Some(warning) => (warning, theme.tone(Tone::Bad).add_modifier(Modifier::REVERSED)),
        None if screen.paused => ("PAUSED".to_owned(), theme.selected()),
        None => return,
    };
    // At the right, and before what time it is; what is watched stays.
    let note = format!(" {note} ");
    let columns = note.chars().count().min(usize::from(area.width.saturating_sub(16)));
    let note = screen.glyphs.fit(&note, columns);
    let x = area.right().saturating_sub(columns as u16);
    put(buffer, x, area.y, &note, style, area);
}

fn draw_foot(buffer: &mut Buffer, area: Rect, screen: &Screen, theme: Theme) {
    let place = screen.place(screen.focus);
    let text = if screen.overlay == Overlay::Filter {
        format!("/{}_   Enter: keep   Esc: all", screen.glyphs.clean(&place.filter))
    } else {
        let pause = if screen.paused { "Space:go on" } else { "Space:pause" };
        format!("h:help  Tab:panel  F6:sort  /:filter  {pause}  Enter:detail  z:zoom  q:quit")
    };
    let text = screen.glyphs.fit(&text, usize::from(area.width));
    put(buffer, area.x, area.y, &text, theme.selected(), area);
}

/// Writes into a line, and never over the area's edge.
pub(crate) fn put(buffer: &mut Buffer, x: u16, y: u16, text: &str, style: Style, area: Rect) {
    if y < area.top() || y >= area.bottom() || x < area.left() || x >= area.right() {
        return;
    }
    buffer.set_stringn(x, y, text, usize::from(area.right() - x), style);
}
