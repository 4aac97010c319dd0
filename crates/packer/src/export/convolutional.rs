//! Nodes that the graphs of convolutional networks share.
//!
//! Batch norms are nodes of their own: folded into the convolutions, no tensor would have the file's name any more and no
//! pack could change it. ONNX Runtime folds by itself what is no input.

use super::graph::Attribute::{Float, Int, Ints};
use super::graph::Graph;

/// How a square convolution goes over a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    /// Its height and width.
    pub(super) kernel: usize,
    /// Pixels from one place to the next.
    pub(super) stride: usize,
    /// Zeros above and to the left; below and to the right.
    pub(super) padding: (usize, usize),
    /// Parts that the channels are cut into.
    pub(super) groups: usize,
}

/// A convolution without a bias.
pub(super) fn convolution(graph: &mut Graph, layer: &str, how: Convolution, input: &str, output: &str) {
    let both = |side: usize| [side as i64; 2];
    let (before, after) = how.padding;
    let settings = vec![
        ("kernel_shape", Ints(both(how.kernel).to_vec())),
        ("strides", Ints(both(how.stride).to_vec())),
        ("pads", Ints([both(before), both(after)].concat())),
        ("group", Int(how.groups as i64)),
    ];
    graph.node("Conv", &[input, &format!("{layer}.weight")], &[output], settings);
}

/// A batch norm in its evaluation form.
pub(super) fn batch_norm(graph: &mut Graph, layer: &str, epsilon: f64, input: &str, output: &str) {
    let [weight, bias, mean, variance] =
        ["weight", "bias", "running_mean", "running_var"].map(|field| format!("{layer}.{field}"));
    let settings = vec![("epsilon", Float(epsilon as f32))];
    graph.node("BatchNormalization", &[input, &weight, &bias, &mean, &variance], &[output], settings);
}

/// The mean of each channel over the picture: the features.
pub(super) fn channel_means(graph: &mut Graph, input: &str) {
    graph.node("GlobalAveragePool", &[input], &["features.pooled"], vec![]);
    graph.node("Flatten", &["features.pooled"], &["features"], vec![("axis", Int(1))]);
}
