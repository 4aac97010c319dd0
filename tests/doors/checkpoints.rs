//! Checkpoints that others saved: PyTorch's pickles and archives, ONNX models, GGUF files.

use taskvec_bundle::{NamedTensor, TensorFile, write_tensors};
use taskvec_checkpoint::onnx_graph::{Home, OnnxGraph, rewrite};
use taskvec_checkpoint::{Checkpoint, Limits, PART_ELEMENTS};
use taskvec_dataset::ErrorKind;
use taskvec_testkit::saved::torch_archive_of;

/// Reads the bytes as what `torch.save` wrote, and once more as the pickle of an archive.
///
/// # Panics
///
/// If what was accepted does not lie in the bytes, or if a reader panics.
pub fn torch(bytes: &[u8]) {
    read("x.pth", bytes.to_vec());
    read("x.pth", torch_archive_of(bytes, &[]));
}

/// Reads the bytes as an ONNX model.
///
/// # Panics
///
/// As [`torch`].
pub fn onnx(bytes: &[u8]) {
    read("x.onnx", bytes.to_vec());
}

/// Reads the bytes as the graph of an ONNX model, and writes it again with every initializer that the model holds in another
/// file.
///
/// # Panics
///
/// If a reader panics, or if the graph that was written is not the one that was read.
pub fn onnx_graph(bytes: &[u8]) {
    let Ok(graph) = OnnxGraph::read(bytes) else { return };
    let arrays = graph.arrays(&[], &[]);
    let Ok(checkpoint) = Checkpoint::in_memory("x.onnx", bytes.to_vec(), &Limits::default()) else { return };
    let read: Vec<Vec<u8>> = checkpoint.tensors().iter().map(|tensor| checkpoint.read(tensor).unwrap()).collect();
    let named = checkpoint.tensors().iter().zip(&read).map(|(tensor, bytes)| NamedTensor {
        name: tensor.name(),
        dtype: tensor.dtype(),
        shape: tensor.shape(),
        bytes,
    });
    let mut model = Vec::new();
    // Names that a safetensors file cannot have.
    let Ok(()) = write_tensors(&mut model, &named.collect::<Vec<_>>()) else { return };
    let file = TensorFile::parse(&model).expect("what was written can be read");
    let home = |tensor| Home::Model { tensor, is_input: false };
    let homes = file.tensors().iter().map(|tensor| (tensor.name().to_owned(), home(tensor))).collect();
    let Ok(rewritten) = rewrite(bytes, &homes) else { return };
    let again = OnnxGraph::read(&rewritten).expect("a graph that was read is one when it is written");
    assert_eq!(format!("{arrays:?}"), format!("{:?}", again.arrays(&[], &[])), "inputs and outputs");
    for tensor in file.tensors() {
        assert_eq!(graph.uses(tensor.name()).len(), again.uses(tensor.name()).len(), "uses of `{}`", tensor.name());
    }
}

/// Reads the bytes as a GGUF file.
///
/// # Panics
///
/// As [`torch`].
pub fn gguf(bytes: &[u8]) {
    read("x.gguf", bytes.to_vec());
}

fn read(name: &str, bytes: Vec<u8>) {
    let (size_bytes, limits) = (bytes.len() as u64, Limits::default());
    let checkpoint = match Checkpoint::in_memory(name, bytes, &limits) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            let kinds = [ErrorKind::Damaged, ErrorKind::Unsupported, ErrorKind::Limit, ErrorKind::Usage];
            assert!(kinds.contains(&error.kind()), "a file gives {error:?}");
            return;
        }
    };
    let claimed: u64 = checkpoint.tensors().iter().map(|tensor| tensor.size_bytes()).sum();
    assert!(claimed <= size_bytes * limits.sharing_max, "{claimed} bytes of {size_bytes}");
    assert!(
        checkpoint.tensors().windows(2).all(|pair| pair[0].name() < pair[1].name()),
        "names are in order, each once"
    );
    for tensor in checkpoint.tensors() {
        let bits = tensor.element_count() * tensor.dtype().size_bits();
        assert_eq!(bits, tensor.size_bytes() * 8, "tensor `{}`", tensor.name());
        let whole = checkpoint.read(tensor).expect("a tensor lies in its file");
        assert_eq!(whole.len() as u64, tensor.size_bytes(), "tensor `{}`", tensor.name());
        let (mut parts, mut part) = (Vec::new(), Vec::new());
        let mut reader = checkpoint.reader(tensor).expect("a tensor lies in its file");
        while reader.read(1 + PART_ELEMENTS % 7, &mut part).expect("a tensor lies in its file") {
            parts.extend_from_slice(&part);
        }
        assert!(parts == whole, "tensor `{}` part by part", tensor.name());
    }
}
