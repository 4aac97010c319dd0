//! The tiers in which weights reach ONNX Runtime, each on the CPU provider, which every library has: the same answers
//! from the same weights, and a skill that comes and goes without a trace.

use std::io::Write as _;

use taskvec_pack::write::Rounding;
use taskvec_runtime::{
    BaseModel, EngineChoice, ErrorKind, OrtSettings, PackLimits, Proof, Provider, ProviderName, Session, Skill, Tier,
    Trust, check_providers, compare_with_model,
};

use crate::engines::{BATCH, base, difference, everywhere, expected, ort_settings};
use crate::made::{Kind, composed, skill};

/// What is asked of every tier: the pixels and NumPy's features for them come with the fixture.
fn tiny_vit() -> Option<(BaseModel, Vec<f32>, usize, Vec<f32>)> {
    let (pixels, features) = expected();
    if let Err(error) = check_providers(&ort_settings(), &base(), &[]) {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        // A closed stderr is no reason to fail.
        let _ = writeln!(std::io::stderr(), "left out: {error}");
        return None;
    }
    Some((base(), pixels, BATCH, features))
}

fn in_tier(tier: Tier) -> EngineChoice {
    EngineChoice::Ort(OrtSettings { tier: Some(tier), ..ort_settings() })
}

pub(crate) const KIND: Kind = Kind::Deltas(Rounding::F32);

/// How far a tier may be from NumPy, and from another tier, whose kernels may be others: 12 times what was measured (1.2e-6
/// from NumPy on ONNX Runtime 1.32 and OpenVINO 2025.4, features up to 3; tiers 6e-7 from each other).
pub(crate) const TOLERANCE: f32 = 1.5e-5;

#[test]
fn in_each_tier_a_skill_is_felt_and_leaves_no_trace() {
    let Some((base, pixels, batch, features)) = tiny_vit() else { return };
    let skills = ["one", "another"].map(|name| skill(&everywhere(&base, name, KIND, 300)));
    let reference = Session::open(&base, &in_tier(Tier::Inputs)).unwrap().trusting(Trust::unsigned_too());
    for tier in Tier::ALL {
        let session = Session::open(&base, &in_tier(tier)).unwrap().trusting(Trust::unsigned_too());
        assert_eq!(session.engine_report().tier, Some(tier));
        let alone = session.features(&pixels, batch).unwrap();
        assert!(difference(&alone, &features) < TOLERANCE, "{tier:?} without a skill");
        reference.swap([]).unwrap();
        for skill in &skills {
            session.attach(skill, 0.1).unwrap();
            reference.attach(skill, 0.1).unwrap();
            let (felt, expected) =
                (session.features(&pixels, batch).unwrap(), reference.features(&pixels, batch).unwrap());
            assert!(difference(&felt, &alone) > 1e-2, "{tier:?}: the skill is not felt");
            assert!(difference(&felt, &expected) < TOLERANCE, "{tier:?}: {}", difference(&felt, &expected));
            assert_eq!(composed(&session), composed(&reference));
        }
        for skill in &skills {
            session.detach(&skill.digest()).unwrap();
        }
        assert_eq!(session.features(&pixels, batch).unwrap(), alone, "{tier:?}: the base's answer is another");
    }
}

#[test]
fn sessions_of_the_rebuild_tier_stand_beside_each_other_and_serve_many_threads() {
    let Some((base, pixels, batch, _)) = tiny_vit() else { return };
    let skills = ["one", "another"].map(|name| skill(&everywhere(&base, name, KIND, 300)));
    let first = Session::open(&base, &in_tier(Tier::Rebuild)).unwrap().trusting(Trust::unsigned_too());
    let second = first.beside().unwrap();
    let alone = first.features(&pixels, batch).unwrap();
    first.attach(&skills[0], 0.1).unwrap();
    let answers = [first.features(&pixels, batch).unwrap(), {
        second.attach(&skills[1], 0.1).unwrap();
        second.features(&pixels, batch).unwrap()
    }];
    assert_ne!(answers[0], answers[1]);
    std::thread::scope(|scope| {
        for (session, answer) in [&first, &second, &first, &second].into_iter().zip(answers.iter().cycle()) {
            let pixels = &pixels;
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_eq!(&session.features(pixels, batch).unwrap(), answer);
                }
            });
        }
    });
    first.swap([]).unwrap();
    assert_eq!(first.features(&pixels, batch).unwrap(), alone);
    assert_eq!(second.features(&pixels, batch).unwrap(), answers[1]);
}

/// The tolerances of a pack's makers hold in the other tiers too.
#[test]
fn packs_of_the_repository_pass_their_probes_in_each_tier() {
    if tiny_vit().is_none() {
        return;
    }
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/handwriting");
    let base = BaseModel::open(&model).unwrap();
    let korean = Skill::open(model.join("skills/korean.tvp"), &PackLimits::default()).unwrap();
    for tier in Tier::ALL {
        let session = Session::open(&base, &in_tier(tier)).unwrap().trusting(Trust::unsigned_too());
        let change = session.attach(&korean, korean.recommended_alpha()).unwrap();
        let Proof::Probes { difference_max, tolerance, .. } = change.proof else { panic!("{tier:?}: {change:?}") };
        assert!(difference_max * 100.0 < tolerance, "{tier:?}: {difference_max} of {tolerance}");
    }
}

/// The wheel's library has none but the CPU's; whoever asks for another gets the CPU's, and is told why.
#[test]
fn a_provider_that_the_library_lacks_falls_back_to_the_cpu_and_says_why() {
    let Some((base, pixels, batch, features)) = tiny_vit() else { return };
    let wanted = [ProviderName::Qnn, ProviderName::CoreMl, ProviderName::DirectMl].map(Provider::from);
    let settings = OrtSettings { providers: wanted.to_vec(), ..ort_settings() };
    let session = Session::open(&base, &EngineChoice::Ort(settings.clone())).unwrap().trusting(Trust::unsigned_too());
    let report = session.engine_report();
    assert_eq!((report.provider, report.tier), (Some(Provider::CPU), Some(Tier::Inputs)));
    let tried: Vec<_> = report.fallbacks.iter().map(|fallback| fallback.tried.as_str()).collect();
    assert_eq!(tried, ["qnn", "coreml", "directml"]);
    assert!(report.fallbacks.iter().all(|fallback| fallback.reason.contains("without this execution provider")));
    assert!(difference(&session.features(&pixels, batch).unwrap(), &features) < TOLERANCE);

    let checks = check_providers(&settings, &base, &wanted).unwrap();
    assert!(checks.iter().all(|check| !check.in_library && check.used.is_none() && check.problem.is_some()));
}

#[test]
fn a_check_of_the_cpu_provider_feels_every_tensor_in_every_tier() {
    let Some((base, ..)) = tiny_vit() else { return };
    let checks = check_providers(&ort_settings(), &base, &[]).unwrap();
    let cpu = checks.iter().find(|check| check.provider == Provider::CPU).unwrap();
    assert_eq!((cpu.used, cpu.whole_graph, &cpu.problem), (Some(Tier::Inputs), Some(true), &None));
    let editable = base.tensors().iter().filter(|tensor| tensor.editable).count();
    for tier in &cpu.tiers {
        assert_eq!((tier.tensors, &tier.unfelt, &tier.problem), (editable, &Vec::new(), &None), "{tier:?}");
        assert!(tier.felt && tier.restored && tier.difference_from_cpu_max.unwrap() < TOLERANCE, "{tier:?}");
    }
}

/// A graph in which an editable tensor is no input is refused in every tier, by the tensor's name.
#[test]
fn a_graph_of_another_bundle_is_refused_in_each_tier() {
    let folder = tempfile::tempdir().unwrap();
    let Some((base, ..)) = tiny_vit() else { return };
    for file in ["base.json", "model.safetensors"] {
        std::fs::copy(base.folder().join(file), folder.path().join(file)).unwrap();
    }
    let graph = std::fs::read(base.folder().join("graph.onnx")).unwrap();
    let renamed: Vec<u8> = {
        let (from, to) = (b"patch_embed.proj.weight", b"patch_embed.proj.weighs");
        let mut bytes = graph;
        let starts: Vec<_> = (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
        assert!(!starts.is_empty());
        starts.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
        bytes
    };
    std::fs::write(folder.path().join("graph.onnx"), renamed).unwrap();
    let base = BaseModel::open(folder.path()).unwrap();
    for tier in Tier::ALL {
        let error = Session::open(&base, &in_tier(tier)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{tier:?}");
        assert!(error.chain().contains("`patch_embed.proj.weight`"), "{error:?}");
    }
}

#[test]
fn a_base_agrees_with_its_own_model_and_not_with_one_of_other_weights() {
    let Some((base, ..)) = tiny_vit() else { return };
    let own = compare_with_model(&ort_settings(), &base, &base.folder().join("graph.onnx")).unwrap();
    assert!(own.difference_max <= TOLERANCE && own.answer_max > 0.1 && own.numbers == 16, "{own:?}");
    // The same graph over weights of which one is another.
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(base.folder().join("graph.onnx"), other.path().join("graph.onnx")).unwrap();
    let mut weights = base.bytes().to_vec();
    let place = base.tensor("norm.bias").unwrap().place.start;
    weights[place..place + 4].copy_from_slice(&2.5f32.to_le_bytes());
    std::fs::write(other.path().join("model.safetensors"), weights).unwrap();
    let found = compare_with_model(&ort_settings(), &base, &other.path().join("graph.onnx")).unwrap();
    assert!(found.difference_max > 1.0, "{found:?}");
}
