//! Entries that are handed over in parts, again and again: the same file as from memory, and refusals of sources that lie.

use std::cell::Cell;

use proptest::prelude::*;
use taskvec_pack::write::{Builder, EntrySource, Rounding, Take, TensorDeltas, Values, WriteError};
use taskvec_pack::{Dtype, Fingerprint};

use crate::round_trip::{Tensor, any_tensor};

/// The entries of a tensor in parts of one size.
struct InParts<'a> {
    tensor: &'a Tensor,
    part_len: usize,
}

impl EntrySource for InParts<'_> {
    type Error = WriteError;

    fn entry_count(&self) -> u64 {
        self.tensor.indices.len() as u64
    }

    fn replay(&self, take: &mut Take<'_>) -> Result<(), WriteError> {
        let distances = self.tensor.distances();
        let mut start = 0;
        for indices in self.tensor.indices.chunks(self.part_len) {
            let part = start..start + indices.len();
            start = part.end;
            let values = match self.tensor.rounding {
                None => Values::Distances(&distances[part]),
                Some(rounding) => Values::Deltas(&self.tensor.numbers[part], rounding),
            };
            take(TensorDeltas { indices, values })?;
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn parts_of_any_size_give_the_file_that_all_at_once_gives(tensor in any_tensor(), part_len in 1_usize..300) {
        let (mut whole, mut parts) =
            (Builder::new(Fingerprint([1; 32]), "any"), Builder::new(Fingerprint([1; 32]), "any"));
        tensor.add("w", &mut whole);
        parts.tensor("w", tensor.dtype, &tensor.shape, InParts { tensor: &tensor, part_len }).unwrap();
        let file = whole.finish().unwrap();
        prop_assert_eq!(parts.finish().unwrap(), file.as_slice());
        prop_assert_eq!(parts.into_file().unwrap(), file.as_slice());
    }
}

/// What a source says, each time that it is asked.
struct Liar<'a> {
    entry_count: u64,
    times: &'a [&'a [TensorDeltas<'a>]],
    asked: Cell<usize>,
}

impl EntrySource for Liar<'_> {
    type Error = WriteError;

    fn entry_count(&self) -> u64 {
        self.entry_count
    }

    fn replay(&self, take: &mut Take<'_>) -> Result<(), WriteError> {
        let parts = self.times[self.asked.get()];
        self.asked.set(self.asked.get() + 1);
        parts.iter().try_for_each(|part| take(*part))
    }
}

#[test]
fn sources_that_lie_are_refused() {
    fn refusal(entry_count: u64, times: &[&[TensorDeltas<'_>]]) -> String {
        let mut builder = Builder::new(Fingerprint([0; 32]), "wrong");
        let liar = Liar { entry_count, times, asked: Cell::new(0) };
        builder.tensor("w", Dtype::F32, &[1000], liar).unwrap_err().to_string()
    }
    let deltas = |indices, deltas| TensorDeltas { indices, values: Values::Deltas(deltas, Rounding::F32) };
    let distances = |indices, distances| TensorDeltas { indices, values: Values::Distances(distances) };
    let one = deltas(&[3], &[0.5]);
    let rounded = TensorDeltas { indices: &[4], values: Values::Deltas(&[0.5], Rounding::INT8) };
    struct Case<'a>(&'a str, u64, &'a [&'a [TensorDeltas<'a>]]);
    let cases = [
        Case("1 entries for 2 that were announced", 2, &[&[one]]),
        Case("0 entries for 2 that were announced", 2, &[&[]]),
        Case("index 3 does not ascend", 2, &[&[one, one]]),
        Case("its values are of two kinds", 2, &[&[one, distances(&[4], &[1])]]),
        Case("its values are of two kinds", 2, &[&[one, rounded]]),
        Case("delta number 1 is not finite", 2, &[&[one, deltas(&[4], &[f32::NAN])]]),
        Case("its entries changed while they were gone through", 1, &[&[one], &[deltas(&[900], &[0.5])]]),
        Case(
            "its entries changed while they were gone through",
            2,
            &[&[distances(&[3, 900], &[1, 1])], &[distances(&[3, 900], &[1 << 20, 1])]],
        ),
        Case("its entries changed while they were gone through", 1, &[&[one], &[]]),
    ];
    for Case(problem, entry_count, times) in cases {
        assert_eq!(refusal(entry_count, times), format!("tensor `w`: {problem}"));
    }
}
