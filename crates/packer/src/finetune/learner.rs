//! A tensor that learns: the numbers that the optimizer moves, and the tensor that follows from them.
//!
//! Most ways to train move the tensor's own elements, all of them or those in a mask. Others move numbers that the tensor is made
//! of: the factors of a low rank, or a delta with a gate. What they need is said twice by each of them: how the delta follows from its
//! numbers, and how the gradient of the tensor is **pulled back** to them. Network, shards and optimizer know of tensors and of
//! lists of numbers, and never of a way.

use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::TensorData;
use taskvec_pack::Dtype;
use taskvec_pack::write::Rounding;

use super::diff_pruning::HardConcrete;
use super::lora::LowRank;
use super::matrix::Matrix;
use super::penalty::Penalty;
use super::rounded::Rounded;
use super::taps::Gated;
use super::{HEAD_BIAS, HEAD_WEIGHT};
use crate::mask::Entries;
use crate::optimizer::{Moments, StepFactors, learning_rate, squared_norm};
use crate::recipe::OptimizerRecipe;
use crate::task_vector::{Deltas, TensorDelta};

/// A tensor that learns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Learner {
    /// Its name in the file, or one of the head's.
    pub(crate) name: String,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// Which of its elements may differ from the base.
    pub(crate) entries: Entries,
    /// What the optimizer moves.
    pub(crate) parts: Vec<Part>,
    /// How the tensor follows from the parts.
    form: Form,
    /// The tensor in the base, where a form or a rounding needs it.
    base: Option<Arc<[f32]>>,
    /// How the network's numbers differ from those in full; not at all if none.
    rounded: Option<Rounded>,
    /// What is added to the loss for it; nothing if none.
    penalty: Option<Penalty>,
}

/// Numbers that the optimizer moves, with their moments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// What they are to their tensor.
    pub(crate) role: Role,
    /// Their shape.
    pub(crate) shape: Vec<usize>,
    /// Which of them move.
    pub(crate) entries: Entries,
    /// All of them.
    pub(crate) values: Vec<f32>,
    /// Moments of those that move.
    pub(crate) moments: Moments,
    /// How fast they move.
    pub(crate) pace: Pace,
}

/// How fast a part moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As the recipe says.
    Recipe,
    /// On the recipe's schedule, at most at this rate.
    Scheduled(f64),
    /// Always at this rate.
    Constant(f64),
}

/// The gradients of parts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pulled {
    /// One for each part.
    pub(crate) gradients: Vec<Vec<f32>>,
    /// What was added to the loss for this tensor, where something is.
    pub(crate) penalty: Option<f64>,
}

/// What a part is to its tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// The tensor itself.
    Values,
    /// The factor that takes the inputs to the low rank.
    Down,
    /// The factor that takes the low rank to the outputs.
    Up,
    /// What is added to the base where a gate lets it.
    Delta,
    /// The gate of the whole tensor.
    TensorGate,
    /// The gates of its elements.
    ElementGates,
}

/// How the delta of a tensor follows from its parts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    /// The one part is the tensor.
    Plain,
    /// A product of two factors.
    LowRank(LowRank),
    /// A delta that is there or not.
    Gated(Gated),
    /// A delta with a gate for each element.
    HardConcrete(HardConcrete),
}

impl Role {
    /// Its name in a checkpoint.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Role::Values => "values",
            Role::Down => "down",
            Role::Up => "up",
            Role::Delta => "delta",
            Role::TensorGate => "tensor gate",
            Role::ElementGates => "element gates",
        }
    }
}

impl Part {
    /// Numbers that have not moved yet.
    pub(crate) fn new(role: Role, shape: Vec<usize>, entries: Entries, values: Vec<f32>) -> Part {
        let moments = Moments::zeros(entries.count(values.len()));
        Part { role, shape, entries, values, moments, pace: Pace::Recipe }
    }

    /// Decay is for numbers of two or more dimensions, and not for gates.
    fn decay(&self, recipe: &OptimizerRecipe) -> f64 {
        let is_gate = matches!(self.role, Role::TensorGate | Role::ElementGates);
        if self.shape.len() >= 2 && !is_gate { recipe.weight_decay } else { 0.0 }
    }
}

impl Learner {
    /// A tensor whose own elements learn, those in `entries`.
    pub(crate) fn plain(name: String, shape: Vec<usize>, entries: Entries, values: Vec<f32>) -> Learner {
        let part = Part::new(Role::Values, shape.clone(), entries.clone(), values);
        Learner { name, shape, entries, parts: vec![part], form: Form::Plain, base: None, rounded: None, penalty: None }
    }

    /// A tensor that is `base` and what `form` makes of `parts`.
    pub(crate) fn formed(name: String, shape: Vec<usize>, base: Arc<[f32]>, form: Form, parts: Vec<Part>) -> Learner {
        Learner { name, shape, entries: Entries::All, parts, form, base: Some(base), rounded: None, penalty: None }
    }

    /// From here on the network has rounded deltas from the tensor as it is now, whose numbers are of `dtype` in the base.
    pub(crate) fn round(&mut self, dtype: Dtype, rounding: Rounding) {
        let base = self.base.get_or_insert_with(|| self.parts[0].values.as_slice().into());
        self.rounded = Some(Rounded::new(Arc::clone(base), dtype, rounding));
    }

    /// From here on this is added to the loss for what it is more than the tensor as it is now.
    pub(crate) fn penalize(&mut self, penalty: Penalty) {
        self.base.get_or_insert_with(|| self.parts[0].values.as_slice().into());
        self.penalty = Some(penalty);
    }

    /// Number of its elements.
    pub(crate) fn element_count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The tensor in the base, where it was kept.
    #[cfg(test)]
    pub(crate) fn base(&self) -> Option<&[f32]> {
        self.base.as_deref()
    }

    /// The tensor in full, before anything is rounded.
    pub(crate) fn in_full(&self) -> Cow<'_, [f32]> {
        let delta = match &self.form {
            Form::Plain => return Cow::Borrowed(&self.parts[0].values),
            Form::LowRank(form) => form.delta(&self.parts),
            Form::Gated(form) => form.delta(&self.parts),
            Form::HardConcrete(form) => form.delta(&self.parts),
        };
        let base = self.base.iter().flat_map(|base| base.iter());
        Cow::Owned(base.zip(delta).map(|(base, delta)| base + delta).collect())
    }

    /// The numbers that the network has.
    pub(crate) fn computed(&self) -> Cow<'_, [f32]> {
        match &self.rounded {
            Some(rounded) => Cow::Owned(rounded.composed(&self.entries, &self.in_full())),
            None => self.in_full(),
        }
    }

    /// The rounded deltas that the network has, one for each entry of the mask, 0 or not: which they are decides how they
    /// are cut into blocks. None where nothing is rounded, or nothing differs.
    pub(crate) fn delta(&self) -> Option<TensorDelta> {
        let rounded = self.rounded.as_ref().filter(|_| self.changes() != Entries::None)?;
        let values = self.in_full();
        let mut indices = Vec::with_capacity(self.entries.count(values.len()));
        self.entries.for_each(values.len(), |index| indices.push(index as u64));
        Some(TensorDelta {
            name: self.name.clone(),
            dtype: rounded.dtype(),
            shape: self.shape.iter().map(|side| *side as u64).collect(),
            indices,
            deltas: Deltas::Numbers(rounded.deltas(&self.entries, &values)),
        })
    }

    /// The same, for the network.
    pub(crate) fn to_data(&self) -> TensorData {
        TensorData::new(self.computed().into_owned(), self.shape.clone())
    }

    /// Goes to `values` in its entries, where its own elements learn.
    pub(crate) fn take_values(&mut self, values: &[f32]) {
        if self.form == Form::Plain {
            let own = &mut self.parts[0].values;
            self.entries.for_each(values.len(), |index| own[index] = values[index]);
        }
    }

    /// Before a step: what is drawn for it is drawn.
    pub(crate) fn prepare(&mut self, step: u64) {
        if let Form::HardConcrete(form) = &mut self.form {
            form.draw(&self.parts, step);
        }
    }

    /// After the last step: what was drawn takes the value that it has without noise.
    pub(crate) fn settle(&mut self) {
        if let Form::HardConcrete(form) = &mut self.form {
            form.settle(&self.parts);
        }
    }

    /// From the gradient of the tensor to the gradients of the parts, when this share of the run is done, and the sum of the
    /// squares that count for the clip norm. The gradient is of the entries only, unless it `is_whole`; then its squares count, all
    /// of them.
    pub(crate) fn pull_back(&self, mut gradient: Vec<f32>, is_whole: bool, share: f64) -> (Pulled, f64) {
        let penalty = self.penalty.as_ref().map(|penalty| self.add_penalty(penalty, &mut gradient, is_whole));
        let mut pulled = match &self.form {
            Form::Plain => {
                let squared = squared_norm(&gradient);
                let packed = if is_whole { self.entries.pack(gradient) } else { gradient };
                return (Pulled { gradients: vec![packed], penalty }, squared);
            }
            Form::LowRank(form) => Pulled { gradients: form.pull_back(&self.parts, gradient), penalty: None },
            Form::Gated(form) => form.pull_back(&self.parts, gradient, share),
            Form::HardConcrete(form) => form.pull_back(&self.parts, gradient),
        };
        pulled.penalty = pulled.penalty.into_iter().chain(penalty).reduce(|own, penalty| own + penalty);
        let squared = pulled.gradients.iter().map(|gradient| squared_norm(gradient)).sum();
        (pulled, squared)
    }

    /// Adds the gradient of `penalty` to that of the loss, and says what the penalty is.
    fn add_penalty(&self, penalty: &Penalty, gradient: &mut [f32], is_whole: bool) -> f64 {
        let base = self.base.iter().flat_map(|base| base.iter());
        let delta = self.in_full().iter().zip(base).map(|(value, base)| value - base).collect();
        let rows = self.shape.first().copied().unwrap_or(1);
        let slope = penalty.at(&Matrix::new(rows, self.element_count() / rows.max(1), delta));
        let packed = if is_whole { slope.gradient } else { self.entries.pack(slope.gradient) };
        gradient.iter_mut().zip(packed).for_each(|(sum, value)| *sum += value);
        slope.value
    }

    /// One step of all parts.
    pub(crate) fn step(&mut self, recipe: &OptimizerRecipe, step: u64, total: u64, scale: f64, gradients: &[Vec<f32>]) {
        let peak = recipe.head_learning_rate.filter(|_| self.is_head()).unwrap_or(recipe.learning_rate);
        for (part, gradient) in self.parts.iter_mut().zip(gradients) {
            let rate = match part.pace {
                Pace::Recipe => learning_rate(recipe, peak, step, total),
                Pace::Scheduled(peak) => learning_rate(recipe, peak, step, total),
                Pace::Constant(rate) => rate,
            };
            let factors = StepFactors::new(recipe, step, rate, part.decay(recipe), scale);
            part.moments.step(&factors, &mut part.values, &part.entries, gradient);
        }
    }

    /// Its gate, and whether it is open; none where it has none.
    pub(crate) fn gate(&self) -> Option<(f32, bool)> {
        match &self.form {
            Form::Gated(form) => Some((self.parts[1].values[0], form.is_open(&self.parts))),
            _ => None,
        }
    }

    /// The entries in which it differs from the base as it is now.
    pub(crate) fn changes(&self) -> Entries {
        match self.gate() {
            Some((_, false)) => Entries::None,
            _ => self.entries.clone(),
        }
    }

    /// Bytes of the moments.
    pub(crate) fn optimizer_bytes(&self) -> u64 {
        self.parts.iter().map(|part| 2 * 4 * part.moments.mean.len() as u64).sum()
    }

    /// Whether it belongs to the task's head and not to the network.
    pub(crate) fn is_head(&self) -> bool {
        self.name == HEAD_WEIGHT || self.name == HEAD_BIAS
    }
}
