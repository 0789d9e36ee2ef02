//! `--report out.html`: a run, or a score of the lab, as one file for a browser.
//!
//! The page stands alone: styles, script and data are in it, its policy forbids all else,
//! and nothing is fetched. Tables and charts are there without the script, which sorts,
//! filters, pages through flows and switches the theme. What is in it of traffic can't
//! become markup (`markup`). Memory is bounded by what a [`Collector`] keeps.
//!
//! Never reads the wall clock, and never decides anything: it shows what the summary, the
//! alerts and the scores say. Start at [`run_page`], [`score_page`] and [`sweep_page`].

mod alerts;
mod charts;
mod collect;
mod flows;
mod lab;
mod ledger;
mod markup;
mod page;
mod run;

use std::io::{self, Write as _};
use std::path::Path;

pub use collect::Collector;
pub use lab::{score_page, sweep_page};
pub use page::BEGINNING;
pub use run::{RunPage, run_page};

use crate::output::access::Access;
use crate::whole_file;

/// Writes the page under another name and moves it into place, so that nobody ever sees
/// half of it. It is for the owner and the group; who hands it on can open it further.
pub fn write(path: &Path, page: &str) -> io::Result<()> {
    whole_file::write(path, Access::Group, |mut file| {
        file.write_all(page.as_bytes())?;
        // A page that takes the place of an older one must be whole after a power failure
        // too.
        file.sync_all()
    })
}
