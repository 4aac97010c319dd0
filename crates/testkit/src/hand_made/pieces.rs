//! The fields of each section as bytes with a name: `FORMAT.md` sections 5 to 7, field by field.

use super::streams;
use crate::contents::{Head, Input, Manifest, Preprocessing, Probe, Probes, Tensor};

/// A field.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

impl Piece {
    pub(super) fn new(name: String, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name, bytes: bytes.into() }
    }
}

/// Collects the fields of one section.
struct Pieces {
    prefix: String,
    pieces: Vec<Piece>,
}

impl Pieces {
    fn of(section: &str) -> Self {
        Self { prefix: section.to_owned(), pieces: Vec::new() }
    }

    fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.pieces.push(Piece::new(format!("{}.{name}", self.prefix), bytes));
    }

    /// The length as `<name>_bytes`, then the text.
    fn text(&mut self, name: &str, text: &str) {
        self.add(&format!("{name}_bytes"), streams::varint(text.len() as u64));
        self.add(name, text);
    }
}

pub(super) fn manifest(manifest: &Manifest) -> Vec<Piece> {
    let mut pieces = Pieces::of("manifest");
    pieces.add("base", from_hex(&manifest.base));
    pieces.add("alpha", manifest.alpha.to_le_bytes());
    pieces.add("alpha_min", manifest.alpha_min.to_le_bytes());
    pieces.add("alpha_max", manifest.alpha_max.to_le_bytes());
    pieces.add("density", manifest.density.to_le_bytes());
    pieces.add("seed", manifest.seed.to_le_bytes());
    pieces.add("method", manifest.method.to_le_bytes());
    pieces.add("granule", manifest.granule.to_le_bytes());
    pieces.add("granule_bytes", manifest.granule_bytes.to_le_bytes());
    pieces.text("name", &manifest.name);
    pieces.add("pair_count", streams::varint(manifest.provenance.len() as u64));
    for (place, (key, value)) in manifest.provenance.iter().enumerate() {
        pieces.text(&format!("pairs.{place}.key"), key);
        pieces.text(&format!("pairs.{place}.value"), value);
    }
    pieces.pieces
}

pub(super) fn tensors(tensors: &[Tensor]) -> Vec<Piece> {
    let mut pieces = Pieces::of("tensors");
    pieces.add("count", streams::varint(tensors.len() as u64));
    for (place, tensor) in tensors.iter().enumerate() {
        pieces.prefix = format!("tensors.{place}");
        pieces.text("name", &tensor.name);
        pieces.add("dtype", [tensor.dtype]);
        pieces.add("rank", [u8::try_from(tensor.shape.len()).expect("hand-made packs are small")]);
        for (axis, &size) in tensor.shape.iter().enumerate() {
            pieces.add(&format!("dimensions.{axis}"), streams::varint(size));
        }
        pieces.add("index_encoding", [tensor.index_encoding]);
        pieces.add("value_encoding", [tensor.value_encoding]);
        pieces.add("entry_count", streams::varint(tensor.indices.len() as u64));
        pieces.add("index_bytes", streams::varint(tensor.index_bytes));
        pieces.add("value_bytes", streams::varint(tensor.value_bytes));
        if let Some(error) = tensor.error {
            pieces.add("error_max", error.max.to_le_bytes());
            pieces.add("error_rms", error.rms.to_le_bytes());
        }
    }
    pieces.pieces
}

pub(super) fn entries(streams: &[[Vec<u8>; 2]]) -> Vec<Piece> {
    let mut pieces = Pieces::of("entries");
    for (place, [index, value]) in streams.iter().enumerate() {
        pieces.add(&format!("{place}.index"), index.clone());
        pieces.add(&format!("{place}.value"), value.clone());
    }
    pieces.pieces
}

pub(super) fn head(head: &Head) -> Vec<Piece> {
    let mut pieces = Pieces::of("head");
    pieces.add("feature_width", head.feature_width.to_le_bytes());
    pieces.add("class_count", super::count(head.labels.len()).to_le_bytes());
    pieces.add("weight_encoding", [head.weight_encoding]);
    pieces.add("zero", [0; 3]);
    for (place, label) in head.labels.iter().enumerate() {
        pieces.text(&format!("labels.{place}"), label);
    }
    // The other encodings are put in the place of this piece: `Draft::replace`.
    pieces.add("weight", streams::f32s(&head.weight));
    pieces.add("bias", streams::f32s(&head.bias));
    pieces.pieces
}

pub(super) fn preprocessing(image: &Preprocessing) -> Vec<Piece> {
    let mut pieces = Pieces::of("preprocessing");
    pieces.add("channels", image.channels.to_le_bytes());
    pieces.add("height", image.height.to_le_bytes());
    pieces.add("width", image.width.to_le_bytes());
    pieces.add("resize", image.resize.to_le_bytes());
    pieces.add("zero", [0; 2]);
    pieces.add("mean", streams::f32s(&image.mean));
    pieces.add("std", streams::f32s(&image.std));
    pieces.pieces
}

pub(super) fn probes(probes: &Probes) -> Vec<Piece> {
    let mut pieces = Pieces::of("probes");
    pieces.add("probe_count", super::count(probes.probes.len()).to_le_bytes());
    pieces.add("input_len", probes.input_len.to_le_bytes());
    pieces.add("output_len", probes.output_len.to_le_bytes());
    pieces.add("input_encoding", [probes.input_encoding]);
    pieces.add("tolerance_count", [u8::try_from(probes.tolerances.len()).expect("hand-made packs are small")]);
    pieces.add("zero", [0; 2]);
    for (place, (engine, tolerance)) in probes.tolerances.iter().enumerate() {
        pieces.add(&format!("tolerances.{place}.engine"), engine.to_le_bytes());
        pieces.add(&format!("tolerances.{place}.zero"), [0; 2]);
        pieces.add(&format!("tolerances.{place}.tolerance"), tolerance.to_le_bytes());
    }
    for (place, probe) in probes.probes.iter().enumerate() {
        pieces.add(&format!("inputs.{place}"), stored_input(probe));
    }
    for (place, probe) in probes.probes.iter().enumerate() {
        pieces.add(&format!("outputs.{place}"), streams::f32s(&probe.output));
    }
    pieces.pieces
}

/// Bytes from hexadecimal digits.
pub(super) fn from_hex(digits: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit");
    let byte = |pair: &[u8]| u8::try_from(16 * digit(pair[0]) + digit(pair[1])).expect("two digits");
    digits.as_bytes().chunks(2).map(byte).collect()
}

fn stored_input(probe: &Probe) -> Vec<u8> {
    match &probe.input {
        Input::Numbers(numbers) => streams::f32s(numbers),
        Input::Pixels(pixels) => pixels.clone(),
    }
}
