//! The graph of a ResNet, node by node as `taskvec_networks::ResNet` computes it.

use taskvec_networks::ResNetConfig;

use super::convolutional::{Convolution, batch_norm, channel_means, convolution};
use super::graph::Graph;

/// Adds the nodes from `pixels` to `features`.
pub(super) fn add(graph: &mut Graph, config: &ResNetConfig) {
    graph.ints("shortcut.starts", &[0, 0]);
    graph.ints("shortcut.ends", &[i64::MAX, i64::MAX]);
    graph.ints("shortcut.axes", &[2, 3]);
    graph.ints("shortcut.steps", &[2, 2]);
    layer(graph, config, ("conv1", "bn1"), 1, "pixels");
    graph.node("Relu", &["bn1"], &["stem"], vec![]);
    let mut input = "stem".to_owned();
    for stage in 0..ResNetConfig::STAGES {
        for block in 0..config.blocks_per_stage() {
            input = add_block(graph, config, stage, block, &input);
        }
    }
    channel_means(graph, &input);
}

/// Adds a block and returns what its output is called.
fn add_block(graph: &mut Graph, config: &ResNetConfig, stage: usize, block: usize, input: &str) -> String {
    let at = |part: &str| format!("layer{}.{block}{part}", stage + 1);
    let (inside, out) = config.channels_of(stage, block);
    layer(graph, config, (&at(".conv1"), &at(".bn1")), out / inside, input);
    graph.node("Relu", &[&at(".bn1")], &[&at(".middle")], vec![]);
    layer(graph, config, (&at(".conv2"), &at(".bn2")), 1, &at(".middle"));
    let mut shortcut = input.to_owned();
    if inside != out {
        let cut = ["shortcut.starts", "shortcut.ends", "shortcut.axes", "shortcut.steps"];
        graph.node("Slice", &[input, cut[0], cut[1], cut[2], cut[3]], &[&at(".cut")], vec![]);
        let zeros = (inside / 2) as i64;
        graph.ints(&at(".zeros"), &[0, zeros, 0, 0, 0, zeros, 0, 0]);
        graph.node("Pad", &[&at(".cut"), &at(".zeros")], &[&at(".shortcut")], vec![]);
        shortcut = at(".shortcut");
    }
    graph.node("Add", &[&at(".bn2"), &shortcut], &[&at(".sum")], vec![]);
    graph.node("Relu", &[&at(".sum")], &[&at("")], vec![]);
    at("")
}

/// A 3 by 3 convolution and its batch norm, whose output has the norm's name.
fn layer(graph: &mut Graph, config: &ResNetConfig, (conv, norm): (&str, &str), stride: usize, input: &str) {
    convolution(graph, conv, Convolution { kernel: 3, stride, padding: (1, 1), groups: 1 }, input, conv);
    batch_norm(graph, norm, config.batch_norm_epsilon, conv, norm);
}
