//! A pack that comes as an update: made in memory of packs that are installed, and then like any other.
//!
//! Nothing is written here. Who installs what comes out goes the way of every pack ([`Store::install`], [`Store::attach`]): whole
//! or not at all, and trusted by the signatures that the pack itself carries. An update needs no signature: it can make
//! nothing but the file whose digest it names, and if somebody changes that too, the pack that comes out is one that nobody
//! has signed.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use taskvec_pack::Limits;
use taskvec_update::{Parent, Update};

use super::Store;
use super::disk::refused;
use super::install::PackFile;
use crate::error::{Error, ErrorKind, of_update};
use crate::skill::Skill;

impl Store {
    /// The pack in the file at `path`: a pack, or an update of packs that are installed, which is made into one. It is checked
    /// and not installed, and whom to trust is not asked.
    ///
    /// # Errors
    /// As [`PackFile::read`]. For an update also `Mismatch` when a parent is not installed, and `Damaged` when one is not what was
    /// installed or the update makes something else than it says.
    pub fn pack_file(&self, path: impl AsRef<Path>, limits: &Limits) -> Result<PackFile, Error> {
        let path = path.as_ref();
        match update_in(path, limits)? {
            None => PackFile::read(path, limits),
            Some(bytes) => {
                let doing = format!("make a pack of update `{}`", path.display());
                self.made(&bytes, limits).map_err(|cause| cause.while_doing(doing))
            }
        }
    }

    fn made(&self, bytes: &[u8], limits: &Limits) -> Result<PackFile, Error> {
        let ours = taskvec_update::Limits::default();
        let max_pack_bytes = ours.max_pack_bytes.min(limits.max_file_bytes);
        let update = Update::read(bytes, &taskvec_update::Limits { max_pack_bytes, ..ours }).map_err(of_update)?;
        let parents = self.parents(&update)?;
        let contents: Vec<&[u8]> = parents.iter().map(|parent| parent.pack().content()).collect();
        let pack = PackFile::of(update.make(&contents).map_err(of_update)?, limits)?;
        let found = pack.skill().digest();
        if found != update.pack() {
            let clause = format!("it makes pack {found}, expected {}", update.pack());
            return Err(Error::new(ErrorKind::Damaged, clause).with_help("fetch the pack itself"));
        }
        Ok(pack)
    }

    /// The installed packs that the update needs, each checked.
    fn parents(&self, update: &Update<'_>) -> Result<Vec<Skill>, Error> {
        let installed = self.pack_digests()?;
        let missing = update.parents().iter().filter(|parent| !installed.contains(&parent.digest));
        let missing: Vec<String> = missing.map(|Parent { digest, name, .. }| format!("`{name}` ({digest})")).collect();
        if !missing.is_empty() {
            let clause = format!(
                "it is for a device that has {}, which {} not installed here",
                missing.join(" and "),
                if missing.len() == 1 { "is" } else { "are" }
            );
            let help =
                format!("fetch pack `{}` itself ({}), or install what is missing first", update.name(), update.pack());
            return Err(Error::new(ErrorKind::Mismatch, clause).with_help(help));
        }
        update.parents().iter().map(|parent| self.skill(&parent.digest)).collect()
    }
}

/// The bytes of the file at `path`, if it begins like an update.
fn update_in(path: &Path, limits: &Limits) -> Result<Option<Vec<u8>>, Error> {
    let cannot = |cause| refused("read", path, cause);
    let mut file = File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.by_ref().take(taskvec_update::layout::MAGIC.len() as u64).read_to_end(&mut bytes).map_err(cannot)?;
    if !Update::is_one(&bytes) {
        return Ok(None);
    }
    // What is not read is missed by the reader, which has the size of the pack from the header.
    file.take(limits.max_file_bytes).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(Some(bytes))
}
