//! What a recipe may not say: every number and every combination, each refused by its key.

use super::{
    AugmentationRecipe, BatchNormStatistics, ClipOver, DiffPruningRecipe, Granule, LabelSource, LoraRecipe, MaskRecipe,
    Method, OptimizerRecipe, PackRecipe, PenaltyRecipe, Recipe, Rounded, Scope, TapsRecipe, Values,
};
use crate::error::{Error, Result};

impl Recipe {
    /// Checks every number and every combination.
    ///
    /// # Errors
    /// `Usage`, naming the key, what was expected and what was found.
    pub fn check(&self) -> Result<()> {
        check_name("name", &self.name)?;
        match (&self.base, &self.network) {
            (None, None) => {
                return Err(Error::usage("neither `base` nor `network` is given").with_help(
                    "`base: FOLDER` trains a skill on a base bundle; `network:` trains a base from scratch",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(Error::usage("both `base` and `network` are given")
                    .with_help("keep `base` to train a skill, or `network` to train a base from scratch"));
            }
            (None, Some(_)) if self.method != Method::Dense => {
                return Err(Error::usage("`method` must be `dense` for a base trained from scratch")
                    .with_help("a mask chooses among the weights of a base that has learned something already"));
            }
            (None, Some(_)) if self.batch_norm_statistics == BatchNormStatistics::Measured => {
                return Err(Error::usage("`batch_norm_statistics` is `measured` for a base trained from scratch")
                    .with_help("a fresh network has none that a skill could differ from"));
            }
            (Some(_), _) if self.linearized && self.batch_norm_statistics == BatchNormStatistics::Measured => {
                return Err(Error::usage("`batch_norm_statistics` is `measured` and the network is linearized")
                    .with_help("features have a derivative by weights and none by statistics; leave them `frozen`"));
            }
            (Some(_), _)
                if self.curvature().is_some() && self.batch_norm_statistics == BatchNormStatistics::Measured =>
            {
                return Err(Error::usage("`batch_norm_statistics` is `measured` and `penalty.curvature` is given")
                    .with_help("curvature is that of the base, whose statistics are other ones; leave them `frozen`"));
            }
            (None, Some(_)) if self.linearized => {
                return Err(Error::usage("`linearized` is given for a base trained from scratch")
                    .with_help("a network is linearized around a base that has learned something already"));
            }
            (None, Some(_)) if self.pack.rounded == Rounded::InTraining => {
                return Err(Error::usage("`pack.rounded` is `in_training` for a base trained from scratch").with_help(
                    "what is rounded are differences from a base; leave `pack.rounded` (or `--values`) to its skills",
                ));
            }
            (None, Some(_)) if self.penalty.is_some() => {
                return Err(Error::usage("`penalty` is given for a base trained from scratch")
                    .with_help("penalties are on differences from a base; leave `penalty` to its skills"));
            }
            _ => {}
        }
        if self.data.is_empty() {
            return Err(Error::usage("`data` names no folder"));
        }
        let names = self.data_names();
        if let Some(twice) = first_twice(&names) {
            return Err(Error::usage(format!("two folders of `data` are called `{twice}`, so their labels would mix"))
                .with_help("rename one of the folders"));
        }
        if let Some(twice) = first_twice(&self.classes) {
            return Err(Error::usage(format!("`classes` names `{twice}` twice")));
        }
        match (self.epochs, self.steps) {
            (None, None) => return Err(Error::usage("neither `epochs` nor `steps` is given")),
            (Some(_), Some(_)) => return Err(Error::usage("both `epochs` and `steps` are given")),
            (Some(epochs), None) => {
                within("epochs", epochs, epochs > 0.0 && epochs <= 1e6, "more than 0, at most 1000000")?
            }
            (None, Some(steps)) => within("steps", steps, (1..=1_000_000_000).contains(&steps), "1 to 1000000000")?,
        }
        within("batch", self.batch, (1..=65_536).contains(&self.batch), "1 to 65536")?;
        within(
            "shards",
            self.shards,
            self.shards >= 1 && self.shards <= self.batch.min(64),
            "1 to 64, at most `batch`",
        )?;
        let smoothing = self.label_smoothing;
        within("label_smoothing", smoothing, (0.0..1.0).contains(&smoothing), "0 or more, below 1")?;
        within("held_out", self.held_out, (0.0..=0.9).contains(&self.held_out), "0 to 0.9")?;
        within("checkpoint_steps", self.checkpoint_steps, self.checkpoint_steps >= 1, "1 or more")?;
        if self.editable.is_empty() {
            return Err(Error::usage("`editable` is empty: no pack could ever change this base"));
        }
        self.preprocessing()?;
        match (&self.mask.from, self.method) {
            (None, Method::SharedMask) => {
                return Err(Error::usage("`method` is `shared_mask` and `mask.from` names no pack")
                    .with_help("`mask: {from: FILE.tvp}` names the pack whose mask is taken"));
            }
            (Some(_), method) if !matches!(method, Method::SharedMask | Method::LotteryMask) => {
                return Err(Error::usage("`mask.from` names a pack or a run and `method` finds another mask")
                    .with_help(
                        "`method: shared_mask` takes the mask of that pack, `lottery_mask` what moved most in that run",
                    ));
            }
            _ => {}
        }
        self.mask.check()?;
        self.check_ways()?;
        self.penalty.as_ref().map_or(Ok(()), PenaltyRecipe::check)?;
        let others = self.curvature_names();
        if let Some(own) = others.iter().find(|other| names.contains(other)) {
            return Err(Error::usage(format!("`penalty.curvature.data` names `{own}`, which is the task itself"))
                .with_help("deltas that the task itself does not feel teach it nothing; name other tasks"));
        }
        if let Some(twice) = first_twice(&others) {
            return Err(Error::usage(format!("two folders of `penalty.curvature.data` are called `{twice}`")));
        }
        let temperature = self.head.temperature;
        within("head.temperature", temperature, temperature > 0.0 && temperature <= 1e4, "more than 0, at most 10000")?;
        self.optimizer.check()?;
        self.augmentation.check()?;
        self.pack.check()
    }
}

impl Recipe {
    /// Settings of a way to train are given for that way alone, and are what it can be.
    fn check_ways(&self) -> Result<()> {
        let belongs = |key: &str, method: Method, name: &str, is_given: bool| match self.method == method {
            false if is_given => Err(Error::usage(format!("`{key}` is given and `method` is another"))
                .with_help(format!("`method: {name}` is what `{key}` is for"))),
            true if !is_given => Err(Error::usage(format!("`method` is `{name}` and `{key}` is missing"))),
            _ => Ok(()),
        };
        self.check_choice()?;
        belongs("lora", Method::Lora, "lora", self.lora.is_some())?;
        belongs("taps", Method::Taps, "taps", self.taps.is_some())?;
        belongs("diff_pruning", Method::DiffPruning, "diff_pruning", self.diff_pruning.is_some())?;
        self.lora.as_ref().map_or(Ok(()), LoraRecipe::check)?;
        self.taps.as_ref().map_or(Ok(()), TapsRecipe::check)?;
        self.diff_pruning.as_ref().map_or(Ok(()), DiffPruningRecipe::check)?;
        let has_own = matches!(self.method, Method::Lora | Method::Taps | Method::DiffPruning);
        if has_own && self.optimizer.clip_over == ClipOver::All {
            return Err(Error::usage("`optimizer.clip_over` is `all` and what learns are not the weights themselves")
                .with_help("`masked` counts the gradients of what learns; leave it out"));
        }
        Ok(())
    }
}

impl Recipe {
    /// What `mask` says about choosing is for methods that choose, and chooses something.
    fn check_choice(&self) -> Result<()> {
        let mask = &self.mask;
        if let (Some(_), false) = (mask.rule, self.method.ranks()) {
            return Err(Error::usage("`mask.rule` is given and `method` has a rule of its own")
                .with_help("`talos` takes the lowest scores and `most_sensitive` the highest; leave `mask.rule` out"));
        }
        match mask.search_share {
            Some(_) if !self.searches() => {
                return Err(Error::usage("`mask.search_share` is given and no mask is looked for by training")
                    .with_help("`method: diff_pruning` looks for one, and `lottery_mask` without `mask.from`"));
            }
            Some(share) => within("mask.search_share", share, share > 0.0 && share < 1.0, "above 0, below 1")?,
            None if self.searches() => return Err(Error::usage("`mask.search_share` is missing")),
            None => {}
        }
        if mask.scope != Scope::Global && !self.method.chooses() {
            return Err(Error::usage("`mask.scope` is given and `method` chooses nothing"));
        }
        let idle = match mask.scope {
            Scope::Global => false,
            Scope::PerTensor => mask.granule() == Granule::Tensor,
            Scope::PerRow => mask.granule() != Granule::Element,
        };
        if idle {
            return Err(Error::usage(
                "`mask.scope` is no larger than `mask.granule`, so that nothing is left to choose",
            )
            .with_help("take a smaller granule, or a larger scope"));
        }
        Ok(())
    }
}

impl LoraRecipe {
    fn check(&self) -> Result<()> {
        within("lora.rank", self.rank, (1..=65_536).contains(&self.rank), "1 to 65536")?;
        let alpha = self.alpha;
        within("lora.alpha", alpha, alpha > 0.0 && alpha <= 1e6, "more than 0, at most 1000000")?;
        if self.targets.is_empty() {
            return Err(Error::usage("`lora.targets` is empty: nothing could learn"));
        }
        Ok(())
    }
}

impl PenaltyRecipe {
    fn check(&self) -> Result<()> {
        if self.orthogonality.is_none() && self.curvature.is_none() {
            return Err(Error::usage("`penalty` says nothing").with_help(
                "`penalty: {orthogonality: {factor: 1}}`, or `penalty: {curvature: {data: [FOLDER, ..]}}`",
            ));
        }
        let factor = |key: &str, factor: f64| {
            within(key, factor, factor > 0.0 && factor <= 1e9, "more than 0, at most 1000000000")
        };
        if let Some(orthogonality) = &self.orthogonality {
            factor("penalty.orthogonality.factor", orthogonality.factor)?;
        }
        let Some(curvature) = &self.curvature else { return Ok(()) };
        factor("penalty.curvature.factor", curvature.factor)?;
        within("penalty.curvature.images", curvature.images, curvature.images >= 1, "1 or more")?;
        within("penalty.curvature.draws", curvature.draws, (1..=1000).contains(&curvature.draws), "1 to 1000")?;
        if curvature.data.is_empty() == curvature.from.is_none() {
            return Err(Error::usage("`penalty.curvature` needs either `data` or `from`").with_help(
                "`data` names folders of other tasks, `from` the `curvature.safetensors` of an earlier run",
            ));
        }
        Ok(())
    }
}

impl TapsRecipe {
    fn check(&self) -> Result<()> {
        within("taps.penalty", self.penalty, (0.0..=1e6).contains(&self.penalty), "0 to 1000000")?;
        within("taps.warmup_share", self.warmup_share, (0.0..1.0).contains(&self.warmup_share), "0 or more, below 1")?;
        let rate = self.gate_learning_rate;
        within("taps.gate_learning_rate", rate, rate > 0.0 && rate <= 10.0, "more than 0, at most 10")?;
        within(
            "taps.threshold",
            self.threshold,
            self.threshold > 0.0 && self.threshold <= 10.0,
            "more than 0, at most 10",
        )?;
        let begins_open = self.gate >= self.threshold && self.gate <= 10.0;
        within("taps.gate", self.gate, begins_open, "`taps.threshold` or more, at most 10")
    }
}

impl DiffPruningRecipe {
    fn check(&self) -> Result<()> {
        within("diff_pruning.penalty", self.penalty, (0.0..=1e6).contains(&self.penalty), "0 to 1000000")?;
        let rate = self.gate_learning_rate;
        within("diff_pruning.gate_learning_rate", rate, rate > 0.0 && rate <= 10.0, "more than 0, at most 10")
    }
}

impl MaskRecipe {
    fn check(&self) -> Result<()> {
        within("mask.density", self.density, self.density > 0.0 && self.density <= 1.0, "more than 0, at most 1")?;
        within("mask.draws", self.draws, (1..=1000).contains(&self.draws), "1 to 1000")?;
        if self.draws > 1 && self.labels != LabelSource::Sampled {
            return Err(Error::usage("`mask.draws` is more than 1 and `mask.labels` draws none")
                .with_help("`labels: sampled` draws labels from the base's predictions"));
        }
        if let Some(images) = self.images {
            within("mask.images", images, images >= 1, "1 or more")?;
        }
        within("mask.rounds", self.rounds, (1..=100).contains(&self.rounds), "1 to 100")?;
        within("mask.soft", self.soft, (0.0..=1.0).contains(&self.soft), "0 to 1")?;
        if self.maskable.is_empty() {
            return Err(Error::usage("`mask.maskable` is empty: nothing could learn"));
        }
        Ok(())
    }
}

impl OptimizerRecipe {
    fn check(&self) -> Result<()> {
        let rate = |key, value: f64| within(key, value, value > 0.0 && value <= 10.0, "more than 0, at most 10");
        rate("optimizer.learning_rate", self.learning_rate)?;
        if let Some(head) = self.head_learning_rate {
            rate("optimizer.head_learning_rate", head)?;
        }
        let decay = self.weight_decay;
        within("optimizer.weight_decay", decay, (0.0..=10.0).contains(&decay), "0 to 10")?;
        within("optimizer.beta1", self.beta1, (0.0..1.0).contains(&self.beta1), "0 or more, below 1")?;
        within("optimizer.beta2", self.beta2, (0.0..1.0).contains(&self.beta2), "0 or more, below 1")?;
        let epsilon = self.epsilon;
        within("optimizer.epsilon", epsilon, epsilon > 0.0 && epsilon <= 1.0, "more than 0, at most 1")?;
        if let Some(norm) = self.clip_norm {
            within("optimizer.clip_norm", norm, norm > 0.0 && norm.is_finite(), "a finite number above 0, or null")?;
        }
        Ok(())
    }
}

impl AugmentationRecipe {
    fn check(&self) -> Result<()> {
        let shift = self.shift_pixels;
        within("augmentation.shift_pixels", shift, (0.0..=1024.0).contains(&shift), "0 to 1024")?;
        let degrees = self.rotate_degrees;
        within("augmentation.rotate_degrees", degrees, (0.0..=180.0).contains(&degrees), "0 to 180")?;
        within("augmentation.scale", self.scale, (0.0..1.0).contains(&self.scale), "0 or more, below 1")?;
        within("augmentation.shear", self.shear, (0.0..1.0).contains(&self.shear), "0 or more, below 1")?;
        within("augmentation.erase", self.erase, (0.0..=1.0).contains(&self.erase), "0 to 1")
    }
}

impl PackRecipe {
    fn check(&self) -> Result<()> {
        let [low, high] = self.alpha_range;
        let ordered = low.is_finite() && high.is_finite() && low <= high;
        if !ordered {
            return Err(Error::usage(format!(
                "`pack.alpha_range` is [{low}, {high}], expected two finite numbers in order"
            )));
        }
        if self.rounded == Rounded::InTraining && self.values == Values::Lossless {
            return Err(Error::usage(
                "`pack.values` is `lossless`, expected a rounding, since `pack.rounded` is `in_training`",
            )
            .with_help("nothing is rounded losslessly; train without, and `taskvec pack` keeps every bit"));
        }
        let inside = (low..=high).contains(&self.alpha);
        within("pack.alpha", self.alpha, inside, "a number inside `pack.alpha_range`")?;
        within("pack.probes", self.probes, self.probes <= 64, "0 to 64")
    }
}

fn within<T: std::fmt::Display>(key: &str, value: T, holds: bool, expected: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::usage(format!("`{key}` is {value}, expected {expected}"))) }
}

fn check_name(key: &str, name: &str) -> Result<()> {
    let fine = !name.trim().is_empty() && name.len() <= 100 && !name.chars().any(char::is_control);
    if fine {
        Ok(())
    } else {
        Err(Error::usage(format!("`{key}` is `{}`, expected 1 to 100 bytes of printable text", name.escape_debug())))
    }
}

fn first_twice(names: &[String]) -> Option<&str> {
    names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)).map(|(_, name)| name.as_str())
}
