//! Whether a merge can be followed: what is wrong with its numbers is said before any model is opened.
//!
//! mergekit's recipes may hold parameters that their method does not read, and so may ours for its methods. A parameter that is of
//! ours alone, or beside a method that is, has to mean something, or it is refused: it is a slip more often than not.

use taskvec_dataset::spelling::nearest;

use super::method::MergeMethod::{self, Awd, Bases, Cart, Consensus, Sce, TallMask, Ties, Tsv};
use super::method::Sparsifier;
use super::settings::{EPSILON, MergeParameters, MergeSettings, Rescale, Scope, TASKS_MIN};
use crate::error::{Error, Result};

/// More steps than anybody waits for.
const STEPS_MAX: usize = 1_000_000;

impl MergeSettings {
    /// That the method can be followed with these numbers.
    ///
    /// # Errors
    /// `Usage` with the name of the parameter.
    pub fn check(&self) -> Result<()> {
        self.check_count()?;
        for key in keys(&self.parameters, self.models.len()) {
            key.check(self.method, "")?;
        }
        for model in &self.models {
            let subject = format!("`{}`: ", model.name);
            for key in keys(&model.parameters, self.models.len()) {
                key.check(self.method, &subject)?;
                if key.value.is_some() && key.is_for_all {
                    let clause = format!("{subject}`{}` is for all models", key.name);
                    return Err(Error::usage(clause).with_help("move it to the `parameters` of the recipe"));
                }
            }
        }
        (0..self.models.len()).try_for_each(|model| self.check_model(model))?;
        self.check_what_is_needed()
    }

    fn check_count(&self) -> Result<()> {
        let (least, most) = match self.method {
            MergeMethod::Slerp => (1, 1),
            MergeMethod::ModelStock => (2, usize::MAX),
            _ => (1, usize::MAX),
        };
        let (name, found) = (self.method.name(), self.models.len());
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let clause = format!("`{name}` merges {least} models or more beside the base, found {found}");
        let clause =
            if most == 1 { format!("`{name}` takes one model beside the base, found {found}") } else { clause };
        Err(Error::usage(clause).with_help("list them under `models`"))
    }

    fn check_model(&self, model: usize) -> Result<()> {
        let steered = self.of(model);
        if self.method.is_weighted() && steered.weight.is_none() {
            return Err(Error::usage(format!("`{}` has no weight", self.models[model].name))
                .with_help("say `parameters: {weight: 0.5}`, there or for all models"));
        }
        let (density, epsilon) = (steered.density.unwrap_or(1.0), steered.epsilon.unwrap_or(EPSILON));
        let is_chance = density >= 1.0 || density <= 0.0 || density + epsilon < 1.0 && density - epsilon > 0.0;
        if self.method.sparsifier() == Some(Sparsifier::ByRank) && !is_chance {
            let clause = format!("density {density} with epsilon {epsilon} gives chances beyond 0 and 1");
            return Err(Error::usage(clause).with_help("choose a smaller `epsilon`"));
        }
        Ok(())
    }

    /// Parameters without which a method cannot be followed, and those that exclude each other.
    fn check_what_is_needed(&self) -> Result<()> {
        let (shared, models) = (&self.parameters, self.models.len());
        let needs = |clause: &str, help: &str| Err(Error::usage(clause).with_help(help));
        match self.method {
            MergeMethod::Slerp if shared.t.is_none() => {
                return needs("`slerp` needs a place between the two models", "say `parameters: {t: 0.5}`");
            }
            TallMask if shared.task.is_none() => {
                return needs(
                    "`tall_mask` needs the task that is put together again",
                    "say `parameters: {task: MODEL}`",
                );
            }
            Bases if shared.vectors.is_none() => {
                let help = "say `parameters: {vectors: 2}`; half or a quarter as many as models are usual";
                return needs("`bases` needs the number of its vectors", help);
            }
            Consensus if shared.tasks_min.is_none() && models < TASKS_MIN => {
                let help = "list more models, or say `parameters: {tasks_min: 1}`";
                return needs("`consensus` keeps what two tasks need, found one model", help);
            }
            Ties if shared.scope == Some(Scope::Global)
                && !matches!(shared.rescale, None | Some(Rescale::Magnitudes(false))) =>
            {
                let help = "leave `rescale` out, or say `scope: tensor`";
                return needs("`rescale` is for what stays of a tensor, and `scope` is `global`", help);
            }
            _ => {}
        }
        let Some(task) = shared.task.as_deref().filter(|_| self.task().is_none()) else { return Ok(()) };
        let names = || self.models.iter().map(|model| model.name.as_str());
        let error = Error::usage(format!("`task` is `{task}`, which is none of the models"));
        Err(match nearest(task, names()) {
            Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
            None => error.with_help(format!("models here: {}", names().collect::<Vec<_>>().join(", "))),
        })
    }
}

/// What a number has to be.
#[derive(Clone, Copy)]
enum Bound {
    /// A finite number.
    Number,
    FromZero,
    AboveZero,
    Share,
    ShareAboveZero,
    CountUpTo(usize),
}

/// A parameter that is given, or not.
struct Key {
    name: &'static str,
    /// As a number; 0 where it is none.
    value: Option<f64>,
    bound: Bound,
    /// Methods that read it, whose recipes are not mergekit's.
    readers: &'static [MergeMethod],
    /// Whether recipes of mergekit's may hold it.
    is_mergekits: bool,
    /// Whether it cannot be a model's own.
    is_for_all: bool,
}

impl Key {
    /// `subject` says whose it is.
    fn check(&self, method: MergeMethod, subject: &str) -> Result<()> {
        let Some(found) = self.value else { return Ok(()) };
        let may_hold_it = self.is_mergekits && method.is_mergekits();
        if !may_hold_it && !self.readers.contains(&method) {
            let readers: Vec<&str> = self.readers.iter().map(|method| method.name()).collect();
            let error = Error::usage(format!("{subject}`{}` means nothing to `{}`", self.name, method.name()));
            return Err(match readers.is_empty() {
                true => error.with_help("leave it out"),
                false => error.with_help(format!("leave it out; it is for {}", readers.join(", "))),
            });
        }
        let (holds, expected) = match self.bound {
            Bound::Number => (found.is_finite(), "a finite number".to_owned()),
            Bound::FromZero => (found.is_finite() && found >= 0.0, "a number from 0".to_owned()),
            Bound::AboveZero => (found.is_finite() && found > 0.0, "a number above 0".to_owned()),
            Bound::Share => ((0.0..=1.0).contains(&found), "a share from 0 to 1".to_owned()),
            Bound::ShareAboveZero => (found > 0.0 && found <= 1.0, "a share above 0 and up to 1".to_owned()),
            Bound::CountUpTo(most) => {
                (found >= 1.0 && found <= most as f64, format!("a whole number from 1 to {most}"))
            }
        };
        if holds {
            return Ok(());
        }
        let help = match self.bound {
            Bound::Share | Bound::ShareAboveZero => "a tenth is 0.1",
            _ => "leave it out to have the default",
        };
        Err(Error::usage(format!("{subject}`{}` is {found}, expected {expected}", self.name)).with_help(help))
    }
}

/// Every parameter; `models` is how many are merged.
fn keys(parameters: &MergeParameters, models: usize) -> Vec<Key> {
    let MergeParameters { weight, density, gamma, epsilon, normalize, rescale, lambda, t, int8_mask, .. } = parameters;
    let mergekits =
        |name, value, bound, readers, is_for_all| Key { name, value, bound, readers, is_mergekits: true, is_for_all };
    let ours = |name, value, bound, readers| Key { name, value, bound, readers, is_mergekits: false, is_for_all: true };
    let whole = |count: Option<usize>| count.map(|count| count as f64);
    const WITH_LAMBDA: &[MergeMethod] = &[Consensus, TallMask, Cart, Tsv, Awd, Bases];
    vec![
        mergekits("weight", *weight, Bound::Number, &[Awd], false),
        mergekits("density", *density, Bound::Share, &[], false),
        mergekits("gamma", *gamma, Bound::Share, &[], false),
        mergekits("epsilon", *epsilon, Bound::Share, &[], false),
        mergekits("normalize", normalize.map(f64::from), Bound::Number, &[Awd], true),
        mergekits("rescale", rescale.map(|_| 0.0), Bound::Number, &[], true),
        mergekits("lambda", *lambda, Bound::Number, WITH_LAMBDA, true),
        mergekits("t", *t, Bound::Number, &[], true),
        mergekits("int8_mask", int8_mask.map(f64::from), Bound::Number, &[], true),
        mergekits("select_topk", parameters.select_topk, Bound::Share, &[Sce], true),
        ours("scope", parameters.scope.map(|_| 0.0), Bound::Number, &[Ties]),
        Key { is_for_all: false, ..ours("threshold", parameters.threshold, Bound::FromZero, &[Consensus, TallMask]) },
        ours("tasks_min", whole(parameters.tasks_min), Bound::CountUpTo(models), &[Consensus]),
        ours("task", parameters.task.as_ref().map(|_| 0.0), Bound::Number, &[TallMask, Bases]),
        ours("rank", parameters.rank, Bound::ShareAboveZero, &[Cart, Tsv]),
        ours("matrices", parameters.matrices.as_ref().map(|_| 0.0), Bound::Number, &[Cart, Tsv]),
        ours("penalty", parameters.penalty, Bound::FromZero, &[Awd]),
        ours("vectors", whole(parameters.vectors), Bound::CountUpTo(models), &[Bases]),
        ours("temperature", parameters.temperature, Bound::AboveZero, &[Bases]),
        ours("decay", parameters.decay, Bound::FromZero, &[Bases]),
        ours("rate", parameters.rate, Bound::AboveZero, &[Awd, Bases]),
        ours("steps", whole(parameters.steps), Bound::CountUpTo(STEPS_MAX), &[Awd, Bases]),
    ]
}
