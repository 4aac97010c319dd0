//! Numbers of every class: generated bit patterns, so that subnormals, infinities and NaNs are as likely as others.

use proptest::prelude::*;
use taskvec_testkit::naive_arithmetic::Kind;

/// Any bit pattern of this dtype, the odd classes often.
pub(crate) fn pattern(kind: Kind) -> BoxedStrategy<u32> {
    let (exponent_bits, fraction_bits) = match kind {
        Kind::F32 => (8, 23),
        Kind::F16 => (5, 10),
        Kind::Bf16 => (8, 7),
    };
    let exponents = 1u32 << exponent_bits;
    let exponent = prop_oneof![
        1 => Just(0),
        1 => Just(exponents - 1),
        2 => 0..exponents,
        // Where weights live, and where deltas neither vanish nor swallow them.
        6 => exponents / 2 - 6..exponents / 2 + 3,
    ];
    let fractions = 1u32 << fraction_bits;
    let fraction = prop_oneof![1 => Just(0), 1 => Just(1), 1 => Just(fractions - 1), 5 => 0..fractions];
    (any::<bool>(), exponent, fraction)
        .prop_map(move |(negative, exponent, fraction)| {
            u32::from(negative) << (exponent_bits + fraction_bits) | exponent << fraction_bits | fraction
        })
        .boxed()
}

/// A delta: finite, of any class.
pub(crate) fn delta() -> BoxedStrategy<f32> {
    pattern(Kind::F32).prop_map(f32::from_bits).prop_filter("deltas are finite", |delta| delta.is_finite()).boxed()
}

/// A coefficient: the ones that mean something, and any finite number.
pub(crate) fn alpha() -> BoxedStrategy<f32> {
    prop_oneof![4 => Just(1.0f32), 1 => Just(0.0), 1 => Just(-0.0), 1 => Just(-1.0), 2 => -2.0f32..2.0, 1 => delta()]
        .boxed()
}
