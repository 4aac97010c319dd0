//! What stands around a body: the host that was asked, the composition's name in the path, the query.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::refusal::Refusal;

/// Bytes in the name of a composition.
const NAME_BYTES_MAX: usize = 64;

/// Whether a `Host` header (with or without a port) means this machine by its loopback.
///
/// A web page that has its own name resolve to 127.0.0.1 (DNS rebinding) still asks for that name.
pub fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            return is_port(port) && address.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback());
        }
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let is_loopback = name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback());
    is_port(port) && (is_loopback || name.eq_ignore_ascii_case("localhost"))
}

/// Nothing, or `:` and digits.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok())
}

/// The name of a composition, which can stand in a path and in a metric as it is: 1 to 64 of `a-z A-Z 0-9 . _ -`, and the
/// first no dot.
///
/// # Errors
/// Status 400 for any other text.
pub fn checked_name(text: &str) -> Result<&str, Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.starts_with('.') || !text.bytes().all(fits) {
        let clause = format!("`{}` is no name of a composition", text.escape_debug());
        return Err(Refusal::usage(clause).with_help("use 1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`"));
    }
    Ok(text)
}

/// Whose head shall answer: the one parameter `head` of the query.
///
/// # Errors
/// Status 400 for any other parameter, or one given twice.
pub fn head(query: Option<&str>) -> Result<Option<String>, Refusal> {
    let mut head = None;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "head" || head.is_some() {
            let clause = format!("the query has a parameter `{}` too many", name.escape_debug());
            return Err(Refusal::usage(clause).with_help("the one parameter is `?head=NAME`, once"));
        }
        head = Some(value.into_owned());
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_a_few_spellings_and_no_more() {
        for host in ["localhost", "LocalHost:80", "127.0.0.1", "127.0.0.1:65535", "127.9.9.9:1", "[::1]", "[::1]:8080"]
        {
            assert!(is_loopback(host), "{host}");
        }
        let others = [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:80",
            "0.0.0.0",
            "192.168.0.1",
            "[::]",
            "[::1",
            "::1",
            "[::1]x",
            "[fe80::1]",
            "127.0.0.1:",
            "127.0.0.1:x",
            "127.0.0.1:70000",
            "localhost:80:80",
            "user@localhost",
            "127.1",
            "0x7f.0.0.1",
            "localhost ",
            "localhost,evil.example",
        ];
        for host in others {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn names_fit_a_path_and_a_metric() {
        for name in ["default", "a", "A-1_b.c", &"x".repeat(64)] {
            assert_eq!(checked_name(name), Ok(name));
        }
        for name in ["", ".", "..", ".a", "a b", "a/b", "a\"", "a\n", "\u{e9}", &"x".repeat(65)] {
            assert_eq!(checked_name(name).unwrap_err().status(), 400, "{name:?}");
        }
    }

    #[test]
    fn a_head_is_named_once_or_not() {
        assert_eq!(head(None), Ok(None));
        assert_eq!(head(Some("")), Ok(None));
        assert_eq!(head(Some("head=two%20words+more")), Ok(Some("two words more".into())));
        for query in ["head=a&head=b", "alpha=1", "head=a&x", "&&x=1"] {
            assert_eq!(head(Some(query)).unwrap_err().status(), 400, "{query}");
        }
    }
}
