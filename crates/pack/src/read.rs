//! `Pack`: bytes that have been checked.

use crate::digest::Digest;
use crate::error::Error;
use crate::head::Head;
use crate::header::Parts;
use crate::layout::Limits;
use crate::manifest::Manifest;
use crate::preprocessing::Preprocessing;
use crate::probes::Probes;
use crate::report::{Report, Wrong, reported};
use crate::signature::Signatures;
use crate::tensors::Tensors;

/// A pack, read in place.
///
/// Having one tells you: the magic and version are right; every byte of the file is accounted for and every checksum is
/// right; counts agree with each other and are below the limits; names ascend; every index stream gives strictly ascending
/// indices within its tensor, exactly as many as promised; every number is finite. What its iterators give is therefore
/// complete, and they neither fail nor panic. It does not tell you who made the pack, nor that it fits your base.
#[derive(Clone, Copy, Debug)]
pub struct Pack<'a> {
    version: (u16, u16),
    digest: Digest,
    content: &'a [u8],
    manifest: Manifest<'a>,
    tensors: Tensors<'a>,
    head: Option<Head<'a>>,
    preprocessing: Option<Preprocessing<'a>>,
    probes: Option<Probes<'a>>,
    signatures: Signatures<'a>,
}

impl<'a> Pack<'a> {
    /// Checks everything, once, in the order of `FORMAT.md`, 13. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// The first check that fails: `Damaged`, `Unsupported` or `Limit` (see [`Error::class`]).
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        reported(|report| Self::read_unless_known(bytes, limits, None, report))
    }

    /// Reads bytes that [`Pack::read`] has passed before and of which none has changed, as the caller knows: their digest
    /// is taken at the caller's word, and the entries, which are nearly all of a pack, are not gone through. The rest is
    /// checked as it was then.
    ///
    /// If a byte has changed all the same, a `Pack` no longer tells you that its entries are complete, its deltas finite and
    /// its digest right. It still tells you that nothing panics and that every index lies in its tensor.
    ///
    /// # Errors
    ///
    /// As [`Pack::read`].
    pub fn read_again(bytes: &'a [u8], limits: &Limits, digest: Digest) -> Result<Self, Error> {
        reported(|report| Self::read_unless_known(bytes, limits, Some(digest), report))
    }

    fn read_unless_known(
        bytes: &'a [u8],
        limits: &Limits,
        known: Option<Digest>,
        report: &Report,
    ) -> Result<Self, Wrong> {
        let parts = Parts::read(bytes, limits, known.is_some(), report)?;
        let signatures = Signatures::read(parts.after, parts.content.len(), limits, report)?;
        let manifest = Manifest::read(parts.manifest, limits, report)?;
        let tensors = Tensors::read(parts.tensors, parts.entries, limits, known.is_some(), report)?;
        let head = parts.head.map(|section| Head::read(section, limits, report)).transpose()?;
        let preprocessing = parts.preprocessing.map(|section| Preprocessing::read(section, report)).transpose()?;
        let probes = parts
            .probes
            .map(|section| Probes::read(section, preprocessing.as_ref(), head.as_ref(), limits, report))
            .transpose()?;
        Ok(Self {
            version: parts.version,
            digest: known.unwrap_or_else(|| Digest::of(parts.content)),
            content: parts.content,
            manifest,
            tensors,
            head,
            preprocessing,
            probes,
            signatures,
        })
    }

    /// SHA-256 of the content: the identity of the skill. Computed by `read`, once.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Major and minor version of the format.
    #[must_use]
    pub const fn version(&self) -> (u16, u16) {
        self.version
    }

    /// The file without its signature blocks.
    #[must_use]
    pub const fn content(&self) -> &'a [u8] {
        self.content
    }

    /// What the pack says about itself.
    #[must_use]
    pub const fn manifest(&self) -> Manifest<'a> {
        self.manifest
    }

    /// The tensors that the pack changes, in byte order of their names.
    #[must_use]
    pub const fn tensors(&self) -> Tensors<'a> {
        self.tensors
    }

    /// The task's output layer.
    #[must_use]
    pub const fn head(&self) -> Option<Head<'a>> {
        self.head
    }

    /// From pixels to what the network is given.
    #[must_use]
    pub const fn preprocessing(&self) -> Option<Preprocessing<'a>> {
        self.preprocessing
    }

    /// Inputs with expected outputs.
    #[must_use]
    pub const fn probes(&self) -> Option<Probes<'a>> {
        self.probes
    }

    /// The signatures, not verified, in ascending order of their key ids.
    #[must_use]
    pub const fn signatures(&self) -> Signatures<'a> {
        self.signatures
    }
}
