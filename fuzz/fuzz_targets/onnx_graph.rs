//! Throws bytes at the door `onnx_graph`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| taskvec_tests::doors::onnx_graph(bytes));
