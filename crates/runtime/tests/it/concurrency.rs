//! Swaps among running inferences: every answer is that of one composition, the one it names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use taskvec_pack::ValueEncoding;
use taskvec_runtime::{Digest, Engine, EngineKind, Error, HeadChoice, Session, Skill, Weights};

use crate::made::{Kind, MIXED, PLAIN, Plain, bundle, composed, head, random_pack, session, skill};

/// Reads all weights, waits a little, and reads them again: an answer is the sum of both, so that a change in between
/// shows.
struct Slow;

impl Engine for Slow {
    fn kind(&self) -> EngineKind {
        PLAIN
    }

    fn describe(&self) -> String {
        "plain sums, twice".into()
    }

    fn features(&mut self, weights: &Weights, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        let first = Plain.features(weights, pixels, batch)?;
        thread::sleep(Duration::from_micros(200));
        let second = Plain.features(weights, pixels, batch)?;
        Ok(first.iter().zip(second).map(|(first, second)| first + second).collect())
    }
}

const PIXELS: [f32; 4] = [0.25, -1.0, 0.5, 1.0];

#[test]
fn every_answer_is_that_of_one_composition() {
    let made = bundle(MIXED, 40);
    let skills: Vec<Skill> = (0..3)
        .map(|i| {
            let kind = if i == 1 { Kind::Lossless } else { Kind::Deltas(ValueEncoding::F32) };
            skill(random_pack(&made.base, &format!("skill {i}"), 400 + i, kind, 200).head(head()))
        })
        .collect();
    let compositions = [
        vec![(skills[0].clone(), 1.0), (skills[2].clone(), 0.5)],
        vec![(skills[0].clone(), -0.5), (skills[1].clone(), 1.0)],
    ];
    let slow = || Session::with_engine(&made.base, |_| Ok(Box::new(Slow))).unwrap();
    let asked = HeadChoice::Skill(skills[0].digest());
    let expected: BTreeMap<Digest, Vec<f32>> = compositions
        .iter()
        .map(|composition| {
            let session = slow();
            session.swap(composition.clone()).unwrap();
            let answer = session.infer(&PIXELS, 1, &asked).unwrap();
            (answer.composition, answer.values)
        })
        .collect();
    assert_eq!(expected.len(), 2);

    let session = slow();
    session.swap(compositions[0].clone()).unwrap();
    let stop = AtomicBool::new(false);
    let answers = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let answer = session.infer(&PIXELS, 1, &asked).unwrap();
                    assert_eq!(expected.get(&answer.composition), Some(&answer.values));
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..150 {
            let before = answers.load(Ordering::Relaxed);
            let change = session.swap(compositions[round % 2].clone()).unwrap();
            assert!(expected.contains_key(&change.composition.digest));
            // Three threads infer without a pause, and yet the swap had its turn: at most those that were waiting, and
            // one more each while the counter was read, came first.
            let passed = answers.load(Ordering::Relaxed) - before;
            assert!(passed <= 12, "{passed} inferences came before the swap");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(answers.into_inner() > 100);
}

#[test]
fn a_failed_swap_is_seen_by_nobody() {
    let made = bundle(MIXED, 41);
    let good = skill(random_pack(&made.base, "good", 1, Kind::Lossless, 300).head(head()));
    let bad = skill(&crate::made::one_delta(&made.base, "bad", 5, f32::MAX));
    let session = session(&made.base);
    session.attach(&good, 1.0).unwrap();
    let expected = session.infer(&PIXELS, 1, &HeadChoice::Only).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(session.infer(&PIXELS, 1, &HeadChoice::Only).unwrap(), expected);
                }
            });
        }
        for _ in 0..50 {
            session.attach(&bad, 2.0).unwrap_err();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_panic_in_an_engine_makes_the_session_unusable_and_not_wrong() {
    struct Panicking;
    impl Engine for Panicking {
        fn kind(&self) -> EngineKind {
            PLAIN
        }
        fn describe(&self) -> String {
            "panicking".into()
        }
        fn features(&mut self, _: &Weights, _: &[f32], _: usize) -> Result<Vec<f32>, Error> {
            std::panic::resume_unwind(Box::new("on purpose"))
        }
    }
    let made = bundle(MIXED, 42);
    let session = Session::with_engine(&made.base, |_| Ok(Box::new(Panicking))).unwrap();
    assert!(composed(&session) == made.base.bytes());
    thread::scope(|scope| scope.spawn(|| session.features(&PIXELS, 1)).join().map(drop).unwrap_err());
    let error = session.features(&PIXELS, 1).unwrap_err();
    assert!(error.help().unwrap().contains("open a new session"));
}

#[test]
fn a_session_may_be_shared_and_sent() {
    fn shared_and_sent<T: Send + Sync>() {}
    shared_and_sent::<Session>();
    shared_and_sent::<Skill>();
    shared_and_sent::<taskvec_runtime::BaseModel>();
    shared_and_sent::<Error>();
}
