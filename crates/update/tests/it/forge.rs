//! Packs to make updates of, and updates made by hand after `FORMAT.md`.

use taskvec_pack::write::{Builder, HeadParts, Rounding, TensorDeltas, Values};
use taskvec_pack::{Digest, Dtype, Fingerprint};

/// A pack of `tensors` tensors with a head, its mask and its numbers drawn from seeds of their own.
pub(crate) fn pack(name: &str, rounding: Option<Rounding>, tensors: u64, mask: u64, numbers: u64) -> Vec<u8> {
    let mut builder = Builder::new(Fingerprint([7; 32]), name);
    for tensor in 0..tensors {
        let (mut mask, mut numbers) = (Draw(mask + tensor), Draw(numbers + 1000 * tensor));
        let indices: Vec<u64> = (0..600).filter(|index| *index == 0 || mask.next() % 4 == 0).collect();
        let deltas: Vec<f32> = indices.iter().map(|_| (numbers.next() % 4000) as f32 * 1e-4 - 0.2).collect();
        let distances: Vec<i64> = deltas.iter().map(|delta| (delta * 1e6) as i64 | 1).collect();
        let values = match rounding {
            Some(rounding) => Values::Deltas(&deltas, rounding),
            None => Values::Distances(&distances),
        };
        let entries = TensorDeltas { indices: &indices, values };
        builder.tensor(&format!("blocks.{tensor}"), Dtype::F32, &[20, 30], entries).unwrap();
    }
    let mut numbers = Draw(numbers);
    builder.head(HeadParts {
        feature_width: 16,
        labels: vec!["a".into(), "b".into()],
        weight: (0..32).map(|_| (numbers.next() % 100) as f32 * 0.01).collect(),
        weight_rounding: Rounding::F32,
        bias: vec![0.0; 2],
    });
    builder.finish().unwrap()
}

/// A few numbers that look random (Vigna, splitmix64, 2015).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// An update before it is sealed; each field may be a lie.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) major: u16,
    pub(crate) parent_count: u32,
    pub(crate) operation_bytes: u32,
    pub(crate) pack_bytes: u64,
    pub(crate) file: Digest,
    pub(crate) name: Vec<u8>,
    /// Digest, content_bytes.
    pub(crate) parents: Vec<([u8; 32], u64)>,
    pub(crate) frame: Vec<u8>,
}

impl Draft {
    /// The update that makes `file` by these operations over one parent of `content_bytes`.
    pub(crate) fn new(operations: &[u8], data: &[u8], file: &[u8], content_bytes: u64) -> Self {
        Self {
            major: 1,
            parent_count: 1,
            operation_bytes: operations.len() as u32,
            pack_bytes: file.len() as u64,
            file: Digest::of(file),
            name: b"\x05skill".to_vec(),
            parents: vec![([3; 32], content_bytes)],
            frame: raw_frame(&[operations, data].concat(), 10),
        }
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut bytes = b"\x89TVU\r\n\x1a\n".to_vec();
        bytes.extend(self.major.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.parent_count.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.operation_bytes.to_le_bytes());
        bytes.extend(self.pack_bytes.to_le_bytes());
        bytes.extend([9; 32]);
        bytes.extend(self.file.0);
        bytes.extend(&self.name);
        for (digest, content_bytes) in &self.parents {
            bytes.extend(digest);
            bytes.extend(content_bytes.to_le_bytes());
            bytes.extend(b"\x03old");
        }
        bytes.extend(&self.frame);
        seal(&mut bytes);
        bytes
    }
}

/// Puts in the right checksum.
pub(crate) fn seal(bytes: &mut [u8]) {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&bytes[..16]);
    hash.update(&bytes[20..]);
    let checksum = hash.finalize();
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
}

/// A frame with a window of 2^`window_log` bytes and nothing compressed in it (RFC 8878, 3.1.1).
pub(crate) fn raw_frame(bytes: &[u8], window_log: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3];
    let blocks = bytes.len().div_ceil(1000).max(1);
    for place in 0..blocks {
        let block = &bytes[(place * 1000).min(bytes.len())..(place * 1000 + 1000).min(bytes.len())];
        frame.extend(&(u32::from(place + 1 == blocks) | (block.len() as u32) << 3).to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}
