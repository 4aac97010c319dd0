//! Task vector bases (Zeng et al. 2025): T task vectors written by fewer, each of them a mixture of all.
//!
//! The basis is that of an autoencoder without hidden numbers: `B = softmax(A / temperature)` over the tasks says of what a basis
//! vector is made, `W` how a task vector is put together again, and `tr((B W - I)^T G (B W - I)) / T^2` is what that loses. It needs the
//! Gram matrix `G` alone; `A` (T by M) and `W` (M by T) are all that is learned, by Adam (Kingma and Ba 2015) with the decay in the
//! gradient. `W` begins at 0 and `A` with normal numbers that are keyed by the names of the models, so that their order changes nothing.
//!
//! One thing is not as published: task vectors are scaled to a mean square length of 1 ([`Gram::normalized`]). The best basis is the
//! same, and the decay and Adam's epsilon then mean the same for deltas of any size.

use super::gram::Gram;
use crate::random::Random;

/// Adam's memory of slopes and of their squares, and what keeps its step finite, as published.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// How a basis is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Search {
    /// Vectors of the basis.
    pub(super) vectors: usize,
    /// How even mixtures are: the higher, the more.
    pub(super) temperature: f64,
    /// How far a step goes.
    pub(super) rate: f64,
    /// What numbers cost.
    pub(super) decay: f64,
    /// How many steps.
    pub(super) steps: usize,
}

/// A basis of mixtures of task vectors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Basis {
    /// T by M: how much of a task vector is in a basis vector.
    mixture: Matrix,
    /// M by T: how much of a basis vector is in a task vector.
    reading: Matrix,
}

impl Basis {
    /// The basis of the task vectors whose products are `gram`, normalized, and whose models have these names.
    pub(super) fn search(gram: &Gram, names: &[&str], seed: u64, search: Search) -> Basis {
        let (tasks, vectors) = (gram.count(), search.vectors);
        let product = |at: usize| gram.product(at / tasks, at % tasks);
        let gram = Matrix { columns: tasks, numbers: (0..tasks * tasks).map(product).collect() };
        let drawn = |name: &&str| {
            let mut random = Random::new(seed, &format!("merge/bases/{name}"));
            (0..vectors).map(|_| f64::from(random.normal())).collect::<Vec<f64>>()
        };
        let mut logits = Matrix { columns: vectors, numbers: names.iter().flat_map(drawn).collect() };
        let mut reading = Matrix { columns: tasks, numbers: vec![0.0; vectors * tasks] };
        let (mut of_logits, mut of_reading) = (Adam::new(tasks * vectors), Adam::new(vectors * tasks));
        for step in 1..=search.steps {
            let mixture = softmax(&logits, search.temperature);
            let mut off = mixture.times(&reading);
            (0..tasks).for_each(|task| off.numbers[task * tasks + task] -= 1.0);
            let mut slope = gram.times(&off);
            slope.numbers.iter_mut().for_each(|number| *number *= 2.0 / (tasks * tasks) as f64);
            let by_reading = mixture.transposed().times(&slope);
            let by_logits = through_softmax(&mixture, &slope.times(&reading.transposed()), search.temperature);
            of_reading.step(&mut reading.numbers, &by_reading.numbers, step, search);
            of_logits.step(&mut logits.numbers, &by_logits.numbers, step, search);
        }
        Basis { mixture: softmax(&logits, search.temperature), reading }
    }

    /// Coefficients of the task vectors in the sum of the basis.
    pub(super) fn sum(&self) -> Vec<f64> {
        self.mixture.numbers.chunks(self.mixture.columns).map(|row| row.iter().sum()).collect()
    }

    /// Coefficients of the task vectors in what the basis knows of one of them.
    pub(super) fn reconstruction(&self, task: usize) -> Vec<f64> {
        let product = self.mixture.times(&self.reading);
        product.numbers.chunks(product.columns).map(|row| row[task]).collect()
    }
}

/// A matrix of a few numbers, row by row.
#[derive(Clone, Debug, PartialEq)]
struct Matrix {
    columns: usize,
    numbers: Vec<f64>,
}

impl Matrix {
    fn times(&self, other: &Matrix) -> Matrix {
        let mut numbers = Vec::new();
        for row in self.numbers.chunks(self.columns) {
            for column in 0..other.columns {
                numbers.push(
                    row.iter()
                        .enumerate()
                        .map(|(at, number)| number * other.numbers[at * other.columns + column])
                        .sum(),
                );
            }
        }
        Matrix { columns: other.columns, numbers }
    }

    fn transposed(&self) -> Matrix {
        let rows = self.numbers.len() / self.columns;
        let at = |place: usize| self.numbers[place % rows * self.columns + place / rows];
        Matrix { columns: rows, numbers: (0..self.numbers.len()).map(at).collect() }
    }
}

/// Down each column, to a sum of 1.
fn softmax(logits: &Matrix, temperature: f64) -> Matrix {
    let mut mixture = logits.clone();
    for column in 0..logits.columns {
        let places = (column..logits.numbers.len()).step_by(logits.columns);
        let highest = places.clone().map(|at| logits.numbers[at]).fold(f64::NEG_INFINITY, f64::max);
        places.clone().for_each(|at| mixture.numbers[at] = libm::exp((logits.numbers[at] - highest) / temperature));
        let sum: f64 = places.clone().map(|at| mixture.numbers[at]).sum();
        places.for_each(|at| mixture.numbers[at] /= sum);
    }
    mixture
}

/// The slope by the logits, from that by their softmax.
fn through_softmax(mixture: &Matrix, slope: &Matrix, temperature: f64) -> Matrix {
    let mut through = slope.clone();
    for column in 0..mixture.columns {
        let places = (column..mixture.numbers.len()).step_by(mixture.columns);
        let mean: f64 = places.clone().map(|at| mixture.numbers[at] * slope.numbers[at]).sum();
        places.for_each(|at| through.numbers[at] = mixture.numbers[at] * (slope.numbers[at] - mean) / temperature);
    }
    through
}

/// Moments of one list of numbers.
struct Adam {
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Adam {
    fn new(count: usize) -> Adam {
        Adam { first: vec![0.0; count], second: vec![0.0; count] }
    }

    fn step(&mut self, numbers: &mut [f64], slopes: &[f64], step: usize, search: Search) {
        let unbiased = BETAS.map(|beta| 1.0 - libm::pow(beta, step as f64));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((number, slope), (first, second)) in numbers.iter_mut().zip(slopes).zip(moments) {
            let slope = slope + search.decay * *number;
            *first = BETAS[0] * *first + (1.0 - BETAS[0]) * slope;
            *second = BETAS[1] * *second + (1.0 - BETAS[1]) * slope * slope;
            *number -= search.rate * (*first / unbiased[0]) / ((*second / unbiased[1]).sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::gram::dot;

    const SEARCH: Search = Search { vectors: 2, temperature: 5.0, rate: 0.01, decay: 1e-6, steps: 6000 };

    /// Four task vectors: twice the same two, with a little of their own.
    fn vectors() -> Vec<Vec<f32>> {
        let vector = |at: usize| {
            let (mut shared, mut own) = (Random::new(7, ["a", "b"][at % 2]), Random::new(8, &format!("{at}")));
            (0..60).map(|_| shared.normal() + 0.05 * own.normal()).collect()
        };
        (0..4).map(vector).collect()
    }

    fn gram(vectors: &[Vec<f32>]) -> Gram {
        let products = vectors.iter().flat_map(|one| vectors.iter().map(|other| dot(one, other))).collect();
        Gram::from_products(vectors.len(), products).normalized()
    }

    /// What is lost, from the vectors themselves.
    fn lost(basis: &Basis, vectors: &[Vec<f32>]) -> f64 {
        let of = |task: usize| -> f64 {
            let coefficients = basis.reconstruction(task);
            let element = |at: usize| {
                let again: f64 =
                    coefficients.iter().zip(vectors).map(|(factor, vector)| factor * f64::from(vector[at])).sum();
                (again - f64::from(vectors[task][at])).powi(2)
            };
            (0..60).map(element).sum()
        };
        let all: f64 = vectors.iter().flatten().map(|delta| f64::from(*delta).powi(2)).sum();
        (0..vectors.len()).map(of).sum::<f64>() / all
    }

    #[test]
    fn two_vectors_hold_four_tasks_that_are_two() {
        let vectors = vectors();
        let gram = gram(&vectors);
        let names = ["one", "two", "three", "four"];
        let basis = Basis::search(&gram, &names, 0, SEARCH);
        let before = lost(&Basis::search(&gram, &names, 0, Search { steps: 0, ..SEARCH }), &vectors);
        let after = lost(&basis, &vectors);
        assert!((before - 1.0).abs() < 1e-9 && after < 0.01, "{before} became {after}");
        // Mixtures of shares: what is in the basis together are M whole vectors.
        assert!((basis.sum().iter().sum::<f64>() - 2.0).abs() < 1e-9, "{:?}", basis.sum());
    }

    #[test]
    fn the_order_of_the_models_and_the_size_of_their_deltas_change_nothing() {
        let vectors = vectors();
        let names = ["one", "two", "three", "four"];
        let basis = Basis::search(&gram(&vectors), &names, 3, SEARCH);
        let order = [2, 0, 3, 1];
        let moved: Vec<Vec<f32>> = order.iter().map(|at| vectors[*at].clone()).collect();
        let found = Basis::search(&gram(&moved), &order.map(|at| names[at]), 3, SEARCH).sum();
        let small: Vec<Vec<f32>> =
            vectors.iter().map(|vector| vector.iter().map(|delta| delta * 2f32.powi(-40)).collect()).collect();
        let of_small = Basis::search(&gram(&small), &names, 3, SEARCH).sum();
        for (place, at) in order.into_iter().enumerate() {
            assert!((found[place] - basis.sum()[at]).abs() < 1e-6, "{found:?} for {:?}", basis.sum());
            assert!((of_small[at] - basis.sum()[at]).abs() < 1e-6, "{of_small:?} for {:?}", basis.sum());
        }
    }

    #[test]
    fn slopes_are_those_of_the_loss() {
        let gram = Matrix { columns: 2, numbers: vec![2.0, 0.5, 0.5, 1.0] };
        let logits = Matrix { columns: 2, numbers: vec![0.3, -0.2, 0.9, 0.4] };
        let reading = Matrix { columns: 2, numbers: vec![0.2, -0.6, 0.7, 0.1] };
        let loss = |logits: &Matrix| {
            let mut off = softmax(logits, 0.7).times(&reading);
            (0..2).for_each(|task| off.numbers[task * 3] -= 1.0);
            let product = off.transposed().times(&gram).times(&off);
            (product.numbers[0] + product.numbers[3]) / 4.0
        };
        let mixture = softmax(&logits, 0.7);
        let mut off = mixture.times(&reading);
        (0..2).for_each(|task| off.numbers[task * 3] -= 1.0);
        let mut slope = gram.times(&off);
        slope.numbers.iter_mut().for_each(|number| *number *= 2.0 / 4.0);
        let found = through_softmax(&mixture, &slope.times(&reading.transposed()), 0.7);
        for at in 0..4 {
            let moved = |by: f64| {
                let mut moved = logits.clone();
                moved.numbers[at] += by;
                loss(&moved)
            };
            let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((found.numbers[at] - expected).abs() < 1e-8, "{at}: {} for {expected}", found.numbers[at]);
        }
    }
}
