//! Whom the files and folders that flowtap makes are open to.
//!
//! Packets as they were, and maps of processes with their command lines, are their
//! owner's alone. What is made of them (records, alerts, summaries, pages, baselines)
//! is for the owner's group too: whoever ships logs or looks at alerts can be in it.
//! Nothing is for everybody on the machine, who talks to whom least of all. The
//! process's umask can take more away, never give.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Who may read a file, besides root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Mode 0600.
    Owner,
    /// Mode 0640.
    Group,
}

/// Of folders: the group reads what is in them.
#[cfg(unix)]
const FOLDER_MODE: u32 = 0o750;

impl Access {
    #[cfg(unix)]
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
        }
    }

    /// For files that are made by opening them.
    pub(crate) fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(self.mode());
        }
        options
    }

    /// Writes a file from its begin, through links and into pipes too. A file that was
    /// there keeps its mode, but where it is to be the owner's alone.
    pub(crate) fn create(self, path: &Path) -> io::Result<File> {
        let file = self.options().write(true).create(true).truncate(true).open(path)?;
        #[cfg(unix)]
        if self == Self::Owner {
            use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
            let there = file.metadata()?;
            if there.is_file() && there.mode() & 0o077 != 0 {
                file.set_permissions(fs::Permissions::from_mode(self.mode()))?;
            }
        }
        Ok(file)
    }

    /// Makes a file anew in the place of one that was there: never writes through a
    /// link, nor into what somebody else holds open.
    pub(crate) fn replace(self, path: &Path) -> io::Result<File> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.options().write(true).create_new(true).open(path)
    }
}

/// Makes a folder and those above it, as far as they are not there. Gives those that
/// it made, the outermost first.
pub(crate) fn make_folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.is_dir();
    let missing: Vec<&Path> = path.ancestors().take_while(missing).collect();
    let mut made = Vec::new();
    for folder in missing.into_iter().rev() {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(FOLDER_MODE);
        }
        match builder.create(folder) {
            Ok(()) => made.push(folder.to_owned()),
            // Another process was faster, or it is `..` of a folder that is there now.
            Err(_) if folder.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().expect("it is there").permissions().mode() & 0o7777
    }

    #[test]
    fn files_are_open_to_whom_they_are_for_whatever_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for (access, expected) in [(Access::Owner, 0o600), (Access::Group, 0o640)] {
            // What the umask of whoever runs this takes away.
            let masked = |path: &Path| assert_eq!(mode(path) & !expected, 0, "{access:?}");
            let name = path(&format!("{access:?}"));
            access.create(&name).expect("created");
            masked(&name);
            fs::set_permissions(&name, fs::Permissions::from_mode(0o666)).expect("opened");
            access.replace(&name).expect("replaced");
            masked(&name);
        }
        let packets = path("packets");
        fs::write(&packets, "older").expect("written");
        fs::set_permissions(&packets, fs::Permissions::from_mode(0o644)).expect("opened");
        Access::Owner.create(&packets).expect("created");
        assert_eq!((mode(&packets), fs::metadata(&packets).expect("there").len()), (0o600, 0));
    }

    #[test]
    fn a_link_is_replaced_and_what_it_leads_to_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (aim, link) = (folder.path().join("aim"), folder.path().join("link"));
        fs::write(&aim, "whole").expect("written");
        std::os::unix::fs::symlink(&aim, &link).expect("linked");
        Access::Group.replace(&link).expect("replaced");
        assert!(link.symlink_metadata().expect("there").is_file());
        assert_eq!(fs::read(&aim).expect("there"), b"whole");
        assert!(Access::Group.replace(folder.path()).is_err());
    }

    #[test]
    fn folders_are_made_down_to_the_last_and_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let outer = folder.path().join("a");
        let inner = outer.join("b");
        let made = make_folders(&inner).expect("made");
        assert_eq!(made, [outer.clone(), inner.clone()]);
        assert!([&outer, &inner].iter().all(|made| mode(made) & !FOLDER_MODE == 0));
        assert_eq!(make_folders(&inner).expect("there"), Vec::<PathBuf>::new());
        assert_eq!(make_folders(&outer.join("c/../d")).expect("made").len(), 2);
        fs::write(outer.join("file"), "").expect("written");
        assert!(make_folders(&outer.join("file/x")).is_err());
    }
}
