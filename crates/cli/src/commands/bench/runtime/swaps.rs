//! Inferences while compositions come and go.
//!
//! One thread infers without a pause, another swaps between two skills. Every answer must be bit for bit the one of the
//! composition that it names. First nobody swaps, then somebody every 100 ms, then 1000 times without a pause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use taskvec_runtime::{Digest, EngineChoice, HeadChoice, Session, Skill};

use super::super::Row;
use super::bases::{Bases, skill, tenth};
use super::inference::pixels;

/// Swaps of the load that has no pause.
const SWAPS: usize = 1000;
/// Swaps of the load with a pause: half a minute.
const SPACED_SWAPS: usize = 300;
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn rows(bases: &Bases, ort: &EngineChoice) -> anyhow::Result<Vec<Row>> {
    let base = &bases.attention;
    let skills = [skill(&tenth(base, "one", true, 2)?)?, skill(&tenth(base, "two", true, 3)?)?];
    let session = crate::commands::open(base, ort)?.keeping_pages();
    let load = Load { pixels: pixels(base)?, session, skills };
    let calm = load.while_doing(|_| {
        thread::sleep(PAUSE * SPACED_SWAPS as u32);
        Ok(())
    })?;
    let spaced = load.while_doing(|swap| {
        (0..SPACED_SWAPS).try_for_each(|round| {
            let began = Instant::now();
            swap(round)?;
            thread::sleep(PAUSE.saturating_sub(began.elapsed()));
            Ok(())
        })
    })?;
    let storm = load.while_doing(|swap| (0..SWAPS).try_for_each(swap))?;
    let mut rows = Vec::new();
    for (name, during, goal) in [("one swap every 100 ms", &spaced, 1.3), ("1000 swaps without a pause", &storm, 2.0)] {
        for (share, percentile) in [("p50", 0.5), ("p99", 0.99), ("worst", 1.0)] {
            let work = format!("inference during {name}, {share}, beside no swaps");
            rows.push(Row::new(work, at(during, percentile), at(&calm, percentile), "ms", goal));
        }
    }
    Ok(rows)
}

struct Load {
    session: Session,
    skills: [Skill; 2],
    pixels: Vec<f32>,
}

impl Load {
    /// Times of all inferences in ms, ascending, while `changing` swaps.
    fn while_doing(
        &self,
        changing: impl FnOnce(&dyn Fn(usize) -> anyhow::Result<()>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<f64>> {
        let mut expected: Vec<(Digest, Vec<f32>)> = Vec::new();
        for round in [0, 1] {
            self.swap(round)?;
            expected.push(self.infer()?);
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let inferring = scope.spawn(|| -> anyhow::Result<Vec<f64>> {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let answer = self.infer()?;
                    times.push(1e3 * began.elapsed().as_secs_f64());
                    ensure!(expected.contains(&answer), "an answer is not that of the composition it names");
                }
                times.sort_by(f64::total_cmp);
                Ok(times)
            });
            let changed = changing(&|round| self.swap(round));
            stop.store(true, Ordering::Relaxed);
            let times = inferring.join().ok().context("the inferring thread panicked")??;
            changed.map(|()| times)
        })
    }

    fn swap(&self, round: usize) -> anyhow::Result<()> {
        self.session.swap([(self.skills[round % 2].clone(), 1.0)])?;
        Ok(())
    }

    fn infer(&self) -> anyhow::Result<(Digest, Vec<f32>)> {
        let answer = self.session.infer(&self.pixels, 1, &HeadChoice::Base("bench".into()))?;
        Ok((answer.composition, answer.values))
    }
}

/// The time that this share of all times does not exceed.
fn at(ascending: &[f64], share: f64) -> f64 {
    let index = (share * ascending.len() as f64).ceil() as usize;
    ascending.get(index.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
