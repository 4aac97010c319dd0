//! How a device knows a base model again that it has verified before.
//!
//! Verifying a base digests every byte of it, which takes about as long as loading it into an inference library. Between
//! two starts of a device the file does not change, and the file system says so: the change time of a file is set by the
//! system at every write and at every change of its metadata, and a user cannot set it. So a file with the inode, size,
//! modification time and change time of the one that was verified is taken to be that one. What this does not notice:
//! bytes that rot on the medium, a disk that is written to past the file system, a clock that was set back. Whoever
//! wants those noticed opens the base without a note (`taskvec-device doctor` does).

use std::fs::File;

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
    device: u64,
    inode: u64,
    size_bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl Verified {
    /// What `file`, described by `described`, is now. None on systems whose files have no inode and change time, and when
    /// the file changed so recently that another write would not be sure to show.
    #[cfg(unix)]
    pub(crate) fn now(described: &Base, file: &File) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        use std::time::{Duration, SystemTime, UNIX_EPOCH};

        /// Coarser than the clock of any file system in use (FAT has 2 seconds).
        const SETTLED: Duration = Duration::from_secs(3);
        let metadata = file.metadata().ok()?;
        let changed_s = u64::try_from(metadata.ctime().max(metadata.mtime())).ok()?;
        let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(changed_s)).ok()?;
        (age > SETTLED).then(|| Self {
            described: Digest::of(described.to_json().as_bytes()).to_string(),
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    #[cfg(not(unix))]
    pub(crate) fn now(_described: &Base, _file: &File) -> Option<Self> {
        None
    }
}
