//! The latency of an inference with a skill in force, beside a plain session on the merged weights.
//!
//! Batch 1. Ours: attention matrices are editable (graph inputs over the mapping), and a pack of 10 % of them is attached.
//! Plain: the merged weights as constants, prepacked as ONNX Runtime likes. The two take turns.

use std::time::Instant;

use anyhow::ensure;
use taskvec_packer::random::Random;
use taskvec_runtime::{BaseModel, EngineChoice, Session};

use super::super::{Row, median};
use super::bases::{Bases, skill};

const ROUNDS: usize = 60;

pub(super) fn row(bases: &Bases, ort: &EngineChoice) -> anyhow::Result<Row> {
    let ours = crate::commands::open(&bases.attention, ort)?;
    ours.attach(&skill(&bases.attention_pack)?, 1.0)?;
    let plain = Session::open(&bases.plain, ort)?;
    let pixels = pixels(&bases.attention);
    let (one, two) = (ours.features(&pixels, 1)?, plain.features(&pixels, 1)?);
    let far = one.iter().zip(&two).map(|(one, two)| (one - two).abs()).fold(0.0, f32::max);
    ensure!(far < 1e-3, "the two sessions differ by {far}, expected the same weights");
    let time = |session: &Session| -> anyhow::Result<f64> {
        let began = Instant::now();
        session.features(&pixels, 1)?;
        Ok(1e3 * began.elapsed().as_secs_f64())
    };
    let (mut with_skill, mut merged) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with_skill.push(time(&ours)?);
        merged.push(time(&plain)?);
    }
    let work = "inference with a skill, attention editable, beside a plain session";
    Ok(Row::new(work, median(with_skill), median(merged), "ms", 1.06))
}

/// One random input.
pub(super) fn pixels(base: &BaseModel) -> Vec<f32> {
    let mut random = Random::new(3, "pixels");
    (0..base.preprocessing().pixels_len()).map(|_| random.normal()).collect()
}
