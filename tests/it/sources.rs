//! Checkpoints from every usual source through the real program: PyTorch, ONNX, GGUF, LoRA adapters; and what is hostile in them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use taskvec_bundle::{NamedTensor, StoredDtype, TensorFile, write_tensors};
use taskvec_testkit::saved::{
    OnnxPlace, Pickle, SavedTensor, gguf, onnx, torch_archive, torch_archive_of, torch_legacy,
};

use crate::places::shared_data;
use crate::programs::{taskvec, told};

/// Tensors of a base, or of a model tuned from it.
fn tensors(is_tuned: bool) -> Vec<SavedTensor> {
    let step = if is_tuned { 0.001 } else { 0.0 };
    let numbers: Vec<f32> =
        (0..24).map(|index| index as f32 * 0.25 - 3.0 + if index % 5 == 0 { step } else { 0.0 }).collect();
    vec![SavedTensor::f32s("a.bias", &[4], &numbers[..4]), SavedTensor::f32s("a.weight", &[4, 5], &numbers[4..])]
}

/// Writes a file of each form, by its name.
fn saved(folder: &Path, stem: &str, tensors: &[SavedTensor]) -> Vec<PathBuf> {
    let (external, data) = onnx(tensors, OnnxPlace::External(&format!("{stem}.data")));
    fs::write(folder.join(format!("{stem}.data")), data).unwrap();
    let forms = [
        ("pth", torch_archive(tensors, &["state_dict"])),
        ("pt", torch_legacy(tensors)),
        ("onnx", onnx(tensors, OnnxPlace::Raw).0),
        ("external.onnx", external),
        ("gguf", gguf(tensors)),
        ("safetensors", safetensors(tensors)),
    ];
    forms
        .into_iter()
        .map(|(ending, bytes)| {
            let path = folder.join(format!("{stem}.{ending}"));
            fs::write(&path, bytes).unwrap();
            path
        })
        .collect()
}

fn safetensors(tensors: &[SavedTensor]) -> Vec<u8> {
    let named: Vec<NamedTensor<'_>> = tensors
        .iter()
        .map(|SavedTensor { name, shape, bytes, .. }| NamedTensor { name, dtype: StoredDtype::F32, shape, bytes })
        .collect();
    let mut file = Vec::new();
    write_tensors(&mut file, &named).unwrap();
    file
}

#[test]
fn any_form_is_a_base_and_any_form_is_tuned() {
    let folder = tempfile::tempdir().unwrap();
    let expected = safetensors(&tensors(true));
    let bases = saved(folder.path(), "base", &tensors(false));
    let tuned = saved(folder.path(), "tuned", &tensors(true));
    for (base, tuned) in bases.iter().flat_map(|base| tuned.iter().map(move |tuned| (base, tuned))) {
        let [pack, out] = ["skill.tvp", "out.safetensors"].map(|name| folder.path().join(name));
        told(taskvec().args(["diff", "--lossless"]).arg(base).arg(tuned).arg("-o").arg(&pack)).ended_with(0);
        told(taskvec().arg("apply").arg(base).arg(&pack).arg("-o").arg(&out)).ended_with(0);
        assert!(fs::read(&out).unwrap() == expected, "{} to {}", base.display(), tuned.display());
    }
}

#[test]
fn what_was_decided_about_a_checkpoint_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let base = &saved(folder.path(), "base", &tensors(false))[0];
    let tuned = &saved(folder.path(), "tuned", &tensors(true))[5];
    let pack = folder.path().join("skill.tvp");
    let made = told(taskvec().args(["diff", "--json"]).arg(base).arg(tuned).arg("-o").arg(&pack));
    let note = "base.pth: the tensors at `state_dict` were taken";
    assert!(made.stderr.contains(note), "{made}");
    assert_eq!(made.json(0)["notes"], Value::from(vec![note]));
}

#[test]
fn a_pickle_that_would_run_a_command_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let base = &saved(folder.path(), "base", &tensors(false))[0];
    let [made, tuned, pack] = ["made", "tuned.pth", "skill.tvp"].map(|name| folder.path().join(name));
    let command = format!("touch {}", made.display());
    let pickle = Pickle::new().global("posix", "system").raw(b"(").text(&command).raw(b"tR").stop();
    for bytes in [torch_archive_of(&pickle, &[]), pickle] {
        fs::write(&tuned, bytes).unwrap();
        for (from, to) in [(base, &tuned), (&tuned, base)] {
            told(taskvec().arg("diff").arg(from).arg(to).arg("-o").arg(&pack)).refused(&["tuned.pth", "posix.system"]);
        }
    }
    assert!(!made.exists() && !pack.exists());
}

#[test]
fn every_tensor_that_does_not_match_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, tensors: &[SavedTensor]| {
        let path = folder.path().join(name);
        fs::write(&path, torch_archive(tensors, &[])).unwrap();
        path
    };
    let f32s = |name: &str, count: usize| SavedTensor::f32s(name, &[count as u64], &vec![0.5; count]);
    let halves = |name: &str| SavedTensor { dtype: "F16", bytes: vec![0; 4], ..f32s(name, 2) };
    let base = write("base.pth", &[f32s("a", 2), f32s("b", 2), halves("c")]);
    let tuned = write("tuned.pth", &[f32s("b", 3), f32s("c", 2), f32s("d", 2)]);
    let pack = folder.path().join("skill.tvp");
    told(taskvec().arg("diff").arg(base).arg(tuned).arg("-o").arg(&pack)).refused(&[
        "tensor `a` is in the base only",
        "tensor `b`: base has shape [2], tuned has [3]",
        "tensor `c`: base has dtype F16, tuned has F32",
        "tensor `d` is in the tuned checkpoint only",
    ]);
}

/// The tensors of Stable Diffusion's text encoder that its adapters change, all zero, in one file.
fn text_encoder_of_zeros(path: &Path) {
    let zeros = vec![0; 768 * 768 * 4];
    let layers = ["k_proj", "out_proj", "q_proj", "v_proj"];
    let names: Vec<String> = (0..12)
        .flat_map(|block| layers.map(|layer| format!("text_model.encoder.layers.{block}.self_attn.{layer}.weight")))
        .collect();
    let tensors: Vec<NamedTensor<'_>> = names
        .iter()
        .map(|name| NamedTensor { name, dtype: StoredDtype::F32, shape: &[768, 768], bytes: &zeros })
        .collect();
    write_tensors(&mut fs::File::create(path).unwrap(), &tensors).unwrap();
}

#[test]
fn real_adapters_through_a_pack_are_the_product_of_their_factors() {
    let Some(shared) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [base, pack, out] = ["base.safetensors", "skill.tvp", "out.safetensors"].map(|name| folder.path().join(name));
    text_encoder_of_zeros(&base);
    // By the order in which `CLIPAttention` registers them.
    let order = ["k_proj", "v_proj", "q_proj", "out_proj"];
    for (adapter, exit) in [("analog_svd_rank4", 0), ("lora_disney", 3)] {
        let adapter = shared.join(format!("pairs/lora_sd15/{adapter}.safetensors"));
        let made = told(taskvec().args(["diff", "--json"]).arg(&base).arg("--lora").arg(&adapter).arg("-o").arg(&pack));
        let notes = made.json(exit)["notes"].to_string();
        assert!(notes.contains("144 modules of `unet` are left out"), "{notes}");
        told(taskvec().arg("apply").arg(&base).arg(&pack).arg("-o").arg(&out)).ended_with(0);
        let (factors, written) = (fs::read(&adapter).unwrap(), fs::read(&out).unwrap());
        let (factor_file, written_file) = (TensorFile::parse(&factors).unwrap(), TensorFile::parse(&written).unwrap());
        for index in 0..48 {
            let [a, b] =
                ["down", "up"].map(|role| numbers(&factor_file, &factors, &format!("text_encoder:{index}:{role}")));
            let name = format!("text_model.encoder.layers.{}.self_attn.{}.weight", index / 4, order[index % 4]);
            let (found, rank) = (numbers(&written_file, &written, &name), a.len() / 768);
            for (at, found) in found.into_iter().enumerate() {
                let (row, column) = (at / 768, at % 768);
                let exact: f64 = (0..rank).map(|k| b[row * rank + k] * a[k * 768 + column]).sum();
                // Alpha is the rank where nothing else is said; half a step of f32 is 2^-24 of the number.
                assert!((found - exact).abs() <= exact.abs() * 2.0_f64.powi(-24) + 1e-45, "{name}, element {at}");
            }
        }
    }
}

/// A product of two factors is dense, and most of it is small.
#[test]
fn an_adapter_fits_a_budget_too() {
    let Some(shared) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [base, pack] = ["base.safetensors", "skill.tvp"].map(|name| folder.path().join(name));
    text_encoder_of_zeros(&base);
    let adapter = shared.join("pairs/lora_sd15/analog_svd_rank4.safetensors");
    let made = |budget: &[&str]| {
        let mut diff = taskvec();
        diff.args(["diff", "--json"]).arg(&base).arg("--lora").arg(&adapter).arg("-o").arg(&pack);
        told(diff.args(budget)).json(0)
    };
    let small = made(&["--max-bytes", "1MiB"]);
    assert!(fs::metadata(&pack).unwrap().len() <= 1 << 20, "{small}");
    let (kept, all) = (small["entries"].as_u64().unwrap(), small["elements"].as_u64().unwrap());
    assert!(0 < kept && kept < all / 2, "{small}");
    let close = made(&["--max-error", "0.2", "--rescale"]);
    assert!(close["error"].as_f64().unwrap() <= 0.2, "{close}");
    assert!(close["pack_bytes"].as_u64() > small["pack_bytes"].as_u64(), "{close}");
}

/// The numbers of a tensor of f32 or f16.
fn numbers(file: &TensorFile, bytes: &[u8], name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap_or_else(|| panic!("tensor `{name}`"));
    let bytes = tensor.bytes(bytes).unwrap();
    match tensor.dtype() {
        StoredDtype::F16 => bytes.as_chunks().0.iter().map(|&half| widened(u16::from_le_bytes(half))).collect(),
        _ => bytes.as_chunks().0.iter().map(|&number| f64::from(f32::from_le_bytes(number))).collect(),
    }
}

/// A half-precision number by its definition (IEEE 754).
fn widened(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF));
    let size = match exponent {
        0 => fraction * 2.0_f64.powi(-24),
        _ => (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}
