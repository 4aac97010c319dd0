//! What a base model stands for: the checkpoint that its graph was exported from, or the float model that it was quantized
//! from. Packs are made for that one, and are attached to this one.
//!
//! Exporters turn matrices, fold layers into each other and quantize. A tensor that is a tensor of the original, turned or
//! quantized or under another name, is listed here with what it is there; a pack's entries are then led to their places and,
//! where the tensor is quantized, rounded to its grid. A tensor that is not listed is out of the reach of such packs.

use serde::{Deserialize, Serialize};
use taskvec_pack::Fingerprint;

use super::Base;
use super::interface::dtype_name;
use crate::error::{Error, ErrorKind};
use crate::tensors::StoredDtype;

/// Another base model whose packs are attached to this one.
#[derive(Clone, Debug, PartialEq)]
pub struct StandsFor {
    /// The other base model's.
    pub fingerprint: Fingerprint,
    /// What the tensors of this one are in that one, in byte order of their names here.
    pub tensors: Vec<Counterpart>,
}

/// A tensor of this base model that is a tensor of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counterpart {
    /// Its name here.
    pub name: String,
    /// Its name there.
    pub of: String,
    /// Type of its elements there: f32, f16 or bf16.
    #[serde(with = "dtype_name")]
    pub dtype: StoredDtype,
    /// Whether rows and columns have changed places: `[in, out]` here, `[out, in]` there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub turned: bool,
    /// The numbers that its whole numbers stand for, if it is quantized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridNames>,
}

/// Where the grid of a quantized tensor lies: element `q` stands for `(q - zero_point) * scale`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridNames {
    /// Name of the tensor with its scales, f32: one, or one for each index along `axis`. Like the zero points, packs may not
    /// edit them: what the whole numbers stand for is the same whatever is in force.
    pub scale: String,
    /// Name of the tensor with its zero points, of its own dtype and as many as scales. None: they are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_point: Option<String>,
    /// The side along which scales differ, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axis: Option<usize>,
}

/// Every rule that the docs above promise, as far as names, dtypes and shapes go.
pub(super) fn check(base: &Base, stands_for: &StandsFor, kind: ErrorKind) -> Result<(), Error> {
    let mut last: Option<&str> = None;
    let mut there: Vec<&str> = stands_for.tensors.iter().map(|tensor| tensor.of.as_str()).collect();
    there.sort_unstable();
    if let Some(pair) = there.windows(2).find(|pair| pair[0] == pair[1]) {
        let clause = format!("`stands_for`: two tensors are `{}` there", pair[0]);
        return Err(Error::new(kind, "base.json", clause));
    }
    for counterpart in &stands_for.tensors {
        let name = counterpart.name.as_str();
        let refuse =
            |clause: String| Err(Error::new(kind, format!("base.json: `stands_for`: tensor `{name}`"), clause));
        if last.replace(name).is_some_and(|last| last >= name) {
            return refuse("stands after a name that is not smaller, expected byte order".to_owned());
        }
        let Some(tensor) = base.tensor(name) else {
            return refuse("is not among the tensors".to_owned());
        };
        let dtype = counterpart.dtype;
        if dtype.editable().is_none() {
            return refuse(format!("is {} there, packs edit F32, F16 and BF16", dtype.name()));
        }
        if counterpart.turned && tensor.shape.len() != 2 {
            return refuse(format!("is turned and has {} sides, expected 2", tensor.shape.len()));
        }
        match &counterpart.grid {
            Some(grid) => check_grid(base, name, grid, kind)?,
            None if tensor.dtype != dtype => {
                return refuse(format!("is {} here and {} there", tensor.dtype.name(), dtype.name()));
            }
            None => {}
        }
    }
    Ok(())
}

fn check_grid(base: &Base, name: &str, grid: &GridNames, kind: ErrorKind) -> Result<(), Error> {
    let refuse = |clause: String| Err(Error::new(kind, format!("base.json: the grid of tensor `{name}`"), clause));
    let Some(tensor) = base.tensor(name) else { return refuse("there is no such tensor".to_owned()) };
    if !matches!(tensor.dtype, StoredDtype::I8 | StoredDtype::U8 | StoredDtype::I32) {
        return refuse(format!("the tensor is {}, expected I8, U8 or I32", tensor.dtype.name()));
    }
    let expected = match grid.axis.map(|axis| tensor.shape.get(axis)) {
        None => 1,
        Some(Some(&side)) => side,
        Some(None) => return refuse(format!("its axis is beyond the {} sides of the tensor", tensor.shape.len())),
    };
    let parts = [(Some(&grid.scale), StoredDtype::F32), (grid.zero_point.as_ref(), tensor.dtype)];
    for (part, dtype) in parts {
        let Some(part) = part else { continue };
        let Some(found) = base.tensor(part) else { return refuse(format!("`{part}` is not among the tensors")) };
        let count = found.shape.iter().try_fold(1u64, |count, &side| count.checked_mul(side));
        if found.dtype != dtype || count != Some(expected) {
            let clause = format!(
                "`{part}` is {} {:?}, expected {} with {expected} elements",
                found.dtype.name(),
                found.shape,
                dtype.name()
            );
            return refuse(clause);
        }
        if base.is_editable(part) {
            return refuse(format!("`{part}` is editable, expected a grid that stays as it is"));
        }
    }
    Ok(())
}
