//! Names of tensors with `*` for any run of characters: how a recipe says which tensors it means.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A tensor name in which `*` stands for any run of characters, dots included.
///
/// ```
/// use taskvec_packer::recipe::Pattern;
///
/// assert!(Pattern::new("blocks.*.attn.*").matches("blocks.11.attn.qkv.weight"));
/// assert!(!Pattern::new("blocks.*.attn").matches("blocks.11.attn.qkv.weight"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern written as `text`.
    pub fn new(text: impl Into<String>) -> Pattern {
        Pattern(text.into())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or("");
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = self.0.contains('*').then(|| pieces.next_back()).flatten() else { return rest.is_empty() };
        for piece in pieces {
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_and_the_rest_is_literal() {
        struct Case(&'static str, &'static str, bool);
        let cases = [
            Case("*", "", true),
            Case("*", "norm.weight", true),
            Case("norm.weight", "norm.weight", true),
            Case("norm.weight", "norm.weights", false),
            Case("norm", "a.norm", false),
            Case("*.bias", "blocks.0.bias", true),
            Case("*.bias", "blocks.0.bias.x", false),
            Case("a*a", "a", false),
            Case("a*a", "aa", true),
            Case("a*b*c", "a-b-b-c", true),
            Case("a*b*c", "a-c-b", false),
            Case("", "", true),
            Case("", "x", false),
        ];
        for Case(pattern, name, expected) in cases {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "`{pattern}` on `{name}`");
        }
    }
}
