//! What the tests of taskvec are held against: plain, slow, and written from the specification.
//!
//! It is no library for programs: nothing here is fast, and a fault in hand-made input is a panic. It imports nothing of
//! ours, so that it is able to disagree with the code it is compared with.
//!
//! ```
//! use taskvec_testkit::{Limits, hand_made::HandMade, naive_reader};
//!
//! let made = HandMade::new("greek letters").draft().build();
//! let contents = naive_reader::read(&made.bytes, &Limits::default()).unwrap();
//! assert_eq!(contents.manifest.name, "greek letters");
//! ```
//!
//! Principles:
//!
//! 1. The specification decides. Where code and `FORMAT.md` differ, one of them is changed on purpose, never both in silence.
//! 2. The plainest way that is right: one bit at a time, everything copied, no table that could be computed.
//! 3. Packs are made by hand byte by byte ([`hand_made`]), not by the writer that is under test; and so are the checkpoints of
//!    other programs ([`saved`]).

#![forbid(unsafe_code)]

pub mod contents;
mod crc32;
pub mod hand_made;
mod hex;
mod limits;
pub mod naive_arithmetic;
pub mod naive_reader;
mod prefix_code;
pub mod saved;

pub use self::contents::Contents;
pub use self::crc32::crc32;
pub use self::hex::hex;
pub use self::limits::Limits;
