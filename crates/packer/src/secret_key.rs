//! Who signs packs: an Ed25519 secret key, and the file that keeps it.
//!
//! The file is text like the public key's (`FORMAT.md`, 8.2): a title, the key id, 32 secret bytes in lower-case
//! hexadecimal. It is not encrypted: only its owner may read it (mode 0600 where there are modes), and keeping it is for
//! whoever made it. A key file is never overwritten, since what a device has pinned cannot be made again.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use taskvec_pack::signature::{ED25519, signed_message};
use taskvec_pack::{KeyId, Limits, Pack, PublicKey, write};

use crate::error::{Error, ErrorKind, Result};

const TITLE: &str = "taskvec secret key v1";
/// A key file has 127 bytes; what is longer is none.
const FILE_BYTES_MAX: u64 = 1024;

/// An Ed25519 key pair. Signing is deterministic: the same key and pack give the same bytes.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Bytes that a signature adds to a pack (`FORMAT.md`, 8.1).
    pub const SIGNATURE_BLOCK_BYTES: u64 = 24 + 16 + 64;

    /// A new key, of the system's randomness: the one thing in this crate that comes without a seed.
    ///
    /// # Errors
    /// `Io` when the system has no randomness to give.
    pub fn generate() -> Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|cause| {
            Error::new(ErrorKind::Io, "the system gives no randomness for a key").caused_by(cause.to_string())
        })?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The key in the file at `path`.
    ///
    /// # Errors
    /// `Io` when it cannot be read; `Damaged` when it is no secret key file.
    pub fn open(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        read.map_err(|cause| Error::io("read", path, cause))?;
        std::str::from_utf8(&bytes).ok().and_then(Self::parse).ok_or_else(|| {
            Error::damaged(format!("`{}` is no secret key file, or was changed", path.display()))
                .with_help("name the file that `taskvec key new` wrote, not the public one beside it")
        })
    }

    /// Writes the secret key to `path`, for its owner's eyes only, and the public key beside it, where `digits.key` has
    /// `digits.pub` and `digits` as well. Returns the public key's path.
    ///
    /// # Errors
    /// `Usage` when one of the two is there already; `Io`. No key file is left then that was not there before.
    pub fn create(&self, path: &Path) -> Result<PathBuf> {
        let public = public_path(path)?;
        let new = |path: &Path, text: String, secret: bool| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o666 });
            #[cfg(not(unix))]
            let _ = secret;
            let mut file = options.open(path).map_err(|cause| match cause.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    Error::usage(format!("`{}` is there already, and a key is never overwritten", path.display()))
                        .with_help("name another file, or move that one away")
                }
                _ => Error::io("create", path, cause),
            })?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|cause| {
                // What matters is told.
                let _ = fs::remove_file(path);
                Error::io("write", path, cause)
            })
        };
        new(&public, self.public().to_string(), false)?;
        new(path, self.text(), true).inspect_err(|_| {
            // What matters is told.
            let _ = fs::remove_file(&public);
        })?;
        Ok(public)
    }

    /// What devices pin.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// What names the key in a signature.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.public().id()
    }

    /// The pack with this key's signature beside those that it has. Signed twice it has the same bytes.
    ///
    /// # Errors
    /// `Damaged`, `Unsupported` or `Limit` as the pack's reader says; `Usage` when it carries as many signatures as it may.
    pub fn sign(&self, pack: &[u8]) -> Result<Vec<u8>> {
        let digest =
            Pack::read(pack, &Limits::default()).map_err(|cause| Error::from_pack(cause, "sign the pack"))?.digest();
        let signature = self.0.sign(&signed_message(&digest)).to_bytes();
        write::sign(pack, ED25519, &self.id().0, &signature)
            .map_err(|cause| Error::usage("the pack takes no further signature").caused_by(cause))
    }

    fn text(&self) -> String {
        let hex: String = self.0.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{TITLE}\nid {}\nkey {hex}\n", self.id())
    }

    /// The key of a file's text, which must be exactly what [`SecretKey::create`] writes for it.
    fn parse(text: &str) -> Option<Self> {
        let (_, digits) = text.strip_prefix(TITLE)?.split_once("\nkey ")?;
        let (pairs, end) = digits.as_bytes().as_chunks::<2>();
        let mut seed = [0; 32];
        if pairs.len() != seed.len() || end != b"\n" {
            return None;
        }
        for (byte, pair) in seed.iter_mut().zip(pairs) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let key = Self(SigningKey::from_bytes(&seed));
        (key.text() == text).then_some(key)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id())
    }
}

/// Where the public key goes that belongs to the secret key at `path`.
fn public_path(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Error::usage(format!("`{}` is no name for a key file", path.display()))
            .with_help("name a file such as `me.key`")
    })?;
    if name.ends_with(".pub") {
        let clause = format!("`{}` would be the secret key, and `.pub` is for public ones", path.display());
        return Err(Error::usage(clause).with_help("name a file such as `me.key`; `me.pub` is written beside it"));
    }
    Ok(path.with_file_name(format!("{}.pub", name.strip_suffix(".key").unwrap_or(name))))
}

#[cfg(test)]
mod tests {
    use taskvec_pack::Fingerprint;

    use super::*;

    fn pack() -> Vec<u8> {
        write::Builder::new(Fingerprint([7; 32]), "digits").finish().unwrap()
    }

    #[test]
    fn a_key_comes_back_from_its_file_and_signs_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("me.key");
        let key = SecretKey::generate().unwrap();
        let public = key.create(&path).unwrap();
        assert_eq!(public, folder.path().join("me.pub"));
        assert_eq!(fs::read_to_string(&public).unwrap().parse(), Ok(key.public()));
        let again = SecretKey::open(&path).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(again.sign(&pack()).unwrap(), key.sign(&pack()).unwrap());
        assert!(!format!("{key:?}").contains(&fs::read_to_string(&path).unwrap()[62..]), "a secret is not shown");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_may_read_a_secret_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("me.key");
        SecretKey::generate().unwrap().create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn no_key_is_overwritten_and_none_is_left_half_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("me");
        let first = SecretKey::generate().unwrap();
        let public = first.create(&path).unwrap();
        let before = [&path, &public].map(|path| fs::read(path).unwrap());
        let second = SecretKey::generate().unwrap();
        assert_ne!(second.id(), first.id());
        assert_eq!(second.create(&path).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!([&path, &public].map(|path| fs::read(path).unwrap()), before);
        fs::remove_file(&public).unwrap();
        assert_eq!(second.create(&path).unwrap_err().kind(), ErrorKind::Usage);
        assert!(!public.exists(), "a public key without its secret key");
        assert_eq!(fs::read(&path).unwrap(), before[0]);
        for name in ["me.pub", ".."] {
            assert_eq!(
                second.create(&folder.path().join("new").join(name)).unwrap_err().kind(),
                ErrorKind::Usage,
                "{name}"
            );
        }
    }

    #[test]
    fn no_other_text_is_a_secret_key_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("me.key");
        let key = SecretKey::generate().unwrap();
        let text = key.text();
        let public = key.public().to_string();
        let mut wrong =
            vec![public, text.to_uppercase(), format!("{text}\n"), text.replace(TITLE, "taskvec secret key v2")];
        wrong.extend((0..text.len()).map(|place| text[..place].to_owned()));
        wrong.extend((0..text.len()).map(|place| {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= 1;
            String::from_utf8(bytes).unwrap()
        }));
        for wrong in wrong {
            fs::write(&path, &wrong).unwrap();
            assert_eq!(SecretKey::open(&path).unwrap_err().kind(), ErrorKind::Damaged, "{wrong}");
        }
        fs::write(&path, [0xff; 4096]).unwrap();
        assert_eq!(SecretKey::open(&path).unwrap_err().kind(), ErrorKind::Damaged);
    }

    #[test]
    fn signed_again_a_pack_keeps_its_bytes_and_other_signatures_stay() {
        let [first, second] = [1, 2].map(|seed| SecretKey(SigningKey::from_bytes(&[seed; 32])));
        let signed = first.sign(&pack()).unwrap();
        assert_eq!(first.sign(&signed).unwrap(), signed);
        let both = second.sign(&signed).unwrap();
        assert_eq!(both, first.sign(&second.sign(&pack()).unwrap()).unwrap());
        assert_eq!(Pack::read(&both, &Limits::default()).unwrap().signatures().len(), 2);
        assert_eq!(first.sign(b"no pack").unwrap_err().kind(), ErrorKind::Damaged);
    }
}
