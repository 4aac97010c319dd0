//! What words on the command line mean that are no plain numbers or paths.

use std::path::PathBuf;
use std::str::FromStr;

/// `FILE` or `FILE@ALPHA`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PackAtAlpha {
    pub(crate) path: PathBuf,
    /// The pack's recommended alpha when none was typed.
    pub(crate) alpha: Option<f32>,
}

/// `NAME=VALUE`.
pub(super) fn named<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<(String, T), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.parse().map_err(|cause: T::Err| format!("`{value}`: {cause}"))?))
}

/// From 0 to 100.
pub(super) fn points(text: &str) -> Result<f64, String> {
    let points: f64 = text.parse().map_err(|_| "expected a number of points, such as 0.5".to_owned())?;
    if (0.0..=100.0).contains(&points) { Ok(points) } else { Err("expected 0 to 100 points".to_owned()) }
}

/// `300KiB`, `2MiB`, or a number of bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit.trim_start() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("the unit is `{unit}`, expected KiB, MiB, GiB or none")),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| "expected a size such as 300KiB".to_owned())
}

/// A share between 0 and 1, neither of them.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("expected a share between 0 and 1 such as 0.1".to_owned()),
    }
}

impl FromStr for PackAtAlpha {
    type Err = String;

    /// The text after the last `@` is an alpha when it is a finite number; `nan` and `inf` are refused by name, and
    /// anything else belongs to the file's name.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((path, alpha)) = text.rsplit_once('@') else {
            return Ok(Self { path: text.into(), alpha: None });
        };
        match alpha.parse::<f32>() {
            Ok(alpha) if alpha.is_finite() => Ok(Self { path: path.into(), alpha: Some(alpha) }),
            Ok(alpha) => Err(format!(
                "alpha is {alpha}, expected a finite number\nhelp: give one such as 1 or -0.5, or none for the pack's own"
            )),
            Err(_) => Ok(Self { path: text.into(), alpha: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_nothing_else() {
        let right = [("300KiB", 307_200), ("2 MiB", 2_097_152), ("1GiB", 1 << 30), ("17", 17)];
        for (text, bytes) in right {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "3KB", "-1", "1.5MiB", "99999999999999999999", "17179869184GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(share("0.1").is_ok() && share("0").is_err() && share("1").is_err() && share("nan").is_err());
    }

    #[test]
    fn an_alpha_follows_the_last_at_sign() {
        let typed: PackAtAlpha = "a@b.tvp@-0.5".parse().unwrap();
        assert_eq!(typed, PackAtAlpha { path: "a@b.tvp".into(), alpha: Some(-0.5) });
        let typed: PackAtAlpha = "a@b.tvp".parse().unwrap();
        assert_eq!(typed, PackAtAlpha { path: "a@b.tvp".into(), alpha: None });
    }

    #[test]
    fn an_alpha_that_is_no_number_is_refused() {
        let refused = "a.tvp@NaN".parse::<PackAtAlpha>().unwrap_err();
        assert!(refused.contains("finite"), "{refused}");
    }
}
