//! Masks of what ranks first by a number that needs no calibration: the magnitude of a weight, or how far it moved.
//!
//! **Magnitude** is the baseline that asks neither data nor training. The **lottery** mask (LoTA; Panda et al. 2024) asks for a
//! run in which everything learns: what moved most is the mask, and training starts again from the base. That run is the first part
//! of the same one, or another that is finished. **Diff pruning** cuts the deltas of its first part the same way, and goes on from
//! those that are left.
//!
//! Where we differ from the published code, on purpose: the threshold is where the recipe's `mask.scope` says (theirs is computed
//! over all tensors and then taken within each); what is outside the mask does not learn at all (theirs goes on at a tenth of the
//! rate); and the candidates are those of `mask/candidates.rs`.

use std::path::Path;

use taskvec_checkpoint::{Checkpoint, StoredTensor};

use super::leaves::HostTensor;
use crate::error::{Error, Result};
use crate::mask::{Candidates, Mask, Ranking};
use crate::recipe::{MaskRecipe, Rule};
use crate::run_folder::{RUN_FILE, TUNED_FILE, read_json};
use crate::train::numbers;
use crate::train::{MovedIn, Run};

/// The candidates among `tensors` whose scores rank first. One list of scores for each tensor, none negative.
///
/// # Errors
/// `Usage` when the recipe's patterns leave nothing.
pub(crate) fn mask(tensors: &[HostTensor], scores: &[Vec<f64>], recipe: &MaskRecipe, rule: Rule) -> Result<Mask> {
    let shapes: Vec<_> = tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
    let first = Candidates::new(&shapes, &recipe.maskable, &recipe.frozen)?;
    let mut candidates = first.clone();
    let ranking = match rule {
        Rule::Lowest => Ranking::Least(scores),
        Rule::Highest => Ranking::Most(scores),
    };
    candidates.narrow_within(recipe.scope, ranking, recipe.granule(), &first, recipe.density);
    Ok(candidates.to_mask())
}

/// All of the tensors that have a candidate: what learns while a mask is looked for.
///
/// # Errors
/// `Usage` when the recipe's patterns leave nothing.
pub(crate) fn before_it_is_found(shapes: &[(String, Vec<usize>)], recipe: &MaskRecipe) -> Result<Mask> {
    let candidates = Candidates::new(shapes, &recipe.maskable, &recipe.frozen)?;
    let has_one =
        |name: &str| candidates.tensors().iter().any(|tensor| tensor.name == name && tensor.open.contains(&true));
    Ok(Mask::of_whole_tensors(shapes, has_one))
}

/// How large each element is.
pub(crate) fn magnitudes(tensors: &[HostTensor]) -> Vec<Vec<f64>> {
    let of = |tensor: &HostTensor| tensor.values.iter().map(|value| f64::from(value.abs())).collect();
    tensors.iter().map(of).collect()
}

/// How far each element is from where it was, in `now(name)`; nothing has moved in a tensor that this does not know.
pub(crate) fn movements<'a>(tensors: &[HostTensor], now: impl Fn(&str) -> Option<&'a [f32]>) -> Vec<Vec<f64>> {
    let of = |tensor: &HostTensor| match now(&tensor.name) {
        Some(now) => tensor.values.iter().zip(now).map(|(then, now)| f64::from((now - then).abs())).collect(),
        None => vec![0.0; tensor.values.len()],
    };
    tensors.iter().map(of).collect()
}

/// A finished run, in which weights moved.
pub(crate) struct FinishedRun {
    run: Run,
    tuned: Checkpoint,
}

impl FinishedRun {
    /// The run in `folder`, on the base with this fingerprint.
    ///
    /// # Errors
    /// `Usage` when there is none, `Mismatch` when it is another base's, and what reading says.
    pub(crate) fn open(folder: &Path, base: Option<&str>) -> Result<FinishedRun> {
        if !folder.join(RUN_FILE).exists() {
            return Err(Error::usage(format!(
                "`mask.from` names `{}`, which holds no finished run: there is no `{RUN_FILE}`",
                folder.display()
            ))
            .with_help(
                "`method: lottery_mask` takes the folder of a run with `method: dense`, or looks for the mask itself",
            ));
        }
        let run: Run = read_json(&folder.join(RUN_FILE))?;
        if run.base.as_deref() != base {
            return Err(Error::mismatch(format!(
                "run `{}` was trained on base {}, this one starts from {}",
                run.name,
                run.base.as_deref().unwrap_or("none"),
                base.unwrap_or("none")
            ))
            .with_help("take a run on the same base, or leave `mask.from` out"));
        }
        Ok(FinishedRun { run, tuned: Checkpoint::open(&folder.join(TUNED_FILE))? })
    }

    /// Which run it is.
    pub(crate) fn moved_in(&self) -> MovedIn {
        MovedIn { name: self.run.name.clone(), tuned: self.run.tuned.clone() }
    }

    /// How far each element of `tensors` moved in it.
    ///
    /// # Errors
    /// What reading says; `Mismatch` for another shape.
    pub(crate) fn movements(&self, tensors: &[HostTensor]) -> Result<Vec<Vec<f64>>> {
        let mut all = Vec::new();
        for tensor in tensors {
            let stored = self.tuned.tensor(&tensor.name);
            let read = |stored: &StoredTensor| Ok::<_, Error>(numbers(stored.dtype(), &self.tuned.read(stored)?));
            let found = stored.map(read).transpose()?.flatten();
            let Some(now) = found.filter(|now| now.len() == tensor.values.len()) else {
                return Err(Error::mismatch(format!(
                    "the run `{}` has no tensor `{}` of this base's size",
                    self.run.name, tensor.name
                )));
            };
            all.extend(movements(std::slice::from_ref(tensor), |_| Some(&now)));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;

    use super::*;
    use crate::mask::Entries;
    use crate::recipe::Scope;

    fn tensors() -> Vec<HostTensor> {
        let tensor = |name: &str, shape: &[usize], values: &[f32]| HostTensor {
            name: name.to_owned(),
            id: ParamId::new(),
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        vec![
            tensor("a.weight", &[2, 3], &[0.5, -4.0, 0.0, 1.0, 2.0, -3.0]),
            tensor("b.weight", &[1, 4], &[10.0, -20.0, 30.0, 0.25]),
            tensor("pos_embed", &[2], &[100.0, 100.0]),
        ]
    }

    fn chosen(scores: &[Vec<f64>], scope: Scope, rule: Rule) -> Vec<Vec<usize>> {
        let recipe = MaskRecipe { density: 0.3, scope, ..MaskRecipe::default() };
        let mask =
            mask(&tensors(), scores, &MaskRecipe { frozen: vec![crate::recipe::Pattern::new("pos*")], ..recipe }, rule);
        let indices = |entries: &Entries, count: usize| {
            let mut indices = Vec::new();
            entries.for_each(count, |index| indices.push(index));
            indices
        };
        mask.unwrap().tensors.iter().map(|tensor| indices(&tensor.entries, tensor.element_count())).collect()
    }

    #[test]
    fn the_largest_weights_or_the_smallest_over_all_or_in_each_tensor() {
        let scores = magnitudes(&tensors());
        assert_eq!(chosen(&scores, Scope::Global, Rule::Highest), [vec![], vec![0, 1, 2], vec![]]);
        assert_eq!(chosen(&scores, Scope::Global, Rule::Lowest), [vec![0, 2], vec![3], vec![]]);
        assert_eq!(chosen(&scores, Scope::PerTensor, Rule::Highest), [vec![1, 5], vec![2], vec![]]);
        assert_eq!(chosen(&scores, Scope::PerRow, Rule::Highest), [vec![1, 5], vec![2], vec![]]);
        assert_eq!(chosen(&scores, Scope::PerRow, Rule::Lowest), [vec![2, 3], vec![3], vec![]]);
    }

    #[test]
    fn what_moved_most_is_chosen_wherever_it_stood() {
        let now = [0.5, -4.0, 7.0, 1.0, 1.5, -3.0];
        let scores = movements(&tensors(), |name| (name == "a.weight").then_some(&now[..]));
        assert_eq!(scores[0], [0.0, 0.0, 7.0, 0.0, 0.5, 0.0]);
        assert_eq!(chosen(&scores, Scope::Global, Rule::Highest)[0][..2], [0, 2]);
        assert_eq!(chosen(&scores, Scope::PerTensor, Rule::Highest)[0], [2, 4]);
    }
}
