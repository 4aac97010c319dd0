//! Which module of Stable Diffusion 1.x a number means, in adapters of cloneofsimo's `lora` (version 0.1): they count the linear
//! layers of `CLIPAttention` in the text encoder, and of `CrossAttention`, `Attention` and `GEGLU` in the U-Net, in the order in
//! which diffusers' modules were registered (the up blocks before the middle one).

/// Linear layers of one attention of the text encoder, as `CLIPAttention` registers them.
const TEXT_LAYERS: [&str; 4] = ["k_proj", "v_proj", "q_proj", "out_proj"];
const TEXT_BLOCKS: usize = 12;

/// Linear layers of one transformer block of the U-Net, as `BasicTransformerBlock` registers them.
const UNET_LAYERS: [&str; 9] = [
    "attn1.to_q",
    "attn1.to_k",
    "attn1.to_v",
    "attn1.to_out.0",
    "ff.net.0.proj",
    "attn2.to_q",
    "attn2.to_k",
    "attn2.to_v",
    "attn2.to_out.0",
];
/// Attentions of the U-Net: three down blocks of two, three up blocks of three, and the middle.
const UNET_BLOCKS: [&str; 16] = [
    "down_blocks.0.attentions.0",
    "down_blocks.0.attentions.1",
    "down_blocks.1.attentions.0",
    "down_blocks.1.attentions.1",
    "down_blocks.2.attentions.0",
    "down_blocks.2.attentions.1",
    "up_blocks.1.attentions.0",
    "up_blocks.1.attentions.1",
    "up_blocks.1.attentions.2",
    "up_blocks.2.attentions.0",
    "up_blocks.2.attentions.1",
    "up_blocks.2.attentions.2",
    "up_blocks.3.attentions.0",
    "up_blocks.3.attentions.1",
    "up_blocks.3.attentions.2",
    "mid_block.attentions.0",
];

/// The module that this number means in a component; none if there is none.
pub(super) fn module(component: &str, index: usize) -> Option<String> {
    match component {
        "text_encoder" if index < TEXT_BLOCKS * TEXT_LAYERS.len() => {
            let (block, layer) = (index / TEXT_LAYERS.len(), TEXT_LAYERS[index % TEXT_LAYERS.len()]);
            Some(format!("text_model.encoder.layers.{block}.self_attn.{layer}"))
        }
        "unet" => {
            let block = UNET_BLOCKS.get(index / UNET_LAYERS.len())?;
            Some(format!("{block}.transformer_blocks.0.{}", UNET_LAYERS[index % UNET_LAYERS.len()]))
        }
        _ => None,
    }
}
