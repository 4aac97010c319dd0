//! Both engines on one real network (a tiny Vision Transformer whose bundle and features come from NumPy, see
//! `tests/fixtures/make_tiny_vit.py`): the same answers, from exactly the same weights.

use std::path::PathBuf;

use taskvec_pack::EngineKind;
use taskvec_pack::write::{Builder, HeadParts, ProbeInputs, ProbeParts, Rounding};
use taskvec_runtime::{BaseModel, EngineChoice, HeadChoice, Proof, Session, Trust};
#[cfg(feature = "ort")]
use taskvec_runtime::{OrtSettings, Tier};

use crate::made::{Kind, Numbers, add_random, composed, skill};

/// How far an engine may be from f64, and therefore half of how far two engines may be from each other: 12 times what
/// was measured (1.2e-6 with ONNX Runtime 1.32, features up to 3).
const TOLERANCE: f32 = 1.5e-5;
pub(crate) const BATCH: usize = 3;

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-vit")
}

pub(crate) fn base() -> BaseModel {
    BaseModel::open(fixture()).unwrap()
}

/// Pixels, and the features that NumPy has for them.
pub(crate) fn expected() -> (Vec<f32>, Vec<f32>) {
    let bytes = std::fs::read(fixture().join("expected.f32")).unwrap();
    let mut numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
    let features = numbers.split_off(BATCH * 64);
    (numbers, features)
}

pub(crate) fn choices() -> Vec<EngineChoice> {
    vec![
        #[cfg(feature = "ort")]
        EngineChoice::Ort(ort_settings()),
        #[cfg(feature = "ort")]
        EngineChoice::Ort(OrtSettings { tier: Some(Tier::Packed), ..ort_settings() }),
        #[cfg(feature = "burn")]
        EngineChoice::Burn,
    ]
}

/// Looks where the gate puts a Python environment with ONNX Runtime, and then where everybody looks.
#[cfg(feature = "ort")]
pub(crate) fn ort_settings() -> OrtSettings {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/python");
    let packed = concat!(env!("CARGO_TARGET_TMPDIR"), "/packed");
    OrtSettings { python_environments: vec![python.into()], packed_folder: Some(packed.into()), ..Default::default() }
}

pub(crate) fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Changes every editable tensor.
pub(crate) fn everywhere(base: &BaseModel, name: &str, kind: Kind, in_1000: u64) -> Builder {
    let mut numbers = Numbers(name.len() as u64);
    let mut builder = Builder::new(base.fingerprint(), name);
    for tensor in base.tensors().iter().filter(|tensor| tensor.editable) {
        let indices = numbers.some_of(tensor.shape.iter().product(), in_1000);
        add_random(&mut builder, &tensor.name, tensor.dtype, &tensor.shape, &indices, kind, &mut numbers);
    }
    builder
}

#[test]
fn the_base_answers_as_numpy_says() {
    let (pixels, features) = expected();
    for choice in choices() {
        let session = Session::open(&base(), &choice).unwrap().trusting(Trust::unsigned_too());
        let found = session.features(&pixels, BATCH).unwrap();
        assert!(difference(&found, &features) <= TOLERANCE, "{}: {}", session.engine(), difference(&found, &features));
        // Another batch size, and the first again.
        let one = session.features(&pixels[..64], 1).unwrap();
        assert!(difference(&one, &features[..16]) <= TOLERANCE);
        assert_eq!(session.features(&pixels, BATCH).unwrap(), found);
        let answer = session.infer(&pixels, BATCH, &HeadChoice::Base("parity".into())).unwrap();
        assert_eq!(answer.values.len(), BATCH * 2);
    }
}

#[test]
fn a_skill_is_felt_and_gone_again_and_both_engines_agree() {
    let (pixels, features) = expected();
    let base = base();
    let skills = [
        skill(&everywhere(&base, "sparse", Kind::Deltas(Rounding::F32), 100)),
        skill(&everywhere(&base, "lossless", Kind::Lossless, 500)),
    ];
    let mut answers: Vec<Vec<f32>> = Vec::new();
    let mut weights: Vec<Vec<u8>> = Vec::new();
    for choice in choices() {
        let session = Session::open(&base, &choice).unwrap().trusting(Trust::unsigned_too());
        let before = session.features(&pixels, BATCH).unwrap();
        session.attach(&skills[0], 0.25).unwrap();
        let one = session.features(&pixels, BATCH).unwrap();
        assert!(difference(&one, &features) > 0.01, "{}: not felt", session.engine());
        session.attach(&skills[1], 1.0).unwrap();
        answers.push([one, session.features(&pixels, BATCH).unwrap()].concat());
        weights.push(composed(&session));
        session.swap([]).unwrap();
        assert_eq!(session.features(&pixels, BATCH).unwrap(), before, "{}", session.engine());
        assert!(composed(&session) == base.bytes());
    }
    for (answer, weight) in answers.iter().zip(&weights) {
        assert!(weight == &weights[0]);
        assert!(difference(answer, &answers[0]) <= 2.0 * TOLERANCE, "{}", difference(answer, &answers[0]));
    }
}

/// Every single editable tensor reaches the answer: none is a copy that the engine made for itself.
#[test]
fn every_editable_tensor_is_felt_alone() {
    let (pixels, _) = expected();
    let base = base();
    for choice in choices() {
        let session = Session::open(&base, &choice).unwrap().trusting(Trust::unsigned_too());
        let before = session.features(&pixels, BATCH).unwrap();
        for tensor in base.tensors().iter().filter(|tensor| tensor.editable) {
            let mut builder = Builder::new(base.fingerprint(), tensor.name.clone());
            let indices: Vec<u64> = (0..tensor.shape.iter().product()).collect();
            let kind = Kind::Deltas(Rounding::F32);
            add_random(&mut builder, &tensor.name, tensor.dtype, &tensor.shape, &indices, kind, &mut Numbers(9));
            let all_of_it = skill(&builder);
            session.attach(&all_of_it, 1.0).unwrap();
            let with = session.features(&pixels, BATCH).unwrap();
            assert!(difference(&with, &before) > 1e-6, "{}: `{}` is not felt", session.engine(), tensor.name);
            session.detach(&all_of_it.digest()).unwrap();
            assert_eq!(session.features(&pixels, BATCH).unwrap(), before, "{}: {}", session.engine(), tensor.name);
        }
    }
}

/// Probes made on one engine pass on the other within the tolerance that they state.
#[test]
fn probes_of_one_engine_pass_on_the_other() {
    let (pixels, _) = expected();
    let base = base();
    let mut builder = everywhere(&base, "probed", Kind::Deltas(Rounding::F32), 100);
    let mut numbers = Numbers(1);
    builder.alpha(0.25, [0.0, 0.5]).head(HeadParts {
        feature_width: 16,
        labels: (0..3).map(|class| format!("class {class}")).collect(),
        weight: (0..48).map(|_| numbers.signed()).collect(),
        weight_rounding: Rounding::F32,
        bias: vec![0.1, 0.2, 0.3],
    });
    for maker in choices() {
        let session = Session::open(&base, &maker).unwrap().trusting(Trust::unsigned_too());
        session.attach(&skill(&builder), 0.25).unwrap();
        let outputs = session.infer(&pixels, BATCH, &HeadChoice::Only).unwrap().values;
        let mut with_probes = builder.clone();
        with_probes.probes(ProbeParts {
            count: 3,
            inputs: ProbeInputs::F32(pixels.clone()),
            outputs,
            tolerances: vec![(EngineKind::Any, 1e-4)],
        });
        for prover in choices() {
            let session = Session::open(&base, &prover).unwrap().trusting(Trust::unsigned_too());
            let proof = session.attach(&skill(&with_probes), 0.25).unwrap().proof;
            assert!(matches!(proof, Proof::Probes { count: 3, .. }), "{proof:?}");
        }
    }
}

#[cfg(feature = "ort")]
#[test]
fn a_missing_library_is_unsupported_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    let settings = OrtSettings { library: Some(library.clone()), ..Default::default() };
    let error = Session::open(&base(), &EngineChoice::Ort(settings)).map(drop).unwrap_err();
    assert_eq!(error.kind(), taskvec_runtime::ErrorKind::Unsupported);
    assert!(error.to_string().contains(&library.display().to_string()), "{error}");
    assert!(error.help().is_some());
}

#[cfg(feature = "ort")]
#[test]
fn one_process_has_one_onnx_runtime() {
    let base = base();
    let first = Session::open(&base, &EngineChoice::Ort(ort_settings())).unwrap().trusting(Trust::unsigned_too());
    assert!(first.engine().starts_with("ONNX Runtime 1."), "{}", first.engine());
    let other = tempfile::NamedTempFile::new().unwrap();
    let settings = OrtSettings { library: Some(other.path().into()), ..Default::default() };
    let error = Session::open(&base, &EngineChoice::Ort(settings)).map(drop).unwrap_err();
    assert_eq!(error.kind(), taskvec_runtime::ErrorKind::Usage);
    let threads = OrtSettings { threads: 0, ..ort_settings() };
    let error = Session::open(&base, &EngineChoice::Ort(threads)).map(drop).unwrap_err();
    assert_eq!(error.kind(), taskvec_runtime::ErrorKind::Usage);
    let two = Session::open(&base, &EngineChoice::Ort(OrtSettings { threads: 2, ..ort_settings() }))
        .unwrap()
        .trusting(Trust::unsigned_too());
    let (pixels, features) = expected();
    assert!(difference(&two.features(&pixels, BATCH).unwrap(), &features) <= TOLERANCE);
}

#[cfg(feature = "ort")]
#[test]
fn a_graph_that_does_not_take_an_editable_tensor_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["model.safetensors", "graph.onnx"] {
        std::fs::copy(fixture().join(file), folder.path().join(file)).unwrap();
    }
    let text = std::fs::read_to_string(fixture().join("base.json")).unwrap();
    let more = text.replace(
        "\"patch_embed.proj.bias\",\n  \"patch_embed.proj.weight\",\n  \"pos_embed\"\n ]",
        "\"norm.bias\",\n  \"pos_embed\"\n ]",
    );
    assert_ne!(more, text);
    std::fs::write(folder.path().join("base.json"), more).unwrap();
    let base = BaseModel::open(folder.path()).unwrap();
    let error = Session::open(&base, &EngineChoice::Ort(ort_settings())).map(drop).unwrap_err();
    assert_eq!(error.kind(), taskvec_runtime::ErrorKind::Mismatch);
    assert!(error.chain().contains("`norm.bias`"), "{error:?}");
}

#[cfg(all(feature = "ort", feature = "burn"))]
#[test]
fn without_a_library_auto_takes_burn_and_says_why() {
    let settings = OrtSettings { library: Some("nowhere/libonnxruntime.so".into()), ..Default::default() };
    let session = Session::open(&base(), &EngineChoice::Auto(settings)).unwrap().trusting(Trust::unsigned_too());
    assert_eq!(session.engine_kind(), EngineKind::Burn);
    assert!(session.engine().contains("nowhere"), "{}", session.engine());
}

/// The same network in bf16: burn computes in f32 with widened weights, and a skill is still felt and gone again.
#[cfg(feature = "burn")]
#[test]
fn burn_widens_a_base_of_16_bits() {
    use taskvec_bundle::{Base, BaseDraft, NamedTensor, StoredDtype, TensorFile, write_tensors};
    let wide = base();
    let halves: Vec<Vec<u8>> = wide
        .tensors()
        .iter()
        .map(|tensor| {
            wide.bytes()[tensor.place.clone()].as_chunks::<4>().0.iter().flat_map(|word| [word[2], word[3]]).collect()
        })
        .collect();
    let tensors: Vec<_> = wide
        .tensors()
        .iter()
        .zip(&halves)
        .filter(|(tensor, _)| !tensor.name.starts_with("heads."))
        .map(|(tensor, bytes)| NamedTensor {
            name: &tensor.name,
            dtype: StoredDtype::Bf16,
            shape: &tensor.shape,
            bytes,
        })
        .collect();
    let mut file = Vec::new();
    write_tensors(&mut file, &tensors).unwrap();
    let described = wide.described();
    let draft = BaseDraft {
        name: "tiny-vit in bf16".into(),
        network: described.network().clone(),
        interface: described.interface().clone(),
        stands_for: None,
        heads: Vec::new(),
        editable: described.editable().to_vec(),
    };
    let described = Base::describe(draft, &TensorFile::parse(&file).unwrap(), &file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), &file).unwrap();
    std::fs::write(folder.path().join("base.json"), described.to_json()).unwrap();

    let narrow = BaseModel::open(folder.path()).unwrap();
    let session = Session::open(&narrow, &EngineChoice::Burn).unwrap().trusting(Trust::unsigned_too());
    let (pixels, features) = expected();
    let before = session.features(&pixels, BATCH).unwrap();
    // Weights cut to 8 bits are off by up to 2^-7 of themselves.
    let off = difference(&before, &features);
    assert!((1e-3..0.5).contains(&off), "{off}");
    let lossless = skill(&everywhere(&narrow, "lossless", Kind::Lossless, 500));
    session.attach(&lossless, 1.0).unwrap();
    assert!(difference(&session.features(&pixels, BATCH).unwrap(), &before) > 0.01);
    session.detach(&lossless.digest()).unwrap();
    assert_eq!(session.features(&pixels, BATCH).unwrap(), before);
}

/// Three threads ask, one swaps: each answer has the bits that its composition has when it is in force alone.
#[test]
fn answers_of_real_engines_are_those_of_one_composition() {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    let (pixels, _) = expected();
    let base = base();
    let skills =
        [("first", 100), ("the second", 900)].map(|(name, part)| skill(&everywhere(&base, name, Kind::Lossless, part)));
    let head = HeadChoice::Base("parity".into());
    for choice in choices() {
        let alone = Session::open(&base, &choice).unwrap().trusting(Trust::unsigned_too());
        let expected: BTreeMap<_, _> = skills
            .iter()
            .map(|skill| {
                alone.swap([(skill.clone(), 1.0)]).unwrap();
                let answer = alone.infer(&pixels, BATCH, &head).unwrap();
                (answer.composition, answer.values)
            })
            .collect();
        let session = Session::open(&base, &choice).unwrap().trusting(Trust::unsigned_too());
        session.swap([(skills[0].clone(), 1.0)]).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let answer = session.infer(&pixels, BATCH, &head).unwrap();
                        assert_eq!(expected.get(&answer.composition), Some(&answer.values));
                    }
                });
            }
            for round in 1..200 {
                session.swap([(skills[round % 2].clone(), 1.0)]).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[cfg(feature = "burn")]
#[test]
fn burn_refuses_what_it_does_not_have() {
    let made = crate::made::bundle(crate::made::MIXED, 60);
    let error = Session::open(&made.base, &EngineChoice::Burn).map(drop).unwrap_err();
    assert_eq!(error.kind(), taskvec_runtime::ErrorKind::Unsupported);
}
