//! Which pack of the store was meant.

use taskvec_runtime::{Digest, Error, ErrorKind, Store};

/// A pack that somebody may mean: its digest, and its name if it can be read.
pub(crate) type Named = (Digest, Option<String>);

/// Every installed pack.
pub(crate) fn installed(store: &Store) -> Result<Vec<Named>, Error> {
    let name = |skill: taskvec_runtime::Skill| skill.name().to_owned();
    Ok(store.packs()?.into_iter().map(|pack| (pack.digest, pack.skill.ok().map(name))).collect())
}

/// Every committed pack.
pub(crate) fn committed(store: &Store) -> Result<Vec<Named>, Error> {
    let skills = store.committed()?.map(|committed| committed.skills).unwrap_or_default();
    let name = |digest| store.skill(&digest).ok().map(|skill| skill.name().to_owned());
    Ok(skills.into_iter().map(|(digest, _)| (digest, name(digest))).collect())
}

/// Whether one of `packs` has this name, or a digest that begins with these digits.
pub(crate) fn is_known(packs: &[Named], typed: &str) -> bool {
    packs.iter().any(|pack| is_meant(pack, typed))
}

fn is_meant((digest, name): &Named, typed: &str) -> bool {
    name.as_deref() == Some(typed) || (!typed.is_empty() && digest.to_string().starts_with(typed))
}

/// The one of `packs` with this name, or whose digest begins with these digits. `state` says what they all are.
pub(crate) fn meant(packs: &[Named], typed: &str, state: &str) -> Result<Digest, Error> {
    let named: Vec<&Named> = packs.iter().filter(|pack| is_meant(pack, typed)).collect();
    let usage = |clause: String, help: String| Err(Error::new(ErrorKind::Usage, clause).with_help(help));
    match named[..] {
        [(digest, _)] => Ok(*digest),
        [] => {
            let told = |(digest, name): &Named| name.as_ref().map_or(digest.to_string(), |name| format!("`{name}`"));
            let there: Vec<_> = packs.iter().map(told).collect();
            let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
            usage(format!("no skill `{typed}` is {state}"), format!("{state}: {there}"))
        }
        _ => usage(
            format!("`{typed}` means {} skills that are {state}", named.len()),
            "name one by the first digits of its digest, which `list` shows".to_owned(),
        ),
    }
}
