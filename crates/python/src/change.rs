//! What is in force, and what a change of it did: values without behavior.

use pyo3::prelude::*;

use crate::skill::dict;

/// What is in force.
#[pyclass(frozen, eq, get_all, module = "taskvec")]
#[derive(PartialEq)]
pub(crate) struct Composition {
    /// Fingerprint of the base underneath.
    base: String,
    /// Names base, skills and alphas together.
    digest: String,
    /// The skills in canonical order: by digest.
    skills: Vec<SkillInForce>,
}

/// A skill in force, and its alpha.
#[pyclass(frozen, eq, get_all, module = "taskvec")]
#[derive(Clone, PartialEq)]
pub(crate) struct SkillInForce {
    /// Digest of its pack.
    digest: String,
    /// Its name, for people.
    name: String,
    /// The coefficient that it is applied with.
    alpha: f32,
    /// Whether alpha lies in the range on which its maker validated it.
    validated: bool,
}

/// What a change did, and what it took.
#[pyclass(frozen, get_all, module = "taskvec")]
pub(crate) struct Change {
    /// What is in force now.
    composition: Py<Composition>,
    /// What was proved before it came into force, as `taskvec-device --json` tells it.
    proof: Py<PyAny>,
    /// Tensors whose weights were composed again.
    tensors: usize,
    /// Entries of packs that were applied for that.
    entries: u64,
    /// Pages of 4 KiB that the composition has written: the memory that it owns.
    touched_pages: usize,
    /// Their size in bytes.
    touched_bytes: u64,
    /// Time spent waiting for another change to end, in ms.
    wait_ms: f64,
    /// Time spent writing weights, in ms.
    weights_ms: f64,
    /// Time spent on the engine's preparations and on the proof, in ms. After it the new composition serves.
    proof_ms: f64,
    /// Time spent, while the new composition served already, on waiting for inferences that had begun before and on taking
    /// the old composition's memory back, in ms.
    settle_ms: f64,
}

impl Change {
    pub(crate) fn of(py: Python<'_>, change: taskvec_runtime::Change) -> PyResult<Self> {
        Ok(Self {
            proof: dict(py, &change.proof)?.unbind(),
            composition: Py::new(py, Composition::of(change.composition))?,
            tensors: change.tensors,
            entries: change.entries,
            touched_pages: change.touched_pages,
            touched_bytes: change.touched_bytes,
            wait_ms: change.wait_ms,
            weights_ms: change.weights_ms,
            proof_ms: change.proof_ms,
            settle_ms: change.settle_ms,
        })
    }
}

impl Composition {
    pub(crate) fn of(composition: taskvec_runtime::Composition) -> Self {
        let skills = composition.skills.into_iter().map(|skill| SkillInForce {
            digest: skill.digest.to_string(),
            name: skill.name,
            alpha: skill.alpha,
            validated: skill.validated,
        });
        Self { base: composition.base.to_string(), digest: composition.digest.to_string(), skills: skills.collect() }
    }
}

#[pymethods]
impl Composition {
    fn __repr__(&self) -> String {
        let skills: Vec<String> =
            self.skills.iter().map(|skill| format!("{} at {}", skill.name, skill.alpha)).collect();
        format!("<taskvec.Composition [{}] {}>", skills.join(", "), self.digest)
    }
}

#[pymethods]
impl SkillInForce {
    fn __repr__(&self) -> String {
        format!("<taskvec.SkillInForce `{}` at {} {}>", self.name, self.alpha, self.digest)
    }
}

#[pymethods]
impl Change {
    fn __repr__(&self) -> String {
        let composition = self.composition.get().__repr__();
        format!("<taskvec.Change to {composition}: {} bytes touched, {} ms>", self.touched_bytes, self.weights_ms)
    }
}
