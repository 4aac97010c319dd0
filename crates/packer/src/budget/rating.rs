//! What each way to write a tensor would take and lose.

use taskvec_networks::is_statistic;
use taskvec_pack::bound::index_bits;
use taskvec_pack::write::{Rounding, quantize, stream_bytes};

use crate::task_vector::{Deltas, TensorDelta};

/// Roundings to choose from, the coarsest first.
const ROUNDINGS: [Rounding; 7] = [
    Rounding::Sign,
    Rounding::Levels(1),
    Rounding::Levels(3),
    Rounding::Levels(7),
    Rounding::Levels(31),
    Rounding::INT8,
    Rounding::F16,
];
/// Shares of entries to choose from, each the fourth root of a half of the one before: from 1 to 1/8192.
const SHARES: i32 = 53;
/// Blocks of 256 entries whose rounding is measured for a rating.
const SAMPLED_BLOCKS: usize = 24;
const BLOCK: usize = 256;
/// What an index costs above its entropy, measured on random masks.
const INDEX_OVERHEAD: f64 = 1.015;
/// Bytes of a tensor's record without its name, about.
const RECORD_BYTES: f64 = 30.0;
/// Elements of a run that is a page of 4 KiB in f32.
const PAGE_ELEMENTS: usize = 1024;
/// Share of the elements that are entries from which on rows and pages are tried: what is missing in them is filled with zeros.
const FILLED_SHARE: f64 = 0.9;

/// A tensor with its ratings.
pub(super) struct RatedTensor<'a> {
    tensor: &'a TensorDelta,
    pub(super) deltas: &'a [f32],
    /// A delta for every element, if nearly all are entries.
    filled: Option<Vec<f32>>,
    pub(super) ratings: Vec<Rating>,
}

/// One way to write a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rating {
    /// Entries stay or go in runs of so many neighbors.
    granule: usize,
    /// Runs of at least this root mean square stay; of single entries that is their magnitude.
    threshold: f32,
    /// None: the tensor is left out.
    pub(super) rounding: Option<Rounding>,
    pub(super) bytes: f64,
    /// Sum of squared errors.
    pub(super) error: f64,
}

impl Rating {
    /// The tensor is left out, and what that loses does not matter.
    pub(super) const NOTHING: Self =
        Self { granule: 1, threshold: f32::INFINITY, rounding: None, bytes: 0.0, error: 0.0 };
}

impl<'a> RatedTensor<'a> {
    pub(super) fn new(tensor: &'a TensorDelta, deltas: &'a [f32]) -> Self {
        if is_statistic(&tensor.name) {
            return Self { tensor, deltas, filled: None, ratings: vec![whole(tensor)] };
        }
        let filled = filled(tensor, deltas);
        let ratings = rate(tensor, deltas, filled.as_deref());
        Self { tensor, deltas, filled, ratings }
    }

    pub(super) fn choose(&self, price: f64) -> Rating {
        let cost = |rating: &Rating| rating.error + price * rating.bytes;
        let best = self.ratings.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
        best.copied().unwrap_or(Rating::NOTHING)
    }

    /// The tensor with the entries that stay.
    pub(super) fn kept(&self, rating: &Rating) -> TensorDelta {
        let stays = |run: &[f32]| rating.rounding.is_some() && size(run) >= rating.threshold;
        let (indices, deltas) = match (rating.granule, &self.filled) {
            (2.., Some(filled)) => {
                let runs = (0_u64..).step_by(rating.granule).zip(filled.chunks(rating.granule));
                runs.filter(|(_, run)| stays(run)).flat_map(|(first, run)| (first..).zip(run.iter().copied())).unzip()
            }
            _ => {
                let entries = self.tensor.indices.iter().copied().zip(self.deltas.iter().copied());
                entries.filter(|(_, delta)| stays(&[*delta])).unzip()
            }
        };
        TensorDelta { indices, deltas: Deltas::Numbers(deltas), ..self.tensor.without_entries() }
    }
}

/// All entries, as they are: the one way for statistics of batch norms, since half of a variance is none.
fn whole(tensor: &TensorDelta) -> Rating {
    let count = tensor.indices.len() as u64;
    let index = INDEX_OVERHEAD * index_bits(tensor.shape.iter().product(), count) / 8.0;
    let bytes = RECORD_BYTES + tensor.name.len() as f64 + index + 4.0 * count as f64;
    Rating { granule: 1, threshold: 0.0, rounding: Some(Rounding::F32), bytes, error: 0.0 }
}

fn rate(tensor: &TensorDelta, deltas: &[f32], filled: Option<&[f32]>) -> Vec<Rating> {
    let mut ratings = vec![Rating { error: squares(deltas), ..Rating::NOTHING }];
    rate_granule(tensor, deltas, 1, &mut ratings);
    if let Some(filled) = filled {
        // Rows and pages say in few bytes where they are; single entries are the ones that matter most.
        let row = tensor.shape.iter().skip(1).product::<u64>() as usize;
        let is_run = |length: &usize| *length > 1 && *length <= filled.len() / 2;
        for granule in [row, PAGE_ELEMENTS].into_iter().filter(is_run) {
            rate_granule(tensor, filled, granule, &mut ratings);
        }
    }
    ratings
}

fn filled(tensor: &TensorDelta, deltas: &[f32]) -> Option<Vec<f32>> {
    let elements = tensor.shape.iter().product::<u64>();
    if (deltas.len() as f64) < FILLED_SHARE * elements as f64 {
        return None;
    }
    let mut filled = vec![0.0; usize::try_from(elements).ok()?];
    tensor.indices.iter().zip(deltas).for_each(|(&index, &delta)| filled[index as usize] = delta);
    Some(filled)
}

fn rate_granule(tensor: &TensorDelta, deltas: &[f32], granule: usize, ratings: &mut Vec<Rating>) {
    let runs = deltas.len().div_ceil(granule);
    let places = match granule {
        1 => tensor.shape.iter().product::<u64>(),
        _ => runs as u64,
    };
    let mut sizes: Vec<f32> = deltas.chunks(granule).map(size).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    let largest = deltas.iter().fold(0.0_f32, |largest, delta| largest.max(delta.abs()));
    let (whole, mut counted) = (squares(deltas), 0);
    for share in 0..SHARES {
        let count = (runs as f64 * libm::pow(2.0, -0.25 * f64::from(share))).round() as usize;
        let Some(&threshold) = sizes.get(count.wrapping_sub(1)) else { break };
        let stays = |run: &&[f32]| size(run) >= threshold;
        let kept: Vec<f32> = deltas.chunks(granule).filter(stays).flatten().copied().collect();
        if kept.len() == counted {
            continue;
        }
        counted = kept.len();
        let dropped = whole - squares(&kept);
        let sample = sample(&kept);
        let scale = kept.len() as f64 / sample.len().max(1) as f64;
        let around = RECORD_BYTES + tensor.name.len() as f64;
        let mask = INDEX_OVERHEAD * index_bits(places, kept.len().div_ceil(granule) as u64) / 8.0;
        for rounding in ROUNDINGS {
            // The largest delta may lie outside of the sample, and be too large for 16 bits.
            if stream_bytes(&[largest], rounding).is_none() {
                continue;
            }
            let Some(bytes) = stream_bytes(&sample, rounding) else { continue };
            let rounded = quantize(&sample, rounding);
            let off: f64 = sample.iter().zip(&rounded).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            let (bytes, error) = (around + mask + scale * bytes as f64, dropped.max(0.0) + scale * off);
            ratings.push(Rating { granule, threshold, rounding: Some(rounding), bytes, error });
        }
    }
}

/// Root mean square of a run; of a single entry, its magnitude.
fn size(run: &[f32]) -> f32 {
    (squares(run) / run.len().max(1) as f64).sqrt() as f32
}

/// Blocks of neighbors from all over the entries.
fn sample(kept: &[f32]) -> Vec<f32> {
    let blocks = kept.len().div_ceil(BLOCK);
    if blocks <= SAMPLED_BLOCKS {
        return kept.to_vec();
    }
    let chosen = (0..SAMPLED_BLOCKS).map(|place| place * blocks / SAMPLED_BLOCKS);
    chosen.flat_map(|block| kept[block * BLOCK..kept.len().min((block + 1) * BLOCK)].iter().copied()).collect()
}

pub(super) fn squares(deltas: &[f32]) -> f64 {
    deltas.iter().map(|delta| f64::from(*delta) * f64::from(*delta)).sum()
}
