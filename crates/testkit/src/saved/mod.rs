//! Checkpoints as other programs save them, byte by byte from their specifications; and broken ones.

mod gguf;
mod onnx;
mod pickle;
mod zip;

pub use self::gguf::gguf;
pub use self::onnx::{OnnxPlace, onnx};
pub use self::pickle::Pickle;
pub use self::zip::{Entry, zip, zip_of};

/// A tensor to be saved.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedTensor {
    /// Its name.
    pub name: String,
    /// `F32`, `F16`, `BF16` or `I64`.
    pub dtype: &'static str,
    /// Its dimensions, row-major.
    pub shape: Vec<u64>,
    /// Its elements, little-endian.
    pub bytes: Vec<u8>,
}

impl SavedTensor {
    /// A tensor of f32.
    #[must_use]
    pub fn f32s(name: &str, shape: &[u64], numbers: &[f32]) -> Self {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { name: name.to_owned(), dtype: "F32", shape: shape.to_vec(), bytes }
    }

    fn element_bytes(&self) -> usize {
        match self.dtype {
            "F32" => 4,
            "I64" => 8,
            _ => 2,
        }
    }
}

/// What `torch.save(STATE_DICT, FILE)` writes since PyTorch 1.6; `path` are the names of dicts around the state dict.
#[must_use]
pub fn torch_archive(tensors: &[SavedTensor], path: &[&str]) -> Vec<u8> {
    torch_archive_of(&state_dict(tensors, path, &[]).stop(), tensors)
}

/// An archive with this pickle and the storages of these tensors, called `0`, `1` and so on.
#[must_use]
pub fn torch_archive_of(pickle: &[u8], tensors: &[SavedTensor]) -> Vec<u8> {
    let names: Vec<String> = (0..tensors.len()).map(|key| format!("archive/data/{key}")).collect();
    let mut entries = vec![("archive/data.pkl", pickle), ("archive/byteorder", b"little")];
    entries.extend(names.iter().map(String::as_str).zip(tensors.iter().map(|tensor| tensor.bytes.as_slice())));
    entries.push(("archive/version", b"3\n"));
    zip(&entries)
}

/// What `torch.save` wrote before.
#[must_use]
pub fn torch_legacy(tensors: &[SavedTensor]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(Pickle::new().integer(1001).stop());
    bytes.extend(Pickle::new().raw(b"}").stop());
    // In the old form the id of a storage ends with its view, which is none.
    bytes.extend(state_dict(tensors, &[], b"N").stop());
    let keys = (0..tensors.len()).fold(Pickle::new().raw(b"]("), |keys, key| keys.text(&key.to_string()));
    bytes.extend(keys.raw(b"e").stop());
    for tensor in tensors {
        bytes.extend((tensor.bytes.len() as u64 / tensor.element_bytes() as u64).to_le_bytes());
        bytes.extend(&tensor.bytes);
    }
    bytes
}

fn state_dict(tensors: &[SavedTensor], path: &[&str], id_end: &[u8]) -> Pickle {
    let mut pickle = Pickle::new();
    for name in path {
        pickle = pickle.raw(b"}").text(name);
    }
    pickle = pickle.global("collections", "OrderedDict").raw(b")R(");
    for (key, tensor) in tensors.iter().enumerate() {
        let mut strides = vec![1; tensor.shape.len()];
        for axis in (1..strides.len()).rev() {
            strides[axis - 1] = strides[axis] * tensor.shape[axis];
        }
        let count = (tensor.bytes.len() / tensor.element_bytes()) as u64;
        pickle =
            pickle.text(&tensor.name).tensor(tensor.dtype, &key.to_string(), count, id_end, 0, &tensor.shape, &strides);
    }
    pickle.raw(b"u").raw(&b"s".repeat(path.len()))
}
