//! The preprocessing: step 21 of `FORMAT.md` section 13.

use super::cursor::Cursor;
use super::error::{Error, ErrorKind, check};
use crate::contents::Preprocessing;

/// Reads section 5.
pub(super) fn read(mut section: Cursor<'_>) -> Result<Preprocessing, Error> {
    let start = section.offset;
    let mut sizes = [0; 3];
    for size in &mut sizes {
        let at = section.offset;
        *size = section.u32()?;
        check(*size != 0, ErrorKind::Count, at)?;
    }
    let product: u128 = sizes.iter().copied().map(u128::from).product();
    check(product < 1 << 32, ErrorKind::Count, start)?;
    let [channels, height, width] = sizes;
    let resize_at = section.offset;
    let resize = section.u16()?;
    check(resize == 1, ErrorKind::Encoding, resize_at)?;
    section.zeros(2)?;
    let mean = section.f32s_that(channels, |_| true)?;
    let std = section.f32s_that(channels, |std| std > 0.0)?;
    section.end()?;
    Ok(Preprocessing { channels, height, width, resize, mean, std })
}
