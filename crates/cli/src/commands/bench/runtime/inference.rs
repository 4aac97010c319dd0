//! The latency of an inference with a skill in force, beside a plain session on the merged weights.
//!
//! Batch 1. Ours: attention matrices are editable, and a pack of 10 % of them is attached: in the default tier as graph
//! inputs over the mapping, in the rebuild tier as constants of a session made for this composition. Plain: the merged
//! weights as constants, prepacked as ONNX Runtime likes. The three take turns.

use std::time::Instant;

use anyhow::ensure;
use taskvec_packer::random::Random;
use taskvec_runtime::{BaseModel, EngineChoice, OrtSettings, Session, Tier};

use super::super::{Row, median};
use super::bases::{Bases, skill};

const ROUNDS: usize = 60;

pub(super) fn rows(bases: &Bases, settings: &OrtSettings) -> anyhow::Result<Vec<Row>> {
    let open = |tier: Tier| -> anyhow::Result<Session> {
        let choice = EngineChoice::Ort(OrtSettings { tier: Some(tier), ..settings.clone() });
        let session = crate::commands::open(&bases.attention, &choice)?;
        session.attach(&skill(&bases.attention_pack)?, 1.0)?;
        Ok(session)
    };
    let (inputs, rebuilt) = (open(Tier::Inputs)?, open(Tier::Rebuild)?);
    let plain = Session::open(&bases.plain, &EngineChoice::Ort(settings.clone()))?;
    let pixels = pixels(&bases.attention);
    let expected = plain.features(&pixels, 1)?;
    for session in [&inputs, &rebuilt] {
        let features = session.features(&pixels, 1)?;
        let far = features.iter().zip(&expected).map(|(one, two)| (one - two).abs()).fold(0.0, f32::max);
        ensure!(far < 1e-3, "two sessions differ by {far}, expected the same weights");
    }
    let time = |session: &Session| -> anyhow::Result<f64> {
        let began = Instant::now();
        session.features(&pixels, 1)?;
        Ok(1e3 * began.elapsed().as_secs_f64())
    };
    let [mut by_inputs, mut by_rebuilding, mut merged] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        by_inputs.push(time(&inputs)?);
        by_rebuilding.push(time(&rebuilt)?);
        merged.push(time(&plain)?);
    }
    let merged = median(merged);
    let row = |tier: &str, times: Vec<f64>, goal: f64| {
        let work = format!("inference with a skill, attention editable, {tier} tier, beside a plain session");
        Row::new(work, median(times), merged, "ms", goal)
    };
    Ok(vec![row("default", by_inputs, 1.06), row("rebuild", by_rebuilding, 1.0)])
}

/// One random input.
pub(super) fn pixels(base: &BaseModel) -> Vec<f32> {
    let mut random = Random::new(3, "pixels");
    (0..base.preprocessing().pixels_len()).map(|_| random.normal()).collect()
}
