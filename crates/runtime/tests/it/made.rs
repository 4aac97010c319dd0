//! Bases, packs and an engine made for the tests.

use std::sync::Arc;

use taskvec_bundle::{
    BASE_FILE, Base, BaseDraft, HeadEntry, Interface, MODEL_FILE, NamedTensor, Pictures, Preprocessing, Resize,
    StoredDtype, TensorFile, write_tensors,
};
use taskvec_pack::Dtype;
use taskvec_pack::write::{Builder, HeadParts, Rounding, TensorDeltas, Values};
use taskvec_runtime::{
    BaseModel, BaseTensor, Engine, EngineKind, Error, Inference, PackLimits, Session, Skill, Trust, Weights,
    WeightsReader,
};
use tempfile::TempDir;

/// Numbers that look random and are the same everywhere: splitmix64 (Steele, Lea and Flood 2014).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From -1 to 1, in steps that f16 and bf16 do not have.
    pub(crate) fn signed(&mut self) -> f32 {
        (self.below(2_000_001) as f32 - 1e6) / 1e6
    }

    /// Each of `0..count` with this chance in 1000, at least one, ascending.
    pub(crate) fn some_of(&mut self, count: u64, in_1000: u64) -> Vec<u64> {
        let mut chosen: Vec<u64> = (0..count).filter(|_| self.below(1000) < in_1000).collect();
        if chosen.is_empty() {
            chosen.push(self.below(count));
        }
        chosen
    }
}

/// A tensor of a base that is made here.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) dtype: StoredDtype,
    pub(crate) shape: &'static [u64],
    pub(crate) editable: bool,
}

const fn plan(name: &'static str, dtype: StoredDtype, shape: &'static [u64], editable: bool) -> Plan {
    Plan { name, dtype, shape, editable }
}

/// All three dtypes, sizes that are no pages, tensors that meet on pages, a scalar, a fixed one, a head.
pub(crate) const MIXED: &[Plan] = &[
    plan("a.weight", StoredDtype::F32, &[37, 61], true),
    plan("b.weight", StoredDtype::Bf16, &[3001], true),
    plan("c.weight", StoredDtype::F16, &[129, 40], true),
    plan("d.fixed", StoredDtype::F32, &[8], false),
    plan("e.weight", StoredDtype::F32, &[5, 5], true),
    plan("f.scale", StoredDtype::F32, &[], true),
    plan("heads.own.bias", StoredDtype::F32, &[2], false),
    plan("heads.own.weight", StoredDtype::F32, &[2, 4], false),
];

/// A bundle in a folder that goes with it, opened.
pub(crate) struct Made {
    pub(crate) folder: TempDir,
    pub(crate) base: BaseModel,
}

/// A bundle of these tensors with random numbers between -1 and 1, four features, images of 2 by 2.
pub(crate) fn bundle(plans: &[Plan], seed: u64) -> Made {
    let mut numbers = Numbers(seed);
    let mut all = Vec::new();
    for plan in plans {
        let count = plan.shape.iter().product::<u64>();
        let mut bytes = Vec::new();
        for _ in 0..count {
            let number = numbers.signed();
            match plan.dtype {
                StoredDtype::F32 => bytes.extend(number.to_le_bytes()),
                StoredDtype::Bf16 => bytes.extend(&number.to_le_bytes()[2..]),
                // f16: a sign, an exponent just below that of 1, and any fraction.
                _ => bytes.extend((((numbers.below(2) << 15) + 0x3400 + numbers.below(0x0800)) as u16).to_le_bytes()),
            }
        }
        all.push(bytes);
    }
    let tensors: Vec<_> = plans
        .iter()
        .zip(&all)
        .map(|(plan, bytes)| NamedTensor { name: plan.name, dtype: plan.dtype, shape: plan.shape, bytes })
        .collect();
    let mut file = Vec::new();
    write_tensors(&mut file, &tensors).unwrap();
    let has_head = plans.iter().any(|plan| plan.name == "heads.own.weight");
    let head = HeadEntry {
        name: "own".into(),
        labels: vec!["yes".into(), "no".into()],
        weight: "heads.own.weight".into(),
        bias: "heads.own.bias".into(),
    };
    let draft = BaseDraft {
        name: "made".into(),
        network: serde_json::json!({"family": "plain"}),
        interface: Interface::Pictures(Pictures {
            preprocessing: Preprocessing::new(1, (2, 2), Resize::Bilinear, vec![0.5], vec![0.5]).unwrap(),
            feature_width: 4,
        }),
        stands_for: None,
        heads: if has_head { vec![head] } else { Vec::new() },
        editable: plans.iter().filter(|plan| plan.editable).map(|plan| plan.name.to_owned()).collect(),
    };
    let described = Base::describe(draft, &TensorFile::parse(&file).unwrap(), &file).unwrap();
    // In the target folder, which is a disk, and synced: the system counts pages that are still to be written there as
    // dirty in every mapping.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join(MODEL_FILE), &file).unwrap();
    std::fs::File::open(folder.path().join(MODEL_FILE)).unwrap().sync_all().unwrap();
    std::fs::write(folder.path().join(BASE_FILE), described.to_json()).unwrap();
    let base = BaseModel::open(folder.path()).unwrap();
    Made { folder, base }
}

/// How a random pack is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Deltas(Rounding),
    Lossless,
}

/// A pack of random changes on random editable tensors of `base`.
pub(crate) fn random_pack(base: &BaseModel, name: &str, seed: u64, kind: Kind, in_1000: u64) -> Builder {
    let mut numbers = Numbers(seed);
    let mut builder = Builder::new(base.fingerprint(), name);
    let editable: Vec<_> = base.tensors().iter().filter(|tensor| tensor.editable).collect();
    for chosen in numbers.some_of(editable.len() as u64, 600) {
        let tensor = editable[chosen as usize];
        let count = tensor.shape.iter().product();
        let indices = numbers.some_of(count, in_1000);
        add_random(&mut builder, &tensor.name, tensor.dtype, &tensor.shape, &indices, kind, &mut numbers);
    }
    builder
}

pub(crate) fn add_random(
    builder: &mut Builder,
    name: &str,
    dtype: Dtype,
    shape: &[u64],
    indices: &[u64],
    kind: Kind,
    numbers: &mut Numbers,
) {
    match kind {
        Kind::Deltas(encoding) => {
            let deltas: Vec<f32> = indices.iter().map(|_| numbers.signed()).collect();
            let deltas = TensorDeltas { indices, values: Values::Deltas(&deltas, encoding) };
            builder.tensor(name, dtype, shape, deltas).unwrap();
        }
        Kind::Lossless => {
            let sign = |odd: u64| if odd == 1 { -1 } else { 1 };
            let distances: Vec<i64> =
                indices.iter().map(|_| (1 + numbers.below(200) as i64) * sign(numbers.below(2))).collect();
            builder
                .tensor(name, dtype, shape, TensorDeltas { indices, values: Values::Distances(&distances) })
                .unwrap();
        }
    }
}

/// A pack with one delta on the element `index` of `a.weight`.
pub(crate) fn one_delta(base: &BaseModel, name: &str, index: u64, delta: f32) -> Builder {
    let mut builder = Builder::new(base.fingerprint(), name);
    let deltas = TensorDeltas { indices: &[index], values: Values::Deltas(&[delta], Rounding::F32) };
    builder.tensor("a.weight", Dtype::F32, &[37, 61], deltas).unwrap();
    builder
}

/// A head of two classes over four features.
pub(crate) fn head() -> HeadParts {
    HeadParts {
        feature_width: 4,
        labels: vec!["left".into(), "right".into()],
        weight: vec![1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0, -0.5],
        weight_rounding: Rounding::F32,
        bias: vec![0.25, -0.25],
    }
}

pub(crate) fn skill(builder: &Builder) -> Skill {
    Skill::from_bytes(builder.finish().unwrap(), &PackLimits::default()).unwrap()
}

pub(crate) fn session(base: &BaseModel) -> Session {
    Session::with_engine(base, Arc::new(Plain)).unwrap().trusting(Trust::unsigned_too())
}

/// The whole composed file.
pub(crate) fn composed(session: &Session) -> Vec<u8> {
    session.look_at_weights(|weights| weights.bytes().to_vec())
}

/// An engine to which every weight matters: feature j is the sum of `weight * (2 + pixel)` over all elements of all
/// tensors whose index leaves j when divided by 4.
pub(crate) struct Plain;

pub(crate) const PLAIN: EngineKind = EngineKind::Other(999);

impl Engine for Plain {
    fn kind(&self) -> EngineKind {
        PLAIN
    }

    fn describe(&self) -> String {
        "plain sums".into()
    }

    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        Ok(Box::new(Sums { base: weights.base().clone(), weights: weights.reader() }))
    }
}

/// [`Plain`] with the weights of one composition.
pub(crate) struct Sums {
    pub(crate) base: BaseModel,
    pub(crate) weights: WeightsReader,
}

impl Inference for Sums {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        let mut sums = [0.0f64; 4];
        for tensor in self.base.tensors() {
            for (index, value) in values(tensor, &self.weights.as_ref()[tensor.place.clone()]).enumerate() {
                sums[index % 4] += f64::from(value);
            }
        }
        let examples = pixels.chunks_exact(pixels.len() / batch);
        Ok(examples.flat_map(|pixels| (0..4).map(|j| (sums[j] * f64::from(2.0 + pixels[j])) as f32)).collect())
    }
}

/// The numbers of a tensor, widened; of a quantized one, its bytes.
fn values<'a>(tensor: &BaseTensor, bytes: &'a [u8]) -> Box<dyn Iterator<Item = f32> + 'a> {
    use taskvec_arithmetic::{Bf16, F16, Narrow16 as _};
    let narrow = bytes.as_chunks::<2>().0.iter().map(|&pair| u16::from_le_bytes(pair));
    match tensor.dtype {
        _ if tensor.quantization.is_some() => Box::new(bytes.iter().map(|&byte| f32::from(byte))),
        Dtype::F16 => Box::new(narrow.map(F16::widen)),
        Dtype::BF16 => Box::new(narrow.map(Bf16::widen)),
        _ => Box::new(bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word))),
    }
}
