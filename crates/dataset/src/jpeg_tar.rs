//! Encoded images in a tar file, one folder per label: `<label>/<n>.jpg`.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use crate::error::{Error, Result};
use crate::image_file::{decode, is_image_name};
use crate::{DatasetLimits, Split, check_class_count, class_names};

const TRAIN: &str = "train.jpg.tar";
const TEST: &str = "test.jpg.tar";

pub(crate) fn recognizes(names: &[String]) -> bool {
    names.iter().any(|name| name == TRAIN)
}

pub(crate) fn open(folder: &Path, limits: &DatasetLimits) -> Result<(Vec<String>, Split, Split)> {
    let listed = class_names(folder, limits)?;
    let test_path = folder.join(TEST);
    if !test_path.exists() {
        return Err(Error::usage(format!("data set `{}` lacks `{TEST}`", folder.display()))
            .with_help("a JPEG tar data set has both train and test"));
    }
    let train = read(&folder.join(TRAIN), limits)?;
    let test = read(&test_path, limits)?;
    let classes = match listed {
        Some(classes) => classes,
        None => label_names(&train, &test),
    };
    check_class_count(folder, classes.len() as u64, limits)?;
    Ok((classes.clone(), train.into_split(folder, &classes)?, test.into_split(folder, &classes)?))
}

/// Images beside the names of the folders they were in.
#[derive(Default)]
struct Named {
    split: Split,
    labels: Vec<String>,
}

fn read(path: &Path, limits: &DatasetLimits) -> Result<Named> {
    let file = File::open(path).map_err(|cause| Error::io("read", path, cause))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let broken = |cause| Error::damaged(format!("tar file `{}` cannot be read", path.display())).caused_by(cause);
    let mut named = Named::default();
    let mut spent = 0;
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let subject = format!("`{name}` in `{}`", path.display());
        let Some((label, image)) =
            name.split_once('/').filter(|(label, image)| !label.is_empty() && is_image_name(image))
        else {
            return Err(Error::damaged(format!("entry {subject} is not named <label>/<n>.jpg")));
        };
        if !entry.header().entry_type().is_file() || image.contains('/') {
            return Err(Error::damaged(format!("entry {subject} is no plain file named <label>/<n>.jpg")));
        }
        if named.labels.len() as u64 >= limits.max_images {
            let limit = limits.max_images;
            return Err(Error::limit(format!("tar file `{}` has more than {limit} images, the limit", path.display())));
        }
        let label = label.to_owned();
        if entry.size() > limits.max_image_file_bytes {
            let (found, limit) = (entry.size(), limits.max_image_file_bytes);
            return Err(Error::limit(format!("image {subject} has {found} bytes, the limit is {limit}")));
        }
        let size = entry.size();
        let mut bytes = Vec::new();
        entry.take(size).read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() as u64 != size {
            return Err(Error::damaged(format!("entry {subject} ends after {} of {size} bytes", bytes.len())));
        }
        named.split.images.push(decode(&bytes, &subject, limits, &mut spent)?);
        named.labels.push(label);
    }
    Ok(named)
}

/// All labels that occur, by number if all are numbers, else by their bytes.
fn label_names(train: &Named, test: &Named) -> Vec<String> {
    let mut names: Vec<String> = train.labels.iter().chain(&test.labels).cloned().collect();
    names.sort_unstable();
    names.dedup();
    if names.iter().all(|name| name.parse::<u32>().is_ok()) {
        names.sort_by_key(|name| name.parse::<u32>().unwrap_or(u32::MAX));
    }
    names
}

impl Named {
    /// A label is a class name, or else the number of a line of `classes.txt`.
    fn into_split(self, folder: &Path, classes: &[String]) -> Result<Split> {
        let mut split = self.split;
        for label in self.labels {
            let by_name = classes.iter().position(|class| *class == label);
            let by_number = || label.parse::<usize>().ok().filter(|&number| number < classes.len());
            let Some(index) = by_name.or_else(by_number) else {
                return Err(Error::damaged(format!(
                    "data set `{}` has the label `{label}`, which is neither a class of classes.txt nor the number of one",
                    folder.display()
                )));
            };
            split.labels.push(index as u32);
        }
        Ok(split)
    }
}
