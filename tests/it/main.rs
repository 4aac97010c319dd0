//! What needs more than one crate, one module for each question.

mod conformance;
