//! OpenVINO, the one accelerator library that runs without its hardware: on its CPU device, from the wheel
//! `onnxruntime-openvino`, which brings an ONNX Runtime of its own.
//!
//! A process has one ONNX Runtime, and the tests beside these run on another. So they run again here, in a process of
//! their own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use taskvec_runtime::{
    BaseModel, EngineChoice, OrtSettings, PackLimits, Proof, Provider, ProviderName, Session, Skill, Tier, Trust,
    check_providers,
};

use crate::engines::{BATCH, base, difference, everywhere, expected};
use crate::made::{composed, skill};
use crate::tiers::{KIND, TOLERANCE};

/// The library in the Python environment that the gate makes for it.
fn library() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/openvino/lib");
    let folders = std::fs::read_dir(python).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| {
        std::fs::read_dir(folder.path().join("site-packages/onnxruntime/capi")).into_iter().flatten().flatten()
    });
    files
        .map(|file| file.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so")))
}

fn settings(tier: Option<Tier>) -> OrtSettings {
    OrtSettings { library: library(), providers: vec![ProviderName::OpenVino.into()], tier, ..Default::default() }
}

fn open(base: &BaseModel, tier: Tier) -> Session {
    let session =
        Session::open(base, &EngineChoice::Ort(settings(Some(tier)))).unwrap().trusting(Trust::unsigned_too());
    let report = session.engine_report();
    assert_eq!(report.provider, Some(ProviderName::OpenVino.into()), "{report:?}");
    assert_eq!(report.tier, Some(tier));
    session
}

/// The tiers in which OpenVINO feels changes.
const TIERS: [Tier; 2] = [Tier::BareInputs, Tier::Rebuild];

#[test]
fn everything_below_holds_in_a_process_of_its_own() {
    if library().is_none() {
        // A closed stderr is no reason to fail.
        let _ = writeln!(
            std::io::stderr(),
            "left out: no OpenVINO (`bash tests/run` installs the wheel onnxruntime-openvino into target/openvino)"
        );
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "openvino::alone::"])
        .output()
        .expect("a test that runs can be started");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("test result: ok. 5 passed"), "{told}");
}

/// Run by the test above.
mod alone {
    use super::*;

    #[test]
    #[ignore = "needs a process of its own"]
    fn a_skill_is_attached_and_felt_and_detached_without_a_trace() {
        let (pixels, features) = expected();
        let base = base();
        let skills = ["one", "another"].map(|name| skill(&everywhere(&base, name, KIND, 300)));
        let cpu = OrtSettings { providers: vec![Provider::CPU], ..settings(None) };
        let cpu = Session::open(&base, &EngineChoice::Ort(cpu)).unwrap().trusting(Trust::unsigned_too());
        for tier in TIERS {
            let session = open(&base, tier);
            let alone = session.features(&pixels, BATCH).unwrap();
            assert!(difference(&alone, &features) < TOLERANCE, "{tier:?}: {}", difference(&alone, &features));
            cpu.swap([]).unwrap();
            for skill in &skills {
                session.attach(skill, 0.1).unwrap();
                cpu.attach(skill, 0.1).unwrap();
                let (felt, expected) =
                    (session.features(&pixels, BATCH).unwrap(), cpu.features(&pixels, BATCH).unwrap());
                assert!(difference(&felt, &alone) > 1e-2, "{tier:?}: the skill is not felt");
                assert!(difference(&felt, &expected) < TOLERANCE, "{tier:?}: {}", difference(&felt, &expected));
                assert_eq!(composed(&session), composed(&cpu));
            }
            for skill in &skills {
                session.detach(&skill.digest()).unwrap();
            }
            assert_eq!(session.features(&pixels, BATCH).unwrap(), alone, "{tier:?}: the base's answer is another");
        }
    }

    #[test]
    #[ignore = "needs a process of its own"]
    fn packs_of_the_repository_pass_their_probes() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/handwriting");
        let base = BaseModel::open(&model).unwrap();
        for name in ["korean", "sketches"] {
            let skill = Skill::open(model.join(format!("skills/{name}.tvp")), &PackLimits::default()).unwrap();
            for tier in TIERS {
                let change = open(&base, tier).attach(&skill, skill.recommended_alpha()).unwrap();
                let Proof::Probes { difference_max, tolerance, .. } = change.proof else { panic!("{change:?}") };
                assert!(difference_max * 100.0 < tolerance, "{name}, {tier:?}: {difference_max} of {tolerance}");
            }
        }
    }

    #[test]
    #[ignore = "needs a process of its own"]
    fn threads_that_ask_at_once_get_the_answer_of_one() {
        let (pixels, _) = expected();
        let base = base();
        for tier in TIERS {
            let session = open(&base, tier);
            let alone = session.features(&pixels, BATCH).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..50 {
                            assert_eq!(session.features(&pixels, BATCH).unwrap(), alone);
                        }
                    });
                }
            });
        }
    }

    /// OpenVINO takes the values behind overridable inputs for constants. The check finds it out, and whoever asks for
    /// that tier gets the CPU provider and the reason; without a wish, the next tier is taken.
    #[test]
    #[ignore = "needs a process of its own"]
    fn a_tier_in_which_changes_are_not_felt_is_not_used() {
        let base = base();
        let wished = Session::open(&base, &EngineChoice::Ort(settings(Some(Tier::Inputs)))).unwrap().engine_report();
        assert_eq!((&wished.provider, wished.tier), (&Some(Provider::CPU), Some(Tier::Inputs)), "{wished:?}");
        assert_eq!(wished.fallbacks[0].tried, "openvino (inputs)");
        assert!(wished.fallbacks[0].reason.contains("is not felt"), "{wished:?}");

        let free = Session::open(&base, &EngineChoice::Ort(settings(None))).unwrap().engine_report();
        assert_eq!(free.provider, Some(ProviderName::OpenVino.into()));
        assert_eq!((free.tier, free.fallbacks.len()), (Some(Tier::BareInputs), 0), "{free:?}");

        let check = &check_providers(&settings(None), &base, &settings(None).providers).unwrap()[0];
        assert_eq!((check.used, check.whole_graph), (Some(Tier::BareInputs), Some(true)), "{check:?}");
        let felt: Vec<_> = check.tiers.iter().map(|tier| (tier.tier, tier.felt)).collect();
        assert_eq!(felt, [(Tier::Inputs, false), (Tier::BareInputs, true), (Tier::Rebuild, true)], "{check:?}");
    }

    /// No such device is in the machines that test this; if one ever is, it has to work.
    #[test]
    #[ignore = "needs a process of its own"]
    fn a_device_that_is_not_there_falls_back_with_the_reason() {
        let base = base();
        let missing = OrtSettings { providers: vec!["openvino:GPU.7".parse().unwrap()], ..settings(None) };
        let report = Session::open(&base, &EngineChoice::Ort(missing)).unwrap().engine_report();
        assert_eq!(report.provider, Some(Provider::CPU));
        let tried: Vec<_> = report.fallbacks.iter().map(|fallback| fallback.tried.as_str()).collect();
        assert_eq!(tried, ["openvino:GPU.7 (bare inputs)", "openvino:GPU.7 (rebuild)"]);
        assert!(
            report.fallbacks.iter().all(|fallback| fallback.reason.contains("Device GPU.7 is not available")),
            "{report:?}"
        );
    }
}
