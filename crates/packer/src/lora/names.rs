//! What the names in an adapter say: which module a factor belongs to, and which factor it is.

use super::stable_diffusion;

/// Which number of a module's a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `[rank, in]`, also called down.
    A,
    /// `[out, rank]`, also called up.
    B,
    /// What the product is multiplied with, times the rank.
    Alpha,
}

/// A module that an adapter changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Module {
    /// The model that it is a module of, where an adapter is for several at once: `unet`, `text_encoder`.
    pub(super) component: Option<String>,
    /// Its name in that model: with dots, or with underscores in their place.
    pub(super) name: String,
    pub(super) spelling: Spelling,
}

/// How a module is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spelling {
    Dotted,
    /// With dots, and its weight is `[in, out]`: an embedding.
    Embedding,
    /// As kohya's scripts do: `down_blocks_0_attentions_0`.
    Underscored,
}

/// Endings of names, and what they say. Adapters that were taken from a running model name the adapter, too.
const ENDINGS: [(&str, Role, Spelling); 12] = [
    (".lora_A.weight", Role::A, Spelling::Dotted),
    (".lora_B.weight", Role::B, Spelling::Dotted),
    (".lora_A.default.weight", Role::A, Spelling::Dotted),
    (".lora_B.default.weight", Role::B, Spelling::Dotted),
    (".lora_embedding_A", Role::A, Spelling::Embedding),
    (".lora_embedding_B", Role::B, Spelling::Embedding),
    (".lora.down.weight", Role::A, Spelling::Dotted),
    (".lora.up.weight", Role::B, Spelling::Dotted),
    (".lora_down.weight", Role::A, Spelling::Dotted),
    (".lora_up.weight", Role::B, Spelling::Dotted),
    (".lora_linear_layer.down.weight", Role::A, Spelling::Dotted),
    (".lora_linear_layer.up.weight", Role::B, Spelling::Dotted),
];

/// What PEFT puts before the names of the model.
pub(super) const PEFT_PREFIX: &str = "base_model.model.";
/// What kohya's scripts put there, and the component that it stands for.
const KOHYA_PREFIXES: [(&str, &str); 4] = [
    ("lora_unet_", "unet"),
    ("lora_te_", "text_encoder"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
];
/// Components that diffusers puts before names.
const COMPONENTS: [&str; 4] = ["unet", "text_encoder", "text_encoder_2", "transformer"];

/// The module and role of a tensor; none for one that is no factor.
pub(super) fn read(name: &str) -> Option<(Module, Role)> {
    if let Some(numbered) = numbered(name) {
        return Some(numbered);
    }
    let found =
        ENDINGS.iter().find_map(|(ending, role, spelling)| Some((name.strip_suffix(ending)?, *role, *spelling)));
    let (module, role, spelling) = match found {
        Some(found) => found,
        None => (name.strip_suffix(".alpha")?, Role::Alpha, Spelling::Dotted),
    };
    let module = module.strip_prefix(PEFT_PREFIX).unwrap_or(module);
    let kohya = KOHYA_PREFIXES.iter().find_map(|(prefix, component)| Some((module.strip_prefix(prefix)?, *component)));
    if let Some((module, component)) = kohya {
        let (component, name) = (Some(component.to_owned()), module.to_owned());
        return Some((Module { component, name, spelling: Spelling::Underscored }, role));
    }
    let component = module.split_once('.').filter(|(first, _)| COMPONENTS.contains(first));
    let (component, name) = match component {
        Some((component, rest)) => (Some(component.to_owned()), rest),
        None => (None, module),
    };
    Some((Module { component, name: name.to_owned(), spelling }, role))
}

/// `unet:17:down`, as cloneofsimo's scripts number the modules of Stable Diffusion.
fn numbered(name: &str) -> Option<(Module, Role)> {
    let [component, index, role] = name.split(':').collect::<Vec<_>>().try_into().ok()?;
    let role = match role {
        "down" => Role::A,
        "up" => Role::B,
        "alpha" => Role::Alpha,
        _ => return None,
    };
    let name = stable_diffusion::module(component, index.parse().ok()?)?;
    Some((Module { component: Some(component.to_owned()), name, spelling: Spelling::Dotted }, role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_name_a_factor_is_understood() {
        let dotted = |component: Option<&str>, name: &str| Module {
            component: component.map(str::to_owned),
            name: name.to_owned(),
            spelling: Spelling::Dotted,
        };
        let of = |name: &str, spelling| Module { spelling, ..dotted(None, name) };
        let cases = [
            ("base_model.model.encoder.0.q.lora_A.weight", dotted(None, "encoder.0.q"), Role::A),
            ("base_model.model.encoder.0.q.lora_B.default.weight", dotted(None, "encoder.0.q"), Role::B),
            ("base_model.model.words.lora_embedding_A", of("words", Spelling::Embedding), Role::A),
            ("unet.down.0.to_q.lora.up.weight", dotted(Some("unet"), "down.0.to_q"), Role::B),
            (
                "lora_te_text_model_encoder_layers_0_self_attn_k_proj.alpha",
                Module {
                    spelling: Spelling::Underscored,
                    ..dotted(Some("text_encoder"), "text_model_encoder_layers_0_self_attn_k_proj")
                },
                Role::Alpha,
            ),
            (
                "text_encoder:5:up",
                dotted(Some("text_encoder"), "text_model.encoder.layers.1.self_attn.v_proj"),
                Role::B,
            ),
        ];
        for (name, module, role) in cases {
            assert_eq!(read(name), Some((module, role)), "{name}");
        }
        for name in ["<s1>", "base_model.model.classifier.weight", "unet:999:down", "unet:1:sideways", "a:b"] {
            assert_eq!(read(name), None, "{name}");
        }
    }
}
