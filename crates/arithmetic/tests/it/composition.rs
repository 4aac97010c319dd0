//! Composing skills on one tensor, as a session does: canonical order, then one rounding.

use proptest::prelude::*;
use taskvec_arithmetic as arithmetic;
use taskvec_arithmetic::{Bf16, F16, Narrow16, distance};
use taskvec_testkit::naive_arithmetic::{Change, Kind, Skill, compose};

use crate::numbers;

const KINDS: [Kind; 3] = [Kind::F32, Kind::F16, Kind::Bf16];
/// Miri takes a thousand times as long, most of it to make up the numbers, and wants less of everything.
const ELEMENTS: usize = if cfg!(miri) { 3 } else { 12 };
/// Most skills of a case.
const SKILLS_MAX: usize = if cfg!(miri) { 2 } else { 4 };

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&KINDS[..])
}

/// A skill whose changes are all deltas or all distances, as a tensor of a pack is.
fn skill(kind: Kind) -> impl Strategy<Value = Skill> {
    let span = if kind == Kind::F32 { i64::from(u32::MAX) } else { i64::from(u16::MAX) };
    let distance = prop_oneof![3 => -40i64..=40, 1 => -span..=span];
    let change = prop_oneof![
        prop::collection::vec(numbers::delta().prop_map(Change::Delta), ELEMENTS),
        prop::collection::vec(distance.prop_map(Change::Distance), ELEMENTS),
    ];
    let touched = prop::collection::vec(any::<bool>(), ELEMENTS);
    (any::<[u8; 32]>(), numbers::alpha(), change, touched).prop_map(|(digest, alpha, changes, touched)| {
        let changes = changes.into_iter().enumerate().zip(touched).filter(|&(_, touched)| touched);
        Skill { digest, alpha, changes: changes.map(|(change, _)| change).collect() }
    })
}

fn deltas(skill: &Skill) -> impl Iterator<Item = (usize, f32)> + '_ {
    skill.changes.iter().filter_map(|&(index, change)| match change {
        Change::Delta(delta) => Some((index, delta)),
        Change::Distance(_) => None,
    })
}

fn distances(skill: &Skill) -> impl Iterator<Item = (usize, i64)> + '_ {
    skill.changes.iter().filter_map(|&(index, change)| match change {
        Change::Distance(distance) => Some((index, distance)),
        Change::Delta(_) => None,
    })
}

fn quick_f32(base: &[u32], sorted: &[&Skill]) -> Vec<u32> {
    let base: Vec<f32> = base.iter().map(|&pattern| f32::from_bits(pattern)).collect();
    let mut values = base.clone();
    for skill in sorted {
        arithmetic::add_f32(&mut values, deltas(skill), skill.alpha);
        arithmetic::add_distances_f32(&mut values, &base, distances(skill), skill.alpha);
    }
    values.iter().map(|value| value.to_bits()).collect()
}

fn quick_16<N: Narrow16>(base: &[u32], sorted: &[&Skill]) -> Vec<u32> {
    let base: Vec<u16> = base.iter().map(|&pattern| pattern as u16).collect();
    let mut out = base.clone();
    if let [skill] = sorted {
        arithmetic::add_16::<N>(&mut out, deltas(skill), skill.alpha);
        arithmetic::add_distances_16::<N>(&mut out, &base, distances(skill), skill.alpha);
    }
    let direct = out.clone();
    let mut scratch = vec![0.0; base.len()];
    out.copy_from_slice(&base);
    arithmetic::widen::<N>(&base, &mut scratch);
    for skill in sorted {
        arithmetic::add_f32(&mut scratch, deltas(skill), skill.alpha);
        arithmetic::add_distances_widened::<N>(&mut scratch, &base, distances(skill), skill.alpha);
    }
    arithmetic::narrow_changed::<N>(&scratch, &base, &mut out);
    if sorted.len() == 1 {
        assert_eq!(direct, out, "one skill, direct and through the scratch");
    }
    out.into_iter().map(u32::from).collect()
}

/// The quick paths, the skills put into canonical order as a session does.
fn quick(kind: Kind, base: &[u32], skills: &[Skill]) -> Vec<u32> {
    let mut sorted: Vec<&Skill> = skills.iter().collect();
    sorted.sort_by_key(|skill| skill.digest);
    match kind {
        Kind::F32 => quick_f32(base, &sorted),
        Kind::F16 => quick_16::<F16>(base, &sorted),
        Kind::Bf16 => quick_16::<Bf16>(base, &sorted),
    }
}

fn case(skills: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = (Kind, Vec<u32>, Vec<Skill>)> {
    kind().prop_flat_map(move |kind| {
        let base = prop::collection::vec(numbers::pattern(kind), ELEMENTS);
        (Just(kind), base, prop::collection::vec(skill(kind), skills.clone()))
    })
}

/// Many small cases: a case costs microseconds, and the odd classes meet only in some of them. Miri takes a thousand times
/// as long and looks for something else.
fn config() -> ProptestConfig {
    let cases = if cfg!(miri) { 2 } else { 4096 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn equals_the_naive_twin((kind, base, skills) in case(0..=SKILLS_MAX)) {
        prop_assert_eq!(quick(kind, &base, &skills), compose(kind, &base, &skills));
    }

    #[test]
    fn the_order_of_attaching_does_not_matter((kind, base, skills) in case(2..=SKILLS_MAX), turn in 0usize..24) {
        let mut turned = skills.clone();
        turned.rotate_left(turn % skills.len());
        if turn % 2 == 0 {
            turned.reverse();
        }
        prop_assert_eq!(quick(kind, &base, &turned), quick(kind, &base, &skills));
    }

    #[test]
    fn attach_a_attach_b_detach_a_is_attach_b((kind, base, skills) in case(2..=2)) {
        let after = quick(kind, &base, &skills[1..]);
        let silent = Skill { alpha: 0.0, ..skills[0].clone() };
        prop_assert_eq!(quick(kind, &base, &[silent, skills[1].clone()]), after);
    }

    #[test]
    fn what_no_skill_names_keeps_its_bits((kind, base, skills) in case(0..=SKILLS_MAX)) {
        let result = quick(kind, &base, &skills);
        for index in 0..base.len() {
            if !skills.iter().any(|skill| skill.changes.iter().any(|&(changed, _)| changed == index)) {
                prop_assert_eq!(result[index], base[index]);
            }
        }
    }

    #[test]
    fn lossless_alone_gives_the_tuned_bits(
        (kind, base, tuned) in kind().prop_flat_map(|kind| {
            let patterns = || prop::collection::vec(numbers::pattern(kind), ELEMENTS);
            (Just(kind), patterns(), patterns())
        })
    ) {
        let between = |(&base, &tuned): (&u32, &u32)| match kind {
            Kind::F32 => distance::f32(f32::from_bits(base), f32::from_bits(tuned)),
            Kind::F16 | Kind::Bf16 => distance::u16(base as u16, tuned as u16),
        };
        let distances = base.iter().zip(&tuned).map(between).map(Change::Distance);
        let skill = Skill { digest: [0; 32], alpha: 1.0, changes: distances.enumerate().collect() };
        prop_assert_eq!(&quick(kind, &base, std::slice::from_ref(&skill)), &tuned);
        prop_assert_eq!(&compose(kind, &base, &[skill]), &tuned);
    }
}
