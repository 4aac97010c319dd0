//! The parts of a pack beside its tensors: plain values that a packer fills in.

use alloc::string::String;
use alloc::vec::Vec;

use super::error::WriteError;
use super::put_text;
use crate::layout::Limits;
use crate::preprocessing::Resize;
use crate::probes::{EngineKind, F32_INPUT, U8_INPUT};
use crate::values::{DeltaEncoder, Rounding};
use crate::width::wide;

/// A linear layer from the network's features to one logit per class.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadParts {
    /// Numbers that the network gives for one input, at least 1.
    pub feature_width: u32,
    /// The name of each class.
    pub labels: Vec<String>,
    /// `[classes, feature_width]`, row-major.
    pub weight: Vec<f32>,
    /// How the weights are rounded. `quantize` tells what a reader will see.
    pub weight_rounding: Rounding,
    /// One number for each class.
    pub bias: Vec<f32>,
}

impl HeadParts {
    pub(super) fn encode(&self) -> Result<Vec<u8>, WriteError> {
        let fail = |problem: &str| WriteError::new("head", problem);
        let class_count = u32::try_from(self.labels.len()).map_err(|_| fail("too many classes"))?;
        if self.feature_width == 0 || class_count == 0 {
            return Err(fail("it has no features or no classes"));
        }
        let weights = u64::from(class_count).saturating_mul(u64::from(self.feature_width));
        if wide(self.weight.len()) != weights || self.bias.len() != self.labels.len() {
            let (found, biases) = (self.weight.len(), self.bias.len());
            let (classes, width) = (class_count, self.feature_width);
            let problem =
                alloc::format!("{found} weights and {biases} biases for {classes} classes and {width} features");
            return Err(fail(&problem));
        }
        if !self.weight.iter().chain(&self.bias).all(|number| number.is_finite()) {
            return Err(fail("a weight or a bias is not finite"));
        }
        let mut encoder = DeltaEncoder::new(self.weight_rounding, wide(self.weight.len()));
        encoder.add(&self.weight).ok_or_else(|| fail("a weight is too large for 16 bits"))?;
        let (encoding, weight) = encoder.finish_in_fixed_size();
        let mut out = Vec::new();
        out.extend(self.feature_width.to_le_bytes());
        out.extend(class_count.to_le_bytes());
        out.extend([encoding.code(), 0, 0, 0]);
        for label in &self.labels {
            put_text(label, false, "label", &mut out)?;
        }
        out.extend(weight);
        put_numbers(&self.bias, &mut out);
        Ok(out)
    }
}

/// From the pixels of an image to what the network is given.
#[derive(Clone, Debug, PartialEq)]
pub struct PreprocessingParts {
    /// Planes of an image, at least 1.
    pub channels: u32,
    /// Rows of pixels, at least 1.
    pub height: u32,
    /// Pixels in a row, at least 1.
    pub width: u32,
    /// How an image of another size is brought to this one.
    pub resize: Resize,
    /// What is subtracted from a pixel between 0 and 1, for each channel.
    pub mean: Vec<f32>,
    /// What the difference is then divided by, for each channel; above 0.
    pub std: Vec<f32>,
}

impl PreprocessingParts {
    /// Numbers of one input, if there is at least one and they can be counted.
    fn input_len(&self) -> Option<u32> {
        self.channels.checked_mul(self.height)?.checked_mul(self.width).filter(|len| *len > 0)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, WriteError> {
        let fail = |problem: &str| Err(WriteError::new("preprocessing", problem));
        if self.input_len().is_none() {
            return fail("channels, height and width are 0 or too large");
        }
        let channels = u64::from(self.channels);
        if wide(self.mean.len()) != channels || wide(self.std.len()) != channels {
            return fail("there is not one mean and one std for each channel");
        }
        if !self.mean.iter().chain(&self.std).all(|number| number.is_finite()) || self.std.iter().any(|std| *std <= 0.0)
        {
            return fail("a mean is not finite, or a std is not finite and above 0");
        }
        let mut out = Vec::new();
        for size in [self.channels, self.height, self.width] {
            out.extend(size.to_le_bytes());
        }
        out.extend(self.resize.code().to_le_bytes());
        out.extend([0, 0]);
        put_numbers(&self.mean, &mut out);
        put_numbers(&self.std, &mut out);
        Ok(out)
    }
}

/// Inputs with what the network gives for them when the pack is in force alone, at its recommended alpha.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeParts {
    /// How many there are, at least 1 and at most 4096.
    pub count: u32,
    /// `[count, channel, row, column]`, row-major.
    pub inputs: ProbeInputs,
    /// `[count, classes]`, or `[count, features]` of a pack without a head.
    pub outputs: Vec<f32>,
    /// By how much a number may differ, for each engine; each engine once, at least one.
    pub tolerances: Vec<(EngineKind, f32)>,
}

/// The inputs of probes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ProbeInputs {
    /// What the network is given.
    F32(Vec<f32>),
    /// Pixels, 0 to 255, that the pack's preprocessing turns into what the network is given.
    U8(Vec<u8>),
}

impl ProbeParts {
    pub(super) fn encode(
        &self,
        preprocessing: Option<&PreprocessingParts>,
        head: Option<&HeadParts>,
    ) -> Result<Vec<u8>, WriteError> {
        let fail = |problem: &str| WriteError::new("probes", problem);
        let (encoding, input_numbers) = match &self.inputs {
            ProbeInputs::F32(inputs) => (F32_INPUT, inputs.len()),
            ProbeInputs::U8(inputs) => (U8_INPUT, inputs.len()),
        };
        let input_len =
            self.each(input_numbers).ok_or_else(|| fail("inputs cannot be divided evenly among the probes"))?;
        let output_len =
            self.each(self.outputs.len()).ok_or_else(|| fail("outputs cannot be divided evenly among the probes"))?;
        if u64::from(self.count) > Limits::DEFAULT.max_probes {
            return Err(fail("there are more than 4096"));
        }
        match preprocessing {
            Some(expected) if expected.input_len() != Some(input_len) => {
                return Err(fail("an input has another size than the preprocessing says"));
            }
            None if encoding == U8_INPUT => return Err(fail("inputs are pixels, but there is no preprocessing")),
            _ => {}
        }
        if head.is_some_and(|head| wide(head.labels.len()) != u64::from(output_len)) {
            return Err(fail("an output has another size than the head"));
        }
        let mut out = Vec::new();
        for count in [self.count, input_len, output_len] {
            out.extend(count.to_le_bytes());
        }
        let tolerances = self.sorted_tolerances()?;
        let tolerance_count = u8::try_from(tolerances.len()).map_err(|_| fail("too many tolerances"))?;
        out.extend([encoding, tolerance_count, 0, 0]);
        for (engine, tolerance) in tolerances {
            out.extend(engine.to_le_bytes());
            out.extend([0, 0]);
            out.extend(tolerance.to_le_bytes());
        }
        match &self.inputs {
            ProbeInputs::F32(inputs) => put_finite(inputs, &mut out)?,
            ProbeInputs::U8(inputs) => out.extend(inputs),
        }
        put_finite(&self.outputs, &mut out)?;
        Ok(out)
    }

    /// The share of one probe, if there is at least one number and none is left over.
    fn each(&self, numbers: usize) -> Option<u32> {
        let count = u64::from(self.count);
        let share = wide(numbers).checked_div(count).filter(|share| *share > 0)?;
        (share.saturating_mul(count) == wide(numbers)).then_some(share).and_then(|share| u32::try_from(share).ok())
    }

    fn sorted_tolerances(&self) -> Result<Vec<(u16, f32)>, WriteError> {
        let fail = |problem: &str| Err(WriteError::new("probes", problem));
        let mut tolerances: Vec<(u16, f32)> =
            self.tolerances.iter().map(|(engine, tolerance)| (engine.code(), *tolerance)).collect();
        tolerances.sort_by_key(|(engine, _)| *engine);
        if tolerances.is_empty() {
            return fail("there is no tolerance");
        }
        if tolerances.windows(2).any(|pair| matches!(pair, [(left, _), (right, _)] if left == right)) {
            return fail("an engine has two tolerances");
        }
        if !tolerances.iter().all(|(_, tolerance)| tolerance.is_finite() && *tolerance >= 0.0) {
            return fail("a tolerance is not finite or below 0");
        }
        Ok(tolerances)
    }
}

fn put_finite(numbers: &[f32], out: &mut Vec<u8>) -> Result<(), WriteError> {
    if numbers.iter().all(|number| number.is_finite()) {
        put_numbers(numbers, out);
        Ok(())
    } else {
        Err(WriteError::new("probes", "an input or an output is not finite"))
    }
}

fn put_numbers(numbers: &[f32], out: &mut Vec<u8>) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}
