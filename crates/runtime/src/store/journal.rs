//! The journal: a folder with one file for each generation, named by its number. The highest number that can be read counts.
//!
//! Why files and not one file that grows: the old generation is never touched while the new one is made, so that taking a
//! new one back is removing a name; there is no tail that could be torn, and none to tell from damage; no record is read
//! that was written in part; and what makes a pack appear whole or not at all makes a generation do so, in one place
//! ([`put`]). What speaks for a log is that it appends with one sync and not with two. A device changes its mind some times
//! a day, so that is worth less than having one mechanism to trust.
//!
//! The newest generation and the one before it stay. The older one is for the day on which the newest has rotted.

use std::io;
use std::path::PathBuf;

use super::disk::{Disk, put, refused};
use super::generation::{GENERATION_BYTES_MAX, Generation, Kept};
use crate::error::{Error, ErrorKind};

/// Times that the journal is looked at again because generations went while it was read. Each time somebody else has
/// committed two.
const LOOKS_MAX: u32 = 32;
/// Digits of a generation's file name: as many as the largest number has.
const NUMBER_DIGITS: usize = 20;

/// What was found in the journal.
#[derive(Debug)]
pub struct Journal {
    /// The newest generation that can be read; number 0, with nothing kept, when there is none.
    pub newest: Generation,
    /// What is wrong with each one that is newer, the newest first. None as a rule.
    pub unreadable: Vec<Error>,
    /// The highest number of a file.
    pub(super) number_max: u64,
}

impl Journal {
    /// The newest generation, if it is the newest there is: what a change may begin from.
    pub(super) fn sound(self) -> Result<Generation, Error> {
        match self.unreadable.into_iter().next() {
            None => Ok(self.newest),
            Some(unreadable) => Err(unreadable),
        }
    }
}

/// The journal's folder on its disk.
pub(super) struct JournalFolder<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) folder: PathBuf,
}

impl JournalFolder<'_> {
    /// Reads the journal. Others may commit meanwhile: what is found was in force at some moment of the call.
    pub(super) fn read(&self) -> Result<Journal, Error> {
        let mut looks = 0;
        'look: loop {
            looks += 1;
            let mut numbers = self.numbers()?;
            numbers.sort_unstable_by(|a, b| b.cmp(a));
            let number_max = numbers.first().copied().unwrap_or(0);
            let mut unreadable = Vec::new();
            for number in numbers {
                match self.generation(number) {
                    Ok(Some(newest)) => return Ok(Journal { newest, unreadable, number_max }),
                    Ok(None) if looks < LOOKS_MAX => continue 'look,
                    Ok(None) => {}
                    Err(cause) => unreadable.push(cause),
                }
            }
            return Ok(Journal { newest: Generation::default(), unreadable, number_max });
        }
    }

    /// Makes `kept` what the journal says, in a generation after `number_max`.
    pub(super) fn append(&self, kept: Vec<Kept>, number_max: u64) -> Result<(), Error> {
        let number = number_max.checked_add(1).ok_or_else(|| {
            let clause = format!("`{}` has a generation {number_max}, the last number there is", self.folder.display());
            Error::new(ErrorKind::Damaged, clause).with_help("remove that file: no device has written so many")
        })?;
        let bytes = Generation { number, kept }.encode()?;
        put(self.disk, &self.path(number), &bytes, false)?;
        // Not what was asked for: what cannot be removed now is removed later.
        let _ = self.prune(number);
        Ok(())
    }

    /// Makes sure that what the journal says now is what it says after a power cut: whoever wrote it may have been killed
    /// before the folder was synced.
    pub(super) fn settle(&self) -> Result<(), Error> {
        self.disk.sync_folder(&self.folder).map_err(|cause| refused("sync the folder", &self.folder, cause))
    }

    /// Removes all generations but the newest, which has `number`, and the one before it. Returns how many.
    pub(super) fn prune(&self, number: u64) -> Result<usize, Error> {
        let mut older: Vec<u64> = self.numbers()?.into_iter().filter(|&other| other < number).collect();
        older.sort_unstable();
        older.pop();
        for &number in &older {
            let path = self.path(number);
            self.disk.remove(&path).map_err(|cause| refused("remove", &path, cause))?;
        }
        Ok(older.len())
    }

    /// The generation of this number; none when its file is not there.
    fn generation(&self, number: u64) -> Result<Option<Generation>, Error> {
        let path = self.path(number);
        let bytes = match self.disk.read(&path, GENERATION_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(refused("read", &path, cause)),
        };
        let wrong = |cause: Error| {
            let cause = cause.while_doing(format!("read generation `{}`", path.display()));
            cause.with_help("`rollback` goes back to the newest generation that can be read")
        };
        let generation = Generation::decode(&bytes).map_err(wrong)?;
        if generation.number != number {
            let clause = format!("it says that its number is {}", generation.number);
            return Err(wrong(Error::new(ErrorKind::Damaged, clause)));
        }
        Ok(Some(generation))
    }

    /// The numbers of all files that are named like a generation, in no order.
    fn numbers(&self) -> Result<Vec<u64>, Error> {
        let names = match self.disk.list(&self.folder) {
            Ok(names) => names,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(refused("list", &self.folder, cause)),
        };
        let number = |name: String| {
            let digits = name.len() == NUMBER_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
            name.parse().ok().filter(|_| digits)
        };
        Ok(names.into_iter().filter_map(number).collect())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:0NUMBER_DIGITS$}"))
    }
}
