//! Arrays from a file, and answers into one: the part of `taskvec-device run` for bases that take no pictures.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use taskvec_bundle::{NamedTensor, TensorFile, write_tensors};
use taskvec_runtime::{Array, Session};

use crate::render;

#[derive(Serialize)]
struct Answered {
    engine: String,
    composition: String,
    outputs: Vec<Output>,
}

#[derive(Serialize)]
struct Output {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
}

pub(super) fn answer(session: &Session, inputs: &Path, outputs: &Path, json: bool) -> anyhow::Result<()> {
    let answers = session.run(&read(inputs)?)?;
    let tensors: Vec<_> = answers
        .iter()
        .map(|array| NamedTensor {
            name: array.name(),
            dtype: array.dtype(),
            shape: array.shape(),
            bytes: array.bytes(),
        })
        .collect();
    let mut bytes = Vec::new();
    write_tensors(&mut bytes, &tensors)?;
    fs::write(outputs, bytes).with_context(|| format!("cannot write `{}`", outputs.display()))?;
    let output = |array: &Array| Output {
        name: array.name().to_owned(),
        dtype: array.dtype().name(),
        shape: array.shape().to_vec(),
    };
    let (engine, composition) = (session.engine(), session.digest().to_string());
    render::result(json, &Answered { engine, composition, outputs: answers.iter().map(output).collect() }, story)
}

fn read(path: &Path) -> anyhow::Result<Vec<Array>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let within = || format!("inputs `{}`", path.display());
    let file = TensorFile::parse(&bytes).with_context(within)?;
    let array = |tensor: &taskvec_bundle::TensorInfo| -> anyhow::Result<Array> {
        Ok(Array::new(tensor.name(), tensor.dtype(), tensor.shape(), tensor.bytes(&bytes)?)?)
    };
    file.tensors().iter().map(array).collect::<anyhow::Result<_>>().with_context(within)
}

fn story(value: &Answered) -> String {
    let mut text = format!("engine {}\ncomposition {}\n", value.engine, value.composition);
    for Output { name, dtype, shape } in &value.outputs {
        text.push_str(&format!("{name}: {dtype} {shape:?}\n"));
    }
    text
}
