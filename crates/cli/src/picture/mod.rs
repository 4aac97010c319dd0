//! Pictures: self-contained SVG without scripts or fonts of its own, readable in light and dark surroundings.

mod curve;
mod demo;

pub(crate) use self::curve::curve;
pub(crate) use self::demo::{Bar, Sample, demo};

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
