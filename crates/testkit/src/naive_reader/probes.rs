//! The probes: step 22 of `FORMAT.md` section 13.

use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check};
use crate::contents::{Head, Input, Preprocessing, Probe, Probes};
use crate::limits::Limits;

/// Reads section 6.
pub(super) fn read(
    mut section: Cursor<'_>,
    head: Option<&Head>,
    preprocessing: Option<&Preprocessing>,
    limits: &Limits,
) -> Result<Probes, Error> {
    let start = section.offset;
    let mut counts = [0; 3];
    for count in &mut counts {
        let at = section.offset;
        *count = section.u32()?;
        check(*count != 0, ErrorKind::Count, at)?;
    }
    let [probe_count, input_len, output_len] = counts;
    let input_encoding = section.u8()?;
    check(matches!(input_encoding, 1 | 2), ErrorKind::Encoding, start + 12)?;
    let tolerance_count = section.u8()?;
    check(tolerance_count != 0, ErrorKind::Count, start + 13)?;
    section.zeros(2)?;
    let tolerances = read_tolerances(&mut section, tolerance_count)?;

    match preprocessing {
        Some(image) => {
            let pixels = u64::from(image.channels) * u64::from(image.height) * u64::from(image.width);
            check(u64::from(input_len) == pixels, ErrorKind::Count, start + 4)?;
        }
        None => check(input_encoding == 1, ErrorKind::Count, start + 12)?,
    }
    if let Some(head) = head {
        check(output_len as usize == head.labels.len(), ErrorKind::Count, start + 8)?;
    }
    check(u64::from(probe_count) <= limits.max_probes, ErrorKind::Limit, start)?;
    let input_bytes = if input_encoding == 1 { 4 } else { 1 };
    let expected = u128::from(probe_count) * (input_bytes * u128::from(input_len) + 4 * u128::from(output_len));
    check(section.left() as u128 >= expected, ErrorKind::Truncated, section.end)?;
    let length = usize::try_from(expected).expect("not more than is left");
    check(section.left() == length, ErrorKind::Trailing, section.offset + length)?;

    let mut inputs = Vec::new();
    for _ in 0..probe_count {
        inputs.push(match input_encoding {
            1 => Input::Numbers(section.f32s_that(input_len, |_| true)?),
            _ => Input::Pixels(section.bytes(u64::from(input_len))?.to_vec()),
        });
    }
    let mut probes = Vec::new();
    for input in inputs {
        probes.push(Probe { input, output: section.f32s_that(output_len, |_| true)? });
    }
    Ok(Probes { input_len, output_len, input_encoding, tolerances, probes })
}

fn read_tolerances(section: &mut Cursor<'_>, count: u8) -> Result<Vec<(u16, f32)>, Error> {
    let mut tolerances: Vec<(u16, f32)> = Vec::new();
    for _ in 0..count {
        let at = section.offset;
        let engine = section.u16()?;
        check(tolerances.last().is_none_or(|before| before.0 < engine), ErrorKind::Order, at)?;
        section.zeros(2)?;
        let tolerance = section.f32_that(|tolerance| tolerance >= 0.0)?;
        tolerances.push((engine, tolerance));
    }
    Ok(tolerances)
}
