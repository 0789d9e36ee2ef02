//! The terminal while the screen has it: given back whatever happens.

use std::io::{self, Stdout, Write as _, stdout};
use std::sync::Once;

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

/// Raw mode and the alternate screen, until dropped or until a panic.
pub(crate) struct Held {
    pub(crate) terminal: Terminal<CrosstermBackend<Stdout>>,
    _given_back: GiveBack,
}

impl Held {
    pub(crate) fn take() -> io::Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        // From here on it is given back whatever fails.
        let given_back = GiveBack;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(Self { terminal, _given_back: given_back })
    }
}

struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        restore();
    }
}

/// A terminal that is gone can't be given back.
fn restore() {
    let _ = execute!(stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
    let _ = stdout().flush();
}

/// What a panic says must be readable.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
}
