//! Many inferences, many random changes, two sessions beside each other, several threads: every answer is bit for bit the
//! one that a fresh session gives with the composition that the answer names.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use taskvec_pack::write::Rounding;
use taskvec_runtime::{BaseModel, Digest, EngineChoice, HeadChoice, Session, Skill, Trust};

use crate::engines::{base, choices, everywhere};
use crate::made::{Kind, Numbers, skill};

const INPUTS: usize = 6;
const ALPHAS: [f32; 4] = [1.0, 0.5, -0.25, 0.0];
/// Share of the changes that go to a composition that was in force before, in percent.
const KNOWN_IN_100: u64 = 70;

type Wanted = Vec<(Skill, f32)>;

/// What fresh sessions answer, by composition: one row of logits for each input.
struct Fresh {
    base: BaseModel,
    choice: EngineChoice,
    answers: Mutex<HashMap<Digest, Arc<Vec<Vec<f32>>>>>,
}

impl Fresh {
    /// Opens a session for `wanted` alone and notes what it answers.
    fn note(&self, wanted: &Wanted, inputs: &[Vec<f32>]) -> Digest {
        let session = Session::open(&self.base, &self.choice).unwrap().trusting(Trust::unsigned_too());
        session.swap(wanted.clone()).unwrap();
        let answers = inputs.iter().map(|pixels| infer(&session, pixels).1).collect();
        self.answers.lock().unwrap().insert(session.digest(), Arc::new(answers));
        session.digest()
    }
}

fn infer(session: &Session, pixels: &[f32]) -> (Digest, Vec<f32>) {
    let answer = session.infer(pixels, 1, &HeadChoice::Base("parity".into())).unwrap();
    (answer.composition, answer.values)
}

fn random_composition(skills: &[Skill], numbers: &mut Numbers) -> Wanted {
    let chosen = numbers.some_of(skills.len() as u64, 400);
    chosen.into_iter().map(|at| (skills[at as usize].clone(), ALPHAS[numbers.below(4) as usize])).collect()
}

/// Changes `session` at random until told to stop.
fn change(
    session: &Session,
    fresh: &Fresh,
    skills: &[Skill],
    inputs: &[Vec<f32>],
    seed: u64,
    stop: &AtomicBool,
) -> u64 {
    let mut numbers = Numbers(seed);
    let mut known: Vec<(Wanted, Digest)> = Vec::new();
    let mut changes = 0;
    while !stop.load(Ordering::Relaxed) {
        let again = !known.is_empty() && numbers.below(100) < KNOWN_IN_100;
        let at = if again {
            numbers.below(known.len() as u64) as usize
        } else {
            let wanted = random_composition(skills, &mut numbers);
            let digest = fresh.note(&wanted, inputs);
            known.push((wanted, digest));
            known.len() - 1
        };
        let (wanted, expected) = &known[at];
        // The last step may be an attach instead of a swap; what lies between is noted too.
        let digest = match wanted.split_last() {
            Some(((last, alpha), rest)) if numbers.below(3) == 0 => {
                let between = rest.to_vec();
                fresh.note(&between, inputs);
                session.swap(between).unwrap();
                session.attach(last, *alpha).unwrap().composition.digest
            }
            _ => session.swap(wanted.clone()).unwrap().composition.digest,
        };
        assert_eq!(digest, *expected);
        changes += 1;
    }
    changes
}

/// Says what it has seen.
fn storm(choice: EngineChoice, duration: Duration) -> String {
    let base = base();
    let mut numbers = Numbers(90);
    let inputs: Vec<Vec<f32>> = (0..INPUTS).map(|_| (0..64).map(|_| numbers.signed()).collect()).collect();
    let kinds = [Kind::Deltas(Rounding::F32), Kind::Lossless, Kind::Deltas(Rounding::INT8)];
    let skills: Vec<Skill> =
        (0..5).map(|at| skill(&everywhere(&base, &"x".repeat(at + 1), kinds[at % 3], 20 + 60 * at as u64))).collect();
    let fresh = Fresh { base: base.clone(), choice: choice.clone(), answers: Mutex::default() };
    fresh.note(&Vec::new(), &inputs);
    let one = Session::open(&base, &choice).unwrap().trusting(Trust::unsigned_too());
    let sessions = [one.beside().unwrap().keeping_pages(), one];
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let changes: u64 = thread::scope(|scope| {
        for thread in 0..3 {
            let (sessions, inputs, fresh, stop, answered) = (&sessions, &inputs, &fresh, &stop, &answered);
            scope.spawn(move || {
                let mut numbers = Numbers(thread);
                while !stop.load(Ordering::Relaxed) {
                    let at = numbers.below(INPUTS as u64) as usize;
                    let (digest, found) = infer(&sessions[numbers.below(2) as usize], &inputs[at]);
                    let expected = fresh.answers.lock().unwrap().get(&digest).map(Arc::clone);
                    let expected = expected.unwrap_or_else(|| panic!("{digest} was never asked for"));
                    assert_eq!(found, expected[at], "with {digest}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let changing = [0, 1].map(|at: usize| {
            let (sessions, inputs, fresh, skills, stop) = (&sessions, &inputs, &fresh, &skills, &stop);
            scope.spawn(move || change(&sessions[at], fresh, skills, inputs, 91 + at as u64, stop))
        });
        let started = Instant::now();
        while started.elapsed() < duration && changing.iter().all(|thread| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
        changing.map(|thread| thread.join().unwrap()).iter().sum()
    });
    let (answered, compositions) = (answered.into_inner(), fresh.answers.into_inner().unwrap().len());
    assert!(answered > 100 && changes > 10 && compositions > 5);
    for session in &sessions {
        session.swap([]).unwrap();
        assert!(session.look_at_weights(|weights| weights.bytes() == base.bytes()));
    }
    let engine = sessions[0].engine();
    format!("{engine}: {answered} answers during {changes} changes among {compositions} compositions\n")
}

fn on_every_engine(seconds: u64) -> String {
    let choices = choices();
    let duration = Duration::from_secs(seconds) / choices.len() as u32;
    choices.into_iter().map(|choice| storm(choice, duration)).collect()
}

#[test]
fn twenty_seconds_of_changes_make_no_answer_wrong() {
    print!("{}", on_every_engine(20));
}

#[test]
#[ignore = "minutes: ten of them"]
fn ten_minutes_of_changes_make_no_answer_wrong() {
    print!("{}", on_every_engine(600));
}
