//! Files with a wrong header or section table: steps 1 to 15 of `FORMAT.md` section 13.

use taskvec_testkit::hand_made::{Draft, HandMade, Made};

use super::Invalid;

pub(super) fn cases() -> Vec<Invalid> {
    [start(), header(), section_table(), checksums()].into_iter().flatten().collect()
}

fn draft() -> Draft {
    HandMade::new("n").draft()
}

/// The smallest pack with bytes of a piece overwritten and all checksums right again.
fn overwritten(piece: &str, bytes: &[u8]) -> Made {
    let mut made = draft().build();
    made.overwrite(piece, bytes);
    made.fix_checksums();
    made
}

fn start() -> Vec<Invalid> {
    let whole = draft().build().bytes;
    let cut = |byte_count: usize| whole[..byte_count].to_vec();
    let length = whole.len() as u64;
    let mut line_ends = whole.clone();
    line_ends.remove(4);
    vec![
        Invalid::at("empty", "the file has no bytes", vec![], "truncated", 0),
        Invalid::at("cut_in_magic", "the file ends within the magic", cut(7), "truncated", 7),
        Invalid::at("cut_in_header", "the file ends within the header", cut(31), "truncated", 31),
        Invalid::at("cut_in_content", "the last byte is missing", cut(whole.len() - 1), "truncated", length - 1),
        Invalid::made(
            "magic_first_byte",
            "the first byte is not 0x89",
            overwritten("header.magic", &[0x09]),
            "magic",
            "header.magic",
        ),
        Invalid::at("magic_line_end", "a transfer has made LF of CR LF", line_ends, "magic", 0),
        Invalid::made(
            "major_0",
            "there is no major version 0",
            overwritten("header.major", &[0, 0]),
            "version",
            "header.major",
        ),
        Invalid::made(
            "major_2",
            "the major version is newer",
            overwritten("header.major", &[2, 0]),
            "version",
            "header.major",
        ),
        Invalid::beyond("limit_file_bytes", draft(), ("max_file_bytes", length - 1), "header.magic"),
        Invalid::beyond("limit_sections", draft(), ("max_sections", 2), "header.section_count"),
    ]
}

fn header() -> Vec<Invalid> {
    let content_bytes = |bytes: u64| overwritten("header.content_bytes", &bytes.to_le_bytes());
    let length = draft().build().bytes.len() as u64;
    let mut longer = content_bytes(length + 8);
    longer.bytes.extend([0; 8]);
    let no_sections = draft().remove_section(1).remove_section(2).remove_section(3);
    vec![
        Invalid::made(
            "content_bytes_24",
            "the content is shorter than the header",
            content_bytes(24),
            "layout",
            "header.content_bytes",
        ),
        Invalid::made(
            "content_bytes_odd",
            "the content does not end at a multiple of 8",
            content_bytes(length - 1),
            "layout",
            "header.content_bytes",
        ),
        Invalid::at(
            "content_bytes_huge",
            "the content is longer than the file",
            content_bytes(1 << 63).bytes,
            "truncated",
            length,
        ),
        Invalid::made(
            "content_goes_on",
            "there are 8 more bytes of content than sections",
            longer,
            "layout",
            "header.content_bytes",
        ),
        Invalid::made(
            "section_count_huge",
            "the section table does not fit into the content",
            overwritten("header.section_count", &[0xFF; 4]),
            "count",
            "header.section_count",
        ),
        Invalid::made(
            "header_zero",
            "a byte of the header that must be zero is 1",
            overwritten("header.zero", &[1]),
            "padding",
            "header.zero",
        ),
        Invalid::drafted(
            "no_sections",
            "there is a header and nothing else",
            no_sections,
            "missing",
            "header.section_count",
        ),
        missing("missing_manifest", 1),
        missing("missing_tensors", 2),
        missing("missing_entries", 3),
    ]
}

fn missing(name: &'static str, kind: u32) -> Invalid {
    let draft = draft().remove_section(kind);
    Invalid::drafted(name, "a section that every pack has is not there", draft, "missing", "header.section_count")
}

fn section_table() -> Vec<Invalid> {
    let kind = |entry: usize, kind: u32| overwritten(&format!("table.{entry}.kind"), &kind.to_le_bytes());
    let unknown =
        |name, why, kind| Invalid::drafted(name, why, draft().add_section(kind, b"new"), "section", "table.3.kind");
    let bytes = |entry: usize, bytes: u64| overwritten(&format!("table.{entry}.bytes"), &bytes.to_le_bytes());
    let mut offset = overwritten("table.1.offset", &0_u64.to_le_bytes());
    let right = offset.offset("section 2");
    offset.overwrite("table.1.offset", &(right + 8).to_le_bytes());
    offset.fix_checksums();
    vec![
        unknown("section_7", "section 7 is not known", 7),
        unknown("section_last_required", "section 0x7FFFFFFF is not known, and the last one that must be", 0x7FFF_FFFF),
        Invalid::made("section_0", "section 0 is not known", kind(0, 0), "section", "table.0.kind"),
        Invalid::made("sections_descend", "section 1 comes behind section 2", kind(2, 1), "order", "table.2.kind"),
        Invalid::drafted(
            "section_twice",
            "a section that is not known is there twice",
            draft().add_section(0x8000_0001, b"").add_section(0x8000_0001, b""),
            "order",
            "table.4.kind",
        ),
        Invalid::made(
            "section_offset",
            "section 2 does not start where section 1 ends",
            offset,
            "layout",
            "table.1.offset",
        ),
        Invalid::made(
            "section_beyond_content",
            "section 3 reaches beyond the content",
            bytes(2, 1),
            "layout",
            "table.2.bytes",
        ),
        Invalid::made(
            "section_overflow",
            "offset and size of section 3 have a sum of more than 64 bits",
            bytes(2, u64::MAX),
            "layout",
            "table.2.bytes",
        ),
        Invalid::made(
            "section_too_short",
            "section 2 does not start where section 1, which is too short, ends",
            bytes(0, 8),
            "layout",
            "table.1.offset",
        ),
    ]
}

fn checksums() -> Vec<Invalid> {
    let flipped = |piece: &str| {
        let mut made = draft().add_section(0x8000_0000, b"later").build();
        let place = usize::try_from(made.offset(piece)).expect("a small file");
        made.bytes[place] ^= 1;
        made
    };
    let padding = |section: &str, behind: usize| {
        let mut made = draft().add_section(0x8000_0000, b"later").build();
        let place = usize::try_from(made.offset(section)).expect("a small file");
        made.bytes[place + behind] = 1;
        made
    };
    vec![
        Invalid::made(
            "checksum_header",
            "the minor version was changed",
            flipped("header.minor"),
            "checksum",
            "header.magic",
        ),
        Invalid::made(
            "checksum_header_itself",
            "the checksum of the header was changed",
            flipped("header.checksum"),
            "checksum",
            "header.magic",
        ),
        Invalid::made(
            "checksum_table",
            "the checksum of a section was changed",
            flipped("table.1.checksum"),
            "checksum",
            "header.magic",
        ),
        Invalid::made("checksum_manifest", "the seed was changed", flipped("manifest.seed"), "checksum", "section 1"),
        Invalid::made(
            "checksum_optional",
            "a section that is not known was changed",
            flipped("extra"),
            "checksum",
            "section 2147483648",
        ),
        Invalid::made(
            "padding",
            "the second byte of padding behind the manifest is not zero",
            padding("section 1.end", 1),
            "padding",
            "section 1.end+1",
        ),
        Invalid::made(
            "padding_optional",
            "the padding behind a section that is not known is not zero",
            padding("section 2147483648.end", 2),
            "padding",
            "section 2147483648.end+2",
        ),
    ]
}
