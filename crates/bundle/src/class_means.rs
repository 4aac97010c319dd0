//! A head without training: the nearest class mean, written as a linear layer.
//!
//! A base model's fair chance on a task that it was not trained for. The class whose mean `m` is nearest to the
//! features `x` has the smallest `|x - m|^2 = |x|^2 - 2 x.m + |m|^2`; the first term is the same for every class, so the
//! largest `t * (x.m - |m|^2 / 2)` wins: `weight = t * m`, `bias = -t * |m|^2 / 2`. The temperature `t` decides how sure
//! the softmax sounds and never who wins.

use crate::error::Error;
use crate::head::Head;

/// Running means of features, one per class. Sums are f64 in the order of the examples.
#[derive(Clone, Debug)]
pub struct ClassMeans {
    sums: Vec<f64>,
    counts: Vec<u64>,
    feature_width: usize,
}

impl ClassMeans {
    /// No examples yet, of `class_count` classes with `feature_width` features each.
    pub fn new(class_count: usize, feature_width: usize) -> ClassMeans {
        ClassMeans { sums: vec![0.0; class_count * feature_width], counts: vec![0; class_count], feature_width }
    }

    /// Takes in examples of known classes.
    ///
    /// # Shapes
    ///
    /// `features: [batch, feature_width]`, row-major; `classes: [batch]`.
    ///
    /// # Errors
    ///
    /// `Usage` if the shapes do not fit each other or there is no such class; nothing is taken in then.
    pub fn add(&mut self, features: &[f32], classes: &[u32]) -> Result<(), Error> {
        if Some(features.len()) != classes.len().checked_mul(self.feature_width) {
            let clause = format!(
                "{} examples of {} features do not fit {} numbers",
                classes.len(),
                self.feature_width,
                features.len()
            );
            return Err(Error::usage("class means", clause));
        }
        if let Some(class) = classes.iter().find(|&&class| class as usize >= self.counts.len()) {
            let clause = format!("no class {class}, there are {} from 0", self.counts.len());
            return Err(Error::usage("class means", clause));
        }
        for (index, &class) in classes.iter().enumerate() {
            let example = &features[index * self.feature_width..][..self.feature_width];
            let sums = &mut self.sums[class as usize * self.feature_width..][..self.feature_width];
            for (sum, &feature) in sums.iter_mut().zip(example) {
                *sum += f64::from(feature);
            }
            self.counts[class as usize] += 1;
        }
        Ok(())
    }

    /// The head that answers with the nearest mean.
    ///
    /// # Errors
    ///
    /// `Usage` if the labels are not as many as the classes, a class has had no example, or the temperature is not
    /// above 0.
    pub fn head(&self, labels: Vec<String>, temperature: f32) -> Result<Head, Error> {
        if labels.len() != self.counts.len() {
            let clause = format!("{} labels for {} classes", labels.len(), self.counts.len());
            return Err(Error::usage("class means", clause));
        }
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::usage("class means", format!("temperature {temperature}, expected a number above 0")));
        }
        if let Some(class) = self.counts.iter().position(|&count| count == 0) {
            return Err(Error::usage(format!("class `{}`", labels[class]), "has no example to take a mean of"));
        }
        let temperature = f64::from(temperature);
        let (mut weight, mut bias) = (Vec::with_capacity(self.sums.len()), Vec::with_capacity(labels.len()));
        for (sums, &count) in self.sums.chunks_exact(self.feature_width).zip(&self.counts) {
            let mean = || sums.iter().map(|sum| sum / count as f64);
            weight.extend(mean().map(|number| (temperature * number) as f32));
            bias.push((-temperature * mean().map(|number| number * number).sum::<f64>() / 2.0) as f32);
        }
        Head::new(labels, weight, bias, self.feature_width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::argmax;

    const EXAMPLES: [f32; 8] = [0.0, 0.0, 2.0, 0.0, 9.0, 9.0, 9.0, 11.0];

    fn means() -> ClassMeans {
        let mut means = ClassMeans::new(2, 2);
        means.add(&EXAMPLES, &[0, 0, 1, 1]).unwrap();
        means
    }

    fn labels() -> Vec<String> {
        vec!["near".to_owned(), "far".to_owned()]
    }

    #[test]
    fn weight_is_the_mean_and_bias_half_its_square() {
        let head = means().head(labels(), 2.0).unwrap();
        assert_eq!(head.weight(), [2.0, 0.0, 18.0, 20.0]);
        assert_eq!(head.bias(), [-1.0, -181.0]);
    }

    #[test]
    fn the_nearest_mean_wins_at_any_temperature() {
        for temperature in [0.01, 1.0, 100.0] {
            let head = means().head(labels(), temperature).unwrap();
            for x in -3..15 {
                for y in -3..15 {
                    let (x, y) = (x as f32, y as f32);
                    let distances = [(x - 1.0).powi(2) + y.powi(2), (x - 9.0).powi(2) + (y - 10.0).powi(2)];
                    let nearest = usize::from(distances[1] < distances[0]);
                    if (distances[0] - distances[1]).abs() > 1e-3 {
                        assert_eq!(argmax(&head.logits(&[x, y]).unwrap()), Some(nearest), "{x} {y} {temperature}");
                    }
                }
            }
        }
    }

    #[test]
    fn batches_add_up() {
        let mut apart = ClassMeans::new(2, 2);
        for (example, class) in EXAMPLES.chunks(2).zip([0, 0, 1, 1]) {
            apart.add(example, &[class]).unwrap();
        }
        assert_eq!(apart.head(labels(), 1.0).unwrap(), means().head(labels(), 1.0).unwrap());
    }

    #[test]
    fn refuses_what_has_no_mean() {
        let mut means = ClassMeans::new(2, 2);
        assert!(means.add(&[1.0], &[0]).is_err());
        assert_eq!(
            means.add(&[1.0, 1.0], &[2]).unwrap_err().to_string(),
            "class means: no class 2, there are 2 from 0"
        );
        means.add(&[1.0, 1.0], &[0]).unwrap();
        let error = means.head(labels(), 1.0).unwrap_err();
        assert_eq!(error.to_string(), "class `far`: has no example to take a mean of");
        assert!(means.head(vec![], 1.0).is_err());
        assert!(means.head(labels(), 0.0).is_err());
        assert!(means.head(labels(), f32::NAN).is_err());
    }
}
