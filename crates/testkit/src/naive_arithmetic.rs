//! The rule of composition, one element at a time, from its specification alone.
//!
//! Never made fast. It shares nothing with the quick paths: every operation is done in f64, where it is exact or has
//! so many bits that rounding a second time to f32 changes nothing (Figueroa 1995: 53 >= 2 * 24 + 2), and 16-bit
//! numbers are found by searching the list of all of them.

use std::cmp::Ordering;

/// Type of the elements of a tensor, which are given as bit patterns in the low bits of a `u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

/// What a skill does to one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// A plain delta.
    Delta(f32),
    /// A lossless one: how many patterns the tuned one lies above the base's.
    Distance(i64),
}

/// A skill with its coefficient, on one tensor.
#[derive(Clone, Debug)]
pub struct Skill {
    /// Its place in the canonical order.
    pub digest: [u8; 32],
    /// Its coefficient; finite.
    pub alpha: f32,
    /// Elements and what it does to them; each index at most once.
    pub changes: Vec<(usize, Change)>,
}

/// The tensor with all `skills` in force, whatever order they come in.
pub fn compose(kind: Kind, base: &[u32], skills: &[Skill]) -> Vec<u32> {
    let mut skills: Vec<&Skill> = skills.iter().collect();
    skills.sort_by_key(|skill| skill.digest);
    base.iter().enumerate().map(|(index, &pattern)| compose_element(kind, index, pattern, &skills)).collect()
}

fn compose_element(kind: Kind, index: usize, base: u32, sorted: &[&Skill]) -> u32 {
    let mut running = Running::Pattern(base);
    for skill in sorted.iter().filter(|skill| skill.alpha != 0.0) {
        for &(_, change) in skill.changes.iter().filter(|&&(changed, _)| changed == index) {
            running = step(kind, base, running, change, skill.alpha);
        }
    }
    match running {
        Running::Pattern(pattern) => pattern,
        Running::Sum(sum) => nearest(kind, sum),
    }
}

/// What an element has become so far: a pattern of its own dtype, or an f32 that is not rounded to it yet.
#[derive(Clone, Copy)]
enum Running {
    Pattern(u32),
    Sum(f32),
}

fn step(kind: Kind, base: u32, running: Running, change: Change, alpha: f32) -> Running {
    let value = match running {
        Running::Pattern(pattern) => value_of(kind, pattern),
        Running::Sum(sum) => f64::from(sum),
    };
    let addend = match change {
        Change::Delta(delta) => round(f64::from(alpha) * f64::from(delta)),
        Change::Distance(distance) => {
            let tuned = moved(kind, base, distance);
            if alpha == 1.0 && has_the_bits_of(kind, running, base) {
                return Running::Pattern(tuned);
            }
            let difference = round(value_of(kind, tuned) - value_of(kind, base));
            round(f64::from(alpha) * f64::from(difference))
        }
    };
    let sum = round(value + f64::from(addend));
    Running::Sum(if sum.is_nan() { f32::from_bits(0x7fc0_0000) } else { sum })
}

fn has_the_bits_of(kind: Kind, running: Running, base: u32) -> bool {
    match running {
        Running::Pattern(pattern) => pattern == base,
        // A sum that is NaN is the canonical one, so it has the bits of a base that widens to that.
        Running::Sum(sum) if sum.is_nan() => base == nearest(kind, sum),
        Running::Sum(sum) => {
            let value = value_of(kind, base);
            f64::from(sum) == value && sum.is_sign_negative() == value.is_sign_negative()
        }
    }
}

/// The grid of one element of a quantized tensor: element `q` stands for `(q - zero_point) * scale`.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Positive.
    pub scale: f32,
    /// The element that stands for 0.
    pub zero_point: i64,
    /// The smallest element.
    pub lowest: i64,
    /// The largest.
    pub highest: i64,
}

/// A tensor of whole numbers with all `skills` in force, which have deltas only, and how many elements lie beyond their
/// grid.
///
/// # Panics
/// On a distance.
pub fn compose_whole(grid: impl Fn(usize) -> Grid, base: &[i64], skills: &[Skill]) -> (Vec<i64>, u64) {
    let mut sorted: Vec<&Skill> = skills.iter().collect();
    sorted.sort_by_key(|skill| skill.digest);
    let mut beyond = 0;
    let element = |(index, &element): (usize, &i64)| {
        let grid = grid(index);
        let start = round((f64::from(element as f32) - grid.zero_point as f64) * f64::from(grid.scale));
        let mut sum = start;
        for skill in sorted.iter().filter(|skill| skill.alpha != 0.0) {
            for &(_, change) in skill.changes.iter().filter(|&&(changed, _)| changed == index) {
                let Change::Delta(delta) = change else { panic!("a distance on whole numbers") };
                sum = round(f64::from(sum) + f64::from(round(f64::from(skill.alpha) * f64::from(delta))));
            }
        }
        if sum.to_bits() == start.to_bits() {
            return element;
        }
        let steps = f64::from(round(f64::from(sum) / f64::from(grid.scale)));
        let nearest = if steps.is_nan() { 0.0 } else { steps.round_ties_even() } + grid.zero_point as f64;
        let is_beyond = steps.is_nan() || nearest < grid.lowest as f64 || nearest > grid.highest as f64;
        beyond += u64::from(is_beyond);
        nearest.clamp(grid.lowest as f64, grid.highest as f64) as i64
    };
    let elements = base.iter().enumerate().map(element).collect();
    (elements, beyond)
}

/// To the nearest f32, ties to even: what `as` is defined to do.
fn round(exact: f64) -> f32 {
    exact as f32
}

/// The pattern `distance` above `base` in the order of all patterns of its dtype.
fn moved(kind: Kind, base: u32, distance: i64) -> u32 {
    let half = match kind {
        Kind::F32 => 1i128 << 31,
        Kind::F16 | Kind::Bf16 => 1i128 << 15,
    };
    // Positive patterns count up from 0, negative ones down from -1.
    let place = if i128::from(base) < half { i128::from(base) } else { half - 1 - i128::from(base) };
    let place = (place + i128::from(distance) + half).rem_euclid(2 * half) - half;
    (if place >= 0 { place } else { half - 1 - place }) as u32
}

/// Bits of exponent and of fraction.
fn parts(kind: Kind) -> (u32, u32) {
    match kind {
        Kind::F32 => (8, 23),
        Kind::F16 => (5, 10),
        Kind::Bf16 => (8, 7),
    }
}

/// The number with this pattern, by the definition of IEEE 754.
fn value_of(kind: Kind, pattern: u32) -> f64 {
    let (exponent_bits, fraction_bits) = parts(kind);
    let fraction = pattern & ((1 << fraction_bits) - 1);
    let exponent = (pattern >> fraction_bits) & ((1 << exponent_bits) - 1);
    let negative = pattern >> (fraction_bits + exponent_bits) & 1 == 1;
    let bias = (1 << (exponent_bits - 1)) - 1;
    let unit = |exponent: i32| 2.0f64.powi(exponent - bias - fraction_bits as i32);
    let magnitude = if exponent == (1 << exponent_bits) - 1 {
        if fraction == 0 { f64::INFINITY } else { f64::NAN }
    } else if exponent == 0 {
        f64::from(fraction) * unit(1)
    } else {
        f64::from(fraction | 1 << fraction_bits) * unit(exponent as i32)
    };
    if negative { -magnitude } else { magnitude }
}

/// The pattern whose number is nearest to `value`, of two equally near the even one; NaN becomes the plain NaN.
fn nearest(kind: Kind, value: f32) -> u32 {
    let (exponent_bits, fraction_bits) = parts(kind);
    let infinity = ((1 << exponent_bits) - 1) << fraction_bits;
    if value.is_nan() {
        return infinity | 1 << (fraction_bits - 1);
    }
    let sign = u32::from(value.is_sign_negative()) << (exponent_bits + fraction_bits);
    let magnitude = f64::from(value.abs());
    // For rounding, infinity stands where the next power of two would.
    let place = |pattern: u32| {
        if pattern == infinity {
            2.0 * value_of(kind, infinity - (1 << fraction_bits))
        } else {
            value_of(kind, pattern)
        }
    };
    if magnitude >= place(infinity) {
        return sign | infinity;
    }
    let (mut below, mut above) = (0, infinity);
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if place(middle) <= magnitude { below = middle } else { above = middle }
    }
    let nearer = match (magnitude - place(below)).total_cmp(&(place(above) - magnitude)) {
        Ordering::Less => below,
        Ordering::Greater => above,
        Ordering::Equal => below + below % 2,
    };
    sign | nearer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_standard() {
        for (kind, pattern, value) in [
            (Kind::F32, 0x3f80_0000, 1.0),
            (Kind::F32, 1, 2.0f64.powi(-149)),
            (Kind::F16, 0x3555, 0.333_251_953_125),
            (Kind::F16, 0x7bff, 65504.0),
            (Kind::F16, 0x8001, -(2.0f64.powi(-24))),
            (Kind::Bf16, 0x4049, 3.140_625),
        ] {
            assert_eq!(value_of(kind, pattern), value);
            assert_eq!(nearest(kind, value as f32), pattern);
        }
    }

    #[test]
    fn ties_go_to_even_and_large_numbers_to_infinity() {
        for (value, pattern) in
            [(2049.0, 0x6800), (2051.0, 0x6802), (65519.0, 0x7bff), (65520.0, 0x7c00), (-1e9, 0xfc00), (3e-8, 1)]
        {
            assert_eq!(nearest(Kind::F16, value), pattern, "{value}");
        }
    }

    #[test]
    fn order_is_by_digest() {
        let skill = |digest, change| Skill { digest: [digest; 32], alpha: 1.0, changes: vec![(0, change)] };
        // Tuned to 2 first, then plus 1 is 3; the other way round, 1 + 1 first and then + (2 - 1) is 3 as well, but
        // with a delta that is lost beside 2 and not beside 1 the order shows.
        let small = 2.0f32.powi(-24);
        let one = 1.0f32.to_bits();
        let skills = [skill(1, Change::Distance(0x80_0000)), skill(2, Change::Delta(-small))];
        let other = [skill(2, Change::Distance(0x80_0000)), skill(1, Change::Delta(-small))];
        assert_eq!(compose(Kind::F32, &[one], &skills), [2.0f32.to_bits()]);
        assert_eq!(compose(Kind::F32, &[one], &other), [2.0f32.to_bits()]);
        let twice = [skill(1, Change::Delta(1.0)), skill(2, Change::Delta(small)), skill(3, Change::Delta(-1.0))];
        assert_eq!(compose(Kind::F32, &[0], &twice), [0.0f32.to_bits()]);
        let late = [skill(1, Change::Delta(1.0)), skill(3, Change::Delta(small)), skill(2, Change::Delta(-1.0))];
        assert_eq!(compose(Kind::F32, &[0], &late), [small.to_bits()]);
    }
}
