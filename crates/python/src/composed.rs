//! `compose`: the weights of a composition, without an engine.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList};
use taskvec_runtime::{CompositionLimits, Error as RuntimeError, ErrorKind, Trust};

use crate::arrays::tensor_array;
use crate::base_model::Base;
use crate::change::Composition;
use crate::error::raised;
use crate::session::{Wanted, wanted};

/// The weights of a composition: for each tensor of floats of the base its array. `dict(composed)` copies all of them.
///
/// They are those that a session has with the same composition, bit for bit, but nothing was proved.
#[pyclass(frozen, mapping, module = "taskvec")]
pub(crate) struct Composed {
    composed: taskvec_runtime::Composed,
}

/// Composes a base and skills without an engine: pack arithmetic alone, like `taskvec apply`. It asks nobody's signature;
/// what comes out is only weights, and whoever uses them has to know where the packs are from.
///
/// Args:
///     base: the base underneath.
///     skills: each a skill, at its recommended alpha, or a pair (skill, alpha); in any order.
///
/// Raises:
///     Mismatch: a skill belongs to another base.
///     Usage: an alpha is not finite, or a skill is given twice.
///     Limit: there are more than 64 skills.
#[pyfunction]
#[pyo3(signature = (base, skills))]
pub(crate) fn compose(
    py: Python<'_>,
    base: &Base,
    #[pyo3(from_py_with = wanted)] skills: Vec<Wanted>,
) -> PyResult<Composed> {
    let base = &base.model;
    let composed = py
        .detach(|| taskvec_runtime::Composed::of(base, skills, &Trust::unsigned_too(), &CompositionLimits::default()));
    Ok(Composed { composed: composed.map_err(raised)? })
}

#[pymethods]
impl Composed {
    /// What the weights are composed of.
    #[getter]
    fn composition(&self) -> Composition {
        Composition::of(self.composed.composition().clone())
    }

    /// Names of the tensors.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.composed.weights().base().tensors().iter().map(|tensor| &tensor.name))
    }

    /// Writes all of it as a safetensors file, with the header of the base's; aside first, then renamed to `path`.
    ///
    /// Raises:
    ///     Io: the file cannot be written.
    fn write(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let bytes = self.composed.weights().bytes();
        py.detach(|| write_aside(bytes, &path)).map_err(|cause| {
            let clause = format!("cannot write `{}`", path.display());
            raised(RuntimeError::new(ErrorKind::Io, clause).with_source(cause))
        })
    }

    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let weights = self.composed.weights();
        match weights.base().tensor(name) {
            Some(tensor) => tensor_array(py, tensor, &weights.bytes()[tensor.place.clone()]),
            None => Err(PyKeyError::new_err(name.to_owned())),
        }
    }

    fn __contains__(&self, name: &str) -> bool {
        self.composed.weights().base().tensor(name).is_some()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.keys(py)?.try_iter()
    }

    fn __len__(&self) -> usize {
        self.composed.weights().base().tensors().len()
    }

    fn __repr__(&self) -> String {
        format!("<taskvec.Composed of {} tensors, {}>", self.__len__(), self.composed.composition().digest)
    }
}

fn write_aside(bytes: &[u8], path: &Path) -> io::Result<()> {
    // A bare file name has the empty path as its parent.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Through `File::create`, so that the file gets the permissions of any other new file, which tempfile's own does not.
    let mut aside = tempfile::Builder::new().make_in(folder, |path| File::create_new(path))?;
    aside.as_file_mut().write_all(bytes)?;
    aside.as_file().sync_all()?;
    aside.persist(path)?;
    Ok(())
}
