//! Packs that must be read. What must be read is said by hand, never by a reader.

mod indices;
mod manifest;
mod sections;
mod tensors;
mod values;

use serde_json::json;
use taskvec_testkit::hand_made::{Draft, HandMade};

use super::golden::Vector;
use super::json_text;

/// All of them, sorted by name.
pub(super) fn vectors() -> Vec<Vector> {
    let mut vectors =
        [manifest::vectors(), tensors::vectors(), indices::vectors(), values::vectors(), sections::vectors()].concat();
    vectors.sort_by(|left, right| left.name.cmp(&right.name));
    vectors
}

fn vector(name: &str, why: &str, pack: &HandMade) -> Vector {
    vector_of_draft(name, why, pack, &pack.draft())
}

/// A pack some bytes of which are written otherwise than by [`HandMade::draft`].
fn vector_of_draft(name: &str, why: &str, pack: &HandMade, draft: &Draft) -> Vector {
    let made = draft.build();
    let json = json!({ "why": why, "reads": pack.contents(&made) });
    Vector { name: name.to_owned(), bytes: made.bytes, json: json_text::of(&json) }
}
