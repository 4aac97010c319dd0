//! What is refused, how it is said, and that the composition in force is then unchanged, digest and bytes.

use taskvec_pack::write::{Builder, PreprocessingParts, Rounding, TensorDeltas, Values};
use taskvec_pack::{Dtype, Resize};
use taskvec_runtime::{
    BaseModel, Change, CompositionLimits, Error, ErrorKind, HeadChoice, PackLimits, Session, Skill, Trust,
};

use crate::made::{self, Kind, MIXED, bundle, composed, head, one_delta, random_pack, session, skill};

type Attempt = Box<dyn Fn(&Session) -> Result<Change, Error>>;

/// A change that must be refused.
struct Case<'a> {
    what: &'static str,
    refused: Attempt,
    kind: ErrorKind,
    /// Words that the whole chain must have.
    says: &'a [&'a str],
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text += &format!(": {deeper}");
        cause = deeper.source();
    }
    text
}

fn edit(base: &BaseModel, name: &str, tensor: &str, dtype: Dtype, shape: &[u64], delta: f32) -> Skill {
    let mut builder = Builder::new(base.fingerprint(), name);
    let deltas = TensorDeltas { indices: &[0], values: Values::Deltas(&[delta], Rounding::F32) };
    builder.tensor(tensor, dtype, shape, deltas).unwrap();
    skill(&builder)
}

#[test]
fn a_refused_change_leaves_digest_and_bytes_as_they_were() {
    let made = bundle(MIXED, 10);
    let base = &made.base;
    let other = bundle(MIXED, 11);
    let in_force = skill(&random_pack(base, "in force", 1, Kind::Lossless, 100));
    let fine = skill(&one_delta(base, "fine", 3, 0.5));
    let foreign = skill(&one_delta(&other.base, "foreign", 3, 0.5));
    let fixed = edit(base, "fixed", "d.fixed", Dtype::F32, &[8], 1.0);
    let unknown = edit(base, "unknown", "z.weight", Dtype::F32, &[8], 1.0);
    let turned = edit(base, "turned", "a.weight", Dtype::F32, &[61, 37], 1.0);
    let narrow = edit(base, "narrow", "a.weight", Dtype::F16, &[37, 61], 1.0);
    let zero = edit(base, "zero", "a.weight", Dtype::F32, &[37, 61], 0.0);
    let infinite = edit(base, "infinite", "a.weight", Dtype::F32, &[37, 61], f32::MAX);
    let wide_head = skill(one_delta(base, "wide head", 1, 0.1).head({
        let mut head = head();
        (head.feature_width, head.weight) = (2, vec![0.5; 4]);
        head
    }));
    let large_image = skill(one_delta(base, "large image", 1, 0.1).preprocessing(PreprocessingParts {
        channels: 1,
        height: 3,
        width: 2,
        resize: Resize::Bilinear,
        mean: vec![0.0],
        std: vec![1.0],
    }));
    let attach = |skill: &Skill, alpha: f32| -> Attempt {
        let skill = skill.clone();
        Box::new(move |session| session.attach(&skill, alpha))
    };
    let (here, there) = (base.fingerprint().to_string(), other.base.fingerprint().to_string());
    let own = in_force.digest();
    let cases = [
        Case {
            what: "another base",
            refused: attach(&foreign, 1.0),
            kind: ErrorKind::Mismatch,
            says: &["attach `foreign`", &here, &there],
        },
        Case { what: "alpha NaN", refused: attach(&fine, f32::NAN), kind: ErrorKind::Usage, says: &["alpha is NaN"] },
        Case {
            what: "alpha infinite",
            refused: attach(&fine, f32::INFINITY),
            kind: ErrorKind::Usage,
            says: &["alpha is inf"],
        },
        Case {
            what: "alpha NaN, later",
            refused: Box::new(move |session| session.set_alpha(&own, f32::NAN)),
            kind: ErrorKind::Usage,
            says: &["alpha is NaN"],
        },
        Case {
            what: "not editable",
            refused: attach(&fixed, 1.0),
            kind: ErrorKind::Usage,
            says: &["`d.fixed`", "editable"],
        },
        Case {
            what: "no such tensor",
            refused: attach(&unknown, 1.0),
            kind: ErrorKind::Mismatch,
            says: &["`z.weight`"],
        },
        Case {
            what: "another shape",
            refused: attach(&turned, 1.0),
            kind: ErrorKind::Mismatch,
            says: &["`a.weight`", "[37, 61]", "[61, 37]"],
        },
        Case {
            what: "another dtype",
            refused: attach(&narrow, 1.0),
            kind: ErrorKind::Mismatch,
            says: &["`a.weight`", "f32", "f16"],
        },
        Case {
            what: "a head of another width",
            refused: attach(&wide_head, 1.0),
            kind: ErrorKind::Mismatch,
            says: &["features", "4", "2"],
        },
        Case {
            what: "another image",
            refused: attach(&large_image, 1.0),
            kind: ErrorKind::Mismatch,
            says: &["height", "2", "3"],
        },
        Case {
            what: "no effect: zeros",
            refused: attach(&zero, 1.0),
            kind: ErrorKind::Mismatch,
            says: &["`zero`", "changes no weight"],
        },
        Case {
            what: "no effect: alpha",
            refused: attach(&fine, 1e-30),
            kind: ErrorKind::Mismatch,
            says: &["`fine`", "changes no weight"],
        },
        Case {
            what: "features not finite",
            refused: attach(&infinite, 3.0),
            kind: ErrorKind::Mismatch,
            says: &["the answer holds", "finite"],
        },
        Case { what: "twice", refused: attach(&in_force, 1.0), kind: ErrorKind::Usage, says: &["in force already"] },
        Case {
            what: "not there",
            refused: {
                let digest = fine.digest();
                Box::new(move |session| session.detach(&digest))
            },
            kind: ErrorKind::Usage,
            says: &["no skill"],
        },
        Case {
            what: "swap: one of two is wrong",
            refused: {
                let (fine, foreign) = (fine.clone(), foreign.clone());
                Box::new(move |session| session.swap([(fine.clone(), 1.0), (foreign.clone(), 1.0)]))
            },
            kind: ErrorKind::Mismatch,
            says: &["swap", "`foreign`"],
        },
        Case {
            what: "swap: one twice",
            refused: {
                let fine = fine.clone();
                Box::new(move |session| session.swap([(fine.clone(), 1.0), (fine.clone(), 0.5)]))
            },
            kind: ErrorKind::Usage,
            says: &["`fine`"],
        },
        Case {
            what: "swap: no effect",
            refused: {
                let zero = zero.clone();
                Box::new(move |session| session.swap([(zero.clone(), 1.0)]))
            },
            kind: ErrorKind::Mismatch,
            says: &["`zero`"],
        },
    ];
    let session = session(base);
    session.attach(&in_force, 0.5).unwrap();
    let before = (composed(&session), session.composition());
    let mut wrong = Vec::new();
    for Case { what, refused, kind, says } in &cases {
        match refused(&session) {
            Ok(_) => wrong.push(format!("{what}: accepted")),
            Err(error) => {
                let text = chain(&error);
                if error.kind() != *kind || !says.iter().all(|words| text.contains(words)) {
                    wrong.push(format!("{what}: {:?} {text}", error.kind()));
                }
            }
        }
        if (composed(&session), session.composition()) != before {
            wrong.push(format!("{what}: the composition has changed"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn limits_are_kept_and_taken_back() {
    let made = bundle(MIXED, 12);
    let first = skill(&one_delta(&made.base, "first", 0, 0.5));
    let second = skill(&one_delta(&made.base, "second", 2000, 0.5));
    let few = session(&made.base).with_limits(CompositionLimits { skills_max: 1, ..Default::default() });
    let small = session(&made.base).with_limits(CompositionLimits { touched_bytes_max: 4096, ..Default::default() });
    let light = session(&made.base).with_limits(CompositionLimits { entries_max: 1, ..Default::default() });
    for session in [few, small, light] {
        session.attach(&first, 1.0).unwrap();
        let before = (composed(&session), session.digest());
        let error = session.attach(&second, 1.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{}", chain(&error));
        assert_eq!((composed(&session), session.digest()), before);
        session.swap([(second.clone(), 1.0)]).unwrap();
    }
}

#[test]
fn a_pack_cut_short_flipped_or_newer_is_no_skill() {
    let made = bundle(MIXED, 13);
    let bytes = random_pack(&made.base, "small", 4, Kind::Deltas(Rounding::INT8), 3).finish().unwrap();
    let open = |bytes: &[u8]| Skill::from_bytes(bytes, &PackLimits::default()).map(drop);
    open(&bytes).unwrap();
    for length in 0..bytes.len() {
        let error = open(&bytes[..length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{length} bytes: {}", chain(&error));
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let error = open(&flipped).unwrap_err();
            assert!(error.help().is_some(), "byte {at}, bit {bit}: {}", chain(&error));
        }
    }
    let mut newer = bytes.clone();
    newer[8] = 2;
    let error = open(&newer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", chain(&error));
    assert!(error.help().unwrap().contains("newer"));
}

#[test]
fn a_pack_file_is_named_in_its_error() {
    let made = bundle(MIXED, 14);
    let path = made.folder.path().join("x.tvp");
    let limits = PackLimits::default();
    assert_eq!(Skill::open(&path, &limits).map(drop).unwrap_err().kind(), ErrorKind::Io);
    let bytes = one_delta(&made.base, "x", 0, 1.0).finish().unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
    let error = Skill::open(&path, &limits).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("x.tvp"), "{error}");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Skill::open(&path, &limits).unwrap().name(), "x");
    let small = PackLimits { max_file_bytes: 10, ..limits };
    assert_eq!(Skill::open(&path, &small).map(drop).unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn a_base_that_is_not_what_it_says_is_refused() {
    let made = bundle(MIXED, 15);
    let model = made.folder.path().join("model.safetensors");
    let bytes = std::fs::read(&model).unwrap();
    // Each change is made in another file under the same name: an open mapping must not change.
    let replace = |bytes: &[u8]| {
        let aside = made.folder.path().join("aside");
        std::fs::write(&aside, bytes).unwrap();
        std::fs::rename(&aside, &model).unwrap();
    };
    for at in [bytes.len() - 1, bytes.len() / 2, made.base.tensors()[0].place.start] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        replace(&flipped);
        let error = BaseModel::open(made.folder.path()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{}", chain(&error));
        assert!(chain(&error).contains("tensor `"), "{}", chain(&error));
    }
    for length in [0, 7, 100, bytes.len() - 1] {
        replace(&bytes[..length]);
        let error = BaseModel::open(made.folder.path()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{length} bytes: {}", chain(&error));
    }
    std::fs::remove_file(&model).unwrap();
    assert_eq!(BaseModel::open(made.folder.path()).map(drop).unwrap_err().kind(), ErrorKind::Io);
    // What was open still is: it was mapped before all this.
    assert!(made.base.bytes() == bytes);
}

#[test]
fn questions_that_cannot_be_answered_are_usage() {
    let made = bundle(MIXED, 16);
    let session = session(&made.base);
    let two_heads =
        [("one", 1), ("two", 2)].map(|(name, index)| skill(one_delta(&made.base, name, index, 0.5).head(head())));
    let pixels = [0.5f32; 8];
    let usage = |head: &HeadChoice, pixels: &[f32], batch| {
        let error = session.infer(pixels, batch, head).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{}", chain(&error));
        chain(&error)
    };
    assert!(usage(&HeadChoice::Only, &pixels, 2).contains("no skill with a head"));
    assert!(usage(&HeadChoice::Base("nobody's".into()), &pixels, 2).contains("`nobody's`"));
    assert!(usage(&HeadChoice::Skill(two_heads[0].digest()), &pixels, 2).contains("is in force"));
    assert!(usage(&HeadChoice::Base("own".into()), &pixels, 3).contains("8 numbers for 3 inputs"));
    usage(&HeadChoice::Base("own".into()), &[], 0);
    assert_eq!(session.infer(&pixels, 2, &HeadChoice::Named("own".into())).unwrap().values.len(), 4);
    session.swap(two_heads.iter().map(|skill| (skill.clone(), 1.0))).unwrap();
    assert!(usage(&HeadChoice::Only, &pixels, 2).contains("several heads"));
    let answer = session.infer(&pixels, 2, &HeadChoice::Named("two".into())).unwrap();
    assert_eq!(answer.head.labels(), ["left", "right"]);
    assert_eq!(answer.composition, session.digest());
    assert_eq!(answer.classes().count(), 2);
    assert_eq!(answer, session.infer(&pixels, 2, &HeadChoice::Skill(two_heads[1].digest())).unwrap());
}

#[test]
fn an_engine_that_keeps_its_reader_cannot_make_an_answer_wrong() {
    use std::sync::{Arc, Mutex};

    use taskvec_runtime::{Engine, EngineKind, Inference, Weights, WeightsReader};
    /// Never gives a reader back.
    struct Clinging(Mutex<Vec<WeightsReader>>);
    impl Engine for Clinging {
        fn kind(&self) -> EngineKind {
            made::PLAIN
        }
        fn describe(&self) -> String {
            "clinging".into()
        }
        fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
            self.0.lock().unwrap().push(weights.reader());
            made::Plain.over(weights)
        }
    }
    let made = bundle(MIXED, 18);
    let engine = Arc::new(Clinging(Mutex::default()));
    let session = Session::with_engine(&made.base, Arc::clone(&engine) as Arc<dyn Engine>)
        .unwrap()
        .trusting(Trust::unsigned_too());
    let (one, infinite) =
        (skill(&one_delta(&made.base, "x", 0, 0.5)), skill(&one_delta(&made.base, "infinite", 0, f32::MAX)));
    session.attach(&one, 1.0).unwrap();
    let with_one = composed(&session);
    assert_eq!(session.attach(&infinite, 3.0).unwrap_err().kind(), ErrorKind::Mismatch);
    assert!(composed(&session) == with_one);
    session.swap([(one.clone(), 2.0)]).unwrap();
    session.detach(&one.digest()).unwrap();
    assert!(composed(&session) == made.base.bytes());
    // What it read at each change is still what it was then: base, one, the failed one, one at 2.
    let kept = engine.0.lock().unwrap();
    let (bytes, different): (Vec<&[u8]>, _) = (kept.iter().map(AsRef::as_ref).collect(), [(0, 1), (1, 2), (2, 3)]);
    assert!(bytes[0] == made.base.bytes() && bytes[1] == with_one);
    assert!(bytes.len() == 4 && different.iter().all(|&(a, b)| bytes[a] != bytes[b]));
}
