//! `Skill`: a pack whose bytes have been checked; and what is in a pack.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use serde::Serialize;
use taskvec_runtime::{Digest, Inspection, PackLimits, Trust, read_public_key};

use crate::error::{raised, usage};

/// A pack, opened: every checksum, index and number has been checked. That it fits a base is another question, answered when
/// it is attached.
///
/// Args:
///     pack: path of the file, which must stay as it is while the skill lives; or its bytes.
///
/// Raises:
///     Io: the file cannot be read.
///     Damaged, Unsupported, Limit: as the pack's reader says.
#[pyclass(frozen, module = "taskvec")]
pub(crate) struct Skill {
    pub(crate) skill: taskvec_runtime::Skill,
}

/// Where a pack is.
#[derive(FromPyObject)]
pub(crate) enum Source {
    #[pyo3(annotation = "bytes")]
    Bytes(PyBackedBytes),
    #[pyo3(annotation = "str | os.PathLike")]
    Path(PathBuf),
}

impl Source {
    fn open(&self) -> Result<taskvec_runtime::Skill, taskvec_runtime::Error> {
        let limits = PackLimits::default();
        match self {
            Self::Bytes(bytes) => taskvec_runtime::Skill::from_bytes(&**bytes, &limits),
            Self::Path(path) => taskvec_runtime::Skill::open(path, &limits),
        }
    }
}

#[pymethods]
impl Skill {
    #[new]
    fn new(py: Python<'_>, pack: Source) -> PyResult<Self> {
        let skill = py.detach(|| pack.open()).map_err(raised)?;
        Ok(Self { skill })
    }

    /// The name its maker gave it, for people; two skills may have the same.
    #[getter]
    fn name(&self) -> &str {
        self.skill.name()
    }

    /// SHA-256 of the pack's content, in hexadecimal: the identity of the skill.
    #[getter]
    fn digest(&self) -> String {
        self.skill.digest().to_string()
    }

    /// The alpha its maker recommends, at which its probes hold.
    #[getter]
    fn alpha(&self) -> f32 {
        self.skill.recommended_alpha()
    }

    /// The alphas on which it was validated: lowest and highest, both inclusive.
    #[getter]
    fn alpha_range(&self) -> (f32, f32) {
        self.skill.pack().manifest().alpha_range.into()
    }

    /// Fingerprint of the only base that it fits.
    #[getter]
    fn base(&self) -> String {
        self.skill.pack().manifest().base.to_string()
    }

    /// Names of its head's classes; None when it brings no head.
    #[getter]
    fn labels(&self) -> Option<&[String]> {
        self.skill.head().map(|head| head.labels())
    }

    /// Size of the pack in bytes.
    #[getter]
    fn size_bytes(&self) -> u64 {
        self.skill.size_bytes()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.skill.digest() == other.skill.digest()
    }

    fn __hash__(&self) -> u64 {
        let [first, ..] = bytemuck::cast::<_, [u64; 4]>(self.skill.digest().0);
        first
    }

    fn __repr__(&self) -> String {
        format!("<taskvec.Skill `{}` {}>", self.name(), self.digest())
    }
}

/// What is in a pack, and how many bits each part costs beside its entropy bound: the same facts as `taskvec inspect --json`.
///
/// Args:
///     pack: path of the file, its bytes, or a `Skill`.
///     keys: paths of public keys that its signatures are held against.
///
/// Raises:
///     As `Skill`; Io, Damaged or Usage: a key cannot be read, or is none.
#[pyfunction]
#[pyo3(signature = (pack, *, keys=vec![]), text_signature = "(pack, *, keys=())")]
pub(crate) fn inspect<'py>(py: Python<'py>, pack: Inspected<'py>, keys: Vec<PathBuf>) -> PyResult<Bound<'py, PyAny>> {
    let trust = if keys.is_empty() { Trust::default() } else { trust_in(&keys, 1)? };
    let inspection = match &pack {
        Inspected::Skill(skill) => {
            let skill = &skill.get().skill;
            py.detach(|| inspection(skill, &trust))
        }
        Inspected::Source(source) => py.detach(|| Ok(inspection(&source.open()?, &trust))).map_err(raised)?,
    };
    dict(py, &inspection)
}

/// Trust in at least `threshold` of the public keys in these files.
///
/// # Errors
/// `Io`, `Damaged` or `Usage`, when a key cannot be read or is none; `Usage` for a threshold that makes no sense.
pub(crate) fn trust_in(keys: &[PathBuf], threshold: usize) -> PyResult<Trust> {
    let keys = keys.iter().map(|path| read_public_key(path)).collect::<Result<Vec<_>, _>>();
    keys.and_then(|keys| Trust::in_keys(keys, threshold)).map_err(raised)
}

/// What can be inspected.
#[derive(FromPyObject)]
pub(crate) enum Inspected<'py> {
    Skill(Bound<'py, Skill>),
    #[pyo3(annotation = "str | os.PathLike | bytes")]
    Source(Source),
}

fn inspection(skill: &taskvec_runtime::Skill, trust: &Trust) -> Inspection {
    Inspection::of(skill.pack(), skill.size_bytes(), trust)
}

/// A skill in force, by itself or by its digest.
#[derive(FromPyObject)]
pub(crate) enum Which<'py> {
    Skill(Bound<'py, Skill>),
    Digest(String),
}

impl Which<'_> {
    /// # Errors
    /// `Usage` when it is a text and no digest.
    pub(crate) fn digest(&self) -> PyResult<Digest> {
        match self {
            Self::Skill(skill) => Ok(skill.get().skill.digest()),
            Self::Digest(text) => text.parse().map_err(|_| {
                usage(format!("`{text}` is no digest, expected 64 hexadecimal digits"), "`Skill.digest` has it")
            }),
        }
    }
}

/// A value as Python's `json` reads it: the same names and numbers as the programs print with `--json`.
pub(crate) fn dict<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value).map_err(|cause| usage(cause.to_string(), "this is a bug: report it"))?;
    py.import("json")?.call_method1("loads", (text,))
}
