//! The tier in which editable matrices are constants that ONNX Runtime has packed ahead, on disk, and that are changed in
//! their packed form: as fast as a plain session, and no session is made for a change.
//!
//! ONNX Runtime computes fastest with matrices in a form of its own, into which it packs constants when a session is made;
//! inputs of the graph it cannot pack. It can save packed constants and map them again (`make.rs`, `kept.rs`), so a
//! composition changes the mapped bytes: each element that the composed weights have and the base has not is written to
//! its place in the packed form (`layout.rs`, `mapped.rs`). Nothing is computed here: the values are the composed ones. What
//! is not a packed matrix stays an input over the composed mapping, as in the tier of inputs.
//!
//! **This is outside of ONNX Runtime's contract**, which says that constants stay as they are. Therefore it is tried only
//! when it is asked for, and used only after checks on this device with this library: the packed form is a permutation that
//! is learned and found again in the base's own weights; each matrix has one use; every change is felt and undone bit for
//! bit; all of them together give the answer that the tier of inputs gives. If one fails, the next tier is used, and the
//! report says why.
//!
//! A session serves one composition. When that goes, its session becomes the base's again and waits for the next one, so
//! that two of them take turns; a composition more at a time is a session more, which takes as long to make as any.

mod kept;
mod layout;
mod make;
mod mapped;
mod saved;

use std::ffi::CString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::session::builder::GraphOptimizationLevel;
use ort::value::DynValue;

use self::kept::{DATA, MODEL, MadeOf, Stamps};
use self::layout::Layout;
use self::mapped::MappedSession;
use super::Place;
use super::inputs::{self, Inputs};
use super::runner::{self, Runner};
use crate::array::Array;
use crate::base_model::BaseModel;
use crate::engine::capability::{self, Depth, Prepares};
use crate::engine::{Inference, Provider};
use crate::error::{Error, ErrorKind};
use crate::map::WeightsReader;
use crate::weights::Weights;

/// Packed weights, and sessions over them.
pub(super) struct Packed {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    base: BaseModel,
    folder: PathBuf,
    stamps: Stamps,
    layouts: Vec<Layout>,
    matrices: Vec<PackedMatrix>,
    /// Where the matrices lie in the data file.
    places: Vec<Range<usize>>,
    /// The editable tensors that stay inputs, and their names for C.
    inputs: Vec<usize>,
    names: Vec<CString>,
    /// A session that is the base's.
    free: Mutex<Option<MappedSession>>,
}

struct PackedMatrix {
    /// Its number in the base.
    tensor: usize,
    columns: usize,
    layout: usize,
}

impl Packed {
    /// Opens the packed weights of `base` in `folder`; if there are none that can be used, makes and checks them first.
    ///
    /// # Errors
    /// `Unsupported` where this is not possible, with this library or this graph; `Io` when the folder cannot be written;
    /// and what ONNX Runtime says.
    pub(super) fn open(place: Place, base: &BaseModel, folder: Option<&Path>) -> Result<Self, Error> {
        let unsupported = |clause: &str| Error::new(ErrorKind::Unsupported, clause);
        if !cfg!(target_os = "linux") {
            return Err(unsupported("finding packed weights in memory takes Linux"));
        }
        if place.provider != Provider::CPU {
            return Err(unsupported("only the provider `cpu` packs weights ahead"));
        }
        let folder = folder.ok_or_else(|| {
            unsupported("no folder for packed weights").with_help("name one: `packed_folder` in the settings")
        })?;
        let graph = super::read_graph(base)?;
        let made_of = MadeOf::now(base, &graph, &place.library.path)?;
        let (kept, home) = kept::kept_or_made(folder, &made_of, |folder| {
            let kept = make::make(&place, base, &graph, &made_of, folder)?;
            Self::of(place.clone(), base, kept.clone(), folder.to_owned())?.check()?;
            Ok(kept)
        })?;
        Self::of(place, base, kept, home)
    }

    fn of(place: Place, base: &BaseModel, kept: kept::Kept, folder: PathBuf) -> Result<Self, Error> {
        let mut matrices = Vec::with_capacity(kept.matrices.len());
        let mut places = Vec::with_capacity(kept.matrices.len());
        for matrix in kept.matrices {
            let found = base.tensor_number(&matrix.tensor).and_then(|tensor| {
                let (rows, columns) = make::sides(&base.tensors()[tensor])?;
                let layout = kept.layouts.get(matrix.layout)?;
                let fits = layout.fits(rows, columns, matrix.length / 4);
                fits.then_some(PackedMatrix { tensor, columns, layout: matrix.layout })
            });
            let end = matrix.offset.checked_add(matrix.length);
            let (Some(found), Some(end)) = (found, end) else { return Err(kept::replaced(&folder)) };
            matrices.push(found);
            places.push(matrix.offset..end);
        }
        let is_packed = |number: &usize| matrices.iter().any(|matrix| matrix.tensor == *number);
        let inputs: Vec<_> =
            (0..base.tensors().len()).filter(|number| base.tensors()[*number].editable && !is_packed(number)).collect();
        let names =
            inputs.iter().map(|&number| runner::c_name(&base.tensors()[number].name)).collect::<Result<_, _>>()?;
        let (base, stamps, layouts, free) = (base.clone(), kept.stamps, kept.layouts, Mutex::new(None));
        let shared = Shared { place, base, folder, stamps, layouts, matrices, places, inputs, names, free };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The checks that are made once, before packed weights are kept.
    fn check(&self) -> Result<(), Error> {
        let base = &self.shared.base;
        capability::check(self, base, Depth::EveryTensor)?.verdict()?;
        capability::check_going(self, base)?;
        capability::agree(self, &Inputs::open(&self.shared.place, base)?, base)
    }
}

impl Prepares for Packed {
    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        // The lock is not held while a session is made: whoever drops a composition needs it.
        let free = self.shared.free().take();
        let mut session = match free {
            Some(session) => session,
            None => self.shared.make_session()?,
        };
        let reader = weights.reader();
        let mut changed = Vec::new();
        for (number, matrix) in self.shared.matrices.iter().enumerate() {
            let ranges: Vec<_> = weights.touched(matrix.tensor).collect();
            if !ranges.is_empty() {
                let (from, unlike) = (reader.as_ref(), self.shared.base.bytes());
                self.shared.copy(matrix, session.write(number), &ranges, from, unlike);
                changed.push((number, ranges));
            }
        }
        let tensors = self.shared.base.tensors();
        let values = self.shared.inputs.iter().map(|&tensor| runner::weight_over(&reader, &tensors[tensor]));
        let values = values.collect::<Result<_, _>>()?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Served { values, session: Some(session), changed, weights: reader, shared }))
    }

    fn copies_weights(&self) -> bool {
        true
    }
}

impl Shared {
    fn free(&self) -> std::sync::MutexGuard<'_, Option<MappedSession>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_session(&self) -> Result<MappedSession, Error> {
        let same = || match Stamps::of(&self.folder) {
            Ok(stamps) if stamps == self.stamps => Ok(()),
            _ => Err(kept::replaced(&self.folder)),
        };
        same()?;
        let make = || {
            let session = self.place.builder().and_then(|builder| {
                // The saved graph is optimized already; doing it again could fold what is edited.
                let mut builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
                builder.commit_from_file(self.folder.join(MODEL))
            });
            let session = session.map_err(|cause| self.place.refuses(&self.base, cause))?;
            let inputs = self.inputs.iter().map(|&tensor| &self.base.tensors()[tensor]);
            inputs::check_inputs(&session, inputs)?;
            self.place.runner(session, &self.base)
        };
        let data = self.folder.join(DATA);
        let made =
            MappedSession::make(&data, &self.places, make, |cause| Error::io("find the mappings of", &data, cause))?;
        // Files that were replaced meanwhile are other ones than those whose layout is known.
        same()?;
        made.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the library has not mapped its packed weights, or not privately")
        })
    }

    /// Writes the elements in `ranges` (bytes of the base's file, in whole elements) that differ between the two files to
    /// the packed form, as they are in `from`.
    fn copy(&self, matrix: &PackedMatrix, packed: &mut [u32], ranges: &[Range<usize>], from: &[u8], unlike: &[u8]) {
        let start = self.base.tensors()[matrix.tensor].place.start;
        let layout = &self.layouts[matrix.layout];
        for range in ranges {
            let from: &[u32] = bytemuck::cast_slice(&from[range.clone()]);
            let unlike: &[u32] = bytemuck::cast_slice(&unlike[range.clone()]);
            let first = (range.start - start) / 4;
            let (mut row, mut column) = (first / matrix.columns, first % matrix.columns);
            for (&bits, &other) in from.iter().zip(unlike) {
                if bits != other {
                    packed[layout.offset(row, column)] = bits;
                }
                column += 1;
                if column == matrix.columns {
                    (row, column) = (row + 1, 0);
                }
            }
        }
    }
}

/// One composition, in a session of its own.
struct Served {
    // Dropped in this order: what holds addresses goes before what keeps them readable.
    values: Vec<DynValue>,
    /// None only while it is being dropped.
    session: Option<MappedSession>,
    /// Which matrices were written to, and the ranges of their elements in the base's file.
    changed: Vec<(usize, Vec<Range<usize>>)>,
    weights: WeightsReader,
    shared: Arc<Shared>,
}

impl Served {
    fn runner(&self) -> Result<&Runner, Error> {
        let session = self.session.as_ref().ok_or_else(|| Error::new(ErrorKind::Usage, "the composition is gone"))?;
        Ok(session.runner())
    }
}

impl Inference for Served {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.runner()?.features(&self.shared.names, &self.values, pixels, batch)
    }

    fn run(&self, inputs: &[Array]) -> Result<Vec<Array>, Error> {
        self.runner()?.run(&self.shared.names, &self.values, inputs)
    }

    fn retire(mut self: Box<Self>, keep_pages: bool) {
        if let (true, Some(session)) = (keep_pages, &mut self.session) {
            for (number, ranges) in self.changed.drain(..) {
                let matrix = &self.shared.matrices[number];
                let (from, unlike) = (self.shared.base.bytes(), self.weights.as_ref());
                self.shared.copy(matrix, session.write(number), &ranges, from, unlike);
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        // A session that cannot be made the base's is not used again.
        if self.changed.iter().all(|&(number, _)| session.discard(number)) {
            let one_too_many = self.shared.free().replace(session);
            drop(one_too_many);
        }
    }
}
