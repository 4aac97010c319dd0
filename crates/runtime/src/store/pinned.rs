//! The keys that a device has pinned: `trust.json` in the store's folder.
//!
//! A file that is not there pins no key, so that nothing is trusted. A file that is not what was written is an error, and
//! whoever asks it gets no [`Trust`] at all: damage never makes a device trust more, nor forget silently whom it trusts.
//! Whoever can write this file decides what is attached; it is to be protected as the base is.

use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use taskvec_pack::{Digest, KeyId, PublicKey};

use super::Store;
use super::disk::{put, refused};
use crate::error::{Error, ErrorKind};
use crate::trust::Trust;

pub(super) const TRUST: &str = "trust.json";
const FORMAT: &str = "taskvec trust";
const VERSION: u32 = 1;
/// What is digested into the file's digest starts with this.
const DOMAIN: &[u8; 17] = b"taskvec trust v1\0";
/// 64 keys take about 10 KiB.
const FILE_BYTES_MAX: u64 = 1 << 16;

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

impl Store {
    /// Whom the device trusts: nobody, when no key was ever pinned.
    ///
    /// # Errors
    /// `Damaged` when the file is not what was written; `Unsupported` for a newer version; `Io`.
    pub fn trust(&self) -> Result<Trust, Error> {
        let path = self.folder.join(TRUST);
        match self.disk.read(&path, FILE_BYTES_MAX) {
            Ok(bytes) => Trust::decode(&bytes).map_err(|cause| {
                let cause = cause.while_doing(format!("read the pinned keys `{}`", path.display()));
                cause.with_help("nothing is trusted until this is settled: remove the file and pin the keys again")
            }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Trust::default()),
            Err(cause) => Err(refused("read", &path, cause)),
        }
    }

    /// Pins a key. Returns whom the device trusts now.
    ///
    /// # Errors
    /// `Usage` when the key is none that could be trusted, or there are [`Trust::KEYS_MAX`]; those of [`Store::trust`]; `Io`.
    /// The file is then as it was.
    pub fn pin(&self, key: PublicKey) -> Result<Trust, Error> {
        self.change_trust(|trust| Trust::in_keys(trust.keys().chain([key]), trust.threshold()))
    }

    /// Takes a pinned key away.
    ///
    /// # Errors
    /// `Usage` when it is not pinned, or fewer keys would remain than must have signed; otherwise as [`Store::pin`].
    pub fn unpin(&self, id: &KeyId) -> Result<Trust, Error> {
        self.change_trust(|trust| {
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
    /// `Usage` when it is 0 or more than are pinned; otherwise as [`Store::pin`].
    pub fn set_threshold(&self, threshold: usize) -> Result<Trust, Error> {
        self.change_trust(|trust| pinned(trust.keys().collect(), threshold))
    }

    /// Reads, edits and writes, while nobody else does.
    fn change_trust(&self, edit: impl FnOnce(&Trust) -> Result<Trust, Error>) -> Result<Trust, Error> {
        let _writer = self.writer()?;
        let trust = edit(&self.trust()?)?;
        put(&*self.disk, &self.folder.join(TRUST), &trust.encode()?, true)?;
        Ok(trust)
    }
}

impl Trust {
    /// The bytes of `trust.json`: threshold and keys. That unsigned packs are allowed is said at each start, and never
    /// written down.
    ///
    /// # Errors
    /// `Io`, which has never been seen: it is what the writer of JSON could say.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let key = |key: PublicKey| WrittenKey { id: key.id().to_string(), key: format!("{key:x}") };
        let written = Written {
            format: FORMAT.to_owned(),
            version: VERSION,
            threshold: self.threshold(),
            keys: self.keys().map(key).collect(),
            digest: digest(self).to_string(),
        };
        serde_json::to_vec_pretty(&written)
            .map_err(|cause| Error::new(ErrorKind::Io, "the pinned keys cannot be written down").with_source(cause))
    }

    /// What the bytes of a `trust.json` say.
    ///
    /// # Errors
    /// `Damaged` when they are not what was written; `Unsupported` for a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        decode(bytes)
    }
}

fn decode(bytes: &[u8]) -> Result<Trust, Error> {
    let damaged = |clause: String| Error::new(ErrorKind::Damaged, clause);
    let written: Written = serde_json::from_slice(bytes).map_err(|cause| damaged(cause.to_string()))?;
    if written.format != FORMAT || written.version != VERSION {
        let found = format!("`{}` version {}", written.format, written.version);
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("it is {found}, expected `{FORMAT}` version {VERSION}"),
        ));
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
