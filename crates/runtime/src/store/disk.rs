//! What the store asks of a file system, and the file system of this system.
//!
//! It is a trait for two reasons: a device whose packs lie on something that `std::fs` does not reach (a flash file system
//! of its own) brings its own, and the tests cut the power of one after every operation and every byte. The promises that
//! a disk has to keep are few, and each is named at its operation: bytes that were synced stay, a rename is whole or did
//! not happen, and a name is on the disk once its folder has been synced. Anything else may be lost in any order.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use taskvec_pack::Limits;

use crate::error::{Error, ErrorKind};
use crate::skill::Skill;
use crate::verified::CheckedPack;

/// A file system, as far as a store needs one. Used from several threads and by several processes at once.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes the folder `path` in a parent that is there. Does nothing if it is there already.
    ///
    /// # Errors
    /// What the system says.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes a new, empty file at `path`; a file that was there is removed.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives the file at `from` the name `to`, whether or not a file has that name. After a power cut `to` names the old
    /// file or the new one, never none and never a part of one.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Returns when every name that was made, changed or removed in `folder` so far would be found like this after a power
    /// cut.
    ///
    /// # Errors
    /// What the system says; the names may then be lost or kept, each for itself.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Removes the file at `path`.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names of what lies in `folder`, in any order.
    ///
    /// # Errors
    /// What the system says; `NotFound` when there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// The bytes of the file at `path`, at most `bytes_max` of them.
    ///
    /// # Errors
    /// What the system says; `NotFound` when there is no such file.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;

    /// Waits until nobody else holds the lock at `path`, and holds it until the result is dropped. The system takes it
    /// back from a process that ends. It must also exclude other threads of this process.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>>;

    /// The pack at `path`, checked, unless the file is known to be the one that `before` was noted of. A disk whose files
    /// can be mapped into memory does better than to read them, and one that gives no notes is given none.
    ///
    /// # Errors
    /// `Io` when it cannot be read; `Damaged`, `Unsupported` or `Limit` as the pack's reader says.
    fn open_pack(&self, path: &Path, limits: &Limits, _before: Option<&CheckedPack>) -> Result<Skill, Error> {
        let bytes = self.read(path, limits.max_file_bytes).map_err(|cause| refused("open", path, cause))?;
        Skill::from_bytes(bytes, limits).map_err(|cause| cause.while_doing(format!("open pack `{}`", path.display())))
    }
}

/// A file that is being written.
pub trait DiskFile {
    /// Appends bytes and returns how many: at least one of them, but it may be fewer than all.
    ///
    /// # Errors
    /// What the system says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// From now on nobody can open it for writing.
    ///
    /// # Errors
    /// What the system says.
    fn make_read_only(&mut self) -> io::Result<()>;

    /// Returns when its bytes would be found after a power cut, under the name that it has then.
    ///
    /// # Errors
    /// What the system says; any of the bytes may then be lost.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system of this system, through `std::fs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made,
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let create = || OpenOptions::new().write(true).create_new(true).open(path);
        let file = match create() {
            // It may be read-only, so that it could be removed and not be opened.
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(path)?;
                create()?
            }
            created => created?,
        };
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // On Windows a folder cannot be opened as a file; NTFS journals names by itself.
        if cfg!(windows) {
            return Ok(());
        }
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        #[cfg(windows)]
        {
            // There a read-only file cannot be removed.
            let mut permissions = fs::metadata(path)?.permissions();
            #[expect(clippy::permissions_set_readonly_false, reason = "the file goes away in the next line")]
            permissions.set_readonly(false);
            fs::set_permissions(path, permissions)?;
        }
        fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            // Every name that the store gives is ASCII; what is not, is not of the store.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more bytes than the limit of {bytes_max}"),
            ));
        }
        Ok(bytes)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        loop {
            match file.lock() {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked.map(|()| Box::new(file) as Box<dyn Send>),
            }
        }
    }

    fn open_pack(&self, path: &Path, limits: &Limits, before: Option<&CheckedPack>) -> Result<Skill, Error> {
        Skill::open_unless_checked(path, limits, before)
    }
}

impl DiskFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn make_read_only(&mut self) -> io::Result<()> {
        let mut permissions = self.metadata()?.permissions();
        permissions.set_readonly(true);
        self.set_permissions(permissions)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Puts a file at `path` that holds `bytes`, whole or not at all: written aside, made read-only, synced, renamed, the folder
/// synced. If that fails, what was there is there again; only a file that was `replaced` may be the new one.
pub(super) fn put(disk: &dyn Disk, path: &Path, bytes: &[u8], replaces: bool) -> Result<(), Error> {
    let aside = aside(path);
    let renamed = write_aside(disk, &aside, bytes).and_then(|()| disk.rename(&aside, path));
    if let Err(cause) = renamed {
        // What matters is told; a file aside that stays is removed by the next one, and by `gc`.
        let _ = disk.remove(&aside);
        return Err(refused("write", path, cause));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    disk.sync_folder(folder).map_err(|cause| {
        if !replaces {
            let _ = disk.remove(path);
        }
        refused("sync the folder of", path, cause)
    })
}

/// Where the file for `path` is written first.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ASIDE);
    name.into()
}

/// How the name of a file ends that is not yet what it shall be.
pub(super) const ASIDE: &str = ".aside";

fn write_aside(disk: &dyn Disk, aside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk.create(aside)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    file.make_read_only()?;
    file.sync()
}

/// The system refused to `verb` what is at `path`, and what can be done about it.
pub(super) fn refused(verb: &str, path: &Path, cause: io::Error) -> Error {
    use io::ErrorKind as Io;
    let help = match cause.kind() {
        Io::StorageFull | Io::QuotaExceeded => "free some space on this disk, for instance with `gc`, and try again",
        Io::ReadOnlyFilesystem => "mount the disk of the store writable, or name another store",
        Io::PermissionDenied => "act as the user who owns the store, or let this one write into it",
        Io::NotFound => "check the path; the folder that a store lies in must be there",
        Io::NotADirectory | Io::IsADirectory => "name the folder of a store, or a folder that is not there yet",
        Io::FileTooLarge => "remove the file: nothing of ours is that large",
        _ => "check the disk; `doctor` says what of the store is whole",
    };
    Error::new(ErrorKind::Io, format!("cannot {verb} `{}`", path.display())).with_source(cause).with_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_left_aside_read_only_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut left = SystemDisk.create(&aside(&path)).unwrap();
        left.write(b"left").unwrap();
        left.make_read_only().unwrap();
        put(&SystemDisk, &path, b"new", false).unwrap();
        assert_eq!(SystemDisk.list(folder.path()).unwrap(), ["file"]);
        assert_eq!(SystemDisk.read(&path, 3).unwrap(), b"new");
        assert!(fs::metadata(&path).unwrap().permissions().readonly());
        assert_eq!(SystemDisk.read(&path, 2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
