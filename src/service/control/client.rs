//! The other end of the control socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::snapshot::{SCHEMA, Snapshot};

/// Longest answer: ten times a full snapshot.
const LINE_BYTES: u64 = 4 << 20;

/// Why there is no (further) snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no flowtap answers at {}: {error}", path.display())]
    Unreachable { path: PathBuf, error: io::Error },
    #[error("the service at {} is gone", .0.display())]
    Gone(PathBuf),
    #[error("the service at {} refuses: {said}", path.display())]
    Refused { path: PathBuf, said: String },
    #[error("{} answers something else than {SCHEMA}: {said}", path.display())]
    Strange { path: PathBuf, said: String },
}

/// A connection that snapshots come from.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

impl Client {
    /// Connects and asks for snapshots.
    pub fn watch(path: &Path) -> Result<Self, ClientError> {
        let unreachable = |error| ClientError::Unreachable { path: path.to_owned(), error };
        let mut stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_write_timeout(Some(Duration::from_secs(2))).map_err(unreachable)?;
        stream.write_all(b"{\"watch\":\"screen\"}\n").map_err(unreachable)?;
        Ok(Self { path: path.to_owned(), stream: BufReader::new(stream) })
    }

    /// Waits for the next snapshot.
    pub fn snapshot(&mut self) -> Result<Snapshot, ClientError> {
        let path = || self.path.clone();
        let mut line = String::new();
        let read = (&mut self.stream).take(LINE_BYTES).read_line(&mut line);
        let strange = |said: String| ClientError::Strange { path: path(), said };
        match read {
            Ok(_) if line.ends_with('\n') => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(strange(error.to_string()));
            }
            Ok(read) if read as u64 >= LINE_BYTES => {
                return Err(strange("a line without an end".to_owned()));
            }
            Ok(_) | Err(_) => return Err(ClientError::Gone(path())),
        }
        match serde_json::from_str::<Snapshot>(&line) {
            Ok(snapshot) if snapshot.schema == SCHEMA && snapshot.time.is_empty() => {
                let said = serde_json::from_str::<Refusal>(&line)
                    .map_or_else(|error| error.to_string(), |refusal| refusal.error);
                Err(ClientError::Refused { path: path(), said })
            }
            Ok(snapshot) if snapshot.schema == SCHEMA => Ok(snapshot),
            Ok(snapshot) => Err(strange(snapshot.schema)),
            Err(error) => Err(strange(error.to_string())),
        }
    }
}
