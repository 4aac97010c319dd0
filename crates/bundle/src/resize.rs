//! Bilinear resizing of one plane of pixels, antialiased where it shrinks.
//!
//! The centers of pixels lie at halves, so that a picture does not wander as it is resized. Growing interpolates
//! between two neighbors; shrinking averages with a triangle as wide as the step, as Pillow and torchvision
//! (`antialias=True`) do. Rows first, then columns; sums are taken in f32 from left to right and top to bottom, so
//! the same picture gives the same bits on every machine.

/// For each pixel of the result: its first source pixel, and the weights from there on, which sum to one.
struct Taps {
    first: Vec<usize>,
    weights: Vec<Vec<f32>>,
}

/// Resizes `plane` of `from` (width, height) to `to` (width, height). No size is zero.
pub(crate) fn bilinear(plane: Vec<f32>, from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let wide = if from.0 == to.0 { plane } else { resize_rows(&plane, from.0, to.0) };
    if from.1 == to.1 { wide } else { resize_columns(&wide, to.0, from.1, to.1) }
}

fn resize_rows(plane: &[f32], from: usize, to: usize) -> Vec<f32> {
    let taps = Taps::new(from, to);
    let mut result = Vec::with_capacity(plane.len() / from * to);
    for row in plane.chunks_exact(from) {
        for (&first, weights) in taps.first.iter().zip(&taps.weights) {
            let sum = row[first..].iter().zip(weights).fold(0.0, |sum, (&pixel, &weight)| sum + pixel * weight);
            result.push(sum);
        }
    }
    result
}

fn resize_columns(plane: &[f32], width: usize, from: usize, to: usize) -> Vec<f32> {
    let taps = Taps::new(from, to);
    let mut result = vec![0.0; width * to];
    for (out, (&first, weights)) in result.chunks_exact_mut(width).zip(taps.first.iter().zip(&taps.weights)) {
        for (row, &weight) in plane.chunks_exact(width).skip(first).zip(weights) {
            for (sum, &pixel) in out.iter_mut().zip(row) {
                *sum += pixel * weight;
            }
        }
    }
    result
}

impl Taps {
    fn new(from: usize, to: usize) -> Taps {
        // Weights in f64, rounded once: they are the same wherever IEEE 754 holds.
        let step = from as f64 / to as f64;
        let reach = step.max(1.0);
        let mut taps = Taps { first: Vec::with_capacity(to), weights: Vec::with_capacity(to) };
        for index in 0..to {
            let center = (index as f64 + 0.5) * step;
            let first = (center - reach).floor().max(0.0) as usize;
            let last = ((center + reach).ceil() as usize).min(from);
            let raw: Vec<f64> =
                (first..last).map(|pixel| (1.0 - ((pixel as f64 + 0.5 - center) / reach).abs()).max(0.0)).collect();
            let sum: f64 = raw.iter().sum();
            taps.first.push(first);
            taps.weights.push(raw.iter().map(|weight| (weight / sum) as f32).collect());
        }
        taps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_is_the_same_plane() {
        let plane = vec![0.25, 0.5, 0.75, 1.0, 0.0, 0.1];
        assert_eq!(bilinear(plane.clone(), (3, 2), (3, 2)), plane);
    }

    #[test]
    fn doubling_interpolates_between_halves() {
        // By hand: centers at 0.25, 0.75, 1.25, 1.75 of pixels centered at 0.5 and 1.5; the rim repeats.
        assert_eq!(bilinear(vec![0.0, 1.0], (2, 1), (4, 1)), [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(bilinear(vec![0.0, 1.0], (1, 2), (1, 4)), [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn halving_weighs_a_triangle() {
        // By hand: step 2, so weights 1 - |d| / 2, that is 3/4 at d = 0.5 and 1/4 at d = 1.5, over their sum; at the
        // left rim the sum lacks one quarter.
        let half = bilinear(vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0], (6, 1), (3, 1));
        assert_eq!(half, [0.25 / 1.75, 0.375, 0.0]);
    }

    #[test]
    fn keeps_a_flat_plane_flat_at_any_size() {
        for from in 1..9 {
            for to in 1..40 {
                let flat = bilinear(vec![0.5; from * from], (from, from), (to, to));
                assert_eq!(flat.len(), to * to);
                assert!(flat.iter().all(|pixel| (pixel - 0.5).abs() < 1e-6), "{from} to {to}");
            }
        }
    }

    #[test]
    fn rows_and_columns_are_treated_alike() {
        let (width, height) = (5, 7);
        let plane: Vec<f32> = (0..width * height).map(|i| (i * 37 % 35) as f32 / 35.0).collect();
        let transpose = |plane: &[f32], width: usize| -> Vec<f32> {
            (0..plane.len()).map(|i| plane[i % (plane.len() / width) * width + i / (plane.len() / width)]).collect()
        };
        let one = bilinear(plane.clone(), (width, height), (3, 11));
        let other = transpose(&bilinear(transpose(&plane, width), (height, width), (11, 3)), 11);
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
