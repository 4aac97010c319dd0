//! The weights in force are a pure function of (base, set of (skill, alpha)), whatever the way there; held against a
//! fresh session and against the naive arithmetic.

use std::collections::BTreeMap;

use proptest::prelude::*;
use taskvec_pack::write::Rounding;
use taskvec_pack::{Dtype, Entries};
use taskvec_runtime::{BaseModel, Composed, CompositionLimits, Digest, Session, Skill, Trust};
use taskvec_testkit::naive_arithmetic as naive;

use crate::made::{Kind, MIXED, bundle, composed, one_delta, random_pack, session, skill};

const ALPHAS: [f32; 7] = [1.0, 0.5, -1.0, 0.0, 0.3, 2.5, -0.0];

#[derive(Clone, Debug)]
enum Step {
    Attach(usize, f32),
    Detach(usize),
    SetAlpha(usize, f32),
    Swap(Vec<(usize, f32)>),
}

fn steps(packs: usize) -> impl Strategy<Value = Vec<Step>> {
    let alpha = || prop::sample::select(&ALPHAS[..]);
    let step = prop_oneof![
        4 => (0..packs, alpha()).prop_map(|(pack, alpha)| Step::Attach(pack, alpha)),
        3 => (0..packs).prop_map(Step::Detach),
        2 => (0..packs, alpha()).prop_map(|(pack, alpha)| Step::SetAlpha(pack, alpha)),
        2 => prop::collection::btree_map(0..packs, alpha(), 0..=packs)
            .prop_map(|all| Step::Swap(all.into_iter().collect())),
    ];
    prop::collection::vec(step, 1..14)
}

fn kinds() -> impl Strategy<Value = Vec<(u64, Kind, u64)>> {
    let kind = prop::sample::select(vec![
        Kind::Lossless,
        Kind::Deltas(Rounding::F32),
        Kind::Deltas(Rounding::Bf16),
        Kind::Deltas(Rounding::INT8),
    ]);
    prop::collection::vec((any::<u64>(), kind, prop::sample::select(vec![2, 100, 950])), 2..6)
}

fn packs_and_steps() -> impl Strategy<Value = (Vec<(u64, Kind, u64)>, Vec<Step>)> {
    kinds().prop_flat_map(|packs| {
        let count = packs.len();
        (Just(packs), steps(count))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_way_leads_to_the_same_bits((packs, steps) in packs_and_steps()) {
        let made = bundle(MIXED, 1);
        let original = made.base.bytes().to_vec();
        let skills: Vec<Skill> = packs
            .iter()
            .enumerate()
            .map(|(i, &(seed, kind, in_1000))| random_pack(&made.base, &format!("pack {i}"), seed, kind, in_1000))
            .map(|builder| skill(&builder))
            .collect();
        let long_lived = session(&made.base);
        let keeping = session(&made.base).keeping_pages().with_change_threads(3);
        let mut expected: BTreeMap<usize, f32> = BTreeMap::new();
        for step in steps {
            let worked = match &step {
                Step::Attach(pack, alpha) => long_lived.attach(&skills[*pack], *alpha),
                Step::Detach(pack) => long_lived.detach(&skills[*pack].digest()),
                Step::SetAlpha(pack, alpha) => long_lived.set_alpha(&skills[*pack].digest(), *alpha),
                Step::Swap(all) => long_lived.swap(all.iter().map(|&(pack, alpha)| (skills[pack].clone(), alpha))),
            };
            let is_there = |pack: &usize| expected.contains_key(pack);
            let should_work = match &step {
                Step::Attach(pack, _) => !is_there(pack),
                Step::Detach(pack) | Step::SetAlpha(pack, _) => is_there(pack),
                Step::Swap(_) => true,
            };
            prop_assert_eq!(worked.is_ok(), should_work, "{:?} {:?}", step, worked.err());
            if should_work {
                match step {
                    Step::Attach(pack, alpha) | Step::SetAlpha(pack, alpha) => drop(expected.insert(pack, alpha)),
                    Step::Detach(pack) => drop(expected.remove(&pack)),
                    Step::Swap(all) => expected = all.into_iter().collect(),
                }
            }
            let fresh = session(&made.base).with_change_threads(3);
            for session in [&fresh, &keeping] {
                session.swap(expected.iter().map(|(&pack, &alpha)| (skills[pack].clone(), alpha))).unwrap();
            }
            let bytes = composed(&long_lived);
            prop_assert!(bytes == composed(&fresh), "differs from a fresh composition");
            prop_assert!(bytes == composed(&keeping), "differs from a composition on kept pages");
            prop_assert_eq!(long_lived.digest(), fresh.digest());
            let wanted = expected.iter().map(|(&pack, &alpha)| (skills[pack].clone(), alpha));
            let (trust, limits) = (Trust::unsigned_too(), CompositionLimits::default());
            let without_engine = Composed::of(&made.base, wanted, &trust, &limits).unwrap();
            prop_assert!(without_engine.weights().bytes() == bytes, "differs from weights composed without an engine");
            prop_assert_eq!(without_engine.composition(), &long_lived.composition());
            check_naively(&made.base, &bytes, &skills, &expected)?;
            if expected.is_empty() {
                prop_assert!(bytes == original, "nothing is in force, and it is not the base");
            }
        }
        prop_assert!(made.base.bytes() == original, "the base was written");
    }
}

/// Every tensor of the composed file is what the naive arithmetic makes of the base; every other byte is the base's.
fn check_naively(
    base: &BaseModel,
    composed: &[u8],
    skills: &[Skill],
    in_force: &BTreeMap<usize, f32>,
) -> Result<(), TestCaseError> {
    let mut rest = composed.to_vec();
    for tensor in base.tensors() {
        let (kind, size) = match tensor.dtype {
            Dtype::F16 => (naive::Kind::F16, 2),
            Dtype::BF16 => (naive::Kind::Bf16, 2),
            _ => (naive::Kind::F32, 4),
        };
        let patterns = |bytes: &[u8]| -> Vec<u32> {
            let pattern = |element: &[u8]| element.iter().rev().fold(0, |all, &byte| all << 8 | u32::from(byte));
            bytes.chunks(size).map(pattern).collect()
        };
        let applied: Vec<naive::Skill> = in_force
            .iter()
            .map(|(&pack, &alpha)| naive::Skill {
                digest: skills[pack].digest().0,
                alpha,
                changes: changes(&skills[pack], &tensor.name),
            })
            .collect();
        let expected = naive::compose(kind, &patterns(&base.bytes()[tensor.place.clone()]), &applied);
        prop_assert!(patterns(&composed[tensor.place.clone()]) == expected, "tensor {}", tensor.name);
        rest[tensor.place.clone()].copy_from_slice(&base.bytes()[tensor.place.clone()]);
    }
    prop_assert!(rest == base.bytes(), "bytes outside of the tensors");
    Ok(())
}

fn changes(skill: &Skill, tensor: &str) -> Vec<(usize, naive::Change)> {
    match skill.pack().tensors().find(|entry| entry.name() == tensor).map(|entry| entry.entries()) {
        None => Vec::new(),
        Some(Entries::Deltas(deltas)) => deltas.map(|(index, delta)| (index, naive::Change::Delta(delta))).collect(),
        Some(Entries::Distances(all)) => all.map(|(index, d)| (index, naive::Change::Distance(d))).collect(),
    }
}

#[test]
fn the_order_of_attaching_does_not_matter_even_where_addition_cares() {
    let made = bundle(MIXED, 2);
    // Big and small on one element: the f32 sum of these depends on their order.
    let deltas = [1e7f32, 1.3, -1e7, 2.7];
    assert_ne!(deltas.iter().sum::<f32>(), deltas.iter().rev().sum::<f32>());
    let skills: Vec<Skill> =
        deltas.iter().map(|&delta| skill(&one_delta(&made.base, &format!("by {delta}"), 7, delta))).collect();
    let mut seen: Option<(Vec<u8>, Digest)> = None;
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let session = session(&made.base);
        for pack in order {
            session.attach(&skills[pack], 1.0).unwrap();
        }
        let now = (composed(&session), session.digest());
        assert_eq!(*seen.get_or_insert_with(|| now.clone()), now);
        detach_all(&session);
        assert!(composed(&session) == made.base.bytes());
    }
}

#[test]
fn a_lossless_skill_alone_at_alpha_one_gives_the_tuned_bits() {
    let made = bundle(MIXED, 3);
    let tuned = skill(&random_pack(&made.base, "tuned", 5, Kind::Lossless, 300));
    let session = session(&made.base);
    session.attach(&tuned, 1.0).unwrap();
    let bytes = composed(&session);
    for entry in tuned.pack().tensors() {
        let Entries::Distances(distances) = entry.entries() else { panic!("lossless") };
        let place = made.base.tensor(entry.name()).unwrap().place.clone();
        for (index, distance) in distances {
            let size = entry.dtype().size_bytes();
            let at = place.start + index * size..place.start + (index + 1) * size;
            let (base, found) = (&made.base.bytes()[at.clone()], &bytes[at]);
            let expected = if size == 4 {
                let base = f32::from_le_bytes(base.try_into().unwrap());
                taskvec_arithmetic::distance::apply_f32(base, distance).to_le_bytes().to_vec()
            } else {
                let base = u16::from_le_bytes(base.try_into().unwrap());
                taskvec_arithmetic::distance::apply_u16(base, distance).to_le_bytes().to_vec()
            };
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_composition_names_base_skills_and_alphas() {
    use sha2::{Digest as _, Sha256};
    let made = bundle(MIXED, 4);
    let (a, b) = (skill(&one_delta(&made.base, "a", 1, 0.5)), skill(&one_delta(&made.base, "b", 2, 0.5)));
    let session = session(&made.base);
    session.attach(&a, 0.5).unwrap();
    session.attach(&b, -0.0).unwrap();
    let mut skills = [(a.digest(), 0.5f32), (b.digest(), 0.0)];
    skills.sort_by_key(|&(digest, _)| digest);
    let mut hasher = Sha256::new();
    hasher.update(b"taskvec composition v1\0");
    hasher.update(made.base.fingerprint().0);
    for (digest, alpha) in skills {
        hasher.update(digest.0);
        hasher.update(alpha.to_le_bytes());
    }
    assert_eq!(session.digest().0, <[u8; 32]>::from(hasher.finalize()));
    let composition = session.composition();
    assert_eq!(composition.digest, session.digest());
    assert_eq!(composition.skills.iter().map(|skill| (skill.digest, skill.alpha)).collect::<Vec<_>>(), skills);
    // Validated on [1, 1] only, which is the builder's default.
    assert!(composition.skills.iter().all(|skill| !skill.validated));
    let json = serde_json::to_value(&composition).unwrap();
    assert_eq!(json["base"], made.base.fingerprint().to_string());
}

fn detach_all(session: &Session) {
    session.swap([]).unwrap();
}
