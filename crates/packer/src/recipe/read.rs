//! A recipe out of YAML, with errors that name the line, the key and the key that was probably meant.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_saphyr::Error as YamlError;

use super::Recipe;
use crate::error::{Error, Result};
use taskvec_dataset::spelling::nearest;

/// A recipe is a page of text; what is larger is no recipe.
const MAX_BYTES: u64 = 1024 * 1024;

pub(super) fn open(path: &Path) -> Result<Recipe> {
    let subject = format!("recipe `{}`", path.display());
    let text = read_page(path, &subject)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder, &subject)
}

/// The text of the file at `path`, which is a page; `subject` is what it is called in messages.
pub(crate) fn read_page(path: &Path, subject: &str) -> Result<String> {
    let file = File::open(path).map_err(|cause| Error::io("read", path, cause))?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|cause| Error::io("read", path, cause))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::limit(format!("{subject} is larger than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

pub(super) fn parse(text: &str, folder: &Path, subject: &str) -> Result<Recipe> {
    let mut recipe: Recipe = serde_saphyr::from_str(text).map_err(|error| explain(&error, text, subject))?;
    recipe.folder = folder.to_path_buf();
    recipe.fill_in();
    recipe.check().map_err(|error| error.within(subject))?;
    Ok(recipe)
}

/// The same failure in this project's words.
pub(crate) fn explain(error: &YamlError, text: &str, subject: &str) -> Error {
    let known = innermost(error).location().map_or(0, |location| location.line()) as usize;
    explain_from(error, known, text, subject)
}

/// The same, where what was read is put together from parts of `text`: a line is named only if the word at fault is found.
pub(crate) fn explain_fragment(error: &YamlError, text: &str, subject: &str) -> Error {
    explain_from(error, 0, text, subject)
}

fn explain_from(error: &YamlError, known: usize, text: &str, subject: &str) -> Error {
    let place = |word| place(known, text, word, subject);
    match innermost(error) {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            let error = Error::usage(format!("{}: unknown key `{field}`", place(Some(field))));
            suggest(error, field, expected, "keys")
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            let error = Error::usage(format!("{}: unknown value `{variant}`", place(Some(variant))));
            suggest(error, variant, expected, "values")
        }
        YamlError::SerdeMissingField { field, .. } => Error::usage(format!("{subject}: key `{field}` is missing")),
        YamlError::DuplicateMappingKey { key: Some(key), .. } => {
            Error::usage(format!("{}: key `{key}` is given twice", place(Some(key))))
        }
        other => Error::usage(place(None)).caused_by(other.to_string()),
    }
}

fn innermost(error: &YamlError) -> &YamlError {
    match error {
        YamlError::WithSnippet { error, .. } | YamlError::AliasError { error, .. } => innermost(error),
        other => other,
    }
}

fn suggest(error: Error, word: &str, expected: &[&'static str], kind: &str) -> Error {
    match nearest(word, expected.iter().copied()) {
        Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
        None => error.with_help(format!("{kind} here: {}", expected.join(", "))),
    }
}

/// Subject and line. Inside a value that serde reads twice (a tagged enum) the parser knows only where the value begins:
/// then the word itself is looked for from there on.
fn place(known: usize, text: &str, word: Option<&str>, subject: &str) -> String {
    let from = known.max(1);
    let holds = |line: &str| word.is_none_or(|word| line.contains(word));
    let found = text.lines().enumerate().skip(from - 1).find(|(_, line)| holds(line)).map(|(at, _)| at + 1);
    let line = if word.is_some() { found.unwrap_or(known) } else { known };
    if line == 0 { subject.to_owned() } else { format!("{subject}, line {line}") }
}
