//! All that an evaluation has measured, before anything is made of it.

use serde::{Deserialize, Serialize};

use super::analogy::Analogy;
use super::disentanglement::ErrorMap;
use super::judge::Outcome;
use super::kernel::Localization;

/// All that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Each row with each seed.
    pub outcomes: Vec<Outcome>,
    /// Each analogy of each row with each seed.
    pub analogies: Vec<Analogy>,
    /// Disentanglement errors of each pair of each row with each seed.
    pub maps: Vec<ErrorMap>,
    /// Localization of each task with each seed, of the base and of a network that was drawn.
    pub localizations: Vec<Localization>,
}
