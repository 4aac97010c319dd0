//! What a pack says about itself: the base it is for, the coefficient, how it was made (`FORMAT.md`, 5).

use crate::cursor::{Checked, Cursor};
use crate::error::ErrorKind;
use crate::fingerprint::Fingerprint;
use crate::header::Section;
use crate::layout::{Limits, PAIR_BYTES_MIN};
use crate::report::{Report, Wrong};
use crate::width::length;

/// What a pack says about itself.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Manifest<'a> {
    /// Name of the skill, for people.
    pub name: &'a str,
    /// The only base model that the pack may be applied to.
    pub base: Fingerprint,
    /// Recommended coefficient.
    pub alpha: f32,
    /// Range of coefficients on which the skill was validated, both ends inclusive; holds `alpha`.
    pub alpha_range: [f32; 2],
    /// How the task vector was made.
    pub method: Method,
    /// Seed of the run that made it.
    pub seed: u64,
    /// Share of the maskable parameters in the mask, 0 to 1 inclusive, as the packer was asked for it.
    pub density: f32,
    /// Granule of the mask.
    pub granule: Granule,
    provenance: Provenance<'a>,
}

impl<'a> Manifest<'a> {
    /// Keys and values such as `data`, `licence`, `parents`, `recipe`, in byte order of the keys.
    #[must_use]
    pub const fn provenance(&self) -> Provenance<'a> {
        self.provenance
    }

    /// Step 17 of `FORMAT.md`, 13.
    pub(crate) fn read(section: Section<'a>, limits: &Limits, report: &Report) -> Result<Self, Wrong> {
        let mut cursor = Cursor::new(section.bytes, section.offset, "manifest", report);
        let base = Fingerprint(cursor.bytes32()?);
        let alpha = cursor.f32(f32::MIN, f32::MAX)?;
        let alpha_min = cursor.f32(f32::MIN, alpha)?;
        let alpha_max = cursor.f32(alpha, f32::MAX)?;
        let density = cursor.f32(0.0, 1.0)?;
        let seed = cursor.u64()?;
        let method = Method::from_code(cursor.u16()?);
        let granule_code = cursor.u16()?;
        let at = cursor.offset();
        let granule_bytes = cursor.u32()?;
        let granule = Granule::from_code(granule_code, granule_bytes)
            .ok_or_else(|| cursor.error(ErrorKind::Number, at, 0, u64::from(granule_bytes)))?;
        let name = cursor.text(limits.max_string_bytes, false)?;
        let provenance = Provenance::read(&mut cursor, limits)?;
        Ok(Self { name, base, alpha, alpha_range: [alpha_min, alpha_max], method, seed, density, granule, provenance })
    }
}

/// Pairs of keys and values, in byte order of the keys.
#[derive(Clone, Copy, Debug)]
pub struct Provenance<'a> {
    pairs: Checked<'a>,
    left: u64,
}

impl<'a> Provenance<'a> {
    fn read(cursor: &mut Cursor<'a, '_>, limits: &Limits) -> Result<Self, Wrong> {
        let at = cursor.offset();
        let count = cursor.varint()?;
        if length(count) > cursor.rest().len() / PAIR_BYTES_MIN {
            return Err(cursor.error(ErrorKind::Count, at, cursor.remaining(), count));
        }
        if count > limits.max_provenance_pairs {
            return Err(cursor.error(ErrorKind::Limit, at, limits.max_provenance_pairs, count));
        }
        let provenance = Self { pairs: cursor.again(), left: count };
        let mut last_key = None;
        for _ in 0..count {
            let key = cursor.text(limits.max_string_bytes, false)?;
            if last_key.is_some_and(|last| last >= key) {
                let at = cursor.offset().saturating_sub(key.len());
                return Err(cursor.error(ErrorKind::Order, at, 0, 0));
            }
            last_key = Some(key);
            cursor.text(limits.max_string_bytes, true)?;
        }
        cursor.finish()?;
        Ok(provenance)
    }
}

impl<'a> Iterator for Provenance<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        self.left = self.left.checked_sub(1)?;
        self.pairs.next(|cursor| Ok((cursor.text(u64::MAX, false)?, cursor.text(u64::MAX, true)?)))
    }
}

/// How a task vector was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Method {
    /// Not said.
    #[default]
    Unspecified,
    /// Every parameter fine-tuned.
    Dense,
    /// Fine-tuned in the tangent space of the base.
    Linearized,
    /// The least sensitive parameters fine-tuned (TaLoS).
    LeastSensitive,
    /// The most sensitive parameters fine-tuned.
    MostSensitive,
    /// A random mask fine-tuned.
    RandomMask,
    /// Attention weights fine-tuned.
    AttentionOnly,
    /// Difference of two checkpoints.
    Difference,
    /// Made from other packs.
    Edit,
    /// The mask of another pack fine-tuned.
    SharedMask,
    /// Deltas of low rank fine-tuned (LoRA).
    LowRank,
    /// Deltas fine-tuned with a gate for each tensor (TAPS).
    TensorGates,
    /// Deltas fine-tuned with a gate for each element, then pruned (diff pruning).
    DiffPruning,
    /// The parameters of largest or smallest magnitude fine-tuned.
    MagnitudeMask,
    /// The parameters fine-tuned that moved most in an earlier run (LoTA).
    LotteryMask,
    /// A method that this version has no name for.
    Other(u16),
}

impl Method {
    /// Its number in registry 11.5 of `FORMAT.md`.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Unspecified => 0,
            Self::Dense => 1,
            Self::Linearized => 2,
            Self::LeastSensitive => 3,
            Self::MostSensitive => 4,
            Self::RandomMask => 5,
            Self::AttentionOnly => 6,
            Self::Difference => 7,
            Self::Edit => 8,
            Self::SharedMask => 9,
            Self::LowRank => 10,
            Self::TensorGates => 11,
            Self::DiffPruning => 12,
            Self::MagnitudeMask => 13,
            Self::LotteryMask => 14,
            Self::Other(code) => code,
        }
    }

    /// The method with this number.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            0 => Self::Unspecified,
            1 => Self::Dense,
            2 => Self::Linearized,
            3 => Self::LeastSensitive,
            4 => Self::MostSensitive,
            5 => Self::RandomMask,
            6 => Self::AttentionOnly,
            7 => Self::Difference,
            8 => Self::Edit,
            9 => Self::SharedMask,
            10 => Self::LowRank,
            11 => Self::TensorGates,
            12 => Self::DiffPruning,
            13 => Self::MagnitudeMask,
            14 => Self::LotteryMask,
            _ => Self::Other(code),
        }
    }
}

impl core::fmt::Display for Method {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Dense => "dense",
            Self::Linearized => "linearized",
            Self::LeastSensitive => "least sensitive",
            Self::MostSensitive => "most sensitive",
            Self::RandomMask => "random mask",
            Self::AttentionOnly => "attention only",
            Self::Difference => "difference",
            Self::Edit => "edit",
            Self::SharedMask => "shared mask",
            Self::LowRank => "low rank",
            Self::TensorGates => "tensor gates",
            Self::DiffPruning => "diff pruning",
            Self::MagnitudeMask => "magnitude mask",
            Self::LotteryMask => "lottery mask",
            Self::Other(code) => return write!(f, "method {code}"),
        })
    }
}

/// The smallest part of a tensor that a mask takes or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Granule {
    /// Single elements.
    #[default]
    Element,
    /// The elements that share the first index.
    Row,
    /// Blocks of the tensor's bytes, counted from its first one.
    Block {
        /// Bytes of a block, not 0.
        bytes: u32,
    },
    /// Whole tensors.
    Tensor,
    /// A granule that this version has no name for.
    Other {
        /// Its number.
        code: u16,
        /// Its `granule_bytes`.
        bytes: u32,
    },
}

impl Granule {
    const BLOCK: u16 = 3;

    /// Its number in registry 11.6 of `FORMAT.md`.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Element => 1,
            Self::Row => 2,
            Self::Block { .. } => Self::BLOCK,
            Self::Tensor => 4,
            Self::Other { code, .. } => code,
        }
    }

    /// The size of a block; 0 for granules without one.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Block { bytes } | Self::Other { bytes, .. } => bytes,
            _ => 0,
        }
    }

    /// The granule with this number and size; none if they contradict each other.
    #[must_use]
    pub const fn from_code(code: u16, bytes: u32) -> Option<Self> {
        match (code, bytes) {
            (1, 0) => Some(Self::Element),
            (2, 0) => Some(Self::Row),
            (Self::BLOCK, 1..) => Some(Self::Block { bytes }),
            (4, 0) => Some(Self::Tensor),
            (1..=4, _) => None,
            _ => Some(Self::Other { code, bytes }),
        }
    }
}

impl core::fmt::Display for Granule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Element => f.write_str("element"),
            Self::Row => f.write_str("row"),
            Self::Block { bytes } => write!(f, "block of {bytes} bytes"),
            Self::Tensor => f.write_str("tensor"),
            Self::Other { code, .. } => write!(f, "granule {code}"),
        }
    }
}
