//! Whether arrays are what a base takes.

use std::collections::BTreeMap;

use taskvec_bundle::{Interface, Port, Side};

use crate::array::Array;
use crate::base_model::BaseModel;
use crate::error::{Error, ErrorKind};

/// That `inputs` are one array for each input of `base`, of its dtype and form.
///
/// # Errors
/// `Usage`, with the first input that is not as it should be as its subject.
pub(crate) fn check_inputs(base: &BaseModel, inputs: &[Array]) -> Result<(), Error> {
    const HELP: &str = "`base.json` lists the inputs with their dtypes and sides";
    let refuse = |clause: String| Err(Error::new(ErrorKind::Usage, clause).with_help(HELP));
    let Interface::Arrays(arrays) = base.interface() else {
        return refuse(format!("base `{}` takes pictures, no arrays", base.name()));
    };
    let names = || arrays.inputs.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = inputs.iter().find(|array| arrays.inputs.iter().all(|port| port.name != array.name())) {
        return refuse(format!("base `{}` has no input `{}`, its inputs are {}", base.name(), unknown.name(), names()));
    }
    let mut sizes = BTreeMap::new();
    for port in &arrays.inputs {
        let mut given = inputs.iter().filter(|array| array.name() == port.name);
        let (Some(array), None) = (given.next(), given.next()) else {
            return refuse(format!(
                "input `{}` is not given once, expected one array for each of {}",
                port.name,
                names()
            ));
        };
        check(port, array, &mut sizes)?;
    }
    Ok(())
}

fn check<'a>(port: &'a Port, array: &Array, sizes: &mut BTreeMap<&'a str, u64>) -> Result<(), Error> {
    let by_others = sizes.clone();
    let mut fits = port.dtype == array.dtype() && port.shape.len() == array.shape().len();
    for (side, &size) in port.shape.iter().zip(array.shape()) {
        fits &= match side {
            Side::Fixed(expected) => *expected == size,
            Side::Named(name) => *sizes.entry(name).or_insert(size) == size,
        };
    }
    if fits {
        return Ok(());
    }
    let side = |side: &Side| match side {
        Side::Fixed(size) => size.to_string(),
        Side::Named(name) => match by_others.get(name.as_str()) {
            Some(size) => format!("{name} = {size}"),
            None => name.clone(),
        },
    };
    let expected: Vec<String> = port.shape.iter().map(side).collect();
    let (found, wanted) = (array.dtype().name(), port.dtype.name());
    let clause =
        format!("input `{}` is {found} {:?}, expected {wanted} [{}]", port.name, array.shape(), expected.join(", "));
    Err(Error::new(ErrorKind::Usage, clause).with_help("sides of one name have one size in all inputs"))
}
