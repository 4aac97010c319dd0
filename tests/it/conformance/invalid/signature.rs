//! Files with a wrong signature block: step 16 of `FORMAT.md` section 13.

use taskvec_testkit::contents::Signature;
use taskvec_testkit::hand_made::{Draft, HandMade, Made};

use super::Invalid;

pub(super) fn cases() -> Vec<Invalid> {
    let length = draft().build().bytes.len();
    vec![
        Invalid::made(
            "signature_magic",
            "the block starts with other bytes",
            overwritten("signature.magic", b"X"),
            "magic",
            "signature.magic",
        ),
        Invalid::at(
            "bytes_behind_content",
            "a zero byte follows the content",
            zero_behind_content(),
            "magic",
            content_bytes(),
        ),
        Invalid::at(
            "signature_cut_in_magic",
            "the block ends within its magic",
            cut(content_bytes() as usize + 5),
            "truncated",
            content_bytes() + 5,
        ),
        Invalid::at(
            "signature_cut_in_fields",
            "the block ends within its fields",
            cut(content_bytes() as usize + 23),
            "truncated",
            content_bytes() + 23,
        ),
        Invalid::at(
            "signature_cut",
            "the last byte of the signature is missing",
            cut(length - 1),
            "truncated",
            length as u64 - 1,
        ),
        Invalid::at(
            "signature_followed",
            "a byte follows the block",
            [cut(length), vec![0]].concat(),
            "trailing",
            length as u64,
        ),
        Invalid::made(
            "signature_block_bytes",
            "the block's size is not the sum of its parts",
            overwritten("signature.block_bytes", &[25]),
            "count",
            "signature.block_bytes",
        ),
        Invalid::made(
            "signature_no_key_id",
            "the key id has no bytes",
            signed("", "5a5a").build(),
            "count",
            "signature.block_bytes",
        ),
        Invalid::made(
            "signature_no_bytes",
            "the signature has no bytes",
            signed("6b", "").build(),
            "count",
            "signature.block_bytes",
        ),
        Invalid::made(
            "signature_checksum",
            "a byte of the signature was changed",
            flipped("signature.signature"),
            "checksum",
            "signature.magic",
        ),
        Invalid::made(
            "signature_checksum_fields",
            "the algorithm was changed",
            flipped("signature.algorithm"),
            "checksum",
            "signature.magic",
        ),
        Invalid::beyond("limit_key_id", signed("6b6579", "5a"), ("max_string_bytes", 2), "signature.key_id_bytes"),
    ]
}

fn signed(key_id: &str, signature: &str) -> Draft {
    let signature = Signature { algorithm: 1, key_id: key_id.to_owned(), signature: signature.to_owned() };
    HandMade::new("n").signature(signature).draft()
}

fn draft() -> Draft {
    signed("6b6579", "5a5a5a5a")
}

fn content_bytes() -> u64 {
    draft().build().content_bytes as u64
}

fn overwritten(piece: &str, bytes: &[u8]) -> Made {
    let mut made = draft().build();
    made.overwrite(piece, bytes);
    made.fix_checksums();
    made
}

fn flipped(piece: &str) -> Made {
    let mut made = draft().build();
    let place = usize::try_from(made.offset(piece)).expect("a small file");
    made.bytes[place] ^= 2;
    made
}

fn cut(byte_count: usize) -> Vec<u8> {
    draft().build().bytes[..byte_count].to_vec()
}

fn zero_behind_content() -> Vec<u8> {
    [HandMade::new("n").draft().build().bytes, vec![0]].concat()
}
