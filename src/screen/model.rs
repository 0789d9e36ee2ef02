//! What the screen shows: the newest snapshot, and where the reader is in it.
//!
//! Knows nothing of terminals: keys come in as [`super::keys::Action`], rows go
//! out as texts. Start at [`Screen::receive`] and [`Screen::act`].

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::keys::Action;
use super::text::{Glyphs, clock, count, percent};
use crate::alert::bits;
use crate::report::terminal::bytes;
use crate::service::control::{AlertLine, Conversation, Interface, Snapshot, Talker};

/// A second is missed now and then on a busy machine.
const STALE: Duration = Duration::from_secs(5);
/// Rows of PgUp and PgDn.
const PAGE: usize = 10;
/// Longest filter.
const FILTER: usize = 60;

/// The panels that are lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Panel {
    Hosts,
    Conversations,
    Alerts,
    Interfaces,
}

impl Panel {
    pub(crate) const ALL: [Self; 4] =
        [Self::Hosts, Self::Conversations, Self::Alerts, Self::Interfaces];

    /// Sort keys, the first by default.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Hosts => &["bytes", "packets", "sent", "received", "address"],
            Self::Conversations => &["bytes", "packets", "protocol", "address"],
            Self::Alerts => &["open", "severity", "newest", "packets"],
            Self::Interfaces => &["named", "packets", "bits", "lost"],
        }
    }
}

/// Where the reader is in a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) selected: usize,
    /// Index in [`Panel::keys`].
    pub(crate) key: usize,
    pub(crate) reversed: bool,
    pub(crate) filter: String,
}

/// What lies over the panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlay {
    None,
    /// The filter is being typed.
    Filter,
    Help,
    Detail,
}

/// What comes from the service.
#[derive(Debug)]
pub enum Message {
    Snapshot(Box<Snapshot>),
    /// The service does not answer; it is tried again.
    Lost(String),
    /// No more comes.
    Ended(String),
}

#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) glyphs: Glyphs,
    /// What snapshots come from, for the title.
    pub(crate) source: String,
    /// The one shown.
    pub(crate) snapshot: Snapshot,
    pub(crate) has_snapshot: bool,
    /// The newest while paused.
    waiting: Option<Box<Snapshot>>,
    pub(crate) paused: bool,
    pub(crate) zoomed: bool,
    /// Why nothing comes.
    pub(crate) trouble: Option<String>,
    received: Instant,
    pub(crate) focus: Panel,
    places: [Place; 4],
    pub(crate) overlay: Overlay,
    pub(crate) scrolled: usize,
    pub(crate) quit: bool,
}

/// A row and how it stands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    pub(crate) tone: Tone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Dim,
    Warning,
    Bad,
}

impl Screen {
    pub(crate) fn new(glyphs: Glyphs, source: &str) -> Self {
        Self {
            glyphs,
            source: glyphs.clean(source),
            snapshot: Snapshot::default(),
            has_snapshot: false,
            waiting: None,
            paused: false,
            zoomed: false,
            trouble: None,
            received: Instant::now(),
            focus: Panel::Hosts,
            places: Default::default(),
            overlay: Overlay::None,
            scrolled: 0,
            quit: false,
        }
    }

    pub(crate) fn receive(&mut self, message: Message) {
        match message {
            Message::Snapshot(mut snapshot) => {
                self.glyphs.clean_snapshot(&mut snapshot);
                self.received = Instant::now();
                self.trouble = None;
                if self.paused && self.has_snapshot {
                    self.waiting = Some(snapshot);
                } else {
                    self.show(*snapshot);
                }
            }
            Message::Lost(why) | Message::Ended(why) => {
                self.trouble = Some(self.glyphs.clean(&why));
            }
        }
    }

    /// Why what is shown may be old.
    pub(crate) fn warning(&self) -> Option<String> {
        if let Some(why) = &self.trouble {
            return Some(why.clone());
        }
        let age = self.received.elapsed();
        if age > STALE && self.has_snapshot {
            return Some(format!("nothing new for {} s", age.as_secs()));
        }
        if self.has_snapshot && self.snapshot.overload != "nothing" {
            return Some(format!("overload: left out: {}", self.snapshot.overload));
        }
        None
    }

    pub(crate) fn place(&self, panel: Panel) -> &Place {
        &self.places[panel as usize]
    }

    pub(crate) fn act(&mut self, action: Action) {
        match (self.overlay, action) {
            (_, Action::Quit) => self.quit = true,
            (Overlay::Filter, action) => self.type_filter(action),
            (Overlay::Help | Overlay::Detail, Action::Down) => self.scrolled += 1,
            (Overlay::Help | Overlay::Detail, Action::PageDown) => self.scrolled += PAGE,
            (Overlay::Help | Overlay::Detail, Action::Up) => {
                self.scrolled = self.scrolled.saturating_sub(1);
            }
            (Overlay::Help | Overlay::Detail, Action::PageUp) => {
                self.scrolled = self.scrolled.saturating_sub(PAGE);
            }
            (Overlay::Help | Overlay::Detail, Action::Top) => self.scrolled = 0,
            (Overlay::Help | Overlay::Detail, _) => self.overlay = Overlay::None,
            (Overlay::None, action) => self.act_on_lists(action),
        }
        self.clip();
    }

    fn act_on_lists(&mut self, action: Action) {
        match action {
            Action::Back if !self.here().filter.is_empty() => self.here_mut().filter.clear(),
            Action::Back if self.zoomed => self.zoomed = false,
            Action::Help => self.open(Overlay::Help),
            Action::Enter if self.rows(self.focus).is_empty() => {}
            Action::Enter => self.open(Overlay::Detail),
            Action::Search => self.open(Overlay::Filter),
            Action::Pause => self.pause(),
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::NextPanel => self.focus_by(1),
            Action::PreviousPanel => self.focus_by(Panel::ALL.len() - 1),
            Action::NextKey => self.sort_by(1),
            Action::PreviousKey => self.sort_by(self.focus.keys().len() - 1),
            Action::Reverse => self.here_mut().reversed ^= true,
            Action::Down => self.here_mut().selected += 1,
            Action::Up => {
                let place = self.here_mut();
                place.selected = place.selected.saturating_sub(1);
            }
            Action::PageDown => self.here_mut().selected += PAGE,
            Action::PageUp => {
                let place = self.here_mut();
                place.selected = place.selected.saturating_sub(PAGE);
            }
            Action::Top => self.here_mut().selected = 0,
            Action::Bottom => self.here_mut().selected = usize::MAX,
            Action::Quit | Action::Back | Action::Type(_) | Action::Erase => {}
        }
    }

    fn type_filter(&mut self, action: Action) {
        let place = &mut self.places[self.focus as usize];
        match action {
            Action::Type(c) if place.filter.len() < FILTER => place.filter.push(c),
            Action::Erase => {
                place.filter.pop();
            }
            Action::Enter => self.overlay = Overlay::None,
            Action::Back => {
                place.filter.clear();
                self.overlay = Overlay::None;
            }
            _ => {}
        }
    }

    fn open(&mut self, overlay: Overlay) {
        self.overlay = overlay;
        self.scrolled = 0;
    }

    fn pause(&mut self) {
        self.paused ^= true;
        if let Some(newest) = self.waiting.take().filter(|_| !self.paused) {
            self.show(*newest);
        }
    }

    fn show(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
        self.has_snapshot = true;
        self.clip();
    }

    fn focus_by(&mut self, steps: usize) {
        let at = (self.focus as usize + steps) % Panel::ALL.len();
        self.focus = Panel::ALL[at];
    }

    fn sort_by(&mut self, steps: usize) {
        let keys = self.focus.keys().len();
        let place = self.here_mut();
        place.key = (place.key + steps) % keys;
    }

    fn here(&self) -> &Place {
        self.place(self.focus)
    }

    fn here_mut(&mut self) -> &mut Place {
        &mut self.places[self.focus as usize]
    }

    /// Nobody is behind the end of a list that became shorter.
    fn clip(&mut self) {
        for panel in Panel::ALL {
            let last = self.rows(panel).len().saturating_sub(1);
            let place = &mut self.places[panel as usize];
            place.selected = place.selected.min(last);
        }
    }

    fn sorted<'a, T>(
        &self,
        panel: Panel,
        all: &'a [T],
        text: impl Fn(&T) -> String,
        mut order: impl FnMut(&mut [&'a T], &str),
    ) -> Vec<&'a T> {
        let place = self.place(panel);
        let wanted = place.filter.to_lowercase();
        let mut found: Vec<&T> =
            all.iter().filter(|one| text(one).to_lowercase().contains(&wanted)).collect();
        order(&mut found, panel.keys()[place.key]);
        if place.reversed {
            found.reverse();
        }
        found
    }

    pub(crate) fn hosts(&self) -> Vec<&Talker> {
        self.sorted(
            Panel::Hosts,
            &self.snapshot.hosts.top,
            |host| host.address.clone(),
            |hosts, key| match key {
                "packets" => hosts.sort_by_key(|host| Reverse(host.packets())),
                "sent" => hosts.sort_by_key(|host| Reverse(host.sent_bytes)),
                "received" => hosts.sort_by_key(|host| Reverse(host.received_bytes)),
                "address" => hosts.sort_by(|x, y| x.address.cmp(&y.address)),
                _ => hosts.sort_by_key(|host| Reverse(host.bytes())),
            },
        )
    }

    pub(crate) fn conversations(&self) -> Vec<&Conversation> {
        self.sorted(
            Panel::Conversations,
            &self.snapshot.conversations.top,
            |one| {
                format!("{} {} {}", one.protocol, end(&one.a, one.a_port), end(&one.b, one.b_port))
            },
            |all, key| match key {
                "packets" => all.sort_by_key(|one| Reverse(one.packets())),
                "protocol" => {
                    all.sort_by(|x, y| x.protocol.cmp(&y.protocol).then(y.bytes().cmp(&x.bytes())));
                }
                "address" => all.sort_by(|x, y| (&x.a, x.a_port).cmp(&(&y.a, y.a_port))),
                _ => all.sort_by_key(|one| Reverse(one.bytes())),
            },
        )
    }

    pub(crate) fn alerts(&self) -> Vec<&AlertLine> {
        self.sorted(
            Panel::Alerts,
            &self.snapshot.alerts.list,
            |alert| format!("{} {} {} {}", alert.id, alert.severity, alert.detector, alert.summary),
            |alerts, key| match key {
                "severity" => alerts.sort_by_key(|alert| Reverse(rank(&alert.severity))),
                "newest" => alerts.sort_by(|x, y| y.start.cmp(&x.start)),
                "packets" => alerts.sort_by_key(|alert| Reverse(alert.packets)),
                _ => alerts.sort_by_key(|alert| alert.over),
            },
        )
    }

    pub(crate) fn interfaces(&self) -> Vec<&Interface> {
        self.sorted(
            Panel::Interfaces,
            &self.snapshot.interfaces,
            |interface| interface.name.clone(),
            |all, key| match key {
                "packets" => all.sort_by_key(|one| Reverse(one.packets_per_s)),
                "bits" => all.sort_by_key(|one| Reverse(one.bits_per_s)),
                "lost" => all.sort_by_key(|one| Reverse(lost(one))),
                _ => {}
            },
        )
    }

    /// Rows of a panel, in the order of its key, as far as the filter lets them.
    pub(crate) fn rows(&self, panel: Panel) -> Vec<Row> {
        let seconds = self.snapshot.window_s.max(1);
        let plain = |cells: Vec<String>| Row { cells, tone: Tone::Plain };
        match panel {
            Panel::Hosts => {
                let row = |host: &&Talker| {
                    plain(vec![
                        host.address.clone(),
                        bytes(host.sent_bytes),
                        bytes(host.received_bytes),
                        count(host.packets() / seconds, 7),
                        bits(host.bytes().saturating_mul(8) / seconds),
                    ])
                };
                self.hosts().iter().map(row).collect()
            }
            Panel::Conversations => {
                let row = |one: &&Conversation| {
                    plain(vec![
                        one.protocol.clone(),
                        end_of(one, true),
                        self.glyphs.arrow().to_owned(),
                        end_of(one, false),
                        bytes(one.bytes()),
                        count(one.packets() / seconds, 7),
                        bits(one.bytes().saturating_mul(8) / seconds),
                    ])
                };
                self.conversations().iter().map(row).collect()
            }
            Panel::Alerts => self.alerts().iter().map(|alert| alert_row(alert)).collect(),
            Panel::Interfaces => {
                self.interfaces().iter().map(|interface| interface_row(interface)).collect()
            }
        }
    }
}

fn lost(interface: &Interface) -> u64 {
    interface.kernel_drops.saturating_add(interface.interface_drops)
}

fn interface_row(interface: &Interface) -> Row {
    let lost = lost(interface);
    let share = if lost > 0 {
        percent(lost, interface.packets.saturating_add(lost))
    } else {
        "none".to_owned()
    };
    let packets = match (interface.present, interface.up) {
        (true, true) => count(interface.packets_per_s, 7),
        (true, false) => "down".to_owned(),
        (false, _) => "gone".to_owned(),
    };
    let tone = match (interface.present && interface.up, interface.lost_per_s > 0) {
        (false, _) => Tone::Bad,
        (true, true) => Tone::Bad,
        (true, false) if lost > 0 => Tone::Warning,
        (true, false) => Tone::Plain,
    };
    let cells = vec![
        interface.name.clone(),
        packets,
        bits(interface.bits_per_s),
        share,
        format!("{}%", interface.ring_fill_percent),
    ];
    Row { cells, tone }
}

fn alert_row(alert: &AlertLine) -> Row {
    let tone = match (alert.over, rank(&alert.severity)) {
        (true, _) => Tone::Dim,
        (false, 3..) => Tone::Bad,
        (false, 2) => Tone::Warning,
        (false, _) => Tone::Plain,
    };
    let state = if alert.over { "over" } else { "OPEN" };
    let cells = vec![
        clock(&alert.start).to_owned(),
        state.to_owned(),
        if rank(&alert.severity) == 0 { "info".to_owned() } else { alert.severity.clone() },
        alert.summary.clone(),
    ];
    Row { cells, tone }
}

/// Rising with the severity.
fn rank(severity: &str) -> usize {
    const NAMES: [&str; 5] = ["informational", "low", "medium", "high", "critical"];
    NAMES.iter().position(|&name| name == severity).unwrap_or(0)
}

/// Address and port; IPv6 in brackets.
fn end(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Types and codes of ICMP are no ports.
pub(crate) fn end_of(one: &Conversation, is_a: bool) -> String {
    let (address, port) = if is_a { (&one.a, one.a_port) } else { (&one.b, one.b_port) };
    let has_ports = matches!(one.protocol.as_str(), "tcp" | "udp" | "sctp" | "dccp" | "udplite");
    if has_ports { end(address, port) } else { address.clone() }
}
