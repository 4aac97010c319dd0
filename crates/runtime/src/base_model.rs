//! A base model: its bundle mapped read-only, every tensor held against its digest.
//!
//! Opening reads every byte once, to digest it, unless a note says that this very file was verified before; afterwards only the pages that are used stay in memory, and they are
//! the page cache's, shared with every other process on the same file. The file is opened once: the composed weights
//! are a second mapping of that very file, whatever happens to its path in the meantime.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use taskvec_bundle::{Base, Head, Interface, Limits, MODEL_FILE, Pictures, StoredDtype, TensorFile};
use taskvec_pack::{Dtype, Fingerprint};

use crate::error::{Error, ErrorKind, of_bundle};
use crate::map::{PrivateMap, ReadOnlyMap};
use crate::quantization::Quantization;
use crate::verified::Verified;

/// A base bundle, mapped and verified. Cheap to clone: clones share the mapping.
///
/// Having a `BaseModel` tells you: when it was opened or noted, every tensor was the one that `base.json` lists, so that the
/// fingerprint is that of the mapped bytes; editable tensors are f32, f16 or bf16, or whole numbers that stand for these, and lie at a
/// multiple of their element's size. It tells you nothing about `graph.onnx`, which only ONNX Runtime reads.
#[derive(Clone)]
pub struct BaseModel {
    inside: Arc<Inside>,
}

struct Inside {
    folder: PathBuf,
    file: File,
    map: ReadOnlyMap,
    described: Base,
    verified: Option<Verified>,
    tensors: Vec<BaseTensor>,
    in_file_order: Vec<usize>,
    /// For each tensor that has another name in the base that this one stands for: that name and the tensor's number. In byte
    /// order of names.
    counterparts: Vec<(String, usize)>,
    heads: BTreeMap<String, Arc<Head>>,
}

/// A tensor of floats, or of whole numbers that stand for floats, and where it lies. (Tensors of other types are verified, and
/// used by nobody here.)
#[derive(Clone, Debug, PartialEq)]
pub struct BaseTensor {
    /// Its name in the safetensors file.
    pub name: String,
    /// Type of its elements as packs know them; where it is quantized, of what they stand for.
    pub dtype: Dtype,
    /// Its dimensions, row-major; empty for a single number.
    pub shape: Vec<u64>,
    /// Whether it is a matrix whose rows are columns in the base that this one stands for.
    pub turned: bool,
    /// What its elements stand for, if they are whole numbers.
    pub quantization: Option<Quantization>,
    /// Its bytes, counted from the start of the file.
    pub place: Range<usize>,
    /// Whether packs may edit it.
    pub editable: bool,
}

impl BaseModel {
    /// Opens the bundle in `folder` and verifies every tensor.
    ///
    /// The files must stay as they are while the base is open: install bundles by renaming, never edit them in place.
    ///
    /// # Errors
    /// `Io` when a file cannot be read; `Damaged` when the files and `base.json` disagree; `Unsupported` for a newer
    /// version, or an editable tensor that does not lie at a multiple of its element's size.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_within(folder, &Limits::default())
    }

    /// As [`BaseModel::open`], with limits of the caller's choice.
    ///
    /// # Errors
    /// As [`BaseModel::open`]; `Limit` when a header is longer than allowed.
    pub fn open_within(folder: impl AsRef<Path>, limits: &Limits) -> Result<Self, Error> {
        Self::open_unless_verified(folder, limits, None)
    }

    /// As [`BaseModel::open_within`], but the bytes of the tensors are not digested if the file is the very one that
    /// `before` was noted of; see [`Verified`] for how that is known, and what it does not notice.
    ///
    /// # Errors
    /// As [`BaseModel::open_within`].
    pub fn open_unless_verified(
        folder: impl AsRef<Path>,
        limits: &Limits,
        before: Option<&Verified>,
    ) -> Result<Self, Error> {
        let folder = folder.as_ref().to_owned();
        let attempt = |cause: Error| cause.while_doing(format!("open base `{}`", folder.display()));
        let described = Base::read_within(&folder, limits).map_err(of_bundle).map_err(attempt)?;
        let (file, map) = map_file(&folder.join(MODEL_FILE)).map_err(attempt)?;
        let header = TensorFile::parse_within(map.bytes(), limits).map_err(of_bundle).map_err(attempt)?;
        // Noted before the bytes are read: a write in between then shows the next time.
        let verified = Verified::now(&described, &file);
        if verified.is_some() && verified.as_ref() == before {
            described.verify_list(&header).map_err(of_bundle).map_err(attempt)?;
        } else {
            described.verify(&header, map.bytes()).map_err(of_bundle).map_err(attempt)?;
        }
        let tensors = tensors_of(&described, &header, map.bytes()).map_err(attempt)?;
        let mut in_file_order: Vec<usize> = (0..tensors.len()).collect();
        in_file_order.sort_by_key(|&tensor| tensors[tensor].place.start);
        let mut heads = BTreeMap::new();
        for entry in described.heads() {
            let head = described.head(&entry.name, &header, map.bytes()).map_err(of_bundle).map_err(attempt)?;
            heads.insert(entry.name.clone(), Arc::new(head));
        }
        let counterparts = counterparts_of(&described, &tensors);
        let inside = Inside { folder, file, map, described, verified, tensors, in_file_order, counterparts, heads };
        Ok(Self { inside: Arc::new(inside) })
    }

    /// A note for the next start, by which this file is known again; none where that cannot be relied on, and then the
    /// file is verified again.
    pub fn verified(&self) -> Option<&Verified> {
        self.inside.verified.as_ref()
    }

    /// The folder it was opened from.
    pub fn folder(&self) -> &Path {
        &self.inside.folder
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        self.inside.described.name()
    }

    /// What packs are bound to.
    pub fn fingerprint(&self) -> Fingerprint {
        self.inside.described.fingerprint()
    }

    /// Everything that `base.json` says.
    pub fn described(&self) -> &Base {
        &self.inside.described
    }

    /// Family and hyper-parameters of the network, as `base.json` has them.
    pub fn network(&self) -> &Value {
        self.inside.described.network()
    }

    /// What goes in and what comes out.
    pub fn interface(&self) -> &Interface {
        self.inside.described.interface()
    }

    /// What is done to a picture, and how many features come out.
    ///
    /// # Errors
    /// `Usage` when the base takes arrays: [`crate::Session::run`] is for these.
    pub fn pictures(&self) -> Result<&Pictures, Error> {
        self.inside.described.pictures().ok_or_else(|| {
            let inputs = match self.interface() {
                Interface::Arrays(arrays) => arrays.inputs.iter().map(|port| format!("`{}`", port.name)).collect(),
                Interface::Pictures(_) => Vec::new(),
            };
            let clause = format!("base `{}` takes arrays ({}), no pictures", self.name(), inputs.join(", "));
            Error::new(ErrorKind::Usage, clause).with_help("give it these arrays by name")
        })
    }

    /// The base's own head of this name.
    pub fn head(&self, name: &str) -> Option<&Head> {
        self.inside.heads.get(name).map(|head| &**head)
    }

    /// The tensors of floats, in byte order of their names.
    pub fn tensors(&self) -> &[BaseTensor] {
        &self.inside.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&BaseTensor> {
        Some(&self.tensors()[self.tensor_number(name)?])
    }

    /// The whole `model.safetensors`, read-only.
    pub fn bytes(&self) -> &[u8] {
        self.inside.map.bytes()
    }

    /// Its place in [`BaseModel::tensors`].
    pub(crate) fn tensor_number(&self, name: &str) -> Option<usize> {
        self.tensors().binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()
    }

    /// The number of the tensor that is called `name` in the base that this one stands for.
    pub(crate) fn counterpart_number(&self, name: &str) -> Option<usize> {
        let counterparts = &self.inside.counterparts;
        let found = counterparts.binary_search_by(|(of, _)| of.as_str().cmp(name)).ok()?;
        Some(counterparts[found].1)
    }

    /// Whether it answers by the first-order approximation of its network around its own weights.
    pub(crate) fn is_linearized(&self) -> bool {
        self.network()["family"] == "linearized"
    }

    /// Whether a tensor holds whole numbers that stand for floats.
    pub(crate) fn is_quantized(&self) -> bool {
        self.tensors().iter().any(|tensor| tensor.quantization.is_some())
    }

    /// Numbers of the tensors by where they lie.
    pub(crate) fn in_file_order(&self) -> &[usize] {
        &self.inside.in_file_order
    }

    pub(crate) fn shared_head(&self, name: &str) -> Option<Arc<Head>> {
        self.inside.heads.get(name).cloned()
    }

    #[cfg(feature = "ort")]
    pub(crate) fn graph_path(&self) -> PathBuf {
        self.inside.folder.join(taskvec_bundle::GRAPH_FILE)
    }

    /// A second mapping of the same file, private and writable.
    pub(crate) fn map_privately(&self) -> Result<PrivateMap, Error> {
        PrivateMap::of(&self.inside.file, self.bytes().len())
            .map_err(|cause| Error::io("map", &self.inside.folder.join(MODEL_FILE), cause))
    }
}

fn map_file(path: &Path) -> Result<(File, ReadOnlyMap), Error> {
    let file = File::open(path).map_err(|cause| Error::io("open", path, cause))?;
    let size_bytes = file.metadata().map_err(|cause| Error::io("read the size of", path, cause))?.len();
    let length = usize::try_from(size_bytes).map_err(|_| {
        let clause = format!("`{}` has {size_bytes} bytes, more than this machine can address", path.display());
        Error::new(ErrorKind::Limit, clause)
    })?;
    let map = ReadOnlyMap::of(&file, length).map_err(|cause| Error::io("map", path, cause))?;
    Ok((file, map))
}

impl BaseTensor {
    /// How its elements are stored.
    pub fn stored(&self) -> StoredDtype {
        match (&self.quantization, self.dtype) {
            (Some(quantization), _) => quantization.stored,
            (None, Dtype::F16) => StoredDtype::F16,
            (None, Dtype::BF16) => StoredDtype::Bf16,
            (None, _) => StoredDtype::F32,
        }
    }

    /// Bytes of one element, as a power of two.
    pub(crate) fn element_shift(&self) -> u32 {
        (self.stored().size_bits() / 8).ilog2()
    }
}

/// Names in the base that this one stands for, in their byte order.
fn counterparts_of(described: &Base, tensors: &[BaseTensor]) -> Vec<(String, usize)> {
    let named = tensors.iter().enumerate().filter_map(|(number, tensor)| {
        let counterpart = described.counterpart(&tensor.name)?;
        Some((counterpart.of.clone(), number))
    });
    let mut counterparts: Vec<_> = named.collect();
    counterparts.sort();
    counterparts
}

fn tensors_of(described: &Base, header: &TensorFile, bytes: &[u8]) -> Result<Vec<BaseTensor>, Error> {
    let mut tensors = Vec::with_capacity(header.tensors().len());
    for tensor in header.tensors() {
        let counterpart = described.counterpart(tensor.name());
        let quantization = match counterpart {
            Some(counterpart) => Quantization::of(described, counterpart, header, bytes)?,
            None => None,
        };
        let stands_for = counterpart.filter(|_| quantization.is_some()).map(|counterpart| counterpart.dtype);
        let Some(dtype) = stands_for.unwrap_or(tensor.dtype()).editable() else { continue };
        let editable = described.is_editable(tensor.name());
        if editable && !tensor.is_aligned() {
            let (name, offset, size) = (tensor.name(), tensor.range().start, tensor.dtype().size_bits() / 8);
            let clause = format!("tensor `{name}`: starts at byte {offset}, expected a multiple of {size}");
            return Err(Error::new(ErrorKind::Unsupported, clause)
                .with_help("write the safetensors file again with its tensors aligned, as all current writers do"));
        }
        let (name, shape, place) = (tensor.name().to_owned(), tensor.shape().to_vec(), tensor.range());
        let turned = counterpart.is_some_and(|counterpart| counterpart.turned);
        tensors.push(BaseTensor { name, dtype, shape, turned, quantization, place, editable });
    }
    Ok(tensors)
}
