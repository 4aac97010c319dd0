//! The taskvec pack: one sparse task vector in one file, read in place.
//!
//! It is not a model format and knows no models: a pack names tensors, and somebody else has them. It verifies no signatures
//! and applies nothing.
//!
//! ```
//! use taskvec_pack::{Entries, Limits, Pack};
//!
//! fn print(bytes: &[u8]) -> Result<(), taskvec_pack::Error> {
//!     let pack = Pack::read(bytes, &Limits::default())?;
//!     for tensor in pack.tensors() {
//!         match tensor.entries() {
//!             Entries::Deltas(deltas) => deltas.for_each(|(index, delta)| println!("{index} {delta}")),
//!             Entries::Distances(distances) => distances.for_each(|(index, distance)| println!("{index} {distance}")),
//!         }
//!     }
//!     Ok(())
//! }
//!
//! let error = print(b"no pack at all").unwrap_err();
//! assert_eq!(error.kind.name(), "magic");
//! ```
//!
//! Principles:
//!
//! 1. `FORMAT.md` is normative; `layout` says its numbers.
//! 2. Everything is checked once, by [`Pack::read`]; what comes after cannot fail. ([`Pack::read_again`] is for those who
//!    know that these bytes have passed.)
//! 3. Nothing is allocated to read, and nothing is believed that the file's length does not bear out.
//! 4. The same pack is written as the same bytes, whatever the order in which its parts came.
#![doc = ""]
#![doc = "# The format"]
#![doc = ""]
#![doc = include_str!("../FORMAT.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::as_conversions)]
// Tests run on numbers of their own; a panic there is a finding.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

#[cfg(feature = "write")]
extern crate alloc;

mod bits;
pub mod bound;
mod checksum;
mod cursor;
mod digest;
mod dtype;
mod error;
pub mod fingerprint;
mod head;
mod header;
mod index;
mod key;
pub mod layout;
mod manifest;
mod prefix_code;
mod preprocessing;
mod probes;
mod read;
mod report;
pub mod signature;
mod stream;
mod tensors;
mod values;
mod width;
#[cfg(feature = "write")]
pub mod write;

pub use self::digest::{Digest, HexError};
pub use self::dtype::Dtype;
pub use self::error::{Error, ErrorClass, ErrorKind};
pub use self::fingerprint::Fingerprint;
pub use self::head::{Head, Labels};
pub use self::index::{IndexEncoding, Indices};
pub use self::key::{KeyError, KeyId, PublicKey};
pub use self::layout::Limits;
pub use self::manifest::{Granule, Manifest, Method, Provenance};
pub use self::preprocessing::{Preprocessing, Resize};
pub use self::probes::{EngineKind, Numbers, Probe, ProbeInput, Probes, Tolerances};
pub use self::read::Pack;
pub use self::signature::{Signature, Signatures};
pub use self::tensors::{Entries, MeasuredError, Shape, TensorEntry, Tensors};
pub use self::values::{Deltas, Distances, ValueEncoding, Values};
