//! Skills on a device: a base model mapped once, packs attached, detached, swapped and weighed between two inferences.
//!
//! It is no trainer and no file format: packs come from the packer, and their bytes are read by `taskvec-pack`. It
//! fetches nothing; it says who vouches for a pack and whether it works here, and keeps a folder of them.
//!
//! ```no_run
//! use taskvec_runtime::{BaseModel, EngineChoice, HeadChoice, PackLimits, Session, Skill, Trust, read_public_key};
//!
//! # fn main() -> Result<(), taskvec_runtime::Error> {
//! let base = BaseModel::open("models/handwriting")?;
//! let trust = Trust::in_keys([read_public_key("maker.pub".as_ref())?], 1)?;
//! let session = Session::open(&base, &EngineChoice::default())?.trusting(trust);
//!
//! let digits = Skill::open("digits.tvp", &PackLimits::default())?;
//! let change = session.attach(&digits, digits.recommended_alpha())?;
//! println!("{} pages touched in {:.1} ms", change.touched_pages, change.weights_ms);
//!
//! let pixels = vec![0.0; 28 * 28];
//! let answer = session.infer(&pixels, 1, &HeadChoice::Only)?;
//! println!("{:?}", answer.classes().next());
//!
//! session.detach(&digits.digest())?;
//! assert!(session.look_at_weights(|weights| weights.bytes() == base.bytes()));
//! # Ok(())
//! # }
//! ```
//!
//! Principles:
//!
//! 1. The weights in force are a pure function of the base and of the set of (skill, alpha). Nothing is ever
//!    subtracted: what goes is restored from the base, what stays is applied again, in one order.
//! 2. The base is never written: its mapping cannot be.
//! 3. A change is whole or did not happen: checked, applied, proved on this device, or taken back.
//! 4. An inference sees one composition, and its answer names it. It never waits for a change.
//! 5. Nobody is trusted unless the caller says whom, or says by name that anyone is.
//! 6. What costs memory is what a composition touches: pages that no skill writes are shared.
#![deny(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!(
    "the runtime uses little-endian weights in place; a big-endian machine would need a copy of all of them"
);

mod answer;
mod array;
mod base_model;
mod check;
mod composed;
mod composition;
mod engine;
mod error;
mod inspection;
mod interface;
#[expect(unsafe_code, reason = "memory maps: the one file with unsafe for them")]
mod map;
mod pages;
mod probe;
mod quantization;
mod session;
mod skill;
mod store;
mod switch;
mod sync;
mod trust;
mod verified;
mod weights;
mod yardstick;

pub use taskvec_bundle::{
    Arrays, Head, Image, Interface, Limits as BundleLimits, Pictures, Port, Preprocessing, Side, StoredDtype,
};
pub use taskvec_pack::{Digest, Dtype, Fingerprint, KeyId, Limits as PackLimits, PublicKey};

pub use answer::{HeadChoice, Logits};
pub use array::Array;
pub use base_model::{BaseModel, BaseTensor};
pub use check::{Check, Status};
pub use composed::Composed;
pub use composition::{Composition, CompositionLimits, SkillInForce};
pub use engine::{
    Agreement, Engine, EngineChoice, EngineKind, EngineReport, Fallback, Inference, OrtSettings, Provider,
    ProviderCheck, ProviderName, Tier, TierCheck, check_providers, compare_with_burn, compare_with_model,
};
pub use error::{Error, ErrorKind};
pub use inspection::{InspectedSignature, InspectedTensor, InspectedTotal, Inspection};
pub use map::WeightsReader;
pub use probe::{NoProbes, Proof};
pub use quantization::Quantization;
pub use session::{Change, Session};
pub use skill::Skill;
pub use store::{
    Boot, Collected, Committed, Disk, DiskFile, Generation, InForce, InstalledPack, Journal, Kept, PackFile,
    PassedOver, Removed, RolledBack, Store, SystemDisk,
};
pub use trust::{Trust, Verdict, read_public_key};
pub use verified::{CheckedPack, Verified};
pub use weights::Weights;
pub use yardstick::CopyTimes;
