//! Attach and detach beside a `memcpy`, and a swap from file to service beside what has to be done without us.
//!
//! Warm is a change on pages that were written before and kept; cold takes fresh pages from the system. The proof of a
//! change is not in these times: it is an inference. A known pack is one that this process has checked before, as with
//! packs of the store that come back into force; a new one is checked byte by byte.

use std::fs;
use std::hint::black_box;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskvec_runtime::{
    BaseModel, CheckedPack, Engine, EngineChoice, EngineKind, Error, Inference, PackLimits, Session, Skill, Trust,
    Weights,
};

use super::super::{Row, median};
use super::bases::{Bases, skill, tenth};

const ROUNDS: usize = 7;
const PAGE_BYTES: usize = 4096;
const MASKS: [(&str, bool); 2] = [("4 KiB blocks", true), ("single elements", false)];

/// Infers nothing, so that only weights are measured.
struct Idle;

impl Engine for Idle {
    fn kind(&self) -> EngineKind {
        EngineKind::Any
    }

    fn describe(&self) -> String {
        "idle".into()
    }

    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        Ok(Box::new(Nothing(weights.base().pictures()?.feature_width())))
    }
}

struct Nothing(usize);

impl Inference for Nothing {
    fn features(&self, _: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        Ok(vec![0.0; self.0 * batch])
    }
}

/// A session over `base` that infers nothing, on all cores.
pub(super) fn idle(base: &BaseModel) -> Result<Session, Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Session::with_engine(base, Arc::new(Idle))?.with_change_threads(cores).trusting(Trust::unsigned_too()))
}

pub(super) fn rows(bases: &Bases) -> anyhow::Result<Vec<Row>> {
    let base = &bases.all;
    let whole = 0..base.bytes().len();
    let copies = (0..ROUNDS).map(|_| base.time_copy(std::slice::from_ref(&whole))).collect::<Result<Vec<_>, _>>()?;
    let copy_of_all = median(copies.iter().map(|copy| copy.warm_ms).collect());
    let mut rows = Vec::new();
    for (mask, in_blocks) in MASKS {
        let skill = skill(&tenth(base, "tenth", in_blocks, 2)?)?;
        let [mut cold, mut detach, mut given_back, mut warm, mut warm_alone] = [const { Vec::new() }; 5];
        for _ in 0..ROUNDS {
            let session = idle(base)?;
            cold.push(session.attach(&skill, 1.0)?.weights_ms);
            let change = session.detach(&skill.digest())?;
            detach.push(change.weights_ms);
            given_back.push(change.weights_ms + change.settle_ms);
        }
        for (session, times) in [(idle(base)?, &mut warm), (idle(base)?.with_change_threads(1), &mut warm_alone)] {
            let session = session.keeping_pages();
            for _ in 0..=ROUNDS {
                times.push(session.attach(&skill, 1.0)?.weights_ms);
                session.detach(&skill.digest())?;
            }
            // The first took fresh pages.
            times.remove(0);
        }
        let session = idle(base)?;
        session.attach(&skill, 1.0)?;
        let pages = session.look_at_weights(|weights| touched(base.bytes(), weights.bytes()));
        let copies = (0..ROUNDS).map(|_| base.time_copy(&pages)).collect::<Result<Vec<_>, _>>()?;
        let copy_of_pages = median(copies.iter().map(|copy| copy.warm_ms).collect());
        let fresh_copy = median(copies.iter().map(|copy| copy.cold_ms).collect());
        let [cold, detach, given_back, warm, warm_alone] = [cold, detach, given_back, warm, warm_alone].map(median);
        let mut row = |work: &str, ours: f64, beside: f64, goal: f64| {
            rows.push(Row::new(work.replace("MASK", mask), ours, beside, "ms", goal));
        };
        row("attach 10 % in MASK, warm, all cores, beside memcpy of all", warm, copy_of_all, 1.2);
        row("attach 10 % in MASK, warm, one core, beside memcpy of all", warm_alone, copy_of_all, 1.2);
        if in_blocks {
            // (Single elements take a fresh page for each page of the model: see the cold swap below.)
            row("attach 10 % in MASK, cold, beside memcpy of all", cold, copy_of_all, 1.2);
            row("attach 10 % in MASK, cold, beside memcpy of its pages, cold", cold, fresh_copy, 1.5);
        }
        row("detach all, MASK, until the base serves, beside memcpy of its pages", detach, copy_of_pages, 1.0);
        row("detach all, MASK, until memory is back, beside memcpy of its pages", given_back, copy_of_pages, 1.0);
    }
    Ok(rows)
}

/// From a pack's file to service, beside reading the tuned model's file and opening a new ONNX Runtime session on it.
pub(super) fn end_to_end_rows(bases: &Bases, ort: &EngineChoice) -> anyhow::Result<Vec<Row>> {
    let mut anew = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        black_box(fs::read(bases.plain.folder().join(taskvec_bundle::MODEL_FILE))?);
        black_box(Session::open(&bases.plain, ort)?);
        anew.push(1e3 * began.elapsed().as_secs_f64());
    }
    let anew = median(anew);
    let folder = tempfile::tempdir()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rows = Vec::new();
    for (mask, in_blocks) in MASKS {
        let paths = [("one", 2), ("two", 3)].map(|(name, seed)| (folder.path().join(name), seed));
        for (path, seed) in &paths {
            fs::write(path, tenth(&bases.all, "tenth", in_blocks, *seed)?)?;
        }
        let notes = [noted(&paths[0].0)?, noted(&paths[1].0)?];
        let session = crate::commands::open(&bases.all, ort)?.with_change_threads(cores);
        let measured = |session: &Session, are_known: bool| -> anyhow::Result<f64> {
            let mut times = Vec::new();
            for round in 0..ROUNDS + 2 {
                let (path, note) = (&paths[round % 2].0, are_known.then_some(&notes[round % 2]));
                let began = Instant::now();
                let skill = Skill::open_unless_checked(path, &PackLimits::default(), note)?;
                let open_ms = 1e3 * began.elapsed().as_secs_f64();
                times.push(open_ms + session.swap([(skill, 1.0)])?.weights_ms);
            }
            // The first two took fresh pages, on both sides of the switch.
            Ok(median(times.split_off(2)))
        };
        let (cold, warm) = (session.beside()?, session.keeping_pages());
        let goals = if in_blocks { [1.0 / 20.0, 1.0 / 12.0] } else { [1.0 / 12.0, 1.0 / 2.0] };
        let mut row = |how: &str, session: &Session, are_known: bool, goal: f64| -> anyhow::Result<()> {
            let work = format!("swap 10 % in {mask}, {how}, beside file and new session");
            rows.push(Row::new(work, measured(session, are_known)?, anew, "ms", goal));
            Ok(())
        };
        row("known pack, warm", &warm, true, goals[0])?;
        row("known pack, cold", &cold, true, goals[1])?;
        row("new pack, warm", &warm, false, goals[0])?;
        row("new pack, cold", &cold, false, goals[1])?;
    }
    Ok(rows)
}

/// A note on the pack at `path`, which is given once the file has settled.
fn noted(path: &Path) -> anyhow::Result<CheckedPack> {
    loop {
        if let Some(note) = Skill::open(path, &PackLimits::default())?.checked() {
            return Ok(note.clone());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The runs of pages in which the two files differ.
fn touched(base: &[u8], composed: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (page, (before, after)) in base.chunks(PAGE_BYTES).zip(composed.chunks(PAGE_BYTES)).enumerate() {
        let start = page * PAGE_BYTES;
        match runs.last_mut() {
            _ if before == after => {}
            Some(run) if run.end == start => run.end += after.len(),
            _ => runs.push(start..start + after.len()),
        }
    }
    runs
}
