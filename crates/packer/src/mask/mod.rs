//! Which parameters may differ from the base: a mask, as what it holds. How one is chosen stands in `candidates.rs`.

mod candidates;

use std::sync::Arc;

pub use self::candidates::{CandidateTensor, Candidates, Ranking};

/// Which entries of which tensors may differ from the base, in the order of the network's tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// One for each tensor of the network, also for those without an entry.
    pub tensors: Vec<TensorMask>,
}

/// The entries of one tensor that may differ from the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMask {
    /// The tensor's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Which of its elements.
    pub entries: Entries,
}

/// A set of elements of a tensor, as row-major indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entries {
    /// No element.
    None,
    /// Every element.
    All,
    /// These, strictly ascending.
    Some(Arc<[u32]>),
}

impl Mask {
    /// Everything in the tensors for whose name `learns` is true.
    pub fn of_whole_tensors(tensors: &[(String, Vec<usize>)], mut learns: impl FnMut(&str) -> bool) -> Mask {
        let mask = |(name, shape): &(String, Vec<usize>)| {
            let entries = if learns(name) { Entries::All } else { Entries::None };
            TensorMask { name: name.clone(), shape: shape.clone(), entries }
        };
        Mask { tensors: tensors.iter().map(mask).collect() }
    }

    /// Number of entries in all tensors.
    pub fn entry_count(&self) -> u64 {
        self.tensors.iter().map(TensorMask::entry_count).sum()
    }
}

impl TensorMask {
    /// Number of elements of the tensor.
    pub fn element_count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of elements in the mask.
    pub fn entry_count(&self) -> u64 {
        self.entries.count(self.element_count()) as u64
    }
}

impl Entries {
    /// How many there are in a tensor of `element_count` elements.
    pub fn count(&self, element_count: usize) -> usize {
        match self {
            Entries::None => 0,
            Entries::All => element_count,
            Entries::Some(indices) => indices.len(),
        }
    }

    /// Their values, one after the other: what is left of a tensor when all else is left out.
    pub(crate) fn pack(&self, values: Vec<f32>) -> Vec<f32> {
        match self {
            Entries::None => Vec::new(),
            Entries::All => values,
            Entries::Some(indices) => indices.iter().map(|&index| values[index as usize]).collect(),
        }
    }

    /// Calls `visit` with each index, ascending.
    pub fn for_each(&self, element_count: usize, mut visit: impl FnMut(usize)) {
        match self {
            Entries::None => {}
            Entries::All => (0..element_count).for_each(visit),
            Entries::Some(indices) => indices.iter().for_each(|&index| visit(index as usize)),
        }
    }

    /// Those for which the flag is set.
    pub(crate) fn from_flags(flags: &[bool]) -> Entries {
        let indices: Arc<[u32]> = (0u32..).zip(flags).filter(|(_, chosen)| **chosen).map(|(index, _)| index).collect();
        match indices.len() {
            0 => Entries::None,
            count if count == flags.len() => Entries::All,
            _ => Entries::Some(indices),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_pack_what_they_index() {
        let values = vec![1.0, 2.0, 3.0];
        assert_eq!(Entries::from_flags(&[true, false, true]).pack(values.clone()), [1.0, 3.0]);
        assert_eq!(Entries::from_flags(&[true; 3]), Entries::All);
        assert_eq!(Entries::from_flags(&[false; 3]), Entries::None);
        assert_eq!(Entries::All.pack(values.clone()), values);
        assert!(Entries::None.pack(values).is_empty());
    }
}
