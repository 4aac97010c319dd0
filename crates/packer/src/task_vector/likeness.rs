//! How alike two checkpoints are, and what a reader of the result must know.

use taskvec_checkpoint::StoredTensor;

/// Weight cosine below which two checkpoints are taken for strangers: half of what the loosest related pair has.
pub const RELATED_COSINE_MIN: f64 = 0.3;

/// What comparing two checkpoints found, beside the task vector itself.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// One line for each tensor, in byte order of names.
    pub tensors: Vec<TensorComparison>,
    /// All of them together.
    pub whole: Likeness,
    /// Those with two or more dimensions above 1.
    pub matrices: Likeness,
    /// Tuned elements that are NaN or infinite and differ from the base's.
    pub non_finite_count: u64,
    /// Tensors of integers that differ, by name: they stay the base's.
    pub changed_integers: Vec<String>,
    /// Tensors whose dtypes differ between the two.
    pub widened_count: u64,
    /// Those of them that have 16 bits in the base, where tuned numbers of another type are rounded.
    pub narrowed_count: u64,
}

/// How one tensor differs.
#[derive(Clone, Debug)]
pub struct TensorComparison {
    /// Its name.
    pub name: String,
    /// How it differs.
    pub likeness: Likeness,
}

/// How alike two sets of numbers are, pair by pair; pairs with a number that is not finite count as elements only.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likeness {
    /// Elements compared.
    pub element_count: u64,
    /// Those with other bits.
    pub changed_count: u64,
    product: f64,
    base_square: f64,
    tuned_square: f64,
    delta_square: f64,
}

/// A finding that does not stop a comparison, but that its reader must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// One clause.
    pub message: String,
    /// The next step.
    pub help: String,
}

impl Comparison {
    /// What its reader must know: strangers, numbers that are not finite, nothing changed at all.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let judged = self.judged();
        if !judged.is_related() {
            warnings.push(Warning {
                message: format!(
                    "the checkpoints look unrelated: weight cosine {:.2}, norm of difference / norm of base {:.2}, {:.1} % of \
                     the elements differ",
                    // Not "-0.00".
                    (judged.cosine() * 100.0).round() / 100.0 + 0.0,
                    judged.relative_change(),
                    100.0 * judged.changed_share()
                ),
                help: format!(
                    "a fine-tuned model keeps a cosine above {RELATED_COSINE_MIN} with its base: name the checkpoint that this \
                     one was trained from; this pack replaces the base model at alpha 1 and breaks it at any other"
                ),
            });
        }
        if self.non_finite_count > 0 {
            warnings.push(Warning {
                message: format!("{} tuned elements are NaN or infinite", self.non_finite_count),
                help: "the pack brings them back at alpha 1; check the training run that made them".to_owned(),
            });
        }
        if let Some(first) = self.changed_integers.first() {
            warnings.push(Warning {
                message: format!(
                    "{} tensors of integers differ and are left out: `{first}`{}",
                    self.changed_integers.len(),
                    if self.changed_integers.len() > 1 { " and others" } else { "" }
                ),
                help: "a pack changes f32, f16 and bf16 only; counters such as `num_batches_tracked` do no harm"
                    .to_owned(),
            });
        }
        if self.narrowed_count > 0 {
            warnings.push(Warning {
                message: format!(
                    "{} tensors have 16 bits in the base and another dtype when tuned",
                    self.narrowed_count
                ),
                help:
                    "the tuned numbers are rounded to the base's dtype when they are applied; a base of f32 keeps them"
                        .to_owned(),
            });
        }
        if self.whole.changed_count == 0 {
            warnings.push(Warning {
                message: "the checkpoints are equal: the pack changes nothing".to_owned(),
                help: "check that the second file is the tuned one".to_owned(),
            });
        }
        warnings
    }

    /// What the verdict is taken from: the matrices, or everything where there is none.
    pub fn judged(&self) -> &Likeness {
        if self.matrices.element_count > 0 { &self.matrices } else { &self.whole }
    }

    /// Adds what was found in one tensor.
    pub(super) fn add(&mut self, tensor: &StoredTensor, likeness: Likeness, non_finite_count: u64) {
        self.whole.add(&likeness);
        if tensor.shape().iter().filter(|&&size| size > 1).count() >= 2 {
            self.matrices.add(&likeness);
        }
        self.non_finite_count += non_finite_count;
        self.tensors.push(TensorComparison { name: tensor.name().to_owned(), likeness });
    }
}

impl Likeness {
    /// Cosine of the angle between base and tuned, -1 to 1; 1 for two that are equal, 0 where one of them is all zero.
    pub fn cosine(&self) -> f64 {
        if self.changed_count == 0 {
            return 1.0;
        }
        let norms = (self.base_square * self.tuned_square).sqrt();
        if norms > 0.0 { self.product / norms } else { 0.0 }
    }

    /// Norm of the difference divided by the norm of the base; infinite where only the base is all zero.
    pub fn relative_change(&self) -> f64 {
        if self.delta_square == 0.0 { 0.0 } else { (self.delta_square / self.base_square).sqrt() }
    }

    /// Share of the elements with other bits, 0 to 1.
    pub fn changed_share(&self) -> f64 {
        if self.element_count == 0 { 0.0 } else { self.changed_count as f64 / self.element_count as f64 }
    }

    /// Whether one can be a fine-tuned form of the other.
    pub fn is_related(&self) -> bool {
        self.cosine() >= RELATED_COSINE_MIN
    }

    fn add(&mut self, other: &Likeness) {
        self.element_count += other.element_count;
        self.changed_count += other.changed_count;
        self.product += other.product;
        self.base_square += other.base_square;
        self.tuned_square += other.tuned_square;
        self.delta_square += other.delta_square;
    }

    /// Counts a pair of numbers as an element, a changed one if their bits differ.
    pub(super) fn add_pair(&mut self, base: f64, tuned: f64, is_changed: bool) {
        self.element_count += 1;
        self.changed_count += u64::from(is_changed);
        if base.is_finite() && tuned.is_finite() {
            self.product += base * tuned;
            self.base_square += base * base;
            self.tuned_square += tuned * tuned;
            self.delta_square += (tuned - base) * (tuned - base);
        }
    }
}
