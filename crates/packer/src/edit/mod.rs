//! One model from several: merged, negated, moved by analogy; as a checkpoint, or as the pack that leads there from the base.
//!
//! | to | say |
//! |---|---|
//! | add skills | `task_arithmetic`, a weight for each |
//! | forget one | `task_arithmetic` with a negative weight |
//! | A is to B as C is to ? | `task_arithmetic` with weights -1, 1, 1 for A, B, C |
//! | merge what interferes | `ties`, `dare_*`, `breadcrumbs*`, `della*`, `model_stock` |
//! | mix whole models | `linear`, `slerp` |
//!
//! Models pass tensor by tensor: of each, one tensor is in memory at a time (of a pack, what it holds). Sums are in f32, dot products
//! in f64, and the result is rounded once to the base's dtype. Integers and heads stay the base's.
//!
//! Methods and defaults are those of mergekit, and so are results, to within a millionth, where nothing is drawn. What is decided
//! otherwise here: recipes cannot leave the dtype of the base, 16-bit models are summed in f32, and DELLA's rows are rows of
//! whatever has more than one side, also where mergekit takes the second side of a convolution.

mod combine;
mod files;
mod merger;
mod method;
mod models;
mod recipe;
mod settings;
mod sources;
mod sparsify;
#[cfg(test)]
mod tests;

pub use self::files::{Merged, merge_into_checkpoint, merge_into_pack};
pub use self::merger::{MergedTensor, Merger, merged_deltas};
pub use self::method::MergeMethod;
pub use self::models::{MergeModels, MergeTensor, ModelsInMemory, TensorInMemory};
pub use self::recipe::{MergeRecipe, MergedModel};
pub use self::settings::{MergeParameters, MergeSettings, ModelSettings, NamedRescale, Rescale};
