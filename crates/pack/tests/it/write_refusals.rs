//! Parts that make no pack: each is refused by its subject before anything is written.

use taskvec_pack::write::{
    Builder, HeadParts, PreprocessingParts, ProbeInputs, ProbeParts, Rounding, TensorDeltas, Values, WriteError,
};
use taskvec_pack::{Dtype, EngineKind, Fingerprint, Granule, Resize};

use crate::forge::everything;

#[test]
fn parts_that_make_no_pack() {
    fn tensor(indices: &[u64], values: Values<'_>) -> WriteError {
        let mut builder = Builder::new(Fingerprint([0; 32]), "wrong");
        builder.tensor("w", Dtype::F16, &[2, 4], TensorDeltas { indices, values }).unwrap_err()
    }
    let f32 = Rounding::F32;
    let messages = [
        (tensor(&[1, 1], Values::Deltas(&[1.0, 1.0], f32)), "tensor `w`: index 1 does not ascend"),
        (tensor(&[8], Values::Deltas(&[1.0], f32)), "tensor `w`: index 8 lies beyond its 8 elements"),
        (tensor(&[1], Values::Deltas(&[], f32)), "tensor `w`: 0 values for 1 indices"),
        (tensor(&[1], Values::Deltas(&[f32::NAN], f32)), "tensor `w`: delta number 0 is not finite"),
        (tensor(&[1], Values::Deltas(&[f32::MAX], Rounding::Bf16)), "tensor `w`: a delta is too large for 16 bits"),
        (tensor(&[1], Values::Distances(&[0])), "tensor `w`: a distance of 0 is 0 or wider than f16"),
        (tensor(&[1], Values::Distances(&[-65536])), "tensor `w`: a distance of -65536 is 0 or wider than f16"),
    ];
    for (error, message) in messages {
        assert_eq!(error.to_string(), message);
        assert_eq!(error.subject(), "tensor `w`");
    }
    let nothing = TensorDeltas { indices: &[], values: Values::Distances(&[]) };
    let mut builder = everything();
    for (name, shape) in
        [("", &[1][..]), ("a\n", &[1]), ("a.rice", &[1]), ("zero", &[0]), ("deep", &[1; 9]), ("large", &[1 << 41])]
    {
        assert!(builder.tensor(name, Dtype::F32, shape, nothing).is_err(), "{name}");
    }
}

#[test]
fn contradictions_between_parts_are_refused_by_the_writer() {
    let head = HeadParts {
        feature_width: 2,
        labels: vec!["a".into()],
        weight: vec![1.0, 2.0],
        weight_rounding: Rounding::F32,
        bias: vec![0.0],
    };
    let preprocessing = PreprocessingParts {
        channels: 1,
        height: 1,
        width: 2,
        resize: Resize::Bilinear,
        mean: vec![0.5],
        std: vec![0.5],
    };
    let probes = ProbeParts {
        count: 1,
        inputs: ProbeInputs::U8(vec![1, 2]),
        outputs: vec![1.0],
        tolerances: vec![(EngineKind::Any, 0.1)],
    };
    type Change = for<'a> fn(&'a mut Builder, HeadParts, PreprocessingParts, ProbeParts) -> &'a mut Builder;
    let cases: [(&str, Change); 18] = [
        ("manifest", |b, _, _, _| b.alpha(f32::NAN, [0.0, 1.0])),
        ("manifest", |b, _, _, _| b.alpha(2.0, [0.0, 1.0])),
        ("manifest", |b, _, _, _| b.density(1.1)),
        ("manifest", |b, _, _, _| b.granule(Granule::Block { bytes: 0 })),
        ("provenance key ``", |b, _, _, _| b.provenance("", "x")),
        ("provenance value `a\\nb`", |b, _, _, _| b.provenance("x", "a\nb")),
        ("head", |b, head, _, _| b.head(HeadParts { weight: vec![1.0], ..head })),
        ("head", |b, head, _, _| b.head(HeadParts { bias: vec![f32::INFINITY], ..head })),
        ("head", |b, head, _, _| b.head(HeadParts { weight: vec![1.0, 1e6], weight_rounding: Rounding::F16, ..head })),
        ("label ``", |b, head, _, _| b.head(HeadParts { labels: vec![String::new()], ..head })),
        ("preprocessing", |b, _, p, _| b.preprocessing(PreprocessingParts { std: vec![0.0], ..p })),
        ("preprocessing", |b, _, p, _| b.preprocessing(PreprocessingParts { mean: vec![], ..p })),
        ("preprocessing", |b, _, p, _| b.preprocessing(PreprocessingParts { height: 0, ..p })),
        ("probes", |b, _, _, p| b.probes(p)),
        ("probes", |b, _, pre, p| b.preprocessing(pre).probes(ProbeParts { inputs: ProbeInputs::U8(vec![1]), ..p })),
        ("probes", |b, head, pre, p| b.head(head).preprocessing(pre).probes(ProbeParts { outputs: vec![1.0; 2], ..p })),
        ("probes", |b, _, pre, p| b.preprocessing(pre).probes(ProbeParts { tolerances: vec![], ..p })),
        ("probes", |b, _, pre, p| b.preprocessing(pre).probes(ProbeParts { outputs: vec![f32::NAN], ..p })),
    ];
    for (place, (subject, change)) in cases.into_iter().enumerate() {
        let mut builder = Builder::new(Fingerprint([0; 32]), "wrong");
        change(&mut builder, head.clone(), preprocessing.clone(), probes.clone());
        let error = builder.finish().unwrap_err();
        assert_eq!(error.subject(), subject, "case {place}: {error}");
    }
}
