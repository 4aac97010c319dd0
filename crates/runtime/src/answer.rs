//! Whose head answers, and what an answer is.
//!
//! The head is applied here in the end, in plain Rust, to the features of whatever engine: several skills can be in
//! force, and the caller says which of them is asked.

use std::sync::Arc;

use taskvec_bundle::Head;
use taskvec_pack::Digest;

use crate::base_model::BaseModel;
use crate::composition::Skills;
use crate::error::{Error, ErrorKind};
use crate::skill::Skill;

/// Whose head answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadChoice {
    /// The head of the one skill in force that has a head.
    Only,
    /// The head of the skill with this digest, which must be in force.
    Skill(Digest),
    /// The head of the skill in force with this name; if there is none, the base's own head of this name.
    Named(String),
    /// The base's own head of this name.
    Base(String),
}

/// Answers to a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// One number per input and class: `[batch, class_count]`, row-major.
    pub values: Vec<f32>,
    /// Numbers for each input, as many as labels.
    pub class_count: usize,
    /// The head that answered, with the names of its classes.
    pub head: Arc<Head>,
    /// Digest of the composition that all of them were computed with.
    pub composition: Digest,
}

impl Logits {
    /// For each input the class with the largest number, `None` where all are NaN.
    pub fn classes(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.values.chunks_exact(self.class_count.max(1)).map(taskvec_bundle::argmax)
    }
}

/// The head that `choice` means with `in_force` on `base`.
///
/// # Errors
/// `Usage` when there is no such head, or more than one.
pub(crate) fn head(in_force: &Skills, base: &BaseModel, choice: &HeadChoice) -> Result<Arc<Head>, Error> {
    let none = |clause: String| Error::new(ErrorKind::Usage, clause).with_help(heads_there_are(in_force, base));
    match choice {
        HeadChoice::Only => match only(in_force, |_| true)? {
            Some(head) => Ok(head),
            None => Err(none("no skill with a head is in force".into())),
        },
        HeadChoice::Skill(digest) => {
            let placed = in_force.get(digest).ok_or_else(|| none(format!("no skill {digest} is in force")))?;
            let name = placed.skill.name();
            placed.skill.shared_head().ok_or_else(|| none(format!("skill `{name}` brings no head")))
        }
        HeadChoice::Named(name) => match only(in_force, |skill| skill.name() == name)? {
            Some(head) => Ok(head),
            None => base
                .shared_head(name)
                .ok_or_else(|| none(format!("neither a skill in force nor the base has a head called `{name}`"))),
        },
        HeadChoice::Base(name) => {
            base.shared_head(name).ok_or_else(|| none(format!("the base has no head called `{name}`")))
        }
    }
}

/// The head of the one skill in force that `is_meant` and has a head, if there is one.
fn only(in_force: &Skills, is_meant: impl Fn(&Skill) -> bool) -> Result<Option<Arc<Head>>, Error> {
    let skills = in_force.iter().map(|placed| &placed.skill).filter(|skill| is_meant(skill));
    let mut heads = skills.filter_map(|skill| Some((skill.digest(), skill.shared_head()?)));
    match (heads.next(), heads.next()) {
        (Some((first, _)), Some((second, _))) => {
            let clause = format!("several heads could answer: those of skills {first} and {second}");
            Err(Error::new(ErrorKind::Usage, clause).with_help("choose one by its digest"))
        }
        (first, _) => Ok(first.map(|(_, head)| head)),
    }
}

fn heads_there_are(in_force: &Skills, base: &BaseModel) -> String {
    let skills = in_force.iter().map(|placed| &placed.skill).filter(|skill| skill.head().is_some());
    let skills = skills.map(|skill| format!("skill `{}`", skill.name()));
    let own = base.described().heads().iter().map(|head| format!("base `{}`", head.name));
    let all: Vec<_> = skills.chain(own).collect();
    if all.is_empty() {
        return "there are no heads: attach a skill that has one".into();
    }
    format!("heads: {}", all.join(", "))
}
