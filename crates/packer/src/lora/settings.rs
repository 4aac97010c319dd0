//! `adapter_config.json`, as PEFT writes it: what the product of the factors is multiplied with.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};

/// The name of the file, beside the adapter.
const FILE: &str = "adapter_config.json";
/// More than any list of patterns takes.
const BYTES_MAX: u64 = 16 << 20;
/// Characters that make a pattern more than a name.
const PATTERN_CHARACTERS: &[char] = &['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\', '^', '$'];

/// The keys that say something about numbers. Others (dropout, the task) say something about training.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Settings {
    r: u64,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    /// Whether weights are `[in, out]`, as those of GPT-2 are.
    #[serde(default)]
    pub(super) fan_in_fan_out: bool,
    #[serde(default)]
    peft_type: Option<String>,
    /// Ranks and alphas of single modules.
    #[serde(default)]
    rank_pattern: BTreeMap<String, u64>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

impl Settings {
    /// Those in the folder of the adapter, if they are there.
    ///
    /// # Errors
    /// `Damaged` when the file cannot be understood; `Unsupported` for adapters that are more than a product of two factors.
    pub(super) fn beside(adapter: &Path) -> Result<Option<Settings>> {
        let path = adapter.with_file_name(FILE);
        let Ok(found) = std::fs::metadata(&path) else { return Ok(None) };
        if found.len() > BYTES_MAX {
            return Err(Error::limit(format!(
                "`{}` has {} bytes, at most {BYTES_MAX} are read",
                path.display(),
                found.len()
            )));
        }
        let json = std::fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
        let settings: Settings = serde_json::from_slice(&json).map_err(|cause| {
            Error::damaged(format!("`{}` is no configuration of a LoRA adapter", path.display()))
                .with_help("fetch it again, from the same place as the adapter")
                .caused_by(cause)
        })?;
        let kind = settings.peft_type.as_deref().unwrap_or("LORA");
        if kind != "LORA" || settings.use_dora {
            let kind = if settings.use_dora { "DoRA" } else { kind };
            return Err(Error::unsupported(format!("`{}`: an adapter of type {kind}, LoRA is read", path.display()))
                .with_help("merge it into its model and name both checkpoints: `taskvec diff BASE MERGED`"));
        }
        let patterns = settings.rank_pattern.keys().chain(settings.alpha_pattern.keys());
        if let Some(pattern) = patterns.into_iter().find(|pattern| pattern.contains(PATTERN_CHARACTERS)) {
            return Err(Error::unsupported(format!("`{}`: `{pattern}` is a pattern, names are read", path.display()))
                .with_help("write each module out in `rank_pattern` and `alpha_pattern`"));
        }
        Ok(Some(settings))
    }

    /// What the product of factors of `rank` is multiplied with; none if the module should have another rank, with that.
    pub(super) fn scale(&self, module: &str, rank: u64) -> std::result::Result<f64, u64> {
        let expected = named(&self.rank_pattern, module).unwrap_or(self.r);
        if rank != expected {
            return Err(expected);
        }
        let alpha = named(&self.alpha_pattern, module).unwrap_or(self.lora_alpha);
        let rank = rank as f64;
        Ok(if self.use_rslora { alpha / rank.sqrt() } else { alpha / rank })
    }
}

/// The value of the first key that is the module's name, or its end after a dot.
fn named<T: Copy>(pattern: &BTreeMap<String, T>, module: &str) -> Option<T> {
    let names = |key: &str| module.strip_suffix(key).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    pattern.iter().find(|(key, _)| names(key)).map(|(_, value)| *value)
}
