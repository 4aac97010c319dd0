//! The runtime from outside: every promise of its front page, on bases and packs made here.

mod arrays;
mod concurrency;
#[cfg(any(feature = "burn", feature = "ort"))]
mod engines;
mod exactness;
mod made;
#[cfg(target_os = "linux")]
mod memory;
mod memory_disk;
#[cfg(feature = "ort")]
mod openvino;
#[cfg(all(feature = "ort", target_os = "linux"))]
mod packed;
mod power_cut;
mod proofs;
mod refusals;
mod stands_for;
mod store;
#[cfg(any(feature = "burn", feature = "ort"))]
mod storm;
#[cfg(feature = "ort")]
mod tiers;
mod trust;
#[cfg(unix)]
mod verified;
