//! A pack from two checkpoints: compare, encode, one tensor at a time; or, within a budget, all of them at once.

use std::path::Path;

use taskvec_bundle::{BASE_FILE, Base};
use taskvec_checkpoint::Checkpoint;

use crate::budget::{CurvePoint, Fitted, Wanted};
use crate::encode::{Encoded, PackDetails, PackWriter};
use crate::error::{Error, Result};
use crate::recipe::Values;
use crate::task_vector::{Comparison, Exactness, TaskVector, compare};

/// A pack made from two checkpoints, and what comparing them found.
#[derive(Clone, Debug)]
pub struct Diff {
    /// The pack.
    pub encoded: Encoded,
    /// What [`Comparison::warnings`] are drawn from.
    pub comparison: Comparison,
    /// What was decided when the checkpoints were opened and compared.
    pub notes: Vec<String>,
}

/// A pack made from two checkpoints within a budget, and what comparing them found.
#[derive(Clone, Debug)]
pub struct DiffWithin {
    /// The pack, and what it lost.
    pub fitted: Fitted,
    /// Other packs that could have been made, the largest first.
    pub curve: Vec<CurvePoint>,
    /// What [`Comparison::warnings`] are drawn from.
    pub comparison: Comparison,
    /// What was decided when the checkpoints were opened and compared.
    pub notes: Vec<String>,
}

/// The pack that turns `base` into `tuned`; either is anything that [`Checkpoint::open`] reads, and they need not be of one
/// form.
///
/// It has no head and no probes, since two checkpoints do not say what they are for. Its density is the share of elements
/// that changed. `name`: by default the tuned file's, without its extension.
///
/// # Errors
/// As [`Checkpoint::open`] and [`compare`], and `Usage` for a name that no pack can have.
pub fn diff(base: &Path, tuned: &Path, values: Values, name: Option<&str>) -> Result<Diff> {
    refuse_quantized(base)?;
    let (base, tuned) = (Checkpoint::open(base)?, Checkpoint::open(tuned)?);
    let mut writer = PackWriter::new(base.fingerprint()?, &details(&base, &tuned, values, name))?;
    let comparison = compare(&base, &tuned, Exactness::of(values), |tensor| writer.changed(&tensor))?;
    writer.density(comparison.whole.changed_share() as f32);
    let notes = notes(&base, &tuned, &comparison);
    Ok(Diff { encoded: writer.finish()?, comparison, notes })
}

/// As [`diff`], with the best pack that keeps to a budget. The whole task vector is in memory.
///
/// # Errors
/// As [`diff`] and [`Wanted::fit`].
pub fn diff_within(base: &Path, tuned: &Path, wanted: &Wanted, name: Option<&str>) -> Result<DiffWithin> {
    refuse_quantized(base)?;
    let (base, tuned) = (Checkpoint::open(base)?, Checkpoint::open(tuned)?);
    let (vector, comparison) = TaskVector::between(&base, &tuned, Exactness::Rounded)?;
    let mut details = details(&base, &tuned, Values::F32, name);
    details.density = comparison.whole.changed_share() as f32;
    let (fitted, curve) = wanted.fit(&vector, &mut details)?;
    let notes = notes(&base, &tuned, &comparison);
    Ok(DiffWithin { fitted, curve, comparison, notes })
}

/// Whole numbers are no weights that could be compared; what they stand for is.
pub(crate) fn refuse_quantized(base: &Path) -> Result<()> {
    if !base.join(BASE_FILE).is_file() {
        return Ok(());
    }
    let described =
        Base::read(base).map_err(|cause| Error::from_bundle(cause, format!("open base `{}`", base.display())))?;
    if !described.tensors().iter().any(|tensor| described.is_quantized(&tensor.name)) {
        return Ok(());
    }
    Err(Error::unsupported(format!("base `{}` is quantized, and packs are made for the floats", base.display()))
        .with_help("name the checkpoint that it was bundled with (`--of`); its packs are attached to this base too"))
}

fn details(base: &Checkpoint, tuned: &Checkpoint, values: Values, name: Option<&str>) -> PackDetails {
    let stem = tuned.path().file_stem().map_or_else(|| "tuned".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let mut details = PackDetails::new(name.map_or(stem, str::to_owned), values);
    details.method = taskvec_pack::Method::Difference;
    details.provenance.push(("parents".to_owned(), format!("{}, {}", file_name(base), file_name(tuned))));
    details
}

fn notes(base: &Checkpoint, tuned: &Checkpoint, comparison: &Comparison) -> Vec<String> {
    let told = |checkpoint: &Checkpoint| {
        let file = file_name(checkpoint);
        checkpoint.notes().iter().map(|note| format!("{file}: {note}")).collect::<Vec<_>>()
    };
    let mut notes = [told(base), told(tuned)].concat();
    if comparison.widened_count > 0 {
        notes.push(format!("{} tensors have different dtypes: compared as f32", comparison.widened_count));
    }
    notes
}

fn file_name(checkpoint: &Checkpoint) -> String {
    checkpoint.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
