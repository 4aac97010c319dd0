//! The tuned checkpoint that a base and packs make, written as a file.
//!
//! The file is the base's, byte for byte, but for the elements that a pack touches: same header, same metadata, same order. For
//! a base that is no single safetensors file it is one with the same tensors. It is written aside and renamed, so there is never half of one. Packs are applied in canonical order (by digest), by the same
//! arithmetic as on a device.

pub(crate) mod copy;

use std::collections::HashMap;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use taskvec_arithmetic::{
    Bf16, F16, Narrow16, add_16, add_distances_16, add_distances_f32, add_distances_widened, add_f32, narrow_changed,
    widen,
};
use taskvec_bundle::HEADS_PREFIX;
use taskvec_checkpoint::Checkpoint;
use taskvec_pack::{Dtype, Entries, Limits, Pack, TensorEntry};

use crate::error::{Error, Result};

/// What applying packs did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Tensors that a pack touches.
    pub tensor_count: u64,
    /// Entries of all packs together.
    pub entry_count: u64,
}

/// Writes `base + sum of alpha * delta` to `out`, a safetensors file. `base` is anything that [`Checkpoint::open`] reads; `packs`
/// are the bytes of packs, each with its coefficient, in any order.
///
/// # Errors
/// `Mismatch` when a pack was made for another base, `Usage` for a coefficient that is not finite, the same pack twice, or
/// `out` being the base, `Damaged`, `Unsupported` or `Limit` for a pack that cannot be read, `Io`.
pub fn apply(base: &Path, packs: &[(&[u8], f32)], out: &Path) -> Result<Applied> {
    let base = Checkpoint::open(base)?;
    let skills = read_packs(&base, packs)?;
    refuse_the_base(&base, out)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside =
        crate::run_folder::aside().tempfile_in(folder).map_err(|cause| Error::io("create a file in", folder, cause))?;
    let offsets = copy::copy(&base, &mut aside, out)?;

    let mut shares_of: HashMap<&str, Vec<(TensorEntry<'_>, f32)>> = HashMap::new();
    for (pack, alpha) in &skills {
        for entry in pack.tensors() {
            shares_of.entry(entry.name()).or_default().push((entry, *alpha));
        }
    }
    let mut applied = Applied { tensor_count: 0, entry_count: 0 };
    for tensor in base.body() {
        let Some(shares) = shares_of.get(tensor.name()) else { continue };
        applied.tensor_count += 1;
        applied.entry_count += shares.iter().map(|(entry, _)| entry.entry_count()).sum::<u64>();
        let composed = compose(base.editable_dtype(tensor)?, &base.read(tensor)?, shares);
        let written = aside.seek(SeekFrom::Start(offsets[tensor.name()])).and_then(|_| aside.write_all(&composed));
        written.map_err(|cause| Error::io("write", out, cause))?;
    }
    aside.as_file().sync_all().map_err(|cause| Error::io("write", out, cause))?;
    aside.persist(out).map_err(|cause| Error::io("write", out, cause.error))?;
    Ok(applied)
}

/// That a pack was made for `base`: the fingerprint fits, and every tensor that it changes is there with that shape and dtype.
///
/// # Errors
/// `Mismatch` when it was made for another base, `Damaged`, `Unsupported` or `Limit` for a pack or base that cannot be read, `Io`.
pub fn belongs(base: &Path, pack: &[u8]) -> Result<()> {
    check_belongs(&Checkpoint::open(base)?, pack)
}

/// As [`belongs`], to a base that is open.
pub(crate) fn check_belongs(base: &Checkpoint, pack: &[u8]) -> Result<()> {
    read_packs(base, &[(pack, 1.0)]).map(drop)
}

/// The packs, checked against the base, in canonical order.
fn read_packs<'a>(base: &Checkpoint, packs: &[(&'a [u8], f32)]) -> Result<Vec<(Pack<'a>, f32)>> {
    let fingerprint = base.fingerprint()?;
    let mut skills = Vec::new();
    for &(bytes, alpha) in packs {
        let pack = Pack::read(bytes, &Limits::default())
            .map_err(|cause| Error::from_pack(cause, format!("pack {} cannot be read", skills.len() + 1)))?;
        let name = pack.manifest().name;
        if !alpha.is_finite() {
            return Err(Error::usage(format!("pack `{name}`: alpha is {alpha}, expected a finite number"))
                .with_help("give a number such as 1 or -0.5"));
        }
        let wanted = pack.manifest().base;
        if wanted != fingerprint {
            return Err(Error::mismatch(format!(
                "pack `{name}` was made for base {wanted}, `{}` is {fingerprint}",
                base.path().display()
            ))
            .with_help("name the checkpoint that the pack was made from"));
        }
        for entry in pack.tensors() {
            check_form(base, name, &entry)?;
        }
        skills.push((pack, alpha));
    }
    skills.sort_by_key(|(pack, _)| pack.digest());
    if let Some(pair) = skills.windows(2).find(|pair| pair[0].0.digest() == pair[1].0.digest()) {
        let name = pair[0].0.manifest().name;
        return Err(
            Error::usage(format!("pack `{name}` is given twice")).with_help("give it once, with the sum of the alphas")
        );
    }
    Ok(skills)
}

/// That the base has the tensor that a pack changes. The fingerprint says so already, unless the pack lies.
fn check_form(base: &Checkpoint, pack: &str, entry: &TensorEntry<'_>) -> Result<()> {
    let name = entry.name();
    let Some(tensor) = base.tensor(name).filter(|_| !name.starts_with(HEADS_PREFIX)) else {
        return Err(Error::mismatch(format!("pack `{pack}` changes tensor `{name}`, which the base does not have")));
    };
    let shape: Vec<u64> = entry.shape().collect();
    if tensor.shape() != shape || tensor.dtype().editable() != Some(entry.dtype()) {
        return Err(Error::mismatch(format!(
            "tensor `{name}`: base has {} {:?}, pack `{pack}` expects {} {shape:?}",
            tensor.dtype().name(),
            tensor.shape(),
            entry.dtype()
        )));
    }
    Ok(())
}

fn refuse_the_base(base: &Checkpoint, out: &Path) -> Result<()> {
    let real = out.canonicalize().ok();
    if real.is_some() && base.paths().any(|path| path.canonicalize().ok() == real) {
        return Err(Error::usage(format!("`{}` is the base itself, and the base is never written", out.display()))
            .with_help("name another file to write"));
    }
    Ok(())
}

/// The bytes of a tensor with these skills in force, given in canonical order.
fn compose(dtype: Dtype, base: &[u8], shares: &[(TensorEntry<'_>, f32)]) -> Vec<u8> {
    match dtype {
        Dtype::F16 => compose_16::<F16>(base, shares),
        Dtype::BF16 => compose_16::<Bf16>(base, shares),
        _ => compose_f32(base, shares),
    }
}

fn compose_f32(base: &[u8], shares: &[(TensorEntry<'_>, f32)]) -> Vec<u8> {
    let base: Vec<f32> = base.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let mut values = base.clone();
    for (entry, alpha) in shares {
        match entry.entries() {
            Entries::Deltas(deltas) => add_f32(&mut values, deltas, *alpha),
            Entries::Distances(distances) => add_distances_f32(&mut values, &base, distances, *alpha),
        }
    }
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn compose_16<N: Narrow16>(base: &[u8], shares: &[(TensorEntry<'_>, f32)]) -> Vec<u8> {
    let base: Vec<u16> = base.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
    let mut values = base.clone();
    if let [(entry, alpha)] = shares {
        match entry.entries() {
            Entries::Deltas(deltas) => add_16::<N>(&mut values, deltas, *alpha),
            Entries::Distances(distances) => add_distances_16::<N>(&mut values, &base, distances, *alpha),
        }
    } else {
        let mut scratch = vec![0.0; base.len()];
        widen::<N>(&base, &mut scratch);
        for (entry, alpha) in shares {
            match entry.entries() {
                Entries::Deltas(deltas) => add_f32(&mut scratch, deltas, *alpha),
                Entries::Distances(distances) => add_distances_widened::<N>(&mut scratch, &base, distances, *alpha),
            }
        }
        narrow_changed::<N>(&scratch, &base, &mut values);
    }
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests;
