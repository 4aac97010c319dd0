//! The base's fair chance on a task: a head of the class means of its own features.
//!
//! The rule is that of [`taskvec_bundle::ClassMeans`], the nearest mean. Two things are added that change no answer and that
//! training on top of it needs. Weights and biases are **centered** over the classes, which changes no softmax: features
//! behind a layer norm share a large part that would otherwise swamp the head. And the scale is **normalized** by the mean
//! squared distance of the class means from their center, so that at its mean a class leads the others by about the
//! temperature, whatever the network's features measure.

use taskvec_bundle::{ClassMeans, Head};

use crate::error::{Error, Result};

/// The head of class means over these features, `temperature` at home in `HeadRecipe`.
///
/// # Shapes
/// `features`: `[images, feature_width]`, row-major; `labels`: `[images]`, indices into `classes`.
///
/// # Errors
/// `Usage` when a class has no image, or the shapes do not fit.
pub fn class_means_head(
    features: &[f32],
    feature_width: usize,
    labels: &[u32],
    classes: &[String],
    temperature: f64,
) -> Result<Head> {
    let explain = |cause| Error::from_bundle(cause, "make a head of class means");
    let mut means = ClassMeans::new(classes.len(), feature_width);
    means.add(features, labels).map_err(explain)?;
    let plain = means.head(classes.to_vec(), 1.0).map_err(explain)?;
    let (mut weight, mut bias) = (widened(plain.weight()), widened(plain.bias()));
    center(&mut weight, feature_width);
    center(&mut bias, 1);
    let spread = weight.iter().map(|value| value * value).sum::<f64>() / classes.len() as f64;
    let scale = if spread > 0.0 { temperature / spread } else { 0.0 };
    let scaled = |values: Vec<f64>| values.into_iter().map(|value| (value * scale) as f32).collect();
    Head::new(classes.to_vec(), scaled(weight), scaled(bias), feature_width).map_err(explain)
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Subtracts from each row, `width` long, the mean row.
fn center(rows: &mut [f64], width: usize) {
    let count = (rows.len() / width) as f64;
    let mut mean = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / count);
    }
    for row in rows.chunks_exact_mut(width) {
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use taskvec_bundle::argmax;

    const WIDTH: usize = 8;

    fn classes() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    /// Three clouds far from the origin: a large common part, small differences.
    fn clouds() -> (Vec<f32>, Vec<u32>) {
        let mut random = Random::new(4, "clouds");
        let labels: Vec<u32> = (0..90).map(|index| index % 3).collect();
        let mut draw = |label: &u32| {
            let near = |axis: usize| 100.0 + f32::from(u8::from(axis == *label as usize)) * 2.0 + 0.3 * random.normal();
            (0..WIDTH).map(near).collect::<Vec<f32>>()
        };
        (labels.iter().flat_map(&mut draw).collect(), labels)
    }

    #[test]
    fn answers_as_the_nearest_mean_does() {
        let (features, labels) = clouds();
        let head = class_means_head(&features, WIDTH, &labels, &classes(), 10.0).unwrap();
        let mut means = ClassMeans::new(3, WIDTH);
        means.add(&features, &labels).unwrap();
        let nearest = means.head(classes(), 1.0).unwrap();
        let (ours, theirs) = (head.logits(&features).unwrap(), nearest.logits(&features).unwrap());
        for (ours, theirs) in ours.chunks(3).zip(theirs.chunks(3)) {
            assert_eq!(argmax(ours), argmax(theirs));
        }
        assert!(crate::evaluate::accuracy(&head, &features, &labels).unwrap().unwrap() > 0.95);
    }

    #[test]
    fn a_class_leads_at_its_mean_by_about_the_temperature() {
        let (features, labels) = clouds();
        for temperature in [1.0, 10.0] {
            let head = class_means_head(&features, WIDTH, &labels, &classes(), temperature).unwrap();
            let mean: Vec<f32> = (0..WIDTH).map(|axis| if axis == 1 { 102.0 } else { 100.0 }).collect();
            let logits = head.logits(&mean).unwrap();
            let lead = f64::from(logits[1] - logits[0].max(logits[2])) / temperature;
            // Three orthogonal differences lie 1.5 spreads apart; the clouds' means are drawn.
            assert!((0.8..2.2).contains(&lead), "{logits:?} at {temperature}");
        }
    }

    #[test]
    fn a_class_without_an_image_is_named() {
        let error = class_means_head(&[1.0; 2 * WIDTH], WIDTH, &[0, 2], &classes(), 10.0).unwrap_err();
        assert!(format!("{error:?}").contains("class `b`"), "{error:?}");
        // Images that are all the same tell no class from another, and that is no number to divide by.
        let head = class_means_head(&[1.0; 3 * WIDTH], WIDTH, &[0, 1, 2], &classes(), 10.0).unwrap();
        assert!(head.weight().iter().chain(head.bias()).all(|value| *value == 0.0));
    }
}
