//! Packs that must be refused, each wrong in one way and named by it.

mod head;
mod header;
mod indices;
mod manifest;
mod probes;
mod signature;
mod tensors;
mod values;

use serde_json::json;
use taskvec_testkit::hand_made::{Draft, Made};

use super::golden::Vector;
use super::json_text;

/// All of them, sorted by name.
pub(super) fn vectors() -> Vec<Vector> {
    let cases = [
        header::cases(),
        signature::cases(),
        manifest::cases(),
        tensors::cases(),
        indices::cases(),
        values::cases(),
        head::cases(),
        probes::cases(),
    ];
    let mut vectors: Vec<Vector> = cases.into_iter().flatten().map(Invalid::into_vector).collect();
    vectors.sort_by(|left, right| left.name.cmp(&right.name));
    vectors
}

/// A file and why it is refused.
struct Invalid {
    name: &'static str,
    why: &'static str,
    bytes: Vec<u8>,
    kind: &'static str,
    offset: u64,
    /// A limit other than the default one, under which alone the file is refused.
    limit: Option<(&'static str, u64)>,
}

impl Invalid {
    /// A file that is refused at a place that its maker has no name for.
    fn at(name: &'static str, why: &'static str, bytes: Vec<u8>, kind: &'static str, offset: u64) -> Self {
        Self { name, why, bytes, kind, offset, limit: None }
    }

    /// A file that is refused at this piece, or so many bytes behind its start: `table.0.kind`, `padding+2`.
    fn made(name: &'static str, why: &'static str, made: Made, kind: &'static str, place: &str) -> Self {
        let (piece, behind) = place.split_once('+').unwrap_or((place, "0"));
        let offset = made.offset(piece) + behind.parse::<u64>().expect("a number of bytes");
        Self::at(name, why, made.bytes, kind, offset)
    }

    /// A pack of which a piece is another one, with all sizes and checksums right, refused at this place.
    fn drafted(name: &'static str, why: &'static str, draft: Draft, kind: &'static str, place: &str) -> Self {
        Self::made(name, why, draft.build(), kind, place)
    }

    /// A pack that is in order and refused by this limit.
    fn beyond(name: &'static str, draft: Draft, limit: (&'static str, u64), place: &str) -> Self {
        let case =
            Self::made(name, "the pack is in order and beyond the limit that is set", draft.build(), "limit", place);
        Self { limit: Some(limit), ..case }
    }

    fn into_vector(self) -> Vector {
        let class = match self.kind {
            "version" | "section" | "encoding" => "unsupported",
            "limit" => "limit",
            _ => "damaged",
        };
        let mut json = json!({ "why": self.why });
        if let Some((limit, value)) = self.limit {
            json["limits"] = json!({ limit: value });
        }
        json["error"] = json!({ "kind": self.kind, "class": class, "offset": self.offset });
        Vector { name: self.name.to_owned(), bytes: self.bytes, json: json_text::of(&json) }
    }
}

/// The stream with the most significant bit of its last byte set, which these short streams do not use.
fn last_bit_set(stream: &[u8]) -> Vec<u8> {
    let mut stream = stream.to_vec();
    let last = stream.last_mut().expect("a stream with bytes");
    assert!(*last & 0x80 == 0, "the last bit is in use");
    *last |= 0x80;
    stream
}
