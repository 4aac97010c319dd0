//! Throws bytes at the door `journal`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| taskvec_tests::doors::journal(bytes));
