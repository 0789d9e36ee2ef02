//! Baselines on disk: one redb file, one writer, many readers.
//!
//! A flush is one transaction: a kill at any moment leaves the state of the last one.
//! Readers see the state of when they opened it, while a writer goes on. Each profile
//! carries a digest; one that does not fit is kept apart in `lost`, and its entity
//! learned anew. A damaged file is set aside under another name; one of a newer flowtap,
//! or that never was ours, is refused. Nothing is removed that can't be read.

use std::io::{self, BufRead as _, Read as _};
use std::path::{Path, PathBuf};

use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction,
    ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError, TableHandle,
};
use thiserror::Error;

use super::code::is_newer;
use super::learned::{FileMark, LearnedFile};
use crate::output::access::Access;

/// Rises when older programs can't read what newer ones write: since names, sizes
/// by service and unanswered packets are learned. A file has it from the first of them on.
const FORMAT: u64 = 2;
/// Of a file without any.
const BEFORE_NAMES: u64 = 1;
/// Pages of the file that are held: profiles are cached as they are.
const CACHE_BYTES: usize = 32 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("flowtap_baselines");
const PROFILES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("profiles");
/// Entities with the second that they were last active in.
const INDEX: TableDefinition<'_, &str, i64> = TableDefinition::new("index");
/// Spans under alert, by entity and start.
const PENDING: TableDefinition<'_, (&str, i64), &[u8]> = TableDefinition::new("pending");
const FLEET: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("fleet");
const LOST: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lost");
/// By a file's mark: its number, when the first and the last packet were, whether it was read
/// to its end. Not in a file of before there was any; older programs pass it over.
const FILES: TableDefinition<'_, &[u8; 32], FileRow> = TableDefinition::new("learned_files");
type FileRow = (u64, Option<(i64, i64)>, bool);
/// The fleet's rows, by prefix and by name.
const PLACES: &str = "places";
const NAMES: &str = "names";
/// That of versions that counted processes and workloads beside the places they are in.
/// Where it is there, such a one wrote last, and what else there is of a fleet is old.
const ALL_KINDS: &str = "prefixes";

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{}: in use by another flowtap that learns", .0.display())]
    InUse(PathBuf),
    #[error("{}: written by a newer flowtap (format {found}, this one reads {FORMAT})", .path.display())]
    TooNew { path: PathBuf, found: u64 },
    /// A path that was mistyped, as likely as not.
    #[error("{}: not a file of baselines: give another path, or move it away", .0.display())]
    Foreign(PathBuf),
    #[error("{}: no baselines of flowtap, or damaged: {why}", .path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{}: {why}", .path.display())]
    Failed { path: PathBuf, why: String },
}

/// What is written in one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) profiles: Vec<(std::sync::Arc<str>, i64, Vec<u8>)>,
    pub(super) forgotten: Vec<std::sync::Arc<str>>,
    /// Without bytes: over.
    pub(super) pending: Vec<(std::sync::Arc<str>, i64, Option<Vec<u8>>)>,
    pub(super) fleet: Option<FleetBytes>,
    /// Without anything: over.
    pub(super) files: Vec<(FileMark, Option<LearnedFile>)>,
    /// There are names in it.
    pub(super) has_names: bool,
    /// Profiles that could not be read.
    pub(super) lost: Vec<std::sync::Arc<str>>,
}

#[derive(Debug, Default)]
pub(super) struct FleetBytes {
    pub(super) prefixes: Vec<u8>,
    /// None in a file of before there were any.
    pub(super) names: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    file: File,
}

enum File {
    Writer(Database),
    /// One snapshot, whatever a writer does.
    Reader {
        snapshot: ReadTransaction,
        _file: ReadOnlyDatabase,
    },
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Writer(_) => "Writer",
            Self::Reader { .. } => "Reader",
        })
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter).set_cache_size(CACHE_BYTES);
    builder
}

impl Store {
    /// For learning; made where it is not there. What had to be set aside is told.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<String>), StoreError> {
        make(path)?;
        match Self::open_writer(path) {
            Err(StoreError::Damaged { .. })
                if !was_ours(path).map_err(|error| failed(path, error))? =>
            {
                Err(StoreError::Foreign(path.to_owned()))
            }
            Err(StoreError::Damaged { why, .. }) => {
                let aside = set_aside(path).map_err(|error| failed(path, error))?;
                let text = format!(
                    "{}: no baselines of flowtap, or damaged ({why}): set aside as {}, learning \
                     begins anew",
                    path.display(),
                    aside.display()
                );
                make(path)?;
                Self::open_writer(path).map(|store| (store, Some(text)))
            }
            opened => opened.map(|store| (store, None)),
        }
    }

    fn open_writer(path: &Path) -> Result<Self, StoreError> {
        // The whole file is read and held against its checksums: what damage it has is
        // found now, and not by somebody who looks for an entity.
        let mut builder = builder();
        builder.set_check_integrity_on_open(true);
        let file = guarded(|| builder.open(path)).map_err(|why| damaged(path, why))?;
        let file = file.map_err(|error| opening(path, error))?;
        let store = Self { path: path.to_owned(), file: File::Writer(file) };
        store.check_format()?;
        Ok(store)
    }

    /// For reading alone: the state of now.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        is_there(path)?;
        let open = || match builder().open_read_only(path) {
            // Its writer was killed. Whoever may write puts that right.
            Err(DatabaseError::RepairAborted) => {
                drop(builder().open(path)?);
                builder().open_read_only(path)
            }
            opened => opened,
        };
        let file = guarded(open).map_err(|why| damaged(path, why))?;
        let file = file.map_err(|error| opening(path, error))?;
        let snapshot = file.begin_read().map_err(|error| failed(path, error))?;
        let store = Self { path: path.to_owned(), file: File::Reader { snapshot, _file: file } };
        store.check_format()?;
        Ok(store)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let found = self.read(|read| {
            let format = match read.open_table(META) {
                Ok(meta) => meta.get("format")?.map(|format| format.value()),
                Err(TableError::TableDoesNotExist(_)) => None,
                Err(error) => return Err(error.into()),
            };
            let tables: Vec<String> =
                read.list_tables()?.map(|table| table.name().to_owned()).collect();
            Ok((format, tables))
        });
        match found.map_err(|why| damaged(&self.path, why))? {
            (Some(found), _) if found > FORMAT => {
                Err(StoreError::TooNew { path: self.path.clone(), found })
            }
            (Some(_), _) => Ok(()),
            (None, tables) => Err(damaged(&self.path, format!("it holds {}", tables.join(", ")))),
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, String> {
        let read = || match &self.file {
            File::Writer(file) => read(&file.begin_read()?),
            File::Reader { snapshot, .. } => read(snapshot),
        };
        guarded(read)?.map_err(|error| error.to_string())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn profile(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.read(|read| {
            let profiles = read.open_table(PROFILES)?;
            Ok(profiles.get(key)?.map(|bytes| bytes.value().to_vec()))
        });
        read.map_err(|error| self.failed(error))
    }

    /// All entities with the second that they were last active in.
    pub(super) fn index(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let read = self.read(|read| {
            let index = read.open_table(INDEX)?;
            let rows = index.iter()?.map(|row| {
                let (key, last_s) = row?;
                Ok((key.value().to_owned(), last_s.value()))
            });
            rows.collect::<Result<Vec<_>, redb::Error>>()
        });
        read.map_err(|error| self.failed(error))
    }

    pub(super) fn pending(&self) -> Result<Vec<(String, i64, Vec<u8>)>, StoreError> {
        let read = self.read(|read| {
            let pending = read.open_table(PENDING)?;
            let rows = pending.iter()?.map(|row| {
                let (key, bytes) = row?;
                let (entity, from_s) = key.value();
                Ok((entity.to_owned(), from_s, bytes.value().to_vec()))
            });
            rows.collect::<Result<Vec<_>, redb::Error>>()
        });
        read.map_err(|error| self.failed(error))
    }

    /// Files that were learned from.
    pub(super) fn files(&self) -> Result<Vec<(FileMark, LearnedFile)>, StoreError> {
        let read = self.read(|read| {
            let files = match read.open_table(FILES) {
                Ok(files) => files,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let rows = files.iter()?.map(|row| {
                let (mark, file) = row?;
                let (number, span_ns, whole) = file.value();
                Ok((FileMark(*mark.value()), LearnedFile { number, span_ns, whole }))
            });
            rows.collect::<Result<Vec<_>, redb::Error>>()
        });
        read.map_err(|error| self.failed(error))
    }

    pub(super) fn fleet(&self) -> Result<Option<FleetBytes>, StoreError> {
        let read = self.read(|read| {
            let fleet = read.open_table(FLEET)?;
            if fleet.get(ALL_KINDS)?.is_some() {
                return Ok(None);
            }
            let row = |row: &str| -> Result<Option<Vec<u8>>, redb::Error> {
                Ok(fleet.get(row)?.map(|bytes| bytes.value().to_vec()))
            };
            let names = row(NAMES)?;
            Ok(row(PLACES)?.map(|prefixes| FleetBytes { prefixes, names }))
        });
        read.map_err(|error| self.failed(error))
    }

    pub(super) fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let File::Writer(file) = &self.file else {
            return Err(failed(&self.path, "opened for reading alone"));
        };
        let write = || -> Result<(), redb::Error> {
            let write = file.begin_write()?;
            {
                // Of an older file too: from now on it holds what older programs would
                // take for damaged profiles.
                let mut written = batch.profiles.iter().map(|(_, _, bytes)| bytes);
                // Spans that wait hold profiles too.
                let mut waits = batch.pending.iter().map(|(_, _, bytes)| bytes.is_some());
                if batch.has_names
                    || written.any(|bytes| is_newer(bytes))
                    || waits.any(|waits| waits)
                {
                    write.open_table(META)?.insert("format", FORMAT)?;
                }
                let mut profiles = write.open_table(PROFILES)?;
                let mut index = write.open_table(INDEX)?;
                let mut lost = write.open_table(LOST)?;
                for key in &batch.lost {
                    let bytes = profiles.get(&**key)?.map(|bytes| bytes.value().to_vec());
                    if let Some(bytes) = bytes {
                        lost.insert(&**key, &*bytes)?;
                    }
                }
                for key in &batch.forgotten {
                    profiles.remove(&**key)?;
                    index.remove(&**key)?;
                }
                for (key, last_s, bytes) in &batch.profiles {
                    profiles.insert(&**key, &**bytes)?;
                    index.insert(&**key, last_s)?;
                }
                let mut pending = write.open_table(PENDING)?;
                for (key, from_s, bytes) in &batch.pending {
                    match bytes {
                        Some(bytes) => pending.insert((&**key, *from_s), &**bytes)?,
                        None => pending.remove((&**key, *from_s))?,
                    };
                }
                if !batch.files.is_empty() {
                    let mut files = write.open_table(FILES)?;
                    for (mark, file) in &batch.files {
                        match file {
                            Some(LearnedFile { number, span_ns, whole }) => {
                                files.insert(&mark.0, (*number, *span_ns, *whole))?
                            }
                            None => files.remove(&mark.0)?,
                        };
                    }
                }
                if let Some(FleetBytes { prefixes, names }) = &batch.fleet {
                    let mut fleet = write.open_table(FLEET)?;
                    fleet.insert(PLACES, &**prefixes)?;
                    if let Some(names) = names {
                        fleet.insert(NAMES, &**names)?;
                    }
                    fleet.remove(ALL_KINDS)?;
                }
            }
            Ok(write.commit()?)
        };
        let written = guarded(write).map_err(|why| self.failed(why))?;
        written.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: impl ToString) -> StoreError {
        failed(&self.path, error)
    }
}

/// Whether there is a file. What is no file (a device, a pipe, a folder) was mistyped: it is
/// not opened, where a pipe would wait for ever, nor set aside.
fn is_there(path: &Path) -> Result<bool, StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(StoreError::Foreign(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path, error)),
    }
}

/// Makes an empty file where there is none: under another name, and given its own when
/// it is whole, so that a kill leaves no half of one.
fn make(path: &Path) -> Result<(), StoreError> {
    if is_there(path)? {
        return Ok(());
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let open = || -> Result<Database, DatabaseError> {
        Access::Group.options().write(true).create(true).truncate(false).open(&new)?;
        builder().create(&new)
    };
    let create = || match open() {
        Err(DatabaseError::Storage(_)) if new.is_file() => {
            // Somebody was killed while making it.
            std::fs::remove_file(&new)?;
            open()
        }
        created => created,
    };
    let file = create().map_err(|error| opening(&new, error))?;
    let begin = || -> Result<(), redb::Error> {
        let write = file.begin_write()?;
        write.open_table(META)?.insert("format", BEFORE_NAMES)?;
        write.open_table(PROFILES)?;
        write.open_table(INDEX)?;
        write.open_table(PENDING)?;
        write.open_table(FLEET)?;
        write.open_table(LOST)?;
        Ok(write.commit()?)
    };
    begin().map_err(|error| failed(&new, error))?;
    drop(file);
    std::fs::rename(&new, path).map_err(|error| failed(path, error))
}

/// Of a damaged file redb reads numbers that it takes to be impossible, and panics.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    crate::guarded::guarded(work).ok_or_else(|| "what it holds is impossible".to_owned())
}

fn damaged(path: &Path, why: String) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), why }
}

fn failed(path: &Path, error: impl ToString) -> StoreError {
    if ends_early(path).unwrap_or(false) {
        return damaged(path, "it ends early".to_owned());
    }
    StoreError::Failed { path: path.to_owned(), why: error.to_string() }
}

fn opening(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    let why = error.to_string();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::InUse(path)
        }
        DatabaseError::Storage(StorageError::Corrupted(_)) => StoreError::Damaged { path, why },
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::Damaged { path, why }
        }
        _ => StoreError::Failed { path, why },
    }
}

/// Whether it is a file of redb's that is shorter than its header says.
fn ends_early(path: &Path) -> io::Result<bool> {
    const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
    /// With both of its transaction slots.
    const HEADER_BYTES: usize = 320;
    /// Of the header's numbers: a page's bytes, then pages of a region's header and of its
    /// data at most, whole regions, data pages of the last.
    const NUMBERS_AT: usize = 12;
    let file = std::fs::File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut header = Vec::new();
    file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    if !header.starts_with(&MAGIC) {
        return Ok(false);
    }
    if header.len() < HEADER_BYTES {
        return Ok(true);
    }
    let number = |at: usize| {
        let bytes = header.get(NUMBERS_AT + 4 * at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |&bytes| u64::from(u32::from_le_bytes(bytes)))
    };
    let [page_bytes, in_header, in_region, regions, in_last] = std::array::from_fn(number);
    let last = if in_last > 0 { in_header + in_last } else { 0 };
    let pages = regions.saturating_mul(in_header + in_region).saturating_add(1 + last);
    Ok(bytes < pages.saturating_mul(page_bytes))
}

/// Whether the name of our first table is anywhere in a file. One of zeros alone may
/// have been, before the power went; so may one that was cut off before the name.
fn was_ours(path: &Path) -> io::Result<bool> {
    const NAME: &[u8] = b"flowtap_baselines";
    if ends_early(path)? {
        return Ok(true);
    }
    let mut file = io::BufReader::with_capacity(1 << 20, std::fs::File::open(path)?);
    let (mut window, mut zeros) = (Vec::new(), true);
    loop {
        let read = file.fill_buf()?;
        if read.is_empty() {
            return Ok(zeros);
        }
        let length = read.len();
        zeros &= read.iter().all(|&byte| byte == 0);
        window.extend_from_slice(read);
        file.consume(length);
        if memchr::memmem::find(&window, NAME).is_some() {
            return Ok(true);
        }
        // The name may lie across two reads.
        let tail = window.len().saturating_sub(NAME.len());
        window.drain(..tail);
    }
}

/// Gives the file a name that is free.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for n in 1_u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        let aside = PathBuf::from(name);
        if !aside.try_exists()? {
            std::fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
