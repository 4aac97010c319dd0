//! Why a file is refused, and at which byte.

use std::fmt;

/// The first check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which kind of check it was.
    pub kind: ErrorKind,
    /// The byte that goes with it, counted from the start of the file.
    pub offset: u64,
}

/// The kinds of `FORMAT.md` section 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something reaches beyond the end of what it lies in.
    Truncated,
    /// Something goes on where it must end.
    Trailing,
    /// These are not the bytes that the file or the block starts with.
    Magic,
    /// The major version is another.
    Version,
    /// The reader is not willing to take this much.
    Limit,
    /// A place or size in the header or the section table contradicts the rest.
    Layout,
    /// A count contradicts what is counted.
    Count,
    /// A checksum is wrong.
    Checksum,
    /// Bytes or bits that must be zero are not.
    Padding,
    /// Something that must ascend does not.
    Order,
    /// A required section is not known.
    Section,
    /// A section that must be there is not.
    Missing,
    /// A number is not finite or out of its range.
    Number,
    /// Bytes are no text.
    Text,
    /// A number of a registry is not known.
    Encoding,
    /// An index or a granule number is out of range.
    Index,
    /// A prefix code contradicts itself, or bits are no code of it.
    Code,
    /// A variable-length integer is not in its shortest form, or too large.
    Varint,
}

impl ErrorKind {
    /// The name in the tables of `FORMAT.md`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Trailing => "trailing",
            Self::Magic => "magic",
            Self::Version => "version",
            Self::Limit => "limit",
            Self::Layout => "layout",
            Self::Count => "count",
            Self::Checksum => "checksum",
            Self::Padding => "padding",
            Self::Order => "order",
            Self::Section => "section",
            Self::Missing => "missing",
            Self::Number => "number",
            Self::Text => "text",
            Self::Encoding => "encoding",
            Self::Index => "index",
            Self::Code => "code",
            Self::Varint => "varint",
        }
    }

    /// What the one who has the file should do: `damaged`, `unsupported` or `limit`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Version | Self::Section | Self::Encoding => "unsupported",
            Self::Limit => "limit",
            _ => "damaged",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) at byte {}", self.kind.class(), self.kind.name(), self.offset)
    }
}

impl std::error::Error for Error {}

/// Refuses the file.
pub(super) fn refuse<T>(kind: ErrorKind, offset: usize) -> Result<T, Error> {
    let offset = u64::try_from(offset).expect("a file's length fits 64 bits");
    Err(Error { kind, offset })
}

/// Refuses the file unless the check holds.
pub(super) fn check(holds: bool, kind: ErrorKind, offset: usize) -> Result<(), Error> {
    if holds { Ok(()) } else { refuse(kind, offset) }
}
