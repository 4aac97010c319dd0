//! Small adapters of every naming; what each becomes, and what is refused.

use std::fs::{self, File};
use std::path::PathBuf;

use taskvec_bundle::{NamedTensor, StoredDtype, write_tensors};
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;

struct Scene(TempDir);

impl Scene {
    fn new() -> Scene {
        Scene(tempfile::tempdir().unwrap())
    }

    /// A checkpoint of f32 tensors, each with numbers that rise from `start`.
    fn write(&self, name: &str, tensors: &[(&str, &[u64], f32)]) -> PathBuf {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, shape, start)| {
                (0..shape.iter().product::<u64>()).flat_map(|step| (start + step as f32 * 0.37).to_le_bytes()).collect()
            })
            .collect();
        let named: Vec<NamedTensor<'_>> = tensors
            .iter()
            .zip(&bytes)
            .map(|((name, shape, _), bytes)| NamedTensor { name, dtype: StoredDtype::F32, shape, bytes })
            .collect();
        let path = self.0.path().join(name);
        write_tensors(&mut File::create(&path).unwrap(), &named).unwrap();
        path
    }

    fn settings(&self, json: &str) {
        fs::write(self.0.path().join("adapter_config.json"), json).unwrap();
    }
}

/// A tensor that an adapter changes.
#[derive(Debug)]
struct Changed {
    name: String,
    shape: Vec<u64>,
    deltas: Vec<f32>,
}

fn deltas(base: &Path, adapter: &Path) -> Result<Vec<Changed>> {
    let base = Checkpoint::open(base)?;
    let mut found = Vec::new();
    Adapter::open(adapter, &base)?.deltas(&base, |tensor, deltas| {
        let (name, shape) = (tensor.name().to_owned(), tensor.shape().to_vec());
        found.push(Changed { name, shape, deltas: deltas.to_vec() });
        Ok(())
    })?;
    Ok(found)
}

/// `scale * B A` of the factors that [`Scene::write`] makes, element by element.
fn expected(a: ([u64; 2], f32), b: ([u64; 2], f32), scale: f64) -> Vec<f32> {
    let ([rank, columns], [rows, _]) = (a.0, b.0);
    let number = |start: f32, step: u64| f64::from(start + step as f32 * 0.37);
    let element = |row: u64, column: u64| {
        let terms = (0..rank).map(|k| number(b.1, row * rank + k) * number(a.1, k * columns + column));
        (scale * terms.sum::<f64>()) as f32
    };
    (0..rows).flat_map(|row| (0..columns).map(move |column| element(row, column))).collect()
}

#[test]
fn each_naming_finds_its_tensors_and_scales_by_its_own_rule() {
    let scene = Scene::new();
    let base = scene.write("base", &[("layers.0.q.weight", &[3, 4], 0.0), ("layers.0.q.bias", &[3], 0.0)]);
    let (a, b) = (([2, 4], 0.5), ([3, 2], -1.0));
    struct Case<'a>(&'a str, [&'a str; 2], Option<&'a str>, f64);
    let peft = ["base_model.model.layers.0.q.lora_A.weight", "base_model.model.layers.0.q.lora_B.weight"];
    let cases = [
        Case("peft", peft, Some(r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 16}"#), 8.0),
        Case("rslora", peft, Some(r#"{"r": 2, "lora_alpha": 16, "use_rslora": true}"#), 16.0 / 2.0_f64.sqrt()),
        Case(
            "patterns",
            peft,
            Some(r#"{"r": 8, "lora_alpha": 16, "rank_pattern": {"0.q": 2}, "alpha_pattern": {"q": 3}}"#),
            1.5,
        ),
        Case("kohya", ["lora_unet_layers_0_q.lora_down.weight", "lora_unet_layers_0_q.lora_up.weight"], None, 1.0),
        Case("diffusers", ["unet.layers.0.q.lora.down.weight", "unet.layers.0.q.lora.up.weight"], None, 1.0),
    ];
    for Case(name, names, settings, scale) in cases {
        let _ = fs::remove_file(scene.0.path().join("adapter_config.json"));
        settings.into_iter().for_each(|json| scene.settings(json));
        let adapter = scene.write(name, &[(names[0], &a.0, a.1), (names[1], &b.0, b.1)]);
        let found = deltas(&base, &adapter).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].name, "layers.0.q.weight", "{name}");
        assert_eq!(found[0].deltas, expected(a, b, scale), "{name}");
    }
}

#[test]
fn an_alpha_of_its_own_a_kernel_and_a_transposed_weight() {
    let scene = Scene::new();
    let base = scene.write("base", &[("conv.weight", &[3, 2, 1, 2], 0.0), ("words.weight", &[4, 3], 0.0)]);
    let conv = [
        ("conv.lora_down.weight", &[2, 2, 1, 2][..], 0.5),
        ("conv.lora_up.weight", &[3, 2, 1, 1], -1.0),
        ("conv.alpha", &[], 6.0),
        ("words.lora_embedding_A", &[2, 4], 0.5),
        ("words.lora_embedding_B", &[3, 2], -1.0),
    ];
    let found = deltas(&base, &scene.write("adapter", &conv)).unwrap();
    let product = expected(([2, 4], 0.5), ([3, 2], -1.0), 1.0);
    let transposed: Vec<f32> = (0..12).map(|at| product[at % 3 * 4 + at / 3]).collect();
    assert_eq!(found[0].deltas, expected(([2, 4], 0.5), ([3, 2], -1.0), 3.0));
    assert_eq!((found[1].shape.as_slice(), &found[1].deltas), (&[4, 3][..], &transposed));
}

#[test]
fn models_that_the_base_is_not_are_left_out_and_what_is_no_factor_is_warned_of() {
    let scene = Scene::new();
    let base = scene.write("base", &[("q.weight", &[3, 4], 0.0)]);
    let factors = [
        ("unet.q.lora.down.weight", &[1, 4][..], 0.5),
        ("unet.q.lora.up.weight", &[3, 1], 0.5),
        ("text_encoder:0:down", &[1, 4], 0.5),
        ("text_encoder:0:up", &[3, 1], 0.5),
        ("<s1>", &[4], 0.5),
    ];
    let made = lora(&base, &scene.write("adapter", &factors), Values::F32, None).unwrap();
    assert_eq!((made.encoded.tensors.len(), made.element_count), (1, 12));
    assert!(made.notes[0].starts_with("1 modules of `text_encoder` are left out"), "{:?}", made.notes);
    assert!(made.warnings[0].message.contains("`<s1>`"), "{:?}", made.warnings);
    let lossless = lora(&base, &scene.write("adapter", &factors), Values::Lossless, None).unwrap_err();
    assert_eq!(lossless.kind(), ErrorKind::Usage);
}

#[test]
fn what_does_not_fit_is_refused_module_by_module() {
    let scene = Scene::new();
    let base =
        scene.write("base", &[("q.weight", &[3, 4], 0.0), ("k.weight", &[3, 4], 0.0), ("v.weight", &[3, 4], 0.0)]);
    let factors = [
        ("base_model.model.q.lora_A.weight", &[2, 5][..], 0.5),
        ("base_model.model.q.lora_B.weight", &[3, 2], 0.5),
        ("base_model.model.k.lora_A.weight", &[2, 4], 0.5),
        ("base_model.model.v.lora_A.weight", &[2, 4], 0.5),
        ("base_model.model.v.lora_B.weight", &[3, 1], 0.5),
        ("base_model.model.o.lora_A.weight", &[2, 4], 0.5),
        ("base_model.model.o.lora_B.weight", &[3, 2], 0.5),
    ];
    let adapter = scene.write("adapter", &factors);
    let told = |error: &Error| std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let without = deltas(&base, &adapter).unwrap_err();
    assert!(told(&without).contains("adapter_config.json"), "{without:?}");
    scene.settings(r#"{"r": 2, "lora_alpha": 4}"#);
    let refused = deltas(&base, &adapter).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Mismatch);
    for fault in [
        "module `q`: base has shape [3, 4], its product has [3, 5]",
        "module `k`: one of its two factors is missing",
        "module `v`: factors [2, 4] and [3, 1] have no product",
        "module `o` has no tensor `o.weight` in the base",
    ] {
        assert!(told(&refused).contains(fault), "{fault}: {refused:?}");
    }
    for (json, fault) in [
        (r#"{"r": 3, "lora_alpha": 4}"#, "its factors have rank 2, its settings say 3"),
        (r#"{"r": 2, "lora_alpha": 4, "use_dora": true}"#, "DoRA"),
        (r#"{"r": 2, "lora_alpha": 4, "peft_type": "LOHA"}"#, "LOHA"),
        (r#"{"r": 2, "lora_alpha": 4, "rank_pattern": {"^q$": 4}}"#, "is a pattern"),
        ("{}", "no configuration"),
    ] {
        scene.settings(json);
        let pair = scene.write(
            "adapter",
            &[("base_model.model.q.lora_A.weight", &[2, 4], 0.5), ("base_model.model.q.lora_B.weight", &[3, 2], 0.5)],
        );
        let refused = deltas(&base, &pair).unwrap_err();
        assert!(format!("{refused:?}").contains(fault) && refused.help().is_some(), "{fault}: {refused:?}");
    }
}
