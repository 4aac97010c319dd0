//! A task's output layer: from the features of a network to one number per label.
//!
//! Applied here, in plain Rust, and not by an engine, so that every engine has the same head and a head can be
//! exchanged without touching a graph.

use crate::error::Error;

/// Sums that run side by side in a dot product. A fixed number, so that the order of additions, and with it every bit
/// of a logit, is the same on every machine; eight f32 are one register of AVX2.
const LANES: usize = 8;

/// A linear output layer with a label per class: `logits = features * weight^T + bias`.
///
/// Having a `Head` tells you: there is at least one label; weight and bias are finite and as many as labels and
/// feature width ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    labels: Vec<String>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    feature_width: usize,
}

impl Head {
    /// A head from its numbers.
    ///
    /// # Shapes
    ///
    /// `weight: [labels, feature_width]`, row-major; `bias: [labels]`.
    ///
    /// # Errors
    ///
    /// `Usage` if the shapes do not fit each other or a number is not finite.
    pub fn new(labels: Vec<String>, weight: Vec<f32>, bias: Vec<f32>, feature_width: usize) -> Result<Head, Error> {
        let class_count = labels.len();
        if class_count == 0 || feature_width == 0 {
            let clause = format!("{class_count} labels and {feature_width} features, expected at least one of each");
            return Err(Error::usage("head", clause));
        }
        if Some(weight.len()) != class_count.checked_mul(feature_width) || bias.len() != class_count {
            let clause = format!(
                "{class_count} labels over {feature_width} features do not fit {} weights and {} biases",
                weight.len(),
                bias.len()
            );
            return Err(Error::usage("head", clause));
        }
        if let Some(number) = weight.iter().chain(&bias).find(|number| !number.is_finite()) {
            return Err(Error::usage("head", format!("holds {number}, expected finite numbers")));
        }
        Ok(Head { labels, weight, bias, feature_width })
    }

    /// What each class is called.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How many classes it tells apart.
    pub fn class_count(&self) -> usize {
        self.labels.len()
    }

    /// How many features it takes.
    pub fn feature_width(&self) -> usize {
        self.feature_width
    }

    /// `[class_count, feature_width]`, row-major.
    pub fn weight(&self) -> &[f32] {
        &self.weight
    }

    /// `[class_count]`.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// One number per example and class; the largest of an example is the answer.
    ///
    /// # Shapes
    ///
    /// `features: [batch, feature_width]`; the result is `[batch, class_count]`; both row-major.
    ///
    /// # Errors
    ///
    /// `Usage` if the features are no whole number of examples.
    pub fn logits(&self, features: &[f32]) -> Result<Vec<f32>, Error> {
        if !features.len().is_multiple_of(self.feature_width) {
            let clause = format!("takes {} features per example, found {} in all", self.feature_width, features.len());
            return Err(Error::usage("head", clause));
        }
        let mut logits = Vec::with_capacity(features.len() / self.feature_width * self.class_count());
        for example in features.chunks_exact(self.feature_width) {
            let rows = self.weight.chunks_exact(self.feature_width).zip(&self.bias);
            logits.extend(rows.map(|(row, bias)| dot(example, row) + bias));
        }
        Ok(logits)
    }
}

impl TryFrom<taskvec_pack::Head<'_>> for Head {
    type Error = Error;

    fn try_from(it: taskvec_pack::Head<'_>) -> Result<Head, Error> {
        // As many numbers as the pack was checked to hold.
        let labels = it.labels().map(str::to_owned).collect();
        Head::new(labels, it.weight().collect(), it.bias().collect(), it.feature_width as usize)
    }
}

/// The index of the largest number, the first of equals; NaN is never the largest. `None` if there is no number.
pub fn argmax(logits: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, &logit) in logits.iter().enumerate() {
        if !logit.is_nan() && best.is_none_or(|(_, largest)| logit > largest) {
            best = Some((index, logit));
        }
    }
    best.map(|(index, _)| index)
}

/// Logits of one example as shares of one, for people to look at.
///
/// The exponential comes from the platform: the last bits differ between machines, so no check compares them.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = shares.iter().sum();
    shares.iter().map(|share| share / sum).collect()
}

/// The dot product of two slices of one length, in [`LANES`] running sums that are added pairwise at the end.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += a * b;
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let labels = vec!["yes".to_owned(), "no".to_owned()];
        Head::new(labels, vec![1.0, 2.0, 3.0, -1.0, 0.5, 0.0], vec![0.25, -0.5], 3).unwrap()
    }

    #[test]
    fn logits_are_products_plus_bias_per_example() {
        let logits = head().logits(&[1.0, 1.0, 1.0, 2.0, 0.0, -1.0]).unwrap();
        assert_eq!(logits, [6.25, -1.0, -0.75, -2.5]);
        assert!(head().logits(&[]).unwrap().is_empty());
    }

    #[test]
    fn an_example_does_not_depend_on_its_batch() {
        let width = 37;
        let number = |i: usize| ((i * 7919) % 1000) as f32 / 617.0 - 0.8;
        let weight: Vec<f32> = (0..5 * width).map(number).collect();
        let labels = (0..5).map(|i| i.to_string()).collect();
        let head = Head::new(labels, weight, vec![0.1; 5], width).unwrap();
        let features: Vec<f32> = (0..4 * width).map(|i| number(i + 11)).collect();
        let apart: Vec<f32> = features.chunks(width).flat_map(|example| head.logits(example).unwrap()).collect();
        assert_eq!(head.logits(&features).unwrap(), apart);
        // Against f64: the order of the sums may cost roundings, but no more.
        let exact: f64 = (0..width).map(|i| f64::from(features[i]) * f64::from(number(i))).sum();
        assert!((f64::from(apart[0]) - exact - 0.1).abs() < 1e-5);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let labels = || vec!["a".to_owned(), "b".to_owned()];
        for (result, message) in [
            (Head::new(vec![], vec![], vec![], 3), "head: 0 labels and 3 features, expected at least one of each"),
            (
                Head::new(labels(), vec![0.0; 5], vec![0.0; 2], 3),
                "head: 2 labels over 3 features do not fit 5 weights and 2 biases",
            ),
            (
                Head::new(labels(), vec![0.0; 6], vec![0.0; 3], 3),
                "head: 2 labels over 3 features do not fit 6 weights and 3 biases",
            ),
            (Head::new(labels(), vec![f32::INFINITY; 6], vec![0.0; 2], 3), "head: holds inf, expected finite numbers"),
        ] {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
        let error = head().logits(&[1.0; 4]).unwrap_err();
        assert_eq!(error.to_string(), "head: takes 3 features per example, found 4 in all");
    }

    #[test]
    fn comes_out_of_a_pack() {
        use taskvec_pack::write::{Builder, HeadParts};
        let head = head();
        let parts = HeadParts {
            feature_width: 3,
            labels: head.labels.clone(),
            weight: head.weight.clone(),
            weight_rounding: taskvec_pack::write::Rounding::F32,
            bias: head.bias.clone(),
        };
        let bytes = Builder::new(taskvec_pack::Fingerprint([0; 32]), "x").head(parts).finish().unwrap();
        let pack = taskvec_pack::Pack::read(&bytes, &taskvec_pack::Limits::default()).unwrap();
        assert_eq!(Head::try_from(pack.head().unwrap()).unwrap(), head);
    }

    #[test]
    fn argmax_takes_the_first_of_equals_and_never_a_nan() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[f32::NAN, -1.0, f32::NAN]), Some(1));
        assert_eq!(argmax(&[f32::NEG_INFINITY]), Some(0));
        assert_eq!(argmax(&[f32::NAN]), None);
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn softmax_survives_large_logits() {
        let shares = softmax(&[1000.0, 1000.0, -1000.0]);
        assert_eq!(shares, [0.5, 0.5, 0.0]);
        assert!(softmax(&[]).is_empty());
    }
}
