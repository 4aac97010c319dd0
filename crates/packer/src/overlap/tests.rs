//! Against sums over whole tensors, written down as the words say; and what cannot be compared.

use std::path::PathBuf;

use proptest::prelude::*;
use taskvec_bundle::{NamedTensor, StoredDtype, write_tensors};
use taskvec_pack::Fingerprint;

use super::*;
use crate::ErrorKind;
use crate::encode::{PackDetails, as_read, encode};
use crate::recipe::Values;
use crate::task_vector::{Exactness, TaskVector};

/// Elements of the tensor `a`; `b` has as many.
const ELEMENTS: usize = 40;

/// A tensor with these deltas where there are some.
fn tensor(name: &str, deltas: &[Option<f32>]) -> TensorDelta {
    let entries: Vec<(u64, f32)> = (0..).zip(deltas).filter_map(|(index, delta)| Some((index, (*delta)?))).collect();
    let (indices, deltas) = entries.into_iter().unzip();
    let (name, shape) = (name.to_owned(), vec![ELEMENTS as u64]);
    TensorDelta { name, dtype: Dtype::F32, shape, indices, deltas: Deltas::Numbers(deltas) }
}

fn vector(base: u8, a: &[Option<f32>], b: &[Option<f32>]) -> TaskVector {
    TaskVector { base: Fingerprint([base; 32]), tensors: vec![tensor("a", a), tensor("b", b)] }
}

fn packed(vector: &TaskVector, values: Values) -> Vec<u8> {
    encode(vector, &PackDetails::new("skill", values)).unwrap().bytes
}

/// All elements of a tensor, as a reader sees them.
fn dense(vector: &TaskVector, values: Values, name: &str) -> Vec<Option<f64>> {
    let seen = as_read(vector, values);
    let mut elements = vec![None; ELEMENTS];
    for tensor in seen.tensors.iter().filter(|tensor| tensor.name == name) {
        let Deltas::Numbers(deltas) = &tensor.deltas else { panic!("{tensor:?}") };
        tensor.indices.iter().zip(deltas).for_each(|(at, delta)| elements[*at as usize] = Some(f64::from(*delta)));
    }
    elements
}

fn near(found: Option<f64>, expected: f64) -> bool {
    if expected.is_finite() { (found.unwrap() - expected).abs() < 1e-9 } else { found.is_none() }
}

fn deltas() -> impl Strategy<Value = Vec<Option<f32>>> {
    proptest::collection::vec(proptest::option::of(prop_oneof![Just(0.0_f32), -1.0_f32..1.0]), ELEMENTS)
}

fn values() -> impl Strategy<Value = Values> {
    prop_oneof![Just(Values::F32), Just(Values::Bf16), Just(Values::Int8), Just(Values::Int2), Just(Values::Sign)]
}

proptest! {
    #[test]
    fn counts_and_cosines_are_those_of_the_whole_tensors(
        ours in (deltas(), deltas(), values()), theirs in (deltas(), deltas(), values()),
    ) {
        let [first, second] = [&ours, &theirs].map(|(a, b, _)| vector(7, a, b));
        let found = overlap(&packed(&first, ours.2), &packed(&second, theirs.2), None).unwrap();
        let (mut all, mut chance) = ([Vec::new(), Vec::new()], 0.0);
        for name in ["a", "b"] {
            let sides = [dense(&first, ours.2, name), dense(&second, theirs.2, name)];
            let entries = sides.each_ref().map(|side| side.iter().flatten().count() as u64);
            if entries == [0, 0] {
                continue;
            }
            let shared = &found.tensors.iter().find(|tensor| tensor.name == name).unwrap().shared;
            prop_assert_eq!((shared.elements, shared.entries), (ELEMENTS as u64, entries));
            chance += entries[0] as f64 * entries[1] as f64 / ELEMENTS as f64;
            let [ours, theirs] = sides;
            all[0].extend(ours);
            all[1].extend(theirs);
        }
        let both: Vec<(f64, f64)> = all[0].iter().zip(&all[1]).filter_map(|(a, b)| Some(((*a)?, (*b)?))).collect();
        let total = &found.total;
        prop_assert_eq!(total.common, both.len() as u64);
        prop_assert_eq!(total.opposed, Some(both.iter().filter(|(a, b)| a * b < 0.0).count() as u64));
        let either = all[0].iter().zip(&all[1]).filter(|(a, b)| a.is_some() || b.is_some()).count();
        prop_assert!((total.jaccard - both.len() as f64 / either.max(1) as f64).abs() < 1e-12);
        prop_assert!((total.common_by_chance - chance).abs() < 1e-9);
        let product: f64 = both.iter().map(|(a, b)| a * b).sum();
        let norm = |side: &mut dyn Iterator<Item = f64>| side.map(|x| x * x).sum::<f64>().sqrt();
        let in_common = norm(&mut both.iter().map(|pair| pair.0)) * norm(&mut both.iter().map(|pair| pair.1));
        prop_assert!(near(total.cosine_in_common, product / in_common), "{:?}", total);
        let whole = all.each_ref().map(|side| norm(&mut side.iter().flatten().copied()));
        prop_assert!(near(total.cosine, product / (whole[0] * whole[1])), "{:?}", total);
    }
}

/// A checkpoint of one tensor `w`.
fn checkpoint(folder: &Path, name: &str, dtype: StoredDtype, values: &[f32]) -> PathBuf {
    let path = folder.join(name);
    let bytes: Vec<u8> = match dtype {
        StoredDtype::F16 => values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect(),
        StoredDtype::Bf16 => values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let shape = [values.len() as u64];
    let tensor = NamedTensor { name: "w", dtype, shape: &shape, bytes: &bytes };
    write_tensors(&mut std::fs::File::create(&path).unwrap(), &[tensor]).unwrap();
    path
}

#[test]
fn distances_become_deltas_on_the_base_and_are_masks_without_it() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [StoredDtype::F32, StoredDtype::F16, StoredDtype::Bf16] {
        let file = |name: &str, values: &[f32]| checkpoint(folder.path(), name, dtype, values);
        let base = file("base", &[1.0, -1.0, 0.5, 2.0, 0.0]);
        let first = file("first", &[1.5, -1.0, 0.25, 2.0, -1.0]);
        let second = file("second", &[0.5, 3.0, 0.25, 2.0, -2.0]);
        let open = |path: &Path| Checkpoint::open(path).unwrap();
        let pack = |tuned: &Path, exactness, values| {
            packed(&TaskVector::between(&open(&base), &open(tuned), exactness).unwrap().0, values)
        };
        let lossless = pack(&first, Exactness::Lossless, Values::Lossless);
        let rounded = pack(&second, Exactness::Rounded, Values::F32);

        let masks = overlap(&lossless, &rounded, None).unwrap().total;
        assert_eq!((masks.entries, masks.common, masks.elements), ([3, 4], 3, 5), "{dtype:?}");
        assert_eq!(masks.jaccard, 0.75);
        assert_eq!((masks.opposed, masks.cosine, masks.cosine_in_common), (None, None, None));

        // 0.5, -0.25, -1 against -0.5, -0.25, -2, and 4 that only the second has.
        let found = overlap(&lossless, &rounded, Some(&base)).unwrap().total;
        assert_eq!(found.opposed, Some(1));
        let product = -0.25 + 0.0625 + 2.0;
        let norms = [0.25_f64 + 0.0625 + 1.0, 0.25 + 0.0625 + 4.0].map(f64::sqrt);
        assert!(near(found.cosine_in_common, product / norms[0] / norms[1]), "{found:?}");
        assert!(near(found.cosine, product / norms[0] / 20.3125_f64.sqrt()), "{found:?}");

        let itself = overlap(&lossless, &lossless, Some(&base)).unwrap().total;
        assert_eq!((itself.jaccard, itself.opposed, itself.cosine), (1.0, Some(0), Some(1.0)));
        let other = overlap(&lossless, &rounded, Some(&first)).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Mismatch, "{other}");
    }
}

#[test]
fn packs_of_different_bases_are_not_compared() {
    let some = vec![Some(1.0); ELEMENTS];
    let [ours, theirs] = [7, 8].map(|base| packed(&vector(base, &some, &some), Values::F32));
    let error = overlap(&ours, &theirs, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(
        error.to_string().contains("0707") && error.to_string().contains("0808") && error.help().is_some(),
        "{error}"
    );
    let damaged = overlap(&ours, &theirs[..theirs.len() - 1], None).unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Damaged);
    assert!(damaged.to_string().contains("second"), "{damaged}");
    // The same fingerprint and another shape: one of them lies.
    let mut liar = vector(7, &some, &some);
    liar.tensors[1].shape = vec![2, ELEMENTS as u64 / 2];
    let error = overlap(&ours, &packed(&liar, Values::F32), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("`b`") && error.to_string().contains("[2, 20]"), "{error}");
}
