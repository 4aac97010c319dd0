//! Tests that need more than one crate; there is nothing to import. The tests are in `it/`, the packs they read in `vectors/`.
