//! Throws bytes at the door `gguf`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| taskvec_tests::doors::gguf(bytes));
