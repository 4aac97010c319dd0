//! `Session`: base, composition and engine, ready to infer.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use taskvec_runtime::{CompositionLimits, EngineChoice, EngineKind, HeadChoice, OrtSettings, Trust};

use crate::arrays::{Pixels, answer_array, array_of_f32, named_arrays, tensor_array};
use crate::base_model::{Base, tensor};
use crate::change::{Change, Composition};
use crate::error::{raised, usage};
use crate::logits::Logits;
use crate::skill::{Skill, Which, dict, trust_in};

/// Base, composition and engine, ready to infer. Nothing is in force at first.
///
/// May be used from several threads: an inference sees one composition, whole, its answer names it, and it never waits for a
/// change. The interpreter's lock is released during inferences and changes.
///
/// Args:
///     base: the base underneath.
///     engine: "ort" (ONNX Runtime), "burn" (pure Rust, always there), or "auto": the first if its library is found and
///         accepts the base, else the second; `engine` then says why.
///     trust: paths of the public keys of those whose packs may be attached.
///     threshold: how many of them must have signed a pack.
///     allow_unsigned: whether packs may be attached that nobody has signed. Whoever can hand in a pack then decides what the
///         model answers. Without this and without keys, every pack is refused.
///     onnxruntime: the library of ONNX Runtime itself. By default the variable ORT_DYLIB_PATH, the folder of the executable,
///         this interpreter's packages and the system's are looked at; `pip install onnxruntime` puts one there.
///     providers: execution providers of ONNX Runtime in order of preference. The first is used that works here; "cpu" is
///         tried last, also where it is not named. `report` says which is used, and why not the others.
///     threads: threads of one inference on ONNX Runtime, at least 1. The same number gives the same bits on the same machine.
///     skills_max: skills in force at once.
///     touched_bytes_max: bytes of the pages that a composition may touch. None: no limit.
///     entries_max: entries that may be applied for one composition, which bounds how long a change takes.
///     keep_pages: whether pages stay in memory when the last skill is detached, which makes the next change quicker.
///
/// Raises:
///     Unsupported: the engine is not there, or refuses the base.
///     Mismatch: the bundle's parts do not belong together.
///     Usage: there is no such engine or provider, 0 threads, or a threshold that makes no sense.
///     Io, Damaged, Usage: a key cannot be read, or is none.
#[pyclass(frozen, module = "taskvec")]
pub(crate) struct Session {
    session: taskvec_runtime::Session,
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (
        base, engine="auto", *, trust=vec![], threshold=1, allow_unsigned=false, onnxruntime=None, providers=vec![], threads=1,
        skills_max=64, touched_bytes_max=None, entries_max=17_179_869_184, keep_pages=false
    ), text_signature = "(base, engine='auto', *, trust=(), threshold=1, allow_unsigned=False, onnxruntime=None, \
        providers=(), threads=1, skills_max=64, touched_bytes_max=None, entries_max=17179869184, keep_pages=False)")]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, each with a default")]
    fn new(
        py: Python<'_>,
        base: &Base,
        engine: &str,
        trust: Vec<PathBuf>,
        threshold: usize,
        allow_unsigned: bool,
        onnxruntime: Option<PathBuf>,
        providers: Vec<String>,
        threads: usize,
        skills_max: usize,
        touched_bytes_max: Option<u64>,
        entries_max: u64,
        keep_pages: bool,
    ) -> PyResult<Self> {
        let mut trusted = if trust.is_empty() { Trust::default() } else { trust_in(&trust, threshold)? };
        if allow_unsigned {
            trusted = trusted.and_unsigned_too();
        }
        let mut settings =
            OrtSettings { library: onnxruntime, python_environments: environments(py)?, threads, ..Default::default() };
        if !providers.is_empty() {
            let named = providers.iter().map(|name| name.parse()).collect::<Result<_, _>>();
            settings.providers = named.map_err(raised)?;
        }
        let choice = match engine {
            "auto" => EngineChoice::Auto(settings),
            "ort" => EngineChoice::Ort(settings),
            "burn" => EngineChoice::Burn,
            _ => return Err(usage(format!("there is no engine called `{engine}`"), "engines: auto, ort, burn")),
        };
        let touched_bytes_max = touched_bytes_max.unwrap_or(u64::MAX);
        let limits = CompositionLimits { skills_max, touched_bytes_max, entries_max };
        let base = &base.model;
        let session = py.detach(|| taskvec_runtime::Session::open(base, &choice)).map_err(raised)?;
        let session = session.with_limits(limits).trusting(trusted);
        Ok(Self { session: if keep_pages { session.keeping_pages() } else { session } })
    }

    /// Another session on the same base, engine, trust and settings, with nothing in force: several compositions can serve at
    /// once, and each request goes to the session of its choice. It costs the pages that its composition touches.
    fn beside(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self { session: py.detach(|| self.session.beside()).map_err(raised)? })
    }

    /// The base underneath.
    #[getter]
    fn base(&self) -> Base {
        Base { model: self.session.base().clone() }
    }

    /// The engine, its version and settings, for people.
    #[getter]
    fn engine(&self) -> String {
        self.session.engine()
    }

    /// Which engine infers: "ort" or "burn".
    #[getter]
    fn engine_kind(&self) -> &'static str {
        match self.session.engine_kind() {
            EngineKind::Ort => "ort",
            EngineKind::Burn => "burn",
            _ => "other",
        }
    }

    /// What the engine says of itself: library, version, provider and tier in use with the reason, and what was tried and is
    /// not used. The same names as the programs print with `--json`.
    #[getter]
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        dict(py, &self.session.engine_report())
    }

    /// What is in force.
    #[getter]
    fn composition(&self, py: Python<'_>) -> Composition {
        Composition::of(py.detach(|| self.session.composition()))
    }

    /// Puts a skill in force, beside what is.
    ///
    /// Args:
    ///     skill: the skill.
    ///     alpha: its coefficient; negative = negation. None: the one its maker recommends.
    ///
    /// Raises:
    ///     Untrusted: too few of those that this session trusts have signed it.
    ///     Mismatch: it belongs to another base, has no effect, or fails its probes.
    ///     Usage: alpha is not finite, or the skill is in force already.
    ///     Limit: there is too much in force.
    #[pyo3(signature = (skill, alpha=None))]
    fn attach(&self, py: Python<'_>, skill: &Skill, alpha: Option<f32>) -> PyResult<Change> {
        let skill = &skill.skill;
        let alpha = alpha.unwrap_or_else(|| skill.recommended_alpha());
        self.changed(py, |session| session.attach(skill, alpha))
    }

    /// Takes a skill out of force.
    ///
    /// Args:
    ///     skill: the skill, or its digest in hexadecimal.
    ///
    /// Raises:
    ///     Usage: it is not in force.
    fn detach(&self, py: Python<'_>, skill: Which<'_>) -> PyResult<Change> {
        let digest = skill.digest()?;
        self.changed(py, |session| session.detach(&digest))
    }

    /// Gives a skill in force another coefficient.
    ///
    /// Args:
    ///     skill: the skill, or its digest in hexadecimal.
    ///     alpha: the new coefficient.
    ///
    /// Raises:
    ///     As `attach`, and Usage: it is not in force.
    fn set_alpha(&self, py: Python<'_>, skill: Which<'_>, alpha: f32) -> PyResult<Change> {
        let digest = skill.digest()?;
        self.changed(py, |session| session.set_alpha(&digest, alpha))
    }

    /// Replaces everything in force, in one step; no skills leave the base.
    ///
    /// Args:
    ///     skills: each a skill, at its recommended alpha, or a pair (skill, alpha).
    ///
    /// Raises:
    ///     As `attach`, and Usage: a skill is given twice.
    #[pyo3(signature = (skills))]
    fn swap(&self, py: Python<'_>, #[pyo3(from_py_with = wanted)] skills: Vec<Wanted>) -> PyResult<Change> {
        self.changed(py, |session| session.swap(skills))
    }

    /// Answers for a batch of inputs.
    ///
    /// Args:
    ///     pixels: float32, [batch, channels, height, width], as `Base.pixels` makes them.
    ///     head: whose head answers: a skill in force; or a name, of a skill in force or else of one of the base's own heads.
    ///         None: the one skill in force that has a head.
    ///
    /// Raises:
    ///     Usage: another type or shape, or there is no such head.
    ///     TypeError: not an array.
    #[pyo3(signature = (pixels, head=None))]
    fn infer(&self, py: Python<'_>, pixels: &Bound<'_, PyAny>, head: Option<WhoseHead<'_>>) -> PyResult<Logits> {
        let pixels = self.pixels(pixels)?;
        let head = match head {
            None => HeadChoice::Only,
            Some(WhoseHead::Skill(skill)) => HeadChoice::Skill(skill.get().skill.digest()),
            Some(WhoseHead::Name(name)) => HeadChoice::Named(name),
        };
        let logits = py.detach(|| self.session.infer(&pixels.values, pixels.batch, &head)).map_err(raised)?;
        Logits::of(py, &logits)
    }

    /// The network's features for a batch of inputs.
    ///
    /// Args:
    ///     pixels: as in `infer`.
    ///
    /// Returns:
    ///     float32, [batch, feature_width].
    ///
    /// Raises:
    ///     Usage: another type or shape.
    ///     TypeError: not an array.
    fn features<'py>(&self, py: Python<'py>, pixels: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let pixels = self.pixels(pixels)?;
        let features = py.detach(|| self.session.features(&pixels.values, pixels.batch)).map_err(raised)?;
        array_of_f32(py, &features, [pixels.batch, self.session.base().pictures().map_err(raised)?.feature_width()])
    }

    /// The network's answers to arrays, for a base that takes no pictures.
    ///
    /// Args:
    ///     inputs: an array for each input of the base, by name: of its type, with its sides.
    ///
    /// Returns:
    ///     An array for each output, by name; uint16 with the bits of bfloat16 numbers.
    ///
    /// Raises:
    ///     Usage: the base takes pictures, or an input is missing, unknown or of another type or shape.
    ///     TypeError: not a dict of arrays.
    fn run<'py>(&self, py: Python<'py>, inputs: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
        let inputs = named_arrays(inputs)?;
        let answers = py.detach(|| self.session.run(&inputs)).map_err(raised)?;
        let outputs = PyDict::new(py);
        for answer in &answers {
            outputs.set_item(answer.name(), answer_array(py, answer)?)?;
        }
        Ok(outputs)
    }

    /// A copy of one tensor as it is in force, as `Base.weights` gives it for the base.
    ///
    /// Raises:
    ///     Usage: there is no tensor of that name.
    fn weights<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let tensor = tensor(self.session.base(), name)?;
        let copied =
            py.detach(|| self.session.look_at_weights(|weights| weights.bytes()[tensor.place.clone()].to_vec()));
        tensor_array(py, tensor, &copied)
    }

    fn __repr__(&self) -> String {
        format!("<taskvec.Session on `{}`, {}>", self.session.base().name(), self.engine())
    }
}

impl Session {
    fn changed(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&taskvec_runtime::Session) -> Result<taskvec_runtime::Change, taskvec_runtime::Error> + Send,
    ) -> PyResult<Change> {
        let change = py.detach(|| change(&self.session)).map_err(raised)?;
        Change::of(py, change)
    }

    fn pixels(&self, array: &Bound<'_, PyAny>) -> PyResult<Pixels> {
        Pixels::of(array, self.session.base().pictures().map_err(raised)?.shape())
    }
}

/// Whose head answers.
#[derive(FromPyObject)]
enum WhoseHead<'py> {
    Skill(Bound<'py, Skill>),
    #[pyo3(annotation = "str")]
    Name(String),
}

/// A skill that shall be in force, with its alpha.
pub(crate) type Wanted = (taskvec_runtime::Skill, f32);

/// What `swap` and `compose` take.
#[derive(FromPyObject)]
enum Entry<'py> {
    Skill(Bound<'py, Skill>),
    #[pyo3(annotation = "(Skill, float | None)")]
    Pair(Bound<'py, Skill>, Option<f32>),
}

/// Reads any iterable of skills and pairs.
pub(crate) fn wanted(skills: &Bound<'_, PyAny>) -> PyResult<Vec<Wanted>> {
    let mut wanted = Vec::new();
    for entry in skills.try_iter()? {
        let (skill, alpha) = match entry?.extract()? {
            Entry::Skill(skill) => (skill, None),
            Entry::Pair(skill, alpha) => (skill, alpha),
        };
        let skill = skill.get().skill.clone();
        let alpha = alpha.unwrap_or_else(|| skill.recommended_alpha());
        wanted.push((skill, alpha));
    }
    Ok(wanted)
}

/// The Python environments of this interpreter, in which a wheel of ONNX Runtime may lie.
fn environments(py: Python<'_>) -> PyResult<Vec<PathBuf>> {
    let sys = py.import("sys")?;
    ["prefix", "base_prefix"].into_iter().map(|name| sys.getattr(name)?.extract()).collect()
}
