//! What goes into a base model and what comes out of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::preprocessing::Preprocessing;
use crate::tensors::StoredDtype;

/// Most inputs or outputs, and most sides of one.
const COUNT_MAX: usize = 256;

/// What goes in and what comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Interface {
    /// Pictures in, features for a head out.
    Pictures(Pictures),
    /// Arrays by name, as an ONNX graph declares them.
    Arrays(Arrays),
}

/// A network that makes features of pictures: one input `pixels`, f32 `[batch, channels, height, width]`, one output
/// `features`, f32 `[batch, feature_width]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pictures {
    /// What is done to a picture first.
    pub preprocessing: Preprocessing,
    /// How many features the network computes per picture.
    pub feature_width: u32,
}

/// A network whose inputs and outputs are its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrays {
    /// What has to be given.
    pub inputs: Vec<Port>,
    /// What is answered.
    pub outputs: Vec<Port>,
    /// For each side that has a name instead of a size: the size that it has when the network is tried.
    pub sizes: BTreeMap<String, u64>,
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// Type of its elements.
    #[serde(with = "dtype_name")]
    pub dtype: StoredDtype,
    /// Its sides.
    pub shape: Vec<Side>,
    /// What all its elements are when the network is tried. Default: none; then floats run from -1 to 1 and whole numbers
    /// alternate between 0 and 1, which every vocabulary and every mask has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<f64>,
}

/// A side of an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Side {
    /// Always of this size.
    Fixed(u64),
    /// Of another size each time; sides of one name have one size.
    Named(String),
}

impl Pictures {
    /// How many features the network computes per picture; at least one.
    pub fn feature_width(&self) -> usize {
        // At most 2^32: only a 16-bit machine would lose bits, and it has no `std`.
        self.feature_width as usize
    }

    /// Channels, height and width of one picture.
    pub fn shape(&self) -> [usize; 3] {
        // Each is at most 4096.
        [self.preprocessing.channels(), self.preprocessing.height(), self.preprocessing.width()]
            .map(|side| side as usize)
    }

    /// Numbers of one picture: `channels * height * width`.
    pub fn pixels_len(&self) -> usize {
        self.preprocessing.pixels_len()
    }
}

impl Arrays {
    /// The sizes of a port when the network is tried.
    pub fn trial_shape(&self, port: &Port) -> Vec<u64> {
        let size = |side: &Side| match side {
            Side::Fixed(size) => *size,
            Side::Named(name) => self.sizes.get(name).copied().unwrap_or(1),
        };
        port.shape.iter().map(size).collect()
    }
}

/// Every rule that the docs above promise.
pub(super) fn check(interface: &Interface, kind: ErrorKind) -> Result<(), Error> {
    let refuse = |clause: String| Err(Error::new(kind, "base.json", clause));
    let arrays = match interface {
        Interface::Pictures(pictures) if pictures.feature_width == 0 => {
            return refuse("`feature_width` is 0, expected at least 1".to_owned());
        }
        Interface::Pictures(_) => return Ok(()),
        Interface::Arrays(arrays) => arrays,
    };
    for (what, ports) in [("inputs", &arrays.inputs), ("outputs", &arrays.outputs)] {
        if ports.is_empty() || ports.len() > COUNT_MAX {
            return refuse(format!("has {} {what}, expected 1 to {COUNT_MAX}", ports.len()));
        }
        for (index, port) in ports.iter().enumerate() {
            super::checks::check_name(&port.name, "input or output", kind)?;
            if ports[..index].iter().any(|other| other.name == port.name) {
                return refuse(format!("`{}` is there twice among the {what}", port.name));
            }
            if port.fill.is_some_and(|fill| !fill.is_finite()) {
                return refuse(format!("`{}`: `fill` is not a finite number", port.name));
            }
            if port.shape.len() > COUNT_MAX {
                return refuse(format!("`{}` has {} sides, expected at most {COUNT_MAX}", port.name, port.shape.len()));
            }
        }
    }
    let named = arrays.inputs.iter().flat_map(|port| &port.shape);
    for side in named {
        match side {
            Side::Named(name) if !arrays.sizes.contains_key(name) => {
                return refuse(format!("side `{name}` of an input has no size in `sizes`"));
            }
            _ => {}
        }
    }
    let mut all = 0u64;
    for port in &arrays.inputs {
        let count = arrays.trial_shape(port).iter().try_fold(1u64, |count, &side| count.checked_mul(side));
        match count.and_then(|count| all.checked_add(count)).filter(|&all| all <= ELEMENTS_MAX) {
            Some(more) => all = more,
            None => {
                let name = &port.name;
                return refuse(format!(
                    "with `{name}`, inputs have more than {ELEMENTS_MAX} elements when they are tried"
                ));
            }
        }
    }
    Ok(())
}

/// Most elements of all inputs together when the network is tried: 256 MiB of f32.
const ELEMENTS_MAX: u64 = 1 << 26;

/// A dtype by its name in lower case.
pub(super) mod dtype_name {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::tensors::StoredDtype;

    pub(in crate::base_json) fn serialize<S: Serializer>(
        dtype: &StoredDtype,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&dtype.name().to_ascii_lowercase())
    }

    /// The dtype that is written like this, and not in capitals.
    pub(in crate::base_json) fn from_name(name: &str) -> Option<StoredDtype> {
        let known = StoredDtype::from_name(&name.to_ascii_uppercase());
        known.filter(|known| known.name().to_ascii_lowercase() == name)
    }

    pub(in crate::base_json) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<StoredDtype, D::Error> {
        let name = String::deserialize(deserializer)?;
        from_name(&name).ok_or_else(|| D::Error::custom(format!("dtype `{name}` is not known here")))
    }
}
