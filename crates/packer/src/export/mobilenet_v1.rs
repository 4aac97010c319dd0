//! The graph of a MobileNetV1, node by node as `taskvec_networks::MobileNetV1` computes it.

use taskvec_networks::{BlockPlan, MobileNetV1Config};

use super::convolutional::{Convolution, batch_norm, channel_means, convolution};
use super::graph::Graph;

/// Adds the nodes from `pixels` to `features`.
pub(super) fn add(graph: &mut Graph, config: &MobileNetV1Config) {
    graph.float("relu6.lowest", 0.0);
    graph.float("relu6.highest", 6.0);
    let stem = spatial(config, MobileNetV1Config::STEM_STRIDE, 1);
    layer(graph, config, ("conv_stem", "bn1"), stem, "pixels", "stem");
    let mut input = "stem".to_owned();
    for (stage, blocks) in config.stages().iter().enumerate() {
        for (at, &BlockPlan { inside, stride, .. }) in blocks.iter().enumerate() {
            let at = |part: &str| format!("blocks.{stage}.{at}{part}");
            let depthwise = spatial(config, stride, inside);
            layer(graph, config, (&at(".conv_dw"), &at(".bn1")), depthwise, &input, &at(".space"));
            let mixing = Convolution { kernel: 1, stride: 1, padding: (0, 0), groups: 1 };
            layer(graph, config, (&at(".conv_pw"), &at(".bn2")), mixing, &at(".space"), &at(""));
            input = at("");
        }
    }
    channel_means(graph, &input);
}

fn spatial(config: &MobileNetV1Config, stride: usize, groups: usize) -> Convolution {
    Convolution { kernel: 3, stride, padding: config.padding(stride), groups }
}

/// A convolution, its batch norm, and ReLU6.
fn layer(
    graph: &mut Graph,
    config: &MobileNetV1Config,
    (conv, norm): (&str, &str),
    how: Convolution,
    input: &str,
    output: &str,
) {
    convolution(graph, conv, how, input, conv);
    batch_norm(graph, norm, config.batch_norm_epsilon, conv, norm);
    graph.node("Clip", &[norm, "relu6.lowest", "relu6.highest"], &[output], vec![]);
}
