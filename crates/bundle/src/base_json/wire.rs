//! `base.json` word for word, in each of its versions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::interface::dtype_name;
use super::{Arrays, BASE_FILE, Base, BaseDraft, Counterpart, HeadEntry, Interface, ListedTensor, Pictures, StandsFor};
use crate::error::{Error, ErrorKind};
use crate::preprocessing::Preprocessing;

const FORMAT: &str = "taskvec base";
/// Pictures and features.
const PICTURES: u64 = 1;
/// What version 1 cannot say.
const NEWEST: u64 = 2;

/// What every version begins with, whatever else it holds.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    version: u64,
}

/// Version 1, in the order in which it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version1 {
    format: String,
    version: u64,
    name: String,
    network: Value,
    preprocessing: Preprocessing,
    feature_width: u32,
    heads: Vec<HeadEntry>,
    editable: Vec<String>,
    tensors: Vec<WireTensor>,
    fingerprint: String,
}

/// Version 2, in the order in which it is written. One of `pictures` and `arrays` is there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version2 {
    format: String,
    version: u64,
    name: String,
    network: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pictures: Option<Pictures>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arrays: Option<Arrays>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stands_for: Option<WireStandsFor>,
    heads: Vec<HeadEntry>,
    editable: Vec<String>,
    tensors: Vec<WireTensor>,
    fingerprint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireStandsFor {
    fingerprint: String,
    tensors: Vec<Counterpart>,
}

/// What the text says, not yet checked against itself.
pub(super) fn read(bytes: &[u8]) -> Result<Base, Error> {
    let preamble: Preamble = serde_json::from_slice(bytes).map_err(unreadable)?;
    if preamble.format != FORMAT {
        let clause = format!("format is `{}`, expected `{FORMAT}`", preamble.format);
        return Err(Error::damaged(BASE_FILE, clause));
    }
    let wire = match preamble.version {
        PICTURES => serde_json::from_slice::<Version1>(bytes).map_err(unreadable)?.into(),
        NEWEST => serde_json::from_slice::<Version2>(bytes).map_err(unreadable)?,
        version => {
            let clause = format!("version is {version}, this program reads {PICTURES} to {NEWEST}");
            let error = Error::new(ErrorKind::Unsupported, BASE_FILE, clause);
            return Err(error.with_help("update taskvec, or export the bundle again with this version of it"));
        }
    };
    let interface = match (wire.pictures, wire.arrays) {
        (Some(pictures), None) => Interface::Pictures(pictures),
        (None, Some(arrays)) => Interface::Arrays(arrays),
        _ => return Err(Error::damaged(BASE_FILE, "expected one of `pictures` and `arrays`")),
    };
    let stands_for = match wire.stands_for {
        Some(it) => {
            let fingerprint = hexadecimal("stands_for.fingerprint", &it.fingerprint)?;
            Some(StandsFor { fingerprint, tensors: it.tensors })
        }
        None => None,
    };
    let fingerprint = hexadecimal("fingerprint", &wire.fingerprint)?;
    let tensors = wire.tensors.into_iter().map(WireTensor::read).collect::<Result<_, Error>>()?;
    let (name, network, heads, editable) = (wire.name, wire.network, wire.heads, wire.editable);
    let draft = BaseDraft { name, network, interface, stands_for, heads, editable };
    Ok(Base { draft, tensors, fingerprint })
}

/// The text, in the oldest version that can say it.
pub(super) fn write(base: &Base) -> String {
    let draft = base.draft.clone();
    let (pictures, arrays) = match draft.interface {
        Interface::Pictures(pictures) => (Some(pictures), None),
        Interface::Arrays(arrays) => (None, Some(arrays)),
    };
    let stands_for =
        draft.stands_for.map(|it| WireStandsFor { fingerprint: it.fingerprint.to_string(), tensors: it.tensors });
    let wire = Version2 {
        format: FORMAT.to_owned(),
        version: NEWEST,
        name: draft.name,
        network: draft.network,
        pictures,
        arrays,
        stands_for,
        heads: draft.heads,
        editable: draft.editable,
        tensors: base.tensors.iter().map(WireTensor::write).collect(),
        fingerprint: base.fingerprint.to_string(),
    };
    let json = match Version1::try_from(wire) {
        Ok(wire) => serde_json::to_string_pretty(&wire),
        Err(wire) => serde_json::to_string_pretty(&*wire),
    };
    // Only maps with keys that are no strings and numbers that are not finite fail; a `fill` that is not finite is refused.
    let mut json = json.expect("plain values always become JSON");
    json.push('\n');
    json
}

fn unreadable(cause: serde_json::Error) -> Error {
    Error::damaged(BASE_FILE, "is no description of a base model").with_source(cause)
}

fn hexadecimal<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|_| Error::damaged(BASE_FILE, format!("`{field}` is `{text}`, expected 64 hexadecimal digits")))
}

impl From<Version1> for Version2 {
    fn from(it: Version1) -> Version2 {
        Version2 {
            format: it.format,
            version: it.version,
            name: it.name,
            network: it.network,
            pictures: Some(Pictures { preprocessing: it.preprocessing, feature_width: it.feature_width }),
            arrays: None,
            stands_for: None,
            heads: it.heads,
            editable: it.editable,
            tensors: it.tensors,
            fingerprint: it.fingerprint,
        }
    }
}

impl TryFrom<Version2> for Version1 {
    type Error = Box<Version2>;

    fn try_from(it: Version2) -> Result<Version1, Box<Version2>> {
        match it {
            Version2 { pictures: Some(Pictures { preprocessing, feature_width }), stands_for: None, .. } => {
                Ok(Version1 {
                    format: it.format,
                    version: PICTURES,
                    name: it.name,
                    network: it.network,
                    preprocessing,
                    feature_width,
                    heads: it.heads,
                    editable: it.editable,
                    tensors: it.tensors,
                    fingerprint: it.fingerprint,
                })
            }
            it => Err(Box::new(it)),
        }
    }
}

impl WireTensor {
    fn write(tensor: &ListedTensor) -> WireTensor {
        WireTensor {
            name: tensor.name.clone(),
            dtype: tensor.dtype.name().to_ascii_lowercase(),
            shape: tensor.shape.clone(),
            sha256: tensor.sha256.to_string(),
        }
    }

    fn read(self) -> Result<ListedTensor, Error> {
        let WireTensor { name, dtype, shape, sha256 } = self;
        let Some(dtype) = dtype_name::from_name(&dtype) else {
            let clause = format!("dtype `{dtype}` is not known here");
            return Err(Error::new(ErrorKind::Unsupported, format!("{BASE_FILE}: tensor `{name}`"), clause));
        };
        let Ok(sha256) = sha256.parse() else {
            let clause = format!("`sha256` is `{sha256}`, expected 64 hexadecimal digits");
            return Err(Error::damaged(format!("{BASE_FILE}: tensor `{name}`"), clause));
        };
        Ok(ListedTensor { name, dtype, shape, sha256 })
    }
}
