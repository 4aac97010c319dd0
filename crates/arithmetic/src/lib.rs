//! base + sum of alpha * delta, on slices, to the same bits on every machine.
//!
//! This is the one place where weights are changed. It knows slices, indices and numbers; it has never heard of a file,
//! a tensor's name, an engine, or of who decides the order. No `std`, no allocation, no unsafe.
//!
//! ```
//! use taskvec_arithmetic::{add_distances_f32, add_f32, distance};
//!
//! let base = [1.0f32, 2.0, 3.0, 4.0];
//! let mut values = base;
//!
//! // A plain task vector, at alpha 0.5: entries are (index, delta), each index once.
//! add_f32(&mut values, [(0, 1.0), (2, -1.0)].into_iter(), 0.5);
//! assert_eq!(values, [1.5, 2.0, 2.5, 4.0]);
//!
//! // A lossless one: entries are (index, distance). At alpha 1, alone on an element, the tuned bits come back.
//! let tuned = 4.125f32;
//! add_distances_f32(&mut values, &base, [(3, distance::f32(base[3], tuned))].into_iter(), 1.0);
//! assert_eq!(values[3].to_bits(), tuned.to_bits());
//! ```
//!
//! # The rule
//!
//! For each element that an entry names, in f32, each operation rounded to nearest even and never fused:
//!
//! - Start from the base's element, widened to f32.
//! - For each skill in canonical order: a plain delta makes it `running + alpha * delta`. A lossless distance gives the
//!   tuned pattern; if alpha is 1 and `running` still has the base's bits, `running` becomes the tuned number with all
//!   its bits, else `running + alpha * (tuned - base)`.
//! - A sum that is NaN becomes the one NaN [`CANONICAL_NAN`]: processors disagree about the bits of a NaN that they make.
//! - Round once to the dtype of the tensor; where its elements are whole numbers that stand for floats, to its [`Grid`], which
//!   is also what its elements are widened by. Plain deltas only: a distance is between patterns of floats.
//!
//! Everything else keeps its bits, and so does everything when alpha is 0.
//!
//! Principles:
//!
//! 1. The order of calls is the canonical order; the caller sorts. Nothing here subtracts to undo: the caller starts
//!    again from the base.
//! 2. Alpha is finite and indices are in range because the caller has checked them. An index that is out of range all
//!    the same is skipped: no check can panic in the middle of a composition.
//! 3. Iterators come by value and are driven by `for_each`, so that a decoder's own `fold` is the loop.
//! 4. Every quick path equals the naive one of `taskvec-testkit` bit for bit.
#![no_std]
#![forbid(unsafe_code)]

pub mod distance;
mod lossless;
mod narrow;
mod plain;
mod whole;

pub use lossless::{add_distances_16, add_distances_f32, add_distances_widened};
pub use narrow::{Bf16, F16, Narrow16, narrow_changed, widen};
pub use plain::{CANONICAL_NAN, add_16, add_f32, add_run_f32};
pub use whole::{Grid, I8, I32, U8, Whole, add_whole, narrow_changed_whole, widen_whole};
