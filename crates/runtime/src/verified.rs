//! How a device knows a file again that it has gone through before: a base model, or a pack.
//!
//! Verifying a base digests every byte of it, which takes about as long as loading it into an inference library. Between
//! two starts of a device the file does not change, and the file system says so: the change time of a file is set by the
//! system at every write and at every change of its metadata, and a user cannot set it. So a file with the inode, size,
//! modification time and change time of the one that was verified is taken to be that one. What this does not notice:
//! bytes that rot on the medium, a disk that is written to past the file system, a clock that was set back. Whoever
//! wants those noticed opens the base without a note (`taskvec-device doctor` does).
//!
//! With packs it is the same, but for one thing: a note on a base can be kept on disk, one on a pack cannot. It carries the
//! pack's digest, which is what signatures are over, so whoever could write one could vouch for any pack. It lives as long
//! as the process that has seen the pack pass every check.

use std::fs::File;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use taskvec_bundle::Base;
use taskvec_pack::Digest;

/// A note that the file of a base was verified, and what that file was. To be kept in a place that is as hard to write to
/// as the base itself: whoever can write a note can have a base opened unverified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    /// SHA-256 of what `base.json` says, as this version writes it: the digests that the tensors were held against.
    described: String,
    file: FileStamp,
}

impl Verified {
    /// What `file`, described by `described`, is now. None on systems whose files have no inode and change time, and when
    /// the file changed so recently that another write would not be sure to show.
    pub(crate) fn now(described: &Base, file: &File) -> Option<Self> {
        let file = FileStamp::of(file).filter(FileStamp::is_settled)?;
        Some(Self { described: Digest::of(described.to_json().as_bytes()).to_string(), file })
    }
}

/// A note of this process that the file of a pack passed every check, what that file was, and its digest. See
/// [`crate::Skill::open_unless_checked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedPack {
    digest: Digest,
    file: FileStamp,
}

impl CheckedPack {
    /// A note on a pack that passed every check and has this digest; `file` is from before it was read.
    pub(crate) fn new(digest: Digest, file: FileStamp) -> Self {
        Self { digest, file }
    }

    /// The digest of the pack, if `file` is the one of this note.
    pub(crate) fn digest_of(&self, file: &FileStamp) -> Option<Digest> {
        (self.file == *file).then_some(self.digest)
    }
}

/// What the file system says of a file: the same again means the same bytes (see the head of this file).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    size_bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl FileStamp {
    /// None on systems whose files have no inode and change time.
    #[cfg(unix)]
    pub(crate) fn of(file: &File) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = file.metadata().ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    #[cfg(not(unix))]
    pub(crate) fn of(_file: &File) -> Option<Self> {
        None
    }

    /// Whether the last change is so long ago that another one would be sure to show.
    pub(crate) fn is_settled(&self) -> bool {
        /// Coarser than the clock of any file system in use (FAT has 2 seconds).
        const SETTLED: Duration = Duration::from_secs(3);
        let last = u64::try_from(self.changed.0.max(self.modified.0)).ok();
        let last = last.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        last.and_then(|last| SystemTime::now().duration_since(last).ok()).is_some_and(|age| age > SETTLED)
    }
}
