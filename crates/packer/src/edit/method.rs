//! The ways to merge, and what tells them apart.

use serde::{Deserialize, Serialize};

use super::settings::Rescale;

/// A way to merge. A tensor is on its own (shares are of a tensor), unless a method says that it looks at the whole model.
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
    /// The deltas that vary most, weighted by their squares, without minorities (Wan et al. 2024).
    Sce,
    /// The sum of the deltas, where enough tasks need it (Wang et al. 2024).
    Consensus,
    /// The same sum, where one task needs it: that task again, from what all have in common.
    TallMask,
    /// The mean of the models, and few directions of what each has beside it (Choi et al. 2024).
    Cart,
    /// The singular vectors of all tasks, moved apart (Gargiulo et al. 2025).
    Tsv,
    /// The sum of the deltas without what is redundant in the whole model (Xiong et al. 2024).
    Awd,
    /// The sum of a few mixtures of the whole models, or one task out of them (Zeng et al. 2025).
    Bases,
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
            MergeMethod::Sce => "sce",
            MergeMethod::Consensus => "consensus",
            MergeMethod::TallMask => "tall_mask",
            MergeMethod::Cart => "cart",
            MergeMethod::Tsv => "tsv",
            MergeMethod::Awd => "awd",
            MergeMethod::Bases => "bases",
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

    /// Whether each model has a coefficient, which has to be given.
    pub(crate) fn is_weighted(self) -> bool {
        use MergeMethod::{Awd, Breadcrumbs, BreadcrumbsTies, DareLinear, DareTies, Della, DellaLinear};
        use MergeMethod::{Linear, TaskArithmetic, Ties};
        match self {
            Linear | TaskArithmetic | Ties | DareLinear | DareTies | Breadcrumbs | BreadcrumbsTies => true,
            Della | DellaLinear | Awd => true,
            MergeMethod::Slerp | MergeMethod::ModelStock | MergeMethod::Sce => false,
            MergeMethod::Consensus | MergeMethod::TallMask => false,
            MergeMethod::Cart | MergeMethod::Tsv | MergeMethod::Bases => false,
        }
    }

    /// Whether mergekit has it, whose recipes may hold parameters that their method does not read.
    pub(super) fn is_mergekits(self) -> bool {
        use MergeMethod::{Awd, Bases, Cart, Consensus, TallMask, Tsv};
        !matches!(self, Consensus | TallMask | Cart | Tsv | Awd | Bases)
    }
}
