//! GGUF files, version 3, with one key of each kind that is long.

use super::SavedTensor;

/// A model of float tensors.
#[must_use]
pub fn gguf(tensors: &[SavedTensor]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend(2u64.to_le_bytes());
    text(&mut file, "general.name");
    file.extend(8u32.to_le_bytes());
    text(&mut file, "tiny");
    text(&mut file, "tokenizer.ggml.tokens");
    // An array of two strings.
    file.extend(9u32.to_le_bytes());
    file.extend(8u32.to_le_bytes());
    file.extend(2u64.to_le_bytes());
    text(&mut file, "a");
    text(&mut file, "b");
    let mut data = Vec::new();
    for tensor in tensors {
        data.resize(data.len().next_multiple_of(32), 0);
        text(&mut file, &tensor.name);
        file.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|size| file.extend(size.to_le_bytes()));
        let type_number: u32 = match tensor.dtype {
            "F32" => 0,
            "F16" => 1,
            "I64" => 27,
            _ => 30,
        };
        file.extend(type_number.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        data.extend(&tensor.bytes);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    file
}

fn text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}
