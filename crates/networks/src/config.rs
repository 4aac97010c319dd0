//! What a network looks like, as one plain value: the `network` object of `base.json` and of recipes.
//!
//! The description alone decides the names and shapes of all tensors ([`NetworkConfig::tensors`]), so that weights can
//! be checked before anything is built.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::mobilenet_v1::MobileNetV1Config;
use crate::resnet::ResNetConfig;

/// The largest width, image side, patch side, and number of channels or heads that is built; an MLP may be 4 times wider.
pub const SIDE_MAX: usize = 1 << 14;
/// The most blocks that are built.
pub const DEPTH_MAX: usize = 1 << 8;
/// The most tokens of one image, the class token included: attention needs their square.
pub const TOKENS_MAX: usize = 1 << 14;
/// The most parameters of one network: 16 GiB of f32.
pub const PARAMETERS_MAX: usize = 1 << 32;

/// A network of one of the families.
///
/// ```
/// use taskvec_networks::NetworkConfig;
///
/// let config: NetworkConfig = serde_json::from_str(
///     r#"{"family": "vit", "image_size": 28, "patch_size": 7, "channels": 1, "width": 96, "depth": 4, "heads": 4,
///         "mlp_width": 384, "gelu": "exact", "layer_norm_epsilon": 1e-6}"#,
/// )
/// .unwrap();
/// assert_eq!(config.tensors().unwrap()[0], ("cls_token".to_string(), vec![1, 1, 96]));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "lowercase")]
#[non_exhaustive]
pub enum NetworkConfig {
    /// A Vision Transformer.
    Vit(VitConfig),
    /// A MobileNetV1.
    #[serde(rename = "mobilenet_v1")]
    MobileNetV1(MobileNetV1Config),
    /// A ResNet for small pictures.
    ResNet(ResNetConfig),
    /// One of the others, linearized around the weights of the base that it describes.
    Linearized(LinearizedConfig),
}

/// The first-order approximation of a network around its base (Ortiz-Jimenez et al. 2023): it has the same tensors, and its features
/// are `f(x; base) + J(x; base) (now - base)`, see [`crate::Network::linearized_features`].
///
/// That takes the base's weights beside those of now, so that no [`crate::Network`] is ever built of it, only of what it is `of`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearizedConfig {
    /// The network; not linearized itself.
    pub of: Box<NetworkConfig>,
}

/// A Vision Transformer (Dosovitskiy et al. 2021): pre-norm blocks over square patches and a class token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Height and width of the image, in pixels.
    pub image_size: usize,
    /// Height and width of a patch, in pixels; divides `image_size`.
    pub patch_size: usize,
    /// Channels of the image: 1 for gray, 3 for RGB.
    pub channels: usize,
    /// Numbers per token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Numbers per token inside an MLP; 4 times `width` in the published models.
    pub mlp_width: usize,
    /// Which GELU stands in the MLPs.
    pub gelu: Gelu,
    /// Added to the variance by each layer norm; positive. 1e-6 in timm, 1e-5 in CLIP.
    pub layer_norm_epsilon: f64,
}

/// The activation of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gelu {
    /// `x * Phi(x)`, with the normal distribution function (Hendrycks and Gimpel 2016).
    Exact,
    /// `x * sigmoid(1.702 x)`, as CLIP has it.
    Quick,
}

impl NetworkConfig {
    /// Whether such a network can be built.
    ///
    /// # Errors
    /// `Usage` when the numbers contradict each other, `Limit` when one is above this crate's limits.
    pub fn validate(&self) -> Result<()> {
        match self {
            NetworkConfig::Vit(config) => config.validate(),
            NetworkConfig::MobileNetV1(config) => config.validate(),
            NetworkConfig::ResNet(config) => config.validate(),
            NetworkConfig::Linearized(LinearizedConfig { of }) => of.buildable()?.validate(),
        }
    }

    /// Itself.
    ///
    /// # Errors
    /// `Usage` when it is linearized: built like any other, it would compute something else and nobody would notice.
    pub(crate) fn buildable(&self) -> Result<&NetworkConfig> {
        match self {
            NetworkConfig::Linearized(_) => {
                Err(Error::usage("network: `linearized` is what a base is bundled as, and no network of its own")
                    .with_help("describe the network that it is `of`, and bundle its base with `--linearized`"))
            }
            whole => Ok(whole),
        }
    }

    /// Names and shapes of all tensors, in the order in which the network uses them.
    ///
    /// # Errors
    /// Those of [`NetworkConfig::validate`].
    pub fn tensors(&self) -> Result<Vec<(String, Vec<usize>)>> {
        self.validate()?;
        Ok(match self {
            NetworkConfig::Vit(config) => config.tensors(),
            NetworkConfig::MobileNetV1(config) => config.tensors(),
            NetworkConfig::ResNet(config) => config.tensors(),
            NetworkConfig::Linearized(config) => config.of.tensors()?,
        })
    }

    /// Numbers per image that the network hands to a head.
    pub fn feature_width(&self) -> usize {
        match self {
            NetworkConfig::Vit(config) => config.width,
            NetworkConfig::MobileNetV1(config) => config.feature_width(),
            NetworkConfig::ResNet(config) => config.feature_width(),
            NetworkConfig::Linearized(config) => config.of.feature_width(),
        }
    }

    /// What the network expects of an image: channels, height, width.
    pub fn input_shape(&self) -> [usize; 3] {
        match self {
            NetworkConfig::Vit(config) => [config.channels, config.image_size, config.image_size],
            NetworkConfig::MobileNetV1(config) => [config.channels, config.image_size, config.image_size],
            NetworkConfig::ResNet(config) => [config.channels, config.image_size, config.image_size],
            NetworkConfig::Linearized(config) => config.of.input_shape(),
        }
    }
}

impl VitConfig {
    /// Patches along one side of the image.
    pub fn patches_per_side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Tokens of one image, the class token included.
    pub fn tokens(&self) -> usize {
        self.patches_per_side() * self.patches_per_side() + 1
    }

    /// Numbers per token and attention head.
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    fn validate(&self) -> Result<()> {
        for (field, value, limit) in [
            ("image_size", self.image_size, SIDE_MAX),
            ("patch_size", self.patch_size, SIDE_MAX),
            ("channels", self.channels, SIDE_MAX),
            ("width", self.width, SIDE_MAX),
            ("depth", self.depth, DEPTH_MAX),
            ("heads", self.heads, SIDE_MAX),
            ("mlp_width", self.mlp_width, 4 * SIDE_MAX),
        ] {
            side(field, value, limit)?;
        }
        divides("patch_size", self.patch_size, "image_size", self.image_size)?;
        divides("heads", self.heads, "width", self.width)?;
        epsilon("layer_norm_epsilon", self.layer_norm_epsilon, "timm's models use 1e-6, CLIP's 1e-5")?;
        if self.tokens() > TOKENS_MAX {
            let tokens = self.tokens();
            return Err(Error::limit(format!("network: an image becomes {tokens} tokens, the limit is {TOKENS_MAX}"))
                .with_help("choose larger patches or smaller images"));
        }
        let patch_values = self.channels.saturating_mul(self.patch_size * self.patch_size);
        let per_block = self.width.saturating_mul(4 * self.width + 2 * self.mlp_width);
        let parameters = self.depth.saturating_mul(per_block).saturating_add(self.width.saturating_mul(patch_values));
        parameter_count(parameters)
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let width = self.width;
        let mut tensors = vec![
            ("cls_token".to_string(), vec![1, 1, width]),
            ("pos_embed".to_string(), vec![1, self.tokens(), width]),
            ("patch_embed.proj.weight".to_string(), vec![width, self.channels, self.patch_size, self.patch_size]),
            ("patch_embed.proj.bias".to_string(), vec![width]),
        ];
        for block in 0..self.depth {
            for (part, out, inside) in [
                ("norm1", width, None),
                ("attn.qkv", 3 * width, Some(width)),
                ("attn.proj", width, Some(width)),
                ("norm2", width, None),
                ("mlp.fc1", self.mlp_width, Some(width)),
                ("mlp.fc2", width, Some(self.mlp_width)),
            ] {
                let weight = [out].into_iter().chain(inside).collect();
                tensors.push((format!("blocks.{block}.{part}.weight"), weight));
                tensors.push((format!("blocks.{block}.{part}.bias"), vec![out]));
            }
        }
        tensors.push(("norm.weight".to_string(), vec![width]));
        tensors.push(("norm.bias".to_string(), vec![width]));
        tensors
    }
}

/// Whether a size is from 1 to `limit`.
pub(crate) fn side(field: &str, value: usize, limit: usize) -> Result<()> {
    if value == 0 {
        return Err(Error::usage(format!("network: `{field}` is 0, it must be at least 1")));
    }
    if value > limit {
        return Err(Error::limit(format!("network: `{field}` is {value}, the limit is {limit}")));
    }
    Ok(())
}

/// Whether a number that is added to variances is one.
pub(crate) fn epsilon(field: &str, found: f64, usual: &str) -> Result<()> {
    if found.is_finite() && found > 0.0 {
        return Ok(());
    }
    Err(Error::usage(format!("network: `{field}` is {found}, it must be positive and finite")).with_help(usual))
}

/// Whether a network of so many parameters is built.
pub(crate) fn parameter_count(parameters: usize) -> Result<()> {
    if parameters > PARAMETERS_MAX {
        return Err(Error::limit(format!("network: {parameters} parameters, the limit is {PARAMETERS_MAX}")));
    }
    Ok(())
}

fn divides(part: &str, divisor: usize, whole: &str, value: usize) -> Result<()> {
    if value.is_multiple_of(divisor) {
        return Ok(());
    }
    Err(Error::usage(format!("network: `{part}` is {divisor}, it must divide `{whole}`, which is {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const JSON: &str = r#"{"family":"vit","image_size":28,"patch_size":7,"channels":1,"width":96,"depth":4,"heads":4,"mlp_width":384,"gelu":"exact","layer_norm_epsilon":1e-6}"#;

    fn vit() -> VitConfig {
        match serde_json::from_str(JSON).unwrap() {
            NetworkConfig::Vit(config) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_and_writes_the_json_of_a_base_bundle() {
        let config: NetworkConfig = serde_json::from_str(JSON).unwrap();
        config.validate().unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), JSON);
        assert_eq!((config.feature_width(), config.input_shape()), (96, [1, 28, 28]));
    }

    #[test]
    fn rejects_unknown_keys_and_families() {
        let misspelt = JSON.replace("\"depth\":4", "\"depth\":4,\"dept\":4");
        assert!(serde_json::from_str::<NetworkConfig>(&misspelt).unwrap_err().to_string().contains("dept"));
        let family = JSON.replace("vit", "perceptron");
        assert!(serde_json::from_str::<NetworkConfig>(&family).is_err());
        let gelu = JSON.replace("exact", "fast");
        assert!(serde_json::from_str::<NetworkConfig>(&gelu).is_err());
    }

    #[test]
    fn rejects_numbers_that_contradict_each_other() {
        struct Case(&'static str, fn(&mut VitConfig), ErrorKind);
        let cases = [
            Case("`heads` is 5, it must divide `width`, which is 96", |c| c.heads = 5, ErrorKind::Usage),
            Case("`patch_size` is 5, it must divide `image_size`, which is 28", |c| c.patch_size = 5, ErrorKind::Usage),
            Case("`depth` is 0, it must be at least 1", |c| c.depth = 0, ErrorKind::Usage),
            Case("`heads` is 0, it must be at least 1", |c| c.heads = 0, ErrorKind::Usage),
            Case("`layer_norm_epsilon` is NaN", |c| c.layer_norm_epsilon = f64::NAN, ErrorKind::Usage),
            Case("`width` is 16385, the limit is 16384", |c| c.width = 16385, ErrorKind::Limit),
            Case("tokens, the limit is 16384", |c| (c.image_size, c.patch_size) = (512, 1), ErrorKind::Limit),
            Case(
                "parameters, the limit is",
                |c| (c.width, c.depth, c.mlp_width) = (16384, 256, 65536),
                ErrorKind::Limit,
            ),
        ];
        for Case(message, change, kind) in cases {
            let mut config = vit();
            change(&mut config);
            let error = NetworkConfig::Vit(config).validate().expect_err(message);
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    #[test]
    fn names_every_tensor_once() {
        let tensors = NetworkConfig::Vit(vit()).tensors().unwrap();
        assert_eq!(tensors.len(), 4 + 4 * 12 + 2);
        assert!(tensors.contains(&("blocks.3.attn.qkv.weight".to_string(), vec![288, 96])));
        assert!(tensors.contains(&("blocks.0.mlp.fc2.weight".to_string(), vec![96, 384])));
        assert!(tensors.contains(&("patch_embed.proj.weight".to_string(), vec![96, 1, 7, 7])));
        let mut names: Vec<_> = tensors.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), tensors.len());
    }
}
