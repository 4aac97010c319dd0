//! The skills in force, each with its alpha, and the digest that names them.
//!
//! A composition is a set: the order in which skills came does not exist here. Skills stand in canonical order,
//! ascending by the digests of their packs, which is the order in which they are applied and digested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use taskvec_pack::{Digest, Fingerprint};

use crate::base_model::BaseModel;
use crate::error::{Error, ErrorKind};
use crate::skill::{Place, Skill};
use crate::trust::Vouched;

/// What is digested into a composition's digest starts with this.
const DOMAIN: &[u8; 23] = b"taskvec composition v1\0";

/// How much a composition may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompositionLimits {
    /// Skills in force at once. Default: 64; each costs its entries again at every change of a tensor that it shares.
    pub skills_max: usize,
    /// Bytes of the pages that a composition touches, which is the memory that it owns. Default: no limit, since it is
    /// never more than the base's file and one page.
    pub touched_bytes_max: u64,
    /// Entries of all skills in force together: what a change applies, and so what bounds its time, beside the pages above.
    /// Default: 2^34, as many as the reader of one pack takes. (Opening a pack takes time with its bytes and entries, which
    /// [`PackLimits`](crate::PackLimits) bounds, and proving it one inference for each of its probes, bounded there too.)
    pub entries_max: u64,
}

impl Default for CompositionLimits {
    fn default() -> Self {
        Self { skills_max: 64, touched_bytes_max: u64::MAX, entries_max: 1 << 34 }
    }
}

/// A snapshot of what is in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Composition {
    /// The base underneath.
    #[serde(serialize_with = "as_text")]
    pub base: Fingerprint,
    /// Names base, skills and alphas together: caches key on it, fleets report it.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
    /// The skills in canonical order.
    pub skills: Vec<SkillInForce>,
}

/// A skill and its alpha.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SkillInForce {
    /// Digest of its pack.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
    /// Its name, for people.
    pub name: String,
    /// The coefficient that it is applied with. At 0 it is in force and changes nothing.
    pub alpha: f32,
    /// Whether alpha lies in the range on which its maker validated it.
    pub validated: bool,
}

fn as_text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Skills that fit a base, by digest: what is in force, or what somebody wants to be.
#[derive(Clone, Default)]
pub(crate) struct Skills {
    by_digest: BTreeMap<Digest, Placed>,
}

/// A skill in its place.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) skill: Skill,
    /// Finite, and never -0.
    pub(crate) alpha: f32,
    /// Entries of all its tensors.
    entries: u64,
    /// For each tensor of the pack, in the pack's order, where it is in the base.
    pub(crate) places: Arc<[Place]>,
    /// Whether applying the skill, in its turn, changed at least one bit of the weights; known once it is composed.
    pub(crate) felt: bool,
}

impl Skills {
    /// Adds a skill, after every check that needs no weights.
    ///
    /// # Errors
    /// `Usage` when alpha is not finite or the skill is there already; `Limit` when there are too many; those of
    /// [`Skill::places`].
    pub(crate) fn add(
        &mut self,
        base: &BaseModel,
        skill: Vouched<'_>,
        alpha: f32,
        limits: &CompositionLimits,
    ) -> Result<(), Error> {
        let (skill, alpha) = (skill.skill(), usable(alpha)?);
        if self.by_digest.contains_key(&skill.digest()) {
            return Err(Error::new(ErrorKind::Usage, "it is in force already")
                .with_help("detach it first, or change its alpha"));
        }
        if self.by_digest.len() >= limits.skills_max {
            let clause = format!("{} skills are in force, and that is the limit", self.by_digest.len());
            return Err(Error::new(ErrorKind::Limit, clause).with_help("detach one first, or raise `skills_max`"));
        }
        let entries = skill.entries();
        let all = self.iter().fold(entries, |all, placed| all.saturating_add(placed.entries));
        if all > limits.entries_max {
            let clause = format!("the composition has {all} entries, more than the limit of {}", limits.entries_max);
            return Err(Error::new(ErrorKind::Limit, clause).with_help("detach a skill first, or raise `entries_max`"));
        }
        let places = skill.places(base)?.into();
        self.by_digest.insert(skill.digest(), Placed { skill: skill.clone(), alpha, entries, places, felt: false });
        Ok(())
    }

    /// # Errors
    /// `Usage` when there is no such skill.
    pub(crate) fn remove(&mut self, digest: &Digest) -> Result<(), Error> {
        self.by_digest.remove(digest).map(drop).ok_or_else(|| not_in_force(digest))
    }

    /// # Errors
    /// `Usage` when alpha is not finite or there is no such skill.
    pub(crate) fn set_alpha(&mut self, digest: &Digest, alpha: f32) -> Result<(), Error> {
        let placed = self.by_digest.get_mut(digest).ok_or_else(|| not_in_force(digest))?;
        placed.alpha = usable(alpha)?;
        Ok(())
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<&Placed> {
        self.by_digest.get(digest)
    }

    /// In canonical order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Placed> {
        self.by_digest.values()
    }

    /// Records which skills are felt: these, and no others.
    pub(crate) fn note_felt(&mut self, felt: &BTreeSet<Digest>) {
        for (digest, placed) in &mut self.by_digest {
            placed.felt = felt.contains(digest);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// SHA-256 of the domain, the base's fingerprint and, for each skill in canonical order, its digest and its alpha's
    /// four little-endian bytes.
    pub(crate) fn digest(&self, base: Fingerprint) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update(base.0);
        for (digest, placed) in &self.by_digest {
            hasher.update(digest.0);
            hasher.update(placed.alpha.to_le_bytes());
        }
        Digest(hasher.finalize().into())
    }

    pub(crate) fn snapshot(&self, base: Fingerprint) -> Composition {
        let skills = self.iter().map(|placed| {
            let [low, high] = placed.skill.pack().manifest().alpha_range;
            SkillInForce {
                digest: placed.skill.digest(),
                name: placed.skill.name().to_owned(),
                alpha: placed.alpha,
                validated: (low..=high).contains(&placed.alpha),
            }
        });
        Composition { base, digest: self.digest(base), skills: skills.collect() }
    }
}

/// Alpha, if it is finite; -0 becomes 0, so that equal coefficients have equal digests.
fn usable(alpha: f32) -> Result<f32, Error> {
    if alpha.is_finite() {
        return Ok(alpha + 0.0);
    }
    Err(Error::new(ErrorKind::Usage, format!("alpha is {alpha}, expected a finite number"))
        .with_help("the pack's manifest says which alpha is recommended"))
}

fn not_in_force(digest: &Digest) -> Error {
    Error::new(ErrorKind::Usage, format!("no skill {digest} is in force"))
        .with_help("the composition lists the skills in force")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_zero_is_zero_and_only_finite_alphas_are_usable() {
        assert_eq!(usable(-0.0).unwrap().to_bits(), 0.0f32.to_bits());
        assert_eq!(usable(-1.5).unwrap(), -1.5);
        for alpha in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(usable(alpha).unwrap_err().kind(), ErrorKind::Usage);
        }
    }

    #[test]
    fn the_empty_composition_has_the_digest_of_domain_and_base() {
        let expected = Digest::of(&[DOMAIN.as_slice(), &[7; 32]].concat());
        assert_eq!(Skills::default().digest(Fingerprint([7; 32])), expected);
    }
}
