//! GELU, exact and quick, with a vectorized kernel for the CPU.
//!
//! burn computes the error function one number at a time in the C library's way, forward and again backward: a quarter
//! of a training step. Here one loop over host memory computes value and derivative together, in plain f32 additions
//! and multiplications (never fused), so that its bits do not depend on the width of the vectors. It is used on burn's
//! `flex` device, whose tensors lie in host memory; other devices use burn's own operations.
//!
//! With a derivative known beforehand no operation of our own is needed in the graph: `(x - x0) * d + y`, where `x0`
//! is the value of `x`, has exactly the value `y` and the gradient `d`.

use burn::tensor::{DType, Device, Tensor, TensorData, activation};

use crate::config::Gelu;
use crate::vector::vectorized;

/// Applies the activation to every number.
pub(crate) fn gelu<const D: usize>(x: Tensor<D>, kind: Gelu) -> Tensor<D> {
    let device = x.device();
    if device != Device::flex() || x.dtype() != DType::F32 {
        return match kind {
            Gelu::Exact => activation::gelu(x),
            Gelu::Quick => activation::sigmoid(x.clone().mul_scalar(QUICK)) * x,
        };
    }
    let shape = x.dims();
    if !x.is_require_grad() && !device.is_autodiff() {
        let values = host(x);
        let values = vectorized(
            #[inline(always)]
            || in_place(values, kind),
        );
        return Tensor::from_data(TensorData::new(values, shape), &device);
    }
    let at = x.clone().inner();
    let (values, slopes) = with_slope(at.clone(), kind);
    (x - Tensor::from_inner(at)) * Tensor::from_inner(slopes) + Tensor::from_inner(values)
}

/// The activation of each number of a plain `x`, and its derivative.
pub(crate) fn with_slope<const D: usize>(x: Tensor<D>, kind: Gelu) -> (Tensor<D>, Tensor<D>) {
    let (device, shape) = (x.device(), x.dims());
    if device != Device::flex() || x.dtype() != DType::F32 {
        let value = gelu(x.clone(), kind);
        let slope = match kind {
            Gelu::Exact => {
                let below = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
                let bell = x
                    .clone()
                    .square()
                    .mul_scalar(-0.5)
                    .exp()
                    .mul_scalar(0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
                below + x * bell
            }
            Gelu::Quick => {
                let share = activation::sigmoid(x.mul_scalar(QUICK));
                share.clone() + value.clone().mul_scalar(QUICK) * (share.neg().add_scalar(1.0))
            }
        };
        return (value, slope);
    }
    // `into_data` of a shared tensor copies twice; the product with 1 is one copy that is ours alone.
    let copy = host(x.mul_scalar(1.0));
    let (values, slopes) = vectorized(
        #[inline(always)]
        || with_slopes(copy, kind),
    );
    let tensor = |values| Tensor::from_data(TensorData::new(values, shape), &device);
    (tensor(values), tensor(slopes))
}

/// CLIP's factor inside the sigmoid.
const QUICK: f32 = 1.702;

fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec::<f32>().expect("networks compute in f32")
}

#[inline(always)]
fn in_place(mut x: Vec<f32>, kind: Gelu) -> Vec<f32> {
    match kind {
        Gelu::Exact => x.iter_mut().for_each(|x| *x = exact(*x).0),
        Gelu::Quick => x.iter_mut().for_each(|x| *x = quick(*x).0),
    }
    x
}

#[inline(always)]
fn with_slopes(mut x: Vec<f32>, kind: Gelu) -> (Vec<f32>, Vec<f32>) {
    let mut slopes = vec![0.0; x.len()];
    let pairs = x.iter_mut().zip(&mut slopes);
    match kind {
        Gelu::Exact => pairs.for_each(|(x, slope)| (*x, *slope) = exact(*x)),
        Gelu::Quick => pairs.for_each(|(x, slope)| (*x, *slope) = quick(*x)),
    }
    (x, slopes)
}

/// `x * Phi(x)` and its derivative `Phi(x) + x * phi(x)`.
///
/// `Phi(-a) = exp(-a^2 / 2) * t * P(t)` with `t = 1 / (1 + SCALE a)`: the form of Hastings (1955, sheet 45), with our
/// own minimax polynomial, relative error 2e-8 before rounding. Unlike `1 + erf` it keeps its digits for negative `x`.
#[inline(always)]
fn exact(x: f32) -> (f32, f32) {
    let t = 1.0 / (1.0 + SCALE * x.abs());
    let mut tail = TAIL[0];
    let mut term = 1;
    while term < TAIL.len() {
        tail = tail * t + TAIL[term];
        term += 1;
    }
    let bell = exp(-0.5 * (x * x));
    let below = bell * (t * tail);
    let phi = if x < 0.0 { below } else { 1.0 - below };
    (x * phi, phi + x * (bell * INVERSE_ROOT_TWO_PI))
}

/// `x * s` and its derivative `s + 1.702 x s (1 - s)`, with `s = sigmoid(1.702 x)`.
#[inline(always)]
fn quick(x: f32) -> (f32, f32) {
    let e = exp(-QUICK * x);
    let s = 1.0 / (1.0 + e);
    let y = x * s;
    // `e * s` is `1 - s` with all its digits.
    (y, s + QUICK * y * (e * s))
}

const SCALE: f32 = 0.34375;
const INVERSE_ROOT_TWO_PI: f32 = 0.398_942_3;
/// Highest power first. Fitted on `0 <= a <= 13.5`; below that `exp` is 0 in f32.
const TAIL: [f32; 9] = [
    -0.028_048_865,
    0.144_950_28,
    -0.273_856_2,
    0.193_217_5,
    -0.040_786_386,
    0.113_242_33,
    0.116_602_61,
    0.137_559_98,
    0.137_118_73,
];

/// `exp(x)`, relative error below 2e-7, for any `x`; what is below the normal numbers becomes about 1e-38, NaN stays.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2` (Cody and Waite's two-part `ln 2`), Taylor in `r`, exponent by bits.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to an integer without a call.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut sum = 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_shl(23).wrapping_add(1.0f32.to_bits()));
    sum * power
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The normal distribution function in f64, by its everywhere convergent series near zero and Lentz's continued
    /// fraction for the tail.
    fn phi(x: f64) -> f64 {
        let a = x.abs();
        let bell = (-0.5 * a * a).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let tail = if a < 3.0 {
            let (mut term, mut sum, mut k) = (a, a, 1.0);
            while term > 1e-18 * sum {
                k += 2.0;
                term *= a * a / k;
                sum += term;
            }
            0.5 - bell * sum
        } else {
            bell / (1..200).rev().fold(a, |rest, k| a + f64::from(k) / rest)
        };
        if x < 0.0 { tail } else { 1.0 - tail }
    }

    fn grid() -> impl Iterator<Item = f32> {
        (-100_000i32..=100_000).map(|step| step as f32 * 1e-4)
    }

    #[test]
    fn exact_gelu_and_its_derivative_agree_with_f64() {
        for x in grid() {
            let (value, slope) = exact(x);
            let wide = f64::from(x);
            let bell = (-0.5 * wide * wide).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let value_error = (f64::from(value) - wide * phi(wide)).abs();
            // Relative to the value; below -5, where the value is under 2e-6, the rounding of x^2 costs another digit.
            let scale = if x > -5.0 { 1e-6 } else { 1e-5 };
            assert!(value_error <= scale * (wide * phi(wide)).abs() + 1e-37, "gelu({x}) = {value}");
            let slope_error = (f64::from(slope) - (phi(wide) + wide * bell)).abs();
            assert!(slope_error < 3e-7, "gelu'({x}) = {slope}");
        }
    }

    #[test]
    fn quick_gelu_and_its_derivative_agree_with_f64() {
        for x in grid() {
            let (value, slope) = quick(x);
            let wide = f64::from(x);
            let factor = f64::from(QUICK);
            let s = 1.0 / (1.0 + (-factor * wide).exp());
            assert!((f64::from(value) - wide * s).abs() <= 2e-6 * (wide * s).abs(), "quick_gelu({x}) = {value}");
            let expected = s + factor * wide * s * (1.0 - s);
            assert!((f64::from(slope) - expected).abs() < 5e-7, "quick_gelu'({x}) = {slope}");
        }
    }

    #[test]
    fn the_ends_of_the_number_line_stay_calm() {
        for kind in [exact, quick] {
            assert_eq!(kind(1e30), (1e30, 1.0));
            assert_eq!(kind(0.0).0, 0.0);
            let (value, slope) = kind(-1e15);
            assert!(value.abs() < 1e-20 && slope.abs() < 1e-20, "{value} {slope}");
            assert!(kind(f32::NAN).0.is_nan());
        }
    }

    #[test]
    fn the_kernel_equals_burn_and_carries_its_gradient() {
        let device = Device::flex().autodiff();
        let values: Vec<f32> = (0..600).map(|i| (i as f32 - 300.0) * 0.02).collect();
        for kind in [Gelu::Exact, Gelu::Quick] {
            let fresh = || Tensor::<1>::from_floats(values.as_slice(), &device).require_grad();
            let (ours, theirs) = (fresh(), fresh());
            let y = gelu(ours.clone(), kind);
            let expected = match kind {
                Gelu::Exact => activation::gelu(theirs.clone()),
                Gelu::Quick => activation::sigmoid(theirs.clone().mul_scalar(QUICK)) * theirs.clone(),
            };
            let evaluated = gelu(ours.clone().inner(), kind).into_data();
            assert_eq!(y.clone().inner().into_data(), evaluated, "training and inference give the same bits");
            close(y.clone().inner(), expected.clone().inner());
            let weights = Tensor::<1>::from_floats(values.as_slice(), &device);
            let ours = ours.grad(&(y * weights.clone()).sum().backward()).unwrap();
            let theirs = theirs.grad(&(expected * weights).sum().backward()).unwrap();
            close(ours, theirs);
        }
    }

    fn close(ours: Tensor<1>, theirs: Tensor<1>) {
        for (ours, theirs) in host(ours).into_iter().zip(host(theirs)) {
            assert!((ours - theirs).abs() < 1e-6 * theirs.abs().max(1.0), "{ours} {theirs}");
        }
    }
}
