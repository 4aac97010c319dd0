//! Labelled lines of text: recognized, counted, and refused where images are needed.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::DatasetLimits;
use crate::error::{Error, Result};

const TRAIN: &str = "train.tsv";

pub(crate) fn recognizes(names: &[String]) -> bool {
    names.iter().any(|name| name == TRAIN)
}

/// The error that says what the set holds and that no network family here reads it; or what is wrong with the file.
pub(crate) fn refusal(folder: &Path, limits: &DatasetLimits) -> Result<Error> {
    let path = folder.join(TRAIN);
    let text = read(&path, limits)?;
    let mut labels = HashSet::new();
    let mut count = 0;
    for (at, line) in text.lines().enumerate() {
        let Some((label, _)) = line.split_once('\t') else {
            return Err(Error::damaged(format!(
                "`{}`, line {}: no tab, expected label<TAB>text",
                path.display(),
                at + 1
            )));
        };
        labels.insert(label);
        count += 1;
    }
    let found = labels.len();
    Ok(Error::unsupported(format!(
        "data set `{}` is text ({found} labels, {count} training lines), and the `vit` family takes images",
        folder.display()
    ))
    .with_help("name a folder of images"))
}

/// A whole text file within the limit.
pub(crate) fn read(path: &Path, limits: &DatasetLimits) -> Result<String> {
    let file = File::open(path).map_err(|cause| Error::io("read", path, cause))?;
    let mut bytes = Vec::new();
    file.take(limits.max_text_bytes + 1).read_to_end(&mut bytes).map_err(|cause| Error::io("read", path, cause))?;
    if bytes.len() as u64 > limits.max_text_bytes {
        let limit = limits.max_text_bytes;
        return Err(Error::limit(format!("`{}` is larger than {limit} bytes, the limit", path.display())));
    }
    String::from_utf8(bytes)
        .map_err(|cause| Error::damaged(format!("`{}` is not UTF-8", path.display())).caused_by(cause))
}
