//! What a running service says on standard error: lines for people, or JSON
//! lines for programs. [`start`] once, [`go_on_behind`] when threads may be
//! started, [`finish`] at the end.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use crossbeam_channel::{Sender, bounded};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// `flowtap: what happened`
    Text,
    /// An object a line: timestamp, level, event, message, and what belongs to it.
    Json,
}

impl LogFormat {
    /// As the option takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Lines that wait for whoever reads standard error. Beyond, they are lost and
/// counted: the run waits for nobody.
const WAITING: usize = 1 << 10;

/// How long the end waits for them.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

static BEHIND: OnceLock<Sender<Word>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

enum Word {
    Line(Vec<u8>),
    /// Answered when all before is out.
    Finish(Sender<()>),
}

/// From here on, events go to standard error; with `quiet` only what is wrong.
/// The first call stands.
pub(crate) fn start(format: LogFormat, quiet: bool) {
    let least = if quiet { Level::WARN } else { Level::INFO };
    let log = tracing_subscriber::fmt().with_writer(|| Out).with_ansi(false).with_max_level(least);
    // An error says that there is a subscriber already.
    let _ = match format {
        LogFormat::Text => log.event_format(Lines).try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_target(false).with_current_span(false).try_init()
        }
    };
}

/// From here on a thread writes: nobody waits for standard error, which a pager
/// or a stuck collector may not read.
pub(crate) fn go_on_behind() -> io::Result<()> {
    let (give, take) = bounded(WAITING);
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        for word in take {
            match word {
                Word::Line(line) => write_out(&line),
                Word::Finish(done) => {
                    let _ = done.send(());
                }
            }
            let lost = LOST.swap(0, Ordering::Relaxed);
            if lost > 0 {
                warn!(event = "log.lost", lost, "{lost} lines were lost here: nobody read them");
            }
        }
    })?;
    BEHIND.get_or_init(|| give);
    Ok(())
}

/// Waits a moment for what is still to be written.
pub(crate) fn finish() {
    let Some(behind) = BEHIND.get() else { return };
    let (done, wait) = bounded(1);
    if behind.send_timeout(Word::Finish(done), FINISH_WITHIN).is_ok() {
        let _ = wait.recv_timeout(FINISH_WITHIN);
    }
}

/// A closed standard error is nothing to fail for.
fn write_out(line: &[u8]) {
    let _ = io::stderr().write_all(line);
}

/// Where lines go: each comes in one piece.
struct Out;

impl io::Write for Out {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match BEHIND.get() {
            None => write_out(line),
            Some(behind) => {
                if behind.try_send(Word::Line(line.to_vec())).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The message alone: who reads it knows the time, or has it from the journal.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = Message::default();
        event.record(&mut message);
        writeln!(writer, "flowtap: {}", message.0)
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
