//! The graph of a Vision Transformer, node by node as `taskvec_networks::Vit` computes it.
//!
//! Linear layers are `Gemm` with `transB = 1` on `[batch * tokens, in]`, so that weights keep PyTorch's `[out, in]`.

use taskvec_networks::{Gelu, VitConfig};

use super::graph::Attribute::{Float, Int, Ints};
use super::graph::Graph;

/// Adds the nodes from `pixels` to `features`. Tokens of all images are the rows of one matrix, as linear layers want them.
pub(super) fn add(graph: &mut Graph, config: &VitConfig) {
    let (width, tokens) = (config.width as i64, config.tokens() as i64);
    let (heads, head_width) = (config.heads as i64, config.head_width() as i64);
    graph.ints("shape.patches", &[0, width, -1]);
    graph.ints("shape.class", &[1, width]);
    graph.ints("shape.flat", &[-1, width]);
    graph.ints("shape.tokens", &[-1, tokens, width]);
    graph.ints("shape.qkv", &[-1, tokens, 3, heads, head_width]);
    graph.ints("axis.0", &[0]);
    graph.ints("axis.1", &[1]);
    graph.ints("axis.3", &[3]);
    graph.ints("index.first", &[0]);
    graph.ints("index.second", &[1]);
    graph.float("attention.scale", 1.0 / (config.head_width() as f32).sqrt());
    if config.gelu == Gelu::Quick {
        graph.float("gelu.slope", 1.702);
    }
    embed(graph, config.patch_size as i64);
    let mut tokens = "embedded".to_owned();
    for block in 0..config.depth {
        tokens = add_block(graph, config, block, &tokens);
    }
    norm(graph, config, "norm", &tokens, "features");
}

fn embed(graph: &mut Graph, patch: i64) {
    let strides = vec![("kernel_shape", Ints(vec![patch, patch])), ("strides", Ints(vec![patch, patch]))];
    graph.node("Conv", &["pixels", "patch_embed.proj.weight", "patch_embed.proj.bias"], &["patches.grid"], strides);
    graph.node("Reshape", &["patches.grid", "shape.patches"], &["patches.rows"], vec![]);
    graph.node("Transpose", &["patches.rows"], &["patches"], vec![("perm", Ints(vec![0, 2, 1]))]);
    graph.node("Shape", &["pixels"], &["batch"], vec![("start", Int(0)), ("end", Int(1))]);
    graph.node("Concat", &["batch", "shape.class"], &["shape.class_tokens"], vec![("axis", Int(0))]);
    graph.node("Expand", &["cls_token", "shape.class_tokens"], &["class_tokens"], vec![]);
    graph.node("Concat", &["class_tokens", "patches"], &["joined"], vec![("axis", Int(1))]);
    graph.node("Add", &["joined", "pos_embed"], &["placed"], vec![]);
    graph.node("Reshape", &["placed", "shape.flat"], &["embedded"], vec![]);
}

/// Adds a block and returns what its output is called. Of the last block only the class token is ever looked at: from
/// its queries on, only that token is computed.
fn add_block(graph: &mut Graph, config: &VitConfig, block: usize, input: &str) -> String {
    let last = block + 1 == config.depth;
    let at = |name: &str| format!("blocks.{block}.{name}");
    norm(graph, config, &at("norm1"), input, &at("norm1"));
    attention(graph, block, &at("norm1"), last);
    let mut input = input.to_owned();
    if last {
        graph.node("Reshape", &[&input, "shape.tokens"], &[&at("images")], vec![]);
        first(graph, &at("images"), "axis.1", &at("first"));
        graph.node("Reshape", &[&at("first"), "shape.flat"], &[&at("class")], vec![]);
        input = at("class");
    }
    graph.node("Add", &[&input, &at("attn")], &[&at("middle")], vec![]);
    norm(graph, config, &at("norm2"), &at("middle"), &at("norm2"));
    linear(graph, &at("mlp.fc1"), &at("norm2"), &at("mlp.fc1"));
    gelu(graph, config.gelu, &at("mlp.fc1"), &at("mlp.gelu"));
    linear(graph, &at("mlp.fc2"), &at("mlp.gelu"), &at("mlp.fc2"));
    graph.node("Add", &[&at("middle"), &at("mlp.fc2")], &[&at("out")], vec![]);
    at("out")
}

fn attention(graph: &mut Graph, block: usize, input: &str, class_only: bool) {
    let at = |name: &str| format!("blocks.{block}.attn{name}");
    linear(graph, &at(".qkv"), input, &at(".qkv"));
    graph.node("Reshape", &[&at(".qkv"), "shape.qkv"], &[&at(".qkv.heads")], vec![]);
    // [3, batch, heads, tokens, head_width]
    graph.node("Transpose", &[&at(".qkv.heads")], &[&at(".qkv.split")], vec![("perm", Ints(vec![2, 0, 3, 1, 4]))]);
    let thirds = [at(".q.one"), at(".k.one"), at(".v.one")];
    graph.node(
        "Split",
        &[&at(".qkv.split")],
        &[&thirds[0], &thirds[1], &thirds[2]],
        vec![("axis", Int(0)), ("num_outputs", Int(3))],
    );
    let mut queries = thirds[0].clone();
    if class_only {
        first(graph, &queries, "axis.3", &at(".q.class"));
        queries = at(".q.class");
    }
    for (third, name) in [(&queries, ".q"), (&thirds[1], ".k"), (&thirds[2], ".v")] {
        graph.node("Squeeze", &[third, "axis.0"], &[&at(name)], vec![]);
    }
    graph.node("Transpose", &[&at(".k")], &[&at(".k.turned")], vec![("perm", Ints(vec![0, 1, 3, 2]))]);
    graph.node("Mul", &[&at(".q"), "attention.scale"], &[&at(".q.scaled")], vec![]);
    graph.node("MatMul", &[&at(".q.scaled"), &at(".k.turned")], &[&at(".scores")], vec![]);
    graph.node("Softmax", &[&at(".scores")], &[&at(".shares")], vec![("axis", Int(-1))]);
    graph.node("MatMul", &[&at(".shares"), &at(".v")], &[&at(".mixed")], vec![]);
    graph.node("Transpose", &[&at(".mixed")], &[&at(".mixed.tokens")], vec![("perm", Ints(vec![0, 2, 1, 3]))]);
    graph.node("Reshape", &[&at(".mixed.tokens"), "shape.flat"], &[&at(".mixed.flat")], vec![]);
    linear(graph, &at(".proj"), &at(".mixed.flat"), &at(""));
}

/// The first slice along an axis, which stays, with length 1.
fn first(graph: &mut Graph, input: &str, axis: &str, output: &str) {
    graph.node("Slice", &[input, "index.first", "index.second", axis], &[output], vec![]);
}

fn linear(graph: &mut Graph, layer: &str, input: &str, output: &str) {
    let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
    graph.node("Gemm", &[input, &weight, &bias], &[output], vec![("transB", Int(1))]);
}

fn norm(graph: &mut Graph, config: &VitConfig, layer: &str, input: &str, output: &str) {
    let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
    let settings = vec![("axis", Int(-1)), ("epsilon", Float(config.layer_norm_epsilon as f32))];
    graph.node("LayerNormalization", &[input, &weight, &bias], &[output], settings);
}

fn gelu(graph: &mut Graph, kind: Gelu, input: &str, output: &str) {
    match kind {
        Gelu::Exact => graph.node("Gelu", &[input], &[output], vec![]),
        Gelu::Quick => {
            let (steeper, gate) = (format!("{output}.steeper"), format!("{output}.gate"));
            graph.node("Mul", &[input, "gelu.slope"], &[&steeper], vec![]);
            graph.node("Sigmoid", &[&steeper], &[&gate], vec![]);
            graph.node("Mul", &[input, &gate], &[output], vec![]);
        }
    }
}
