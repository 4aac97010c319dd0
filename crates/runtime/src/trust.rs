//! Whose packs a device attaches: those that enough of its pinned keys have signed, and nobody's by default.
//!
//! A signature is over the pack digest, which is the SHA-256 of the whole content and was computed from the bytes when the
//! pack was read; so verifying one costs the same for every pack, well below a millisecond. At most one signature is
//! verified for each pinned key, whatever a file claims. Signatures of keys that nobody pinned say nothing and are ignored;
//! one that names a pinned key and does not fit is worse than none, and refuses the pack.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ed25519_dalek::{Signature, VerifyingKey};
use taskvec_pack::signature::{ED25519, signed_message};
use taskvec_pack::{KeyError, KeyId, Pack, PublicKey};

use crate::error::{Error, ErrorKind};
use crate::skill::Skill;

/// A public key file has 127 bytes; what is longer is none.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// Which packs may be attached. The default trusts nobody, so that every pack is refused.
#[derive(Clone, Default)]
pub struct Trust {
    keys: BTreeMap<KeyId, VerifyingKey>,
    /// How many of the keys must have signed; 0 stands for 1, and only as long as there are no keys.
    threshold: usize,
    unsigned_too: bool,
}

/// What a signature block turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// A pinned key signed this very content.
    Holds,
    /// It names a pinned key, and does not fit: the content is another one, or the signature was changed.
    Wrong,
    /// It names a key that is not pinned, or an algorithm that this runtime does not know: nothing can be said.
    Unknown,
}

/// A skill that a [`Trust`] has passed. Only this module makes one, so that nothing comes into force unseen.
#[derive(Clone, Copy)]
pub(crate) struct Vouched<'a>(&'a Skill);

impl<'a> Vouched<'a> {
    pub(crate) fn skill(self) -> &'a Skill {
        self.0
    }
}

impl Trust {
    /// Most keys that can be pinned.
    pub const KEYS_MAX: usize = 64;

    /// Trusts packs that at least `threshold` of these keys have signed. A key that is given twice counts once.
    ///
    /// # Errors
    /// `Usage` when a key is none that could be trusted (no point of the curve, or one whose signatures fit anything), when
    /// there are none or more than [`Trust::KEYS_MAX`], or when `threshold` is 0 or more than there are.
    pub fn in_keys(keys: impl IntoIterator<Item = PublicKey>, threshold: usize) -> Result<Self, Error> {
        let mut trust = Self { threshold, ..Self::default() };
        for key in keys {
            trust.keys.insert(key.id(), usable(&key)?);
            if trust.keys.len() > Self::KEYS_MAX {
                return Err(Error::new(ErrorKind::Usage, format!("more than {} keys to trust", Self::KEYS_MAX)));
            }
        }
        if !(1..=trust.keys.len()).contains(&threshold) {
            let clause = format!("a threshold of {threshold} with {} keys", trust.keys.len());
            return Err(Error::new(ErrorKind::Usage, clause).with_help(
                "the threshold says how many of the keys must have signed: at least 1, at most all of them",
            ));
        }
        Ok(trust)
    }

    /// Trusts anyone: packs are attached whether or not somebody has signed them. For a workstation, where whoever runs
    /// the program has chosen the pack, and for tests. Whoever can hand in a pack then decides what the model answers.
    #[must_use]
    pub fn unsigned_too() -> Self {
        Self::default().and_unsigned_too()
    }

    /// The same keys, and packs that they have not signed as well. A signature that names a pinned key and does not fit
    /// is still refused.
    #[must_use]
    pub fn and_unsigned_too(self) -> Self {
        Self { unsigned_too: true, ..self }
    }

    /// The pinned keys, in ascending order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = PublicKey> {
        self.keys.values().map(|key| PublicKey(key.to_bytes()))
    }

    /// How many of the keys must have signed a pack, at least 1.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold.max(1)
    }

    /// Whether packs are attached that the pinned keys have not signed.
    #[must_use]
    pub fn allows_unsigned(&self) -> bool {
        self.unsigned_too
    }

    /// What each signature of a pack is worth here, in the order of the file.
    pub fn verdicts<'a>(&self, pack: &Pack<'a>) -> impl Iterator<Item = (taskvec_pack::Signature<'a>, Verdict)> {
        let message = signed_message(&pack.digest());
        pack.signatures().map(move |signature| (signature, self.verdict(&message, &signature)))
    }

    /// The pinned keys that have signed a pack, enough of them; possibly none if unsigned packs are allowed.
    ///
    /// # Errors
    /// `Untrusted` when they are too few, or a signature that names a pinned key does not fit.
    pub fn verify(&self, pack: &Pack<'_>) -> Result<Vec<KeyId>, Error> {
        let mut signers = Vec::new();
        for (signature, verdict) in self.verdicts(pack) {
            match (verdict, KeyId::try_from(signature.key_id)) {
                (Verdict::Holds, Ok(id)) => signers.push(id),
                (Verdict::Wrong, Ok(id)) => return Err(wrong(id)),
                _ => {}
            }
        }
        if self.unsigned_too || signers.len() >= self.threshold() {
            return Ok(signers);
        }
        Err(self.too_few(signers.len(), pack.signatures().len()))
    }

    /// The same for a skill that is to come into force.
    ///
    /// # Errors
    /// As [`Trust::verify`].
    pub(crate) fn vouch_for<'a>(&self, skill: &'a Skill) -> Result<Vouched<'a>, Error> {
        self.verify(skill.pack()).map(|_| Vouched(skill))
    }

    fn verdict(&self, message: &[u8], signature: &taskvec_pack::Signature<'_>) -> Verdict {
        let id = KeyId::try_from(signature.key_id).ok().filter(|_| signature.algorithm == ED25519);
        let Some(key) = id.and_then(|id| self.keys.get(&id)) else { return Verdict::Unknown };
        // Strict: no key and no R of small order, S reduced. So no signature fits two messages, and none has a twin.
        let holds = Signature::from_slice(signature.bytes).and_then(|signature| key.verify_strict(message, &signature));
        if holds.is_ok() { Verdict::Holds } else { Verdict::Wrong }
    }

    fn too_few(&self, signers: usize, signatures: usize) -> Error {
        let clause = match (self.keys.len(), signatures, signers) {
            (0, ..) => "no key is pinned here, so nobody's pack is trusted".to_owned(),
            (_, 0, _) => "it is not signed".to_owned(),
            (_, _, 0) => format!("none of its {signatures} signatures is by a pinned key"),
            _ => format!("{signers} pinned keys have signed it, expected {}", self.threshold()),
        };
        Error::new(ErrorKind::Untrusted, clause).with_help(
            "pin the key of whoever made it (`taskvec-device trust add KEYFILE`), have it signed (`taskvec sign`), or \
             allow unsigned packs by name (`--allow-unsigned`)",
        )
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("keys", &self.keys.keys())
            .field("threshold", &self.threshold())
            .field("unsigned_too", &self.unsigned_too)
            .finish()
    }
}

/// The public key in the file at `path`, as `taskvec key new` writes it.
///
/// # Errors
/// `Io` when it cannot be read; `Damaged` when it is no public key file.
pub fn read_public_key(path: &Path) -> Result<PublicKey, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|cause| Error::io("read", path, cause))?;
    let damaged = |cause: String| {
        Error::new(ErrorKind::Damaged, format!("`{}` is no public key file: {cause}", path.display()))
            .with_help("name the `.pub` file that `taskvec key new` wrote")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text".to_owned()))?;
    text.parse().map_err(|cause: KeyError| damaged(cause.to_string()))
}

/// A key that can be trusted: a point of the curve in its one encoding, and not of small order, for which anybody could
/// make signatures that fit anything.
fn usable(key: &PublicKey) -> Result<VerifyingKey, Error> {
    let refuse = |problem: &str| {
        Error::new(ErrorKind::Usage, format!("key {}: {problem}", key.id()))
            .with_help("make a key pair with `taskvec key new`, and pin the public one")
    };
    let point = VerifyingKey::from_bytes(&key.0).map_err(|_| refuse("it is no Ed25519 public key"))?;
    if point.to_edwards().compress().to_bytes() != key.0 {
        return Err(refuse("it is not in its shortest form"));
    }
    if point.is_weak() {
        return Err(refuse("it is one of the weak keys, for which anybody can sign"));
    }
    Ok(point)
}

fn wrong(id: KeyId) -> Error {
    let clause = format!("its signature by the pinned key {id} does not fit its content: one of them was changed");
    Error::new(ErrorKind::Untrusted, clause)
        .with_help("fetch it again; if that does not help, somebody has changed it on purpose")
}
