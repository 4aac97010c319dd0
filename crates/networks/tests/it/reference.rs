//! PyTorch's features on the same weights (`tests/reference/make_*_reference.py`).

use burn::tensor::{Device, Tensor, TensorData};
use bytes::Bytes;
use safetensors::SafeTensors;
use taskvec_networks::{Network, NetworkConfig, is_statistic, over_mapped, parameters, with_weights};

use crate::{host, network};

/// Largest error of a feature, relative to the largest feature. f32 itself costs about 3e-7 here.
const TOLERANCE: f32 = 1e-5;

/// A network and what PyTorch computes with it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    config: &'static str,
    pub(crate) file: &'static [u8],
}

impl Case {
    pub(crate) fn config(&self) -> NetworkConfig {
        serde_json::from_str(self.config).unwrap()
    }

    /// The network with the weights of the file.
    pub(crate) fn network(&self, device: &Device) -> Network {
        let file = SafeTensors::deserialize(self.file).unwrap();
        with_weights(network(&self.config(), device), |name| tensor(&file, name)).unwrap()
    }
}

pub(crate) const CASES: [Case; 5] = [
    Case {
        name: "vit_exact",
        config: include_str!("../reference/vit_exact.json"),
        file: include_bytes!("../reference/vit_exact.safetensors"),
    },
    Case {
        name: "vit_quick",
        config: include_str!("../reference/vit_quick.json"),
        file: include_bytes!("../reference/vit_quick.safetensors"),
    },
    Case {
        name: "mobilenet_tensorflow",
        config: include_str!("../reference/mobilenet_tensorflow.json"),
        file: include_bytes!("../reference/mobilenet_tensorflow.safetensors"),
    },
    Case {
        name: "mobilenet_pytorch",
        config: include_str!("../reference/mobilenet_pytorch.json"),
        file: include_bytes!("../reference/mobilenet_pytorch.safetensors"),
    },
    Case {
        name: "resnet",
        config: include_str!("../reference/resnet.json"),
        file: include_bytes!("../reference/resnet.safetensors"),
    },
];

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap())).collect()
}

pub(crate) fn tensor(file: &SafeTensors<'_>, name: &str) -> Option<TensorData> {
    let view = file.tensor(name).ok()?;
    Some(TensorData::new(floats(view.data()), view.shape().to_vec()))
}

fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0f32, |largest, number| largest.max(number.abs()));
    found.iter().zip(expected).fold(0.0f32, |worst, (found, expected)| worst.max((found - expected).abs())) / scale
}

#[test]
fn features_equal_pytorchs() {
    for case in CASES {
        let (name, file) = (case.name, SafeTensors::deserialize(case.file).unwrap());
        let expected = floats(file.tensor("features").unwrap().data());
        for device in [Device::flex(), Device::flex().autodiff()] {
            let pixels = Tensor::<4>::from_data(tensor(&file, "pixels").unwrap(), &device);
            let found = host(case.network(&device).features(pixels));
            let error = error(&found, &expected);
            assert!(error < TOLERANCE, "{name}: {error:e} on {device:?}");
        }
    }
}

#[test]
fn statistics_that_are_measured_equal_pytorchs() {
    let mut compared = 0;
    for case in CASES {
        let (name, file, device) = (case.name, SafeTensors::deserialize(case.file).unwrap(), Device::flex());
        let network = case.network(&device);
        let pixels = Tensor::<4>::from_data(tensor(&file, "pixels").unwrap(), &device);
        let mut found = network.measured_statistics(pixels);
        for parameter in parameters(&network).into_iter().filter(|parameter| is_statistic(&parameter.name)) {
            let expected = floats(file.tensor(&format!("measured.{}", parameter.name)).unwrap().data());
            let found = found.remove(&parameter.id).unwrap_or_else(|| panic!("{name} measured no {}", parameter.name));
            let error = error(&found.into_data().try_into_vec::<f32>().unwrap(), &expected);
            // A channel that hardly varies is divided by its small deviation, and so is the rounding of all before it.
            assert!(error < 10.0 * TOLERANCE, "{name}, {}: {error:e}", parameter.name);
            compared += 1;
        }
        assert!(found.is_empty(), "{name} measured what is no statistic");
    }
    assert_eq!(compared, 2 * (27 + 27 + 13), "of two MobileNets and a ResNet");
}

#[test]
fn a_network_over_the_file_equals_one_that_owns_its_weights() {
    for case in CASES {
        let (name, file, config, device) = (case.name, case.file, case.config(), Device::flex());
        let owner = SafeTensors::deserialize(file).unwrap();
        let owned = case.network(&device);
        // A vector may start anywhere; with these two shifts one network lies over the bytes and one is copied.
        for shift in 0..2 {
            let mut bytes = vec![0; shift];
            bytes.extend_from_slice(file);
            let bytes = Bytes::from(bytes).slice(shift..);
            let view = SafeTensors::deserialize(&bytes).unwrap();
            let give = |name: &str| {
                let view = view.tensor(name).ok()?;
                Some((bytes.slice_ref(view.data()), view.shape().to_vec()))
            };
            let mapped = over_mapped(&config, give, &device).unwrap();
            let pixels = Tensor::<4>::from_data(tensor(&owner, "pixels").unwrap(), &device);
            let (ours, theirs) = (mapped.features(pixels.clone()), owned.features(pixels));
            assert_eq!(host(ours), host(theirs), "{name} shifted by {shift}");
        }
    }
}

#[test]
fn the_reference_names_every_tensor_of_the_description_and_no_other() {
    for case in CASES {
        let (name, config, file) = (case.name, case.config(), SafeTensors::deserialize(case.file).unwrap());
        let mut theirs: Vec<(String, Vec<usize>)> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, view.shape().to_vec()))
            .filter(|(name, _)| name != "pixels" && name != "features" && !name.starts_with("measured."))
            .collect();
        let listed = parameters(&network(&config, &Device::flex()));
        let mut ours: Vec<_> = listed.into_iter().map(|parameter| (parameter.name, parameter.shape)).collect();
        assert_eq!(ours, config.tensors().unwrap(), "{name}: the order of the description");
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{name}");
    }
}
