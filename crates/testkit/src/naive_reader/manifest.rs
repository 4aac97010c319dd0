//! The manifest: step 17 of `FORMAT.md` section 13.

use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check};
use crate::contents::Manifest;
use crate::hex::hex;
use crate::limits::Limits;

/// Reads section 1.
pub(super) fn read(mut section: Cursor<'_>, limits: &Limits) -> Result<Manifest, Error> {
    let base = hex(section.bytes(32)?);
    let alpha = section.f32()?;
    let alpha_min = section.f32_that(|min| min <= alpha)?;
    let alpha_max = section.f32_that(|max| alpha <= max)?;
    let density = section.f32_that(|density| (0.0..=1.0).contains(&density))?;
    let seed = section.u64()?;
    let method = section.u16()?;
    let granule = section.u16()?;
    let granule_bytes_at = section.offset;
    let granule_bytes = section.u32()?;
    let granule_agrees = match granule {
        1 | 2 | 4 => granule_bytes == 0,
        3 => granule_bytes != 0,
        _ => true,
    };
    check(granule_agrees, ErrorKind::Number, granule_bytes_at)?;
    let name = section.text(limits.max_string_bytes, false)?;
    let provenance = read_provenance(&mut section, limits)?;
    section.end()?;
    Ok(Manifest { base, alpha, alpha_min, alpha_max, density, seed, method, granule, granule_bytes, name, provenance })
}

fn read_provenance(section: &mut Cursor<'_>, limits: &Limits) -> Result<Vec<(String, String)>, Error> {
    let pair_count_at = section.offset;
    let pair_count = section.varint()?;
    check(pair_count <= section.left() as u64 / 3, ErrorKind::Count, pair_count_at)?;
    check(pair_count <= limits.max_provenance_pairs, ErrorKind::Limit, pair_count_at)?;
    let mut pairs: Vec<(String, String)> = Vec::new();
    for _ in 0..pair_count {
        let mut length = section.clone();
        length.varint()?;
        let key_at = length.offset;
        let key = section.text(limits.max_string_bytes, false)?;
        check(pairs.last().is_none_or(|before| before.0 < key), ErrorKind::Order, key_at)?;
        let value = section.text(limits.max_string_bytes, true)?;
        pairs.push((key, value));
    }
    Ok(pairs)
}
