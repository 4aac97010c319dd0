//! ONNX models: initializers as tensors, inside the file or in the files beside it.
//!
//! Protobuf is walked field by field through a window, so a node or a tensor of gigabytes is skipped and not read. Numbers of
//! fields are those of `onnx.proto`. What is decided here: only initializers of the main graph are a checkpoint; a tensor whose
//! numbers are written one by one (`int32_data` and its like) has no place that can be read by range, and is refused unless it
//! is of integers, which are no weights.

use std::collections::HashMap;

use taskvec_bundle::StoredDtype;
use taskvec_bundle::onnx::{dtype_of, read_varint};
use taskvec_dataset::{Error, Result};

use crate::limits::Limits;
use crate::shards::inside;
use crate::source::damaged;
use crate::table::Table;
use crate::tensor::{Place, StoredTensor};
use crate::window::Window;

/// `ModelProto.graph`.
const MODEL_GRAPH: u64 = 7;
/// `GraphProto.initializer` and `GraphProto.sparse_initializer`.
const GRAPH_INITIALIZER: u64 = 5;
const GRAPH_SPARSE_INITIALIZER: u64 = 15;
/// Of `TensorProto`.
const TENSOR_DIMS: u64 = 1;
const TENSOR_DATA_TYPE: u64 = 2;
const TENSOR_SEGMENT: u64 = 3;
const TENSOR_FLOAT_DATA: u64 = 4;
const TENSOR_NAME: u64 = 8;
const TENSOR_RAW_DATA: u64 = 9;
const TENSOR_EXTERNAL_DATA: u64 = 13;
const TENSOR_DATA_LOCATION: u64 = 14;
/// Of `StringStringEntryProto`.
const ENTRY_KEY: u64 = 1;
const ENTRY_VALUE: u64 = 2;
/// `TensorProto.EXTERNAL`.
const EXTERNAL: u64 = 1;

/// Dimensions that are kept; more than any operator takes.
const RANK_MAX: usize = 64;
/// Entries of `external_data`: the specification has five.
const ENTRIES_MAX: usize = 16;
/// Bytes of a key and a length.
const FIELD_START_BYTES: u64 = 20;

/// Adds the initializers of the first file, and the files that their numbers lie in.
pub(crate) fn read(table: &mut Table, limits: &Limits) -> Result<()> {
    let initializers = initializers(table, limits)?;
    let mut files = HashMap::new();
    for initializer in initializers {
        if let Some(tensor) = initializer.place(table, &mut files)? {
            table.add(tensor, limits)?;
        }
    }
    Ok(())
}

/// What an initializer says of itself.
#[derive(Default)]
struct Initializer {
    name: String,
    data_type: u64,
    shape: Vec<u64>,
    is_external: bool,
    is_segment: bool,
    /// Where its numbers lie in the model's file: offset and bytes.
    held: Option<(u64, u64)>,
    external: HashMap<String, String>,
}

fn initializers(table: &Table, limits: &Limits) -> Result<Vec<Initializer>> {
    let source = table.first();
    let mut window = Window::new(source);
    let mut found = Vec::new();
    let (mut model, mut name_bytes) = (Fields { at: 0, end: source.size_bytes() }, 0);
    while let Some(field) = model.next(&mut window)? {
        let Some(mut graph) = field.message(MODEL_GRAPH) else { continue };
        while let Some(field) = graph.next(&mut window)? {
            if field.number == GRAPH_SPARSE_INITIALIZER {
                return Err(Error::unsupported(format!("a sparse initializer at byte {}", field.start))
                    .with_help("export the model with dense weights"));
            }
            let Some(tensor) = field.message(GRAPH_INITIALIZER) else { continue };
            let initializer = initializer(tensor, &mut window)?;
            name_bytes += initializer.name.len() as u64;
            if found.len() == limits.tensors_max || name_bytes > limits.header_bytes_max {
                return Err(Error::limit(format!(
                    "more than {} initializers, or of longer names than {} bytes in all",
                    limits.tensors_max, limits.header_bytes_max
                )));
            }
            found.push(initializer);
        }
    }
    if found.is_empty() {
        return Err(Error::unsupported("as an ONNX model: no graph with initializers is in it")
            .with_help("name a model with weights; where they lie in a file beside it, name the model"));
    }
    Ok(found)
}

fn initializer(mut tensor: Fields, window: &mut Window<'_>) -> Result<Initializer> {
    let mut found = Initializer::default();
    while let Some(field) = tensor.next(window)? {
        match (field.number, field.value) {
            (TENSOR_NAME, Wire::Bytes(count)) => found.name = window.text(field.start, count)?.to_owned(),
            (TENSOR_DATA_TYPE, Wire::Number(number)) => found.data_type = number,
            (TENSOR_DATA_LOCATION, Wire::Number(number)) => found.is_external = number == EXTERNAL,
            (TENSOR_SEGMENT, _) => found.is_segment = true,
            (TENSOR_DIMS, Wire::Number(size)) => found.shape.push(size),
            (TENSOR_DIMS, Wire::Bytes(count)) => {
                let packed = window.bytes(field.start, count)?;
                let mut at = 0;
                while at < packed.len() && found.shape.len() <= RANK_MAX {
                    let (size, taken) = read_varint(&packed[at..]).ok_or_else(|| cut(field.start))?;
                    found.shape.push(size);
                    at += taken;
                }
            }
            // Packed f32 are bytes as they would stand in `raw_data`.
            (TENSOR_RAW_DATA | TENSOR_FLOAT_DATA, Wire::Bytes(count)) if found.held.is_none() => {
                found.held = Some((field.start, count));
            }
            (TENSOR_RAW_DATA | TENSOR_FLOAT_DATA, _) => {
                return Err(Error::unsupported(format!("tensor `{}`: its numbers lie in several pieces", found.name))
                    .with_help("save the model again with `raw_data`"));
            }
            (TENSOR_EXTERNAL_DATA, Wire::Bytes(_)) if found.external.len() < ENTRIES_MAX => {
                let (key, value) = entry(Fields { at: field.start, end: field.end }, window)?;
                found.external.insert(key, value);
            }
            _ => {}
        }
        if found.shape.len() > RANK_MAX {
            return Err(damaged(format!("tensor `{}` has more than {RANK_MAX} dimensions", found.name)));
        }
    }
    Ok(found)
}

fn entry(mut fields: Fields, window: &mut Window<'_>) -> Result<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    while let Some(field) = fields.next(window)? {
        match (field.number, field.value) {
            (ENTRY_KEY, Wire::Bytes(count)) => key = window.text(field.start, count)?.to_owned(),
            (ENTRY_VALUE, Wire::Bytes(count)) => value = window.text(field.start, count)?.to_owned(),
            _ => {}
        }
    }
    Ok((key, value))
}

impl Initializer {
    /// As a tensor with a place; none for integers and texts that have none.
    fn place(self, table: &mut Table, files: &mut HashMap<String, usize>) -> Result<Option<StoredTensor>> {
        let known = i32::try_from(self.data_type).ok().and_then(dtype_of);
        let Some(dtype) = known else { return Ok(None) };
        let shape = self.shape.clone();
        let Some((file, offset, count)) = self.bytes(table, files)? else {
            // No numbers at all are the numbers of an empty tensor.
            let empty = Place { file: 0, offset: 0, strides: None };
            return match shape.contains(&0) {
                true => StoredTensor::whole(self.name, dtype, shape, empty, 0..0).map(Some),
                false if is_weight(dtype) => Err(Error::unsupported(format!(
                    "tensor `{}`: its numbers are written one by one, expected `raw_data`, `float_data` or a file",
                    self.name
                ))
                .with_help("save the model again with `raw_data` (`onnx.numpy_helper.from_array` makes it)")),
                false => Ok(None),
            };
        };
        let end = offset.checked_add(count).filter(|&end| end <= table.file(file).size_bytes());
        let Some(end) = end else {
            let (name, path) = (&self.name, table.file(file).path().display().to_string());
            return Err(damaged(format!("tensor `{name}`: {count} bytes at byte {offset} end after `{path}`")));
        };
        let place = Place { file, offset, strides: None };
        StoredTensor::whole(self.name, dtype, shape, place, offset..end).map(Some)
    }

    /// File, offset and count of the bytes that its numbers are.
    fn bytes(&self, table: &mut Table, files: &mut HashMap<String, usize>) -> Result<Option<(usize, u64, u64)>> {
        let name = &self.name;
        if self.is_segment {
            return Err(Error::unsupported(format!("tensor `{name}` is stored in segments"))
                .with_help("save the model again with whole tensors"));
        }
        if !self.is_external {
            return Ok(self.held.map(|(offset, count)| (0, offset, count)));
        }
        let Some(location) = self.external.get("location") else {
            return Err(damaged(format!("tensor `{name}` lies in another file, and its location is not said")));
        };
        let file = match files.get(location) {
            Some(&file) => file,
            None => {
                let Some(folder) = table.first().folder() else {
                    return Err(Error::usage(format!("tensor `{name}` lies in `{location}`, not in memory"))
                        .with_help("name the model by its path"));
                };
                let source = inside(folder, location).map_err(|cause| cause.within(format!("tensor `{name}`")))?;
                let file = table.add_file(source);
                files.insert(location.clone(), file);
                file
            }
        };
        let number = |key: &str| match self.external.get(key) {
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                damaged(format!("tensor `{name}`: its {key} is `{}`, expected a number", text.escape_debug()))
            }),
            None => Ok(None),
        };
        let offset = number("offset")?.unwrap_or(0);
        let rest = table.file(file).size_bytes().saturating_sub(offset);
        Ok(Some((file, offset, number("length")?.unwrap_or(rest))))
    }
}

fn is_weight(dtype: StoredDtype) -> bool {
    dtype.editable().is_some() || dtype == StoredDtype::F64
}

/// The fields of a message that lies between two bytes of the file.
struct Fields {
    at: u64,
    end: u64,
}

/// One field: its value lies from `start` to `end`.
struct Field {
    number: u64,
    value: Wire,
    start: u64,
    end: u64,
}

#[derive(Clone, Copy)]
enum Wire {
    Number(u64),
    Bytes(u64),
    Fixed,
}

impl Fields {
    fn next(&mut self, window: &mut Window<'_>) -> Result<Option<Field>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let at = self.at;
        let bytes = window.up_to(at, FIELD_START_BYTES.min(self.end - at))?;
        let field = (|| {
            let (key, key_bytes) = read_varint(bytes)?;
            let rest = &bytes[key_bytes..];
            let start = at + key_bytes as u64;
            let (value, start, count) = match key & 7 {
                0 => {
                    let (number, taken) = read_varint(rest)?;
                    (Wire::Number(number), start, taken as u64)
                }
                1 => (Wire::Fixed, start, 8),
                2 => {
                    let (count, taken) = read_varint(rest)?;
                    (Wire::Bytes(count), start + taken as u64, count)
                }
                5 => (Wire::Fixed, start, 4),
                // Groups, which ONNX never had, and what protobuf does not have.
                _ => return None,
            };
            let end = start.checked_add(count).filter(|&end| end <= self.end)?;
            Some(Field { number: key >> 3, value, start, end })
        })();
        let field = field.ok_or_else(|| cut(at))?;
        self.at = field.end;
        Ok(Some(field))
    }
}

impl Field {
    /// The fields of its value, if it is field `number` and a message.
    fn message(&self, number: u64) -> Option<Fields> {
        let is_message = self.number == number && matches!(self.value, Wire::Bytes(_));
        is_message.then_some(Fields { at: self.start, end: self.end })
    }
}

fn cut(at: u64) -> Error {
    damaged(format!("as an ONNX model: no field of protobuf is at byte {at}"))
}
