//! How packed weights are made: ONNX Runtime packs, twice, and says what it made by what it saves.
//!
//! First it is given the graph with matrices of numbers, each number once: what comes out says where each element goes.
//! Then it is given the base's weights; what comes out must be those, at the places just learned, bit for bit.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use ort::session::builder::GraphOptimizationLevel;
use taskvec_pack::Dtype;

use super::super::{Place, graph, runner};
use super::kept::{DATA, Kept, KeptMatrix, MODEL, MadeOf, Stamps};
use super::layout::Layout;
use super::saved;
use crate::base_model::{BaseModel, BaseTensor};
use crate::error::{Error, ErrorKind};
use crate::map::ReadOnlyMap;

/// Smaller tensors stay in the model file: external data must not hold those that say shapes.
const EXTERNAL_BYTES_MIN: usize = 1024;

/// Fills `folder` with the packed weights of `base`.
pub(super) fn make(
    place: &Place,
    base: &BaseModel,
    whole: &[u8],
    made_of: &MadeOf,
    folder: &Path,
) -> Result<Kept, Error> {
    let (matrices, learned) = learn(place, base, whole, folder)?;
    let names: Vec<_> = matrices.iter().map(|tensor| tensor.name.as_str()).collect();
    let model = graph::some_constants(whole, base, &names)?;
    let packed = Saved::by(place, base, &model, base.bytes(), folder)?;
    let found = packed.tensors()?;
    for (tensor, learned) in matrices.iter().zip(&learned) {
        let words = found.get(tensor.name.as_str()).and_then(|saved| packed.words(saved));
        if !words.is_some_and(|words| learned.holds(&words, &base.bytes()[tensor.place.clone()])) {
            let clause = format!("tensor `{}`: is packed in one way and then in another", tensor.name);
            return Err(Error::new(ErrorKind::Unsupported, clause));
        }
    }
    let stamps = packed.move_to_pages(folder).map_err(|cause| Error::io("write packed weights to", folder, cause))?;
    let model = read(&folder.join(MODEL))?;
    let places = saved::packed_tensors(&model).ok_or_else(|| unreadable(&folder.join(MODEL)))?;
    let mut kept = Kept { made_of: made_of.clone(), stamps, layouts: Vec::new(), matrices: Vec::new() };
    for (tensor, learned) in matrices.iter().zip(learned) {
        let layout = kept.layouts.iter().position(|layout| *layout == learned.layout).unwrap_or_else(|| {
            kept.layouts.push(learned.layout);
            kept.layouts.len() - 1
        });
        // It was there before its bytes moved.
        let place = places.get(tensor.name.as_str()).ok_or_else(|| unreadable(&folder.join(MODEL)))?.packed.clone();
        let (tensor, offset, length) = (tensor.name.clone(), place.start, place.len());
        kept.matrices.push(KeptMatrix { tensor, offset, length, layout });
    }
    kept.write(folder).map_err(|cause| Error::io("describe packed weights in", folder, cause))?;
    Ok(kept)
}

/// The editable matrices that this library packs ahead in a way that can be said, and how.
fn learn<'a>(
    place: &Place,
    base: &'a BaseModel,
    whole: &[u8],
    folder: &Path,
) -> Result<(Vec<&'a BaseTensor>, Vec<Learned>), Error> {
    let could_be = |tensor: &&BaseTensor| {
        tensor.editable
            && tensor.dtype == Dtype::F32
            && tensor.quantization.is_none()
            && tensor.shape.len() == 2
            && tensor.place.len() >= EXTERNAL_BYTES_MIN
    };
    let mut matrices: Vec<_> = base.tensors().iter().filter(could_be).collect();
    // What turns out not to be packed becomes an input, which may change how the rest is packed.
    while !matrices.is_empty() {
        let names: Vec<_> = matrices.iter().map(|tensor| tensor.name.as_str()).collect();
        let (numbers, firsts) = numbered(base, &matrices)?;
        let model = graph::some_constants(whole, base, &names)?;
        let packed = Saved::by(place, base, &model, &numbers, folder)?;
        let found = packed.tensors()?;
        let learned: Vec<_> = (matrices.iter().zip(firsts))
            .map(|(tensor, first)| {
                let words = packed.words(found.get(tensor.name.as_str())?)?;
                let (rows, columns) = sides(tensor)?;
                Some(Learned { layout: Layout::learn(&words, first, rows, columns)?, words: words.len(), columns })
            })
            .collect();
        if learned.iter().all(Option::is_some) {
            return Ok((matrices, learned.into_iter().flatten().collect()));
        }
        let mut packs = learned.iter().map(Option::is_some);
        matrices.retain(|_| packs.next().unwrap_or(false));
    }
    Err(Error::new(ErrorKind::Unsupported, "this library packs none of the base's editable matrices ahead"))
}

/// How a matrix is packed.
struct Learned {
    layout: Layout,
    /// Length of the packed form.
    words: usize,
    columns: usize,
}

impl Learned {
    /// Whether `words` is the packed form of the matrix of these bytes.
    fn holds(&self, words: &[u32], matrix: &[u8]) -> bool {
        let matrix: &[u32] = bytemuck::cast_slice(matrix);
        let is_there = |(row, elements): (usize, &[u32])| {
            elements.iter().enumerate().all(|(column, &bits)| words[self.layout.offset(row, column)] == bits)
        };
        words.len() == self.words && matrix.chunks(self.columns).enumerate().all(is_there)
    }
}

pub(super) fn sides(matrix: &BaseTensor) -> Option<(usize, usize)> {
    let [rows, columns] = matrix.shape[..] else { return None };
    Some((usize::try_from(rows).ok()?, usize::try_from(columns).ok()?))
}

/// The base's file with the elements of `matrices` numbered through from 1 on, as bits, and each one's first number.
fn numbered(base: &BaseModel, matrices: &[&BaseTensor]) -> Result<(Vec<u8>, Vec<u32>), Error> {
    let mut bytes = base.bytes().to_vec();
    let mut next = 1u32;
    let mut firsts = Vec::with_capacity(matrices.len());
    for tensor in matrices {
        firsts.push(next);
        for element in bytes[tensor.place.clone()].chunks_exact_mut(4) {
            element.copy_from_slice(&next.to_le_bytes());
            next = next
                .checked_add(1)
                .ok_or_else(|| Error::new(ErrorKind::Unsupported, "more elements than can be told apart by 32 bits"))?;
        }
    }
    Ok((bytes, firsts))
}

/// A model and its data as ONNX Runtime has saved them.
struct Saved {
    model: Vec<u8>,
    data: ReadOnlyMap,
}

impl Saved {
    /// Has the library optimize and pack `model` with `weights` as its external data. The files are gone afterwards.
    fn by(place: &Place, base: &BaseModel, model: &[u8], weights: &[u8], folder: &Path) -> Result<Self, Error> {
        // In the folder of the model, and nowhere else, the library looks for the data.
        let inside = folder.join("saved");
        let io = |cause| Error::io("keep packed weights in", folder, cause);
        fs::create_dir(&inside).map_err(io)?;
        let saved = place
            .builder()
            .and_then(|builder| {
                let builder = builder
                    .with_optimization_level(GraphOptimizationLevel::Level2)?
                    .with_optimized_model_path(inside.join(MODEL))?
                    .with_config_entry("session.optimized_model_external_initializers_file_name", DATA)?
                    .with_config_entry(
                        "session.optimized_model_external_initializers_min_size_in_bytes",
                        EXTERNAL_BYTES_MIN.to_string(),
                    )?
                    .with_config_entry("session.save_external_prepacked_constant_initializers", "1")?;
                runner::commit_from_memory(builder, model, weights, base.bytes())
            })
            .map_err(|cause| place.refuses(base, cause));
        let read = saved.and_then(|_| {
            let model = read(&inside.join(MODEL))?;
            let file = File::open(inside.join(DATA)).map_err(io)?;
            let length = file.metadata().map_err(io)?.len();
            let data = ReadOnlyMap::of(&file, usize::try_from(length).unwrap_or(usize::MAX)).map_err(io)?;
            Ok(Self { model, data })
        });
        fs::remove_dir_all(&inside).map_err(io)?;
        read
    }

    fn tensors(&self) -> Result<BTreeMap<&str, saved::Saved>, Error> {
        saved::packed_tensors(&self.model).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "what the library saves is not understood: graphs within nodes, or newer",
            )
        })
    }

    /// The packed form of a tensor.
    fn words(&self, saved: &saved::Saved) -> Option<Vec<u32>> {
        let bytes = self.data.bytes().get(saved.packed.clone())?;
        let (words, []) = bytes.as_chunks() else { return None };
        Some(words.iter().map(|&word| u32::from_le_bytes(word)).collect())
    }

    /// Writes the two files that are kept to `folder`.
    fn move_to_pages(&self, folder: &Path) -> io::Result<Stamps> {
        let mut out = BufWriter::new(File::create(folder.join(DATA))?);
        let moved = saved::in_pages(&self.model, self.data.bytes(), &mut out)?;
        out.into_inner()?.sync_all()?;
        fs::write(folder.join(MODEL), moved.ok_or(io::ErrorKind::InvalidData)?)?;
        File::open(folder.join(MODEL))?.sync_all()?;
        Stamps::of(folder)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|cause| Error::io("read", path, cause))
}

fn unreadable(model: &Path) -> Error {
    Error::new(ErrorKind::Unsupported, format!("`{}` cannot be read back", model.display()))
}
