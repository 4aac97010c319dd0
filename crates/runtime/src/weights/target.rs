//! One tensor and the skills that change it: where each entry goes, and how the sum is rounded.
//!
//! What is quick for neighbors is taken apart here from what is general: entries one after the other, turned ones among them.

use std::collections::BTreeMap;
use std::iter::once;

use bytemuck::Pod;
use taskvec_arithmetic::{Bf16, F16, Grid, I8, I32, Narrow16, U8, Whole};
use taskvec_bundle::StoredDtype;
use taskvec_pack::{Digest, Dtype, Entries, IndexEncoding, TensorEntry};

use crate::base_model::{BaseModel, BaseTensor};
use crate::composition::Skills;
use crate::map::PageTaker;
use crate::pages::{PAGE_BYTES, Pages};

/// A skill on one tensor.
pub(super) struct Layer<'a> {
    digest: Digest,
    alpha: f32,
    pub(super) entry: TensorEntry<'a>,
    turn: Turn,
}

/// Where an entry's element lies in a matrix whose rows are columns here; nothing for any other tensor.
#[derive(Clone, Copy)]
struct Turn(Option<[usize; 2]>);

impl Turn {
    /// From `[rows, columns]` of the pack to `[columns, rows]` of the base.
    fn of(self, index: usize) -> usize {
        match self.0 {
            Some([rows, columns]) => index % columns * rows + index / columns,
            None => index,
        }
    }

    fn each<V>(self, entries: impl Iterator<Item = (usize, V)>) -> impl Iterator<Item = (usize, V)> {
        entries.map(move |(index, value)| (self.of(index), value))
    }

    fn is_needed(self) -> bool {
        self.0.is_some()
    }
}

/// What applying the layers of one tensor did.
#[derive(Default)]
pub(super) struct Applied {
    /// The skills that changed a bit.
    pub(super) felt: Vec<Digest>,
    /// Elements that lie beyond the tensor's grid.
    pub(super) saturated: u64,
}

/// The skills that change something, by tensor, in canonical order.
pub(super) fn layers(skills: &Skills) -> BTreeMap<usize, Vec<Layer<'_>>> {
    let mut layers: BTreeMap<usize, Vec<Layer<'_>>> = BTreeMap::new();
    for placed in skills.iter().filter(|placed| placed.alpha != 0.0) {
        for (entry, place) in placed.skill.pack().tensors().zip(&*placed.places) {
            // A matrix that is turned has two sides, which make no more elements than fit in memory.
            let sides: Vec<usize> = entry.shape().filter_map(|side| usize::try_from(side).ok()).collect();
            let turn = Turn(if place.turned { sides.try_into().ok() } else { None });
            let layer = Layer { digest: placed.skill.digest(), alpha: placed.alpha, entry, turn };
            layers.entry(place.number).or_default().push(layer);
        }
    }
    layers
}

/// One tensor of the composed mapping, to be written.
pub(super) struct Target<'a> {
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
pub(super) fn targets<'a>(
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
    /// Applies `layers` in order.
    pub(super) fn apply(&mut self, layers: &[Layer<'_>], running: &mut Vec<f32>) -> Applied {
        // Entries of a turned matrix have no neighbors to take pages for.
        layers.iter().filter(|layer| !layer.turn.is_needed()).for_each(|layer| self.take_pages(&layer.entry));
        if let Some(quantization) = &self.place.quantization {
            // It was checked to be a grid when the base was opened.
            let Some(grid) = quantization.grid() else { return Applied::default() };
            return match quantization.stored {
                StoredDtype::I8 => self.apply_whole::<I8>(layers, &grid, running),
                StoredDtype::I32 => self.apply_whole::<I32>(layers, &grid, running),
                _ => self.apply_whole::<U8>(layers, &grid, running),
            };
        }
        let felt = match self.place.dtype {
            Dtype::F32 => self.apply_f32(layers),
            Dtype::F16 => self.apply_16::<F16>(layers, running),
            Dtype::BF16 => self.apply_16::<Bf16>(layers, running),
            // No tensor of another dtype is editable.
            _ => Vec::new(),
        };
        Applied { felt, saturated: 0 }
    }

    /// Takes the pages that applying `entry` writes to, neighbors at once.
    fn take_pages(&self, entry: &TensorEntry<'_>) {
        let Some(taker) = self.taker else { return };
        let (origin, shift) = (self.place.place.start, self.place.element_shift());
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
        for layer in layers {
            let Layer { digest, alpha, entry, turn } = layer;
            if moves_f32(values, base, layer) {
                felt.push(*digest);
            }
            match entry.entries() {
                Entries::Deltas(deltas) if turn.is_needed() => {
                    let deltas = self.pages.noting(&place, 2, turn.each(deltas));
                    taskvec_arithmetic::add_f32(values, deltas, *alpha);
                }
                Entries::Distances(distances) if turn.is_needed() => {
                    let distances = self.pages.noting(&place, 2, turn.each(distances));
                    taskvec_arithmetic::add_distances_f32(values, base, distances, *alpha);
                }
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
        if let [layer @ Layer { digest, alpha, entry, turn }] = layers {
            let felt = moves_16::<N>(|index| values.get(index).map(|&value| N::widen(value)), base, layer);
            match entry.entries() {
                Entries::Deltas(deltas) => {
                    let deltas = self.pages.noting(&place, 1, turn.each(deltas));
                    taskvec_arithmetic::add_16::<N>(values, deltas, *alpha);
                }
                Entries::Distances(distances) => {
                    let distances = self.pages.noting(&place, 1, turn.each(distances));
                    taskvec_arithmetic::add_distances_16::<N>(values, base, distances, *alpha);
                }
            }
            return if felt { vec![*digest] } else { Vec::new() };
        }
        running.clear();
        running.resize(base.len(), 0.0);
        taskvec_arithmetic::widen::<N>(base, running);
        let mut felt = Vec::with_capacity(layers.len());
        for layer in layers {
            let Layer { digest, alpha, entry, turn } = layer;
            if moves_16::<N>(|index| running.get(index).copied(), base, layer) {
                felt.push(*digest);
            }
            match entry.entries() {
                Entries::Deltas(deltas) => {
                    let deltas = self.pages.noting(&place, 1, turn.each(deltas));
                    taskvec_arithmetic::add_f32(running, deltas, *alpha);
                }
                Entries::Distances(distances) => {
                    let distances = self.pages.noting(&place, 1, turn.each(distances));
                    taskvec_arithmetic::add_distances_widened::<N>(running, base, distances, *alpha);
                }
            }
        }
        taskvec_arithmetic::narrow_changed::<N>(running, base, values);
        felt
    }

    /// Of a quantized tensor, on which packs have deltas only.
    fn apply_whole<W: Whole<Element: Pod>>(
        &mut self,
        layers: &[Layer<'_>],
        grid: &Grid<'_>,
        running: &mut Vec<f32>,
    ) -> Applied {
        let (place, shift) = (self.place.place.clone(), self.place.element_shift());
        let base: &[W::Element] = bytemuck::cast_slice(self.base);
        let values: &mut [W::Element] = bytemuck::cast_slice_mut(self.written);
        let mut applied = Applied::default();
        if let [layer @ Layer { digest, alpha, entry, turn }] = layers {
            if moves_whole::<W>(|index| base.get(index).map(|&value| grid.number::<W>(index, value)), grid, layer) {
                applied.felt.push(*digest);
            }
            if let Entries::Deltas(deltas) = entry.entries() {
                let deltas = self.pages.noting(&place, shift, turn.each(deltas));
                applied.saturated = taskvec_arithmetic::add_whole::<W>(values, grid, deltas, *alpha);
            }
            return applied;
        }
        running.clear();
        running.resize(base.len(), 0.0);
        taskvec_arithmetic::widen_whole::<W>(base, grid, running);
        for layer in layers {
            if moves_whole::<W>(|index| running.get(index).copied(), grid, layer) {
                applied.felt.push(layer.digest);
            }
            if let Entries::Deltas(deltas) = layer.entry.entries() {
                let deltas = self.pages.noting(&place, shift, layer.turn.each(deltas));
                taskvec_arithmetic::add_f32(running, deltas, layer.alpha);
            }
        }
        applied.saturated = taskvec_arithmetic::narrow_changed_whole::<W>(running, base, grid, values);
        applied
    }
}

/// Whether the entries lie side by side, so that runs of them are the faster way.
fn has_runs(entry: &TensorEntry<'_>) -> bool {
    matches!(entry.index_encoding(), IndexEncoding::Granules | IndexEncoding::Dense)
}

/// Whether applying `layer` to `values` changes a bit. Mostly the first entry does, so that this costs nothing.
fn moves_f32(values: &[f32], base: &[f32], layer: &Layer<'_>) -> bool {
    let (alpha, turn) = (layer.alpha, layer.turn);
    let moves = |index: usize, change: &dyn Fn(&mut [f32], &[f32])| {
        let index = turn.of(index);
        let (Some(&before), Some(&base)) = (values.get(index), base.get(index)) else { return false };
        let mut after = [before];
        change(&mut after, &[base]);
        after[0].to_bits() != before.to_bits()
    };
    match layer.entry.entries() {
        Entries::Deltas(mut deltas) => deltas.any(|(index, delta)| {
            moves(index, &|after, _| taskvec_arithmetic::add_f32(after, once((0, delta)), alpha))
        }),
        Entries::Distances(mut distances) => distances.any(|(index, distance)| {
            moves(index, &|after, base| taskvec_arithmetic::add_distances_f32(after, base, once((0, distance)), alpha))
        }),
    }
}

/// Whether applying `layer` where the running sums are `running` changes a bit of the tensor, once rounded.
fn moves_16<N: Narrow16>(running: impl Fn(usize) -> Option<f32>, base: &[u16], layer: &Layer<'_>) -> bool {
    let (alpha, turn) = (layer.alpha, layer.turn);
    let moves = |index: usize, change: &dyn Fn(&mut [f32], &[u16])| {
        let index = turn.of(index);
        let (Some(before), Some(&base)) = (running(index), base.get(index)) else { return false };
        let mut after = [before];
        change(&mut after, &[base]);
        N::narrow(after[0]) != N::narrow(before)
    };
    match layer.entry.entries() {
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

/// As [`moves_16`], once rounded to the grid of the tensor.
fn moves_whole<W: Whole>(running: impl Fn(usize) -> Option<f32>, grid: &Grid<'_>, layer: &Layer<'_>) -> bool {
    let Entries::Deltas(deltas) = layer.entry.entries() else { return false };
    layer.turn.each(deltas).any(|(index, delta)| {
        let Some(before) = running(index) else { return false };
        let mut after = [before];
        taskvec_arithmetic::add_f32(&mut after, once((0, delta)), layer.alpha);
        grid.element::<W>(index, after[0]).0 != grid.element::<W>(index, before).0
    })
}
