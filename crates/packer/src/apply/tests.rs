//! Packs made from small checkpoints and applied again; and the real pairs where they are.

use std::fs::{self, File};
use std::path::PathBuf;

use half::{bf16, f16};
use proptest::prelude::*;
use taskvec_bundle::{NamedTensor, StoredDtype, write_tensors};
use tempfile::TempDir;

use super::*;
use crate::diff::diff;
use crate::error::ErrorKind;
use crate::random::Random;
use crate::recipe::Values;

const DTYPES: [StoredDtype; 3] = [StoredDtype::F32, StoredDtype::F16, StoredDtype::Bf16];
const ELEMENTS: usize = 600;

/// A checkpoint with one tensor of each dtype, its numbers drawn from `stream`; a share of them moved by `step`.
fn checkpoint(folder: &Path, name: &str, stream: &str, step: &str, share: f32) -> PathBuf {
    let tensors = DTYPES.map(|dtype| {
        let mut random = Random::new(3, &format!("{stream} {dtype:?}"));
        let mut moved = Random::new(3, &format!("{step} {dtype:?}"));
        let mut bytes = Vec::new();
        for _ in 0..ELEMENTS {
            let number = random.normal();
            let delta = 0.1 * moved.normal();
            let number = if moved.uniform() < share { number + delta } else { number };
            match dtype {
                StoredDtype::F16 => bytes.extend(f16::from_f32(number).to_le_bytes()),
                StoredDtype::Bf16 => bytes.extend(bf16::from_f32(number).to_le_bytes()),
                _ => bytes.extend(number.to_le_bytes()),
            }
        }
        (format!("w.{}", dtype.name()), dtype, bytes)
    });
    let shape = [20, 30];
    let named: Vec<NamedTensor<'_>> =
        tensors.iter().map(|(name, dtype, bytes)| NamedTensor { name, dtype: *dtype, shape: &shape, bytes }).collect();
    let path = folder.join(name);
    write_tensors(&mut File::create(&path).unwrap(), &named).unwrap();
    path
}

struct Scene {
    folder: TempDir,
    base: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let base = checkpoint(folder.path(), "base", "base", "none", 0.0);
        Scene { folder, base }
    }

    fn tuned(&self, step: &str, share: f32) -> PathBuf {
        checkpoint(self.folder.path(), step, "base", step, share)
    }

    fn pack(&self, tuned: &Path, values: Values) -> Vec<u8> {
        diff(&self.base, tuned, values, None).unwrap().encoded.bytes
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out.safetensors")
    }

    fn applied(&self, packs: &[(&[u8], f32)]) -> Vec<u8> {
        apply(&self.base, packs, &self.out()).unwrap();
        fs::read(self.out()).unwrap()
    }
}

#[test]
fn a_lossless_pack_brings_the_tuned_file_back_bit_for_bit() {
    let scene = Scene::new();
    for share in [0.02, 0.5, 1.0] {
        let tuned = scene.tuned("step", share);
        let pack = scene.pack(&tuned, Values::Lossless);
        assert_eq!(scene.applied(&[(&pack, 1.0)]), fs::read(&tuned).unwrap(), "share {share}");
        assert_eq!(scene.applied(&[(&pack, 0.0)]), fs::read(&scene.base).unwrap(), "alpha 0 touches nothing");
    }
}

#[test]
fn f32_deltas_come_within_a_rounding_and_lossy_ones_within_their_error() {
    let scene = Scene::new();
    let tuned = scene.tuned("step", 0.3);
    for (values, tolerance) in [(Values::F32, 1e-6), (Values::Bf16, 4e-3), (Values::Int8, 4e-3)] {
        let pack = scene.pack(&tuned, values);
        apply(&scene.base, &[(&pack, 1.0)], &scene.out()).unwrap();
        let (made, wanted) = (Checkpoint::open(&scene.out()).unwrap(), Checkpoint::open(&tuned).unwrap());
        let numbers = |checkpoint: &Checkpoint| -> Vec<f32> {
            let bytes = checkpoint.read(checkpoint.tensor("w.F32").unwrap()).unwrap();
            bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        };
        let worst = numbers(&made).iter().zip(numbers(&wanted)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance, "{values:?}: {worst}");
    }
}

#[test]
fn the_order_of_packs_does_not_matter() {
    let scene = Scene::new();
    let kinds = [Values::Lossless, Values::F32, Values::Int8];
    let packs: Vec<Vec<u8>> =
        kinds.iter().map(|&values| scene.pack(&scene.tuned(&format!("{values:?}"), 0.4), values)).collect();
    let with = |order: [usize; 3]| {
        let alphas = [1.0, -0.5, 0.25];
        scene.applied(&order.map(|at| (packs[at].as_slice(), alphas[at])))
    };
    let expected = with([0, 1, 2]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert!(with(order) == expected, "{order:?}");
    }
}

#[test]
fn what_cannot_be_applied_is_refused_and_writes_nothing() {
    let scene = Scene::new();
    let pack = scene.pack(&scene.tuned("step", 0.1), Values::F32);
    let stranger = checkpoint(scene.folder.path(), "stranger", "other", "none", 0.0);
    struct Case<'a>(&'static str, &'a Path, Vec<(&'a [u8], f32)>, ErrorKind, &'static str);
    let base = scene.base.as_path();
    let cases = [
        Case("another base", &stranger, vec![(&pack, 1.0)], ErrorKind::Mismatch, "was made for base"),
        Case("NaN", base, vec![(&pack, f32::NAN)], ErrorKind::Usage, "alpha is NaN"),
        Case("infinite", base, vec![(&pack, f32::INFINITY)], ErrorKind::Usage, "alpha is inf"),
        Case("twice", base, vec![(&pack, 1.0), (&pack, 2.0)], ErrorKind::Usage, "is given twice"),
        Case("truncated", base, vec![(&pack[..pack.len() - 1], 1.0)], ErrorKind::Damaged, "pack 1 cannot be read"),
    ];
    for Case(name, base, packs, kind, message) in cases {
        let error = apply(base, &packs, &scene.out()).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error:?}");
        assert!(error.to_string().contains(message), "{name}: {error}");
        assert!(error.help().is_some(), "{name}");
        assert!(!scene.out().exists(), "{name}");
    }
    let before = fs::read(base).unwrap();
    let error = apply(base, &[(&pack, 1.0)], base).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(fs::read(base).unwrap(), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any two patterns of bits, NaNs and zeros of both signs among them: what diff takes apart, apply puts together.
    #[test]
    fn any_bits_come_back(patterns in proptest::collection::vec((any::<u32>(), any::<u32>(), 0u8..4), 1..200)) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bits: Vec<u32>| {
            let wide: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let narrow: Vec<u8> = bits.iter().flat_map(|bits| ((bits >> 16) as u16).to_le_bytes()).collect();
            let shape = [bits.len() as u64];
            let tensor = |name, dtype, bytes| NamedTensor { name, dtype, shape: &shape, bytes };
            let tensors = [
                tensor("a", StoredDtype::F32, &wide[..]),
                tensor("b", StoredDtype::F16, &narrow[..]),
                tensor("c", StoredDtype::Bf16, &narrow[..]),
            ];
            let path = folder.path().join(name);
            write_tensors(&mut File::create(&path).unwrap(), &tensors).unwrap();
            path
        };
        let base = write("base", patterns.iter().map(|&(base, _, _)| base).collect());
        let kept = |&(base, tuned, kind): &(u32, u32, u8)| match kind {
            0 => base,
            1 => base ^ 0x8000_0000,
            2 => base.wrapping_add(tuned >> 20),
            _ => tuned,
        };
        let tuned = write("tuned", patterns.iter().map(kept).collect());
        let pack = diff(&base, &tuned, Values::Lossless, None).unwrap().encoded.bytes;
        let out = folder.path().join("out");
        apply(&base, &[(&pack, 1.0)], &out).unwrap();
        prop_assert!(fs::read(&out).unwrap() == fs::read(&tuned).unwrap());
    }
}

#[test]
fn the_real_pairs_come_back_bit_for_bit() {
    let Some(data) = crate::shared_data::folder() else { return };
    let folder = data.join("pairs/waifu2x_upconv7_photo");
    let base = folder.join("scale2.0x_model.safetensors");
    let scratch = tempfile::tempdir().unwrap();
    for noise in 0..4 {
        let tuned = folder.join(format!("noise{noise}_scale2.0x_model.safetensors"));
        let made = diff(&base, &tuned, Values::Lossless, None).unwrap();
        let out = scratch.path().join("out.safetensors");
        let applied = apply(&base, &[(&made.encoded.bytes, 1.0)], &out).unwrap();
        assert_eq!(applied.entry_count, made.comparison.whole.changed_count);
        let (came, wanted) = (Checkpoint::open(&out).unwrap(), Checkpoint::open(&tuned).unwrap());
        for tensor in wanted.tensors() {
            let back = came.read(came.tensor(tensor.name()).unwrap()).unwrap();
            assert!(back == wanted.read(tensor).unwrap(), "noise {noise}: tensor `{}`", tensor.name());
        }
        println!("noise {noise}: pack {} bytes of {}", made.encoded.bytes.len(), fs::metadata(&tuned).unwrap().len());
    }
}
