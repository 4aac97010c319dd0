//! SCE (Wan et al. 2024): select what varies among the models, calculate a coefficient for each, erase minorities.
//!
//! Of a tensor's elements the share `select_topk` stays whose deltas have the largest variance, of those that vary at all; of equal
//! variances the first comes first. A model's coefficient is its share of the squares of what stays. Where the sum of an element's
//! deltas has the other sign, a delta is left out, a sum of 0 being positive; what is left is the mean by the coefficients.
//!
//! So does mergekit, but for two things, which its comparison proves. It gives every model the same coefficient as soon as the mean
//! squares sum up to less than a millionth, as they do for most fine-tuned models; here that holds only where there is nothing at
//! all. And where the share is not even one element it drops the tensor; here one element stays.

/// Deltas of one tensor of all models, merged.
pub(super) fn sce(deltas: &[&[f32]], select_topk: f64, lambda: f64) -> Vec<f32> {
    let count = deltas.first().map_or(0, |deltas| deltas.len());
    let stays = selected(deltas, count, select_topk);
    let square = |deltas: &&[f32]| {
        deltas.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(delta, _)| f64::from(*delta).powi(2)).sum::<f64>()
    };
    let squares: Vec<f64> = deltas.iter().map(square).collect();
    let all: f64 = squares.iter().sum();
    let element = |at: usize| {
        if !stays[at] || all <= 0.0 {
            return 0.0;
        }
        let is_positive = deltas.iter().map(|deltas| f64::from(deltas[at])).sum::<f64>() >= 0.0;
        let (mut sum, mut weights) = (0.0, 0.0);
        for (deltas, square) in deltas.iter().zip(&squares) {
            let delta = f64::from(deltas[at]);
            if if is_positive { delta > 0.0 } else { delta < 0.0 } {
                sum += square / all * delta;
                weights += square / all;
            }
        }
        if weights > 0.0 { (sum / weights * lambda) as f32 } else { 0.0 }
    };
    (0..count).map(element).collect()
}

/// Which elements vary most.
fn selected(deltas: &[&[f32]], count: usize, share: f64) -> Vec<bool> {
    if share >= 1.0 {
        return vec![true; count];
    }
    let models = deltas.len() as f64;
    let variance = |at: usize| {
        let mean = deltas.iter().map(|deltas| f64::from(deltas[at])).sum::<f64>() / models;
        deltas.iter().map(|deltas| (f64::from(deltas[at]) - mean).powi(2)).sum::<f64>() / models
    };
    let variances: Vec<f64> = (0..count).map(variance).collect();
    let mut order: Vec<usize> = (0..count).filter(|at| variances[*at] > 0.0).collect();
    let most = if share <= 0.0 { 0 } else { ((share * order.len() as f64) as usize).max(1) };
    order.sort_by(|a, b| variances[*b].total_cmp(&variances[*a]).then(a.cmp(b)));
    let mut stays = vec![false; count];
    order.into_iter().take(most).for_each(|at| stays[at] = true);
    stays
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: variances 4, 0, 1 and 2.25; squares of what stays 9 and 1.
    #[test]
    fn what_varies_stays_and_minorities_are_erased() {
        let deltas: [&[f32]; 2] = [&[3.0, 1.0, 0.0, 1.0], &[-1.0, 1.0, 2.0, -2.0]];
        assert_eq!(sce(&deltas, 0.34, 1.0), [3.0, 0.0, 0.0, 0.0]);
        let whole = sce(&deltas, 1.0, 0.5);
        // Squares 11 and 10.
        assert_eq!(whole[0], 1.5);
        assert_eq!(whole[1], 0.5);
        assert_eq!(whole[2], 1.0);
        assert_eq!(whole[3], -1.0);
        let agreeing: [&[f32]; 2] = [&[3.0], &[1.0]];
        assert_eq!(sce(&agreeing, 1.0, 1.0), [(0.9 * 3.0 + 0.1 * 1.0) as f32]);
    }

    #[test]
    fn coefficients_do_not_depend_on_the_size_of_deltas() {
        let at = |scale: f32| {
            let (one, two) = ([3.0 * scale], [scale]);
            f64::from(sce(&[&one, &two], 1.0, 1.0)[0]) / f64::from(scale)
        };
        assert!((at(1e-4) - at(1.0)).abs() < 1e-6 && (at(1e-18) - at(1.0)).abs() < 1e-6);
    }

    /// Trap 5 of the field: a share of a small tensor that is not even one element.
    #[test]
    fn a_small_tensor_keeps_its_most_varied_element() {
        let deltas: [&[f32]; 2] = [&[1.0, 5.0, 0.0], &[0.0, 1.0, 0.0]];
        let merged = sce(&deltas, 0.1, 1.0);
        assert!(merged[0] == 0.0 && merged[1] > 0.0 && merged[2] == 0.0, "{merged:?}");
        assert_eq!(sce(&[&[0.0; 3], &[0.0; 3]], 0.1, 1.0), [0.0; 3]);
        assert_eq!(sce(&deltas, 0.0, 1.0), [0.0; 3]);
    }
}
