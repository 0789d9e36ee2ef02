//! Options of a Kubernetes pod list, and how they are handed to the watcher.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::host::workload::{PodList, PodSource};

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct PodArgs {
    /// Name the pods that containers belong to by this list: JSON as a kubelet's
    /// /pods or the API's /api/v1/pods answer it, from a file or an http(s) URL. It
    /// is read again as it changes.
    #[arg(long, value_name = "SOURCE", value_parser = place)]
    pods: Option<String>,
    /// Read the list with the bearer token in this file.
    #[arg(long, value_name = "FILE", requires = "pods")]
    pods_token_file: Option<PathBuf>,
    /// Believe a server of the list that these certificates (PEM) vouch for, in place
    /// of the system's.
    #[arg(long, value_name = "FILE", requires = "pods")]
    pods_ca: Option<PathBuf>,
}

/// A server is asked again after this time; sooner for a container that its list
/// does not have.
const INTERVAL: Duration = Duration::from_secs(60);

fn place(text: &str) -> Result<String, String> {
    PodSource::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl PodArgs {
    /// The list, on a thread of its own.
    pub(super) fn start(&self) -> io::Result<Option<PodList>> {
        self.source().map(|source| PodList::start(source, INTERVAL)).transpose()
    }

    /// The list comes over the network.
    pub(super) fn fetches(&self) -> bool {
        self.source().is_some_and(|source| source.is_fetched())
    }

    fn source(&self) -> Option<PodSource> {
        // It was good when the arguments were read.
        let mut source = PodSource::new(self.pods.as_ref()?).ok()?;
        source.token_file.clone_from(&self.pods_token_file);
        source.certificates.clone_from(&self.pods_ca);
        Some(source)
    }

    /// The same options once more, for another process.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let path = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        let given = [
            ("--pods", self.pods.clone().map(OsString::from)),
            ("--pods-token-file", path(&self.pods_token_file)),
            ("--pods-ca", path(&self.pods_ca)),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.flat_map(|(name, value)| [name.into(), value]).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        pods: PodArgs,
    }

    #[test]
    fn options_are_handed_on_as_they_were_given() {
        let given =
            ["--pods", "https://node:10250/pods?x=y", "--pods-token-file", "t", "--pods-ca", "c"];
        let read = |words: &[OsString]| {
            let words = [&[OsString::from("flowtap")], words].concat();
            Line::try_parse_from(words).map(|line| line.pods)
        };
        let words = given.map(OsString::from);
        let pods = read(&words).unwrap();
        assert_eq!(pods.arguments(), words);
        assert!(pods.fetches());
        let source = pods.source().unwrap();
        assert_eq!(source.token_file, Some("t".into()));
        assert_eq!(source.certificates, Some("c".into()));
        assert!(!read(&["--pods".into(), "list.json".into()]).unwrap().fetches());
        assert!(read(&[]).unwrap().arguments().is_empty());
        assert!(read(&["--pods".into(), "ftp://x/".into()]).is_err());
        assert!(read(&["--pods-ca".into(), "c".into()]).is_err(), "of what?");
    }
}
