//! Which proof is given when, and what a failed one says and leaves behind.

use taskvec_pack::write::{Builder, PreprocessingParts, ProbeInputs, ProbeParts};
use taskvec_pack::{EngineKind, Resize};
use taskvec_runtime::{BaseModel, ErrorKind, HeadChoice, NoProbes, Proof, Session};

use crate::made::{MIXED, PLAIN, bundle, composed, head, one_delta, session, skill};

const INPUTS: [f32; 12] = [0.0, 0.5, 1.0, -1.0, 0.25, 0.75, -0.5, 0.125, 1.0, 1.0, 1.0, 1.0];

/// Probes with what the plain engine answers with this skill in force; a head if `with_head`.
fn probed(base: &BaseModel, name: &str, alpha: f32, with_head: bool, tolerances: &[(EngineKind, f32)]) -> Builder {
    let mut builder = one_delta(base, name, 3, 0.5);
    builder.alpha(alpha, [alpha.min(0.0), alpha.max(1.0)]);
    if with_head {
        builder.head(head());
    }
    let session = session(base);
    session.attach(&skill(&builder), alpha).unwrap();
    let outputs = if with_head {
        session.infer(&INPUTS, 3, &HeadChoice::Only).unwrap().values
    } else {
        session.features(&INPUTS, 3).unwrap()
    };
    builder.probes(ProbeParts {
        count: 3,
        inputs: ProbeInputs::F32(INPUTS.to_vec()),
        outputs,
        tolerances: tolerances.to_vec(),
    });
    builder
}

const TOLERANCES: [(EngineKind, f32); 1] = [(PLAIN, 1e-3)];

fn proof(session: &Session, builder: &Builder, alpha: f32) -> Proof {
    session.attach(&skill(builder), alpha).unwrap().proof
}

#[test]
fn each_composition_gets_the_proof_that_the_table_promises() {
    let made = bundle(MIXED, 50);
    let base = &made.base;
    let felt = |because, inputs| Proof::Felt { because, inputs };
    let passed = Proof::Probes { count: 3, difference_max: 0.0, tolerance: 1e-3 };
    for with_head in [true, false] {
        let own = probed(base, "own", 0.5, with_head, &TOLERANCES);
        assert_eq!(proof(&session(base), &own, 0.5), passed);
        assert_eq!(proof(&session(base), &own, 0.25), felt(NoProbes::OtherAlpha, 1));
    }
    let any = probed(base, "any", 0.5, true, &[(EngineKind::Ort, 0.0), (EngineKind::Any, 1e-3)]);
    assert_eq!(proof(&session(base), &any, 0.5), passed);
    let none = probed(base, "none", 0.5, true, &[(EngineKind::Ort, 1e-3), (EngineKind::Burn, 1e-3)]);
    assert_eq!(proof(&session(base), &none, 0.5), felt(NoProbes::NoneForEngine, 1));
    assert_eq!(proof(&session(base), &one_delta(base, "bare", 1, 0.5), 1.0), felt(NoProbes::NoneInPack, 1));

    let session = session(base);
    let (first, second) =
        (probed(base, "first", 1.0, true, &TOLERANCES), probed(base, "second", 0.5, false, &TOLERANCES));
    let first_digest = skill(&first).digest();
    proof(&session, &first, 1.0);
    assert_eq!(proof(&session, &second, 0.5), felt(NoProbes::SeveralSkills, 2));
    // What remains is alone again, so its probes count again; then nothing remains.
    let own = Proof::Probes { count: 3, difference_max: 0.0, tolerance: 1e-3 };
    assert_eq!(session.detach(&first_digest).unwrap().proof, own);
    assert_eq!(session.detach(&skill(&second).digest()).unwrap().proof, Proof::Base);
}

#[test]
fn a_failed_probe_names_everything_and_takes_the_change_back() {
    let made = bundle(MIXED, 51);
    let mut wrong = probed(&made.base, "wrong", 1.0, true, &TOLERANCES);
    let session = session(&made.base);
    let other = skill(&one_delta(&made.base, "other", 9, 0.5));
    session.attach(&other, 0.5).unwrap();
    let right = session.infer(&INPUTS, 3, &HeadChoice::Base("own".into())).unwrap();
    let before = (composed(&session), session.composition());

    // The last logit of the last probe is expected somewhat higher than it is.
    let alone = crate::made::session(&made.base);
    alone.attach(&skill(one_delta(&made.base, "wrong", 3, 0.5).head(head())), 1.0).unwrap();
    let mut outputs = alone.infer(&INPUTS, 3, &HeadChoice::Only).unwrap().values;
    let found = outputs[5];
    outputs[5] += 0.25;
    let expected = outputs[5];
    wrong.probes(ProbeParts {
        count: 3,
        inputs: ProbeInputs::F32(INPUTS.to_vec()),
        outputs,
        tolerances: vec![(PLAIN, 0.125)],
    });
    let wrong = skill(&wrong);
    let error = session.swap([(wrong.clone(), 1.0)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        cause,
        format!("skill `wrong`, probe 2: logit 1 is {found}, expected {expected} within 0.125 on plain sums")
    );
    assert!(error.help().is_some());
    assert_eq!((composed(&session), session.composition()), before);
    assert_eq!(session.infer(&INPUTS, 3, &HeadChoice::Base("own".into())).unwrap(), right);
    // Beside another skill its probes do not hold, and nobody asks them.
    assert!(matches!(session.attach(&wrong, 1.0).unwrap().proof, Proof::Felt { .. }));
    // Taking the other one off would leave it alone, at its recommended alpha, with probes that fail.
    let mixed = composed(&session);
    let error = session.detach(&other.digest()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(composed(&session), mixed);
}

#[test]
fn probes_of_pixels_go_through_the_packs_preprocessing() {
    let made = bundle(MIXED, 52);
    let mut builder = one_delta(&made.base, "pixels", 3, 0.5);
    let bytes: [u8; 8] = [0, 51, 102, 255, 7, 99, 200, 128];
    let pixels: Vec<f32> = bytes.iter().map(|&byte| (f32::from(byte) / 255.0 - 0.25) / 0.5).collect();
    let alone = session(&made.base);
    alone.attach(&skill(&builder), 1.0).unwrap();
    let outputs = alone.features(&pixels, 2).unwrap();
    builder.preprocessing(PreprocessingParts {
        channels: 1,
        height: 2,
        width: 2,
        resize: Resize::Bilinear,
        mean: vec![0.25],
        std: vec![0.5],
    });
    builder.probes(ProbeParts {
        count: 2,
        inputs: ProbeInputs::U8(bytes.to_vec()),
        outputs,
        tolerances: vec![(PLAIN, 0.0)],
    });
    let proof = proof(&session(&made.base), &builder, 1.0);
    assert_eq!(proof, Proof::Probes { count: 2, difference_max: 0.0, tolerance: 0.0 });
}

#[test]
fn a_skill_without_entries_or_at_alpha_zero_needs_no_effect() {
    let made = bundle(MIXED, 53);
    let session = session(&made.base);
    let head_only = skill(Builder::new(made.base.fingerprint(), "head only").head(head()));
    let silent = skill(&one_delta(&made.base, "silent", 1, 0.5));
    session.attach(&head_only, 1.0).unwrap();
    session.attach(&silent, 0.0).unwrap();
    assert!(composed(&session) == made.base.bytes());
    assert_eq!(session.infer(&INPUTS, 3, &HeadChoice::Only).unwrap().class_count, 2);
    // Louder, and silent again.
    let change = session.set_alpha(&silent.digest(), 1.0).unwrap();
    assert_eq!((change.tensors, change.entries, change.touched_pages), (1, 1, 1));
    session.set_alpha(&silent.digest(), 0.0).unwrap();
    assert!(composed(&session) == made.base.bytes());
}

#[test]
fn a_skill_that_another_one_swallows_has_no_effect() {
    let made = bundle(MIXED, 54);
    // In f32, 1e9 and a tenth is 1e9. Which of the two comes first is decided by their digests, so both ways are tried.
    let large = skill(&one_delta(&made.base, "large", 7, 1e9));
    let mut seen = [false; 2];
    for trial in 0..20 {
        let small = skill(&one_delta(&made.base, &format!("small {trial}"), 7, 0.1));
        let swallowed = small.digest() > large.digest();
        seen[usize::from(swallowed)] = true;
        for order in [[&small, &large], [&large, &small]] {
            let session = session(&made.base);
            session.attach(order[0], 1.0).unwrap();
            let result = session.attach(order[1], 1.0);
            assert_eq!(result.is_err(), swallowed, "{result:?}");
        }
    }
    assert_eq!(seen, [true, true]);
}
