//! The keys that a device has pinned: what was read is written, and what was written is read as the same.

use serde_json::Value;
use taskvec_pack::{Digest, PublicKey};
use taskvec_runtime::{ErrorKind, Trust};

/// Reads the bytes as they are, and once more with the key ids and the digest that they should have, so that damage reaches
/// what lies behind them.
///
/// # Panics
///
/// If what was accepted trusts more than it says, or changes when it is written and read again, or if the reader panics.
pub fn trust_json(bytes: &[u8]) {
    read(bytes);
    if let Some(mended) = mended(bytes) {
        read(mended.as_bytes());
    }
}

fn read(bytes: &[u8]) {
    let trust = match Trust::decode(bytes) {
        Ok(trust) => trust,
        Err(error) => {
            let kinds = [ErrorKind::Damaged, ErrorKind::Unsupported];
            assert!(kinds.contains(&error.kind()), "a file gives {error:?}");
            return;
        }
    };
    assert!(!trust.allows_unsigned(), "a file allows unsigned packs");
    assert!(trust.keys().len() <= Trust::KEYS_MAX && trust.threshold() >= 1);
    assert!(trust.threshold() <= trust.keys().len().max(1), "nothing could ever be trusted");
    let written = trust.encode().expect("what was read can be written");
    let again = Trust::decode(&written).expect("what is written can be read");
    assert!(again.keys().eq(trust.keys()) && again.threshold() == trust.threshold(), "read again");
    assert_eq!(again.encode().ok().as_ref(), Some(&written), "written again");
}

/// The same threshold and keys with the ids and the digest that belong to them; nothing if there are none to be found.
fn mended(bytes: &[u8]) -> Option<String> {
    let mut json: Value = serde_json::from_slice(bytes).ok()?;
    let threshold = json.get("threshold")?.as_u64()?;
    let mut keys = Vec::new();
    for written in json.get_mut("keys")?.as_array_mut()? {
        let key = PublicKey::from_hex(written.get("key")?.as_str()?).ok()?;
        *written.get_mut("id")? = key.id().to_string().into();
        keys.push(key);
    }
    keys.sort_by_key(PublicKey::id);
    keys.dedup();
    let mut digested = b"taskvec trust v1\0".to_vec();
    digested.extend(threshold.to_le_bytes());
    digested.extend(keys.iter().flat_map(|key| key.0));
    *json.get_mut("digest")? = Digest::of(&digested).to_string().into();
    Some(json.to_string())
}
