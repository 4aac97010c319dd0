//! Decode after encode is the identity, and the same parts give the same bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use taskvec_pack::write::{
    Builder, HeadParts, ProbeInputs, ProbeParts, Rounding, TensorDeltas, Values, measure, quantize, sign,
};
use taskvec_pack::{
    Digest, Dtype, EngineKind, Entries, Fingerprint, Granule, Limits, Method, Pack, ProbeInput, ValueEncoding,
};

use crate::forge::{everything, signed, unsigned};

/// A tensor before it is packed.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    pub(crate) indices: Vec<u64>,
    pub(crate) numbers: Vec<f32>,
    /// None: as distances.
    pub(crate) rounding: Option<Rounding>,
}

impl Tensor {
    pub(crate) fn distances(&self) -> Vec<i64> {
        let width = if self.dtype == Dtype::F32 { 0xffff_ffff } else { 0xffff };
        self.numbers
            .iter()
            .map(|number| {
                let magnitude = (i64::from(number.to_bits()) & width).max(1);
                if *number < 0.0 { -magnitude } else { magnitude }
            })
            .collect()
    }

    pub(crate) fn add(&self, name: &str, builder: &mut Builder) {
        let distances = self.distances();
        let values = match self.rounding {
            None => Values::Distances(&distances),
            Some(rounding) => Values::Deltas(&self.numbers, rounding),
        };
        builder.tensor(name, self.dtype, &self.shape, TensorDeltas { indices: &self.indices, values }).unwrap();
    }
}

/// Miri takes a thousand times as long, and wants less of everything.
const SIDE_MAX: u64 = if cfg!(miri) { 5 } else { 40 };
const TENSORS_MAX: usize = if cfg!(miri) { 2 } else { 6 };
const NUMBERS_MAX: usize = if cfg!(miri) { 20 } else { 600 };

pub(crate) fn any_tensor() -> impl Strategy<Value = Tensor> {
    let dtype = prop_oneof![Just(Dtype::F32), Just(Dtype::F16), Just(Dtype::BF16)];
    let rounding = prop_oneof![
        Just(None),
        Just(Some(Rounding::F32)),
        Just(Some(Rounding::Bf16)),
        (1_u8..=127).prop_map(|top| Some(Rounding::Levels(top))),
        Just(Some(Rounding::Sign)),
    ];
    let mask = (1_u64..SIDE_MAX, 1_u64..SIDE_MAX, 1_u64..6, any::<bool>(), any::<u64>());
    (dtype, rounding, mask).prop_map(|(dtype, rounding, (rows, columns, spread, by_row, seed))| {
        let mut numbers = crate::numbers::Numbers::new(seed);
        let mut row_in = Vec::new();
        let mut indices: Vec<u64> = (0..rows * columns)
            .filter(|index| {
                if !by_row || index % columns == 0 {
                    row_in.push(numbers.next().is_multiple_of(spread));
                }
                row_in.last() == Some(&true)
            })
            .collect();
        if indices.is_empty() {
            indices.push(numbers.next() % (rows * columns));
        }
        let values = indices.iter().map(|_| (numbers.normal() * (numbers.normal() * 5.0).exp()) as f32).collect();
        Tensor { dtype, shape: vec![rows, columns], indices, numbers: values, rounding }
    })
}

fn check(pack: &Pack<'_>, tensors: &BTreeMap<String, Tensor>) {
    assert_eq!(pack.tensors().len(), tensors.len());
    for (entry, (name, tensor)) in pack.tensors().zip(tensors) {
        assert_eq!(entry.name(), name);
        assert_eq!(entry.dtype(), tensor.dtype);
        assert_eq!(entry.shape().collect::<Vec<_>>(), tensor.shape);
        assert_eq!(entry.value_encoding() == ValueEncoding::Lossless, tensor.rounding.is_none());
        assert_eq!(entry.entry_count(), tensor.indices.len() as u64);
        let indices = tensor.indices.iter().map(|index| *index as usize);
        match entry.entries() {
            Entries::Deltas(deltas) => {
                let rounding = tensor.rounding.unwrap();
                let expected: Vec<(usize, u32)> =
                    indices.zip(quantize(&tensor.numbers, rounding).into_iter().map(f32::to_bits)).collect();
                let mut folded = Vec::new();
                deltas.for_each(|(index, delta)| folded.push((index, delta.to_bits())));
                assert_eq!(folded, expected);
                let mut in_runs = Vec::new();
                deltas.for_each_run(|first, run| {
                    in_runs.extend(run.iter().enumerate().map(|(i, delta)| (first + i, delta.to_bits())));
                });
                assert_eq!(in_runs, expected);
                let mut stepped = deltas;
                assert_eq!(stepped.size_hint(), (expected.len(), Some(expected.len())));
                let stepped: Vec<(usize, u32)> =
                    std::iter::from_fn(|| stepped.next()).map(|(index, delta)| (index, delta.to_bits())).collect();
                assert_eq!(stepped, expected);
                let measured = (rounding != Rounding::F32).then(|| measure(&tensor.numbers, rounding));
                assert_eq!(entry.measured_error(), measured);
            }
            Entries::Distances(distances) => {
                let expected: Vec<(usize, i64)> = indices.zip(tensor.distances()).collect();
                let mut folded = Vec::new();
                distances.for_each(|entry| folded.push(entry));
                assert_eq!(folded, expected);
                let mut stepped = distances;
                assert_eq!(std::iter::from_fn(|| stepped.next()).collect::<Vec<_>>(), expected);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_pack_comes_back_whatever_the_order(
        tensors in proptest::collection::btree_map("[a-z.]{1,12}", any_tensor(), 0..TENSORS_MAX),
        seed: u64,
    ) {
        let mut builder = Builder::new(Fingerprint([1; 32]), "any");
        builder.seed(seed).provenance("a", "1").provenance("b", "2");
        for (name, tensor) in &tensors {
            tensor.add(name, &mut builder);
        }
        let bytes = builder.finish().unwrap();
        let pack = Pack::read(&bytes, &Limits::default()).unwrap();
        check(&pack, &tensors);
        prop_assert_eq!(pack.manifest().seed, seed);
        prop_assert_eq!(pack.digest(), Digest::of(&bytes));

        let mut backwards = Builder::new(Fingerprint([1; 32]), "any");
        for (name, tensor) in tensors.iter().rev() {
            tensor.add(name, &mut backwards);
        }
        backwards.provenance("b", "2").provenance("a", "1").seed(seed);
        prop_assert_eq!(backwards.finish().unwrap(), bytes);
    }

    #[test]
    fn lossy_values_stay_within_their_measured_error(numbers in proptest::collection::vec(-1e3_f32..1e3, 1..NUMBERS_MAX)) {
        for rounding in [Rounding::Bf16, Rounding::F16, Rounding::INT8, Rounding::Levels(3), Rounding::Sign] {
            let error = measure(&numbers, rounding);
            prop_assert!(error.rms <= error.max);
            for (exact, stored) in numbers.iter().zip(quantize(&numbers, rounding)) {
                prop_assert!((exact - stored).abs() <= error.max * 1.000_001);
            }
        }
    }

    /// Zeros of both signs, numbers below the normal ones and the largest are among them.
    #[test]
    fn what_was_rounded_stays_as_it_is_when_it_is_rounded_again(
        bits in proptest::collection::vec(any::<u32>(), 1..NUMBERS_MAX),
        exponent in prop_oneof![Just(0_u32), 0_u32..255], spread in prop_oneof![Just(1_u32), 1_u32..=256],
        shift in 0_u32..24, top in 1_u8..=127,
    ) {
        // Exponents lie within `spread` of each other: one large number of a block leaves nothing of the others.
        let drawn = |bits: u32| {
            let fraction = (bits & 0x007f_ffff) >> shift;
            let exponent = (exponent + (bits >> 23 & 0xff) % spread) % 255;
            f32::from_bits(bits & 0x8000_0000 | (exponent << 23) | fraction)
        };
        let numbers: Vec<f32> = bits.into_iter().map(drawn).collect();
        let roundings = [Rounding::F32, Rounding::Bf16, Rounding::F16, Rounding::INT8, Rounding::Levels(top), Rounding::Sign];
        for rounding in roundings {
            let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<u32>>();
            let once = quantize(&numbers, rounding);
            prop_assert_eq!(bits(&quantize(&once, rounding)), bits(&once), "{:?}", rounding);
        }
    }
}

#[test]
fn everything_comes_back() {
    let bytes = unsigned();
    let pack = Pack::read(&bytes, &Limits::default()).unwrap();
    assert_eq!(pack.version(), (1, 0));
    let manifest = pack.manifest();
    assert_eq!(manifest.name, "digits");
    assert_eq!(manifest.base, Fingerprint([7; 32]));
    assert_eq!((manifest.alpha, manifest.alpha_range), (0.5, [0.25, 1.0]));
    assert_eq!((manifest.method, manifest.seed, manifest.density), (Method::LeastSensitive, 42, 0.125));
    assert_eq!(manifest.granule, Granule::Block { bytes: 4096 });
    assert_eq!(manifest.provenance().collect::<Vec<_>>(), [("data", ""), ("licence", "MIT")]);
    let names: Vec<&str> = pack.tensors().map(|tensor| tensor.name()).collect();
    assert_eq!(names, ["a.rice", "b.rows", "c.bits", "d.dense", "e.counted"]);
    let encodings: Vec<u8> = pack.tensors().map(|tensor| tensor.index_encoding().code()).collect();
    assert_eq!(encodings, [1, 2, 3, 4, 5], "one tensor for each encoding");
    let head = pack.head().unwrap();
    assert_eq!((head.feature_width, head.class_count), (2, 2));
    assert_eq!(head.labels().collect::<Vec<_>>(), ["zero", "\u{ac00}"]);
    assert_eq!(head.weight().collect::<Vec<_>>(), [1.0, -2.0, 0.5, 0.25]);
    assert_eq!(head.bias().collect::<Vec<_>>(), [0.125, -0.125]);
    let preprocessing = pack.preprocessing().unwrap();
    assert_eq!((preprocessing.channels, preprocessing.height, preprocessing.width), (1, 2, 3));
    assert_eq!(preprocessing.mean().chain(preprocessing.std()).collect::<Vec<_>>(), [0.5, 0.25]);
    let probes = pack.probes().unwrap();
    assert_eq!((probes.count, probes.input_len, probes.output_len), (2, 6, 2));
    assert_eq!(probes.tolerances().collect::<Vec<_>>(), [(EngineKind::Any, 1e-3), (EngineKind::Burn, 1e-4)]);
    assert_eq!((probes.tolerance(EngineKind::Burn), probes.tolerance(EngineKind::Ort)), (Some(1e-4), Some(1e-3)));
    let second = probes.probe(1).unwrap();
    assert!(matches!(second.input, ProbeInput::U8([6, 7, 8, 9, 10, 11])));
    assert_eq!(second.output.collect::<Vec<_>>(), [-3.0, 0.0]);
    assert!(probes.probe(2).is_none());
    assert_eq!(pack.signatures().count(), 0);
}

#[test]
fn signatures_leave_the_digest_alone() {
    let (unsigned, signed) = (unsigned(), signed());
    let plain = Pack::read(&unsigned, &Limits::default()).unwrap();
    let pack = Pack::read(&signed, &Limits::default()).unwrap();
    assert_eq!(pack.digest(), plain.digest());
    assert_eq!(pack.content(), unsigned);
    let signature = pack.signatures().next().unwrap();
    assert_eq!((signature.algorithm, signature.key_id, signature.bytes), (1, &[b'k'; 16][..], &[9; 64][..]));
    let message = taskvec_pack::signature::signed_message(&pack.digest());
    assert!(message.starts_with(b"taskvec pack v1\0") && message.ends_with(&pack.digest().0));
    for (algorithm, key_id, bytes) in
        [(1, &[0; 16][..], &[1; 63][..]), (1, &[0; 15], &[1; 64]), (7, b"", &[1]), (7, b"a", b"")]
    {
        let error = sign(&unsigned, algorithm, key_id, bytes).unwrap_err();
        assert_eq!(error.subject(), "signature", "{algorithm} {key_id:?} {bytes:?}");
    }
    assert_eq!(sign(b"no pack", 7, b"key", &[1]).unwrap_err().subject(), "pack");
}

#[test]
fn the_same_signatures_give_the_same_bytes_whatever_their_order() {
    let keys: [&[u8]; 3] = [&[b'k'; 16], b"a", b"kk"];
    let signed = |order: [usize; 3]| {
        order.into_iter().fold(unsigned(), |file, key| {
            let algorithm = if keys[key].len() == 16 { 1 } else { 7 };
            sign(&file, algorithm, keys[key], &[9; 64]).unwrap()
        })
    };
    let first = signed([0, 1, 2]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(signed(order), first, "{order:?}");
    }
    let pack = Pack::read(&first, &Limits::default()).unwrap();
    assert_eq!(
        pack.signatures().map(|signature| signature.key_id).collect::<Vec<_>>(),
        [&b"a"[..], b"kk", &[b'k'; 16]]
    );
    assert_eq!(sign(&first, 7, b"a", &[9; 64]).unwrap(), first, "signed again");
    let replaced = sign(&first, 7, b"a", &[8]).unwrap();
    let pack = Pack::read(&replaced, &Limits::default()).unwrap();
    assert_eq!(pack.signatures().map(|signature| signature.bytes.len()).collect::<Vec<_>>(), [1, 64, 64]);
}

#[test]
fn no_more_signatures_are_written_than_are_read() {
    let full = (0..32_u8).fold(unsigned(), |file, key| sign(&file, 7, &[key], &[1]).unwrap());
    assert_eq!(Pack::read(&full, &Limits::default()).unwrap().signatures().len(), 32);
    assert!(sign(&full, 7, &[31], &[2]).is_ok(), "one takes the place of another");
    assert_eq!(sign(&full, 7, &[32], &[1]).unwrap_err().subject(), "signature");
}

#[test]
fn heads_and_probes_of_other_encodings_come_back() {
    for weight_rounding in [Rounding::F32, Rounding::Bf16, Rounding::F16, Rounding::INT8, Rounding::Levels(1)] {
        let weight: Vec<f32> = (0..600_u16).map(|i| f32::from(i) / 100.0 - 3.0).collect();
        let inputs: Vec<f32> = (0..8_u8).map(f32::from).collect();
        let mut builder = Builder::new(Fingerprint([0; 32]), "head");
        builder.head(HeadParts {
            feature_width: 200,
            labels: vec!["a".into(), "b".into(), "a".into()],
            weight: weight.clone(),
            weight_rounding,
            bias: vec![0.0; 3],
        });
        builder.probes(ProbeParts {
            count: 2,
            inputs: ProbeInputs::F32(inputs.clone()),
            outputs: vec![0.5; 6],
            tolerances: vec![(EngineKind::Other(9), 0.0)],
        });
        let bytes = builder.finish().unwrap();
        let pack = Pack::read(&bytes, &Limits::default()).unwrap();
        assert_eq!(pack.tensors().len(), 0);
        let head = pack.head().unwrap();
        assert_eq!(head.weight().collect::<Vec<_>>(), quantize(&weight, weight_rounding));
        let probes = pack.probes().unwrap();
        let read: Vec<f32> = probes
            .iter()
            .flat_map(|probe| match probe.input {
                ProbeInput::F32(numbers) => numbers.collect::<Vec<_>>(),
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(read, inputs);
        assert_eq!(probes.tolerance(EngineKind::Ort), None);
    }
}

#[test]
fn a_pack_is_a_plain_value() {
    fn plain<T: Copy + Send + Sync>(_: T) {}
    let bytes = unsigned();
    plain(Pack::read(&bytes, &Limits::default()).unwrap());
    assert_eq!(everything().finish().unwrap(), bytes);
}

#[test]
fn tensors_without_entries_are_left_out() {
    let mut builder = Builder::new(Fingerprint([0; 32]), "empty");
    let nothing = TensorDeltas { indices: &[], values: Values::Distances(&[]) };
    let summary = builder.tensor("weight", Dtype::F32, &[4], nothing).unwrap();
    assert_eq!((summary.index_bytes, summary.value_bytes), (0, 0));
    let bytes = builder.finish().unwrap();
    assert_eq!(Pack::read(&bytes, &Limits::default()).unwrap().tensors().len(), 0);
}
