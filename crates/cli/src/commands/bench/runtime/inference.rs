//! The latency of an inference with a skill in force, beside a plain session on the merged weights.
//!
//! Batch 1. Ours: attention matrices are editable, and a pack of 10 % of them is attached: in the default tier as graph
//! inputs over the mapping, in the rebuild tier as constants of a session made for this composition, in the packed tier as
//! constants that are changed in their packed form. Plain: the merged weights as constants, prepacked as ONNX Runtime
//! likes. They take turns.
//!
//! And what a change takes in the packed tier, its proof (one inference) included, beside the rebuild tier.

use std::time::Instant;

use anyhow::ensure;
use taskvec_packer::random::Random;
use taskvec_runtime::{BaseModel, EngineChoice, OrtSettings, Session, Tier};

use super::super::{Row, median};
use super::bases::{Bases, skill, tenth};
use crate::render;

const ROUNDS: usize = 60;
const CHANGES: usize = 8;

pub(super) fn rows(bases: &Bases, settings: &OrtSettings) -> anyhow::Result<Vec<Row>> {
    let base = &bases.attention;
    let packed_folder = Some(base.folder().with_file_name("packed"));
    let first = skill(&bases.attention_pack)?;
    let open = |tier: Tier| -> anyhow::Result<Session> {
        let tier = Some(tier);
        let choice = EngineChoice::Ort(OrtSettings { tier, packed_folder: packed_folder.clone(), ..settings.clone() });
        let session = crate::commands::open(base, &choice)?;
        session.attach(&first, 1.0)?;
        Ok(session)
    };
    let (inputs, rebuilt) = (open(Tier::Inputs)?, open(Tier::Rebuild)?);
    let packed = open(Tier::Packed)?.keeping_pages();
    let plain = Session::open(&bases.plain, &EngineChoice::Ort(settings.clone()))?;
    let mut ours = vec![("default", &inputs, 1.06), ("rebuild", &rebuilt, 1.0)];
    let report = packed.engine_report();
    if report.tier == Some(Tier::Packed) {
        ours.push(("packed", &packed, 1.0));
    } else {
        let reasons: Vec<_> = report.fallbacks.iter().map(|fallback| fallback.reason.as_str()).collect();
        render::note(&format!("left out: the packed tier ({})", reasons.join("; ")));
    }
    let pixels = pixels(base)?;
    let expected = plain.features(&pixels, 1)?;
    for (_, session, _) in &ours {
        let features = session.features(&pixels, 1)?;
        let far = features.iter().zip(&expected).map(|(one, two)| (one - two).abs()).fold(0.0, f32::max);
        ensure!(far < 1e-3, "two sessions differ by {far}, expected the same weights");
    }
    let time = |session: &Session| -> anyhow::Result<f64> {
        let began = Instant::now();
        session.features(&pixels, 1)?;
        Ok(1e3 * began.elapsed().as_secs_f64())
    };
    let mut times = vec![Vec::new(); ours.len()];
    let mut merged = Vec::new();
    for _ in 0..ROUNDS {
        for ((_, session, _), times) in ours.iter().zip(&mut times) {
            times.push(time(session)?);
        }
        merged.push(time(&plain)?);
    }
    let merged = median(merged);
    let mut rows = Vec::new();
    for ((tier, _, goal), times) in ours.iter().zip(times) {
        let work = format!("inference with a skill, attention editable, {tier} tier, beside a plain session");
        rows.push(Row::new(work, median(times), merged, "ms", *goal));
    }
    if ours.len() == 3 {
        let second = skill(&tenth(base, "another", false, 3)?)?;
        let [by_packing, by_rebuilding] = [&packed, &rebuilt].map(|session| -> anyhow::Result<f64> {
            let mut times = Vec::new();
            for round in 0..CHANGES + 2 {
                let change = session.swap([([&second, &first][round % 2].clone(), 1.0)])?;
                times.push(change.weights_ms + change.proof_ms);
            }
            // The first two make the second session, and take fresh pages.
            Ok(median(times.split_off(2)))
        });
        let work = "swap 10 % in single elements, proof included, packed tier, beside the rebuild tier".to_owned();
        rows.push(Row::new(work, by_packing?, by_rebuilding?, "ms", 1.0));
    }
    Ok(rows)
}

/// One random input.
pub(super) fn pixels(base: &BaseModel) -> Result<Vec<f32>, taskvec_runtime::Error> {
    let mut random = Random::new(3, "pixels");
    Ok((0..base.pictures()?.pixels_len()).map(|_| random.normal()).collect())
}
