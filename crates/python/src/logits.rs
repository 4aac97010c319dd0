//! `Logits`: answers to a batch.

use std::sync::Arc;

use pyo3::prelude::*;
use taskvec_runtime::Head;

use crate::arrays::{array, array_of_f32};

/// Answers to a batch, all computed with one composition.
#[pyclass(frozen, module = "taskvec")]
pub(crate) struct Logits {
    /// One number per input and class: float32, [batch, classes].
    #[pyo3(get)]
    values: Py<PyAny>,
    /// For each input the class with the largest number: int64, [batch]; -1 where all are NaN.
    #[pyo3(get)]
    classes: Py<PyAny>,
    /// Digest of the composition that they were computed with.
    #[pyo3(get)]
    composition: String,
    head: Arc<Head>,
}

impl Logits {
    pub(crate) fn of(py: Python<'_>, logits: &taskvec_runtime::Logits) -> PyResult<Self> {
        let classes: Vec<i64> = logits.classes().map(|class| class.map_or(-1, |class| class as i64)).collect();
        Ok(Self {
            values: array_of_f32(py, &logits.values, [classes.len(), logits.class_count])?.unbind(),
            classes: array(py, bytemuck::cast_slice(&classes), "<i8", [classes.len()])?.unbind(),
            composition: logits.composition.to_string(),
            head: Arc::clone(&logits.head),
        })
    }
}

#[pymethods]
impl Logits {
    /// Names of the classes, in the order of `values`.
    #[getter]
    fn labels(&self) -> &[String] {
        self.head.labels()
    }

    fn __repr__(&self) -> String {
        format!("<taskvec.Logits of {} classes, composition {}>", self.head.class_count(), self.composition)
    }
}
