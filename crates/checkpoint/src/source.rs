//! A file that numbers are read from by range; or bytes in memory, which fuzzers and tests have.
//!
//! With plain reads: the packer maps no files, because a file that changes under a mapping is a fault that a long run on a
//! server should not be able to have, and because pages of a mapping count as the memory of whoever touched them.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use taskvec_dataset::{Error, Result};

/// One file of a checkpoint.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    held: Held,
    size_bytes: u64,
}

#[derive(Debug)]
enum Held {
    File(Mutex<File>),
    Memory(Vec<u8>),
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Source> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size_bytes, file) = opened.map_err(|cause| Error::io("read checkpoint", path, cause))?;
        Ok(Source { path: path.to_owned(), held: Held::File(Mutex::new(file)), size_bytes })
    }

    pub(crate) fn in_memory(name: &Path, bytes: Vec<u8>) -> Source {
        Source { path: name.to_owned(), size_bytes: bytes.len() as u64, held: Held::Memory(bytes) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that other files of the checkpoint lie in; none for bytes in memory.
    pub(crate) fn folder(&self) -> Option<&Path> {
        let parent = self.path.parent()?;
        let folder = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        matches!(self.held, Held::File(_)).then_some(folder)
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fills `bytes` from `offset` on.
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let read = match &self.held {
            Held::File(file) => {
                let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(bytes))
            }
            Held::Memory(held) => {
                let start = usize::try_from(offset).ok();
                let found = start.and_then(|start| held.get(start..start.checked_add(bytes.len())?));
                found.map(|found| bytes.copy_from_slice(found)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
        };
        read.map_err(|cause| Error::io("read", &self.path, cause))
    }

    /// `count` bytes from `offset` on, which are checked to be there and to be no more than `count_max`; `what` they are.
    pub(crate) fn bytes(&self, what: &str, offset: u64, count: u64, count_max: u64) -> Result<Vec<u8>> {
        if count > self.size_bytes.saturating_sub(offset) {
            let size = self.size_bytes;
            return Err(damaged(format!(
                "{what} of {count} bytes at byte {offset} ends after the file of {size} bytes"
            )));
        }
        let fits = usize::try_from(count).ok().filter(|_| count <= count_max);
        let Some(fits) = fits else {
            return Err(Error::limit(format!("{what} has {count} bytes, at most {count_max} are read here")));
        };
        let mut bytes = vec![0; fits];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The first bytes, at most `count` of them.
    pub(crate) fn start(&self, count: u64) -> Result<Vec<u8>> {
        let count = count.min(self.size_bytes);
        self.bytes("the start", 0, count, count)
    }
}

/// Bytes that are not what their form promises, with the next step.
pub(crate) fn damaged(clause: impl Into<String>) -> Error {
    Error::damaged(clause).with_help("the file was cut short or changed: fetch or save it again")
}
