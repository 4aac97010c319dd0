//! A session: base, composition and engine, ready to infer.
//!
//! One lock, first come, first served. A change waits for the inferences that came before it; the inferences that come
//! after it wait for the change. So an inference sees one composition, whole: the one named in its answer.
//!
//! A change is a transaction. Everything that can be checked without touching a weight is checked first. Then the
//! weights are changed, the proof is made (see [`Proof`]), and only then does the new composition count. If anything
//! fails, the weights are composed again as they were, which gives the same bits, since weights are a function of the
//! composition and of nothing else.

use std::time::{Duration, Instant};

use serde::Serialize;
use taskvec_pack::{Digest, EngineKind};

use crate::answer::{self, HeadChoice, Logits};
use crate::base_model::BaseModel;
use crate::composition::{Composition, CompositionLimits, Skills};
use crate::engine::{self, Engine, EngineChoice};
use crate::error::{Error, ErrorKind, of_bundle};
use crate::probe::{self, Proof};
use crate::skill::Skill;
use crate::turn::{Turn, Turns};
use crate::weights::{Weights, Work};

/// Base, composition and engine. Shared by reference between threads.
///
/// The session gives out nothing of its inside but answers, and keeps its promises for as long as the bundle's file is
/// not edited: see [`BaseModel::open`].
pub struct Session {
    base: BaseModel,
    engine_kind: EngineKind,
    engine_description: String,
    limits: CompositionLimits,
    state: Turns<State>,
}

struct State {
    engine: Box<dyn Engine>,
    weights: Weights,
    in_force: Skills,
    /// The weights are not what `in_force` says: going back has failed.
    torn: bool,
}

/// What a change did, and what it took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// What is in force now.
    pub composition: Composition,
    /// What was proved before it came into force.
    pub proof: Proof,
    /// Tensors whose weights were composed again.
    pub tensors: usize,
    /// Entries of packs that were applied for that.
    pub entries: u64,
    /// Pages of 4 KiB that the composition has written, in all: the memory that it owns. (With
    /// [`Session::keeping_pages`], pages of earlier compositions come on top.)
    pub touched_pages: usize,
    /// Their size in bytes.
    pub touched_bytes: u64,
    /// Time spent waiting for earlier inferences, in ms.
    pub wait_ms: f64,
    /// Time spent changing weights, in ms.
    pub weights_ms: f64,
    /// Time spent on the proof, in ms.
    pub proof_ms: f64,
}

impl Session {
    /// Opens the chosen engine over a private mapping of `base`, with nothing in force.
    ///
    /// # Errors
    /// `Io` when the file cannot be mapped again; `Unsupported` when the engine is not there or refuses the base;
    /// `Mismatch` when the bundle's parts do not belong together.
    pub fn open(base: &BaseModel, choice: &EngineChoice) -> Result<Self, Error> {
        Self::with_engine(base, |weights| engine::open(choice, base, weights))
    }

    /// Opens a session over an engine of the caller's own.
    ///
    /// # Errors
    /// `Io` when the file cannot be mapped again, and what `make` returns.
    pub fn with_engine(
        base: &BaseModel,
        make: impl FnOnce(&Weights) -> Result<Box<dyn Engine>, Error>,
    ) -> Result<Self, Error> {
        let weights = Weights::over(base)?;
        let engine = make(&weights)?;
        Ok(Self {
            base: base.clone(),
            engine_kind: engine.kind(),
            engine_description: engine.describe(),
            limits: CompositionLimits::default(),
            state: Turns::new(State { engine, weights, in_force: Skills::default(), torn: false }),
        })
    }

    /// The same session with other limits.
    #[must_use]
    pub fn with_limits(self, limits: CompositionLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same session, which keeps its pages when the last skill is detached: they hold the base's bytes again, and
    /// the next attach does not have to wait for fresh ones (a quarter to a tenth of the time), at the price of their
    /// memory. By default they go back to the system.
    #[must_use]
    pub fn keeping_pages(self) -> Self {
        if let Some(mut state) = self.state.take() {
            state.weights.keep_pages();
        }
        self
    }

    /// The base underneath.
    pub fn base(&self) -> &BaseModel {
        &self.base
    }

    /// Which engine infers.
    pub fn engine_kind(&self) -> EngineKind {
        self.engine_kind
    }

    /// The engine, its version and settings, for people.
    pub fn engine(&self) -> &str {
        &self.engine_description
    }

    /// Puts `skill` in force at `alpha`, beside what is.
    ///
    /// # Errors
    /// `Mismatch` when it belongs to another base, has no effect or fails its probes; `Usage` when alpha is not finite,
    /// the skill is in force already or edits what may not be edited; `Limit` when there is too much in force; and what
    /// the engine says. The composition in force is then the one from before.
    pub fn attach(&self, skill: &Skill, alpha: f32) -> Result<Change, Error> {
        self.change(|skills| skills.add(&self.base, skill, alpha, &self.limits))
            .map_err(|cause| cause.while_doing(format!("attach `{}`", skill.name())))
    }

    /// Takes a skill out of force.
    ///
    /// # Errors
    /// `Usage` when it is not in force; `Mismatch` when what remains does not pass its proof. The composition in force
    /// is then the one from before.
    pub fn detach(&self, skill: &Digest) -> Result<Change, Error> {
        self.change(|skills| skills.remove(skill)).map_err(|cause| cause.while_doing(format!("detach {skill}")))
    }

    /// Gives a skill in force another coefficient.
    ///
    /// # Errors
    /// As [`Session::attach`], and `Usage` when the skill is not in force.
    pub fn set_alpha(&self, skill: &Digest, alpha: f32) -> Result<Change, Error> {
        self.change(|skills| skills.set_alpha(skill, alpha))
            .map_err(|cause| cause.while_doing(format!("set alpha of {skill} to {alpha}")))
    }

    /// Replaces everything in force by `skills`, in one step; an empty list leaves the base.
    ///
    /// # Errors
    /// As [`Session::attach`], and `Usage` when a skill is given twice.
    pub fn swap(&self, skills: impl IntoIterator<Item = (Skill, f32)>) -> Result<Change, Error> {
        let fill = |wanted: &mut Skills| {
            let before = std::mem::take(wanted);
            for (skill, alpha) in skills {
                wanted
                    .add(&self.base, &skill, alpha, &self.limits)
                    .map_err(|cause| cause.while_doing(format!("skill `{}`", skill.name())))?;
            }
            wanted.adopt_felt(&before);
            Ok(())
        };
        self.change(fill).map_err(|cause| cause.while_doing("swap"))
    }

    /// What is in force. Waits for its turn like an inference.
    ///
    /// # Errors
    /// `Usage` when the session was left by a panic.
    pub fn composition(&self) -> Result<Composition, Error> {
        Ok(self.turn()?.in_force.snapshot(self.base.fingerprint()))
    }

    /// Digest of what is in force.
    ///
    /// # Errors
    /// As [`Session::composition`].
    pub fn digest(&self) -> Result<Digest, Error> {
        Ok(self.turn()?.in_force.digest(self.base.fingerprint()))
    }

    /// Answers for a batch of inputs with the head of the caller's choice.
    ///
    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`, row-major, as the preprocessing of the skill or of the base makes
    /// them.
    ///
    /// # Errors
    /// `Usage` when the pixels are not that many, or there is no such head; what the engine says otherwise.
    pub fn infer(&self, pixels: &[f32], batch: usize, head: &HeadChoice) -> Result<Logits, Error> {
        self.check_pixels(pixels, batch)?;
        let mut state = self.turn()?;
        let head = answer::head(&state.in_force, &self.base, head)?;
        let features = state.features(pixels, batch)?;
        let composition = state.in_force.digest(self.base.fingerprint());
        drop(state);
        let values = head.logits(&features).map_err(of_bundle)?;
        Ok(Logits { values, class_count: head.class_count(), head, composition })
    }

    /// The network's features for a batch of inputs.
    ///
    /// # Shapes
    /// `pixels` as in [`Session::infer`]; the result: `[batch, feature_width]`, row-major.
    ///
    /// # Errors
    /// As [`Session::infer`].
    pub fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.check_pixels(pixels, batch)?;
        self.turn()?.features(pixels, batch)
    }

    /// Lets `look` see the composed weights: the whole `model.safetensors` as it is in force, header and all. Nothing
    /// changes while it looks.
    ///
    /// # Errors
    /// As [`Session::composition`].
    pub fn look_at_weights<R>(&self, look: impl FnOnce(&Weights) -> R) -> Result<R, Error> {
        Ok(look(&self.turn()?.weights))
    }

    fn change(&self, edit: impl FnOnce(&mut Skills) -> Result<(), Error>) -> Result<Change, Error> {
        let waiting = Instant::now();
        let mut state = self.turn()?;
        let wait_ms = ms(waiting.elapsed());
        let mut wanted = state.in_force.clone();
        edit(&mut wanted)?;
        let (work, proof, weights_ms, proof_ms) = state.transact(wanted, &self.limits)?;
        Ok(Change {
            composition: state.in_force.snapshot(self.base.fingerprint()),
            proof,
            tensors: work.tensors,
            entries: work.entries,
            touched_pages: state.weights.touched_pages(),
            touched_bytes: state.weights.touched_bytes(),
            wait_ms,
            weights_ms,
            proof_ms,
        })
    }

    fn turn(&self) -> Result<Turn<'_, State>, Error> {
        self.state.take().filter(|state| !state.torn).ok_or_else(|| {
            Error::new(ErrorKind::Usage, "an earlier call left this session unusable").with_help("open a new session")
        })
    }

    fn check_pixels(&self, pixels: &[f32], batch: usize) -> Result<(), Error> {
        let [channels, height, width] = self.base.image_shape();
        let expected = self.base.preprocessing().pixels_len().checked_mul(batch);
        if batch == 0 || expected != Some(pixels.len()) {
            let clause = format!(
                "{} numbers for {batch} inputs, expected {channels} x {height} x {width} for each of at least 1",
                pixels.len()
            );
            return Err(Error::new(ErrorKind::Usage, clause));
        }
        Ok(())
    }
}

impl State {
    /// Brings `wanted` into force, or leaves everything as it is.
    fn transact(&mut self, mut wanted: Skills, limits: &CompositionLimits) -> Result<(Work, Proof, f64, f64), Error> {
        let started = Instant::now();
        self.engine.forget_weights();
        // If this fails, nothing has been written yet.
        let work = self.weights.change(&self.in_force, &mut wanted)?;
        let weights_ms = ms(started.elapsed());
        let started = Instant::now();
        let proof = self.check_size(limits).and_then(|()| probe::prove(&mut *self.engine, &self.weights, &wanted));
        match proof {
            Ok(proof) => {
                self.in_force = wanted;
                Ok((work, proof, weights_ms, ms(started.elapsed())))
            }
            Err(cause) => {
                self.engine.forget_weights();
                let mut before = self.in_force.clone();
                self.torn = self.weights.change(&wanted, &mut before).is_err();
                Err(cause)
            }
        }
    }

    fn check_size(&self, limits: &CompositionLimits) -> Result<(), Error> {
        let (touched, most) = (self.weights.touched_bytes(), limits.touched_bytes_max);
        if touched > most {
            let clause = format!("the composition touches {touched} bytes of weights, more than the limit of {most}");
            return Err(Error::new(ErrorKind::Limit, clause)
                .with_help("detach a skill, raise `touched_bytes_max`, or use packs with a coarser granule"));
        }
        Ok(())
    }

    fn features(&mut self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        probe::features(&mut *self.engine, &self.weights, pixels, batch)
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
