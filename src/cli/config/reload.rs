//! SIGHUP: the file is read again, and what can change while a run goes on
//! does: thresholds, what is allowed, home networks.
//!
//! A thread of its own reads the file, since a disk may be slow; the
//! correlation stage takes over what it read between two seconds. A file that
//! is no good changes nothing. Start at [`Reloader::start`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::SIGHUP;
use signal_hook::low_level::pipe;

use super::{FromFile, Refusal, parse};
use crate::cli::Command;
use crate::cli::live::LiveArgs;
use crate::detect::DetectSettings;
use crate::engine::{Reload, Reloads};

/// Options that take effect at once, by their long names.
const AT_ONCE: [&str; 2] = ["home-net", "packet-rate-threshold"];

/// Reads the file of a live run again whenever asked to.
#[derive(Debug)]
pub(crate) struct Reloader {
    reloads: Arc<Reloads>,
}

impl Reloader {
    /// From here on SIGHUP no longer ends the program. `settings` makes those
    /// of a run of what was read, as at its start.
    pub(crate) fn start(
        from_file: &FromFile,
        settings: fn(&LiveArgs) -> DetectSettings,
    ) -> io::Result<Self> {
        let (mut hangups, write) = UnixStream::pair()?;
        pipe::register(SIGHUP, write)?;
        let reloads = Arc::new(Reloads::default());
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let (started_with, put) = (from_file.clone(), Arc::clone(&reloads));
        let reload = move || {
            // Any number of signals since the last look ask for the same.
            let mut some = [0; 64];
            while hangups.read(&mut some).is_ok_and(|length| length > 0) {
                put.put(read_again(&arguments, &started_with, settings));
            }
        };
        thread::Builder::new().name("reload".to_owned()).spawn(reload)?;
        Ok(Self { reloads })
    }

    /// For the engine.
    pub(crate) fn reloads(&self) -> Arc<Reloads> {
        Arc::clone(&self.reloads)
    }
}

fn read_again(
    arguments: &[OsString],
    started_with: &FromFile,
    settings: fn(&LiveArgs) -> DetectSettings,
) -> Reload {
    let kept =
        |why: &str| Reload { settings: None, text: format!("configuration kept as it was: {why}") };
    let Some(loaded) = &started_with.loaded else { return kept("no --config names a file") };
    let path = loaded.path.display().to_string();
    let (cli, warnings) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(Refusal::File(problems)) => return kept(&problems.join("; ")),
        Err(Refusal::Arguments(error)) => {
            let text = error.render().to_string();
            return kept(text.lines().next().unwrap_or_default());
        }
    };
    let Command::Live(live) = &cli.command else { return kept("it is no live run") };
    // What waits for a restart is named each time, until it is done.
    let later = changed(values(started_with), values(&live.engine.from_file));
    let mut text = format!("{path} read again");
    if !later.is_empty() {
        text.push_str(&format!("; takes effect at restart: {}", later.join(", ")));
    }
    for warning in warnings {
        text.push_str(&format!("; {warning}"));
    }
    Reload { settings: Some(Box::new(settings(live))), text }
}

fn values(from_file: &FromFile) -> Option<&BTreeMap<String, Vec<OsString>>> {
    from_file.loaded.as_ref().map(|loaded| &loaded.values)
}

/// Options with other values than before that do not take effect at once.
fn changed(
    before: Option<&BTreeMap<String, Vec<OsString>>>,
    now: Option<&BTreeMap<String, Vec<OsString>>>,
) -> Vec<String> {
    let of = |values: Option<&BTreeMap<String, Vec<OsString>>>, name: &String| {
        values.and_then(|values| values.get(name)).cloned().unwrap_or_default()
    };
    let names = now.into_iter().flat_map(BTreeMap::keys);
    names
        .filter(|name| !AT_ONCE.contains(&name.as_str()) && of(before, name) != of(now, name))
        .cloned()
        .collect()
}
