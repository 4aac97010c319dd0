//! Fine-tuning of the attention weights alone (Jin et al., ICLR 2025).
//!
//! As published: the weights of the projections to queries, keys and values and of the one behind them, in every block;
//! no biases. The optimizer and everything else stay as in dense fine-tuning.

use crate::error::{Error, Result};
use crate::mask::Mask;

/// What the names of these tensors end with.
const ATTENTION_WEIGHTS: [&str; 2] = [".attn.qkv.weight", ".attn.proj.weight"];

/// All attention weights among `tensors`.
///
/// # Errors
/// `Usage` when there are none: the head of the published repository freezes everything by a type test that cannot hold.
pub(crate) fn mask(tensors: &[(String, Vec<usize>)]) -> Result<Mask> {
    let mask = Mask::of_whole_tensors(tensors, |name| ATTENTION_WEIGHTS.iter().any(|end| name.ends_with(end)));
    if mask.entry_count() == 0 {
        return Err(Error::usage("method `attention_only`: no tensor that may be edited is an attention weight")
            .with_help(
                "take another `method`, or a base that has attention and whose `editable` tensors include `*.attn.*.weight`",
            ));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(names: &[&str]) -> Vec<(String, Vec<usize>)> {
        names.iter().map(|name| ((*name).to_owned(), vec![3, 2])).collect()
    }

    #[test]
    fn only_attention_weights_learn() {
        let names = [
            "blocks.0.attn.qkv.weight",
            "blocks.0.attn.qkv.bias",
            "blocks.0.attn.proj.weight",
            "blocks.0.mlp.fc1.weight",
        ];
        let mask = mask(&tensors(&names)).unwrap();
        let learning: Vec<&str> =
            mask.tensors.iter().filter(|tensor| tensor.entry_count() > 0).map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(learning, ["blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight"]);
    }

    #[test]
    fn a_mask_that_freezes_everything_is_refused() {
        let error = mask(&tensors(&["blocks.0.mlp.fc1.weight"])).unwrap_err();
        assert!(error.help().is_some());
    }
}
