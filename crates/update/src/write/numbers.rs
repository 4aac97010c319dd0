//! Where a pack holds numbers of whole bytes, and where its parents hold those before them.

use taskvec_pack::{Head, Pack, TensorEntry, ValueEncoding};

use crate::operation::Kind;

/// A stream of numbers in the file of a pack.
pub(super) struct Numbers {
    /// Where it starts.
    pub(super) offset: usize,
    /// Its size.
    pub(super) bytes: usize,
    /// How they are sent as they are.
    pub(super) kind: Kind,
    /// How they are sent as differences.
    pub(super) sums: Kind,
    /// Where parents have a stream of the same numbers: parent, offset.
    pub(super) before: Vec<(usize, usize)>,
}

/// The streams of numbers of `pack`, whose file is `file`, in the order in which they lie there.
pub(super) fn numbers(file: &[u8], pack: &Pack<'_>, parents: &[Pack<'_>]) -> Vec<Numbers> {
    let mut found = Vec::new();
    for tensor in pack.tensors() {
        let Some(kinds) = kinds(tensor.value_encoding()) else { continue };
        let mut before = Vec::new();
        for (place, parent) in parents.iter().enumerate() {
            let same = parent.tensors().find(|other| has_same_form(&tensor, other));
            before.extend(same.and_then(|other| Some((place, offset_in(parent.content(), other.value_bytes())?))));
        }
        found.extend(stream(file, tensor.value_bytes(), kinds, before));
    }
    if let Some(head) = pack.head()
        && let Some(kinds) = kinds(head.weight_encoding)
    {
        let mut before = Vec::new();
        for (place, parent) in parents.iter().enumerate() {
            let same = parent.head().filter(|other| has_same_labels(&head, other));
            before.extend(same.and_then(|other| Some((place, offset_in(parent.content(), other.weight_bytes())?))));
        }
        found.extend(stream(file, head.weight_bytes(), kinds, before));
    }
    found
}

fn stream(file: &[u8], numbers: &[u8], [kind, sums]: [Kind; 2], before: Vec<(usize, usize)>) -> Option<Numbers> {
    Some(Numbers { offset: offset_in(file, numbers)?, bytes: numbers.len(), kind, sums, before })
}

/// Numbers of several bytes have planes that pack each by itself; int8 has one, in which a scale stands out now and then. What is coded
/// in bits has no numbers that could be seen without decoding it, which a receiver does not.
fn kinds(encoding: ValueEncoding) -> Option<[Kind; 2]> {
    match encoding {
        ValueEncoding::F32 => Some([Kind::Numbers32, Kind::Sums32]),
        ValueEncoding::Bf16 | ValueEncoding::F16 => Some([Kind::Numbers16, Kind::Sums16]),
        ValueEncoding::Int8 => Some([Kind::Numbers8, Kind::Sums8]),
        _ => None,
    }
}

/// Whether two tensors have the same mask and numbers of the same form, so that number for number means the same.
fn has_same_form(one: &TensorEntry<'_>, other: &TensorEntry<'_>) -> bool {
    one.name() == other.name()
        && one.value_encoding() == other.value_encoding()
        && one.index_encoding() == other.index_encoding()
        && one.entry_count() == other.entry_count()
        && one.index_bytes() == other.index_bytes()
        && one.value_bytes().len() == other.value_bytes().len()
}

fn has_same_labels(one: &Head<'_>, other: &Head<'_>) -> bool {
    one.weight_encoding == other.weight_encoding
        && one.weight_bytes().len() == other.weight_bytes().len()
        && one.labels().eq(other.labels())
}

/// Where `part` lies in `whole`; none if it is no part of it.
fn offset_in(whole: &[u8], part: &[u8]) -> Option<usize> {
    let offset = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (whole.get(offset..offset.checked_add(part.len())?)?.as_ptr() == part.as_ptr()).then_some(offset)
}
