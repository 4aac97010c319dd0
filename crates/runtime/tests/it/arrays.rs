//! A base that takes arrays: what may be given, what is answered, and how a skill is proved there.

use std::sync::Arc;

use taskvec_bundle::{
    Arrays, BASE_FILE, Base, BaseDraft, Interface, MODEL_FILE, NamedTensor, Port, Side, StoredDtype, TensorFile,
    write_tensors,
};
use taskvec_pack::Dtype;
use taskvec_pack::write::{Builder, Rounding, TensorDeltas, Values};
use taskvec_runtime::{
    Array, BaseModel, Engine, EngineKind, Error, ErrorKind, HeadChoice, Inference, NoProbes, Proof, Session, Trust,
    Weights, WeightsReader,
};

use crate::made::{Made, head, skill};

/// Answers with the sum of the weights, and with the first input's sides.
struct Echo;

struct Answers {
    base: BaseModel,
    weights: WeightsReader,
}

impl Engine for Echo {
    fn kind(&self) -> EngineKind {
        EngineKind::Other(7)
    }

    fn describe(&self) -> String {
        "echo".into()
    }

    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        Ok(Box::new(Answers { base: weights.base().clone(), weights: weights.reader() }))
    }
}

impl Inference for Answers {
    fn features(&self, _pixels: &[f32], _batch: usize) -> Result<Vec<f32>, Error> {
        panic!("the session lets no pictures through");
    }

    fn run(&self, inputs: &[Array]) -> Result<Vec<Array>, Error> {
        let place = self.base.tensor("w").unwrap().place.clone();
        let words = self.weights.as_ref()[place].as_chunks().0.iter();
        let sum = words.map(|&word| f32::from_le_bytes(word)).sum::<f32>();
        let sides: Vec<i64> = inputs[0].shape().iter().map(|&side| side as i64).collect();
        Ok(vec![Array::of_f32("sum", &[], &[sum])?, Array::of_i64("sides", &[sides.len() as u64], &sides)?])
    }
}

fn made() -> Made {
    let bytes: Vec<u8> = [1.0f32, 2.0, 3.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let tensor = NamedTensor { name: "w", dtype: StoredDtype::F32, shape: &[3], bytes: &bytes };
    let mut file = Vec::new();
    write_tensors(&mut file, &[tensor]).unwrap();
    let port =
        |name: &str, dtype, shape: &[Side]| Port { name: name.to_owned(), dtype, shape: shape.to_vec(), fill: None };
    let named = |name: &str| Side::Named(name.to_owned());
    let sides = [named("batch"), named("sequence")];
    let draft = BaseDraft {
        name: "echo".into(),
        network: serde_json::json!({"family": "onnx"}),
        interface: Interface::Arrays(Arrays {
            inputs: vec![
                port("ids", StoredDtype::I64, &sides),
                port("mask", StoredDtype::F32, &[named("batch"), named("sequence"), Side::Fixed(2)]),
            ],
            outputs: vec![port("sum", StoredDtype::F32, &[]), port("sides", StoredDtype::I64, &[Side::Fixed(2)])],
            sizes: [("batch".to_owned(), 1), ("sequence".to_owned(), 5)].into(),
        }),
        stands_for: None,
        heads: Vec::new(),
        editable: vec!["w".to_owned()],
    };
    let described = Base::describe(draft, &TensorFile::parse(&file).unwrap(), &file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(MODEL_FILE), &file).unwrap();
    std::fs::write(folder.path().join(BASE_FILE), described.to_json()).unwrap();
    let base = BaseModel::open(folder.path()).unwrap();
    Made { folder, base }
}

fn session(base: &BaseModel) -> Session {
    Session::with_engine(base, Arc::new(Echo)).unwrap().trusting(Trust::unsigned_too())
}

fn ids(sides: [u64; 2]) -> Array {
    Array::of_i64("ids", &sides, &vec![1; (sides[0] * sides[1]) as usize]).unwrap()
}

fn mask(sides: [u64; 3]) -> Array {
    Array::of_f32("mask", &sides, &vec![1.0; sides.iter().product::<u64>() as usize]).unwrap()
}

fn pack(base: &BaseModel, delta: f32) -> Builder {
    let mut builder = Builder::new(base.fingerprint(), "one");
    let deltas = TensorDeltas { indices: &[1], values: Values::Deltas(&[delta], Rounding::F32) };
    builder.tensor("w", Dtype::F32, &[3], deltas).unwrap();
    builder
}

#[test]
fn arrays_of_any_size_go_in_in_any_order_and_every_output_comes_back() {
    let made = made();
    let session = session(&made.base);
    for (batch, sequence) in [(1, 1), (3, 7), (0, 4)] {
        let answers = session.run(&[mask([batch, sequence, 2]), ids([batch, sequence])]).unwrap();
        assert_eq!(answers[0].as_f32(), Some(&[6.0][..]));
        assert_eq!(answers[1].name(), "sides");
    }
}

#[test]
fn what_is_not_as_the_base_says_never_reaches_the_engine() {
    let made = made();
    let session = session(&made.base);
    let wide = Array::new("ids", StoredDtype::I32, &[1, 2], &[0; 8]).unwrap();
    for (inputs, message) in [
        (vec![ids([1, 2])], "input `mask` is not given once"),
        (vec![ids([1, 2]), ids([1, 2]), mask([1, 2, 2])], "input `ids` is not given once"),
        (
            vec![ids([1, 2]), mask([1, 2, 2]), Array::of_f32("x", &[], &[0.0]).unwrap()],
            "has no input `x`, its inputs are `ids`, `mask`",
        ),
        (vec![wide, mask([1, 2, 2])], "input `ids` is I32 [1, 2], expected I64 [batch, sequence]"),
        (
            vec![ids([1, 2]), mask([1, 2, 3])],
            "input `mask` is F32 [1, 2, 3], expected F32 [batch = 1, sequence = 2, 2]",
        ),
        (
            vec![ids([1, 2]), mask([1, 3, 2])],
            "input `mask` is F32 [1, 3, 2], expected F32 [batch = 1, sequence = 2, 2]",
        ),
    ] {
        let error = session.run(&inputs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{message}");
        assert!(error.to_string().contains(message), "{error}");
    }
    for error in
        [session.features(&[0.0; 4], 1).unwrap_err(), session.infer(&[0.0; 4], 1, &HeadChoice::Only).unwrap_err()]
    {
        assert!(error.to_string().contains("takes arrays (`ids`, `mask`), no pictures"), "{error}");
    }
}

#[test]
fn a_skill_is_proved_by_a_finite_answer_to_the_arrays_that_the_base_is_tried_with() {
    let made = made();
    let session = session(&made.base);
    let tried = session.trial_inputs().unwrap();
    assert_eq!((tried[0].shape(), tried[1].shape()), (&[1, 5][..], &[1, 5, 2][..]));
    let change = session.attach(&skill(&pack(&made.base, 4.0)), 1.0).unwrap();
    assert!(matches!(change.proof, Proof::Felt { because: NoProbes::NoneInPack, inputs: 1 }));
    assert_eq!(session.run(&tried).unwrap()[0].as_f32(), Some(&[10.0][..]));
    session.swap([]).unwrap();
    let error = session.attach(&skill(&pack(&made.base, f32::MAX)), 1e30).unwrap_err();
    assert!(error.chain().contains("the answer holds inf"), "{}", error.chain());
    let with_head = skill(pack(&made.base, 1.0).head(head()));
    assert_eq!(session.attach(&with_head, 1.0).unwrap_err().kind(), ErrorKind::Mismatch);
    assert_eq!(session.run(&tried).unwrap()[0].as_f32(), Some(&[6.0][..]));
}
