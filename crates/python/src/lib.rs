//! The Python module `taskvec`: the runtime's base model, skills and sessions, with numpy arrays in and out.
//!
//! It is no trainer and decides nothing of its own: each class is a thin face of the type of the same name in
//! `taskvec-runtime`, and what can be said about one is said there. Decided here is how Python sees it:
//!
//! 1. The interpreter's lock is released around everything that takes time: opening, changes, inference.
//! 2. What comes in is copied before the lock is released, so that no other thread can change it meanwhile; what goes
//!    out is the caller's own copy.
//! 3. A failure is an exception whose class says what to do about it; see `error`.
//!
//! `taskvec.pyi` beside this folder is the same interface for type checkers; a test holds the two together.
#![forbid(unsafe_code)]

mod arrays;
mod base_model;
mod change;
mod composed;
mod error;
mod logits;
mod session;
mod skill;

use pyo3::pymodule;

/// Skills on a base model: attach, detach, swap and weigh packs between two inferences, and get the base back bit for bit.
///
/// Open a `Base`, open a `Skill`, put it in force in a `Session`, and infer with numpy arrays.
#[pymodule]
mod taskvec {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::base_model::Base;
    #[pymodule_export]
    use crate::change::{Change, Composition, SkillInForce};
    #[pymodule_export]
    use crate::composed::{Composed, compose};
    #[pymodule_export]
    use crate::error::{Damaged, Error, Io, Limit, Mismatch, Unsupported, Untrusted, Usage};
    #[pymodule_export]
    use crate::logits::Logits;
    #[pymodule_export]
    use crate::session::Session;
    #[pymodule_export]
    use crate::skill::{Skill, inspect};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // For failures that a caller raises himself; ours carry their own.
        module.py().get_type::<Error>().setattr("help", module.py().None())
    }
}
