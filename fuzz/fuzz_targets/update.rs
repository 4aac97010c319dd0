//! Throws bytes at the door `update`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| taskvec_tests::doors::update(bytes));
