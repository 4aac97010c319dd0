//! What a suite may not say, each refused by its key, before anything is trained.

use std::path::Path;

use taskvec_dataset::spelling::nearest;

use super::fragment::SAID_BY_THE_SUITE;
use super::{Alphas, AnalogySettings, Named, Suite};
use crate::edit::MergeMethod;
use crate::error::{Error, Result};
use crate::recipe::{BatchNormStatistics, HeadKind};

impl Suite {
    pub(super) fn check(&self) -> Result<()> {
        name_of("name", &self.name)?;
        if self.tasks.is_empty() || self.methods.is_empty() {
            let missing = if self.tasks.is_empty() { "tasks" } else { "methods" };
            return Err(Error::usage(format!("`{missing}` names none")));
        }
        names("tasks", &self.tasks)?;
        names("methods", &self.methods)?;
        if self.merged_tasks().next().is_none() {
            return Err(Error::usage("no task is merged").with_help("leave `merged: false` to tasks of an analogy"));
        }
        names("merges", &self.merges)?;
        names("linearized_afterwards", &self.linearized_afterwards)?;
        let rows: Vec<&str> = self.rows().collect();
        if let Some((_, twice)) = rows.iter().enumerate().find(|(at, row)| rows[..*at].contains(row)) {
            return Err(Error::usage(format!(
                "two rows are called `{twice}`, of methods, merges, and `linearized_afterwards`"
            )));
        }
        if let Some(reserved) = self.rows().find(|name| *name == super::super::ZERO_SHOT) {
            return Err(Error::usage(format!("a row is called `{reserved}`, which is the base's row")));
        }
        self.numbers()?;
        self.fragments()?;
        self.references()?;
        self.claims()
    }

    fn numbers(&self) -> Result<()> {
        if self.seeds.is_empty() {
            return Err(Error::usage("`seeds` is empty").with_help("three seeds show a spread: `seeds: [1, 2, 3]`"));
        }
        if let Some(twice) = self.seeds.iter().enumerate().find(|(at, seed)| self.seeds[..*at].contains(seed)) {
            return Err(Error::usage(format!("`seeds` names {} twice", twice.1)));
        }
        alphas(&self.alphas)?;
        if self.search_images == 0 {
            return Err(Error::usage("`search_images` is 0, expected 1 or more"));
        }
        let Some(control) = &self.control else { return Ok(()) };
        if control.data.is_empty() {
            return Err(Error::usage("`control.data` names no folder"));
        }
        if !(0.0..=1.0).contains(&control.threshold) {
            let clause = format!("`control.threshold` is {}, expected a share from 0 to 1", control.threshold);
            return Err(Error::usage(clause).with_help("the papers' rule keeps 0.95 of the base's accuracy"));
        }
        Ok(())
    }

    /// Every recipe of the suite, put together once.
    fn fragments(&self) -> Result<()> {
        let said = [("defaults", &self.defaults)].into_iter().chain(self.methods.iter());
        for (name, fragment) in said {
            if let Some(key) = SAID_BY_THE_SUITE.iter().find(|key| fragment.contains_key(**key)) {
                return Err(Error::usage(format!("`{name}` says `{key}`, which is the suite's to say")));
            }
        }
        for method in self.methods.names() {
            for task in self.tasks.names() {
                let recipe = self.recipe(method, task, 0, Path::new("base"))?;
                if recipe.head.kind != HeadKind::ClassMeans {
                    let clause = format!("method `{method}` has a head that learns, and a suite's are frozen");
                    return Err(
                        Error::usage(clause).with_help("leave `head.kind` out: heads are class means of the base")
                    );
                }
                if recipe.batch_norm_statistics == BatchNormStatistics::Measured {
                    let clause = format!("method `{method}` measures statistics, and with them has a head of its own");
                    return Err(Error::usage(clause)
                        .with_help("a suite judges all methods and the base by one head: leave them `frozen`"));
                }
                if recipe.held_out == 0.0 {
                    let clause = format!("method `{method}` holds no images out, and coefficients are chosen on such");
                    return Err(Error::usage(clause).with_help("say `held_out: 0.1` in `defaults`"));
                }
            }
        }
        Ok(())
    }

    /// Tasks and methods that other parts of the suite name.
    fn references(&self) -> Result<()> {
        let methods: Vec<&str> = self.methods.names().collect();
        let tasks: Vec<&str> = self.tasks.names().collect();
        let known = |kind: &str, names: &[String], known: &[&str]| {
            let missing = names.iter().find(|name| !known.contains(&name.as_str()));
            missing.map_or(Ok(()), |name| Err(unknown(kind, name, known)))
        };
        names("analogies", &self.analogies)?;
        names("profiles", &self.profiles)?;
        for (_, of) in self.linearized_afterwards.iter() {
            known("method", std::slice::from_ref(of), &methods)?;
        }
        for (name, merge) in self.merges.iter() {
            known("method", std::slice::from_ref(&merge.of), &methods)?;
            let settings = merge.settings(self.merged_tasks().map(|(task, _)| task), 0);
            settings.check().map_err(|error| error.within(format!("merge `{name}`")))?;
            if merge.merge_method == MergeMethod::Cart && merge.parameters.lambda.is_some() {
                return Err(Error::usage(format!("merge `{name}` says `lambda`, which is what `cart` is searched by"))
                    .with_help("leave `lambda` out; `alphas` says which are tried"));
            }
            merge.alphas.as_ref().map_or(Ok(()), alphas)?;
        }
        for (_, analogy) in self.analogies.iter() {
            known("method", &analogy.methods, &methods)?;
            let AnalogySettings { a, b, c, d, .. } = analogy;
            known("task", &[a, b, c, d].map(String::clone), &tasks)?;
        }
        if let Some(maps) = &self.disentanglement {
            known("method", &maps.methods, &methods)?;
            maps.pairs.iter().try_for_each(|pair| known("task", pair, &tasks))?;
            let is_grid = maps.from < maps.to && maps.from.is_finite() && maps.to.is_finite();
            if !is_grid || !(2..=101).contains(&maps.points) || maps.images == 0 {
                return Err(Error::usage(
                    "`disentanglement` needs a grid of 2 to 101 points between two numbers, and an image",
                )
                .with_help("leave `from`, `to`, `points` and `images` out: -2, 2, 15 and 64"));
            }
        }
        if let Some(kernel) = &self.kernel {
            known("task", &kernel.tasks, &tasks)?;
            if self.control.is_none() {
                return Err(Error::usage("`kernel` holds tasks against the control, and there is none")
                    .with_help("say what must not suffer: `control: {data: [FOLDER]}`"));
            }
            if kernel.images == 0 || kernel.draws == 0 {
                return Err(
                    Error::usage("`kernel` needs an image and a draw").with_help("leave `images` and `draws` out")
                );
            }
        }
        for (name, profile) in self.profiles.iter() {
            for (line, of_line) in profile.lines.iter() {
                known("method", of_line, &methods)?;
                if of_line.len() != profile.points.len() {
                    let (found, expected) = (of_line.len(), profile.points.len());
                    let clause = format!("line `{line}` of profile `{name}` has {found} methods, expected {expected}");
                    return Err(Error::usage(clause).with_help("name one for each of `points`"));
                }
            }
            known("method", profile.beside.as_slice(), &methods)?;
            if profile.column.is_bytes() {
                return Err(Error::usage(format!("profile `{name}` is of bytes, and a profile is of accuracies"))
                    .with_help("bytes stand in the first table"));
            }
        }
        Ok(())
    }

    fn claims(&self) -> Result<()> {
        let rows: Vec<&str> = [super::super::ZERO_SHOT].into_iter().chain(self.rows()).collect();
        for check in &self.checks {
            for row in [&check.higher, &check.lower] {
                if !rows.contains(&row.as_str()) {
                    return Err(unknown("row", row, &rows));
                }
            }
        }
        Ok(())
    }
}

fn alphas(alphas: &Alphas) -> Result<()> {
    let Alphas { from, to, points } = *alphas;
    if !(2..=1001).contains(&points) {
        return Err(Error::usage(format!("`alphas.points` is {points}, expected 2 to 1001")));
    }
    let in_order = from < to && from.is_finite() && to.is_finite();
    if in_order {
        return Ok(());
    }
    Err(Error::usage(format!("`alphas` goes from {from} to {to}, expected two finite numbers in order")))
}

/// An error for a name that the suite refers to and does not have.
pub(super) fn unknown(kind: &str, name: &str, known: &[&str]) -> Error {
    let error = Error::usage(format!("the suite has no {kind} `{name}`"));
    match nearest(name, known.iter().copied()) {
        Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
        None => error.with_help(format!("there are: {}", known.join(", "))),
    }
}

fn names<T>(key: &str, named: &Named<T>) -> Result<()> {
    named.names().try_for_each(|name| name_of(key, name))
}

/// Names become names of files.
fn name_of(key: &str, name: &str) -> Result<()> {
    let is_fine = |letter: char| letter.is_ascii_alphanumeric() || "_-+.".contains(letter);
    if (1..=60).contains(&name.len()) && name.chars().all(is_fine) && !name.starts_with('.') {
        return Ok(());
    }
    let clause =
        format!("`{key}` has a name `{}`, expected up to 60 letters, digits, _, -, + and dots", name.escape_debug());
    Err(Error::usage(clause).with_help("names become names of files"))
}
