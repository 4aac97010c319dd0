//! Where in what was saved the state dict is: the thing itself, or under one of the names that training scripts use.

use std::collections::{HashSet, VecDeque};

use taskvec_dataset::{Error, Result};

use super::pickle::{Pickle, Value, View};
use crate::source::damaged;

/// What a state dict is saved under, best first: averaged weights are what is used, and what others compare with.
const NAMES: [&str; 8] =
    ["params_ema", "params", "state_dict", "model_state_dict", "model", "module", "net", "weights"];
/// How deep it is looked for: `{"model": {"state_dict": {...}}}` has two.
const DEPTH_MAX: usize = 4;

/// The tensors of a state dict.
#[derive(Debug)]
pub(super) struct StateDict<'a> {
    pub(super) tensors: Vec<(&'a str, &'a View)>,
    /// Where it was found, if not at the top.
    pub(super) note: Option<String>,
}

/// A dict that has tensors, and the names that lead to it.
struct Candidate<'a> {
    dict: u32,
    path: Vec<&'a str>,
}

/// The state dict in `pickle`.
pub(super) fn find<'a>(pickle: &'a Pickle<'_>) -> Result<StateDict<'a>> {
    let found = candidates(pickle);
    let best = match found.as_slice() {
        [] => {
            return Err(Error::unsupported("no dict of named tensors is in its pickle")
                .with_help("save a state dict: `torch.save(model.state_dict(), FILE)`"));
        }
        [only] => only,
        several => choose(several)?,
    };
    let mut tensors: Vec<(&str, &View)> = pickle
        .dict(best.dict)
        .filter_map(|(key, value)| match (key, value) {
            (Value::Text(name), Value::Tensor(index)) => Some((pickle.text(name), pickle.view(index))),
            _ => None,
        })
        .collect();
    tensors.sort_by_key(|(name, _)| *name);
    // In Python the second would win in silence.
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(damaged(format!("tensor `{}` is there twice", pair[0].0)));
    }
    let others: Vec<String> = found
        .iter()
        .filter(|other| other.dict != best.dict)
        .map(|other| format!("`{}`", other.path.join(".")))
        .collect();
    let note = (!best.path.is_empty()).then(|| {
        let also = if others.is_empty() { String::new() } else { format!(", not those at {}", others.join(", ")) };
        format!("the tensors at `{}` were taken{also}", best.path.join("."))
    });
    Ok(StateDict { tensors, note })
}

/// Every dict with tensors that texts lead to, the shallow ones first. Each dict is looked at once, whoever refers to it.
fn candidates<'a>(pickle: &'a Pickle<'_>) -> Vec<Candidate<'a>> {
    let Value::Dict(root) = pickle.root else { return Vec::new() };
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut ahead = VecDeque::from([(root, Vec::new())]);
    while let Some((dict, path)) = ahead.pop_front() {
        let mut has_tensors = false;
        for (key, value) in pickle.dict(dict) {
            let Value::Text(name) = key else { continue };
            match value {
                Value::Tensor(_) => has_tensors = true,
                Value::Dict(inner) if path.len() < DEPTH_MAX && seen.insert(inner) => {
                    let mut path = path.clone();
                    path.push(pickle.text(name));
                    ahead.push_back((inner, path));
                }
                _ => {}
            }
        }
        if has_tensors {
            found.push(Candidate { dict, path });
        }
    }
    found
}

/// The first by the names that are known; else the choice is the caller's to make, not ours.
fn choose<'c, 'a>(several: &'c [Candidate<'a>]) -> Result<&'c Candidate<'a>> {
    let rank = |candidate: &Candidate<'_>| match candidate.path.last() {
        None => Some(0),
        Some(last) => NAMES.iter().position(|name| name == last).map(|rank| 1 + rank),
    };
    let known = several.iter().filter_map(|candidate| Some((rank(candidate)?, candidate)));
    known.min_by_key(|(rank, _)| *rank).map(|(_, candidate)| candidate).ok_or_else(|| {
        let paths: Vec<String> = several.iter().take(8).map(|found| format!("`{}`", found.path.join("."))).collect();
        Error::usage(format!("{} dicts of tensors are in its pickle: {}", several.len(), paths.join(", ")))
            .with_help("save the one that is meant alone: `torch.save(checkpoint[NAME], FILE)`")
    })
}
