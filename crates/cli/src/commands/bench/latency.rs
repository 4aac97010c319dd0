//! ONNX Runtime's latency with a skill in force beside a plain session on the merged weights.
//!
//! A Vision Transformer of 50 tokens, width 384, 6 layers, batch 1, one thread. Ours: only attention weights are editable
//! (graph inputs over the mapping), and a pack of 10 % of them is attached. Plain: the merged weights, of which only one
//! bias is editable, so that every matrix is a prepacked initializer, as in any ONNX model. The two take turns.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::ensure;
use taskvec_pack::write::{Builder, TensorDeltas, Values};
use taskvec_pack::{Dtype, ValueEncoding};
use taskvec_packer::apply::apply;
use taskvec_packer::export::bundle_run;
use taskvec_packer::random::Random;
use taskvec_packer::recipe::{Pattern, Recipe};
use taskvec_packer::run_folder::{RECIPE_FILE, TUNED_FILE};
use taskvec_packer::train::train;
use taskvec_runtime::{BaseModel, EngineChoice, OrtSettings, PackLimits, Session, Skill};

use super::{Row, images, median};
use crate::render;

const ROUNDS: usize = 200;
const SIDE: usize = 56;
const ATTENTION: &str = "*.attn.*.weight";

pub(super) fn rows(library: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let [run, ours, plain] = ["run", "ours", "plain"].map(|name| folder.path().join(name));
    make_run(folder.path(), &run)?;
    bundle_run(&run, &ours)?;
    let base = BaseModel::open(&ours)?;
    let choice = EngineChoice::Ort(settings(library));
    let session = match Session::open(&base, &choice) {
        Ok(session) => session,
        Err(cause) => {
            render::note(&format!("left out: latency on ONNX Runtime ({cause})"));
            return Ok(Vec::new());
        }
    };
    let pack = attention_pack(&base)?;
    let skill = Skill::from_bytes(pack.clone(), &PackLimits::default())?;
    session.attach(&skill, 1.0)?;

    merge(&run, &ours, &pack)?;
    bundle_run(&run, &plain)?;
    let plain = Session::open(&BaseModel::open(&plain)?, &choice)?;
    let mut random = Random::new(3, "pixels");
    let pixels: Vec<f32> = (0..3 * SIDE * SIDE).map(|_| random.normal()).collect();
    let (one, two) = (session.features(&pixels, 1)?, plain.features(&pixels, 1)?);
    let far = one.iter().zip(&two).map(|(one, two)| (one - two).abs()).fold(0.0, f32::max);
    ensure!(far < 1e-3, "the two sessions differ by {far}, expected the same weights");

    let time = |session: &Session| -> anyhow::Result<f64> {
        let began = Instant::now();
        session.features(&pixels, 1)?;
        Ok(1e3 * began.elapsed().as_secs_f64())
    };
    let (mut with_skill, mut merged) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with_skill.push(time(&session)?);
        merged.push(time(&plain)?);
    }
    let work = "inference with a skill, attention editable, beside a plain ONNX Runtime session";
    Ok(vec![Row::new(work, median(with_skill), median(merged), "ms", 1.10)])
}

fn settings(library: Option<&Path>) -> OrtSettings {
    OrtSettings {
        library: library.map(Path::to_owned),
        python_environments: vec!["target/python".into(), "target/bench-python".into()],
        ..OrtSettings::default()
    }
}

/// A network after one step on noise: weights as a network has them, which is all that matters here.
fn make_run(folder: &Path, run: &Path) -> anyhow::Result<()> {
    let data = folder.join("noise");
    fs::create_dir(&data)?;
    images::write(&data, SIDE)?;
    let recipe = format!(
        "name: latency\nnetwork: {{family: vit, image_size: {SIDE}, patch_size: 8, channels: 3, width: 384, depth: 6, heads: 6, \
         mlp_width: 1536, gelu: exact, layer_norm_epsilon: 1.0e-6}}\neditable: [\"{ATTENTION}\"]\ndata: noise\nsteps: 1\n\
         batch: 4\nheld_out: 0\n"
    );
    train(&Recipe::parse(&recipe, folder)?, run, &mut (), &AtomicBool::new(false))?;
    Ok(())
}

fn attention_pack(base: &BaseModel) -> anyhow::Result<Vec<u8>> {
    let mut random = Random::new(2, "mask");
    let mut builder = Builder::new(base.fingerprint(), "attention");
    for tensor in base.tensors().iter().filter(|tensor| base.described().is_editable(&tensor.name)) {
        let elements: u64 = tensor.shape.iter().product();
        let indices: Vec<u64> = (0..elements).filter(|_| random.below(10) == 0).collect();
        let deltas: Vec<f32> = indices.iter().map(|_| 0.001 * random.normal()).collect();
        let values = Values::Deltas(&deltas, ValueEncoding::Bf16);
        builder.tensor(&tensor.name, Dtype::F32, &tensor.shape, TensorDeltas { indices: &indices, values })?;
    }
    Ok(builder.finish()?)
}

/// Turns the run into one that ended with the merged weights, hardly editable.
fn merge(run: &Path, base: &Path, pack: &[u8]) -> anyhow::Result<()> {
    apply(base, &[(pack, 1.0)], &run.join(TUNED_FILE))?;
    let mut recipe = Recipe::open(&run.join(RECIPE_FILE))?;
    recipe.editable = vec![Pattern::new("norm.bias")];
    fs::write(run.join(RECIPE_FILE), recipe.to_yaml()?)?;
    Ok(())
}
