//! The JSON header of a safetensors file, taken at its word: who claims which bytes.
//!
//! Nothing is believed here but the JSON itself; `tensors` checks the claims against the file. Written by hand because
//! the reference reader lets a second tensor of the same name win in silence.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

/// Name of the one entry that is no tensor.
pub(super) const METADATA: &str = "__metadata__";

/// What one entry claims.
#[derive(Deserialize)]
pub(super) struct Claim {
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    /// First byte and first byte after, counted from the end of the header.
    pub(super) data_offsets: (u64, u64),
}

/// The entries in the order of the header, each name once.
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) claims: BTreeMap<String, Claim>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry per tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut metadata = None;
        let mut claims = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let about = |error: A::Error| A::Error::custom(format_args!("entry `{name}`: {error}"));
            let first = if name == METADATA {
                metadata.replace(map.next_value::<BTreeMap<String, String>>().map_err(about)?).is_none()
            } else {
                let claim = map.next_value::<Claim>().map_err(about)?;
                claims.insert(name.clone(), claim).is_none()
            };
            if !first {
                return Err(A::Error::custom(format_args!("entry `{name}` is there twice")));
            }
        }
        Ok(Header { metadata: metadata.unwrap_or_default(), claims })
    }
}
