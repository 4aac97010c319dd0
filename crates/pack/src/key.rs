//! Whose signature: an Ed25519 public key, its id, and the file that carries it (`FORMAT.md`, 8.2).

use core::fmt;
use core::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::digest::{parse_hex, write_hex};
use crate::layout::{KEY_ID_BYTES, PUBLIC_KEY_BYTES, PUBLIC_KEY_FILE_TITLE};

/// The 32 bytes of an Ed25519 public key, or what claims to be one: nothing is known but their number.
///
/// As text it is the public key file: what `Display` writes, `FromStr` reads, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// The key of 64 lower-case hexadecimal digits, which `{:x}` writes.
    ///
    /// # Errors
    ///
    /// If the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        lower_hex(text).map(Self).ok_or(KeyError::Form)
    }

    /// What names the key in a signature block: the first half of the SHA-256 of its bytes.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest: [u8; 32] = Sha256::digest(self.0).into();
        let (first, _) = digest.as_chunks::<KEY_ID_BYTES>();
        KeyId(first.first().copied().unwrap_or_default())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PUBLIC_KEY_FILE_TITLE}")?;
        writeln!(f, "id {}", self.id())?;
        writeln!(f, "key {self:x}")
    }
}

impl fmt::LowerHex for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix(PUBLIC_KEY_FILE_TITLE).ok_or(KeyError::Title)?;
        let (id, key) = rest.strip_prefix("\nid ").and_then(|rest| rest.split_once("\nkey ")).ok_or(KeyError::Form)?;
        let id: KeyId = id.parse()?;
        let key = Self::from_hex(key.strip_suffix('\n').ok_or(KeyError::Form)?)?;
        if key.id() == id { Ok(key) } else { Err(KeyError::Id) }
    }
}

/// What names a key: the first 16 bytes of the SHA-256 of the public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; KEY_ID_BYTES]);

impl TryFrom<&[u8]> for KeyId {
    type Error = KeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(Self).map_err(|_| KeyError::Form)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        lower_hex(text).map(Self).ok_or(KeyError::Form)
    }
}

/// One form for one key: upper-case digits are none.
fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    parse_hex(text).ok()
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// It does not start as a public key file does.
    Title,
    /// A line is missing, or is not as many lower-case hexadecimal digits as it should be.
    Form,
    /// The id is another key's: one of the two was changed.
    Id,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Title => "its first line is not `taskvec public key v1`",
            Self::Form => "it is not 32 digits of a key id and 64 of a key, in lower-case hexadecimal",
            Self::Id => "the key id is another key's",
        })
    }
}

impl core::error::Error for KeyError {}

#[cfg(all(test, feature = "write"))]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::{KeyError, KeyId, PublicKey};

    const FORMAT: &str = include_str!("../FORMAT.md");

    /// The public key of RFC 8032, 7.1, test 1.
    fn key() -> PublicKey {
        let (_, hex) = FORMAT.split_once("\nkey ").unwrap();
        PublicKey(crate::digest::parse_hex(&hex[..64]).unwrap())
    }

    #[test]
    #[cfg_attr(miri, ignore = "minutes: it searches the document")]
    fn the_key_file_is_the_one_of_the_document() {
        let text = key().to_string();
        assert!(FORMAT.contains(&format!("```text\n{text}```")), "{text}");
        assert!(FORMAT.contains(&format!("file is {} bytes", text.len())));
        assert_eq!(text.parse(), Ok(key()));
        assert_eq!(key().id().to_string().parse(), Ok(key().id()));
    }

    #[test]
    fn no_other_text_is_a_key_file() {
        let text = key().to_string();
        // Miri takes a thousand times as long.
        for place in (0..text.len()).step_by(if cfg!(miri) { 11 } else { 1 }) {
            assert!(text[..place].parse::<PublicKey>().is_err(), "cut at {place}");
            let mut bytes = text.clone().into_bytes();
            // Another digit where a digit was, and no digit elsewhere.
            bytes[place] ^= 1;
            let changed = alloc::string::String::from_utf8(bytes).unwrap();
            assert!(changed.parse::<PublicKey>().is_err(), "{changed}");
        }
        for changed in [format!("{text}\n"), format!(" {text}"), text.replace('\n', "\r\n"), text.to_uppercase()] {
            assert!(changed.parse::<PublicKey>().is_err(), "{changed}");
        }
        let other = PublicKey([1; 32]).id().to_string();
        assert_eq!(text.replace(&key().id().to_string(), &other).parse::<PublicKey>(), Err(KeyError::Id));
        assert_eq!("taskvec secret key v1\n".parse::<PublicKey>(), Err(KeyError::Title));
        assert_eq!("00".parse::<KeyId>(), Err(KeyError::Form));
    }
}
