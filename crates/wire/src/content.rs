//! What a body says that it is.
//!
//! Each accepted type is one that a web page of another origin cannot send without asking first; a body without a type is
//! refused for the same reason.

use crate::refusal::{Kind, Refusal};

const KNOWN: [(&str, Content); 4] = [
    ("application/json", Content::Json),
    ("application/octet-stream", Content::Floats),
    ("image/png", Content::Image),
    ("image/jpeg", Content::Image),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    /// Little-endian f32.
    Floats,
    /// PNG or JPEG; its first bytes say which.
    Image,
}

/// The type that a header names, whatever its parameters.
///
/// # Errors
/// Status 415 when there is none, or none of `accepted`.
pub(crate) fn content(header: Option<&str>, accepted: &[Content]) -> Result<Content, Refusal> {
    let named = header.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let known = KNOWN.iter().find(|(name, content)| accepted.contains(content) && named.eq_ignore_ascii_case(name));
    known.map(|(_, content)| *content).ok_or_else(|| {
        let found = header.map_or_else(|| "no content type".to_owned(), |header| format!("content type `{header}`"));
        let names = KNOWN.iter().filter(|(_, content)| accepted.contains(content)).map(|(name, _)| *name);
        Refusal::new(415, Kind::Unsupported, format!("the body has {found}"))
            .with_help(format!("say what it is: {}", names.collect::<Vec<_>>().join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_may_have_parameters_and_any_case() {
        let all = [Content::Json, Content::Floats, Content::Image];
        assert_eq!(content(Some("Application/JSON; charset=utf-8"), &all), Ok(Content::Json));
        assert_eq!(content(Some(" image/jpeg "), &all), Ok(Content::Image));
    }

    #[test]
    fn what_a_form_can_send_is_refused() {
        let all = [Content::Json, Content::Floats, Content::Image];
        let sent = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", ";"];
        for header in sent.map(Some).into_iter().chain([None]) {
            assert_eq!(content(header, &all).unwrap_err().status(), 415, "{header:?}");
        }
        assert_eq!(content(Some("image/png"), &[Content::Json]).unwrap_err().status(), 415);
    }
}
