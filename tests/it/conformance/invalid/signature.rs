//! Files with wrong signature blocks: step 16 of `FORMAT.md` section 13.

use taskvec_testkit::contents::Signature;
use taskvec_testkit::hand_made::{Draft, HandMade, Made};

use super::Invalid;

pub(super) fn cases() -> Vec<Invalid> {
    let length = draft().build().bytes.len();
    vec![
        Invalid::made(
            "signature_magic",
            "the block starts with other bytes",
            overwritten("signatures.0.magic", b"X"),
            "magic",
            "signatures.0.magic",
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
            "magic",
            length as u64,
        ),
        Invalid::at(
            "signature_second_cut",
            "the second block ends within its magic",
            [cut(length), b"\x89TVS".to_vec()].concat(),
            "truncated",
            length as u64 + 4,
        ),
        Invalid::made(
            "signature_block_bytes",
            "the block's size is not the sum of its parts",
            overwritten("signatures.0.block_bytes", &[25]),
            "count",
            "signatures.0.block_bytes",
        ),
        Invalid::made(
            "signature_no_key_id",
            "the key id has no bytes",
            signed(7, "", "5a5a").build(),
            "count",
            "signatures.0.block_bytes",
        ),
        Invalid::made(
            "signature_no_bytes",
            "the signature has no bytes",
            signed(7, "6b", "").build(),
            "count",
            "signatures.0.block_bytes",
        ),
        Invalid::drafted(
            "signature_ed25519_key_id",
            "the key id of an Ed25519 key has 15 bytes",
            signed(1, &"6b".repeat(15), &"5a".repeat(64)),
            "count",
            "signatures.0.block_bytes",
        ),
        Invalid::drafted(
            "signature_ed25519_bytes",
            "an Ed25519 signature has 65 bytes",
            signed(1, &"6b".repeat(16), &"5a".repeat(65)),
            "count",
            "signatures.0.block_bytes",
        ),
        Invalid::drafted(
            "signature_order",
            "the second key id is below the first",
            HandMade::new("n").signature(block(1, KEYS[1])).signature(block(1, KEYS[0])).draft(),
            "order",
            "signatures.1.key_id",
        ),
        Invalid::drafted(
            "signature_order_prefix",
            "the second key id is the beginning of the first",
            HandMade::new("n").signature(block(1, KEYS[0])).signature(block(7, "6a6a")).draft(),
            "order",
            "signatures.1.key_id",
        ),
        Invalid::drafted(
            "signature_twice",
            "the same block stands there twice",
            HandMade::new("n").signature(block(1, KEYS[0])).signature(block(1, KEYS[0])).draft(),
            "order",
            "signatures.1.key_id",
        ),
        Invalid::made(
            "signature_second_checksum",
            "a byte of the second signature was changed",
            {
                let mut made = two().build();
                let place = usize::try_from(made.offset("signatures.1.signature")).expect("a small file");
                made.bytes[place] ^= 2;
                made
            },
            "checksum",
            "signatures.1.magic",
        ),
        Invalid::made(
            "signature_checksum",
            "a byte of the signature was changed",
            flipped("signatures.0.signature"),
            "checksum",
            "signatures.0.magic",
        ),
        Invalid::made(
            "signature_checksum_fields",
            "the algorithm was changed",
            flipped("signatures.0.algorithm"),
            "checksum",
            "signatures.0.magic",
        ),
        Invalid::beyond(
            "limit_key_id",
            signed(7, "6b6579", "5a"),
            ("max_string_bytes", 2),
            "signatures.0.key_id_bytes",
        ),
        Invalid::beyond("limit_signatures", two(), ("max_signatures", 1), "signatures.1.magic"),
    ]
}

/// Two key ids, ascending.
const KEYS: [&str; 2] = ["6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a", "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"];

fn block(algorithm: u16, key_id: &str) -> Signature {
    Signature { algorithm, key_id: key_id.to_owned(), signature: "5a".repeat(64) }
}

fn signed(algorithm: u16, key_id: &str, signature: &str) -> Draft {
    let signature = Signature { algorithm, key_id: key_id.to_owned(), signature: signature.to_owned() };
    HandMade::new("n").signature(signature).draft()
}

fn draft() -> Draft {
    HandMade::new("n").signature(block(1, KEYS[0])).draft()
}

fn two() -> Draft {
    HandMade::new("n").signature(block(1, KEYS[0])).signature(block(1, KEYS[1])).draft()
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
