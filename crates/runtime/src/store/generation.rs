//! One file of the journal: the compositions that are kept, the newest first, and how often each has failed.
//!
//! ```text
//! taskvec journal 1 <SHA-256 of all that follows the first line, hexadecimal>
//! {"number":7,"kept":[{"base":"..","skills":[{"digest":"..","alpha":1.0}],"failures":0}]}
//! ```
//!
//! The first line can be read whatever the version, and the digest decides whether the rest is what was written: rot and
//! torn sectors are noticed, whichever byte they hit. A generation is foreign bytes like any other, so its size and its
//! counts are bounded before anything is made of them.

use serde::{Deserialize, Serialize};
use taskvec_pack::{Digest, Fingerprint};

use crate::composition::Composition;
use crate::error::{Error, ErrorKind};

/// Largest size of a file of the journal, in bytes. The most compositions with the most skills take about half of it.
pub(super) const GENERATION_BYTES_MAX: u64 = 1 << 20;
/// Compositions kept at once: the committed one and those before it, to go back to.
const KEPT_MAX: usize = 4;
/// Skills in one composition.
const SKILLS_MAX: usize = 1024;

const MAGIC: &str = "taskvec journal ";
const VERSION: &str = "1";

/// What shall be in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The base that it was made on.
    pub base: Fingerprint,
    /// Digests of packs, each with its alpha, in canonical order: ascending.
    pub skills: Vec<(Digest, f32)>,
}

/// A composition in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// What it is made of.
    pub composition: Committed,
    /// Boots that began with it and have not come to a good end, since it was last proved.
    pub failures: u32,
}

/// What the journal says at one moment.
///
/// Having one that was decoded tells you: it is, byte for byte, one that somebody encoded; digests ascend and alphas are
/// finite. It does not tell you that the packs are there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// How many there have been; 0 is before the first.
    pub number: u64,
    /// The committed composition first, then those before it.
    pub kept: Vec<Kept>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    number: u64,
    kept: Vec<WrittenKept>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKept {
    base: String,
    skills: Vec<WrittenSkill>,
    failures: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSkill {
    digest: String,
    alpha: f32,
}

impl Kept {
    /// Failures after which a composition is given up: boots pass it over.
    pub const FAILURES_MAX: u32 = 3;

    /// Whether it failed so often that boots pass it over.
    pub fn is_given_up(&self) -> bool {
        self.failures >= Self::FAILURES_MAX
    }
}

impl Committed {
    /// Whether the pack with this digest is part of it.
    pub fn names(&self, digest: &Digest) -> bool {
        self.skills.iter().any(|(skill, _)| skill == digest)
    }
}

impl From<&Composition> for Committed {
    fn from(composition: &Composition) -> Self {
        let skills = composition.skills.iter().map(|skill| (skill.digest, skill.alpha)).collect();
        Self { base: composition.base, skills }
    }
}

impl Generation {
    /// The generation in `bytes`, at most 1 MiB of them. Nothing is believed before the digest is right, and what is made
    /// is never larger than a small multiple of `bytes`.
    ///
    /// # Errors
    /// `Damaged` when they are not what was encoded; `Limit` when there is too much; `Unsupported` for a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > GENERATION_BYTES_MAX {
            let clause = format!("it has {} bytes, expected at most {GENERATION_BYTES_MAX}", bytes.len());
            return Err(Error::new(ErrorKind::Limit, clause));
        }
        let body = body(bytes)?;
        let body: Body = serde_json::from_slice(body).map_err(|cause| damaged(format!("its body: {cause}")))?;
        if body.kept.len() > KEPT_MAX {
            let clause = format!("it keeps {} compositions, expected at most {KEPT_MAX}", body.kept.len());
            return Err(Error::new(ErrorKind::Limit, clause));
        }
        let kept = body.kept.into_iter().map(WrittenKept::read).collect::<Result<_, _>>()?;
        Ok(Self { number: body.number, kept })
    }

    /// The bytes of its file. The same generation gives the same bytes.
    ///
    /// # Errors
    /// `Limit` when a composition has more than 1024 skills.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let kept = self.kept.iter().map(WrittenKept::of).collect::<Result<_, _>>()?;
        let mut body = serde_json::to_vec(&Body { number: self.number, kept })
            .map_err(|cause| Error::new(ErrorKind::Usage, "a composition cannot be written down").with_source(cause))?;
        body.push(b'\n');
        let mut bytes = format!("{MAGIC}{VERSION} {}\n", Digest::of(&body)).into_bytes();
        bytes.append(&mut body);
        Ok(bytes)
    }

    /// What shall be in force: the newest composition that was not given up. None means the base alone.
    pub fn standing(&self) -> Option<&Committed> {
        self.kept.iter().find(|kept| !kept.is_given_up()).map(|kept| &kept.composition)
    }

    /// Whether a kept composition needs the pack with this digest.
    pub fn names(&self, digest: &Digest) -> bool {
        self.kept.iter().any(|kept| kept.composition.names(digest))
    }

    /// The compositions to keep once `committed` is in force: it first, then what was kept and can be gone back to.
    pub(super) fn with(&self, committed: Committed) -> Vec<Kept> {
        let before = self.kept.iter().filter(|kept| !kept.is_given_up() && kept.composition != committed).cloned();
        let mut kept: Vec<Kept> = before.take(KEPT_MAX - 1).collect();
        kept.insert(0, Kept { composition: committed, failures: 0 });
        kept
    }
}

impl WrittenKept {
    fn of(kept: &Kept) -> Result<Self, Error> {
        let skills = &kept.composition.skills;
        bounded(skills.len())?;
        let skill = |(digest, alpha): &(Digest, f32)| WrittenSkill { digest: digest.to_string(), alpha: *alpha };
        Ok(Self {
            base: kept.composition.base.to_string(),
            skills: skills.iter().map(skill).collect(),
            failures: kept.failures,
        })
    }

    fn read(self) -> Result<Kept, Error> {
        bounded(self.skills.len())?;
        let base = self.base.parse().map_err(|_| damaged(format!("`{}` is no fingerprint", self.base)))?;
        let mut skills = Vec::with_capacity(self.skills.len());
        for skill in self.skills {
            let digest = skill.digest.parse().map_err(|_| damaged(format!("`{}` is no digest", skill.digest)))?;
            if skills.last().is_some_and(|(before, _)| *before >= digest) {
                return Err(damaged(format!("skill {digest} stands after a larger digest")));
            }
            if !skill.alpha.is_finite() {
                return Err(damaged(format!("alpha of {digest} is {}, expected a finite number", skill.alpha)));
            }
            skills.push((digest, skill.alpha));
        }
        Ok(Kept { composition: Committed { base, skills }, failures: self.failures })
    }
}

/// What follows the first line, once that has been found to vouch for it.
fn body(bytes: &[u8]) -> Result<&[u8], Error> {
    // The longest first line that any version has.
    const LINE_BYTES_MAX: usize = 256;
    let end = bytes.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n');
    let (line, body) =
        end.and_then(|end| bytes.split_at_checked(end)).ok_or_else(|| damaged("it has no first line"))?;
    let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(MAGIC));
    let (version, digest) = line
        .and_then(|line| line.split_once(' '))
        .ok_or_else(|| damaged(format!("it does not begin with `{MAGIC}`")))?;
    if version != VERSION {
        let clause = format!("it has version `{version}`, expected {VERSION}");
        return Err(Error::new(ErrorKind::Unsupported, clause).with_help("a newer taskvec-device may read it"));
    }
    let (body, found) = (&body[1..], Digest::of(&body[1..]));
    if digest != found.to_string() {
        return Err(damaged(format!("its bytes have digest {found}, expected `{digest}`")));
    }
    Ok(body)
}

fn bounded(skills: usize) -> Result<(), Error> {
    if skills > SKILLS_MAX {
        let clause = format!("a composition has {skills} skills, expected at most {SKILLS_MAX}");
        return Err(Error::new(ErrorKind::Limit, clause).with_help("detach some first"));
    }
    Ok(())
}

fn damaged(clause: impl Into<String>) -> Error {
    Error::new(ErrorKind::Damaged, clause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composition(skills: u8) -> Committed {
        let skills = (0..skills).map(|at| (Digest([at; 32]), f32::from(at) / 3.0)).collect();
        Committed { base: Fingerprint([9; 32]), skills }
    }

    fn generation() -> Generation {
        let kept =
            [(2, 1), (0, 0), (7, 3)].map(|(skills, failures)| Kept { composition: composition(skills), failures });
        Generation { number: 41, kept: kept.into() }
    }

    /// A file with this body and the right digest.
    fn vouched(body: &str) -> Vec<u8> {
        format!("taskvec journal 1 {}\n{body}", Digest::of(body.as_bytes())).into_bytes()
    }

    #[test]
    fn decode_after_encode_is_the_identity() {
        for generation in [Generation::default(), generation()] {
            assert_eq!(Generation::decode(&generation.encode().unwrap()).unwrap(), generation);
        }
    }

    #[test]
    fn each_flipped_bit_and_each_lost_end_is_noticed() {
        let bytes = generation().encode().unwrap();
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Generation::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Generation::decode(&bytes[..length]).unwrap_err().kind(), ErrorKind::Damaged, "{length} bytes");
        }
    }

    #[test]
    fn what_is_vouched_for_and_makes_no_sense_is_refused_with_its_kind() {
        let (digest, other) = ("00".repeat(32), "01".repeat(32));
        let kept = |skills: &str| format!(r#"{{"base":"{digest}","skills":[{skills}],"failures":0}}"#);
        let skill = |digest: &str, alpha: &str| format!(r#"{{"digest":"{digest}","alpha":{alpha}}}"#);
        let file = |kept: &str| vouched(&format!(r#"{{"number":1,"kept":[{kept}]}}"#));
        let descending = [skill(&other, "1"), skill(&digest, "1")].join(",");
        let twice = [skill(&other, "1"), skill(&other, "1")].join(",");
        let many = vec![kept(""); KEPT_MAX + 1].join(",");
        let cases = [
            ("an empty body", vouched(""), ErrorKind::Damaged),
            ("a field too many", vouched(r#"{"number":1,"kept":[],"more":1}"#), ErrorKind::Damaged),
            ("no digest", file(&kept(&skill("0", "1"))), ErrorKind::Damaged),
            ("an alpha beyond f32", file(&kept(&skill(&digest, "1e300"))), ErrorKind::Damaged),
            ("skills out of order", file(&kept(&descending)), ErrorKind::Damaged),
            ("a skill twice", file(&kept(&twice)), ErrorKind::Damaged),
            ("too many compositions", file(&many), ErrorKind::Limit),
            ("too large", vec![b' '; GENERATION_BYTES_MAX as usize + 1], ErrorKind::Limit),
            ("a newer version", b"taskvec journal 2 something else\nunknown".to_vec(), ErrorKind::Unsupported),
            ("deep nesting", vouched(&"[".repeat(100_000)), ErrorKind::Damaged),
        ];
        for (what, bytes, kind) in cases {
            assert_eq!(Generation::decode(&bytes).map_err(|error| error.kind()), Err(kind), "{what}");
        }
        assert!(Generation::decode(&file(&kept(&skill(&digest, "1")))).is_ok(), "nothing else was wrong");
    }

    #[test]
    fn the_largest_generation_is_written_and_read() {
        let mut skills: Vec<_> =
            (0..SKILLS_MAX).map(|at| (Digest::of(&at.to_string().into_bytes()), -1.234_567_9e-30)).collect();
        skills.sort_by_key(|(digest, _)| *digest);
        let composition = Committed { base: Fingerprint([255; 32]), skills };
        let kept = Kept { composition, failures: u32::MAX };
        let mut generation = Generation { number: u64::MAX, kept: vec![kept; KEPT_MAX] };
        assert_eq!(Generation::decode(&generation.encode().unwrap()).unwrap(), generation);
        generation.kept[0].composition.skills.push((Digest([255; 32]), 1.0));
        assert_eq!(generation.encode().unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn what_was_given_up_is_neither_in_force_nor_kept_by_the_next_commit() {
        let given_up = Kept { composition: composition(3), failures: Kept::FAILURES_MAX };
        let good = Kept { composition: composition(1), failures: 1 };
        let generation = Generation { number: 5, kept: vec![given_up, good.clone()] };
        assert_eq!(generation.standing(), Some(&good.composition));
        let kept = generation.with(composition(2));
        assert_eq!(kept, [Kept { composition: composition(2), failures: 0 }, good]);
    }

    #[test]
    fn committing_again_what_was_kept_moves_it_to_the_front() {
        let mut generation = Generation::default();
        for skills in [1, 2, 3, 4, 5, 4] {
            generation.kept = generation.with(composition(skills));
        }
        let kept: Vec<_> = generation.kept.iter().map(|kept| kept.composition.skills.len()).collect();
        assert_eq!(kept, [4, 5, 3, 2]);
    }
}
