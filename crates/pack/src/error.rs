//! What is wrong with a file, and at which byte.
//!
//! The error is a small plain value: a reader on a microcontroller can return it, and whoever has a screen can print it.
//! Names of kinds are part of the format (`FORMAT.md`, section 13).

use core::fmt;

/// Why bytes are not a pack that this reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    /// What kind of thing is wrong.
    pub kind: ErrorKind,
    /// Where, counted in bytes from the start of the file.
    pub offset: u64,
    /// The part of the file that is wrong, in the words of `FORMAT.md`.
    pub subject: &'static str,
    /// What would have been right; its meaning goes with the kind, 0 where there is no number to give.
    pub expected: u64,
    /// What was there.
    pub found: u64,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something ends before it is complete.
    Truncated,
    /// Bytes are left where something must end.
    Trailing,
    /// The first bytes are not those of a pack, or of a signature block.
    Magic,
    /// A newer major version.
    Version,
    /// A section that this reader does not know and must not skip.
    Section,
    /// A number that is in no registry this reader knows.
    Encoding,
    /// A checksum does not match.
    Checksum,
    /// A byte or bit that must be zero is not.
    Padding,
    /// Sections overlap, leave gaps, or do not fill the content.
    Layout,
    /// A required section is not there.
    Missing,
    /// Names, keys or kinds do not ascend strictly.
    Order,
    /// Two counts contradict each other.
    Count,
    /// An index beyond the end of its tensor.
    Index,
    /// A prefix code that is none, or a code without a symbol.
    Code,
    /// A number that is not finite or out of its range.
    Number,
    /// A text that is empty, not UTF-8, or has control characters.
    Text,
    /// A varint that is not in its shortest form.
    Varint,
    /// Larger than the reader's limits.
    Limit,
}

/// What the one who reads an error must do differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The bytes are wrong: fetch or make them again.
    Damaged,
    /// Newer software is needed.
    Unsupported,
    /// Too big for here.
    Limit,
}

impl Error {
    /// What the one who reads it must do differently.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        self.kind.class()
    }

    /// The next step.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self.kind.class() {
            ErrorClass::Damaged => "fetch the pack again, or make it again",
            ErrorClass::Unsupported => "this pack needs a newer version of taskvec",
            ErrorClass::Limit => "if you trust where the pack comes from, raise the reader's limits",
        }
    }

    pub(crate) const fn new(kind: ErrorKind, offset: u64, subject: &'static str, expected: u64, found: u64) -> Self {
        Self { kind, offset, subject, expected, found }
    }
}

impl ErrorKind {
    /// What the one who reads it must do differently.
    #[must_use]
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::Version | Self::Section | Self::Encoding => ErrorClass::Unsupported,
            Self::Limit => ErrorClass::Limit,
            _ => ErrorClass::Damaged,
        }
    }

    /// The kind's name in `FORMAT.md`, section 13.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Trailing => "trailing",
            Self::Magic => "magic",
            Self::Version => "version",
            Self::Section => "section",
            Self::Encoding => "encoding",
            Self::Checksum => "checksum",
            Self::Padding => "padding",
            Self::Layout => "layout",
            Self::Missing => "missing",
            Self::Order => "order",
            Self::Count => "count",
            Self::Index => "index",
            Self::Code => "code",
            Self::Number => "number",
            Self::Text => "text",
            Self::Varint => "varint",
            Self::Limit => "limit",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, offset, expected, found, .. } = self;
        match self.kind {
            ErrorKind::Truncated => write!(f, "{subject} ends at byte {offset} before it is complete"),
            ErrorKind::Trailing => write!(f, "{subject} should end at byte {offset}, but bytes follow"),
            ErrorKind::Magic => {
                write!(f, "{subject} at byte {offset}: magic is {found:#018x}, expected {expected:#018x}")
            }
            ErrorKind::Version => {
                write!(f, "{subject} at byte {offset}: major version {found}, this reader knows {expected}")
            }
            ErrorKind::Section => write!(f, "{subject} at byte {offset}: required section {found} is unknown"),
            ErrorKind::Encoding => write!(f, "{subject} at byte {offset}: number {found} is unknown"),
            ErrorKind::Checksum => {
                write!(f, "{subject} at byte {offset}: checksum is {found:#010x}, expected {expected:#010x}")
            }
            ErrorKind::Padding => write!(f, "{subject} at byte {offset}: bits that must be zero are not"),
            ErrorKind::Layout => write!(f, "{subject} at byte {offset}: found {found}, expected {expected}"),
            ErrorKind::Missing => write!(f, "{subject} at byte {offset}: required section {expected} is not there"),
            ErrorKind::Order => write!(f, "{subject} at byte {offset}: not above the one before"),
            ErrorKind::Count => write!(f, "{subject} at byte {offset}: found {found}, expected {expected}"),
            ErrorKind::Index => {
                write!(f, "{subject} at byte {offset}: index {found} lies beyond the {expected} that there are")
            }
            ErrorKind::Code => write!(f, "{subject} at byte {offset}: not a valid prefix code"),
            ErrorKind::Number => write!(f, "{subject} at byte {offset}: number is not finite or out of its range"),
            ErrorKind::Text => {
                write!(f, "{subject} at byte {offset}: text is empty, not UTF-8, or has control characters")
            }
            ErrorKind::Varint => write!(f, "{subject} at byte {offset}: varint is not in its shortest form"),
            ErrorKind::Limit => write!(f, "{subject} at byte {offset}: {found} is above the limit of {expected}"),
        }
    }
}

impl core::error::Error for Error {}
