//! The proof that a composition works on this device, with this engine, on these weights.
//!
//! It is given on the view that a change is prepared on, before that view serves; if it fails, what was in force has been
//! serving all the time and stays.
//!
//! Which proof is given when stands at [`Proof`]. With several skills it is no more than that they are felt and finite:
//! a pack's maker has seen its answers with the pack alone, and nobody has seen this mix. What a mix is worth is for
//! whoever composes it to measure, beforehand.

use serde::Serialize;
use taskvec_bundle::Interface;
use taskvec_pack::{Method, ProbeInput, Probes};

use crate::array::Array;
use crate::base_model::BaseModel;
use crate::composition::{Placed, Skills};
use crate::engine::{Engine, Inference};
use crate::error::{Error, ErrorKind};
use crate::skill::Skill;

/// Inputs given to the engine at once: bounds the memory that a pack with many probes can claim.
const PROBES_AT_ONCE: u32 = 16;

/// What was proved about a composition before it came into force.
///
/// | in force | what is proved |
/// |---|---|
/// | nothing | [`Proof::Base`]: every touched byte has been made the base's again |
/// | one skill, at its recommended alpha, with probes and a tolerance for this engine | [`Proof::Probes`] |
/// | anything else | [`Proof::Felt`] |
///
/// And in every row: each skill that has entries and an alpha other than 0 changes at least one bit of the weights when
/// it is applied in its turn. A swap without any effect is an error, never silence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Proof {
    /// No skill is in force: the weights are the base's.
    Base,
    /// Each probe's logits (features, if the pack has no head) are as the maker of the one skill saw them.
    Probes {
        /// How many probes passed: all of them.
        count: u32,
        /// Largest difference from an expected number.
        difference_max: f32,
        /// What the pack allows on this engine.
        tolerance: f32,
    },
    /// The answer is finite, to the first probe of each skill that has probes, or to a gray image if none has; where the
    /// base takes arrays, to those that it is tried with. (Without an engine there is none.)
    Felt {
        /// Why the probes could not be used.
        because: NoProbes,
        /// Inputs whose features were looked at.
        inputs: u32,
    },
}

/// Why a composition was not held against probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoProbes {
    /// Probes hold for a skill alone.
    SeveralSkills,
    /// Probes hold at the recommended alpha.
    OtherAlpha,
    /// The pack has none.
    NoneInPack,
    /// The pack has no tolerance for this engine, and none for engines that it does not know.
    NoneForEngine,
    /// The base is quantized, and probes hold on the floats that it stands for.
    QuantizedBase,
    /// The session has no engine: nothing was answered.
    NoEngine,
}

/// Proves `skills`, which `weights` hold already, by what `inference` of `engine` answers with them.
///
/// # Errors
/// `Mismatch` when a skill is not felt or an answer is not the expected one; what the engine says otherwise.
pub(crate) fn prove(
    engine: &dyn Engine,
    inference: &dyn Inference,
    base: &BaseModel,
    skills: &Skills,
) -> Result<Proof, Error> {
    if let Some(unfelt) = skills.iter().find(|placed| !is_felt(placed)) {
        let (name, alpha) = (unfelt.skill.name(), unfelt.alpha);
        let clause = format!("skill `{name}` at alpha {alpha} changes no weight, expected at least one");
        return Err(Error::new(ErrorKind::Mismatch, clause)
            .with_help("use a larger alpha, or 0 to have its head alone; a pack of zeros has no effect at any alpha"));
    }
    if !engine.infers() && !skills.is_empty() {
        return Ok(Proof::Felt { because: NoProbes::NoEngine, inputs: 0 });
    }
    let mut all = skills.iter();
    let because = match (all.next(), all.next()) {
        (None, _) => return Ok(Proof::Base),
        (Some(_), Some(_)) => NoProbes::SeveralSkills,
        (Some(only), None) => match usable_probes(only, engine, base) {
            Ok((probes, tolerance)) => return hold(engine, inference, base, &only.skill, &probes, tolerance),
            Err(because) => because,
        },
    };
    let inputs = inputs_of(skills, base)?;
    let count = u32::try_from(inputs.len()).unwrap_or(u32::MAX);
    for input in inputs {
        let answer = input.answer(inference, base)?;
        if let Some(wrong) = answer.iter().find(|number| !number.is_finite()) {
            let clause = format!("the answer holds {wrong} with these skills in force, expected finite numbers");
            return Err(Error::new(ErrorKind::Mismatch, clause).with_help("use smaller alphas"));
        }
    }
    Ok(Proof::Felt { because, inputs: count })
}

/// An input to try a base with.
pub(crate) enum Trial {
    /// One picture.
    Pixels(Vec<f32>),
    /// An array for each input.
    Arrays(Vec<Array>),
}

impl Trial {
    /// One that looks like nothing in particular: no two neighbors alike.
    ///
    /// # Errors
    /// `Unsupported` when an input of the base is of a dtype that cannot be made here.
    #[cfg(feature = "ort")]
    pub(crate) fn varied(base: &BaseModel) -> Result<Self, Error> {
        match base.interface() {
            Interface::Pictures(pictures) => {
                let pixels = (0..pictures.pixels_len()).map(|index| ((index * 37) % 101) as f32 / 50.0 - 1.0);
                Ok(Self::Pixels(pixels.collect()))
            }
            Interface::Arrays(_) => Ok(Self::Arrays(trial_arrays(base)?)),
        }
    }

    /// The numbers of the answer, of all its arrays one after the other.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) fn answer(&self, inference: &dyn Inference, base: &BaseModel) -> Result<Vec<f32>, Error> {
        match self {
            Self::Pixels(pixels) => features(inference, base, pixels, 1),
            Self::Arrays(arrays) => {
                let outputs = inference.run(arrays)?;
                Ok(outputs.iter().filter_map(Array::to_f32).flatten().collect())
            }
        }
    }
}

/// What a base that takes arrays is tried with; nothing for one that takes pictures.
///
/// # Errors
/// `Unsupported` when an input is of a dtype that cannot be made here.
pub(crate) fn trial_arrays(base: &BaseModel) -> Result<Vec<Array>, Error> {
    match base.interface() {
        Interface::Pictures(_) => Ok(Vec::new()),
        Interface::Arrays(arrays) => {
            arrays.inputs.iter().map(|port| Array::trial(port, &arrays.trial_shape(port))).collect()
        }
    }
}

/// What `inference` gives for `pixels`, as many numbers as it should.
pub(crate) fn features(
    inference: &dyn Inference,
    base: &BaseModel,
    pixels: &[f32],
    batch: usize,
) -> Result<Vec<f32>, Error> {
    let features = inference.features(pixels, batch)?;
    let expected = base.pictures()?.feature_width().saturating_mul(batch);
    if features.len() != expected {
        let clause = format!("the engine gave {} features for {batch} inputs, expected {expected}", features.len());
        return Err(Error::new(ErrorKind::Mismatch, clause).with_help("the bundle's parts do not fit: copy it again"));
    }
    Ok(features)
}

fn is_felt(placed: &Placed) -> bool {
    placed.alpha == 0.0 || placed.places.is_empty() || placed.felt
}

fn usable_probes<'a>(only: &'a Placed, engine: &dyn Engine, base: &BaseModel) -> Result<(Probes<'a>, f32), NoProbes> {
    let probes = only.skill.pack().probes().ok_or(NoProbes::NoneInPack)?;
    if base.is_quantized() {
        return Err(NoProbes::QuantizedBase);
    }
    if only.alpha != only.skill.recommended_alpha() {
        return Err(NoProbes::OtherAlpha);
    }
    let tolerance = probes.tolerance(engine.kind()).ok_or(NoProbes::NoneForEngine)?;
    Ok((probes, tolerance))
}

/// Holds every probe of `skill` against what the engine answers now.
fn hold(
    engine: &dyn Engine,
    inference: &dyn Inference,
    base: &BaseModel,
    skill: &Skill,
    probes: &Probes<'_>,
    tolerance: f32,
) -> Result<Proof, Error> {
    let mut difference_max = 0.0f32;
    let mut first = 0;
    while first < probes.count {
        let last = probes.count.min(first + PROBES_AT_ONCE);
        let pixels: Vec<f32> = (first..last)
            .filter_map(|index| probes.probe(index))
            .flat_map(|probe| pixels_of(skill, probe.input))
            .collect();
        let features = features(inference, base, &pixels, (last - first) as usize)?;
        let found = match skill.head() {
            Some(head) => head.logits(&features).map_err(crate::error::of_bundle)?,
            None => features,
        };
        let expected = (first..last).filter_map(|index| probes.probe(index)).flat_map(|probe| probe.output);
        for (at, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            let difference = (found - expected).abs();
            if difference.is_nan() || difference > tolerance {
                let at = u32::try_from(at).unwrap_or(u32::MAX);
                let (probe, number) = (first + at / probes.output_len, at % probes.output_len);
                let wrong = failed(engine, skill, probe, number, expected, found, tolerance);
                return Err(wrong.with_help(next_step(base, skill)));
            }
            difference_max = difference_max.max(difference);
        }
        first = last;
    }
    Ok(Proof::Probes { count: probes.count, difference_max, tolerance })
}

fn failed(
    engine: &dyn Engine,
    skill: &Skill,
    probe: u32,
    number: u32,
    expected: f32,
    found: f32,
    tolerance: f32,
) -> Error {
    let what = if skill.head().is_some() { "logit" } else { "feature" };
    let clause = format!(
        "skill `{}`, probe {probe}: {what} {number} is {found}, expected {expected} within {tolerance} on {}",
        skill.name(),
        engine.describe()
    );
    Error::new(ErrorKind::Mismatch, clause)
}

/// What to do about a probe that fails. The base of a linearized pack and the linearization of that base have one fingerprint.
fn next_step(base: &BaseModel, skill: &Skill) -> &'static str {
    match (skill.pack().manifest().method, base.is_linearized()) {
        (Method::Linearized, false) => {
            "the composition from before is in force; the pack was trained on the linearized network: attach it to the bundle that \
             `taskvec bundle BASE --linearized` makes of this base"
        }
        (method, true) if method != Method::Linearized => {
            "the composition from before is in force; the base is linearized and the pack was trained on the network itself: attach \
             it to the bundle that this one was made of"
        }
        _ => "the composition from before is in force; fetch the pack again, or use another engine",
    }
}

/// One input for each skill that has probes, or a gray image if none has.
fn inputs_of(skills: &Skills, base: &BaseModel) -> Result<Vec<Trial>, Error> {
    let Interface::Pictures(pictures) = base.interface() else {
        return Ok(vec![Trial::Arrays(trial_arrays(base)?)]);
    };
    let first = |placed: &Placed| {
        let probe = placed.skill.pack().probes()?.probe(0)?;
        Some(Trial::Pixels(pixels_of(&placed.skill, probe.input)))
    };
    let mut inputs: Vec<_> = skills.iter().filter_map(first).collect();
    if inputs.is_empty() {
        inputs.push(Trial::Pixels(vec![0.0; pictures.pixels_len()]));
    }
    Ok(inputs)
}

/// The input as the network is given it.
fn pixels_of(skill: &Skill, input: ProbeInput<'_>) -> Vec<f32> {
    match (input, skill.preprocessing()) {
        (ProbeInput::F32(numbers), _) => numbers.collect(),
        (ProbeInput::U8(bytes), Some(preprocessing)) => {
            let plane = preprocessing.height() as usize * preprocessing.width() as usize;
            let channels = preprocessing.mean().iter().zip(preprocessing.std());
            let planes = bytes.chunks(plane.max(1)).zip(channels);
            // `FORMAT.md`, 7.2: each operation in f32, in this order.
            planes
                .flat_map(|(plane, (mean, std))| plane.iter().map(move |&x| (f32::from(x) / 255.0 - mean) / std))
                .collect()
        }
        // The pack's reader refuses bytes without preprocessing.
        (ProbeInput::U8(_), None) => Vec::new(),
    }
}
