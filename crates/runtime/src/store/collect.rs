//! What nobody needs any more goes from the disk.

use taskvec_pack::Digest;

use super::Store;
use super::disk::{ASIDE, refused};
use crate::error::Error;

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Packs that no kept composition names.
    pub packs: Vec<Digest>,
    /// Files that were being written when the power went or a process was killed.
    pub left_aside: usize,
    /// Generations of the journal before the last two.
    pub generations: usize,
}

impl Store {
    /// Removes the packs that no kept composition names (so also those that were installed and never attached), files left
    /// aside, and generations of the journal that nobody goes back to.
    ///
    /// # Errors
    /// What is wrong with the journal: then nobody knows what is needed, and nothing goes. `Io`; then some of it may be gone
    /// already, and nothing that a composition needs.
    pub fn collect(&self) -> Result<Collected, Error> {
        if self.names(&self.folder)?.is_empty() {
            return Ok(Collected::default());
        }
        let writer = self.writer()?;
        let generation = writer.generation()?;
        let journal = self.journal_folder();
        // What names a pack no more must not come back after the pack is gone.
        journal.settle()?;
        let mut collected = Collected::default();
        for digest in self.pack_digests()? {
            if !generation.names(&digest) {
                let path = self.pack_path(&digest);
                self.disk.remove(&path).map_err(|cause| refused("remove", &path, cause))?;
                collected.packs.push(digest);
            }
        }
        for folder in self.folders() {
            for name in self.names(&folder)?.iter().filter(|name| name.ends_with(ASIDE)) {
                let path = folder.join(name);
                self.disk.remove(&path).map_err(|cause| refused("remove", &path, cause))?;
                collected.left_aside += 1;
            }
        }
        collected.generations = journal.prune(generation.number)?;
        writer.settle_packs()?;
        journal.settle()?;
        Ok(collected)
    }
}
