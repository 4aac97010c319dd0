//! `taskvec sign PACK --key KEYFILE [-o OUT]`: adds a signature to a pack.
//!
//! The content and so the identity of the pack stay as they are, and so do the signatures of other keys. Signed again with
//! the same key, the file has the same bytes. It is written aside and renamed.

use anyhow::Context;
use serde::Serialize;
use taskvec_pack::{Limits, Pack};
use taskvec_packer::SecretKey;
use taskvec_packer::run_folder::write_file;

use super::Outcome;
use crate::args::Sign;
use crate::render;

#[derive(Serialize)]
struct Signed {
    pack: String,
    digest: String,
    key_id: String,
    /// All that the pack carries now.
    signatures: usize,
}

pub(crate) fn run(typed: &Sign, json: bool) -> anyhow::Result<Outcome> {
    let attempt = || format!("sign pack `{}`", typed.pack.display());
    let key = SecretKey::open(&typed.key)?;
    let signed = key.sign(&std::fs::read(&typed.pack).with_context(attempt)?).with_context(attempt)?;
    let out = typed.out.as_ref().unwrap_or(&typed.pack);
    write_file(out, &signed)?;
    let pack = Pack::read(&signed, &Limits::default()).with_context(attempt)?;
    let value = Signed {
        pack: out.display().to_string(),
        digest: pack.digest().to_string(),
        key_id: key.id().to_string(),
        signatures: pack.signatures().len(),
    };
    render::result(json, &value, |value| {
        format!(
            "{}: pack {}, signed by key {}, {} signatures in all\n",
            value.pack, value.digest, value.key_id, value.signatures
        )
    })?;
    Ok(Outcome::Done)
}
