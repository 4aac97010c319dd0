//! Server side of taskvec: from data and a base model to a pack.
//!
//! It is not the runtime: it maps no file, serves no inference to anybody, and meets the device only in the pack format and
//! in the arithmetic. It prints nothing; who calls it shows what it returns.
//!
//! The shortest useful program makes a pack from two checkpoints and puts the second together again:
//!
//! ```
//! use std::path::Path;
//! use taskvec_packer::recipe::Values;
//! use taskvec_packer::{apply::apply, diff::diff};
//!
//! fn there_and_back(base: &Path, tuned: &Path, out: &Path) -> taskvec_packer::Result<()> {
//!     let made = diff(base, tuned, Values::Lossless, Some("digits"))?;
//!     for warning in made.comparison.warnings() {
//!         eprintln!("warning: {}\nhelp: {}", warning.message, warning.help);
//!     }
//!     apply(base, &[(&made.encoded.bytes, 1.0)], out)?;
//!     Ok(())
//! }
//! # use taskvec_bundle::{NamedTensor, StoredDtype, write_tensors};
//! # let folder = tempfile::tempdir().unwrap();
//! # let [base, tuned, out] = ["base", "tuned", "out"].map(|name| folder.path().join(name));
//! # for (path, bytes) in [(&base, [0, 0, 128, 63]), (&tuned, [1, 0, 128, 63])] {
//! #     let tensor = NamedTensor { name: "w", dtype: StoredDtype::F32, shape: &[1], bytes: &bytes };
//! #     write_tensors(&mut std::fs::File::create(path).unwrap(), &[tensor]).unwrap();
//! # }
//! # there_and_back(&base, &tuned, &out).unwrap();
//! # assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&tuned).unwrap());
//! ```
//!
//! Principles:
//!
//! 1. Same recipe, same data, same bytes: every random number comes from a seed and the name of what it is for
//!    ([`random`]), every sum has a fixed order, on any number of cores.
//! 2. A [`recipe::Recipe`] is everything that a run depends on, and every run can show it.
//! 3. Nothing from outside is believed: sizes are checked before memory is taken, and each refusal says what was found,
//!    what was expected and what to do ([`Error`]).
//! 4. Memory grows with the largest tensor, not with the file.
//! 5. What a pack will do is computed with the numbers that a reader will see, not with those that were meant.
#![forbid(unsafe_code)]

pub mod apply;
mod augment;
pub mod budget;
mod crew;
mod curvature;
mod device;
pub mod diff;
pub mod edit;
pub mod encode;
pub mod error;
pub mod evaluate;
mod examples;
pub mod export;
mod finetune;
pub mod import;
pub mod import_network;
pub mod lora;
pub mod mask;
mod model;
pub mod optimizer;
pub mod overlap;
pub mod pack_run;
pub mod random;
pub mod recipe;
pub mod run_folder;
mod secret_key;
mod sensitivity;
#[cfg(test)]
mod shared_data;
mod task;
pub mod task_vector;
pub mod train;

pub use error::{Error, ErrorKind, Result};
pub use secret_key::SecretKey;
