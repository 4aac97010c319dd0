//! Which tensor of a checkpoint each weight of an exported graph is, told by its numbers.
//!
//! Names do not help: exporters number what they have turned (`onnx::MatMul_612`) and keep the name of what they have folded.
//! So a float weight is recognized when its bytes are those of a tensor of the checkpoint, as they are or with rows and columns
//! exchanged, and a quantized one when each of its elements stands for the number nearest to the checkpoint's. What has no
//! such tensor was made by the exporter, for instance of a convolution and the normalization after it, and cannot be reached
//! by a pack of the checkpoint. Of several equal tensors the one that is called alike is taken, or none.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};
use taskvec_arithmetic::Grid;
use taskvec_bundle::{Counterpart, GridNames, StoredDtype};
use taskvec_checkpoint::onnx_graph::{OnnxGraph, Use};
use taskvec_checkpoint::{Checkpoint, StoredTensor};
use taskvec_pack::Digest;

use super::Weight;
use crate::error::Result;
use crate::run_folder::f32s;

/// What quantizers append to names.
const SUFFIXES: [&str; 3] = ["_quantized", "_Transposed", "_transposed"];
/// How far, in steps of the grid, an element may be from what it stands for: half a step and rounding.
const STEPS_OFF_MAX: f32 = 0.501;

/// A quantized weight and the numbers of its grid.
pub(super) struct Quantized {
    pub(super) names: GridNames,
    scales: Vec<f32>,
    zero_points: Vec<f32>,
    inner: usize,
}

/// What each of `weights` is in `of`, where that can be told; `grids` are those of the quantized ones, by name. In byte order of
/// names, each tensor of `of` at most once.
///
/// # Errors
/// `Io` when `of` cannot be read.
pub(super) fn recognize(
    weights: &[Weight],
    grids: &BTreeMap<&str, Quantized>,
    of: &Checkpoint,
) -> Result<Vec<Counterpart>> {
    let mut by_bytes: HashMap<(StoredDtype, Digest), Vec<(&str, bool)>> = HashMap::new();
    for tensor in of.body() {
        let bytes = of.read(tensor)?;
        by_bytes.entry((tensor.dtype(), digest(tensor.shape(), &bytes))).or_default().push((tensor.name(), false));
        if let Some((shape, bytes)) = turned(tensor.shape(), &bytes, tensor.dtype()) {
            by_bytes.entry((tensor.dtype(), digest(&shape, &bytes))).or_default().push((tensor.name(), true));
        }
    }
    let mut found = Vec::new();
    for weight in weights {
        let Some((name, turned, dtype)) = (match grids.get(weight.name.as_str()) {
            Some(grid) => quantized(weight, grid, of)?,
            None => {
                let key = (weight.dtype, digest(&weight.shape, &weight.bytes));
                let candidates = by_bytes.get(&key).map_or(&[][..], Vec::as_slice);
                alike(&weight.name, candidates).map(|(name, turned)| (name, turned, weight.dtype))
            }
        }) else {
            continue;
        };
        let grid = grids.get(weight.name.as_str()).map(|grid| grid.names.clone());
        found.push(Counterpart { name: weight.name.clone(), of: name.to_owned(), dtype, turned, grid });
    }
    // What was written twice would have to be edited twice.
    let mut times: HashMap<String, usize> = HashMap::new();
    found.iter().for_each(|counterpart| *times.entry(counterpart.of.clone()).or_default() += 1);
    found.retain(|counterpart| times.get(&counterpart.of) == Some(&1));
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}

/// The grid of a weight of bytes, as the graph or the names of ONNX Runtime's quantizers say; none if it has none here.
pub(super) fn grid_of(weight: &Weight, graph: &OnnxGraph, parts: &HashMap<&str, &Weight>) -> Option<Quantized> {
    if !is_whole(weight.dtype) {
        return None;
    }
    let (scale, zero_point, axis) = graph.uses(&weight.name).iter().find_map(|it| named_by(it, weight))?;
    let scale = *parts.get(scale.as_str())?;
    let zero_point = match zero_point.filter(|name| graph.holds(name)) {
        Some(name) => Some(*parts.get(name.as_str())?),
        None => None,
    };
    let scales = (scale.dtype == StoredDtype::F32).then(|| f32s(&scale.bytes))?;
    let zero_points: Vec<f32> = match zero_point {
        Some(it) if it.dtype != weight.dtype => return None,
        Some(it) => it.dtype.whole_numbers(&it.bytes)?,
        None => vec![0.0; scales.len()],
    };
    if zero_points.len() != scales.len() {
        return None;
    }
    let axis = if scales.len() == 1 { None } else { Some(axis) };
    if axis.is_some_and(|axis| weight.shape.get(axis) != Some(&(scales.len() as u64))) {
        return None;
    }
    let after = axis.map_or(&[][..], |axis| &weight.shape[axis + 1..]);
    // Sides of nothing may claim more than can be counted: the elements that there are say how many there are.
    let inner = after.iter().try_fold(1u64, |count, &side| count.checked_mul(side))? as usize;
    Grid::new(&scales, &zero_points, inner)?;
    let names = GridNames { scale: scale.name.clone(), zero_point: zero_point.map(|it| it.name.clone()), axis };
    Some(Quantized { names, scales, zero_points, inner })
}

/// Names of scale and zero point, and the side along which they differ, if this use says so.
fn named_by(it: &Use, weight: &Weight) -> Option<(String, Option<String>, usize)> {
    let last = weight.shape.len().saturating_sub(1);
    let from = |scale: usize, zero_point: usize, axis: usize| {
        let name = |input: usize| it.node.inputs.get(input).filter(|name| !name.is_empty()).cloned();
        Some((name(scale)?, name(zero_point), axis))
    };
    match (it.node.op.as_str(), it.input) {
        ("DequantizeLinear", 0) => {
            let axis = it.node.axis.unwrap_or(1);
            let axis = if axis < 0 { axis + weight.shape.len() as i64 } else { axis };
            from(1, 2, usize::try_from(axis).ok()?)
        }
        ("QLinearConv", 3) => from(4, 5, 0),
        ("QLinearMatMul" | "QGemm", 3) => from(4, 5, last),
        ("DynamicQuantizeMatMul", 1) => from(2, 3, last),
        ("MatMulIntegerToFloat", 1) => from(3, 5, last),
        // Here the scale is in a product somewhere after the node.
        ("MatMulInteger" | "ConvInteger", 1) | ("Gather", 0) => {
            let stem = weight.name.strip_suffix("_quantized")?;
            let axis = if it.node.op == "ConvInteger" { 0 } else { last };
            Some((format!("{stem}_scale"), Some(format!("{stem}_zero_point")), axis))
        }
        _ => None,
    }
}

/// The tensor of `of` that each element of `weight` is nearest to, whether it is turned, and its dtype.
fn quantized<'a>(
    weight: &Weight,
    grid: &Quantized,
    of: &'a Checkpoint,
) -> Result<Option<(&'a str, bool, StoredDtype)>> {
    let reversed: Vec<u64> = weight.shape.iter().rev().copied().collect();
    let may_be_turned = weight.shape.len() == 2;
    let could_be = |tensor: &&StoredTensor| {
        let shape = tensor.shape();
        shape == weight.shape || may_be_turned && shape == reversed
    };
    let mut candidates: Vec<&StoredTensor> = of.body().filter(could_be).collect();
    // One that is called alike is mostly the one.
    candidates.sort_by_key(|tensor| std::cmp::Reverse(likeness(&weight.name, tensor.name())));
    let mut found: Option<(&str, bool, StoredDtype)> = None;
    for tensor in candidates {
        let alike = |name: &str| likeness(&weight.name, name);
        if found.is_some_and(|(best, ..)| alike(best) > alike(tensor.name())) {
            break;
        }
        let Some(numbers) = numbers(tensor.dtype(), &of.read(tensor)?) else { continue };
        let plain = tensor.shape() == weight.shape && is_nearest(weight, grid, |index| numbers[index]);
        let (rows, columns) = (reversed.first().copied(), reversed.last().copied());
        let turned = !plain && may_be_turned && tensor.shape() == reversed && {
            let (rows, columns) = (rows.unwrap_or(1) as usize, columns.unwrap_or(1) as usize);
            // Element (column, row) here is element (row, column) there.
            is_nearest(weight, grid, |index| numbers[index % rows * columns + index / rows])
        };
        if !plain && !turned {
            continue;
        }
        // Two that are equal and called as much alike cannot be told apart.
        if found.replace((tensor.name(), turned, tensor.dtype())).is_some() {
            return Ok(None);
        }
    }
    Ok(found)
}

/// Whether each element of `weight` is the one nearest to its number, or the end of the grid and the number lies beyond it.
fn is_nearest(weight: &Weight, quantized: &Quantized, number: impl Fn(usize) -> f32) -> bool {
    let Some(grid) = Grid::new(&quantized.scales, &quantized.zero_points, quantized.inner) else { return false };
    let Some(elements) = weight.dtype.whole_numbers(&weight.bytes) else { return false };
    // What was cut off lies at the smallest or largest element that the quantizer used, not always that of the dtype.
    let (lowest, highest) =
        elements.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &it| (low.min(it), high.max(it)));
    let may_be_cut = weight.dtype != StoredDtype::I32 && lowest < highest;
    let is_cut = |element: f32, beyond: f32| {
        may_be_cut && (element == lowest && beyond < 0.0 || element == highest && beyond > 0.0)
    };
    elements.iter().enumerate().all(|(index, &element)| {
        let (scale, number) = (grid.scale(index), number(index));
        let stands_for = (element - grid.zero_point(index)) * scale;
        // With 32 bits, f32 is coarser than the grid.
        let off_max = STEPS_OFF_MAX * scale + number.abs() * f32::EPSILON;
        (stands_for - number).abs() <= off_max || is_cut(element, number - stands_for)
    })
}

/// Whether a quantizer writes weights in this dtype.
pub(super) fn is_whole(dtype: StoredDtype) -> bool {
    matches!(dtype, StoredDtype::I8 | StoredDtype::U8 | StoredDtype::I32)
}

fn numbers(dtype: StoredDtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    Some(match dtype {
        StoredDtype::F32 => f32s(bytes),
        StoredDtype::F16 => halves().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
        StoredDtype::Bf16 => halves().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
        _ => return None,
    })
}

/// Of what has the same bytes, what is called most alike; none if that is said of several.
fn alike<'a>(name: &str, candidates: &[(&'a str, bool)]) -> Option<(&'a str, bool)> {
    let best = candidates.iter().map(|(other, _)| likeness(name, other)).max()?;
    let mut of_best = candidates.iter().filter(|(other, _)| likeness(name, other) == best);
    // A symmetric matrix is itself, turned: as it is comes first.
    let first = of_best.next()?;
    of_best.all(|(other, _)| *other == first.0).then_some(*first)
}

/// 2 for the same name, 1 for one that has the other at its end, 0 for all else; what quantizers append is left out.
fn likeness(ours: &str, theirs: &str) -> u8 {
    let mut ours = ours;
    while let Some(stem) = SUFFIXES.iter().find_map(|suffix| ours.strip_suffix(suffix)) {
        ours = stem;
    }
    let ends = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|rest| rest.ends_with('.'));
    match ours == theirs {
        true => 2,
        false => u8::from(ends(ours, theirs) || ends(theirs, ours)),
    }
}

fn digest(shape: &[u64], bytes: &[u8]) -> Digest {
    let shape: Vec<u8> = shape.iter().flat_map(|side| side.to_le_bytes()).collect();
    Digest::of(&[shape.as_slice(), Digest::of(bytes).0.as_slice()].concat())
}

/// A matrix with rows and columns exchanged, if it is one that this changes.
fn turned(shape: &[u64], bytes: &[u8], dtype: StoredDtype) -> Option<(Vec<u64>, Vec<u8>)> {
    let &[rows, columns] = shape else { return None };
    if rows < 2 || columns < 2 {
        return None;
    }
    let (rows, columns, size) = (rows as usize, columns as usize, (dtype.size_bits() / 8) as usize);
    let mut out = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        for row in 0..rows {
            let at = (row * columns + column) * size;
            out.extend_from_slice(bytes.get(at..at + size)?);
        }
    }
    Some((vec![columns as u64, rows as u64], out))
}
