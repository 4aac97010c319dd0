//! Local energies of the eigenfunctions that carry most of a task, of two networks side by side.

use std::fmt::Write as _;

use super::colors::color;
use super::{begin, escape};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
/// Left, top, right and bottom of the plot.
const PLOT: [f64; 4] = [70.0, 78.0, 730.0, 310.0];

/// For each series its name and its eigenfunctions, those that carry most first: what each carries, and its local energy.
pub(crate) fn energies(title: &str, series: &[(&str, &[[f64; 2]])]) -> String {
    let [left, top, right, bottom] = PLOT;
    let count = series.iter().map(|(_, functions)| functions.len()).max().unwrap_or(0).max(1);
    let step = (right - left) / count as f64;
    let width = step * 0.8 / series.len().max(1) as f64;
    let y = |share: f64| bottom - share.clamp(0.0, 1.0) * (bottom - top);
    let mut svg = begin(WIDTH, HEIGHT, [left, 34.0], title);
    // Writing to a String cannot fail below.
    for tick in [0u32, 25, 50, 75, 100] {
        let at = y(f64::from(tick) / 100.0);
        let dash = if tick == 50 { r#" stroke-dasharray="5 4" stroke-width="1.5""# } else { "" };
        let color = if tick == 50 { "#5a6472" } else { "#e8ecf1" };
        let _ = writeln!(
            svg,
            r##"<path d="M{left} {at:.1}H{right}" stroke="{color}"{dash}/><text x="{}" y="{:.1}" text-anchor="end" fill="#5a6472">{tick} %</text>"##,
            left - 8.0,
            at + 4.5
        );
    }
    let mut legend = left;
    for (place, (name, functions)) in series.iter().enumerate() {
        let _ = writeln!(
            svg,
            r##"<rect x="{legend:.1}" y="50" width="12" height="12" fill="{}"/><text x="{:.1}" y="61" fill="#1c2430">{}</text>"##,
            color(place),
            legend + 17.0,
            escape(name)
        );
        legend += 40.0 + 8.0 * name.chars().count() as f64;
        for (at, [_, local]) in functions.iter().enumerate() {
            let x = left + step * at as f64 + step * 0.1 + width * place as f64;
            let _ = writeln!(
                svg,
                r##"<rect x="{x:.1}" y="{:.1}" width="{width:.1}" height="{:.1}" fill="{}"/>"##,
                y(*local),
                bottom - y(*local),
                color(place)
            );
        }
    }
    let middle = (left + right) / 2.0;
    let center = (top + bottom) / 2.0;
    let _ = writeln!(
        svg,
        r##"<text x="{middle}" y="{}" text-anchor="middle" fill="#1c2430">eigenfunctions, those first that carry most of the task's labels</text>
<text x="18" y="{center}" text-anchor="middle" fill="#1c2430" transform="rotate(-90 18 {center})">local energy</text>
<text x="{middle}" y="{}" text-anchor="middle" fill="#5a6472" font-size="12">50 %: as much on the control's images as on the task's</text>
</svg>"##,
        bottom + 28.0,
        bottom + 50.0
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_eigenfunction_has_a_bar() {
        let svg = energies("t", &[("a", &[[0.5, 0.9], [0.2, 0.5]]), ("b", &[[0.4, 0.5]])]);
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 3, "white, names, bars");
        assert!(!energies("t", &[]).contains("NaN"));
    }
}
