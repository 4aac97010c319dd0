//! One model from several: merged, negated, moved by analogy; as a checkpoint, or as the pack that leads there from the base.
//!
//! | to | say | the whole model first |
//! |---|---|---|
//! | scale one skill | `task_arithmetic`, one model and its weight | |
//! | forget one (negation) | `task_arithmetic`, a negative weight | |
//! | add skills | `task_arithmetic`, a weight for each | |
//! | A is to B as C is to ? (analogy) | `task_arithmetic`, weights -1, 1, 1 for A, B, C | |
//! | leave out what interferes | `ties`, `dare_*`, `breadcrumbs*`, `della*`, `model_stock`, `sce` | `ties` with `scope: global` |
//! | keep what several tasks need | `consensus` | |
//! | add in few directions of each matrix | `cart`, `tsv` | |
//! | add without what all have in common | `awd` | a Gram matrix |
//! | keep T tasks in fewer vectors, and add those up | `bases`, with `vectors` | a Gram matrix |
//! | have one task back out of many | `tall_mask` or `bases`, with `task` | |
//! | mix whole models | `linear`, `slerp` | |
//!
//! Each file says what its method is, who published it, and what was decided otherwise.
//!
//! [`merge_into_pack`] and [`merge_into_checkpoint`] merge files, [`merged_deltas`] what is in memory; both by way of [`Merger`], which
//! merges tensor by tensor: of each model, one tensor is in memory at a time (of a pack, what it holds), however often a method has to
//! go through them. Elements that come out as 0 are no entries of a pack, so that what is sparse stays sparse: a merged pack has no
//! entry where no model had one. Sums are in f32 where they are mergekit's and in f64 elsewhere, dot products in f64, and the result is
//! rounded once to the base's dtype. Integers and heads stay the base's.
//!
//! The methods that mergekit has are as it has them, with its defaults, and so are results, to within a millionth, where nothing is
//! drawn (`tests/mergekit/compare.py` lists the exceptions and proves them). What is decided otherwise here: recipes cannot leave the
//! dtype of the base, 16-bit models are summed in f32, and DELLA's rows are rows of whatever has more than one side, also where
//! mergekit takes the second side of a convolution.

mod awd;
mod bases;
mod cart;
mod checks;
mod combine;
mod consensus;
mod files;
mod gram;
mod merger;
mod method;
mod models;
mod recipe;
mod sce;
mod settings;
mod singular;
mod sources;
mod sparsify;
mod spread;
#[cfg(test)]
mod tests;
mod trim;
mod tsv;

pub use self::files::{Merged, merge_into_checkpoint, merge_into_pack};
pub use self::merger::{MergedTensor, Merger, merged_deltas};
pub use self::method::MergeMethod;
pub use self::models::{MergeModels, MergeTensor, ModelsInMemory, TensorInMemory};
pub use self::recipe::{MergeRecipe, MergedModel};
pub use self::settings::{MergeParameters, MergeSettings, ModelSettings, NamedRescale, Rescale, Scope};
