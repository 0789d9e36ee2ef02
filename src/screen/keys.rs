//! Keys as in htop and less.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Quit,
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
    /// Escape: out of what is open.
    Back,
    /// Into the filter.
    Type(char),
    Erase,
}

/// Keys and what they do, for the help.
pub(crate) const HELP: [(&str, &str); 12] = [
    ("q  F10  Ctrl-C", "quit"),
    ("h  ?  F1", "this help"),
    ("Tab  Shift-Tab", "next panel, the one before"),
    ("arrows  j k  PgUp PgDn", "move"),
    ("g  G  Home  End", "first, last"),
    ("F6  s  >   <", "sort by the next key, the one before"),
    ("r  I", "reverse the order"),
    ("/  F3  F4", "show only what holds a text; Esc: all"),
    ("Space  p", "pause, go on"),
    ("Enter", "details of a line"),
    ("z", "the panel alone, all panels"),
    ("Esc", "close, back"),
];

/// The action of a key; `typing` while a filter is typed.
pub(crate) fn action(key: KeyEvent, typing: bool) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('d' | 'f') if !typing => Some(Action::PageDown),
            KeyCode::Char('u' | 'b') if !typing => Some(Action::PageUp),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Enter => Action::Enter,
        KeyCode::Esc => Action::Back,
        KeyCode::Backspace => Action::Erase,
        KeyCode::F(10) => Action::Quit,
        KeyCode::Char(c) if typing => Action::Type(c),
        _ if typing => return None,
        KeyCode::Char('q' | 'Q') => Action::Quit,
        KeyCode::Char('h' | '?') | KeyCode::F(1) => Action::Help,
        KeyCode::Char('j') | KeyCode::Down => Action::Down,
        KeyCode::Char('k') | KeyCode::Up => Action::Up,
        KeyCode::PageDown => Action::PageDown,
        KeyCode::PageUp => Action::PageUp,
        KeyCode::Char('g') | KeyCode::Home => Action::Top,
        KeyCode::Char('G') | KeyCode::End => Action::Bottom,
        KeyCode::Tab | KeyCode::Right => Action::NextPanel,
        KeyCode::BackTab | KeyCode::Left => Action::PreviousPanel,
        KeyCode::Char('s' | '>') | KeyCode::F(6) => Action::NextKey,
        KeyCode::Char('<') => Action::PreviousKey,
        KeyCode::Char('r' | 'I') => Action::Reverse,
        KeyCode::Char('/') | KeyCode::F(3 | 4) => Action::Search,
        KeyCode::Char(' ' | 'p') => Action::Pause,
        KeyCode::Char('z') => Action::Zoom,
        _ => return None,
    })
}
