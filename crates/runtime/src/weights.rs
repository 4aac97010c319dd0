//! The composed weights: what engines read, and the one place that writes them.
//!
//! The weights are a pure function of the base and of the set of (skill, alpha), and they are computed like one: a
//! composition is always written afresh, in canonical order, over bytes that are the base's. There is no way to go from
//! one composition to the next; there is only a way back to the base, [`Weights::cleaned`], which restores the written
//! pages and never computes. (A change does not happen here but in the session: it composes on a mapping that nobody
//! uses, while another one serves.)
//!
//! Fresh pages are taken before they are written, neighbors at once, see [`PageTaker`]; only those that are written.
//!
//! The way back either drops the written pages, so that they are the file's again and their memory is the system's, or
//! copies the base over them. The first is cheaper, the second keeps the pages for the next composition: taking a fresh
//! page costs several times as much as writing to one.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

use taskvec_arithmetic::{Bf16, F16, Narrow16};
use taskvec_pack::{Digest, Dtype, Entries, IndexEncoding, TensorEntry};

use crate::base_model::{BaseModel, BaseTensor};
use crate::composition::Skills;
use crate::error::{Error, ErrorKind};
use crate::map::{PageTaker, PrivateMap, WeightsReader};
use crate::pages::{PAGE_BYTES, Pages};

/// Widest gap between touched pages that is given back with them: what Linux maps in at once around a page that is read
/// (`fault_around_bytes`).
const GAP_BYTES_MAX: usize = 64 << 10;

/// The composed weights of one session: the base's file, with the skills in force applied.
pub struct Weights {
    base: BaseModel,
    map: PrivateMap,
    /// The pages written since they were last the base's, for each tensor of the base.
    pages: Vec<Pages>,
    /// Whether no page is our own yet, so that each has to be taken before it is written.
    fresh: bool,
}

/// What composing did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub(crate) tensors: usize,
    pub(crate) entries: u64,
}

/// A skill on one tensor.
struct Layer<'a> {
    digest: Digest,
    alpha: f32,
    entry: TensorEntry<'a>,
}

impl Weights {
    /// A mapping of the base's file of which nothing has been written yet.
    pub(crate) fn over(base: &BaseModel) -> Result<Self, Error> {
        let mut pages = Vec::new();
        pages.resize_with(base.tensors().len(), Pages::default);
        Ok(Self { base: base.clone(), map: base.map_privately()?, pages, fresh: true })
    }

    /// The base underneath.
    pub fn base(&self) -> &BaseModel {
        &self.base
    }

    /// The whole file as composed, with its header.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// The bytes of one tensor as composed, little-endian and row-major.
    pub fn tensor(&self, name: &str) -> Option<&[u8]> {
        self.bytes().get(self.base.tensor(name)?.place.clone())
    }

    /// A handle on the whole file, for an [`crate::Inference`] to keep: it reads the composed bytes for as long as it
    /// lives, and while it lives nobody writes them.
    pub fn reader(&self) -> WeightsReader {
        self.map.reader()
    }

    /// Changes a few elements of tensor number `tensor`, spread over it, so much that an answer which depends on the tensor
    /// becomes another: for a capability check, in the place of a skill.
    ///
    /// # Errors
    /// `Usage` when a reader lives; then nothing has been written.
    #[cfg(feature = "ort")]
    pub(crate) fn disturb(&mut self, tensor: usize) -> Result<(), Error> {
        const ELEMENTS_MAX: usize = 64;
        const DELTA: f32 = 0.25;
        let place = &self.base.tensors()[tensor];
        let pages = &mut self.pages[tensor];
        let bytes = self.map.write().ok_or_else(still_read)?.get_mut(place.place.clone()).unwrap_or_default();
        let spread = |count: usize| {
            let stride = (count / ELEMENTS_MAX).max(1);
            // Not in one column of a matrix.
            (0..count.min(ELEMENTS_MAX)).map(move |step| (step * stride + step % stride, DELTA))
        };
        match place.dtype {
            Dtype::F32 => {
                let values: &mut [f32] = bytemuck::cast_slice_mut(bytes);
                let deltas = spread(values.len());
                taskvec_arithmetic::add_f32(values, pages.noting(&place.place, 2, deltas), 1.0);
            }
            narrow => {
                let values: &mut [u16] = bytemuck::cast_slice_mut(bytes);
                let deltas = spread(values.len());
                let deltas = pages.noting(&place.place, 1, deltas);
                if narrow == Dtype::F16 {
                    taskvec_arithmetic::add_16::<F16>(values, deltas, 1.0);
                } else {
                    taskvec_arithmetic::add_16::<Bf16>(values, deltas, 1.0);
                }
            }
        }
        Ok(())
    }

    /// The written pages of tensor number `tensor`, as ranges of the file's bytes, cut to the tensor's: ascending.
    #[cfg(feature = "ort")]
    pub(crate) fn touched(&self, tensor: usize) -> impl Iterator<Item = Range<usize>> {
        self.pages[tensor].ranges(&self.base.tensors()[tensor].place)
    }

    /// How many pages of the file have been written: the memory that the composition owns, in pages.
    pub(crate) fn touched_pages(&self) -> usize {
        let mut last = None;
        let mut count = 0;
        for &tensor in self.base.in_file_order() {
            let place = &self.base.tensors()[tensor].place;
            for page in self.pages[tensor].numbers(place) {
                // Two tensors that meet on a page both note it, one after the other.
                if last.replace(page) != Some(page) {
                    count += 1;
                }
            }
        }
        count
    }

    /// Writes the composition of `skills`, over weights that are the base's, and notes in `skills` which are felt. Each
    /// tensor is written by one of `threads` threads, so that their number changes no bit.
    ///
    /// # Errors
    /// `Usage` when a reader lives; then nothing has been written.
    pub(crate) fn compose(&mut self, skills: &mut Skills, threads: usize) -> Result<Work, Error> {
        debug_assert!(self.pages.iter().all(Pages::is_empty), "composed over something else than the base");
        let layers = layers(skills);
        let entries = layers.values().flatten().map(|layer| layer.entry.entry_count()).sum();
        let work = Work { tensors: layers.len(), entries };
        let (written, taker) = self.map.write_taking().ok_or_else(still_read)?;
        let threads = if self.fresh && !taker.takes_many() { 1 } else { threads };
        let taker = self.fresh.then_some(&taker);
        let targets = targets(&self.base, written, &mut self.pages, taker);
        let to_do = Mutex::new(targets.filter_map(|(tensor, target)| Some((target, layers.get(&tensor)?))));
        let apply = || {
            let (mut running, mut felt) = (Vec::new(), BTreeSet::new());
            let next = || to_do.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((mut target, layers)) = next() {
                felt.extend(target.apply(layers, &mut running));
            }
            felt
        };
        let felt = thread::scope(|scope| {
            let others: Vec<_> = (1..threads.min(layers.len())).map(|_| scope.spawn(apply)).collect();
            let mut felt = apply();
            for other in others {
                felt.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            felt
        });
        skills.note_felt(&felt);
        Ok(work)
    }

    /// The same mapping with every byte the base's again; none when a reader lives, and then the mapping goes when the
    /// last reader does. With `keep_pages` what was written stays memory of ours.
    pub(crate) fn cleaned(mut self, keep_pages: bool) -> Option<Self> {
        for (tensor, pages) in self.base.tensors().iter().zip(&mut self.pages) {
            if pages.is_empty() {
                continue;
            }
            // Page after page is dropped whole, and with it what other tensors wrote there; that is the base's again,
            // as it has to be.
            let dropped = !keep_pages && merged(pages.ranges(&tensor.place)).all(|range| self.map.discard(range));
            if !dropped {
                self.fresh = false;
                restore(self.map.write()?, self.base.bytes(), pages, &tensor.place);
            }
            pages.clear();
        }
        Some(self)
    }

    /// Bytes of the touched pages.
    pub(crate) fn touched_bytes(&self) -> u64 {
        (self.touched_pages() as u64).saturating_mul(PAGE_BYTES as u64)
    }
}

fn still_read() -> Error {
    Error::new(ErrorKind::Usage, "the weights are being read")
}

/// The skills that change something, by tensor, in canonical order.
fn layers(skills: &Skills) -> BTreeMap<usize, Vec<Layer<'_>>> {
    let mut layers: BTreeMap<usize, Vec<Layer<'_>>> = BTreeMap::new();
    for placed in skills.iter().filter(|placed| placed.alpha != 0.0) {
        for (entry, &tensor) in placed.skill.pack().tensors().zip(&*placed.places) {
            let layer = Layer { digest: placed.skill.digest(), alpha: placed.alpha, entry };
            layers.entry(tensor).or_default().push(layer);
        }
    }
    layers
}

/// Ranges with small gaps as one: a call to the system costs more than what lies in such a gap, which has not been
/// written and comes back with the next page that is read beside it.
fn merged(ranges: impl Iterator<Item = Range<usize>>) -> impl Iterator<Item = Range<usize>> {
    let mut ranges = ranges.peekable();
    std::iter::from_fn(move || {
        let mut range = ranges.next()?;
        while let Some(next) = ranges.next_if(|next| next.start - range.end <= GAP_BYTES_MAX) {
            range.end = next.end;
        }
        Some(range)
    })
}

/// Copies the written pages of a tensor back from the base, as far as they are the tensor's.
fn restore(written: &mut [u8], base: &[u8], pages: &Pages, place: &Range<usize>) {
    for range in pages.ranges(place) {
        written[range.clone()].copy_from_slice(&base[range]);
    }
}

/// One tensor of the composed mapping, to be written.
struct Target<'a> {
    place: &'a BaseTensor,
    /// The tensor's bytes in the base.
    base: &'a [u8],
    /// The same bytes in the mapping.
    written: &'a mut [u8],
    pages: &'a mut Pages,
    /// What takes the pages that will be written; none where they are our own already.
    taker: Option<&'a PageTaker>,
}

/// The mapping, cut into the tensors that lie in it, each with its number. Tensors do not overlap: the reader of
/// safetensors files refuses those that do.
fn targets<'a>(
    base: &'a BaseModel,
    written: &'a mut [u8],
    pages: &'a mut [Pages],
    taker: Option<&'a PageTaker>,
) -> impl Iterator<Item = (usize, Target<'a>)> + Send {
    let mut pages: Vec<Option<&mut Pages>> = pages.iter_mut().map(Some).collect();
    let (mut rest, mut cut) = (written, 0);
    base.in_file_order().iter().filter_map(move |&tensor| {
        let place = &base.tensors()[tensor];
        let from_cut = std::mem::take(&mut rest).split_at_mut_checked(place.place.start.checked_sub(cut)?)?.1;
        let (written, after) = from_cut.split_at_mut_checked(place.place.len())?;
        (rest, cut) = (after, place.place.end);
        let base = base.bytes().get(place.place.clone())?;
        Some((tensor, Target { place, base, written, pages: pages[tensor].take()?, taker }))
    })
}

impl Target<'_> {
    /// Applies `layers` in order and says which of them were felt.
    fn apply(&mut self, layers: &[Layer<'_>], running: &mut Vec<f32>) -> Vec<Digest> {
        layers.iter().for_each(|layer| self.take_pages(&layer.entry));
        match self.place.dtype {
            Dtype::F32 => self.apply_f32(layers),
            Dtype::F16 => self.apply_16::<F16>(layers, running),
            Dtype::BF16 => self.apply_16::<Bf16>(layers, running),
            // No tensor of another dtype is editable.
            _ => Vec::new(),
        }
    }

    /// Takes the pages that applying `entry` writes to, neighbors at once.
    fn take_pages(&self, entry: &TensorEntry<'_>) {
        let Some(taker) = self.taker else { return };
        let (origin, shift) = (self.place.place.start, self.place.dtype.size_bytes().ilog2());
        let mut neighbors = 0..0;
        entry.indices().for_each_run(|first, stop| {
            let start = (origin + (first << shift)) / PAGE_BYTES;
            let end = (origin + (stop << shift)).div_ceil(PAGE_BYTES);
            if start > neighbors.end {
                let before = std::mem::replace(&mut neighbors, start..end);
                taker.take(before.start * PAGE_BYTES..before.end * PAGE_BYTES);
            }
            neighbors.end = end;
        });
        taker.take(neighbors.start * PAGE_BYTES..neighbors.end * PAGE_BYTES);
    }

    fn apply_f32(&mut self, layers: &[Layer<'_>]) -> Vec<Digest> {
        let place = self.place.place.clone();
        let base: &[f32] = bytemuck::cast_slice(self.base);
        let values: &mut [f32] = bytemuck::cast_slice_mut(self.written);
        let mut felt = Vec::with_capacity(layers.len());
        for Layer { digest, alpha, entry } in layers {
            if moves_f32(values, base, entry, *alpha) {
                felt.push(*digest);
            }
            match entry.entries() {
                Entries::Deltas(deltas) if has_runs(entry) => deltas.for_each_run(|first, deltas| {
                    self.pages.note_run(&place, 2, first, deltas.len());
                    taskvec_arithmetic::add_run_f32(values, first, deltas, *alpha);
                }),
                Entries::Deltas(deltas) => {
                    taskvec_arithmetic::add_f32(values, self.pages.noting(&place, 2, deltas), *alpha);
                }
                Entries::Distances(distances) => {
                    let distances = self.pages.noting(&place, 2, distances);
                    taskvec_arithmetic::add_distances_f32(values, base, distances, *alpha);
                }
            }
        }
        felt
    }

    fn apply_16<N: Narrow16>(&mut self, layers: &[Layer<'_>], running: &mut Vec<f32>) -> Vec<Digest> {
        let place = self.place.place.clone();
        let base: &[u16] = bytemuck::cast_slice(self.base);
        let values: &mut [u16] = bytemuck::cast_slice_mut(self.written);
        if let [Layer { digest, alpha, entry }] = layers {
            let felt = moves_16::<N>(|index| values.get(index).map(|&value| N::widen(value)), base, entry, *alpha);
            match entry.entries() {
                Entries::Deltas(deltas) => {
                    taskvec_arithmetic::add_16::<N>(values, self.pages.noting(&place, 1, deltas), *alpha);
                }
                Entries::Distances(distances) => {
                    let distances = self.pages.noting(&place, 1, distances);
                    taskvec_arithmetic::add_distances_16::<N>(values, base, distances, *alpha);
                }
            }
            return if felt { vec![*digest] } else { Vec::new() };
        }
        running.clear();
        running.resize(base.len(), 0.0);
        taskvec_arithmetic::widen::<N>(base, running);
        let mut felt = Vec::with_capacity(layers.len());
        for Layer { digest, alpha, entry } in layers {
            if moves_16::<N>(|index| running.get(index).copied(), base, entry, *alpha) {
                felt.push(*digest);
            }
            match entry.entries() {
                Entries::Deltas(deltas) => {
                    taskvec_arithmetic::add_f32(running, self.pages.noting(&place, 1, deltas), *alpha);
                }
                Entries::Distances(distances) => {
                    let distances = self.pages.noting(&place, 1, distances);
                    taskvec_arithmetic::add_distances_widened::<N>(running, base, distances, *alpha);
                }
            }
        }
        taskvec_arithmetic::narrow_changed::<N>(running, base, values);
        felt
    }
}

/// Whether the entries lie side by side, so that runs of them are the faster way.
fn has_runs(entry: &TensorEntry<'_>) -> bool {
    matches!(entry.index_encoding(), IndexEncoding::Granules | IndexEncoding::Dense)
}

/// Whether applying `entry` to `values` changes a bit. Mostly the first entry does, so that this costs nothing.
fn moves_f32(values: &[f32], base: &[f32], entry: &TensorEntry<'_>, alpha: f32) -> bool {
    let moves = |index: usize, change: &dyn Fn(&mut [f32], &[f32])| {
        let (Some(&before), Some(&base)) = (values.get(index), base.get(index)) else { return false };
        let mut after = [before];
        change(&mut after, &[base]);
        after[0].to_bits() != before.to_bits()
    };
    match entry.entries() {
        Entries::Deltas(mut deltas) => deltas.any(|(index, delta)| {
            moves(index, &|after, _| taskvec_arithmetic::add_f32(after, once((0, delta)), alpha))
        }),
        Entries::Distances(mut distances) => distances.any(|(index, distance)| {
            moves(index, &|after, base| taskvec_arithmetic::add_distances_f32(after, base, once((0, distance)), alpha))
        }),
    }
}

/// Whether applying `entry` where the running sums are `running` changes a bit of the tensor, once rounded.
fn moves_16<N: Narrow16>(
    running: impl Fn(usize) -> Option<f32>,
    base: &[u16],
    entry: &TensorEntry<'_>,
    alpha: f32,
) -> bool {
    let moves = |index: usize, change: &dyn Fn(&mut [f32], &[u16])| {
        let (Some(before), Some(&base)) = (running(index), base.get(index)) else { return false };
        let mut after = [before];
        change(&mut after, &[base]);
        N::narrow(after[0]) != N::narrow(before)
    };
    match entry.entries() {
        Entries::Deltas(mut deltas) => deltas.any(|(index, delta)| {
            moves(index, &|after, _| taskvec_arithmetic::add_f32(after, once((0, delta)), alpha))
        }),
        Entries::Distances(mut distances) => distances.any(|(index, distance)| {
            moves(index, &|after, base| {
                taskvec_arithmetic::add_distances_widened::<N>(after, base, once((0, distance)), alpha);
            })
        }),
    }
}
