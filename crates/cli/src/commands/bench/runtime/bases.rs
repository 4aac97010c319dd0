//! Bases with random weights, and packs of one tenth of their parameters.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use taskvec_pack::Dtype;
use taskvec_pack::write::{Builder, Rounding, TensorDeltas, Values};
use taskvec_packer::apply::apply;
use taskvec_packer::export::bundle_run;
use taskvec_packer::random::Random;
use taskvec_packer::recipe::{Pattern, Recipe};
use taskvec_packer::run_folder::{RECIPE_FILE, TUNED_FILE};
use taskvec_packer::train::train;
use taskvec_runtime::{BaseModel, PackLimits, Skill};

use super::super::images;

const ATTENTION: &str = "*.attn.*.weight";
/// f32 elements of a page of 4 KiB.
const PAGE_ELEMENTS: u64 = 1024;

/// Sizes of a Vision Transformer.
pub(super) struct Sizes {
    image: usize,
    patch: usize,
    width: usize,
    depth: usize,
    heads: usize,
}

/// Dosovitskiy et al. (2021): 50 tokens, 88 million parameters.
pub(super) const VIT_B_32: Sizes = Sizes { image: 224, patch: 32, width: 768, depth: 12, heads: 12 };
/// 50 tokens as well, 11 million parameters: about a tenth of the time.
pub(super) const SMALL: Sizes = Sizes { image: 56, patch: 8, width: 384, depth: 6, heads: 6 };

/// One network in three bundles.
pub(super) struct Bases {
    /// Every tensor may be edited.
    pub(super) all: BaseModel,
    /// The attention's matrices may be edited.
    pub(super) attention: BaseModel,
    /// A pack for `attention`: one tenth of its elements, each by itself.
    pub(super) attention_pack: Vec<u8>,
    /// The weights that `attention` has with that pack. Only one bias may be edited, so that every matrix is a constant
    /// for the engine, as in any ONNX model.
    pub(super) plain: BaseModel,
}

/// Makes the bundles in `folder`.
pub(super) fn make(folder: &Path, sizes: &Sizes) -> anyhow::Result<Bases> {
    let run = folder.join("run");
    make_run(folder, &run, sizes)?;
    let bundle = |name: &str, editable: &str| -> anyhow::Result<BaseModel> {
        let mut recipe = Recipe::open(&run.join(RECIPE_FILE))?;
        recipe.editable = vec![Pattern::new(editable)];
        fs::write(run.join(RECIPE_FILE), recipe.to_yaml()?)?;
        bundle_run(&run, &folder.join(name))?;
        Ok(BaseModel::open(folder.join(name))?)
    };
    let (all, attention) = (bundle("all", "*")?, bundle("attention", ATTENTION)?);
    let attention_pack = tenth(&attention, "attention", false, 2)?;
    apply(attention.folder(), &[(&attention_pack, 1.0)], &run.join(TUNED_FILE))?;
    let plain = bundle("plain", "norm.bias")?;
    Ok(Bases { all, attention, attention_pack, plain })
}

/// A network after one step on noise: weights as a network has them, which is all that matters here.
fn make_run(folder: &Path, run: &Path, sizes: &Sizes) -> anyhow::Result<()> {
    let Sizes { image, patch, width, depth, heads } = sizes;
    let data = folder.join("noise");
    fs::create_dir_all(&data)?;
    images::write(&data, *image)?;
    let recipe = format!(
        "name: bench\nnetwork: {{family: vit, image_size: {image}, patch_size: {patch}, channels: 3, width: {width}, \
         depth: {depth}, heads: {heads}, mlp_width: {}, gelu: exact, layer_norm_epsilon: 1.0e-6}}\neditable: [\"*\"]\n\
         data: noise\nsteps: 1\nbatch: 4\nheld_out: 0\n",
        4 * width
    );
    train(&Recipe::parse(&recipe, folder)?, run, &mut (), &AtomicBool::new(false))?;
    Ok(())
}

/// A pack of int8 deltas for one tenth of everything that may be edited: each element by itself, or in whole blocks of
/// 4 KiB.
pub(super) fn tenth(base: &BaseModel, name: &str, in_blocks: bool, seed: u64) -> anyhow::Result<Vec<u8>> {
    let mut random = Random::new(seed, "mask");
    let mut builder = Builder::new(base.fingerprint(), name);
    for tensor in base.tensors().iter().filter(|tensor| tensor.editable) {
        let elements: u64 = tensor.shape.iter().product();
        let granule = if in_blocks { PAGE_ELEMENTS } else { 1 };
        let granules = (0..elements.div_ceil(granule)).filter(|_| random.below(10) == 0).collect::<Vec<u64>>();
        let indices: Vec<u64> = granules.iter().flat_map(|at| at * granule..elements.min((at + 1) * granule)).collect();
        if indices.is_empty() {
            continue;
        }
        let deltas: Vec<f32> = indices.iter().map(|_| 0.001 * random.normal()).collect();
        let values = Values::Deltas(&deltas, Rounding::INT8);
        builder.tensor(&tensor.name, Dtype::F32, &tensor.shape, TensorDeltas { indices: &indices, values })?;
    }
    Ok(builder.finish()?)
}

pub(super) fn skill(pack: &[u8]) -> anyhow::Result<Skill> {
    Ok(Skill::from_bytes(pack, &PackLimits::default())?)
}
