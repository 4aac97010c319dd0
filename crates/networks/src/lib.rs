#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod attention;
mod batch_norm;
mod config;
mod conv;
mod error;
mod gelu;
mod layer_norm;
mod linear;
mod mobilenet_v1;
mod network;
mod pass;
mod resnet;
mod source;
mod vector;
mod vit;
mod weights;

pub use attention::Attention;
pub use batch_norm::{BatchNorm, is_statistic};
pub use config::{DEPTH_MAX, Gelu, LinearizedConfig, NetworkConfig, PARAMETERS_MAX, SIDE_MAX, TOKENS_MAX, VitConfig};
pub use conv::Conv;
pub use error::{Error, ErrorKind, Result};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use mobilenet_v1::{BlockPlan, MobileNetV1, MobileNetV1Config, SeparableBlock, StridedPadding};
pub use network::Network;
pub use pass::{LayerRecord, Recording, Squares, Tangent};
pub use resnet::{BasicBlock, ResNet, ResNetConfig};
pub use vit::{Block, Mlp, PatchEmbedding, PatchProjection, Vit};
pub use weights::{Parameter, over_mapped, parameters, to_safetensors, with_weights};
