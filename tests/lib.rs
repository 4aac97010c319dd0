//! The doors by which foreign bytes come in, and what must hold at each whatever comes.
//!
//! The tests are in `it/`, the packs they read in `vectors/`. What stands here is shared with the fuzzers in `fuzz/`, which
//! find their way through the same doors by coverage.

#![forbid(unsafe_code)]

pub mod doors;
pub mod readers;
