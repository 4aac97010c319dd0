//! A generation of the store's journal: what was read is written, and what was written is read as the same.

use taskvec_pack::Digest;
use taskvec_runtime::{ErrorKind, Generation};

/// Reads the bytes as they are, and once more with the digest that the first line should have, so that damage reaches what
/// lies behind it.
///
/// # Panics
///
/// If what was accepted changes when it is written and read again, or if the reader panics.
pub fn journal(bytes: &[u8]) {
    let mended = bytes.iter().position(|&byte| byte == b'\n').map(|end| {
        let body = &bytes[end + 1..];
        [format!("taskvec journal 1 {}\n", Digest::of(body)).as_bytes(), body].concat()
    });
    for bytes in [Some(bytes), mended.as_deref()].into_iter().flatten() {
        match Generation::decode(bytes) {
            Ok(generation) => {
                let written = generation.encode().expect("what was read is within the limits");
                let again = Generation::decode(&written).expect("what is written can be read");
                assert_eq!(again, generation, "read again");
                assert_eq!(again.encode().ok().as_ref(), Some(&written), "written again");
            }
            Err(error) => {
                let kinds = [ErrorKind::Damaged, ErrorKind::Unsupported, ErrorKind::Limit];
                assert!(kinds.contains(&error.kind()), "a file gives {error:?}");
            }
        }
    }
}
