//! Keras' names and layouts, and what they are here.
//!
//! Keras keeps a convolution as `[height, width, in, out]` and a depthwise one as `[height, width, channels, 1]`; a base has
//! PyTorch's `[out, in, height, width]`. The one place where numbers change their order is here, once, when the base is
//! written.

use taskvec_networks::{MobileNetV1Config, NetworkConfig};

/// What Keras calls the tensor that the network calls `name`; none if Keras has no such network.
pub(super) fn name_in_keras(config: &NetworkConfig, name: &str) -> Option<String> {
    let NetworkConfig::MobileNetV1(config) = config else { return None };
    let (module, field) = name.rsplit_once('.')?;
    let layer = layer_in_keras(config, module)?;
    let variable = match (layer.ends_with("_bn"), field) {
        (true, "weight") => "gamma",
        (true, "bias") => "beta",
        (true, "running_mean") => "moving_mean",
        (true, "running_var") => "moving_variance",
        (false, "weight") if layer.starts_with("conv_dw_") => "depthwise_kernel",
        (false, "weight") => "kernel",
        _ => return None,
    };
    Some(format!("{layer}/{variable}"))
}

/// Keras counts the blocks of a MobileNetV1 through, from 1.
fn layer_in_keras(config: &MobileNetV1Config, module: &str) -> Option<String> {
    match module {
        "conv_stem" => return Some("conv1".to_owned()),
        "bn1" => return Some("conv1_bn".to_owned()),
        _ => {}
    }
    let mut parts = module.strip_prefix("blocks.")?.split('.');
    let stage: usize = parts.next()?.parse().ok()?;
    let block: usize = parts.next()?.parse().ok()?;
    let number = config.stages().iter().take(stage).map(Vec::len).sum::<usize>() + block + 1;
    let layer = match parts.next()? {
        "conv_dw" => format!("conv_dw_{number}"),
        "bn1" => format!("conv_dw_{number}_bn"),
        "conv_pw" => format!("conv_pw_{number}"),
        "bn2" => format!("conv_pw_{number}_bn"),
        _ => return None,
    };
    Some(layer)
}

/// Where the sides of the tensor called `name` come from in PyTorch's order; none if it has that order.
pub(super) fn order(name: &str, rank: usize) -> Option<&'static [usize]> {
    match (name.rsplit('/').next(), rank) {
        (Some("kernel"), 2) => Some(&[1, 0]),
        (Some("kernel"), 4) => Some(&[3, 2, 0, 1]),
        (Some("depthwise_kernel"), 4) => Some(&[2, 3, 0, 1]),
        _ => None,
    }
}

/// Shape and numbers of a tensor with its sides in another order: side `at` of the result is side `order[at]` of `shape`.
pub(super) fn permuted(shape: &[usize], values: &[f32], order: &[usize]) -> (Vec<usize>, Vec<f32>) {
    let stride = |side: usize| shape[side + 1..].iter().product::<usize>();
    let sides: Vec<(usize, usize)> = order.iter().map(|&side| (shape[side], stride(side))).collect();
    let place = |mut index: usize| {
        sides.iter().rev().fold(0, |place, &(length, stride)| {
            let here = index % length;
            index /= length;
            place + here * stride
        })
    };
    let shape = sides.iter().map(|&(length, _)| length).collect();
    (shape, (0..values.len()).map(|index| values[place(index)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mobilenet() -> NetworkConfig {
        serde_json::from_str(
            r#"{"family": "mobilenet_v1", "image_size": 32, "channels": 3, "width_multiplier": 0.25,
                "padding": "tensorflow", "batch_norm_epsilon": 1e-3}"#,
        )
        .unwrap()
    }

    #[test]
    fn blocks_are_counted_through() {
        for (ours, theirs) in [
            ("conv_stem.weight", "conv1/kernel"),
            ("bn1.running_var", "conv1_bn/moving_variance"),
            ("blocks.0.0.conv_dw.weight", "conv_dw_1/depthwise_kernel"),
            ("blocks.1.0.bn1.weight", "conv_dw_2_bn/gamma"),
            ("blocks.3.5.conv_pw.weight", "conv_pw_11/kernel"),
            ("blocks.4.1.bn2.bias", "conv_pw_13_bn/beta"),
        ] {
            assert_eq!(name_in_keras(&mobilenet(), ours).as_deref(), Some(theirs));
        }
    }

    #[test]
    fn every_tensor_of_a_mobilenet_has_a_name_of_its_own_in_keras() {
        let config = mobilenet();
        let tensors = config.tensors().unwrap();
        let mut names: Vec<String> = tensors.iter().map(|(name, _)| name_in_keras(&config, name).unwrap()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), tensors.len());
    }

    #[test]
    fn kernels_change_their_order_and_nothing_else_does() {
        // Element (h, w, i, o) of [2, 1, 3, 2] is its own index, so what comes out says where it was.
        let values: Vec<f32> = (0..12).map(|index| index as f32).collect();
        let turned = |name: &str, shape: &[usize]| permuted(shape, &values, order(name, shape.len()).unwrap());
        let (shape, numbers) = turned("a/kernel", &[2, 1, 3, 2]);
        assert_eq!(shape, [2, 3, 2, 1]);
        assert_eq!(numbers, [0.0, 6.0, 2.0, 8.0, 4.0, 10.0, 1.0, 7.0, 3.0, 9.0, 5.0, 11.0]);
        let (shape, numbers) = turned("a/depthwise_kernel", &[2, 2, 3, 1]);
        assert_eq!((shape, &numbers[..4]), (vec![3, 1, 2, 2], &[0.0, 3.0, 6.0, 9.0][..]));
        let (shape, numbers) = turned("a/kernel", &[6, 2]);
        assert_eq!((shape, numbers[1]), (vec![2, 6], 2.0));
        assert_eq!((order("a.weight", 2), order("a/bias", 1)), (None, None));
    }
}
