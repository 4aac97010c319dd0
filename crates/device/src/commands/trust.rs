//! `taskvec-device trust add PUBFILE | list | remove KEYID | threshold COUNT`: says whose packs this device attaches.
//!
//! Until a key is pinned it attaches nobody's. The pinned keys are kept in the store's folder; a file of them that is damaged
//! is an error, whatever is asked, and nothing is attached until that is settled.

use std::path::Path;

use serde::Serialize;
use taskvec_runtime::{Error, ErrorKind, KeyId, Store, Trust as Trusted, read_public_key};

use crate::args::Trust;
use crate::render;

#[derive(Serialize)]
struct Shown {
    /// How many of the keys must have signed a pack.
    threshold: usize,
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    id: String,
    /// The public key, in hexadecimal.
    key: String,
}

pub(crate) fn run(store: &Path, typed: &Trust, json: bool) -> anyhow::Result<()> {
    let store = Store::open(store)?;
    let trust = match typed {
        Trust::Add { key } => store.pin(read_public_key(key)?)?,
        Trust::List => store.trust()?,
        Trust::Remove { id } => store.unpin(&meant(&store.trust()?, id)?)?,
        Trust::Threshold { count } => store.set_threshold(*count)?,
    };
    let key = |key: taskvec_runtime::PublicKey| Key { id: key.id().to_string(), key: format!("{key:x}") };
    let shown = Shown { threshold: trust.threshold(), keys: trust.keys().map(key).collect() };
    render::result(json, &shown, |shown| {
        let lines: String = shown.keys.iter().map(|key| format!("key {}\n", key.id)).collect();
        match shown.keys.len() {
            0 => "no key is pinned: nobody's packs are attached\n".to_owned(),
            count => format!("{lines}packs are attached that {} of these {count} keys signed\n", shown.threshold),
        }
    })
}

/// The one pinned key whose id begins with these digits.
fn meant(trust: &Trusted, typed: &str) -> Result<KeyId, Error> {
    let ids = trust.keys().map(|key| key.id());
    let meant: Vec<KeyId> = ids.filter(|id| !typed.is_empty() && id.to_string().starts_with(typed)).collect();
    match meant[..] {
        [id] => Ok(id),
        [] => Err(Error::new(ErrorKind::Usage, format!("no key `{typed}` is pinned"))
            .with_help("`taskvec-device trust list` shows the pinned keys")),
        _ => Err(Error::new(ErrorKind::Usage, format!("`{typed}` means {} pinned keys", meant.len()))
            .with_help("give more digits of the one that is meant")),
    }
}
