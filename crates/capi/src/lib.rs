//! The C interface of taskvec: a base model mapped once, skills attached, detached and weighed from any language.
//!
//! It is no second runtime: each function checks its pointers, calls `taskvec-runtime` and turns the outcome into a
//! status. The header `include/taskvec.h` is generated from these files and is the manual; the crate's README has a
//! program of one screen.
//!
//! Principles:
//!
//! 1. One opaque type for each idea, opened and closed in pairs. One file for each, named after it.
//! 2. Pointers are checked by types where Rust has one for it, else in `handle.rs`; panics end in `guard.rs`.
//! 3. Outputs are written on success only, as the last step. Nothing given out must be freed but what `_open` gave.
//! 4. Numbers, once released, keep their meaning; enumerations come in as plain integers and are checked.
//!
//! Names are those of the header, so that one search finds both sides.
#![deny(unsafe_code)]
#![allow(non_camel_case_types, reason = "these types have the names of the header")]
#![allow(clippy::missing_safety_doc, reason = "one contract for all functions: that of the header, told in handle.rs")]

#[expect(unsafe_code, reason = "exported names, texts and buffers")]
pub mod base;
pub mod change;
pub mod digest;
#[expect(unsafe_code, reason = "a text inside a struct")]
pub mod engine;
#[expect(unsafe_code, reason = "an exported name; tests that read texts")]
pub mod guard;
#[expect(unsafe_code, reason = "pointers of C")]
mod handle;
#[expect(unsafe_code, reason = "exported names, a text inside a struct")]
pub mod head_choice;
#[expect(unsafe_code, reason = "exported names")]
pub mod limits;
#[expect(unsafe_code, reason = "exported names, pointers inside a struct")]
pub mod options;
#[expect(unsafe_code, reason = "exported names and buffers")]
pub mod session;
#[expect(unsafe_code, reason = "exported names, texts and buffers")]
pub mod skill;
pub mod status;
#[expect(unsafe_code, reason = "exported names and texts")]
pub mod weights;
