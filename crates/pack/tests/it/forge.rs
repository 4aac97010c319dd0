//! A small pack with everything in it, and ways to change one and seal it again.

use taskvec_pack::write::{
    Builder, HeadParts, PreprocessingParts, ProbeInputs, ProbeParts, Rounding, TensorDeltas, Values, sign,
};
use taskvec_pack::{Dtype, EngineKind, Fingerprint, Granule, Method, Resize};

/// A pack with every section and every encoding that a few entries can have.
pub(crate) fn everything() -> Builder {
    let mut builder = Builder::new(Fingerprint([7; 32]), "digits");
    builder
        .alpha(0.5, [0.25, 1.0])
        .method(Method::LeastSensitive)
        .seed(42)
        .density(0.125)
        .granule(Granule::Block { bytes: 4096 })
        .provenance("licence", "MIT")
        .provenance("data", "")
        .head(HeadParts {
            feature_width: 2,
            labels: vec!["zero".into(), "\u{ac00}".into()],
            weight: vec![1.0, -2.0, 0.5, 0.25],
            weight_rounding: Rounding::F32,
            bias: vec![0.125, -0.125],
        })
        .preprocessing(PreprocessingParts {
            channels: 1,
            height: 2,
            width: 3,
            resize: Resize::Bilinear,
            mean: vec![0.5],
            std: vec![0.25],
        })
        .probes(ProbeParts {
            count: 2,
            inputs: ProbeInputs::U8((0..12).collect()),
            outputs: vec![1.0, 2.0, -3.0, 0.0],
            tolerances: vec![(EngineKind::Burn, 1e-4), (EngineKind::Any, 1e-3)],
        });
    let mut add = |name: &str, dtype, shape: &[u64], indices: &[u64], values: Values<'_>| {
        builder.tensor(name, dtype, shape, TensorDeltas { indices, values }).unwrap();
    };
    let pairs: Vec<u64> = (0..20).flat_map(|group| [1, 3, 4, 6].map(|place| group * 16 + place)).collect();
    let rows: Vec<u64> = (20..40).chain(100..120).collect();
    add("a.rice", Dtype::F32, &[40, 10], &[3, 5, 90, 399], Values::Deltas(&[0.5, -1.0, 2.0, 0.0], Rounding::F32));
    add("b.rows", Dtype::F16, &[8, 20], &rows, Values::Deltas(&[0.1; 40], Rounding::Bf16));
    add("c.bits", Dtype::BF16, &[8], &[0, 2, 3, 5, 7], Values::Distances(&[1, -1, 3, 200, -70]));
    add("d.dense", Dtype::F32, &[], &[0], Values::Distances(&[-4_000_000]));
    // So many different ones that prefix codes do not pay.
    let ramp: Vec<f32> = (0..80_u8).map(|place| f32::from(place) / 80.0).collect();
    add("e.counted", Dtype::F32, &[320], &pairs, Values::Deltas(&ramp, Rounding::INT8));
    builder
}

/// The bytes of `everything`.
pub(crate) fn unsigned() -> Vec<u8> {
    everything().finish().unwrap()
}

/// The same, signed.
pub(crate) fn signed() -> Vec<u8> {
    sign(&unsigned(), taskvec_pack::signature::ED25519, &[b'k'; 16], &[9; 64]).unwrap()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// CRC-32, bit by bit, so that the tests do not lean on the crate they test.
pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = !0_u32;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Where the section at this place of the table starts, and its size.
pub(crate) fn section(bytes: &[u8], place: usize) -> (usize, usize) {
    let entry = 32 + 24 * place;
    (u64_at(bytes, entry + 8) as usize, u64_at(bytes, entry + 16) as usize)
}

/// Makes the checksums of all sections that lie in the file, and of the header, right again.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let count = u32_at(&bytes, 12) as usize;
    for place in 0..count {
        let (start, size) = section(&bytes, place);
        let crc = crc(&[&bytes[start..start + size]]);
        bytes[36 + 24 * place..40 + 24 * place].copy_from_slice(&crc.to_le_bytes());
    }
    seal_header(bytes)
}

/// Makes the checksum of the header right again.
pub(crate) fn seal_header(mut bytes: Vec<u8>) -> Vec<u8> {
    let table_end = 32 + 24 * u32_at(&bytes, 12) as usize;
    let crc = crc(&[&bytes[..24], &bytes[28..table_end]]);
    bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The same pack with other contents of the section at this place, laid out and sealed anew.
pub(crate) fn with_section(bytes: &[u8], place: usize, contents: &[u8]) -> Vec<u8> {
    let count = u32_at(bytes, 12) as usize;
    let mut sections: Vec<(u32, Vec<u8>)> = (0..count)
        .map(|place| {
            let (start, size) = section(bytes, place);
            (u32_at(bytes, 32 + 24 * place), bytes[start..start + size].to_vec())
        })
        .collect();
    sections[place].1 = contents.to_vec();
    from_sections(&sections)
}

/// A pack of these sections.
pub(crate) fn from_sections(sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = b"\x89TVP\r\n\x1a\n\x01\0\0\0".to_vec();
    file.extend((sections.len() as u32).to_le_bytes());
    file.extend([0; 16]);
    let mut body = Vec::new();
    let start = 32 + 24 * sections.len();
    for (kind, contents) in sections {
        file.extend(kind.to_le_bytes());
        file.extend([0; 4]);
        file.extend(((start + body.len()) as u64).to_le_bytes());
        file.extend((contents.len() as u64).to_le_bytes());
        body.extend(contents);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    file.extend(body);
    let content_bytes = (file.len() as u64).to_le_bytes();
    file[16..24].copy_from_slice(&content_bytes);
    seal(file)
}
