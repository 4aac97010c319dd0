//! `Base`: a base bundle, mapped and verified.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use taskvec_runtime::{BaseModel, BaseTensor, Error as RuntimeError, ErrorKind, Image, Preprocessing};

use crate::arrays::{array_of_f32, tensor_array};
use crate::error::{raised, usage};
use crate::skill::Skill;

/// A base model: the bundle in `folder`, mapped read-only, every tensor held against its digest.
///
/// Opening reads every byte once; afterwards only the pages that are used stay in memory, shared with every other process
/// on the same file. The files must stay as they are while the base is open.
///
/// Args:
///     folder: a folder with `base.json` and `model.safetensors`, and `graph.onnx` for ONNX Runtime.
///
/// Raises:
///     Io: a file cannot be read.
///     Damaged: the files and `base.json` disagree.
///     Unsupported: a newer version, or an editable tensor that is not aligned.
#[pyclass(frozen, module = "taskvec")]
pub(crate) struct Base {
    pub(crate) model: BaseModel,
}

#[pymethods]
impl Base {
    #[new]
    fn new(py: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        let model = py.detach(|| BaseModel::open(folder)).map_err(raised)?;
        Ok(Self { model })
    }

    /// The folder it was opened from.
    #[getter]
    fn folder(&self) -> PathBuf {
        self.model.folder().to_owned()
    }

    /// Its name, for people.
    #[getter]
    fn name(&self) -> &str {
        self.model.name()
    }

    /// What packs are bound to, in hexadecimal.
    #[getter]
    fn fingerprint(&self) -> String {
        self.model.fingerprint().to_string()
    }

    /// Channels, height and width of one input.
    #[getter]
    fn image_shape(&self) -> PyResult<(usize, usize, usize)> {
        Ok(self.model.pictures().map_err(raised)?.shape().into())
    }

    /// How many features the network computes for one input.
    #[getter]
    fn feature_width(&self) -> PyResult<usize> {
        Ok(self.model.pictures().map_err(raised)?.feature_width())
    }

    /// The base's own heads: for each name the names of its classes.
    #[getter]
    fn heads<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let heads = PyDict::new(py);
        for entry in self.model.described().heads() {
            if let Some(head) = self.model.head(&entry.name) {
                heads.set_item(&entry.name, head.labels())?;
            }
        }
        Ok(heads)
    }

    /// The tensors of floats, and of bytes that stand for floats: for each name a dict of `dtype`, `shape` and `editable` (whether packs may change it).
    #[getter]
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tensors = PyDict::new(py);
        for tensor in self.model.tensors() {
            let facts = PyDict::new(py);
            facts.set_item("dtype", tensor.stored().name().to_ascii_lowercase())?;
            facts.set_item("shape", &tensor.shape)?;
            facts.set_item("editable", tensor.editable)?;
            tensors.set_item(&tensor.name, facts)?;
        }
        Ok(tensors)
    }

    /// A copy of one tensor as the base has it.
    ///
    /// Returns:
    ///     float32 or float16 of the tensor's shape; uint16 with the bits of a bfloat16, which numpy does not have.
    ///
    /// Raises:
    ///     Usage: there is no tensor of that name.
    fn weights<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let tensor = tensor(&self.model, name)?;
        tensor_array(py, tensor, &self.model.bytes()[tensor.place.clone()])
    }

    /// Makes of pictures what the network takes: the base's size, number of channels and scale.
    ///
    /// Args:
    ///     pictures: uint8, [batch, height, width] or [batch, height, width, 1 or 3], 0 for dark and 255 for bright.
    ///     skill: makes them as this skill's maker did, if the pack says how.
    ///
    /// Returns:
    ///     float32, [batch, channels, height, width], as `Session.infer` takes it.
    ///
    /// Raises:
    ///     Usage: another type or shape.
    ///     TypeError: not an array.
    #[pyo3(signature = (pictures, skill=None))]
    fn pixels<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = crate::arrays::pictures)] pictures: Vec<Image>,
        skill: Option<&Skill>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let own = &self.model.pictures().map_err(raised)?.preprocessing;
        let preprocessing = skill.and_then(|skill| skill.skill.preprocessing()).unwrap_or(own);
        let values = py.detach(|| pixels(preprocessing, &pictures))?;
        let [channels, height, width] =
            [preprocessing.channels(), preprocessing.height(), preprocessing.width()].map(|side| side as usize);
        array_of_f32(py, &values, [pictures.len(), channels, height, width])
    }

    fn __repr__(&self) -> String {
        format!("<taskvec.Base `{}` {}>", self.name(), self.fingerprint())
    }
}

/// The tensor called `name`.
pub(crate) fn tensor<'a>(base: &'a BaseModel, name: &str) -> PyResult<&'a BaseTensor> {
    base.tensor(name)
        .ok_or_else(|| usage(format!("the base has no tensor of floats called `{name}`"), "`Base.tensors` lists them"))
}

fn pixels(preprocessing: &Preprocessing, pictures: &[Image]) -> PyResult<Vec<f32>> {
    let mut pixels = Vec::with_capacity(pictures.len() * preprocessing.pixels_len());
    for picture in pictures {
        let made = preprocessing.pixels(picture);
        pixels.extend(made.map_err(|cause| raised(RuntimeError::new(ErrorKind::Usage, cause.to_string())))?);
    }
    Ok(pixels)
}
