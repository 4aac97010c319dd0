//! The two readers of packs, made to say what they read in the same words.

mod fast;

use taskvec_testkit::{Contents, Limits, naive_reader};

/// What a reader said, in the words of the JSON beside a vector: the contents, or the error.
pub type Verdict = Result<Contents, Refusal>;

/// Kind, class and offset.
pub type Refusal = (&'static str, &'static str, u64);

/// One of the readers that are compared.
pub type Read = fn(&[u8], &Limits) -> Verdict;

/// The readers, each with its name.
pub const READERS: [(&str, Read); 2] = [("naive", read_naively), ("fast", fast::read)];

fn read_naively(file: &[u8], limits: &Limits) -> Verdict {
    naive_reader::read(file, limits).map_err(|error| (error.kind.name(), error.kind.class(), error.offset))
}
