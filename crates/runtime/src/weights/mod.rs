//! The composed weights: what engines read, and the one place that writes them.
//!
//! The weights are a pure function of the base and of the set of (skill, alpha), and they are computed like one: a
//! composition is always written afresh, in canonical order, over bytes that are the base's. There is no way to go from
//! one composition to the next; there is only a way back to the base, [`Weights::cleaned`], which restores the written
//! pages and never computes. (A change does not happen here but in the session: it composes on a mapping that nobody
//! uses, while another one serves.)
//!
//! Fresh pages are taken before they are written, neighbors at once, see [`crate::map::PageTaker`]; only those that are written.
//!
//! The way back either drops the written pages, so that they are the file's again and their memory is the system's, or
//! copies the base over them. The first is cheaper, the second keeps the pages for the next composition: taking a fresh
//! page costs several times as much as writing to one.

mod target;

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

#[cfg(feature = "ort")]
use taskvec_arithmetic::{Bf16, F16};
#[cfg(feature = "ort")]
use taskvec_pack::Dtype;

use self::target::{layers, targets};
use crate::base_model::BaseModel;
use crate::composition::Skills;
use crate::error::{Error, ErrorKind};
use crate::map::{PrivateMap, WeightsReader};
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
    /// Elements that lie beyond the grid of their quantized tensor.
    pub(crate) saturated: u64,
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
            _ if place.quantization.is_some() => {
                /// A quarter of the grid, and around its end.
                const STEPS: u8 = 64;
                let touched = pages.noting(&place.place, 0, spread(bytes.len()));
                touched.for_each(|(index, _)| bytes[index] = bytes[index].wrapping_add(STEPS));
            }
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
    #[cfg(any(feature = "ort", feature = "burn"))]
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
        let (written, taker) = self.map.write_taking().ok_or_else(still_read)?;
        let threads = if self.fresh && !taker.takes_many() { 1 } else { threads };
        let taker = self.fresh.then_some(&taker);
        let targets = targets(&self.base, written, &mut self.pages, taker);
        let to_do = Mutex::new(targets.filter_map(|(tensor, target)| Some((target, layers.get(&tensor)?))));
        let apply = || {
            let (mut running, mut felt, mut saturated) = (Vec::new(), BTreeSet::new(), 0);
            let next = || to_do.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((mut target, layers)) = next() {
                let applied = target.apply(layers, &mut running);
                felt.extend(applied.felt);
                saturated += applied.saturated;
            }
            (felt, saturated)
        };
        let (felt, saturated) = thread::scope(|scope| {
            let others: Vec<_> = (1..threads.min(layers.len())).map(|_| scope.spawn(apply)).collect();
            let (mut felt, mut saturated) = apply();
            for other in others {
                let (also_felt, more) = other.join().unwrap_or_else(|panic| resume_unwind(panic));
                felt.extend(also_felt);
                saturated += more;
            }
            (felt, saturated)
        });
        let tensors = layers.len();
        skills.note_felt(&felt);
        Ok(Work { tensors, entries, saturated })
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
