//! The task vector that is written in a pack.

use taskvec_pack::{Entries, Pack, TensorEntry};

use super::{Deltas, TaskVector, TensorDelta};

impl TaskVector {
    /// What a pack holds, as a reader sees it.
    pub fn of_pack(pack: &Pack<'_>) -> TaskVector {
        let tensors = pack.tensors().map(|entry| TensorDelta::of_entry(&entry)).collect();
        TaskVector { base: pack.manifest().base, tensors }
    }
}

impl TensorDelta {
    /// What a pack holds of one tensor.
    pub fn of_entry(entry: &TensorEntry<'_>) -> TensorDelta {
        let mut indices = Vec::with_capacity(entry.entry_count() as usize);
        let deltas = match entry.entries() {
            Entries::Deltas(deltas) => {
                let mut numbers = Vec::with_capacity(indices.capacity());
                deltas.for_each(|(index, delta)| {
                    indices.push(index as u64);
                    numbers.push(delta);
                });
                Deltas::Numbers(numbers)
            }
            Entries::Distances(distances) => {
                let mut steps = Vec::with_capacity(indices.capacity());
                distances.for_each(|(index, distance)| {
                    indices.push(index as u64);
                    steps.push(distance);
                });
                Deltas::Distances(steps)
            }
        };
        let (name, shape) = (entry.name().to_owned(), entry.shape().collect());
        TensorDelta { name, dtype: entry.dtype(), shape, indices, deltas }
    }
}

#[cfg(test)]
mod tests {
    use taskvec_pack::{Dtype, Fingerprint, Limits};

    use super::*;
    use crate::encode::{PackDetails, encode};
    use crate::recipe::Values;

    #[test]
    fn what_was_written_is_read() {
        let tensor = |name: &str, deltas| TensorDelta {
            name: name.to_owned(),
            dtype: Dtype::F32,
            shape: vec![4, 8],
            indices: vec![1, 17, 31],
            deltas,
        };
        let numbers = tensor("a", Deltas::Numbers(vec![0.5, 0.0, -0.25]));
        let distances = tensor("b", Deltas::Distances(vec![3, -1, 70_000]));
        let vector = TaskVector { base: Fingerprint([7; 32]), tensors: vec![numbers, distances] };
        let encoded = encode(&vector, &PackDetails::new("both", Values::F32)).unwrap();
        assert_eq!(TaskVector::of_pack(&Pack::read(&encoded.bytes, &Limits::default()).unwrap()), vector);
    }
}
