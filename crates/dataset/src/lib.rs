//! Images with labels, out of a folder in any of the forms that data comes in.
//!
//! It is no loader of batches and changes no image: the packer does that. It stands below packer and device so that a device
//! counts right answers on the very sets that a skill was trained with.
//!
//! ```no_run
//! use taskvec_dataset::Dataset;
//!
//! # fn main() -> taskvec_dataset::Result<()> {
//! let digits = Dataset::open("models/handwriting/data/digits8x8".as_ref())?;
//! println!("{} classes, {} test images", digits.classes.len(), digits.test.len());
//! # Ok(())
//! # }
//! ```
//!
//!
//! | form | files | classes |
//! |---|---|---|
//! | IDX | `{train,test}-images.idx{3,4}-ubyte[.gz]`, `{train,test}-labels.idx1-ubyte[.gz]` | `classes.txt`, else numbers |
//! | JPEG tar | `train.jpg.tar`, `test.jpg.tar` with entries `<label>/<n>.jpg` | `classes.txt`, else the labels |
//! | image folders | `train/<class>/*.{png,jpg}` and `test/<class>/*`, or `<class>/*` alone | the folders' names |
//! | text | `train.tsv`, `test.tsv`, lines `label<TAB>text` | recognized, and refused where images are needed |
//!
//! Where a folder holds several forms, the first of the table is taken. Image folders without a `test` folder are split
//! by a hash of the file names: the fifth of each class with the smallest SHA-256 is the test set, on every machine and
//! whatever the seed.
//!
//! **Levels.** Some sets count in fewer levels than 256 (UCI digits: 0 to 16). One image cannot tell dark from coarse, so
//! the set decides: when no training pixel of an IDX set reaches 128, that set's largest value is white, and all its images
//! are stretched to 0..=255. Encoded images are left as they are.

#![forbid(unsafe_code)]

mod error;
mod folders;
mod idx;
mod image_file;
mod jpeg_tar;
mod limits;
pub mod spelling;
mod text;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use taskvec_bundle::Image;
use taskvec_pack::Digest;

use crate::spelling::nearest;

pub use error::{Error, ErrorKind, Result};
pub use limits::DatasetLimits;

/// Sets data digests apart from all other digests of this project.
const DOMAIN: &[u8] = b"taskvec data v1\0";

/// Labelled images, split into those to learn from and those to be judged by.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The folder's name.
    pub name: String,
    /// Class names; a label is an index into them.
    pub classes: Vec<String>,
    /// Images to learn from.
    pub train: Split,
    /// Images to be judged by. May be empty.
    pub test: Split,
    /// How the folder was written.
    pub form: Form,
}

/// Images and their labels, in the order of the source.
#[derive(Clone, Debug, Default)]
pub struct Split {
    /// The images, decoded.
    pub images: Vec<Image>,
    /// One label per image, an index into the set's classes.
    pub labels: Vec<u32>,
}

/// How a data set folder is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// Files in the form of MNIST.
    Idx,
    /// Tar files of encoded images.
    JpegTar,
    /// A folder of images per class.
    ImageFolders,
    /// Lines of text with a label.
    Text,
}

impl Dataset {
    /// The data set in `folder`, within the default limits.
    ///
    /// # Errors
    /// `Io` when something cannot be read, `Usage` when the folder is no data set (the message says what was found, the
    /// help what would be accepted), `Unsupported` for text, `Damaged` when a file breaks its form, `Limit`.
    pub fn open(folder: &Path) -> Result<Dataset> {
        Dataset::open_within(folder, &DatasetLimits::default())
    }

    /// The data set in `folder`, within `limits`.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_within(folder: &Path, limits: &DatasetLimits) -> Result<Dataset> {
        let form = recognize(folder)?;
        Dataset::open_as(folder, form, limits)
    }

    /// The data set in `folder` by the files of one form, when it holds several.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_as(folder: &Path, form: Form, limits: &DatasetLimits) -> Result<Dataset> {
        let (classes, train, test) = match form {
            Form::Idx => idx::open(folder, limits)?,
            Form::JpegTar => jpeg_tar::open(folder, limits)?,
            Form::ImageFolders => folders::open(folder, limits)?,
            Form::Text => return Err(text::refusal(folder, limits)?),
        };
        if train.images.is_empty() {
            return Err(Error::usage(format!("data set `{}` has no training image", folder.display())));
        }
        Ok(Dataset { name: folder_name(folder), classes, train, test, form })
    }

    /// Several sets as one: its classes are `<set>/<class>`, in the order given. One set alone stays as it is.
    ///
    /// # Errors
    /// `Usage` when there is no set at all.
    pub fn join(sets: Vec<Dataset>) -> Result<Dataset> {
        let mut sets = sets.into_iter();
        let Some(first) = sets.next() else { return Err(Error::usage("no data set was given")) };
        let rest: Vec<Dataset> = sets.collect();
        if rest.is_empty() {
            return Ok(first);
        }
        let name = std::iter::once(&first).chain(&rest).map(|set| set.name.as_str()).collect::<Vec<_>>().join("+");
        let form = first.form;
        let mut joined = Dataset { name, classes: Vec::new(), train: Split::default(), test: Split::default(), form };
        for set in std::iter::once(first).chain(rest) {
            let offset = joined.classes.len() as u32;
            joined.classes.extend(set.classes.iter().map(|class| format!("{}/{class}", set.name)));
            joined.train.append(set.train, offset);
            joined.test.append(set.test, offset);
        }
        Ok(joined)
    }

    /// Only the images of `classes`, which become labels 0, 1, ... in that order. No names: everything.
    ///
    /// # Errors
    /// `Usage` for a class that the set does not have, or that no training image shows.
    pub fn select(self, classes: &[String]) -> Result<Dataset> {
        if classes.is_empty() {
            return Ok(self);
        }
        let mut new_labels = HashMap::new();
        for (new, class) in classes.iter().enumerate() {
            let Some(old) = self.classes.iter().position(|known| known == class) else {
                let error = Error::usage(format!("data set `{}` has no class `{class}`", self.name));
                return Err(match nearest(class, self.classes.iter().map(String::as_str)) {
                    Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
                    None => error.with_help(format!("its classes: {}", abridged(&self.classes))),
                });
            };
            if !self.train.labels.contains(&(old as u32)) {
                return Err(Error::usage(format!("class `{class}` of data set `{}` has no training image", self.name)));
            }
            new_labels.insert(old as u32, new as u32);
        }
        let (train, test) = (self.train.relabelled(&new_labels), self.test.relabelled(&new_labels));
        Ok(Dataset { name: self.name, classes: classes.to_vec(), train, test, form: self.form })
    }

    /// The set with each class four times: as it is, and turned by one, two and three quarters, each a class of its own. The
    /// usual way to make four alphabets of one (Santoro et al. 2016): what a letter is, is also which way up it is.
    #[must_use]
    pub fn with_quarter_turns(self) -> Dataset {
        let class_count = self.classes.len() as u32;
        let mut turned =
            Dataset { classes: Vec::new(), train: Split::default(), test: Split::default(), ..self.clone() };
        let (mut train, mut test) = (self.train, self.test);
        for turns in 0..4 {
            let name =
                |class: &String| if turns == 0 { class.clone() } else { format!("{class}, turned {}", 90 * turns) };
            turned.classes.extend(self.classes.iter().map(name));
            turned.train.append(train.clone(), turns * class_count);
            turned.test.append(test.clone(), turns * class_count);
            train.images.iter_mut().chain(&mut test.images).for_each(turn);
        }
        turned
    }

    /// SHA-256 of everything a run could see: class names, pixels, labels. The form and the folder do not matter.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update((self.classes.len() as u64).to_le_bytes());
        for class in &self.classes {
            hash.update((class.len() as u64).to_le_bytes());
            hash.update(class);
        }
        for split in [&self.train, &self.test] {
            hash.update((split.images.len() as u64).to_le_bytes());
            for (image, label) in split.images.iter().zip(&split.labels) {
                for number in [image.width as u64, image.height as u64, image.channels as u64, u64::from(*label)] {
                    hash.update(number.to_le_bytes());
                }
                hash.update(&image.data);
            }
        }
        Digest(hash.finalize().into())
    }
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Adds an image with its label.
    pub fn push(&mut self, image: Image, label: u32) {
        self.images.push(image);
        self.labels.push(label);
    }

    fn append(&mut self, other: Split, label_offset: u32) {
        self.images.extend(other.images);
        self.labels.extend(other.labels.iter().map(|label| label + label_offset));
    }

    fn relabelled(self, new_labels: &HashMap<u32, u32>) -> Split {
        let mut kept = Split::default();
        for (image, label) in self.images.into_iter().zip(self.labels) {
            if let Some(&label) = new_labels.get(&label) {
                kept.push(image, label);
            }
        }
        kept
    }
}

/// The one image in the file at `path`, PNG or JPEG: gray stays gray, everything else becomes RGB.
///
/// # Errors
/// `Io` when the file cannot be read, `Damaged` when it is no image, `Limit`.
pub fn read_image(path: &Path, limits: &DatasetLimits) -> Result<Image> {
    let bytes = fs::read(path).map_err(|cause| Error::io("read image", path, cause))?;
    image_file::decode(&bytes, &format!("`{}`", path.display()), limits, &mut 0)
}

/// The one image in `bytes`, as [`read_image`] reads a file; `subject` says in an error which image it was.
///
/// # Errors
/// `Damaged` when it is no image, `Limit`.
pub fn decode_image(bytes: &[u8], subject: &str, limits: &DatasetLimits) -> Result<Image> {
    image_file::decode(bytes, subject, limits, &mut 0)
}

/// Turns an image by 90 degrees, clockwise.
fn turn(image: &mut Image) {
    let (width, height, channels) = (image.width as usize, image.height as usize, image.channels as usize);
    let mut data = Vec::with_capacity(image.data.len());
    for column in 0..width {
        for row in (0..height).rev() {
            let pixel = (row * width + column) * channels;
            data.extend_from_slice(&image.data[pixel..pixel + channels]);
        }
    }
    *image = Image { width: image.height, height: image.width, channels: image.channels, data };
}

/// The last component of `folder`, after resolving `.` and `..` where that is possible: what a data set is called.
pub fn folder_name(folder: &Path) -> String {
    let named = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    named(folder)
        .or_else(|| folder.canonicalize().ok().and_then(|path| named(&path)))
        .unwrap_or_else(|| "data".to_owned())
}

/// The names of a folder's entries, sorted by their bytes.
fn entries(folder: &Path) -> Result<Vec<String>> {
    let list = fs::read_dir(folder).map_err(|cause| Error::io("list", folder, cause))?;
    let mut names = Vec::new();
    for entry in list {
        let entry = entry.map_err(|cause| Error::io("list", folder, cause))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// The form of `folder`, by the names in it.
fn recognize(folder: &Path) -> Result<Form> {
    let metadata = fs::metadata(folder).map_err(|cause| {
        Error::io("open data set", folder, cause)
            .with_help("name a folder that exists; relative paths of a recipe begin at its file")
    })?;
    if !metadata.is_dir() {
        return Err(Error::usage(format!("data set `{}` is a file, expected a folder", folder.display()))
            .with_help("name the folder that holds it"));
    }
    let names = entries(folder)?;
    form_of(folder, &names)?.map_or_else(|| Err(unrecognized(folder, &names)), Ok)
}

fn form_of(folder: &Path, names: &[String]) -> Result<Option<Form>> {
    if idx::recognizes(names) {
        Ok(Some(Form::Idx))
    } else if jpeg_tar::recognizes(names) {
        Ok(Some(Form::JpegTar))
    } else if folders::recognizes(folder, names)? {
        Ok(Some(Form::ImageFolders))
    } else if text::recognizes(names) {
        Ok(Some(Form::Text))
    } else {
        Ok(None)
    }
}

fn unrecognized(folder: &Path, names: &[String]) -> Error {
    let error = if names.is_empty() {
        Error::usage(format!("`{}` is no data set: the folder is empty", folder.display()))
    } else {
        Error::usage(format!("`{}` is no data set: found {}", folder.display(), abridged(names)))
    };
    let inside = |name: &&String| -> bool {
        let child: PathBuf = folder.join(name);
        entries(&child).is_ok_and(|names| matches!(form_of(&child, &names), Ok(Some(_))))
    };
    match names.iter().find(inside) {
        Some(child) => error.with_help(format!("`{}` looks like one", folder.join(child).display())),
        None => error.with_help(
            "accepted are gzip IDX (train-images.idx3-ubyte.gz, train-labels.idx1-ubyte.gz, test-...), JPEG tars \
             (train.jpg.tar, test.jpg.tar), and a folder of PNG or JPEG images per class (train/<class>/, test/<class>/ or \
             just <class>/)",
        ),
    }
}

/// The first names of a list, and how many more there are.
fn abridged(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// The lines of `classes.txt`, if the folder has one.
fn class_names(folder: &Path, limits: &DatasetLimits) -> Result<Option<Vec<String>>> {
    let path = folder.join("classes.txt");
    if !path.exists() {
        return Ok(None);
    }
    let text = text::read(&path, limits)?;
    let classes: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    if classes.iter().any(String::is_empty) {
        return Err(Error::damaged(format!("`{}` has an empty line, expected a class name on each", path.display())));
    }
    check_class_count(&path, classes.len() as u64, limits)?;
    Ok(Some(classes))
}

fn check_class_count(path: &Path, count: u64, limits: &DatasetLimits) -> Result<()> {
    if count > limits.max_classes {
        let most = limits.max_classes;
        return Err(Error::limit(format!("`{}` has {count} classes, the limit is {most}", path.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
