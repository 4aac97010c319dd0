//! A session: base, compositions and engine, ready to infer from many threads.
//!
//! What serves is a *view*: a private mapping of the base with one composition written into it, and what the engine lays
//! over it. A view never changes while it serves. An inference takes the view that serves when it comes, and keeps it to
//! its end: it sees one composition, whole, the one named in its answer, and it never waits for a change.
//!
//! A change is prepared beside what serves. Everything that can be checked without touching a weight is checked first.
//! Then the new composition is written on a mapping that nobody uses, what the engine needs is laid over it, and the
//! proof is made there (see [`Proof`]). Only then does the new view serve, by the exchange of one pointer. Once the
//! inferences that began before have ended, the old view's memory is taken back. If anything fails on the way, the old
//! view has never stopped serving.
//!
//! So a change costs the touched pages of two compositions for as long as it lasts, and of one afterwards. The view of
//! the base alone costs nothing and stays for the life of the session: to detach everything is to exchange the pointer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use taskvec_pack::{Digest, EngineKind};

use crate::answer::{self, HeadChoice, Logits};
use crate::array::Array;
use crate::base_model::BaseModel;
use crate::composition::{Composition, CompositionLimits, Skills};
use crate::engine::{self, Engine, EngineChoice, EngineReport, Inference};
use crate::error::{Error, ErrorKind, of_bundle};
use crate::interface;
use crate::probe::{self, Proof};
use crate::skill::Skill;
use crate::switch::Switch;
use crate::trust::Trust;
use crate::weights::{Weights, Work};

/// Base, composition and engine. Shared by reference between threads, which may infer and change at once.
///
/// The session gives out nothing of its inside but answers, and keeps its promises for as long as the bundle's file is
/// not edited: see [`BaseModel::open`].
pub struct Session {
    base: BaseModel,
    engine: Arc<dyn Engine>,
    limits: CompositionLimits,
    trust: Trust,
    keeps_pages: bool,
    change_threads: usize,
    /// The base alone; none when the engine copies weights, so that keeping it would cost a model's memory.
    bare: Option<Arc<View>>,
    serving: Switch<View>,
    /// Held during a change. In it: a clean mapping for the next one.
    changing: Mutex<Option<Weights>>,
}

/// One composition, ready to be used.
struct View {
    inference: Box<dyn Inference>,
    weights: Weights,
    in_force: Skills,
    /// Of `in_force`.
    digest: Digest,
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
    /// Elements of quantized tensors for which the sum lies beyond the grid, so that they are its end.
    pub saturated: u64,
    /// Pages of 4 KiB that the composition has written: the memory that it owns. (With [`Session::keeping_pages`], pages
    /// of earlier compositions come on top.)
    pub touched_pages: usize,
    /// Their size in bytes.
    pub touched_bytes: u64,
    /// Time spent waiting for another change to end, in ms.
    pub wait_ms: f64,
    /// Time spent writing weights, in ms.
    pub weights_ms: f64,
    /// Time spent on the engine's preparations and on the proof, in ms. After it the new composition serves.
    pub proof_ms: f64,
    /// Time spent, while the new composition served already, on waiting for the inferences that had begun before and on
    /// taking the old composition's memory back, in ms.
    pub settle_ms: f64,
}

impl Session {
    /// Opens the chosen engine for `base`, with nothing in force, and nobody trusted: see [`Session::trusting`].
    ///
    /// # Errors
    /// `Io` when the file cannot be mapped again; `Unsupported` when the engine is not there or refuses the base;
    /// `Mismatch` when the bundle's parts do not belong together.
    pub fn open(base: &BaseModel, choice: &EngineChoice) -> Result<Self, Error> {
        Self::with_engine(base, engine::open(choice, base)?)
    }

    /// Opens a session over an engine of the caller's own.
    ///
    /// # Errors
    /// `Io` when the file cannot be mapped again, and what the engine says.
    pub fn with_engine(base: &BaseModel, engine: Arc<dyn Engine>) -> Result<Self, Error> {
        let view = Arc::new(View::bare(base, &*engine)?);
        Ok(Self {
            base: base.clone(),
            limits: CompositionLimits::default(),
            trust: Trust::default(),
            keeps_pages: false,
            change_threads: 1,
            bare: (!engine.copies_weights()).then(|| Arc::clone(&view)),
            engine,
            serving: Switch::new(view),
            changing: Mutex::new(None),
        })
    }

    /// Another session on the same base, engine and settings, with nothing in force: several compositions can serve at
    /// once, and each request goes to the session of its choice. It costs the pages that its composition touches.
    ///
    /// # Errors
    /// What the engine says, when it copies weights; none otherwise.
    pub fn beside(&self) -> Result<Self, Error> {
        let view = match &self.bare {
            Some(bare) => Arc::clone(bare),
            None => Arc::new(View::bare(&self.base, &*self.engine)?),
        };
        Ok(Self {
            base: self.base.clone(),
            engine: Arc::clone(&self.engine),
            limits: self.limits,
            trust: self.trust.clone(),
            keeps_pages: self.keeps_pages,
            change_threads: self.change_threads,
            bare: self.bare.clone(),
            serving: Switch::new(view),
            changing: Mutex::new(None),
        })
    }

    /// The same session, which attaches the packs that `trust` takes. By default it takes none; whoever wants every pack
    /// says so by name: [`Trust::unsigned_too`].
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// The same session with other limits.
    #[must_use]
    pub fn with_limits(self, limits: CompositionLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same session, which keeps the pages of a composition that is no longer in force for the next one, which then
    /// does not have to wait for fresh pages (a quarter to a tenth of the time), at the price of their memory. By default
    /// they go back to the system.
    #[must_use]
    pub fn keeping_pages(self) -> Self {
        Self { keeps_pages: true, ..self }
    }

    /// The same session, which writes compositions on this many threads (0 is taken as 1). More make a change shorter and the
    /// inferences beside it slower; they change no bit. By default one. (Where pages are fresh and this system cannot take
    /// many of them at once, it stays at one: threads that take pages of one mapping one by one hinder each other, and two
    /// were measured to take more than twice the time of one.)
    #[must_use]
    pub fn with_change_threads(self, threads: usize) -> Self {
        Self { change_threads: threads, ..self }
    }

    /// The base underneath.
    pub fn base(&self) -> &BaseModel {
        &self.base
    }

    /// Which engine infers.
    pub fn engine_kind(&self) -> EngineKind {
        self.engine.kind()
    }

    /// The engine, its version and settings, for people.
    pub fn engine(&self) -> String {
        self.engine.describe()
    }

    /// The engine for programs: what computes, how weights reach it, why, and what was tried before.
    pub fn engine_report(&self) -> EngineReport {
        self.engine.report()
    }

    /// Puts `skill` in force at `alpha`, beside what is.
    ///
    /// # Errors
    /// `Untrusted` when too few keys that this session trusts have signed it; `Mismatch` when it belongs to another base,
    /// has no effect or fails its probes; `Usage` when alpha is not finite, the skill is in force already or edits what
    /// may not be edited; `Limit` when there is too much in force; and what the engine says. The composition in force is
    /// then the one from before.
    pub fn attach(&self, skill: &Skill, alpha: f32) -> Result<Change, Error> {
        self.trust
            .vouch_for(skill)
            .and_then(|vouched| self.change(|skills| skills.add(&self.base, vouched, alpha, &self.limits)))
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
            *wanted = Skills::default();
            for (skill, alpha) in skills {
                self.trust
                    .vouch_for(&skill)
                    .and_then(|vouched| wanted.add(&self.base, vouched, alpha, &self.limits))
                    .map_err(|cause| cause.while_doing(format!("skill `{}`", skill.name())))?;
            }
            Ok(())
        };
        self.change(fill).map_err(|cause| cause.while_doing("swap"))
    }

    /// What is in force.
    pub fn composition(&self) -> Composition {
        self.serving.lease().in_force.snapshot(self.base.fingerprint())
    }

    /// Digest of what is in force.
    pub fn digest(&self) -> Digest {
        self.serving.lease().digest
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
        let view = self.serving.lease();
        let head = answer::head(&view.in_force, &self.base, head)?;
        let features = probe::features(&*view.inference, &self.base, pixels, batch)?;
        let composition = view.digest;
        drop(view);
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
        probe::features(&*self.serving.lease().inference, &self.base, pixels, batch)
    }

    /// The network's answers to arrays, for a base that takes no pictures.
    ///
    /// # Shapes
    /// `inputs`: one array for each input of the base, with its dtype and as many sides; sides of one name have one size.
    /// The result: one array for each output, in the base's order.
    ///
    /// # Errors
    /// `Usage` when the base takes pictures, or an input is missing, unknown, there twice or of another form; what the engine
    /// says otherwise.
    pub fn run(&self, inputs: &[Array]) -> Result<Vec<Array>, Error> {
        interface::check_inputs(&self.base, inputs)?;
        self.serving.lease().inference.run(inputs)
    }

    /// What this base is tried with before a change comes into force: an array for each input, or nothing if it takes
    /// pictures.
    ///
    /// # Errors
    /// `Unsupported` when an input is of a dtype that cannot be made here.
    pub fn trial_inputs(&self) -> Result<Vec<Array>, Error> {
        probe::trial_arrays(&self.base)
    }

    /// Lets `look` see the composed weights: the whole `model.safetensors` as it is in force, header and all. Nothing
    /// changes them while it looks. It must not change this session: the change would wait for it to end.
    pub fn look_at_weights<R>(&self, look: impl FnOnce(&Weights) -> R) -> R {
        look(&self.serving.lease().weights)
    }

    fn change(&self, edit: impl FnOnce(&mut Skills) -> Result<(), Error>) -> Result<Change, Error> {
        let waiting = Instant::now();
        // A change that panicked has left nothing half done: its mapping went with it.
        let mut spare = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let wait_ms = ms(waiting.elapsed());
        let mut wanted = self.serving.lease().in_force.clone();
        edit(&mut wanted)?;
        let prepared = self.prepare(wanted, &mut spare)?;
        let settling = Instant::now();
        let Prepared { view, work, proof, weights_ms, proof_ms } = prepared;
        let composition = view.in_force.snapshot(self.base.fingerprint());
        let (touched_pages, touched_bytes) = (view.weights.touched_pages(), view.weights.touched_bytes());
        let before = self.serving.replace(view).when_unused();
        // Others hold it when it is the bare view, which stays.
        if let Ok(before) = Arc::try_unwrap(before) {
            *spare = before.taken_back(self.keeps_pages);
        }
        Ok(Change {
            composition,
            proof,
            tensors: work.tensors,
            entries: work.entries,
            saturated: work.saturated,
            touched_pages,
            touched_bytes,
            wait_ms,
            weights_ms,
            proof_ms,
            settle_ms: ms(settling.elapsed()),
        })
    }

    /// A view of `wanted`, composed and proved, that does not serve yet.
    fn prepare(&self, mut wanted: Skills, spare: &mut Option<Weights>) -> Result<Prepared, Error> {
        let started = Instant::now();
        if let (true, Some(bare)) = (wanted.is_empty(), &self.bare) {
            let (view, work) = (Arc::clone(bare), Work::default());
            return Ok(Prepared { view, work, proof: Proof::Base, weights_ms: ms(started.elapsed()), proof_ms: 0.0 });
        }
        let mut weights = spare.take().map_or_else(|| Weights::over(&self.base), Ok)?;
        let work = weights.compose(&mut wanted, self.change_threads)?;
        let weights_ms = ms(started.elapsed());
        let started = Instant::now();
        let view = match self.check_size(&weights).and_then(|()| self.engine.over(&weights)) {
            Ok(inference) => View::new(&self.base, weights, inference, wanted),
            Err(cause) => {
                *spare = weights.cleaned(self.keeps_pages);
                return Err(cause);
            }
        };
        match probe::prove(&*self.engine, &*view.inference, &self.base, &view.in_force) {
            Ok(proof) => {
                Ok(Prepared { view: Arc::new(view), work, proof, weights_ms, proof_ms: ms(started.elapsed()) })
            }
            Err(cause) => {
                *spare = view.taken_back(self.keeps_pages);
                Err(cause)
            }
        }
    }

    fn check_size(&self, weights: &Weights) -> Result<(), Error> {
        let (touched, most) = (weights.touched_bytes(), self.limits.touched_bytes_max);
        if touched > most {
            let clause = format!("the composition touches {touched} bytes of weights, more than the limit of {most}");
            return Err(Error::new(ErrorKind::Limit, clause)
                .with_help("detach a skill, raise `touched_bytes_max`, or use packs with a coarser granule"));
        }
        Ok(())
    }

    fn check_pixels(&self, pixels: &[f32], batch: usize) -> Result<(), Error> {
        let pictures = self.base.pictures()?;
        let [channels, height, width] = pictures.shape();
        let expected = pictures.pixels_len().checked_mul(batch);
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

/// What a change has got ready.
struct Prepared {
    view: Arc<View>,
    work: Work,
    proof: Proof,
    weights_ms: f64,
    proof_ms: f64,
}

impl View {
    fn new(base: &BaseModel, weights: Weights, inference: Box<dyn Inference>, in_force: Skills) -> Self {
        let digest = in_force.digest(base.fingerprint());
        Self { inference, weights, in_force, digest }
    }

    /// The base alone.
    fn bare(base: &BaseModel, engine: &dyn Engine) -> Result<Self, Error> {
        let weights = Weights::over(base)?;
        let inference = engine.over(&weights)?;
        Ok(Self::new(base, weights, inference, Skills::default()))
    }

    /// Its mapping, clean again, for the next composition.
    fn taken_back(self, keep_pages: bool) -> Option<Weights> {
        let Self { inference, weights, .. } = self;
        inference.retire(keep_pages);
        weights.cleaned(keep_pages)
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
