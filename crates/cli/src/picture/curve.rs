//! Bytes against error, and against accuracy where there is data: curves of the packs that could have been made, and the one that
//! was.

use std::fmt::Write as _;

use taskvec_packer::budget::CurvePoint;

use super::begin;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Left, top, right and bottom of the plot.
const PLOT: [f64; 4] = [76.0, 64.0, 648.0, 360.0];
const ERROR: &str = "#2f6fb3";
const ACCURACY: &str = "#3a7d44";
const MADE: &str = "#b3261e";

/// Bytes are at least 1 and shown by orders of magnitude, errors and accuracies are from 0 to 1. `made` is marked.
pub(crate) fn curve(title: &str, curve: &[CurvePoint], made: CurvePoint) -> String {
    let of = |point: &CurvePoint| (point.pack_bytes as f64, point.error);
    let points: Vec<(f64, f64)> = curve.iter().map(of).collect();
    let all = || points.iter().copied().chain([of(&made)]);
    let (low, high) = all().fold((f64::MAX, 1.0_f64), |(low, high), (bytes, _)| (low.min(bytes), high.max(bytes)));
    // Whole powers of two around the points.
    let (low, high) = (low.log2().floor(), high.log2().ceil().max(low.log2().floor() + 1.0));
    let most = all().fold(0.0_f64, |most, (_, error)| most.max(error));
    let most = [0.01, 0.02, 0.04, 0.1, 0.2, 0.4].into_iter().find(|round| most <= *round).unwrap_or(1.0);
    let [left, top, right, bottom] = PLOT;
    let x = |bytes: f64| left + (bytes.log2() - low) / (high - low) * (right - left);
    let y = |error: f64| bottom - error / most * (bottom - top);
    let mut svg = begin(WIDTH, HEIGHT, [left, 38.0], title);
    // Writing to a String cannot fail below.
    let every = ((high - low) / 7.0).ceil().max(1.0) as usize;
    for power in (low as i32..=high as i32).step_by(every) {
        let at = x(f64::from(power).exp2());
        let _ = writeln!(
            svg,
            r##"<path d="M{at:.1} {top}V{bottom}" stroke="#e8ecf1"/><text x="{at:.1}" y="{}" text-anchor="middle" fill="#5a6472">{}</text>"##,
            bottom + 20.0,
            size(power)
        );
    }
    for tick in 0..=4 {
        let error = most * f64::from(tick) / 4.0;
        let at = y(error);
        let _ = writeln!(
            svg,
            r##"<path d="M{left} {at:.1}H{right}" stroke="#e8ecf1"/><text x="{}" y="{:.1}" text-anchor="end" fill="#5a6472">{error:.3}</text>"##,
            left - 8.0,
            at + 4.0
        );
    }
    series(&mut svg, &points.iter().map(|(bytes, error)| (x(*bytes), y(*error))).collect::<Vec<_>>(), ERROR);
    mark(&mut svg, (x(made.pack_bytes as f64), y(made.error)));
    let judged = |point: &CurvePoint| Some((point.pack_bytes as f64, point.accuracy?));
    let judged_made = judged(&made);
    let judged: Vec<(f64, f64)> = curve.iter().filter_map(judged).collect();
    if let (false, Some(made)) = (judged.is_empty(), judged_made) {
        accuracy(&mut svg, &judged, made, x);
    }
    let _ = writeln!(
        svg,
        r##"<text x="{:.1}" y="{}" text-anchor="middle" fill="#1c2430">size of the pack</text>
<text x="20" y="{:.1}" text-anchor="middle" fill="{ERROR}" transform="rotate(-90 20 {:.1})">norm lost / norm of the vector</text>
</svg>"##,
        (left + right) / 2.0,
        HEIGHT - 14.0,
        (top + bottom) / 2.0,
        (top + bottom) / 2.0
    );
    svg
}

/// Points in the picture, and the line through them.
fn series(svg: &mut String, points: &[(f64, f64)], color: &str) {
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    if !path.is_empty() {
        let _ = writeln!(svg, r##"<path d="M{}" fill="none" stroke="{color}" stroke-width="2"/>"##, path.join("L"));
    }
    for (x, y) in points {
        let _ = writeln!(svg, r##"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{color}"/>"##);
    }
}

/// The pack that was made.
fn mark(svg: &mut String, (x, y): (f64, f64)) {
    let _ = writeln!(svg, r##"<circle cx="{x:.1}" cy="{y:.1}" r="7" fill="none" stroke="{MADE}" stroke-width="2"/>"##);
}

/// Accuracies, on an axis of their own at the right, in whole steps of 2, 5 or 10 points around them.
fn accuracy(svg: &mut String, points: &[(f64, f64)], made: (f64, f64), x: impl Fn(f64) -> f64) {
    let [_, top, right, bottom] = PLOT;
    let (low, high) = points.iter().chain([&made]).fold((100.0_f64, 0.0_f64), |(low, high), (_, accuracy)| {
        (low.min(100.0 * accuracy), high.max(100.0 * accuracy))
    });
    let step = [0.5, 1.0, 2.0, 5.0, 10.0].into_iter().find(|step| (high / step).ceil() - (low / step).floor() <= 6.0);
    let step = step.unwrap_or(20.0);
    let (low, high) =
        ((low / step).floor() * step, ((high / step).ceil() * step).max((low / step).floor() * step + step));
    let y = |percent: f64| bottom - (percent - low) / (high - low) * (bottom - top);
    for tick in 0..=((high - low) / step).round() as u32 {
        let percent = low + step * f64::from(tick);
        let _ = writeln!(
            svg,
            r##"<text x="{}" y="{:.1}" fill="#5a6472">{percent} %</text>"##,
            right + 8.0,
            y(percent) + 4.0
        );
    }
    let place = |(bytes, accuracy): &(f64, f64)| (x(*bytes), y(100.0 * accuracy));
    series(svg, &points.iter().map(place).collect::<Vec<_>>(), ACCURACY);
    mark(svg, place(&made));
    let (at, middle) = (WIDTH - 12.0, (top + bottom) / 2.0);
    let _ = writeln!(
        svg,
        r##"<text x="{at}" y="{middle:.1}" text-anchor="middle" fill="{ACCURACY}" transform="rotate(-90 {at} {middle:.1})">accuracy on held-out images</text>"##
    );
}

/// Two to this power, in bytes, KiB or MiB.
fn size(power: i32) -> String {
    let in_unit = |from: i32, unit: &str| format!("{} {unit}", f64::from(power - from).exp2());
    match power {
        ..10 => in_unit(0, "bytes"),
        10..20 => in_unit(10, "KiB"),
        20..30 => in_unit(20, "MiB"),
        _ => in_unit(30, "GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(pack_bytes: u64, error: f64, accuracy: Option<f64>) -> CurvePoint {
        CurvePoint { pack_bytes, error, entries: 1, accuracy }
    }

    #[test]
    fn every_point_lies_in_the_plot() {
        let number = |text: &str, key: &str| -> f64 {
            let from = text.split_once(key).unwrap().1;
            from.split('"').next().unwrap().parse().unwrap()
        };
        for (accuracies, count) in [([None; 3], 4), ([Some(0.94), Some(0.935), Some(0.1)], 8)] {
            let curve_of = |bytes: [u64; 3], errors: [f64; 3]| -> Vec<CurvePoint> {
                (0..3).map(|at| point(bytes[at], errors[at], accuracies[at])).collect()
            };
            let made = point(20_000, 0.4, accuracies[1]);
            let svg = curve("a < b", &curve_of([3_000_000, 100_000, 700], [0.0, 0.2, 0.9]), made);
            assert!(svg.contains("a &lt; b"));
            let circles: Vec<_> = svg.lines().filter(|line| line.starts_with("<circle")).collect();
            assert_eq!(circles.len(), count);
            for circle in circles {
                let (x, y) = (number(circle, "cx=\""), number(circle, "cy=\""));
                assert!((PLOT[0]..=PLOT[2]).contains(&x) && (PLOT[1]..=PLOT[3]).contains(&y), "{circle}");
            }
        }
        // One pack of one size is a picture too, and so are equal accuracies.
        assert!(!curve("one", &[], point(1, 0.0, None)).contains("NaN"));
        let same = point(5, 0.1, Some(1.0));
        assert!(!curve("same", &[same, same], same).contains("NaN"));
    }
}
