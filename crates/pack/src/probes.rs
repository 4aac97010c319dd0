//! Inputs with expected outputs, by which a device proves that a skill works there (`FORMAT.md`, 7.3).

use crate::cursor::{Checked, Cursor};
use crate::error::ErrorKind;
use crate::head::{Head, nonzero};
use crate::header::Section;
use crate::layout::Limits;
use crate::preprocessing::Preprocessing;
use crate::report::{Report, Wrong};
use crate::width::length;

/// Inputs with what the network gives for them when this pack is in force alone, at its recommended alpha.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Probes<'a> {
    /// How many there are, at least 1.
    pub count: u32,
    /// Numbers of one input, `[channel, row, column]`.
    pub input_len: u32,
    /// Numbers of one output: the logits of the pack's head, or the features if it has none.
    pub output_len: u32,
    tolerances: Tolerances<'a>,
    inputs: Inputs<'a>,
    outputs: &'a [[u8; 4]],
}

#[derive(Clone, Copy, Debug)]
enum Inputs<'a> {
    F32(&'a [[u8; 4]]),
    U8(&'a [u8]),
}

impl<'a> Probes<'a> {
    /// The probe with this index, if it is below `count`.
    #[must_use]
    pub fn probe(&self, index: u32) -> Option<Probe<'a>> {
        let input = match self.inputs {
            Inputs::F32(all) => ProbeInput::F32(Numbers(nth(all, index, self.input_len)?)),
            Inputs::U8(all) => ProbeInput::U8(nth(all, index, self.input_len)?),
        };
        Some(Probe { input, output: Numbers(nth(self.outputs, index, self.output_len)?) })
    }

    /// All probes, in order.
    pub fn iter(&self) -> impl Iterator<Item = Probe<'a>> + Clone + use<'a> {
        let probes = *self;
        (0..self.count).map_while(move |index| probes.probe(index))
    }

    /// By how much a number may differ from the expected one, for each engine that the pack knows.
    #[must_use]
    pub const fn tolerances(&self) -> Tolerances<'a> {
        self.tolerances
    }

    /// The tolerance of one engine, or that of all others; none if the pack has neither.
    #[must_use]
    pub fn tolerance(&self, engine: EngineKind) -> Option<f32> {
        let of = |wanted| self.tolerances().find(|(engine, _)| *engine == wanted).map(|(_, tolerance)| tolerance);
        of(engine).or_else(|| of(EngineKind::Any))
    }

    /// Step 22 of `FORMAT.md`, 13.
    pub(crate) fn read(
        section: Section<'a>,
        preprocessing: Option<&Preprocessing<'_>>,
        head: Option<&Head<'_>>,
        limits: &Limits,
        report: &Report,
    ) -> Result<Self, Wrong> {
        let start = Cursor::new(section.bytes, section.offset, "probes", report);
        let mut cursor = start;
        let count = nonzero(&mut cursor)?;
        let (input_len, output_len) = (nonzero(&mut cursor)?, nonzero(&mut cursor)?);
        let encoding_at = cursor.offset();
        let encoding = cursor.u8()?;
        if !matches!(encoding, F32_INPUT | U8_INPUT) {
            return Err(cursor.error(ErrorKind::Encoding, encoding_at, 0, u64::from(encoding)));
        }
        let tolerances_at = cursor.offset();
        let tolerance_count = cursor.u8()?;
        if tolerance_count == 0 {
            return Err(cursor.error(ErrorKind::Count, tolerances_at, 1, 0));
        }
        cursor.zero(2)?;
        let tolerances = Tolerances::read(&mut cursor, tolerance_count)?;
        let disagree = |field: usize, expected: u32, found: u32| {
            let at = section.offset.saturating_add(field);
            Err(start.error(ErrorKind::Count, at, u64::from(expected), u64::from(found)))
        };
        match preprocessing {
            Some(expected) if expected.input_len() != input_len => {
                return disagree(4, expected.input_len(), input_len);
            }
            None if encoding == U8_INPUT => return disagree(12, u32::from(F32_INPUT), u32::from(U8_INPUT)),
            _ => {}
        }
        if let Some(head) = head.filter(|head| head.class_count != output_len) {
            return disagree(8, head.class_count, output_len);
        }
        let number_count = |len: u32| u64::from(count).saturating_mul(u64::from(len));
        let (inputs, outputs) = (number_count(input_len), number_count(output_len));
        let sizes = if encoding == U8_INPUT { (inputs, outputs) } else { (inputs.saturating_mul(4), outputs) };
        let mut end = cursor;
        if u64::from(count) > limits.max_probes {
            return Err(cursor.error(ErrorKind::Limit, section.offset, limits.max_probes, u64::from(count)));
        }
        end.take(sizes.0.saturating_add(sizes.1.saturating_mul(4)))?;
        end.finish()?;
        let inputs = match encoding {
            U8_INPUT => Inputs::U8(cursor.take(inputs)?),
            _ => Inputs::F32(cursor.f32s(inputs, f32::MIN)?),
        };
        let outputs = cursor.f32s(outputs, f32::MIN)?;
        Ok(Self { count, input_len, output_len, tolerances, inputs, outputs })
    }
}

/// Number 1 of registry 11.8 of `FORMAT.md`.
pub(crate) const F32_INPUT: u8 = 1;
/// Number 2 of registry 11.8 of `FORMAT.md`.
pub(crate) const U8_INPUT: u8 = 2;

fn nth<T>(all: &[T], index: u32, len: u32) -> Option<&[T]> {
    all.chunks_exact(length(u64::from(len))).nth(length(u64::from(index)))
}

/// One input and what the network gives for it.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// What goes in.
    pub input: ProbeInput<'a>,
    /// What comes out.
    pub output: Numbers<'a>,
}

/// The input of a probe.
#[derive(Clone, Copy, Debug)]
pub enum ProbeInput<'a> {
    /// What the network is given.
    F32(Numbers<'a>),
    /// Pixels, 0 to 255, that the pack's preprocessing turns into what the network is given:
    /// `(x / 255 - mean[channel]) / std[channel]`.
    U8(&'a [u8]),
}

/// Finite numbers.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a>(&'a [[u8; 4]]);

impl Iterator for Numbers<'_> {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(f32::from_le_bytes(*first))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for Numbers<'_> {}

/// Tolerances by engine, in ascending order of the engines' numbers.
#[derive(Clone, Copy, Debug)]
pub struct Tolerances<'a> {
    records: Checked<'a>,
    left: u8,
}

impl<'a> Tolerances<'a> {
    fn read(cursor: &mut Cursor<'a, '_>, count: u8) -> Result<Self, Wrong> {
        let tolerances = Self { records: cursor.again(), left: count };
        let mut last = None;
        for _ in 0..count {
            let at = cursor.offset();
            let code = cursor.u16()?;
            if last.is_some_and(|last| last >= code) {
                return Err(cursor.error(ErrorKind::Order, at, 0, u64::from(code)));
            }
            last = Some(code);
            cursor.zero(2)?;
            cursor.f32(0.0, f32::MAX)?;
        }
        Ok(tolerances)
    }
}

impl Iterator for Tolerances<'_> {
    type Item = (EngineKind, f32);

    fn next(&mut self) -> Option<(EngineKind, f32)> {
        self.left = self.left.checked_sub(1)?;
        self.records.next(|cursor| {
            let engine = EngineKind::from_code(cursor.u16()?);
            cursor.zero(2)?;
            Ok((engine, cursor.f32(0.0, f32::MAX)?))
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Tolerances<'_> {}

/// An inference library, as far as a tolerance depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineKind {
    /// Every engine that the pack does not list.
    Any,
    /// ONNX Runtime.
    Ort,
    /// burn.
    Burn,
    /// An engine that this version has no name for.
    Other(u16),
}

impl EngineKind {
    /// Its number in registry 11.9 of `FORMAT.md`.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Any => 0,
            Self::Ort => 1,
            Self::Burn => 2,
            Self::Other(code) => code,
        }
    }

    /// The engine with this number.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            0 => Self::Any,
            1 => Self::Ort,
            2 => Self::Burn,
            _ => Self::Other(code),
        }
    }
}
