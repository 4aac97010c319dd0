//! A is to B as C is to D: D's task vector from those of the other three, without a label of D.
//!
//! D is C + (B - A) (Ilharco et al. 2022). D's head is made of class means of the base, as everybody's is. Beside the analogy stand
//! the base, the vectors that an analogy is made of without the analogy, and a model that was trained on D. Each is scaled by a
//! coefficient chosen on held-out images of D, the same way for all.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::addition::Learned;
use super::answers::accuracies;
use super::coefficient::highest;
use super::ground::Ground;
use super::vectors::Vector;
use crate::error::Result;

/// An analogy as one row has learned its tasks with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analogy {
    /// Its name in the suite.
    pub name: String,
    /// The row.
    pub row: String,
    /// Seed of its runs.
    pub seed: u64,
    /// The analogy and what it is held against.
    pub lines: Vec<AnalogyLine>,
}

/// A model of task D.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnalogyLine {
    /// Which, in words.
    pub what: String,
    /// The coefficient that was chosen on held-out images.
    pub alpha: f64,
    /// Test accuracy there.
    pub accuracy: f64,
    /// Test accuracy at coefficient 1.
    pub at_one: f64,
}

/// `names` and `learned` are A, B, C, D.
pub(crate) fn analogy(
    ground: &Ground<'_>,
    alphas: &[f64],
    (name, row, seed): (&str, &str, u64),
    names: [&str; 4],
    learned: [&Learned; 4],
) -> Result<Analogy> {
    let [a, b, c, d] = learned.map(|learned| &learned.vector);
    let sums = [
        (super::ZERO_SHOT.to_owned(), vec![]),
        (names[1].to_owned(), vec![(1.0, b)]),
        (names[2].to_owned(), vec![(1.0, c)]),
        (format!("{} + {}", names[2], names[1]), vec![(1.0, c), (1.0, b)]),
        (format!("{} + ({} - {})", names[2], names[1], names[0]), vec![(1.0, c), (1.0, b), (-1.0, a)]),
        (format!("trained on {}", names[3]), vec![(1.0, d)]),
    ];
    let line = |(what, sum): (String, Vec<(f64, &Arc<Vector>)>)| {
        let on = |alpha: f64, examples: &Arc<_>| {
            let scaled = sum.iter().map(|(sign, vector)| (sign * alpha, Arc::clone(vector)));
            learned[3].question(&scaled.collect::<Vec<_>>(), examples)
        };
        let images = &learned[3].images;
        let tried: Vec<_> = alphas.iter().map(|alpha| on(*alpha, &images.search)).collect();
        let alpha = alphas[highest(&accuracies(ground, &tried)?)];
        let found = accuracies(ground, &[on(alpha, &images.test), on(1.0, &images.test)])?;
        Ok(AnalogyLine { what, alpha, accuracy: found[0], at_one: found[1] })
    };
    let lines = sums.into_iter().map(line).collect::<Result<_>>()?;
    Ok(Analogy { name: name.to_owned(), row: row.to_owned(), seed, lines })
}
