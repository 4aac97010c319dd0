//! The packs of a device on its disk, and the composition that shall be in force.
//!
//! A store is a folder: `packs/<digest>.tvp`, one file for each pack that was installed, and `composition.json`, which says
//! which of them are in force at which alpha. Files are written aside, synced and renamed, and the composition is written
//! last: after a power cut it is the old one or the new one, and every pack that it names is there. A composition names its
//! base, and is refused on another.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use taskvec_pack::{Digest, Fingerprint, Limits};

use crate::composition::Composition;
use crate::error::{Error, ErrorKind};
use crate::skill::Skill;

const PACKS: &str = "packs";
const COMPOSITION: &str = "composition.json";
const FORMAT: &str = "taskvec composition";
const VERSION: u32 = 1;
/// A composition of 64 skills takes about 10 KiB.
const COMPOSITION_BYTES_MAX: u64 = 1 << 20;

/// A device's folder of packs. Having one tells you that the folder is there.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// What shall be in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The base that it was made on.
    pub base: Fingerprint,
    /// Digests of packs, each with its alpha, in canonical order.
    pub skills: Vec<(Digest, f32)>,
}

/// What `composition.json` says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    version: u32,
    base: String,
    skills: Vec<WrittenSkill>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSkill {
    digest: String,
    alpha: f32,
}

impl Store {
    /// The store in `folder`, which is made if need be.
    ///
    /// # Errors
    /// `Io` when the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let packs = folder.join(PACKS);
        fs::create_dir_all(&packs).map_err(|cause| Error::io("create", &packs, cause))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies the pack of `skill` into the store, unless it is there.
    ///
    /// # Errors
    /// `Io`, and the store is as it was.
    pub fn install(&self, skill: &Skill, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(&skill.digest());
        if path.exists() {
            return Ok(());
        }
        write(&path, bytes)
    }

    /// Every pack of the store, by name and digest.
    ///
    /// # Errors
    /// `Io` when the folder cannot be listed; what is wrong with a pack, by its path.
    pub fn packs(&self) -> Result<Vec<Skill>, Error> {
        let folder = self.folder.join(PACKS);
        let listed = |cause| Error::io("list", &folder, cause);
        let mut skills = Vec::new();
        for entry in fs::read_dir(&folder).map_err(listed)? {
            let path = entry.map_err(listed)?.path();
            if path.extension().is_some_and(|extension| extension == "tvp") {
                skills.push(Skill::open(&path, &Limits::default())?);
            }
        }
        skills.sort_by_key(|skill| (skill.name().to_owned(), skill.digest()));
        Ok(skills)
    }

    /// The skills that shall be in force on `base`, in canonical order; none when nothing was ever committed.
    ///
    /// # Errors
    /// `Mismatch` when the composition was made on another base; `Damaged` when its file or a pack is not what was written;
    /// `Unsupported` for a newer version; `Io`.
    pub fn composition(&self, base: Fingerprint) -> Result<Vec<(Skill, f32)>, Error> {
        let Some(committed) = self.committed()? else { return Ok(Vec::new()) };
        if committed.base != base {
            let clause =
                format!("the composition in `{}` is for base {}, found {base}", self.folder.display(), committed.base);
            return Err(Error::new(ErrorKind::Mismatch, clause)
                .with_help("name the base that it was made on, or another store for this base"));
        }
        committed.skills.into_iter().map(|(digest, alpha)| Ok((self.pack(&digest)?, alpha))).collect()
    }

    /// What shall be in force, by digest; none when nothing was ever committed.
    ///
    /// # Errors
    /// As [`Store::composition`], but no pack is opened.
    pub fn committed(&self) -> Result<Option<Committed>, Error> {
        let path = self.folder.join(COMPOSITION);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Error::io("read", &path, cause)),
        };
        let damaged = |clause: String| {
            Error::new(ErrorKind::Damaged, format!("`{}`: {clause}", path.display()))
                .with_help("remove the file to begin with the base alone")
        };
        if bytes.len() as u64 > COMPOSITION_BYTES_MAX {
            return Err(damaged(format!("{} bytes, expected at most {COMPOSITION_BYTES_MAX}", bytes.len())));
        }
        let written: Written = serde_json::from_slice(&bytes).map_err(|cause| damaged(cause.to_string()))?;
        if written.format != FORMAT || written.version != VERSION {
            let found = format!("`{}` version {}", written.format, written.version);
            let clause = format!("`{}` is {found}, expected `{FORMAT}` version {VERSION}", path.display());
            return Err(Error::new(ErrorKind::Unsupported, clause).with_help("a newer taskvec-device may read it"));
        }
        let base = written.base.parse().map_err(|_| damaged(format!("`{}` is no fingerprint", written.base)))?;
        let mut skills = Vec::new();
        for skill in written.skills {
            let digest = skill.digest.parse().map_err(|_| damaged(format!("`{}` is no digest", skill.digest)))?;
            skills.push((digest, skill.alpha));
        }
        Ok(Some(Committed { base, skills }))
    }

    /// Says what shall be in force from now on. Every skill must be installed.
    ///
    /// # Errors
    /// `Usage` when a skill is not installed; `Io`, and the old composition stays.
    pub fn commit(&self, composition: &Composition) -> Result<(), Error> {
        for skill in &composition.skills {
            if !self.path(&skill.digest).exists() {
                let clause = format!("skill `{}` is not installed in `{}`", skill.name, self.folder.display());
                return Err(Error::new(ErrorKind::Usage, clause).with_help("install its pack first"));
            }
        }
        let skill = |skill: &crate::SkillInForce| WrittenSkill { digest: skill.digest.to_string(), alpha: skill.alpha };
        let written = Written {
            format: FORMAT.to_owned(),
            version: VERSION,
            base: composition.base.to_string(),
            skills: composition.skills.iter().map(skill).collect(),
        };
        let path = self.folder.join(COMPOSITION);
        let text = serde_json::to_vec_pretty(&written).map_err(|cause| Error::io("write", &path, cause.into()))?;
        write(&path, &text)
    }

    fn pack(&self, digest: &Digest) -> Result<Skill, Error> {
        let path = self.path(digest);
        let skill = Skill::open(&path, &Limits::default())?;
        if skill.digest() != *digest {
            let clause = format!("pack `{}` has digest {}, expected {digest}", path.display(), skill.digest());
            return Err(Error::new(ErrorKind::Damaged, clause).with_help("remove the file and attach the pack again"));
        }
        Ok(skill)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(PACKS).join(format!("{digest}.tvp"))
    }
}

/// Writes aside, syncs, renames, syncs the folder. The file aside has a fixed name: what a killed write left is overwritten.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let aside = path.with_extension("aside");
    let refused = |cause| Error::io("write", path, cause);
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&aside, path));
    if let Err(cause) = renamed {
        // What matters is told; a file aside that stays is overwritten next time.
        let _ = fs::remove_file(&aside);
        return Err(refused(cause));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused)
}
