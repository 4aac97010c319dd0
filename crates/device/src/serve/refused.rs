//! Refusals on their way out: as JSON with their status.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use taskvec_runtime::{Error, ErrorKind};
use taskvec_wire::{Kind, Refusal};

/// What a handler returns instead of an answer.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<Error> for Refused {
    /// The kind stays, and says whose turn it is: the asker's (4xx), or the owner's of this device (5xx).
    fn from(error: Error) -> Self {
        let (status, kind) = match error.kind() {
            ErrorKind::Usage => (400, Kind::Usage),
            ErrorKind::Untrusted => (403, Kind::Untrusted),
            ErrorKind::Mismatch => (409, Kind::Mismatch),
            ErrorKind::Limit => (422, Kind::Limit),
            ErrorKind::Unsupported => (501, Kind::Unsupported),
            // What is damaged lies in this device's store.
            ErrorKind::Damaged => (500, Kind::Damaged),
            _ => (500, Kind::Io),
        };
        let refusal = Refusal::new(status, kind, error.chain());
        Self(match error.help() {
            Some(help) => refusal.with_help(help),
            None => refusal,
        })
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, &self.0);
        let headers = response.headers_mut();
        if self.0.kind() == Kind::Busy {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What `value` is as JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    // Our own values have no keys but texts, so this cannot fail.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// There is no room for this request now.
pub(crate) fn busy(error: &str) -> Refusal {
    Refusal::new(503, Kind::Busy, error).with_help("ask again in a second, or serve with a larger limit")
}
