//! Packs with a wrong manifest: step 17 of `FORMAT.md` section 13.

use taskvec_testkit::hand_made::{Draft, HandMade, streams};

use super::Invalid;

pub(super) fn cases() -> Vec<Invalid> {
    [numbers(), texts(), provenance(), varints()].into_iter().flatten().collect()
}

fn draft() -> Draft {
    let pairs = [("data", "digits"), ("recipe", "r")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    HandMade::new("n").manifest(|manifest| manifest.provenance = pairs.to_vec()).draft()
}

fn numbers() -> Vec<Invalid> {
    let number = |name, why, piece: &str, number: f32| {
        Invalid::drafted(name, why, draft().replace(piece, number.to_le_bytes()), "number", piece)
    };
    let granule = |name, why, granule: u16, bytes: u32| {
        let draft = draft().replace("manifest.granule", granule.to_le_bytes());
        let draft = draft.replace("manifest.granule_bytes", bytes.to_le_bytes());
        Invalid::drafted(name, why, draft, "number", "manifest.granule_bytes")
    };
    vec![
        number("alpha_nan", "alpha is not a number", "manifest.alpha", f32::NAN),
        number("alpha_infinite", "alpha is infinite", "manifest.alpha", f32::INFINITY),
        number("alpha_min_nan", "alpha_min is not a number", "manifest.alpha_min", f32::NAN),
        number("alpha_min_infinite", "alpha_min is infinite", "manifest.alpha_min", f32::NEG_INFINITY),
        number("alpha_min_above", "alpha_min is above alpha", "manifest.alpha_min", 1.25),
        number("alpha_max_below", "alpha_max is below alpha", "manifest.alpha_max", 0.75),
        number("alpha_max_infinite", "alpha_max is infinite", "manifest.alpha_max", f32::INFINITY),
        number("density_nan", "density is not a number", "manifest.density", f32::NAN),
        number("density_above_1", "density is above 1", "manifest.density", 1.0 + f32::EPSILON),
        number("density_negative", "density is below 0", "manifest.density", -f32::MIN_POSITIVE),
        granule("granule_element_bytes", "only blocks have a size, elements have none", 1, 4),
        granule("granule_row_bytes", "only blocks have a size, rows have none", 2, 4),
        granule("granule_tensor_bytes", "only blocks have a size, tensors have none", 4, 4),
        granule("granule_block_0", "a block has no bytes", 3, 0),
    ]
}

fn texts() -> Vec<Invalid> {
    let name = |name, why, bytes: &[u8]| {
        let length = streams::varint(bytes.len() as u64);
        let draft = draft().replace("manifest.name_bytes", length).replace("manifest.name", bytes);
        Invalid::drafted(name, why, draft, "text", "manifest.name")
    };
    vec![
        name("name_empty", "the name is empty", b""),
        name("name_line_feed", "the name has a control character, U+000A", b"a\nb"),
        name("name_unit_separator", "the name has a control character, U+001F", b"a\x1Fb"),
        name("name_delete", "the name has a control character, U+007F", b"a\x7Fb"),
        name("name_next_line", "the name has a control character, U+0085", "a\u{85}b".as_bytes()),
        name("name_latin_1", "the name is no UTF-8 but Latin-1", b"gr\xFC\xDF"),
        name("name_surrogate", "the name has a surrogate, which is no UTF-8", b"\xED\xA0\x80"),
        name("name_overlong", "the name has a letter in two bytes of which one would do", b"\xC1\x81"),
        name("name_cut", "the name ends within a character", b"a\xC3"),
        Invalid::beyond(
            "limit_name",
            draft().replace("manifest.name", *b"digit").replace("manifest.name_bytes", [5]),
            ("max_string_bytes", 4),
            "manifest.name_bytes",
        ),
        Invalid::beyond(
            "limit_value",
            draft().replace("manifest.pairs.1.value", *b"long value").replace("manifest.pairs.1.value_bytes", [10]),
            ("max_string_bytes", 9),
            "manifest.pairs.1.value_bytes",
        ),
    ]
}

fn provenance() -> Vec<Invalid> {
    let replaced = |name, why, piece: &str, bytes: &[u8], kind, place: &str| {
        let length = streams::varint(bytes.len() as u64);
        let draft = draft().replace(&format!("{piece}_bytes"), length).replace(piece, bytes);
        Invalid::drafted(name, why, draft, kind, place)
    };
    let key = "manifest.pairs.1.key";
    vec![
        Invalid::drafted(
            "pairs_beyond_section",
            "more pairs than could lie in what is left of the section",
            draft().replace("manifest.pair_count", [8]),
            "count",
            "manifest.pair_count",
        ),
        Invalid::drafted(
            "pairs_one_less",
            "a pair follows the last one",
            draft().replace("manifest.pair_count", [1]),
            "trailing",
            "manifest.pairs.1.key_bytes",
        ),
        Invalid::beyond("limit_pairs", draft(), ("max_provenance_pairs", 1), "manifest.pair_count"),
        replaced("keys_descend", "`calib` comes behind `data`", key, b"calib", "order", key),
        replaced("key_twice", "a key is there twice", key, b"data", "order", key),
        replaced("key_empty", "a key is empty", key, b"", "text", key),
        replaced("key_control", "a key has a control character", key, b"r\t", "text", key),
        replaced(
            "value_control",
            "a value has a control character",
            "manifest.pairs.1.value",
            b"\x1B[2J",
            "text",
            "manifest.pairs.1.value",
        ),
        Invalid::drafted(
            "manifest_trailing",
            "a byte follows the last pair",
            draft().lengthen(1, &[0]),
            "trailing",
            "extra",
        ),
        Invalid::drafted(
            "manifest_cut",
            "the last value ends beyond the section",
            draft().shorten(1, 1),
            "truncated",
            "section 1.end",
        ),
        cut_in_fields(),
    ]
}

/// A manifest of 62 bytes: the last field of fixed size has two of its four bytes.
fn cut_in_fields() -> Invalid {
    let pieces = ["name", "name_bytes", "pair_count", "granule_bytes"].map(|piece| format!("manifest.{piece}"));
    let draft = pieces.iter().fold(HandMade::new("n").draft(), |draft, piece| draft.replace(piece, []));
    let draft = draft.lengthen(1, &[0, 0]);
    Invalid::drafted(
        "manifest_cut_in_fields",
        "granule_bytes has two of its four bytes",
        draft,
        "truncated",
        "section 1.end",
    )
}

fn varints() -> Vec<Invalid> {
    let pair_count = |name, why, bytes: &[u8]| {
        let draft = HandMade::new("n").draft().replace("manifest.pair_count", bytes);
        Invalid::drafted(name, why, draft, "varint", "manifest.pair_count")
    };
    let end = HandMade::new("n").draft().replace("manifest.pair_count", [0x80]);
    vec![
        pair_count("varint_longer", "0 in two bytes", &[0x80, 0]),
        pair_count(
            "varint_eleven_bytes",
            "more than ten bytes",
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        ),
        pair_count("varint_above_64_bits", "2^64", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]),
        Invalid::drafted("varint_cut", "the section ends within a varint", end, "truncated", "section 1.end"),
    ]
}
