//! The smallest pack that keeps an accuracy: packs of fewer and fewer bytes are made and judged, and between the last that holds
//! and the first that does not, halves are tried.
//!
//! Accuracy on a few hundred images jumps by a few tenths of a point, up and down; so a pack holds only if all larger ones on the
//! curve do, and what is promised was measured on the very pack.

use super::{Budget, CurvePoint, Fitted, Rated};
use crate::encode::PackDetails;
use crate::error::{Error, Result};

/// Packs that are judged on the way down.
const POINTS: usize = 14;
/// Halves that are tried between two of them.
const HALVES: usize = 4;

impl Rated<'_> {
    /// The smallest pack whose accuracy, as `judge` finds it, is at most `drop_max` below `whole`; and `with_curve` packs of fewer
    /// and fewer bytes with theirs. To each come `reserved` bytes later. All accuracies are from 0 to 1.
    ///
    /// # Errors
    /// `Usage` when even the largest loses more; what the encoder and `judge` say.
    pub fn fit_judged(
        &self,
        whole: f64,
        drop_max: f64,
        reserved: u64,
        with_curve: bool,
        details: &PackDetails,
        judge: impl Fn(&[u8]) -> Result<f64>,
    ) -> Result<(Fitted, Vec<CurvePoint>)> {
        // Accuracies are counts of images: a rounding of the difference is no image.
        let holds = |accuracy: f64| whole - accuracy <= drop_max + 1e-9;
        let tried = |bytes: f64| -> Result<(Fitted, f64)> {
            let fitted = self.packed(self.plan(Budget::Bytes(bytes as u64), 1.0), details)?;
            let accuracy = judge(&fitted.encoded.bytes)?;
            Ok((fitted, accuracy))
        };
        let (mut points, mut best, mut failed) = (Vec::<CurvePoint>::new(), None, None);
        for bytes in self.spread(POINTS) {
            let (fitted, accuracy) = tried(bytes)?;
            let point = fitted.point(reserved, Some(accuracy));
            if with_curve && points.last().is_none_or(|last| last.pack_bytes > point.pack_bytes) {
                points.push(point);
            }
            if failed.is_none() && holds(accuracy) {
                best = Some((bytes, fitted));
            } else {
                failed.get_or_insert((bytes, accuracy));
                if !with_curve {
                    break;
                }
            }
        }
        let Some((mut held, mut fitted)) = best else {
            let lost = failed.map_or(0.0, |(_, accuracy)| 100.0 * (whole - accuracy));
            return Err(Error::usage(format!(
                "no pack loses at most {:.2} points of accuracy: with every entry it loses {lost:.2}",
                100.0 * drop_max
            ))
            .with_help("allow more, or round in training: `taskvec train --values`"));
        };
        if let Some((mut too_few, _)) = failed {
            for _ in 0..HALVES {
                let bytes = (held * too_few).sqrt();
                let (smaller, accuracy) = tried(bytes)?;
                if holds(accuracy) && smaller.encoded.bytes.len() < fitted.encoded.bytes.len() {
                    (held, fitted) = (bytes, smaller);
                } else {
                    too_few = bytes;
                }
            }
        }
        Ok((fitted, points))
    }
}
