//! Options of what is known of hosts: the user's own files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use super::Usage;
use crate::host::destination::Lists;
use crate::host::inventory::Inventory;
use crate::host::table::{Warning, Watched};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct HostArgs {
    /// Name the instances that addresses belong to by this inventory: CSV with a
    /// header, or JSON. A live run reads it again when it changes.
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// Name owners of addresses by this MMDB file or CSV list (prefix,owner,note);
    /// repeated, the longest prefix of all counts.
    #[arg(long, value_name = "FILE")]
    owners: Vec<PathBuf>,
    /// Say of addresses and names what this CSV list has of them
    /// (address,category,score,note; prefixes and names too); may be repeated.
    #[arg(long, value_name = "FILE")]
    reputation: Vec<PathBuf>,
}

/// The files, as they were read.
#[derive(Debug)]
pub(crate) struct HostFiles {
    pub(crate) inventory: Option<Arc<Watched<Inventory>>>,
    pub(crate) lists: Arc<Lists>,
    pub(crate) warnings: Vec<Warning>,
}

impl HostArgs {
    /// Reads all files. One that is no good is an error of usage: nothing is run with
    /// half of what was asked for.
    pub(crate) fn open(&self) -> anyhow::Result<HostFiles> {
        let refused = |error| Usage(format!("{error}"));
        let mut warnings = Vec::new();
        let mut inventory = None;
        if let Some(path) = &self.inventory {
            let (read, told) = Watched::open(path).map_err(refused)?;
            inventory = Some(Arc::new(read));
            warnings.extend(told);
        }
        let (lists, told) = Lists::open(&self.owners, &self.reputation).map_err(refused)?;
        warnings.extend(told);
        Ok(HostFiles { inventory, lists: Arc::new(lists), warnings })
    }

    /// All files that are named: a live run must be able to read them later too.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let files = self.inventory.iter().chain(&self.owners).chain(&self.reputation);
        files.map(PathBuf::as_path)
    }
}

impl HostFiles {
    /// No file was named.
    pub(crate) fn is_empty(&self) -> bool {
        self.inventory.is_none() && self.lists.is_empty()
    }

    /// Reads again what changed; what happened, for people. For a thread that may wait
    /// for a disk, each second.
    pub(crate) fn look(&self, now: Instant) -> Vec<String> {
        let inventory = self.inventory.iter().filter_map(|file| file.look(now));
        inventory.chain(self.lists.look(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::host::destination::Destinations;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        host: HostArgs,
    }

    fn args(arguments: &[&str]) -> HostArgs {
        let line = std::iter::once("flowtap").chain(arguments.iter().copied());
        Line::try_parse_from(line).expect("arguments").host
    }

    #[test]
    fn files_that_options_name_are_read_and_read_again() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("a.csv"), "id,address,colour\nweb-1,192.0.2.1,red\n").expect("file");
        fs::write(path("o.csv"), "192.0.2.0/24,Example Org\n").expect("file");
        fs::write(path("p.csv"), "192.0.2.0/25,Example Lab\n").expect("file");
        fs::write(path("bad.csv"), "192.0.2.1,c2,90\n").expect("file");
        let args = args(&[
            "--inventory",
            &path("a.csv"),
            "--owners",
            &path("o.csv"),
            "--owners",
            &path("p.csv"),
            "--reputation",
            &path("bad.csv"),
        ]);
        assert_eq!(args.paths().count(), 4);
        let files = args.open().expect("good files");
        let warning = format!("{}: unknown column left out: 'colour'", path("a.csv"));
        assert_eq!(files.warnings, [Warning(warning)]);
        let address = "192.0.2.1".parse().expect("address");
        let instance = files.inventory.as_ref().and_then(|file| file.get().by_address(address));
        assert_eq!(instance.expect("instance").id, "web-1");
        let about = Destinations::new(Arc::clone(&files.lists)).about(address, 0);
        assert_eq!(about.owner.expect("owner").name, "Example Lab");
        assert_eq!(about.reputation[0].category, "c2");

        let start = Instant::now();
        assert_eq!(files.look(start), [""; 0]);
        fs::write(path("a.csv"), "id,address\nweb-two,192.0.2.1\n").expect("file");
        fs::write(path("o.csv"), "192.0.2.0/33,Example Org\n").expect("file");
        assert_eq!(files.look(start + Duration::from_secs(1)), [""; 0], "may be half written");
        let told = files.look(start + Duration::from_secs(2));
        assert_eq!(
            told,
            [
                format!("{} read again", path("a.csv")),
                format!(
                    "{0} kept as it was: {0}:1:1: prefix: '192.0.2.0/33' is neither an address \
                     (192.0.2.1) nor a prefix (192.0.2.0/24)",
                    path("o.csv")
                ),
            ]
        );
        let instance = files.inventory.as_ref().and_then(|file| file.get().by_address(address));
        assert_eq!(instance.expect("instance").id, "web-two");
    }

    #[test]
    fn a_file_that_is_no_good_is_an_error_of_usage() {
        let error = args(&["--reputation", "/nowhere.csv"]).open().expect_err("no such file");
        assert!(error.is::<Usage>());
        let text = "can't read /nowhere.csv: No such file or directory (os error 2)";
        assert_eq!(error.to_string(), text);
    }
}
