//! The quick paths against the naive twin, on generated numbers of every class.

mod composition;
mod numbers;
