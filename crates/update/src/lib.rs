//! The taskvec update: how a pack is downloaded, as what is new beside packs that are there.
//!
//! Packs on a device stay whole: they are attached by mapping, with no parent needed, and what was signed is their bytes. An
//! update is the container of the download alone. It names packs that must be there, makes the file of another one of them,
//! and the result is the file that was signed, byte for byte. It is no pack, verifies no signatures and touches no disk.
//!
//! ```
//! use taskvec_update::{Limits, Update};
//!
//! /// `content` finds what is installed, by its digest.
//! fn pack(bytes: &[u8], content: impl Fn(taskvec_pack::Digest) -> Vec<u8>) -> Result<Vec<u8>, taskvec_update::Error> {
//!     let update = Update::read(bytes, &Limits::default())?;
//!     let parents: Vec<Vec<u8>> = update.parents().iter().map(|parent| content(parent.digest)).collect();
//!     update.make(&parents.iter().map(Vec::as_slice).collect::<Vec<_>>())
//! }
//!
//! let error = pack(b"no update at all", |_| Vec::new()).unwrap_err();
//! assert!(error.to_string().contains("expected"));
//! ```
//!
//! Principles:
//!
//! 1. `FORMAT.md` is normative; [`layout`] says its numbers.
//! 2. Who receives an update knows nothing of masks and values: it copies, adds and appends bytes within limits, and believes
//!    the digest of the result alone.
//! 3. Who makes one knows where numbers lie in a pack, and which of two packs belong together.
//! 4. The same packs give the same update.
#![doc = ""]
#![doc = "# The format"]
#![doc = ""]
#![doc = include_str!("../FORMAT.md")]
#![forbid(unsafe_code)]

mod cursor;
mod error;
pub mod layout;
mod operation;
mod read;
#[cfg(feature = "write")]
mod write;

pub use self::error::{Error, ErrorKind};
pub use self::layout::Limits;
pub use self::read::{Parent, Update};
#[cfg(feature = "write")]
pub use self::write::{Made, write};
