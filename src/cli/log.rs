//! What a running service says on standard error: lines for people, or JSON
//! lines for programs. Set up once, at the start of a command.

use std::fmt;
use std::io;

use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
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

/// From here on, events go to standard error. The first call stands.
pub(crate) fn start(format: LogFormat) {
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false);
    // An error says that there is a subscriber already.
    let _ = match format {
        LogFormat::Text => log.event_format(Lines).try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_target(false).with_current_span(false).try_init()
        }
    };
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
