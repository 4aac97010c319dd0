//! ONNX models that have initializers and nothing else, in protobuf by hand.

use super::SavedTensor;

/// Where the numbers of an initializer are written.
#[derive(Clone, Copy, Debug)]
pub enum OnnxPlace<'a> {
    /// `raw_data`.
    Raw,
    /// `float_data`, packed; for f32 only.
    Floats,
    /// `external_data`: in this file, one after another.
    External(&'a str),
}

/// A model, and the bytes of the file beside it, if there is one.
#[must_use]
pub fn onnx(tensors: &[SavedTensor], place: OnnxPlace<'_>) -> (Vec<u8>, Vec<u8>) {
    let (mut graph, mut data) = (Vec::new(), Vec::new());
    for tensor in tensors {
        let mut initializer = Vec::new();
        tensor.shape.iter().for_each(|&size| number(&mut initializer, 1, size));
        let data_type = match tensor.dtype {
            "F32" => 1,
            "I64" => 7,
            "F16" => 10,
            _ => 16,
        };
        number(&mut initializer, 2, data_type);
        field(&mut initializer, 8, tensor.name.as_bytes());
        match place {
            OnnxPlace::Raw => field(&mut initializer, 9, &tensor.bytes),
            OnnxPlace::Floats => field(&mut initializer, 4, &tensor.bytes),
            OnnxPlace::External(file) => {
                let (offset, length) = (data.len().to_string(), tensor.bytes.len().to_string());
                for (key, value) in [("location", file), ("offset", &offset), ("length", &length)] {
                    let mut entry = Vec::new();
                    field(&mut entry, 1, key.as_bytes());
                    field(&mut entry, 2, value.as_bytes());
                    field(&mut initializer, 13, &entry);
                }
                number(&mut initializer, 14, 1);
                data.extend(&tensor.bytes);
            }
        }
        field(&mut graph, 5, &initializer);
    }
    let mut model = Vec::new();
    number(&mut model, 1, 8);
    field(&mut model, 7, &graph);
    (model, data)
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn number(bytes: &mut Vec<u8>, tag: u64, value: u64) {
    varint(bytes, tag << 3);
    varint(bytes, value);
}

fn field(bytes: &mut Vec<u8>, tag: u64, payload: &[u8]) {
    varint(bytes, tag << 3 | 2);
    varint(bytes, payload.len() as u64);
    bytes.extend(payload);
}
