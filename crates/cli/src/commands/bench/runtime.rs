//! Attach and detach beside a `memcpy` of the pages that they touch, and ONNX Runtime's latency with a skill in force
//! beside a plain session on the merged weights.
//!
//! Warm is held against warm (the pages were written before), cold against cold (first touch of every page on both sides), in
//! the same kind of memory: a private mapping of the base. The proof of a change is not in these times: it is inferences.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use taskvec_bundle::{
    BASE_FILE, Base, BaseDraft, MODEL_FILE, NamedTensor, Preprocessing, Resize, StoredDtype, TensorFile, write_tensors,
};
use taskvec_pack::write::{Builder, TensorDeltas, Values};
use taskvec_pack::{Dtype, Fingerprint, ValueEncoding};
use taskvec_packer::random::Random;
use taskvec_runtime::{BaseModel, Engine, EngineKind, Error, Inference, PackLimits, Session, Skill, Weights};

use super::{Row, latency, median};

const ROUNDS: usize = 7;
/// 128 MiB of f32: 32 tensors of 1024 x 1024.
const TENSORS: usize = 32;
const SIDE: u64 = 1024;
const PAGE_BYTES: usize = 4096;
const PAGE_ELEMENTS: u64 = 1024;

pub(super) fn rows(library: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let mut rows = changes()?;
    rows.extend(latency::rows(library)?);
    Ok(rows)
}

/// Infers nothing, so that only weights are measured.
struct Idle;

impl Engine for Idle {
    fn kind(&self) -> EngineKind {
        EngineKind::Any
    }

    fn describe(&self) -> String {
        "idle".into()
    }

    fn over(&self, _: &Weights) -> Result<Box<dyn Inference>, Error> {
        Ok(Box::new(Self))
    }
}

impl Inference for Idle {
    fn features(&self, _: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        Ok(vec![0.0; batch])
    }
}

fn changes() -> anyhow::Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    write_base(folder.path())?;
    let base = BaseModel::open(folder.path())?;
    let mut rows = Vec::new();
    for (mask, in_blocks) in [("4 KiB blocks", true), ("single elements", false)] {
        let skill = tenth(base.fingerprint(), in_blocks)?;
        let open = || Session::with_engine(&base, Arc::new(Idle));
        let (mut cold, mut warm, mut detach) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            cold.push(open()?.attach(&skill, 1.0)?.weights_ms);
            let session = open()?.keeping_pages();
            session.attach(&skill, 1.0)?;
            detach.push(session.detach(&skill.digest())?.weights_ms);
            warm.push(session.attach(&skill, 1.0)?.weights_ms);
        }
        let session = open()?;
        session.attach(&skill, 1.0)?;
        let pages = session.look_at_weights(|weights| touched(base.bytes(), weights.bytes()));
        let copies = (0..ROUNDS).map(|_| base.time_copy(&pages)).collect::<Result<Vec<_>, _>>()?;
        let fresh = median(copies.iter().map(|copy| copy.cold_ms).collect());
        let written = median(copies.iter().map(|copy| copy.warm_ms).collect());
        let case = format!("10 % of 128 MiB in {mask}");
        rows.push(Row::new(format!("attach {case}, warm, beside memcpy"), median(warm), written, "ms", 2.0));
        rows.push(Row::new(format!("attach {case}, cold, beside memcpy"), median(cold), fresh, "ms", 2.0));
        rows.push(Row::new(format!("detach {case}, beside memcpy"), median(detach), written, "ms", 2.0));
    }
    Ok(rows)
}

/// The runs of pages in which the two files differ.
fn touched(base: &[u8], composed: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (page, (before, after)) in base.chunks(PAGE_BYTES).zip(composed.chunks(PAGE_BYTES)).enumerate() {
        let start = page * PAGE_BYTES;
        match runs.last_mut() {
            _ if before == after => {}
            Some(run) if run.end == start => run.end += after.len(),
            _ => runs.push(start..start + after.len()),
        }
    }
    runs
}

fn write_base(folder: &Path) -> anyhow::Result<()> {
    let mut random = Random::new(1, "base");
    let names: Vec<String> = (0..TENSORS).map(|at| format!("t{at:02}")).collect();
    let bytes: Vec<u8> = (0..SIDE * SIDE).flat_map(|_| (0.05 * random.normal()).to_le_bytes()).collect();
    let tensor = |name| NamedTensor { name, dtype: StoredDtype::F32, shape: &[SIDE, SIDE], bytes: &bytes };
    let tensors: Vec<NamedTensor<'_>> = names.iter().map(|name| tensor(name)).collect();
    let mut model = Vec::new();
    write_tensors(&mut model, &tensors)?;
    let draft = BaseDraft {
        name: "bench".into(),
        network: json!({"family": "none"}),
        preprocessing: Preprocessing::new(1, (1, 1), Resize::Bilinear, vec![0.5], vec![0.5])?,
        feature_width: 1,
        heads: Vec::new(),
        editable: names.clone(),
    };
    let described = Base::describe(draft, &TensorFile::parse(&model)?, &model)?;
    fs::write(folder.join(MODEL_FILE), &model)?;
    fs::write(folder.join(BASE_FILE), described.to_json())?;
    Ok(())
}

/// A pack of int8 deltas for one tenth of all elements: each by itself, or in whole blocks of 4 KiB.
fn tenth(base: Fingerprint, in_blocks: bool) -> anyhow::Result<Skill> {
    let mut random = Random::new(2, "mask");
    let mut builder = Builder::new(base, "tenth");
    for at in 0..TENSORS {
        let granule = if in_blocks { PAGE_ELEMENTS } else { 1 };
        let granules = (0..SIDE * SIDE / granule).filter(|_| random.below(10) == 0).collect::<Vec<u64>>();
        let indices: Vec<u64> = granules.iter().flat_map(|at| at * granule..(at + 1) * granule).collect();
        let deltas: Vec<f32> = indices.iter().map(|_| 0.001 * random.normal()).collect();
        let values = Values::Deltas(&deltas, ValueEncoding::Int8);
        builder.tensor(&format!("t{at:02}"), Dtype::F32, &[SIDE, SIDE], TensorDeltas { indices: &indices, values })?;
    }
    Ok(Skill::from_bytes(builder.finish()?, &PackLimits::default())?)
}
