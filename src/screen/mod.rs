//! The live screen: a service's snapshots on a terminal.
//!
//! ```text
//! Message ──▶ model ──▶ draw, panels, detail ──▶ terminal
//!   keys ───▶   (what is shown)   (where)
//! ```
//!
//! It never looks at a packet, never writes a file, and shows no character that
//! it did not look at: names and texts of a snapshot come from the network.
//! Start at [`run`]; `model` holds what is shown.

mod detail;
mod draw;
mod keys;
mod model;
mod panels;
mod terminal;
#[cfg(test)]
mod tests;
mod text;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};
use crossterm::event::{self, Event};

pub use self::model::Message;

use self::draw::{Theme, draw};
use self::model::{Overlay, Screen};
use self::terminal::Held;
use self::text::Glyphs;

/// How long a snapshot may wait for its turn.
const TURN: Duration = Duration::from_millis(100);
/// Turns after which the screen is drawn although nothing new came: ages count
/// on.
const REDRAW_TURNS: u32 = 10;

/// Shows what comes until the reader quits, `stop` is set, or nothing more can
/// come; then says why. Takes the terminal and gives it back.
pub fn run(
    messages: &Receiver<Message>,
    stop: &AtomicBool,
    source: &str,
) -> io::Result<Option<String>> {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let theme = Theme { colour: !no_colour };
    let mut screen = Screen::new(Glyphs::from_environment(), source);
    let mut held = Held::take()?;
    let mut turns = 0;
    loop {
        if turns == 0 {
            held.terminal.draw(|frame| draw(frame, &screen, theme))?;
        }
        turns = (turns + 1) % REDRAW_TURNS;
        // All keys that wait, so that a held key does not run on.
        let mut wait = TURN;
        while event::poll(wait)? {
            wait = Duration::ZERO;
            match event::read()? {
                Event::Key(key) => {
                    if let Some(action) = keys::action(key, screen.overlay == Overlay::Filter) {
                        screen.act(action);
                    }
                }
                Event::Resize(..) => {}
                _ => continue,
            }
            turns = 0;
        }
        if screen.quit || stop.load(Ordering::Acquire) {
            return Ok(None);
        }
        loop {
            match messages.try_recv() {
                Ok(Message::Ended(why)) => return Ok(Some(why)),
                Ok(message) => screen.receive(message),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(Some("it ended".to_owned())),
            }
            turns = 0;
        }
    }
}
