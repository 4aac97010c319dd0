//! What every form of checkpoint becomes when it is opened: a table of tensors, and what was decided on the way.

use std::collections::BTreeMap;

use taskvec_dataset::{Error, Result};

use crate::limits::Limits;
use crate::source::{Source, damaged};
use crate::tensor::StoredTensor;

/// The tensors found so far, by name.
#[derive(Debug, Default)]
pub(crate) struct Table {
    files: Vec<Source>,
    tensors: BTreeMap<String, StoredTensor>,
    name_bytes: u64,
    /// What a reader of the result must know: one clause each.
    pub(crate) notes: Vec<String>,
}

impl Table {
    pub(crate) fn of(source: Source) -> Table {
        Table { files: vec![source], ..Table::default() }
    }

    /// The file that was opened.
    pub(crate) fn first(&self) -> &Source {
        &self.files[0]
    }

    /// Another file, and its index among all.
    pub(crate) fn add_file(&mut self, source: Source) -> usize {
        self.files.push(source);
        self.files.len() - 1
    }

    pub(crate) fn file(&self, index: usize) -> &Source {
        &self.files[index]
    }

    pub(crate) fn add(&mut self, tensor: StoredTensor, limits: &Limits) -> Result<()> {
        self.name_bytes += tensor.name().len() as u64;
        if self.tensors.len() == limits.tensors_max || self.name_bytes > limits.header_bytes_max {
            let (tensors, bytes) = (limits.tensors_max, limits.header_bytes_max);
            return Err(Error::limit(format!("at most {tensors} tensors with {bytes} bytes of names are read here")));
        }
        if tensor.name().is_empty() {
            return Err(damaged("a tensor has no name"));
        }
        match self.tensors.insert(tensor.name().to_owned(), tensor) {
            None => Ok(()),
            Some(twice) => Err(damaged(format!("tensor `{}` is there twice", twice.name()))),
        }
    }

    /// Takes the tensors and files of `other`, a shard.
    pub(crate) fn absorb(&mut self, other: Table, limits: &Limits) -> Result<()> {
        let offset = self.files.len();
        self.files.extend(other.files);
        self.notes.extend(other.notes);
        for mut tensor in other.tensors.into_values() {
            tensor.place_mut().file += offset;
            self.add(tensor, limits)?;
        }
        Ok(())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Takes `prefix` from every name, if every name has it.
    pub(crate) fn strip(&mut self, prefix: &str) {
        if self.tensors.is_empty() || !self.names().all(|name| name.len() > prefix.len() && name.starts_with(prefix)) {
            return;
        }
        let tensors = std::mem::take(&mut self.tensors).into_values();
        self.tensors = tensors
            .map(|mut tensor| {
                tensor.name.drain(..prefix.len());
                (tensor.name.clone(), tensor)
            })
            .collect();
        self.notes.push(format!("every name begins with `{prefix}`, which was taken off"));
    }

    /// Files, tensors in byte order of their names, notes.
    pub(crate) fn finish(self, limits: &Limits) -> Result<(Vec<Source>, Vec<StoredTensor>, Vec<String>)> {
        let claimed = self.tensors.values().map(|tensor| u128::from(tensor.size_bytes())).sum::<u128>();
        let held = self.files.iter().map(|file| u128::from(file.size_bytes())).sum::<u128>();
        if claimed > held * u128::from(limits.sharing_max) {
            let times = limits.sharing_max;
            return Err(Error::limit(format!(
                "its tensors take {claimed} bytes, expected at most {times} times the {held} bytes of its files"
            ))
            .with_help("too many tensors share their numbers: save each once"));
        }
        Ok((self.files, self.tensors.into_values().collect(), self.notes))
    }
}
