//! What a plain copy of pages costs in the memory that compositions live in: what `taskvec bench` holds a change against.
//!
//! Cold is the first write to each page of a private mapping, which the system answers with a page of its own; warm is a
//! second copy to the same places. Both copy the base's bytes to where they are, as one `memcpy` for each run of pages.

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use crate::base_model::BaseModel;
use crate::error::Error;

/// Times of a plain copy, in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CopyTimes {
    /// Into pages that were never written.
    pub cold_ms: f64,
    /// Into pages that were.
    pub warm_ms: f64,
}

impl BaseModel {
    /// Copies `runs` of bytes of the base's file into a fresh private mapping of it, twice. Runs outside of the file are
    /// left out.
    ///
    /// # Errors
    /// `Io` when the file cannot be mapped again.
    pub fn time_copy(&self, runs: &[Range<usize>]) -> Result<CopyTimes, Error> {
        let mut map = self.map_privately()?;
        let mut copy = || {
            let began = Instant::now();
            if let Some(to) = map.write() {
                for run in runs {
                    if let (Some(to), Some(from)) = (to.get_mut(run.clone()), self.bytes().get(run.clone())) {
                        to.copy_from_slice(black_box(from));
                    }
                }
            }
            1e3 * began.elapsed().as_secs_f64()
        };
        Ok(CopyTimes { cold_ms: copy(), warm_ms: copy() })
    }
}
