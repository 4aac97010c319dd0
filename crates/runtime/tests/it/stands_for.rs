//! A base that stands for another: packs of the other one, on matrices that are turned and tensors that are quantized, held
//! against the naive arithmetic.

use std::collections::BTreeMap;

use proptest::prelude::*;
use taskvec_bundle::{
    Arrays, BASE_FILE, Base, BaseDraft, Counterpart, GridNames, Interface, MODEL_FILE, NamedTensor, Pictures, Port,
    Preprocessing, Resize, Side, StandsFor, StoredDtype, TensorFile, write_tensors,
};
use taskvec_pack::write::{Builder, HeadParts, Rounding};
use taskvec_pack::{Dtype, Entries, Fingerprint};
use taskvec_runtime::{BaseModel, ErrorKind, NoProbes, Proof, Skill};
use taskvec_testkit::naive_arithmetic as naive;

use crate::made::{Kind, Made, Numbers, add_random, composed, session, skill};

/// The base that packs are made for; nobody has to have it.
const ORIGINAL: Fingerprint = Fingerprint([9; 32]);

/// A tensor here, and what it is there.
struct Plan {
    name: &'static str,
    stored: StoredDtype,
    /// As it lies here.
    shape: &'static [u64],
    of: &'static str,
    dtype: Dtype,
    turned: bool,
    /// The side along which scales differ.
    axis: Option<usize>,
}

const PLANS: [Plan; 7] = [
    Plan { name: "bias", of: "a", axis: None, ..plan(StoredDtype::F32, &[19]) },
    Plan { name: "half", of: "b", dtype: Dtype::BF16, turned: true, ..plan(StoredDtype::Bf16, &[7, 300]) },
    Plan { name: "turned", of: "c", turned: true, ..plan(StoredDtype::F32, &[130, 41]) },
    Plan { name: "w.one", of: "d", turned: true, ..plan(StoredDtype::I8, &[90, 60]) },
    Plan { name: "w.rows", of: "e", axis: Some(0), ..plan(StoredDtype::U8, &[9, 5, 4]) },
    Plan { name: "w.columns", of: "f", turned: true, axis: Some(1), ..plan(StoredDtype::I8, &[33, 70]) },
    Plan { name: "w.wide", of: "g", axis: Some(0), ..plan(StoredDtype::I32, &[29]) },
];

const fn plan(stored: StoredDtype, shape: &'static [u64]) -> Plan {
    Plan { name: "", stored, shape, of: "", dtype: Dtype::F32, turned: false, axis: None }
}

impl Plan {
    fn is_quantized(&self) -> bool {
        matches!(self.stored, StoredDtype::I8 | StoredDtype::U8 | StoredDtype::I32)
    }

    fn count(&self) -> u64 {
        self.shape.iter().product()
    }

    fn shape_there(&self) -> Vec<u64> {
        let mut shape = self.shape.to_vec();
        if self.turned {
            shape.reverse();
        }
        shape
    }

    /// Where element `index` of the other base is here.
    fn place(&self, index: usize) -> usize {
        if !self.turned {
            return index;
        }
        let [rows, columns] = [self.shape[1] as usize, self.shape[0] as usize];
        let (row, column) = (index / columns, index % columns);
        column * rows + row
    }

    fn scale_count(&self) -> usize {
        self.axis.map_or(1, |axis| self.shape[axis] as usize)
    }

    /// Which scale an element has.
    fn channel(&self, index: usize) -> usize {
        let Some(axis) = self.axis else { return 0 };
        let mut rest = index;
        let mut coordinates = vec![0; self.shape.len()];
        for side in (0..self.shape.len()).rev() {
            coordinates[side] = rest % self.shape[side] as usize;
            rest /= self.shape[side] as usize;
        }
        coordinates[axis]
    }

    fn ends(&self) -> [i64; 2] {
        match self.stored {
            StoredDtype::U8 => [0, 255],
            StoredDtype::I32 => [i64::from(i32::MIN), i64::from(i32::MAX)],
            _ => [-128, 127],
        }
    }
}

/// Scales and zero points by tensor.
type Grids = BTreeMap<&'static str, (Vec<f32>, Vec<i64>)>;

fn made(seed: u64) -> (Made, Grids) {
    let mut numbers = Numbers(seed);
    let (mut tensors, mut counterparts) = (Vec::<(String, StoredDtype, Vec<u64>, Vec<u8>)>::new(), Vec::new());
    let mut grids = Grids::new();
    for plan in &PLANS {
        let mut grid = None;
        let bytes: Vec<u8> = match plan.stored {
            StoredDtype::F32 => (0..plan.count()).flat_map(|_| numbers.signed().to_le_bytes()).collect(),
            StoredDtype::Bf16 => (0..plan.count()).flat_map(|_| numbers.signed().to_le_bytes()[2..].to_vec()).collect(),
            StoredDtype::I32 => (0..plan.count()).flat_map(|_| (numbers.next() as i32).to_le_bytes()).collect(),
            _ => (0..plan.count()).map(|_| numbers.next() as u8).collect(),
        };
        if plan.is_quantized() {
            let step = if plan.stored == StoredDtype::I32 { 1e-9 } else { 0.01 };
            let scales: Vec<f32> = (0..plan.scale_count()).map(|_| step * (1.5 + numbers.signed())).collect();
            let zero_points: Vec<i64> = (0..plan.scale_count())
                .map(|_| match plan.stored {
                    StoredDtype::I32 => 0,
                    StoredDtype::U8 => numbers.below(256) as i64,
                    _ => numbers.below(256) as i64 - 128,
                })
                .collect();
            let side = [plan.scale_count() as u64];
            let sides = if plan.axis.is_some() { &side[..] } else { &[] };
            let scale_bytes = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
            tensors.push((format!("{}.scale", plan.name), StoredDtype::F32, sides.to_vec(), scale_bytes));
            let has_zeros = plan.stored != StoredDtype::I32;
            if has_zeros {
                let bytes = zero_points.iter().map(|&zero_point| zero_point as u8).collect();
                tensors.push((format!("{}.zero", plan.name), plan.stored, sides.to_vec(), bytes));
            }
            grid = Some(GridNames {
                scale: format!("{}.scale", plan.name),
                zero_point: has_zeros.then(|| format!("{}.zero", plan.name)),
                axis: plan.axis,
            });
            grids.insert(plan.name, (scales, zero_points));
        }
        tensors.push((plan.name.to_owned(), plan.stored, plan.shape.to_vec(), bytes));
        counterparts.push(Counterpart {
            name: plan.name.to_owned(),
            of: plan.of.to_owned(),
            dtype: if plan.dtype == Dtype::BF16 { StoredDtype::Bf16 } else { StoredDtype::F32 },
            turned: plan.turned,
            grid,
        });
    }
    counterparts.sort_by(|left, right| left.name.cmp(&right.name));
    let named: Vec<_> =
        tensors.iter().map(|(name, dtype, shape, bytes)| NamedTensor { name, dtype: *dtype, shape, bytes }).collect();
    let mut file = Vec::new();
    write_tensors(&mut file, &named).unwrap();
    let draft = BaseDraft {
        name: "quantized".into(),
        network: serde_json::json!({"family": "plain"}),
        interface: Interface::Pictures(Pictures {
            preprocessing: Preprocessing::new(1, (2, 2), Resize::Bilinear, vec![0.5], vec![0.5]).unwrap(),
            feature_width: 4,
        }),
        editable: counterparts.iter().map(|counterpart| counterpart.name.clone()).collect(),
        stands_for: Some(StandsFor { fingerprint: ORIGINAL, tensors: counterparts }),
        heads: Vec::new(),
    };
    let described = Base::describe(draft, &TensorFile::parse(&file).unwrap(), &file).unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join(MODEL_FILE), &file).unwrap();
    std::fs::write(folder.path().join(BASE_FILE), described.to_json()).unwrap();
    let base = BaseModel::open(folder.path()).unwrap();
    (Made { folder, base }, grids)
}

/// A pack for the other base, with random deltas on about half of its tensors; distances where `kind` says so and the
/// tensor has floats here.
fn pack(name: &str, seed: u64, kind: Kind, in_1000: u64) -> Builder {
    let mut numbers = Numbers(seed);
    let mut builder = Builder::new(ORIGINAL, name);
    for chosen in numbers.some_of(PLANS.len() as u64, 600) {
        let plan = &PLANS[chosen as usize];
        let indices = numbers.some_of(plan.count(), in_1000);
        let kind = if plan.is_quantized() && kind == Kind::Lossless { Kind::Deltas(Rounding::F32) } else { kind };
        add_random(&mut builder, plan.of, plan.dtype, &plan.shape_there(), &indices, kind, &mut numbers);
    }
    builder
}

fn changes(plan: &Plan, skill: &Skill) -> Vec<(usize, naive::Change)> {
    match skill.pack().tensors().find(|entry| entry.name() == plan.of).map(|entry| entry.entries()) {
        None => Vec::new(),
        Some(Entries::Deltas(all)) => all.map(|(at, delta)| (plan.place(at), naive::Change::Delta(delta))).collect(),
        Some(Entries::Distances(all)) => all.map(|(at, far)| (plan.place(at), naive::Change::Distance(far))).collect(),
    }
}

/// The elements of whole numbers in these bytes.
fn whole(stored: StoredDtype, bytes: &[u8]) -> Vec<i64> {
    match stored {
        StoredDtype::I32 => bytes.as_chunks().0.iter().map(|&word| i64::from(i32::from_le_bytes(word))).collect(),
        StoredDtype::U8 => bytes.iter().map(|&byte| i64::from(byte)).collect(),
        _ => bytes.iter().map(|&byte| i64::from(byte as i8)).collect(),
    }
}

fn check_naively(
    base: &BaseModel,
    grids: &Grids,
    composed: &[u8],
    in_force: &[(Skill, f32)],
) -> Result<u64, TestCaseError> {
    let (mut rest, mut saturated) = (composed.to_vec(), 0);
    for plan in &PLANS {
        let place = base.tensor(plan.name).unwrap().place.clone();
        let (before, after) = (&base.bytes()[place.clone()], &composed[place.clone()]);
        let applied: Vec<naive::Skill> = in_force
            .iter()
            .map(|(skill, alpha)| naive::Skill {
                digest: skill.digest().0,
                alpha: *alpha,
                changes: changes(plan, skill),
            })
            .collect();
        if let Some((scales, zero_points)) = grids.get(plan.name) {
            let [lowest, highest] = plan.ends();
            let grid = |index| {
                let channel = plan.channel(index);
                naive::Grid { scale: scales[channel], zero_point: zero_points[channel], lowest, highest }
            };
            let (expected, beyond) = naive::compose_whole(grid, &whole(plan.stored, before), &applied);
            prop_assert!(whole(plan.stored, after) == expected, "tensor {}", plan.name);
            saturated += beyond;
        } else {
            let (kind, size) = if plan.dtype == Dtype::BF16 { (naive::Kind::Bf16, 2) } else { (naive::Kind::F32, 4) };
            let patterns = |bytes: &[u8]| -> Vec<u32> {
                let pattern = |element: &[u8]| element.iter().rev().fold(0, |all, &byte| all << 8 | u32::from(byte));
                bytes.chunks(size).map(pattern).collect()
            };
            let expected = naive::compose(kind, &patterns(before), &applied);
            prop_assert!(patterns(after) == expected, "tensor {}", plan.name);
        }
        rest[place.clone()].copy_from_slice(before);
    }
    prop_assert!(rest == base.bytes(), "bytes outside of the tensors that packs edit");
    Ok(saturated)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn packs_of_the_original_go_where_its_tensors_are(
        seed in any::<u64>(),
        packs in prop::collection::vec(
            (
                any::<u64>(),
                prop::sample::select(vec![
                    Kind::Lossless, Kind::Deltas(Rounding::F32), Kind::Deltas(Rounding::Bf16), Kind::Deltas(Rounding::INT8),
                ]),
                prop::sample::select(vec![3u64, 120, 1000]),
                prop::sample::select(&[1.0f32, 0.5, -1.0, 0.0, 2.5][..]),
            ),
            1..4,
        ),
    ) {
        let (made, grids) = made(seed);
        let skills: Vec<(Skill, f32)> = packs
            .iter()
            .enumerate()
            .map(|(at, &(seed, kind, in_1000, alpha))| (skill(&pack(&format!("pack {at}"), seed, kind, in_1000)), alpha))
            .collect();
        let session = session(&made.base).with_change_threads(3);
        // One after the other, and then all at once from what is there.
        for count in [1, skills.len()] {
            let wanted = &skills[..count];
            // A skill that is rounded away everywhere is refused, as one that has no effect.
            match session.swap(wanted.iter().cloned()) {
                Ok(change) => {
                    let saturated = check_naively(&made.base, &grids, &composed(&session), wanted)?;
                    prop_assert_eq!(change.saturated, saturated);
                }
                Err(cause) => prop_assert!(cause.chain().contains("changes no weight"), "{}", cause.chain()),
            }
        }
        session.swap([]).unwrap();
        prop_assert!(composed(&session) == made.base.bytes(), "the base has not come back");
    }
}

#[test]
fn what_cannot_be_led_to_its_place_is_refused() {
    let (made, _) = made(5);
    let session = session(&made.base);
    let one = |base: Fingerprint, tensor: &str, shape: &[u64], kind: Kind| {
        let mut builder = Builder::new(base, "one");
        add_random(&mut builder, tensor, Dtype::F32, shape, &[0], kind, &mut Numbers(1));
        session.attach(&skill(&builder), 1.0).unwrap_err()
    };
    let deltas = Kind::Deltas(Rounding::F32);
    let own = made.base.fingerprint();
    for (error, kind, message) in [
        (
            one(ORIGINAL, "folded", &[4], deltas),
            ErrorKind::Mismatch,
            "tensor `folded`: the base has nothing that it is",
        ),
        (
            one(ORIGINAL, "c", &[130, 41], deltas),
            ErrorKind::Mismatch,
            "base has f32 [41, 130], pack expects f32 [130, 41]",
        ),
        (one(ORIGINAL, "d", &[60, 90], Kind::Lossless), ErrorKind::Unsupported, "distances between the bits of floats"),
        // Its own packs know its own names and shapes.
        (one(own, "c", &[41, 130], deltas), ErrorKind::Mismatch, "tensor `c`: the base has none of that name"),
        (one(own, "turned", &[41, 130], deltas), ErrorKind::Mismatch, "base has f32 [130, 41]"),
        (one(Fingerprint([1; 32]), "c", &[41, 130], deltas), ErrorKind::Mismatch, "it was made for base 0101"),
    ] {
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(error.chain().contains(message), "{}", error.chain());
    }
    assert!(composed(&session) == made.base.bytes());
}

#[test]
fn a_delta_below_half_a_step_is_no_effect_and_one_beyond_the_grid_is_counted() {
    let (made, grids) = made(6);
    let session = session(&made.base);
    let scale = grids["w.one"].0[0];
    let with = |delta: f32| {
        let mut builder = Builder::new(ORIGINAL, "one");
        let values = taskvec_pack::write::Values::Deltas(&[delta], Rounding::F32);
        let deltas = taskvec_pack::write::TensorDeltas { indices: &[17], values };
        builder.tensor("d", Dtype::F32, &[60, 90], deltas).unwrap();
        session.attach(&skill(&builder), 1.0)
    };
    assert!(with(0.4 * scale).unwrap_err().chain().contains("changes no weight"));
    let change = with(1000.0 * scale).unwrap();
    assert_eq!((change.saturated, change.touched_pages), (1, 1));
    assert!(matches!(change.proof, Proof::Felt { because: NoProbes::NoneInPack, .. }));
}

/// A base that takes arrays, of these tensors.
fn of_arrays(tensors: &[NamedTensor<'_>], counterparts: Vec<Counterpart>) -> (tempfile::TempDir, BaseModel) {
    let port =
        |name: &str| Port { name: name.into(), dtype: StoredDtype::F32, shape: vec![Side::Fixed(2)], fill: None };
    let (inputs, outputs) = (vec![port("x")], vec![port("y")]);
    let draft = BaseDraft {
        name: "arrays".into(),
        network: serde_json::json!({"family": "plain"}),
        interface: Interface::Arrays(Arrays { inputs, outputs, sizes: BTreeMap::new() }),
        editable: Vec::new(),
        stands_for: Some(StandsFor { fingerprint: ORIGINAL, tensors: counterparts }),
        heads: Vec::new(),
    };
    let (mut file, folder) = (Vec::new(), tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    write_tensors(&mut file, tensors).unwrap();
    let described = Base::describe(draft, &TensorFile::parse(&file).unwrap(), &file).unwrap();
    std::fs::write(folder.path().join(MODEL_FILE), &file).unwrap();
    std::fs::write(folder.path().join(BASE_FILE), described.to_json()).unwrap();
    let base = BaseModel::open(folder.path()).unwrap();
    (folder, base)
}

#[test]
fn a_grid_over_sides_of_nothing_that_cannot_be_counted_is_opened() {
    let scales = [1.0f32.to_le_bytes(); 2].concat();
    let nothing = NamedTensor { name: "w", dtype: StoredDtype::I8, shape: &[0, 2, 1 << 40, 1 << 40], bytes: &[] };
    let scale = NamedTensor { name: "w.scale", dtype: StoredDtype::F32, shape: &[2], bytes: &scales };
    let grid = Some(GridNames { scale: "w.scale".into(), zero_point: None, axis: Some(1) });
    let counterpart =
        Counterpart { name: "w".into(), of: "there".into(), dtype: StoredDtype::F32, turned: false, grid };
    let (_folder, base) = of_arrays(&[nothing, scale], vec![counterpart]);
    assert!(base.tensor("w").unwrap().quantization.is_some());
}

#[test]
fn a_head_over_features_does_not_fit_a_base_that_takes_arrays() {
    let (_folder, base) = of_arrays(&[], Vec::new());
    let mut builder = Builder::new(ORIGINAL, "with a head");
    let (labels, weight_rounding) = (vec!["a".into()], Rounding::F32);
    builder.head(HeadParts { feature_width: 2, labels, weight: vec![0.0; 2], weight_rounding, bias: vec![0.0] });
    let error = skill(&builder).check_belongs_to(&base).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(
        error.chain().contains("a head, preprocessing or probes for pictures, and base `arrays`"),
        "{}",
        error.chain()
    );
}
