//! A pickle as data: the values that it makes, and no Python.
//!
//! Values refer to one another by index, so a list that contains itself is no loop, and a value that is used a million times is
//! there once. `machine.rs` makes them.

use taskvec_bundle::StoredDtype;
use taskvec_dataset::Result;

use super::machine::Machine;
use crate::limits::Limits;

/// What an allowed global stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    Size,
    Tensor,
    Parameter,
    Storage(StoredDtype),
}

/// A value on the stack: small, and copied freely; what is large lies in the [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    /// A float, a text of bytes, a set: nothing that names or places a tensor.
    Other,
    Integer(i64),
    Text(Span),
    Global(Global),
    Tuple(Span),
    /// Index of a list.
    List(u32),
    /// Index of a dict.
    Dict(u32),
    /// Index of a storage.
    Storage(u32),
    /// Index of a tensor.
    Tensor(u32),
}

/// A part of the pickle's bytes or of its tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) count: u32,
}

/// Numbers outside the pickle.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) dtype: StoredDtype,
    pub(super) key: Span,
    pub(super) element_count: u64,
}

/// A view into a storage, in elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) storage: Storage,
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// A pickle that has been read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) bytes: &'a [u8],
    /// What it is a pickle of.
    pub(super) root: Value,
    /// First byte after it.
    pub(super) end: usize,
    pub(super) tuples: Vec<Value>,
    pub(super) lists: Vec<Vec<Value>>,
    /// Keys and values by turns.
    pub(super) dicts: Vec<Vec<Value>>,
    pub(super) storages: Vec<Storage>,
    pub(super) views: Vec<View>,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that `bytes` begin with.
    pub(super) fn read(bytes: &'a [u8], limits: &Limits) -> Result<Pickle<'a>> {
        let pickle = Pickle {
            bytes,
            root: Value::None,
            end: 0,
            tuples: Vec::new(),
            lists: Vec::new(),
            dicts: Vec::new(),
            storages: Vec::new(),
            views: Vec::new(),
        };
        Machine::new(pickle, limits)?.run()
    }

    /// A text; empty if the bytes are no UTF-8, which texts were checked to be.
    pub(super) fn text(&self, span: Span) -> &'a str {
        let bytes = self.bytes.get(span.start as usize..(span.start + span.count) as usize);
        bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    pub(super) fn list(&self, index: u32) -> &[Value] {
        &self.lists[index as usize]
    }

    pub(super) fn dict(&self, index: u32) -> impl Iterator<Item = (Value, Value)> {
        self.dicts[index as usize].as_chunks().0.iter().map(|&[key, value]| (key, value))
    }

    pub(super) fn view(&self, index: u32) -> &View {
        &self.views[index as usize]
    }

    /// Every storage that was named, once for each time.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.storages.iter()
    }

    pub(super) fn tuple(&self, span: Span) -> &[Value] {
        &self.tuples[span.start as usize..(span.start + span.count) as usize]
    }
}
