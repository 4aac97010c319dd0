//! A folder of images per class.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::image_file::{decode, is_image_name};
use crate::{DatasetLimits, Split, check_class_count, entries};

/// One image in this many is a test image where the data set does not say so itself.
const TEST_SHARE: usize = 5;

pub(crate) fn recognizes(folder: &Path, names: &[String]) -> Result<bool> {
    if names.iter().any(|name| name == "train") && !classes_in(&folder.join("train"))?.is_empty() {
        return Ok(true);
    }
    Ok(!classes_in(folder)?.is_empty())
}

pub(crate) fn open(folder: &Path, limits: &DatasetLimits) -> Result<(Vec<String>, Split, Split)> {
    let (train_folder, test_folder) = (folder.join("train"), folder.join("test"));
    if train_folder.is_dir() && !classes_in(&train_folder)?.is_empty() {
        let classes = classes_in(&train_folder)?;
        check_class_count(folder, classes.len() as u64, limits)?;
        if !test_folder.is_dir() {
            return Err(Error::usage(format!(
                "data set `{}` has a `train` folder and no `test` folder",
                folder.display()
            ))
            .with_help("add test/<class>/ folders, or name the `train` folder itself to have it split"));
        }
        for class in classes_in(&test_folder)? {
            if !classes.contains(&class) {
                let folder = folder.display();
                return Err(Error::usage(format!("data set `{folder}` has the class `{class}` in `test` only")));
            }
        }
        let train = read(&listed(&train_folder, &classes)?, limits)?;
        let test = read(&listed(&test_folder, &classes)?, limits)?;
        return Ok((classes, train, test));
    }
    let classes = classes_in(folder)?;
    check_class_count(folder, classes.len() as u64, limits)?;
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (label, class) in classes.iter().enumerate() {
        let (learn, judge) = divide(class, images_in(&folder.join(class))?);
        let file = |name: String| (folder.join(class).join(name), label as u32);
        train.extend(learn.into_iter().map(file));
        test.extend(judge.into_iter().map(file));
    }
    Ok((classes, read(&train, limits)?, read(&test, limits)?))
}

/// Subfolders that hold images directly, sorted.
fn classes_in(folder: &Path) -> Result<Vec<String>> {
    let mut classes = Vec::new();
    for name in entries(folder)? {
        let path = folder.join(&name);
        if !name.starts_with('.') && path.is_dir() && !images_in(&path)?.is_empty() {
            classes.push(name);
        }
    }
    Ok(classes)
}

/// The image files of a folder, sorted. Other files are none of ours.
fn images_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = entries(folder)?;
    names.retain(|name| is_image_name(name) && folder.join(name).is_file());
    Ok(names)
}

fn listed(folder: &Path, classes: &[String]) -> Result<Vec<(PathBuf, u32)>> {
    let mut files = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let class_folder = folder.join(class);
        if class_folder.is_dir() {
            files.extend(images_in(&class_folder)?.into_iter().map(|name| (class_folder.join(name), label as u32)));
        }
    }
    Ok(files)
}

/// `(train, test)` names of one class: the fifth with the smallest hashes is the test set. Both stay sorted by name.
fn divide(class: &str, names: Vec<String>) -> (Vec<String>, Vec<String>) {
    let hash = |name: &String| Sha256::digest(format!("{class}/{name}").as_bytes());
    let mut by_hash = names.clone();
    by_hash.sort_by_cached_key(hash);
    by_hash.truncate(names.len() / TEST_SHARE);
    names.into_iter().partition(|name| !by_hash.contains(name))
}

fn read(files: &[(PathBuf, u32)], limits: &DatasetLimits) -> Result<Split> {
    if files.len() as u64 > limits.max_images {
        let (found, limit) = (files.len(), limits.max_images);
        return Err(Error::limit(format!("a data set of {found} images, the limit is {limit}")));
    }
    let mut split = Split::default();
    let mut spent = 0;
    for (path, label) in files {
        let subject = format!("`{}`", path.display());
        let size = fs::metadata(path).map_err(|cause| Error::io("read", path, cause))?.len();
        if size > limits.max_image_file_bytes {
            let limit = limits.max_image_file_bytes;
            return Err(Error::limit(format!("image {subject} has {size} bytes, the limit is {limit}")));
        }
        let bytes = fs::read(path).map_err(|cause| Error::io("read", path, cause))?;
        split.push(decode(&bytes, &subject, limits, &mut spent)?, *label);
    }
    Ok(split)
}
