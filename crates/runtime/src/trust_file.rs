//! The keys that a device has pinned, on its disk: `trust.json` in the store's folder.
//!
//! A file that is not there pins no key, so that nothing is trusted. A file that is not what was written is an error, and
//! whoever asks it gets no [`Trust`] at all: damage never makes a device trust more, nor forget silently whom it trusts.
//! Whoever can write this file decides what is attached; it is to be protected as the base is.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use taskvec_pack::{Digest, KeyId, PublicKey};

use crate::error::{Error, ErrorKind};
use crate::trust::Trust;

const FILE: &str = "trust.json";
const FORMAT: &str = "taskvec trust";
const VERSION: u32 = 1;
/// What is digested into the file's digest starts with this.
const DOMAIN: &[u8; 17] = b"taskvec trust v1\0";
/// 64 keys take about 10 KiB.
const FILE_BYTES_MAX: u64 = 1 << 16;
/// A public key file has 127 bytes.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// The file with the pinned keys of a device.
#[derive(Clone, Debug)]
pub struct TrustFile {
    path: PathBuf,
}

/// What `trust.json` says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    version: u32,
    threshold: usize,
    keys: Vec<WrittenKey>,
    /// Of threshold and keys, so that no damage by accident passes for another trust.
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    id: String,
    /// 64 hexadecimal digits.
    key: String,
}

impl TrustFile {
    /// The file in this folder, whether it is there or not.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(FILE) }
    }

    /// Whom the device trusts: nobody, when no key was ever pinned.
    ///
    /// # Errors
    /// `Damaged` when the file is not what was written; `Unsupported` for a newer version; `Io`.
    pub fn read(&self) -> Result<Trust, Error> {
        let bytes = match read_at_most(&self.path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Trust::default()),
            Err(cause) => return Err(Error::io("read", &self.path, cause)),
        };
        let damaged = |clause: String| {
            Error::new(ErrorKind::Damaged, format!("`{}`: {clause}", self.path.display()))
                .with_help("nothing is trusted until this is settled: remove the file and pin the keys again")
        };
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(damaged(format!("more than {FILE_BYTES_MAX} bytes")));
        }
        let written: Written = serde_json::from_slice(&bytes).map_err(|cause| damaged(cause.to_string()))?;
        if written.format != FORMAT || written.version != VERSION {
            let found = format!("`{}` version {}", written.format, written.version);
            let clause = format!("`{}` is {found}, expected `{FORMAT}` version {VERSION}", self.path.display());
            return Err(Error::new(ErrorKind::Unsupported, clause).with_help("a newer taskvec-device may read it"));
        }
        let mut keys = Vec::new();
        for written in written.keys {
            let key = PublicKey::from_hex(&written.key).ok().filter(|key| key.id().to_string() == written.id);
            keys.push(key.ok_or_else(|| damaged(format!("`{}` is not the id of key `{}`", written.id, written.key)))?);
        }
        let trust = pinned(keys, written.threshold).map_err(|cause| damaged(cause.to_string()))?;
        let digest = digest(&trust);
        if digest.to_string() != written.digest {
            return Err(damaged(format!("digest is {}, expected {digest}", written.digest)));
        }
        Ok(trust)
    }

    /// Pins a key. Returns whom the device trusts now.
    ///
    /// # Errors
    /// `Usage` when the key is none that could be trusted, or there are [`Trust::KEYS_MAX`]; those of [`TrustFile::read`];
    /// `Io`, and the file is as it was.
    pub fn add(&self, key: PublicKey) -> Result<Trust, Error> {
        self.change(|trust| Trust::in_keys(trust.keys().chain([key]), trust.threshold()))
    }

    /// Takes a pinned key away.
    ///
    /// # Errors
    /// `Usage` when it is not pinned, or fewer keys would remain than must have signed; otherwise as [`TrustFile::add`].
    pub fn remove(&self, id: &KeyId) -> Result<Trust, Error> {
        self.change(|trust| {
            let rest: Vec<PublicKey> = trust.keys().filter(|key| key.id() != *id).collect();
            if rest.len() == trust.keys().len() {
                return Err(Error::new(ErrorKind::Usage, format!("no key {id} is pinned"))
                    .with_help("`taskvec-device trust list` shows the pinned keys"));
            }
            pinned(rest, trust.threshold())
        })
    }

    /// Says how many of the pinned keys must have signed a pack.
    ///
    /// # Errors
    /// `Usage` when it is 0 or more than are pinned; otherwise as [`TrustFile::add`].
    pub fn set_threshold(&self, threshold: usize) -> Result<Trust, Error> {
        self.change(|trust| pinned(trust.keys().collect(), threshold))
    }

    /// Reads, edits and writes, while no other process does.
    fn change(&self, edit: impl FnOnce(&Trust) -> Result<Trust, Error>) -> Result<Trust, Error> {
        let refused = |cause| Error::io("write", &self.path, cause);
        fs::create_dir_all(folder(&self.path)).map_err(refused)?;
        let _lock = self.lock().map_err(refused)?;
        let trust = edit(&self.read()?)?;
        let key = |key: PublicKey| WrittenKey { id: key.id().to_string(), key: format!("{key:x}") };
        let written = Written {
            format: FORMAT.to_owned(),
            version: VERSION,
            threshold: trust.threshold(),
            keys: trust.keys().map(key).collect(),
            digest: digest(&trust).to_string(),
        };
        let text = serde_json::to_vec_pretty(&written).map_err(|cause| refused(cause.into()))?;
        write(&self.path, &text).map_err(refused)?;
        Ok(trust)
    }

    /// Held until the result is dropped; the system takes it back from a process that ends.
    fn lock(&self) -> io::Result<File> {
        let file = File::create(self.path.with_extension("lock"))?;
        file.lock()?;
        Ok(file)
    }
}

/// The public key in the file at `path`, as `taskvec key new` writes it.
///
/// # Errors
/// `Io` when it cannot be read; `Damaged` when it is no public key file.
pub fn read_public_key(path: &Path) -> Result<PublicKey, Error> {
    let bytes = read_at_most(path, KEY_FILE_BYTES_MAX).map_err(|cause| Error::io("read", path, cause))?;
    let damaged = |cause: String| {
        Error::new(ErrorKind::Damaged, format!("`{}` is no public key file: {cause}", path.display()))
            .with_help("name the `.pub` file that `taskvec key new` wrote")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text".to_owned()))?;
    text.parse().map_err(|cause: taskvec_pack::KeyError| damaged(cause.to_string()))
}

/// As [`Trust::in_keys`], but where there are no keys nobody is trusted.
fn pinned(keys: Vec<PublicKey>, threshold: usize) -> Result<Trust, Error> {
    if keys.is_empty() && threshold == 1 { Ok(Trust::default()) } else { Trust::in_keys(keys, threshold) }
}

/// SHA-256 of the domain, the threshold as eight little-endian bytes, and the keys in ascending order of their ids.
fn digest(trust: &Trust) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    hasher.update((trust.threshold() as u64).to_le_bytes());
    trust.keys().for_each(|key| hasher.update(key.0));
    Digest(hasher.finalize().into())
}

/// One byte more than `bytes_max` tells that the file is longer.
fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes aside, syncs, renames, syncs the folder: the file is the old one or the new one, also after a power cut.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("aside");
    let mut file = File::create(&aside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // What matters is told; a file aside that stays is overwritten next time.
        let _ = fs::remove_file(&aside);
        return written;
    }
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
