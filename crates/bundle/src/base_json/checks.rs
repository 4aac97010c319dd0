//! What must hold inside one `base.json`, whether it was read or is about to be written.

use taskvec_pack::layout::HEAD_PREFIX;

use super::{Base, HeadEntry, Interface, Pictures, fingerprint_of_listed, interface, stands_for};
use crate::error::{Error, ErrorKind};
use crate::tensors::StoredDtype;

/// Longest name of a base model, a head or a label: names are shown in tables.
const NAME_BYTES_MAX: usize = 200;

/// Every rule that the docs of [`Base`] promise. `kind` is `Damaged` for a file, `Usage` for a caller's draft.
pub(super) fn check(base: &Base, kind: ErrorKind) -> Result<(), Error> {
    let refuse = |clause: String| Err(Error::new(kind, "base.json", clause));
    check_name(base.name(), "base model", kind)?;
    if !base.network().get("family").is_some_and(serde_json::Value::is_string) {
        return refuse("`network` has no `family`, expected an object with the name of one".to_owned());
    }
    interface::check(base.interface(), kind)?;
    if let Interface::Arrays(arrays) = base.interface() {
        // Editable tensors are inputs of the graph too, and a name can be given once.
        let inputs = arrays.inputs.iter().map(|port| port.name.as_str());
        if let Some(name) = inputs.into_iter().find(|name| base.tensor(name).is_some()) {
            return refuse(format!("`{name}` is both an input and a tensor"));
        }
    }
    if let Some(name) = first_out_of_order(base.tensors().iter().map(|tensor| tensor.name.as_str())) {
        return refuse(format!("tensor `{name}` stands after a name that is not smaller, expected byte order"));
    }
    check_editable(base, kind)?;
    if let Some(name) = first_repeated(base.heads()) {
        return refuse(format!("head `{name}` is there twice"));
    }
    base.heads().iter().try_for_each(|head| check_head(base, head, kind))?;
    base.stands_for().map_or(Ok(()), |it| stands_for::check(base, it, kind))?;
    let fingerprint = fingerprint_of_listed(base.tensors())?;
    if fingerprint != base.fingerprint() {
        return refuse(format!("`fingerprint` is {}, its tensors have {fingerprint}", base.fingerprint()));
    }
    Ok(())
}

fn check_editable(base: &Base, kind: ErrorKind) -> Result<(), Error> {
    if let Some(name) = first_out_of_order(base.editable().iter().map(String::as_str)) {
        let clause = format!("editable `{name}` stands after a name that is not smaller, expected byte order");
        return Err(Error::new(kind, "base.json", clause));
    }
    for name in base.editable() {
        let refuse = |clause: &str| Err(Error::new(kind, format!("base.json: editable tensor `{name}`"), clause));
        let Some(tensor) = base.tensor(name) else {
            return refuse("is not among the tensors");
        };
        if name.starts_with(HEAD_PREFIX) {
            return refuse("belongs to a head; packs bring heads of their own");
        }
        if tensor.dtype.editable().is_none() && !base.is_quantized(name) {
            return refuse(&format!("has dtype {}, packs edit F32, F16 and BF16", tensor.dtype.name()));
        }
    }
    Ok(())
}

fn check_head(base: &Base, head: &HeadEntry, kind: ErrorKind) -> Result<(), Error> {
    let subject = || format!("base.json: head `{}`", head.name);
    check_name(&head.name, "head", kind)?;
    head.labels.iter().try_for_each(|label| check_name(label, "label", kind))?;
    if head.labels.is_empty() {
        return Err(Error::new(kind, subject(), "has no labels"));
    }
    let Some(feature_width) = base.pictures().map(Pictures::feature_width) else {
        return Err(Error::new(kind, subject(), "is over features, and the base model gives arrays"));
    };
    let classes = head.labels.len() as u64;
    let expected = [(&head.weight, vec![classes, feature_width as u64]), (&head.bias, vec![classes])];
    for (name, shape) in expected {
        let refuse = |clause: String| Err(Error::new(kind, subject(), clause));
        if !name.starts_with(HEAD_PREFIX) {
            return refuse(format!("its tensor `{name}` does not start with `{HEAD_PREFIX}`"));
        }
        let Some(tensor) = base.tensor(name) else {
            return refuse(format!("its tensor `{name}` is not among the tensors"));
        };
        if tensor.dtype != StoredDtype::F32 || tensor.shape != shape {
            let found = format!("{} {:?}", tensor.dtype.name(), tensor.shape);
            return refuse(format!("its tensor `{name}` is {found}, expected F32 {shape:?}"));
        }
    }
    Ok(())
}

pub(super) fn check_name(name: &str, what: &str, kind: ErrorKind) -> Result<(), Error> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let clause =
            format!("{what} {name:?} is no name, expected 1 to {NAME_BYTES_MAX} bytes without control characters");
        return Err(Error::new(kind, "base.json", clause));
    }
    Ok(())
}

/// The first name that is not greater than the one before it: out of order, or there twice.
fn first_out_of_order<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut last = None;
    for name in names {
        if last.is_some_and(|last| last >= name) {
            return Some(name);
        }
        last = Some(name);
    }
    None
}

fn first_repeated(heads: &[HeadEntry]) -> Option<&str> {
    let mut names: Vec<&str> = heads.iter().map(|head| head.name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
