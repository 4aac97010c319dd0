//! Fresh networks.

use burn::tensor::{Device, TensorData};
use taskvec_networks::{ErrorKind, Gelu, LinearizedConfig, Network, NetworkConfig, over_mapped, to_safetensors};

use crate::{numbers, tiny};

#[test]
fn fresh_weights_are_draws_scaled_and_biases_and_norms_are_neutral() {
    let config = tiny(Gelu::Exact);
    let mut asked = Vec::new();
    let mut random = |name: &str, shape: &[usize]| {
        asked.push(name.to_string());
        numbers(1, shape.iter().product())
    };
    let network = Network::init(&config, &mut random, &Device::flex()).unwrap();
    for (name, shape, bytes) in to_safetensors(&network) {
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap())).collect();
        let count = shape.iter().product();
        let expected = match name.as_str() {
            name if name.ends_with("bias") => vec![0.0; count],
            name if name.contains("norm") => vec![1.0; count],
            _ => numbers(1, count).into_iter().map(|draw| draw * 0.02).collect(),
        };
        assert_eq!(values, expected, "{name}");
        let drawn = !name.ends_with("bias") && !name.contains("norm");
        assert_eq!(asked.contains(&name), drawn, "{name}");
    }
}

#[test]
fn refuses_a_source_that_returns_too_few_draws() {
    let mut random = |_: &str, shape: &[usize]| vec![0.0; shape.iter().product::<usize>() - 1];
    let error = Network::init(&tiny(Gelu::Quick), &mut random, &Device::flex()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(error.to_string(), "tensor `cls_token`: the network has shape [1, 1, 8], the weights [7]");
}

#[test]
fn refuses_a_description_that_contradicts_itself() {
    let NetworkConfig::Vit(mut vit) = tiny(Gelu::Exact) else { panic!("a Vision Transformer") };
    vit.heads = 3;
    let mut random = |_: &str, _: &[usize]| panic!("nothing is drawn for a network that cannot be");
    let error = Network::init(&NetworkConfig::Vit(vit), &mut random, &Device::flex()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn what_comes_out_goes_in_again() {
    let config = tiny(Gelu::Exact);
    let device = Device::flex();
    let one = crate::network(&config, &device);
    let mut zeros = |_: &str, shape: &[usize]| vec![0.0; shape.iter().product()];
    let other = Network::init(&config, &mut zeros, &device).unwrap();
    let tensors = to_safetensors(&one);
    let give = |name: &str| {
        let (_, shape, bytes) = tensors.iter().find(|(given, ..)| given == name)?;
        let values = bytes.chunks_exact(4).map(|number| f32::from_le_bytes(number.try_into().unwrap()));
        Some(TensorData::new(values.collect::<Vec<f32>>(), shape.clone()))
    };
    assert_ne!(to_safetensors(&other), tensors);
    let other = taskvec_networks::with_weights(other, give).unwrap();
    assert_eq!(to_safetensors(&other), tensors);
}

#[test]
fn a_linearized_network_is_described_like_a_family_and_built_by_nobody() {
    let of = tiny(Gelu::Exact);
    let config = NetworkConfig::Linearized(LinearizedConfig { of: Box::new(of.clone()) });
    let text = serde_json::to_value(&config).unwrap();
    assert_eq!(text, serde_json::json!({ "family": "linearized", "of": serde_json::to_value(&of).unwrap() }));
    assert_eq!(serde_json::from_value::<NetworkConfig>(text).unwrap(), config);
    assert_eq!(config.tensors().unwrap(), of.tensors().unwrap());
    assert_eq!((config.feature_width(), config.input_shape()), (of.feature_width(), of.input_shape()));

    let said = "network: `linearized` is what a base is bundled as, and no network of its own";
    let mut random = |_: &str, _: &[usize]| panic!("nothing is drawn for a network that is not built");
    let built = Network::init(&config, &mut random, &Device::flex()).unwrap_err();
    let mapped = over_mapped(&config, |_| panic!("nothing is asked for"), &Device::flex()).unwrap_err();
    let twice = NetworkConfig::Linearized(LinearizedConfig { of: Box::new(config) }).validate().unwrap_err();
    for refused in [built, mapped, twice] {
        assert_eq!((refused.kind(), refused.to_string().as_str()), (ErrorKind::Usage, said));
    }
}
