//! The head: step 20 of `FORMAT.md` section 13.

use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check};
use super::values::{delta_bytes, read_deltas};
use crate::contents::Head;
use crate::limits::Limits;

/// Reads section 4.
pub(super) fn read(mut section: Cursor<'_>, limits: &Limits) -> Result<Head, Error> {
    let start = section.offset;
    let feature_width = section.u32()?;
    check(feature_width != 0, ErrorKind::Count, start)?;
    let class_count = section.u32()?;
    check(class_count != 0, ErrorKind::Count, start + 4)?;
    let weight_encoding = section.u8()?;
    check(matches!(weight_encoding, 1..=3 | 6), ErrorKind::Encoding, start + 8)?;
    section.zeros(3)?;
    check(u64::from(class_count) <= section.left() as u64 / 2, ErrorKind::Count, start + 4)?;
    check(u64::from(class_count) <= limits.max_classes, ErrorKind::Limit, start + 4)?;
    let mut labels = Vec::new();
    for _ in 0..class_count {
        labels.push(section.text(limits.max_string_bytes, false)?);
    }
    let weight_count = u64::from(class_count) * u64::from(feature_width);
    let expected = delta_bytes(weight_encoding, weight_count);
    check(section.left() as u128 >= expected, ErrorKind::Truncated, section.end)?;
    let weight = read_deltas(&mut section, weight_encoding, weight_count)?;
    let bias = section.f32s_that(class_count, |_| true)?;
    section.end()?;
    Ok(Head { feature_width, weight_encoding, labels, weight, bias })
}
