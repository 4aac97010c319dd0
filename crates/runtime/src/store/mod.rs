//! The packs of a device on its disk, and the compositions that it can come back to.
//!
//! A store is a folder:
//!
//! ```text
//! packs/<digest>.tvp    one file for each pack that is installed, named by its digest, read-only
//! journal/<number>      what shall be in force, and what was before it: one file for each generation, read-only
//! trust.json            the keys that are pinned: whose packs come into force
//! lock                  held by whoever changes something
//! *.aside               a file that was being written when the power went; `gc` removes it
//! ```
//!
//! What a power cut, a kill or a full disk may leave is one thing: the journal says what it said before, or what it says
//! after; every pack that a kept composition names is there, whole; and a pack that none names is whole or not there. What
//! this rests on:
//!
//! 1. **A file appears whole.** It is written aside, made read-only, synced and renamed, and its folder is synced. No file
//!    is ever edited. If any of this fails, the new name is taken back.
//! 2. **The journal comes last** when packs are added, **and first** when packs go: no composition ever names a pack that
//!    may be missing.
//! 3. **What is seen may not be settled.** Whoever made a name may have been killed before its folder was synced. So what
//!    others have left is synced again before anything is built on it, and above all before anything is removed.
//! 4. **One writer.** Changes exclude each other by a lock on a file, between processes and between threads. Readers take
//!    none: files only appear whole and go, and a reader that meets one going looks again.
//!
//! Whoever boots counts the attempt in the journal before making it, and takes the count back when the proof has passed. So
//! a composition that takes the whole process down is found out as well as one that gives wrong answers: after
//! [`Kept::FAILURES_MAX`] failures boots pass it over.

mod boot;
mod change;
mod collect;
mod disk;
mod generation;
mod health;
mod install;
mod journal;
mod pinned;
#[cfg(feature = "updates")]
mod update;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskvec_pack::{Digest, Limits};

use self::disk::refused;
use self::journal::JournalFolder;
use crate::error::{Error, ErrorKind};
use crate::skill::Skill;
use crate::verified::CheckedPack;

pub use self::boot::{Boot, InForce, PassedOver};
pub use self::change::RolledBack;
pub use self::collect::Collected;
pub use self::disk::{Disk, DiskFile, SystemDisk};
pub use self::generation::{Committed, Generation, Kept};
pub use self::install::{InstalledPack, PackFile, Removed};
pub use self::journal::Journal;

const PACKS: &str = "packs";
const JOURNAL: &str = "journal";
const LOCK: &str = "lock";
const EXTENSION: &str = ".tvp";

/// A device's folder of packs. Shared by reference between threads, and with other processes by its folder.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    limits: Limits,
    /// On packs that this process has opened, so that it does not go through them again; at most one for each pack that is
    /// installed, or was.
    notes: Arc<Mutex<BTreeMap<Digest, CheckedPack>>>,
}

impl Store {
    /// The store in `folder`. Nothing is made before something is installed: a store that is not there is an empty one.
    ///
    /// # Errors
    /// `Io` when there is something else at `folder`, or the system does not let this process look into it.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::open_on(folder, Arc::new(SystemDisk))
    }

    /// The store in `folder` of another disk than the system's.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(folder: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Result<Self, Error> {
        let folder = folder.into();
        match disk.list(&folder) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(refused("open the store", &folder, cause)),
            _ => Ok(Self { folder, disk, limits: Limits::default(), notes: Arc::default() }),
        }
    }

    /// The same store with other limits for the packs that are read from it.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the journal says now.
    ///
    /// # Errors
    /// `Io` when its folder cannot be listed. What is wrong with a generation is part of the result.
    pub fn journal(&self) -> Result<Journal, Error> {
        self.journal_folder().read()
    }

    /// The installed pack with this digest, opened and checked: every byte of it when this process opens it for the first
    /// time, and then only if its file has changed.
    ///
    /// # Errors
    /// `Io` when it is not there or cannot be read; `Damaged` when it is not what was installed; `Unsupported` or `Limit` as
    /// the pack's reader says.
    pub fn skill(&self, digest: &Digest) -> Result<Skill, Error> {
        let before = self.notes().get(digest).cloned();
        let skill = self.open_pack(digest, before.as_ref())?;
        if let Some(note) = skill.checked() {
            self.notes().insert(*digest, note.clone());
        }
        Ok(skill)
    }

    /// As [`Store::skill`], with every byte checked: to look for damage.
    fn skill_checked_again(&self, digest: &Digest) -> Result<Skill, Error> {
        self.open_pack(digest, None)
    }

    fn open_pack(&self, digest: &Digest, before: Option<&CheckedPack>) -> Result<Skill, Error> {
        let path = self.pack_path(digest);
        let again = "install the pack again";
        let skill = self.disk.open_pack(&path, &self.limits, before).map_err(|cause| match cause.kind() {
            ErrorKind::Damaged => cause.with_help(again),
            _ => cause,
        })?;
        if skill.digest() != *digest {
            let clause = format!("pack `{}` has digest {}, expected {digest}", path.display(), skill.digest());
            return Err(Error::new(ErrorKind::Damaged, clause).with_help(again));
        }
        Ok(skill)
    }

    fn notes(&self) -> MutexGuard<'_, BTreeMap<Digest, CheckedPack>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal_folder(&self) -> JournalFolder<'_> {
        JournalFolder { disk: &*self.disk, folder: self.folder.join(JOURNAL) }
    }

    /// All folders that files are written in.
    fn folders(&self) -> [PathBuf; 3] {
        [self.folder.clone(), self.packs_folder(), self.folder.join(JOURNAL)]
    }

    fn packs_folder(&self) -> PathBuf {
        self.folder.join(PACKS)
    }

    fn pack_path(&self, digest: &Digest) -> PathBuf {
        self.packs_folder().join(format!("{digest}{EXTENSION}"))
    }

    /// The digests of all files that are named like a pack, ascending.
    fn pack_digests(&self) -> Result<Vec<Digest>, Error> {
        let digest = |name: &String| name.strip_suffix(EXTENSION)?.parse().ok();
        let mut digests: Vec<Digest> = self.names(&self.packs_folder())?.iter().filter_map(digest).collect();
        digests.sort_unstable();
        Ok(digests)
    }

    /// The names of what lies in `folder`; none when there is no such folder.
    fn names(&self, folder: &Path) -> Result<Vec<String>, Error> {
        match self.disk.list(folder) {
            Ok(names) => Ok(names),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(cause) => Err(refused("list", folder, cause)),
        }
    }

    /// Makes this thread the one that changes the store, and the store's folders if need be.
    fn writer(&self) -> Result<Writer<'_>, Error> {
        let make =
            |folder: &Path| self.disk.create_folder(folder).map_err(|cause| refused("make the folder", folder, cause));
        make(&self.folder)?;
        let lock = self.folder.join(LOCK);
        let lock = self.disk.lock(&lock).map_err(|cause| refused("lock", &lock, cause))?;
        make(&self.packs_folder())?;
        make(&self.folder.join(JOURNAL))?;
        let journal = self.journal()?;
        if journal.number_max == 0 {
            // The folders may be new, or left by somebody who was killed before their names were synced. Once there is a
            // generation, somebody has come past here.
            for folder in [&*self.folder, self.folder.parent().unwrap_or(Path::new(""))] {
                self.disk.sync_folder(folder).map_err(|cause| refused("sync the folder", folder, cause))?;
            }
        }
        Ok(Writer { store: self, journal, _lock: lock })
    }
}

/// The right to change the store. While one lives, no other does.
struct Writer<'a> {
    store: &'a Store,
    /// Read under the lock: nobody changes it.
    journal: Journal,
    _lock: Box<dyn Send>,
}
