//! Tensors of whole numbers that stand for floats: computed in f32, rounded once to the tensor's grid.
//!
//! Element `q` stands for `(q - zero_point) * scale`. A number becomes the nearest element, of two equally near ones the even
//! one, as ONNX's `QuantizeLinear` has it; one beyond the grid becomes its end, and is counted, since a skill that is cut off
//! is not the skill that was measured. An element whose sum has the bits that it began with keeps its own, so that a
//! difference of nothing is nothing even where f32 cannot tell one element from the next, as with 32 bits. With 8 bits, going
//! to the number and back gives the element that it came from: the quotient is off by two roundings of 2^-24 from a whole
//! number of at most 255.

use crate::plain::sum;

mod sealed {
    pub trait Sealed {}
}

/// A dtype of whole numbers: [`I8`], [`U8`] or [`I32`].
pub trait Whole: sealed::Sealed {
    /// One element.
    type Element: Copy + PartialEq;
    /// The smallest element.
    const LOWEST: f32;
    /// What is above the largest element by less than f32 can tell, or is it.
    const HIGHEST: f32;

    /// An element as a number; with 32 bits, the nearest that there is in f32.
    fn widen(element: Self::Element) -> f32;

    /// The element of a whole number from [`Whole::LOWEST`] to [`Whole::HIGHEST`].
    fn narrow(whole: f32) -> Self::Element;
}

macro_rules! wholes {
    ($($name:ident $element:ident $highest:literal $meaning:literal,)*) => {
        $(
            #[doc = $meaning]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $name {}

            impl sealed::Sealed for $name {}

            impl Whole for $name {
                type Element = $element;
                const LOWEST: f32 = $element::MIN as f32;
                const HIGHEST: f32 = $highest;

                #[inline]
                fn widen(element: $element) -> f32 {
                    element as f32
                }

                #[inline]
                fn narrow(whole: f32) -> $element {
                    whole as $element
                }
            }
        )*
    };
}

wholes! {
    I8 i8 127.0 "Signed bytes, -128 to 127.",
    U8 u8 255.0 "Unsigned bytes, 0 to 255.",
    I32 i32 2_147_483_648.0 "Signed numbers of 32 bits, as quantizers write biases.",
}

/// The numbers that the elements of a tensor stand for.
///
/// Element number `index` has scale and zero point number `index / inner % scales.len()`: with one scale that is 0 for all;
/// with one for each index along a side, `inner` is the product of the sides after it.
#[derive(Clone, Copy, Debug)]
pub struct Grid<'a> {
    scales: &'a [f32],
    zero_points: &'a [f32],
    inner: usize,
}

impl<'a> Grid<'a> {
    /// A grid, if there is at least one scale, each is positive and finite, there is a zero point for each and `inner` is not
    /// 0.
    pub fn new(scales: &'a [f32], zero_points: &'a [f32], inner: usize) -> Option<Grid<'a>> {
        let usable = |scale: &f32| scale.is_finite() && *scale > 0.0;
        let fits = !scales.is_empty() && scales.len() == zero_points.len() && inner > 0;
        (fits && scales.iter().all(usable)).then_some(Grid { scales, zero_points, inner })
    }

    /// Scale and zero point of an element.
    #[inline]
    fn at(&self, index: usize) -> (f32, f32) {
        let channel = if self.scales.len() == 1 { 0 } else { index / self.inner % self.scales.len() };
        (self.scales[channel], self.zero_points[channel])
    }

    /// How far apart the numbers are that neighbors stand for.
    #[inline]
    pub fn scale(&self, index: usize) -> f32 {
        self.at(index).0
    }

    /// The element that stands for 0.
    #[inline]
    pub fn zero_point(&self, index: usize) -> f32 {
        self.at(index).1
    }

    /// The number that an element stands for.
    #[inline]
    pub fn number<W: Whole>(&self, index: usize, element: W::Element) -> f32 {
        let (scale, zero_point) = self.at(index);
        (W::widen(element) - zero_point) * scale
    }

    /// The element that stands for `number`, and whether it is the grid's end because `number` lies beyond. What is no number
    /// becomes the zero point, and counts as beyond.
    #[inline]
    pub fn element<W: Whole>(&self, index: usize, number: f32) -> (W::Element, bool) {
        let (scale, zero_point) = self.at(index);
        if number.is_nan() {
            return (W::narrow(zero_point), true);
        }
        let whole = rounded(number / scale) + zero_point;
        (W::narrow(whole.clamp(W::LOWEST, W::HIGHEST)), whole < W::LOWEST || whole > W::HIGHEST)
    }
}

/// Adds `alpha * delta` to the element at each index, and rounds to the grid; gives the number of elements that lie beyond it
/// now.
///
/// For one skill alone, as [`add_16`](crate::add_16): several go through [`widen_whole`], [`add_f32`](crate::add_f32) and
/// [`narrow_changed_whole`]. `alpha` is finite; 0 leaves every bit alone. Indices out of range are skipped.
pub fn add_whole<W: Whole>(
    values: &mut [W::Element],
    grid: &Grid<'_>,
    entries: impl Iterator<Item = (usize, f32)>,
    alpha: f32,
) -> u64 {
    if alpha == 0.0 {
        return 0;
    }
    let mut beyond = 0;
    entries.for_each(|(index, delta)| {
        if let Some(value) = values.get_mut(index) {
            let before = grid.number::<W>(index, *value);
            beyond += set::<W>(value, grid, index, before, sum(before, alpha * delta));
        }
    });
    beyond
}

/// Fills `scratch` with the numbers of a tensor of whole numbers: what several skills then add to, rounded only at the end.
///
/// What is longer in one of the two stays as it is.
pub fn widen_whole<W: Whole>(base: &[W::Element], grid: &Grid<'_>, scratch: &mut [f32]) {
    for (index, (value, &element)) in scratch.iter_mut().zip(base).enumerate() {
        *value = grid.number::<W>(index, element);
    }
}

/// Writes the elements of `scratch` that no longer are those of `base` to `out`, rounded to the grid; leaves all others
/// alone, so that pages of `out` without a changed element stay clean. Gives the number of elements beyond the grid.
///
/// What is longer in one of the three stays as it is.
pub fn narrow_changed_whole<W: Whole>(
    scratch: &[f32],
    base: &[W::Element],
    grid: &Grid<'_>,
    out: &mut [W::Element],
) -> u64 {
    let elements = out.iter_mut().zip(base).zip(scratch).enumerate();
    elements
        .map(|(index, ((out, &base), &value))| set::<W>(out, grid, index, grid.number::<W>(index, base), value))
        .sum()
}

/// Puts the element of `after` into `out`, if that is another number than `before`; 1 if it lies beyond the grid, else 0.
#[inline]
fn set<W: Whole>(out: &mut W::Element, grid: &Grid<'_>, index: usize, before: f32, after: f32) -> u64 {
    if before.to_bits() == after.to_bits() {
        return 0;
    }
    let (element, is_beyond) = grid.element::<W>(index, after);
    *out = element;
    u64::from(is_beyond)
}

/// To the nearest whole number, of two equally near ones the even one. (Without the standard library there is no
/// `round_ties_even`.)
#[inline]
fn rounded(number: f32) -> f32 {
    // From here on all numbers are whole, and in the binade before it the last bit is one.
    const WHOLE: f32 = 8_388_608.0;
    let magnitude = f32::from_bits(number.to_bits() & !SIGN);
    if magnitude >= WHOLE {
        return number;
    }
    f32::from_bits(((magnitude + WHOLE) - WHOLE).to_bits() | number.to_bits() & SIGN)
}

/// The sign of an f32.
const SIGN: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    /// Scales that are as far from powers of two as can be, and far apart.
    const SCALES: [f32; 5] = [1.0, 0.007_812_4, 3.1e-5, 1e-30, 7.7e20];

    #[test]
    fn every_element_stands_for_a_number_that_stands_for_it() {
        for scale in SCALES {
            for zero_point in [-128.0, -3.0, 0.0, 127.0] {
                let (scales, zero_points) = ([scale], [zero_point]);
                let grid = Grid::new(&scales, &zero_points, 1).unwrap();
                for element in i8::MIN..=i8::MAX {
                    assert_eq!(grid.element::<I8>(0, grid.number::<I8>(0, element)), (element, false));
                }
                let unsigned = [zero_point + 128.0];
                let grid = Grid::new(&scales, &unsigned, 1).unwrap();
                for element in 0..=u8::MAX {
                    assert_eq!(grid.element::<U8>(0, grid.number::<U8>(0, element)), (element, false));
                }
            }
        }
    }

    #[test]
    fn halves_go_to_the_even_element_and_what_is_beyond_is_counted() {
        let grid = Grid::new(&[2.0], &[0.0], 1).unwrap();
        let signed = |number| grid.element::<I8>(0, number);
        for (number, expected) in [(1.0, 0), (3.0, 2), (5.0, 2), (-1.0, 0), (-3.0, -2), (254.9, 127)] {
            assert_eq!(signed(number), (expected, false), "{number}");
        }
        for (number, expected) in
            [(255.0, 127), (1e30, 127), (f32::INFINITY, 127), (-257.1, -128), (f32::NEG_INFINITY, -128)]
        {
            assert_eq!(signed(number), (expected, true), "{number}");
        }
        let raised = Grid::new(&[1.0], &[7.0], 1).unwrap();
        assert_eq!(raised.element::<U8>(0, f32::NAN), (7, true));
        assert_eq!(raised.element::<U8>(0, -8.0), (0, true));
        assert_eq!(raised.element::<U8>(0, -7.0), (0, false));
    }

    #[test]
    fn each_index_along_a_side_has_its_scale() {
        // [2, 3, 2], scales along the middle side.
        let scales = [1.0, 10.0, 100.0];
        let grid = Grid::new(&scales, &[0.0, 1.0, 2.0], 2).unwrap();
        let numbers: [f32; 12] = core::array::from_fn(|index| grid.number::<I8>(index, 3));
        assert_eq!(numbers, [3.0, 3.0, 20.0, 20.0, 100.0, 100.0, 3.0, 3.0, 20.0, 20.0, 100.0, 100.0]);
        let mut values = [3; 12];
        let beyond = add_whole::<I8>(&mut values, &grid, [(1, 4.4), (2, 4.9), (4, 2e4), (99, 1.0)].into_iter(), 1.0);
        assert_eq!((values[1], values[2], values[4], beyond), (7, 3, 127, 1));
        assert_eq!(values.iter().filter(|&&value| value == 3).count(), 10);
    }

    #[test]
    fn several_skills_are_rounded_once() {
        let (grid, base) = (Grid::new(&[1.0], &[0.0], 1).unwrap(), [10u8, 20, 250]);
        let mut scratch = [0.0; 3];
        widen_whole::<U8>(&base, &grid, &mut scratch);
        for _ in 0..2 {
            crate::add_f32(&mut scratch, [(0, 0.4), (2, 4.0)].into_iter(), 1.0);
        }
        let mut out = [10u8, 99, 250];
        // 10 and two times 0.4 is 11; rounded each time it would have stayed 10. What did not change is not written.
        assert_eq!(narrow_changed_whole::<U8>(&scratch, &base, &grid, &mut out), 1);
        assert_eq!(out, [11, 99, 255]);
    }

    #[test]
    fn thirty_two_bits_keep_what_is_not_changed() {
        let grid = Grid::new(&[1e-6], &[0.0], 1).unwrap();
        // Neighbors that are one number in f32.
        let base = [i32::MAX, i32::MAX - 1, i32::MIN, 123_456_789, 5];
        let mut values = base;
        let nothing = (0..5).map(|index| (index, 0.0));
        assert_eq!(add_whole::<I32>(&mut values, &grid, nothing, 1.0), 0);
        assert_eq!(values, base);
        let beyond = add_whole::<I32>(&mut values, &grid, [(0, 1.0), (2, -1.0), (4, 2.4e-6)].into_iter(), 1.0);
        assert_eq!((values[0], values[2], values[4], beyond), (i32::MAX, i32::MIN, 7, 2));
    }

    #[test]
    fn rounding_is_that_of_the_standard_library() {
        for bits in (0..=u32::MAX).step_by(65_521) {
            let number = f32::from_bits(bits);
            if !number.is_nan() {
                assert_eq!(rounded(number).to_bits(), number.round_ties_even().to_bits(), "{number}");
            }
        }
        for half in [0.5, 1.5, 2.5, -0.5, -1.5, 4_194_303.5, 8_388_607.5, 8_388_608.0, -8_388_607.5] {
            assert_eq!(rounded(half).to_bits(), half.round_ties_even().to_bits(), "{half}");
        }
    }

    #[test]
    fn grids_that_are_none_are_refused() {
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(Grid::new(&[scale], &[0.0], 1).is_none(), "{scale}");
        }
        assert!(Grid::new(&[], &[], 1).is_none());
        assert!(Grid::new(&[1.0], &[], 1).is_none());
        assert!(Grid::new(&[1.0], &[0.0], 0).is_none());
    }
}
