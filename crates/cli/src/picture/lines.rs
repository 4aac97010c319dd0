//! Lines over a common axis: accuracy against the coefficient, or against a density.

use std::fmt::Write as _;

use super::colors::{color, round};
use super::{begin, escape};

const WIDTH: f64 = 760.0;
/// Left, top, right and bottom of the plot.
const PLOT: [f64; 4] = [70.0, 60.0, 540.0, 360.0];
/// Between two names of lines.
const LEGEND_STEP: f64 = 20.0;

/// A line: points from left to right, each with its spread.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Place along the axis, share, and standard deviation of the share.
    pub(crate) points: Vec<[f64; 3]>,
    /// Whether it is what the others are held against, and drawn dashed.
    pub(crate) is_dashed: bool,
}

/// What is written along the axis, and where.
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) ticks: Vec<(f64, String)>,
}

/// Shares in percent against what the axis says.
pub(crate) fn lines(title: &str, axis: &Axis, what: &str, lines: &[Line]) -> String {
    let [left, top, right, bottom] = PLOT;
    let height = f64::max(410.0, top + LEGEND_STEP * lines.len() as f64 + 30.0);
    let places =
        || axis.ticks.iter().map(|tick| tick.0).chain(lines.iter().flat_map(|line| line.points.iter().map(|at| at[0])));
    let (first, last) = places().fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
    let shares = || lines.iter().flat_map(|line| line.points.iter().flat_map(|at| [at[1] - at[2], at[1] + at[2]]));
    let (low, high) = shares().fold((1.0_f64, 0.0_f64), |(low, high), share| (low.min(share), high.max(share)));
    // Whole tenths around what there is.
    let low = (low.max(0.0) * 10.0).floor() / 10.0;
    let high = ((high.min(1.0) * 10.0).ceil() / 10.0).max(low + 0.1);
    let width = (last - first).max(f64::MIN_POSITIVE);
    let x = |at: f64| left + (at - first) / width * (right - left);
    let y = |share: f64| bottom - (share.clamp(low, high) - low) / (high - low) * (bottom - top);
    let mut svg = begin(WIDTH, height, [left, 34.0], title);
    // Writing to a String cannot fail below.
    for (at, name) in &axis.ticks {
        let _ = writeln!(
            svg,
            r##"<path d="M{0:.1} {top}V{bottom}" stroke="#e8ecf1"/><text x="{0:.1}" y="{1}" text-anchor="middle" fill="#5a6472">{2}</text>"##,
            x(*at),
            bottom + 20.0,
            escape(name)
        );
    }
    let steps = ((high - low) * 10.0).round() as u32;
    for tick in 0..=steps {
        let share = low + f64::from(tick) / 10.0;
        let _ = writeln!(
            svg,
            r##"<path d="M{left} {0:.1}H{right}" stroke="#e8ecf1"/><text x="{1}" y="{2:.1}" text-anchor="end" fill="#5a6472">{3:.0} %</text>"##,
            y(share),
            left - 8.0,
            y(share) + 4.0,
            100.0 * share
        );
    }
    for (place, line) in lines.iter().enumerate() {
        let stroke = Stroke { color: color(place), dash: dash(line, place) };
        draw(&mut svg, line, &stroke, &x, &y);
        let at = top + 8.0 + LEGEND_STEP * place as f64;
        let Stroke { color, dash } = stroke;
        let _ = writeln!(
            svg,
            r##"<path d="M{} {at}h22" stroke="{color}" stroke-width="2.5"{dash}/><text x="{}" y="{}" fill="#1c2430">{}</text>"##,
            right + 18.0,
            right + 48.0,
            at + 4.5,
            escape(&line.name)
        );
    }
    let _ = writeln!(
        svg,
        r##"<text x="{:.1}" y="{}" text-anchor="middle" fill="#1c2430">{}</text>
<text x="18" y="{:.1}" text-anchor="middle" fill="#1c2430" transform="rotate(-90 18 {:.1})">{}</text>
</svg>"##,
        (left + right) / 2.0,
        bottom + 42.0,
        escape(&axis.title),
        (top + bottom) / 2.0,
        (top + bottom) / 2.0,
        escape(what)
    );
    svg
}

/// What a line is drawn with.
struct Stroke {
    color: &'static str,
    /// An attribute, or nothing.
    dash: &'static str,
}

/// Dashed if the line says so; of more lines than there are colors, the second round is dashed and the third dotted.
fn dash(line: &Line, place: usize) -> &'static str {
    match round(place) {
        _ if line.is_dashed => r#" stroke-dasharray="5 4""#,
        0 => "",
        1 => r#" stroke-dasharray="8 3""#,
        _ => r#" stroke-dasharray="2 3""#,
    }
}

fn draw(svg: &mut String, line: &Line, stroke: &Stroke, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) {
    let path: Vec<String> = line.points.iter().map(|at| format!("{:.1} {:.1}", x(at[0]), y(at[1]))).collect();
    if path.is_empty() {
        return;
    }
    let Stroke { color, dash } = stroke;
    let _ = writeln!(svg, r##"<path d="M{}" fill="none" stroke="{color}" stroke-width="2"{dash}/>"##, path.join("L"));
    for at in &line.points {
        if at[2] > 0.0 {
            let (low, high) = (y(at[1] - at[2]), y(at[1] + at[2]));
            let _ = writeln!(
                svg,
                r##"<path d="M{:.1} {low:.1}V{high:.1}" stroke="{color}" stroke-opacity="0.5"/>"##,
                x(at[0])
            );
        }
        let _ = writeln!(svg, r##"<circle cx="{:.1}" cy="{:.1}" r="2.5" fill="{color}"/>"##, x(at[0]), y(at[1]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_lies_in_the_plot_and_every_line_has_its_name() {
        let line =
            |name: &str, points: &[[f64; 3]]| Line { name: name.to_owned(), points: points.to_vec(), is_dashed: false };
        let axis = Axis { title: "alpha".to_owned(), ticks: vec![(0.0, "0".to_owned()), (1.0, "1".to_owned())] };
        let both = [line("a < b", &[[0.0, 0.31, 0.02], [1.0, 1.0, 0.1]]), line("c", &[[0.5, 0.0, 0.0]])];
        let svg = lines("t", &axis, "accuracy", &both);
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let circles = svg.lines().filter(|line| line.starts_with("<circle"));
        let number = |text: &str, key: &str| -> f64 {
            text.split_once(key).unwrap().1.split('"').next().unwrap().parse().unwrap()
        };
        let mut count = 0;
        for circle in circles {
            let (x, y) = (number(circle, "cx=\""), number(circle, "cy=\""));
            assert!((PLOT[0]..=PLOT[2]).contains(&x) && (PLOT[1]..=PLOT[3]).contains(&y), "{circle}");
            count += 1;
        }
        assert_eq!(count, 3);
        // Of more lines than there are colors no two look alike.
        let many: Vec<Line> = (0..30).map(|at| line(&format!("line {at}"), &[[0.0, 0.5, 0.0]])).collect();
        let svg = lines("t", &axis, "", &many);
        let looks: std::collections::HashSet<&str> =
            svg.lines().filter_map(|line| line.split_once("h22\"")?.1.split_once("/>")).map(|(look, _)| look).collect();
        assert_eq!(looks.len(), 30);
        // One point, or none at all, is a picture too.
        let alone = Axis { title: String::new(), ticks: vec![(1.0, "1".to_owned())] };
        assert!(!lines("t", &alone, "", &[line("x", &[[1.0, 0.5, 0.0]]), line("y", &[])]).contains("NaN"));
    }
}
