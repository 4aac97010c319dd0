//! Changes among running inferences: every answer is that of one composition, the one it names, and nobody waits who
//! need not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use taskvec_pack::write::Rounding;
use taskvec_runtime::{Digest, Engine, EngineKind, Error, HeadChoice, Inference, Session, Skill, Trust, Weights};

use crate::made::{Kind, MIXED, PLAIN, Plain, bundle, composed, head, one_delta, random_pack, session, skill};

/// Reads all weights twice, with a chance for others in between: an answer is the sum of both, so that a change in
/// between shows.
struct Slow;

impl Engine for Slow {
    fn kind(&self) -> EngineKind {
        PLAIN
    }

    fn describe(&self) -> String {
        "plain sums, twice".into()
    }

    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        Ok(Box::new(Twice(Plain.over(weights)?)))
    }
}

struct Twice(Box<dyn Inference>);

impl Inference for Twice {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        let first = self.0.features(pixels, batch)?;
        thread::yield_now();
        let second = self.0.features(pixels, batch)?;
        Ok(first.iter().zip(second).map(|(first, second)| first + second).collect())
    }
}

const PIXELS: [f32; 4] = [0.25, -1.0, 0.5, 1.0];

#[test]
fn every_answer_is_that_of_one_composition() {
    let made = bundle(MIXED, 40);
    let skills: Vec<Skill> = (0..3)
        .map(|i| {
            let kind = if i == 1 { Kind::Lossless } else { Kind::Deltas(Rounding::F32) };
            skill(random_pack(&made.base, &format!("skill {i}"), 400 + i, kind, 200).head(head()))
        })
        .collect();
    let compositions = [
        vec![(skills[0].clone(), 1.0), (skills[2].clone(), 0.5)],
        vec![(skills[0].clone(), -0.5), (skills[1].clone(), 1.0)],
    ];
    let slow = || Session::with_engine(&made.base, Arc::new(Slow)).unwrap().trusting(Trust::unsigned_too());
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
            let change = session.swap(compositions[round % 2].clone()).unwrap();
            assert!(expected.contains_key(&change.composition.digest));
            // Who comes after a swap is answered with what it brought.
            assert_eq!(session.infer(&PIXELS, 1, &asked).unwrap().composition, change.composition.digest);
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

/// An engine whose inferences, once it is closed, wait until it is opened again.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_closed: bool,
    waiting: usize,
}

impl Gate {
    fn set_closed(&self, is_closed: bool) {
        self.state.lock().unwrap().is_closed = is_closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.is_closed).unwrap());
        self.state.lock().unwrap().waiting -= 1;
    }

    fn until_somebody_waits(&self) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| state.waiting == 0).unwrap());
    }
}

struct Gated(Arc<Gate>);

impl Engine for Gated {
    fn kind(&self) -> EngineKind {
        PLAIN
    }

    fn describe(&self) -> String {
        "plain sums behind a gate".into()
    }

    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        Ok(Box::new(BehindGate(Arc::clone(&self.0), Plain.over(weights)?)))
    }
}

struct BehindGate(Arc<Gate>, Box<dyn Inference>);

impl Inference for BehindGate {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        let features = self.1.features(pixels, batch)?;
        self.0.pass();
        Ok(features)
    }
}

#[test]
fn a_new_composition_serves_while_an_inference_on_the_old_one_is_under_way() {
    let made = bundle(MIXED, 43);
    let gate = Arc::new(Gate::default());
    let session =
        Session::with_engine(&made.base, Arc::new(Gated(Arc::clone(&gate)))).unwrap().trusting(Trust::unsigned_too());
    let (old, new) = (skill(&one_delta(&made.base, "old", 1, 0.5)), skill(&one_delta(&made.base, "new", 2, 0.5)));
    session.attach(&old, 1.0).unwrap();
    let of_old = session.features(&PIXELS, 1).unwrap();
    thread::scope(|scope| {
        gate.set_closed(true);
        let under_way = scope.spawn(|| session.features(&PIXELS, 1).unwrap());
        gate.until_somebody_waits();
        // The proof of a change to the base alone infers nothing, so it passes the gate; the change then waits for the
        // inference on the old view, and serves already.
        let change = scope.spawn(|| session.swap([]).unwrap());
        while !session.composition().skills.is_empty() {
            thread::yield_now();
        }
        assert!(composed(&session) == made.base.bytes());
        assert!(!change.is_finished(), "the old view is taken back while it is in use");
        gate.set_closed(false);
        assert_eq!(under_way.join().unwrap(), of_old, "an inference ends on the composition it began on");
        assert!(change.join().unwrap().composition.skills.is_empty());
    });
    session.attach(&new, 1.0).unwrap();
    assert_ne!(session.features(&PIXELS, 1).unwrap(), of_old);
}

#[test]
fn several_compositions_serve_at_once() {
    let made = bundle(MIXED, 44);
    let session = session(&made.base);
    let skills = [1, 2, 3].map(|index| skill(&one_delta(&made.base, &format!("skill {index}"), index, 0.5)));
    let sessions = skills.each_ref().map(|skill| {
        let beside = session.beside().unwrap();
        beside.attach(skill, 1.0).unwrap();
        beside
    });
    for (beside, skill) in sessions.iter().zip(&skills) {
        let alone = crate::made::session(&made.base);
        alone.attach(skill, 1.0).unwrap();
        assert!(composed(beside) == composed(&alone));
        assert_eq!(beside.digest(), alone.digest());
    }
    assert!(composed(&session) == made.base.bytes());
    drop(session);
    assert_eq!(sessions[0].composition().skills.len(), 1, "a session beside outlives the first");
}

#[test]
fn a_panic_in_an_engine_harms_nobody_else() {
    /// Panics when it infers on anything but the base.
    struct Panicking;
    impl Engine for Panicking {
        fn kind(&self) -> EngineKind {
            PLAIN
        }
        fn describe(&self) -> String {
            "panicking".into()
        }
        fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
            if weights.bytes() == weights.base().bytes() { Plain.over(weights) } else { Ok(Box::new(Panics)) }
        }
    }
    struct Panics;
    impl Inference for Panics {
        fn features(&self, _: &[f32], _: usize) -> Result<Vec<f32>, Error> {
            std::panic::resume_unwind(Box::new("on purpose"))
        }
    }
    let made = bundle(MIXED, 42);
    let session = Session::with_engine(&made.base, Arc::new(Panicking)).unwrap().trusting(Trust::unsigned_too());
    let before = session.features(&PIXELS, 1).unwrap();
    let one = skill(&one_delta(&made.base, "one", 1, 0.5));
    for _ in 0..2 {
        thread::scope(|scope| scope.spawn(|| session.attach(&one, 1.0)).join().map(drop).unwrap_err());
        assert_eq!(session.features(&PIXELS, 1).unwrap(), before);
        assert!(session.composition().skills.is_empty());
        assert!(composed(&session) == made.base.bytes());
    }
}

#[test]
fn a_session_may_be_shared_and_sent() {
    fn shared_and_sent<T: Send + Sync>() {}
    shared_and_sent::<Session>();
    shared_and_sent::<Skill>();
    shared_and_sent::<taskvec_runtime::BaseModel>();
    shared_and_sent::<Error>();
}
