//! Dense fine-tuning: every weight that packs may edit learns.

use crate::mask::Mask;

/// Everything in `tensors`.
pub(crate) fn mask(tensors: &[(String, Vec<usize>)]) -> Mask {
    Mask::of_whole_tensors(tensors, |_| true)
}
