//! What may be asked of a device that serves, read from hostile bytes.
//!
//! It is no server: it takes the bytes of a request that somebody else has received, and gives a checked request or a
//! [`Refusal`]. It imports neither the runtime nor an engine, so that a fuzzer can knock at each door in a small program.
//!
//! ```
//! use taskvec_bundle::{Preprocessing, Resize};
//! use taskvec_wire::{Kind, Limits, pixels};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let preprocessing = Preprocessing::new(1, (1, 2), Resize::Bilinear, vec![0.5], vec![0.5])?;
//! let asked = pixels(Some("application/json"), br#"{"pixels": [0.5, -1]}"#, &preprocessing, &Limits::default())?;
//! assert_eq!((asked.values, asked.image_count), (vec![0.5, -1.0], 1));
//!
//! let refused = pixels(Some("application/octet-stream"), &[0; 7], &preprocessing, &Limits::default()).unwrap_err();
//! assert_eq!((refused.status(), refused.kind()), (400, Kind::Usage));
//! # Ok(())
//! # }
//! ```
//!
//! Principles:
//!
//! 1. A function of bytes, content type and limits; it never panics and keeps nothing.
//! 2. Nothing is allocated beyond the limits, whatever the bytes claim.
//! 3. Having a request tells you that its numbers are finite and its counts are within the limits. It does not tell you
//!    that a pack or a skill of that name exists.
#![forbid(unsafe_code)]

mod change;
mod content;
mod door;
mod limits;
mod pixels;
mod refusal;

pub use change::{Attach, Change, Detach, SetAlpha, Swap, change};
pub use door::{checked_name, head, is_loopback};
pub use limits::Limits;
pub use pixels::{Pixels, pixels};
pub use refusal::{Kind, Refusal};
