//! The doors by which bytes come in from outside.
//!
//! Each door is a function that takes any bytes. It lets the part concerned read them and panics when something does not
//! hold: when a reader panics, when two readers disagree, when what was read is not what is written again. `it/doors.rs`
//! throws the kept seeds at them in every run of the tests, `fuzz/` whatever it can think of.

mod base_json;
mod checkpoints;
mod http_body;
mod journal;
mod key_file;
mod pack;
mod safetensors;
mod trust_json;
mod update;

pub use self::base_json::base_json;
pub use self::checkpoints::{gguf, onnx, onnx_graph, torch};
pub use self::http_body::http_body;
pub use self::journal::journal;
pub use self::key_file::key_file;
pub use self::pack::{change_a_section, pack};
pub use self::safetensors::safetensors;
pub use self::trust_json::trust_json;
pub use self::update::update;

/// A door.
pub type Door = fn(&[u8]);

/// Every door by its name, which is that of its target and of its seeds in `fuzz/`.
pub const DOORS: [(&str, Door); 12] = [
    ("base_json", base_json),
    ("gguf", gguf),
    ("http_body", http_body),
    ("journal", journal),
    ("key_file", key_file),
    ("onnx", onnx),
    ("onnx_graph", onnx_graph),
    ("pack", pack),
    ("safetensors", safetensors),
    ("torch", torch),
    ("trust_json", trust_json),
    ("update", update),
];
