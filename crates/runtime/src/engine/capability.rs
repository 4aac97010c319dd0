//! The check that tells on this device whether an execution provider feels weights that are changed, and gives the
//! first answer back when they are the base's again.
//!
//! It attaches the tiniest of skills: a few elements of an editable tensor are changed in a mapping of its own, and the
//! features of one fixed input have to become others; then the change is undone, and they have to be the first ones, bit
//! for bit. Providers may keep copies of some weights and read others, so one tensor does not speak for all: tensors of
//! one shape are taken to play one part in the network, and each shape is tried. `taskvec-device doctor` tries every
//! tensor.
//!
//! Where getting ready takes long (a session is made for each composition) all tensors that would be tried are changed at
//! once: what such a session is made of are the changed bytes.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Inference;
use crate::base_model::BaseModel;
use crate::error::{Error, ErrorKind};
use crate::probe;
use crate::weights::Weights;

/// Tensors of one shape that are tried until one is felt: an editable tensor may be one that no answer depends on, such
/// as a bias before a softmax.
const TRIED_OF_A_SHAPE: usize = 4;

/// What is checked: an engine that is not one yet.
pub(super) trait Prepares: Send + Sync {
    /// As [`super::Engine::over`].
    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error>;

    /// As [`super::Engine::copies_weights`].
    fn copies_weights(&self) -> bool {
        false
    }

    /// Whether `over` takes so long that it is called as rarely as possible. Default: no.
    fn prepares_slowly(&self) -> bool {
        false
    }
}

/// How many tensors are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// One of each shape, for when an engine is opened.
    OneOfEachShape,
    /// All, for when somebody asks.
    EveryTensor,
}

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Capability {
    /// How many tensors were changed.
    pub(super) tensors: usize,
    /// Those of them whose change was not felt and should have been.
    pub(super) unfelt: Vec<String>,
    /// The base's answer came back, bit for bit.
    pub(super) restored: bool,
    /// The base's answer.
    pub(super) features: Vec<f32>,
    /// Time to the first answer with a composition, the median: some libraries compile when they are first asked.
    pub(super) prepare_ms: f64,
    /// Time of each further answer, the median.
    pub(super) infer_ms: f64,
}

impl Capability {
    pub(super) fn felt(&self) -> bool {
        self.tensors > 0 && self.unfelt.is_empty()
    }

    /// Nothing, if weights can be edited this way.
    pub(super) fn verdict(&self) -> Result<(), Error> {
        let clause = if let Some(tensor) = self.unfelt.first() {
            format!("a change of tensor `{tensor}` is not felt")
        } else if self.tensors == 0 {
            "no editable tensor to try a change on".to_owned()
        } else if !self.restored {
            "the base's answer does not come back when a change is undone".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Unsupported, clause))
    }
}

/// Tries changes of the base's editable tensors on `engine`.
///
/// # Errors
/// What the engine says when it refuses, and `Io` when the base cannot be mapped again.
pub(super) fn check(engine: &dyn Prepares, base: &BaseModel, depth: Depth) -> Result<Capability, Error> {
    let mut trial = Trial::new(engine, base)?;
    let features = trial.answer(&[])?;
    let mut tensors = 0;
    let mut unfelt = Vec::new();
    let name = |tensor: usize| base.tensors()[tensor].name.clone();
    let shapes = tensors_by_shape(base);
    if engine.prepares_slowly() {
        let tried: Vec<usize> = shapes
            .iter()
            .flat_map(|same| if depth == Depth::EveryTensor { &same[..] } else { &same[..1] })
            .copied()
            .collect();
        tensors = tried.len();
        if !tried.is_empty() && trial.answer(&tried)? == features {
            unfelt.extend(tried.iter().map(|&tensor| name(tensor)));
        }
    } else {
        for same in &shapes {
            let mut silent = Vec::new();
            for &tensor in same {
                tensors += 1;
                let felt = trial.answer(&[tensor])? != features;
                if !felt {
                    silent.push(name(tensor));
                }
                if depth == Depth::OneOfEachShape && (felt || silent.len() == TRIED_OF_A_SHAPE) {
                    if felt {
                        silent.clear();
                    }
                    break;
                }
            }
            unfelt.append(&mut silent);
        }
    }
    let restored = trial.answer(&[])? == features;
    let (prepare_ms, infer_ms) = (median(&mut trial.prepare_ms), median(&mut trial.infer_ms));
    Ok(Capability { tensors, unfelt, restored, features, prepare_ms, infer_ms })
}

/// Whether the base's answer comes back when a composition that changes every editable tensor has been dropped with all that
/// it has written, and not undone element by element as in [`check`].
///
/// # Errors
/// `Unsupported` when it does not; and as [`check`].
pub(super) fn check_going(engine: &dyn Prepares, base: &BaseModel) -> Result<(), Error> {
    let all: Vec<usize> = tensors_by_shape(base).into_iter().flatten().collect();
    let mut trial = Trial { keep_pages: false, ..Trial::new(engine, base)? };
    let before = trial.answer(&[])?;
    trial.answer(&all)?;
    if trial.answer(&[])? == before {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "the base's answer does not come back when changed memory is given back"))
}

/// Whether two engines give the same answer when a few elements of every editable tensor are changed. (That each element is
/// in its place is not shown by this; it is a check of the whole.)
///
/// # Errors
/// `Unsupported` when they differ by more than kernels do; and as [`check`].
pub(super) fn agree(one: &dyn Prepares, other: &dyn Prepares, base: &BaseModel) -> Result<(), Error> {
    /// Of what the change does to the answer. Kernels differ by a millionth.
    const SHARE: f32 = 1e-3;
    let all: Vec<usize> = tensors_by_shape(base).into_iter().flatten().collect();
    let answers = |engine| -> Result<_, Error> {
        let mut trial = Trial::new(engine, base)?;
        Ok((trial.answer(&[])?, trial.answer(&all)?))
    };
    let ((before, expected), (_, after)) = (answers(other)?, answers(one)?);
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let (off, change) = (distance(&after, &expected), distance(&before, &expected));
    if off <= SHARE * change {
        return Ok(());
    }
    let clause =
        format!("with all tensors changed, an answer is off by {off:e}, where the change itself is {change:e}");
    Err(Error::new(ErrorKind::Unsupported, clause))
}

/// A mapping to change, and what was measured so far.
struct Trial<'a> {
    engine: &'a dyn Prepares,
    base: &'a BaseModel,
    input: probe::Trial,
    /// The base's, between two answers.
    weights: Option<Weights>,
    /// Whether what was written is undone, or given back.
    keep_pages: bool,
    prepare_ms: Vec<f64>,
    infer_ms: Vec<f64>,
}

impl<'a> Trial<'a> {
    fn new(engine: &'a dyn Prepares, base: &'a BaseModel) -> Result<Self, Error> {
        let (input, weights) = (probe::Trial::varied(base)?, Some(Weights::over(base)?));
        Ok(Self { engine, base, input, weights, keep_pages: true, prepare_ms: Vec::new(), infer_ms: Vec::new() })
    }

    /// The features with a few elements of `tensors` changed.
    fn answer(&mut self, tensors: &[usize]) -> Result<Vec<f32>, Error> {
        let mut weights = match self.weights.take() {
            Some(weights) => weights,
            None => Weights::over(self.base)?,
        };
        for &tensor in tensors {
            weights.disturb(tensor)?;
        }
        let started = Instant::now();
        let inference = self.engine.over(&weights)?;
        let features = self.input.answer(&*inference, self.base)?;
        self.prepare_ms.push(started.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        let again = self.input.answer(&*inference, self.base)?;
        self.infer_ms.push(started.elapsed().as_secs_f64() * 1e3);
        if again != features {
            return Err(Error::new(ErrorKind::Unsupported, "two answers to one input with the same weights differ"));
        }
        if let Some(wrong) = features.iter().find(|feature| !feature.is_finite()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("an answer holds {wrong}, expected finite numbers"),
            ));
        }
        inference.retire(self.keep_pages);
        self.weights = weights.cleaned(true);
        Ok(features)
    }
}

/// Editable tensors that have elements, those of one shape together.
fn tensors_by_shape(base: &BaseModel) -> Vec<Vec<usize>> {
    let mut shapes: BTreeMap<&[u64], Vec<usize>> = BTreeMap::new();
    for (number, tensor) in base.tensors().iter().enumerate() {
        if tensor.editable && !tensor.place.is_empty() {
            shapes.entry(&tensor.shape).or_default().push(number);
        }
    }
    shapes.into_values().collect()
}

pub(super) fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Sums of the weights, with the defects that execution providers have.
    #[derive(Default)]
    struct Sums {
        /// A tensor of which it keeps a copy.
        deaf_to: Option<&'static str>,
        /// It does not come back to an answer that it has given.
        drifts: bool,
        slow: bool,
        prepared: AtomicU32,
    }

    struct Sum(f32, usize);

    impl Prepares for Sums {
        fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
            let before = self.prepared.fetch_add(1, Ordering::Relaxed);
            let mut sum = if self.drifts { before as f32 } else { 0.0 };
            for tensor in weights.base().tensors().iter().filter(|tensor| Some(tensor.name.as_str()) != self.deaf_to) {
                let bytes = &weights.bytes()[tensor.place.clone()];
                sum += bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word).abs()).sum::<f32>();
            }
            Ok(Box::new(Sum(sum, weights.base().pictures()?.feature_width())))
        }

        fn prepares_slowly(&self) -> bool {
            self.slow
        }
    }

    impl Inference for Sum {
        fn features(&self, _pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
            Ok(vec![self.0; self.1 * batch])
        }
    }

    fn base() -> BaseModel {
        BaseModel::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-vit")).unwrap()
    }

    #[test]
    fn an_engine_that_feels_and_forgets_passes() {
        let base = base();
        let editable = base.tensors().iter().filter(|tensor| tensor.editable).count();
        for slow in [false, true] {
            let engine = Sums { slow, ..Sums::default() };
            let quick = check(&engine, &base, Depth::OneOfEachShape).unwrap();
            quick.verdict().unwrap();
            assert_eq!(quick.tensors, tensors_by_shape(&base).len());
            let all = check(&engine, &base, Depth::EveryTensor).unwrap();
            all.verdict().unwrap();
            assert_eq!(all.tensors, editable);
        }
        // What takes long is done three times: for the base, for all changes, and for the base again.
        let slow = Sums { slow: true, ..Sums::default() };
        check(&slow, &base, Depth::EveryTensor).unwrap();
        assert_eq!(slow.prepared.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_kept_copy_of_one_tensor_is_found() {
        let base = base();
        let deaf_to = Some("blocks.1.mlp.fc2.weight");
        let capability = check(&Sums { deaf_to, ..Sums::default() }, &base, Depth::EveryTensor).unwrap();
        assert_eq!(capability.unfelt, ["blocks.1.mlp.fc2.weight"]);
        assert!(capability.verdict().unwrap_err().to_string().contains("blocks.1.mlp.fc2.weight"));
        // Alone in its shape, it is found when an engine is opened too.
        let deaf_to = Some("patch_embed.proj.weight");
        let quick = check(&Sums { deaf_to, ..Sums::default() }, &base, Depth::OneOfEachShape).unwrap();
        assert_eq!(quick.unfelt, ["patch_embed.proj.weight"]);
    }

    #[test]
    fn an_answer_that_does_not_come_back_is_found() {
        let engine = Sums { drifts: true, ..Sums::default() };
        let capability = check(&engine, &base(), Depth::OneOfEachShape).unwrap();
        assert!(capability.felt() && !capability.restored);
        assert_eq!(capability.verdict().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
