//! What an engine says of itself, for programs: what computes, in which tier, why, and what was tried before.

use std::path::PathBuf;

use serde::Serialize;

use super::Provider;

/// How weights reach ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tier {
    /// Editable tensors are inputs of the graph that lie over the composed mapping; the base's values are their
    /// defaults. All views share one session of the library.
    Inputs,
    /// The same without defaults, for providers that would take those for constants.
    BareInputs,
    /// Editable tensors are constants, and each composition gets a session of its own, made from the composed bytes: as
    /// fast as a plain session, but a change takes as long as opening one, and each composition as much memory. For
    /// providers that keep copies of weights.
    Rebuild,
    /// Editable matrices are constants that the library has packed ahead and keeps on disk, and a change writes to their
    /// packed form in memory: as fast as a plain session, and without making one for each change. Outside of the library's
    /// contract, so it is never taken unless it is asked for and its checks pass; then the provider's own tiers follow.
    /// The CPU provider on Linux.
    Packed,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Inputs, Self::BareInputs, Self::Rebuild, Self::Packed];

    /// For people: `bare inputs`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::BareInputs => "bare inputs",
            Self::Rebuild => "rebuild",
            Self::Packed => "packed",
        }
    }
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EngineReport {
    /// The library: `ONNX Runtime`, `burn`; for an engine of another crate, what it says in [`crate::Engine::describe`].
    pub engine: String,
    /// Its version, where it is known.
    pub version: Option<String>,
    /// The file that it was loaded from.
    pub library: Option<PathBuf>,
    /// Threads of one inference, where it is known.
    pub threads: Option<usize>,
    /// The execution provider that computes.
    pub provider: Option<Provider>,
    /// How weights reach it.
    pub tier: Option<Tier>,
    /// Why this one.
    pub reason: String,
    /// What was wanted more and is not used, in the order in which it was tried.
    pub fallbacks: Vec<Fallback>,
}

/// Something that was tried and is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// What: an engine, or a provider with a tier.
    pub tried: String,
    /// Why it is not used.
    pub reason: String,
}

impl EngineReport {
    /// The report of an engine of which no more than its name is known.
    pub fn named(engine: impl Into<String>) -> Self {
        Self {
            engine: engine.into(),
            version: None,
            library: None,
            threads: None,
            provider: None,
            tier: None,
            reason: "it was asked for".to_owned(),
            fallbacks: Vec::new(),
        }
    }
}

/// What an execution provider can do on this device with a base.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProviderCheck {
    /// The provider.
    pub provider: Provider,
    /// Whether the library was built with it.
    pub in_library: bool,
    /// Each tier, tried with a change of every editable tensor.
    pub tiers: Vec<TierCheck>,
    /// The tier that a session takes; none when it takes another provider.
    pub used: Option<Tier>,
    /// Whether it computes every node of the graph in that tier; if not, the CPU does the rest.
    pub whole_graph: Option<bool>,
    /// Why a session takes another provider.
    pub problem: Option<String>,
}

/// What an execution provider can do in one tier.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TierCheck {
    /// The tier.
    pub tier: Tier,
    /// Every change of a tensor changes the answer.
    pub felt: bool,
    /// When changes are undone, the first answer comes back, bit for bit.
    pub restored: bool,
    /// How many tensors were changed.
    pub tensors: usize,
    /// Names of those whose change was not felt.
    pub unfelt: Vec<String>,
    /// How far the base's answer is from the CPU provider's; this and what follows is none where nothing was computed.
    pub difference_from_cpu_max: Option<f32>,
    /// Time to open it, in ms.
    pub open_ms: Option<f64>,
    /// Time to the first answer with a composition, in ms: what a change takes, apart from weights and probes.
    pub prepare_ms: Option<f64>,
    /// Time of each further answer to one input, in ms.
    pub infer_ms: Option<f64>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

impl TierCheck {
    #[cfg(feature = "ort")]
    pub(super) fn failed(tier: Tier, problem: String) -> Self {
        Self {
            tier,
            felt: false,
            restored: false,
            tensors: 0,
            unfelt: Vec::new(),
            difference_from_cpu_max: None,
            open_ms: None,
            prepare_ms: None,
            infer_ms: None,
            problem: Some(problem),
        }
    }
}
