//! Who may ask at all.
//!
//! On a Unix socket the file system says who may come in. On the loopback every user of the machine may, and every web page
//! that a browser on it shows: so a request must name the loopback as its host (a page whose own name resolves to 127.0.0.1
//! names itself), and must not come from a page (browsers say `Origin`). A token keeps out other users.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use subtle::ConstantTimeEq as _;
use taskvec_runtime::{Error, ErrorKind};
use taskvec_wire::{Kind, Refusal, is_loopback};

/// As many characters hold 80 bits even when each is only a hexadecimal digit.
const TOKEN_BYTES_MIN: usize = 20;
const TOKEN_BYTES_MAX: usize = 1024;

/// What a request is held against before anything else.
pub(crate) struct Guard {
    /// Browsers can come here.
    pub(crate) is_http: bool,
    pub(crate) token: Option<Token>,
}

/// What a request must carry.
pub(crate) struct Token(String);

impl Token {
    /// The token in a file that only its owner may read, without the line's end.
    ///
    /// # Errors
    /// When the file cannot be read, others may read it, or there is no token in it.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("open token file `{shown}`"))?;
        check_owner_only(&file, path)?;
        let mut text = String::new();
        let most = TOKEN_BYTES_MAX as u64 + 2;
        file.take(most).read_to_string(&mut text).with_context(|| format!("read token file `{shown}`"))?;
        let token = text.trim_end_matches(['\r', '\n']);
        let is_token = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
        if !is_token || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let clause = format!(
                "token file `{shown}` has no token of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters"
            );
            return Err(Error::new(ErrorKind::Usage, clause)
                .with_help("make one: `(umask 077; head -c 32 /dev/urandom | base64 > FILE)`")
                .into());
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether the request carries it. Takes as long for a wrong token as for the right one.
    fn is_carried(&self, headers: &HeaderMap) -> bool {
        let carried = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let token = carried.and_then(|value| value.split_at_checked(7)).filter(|(scheme, _)| {
            // RFC 9110, section 11.1: the scheme has any case.
            scheme.eq_ignore_ascii_case(b"Bearer ")
        });
        token.is_some_and(|(_, token)| token.ct_eq(self.0.as_bytes()).into())
    }
}

impl Guard {
    /// Lets a request pass, or says why not.
    ///
    /// # Errors
    /// Status 403 for a host that is not the loopback and for a web page, 401 without the token.
    pub(crate) fn admit(&self, request: &Parts) -> Result<(), Refusal> {
        if self.is_http {
            check_host(&request.uri, &request.headers)?;
            check_origin(&request.headers)?;
        }
        match &self.token {
            Some(token) if !token.is_carried(&request.headers) => {
                Err(Refusal::new(401, Kind::Untrusted, "the request carries no valid token")
                    .with_help("send `Authorization: Bearer TOKEN` with the token of this device"))
            }
            _ => Ok(()),
        }
    }
}

/// Whatever names a host must name the loopback, and something must.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let in_headers = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let in_uri = uri.authority().map(|authority| authority.as_str());
    let named: Vec<&str> = in_headers.chain(in_uri).collect();
    if named.is_empty() || !named.iter().all(|host| is_loopback(host)) {
        let named = if named.is_empty() { "no host".to_owned() } else { format!("host `{}`", named.join("`, `")) };
        return Err(Refusal::new(403, Kind::Untrusted, format!("the request names {named}, expected the loopback"))
            .with_help("ask for localhost, 127.0.0.1 or [::1]"));
    }
    Ok(())
}

fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Refusal::new(403, Kind::Untrusted, "the request comes from a web page")
            .with_help("put a server of your own between pages and this device"));
    }
    Ok(())
}

#[cfg(unix)]
fn check_owner_only(file: &File, path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode =
        file.metadata().with_context(|| format!("look at token file `{}`", path.display()))?.permissions().mode();
    if mode & 0o077 != 0 {
        let clause = format!("token file `{}` has mode {:03o}, expected 600", path.display(), mode & 0o777);
        let help = format!("other users may read it: `chmod 600 {}`, and make a new token", path.display());
        return Err(Error::new(ErrorKind::Usage, clause).with_help(help).into());
    }
    Ok(())
}

/// Elsewhere the folder's rights decide.
#[cfg(not(unix))]
fn check_owner_only(_file: &File, _path: &Path) -> anyhow::Result<()> {
    Ok(())
}
