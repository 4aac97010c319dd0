//! Bytes against error: a curve of the packs that could have been made, and the one that was.

use std::fmt::Write as _;

use super::begin;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Left, top, right and bottom of the plot.
const PLOT: [f64; 4] = [76.0, 64.0, 692.0, 360.0];

/// Points are (bytes, error): bytes are at least 1 and shown by orders of magnitude, errors are from 0 to 1. `made` is
/// marked.
pub(crate) fn curve(title: &str, points: &[(f64, f64)], made: (f64, f64)) -> String {
    let all = || points.iter().copied().chain([made]);
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
    let path: Vec<String> = points.iter().map(|(bytes, error)| format!("{:.1} {:.1}", x(*bytes), y(*error))).collect();
    if !path.is_empty() {
        let _ = writeln!(svg, r##"<path d="M{}" fill="none" stroke="#2f6fb3" stroke-width="2"/>"##, path.join("L"));
    }
    for (bytes, error) in points {
        let _ = writeln!(svg, r##"<circle cx="{:.1}" cy="{:.1}" r="3" fill="#2f6fb3"/>"##, x(*bytes), y(*error));
    }
    let (at_x, at_y) = (x(made.0), y(made.1));
    let _ = writeln!(
        svg,
        r##"<circle cx="{at_x:.1}" cy="{at_y:.1}" r="7" fill="none" stroke="#b3261e" stroke-width="2"/>
<text x="{:.1}" y="{}" text-anchor="middle" fill="#1c2430">size of the pack</text>
<text x="20" y="{:.1}" text-anchor="middle" fill="#1c2430" transform="rotate(-90 20 {:.1})">norm lost / norm of the vector</text>
</svg>"##,
        (left + right) / 2.0,
        HEIGHT - 14.0,
        (top + bottom) / 2.0,
        (top + bottom) / 2.0
    );
    svg
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

    #[test]
    fn every_point_lies_in_the_plot() {
        let svg = curve("a < b", &[(3e6, 0.0), (1e5, 0.2), (700.0, 0.9)], (2e4, 0.4));
        assert!(svg.contains("a &lt; b"));
        let number = |text: &str, key: &str| -> f64 {
            let from = text.split_once(key).unwrap().1;
            from.split('"').next().unwrap().parse().unwrap()
        };
        let circles: Vec<_> = svg.lines().filter(|line| line.starts_with("<circle")).collect();
        assert_eq!(circles.len(), 4);
        for circle in circles {
            let (x, y) = (number(circle, "cx=\""), number(circle, "cy=\""));
            assert!((PLOT[0]..=PLOT[2]).contains(&x) && (PLOT[1]..=PLOT[3]).contains(&y), "{circle}");
        }
        // One pack of one size is a picture too.
        assert!(!curve("one", &[], (1.0, 0.0)).contains("NaN"));
    }
}
