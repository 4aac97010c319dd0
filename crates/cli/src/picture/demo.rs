//! The demo's picture: what the base answered, what it answers with the skill, and what it answers after.

use std::fmt::Write as _;

use super::{begin, escape};

/// One input and the answers to it.
pub(crate) struct Sample {
    /// Gray levels, row by row.
    pub(crate) gray: Vec<u8>,
    /// Pixels per row.
    pub(crate) width: usize,
    /// The right answer.
    pub(crate) truth: String,
    /// The base's answer.
    pub(crate) base: String,
    /// The answer with the skill attached.
    pub(crate) attached: String,
}

/// One bar: a name and a share, 0 to 1.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) share: f64,
}

const MARGIN: usize = 24;
const CELL: usize = 84;
const BAR_HEIGHT: usize = 26;
const WIDTH: usize = 2 * MARGIN + 8 * CELL;

/// Bars for the accuracies above, up to eight samples below.
pub(crate) fn demo(title: &str, bars: &[Bar], samples: &[Sample]) -> String {
    let samples = &samples[..samples.len().min(8)];
    let samples_top = 64 + bars.len() * (BAR_HEIGHT + 8) + 24;
    let height = samples_top + CELL + 78;
    let mut svg = begin(WIDTH as f64, height as f64, [MARGIN as f64, 38.0], title);
    for (row, bar) in bars.iter().enumerate() {
        bar_row(&mut svg, 60 + row * (BAR_HEIGHT + 8), bar);
    }
    for (column, sample) in samples.iter().enumerate() {
        sample_column(&mut svg, MARGIN + column * CELL, samples_top, sample);
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar_row(svg: &mut String, top: usize, bar: &Bar) {
    let left = MARGIN + 190;
    let full = WIDTH - MARGIN - left - 70;
    let length = bar.share.clamp(0.0, 1.0) * full as f64;
    let baseline = top + 18;
    let _ = write!(
        svg,
        r##"<text x="{MARGIN}" y="{baseline}" fill="#1c2430">{}</text>
<rect x="{left}" y="{top}" width="{full}" height="{BAR_HEIGHT}" rx="3" fill="#e8ecf1"/>
<rect x="{left}" y="{top}" width="{length:.1}" height="{BAR_HEIGHT}" rx="3" fill="#2f6fb3"/>
<text x="{}" y="{baseline}" fill="#1c2430">{:.1} %</text>
"##,
        escape(&bar.name),
        left + full + 8,
        100.0 * bar.share
    );
}

/// The image as one path per gray level that occurs, then the truth and the two answers.
fn sample_column(svg: &mut String, left: usize, top: usize, sample: &Sample) {
    let size = CELL - 14;
    let rows = sample.gray.len() / sample.width.max(1);
    let pixel = size as f64 / sample.width.max(rows).max(1) as f64;
    let _ = write!(svg, r##"<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="#000000"/>"##);
    let _ = write!(svg, r##"<g shape-rendering="crispEdges" transform="translate({left} {top}) scale({pixel:.4})">"##);
    for level in 1..16u8 {
        let mut path = String::new();
        for (at, &gray) in sample.gray.iter().enumerate() {
            if gray >> 4 == level {
                let _ = write!(path, "M{} {}h1v1h-1z", at % sample.width, at / sample.width);
            }
        }
        if !path.is_empty() {
            let shade = level * 17;
            let _ = write!(svg, r##"<path fill="#{shade:02x}{shade:02x}{shade:02x}" d="{path}"/>"##);
        }
    }
    svg.push_str("</g>\n");
    let line = |svg: &mut String, below: usize, what: &str, answer: &str| {
        let color = if what.is_empty() {
            "#1c2430"
        } else if answer == sample.truth {
            "#1d7a3d"
        } else {
            "#b3261e"
        };
        let _ = writeln!(
            svg,
            r##"<text x="{left}" y="{}" font-size="12" fill="{color}">{what}{}</text>"##,
            top + size + below,
            escape(answer)
        );
    };
    line(svg, 18, "", &sample.truth);
    line(svg, 36, "base: ", &sample.base);
    line(svg, 54, "skill: ", &sample.attached);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_picture() {
        let bars = [Bar { name: "<script>".into(), share: 2.0 }];
        let svg = demo("a & b", &bars, &[]);
        assert!(svg.contains("&lt;script&gt;") && svg.contains("a &amp; b"), "{svg}");
        assert!(!svg.contains("<script>"));
    }
}
