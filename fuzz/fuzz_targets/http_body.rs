//! Throws bytes at the door `http_body`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| taskvec_tests::doors::http_body(bytes));
