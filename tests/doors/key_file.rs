//! A public key file, as somebody hands it over to be pinned.

use taskvec_pack::PublicKey;
use taskvec_runtime::{ErrorKind, Trust};

/// Reads the bytes as a key file and pins the key; and takes the first 32 as a key, of which a file is made.
///
/// # Panics
///
/// If two texts are the same key, if a key that can be pinned is not the one that was written, if a key is refused for a
/// reason that is not the key's, or if the reader panics.
pub fn key_file(bytes: &[u8]) {
    if let Some(text) = std::str::from_utf8(bytes).ok()
        && let Ok(key) = text.parse::<PublicKey>()
    {
        assert_eq!(key.to_string(), text, "one key has one file");
        pin(key);
    }
    if let Some(bytes) = bytes.first_chunk() {
        let key = PublicKey(*bytes);
        assert_eq!(key.to_string().parse(), Ok(key), "what is written can be read");
        assert_eq!(PublicKey::from_hex(&format!("{key:x}")), Ok(key));
        pin(key);
    }
}

fn pin(key: PublicKey) {
    match Trust::in_keys([key], 1) {
        Ok(trust) => assert!(trust.keys().eq([key]), "{key:?} is pinned as another key"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Usage, "{error}"),
    }
}
