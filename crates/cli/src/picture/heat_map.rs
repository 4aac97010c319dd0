//! Disentanglement errors over two coefficients, with the box in which coefficients are searched.

use std::fmt::Write as _;

use super::colors::heat;
use super::{begin, escape};

const SIDE: f64 = 300.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 58.0;
const WIDTH: f64 = 470.0;
const HEIGHT: f64 = 430.0;
/// Errors are from 0 to 2; from here on the color is the darkest.
const DARKEST: f64 = 1.0;

/// `errors` as [`taskvec_packer::evaluate::ErrorMap`] has them.
pub(crate) fn heat_map(title: &str, [first, second]: [&str; 2], alphas: &[f64], errors: &[f64]) -> String {
    let count = alphas.len().max(1);
    let cell = SIDE / count as f64;
    let (from, to) = (alphas.first().copied().unwrap_or(0.0), alphas.last().copied().unwrap_or(1.0));
    // Cells are around their coefficients.
    let step = (to - from) / (count - 1).max(1) as f64;
    let x = |alpha: f64| LEFT + ((alpha - from) / step.max(f64::MIN_POSITIVE) + 0.5) * cell;
    let y = |alpha: f64| TOP + SIDE - ((alpha - from) / step.max(f64::MIN_POSITIVE) + 0.5) * cell;
    let mut svg = begin(WIDTH, HEIGHT, [24.0, 34.0], title);
    // Writing to a String cannot fail below.
    for (at, error) in errors.iter().enumerate() {
        let (column, row) = (at % count, at / count);
        let _ = writeln!(
            svg,
            r##"<rect x="{:.2}" y="{:.2}" width="{:.2}" height="{:.2}" fill="{}"/>"##,
            LEFT + cell * column as f64,
            TOP + SIDE - cell * (row + 1) as f64,
            cell + 0.3,
            cell + 0.3,
            heat(error / DARKEST)
        );
    }
    let is_box_inside = from <= 0.0 && to >= 1.0;
    if is_box_inside {
        let _ = writeln!(
            svg,
            r##"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" fill="none" stroke="#0072b2" stroke-width="2.5"/>"##,
            x(0.0),
            y(1.0),
            x(1.0) - x(0.0),
            y(0.0) - y(1.0)
        );
    }
    for tick in (from.ceil() as i32)..=(to.floor() as i32) {
        let alpha = f64::from(tick);
        let _ = writeln!(
            svg,
            r##"<text x="{:.1}" y="{}" text-anchor="middle" fill="#5a6472">{tick}</text><text x="{}" y="{:.1}" text-anchor="end" fill="#5a6472">{tick}</text>"##,
            x(alpha),
            TOP + SIDE + 20.0,
            LEFT - 8.0,
            y(alpha) + 4.5
        );
    }
    scale(&mut svg);
    let (middle, center) = (LEFT + SIDE / 2.0, TOP + SIDE / 2.0);
    let _ = writeln!(
        svg,
        r##"<text x="{middle}" y="{}" text-anchor="middle" fill="#1c2430">alpha of {}</text>
<text x="20" y="{center}" text-anchor="middle" fill="#1c2430" transform="rotate(-90 20 {center})">alpha of {}</text>
</svg>"##,
        TOP + SIDE + 44.0,
        escape(first),
        escape(second)
    );
    svg
}

/// What the colors say, at the right.
fn scale(svg: &mut String) {
    const PARTS: u32 = 20;
    let (left, part) = (LEFT + SIDE + 26.0, SIDE / f64::from(PARTS));
    for at in 0..PARTS {
        let share = (f64::from(at) + 0.5) / f64::from(PARTS);
        let top = TOP + SIDE - part * f64::from(at + 1);
        let _ = writeln!(
            svg,
            r##"<rect x="{left}" y="{top:.1}" width="14" height="{:.1}" fill="{}"/>"##,
            part + 0.3,
            heat(share)
        );
    }
    for (share, name) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %+")] {
        let _ = writeln!(
            svg,
            r##"<text x="{}" y="{:.1}" fill="#5a6472">{name}</text>"##,
            left + 20.0,
            TOP + SIDE - SIDE * share + 5.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_is_drawn_around_the_coefficients_that_are_searched() {
        let alphas = [-1.0, 0.0, 1.0];
        let svg = heat_map("t", ["a", "b"], &alphas, &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 2.0]);
        // The middle of the cell at (0, 0) is the middle of the map.
        let line = svg.lines().find(|line| line.contains(r#"fill="none""#)).unwrap();
        assert!(line.starts_with(r#"<rect x="214.0" y="108.0" width="100.0" height="100.0""#), "{line}");
        assert_eq!(svg.matches("<rect").count(), 1 + 9 + 1 + 20, "white, cells, box, scale");
        assert!(!heat_map("t", ["a", "b"], &[2.0, 3.0], &[0.0; 4]).contains(r#"fill="none""#));
    }
}
