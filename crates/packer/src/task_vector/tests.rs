//! Comparing small checkpoints made here, and real pairs where they are.

use std::fs::File;
use std::path::PathBuf;

use half::f16;
use taskvec_bundle::{NamedTensor, StoredDtype, write_tensors as write};
use taskvec_checkpoint::StoredTensor;
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::random::Random;

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn checkpoint(&self, name: &str, tensors: &[(&str, StoredDtype, &[u64], Vec<u8>)]) -> Checkpoint {
        let named: Vec<NamedTensor<'_>> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| NamedTensor { name, dtype: *dtype, shape, bytes })
            .collect();
        let path: PathBuf = self.0.path().join(name);
        write(&mut File::create(&path).unwrap(), &named).unwrap();
        Checkpoint::open(&path).unwrap()
    }
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn halves(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()).collect()
}

const F32: StoredDtype = StoredDtype::F32;

#[test]
fn holds_the_changed_elements_only() {
    let files = Files::new();
    let base = files.checkpoint(
        "base",
        &[("a", F32, &[2, 2], f32s(&[1.0, 2.0, 0.0, 4.0])), ("b", StoredDtype::F16, &[2], halves(&[1.0, 2.0]))],
    );
    let tuned = files.checkpoint(
        "tuned",
        &[("a", F32, &[2, 2], f32s(&[1.0, 2.5, -0.0, 4.0])), ("b", StoredDtype::F16, &[2], halves(&[1.0, 2.0]))],
    );
    let (vector, comparison) = TaskVector::between(&base, &tuned, Exactness::Rounded).unwrap();
    assert_eq!(vector.tensors.len(), 1);
    assert_eq!((vector.tensors[0].indices.as_slice(), vector.entry_count()), (&[1][..], 1));
    assert_eq!(vector.tensors[0].deltas, Deltas::Numbers(vec![0.5]));
    assert_eq!(comparison.whole.changed_count, 2, "a zero with another sign is changed, but its delta is 0");
    let (vector, _) = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap();
    assert_eq!(vector.tensors[0].indices, [1, 2]);
    assert_eq!(vector.tensors[0].deltas, Deltas::Distances(vec![1 << 21, -1]));
    assert_eq!(vector.base, base.fingerprint().unwrap());
}

#[test]
fn sixteen_bit_tensors_count_in_their_own_steps() {
    let files = Files::new();
    let bytes = |bits: [u16; 3]| bits.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<u8>>();
    let dtypes = [StoredDtype::F16, StoredDtype::Bf16];
    for dtype in dtypes {
        let base = files.checkpoint("base", &[("a", dtype, &[3], bytes([0x0000, 0x3C00, 0x8001]))]);
        let tuned = files.checkpoint("tuned", &[("a", dtype, &[3], bytes([0x0002, 0x3BFF, 0x0001]))]);
        let (vector, _) = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap();
        assert_eq!(vector.tensors[0].deltas, Deltas::Distances(vec![2, -1, 3]), "{dtype:?}");
    }
}

#[test]
fn heads_are_not_compared() {
    let files = Files::new();
    let base = files.checkpoint("base", &[("a", F32, &[1], f32s(&[1.0]))]);
    let tuned =
        files.checkpoint("tuned", &[("a", F32, &[1], f32s(&[1.5])), ("heads.digits.weight", F32, &[1], f32s(&[9.0]))]);
    let (vector, _) = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap();
    assert_eq!(vector.tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn checkpoints_of_other_forms_are_refused_tensor_by_tensor() {
    let files = Files::new();
    let base = files.checkpoint("base", &[("a", F32, &[2, 1], f32s(&[1.0, 2.0])), ("b", F32, &[1], f32s(&[1.0]))]);
    struct Case(&'static str, Vec<(&'static str, StoredDtype, &'static [u64], Vec<u8>)>, &'static str);
    let b = || ("b", F32, &[1u64][..], f32s(&[1.0]));
    let cases = [
        Case(
            "shape",
            vec![("a", F32, &[1, 2], f32s(&[1.0, 2.0])), b()],
            "tensor `a`: base has shape [2, 1], tuned has [1, 2]",
        ),
        Case(
            "dtype",
            vec![("a", StoredDtype::F64, &[2, 1], vec![0; 16]), b()],
            "tensor `a`: base has dtype F32, tuned has F64",
        ),
        Case("missing", vec![b()], "tensor `a` is in the base only"),
        Case(
            "more",
            vec![("a", F32, &[2, 1], f32s(&[1.0, 2.0])), b(), ("c", F32, &[1], f32s(&[0.0]))],
            "tensor `c` is in the tuned checkpoint only",
        ),
    ];
    for Case(name, tensors, expected) in cases {
        let tuned = files.checkpoint(name, &tensors);
        let error = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{name}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(expected), "{name}: {cause}");
    }
}

#[test]
fn every_fault_is_named_in_one_message() {
    let files = Files::new();
    let one = || f32s(&[1.0]);
    let base = files.checkpoint("base", &[("a", F32, &[1], one()), ("b", F32, &[1], one()), ("c", F32, &[1], one())]);
    let tuned = files.checkpoint("tuned", &[("b", F32, &[1, 1], one()), ("c", StoredDtype::F64, &[1], vec![0; 8])]);
    let error = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    let expected = "tensor `a` is in the base only; tensor `b`: base has shape [1], tuned has [1, 1]; tensor `c`: base has \
                    dtype F32, tuned has F64";
    assert_eq!(cause, expected);
}

#[test]
fn other_dtypes_are_widened_and_only_a_base_of_f32_gets_every_number_back() {
    let files = Files::new();
    let wide = |numbers: &[f32]| [("a", F32, &[2u64][..], f32s(numbers))];
    let narrow = |numbers: &[f32]| [("a", StoredDtype::F16, &[2u64][..], halves(numbers))];
    let (base, tuned) = (files.checkpoint("base", &wide(&[1.0, 2.1])), files.checkpoint("tuned", &narrow(&[1.5, 2.1])));
    let (vector, comparison) = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap();
    assert_eq!((comparison.widened_count, comparison.narrowed_count, comparison.warnings().len()), (1, 0, 0));
    let nearest = f16::from_f32(2.1).to_f32();
    let steps = |from: f32, to: f32| i64::from(to.to_bits()) - i64::from(from.to_bits());
    assert_eq!(vector.tensors[0].deltas, Deltas::Distances(vec![steps(1.0, 1.5), steps(2.1, nearest)]));
    let error = TaskVector::between(&tuned, &base, Exactness::Lossless).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.help().unwrap().contains("--values f32"), "{error:?}");
    let (vector, comparison) = TaskVector::between(&tuned, &base, Exactness::Rounded).unwrap();
    assert_eq!(vector.tensors[0].deltas, Deltas::Numbers(vec![-0.5, 2.1 - nearest]));
    assert!(comparison.warnings()[0].message.contains("16 bits"), "{:?}", comparison.warnings());
}

#[test]
fn integers_are_not_compared_and_those_that_differ_are_said() {
    let files = Files::new();
    let counted = |count: u8| [("a", F32, &[1u64][..], f32s(&[1.0])), ("n", StoredDtype::U8, &[1], vec![count])];
    let (base, tuned) = (files.checkpoint("base", &counted(1)), files.checkpoint("tuned", &counted(2)));
    let (vector, comparison) = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap();
    assert!(vector.tensors.is_empty());
    assert_eq!(comparison.changed_integers, ["n"]);
    assert!(comparison.warnings()[0].message.contains("1 tensors of integers differ"), "{:?}", comparison.warnings());
}

#[test]
fn a_dtype_that_packs_do_not_know_is_named() {
    let files = Files::new();
    let tensors = || [("ids", StoredDtype::F64, &[1u64][..], vec![0; 8])];
    let (base, tuned) = (files.checkpoint("base", &tensors()), files.checkpoint("tuned", &tensors()));
    let error = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("`ids`") && error.to_string().contains("F64"), "{error}");
}

#[test]
fn numbers_that_are_not_finite_pass_bit_by_bit_or_not_at_all() {
    let files = Files::new();
    let nan = f32::from_bits(0x7FC0_0001);
    let base = files.checkpoint("base", &[("a", F32, &[3], f32s(&[1.0, nan, 2.0]))]);
    let tuned = files.checkpoint("tuned", &[("a", F32, &[3], f32s(&[1.0, nan, f32::INFINITY]))]);
    let (vector, comparison) = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap();
    assert_eq!(vector.tensors[0].indices, [2], "a NaN that stayed is no change");
    assert!(
        comparison.warnings().iter().any(|warning| warning.message.contains("1 tuned elements are NaN or infinite"))
    );
    let error = TaskVector::between(&base, &tuned, Exactness::Rounded).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("tensor `a`: the delta of element 2"), "{error}");
}

#[test]
fn equal_checkpoints_are_remarked_upon() {
    let files = Files::new();
    let base = files.checkpoint("base", &[("a", F32, &[2, 2], f32s(&[1.0; 4]))]);
    let (vector, comparison) = TaskVector::between(&base, &base, Exactness::Lossless).unwrap();
    assert!(vector.tensors.is_empty());
    let warnings = comparison.warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message.contains("are equal"), "{warnings:?}");
}

/// As many as nobody holds where all of them changed.
const MANY: usize = 700_000;

#[test]
fn tensors_that_are_read_again_have_the_entries_that_they_were_found_to_have() {
    let files = Files::new();
    let mut random = Random::new(1, "many");
    let from: Vec<f32> = (0..MANY).map(|_| random.normal()).collect();
    let moved = |share: u64| -> Vec<f32> {
        let mut random = Random::new(2, "moved");
        from.iter().map(|number| if random.below(100) < share { number * 1.25 } else { *number }).collect()
    };
    // Enough to be let go of at first, and then nothing.
    let first_half: Vec<f32> = (0..MANY).map(|at| if at < MANY / 2 { from[at] * 1.25 } else { from[at] }).collect();
    for (what, to, is_held) in
        [("all", moved(100), false), ("most", moved(80), false), ("half", first_half, false), ("few", moved(10), true)]
    {
        let wide = |numbers: &[f32]| ("a", F32, &[MANY as u64][..], f32s(numbers));
        let narrow = |numbers: &[f32]| ("a", StoredDtype::F16, &[MANY as u64][..], halves(numbers));
        for (base, tuned) in [(wide(&from), wide(&to)), (narrow(&from), narrow(&to)), (wide(&from), narrow(&to))] {
            let is_one_dtype = base.1 == tuned.1;
            let (base, tuned) = (files.checkpoint("base", &[base]), files.checkpoint("tuned", &[tuned]));
            for exactness in [Exactness::Lossless, Exactness::Rounded] {
                let mut found = Vec::new();
                compare(&base, &tuned, exactness, |tensor| {
                    let (count, held) = (tensor.entry_count(), tensor.is_held());
                    let delta = tensor.into_delta()?;
                    assert_eq!(count, delta.indices.len() as u64, "{what}");
                    assert!(delta.indices.is_sorted_by(|a, b| a < b), "{what}");
                    // Of halves that round to the same number fewer are changed, and of other dtypes more.
                    assert!(!is_one_dtype || held == is_held, "{what}: {count} entries are held: {held}");
                    found.push(delta);
                    Ok(())
                })
                .unwrap();
                assert_eq!(found, [naive(&base, &tuned, exactness)], "{what}");
            }
        }
    }
}

/// The task vector of two checkpoints with one tensor, taken from all of their numbers at once.
fn naive(base: &Checkpoint, tuned: &Checkpoint, exactness: Exactness) -> TensorDelta {
    let [ours, theirs] = [base, tuned].map(|checkpoint| checkpoint.body().next().unwrap());
    let bits = |checkpoint: &Checkpoint, tensor: &StoredTensor| -> Vec<(f32, i64)> {
        let bytes = checkpoint.read(tensor).unwrap();
        if tensor.dtype() == F32 {
            return bytes.as_chunks().0.iter().map(|&bytes| (f32::from_le_bytes(bytes), 0)).collect();
        }
        let half = |&bytes: &[u8; 2]| (f16::from_le_bytes(bytes).to_f32(), i64::from(i16::from_le_bytes(bytes)));
        bytes.as_chunks().0.iter().map(half).collect()
    };
    let is_half = ours.dtype() == StoredDtype::F16;
    // The distance from zero, below it negative.
    let steps = |(number, half): (f32, i64)| match is_half {
        true if half < 0 => -(half & 0x7FFF),
        true => half,
        false if number.is_sign_negative() => -i64::from(number.to_bits() & 0x7FFF_FFFF),
        false => i64::from(number.to_bits()),
    };
    let (mut indices, mut numbers, mut distances) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (from, to)) in (0..).zip(bits(base, ours).into_iter().zip(bits(tuned, theirs))) {
        if from.0 != to.0 {
            indices.push(index);
            numbers.push(to.0 - from.0);
            distances.push(steps(to) - steps(from));
        }
    }
    let deltas = match exactness {
        Exactness::Lossless => Deltas::Distances(distances),
        Exactness::Rounded => Deltas::Numbers(numbers),
    };
    let dtype = base.editable_dtype(ours).unwrap();
    TensorDelta { name: ours.name().to_owned(), dtype, shape: ours.shape().to_vec(), indices, deltas }
}

#[test]
fn strangers_are_told_from_relatives_even_when_their_norms_agree() {
    let files = Files::new();
    let draw = |stream: &str| {
        let mut random = Random::new(1, stream);
        (0..4096).map(|_| random.normal() * 0.02).collect::<Vec<f32>>()
    };
    let ones = || ("norm.weight", F32, &[64u64][..], f32s(&[1.0; 64]));
    let (one, other) = (draw("one"), draw("other"));
    let moved: Vec<f32> = one.iter().zip(&draw("step")).map(|(weight, step)| weight + step).collect();
    let checkpoint =
        |name: &str, weight: &[f32]| files.checkpoint(name, &[("fc.weight", F32, &[64, 64], f32s(weight)), ones()]);
    let base = checkpoint("base", &one);
    let (_, relatives) = TaskVector::between(&base, &checkpoint("moved", &moved), Exactness::Rounded).unwrap();
    assert_eq!(relatives.warnings(), []);
    let (_, strangers) = TaskVector::between(&base, &checkpoint("other", &other), Exactness::Rounded).unwrap();
    assert!(strangers.whole.is_related(), "the norm weights drown the verdict over everything");
    assert!(strangers.warnings()[0].message.contains("unrelated"), "{:?}", strangers.warnings());
}

fn pair(folder: &std::path::Path, base: &str, tuned: &str) -> (Checkpoint, Checkpoint) {
    let open = |name: &str| Checkpoint::open(&folder.join(name)).unwrap();
    (open(base), open(tuned))
}

#[test]
fn real_fine_tuned_pairs_pass_and_the_negative_control_is_warned_about() {
    let Some(data) = crate::shared_data::folder() else { return };
    let folder = data.join("pairs/waifu2x_upconv7_photo");
    for noise in 0..4 {
        let tuned = format!("noise{noise}_scale2.0x_model.safetensors");
        let (base, tuned) = pair(&folder, "scale2.0x_model.safetensors", &tuned);
        let (vector, comparison) = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap();
        assert_eq!(comparison.warnings(), [], "noise {noise}: cosine {:.2}", comparison.judged().cosine());
        assert_eq!(vector.entry_count(), comparison.whole.changed_count);
    }
    let folder = data.join("pairs/negative_control_rnnoise");
    let (base, tuned) = pair(&folder, "marathon_prescription.safetensors", "beguiling_drafter.safetensors");
    let (_, comparison) = TaskVector::between(&base, &tuned, Exactness::Lossless).unwrap();
    let warnings = comparison.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let message = &warnings[0].message;
    assert!(message.contains("unrelated: weight cosine 0.00, norm of difference / norm of base 1.4"), "{message}");
}
