//! The secret behind pseudonyms, and the file it lies in.
//!
//! Start at [`Key::from_file`].

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Length of a key: one AES-128 key for the cipher, one for the padding.
const KEY_BYTES: usize = 32;

/// A file that holds a key is 64 digits and perhaps a line's end; whatever is
/// longer is another file.
const MAX_FILE_BYTES: u64 = 128;

/// 32 secret bytes. Whoever has them can undo the pseudonyms; whoever loses
/// them gets new pseudonyms.
#[derive(Clone)]
pub struct Key([u8; KEY_BYTES]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("can't read or make the key file {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} holds no key: 64 hexadecimal digits are wanted", path.display())]
    NoKey { path: PathBuf },
    #[error("others may read the key file {} (mode {mode:04o}): chmod 600 it", path.display())]
    Readable { path: PathBuf, mode: u32 },
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

impl Key {
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads the key in `path`: 64 hexadecimal digits. Makes a random one,
    /// readable by its owner alone, if there is no such file.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let io_error = |error| KeyError::Io { path: path.to_owned(), error };
        match File::open(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(path).map_err(io_error)?;
                // What is there now may be somebody else's, who was first.
                Self::read(File::open(path).map_err(io_error)?, path)
            }
            Err(error) => Err(io_error(error)),
        }
    }

    pub(super) fn halves(&self) -> ([u8; 16], [u8; 16]) {
        let (mut first, mut second) = ([0; 16], [0; 16]);
        first.copy_from_slice(&self.0[..16]);
        second.copy_from_slice(&self.0[16..]);
        (first, second)
    }

    fn read(file: File, path: &Path) -> Result<Self, KeyError> {
        let path_of = || path.to_owned();
        let io_error = |error| KeyError::Io { path: path_of(), error };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = file.metadata().map_err(io_error)?.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Readable { path: path_of(), mode });
            }
        }
        let mut text = String::new();
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(io_error)?;
        parse(text.trim_end()).map(Self).ok_or_else(|| KeyError::NoKey { path: path_of() })
    }
}

fn parse(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut key = [0; KEY_BYTES];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        // Two hexadecimal digits fit a byte.
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(key)
}

/// Puts a fresh key there, whole or not at all, and never over another one.
fn make(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let mut text = String::with_capacity(2 * KEY_BYTES + 1);
    for byte in key {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&fresh)?;
    let linked = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        match fs::hard_link(&fresh, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    });
    let removed = fs::remove_file(&fresh);
    linked.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("pseudonyms.key");
        let key = Key::from_file(&path).expect("made");
        assert_eq!(Key::from_file(&path).expect("read").0, key.0);
        assert_ne!(key.0, [0; KEY_BYTES]);
        let other = Key::from_file(&folder.path().join("other.key")).expect("made");
        assert_ne!(other.0, key.0);
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 2, "nothing is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).expect("file").permissions().mode();
            assert_eq!(mode & 0o7777, 0o600);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"0".repeat(500)]
        {
            fs::write(&path, text).expect("written");
            #[cfg(unix)]
            chmod(&path, 0o600);
            assert!(matches!(Key::from_file(&path), Err(KeyError::NoKey { .. })), "{text}");
            assert_eq!(fs::read_to_string(&path).expect("still there"), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        Key::from_file(&path).expect("made");
        chmod(&path, 0o640);
        let error = Key::from_file(&path).expect_err("readable");
        assert!(error.to_string().contains("0640"), "{error}");
    }

    #[cfg(unix)]
    fn chmod(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    }
}
