//! Throws bytes at the door `trust_json`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| taskvec_tests::doors::trust_json(bytes));
