//! The format of bundles: tar, compressed by zstd, `manifest.json` first.
//!
//! Whoever sends one may mean harm: it is read in memory alone, never onto disk; what
//! it unfolds to, how many files it has and how long each is are bounded; a name that
//! is not one of ours ends the reading.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(super) const SCHEMA: &str = "flowtap.bundle.v1";
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const ALERT: &str = "alert.json";

/// Everything that a bundle may hold.
const NAMES: [&str; 9] = [
    ALERT,
    "formula.json",
    "baseline.json",
    "process.json",
    "verdicts.ndjson",
    "run.json",
    "flows.ndjson",
    "packets.pcapng",
    MANIFEST,
];

/// Room for [`MOST_FILE_BYTES`] of packets, and all else.
const MOST_BYTES: u64 = 512 << 20;
pub(super) const MOST_FILE_BYTES: u64 = 256 << 20;
/// An alert or a manifest: kept in memory while the rest is only hashed.
const MOST_JSON_BYTES: u64 = 16 << 20;

/// The memory that a hostile frame can ask for: zstd's default at level 9 needs 4 MiB.
const WINDOW_LOG: u32 = 23;
const LEVEL: i32 = 9;

pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) what: String,
    pub(super) bytes: Vec<u8>,
}

/// The bundle's bytes: no times, owners or names of this machine in them.
pub(super) fn pack(manifest: &Value, files: &[Part]) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    add(&mut tar, MANIFEST, &text)?;
    for file in files {
        add(&mut tar, file.name, &file.bytes)?;
    }
    let plain = tar.into_inner()?;
    let mut packed = zstd::Encoder::new(Vec::new(), LEVEL)?;
    packed.window_log(WINDOW_LOG)?;
    packed.include_checksum(true)?;
    packed.write_all(&plain)?;
    Ok(packed.finish()?)
}

fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(&mut header, name, bytes)
}

/// The bytes of the alert, after everything was held against the manifest.
pub(super) fn unpack(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    let mut decoder = zstd::Decoder::with_buffer(BufReader::new(file))?;
    decoder.window_log_max(WINDOW_LOG)?;
    let mut tar = tar::Archive::new(decoder.take(MOST_BYTES));
    let (mut manifest, mut alert) = (Value::Null, None);
    let mut seen: Vec<&str> = Vec::new();
    for entry in tar.entries()? {
        let mut entry = entry.context("it is no tar archive")?;
        let name = entry.path_bytes();
        let name = NAMES.into_iter().find(|known| known.as_bytes() == &*name);
        let Some(name) = name else { bail!("it holds a file that no bundle has") };
        let is_plain = entry.header().entry_type().is_file();
        ensure!(is_plain && !seen.contains(&name), "{name} is there twice, or no file");
        let size = entry.size();
        let digest = if name == MANIFEST || name == ALERT {
            ensure!(size <= MOST_JSON_BYTES, "{name} has {size} bytes");
            let mut bytes = Vec::new();
            (&mut entry).take(MOST_JSON_BYTES).read_to_end(&mut bytes)?;
            if name == MANIFEST {
                ensure!(seen.is_empty(), "its manifest does not come first");
                manifest = serde_json::from_slice(&bytes).context("its manifest is no JSON")?;
                seen.push(name);
                continue;
            }
            let digest = sha256(&mut bytes.as_slice())?;
            alert = Some(bytes);
            digest
        } else {
            ensure!(size <= MOST_FILE_BYTES, "{name} has {size} bytes");
            sha256(&mut entry)?
        };
        seen.push(name);
        ensure!(listed(&manifest, name) == Some(digest.as_str()), "{name} was changed");
    }
    ensure!(manifest["schema"] == SCHEMA, "its manifest is none of {SCHEMA}");
    let files = manifest["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(files.len() + 1 == seen.len(), "files are missing");
    alert.context("it holds no alert")
}

fn listed<'a>(manifest: &'a Value, name: &str) -> Option<&'a str> {
    let files = manifest["files"].as_array()?;
    files.iter().find(|file| file["name"] == name)?["sha256"].as_str()
}

pub(super) fn sha256(bytes: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match bytes.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn part(name: &'static str, text: &str) -> Part {
        Part { name, what: String::new(), bytes: text.as_bytes().to_vec() }
    }

    fn manifest_of(files: &[Part]) -> Value {
        let list: Vec<Value> = files
            .iter()
            .map(|file| {
                let digest = sha256(&mut file.bytes.as_slice()).unwrap();
                json!({"name": file.name, "sha256": digest})
            })
            .collect();
        json!({"schema": SCHEMA, "files": list})
    }

    fn read(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        unpack(file.path())
    }

    #[test]
    fn what_is_packed_is_read_back_and_the_bytes_are_the_same() {
        let files = [part(ALERT, "{}"), part("run.json", "{\"a\": 1}")];
        let manifest = manifest_of(&files);
        let packed = pack(&manifest, &files).unwrap();
        assert_eq!(packed, pack(&manifest, &files).unwrap());
        assert_eq!(read(&packed).unwrap(), b"{}");
    }

    #[test]
    fn what_was_changed_or_does_not_belong_there_is_refused() {
        let files = [part(ALERT, "{}"), part("run.json", "x")];
        let manifest = manifest_of(&files);
        let changed = [part(ALERT, "{ }"), part("run.json", "x")];
        let twice = [part(ALERT, "{}"), part(ALERT, "{}")];
        let outside = [part(ALERT, "{}"), part("evil", "x")];
        for (why, manifest, files) in [
            ("was changed", &manifest, &changed[..]),
            ("files are missing", &manifest, &files[..1]),
            ("twice", &manifest_of(&twice), &twice[..]),
            ("no bundle has", &manifest_of(&outside), &outside[..]),
            ("none of", &json!({}), &[][..]),
        ] {
            let said = format!("{:#}", read(&pack(manifest, files).unwrap()).unwrap_err());
            assert!(said.contains(why), "{why}: {said}");
        }
        // A name that climbs: built by hand, tar's own writer refuses it.
        let mut tar = vec![0; 2048];
        tar[..14].copy_from_slice(b"../../.profile");
        tar[156] = b'0';
        tar[124..135].copy_from_slice(b"00000000001");
        let sum: u32 = tar[..512].iter().map(|&byte| u32::from(byte)).sum::<u32>() + 8 * 32;
        tar[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        let said = format!("{:#}", read(&zstd::encode_all(&tar[..], 1).unwrap()).unwrap_err());
        assert!(said.contains("no bundle has"), "{said}");
    }

    #[test]
    fn what_unfolds_without_end_ends() {
        let zeros = vec![b' '; 32 << 20];
        let files = [Part { name: ALERT, what: String::new(), bytes: zeros }];
        let said = format!("{:#}", read(&pack(&manifest_of(&files), &files).unwrap()).unwrap_err());
        assert!(said.contains("bytes"), "{said}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000), as_tar: bool,
        ) {
            let bytes = if as_tar { zstd::encode_all(&bytes[..], 1).unwrap() } else { bytes };
            prop_assert!(read(&bytes).is_err());
        }
    }
}
