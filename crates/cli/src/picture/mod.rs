//! Pictures: self-contained SVG without scripts or fonts of its own, readable in light and dark surroundings.

mod bars;
mod colors;
mod curve;
mod demo;
mod energies;
mod heat_map;
mod lines;

pub(crate) use self::bars::{Group, bars};
pub(crate) use self::curve::curve;
pub(crate) use self::demo::{Bar, Sample, demo};
pub(crate) use self::energies::energies;
pub(crate) use self::heat_map::heat_map;
pub(crate) use self::lines::{Axis, Line, lines};

/// The head of a picture of this size, white, with its title; `</svg>` is left to write.
fn begin(width: f64, height: f64, [left, baseline]: [f64; 2], title: &str) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="14">
<rect width="{width}" height="{height}" fill="#ffffff"/>
<text x="{left}" y="{baseline}" font-size="19" font-weight="600" fill="#1c2430">{}</text>
"##,
        escape(title)
    )
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
