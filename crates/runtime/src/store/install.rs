//! Packs onto the disk and off it.

use std::path::Path;
use std::sync::Arc;

use taskvec_pack::{Digest, Limits};

use super::disk::{put, refused};
use super::generation::Kept;
use super::{Store, Writer};
use crate::error::{Error, ErrorKind};
use crate::skill::Skill;

/// A pack's whole file in memory, checked: what is installed is what was checked, whatever happens to the file that it came
/// from.
#[derive(Clone)]
pub struct PackFile {
    bytes: Arc<[u8]>,
    skill: Skill,
}

/// A pack of the store.
pub struct InstalledPack {
    /// Its digest, as its name says.
    pub digest: Digest,
    /// The skill, or what is wrong with it.
    pub skill: Result<Skill, Error>,
}

/// What removing a pack has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The pack's digest.
    pub digest: Digest,
    /// Earlier compositions that named it, and that can no longer be gone back to.
    pub compositions_forgotten: usize,
}

impl PackFile {
    /// Reads the file at `path` into memory and checks it.
    ///
    /// # Errors
    /// `Io` when it cannot be read; `Damaged`, `Unsupported` or `Limit` as the pack's reader says.
    pub fn read(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, Error> {
        let path = path.as_ref();
        // Opened first: it is found to be a pack before a byte of it is copied.
        Skill::open(path, limits)?;
        let bytes = std::fs::read(path).map_err(|cause| refused("read", path, cause))?;
        Self::of(bytes, limits).map_err(|cause| cause.while_doing(format!("open pack `{}`", path.display())))
    }

    /// Checks the file that `bytes` are.
    ///
    /// # Errors
    /// `Damaged`, `Unsupported` or `Limit` as the pack's reader says.
    pub fn of(bytes: impl Into<Arc<[u8]>>, limits: &Limits) -> Result<Self, Error> {
        let bytes = bytes.into();
        let skill = Skill::from_bytes(Arc::clone(&bytes), limits)?;
        Ok(Self { bytes, skill })
    }

    /// The skill in it.
    pub fn skill(&self) -> &Skill {
        &self.skill
    }
}

impl Store {
    /// Copies a pack into the store, and returns whether it was not there, whole, before. Nothing comes into force.
    ///
    /// A pack that is there keeps its file unless that is damaged or the new one is signed otherwise: a signature is not
    /// part of the digest.
    ///
    /// # Errors
    /// `Io`, and the store is as it was.
    pub fn install(&self, pack: &PackFile) -> Result<bool, Error> {
        self.writer()?.install(pack)
    }

    /// Removes a pack from the disk. Earlier compositions that name it are forgotten.
    ///
    /// # Errors
    /// `Usage` when it shall be in force, or is not installed; what is wrong with the journal; `Io`.
    pub fn remove(&self, digest: &Digest) -> Result<Removed, Error> {
        let writer = self.writer()?;
        let path = self.pack_path(digest);
        if !self.pack_digests()?.contains(digest) {
            let clause = format!("pack {digest} is not installed in `{}`", self.folder.display());
            return Err(Error::new(ErrorKind::Usage, clause).with_help("`list` shows what is"));
        }
        let generation = writer.generation()?;
        if generation.standing().is_some_and(|standing| standing.names(digest)) {
            let clause = format!("pack {digest} is in force, expected one that is not");
            return Err(Error::new(ErrorKind::Usage, clause).with_help("detach it first"));
        }
        let mut kept: Vec<Kept> = generation.kept.clone();
        kept.retain(|kept| !kept.composition.names(digest));
        let compositions_forgotten = generation.kept.len() - kept.len();
        writer.keep(kept)?;
        self.disk.remove(&path).map_err(|cause| refused("remove", &path, cause))?;
        writer.settle_packs()?;
        Ok(Removed { digest: *digest, compositions_forgotten })
    }

    /// Every pack of the store, every byte of it checked, by name and digest; those that cannot be read come last.
    ///
    /// # Errors
    /// `Io` when the folder cannot be listed.
    pub fn packs(&self) -> Result<Vec<InstalledPack>, Error> {
        let open = |digest: Digest| InstalledPack { digest, skill: self.skill_checked_again(&digest) };
        let mut packs: Vec<_> = self.pack_digests()?.into_iter().map(open).collect();
        packs.sort_by_key(|pack| {
            let name = pack.skill.as_ref().map(|skill| skill.name().to_owned()).ok();
            (name.is_none(), name, pack.digest)
        });
        Ok(packs)
    }
}

impl Writer<'_> {
    /// See [`Store::install`].
    pub(super) fn install(&self, pack: &PackFile) -> Result<bool, Error> {
        let (store, digest) = (self.store, pack.skill.digest());
        let there = store.pack_digests()?.contains(&digest);
        let whole = there && store.skill_checked_again(&digest).is_ok();
        let is_signed = pack.bytes.len() > pack.skill.pack().content().len();
        if whole && (!is_signed || self.holds(&digest, &pack.bytes)) {
            self.settle_packs()?;
            return Ok(false);
        }
        put(&*store.disk, &store.pack_path(&digest), &pack.bytes, there)?;
        Ok(!whole)
    }

    /// Makes sure that packs which are seen are there after a power cut.
    pub(super) fn settle_packs(&self) -> Result<(), Error> {
        let folder = self.store.packs_folder();
        self.store.disk.sync_folder(&folder).map_err(|cause| refused("sync the folder", &folder, cause))
    }

    /// Whether the pack's file has these bytes.
    fn holds(&self, digest: &Digest, bytes: &[u8]) -> bool {
        let found = self.store.disk.read(&self.store.pack_path(digest), self.store.limits.max_file_bytes);
        found.is_ok_and(|found| found == bytes)
    }
}
