//! Two checkpoints become a pack, and the base with the pack becomes the tuned checkpoint again, bit for bit.

use std::fs;
use std::path::Path;

use serde_json::Value;
use taskvec_bundle::{NamedTensor, StoredDtype, TensorFile, write_tensors};

use crate::places::shared_data;
use crate::programs::{Told, taskvec, told};

/// Packs the difference and applies it to the base.
fn there_and_back(folder: &Path, base: &Path, tuned: &Path) -> (Told, Vec<u8>) {
    let (pack, written) = (folder.join("difference.tvp"), folder.join("written.safetensors"));
    let diff = told(taskvec().args(["diff", "--lossless", "--json"]).arg(base).arg(tuned).arg("-o").arg(&pack));
    told(taskvec().arg("apply").arg(base).arg(&pack).arg("-o").arg(&written)).ended_with(0);
    (diff, fs::read(written).unwrap())
}

/// Fails unless both files have the same tensors, bit for bit.
#[track_caller]
fn same_tensors(found: &[u8], expected: &[u8]) {
    let (found_file, expected_file) = (TensorFile::parse(found).unwrap(), TensorFile::parse(expected).unwrap());
    assert_eq!(found_file.tensors().len(), expected_file.tensors().len());
    for (found_tensor, expected_tensor) in found_file.tensors().iter().zip(expected_file.tensors()) {
        assert_eq!(found_tensor.name(), expected_tensor.name());
        assert_eq!((found_tensor.dtype(), found_tensor.shape()), (expected_tensor.dtype(), expected_tensor.shape()));
        let same = found_tensor.bytes(found).unwrap() == expected_tensor.bytes(expected).unwrap();
        assert!(same, "tensor `{}` has other bits", expected_tensor.name());
    }
}

#[test]
fn real_fine_tuned_checkpoints_come_back_bit_for_bit_each_from_each_other() {
    let Some(shared) = shared_data() else { return };
    let names = ["scale2.0x", "noise0_scale2.0x", "noise1_scale2.0x", "noise2_scale2.0x", "noise3_scale2.0x"];
    let files = names.map(|name| shared.join(format!("pairs/waifu2x_upconv7_photo/{name}_model.safetensors")));
    for (base, tuned) in files.iter().flat_map(|base| files.iter().map(move |tuned| (base, tuned))) {
        if base == tuned {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let (diff, written) = there_and_back(folder.path(), base, tuned);
        let made = diff.json(0);
        assert_eq!((&made["lossless"], &made["warnings"]), (&Value::Bool(true), &Value::Array(Vec::new())));
        same_tensors(&written, &fs::read(tuned).unwrap());
    }
}

#[test]
fn unrelated_checkpoints_are_packed_with_a_warning_that_says_why() {
    let Some(shared) = shared_data() else { return };
    let pair = shared.join("pairs/negative_control_rnnoise");
    let [base, tuned] = ["beguiling_drafter", "marathon_prescription"].map(|name| pair.join(name));
    let [base, tuned] = [base, tuned].map(|path| path.with_extension("safetensors"));
    let folder = tempfile::tempdir().unwrap();
    let (diff, written) = there_and_back(folder.path(), &base, &tuned);
    diff.ended_with(3);
    let warning = diff.stderr.lines().find(|line| line.starts_with("warning: ")).unwrap_or_default();
    assert!(warning.contains("unrelated") && warning.contains("weight cosine"), "{diff}");
    assert!(diff.stderr.contains("\nhelp: "), "{diff}");
    same_tensors(&written, &fs::read(&tuned).unwrap());
}

/// Numbers of every dtype that packs know, from a fixed sequence.
struct Checkpoint {
    f32s: Vec<f32>,
    f16s: Vec<u16>,
    bf16s: Vec<u16>,
}

impl Checkpoint {
    fn new() -> Self {
        // Knuth, The Art of Computer Programming 2, 3.3.4: a linear congruential sequence; its upper bits are good.
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 40
        };
        // 24 bits, so that all of these are exact; from -1 to 1.
        let f32s = (0..32 * 24).map(|_| next() as f32 / 8_388_608.0 - 1.0).collect();
        // 0x3C00 is 1 in f16, 0x3F80 is 1 in bf16: numbers from 1/4 to 2 of either sign.
        let f16s = (0..17 * 9).map(|_| 0x3400 + (next() % 0x0C00) as u16 + ((next() % 2) << 15) as u16).collect();
        let bf16s = (0..5 * 7).map(|_| 0x3E80 + (next() % 0x0180) as u16 + ((next() % 2) << 15) as u16).collect();
        Self { f32s, f16s, bf16s }
    }

    fn write(&self, path: &Path) {
        let f32s: Vec<u8> = self.f32s.iter().flat_map(|number| number.to_le_bytes()).collect();
        let [f16s, bf16s] = [&self.f16s, &self.bf16s]
            .map(|patterns| patterns.iter().flat_map(|pattern| pattern.to_le_bytes()).collect::<Vec<u8>>());
        let tensors = [
            NamedTensor { name: "a.weight", dtype: StoredDtype::F32, shape: &[32, 24], bytes: &f32s },
            NamedTensor { name: "b.weight", dtype: StoredDtype::F16, shape: &[17, 9], bytes: &f16s },
            NamedTensor { name: "c.weight", dtype: StoredDtype::Bf16, shape: &[5, 7], bytes: &bf16s },
        ];
        let mut bytes = Vec::new();
        write_tensors(&mut bytes, &tensors).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Changes a few bits everywhere: next numbers, other signs, a subnormal number.
fn tune(checkpoint: &mut Checkpoint) {
    for number in checkpoint.f32s.iter_mut().step_by(7) {
        *number = f32::from_bits(number.to_bits() ^ 0b101);
    }
    checkpoint.f32s[3] = 0.0;
    checkpoint.f32s[4] = -0.0;
    checkpoint.f32s[5] = f32::from_bits(1);
    checkpoint.f16s.iter_mut().step_by(5).for_each(|pattern| *pattern ^= 0b11);
    checkpoint.bf16s.iter_mut().step_by(3).for_each(|pattern| *pattern ^= 1);
    checkpoint.bf16s[34] ^= 0x8000;
}

#[test]
fn numbers_of_every_dtype_come_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let [base, tuned] = ["base", "tuned"].map(|name| folder.path().join(name).with_extension("safetensors"));
    let mut checkpoint = Checkpoint::new();
    checkpoint.write(&base);
    tune(&mut checkpoint);
    checkpoint.write(&tuned);
    let (diff, written) = there_and_back(folder.path(), &base, &tuned);
    assert_eq!(diff.json(0)["warnings"], Value::Array(Vec::new()));
    same_tensors(&written, &fs::read(&tuned).unwrap());
    // At alpha 0 it is the base.
    let pack = folder.path().join("difference.tvp@0");
    let again = folder.path().join("base-again.safetensors");
    told(taskvec().arg("apply").arg(&base).arg(&pack).arg("-o").arg(&again)).ended_with(0);
    same_tensors(&fs::read(&again).unwrap(), &fs::read(&base).unwrap());
}

#[test]
fn numbers_that_are_not_finite_come_back_too_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let [base, tuned] = ["base", "tuned"].map(|name| folder.path().join(name).with_extension("safetensors"));
    let mut checkpoint = Checkpoint::new();
    checkpoint.write(&base);
    checkpoint.f32s[10] = f32::from_bits(0x7FC0_1234);
    checkpoint.f32s[11] = f32::NEG_INFINITY;
    checkpoint.f16s[0] = 0x7E01;
    checkpoint.write(&tuned);
    let (diff, written) = there_and_back(folder.path(), &base, &tuned);
    diff.ended_with(3);
    assert!(diff.stderr.contains("warning: 3 tuned elements are NaN or infinite"), "{diff}");
    same_tensors(&written, &fs::read(&tuned).unwrap());
}
