//! `taskvec key new -o KEYFILE`: makes a key pair to sign packs with.
//!
//! The secret key goes into KEYFILE, which only its owner may read, the public one beside it. Devices pin the public one.
//! Nothing is ever overwritten: a key that is lost cannot be made again.

use serde::Serialize;
use taskvec_packer::SecretKey;

use super::Outcome;
use crate::args::Key;
use crate::render;

#[derive(Serialize)]
struct Made {
    id: String,
    secret: String,
    public: String,
}

pub(crate) fn run(typed: &Key, json: bool) -> anyhow::Result<Outcome> {
    let Key::New(typed) = typed;
    let key = SecretKey::generate()?;
    let public = key.create(&typed.out)?;
    let value = Made {
        id: key.id().to_string(),
        secret: typed.out.display().to_string(),
        public: public.display().to_string(),
    };
    render::result(json, &value, |value| {
        format!(
            "key {}\nsecret: `{}`, keep it where nobody else reads it\npublic: `{}`, pin it on devices: \
             taskvec-device trust add {}\n",
            value.id, value.secret, value.public, value.public
        )
    })?;
    Ok(Outcome::Done)
}
