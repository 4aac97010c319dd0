//! The ways to merge, and what tells them apart.

use serde::{Deserialize, Serialize};

use super::settings::Rescale;

/// A way to merge. In all of them a tensor is on its own: shares are of a tensor, never of the whole model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeMethod {
    /// The weighted mean of the models' weights.
    Linear,
    /// Along the great circle between the base and one model (Shoemake 1985).
    Slerp,
    /// The weighted sum of the deltas (Ilharco et al. 2022).
    TaskArithmetic,
    /// The largest deltas of each model, those of the sign that the sum has (Yadav et al. 2023).
    Ties,
    /// Deltas dropped at random (Yu et al. 2024), and summed.
    DareLinear,
    /// Deltas dropped at random, and those of the sign that the sum has.
    DareTies,
    /// Without the largest and the smallest deltas (Davari and Belilovsky 2024), summed.
    Breadcrumbs,
    /// The same, and those of the sign that the sum has.
    BreadcrumbsTies,
    /// Deltas dropped at random, small ones more often (Deep et al. 2024), and those of the sign that the sum has.
    Della,
    /// The same, summed.
    DellaLinear,
    /// Between the base and the mean of the models, as far as their deltas agree (Jang et al. 2024).
    ModelStock,
}

/// Which deltas of a model stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sparsifier {
    /// The largest.
    Largest,
    /// Any.
    Random,
    /// Neither the largest nor the smallest.
    Middle,
    /// Any, the larger the likelier.
    ByRank,
}

impl MergeMethod {
    /// Its name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            MergeMethod::Linear => "linear",
            MergeMethod::Slerp => "slerp",
            MergeMethod::TaskArithmetic => "task_arithmetic",
            MergeMethod::Ties => "ties",
            MergeMethod::DareLinear => "dare_linear",
            MergeMethod::DareTies => "dare_ties",
            MergeMethod::Breadcrumbs => "breadcrumbs",
            MergeMethod::BreadcrumbsTies => "breadcrumbs_ties",
            MergeMethod::Della => "della",
            MergeMethod::DellaLinear => "della_linear",
            MergeMethod::ModelStock => "model_stock",
        }
    }

    pub(super) fn sparsifier(self) -> Option<Sparsifier> {
        match self {
            MergeMethod::Ties => Some(Sparsifier::Largest),
            MergeMethod::DareLinear | MergeMethod::DareTies => Some(Sparsifier::Random),
            MergeMethod::Breadcrumbs | MergeMethod::BreadcrumbsTies => Some(Sparsifier::Middle),
            MergeMethod::Della | MergeMethod::DellaLinear => Some(Sparsifier::ByRank),
            _ => None,
        }
    }

    /// Whether deltas of another sign than the sum's are left out.
    pub(super) fn elects_signs(self) -> bool {
        use MergeMethod::{BreadcrumbsTies, DareTies, Della, Ties};
        matches!(self, Ties | DareTies | BreadcrumbsTies | Della)
    }

    pub(super) fn normalizes(self) -> bool {
        matches!(self, MergeMethod::Linear | MergeMethod::Ties | MergeMethod::Della)
    }

    /// How what stays is scaled where the recipe does not say.
    pub(super) fn rescale(self) -> Rescale {
        Rescale::Magnitudes(matches!(self.sparsifier(), Some(Sparsifier::Random | Sparsifier::ByRank)))
    }

    pub(super) fn is_weighted(self) -> bool {
        !matches!(self, MergeMethod::Slerp | MergeMethod::ModelStock)
    }
}
