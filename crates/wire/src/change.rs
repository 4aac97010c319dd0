//! Changes of a composition, as they are asked for: `attach`, `detach`, `alpha`, and a swap of everything.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::content::{Content, content};
use crate::limits::Limits;
use crate::refusal::Refusal;

/// Puts an installed pack in force.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Name of the pack, or the first digits of its digest.
    pub pack: String,
    /// The coefficient; the pack's own when there is none. Finite.
    pub alpha: Option<f32>,
}

/// Takes a skill out of force.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detach {
    /// Name of the skill, or the first digits of its digest.
    pub skill: String,
}

/// Gives a skill in force another coefficient.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetAlpha {
    /// Name of the skill, or the first digits of its digest.
    pub skill: String,
    /// The coefficient. Finite.
    pub alpha: f32,
}

/// Replaces everything in force.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// What shall be in force; nothing leaves the base alone.
    pub skills: Vec<Attach>,
}

/// A body that asks for a change.
pub trait Change: DeserializeOwned {
    /// How it is written, for whoever wrote it otherwise.
    const EXAMPLE: &'static str;

    /// Skills that it names.
    fn skill_count(&self) -> usize {
        1
    }
}

impl Change for Attach {
    const EXAMPLE: &'static str = r#"{"pack": "digits", "alpha": 1}"#;
}

impl Change for Detach {
    const EXAMPLE: &'static str = r#"{"skill": "digits"}"#;
}

impl Change for SetAlpha {
    const EXAMPLE: &'static str = r#"{"skill": "digits", "alpha": 0.5}"#;
}

impl Change for Swap {
    const EXAMPLE: &'static str = r#"{"skills": [{"pack": "digits", "alpha": 1}]}"#;

    fn skill_count(&self) -> usize {
        self.skills.len()
    }
}

/// The change that a body of JSON asks for.
///
/// # Errors
/// Status 415 for another content type, 400 for a body that is no such change, 413 for one with too many skills.
pub fn change<C: Change>(content_type: Option<&str>, body: &[u8], limits: &Limits) -> Result<C, Refusal> {
    content(content_type, &[Content::Json])?;
    let expected = || format!("expected is a body such as {}", C::EXAMPLE);
    let change: C = serde_json::from_slice(body)
        .map_err(|cause| Refusal::usage(format!("the body is no such change: {cause}")).with_help(expected()))?;
    let (count, most) = (change.skill_count(), limits.skills_max);
    if count > most {
        return Err(Refusal::limit(format!("the body names {count} skills, the limit is {most}")));
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<C: Change>(body: &str) -> Result<C, Refusal> {
        change(Some("application/json"), body.as_bytes(), &Limits::default())
    }

    #[test]
    fn every_example_is_such_a_change() {
        assert_eq!(read(Attach::EXAMPLE), Ok(Attach { pack: "digits".into(), alpha: Some(1.0) }));
        assert_eq!(read(Detach::EXAMPLE), Ok(Detach { skill: "digits".into() }));
        assert_eq!(read(SetAlpha::EXAMPLE), Ok(SetAlpha { skill: "digits".into(), alpha: 0.5 }));
        let digits = Attach { pack: "digits".into(), alpha: Some(1.0) };
        assert_eq!(read(Swap::EXAMPLE), Ok(Swap { skills: vec![digits] }));
    }

    #[test]
    fn what_is_not_said_is_the_packs_own_alpha() {
        for body in [r#"{"pack": "a"}"#, r#"{"pack": "a", "alpha": null}"#] {
            assert_eq!(read(body), Ok(Attach { pack: "a".into(), alpha: None }));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let wrong = [
            "",
            "{}",
            "[]",
            r#"{"pack": 1}"#,
            r#"{"pack": "a", "alpha": "1"}"#,
            r#"{"pack": "a", "alpha": NaN}"#,
            r#"{"pack": "a", "alpha": 1e39}"#,
            r#"{"pack": "a", "alpha": -1e999}"#,
            r#"{"pack": "a", "pack": "b"}"#,
            r#"{"pack": "a", "scale": 1}"#,
            r#"{"pack": "a"} {"pack": "b"}"#,
            "{\"pack\": \"\u{0}\"}",
        ];
        for body in wrong {
            assert_eq!(read::<Attach>(body).unwrap_err().status(), 400, "{body}");
        }
        assert_eq!(read::<SetAlpha>(r#"{"skill": "a", "alpha": 1e39}"#).unwrap_err().status(), 400);
        assert_eq!(read::<SetAlpha>(r#"{"skill": "a"}"#).unwrap_err().status(), 400);
    }

    #[test]
    fn too_many_skills_are_refused() {
        let skills = vec![r#"{"pack": "a"}"#; 65].join(",");
        let refused = read::<Swap>(&format!(r#"{{"skills": [{skills}]}}"#)).unwrap_err();
        assert_eq!(refused.status(), 413);
        assert!(refused.to_string().contains("65"), "{refused}");
    }
}
