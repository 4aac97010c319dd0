//! Bars in groups: what each method is worth, each bar with its spread.

use std::fmt::Write as _;

use super::colors::color;
use super::{begin, escape};

const WIDTH: f64 = 760.0;
const NAMES: f64 = 190.0;
const RIGHT: f64 = 690.0;
const BAR: f64 = 11.0;
const TOP: f64 = 84.0;

/// A group of bars with its name: one share for each of the series, with its standard deviation; none where there is none.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) bars: Vec<Option<[f64; 2]>>,
}

/// Shares in percent, a group of bars for each row.
pub(crate) fn bars(title: &str, series: &[&str], groups: &[Group]) -> String {
    let step = BAR * series.len() as f64 + 12.0;
    let height = TOP + step * groups.len() as f64 + 40.0;
    let bottom = height - 36.0;
    let all = || groups.iter().flat_map(|group| group.bars.iter().flatten());
    let most = all().fold(1.0_f64, |most, [share, spread]| most.max(share + spread));
    let x = |share: f64| NAMES + share.clamp(0.0, most) / most * (RIGHT - NAMES);
    let mut svg = begin(WIDTH, height, [24.0, 34.0], title);
    // Writing to a String cannot fail below.
    let mut at = NAMES;
    for (place, name) in series.iter().enumerate() {
        let _ = writeln!(
            svg,
            r##"<rect x="{at:.1}" y="52" width="12" height="12" fill="{}"/><text x="{:.1}" y="63" fill="#1c2430" font-size="13">{}</text>"##,
            color(place),
            at + 17.0,
            escape(name)
        );
        at += 34.0 + 7.0 * name.chars().count() as f64;
    }
    for tick in (0..=(most * 100.0).round() as u32).step_by(20) {
        let at = x(f64::from(tick) / 100.0);
        let _ = writeln!(
            svg,
            r##"<path d="M{at:.1} {:.1}V{bottom:.1}" stroke="#e8ecf1"/><text x="{at:.1}" y="{:.1}" text-anchor="middle" fill="#5a6472">{tick} %</text>"##,
            TOP - 6.0,
            bottom + 18.0
        );
    }
    for (row, group) in groups.iter().enumerate() {
        let top = TOP + step * row as f64;
        let middle = top + BAR * series.len() as f64 / 2.0 + 4.5;
        let _ = writeln!(
            svg,
            r##"<text x="{}" y="{middle:.1}" text-anchor="end" fill="#1c2430">{}</text>"##,
            NAMES - 10.0,
            escape(&group.name)
        );
        for (place, bar) in group.bars.iter().enumerate() {
            let Some([share, spread]) = bar else { continue };
            let y = top + BAR * place as f64;
            let _ = writeln!(
                svg,
                r##"<rect x="{NAMES}" y="{y:.1}" width="{:.1}" height="{}" fill="{}"/>"##,
                x(*share) - NAMES,
                BAR - 1.0,
                color(place)
            );
            if *spread > 0.0 {
                let _ = writeln!(
                    svg,
                    r##"<path d="M{:.1} {2:.1}H{:.1}" stroke="#1c2430" stroke-width="1.2"/>"##,
                    x(share - spread),
                    x(share + spread),
                    y + BAR / 2.0 - 0.5
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_is_missing_leaves_its_place_empty() {
        let group = |name: &str, bars| Group { name: name.to_owned(), bars };
        let svg = bars(
            "t",
            &["a", "b"],
            &[group("x & y", vec![Some([0.5, 0.1]), None]), group("z", vec![Some([1.2, 0.0]); 2])],
        );
        assert!(svg.contains("x &amp; y") && !svg.contains("NaN"));
        let of_bars = svg.lines().filter(|line| line.starts_with(r#"<rect x="190""#)).count();
        assert_eq!(of_bars, 3);
        assert!(!bars("t", &[], &[]).contains("NaN"));
    }
}
