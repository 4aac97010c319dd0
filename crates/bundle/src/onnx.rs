//! The bytes of an ONNX model as fields: as much of protobuf as it takes to leave entries out or to write a few of them
//! anew, and the numbers of the fields that we name (`onnx.proto`, IR version 3 and above).
//!
//! Nothing is decoded that is not looked at, so that all else can be copied as it is.

use crate::tensors::StoredDtype;

/// `ModelProto.graph`.
pub const MODEL_GRAPH: u64 = 7;
/// `GraphProto.node`, of `NodeProto`.
pub const GRAPH_NODE: u64 = 1;
/// `GraphProto.initializer`, of `TensorProto`.
pub const GRAPH_INITIALIZER: u64 = 5;
/// `GraphProto.input`, of `ValueInfoProto`.
pub const GRAPH_INPUT: u64 = 11;
/// `NodeProto.input`, a name.
pub const NODE_INPUT: u64 = 1;
/// `NodeProto.attribute`, of `AttributeProto`.
pub const NODE_ATTRIBUTE: u64 = 5;
/// `AttributeProto.g` and `AttributeProto.graphs`, of `GraphProto`.
pub const ATTRIBUTE_GRAPHS: [u64; 2] = [6, 11];
/// `TensorProto.name`.
pub const TENSOR_NAME: u64 = 8;
/// `TensorProto.external_data`, of `StringStringEntryProto`.
pub const TENSOR_EXTERNAL_DATA: u64 = 13;
/// `StringStringEntryProto.key`.
pub const ENTRY_KEY: u64 = 1;
/// `StringStringEntryProto.value`.
pub const ENTRY_VALUE: u64 = 2;
/// `ValueInfoProto.name`.
pub const VALUE_NAME: u64 = 1;

/// `TensorProto.DataType` of each dtype that is one of both.
const DTYPES: [(i32, StoredDtype); 13] = [
    (1, StoredDtype::F32),
    (2, StoredDtype::U8),
    (3, StoredDtype::I8),
    (4, StoredDtype::U16),
    (5, StoredDtype::I16),
    (6, StoredDtype::I32),
    (7, StoredDtype::I64),
    (9, StoredDtype::Bool),
    (10, StoredDtype::F16),
    (11, StoredDtype::F64),
    (12, StoredDtype::U32),
    (13, StoredDtype::U64),
    (16, StoredDtype::Bf16),
];

/// The dtype with this number in `TensorProto.DataType`; none for what is no number, or none that can be named here.
pub fn dtype_of(data_type: i32) -> Option<StoredDtype> {
    DTYPES.iter().find(|(number, _)| *number == data_type).map(|(_, dtype)| *dtype)
}

/// The number of a dtype in `TensorProto.DataType`, if it has one.
pub fn data_type_of(dtype: StoredDtype) -> Option<i32> {
    DTYPES.iter().find(|(_, known)| *known == dtype).map(|(number, _)| *number)
}

/// The wire type of strings, messages and bytes: a length and that many bytes.
const LENGTH_DELIMITED: u64 = 2;

/// One field of a message.
#[derive(Debug)]
pub struct Field<'a> {
    number: u64,
    wire: u64,
    /// All its bytes, with its key.
    pub whole: &'a [u8],
    /// Its value, without the length.
    payload: &'a [u8],
}

impl<'a> Field<'a> {
    /// Its value, if it is field `number` and a string, a message or bytes.
    pub fn payload_of(&self, number: u64) -> Option<&'a [u8]> {
        (self.number == number && self.wire == LENGTH_DELIMITED).then_some(self.payload)
    }
}

/// The fields of a message in their order; `None` once, at the end, if the bytes are no message.
#[derive(Clone, Debug)]
pub struct Fields<'a>(
    /// What is left of the message.
    pub &'a [u8],
);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = first_field(self.0);
        self.0 = field.as_ref().and_then(|field| self.0.get(field.whole.len()..)).unwrap_or_default();
        Some(field)
    }
}

fn first_field(bytes: &[u8]) -> Option<Field<'_>> {
    let (key, mut offset) = read_varint(bytes)?;
    let (number, wire) = (key >> 3, key & 7);
    let length = match wire {
        0 => read_varint(bytes.get(offset..)?)?.1,
        1 => 8,
        5 => 4,
        LENGTH_DELIMITED => {
            let (length, taken) = read_varint(bytes.get(offset..)?)?;
            offset += taken;
            usize::try_from(length).ok()?
        }
        // Groups, which ONNX never had, and what protobuf does not have.
        _ => return None,
    };
    let end = offset.checked_add(length)?;
    Some(Field { number, wire, whole: bytes.get(..end)?, payload: bytes.get(offset..end)? })
}

/// A number and how many bytes it takes.
pub fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A field that is a string, a message or bytes.
pub fn write_field(bytes: &mut Vec<u8>, number: u64, payload: &[u8]) {
    write_varint(bytes, (number << 3) | LENGTH_DELIMITED);
    write_varint(bytes, payload.len() as u64);
    bytes.extend_from_slice(payload);
}

/// A field that is a number.
pub fn write_number(bytes: &mut Vec<u8>, number: u64, value: u64) {
    write_varint(bytes, number << 3);
    write_varint(bytes, value);
}

/// The value of string `number` in a message, if it has one; the last counts, as everywhere in protobuf. `None` outside:
/// it cannot be read.
pub fn string(message: &[u8], number: u64) -> Option<Option<&[u8]>> {
    let mut value = None;
    for field in Fields(message) {
        value = field?.payload_of(number).or(value);
    }
    Some(value)
}
