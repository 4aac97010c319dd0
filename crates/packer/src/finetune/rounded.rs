//! Rounding inside the training loop, straight through: the network has what a pack of the run would give it.
//!
//! A learner keeps its numbers in full. The network that loss and gradient come from has `base + rounded(number - base)`,
//! rounded by the pack's own writer over the same entries in the same order, and added by the device's own arithmetic at
//! coefficient 1. The gradient there is applied to the numbers in full, as if rounding were not there (the
//! straight-through estimator; Bengio et al. 2013): a number moves although its rounding does not, until it does.

use std::sync::Arc;

use taskvec_arithmetic::{Bf16, F16, Narrow16, add_f32};
use taskvec_pack::Dtype;
use taskvec_pack::write::{Rounding, quantize};

use crate::mask::Entries;

/// What a learner's numbers are rounded against, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rounded {
    /// The tensor in the base, widened to f32.
    base: Arc<[f32]>,
    /// Type of its elements there.
    dtype: Dtype,
    rounding: Rounding,
}

impl Rounded {
    /// Deltas from `base`, whose numbers are of `dtype`, are rounded by `rounding`.
    pub(crate) fn new(base: impl Into<Arc<[f32]>>, dtype: Dtype, rounding: Rounding) -> Rounded {
        Rounded { base: base.into(), dtype, rounding }
    }

    /// Type of the tensor's elements in the base.
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The rounded delta of each entry.
    pub(crate) fn deltas(&self, entries: &Entries, values: &[f32]) -> Vec<f32> {
        let mut deltas = Vec::with_capacity(entries.count(values.len()));
        entries.for_each(values.len(), |index| deltas.push(values[index] - self.base[index]));
        quantize(&deltas, self.rounding)
    }

    /// The tensor of base and rounded deltas, every number one that the base's dtype has.
    pub(crate) fn composed(&self, entries: &Entries, values: &[f32]) -> Vec<f32> {
        let deltas = self.deltas(entries, values);
        let mut composed = self.base.to_vec();
        let mut indices = Vec::with_capacity(deltas.len());
        entries.for_each(values.len(), |index| indices.push(index));
        add_f32(&mut composed, indices.iter().copied().zip(deltas), 1.0);
        match self.dtype {
            Dtype::F16 => narrowed::<F16>(&mut composed),
            Dtype::BF16 => narrowed::<Bf16>(&mut composed),
            _ => {}
        }
        composed
    }
}

/// Rounds to 16 bits; numbers of the base are such already.
fn narrowed<N: Narrow16>(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = N::widen(N::narrow(*value)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use taskvec_arithmetic::add_16;

    use super::*;

    const ROUNDINGS: [Rounding; 6] =
        [Rounding::F32, Rounding::Bf16, Rounding::F16, Rounding::INT8, Rounding::Levels(1), Rounding::Sign];

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        /// What a device does with the deltas, on the base as it lies there.
        #[test]
        fn the_network_has_what_a_device_would_have(
            pairs in proptest::collection::vec((-2.0_f32..2.0, -0.5_f32..0.5, any::<bool>()), 1..700),
        ) {
            let indices: Vec<u32> = (0..).zip(&pairs).filter(|(_, pair)| pair.2).map(|(index, _)| index).collect();
            let entries = Entries::Some(Arc::from(indices.clone()));
            for rounding in ROUNDINGS {
                let base: Vec<u16> = pairs.iter().map(|(base, ..)| F16::narrow(*base)).collect();
                let wide: Vec<f32> = base.iter().map(|pattern| F16::widen(*pattern)).collect();
                let values: Vec<f32> = wide.iter().zip(&pairs).map(|(base, (_, delta, _))| base + delta).collect();
                let rounded = Rounded::new(wide.clone(), Dtype::F16, rounding);
                let deltas = rounded.deltas(&entries, &values);
                let entry = || indices.iter().map(|index| *index as usize).zip(deltas.iter().copied());
                let mut device = base.clone();
                add_16::<F16>(&mut device, entry(), 1.0);
                let device: Vec<f32> = device.into_iter().map(F16::widen).collect();
                prop_assert_eq!(bits(&rounded.composed(&entries, &values)), bits(&device), "{:?}", rounding);

                let mut device = wide.clone();
                add_f32(&mut device, entry(), 1.0);
                let rounded = Rounded::new(wide, Dtype::F32, rounding);
                prop_assert_eq!(bits(&rounded.composed(&entries, &values)), bits(&device), "{:?}", rounding);
                // The pack's writer is given these deltas, and a reader sees them.
                prop_assert_eq!(bits(&quantize(&deltas, rounding)), bits(&deltas), "{:?}", rounding);
            }
        }
    }

    #[test]
    fn before_the_first_step_the_network_is_the_base() {
        let base = vec![1.0, -2.5, 0.0, 1e-30];
        for rounding in ROUNDINGS {
            let rounded = Rounded::new(base.as_slice(), Dtype::F32, rounding);
            assert_eq!(rounded.composed(&Entries::All, &base), base, "{rounding:?}");
        }
    }
}
