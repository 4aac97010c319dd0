//! Images and labels in the form of MNIST: big-endian sizes, then bytes; usually inside gzip.
//!
//! Four bytes `00 00 08 N`, then N sizes of four bytes, then u8 data: N = 1 labels, 3 gray `[n, h, w]`, 4 color
//! `[n, h, w, 3]`. The claims of a header are checked against the limits and against what deflate can at most expand the
//! file to, and memory grows with the bytes that really come.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use taskvec_bundle::Image;

use crate::error::{Error, Result};
use crate::{DatasetLimits, Split, check_class_count, class_names};

/// Deflate expands by at most this factor (zlib's technical notes say 1032 to 1).
const MAX_EXPANSION: u64 = 1032;
/// Below this largest value a set is taken to count in fewer levels than 256.
const FULL_RANGE_FROM: u8 = 128;

const TRAIN: [&str; 1] = ["train"];
/// `t10k` is what the original MNIST files say.
const TEST: [&str; 2] = ["test", "t10k"];

pub(crate) fn recognizes(names: &[String]) -> bool {
    find(names, &TRAIN, "images", &["3", "4"]).is_some()
}

pub(crate) fn open(folder: &Path, limits: &DatasetLimits) -> Result<(Vec<String>, Split, Split)> {
    let names = crate::entries(folder)?;
    let listed = class_names(folder, limits)?;
    let mut train = read_split(folder, &names, &TRAIN, limits)?;
    let mut test = read_split(folder, &names, &TEST, limits)?;
    let used = train.labels.iter().chain(&test.labels).max().map_or(0, |&label| u64::from(label) + 1);
    let classes = match listed {
        Some(classes) if used > classes.len() as u64 => {
            let most = used - 1;
            return Err(Error::damaged(format!(
                "data set `{}` has label {most}, but classes.txt has {} lines",
                folder.display(),
                classes.len()
            )));
        }
        Some(classes) => classes,
        None => (0..used).map(|label| label.to_string()).collect(),
    };
    check_class_count(folder, classes.len() as u64, limits)?;
    stretch(&mut train, &mut test);
    Ok((classes, train, test))
}

/// The name of an IDX file among `names`: `{split}-{what}.idx{N}-ubyte`, with `-` for the dot and `.gz` at the end as
/// they come.
fn find<'a>(names: &'a [String], splits: &[&str], what: &str, ranks: &[&str]) -> Option<&'a String> {
    names.iter().find(|name| {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        splits.iter().any(|split| {
            ranks.iter().any(|rank| [".", "-"].iter().any(|dot| name == format!("{split}-{what}{dot}idx{rank}-ubyte")))
        })
    })
}

fn read_split(folder: &Path, names: &[String], splits: &[&str], limits: &DatasetLimits) -> Result<Split> {
    let named = |what: &str, ranks: &[&str]| {
        find(names, splits, what, ranks).map(|name| folder.join(name)).ok_or_else(|| {
            Error::usage(format!(
                "data set `{}` lacks `{}-{what}.idx{}-ubyte.gz`",
                folder.display(),
                splits[0],
                ranks.join("|")
            ))
            .with_help("an IDX data set has images and labels of both train and test")
        })
    };
    let (image_path, label_path) = (named("images", &["3", "4"])?, named("labels", &["1"])?);
    let images = IdxFile::read(&image_path, limits)?;
    let labels = IdxFile::read(&label_path, limits)?;
    if labels.sizes.len() != 1 {
        return Err(labels.damage(format!("has {} dimensions, expected 1", labels.sizes.len())));
    }
    if images.sizes[0] != labels.sizes[0] {
        return Err(labels.damage(format!("has {} labels for {} images", labels.sizes[0], images.sizes[0])));
    }
    let labels = labels.bytes.iter().map(|&label| u32::from(label)).collect();
    Ok(Split { images: images.into_images(limits)?, labels })
}

struct IdxFile {
    path: PathBuf,
    sizes: Vec<u64>,
    bytes: Vec<u8>,
}

impl IdxFile {
    fn read(path: &Path, limits: &DatasetLimits) -> Result<IdxFile> {
        let file = File::open(path).map_err(|cause| Error::io("read", path, cause))?;
        let file_bytes = file.metadata().map_err(|cause| Error::io("read", path, cause))?.len();
        let mut file = BufReader::new(file);
        let gzip = {
            use std::io::BufRead as _;
            file.fill_buf().map_err(|cause| Error::io("read", path, cause))?.starts_with(&[0x1F, 0x8B])
        };
        let most = if gzip { file_bytes.saturating_mul(MAX_EXPANSION) } else { file_bytes };
        let source: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Self::decode(path, source, most, limits)
    }

    fn decode(path: &Path, mut source: Box<dyn Read>, most: u64, limits: &DatasetLimits) -> Result<IdxFile> {
        let broken = |found: String| Error::damaged(format!("IDX file `{}` {found}", path.display()));
        let mut word = |what: &str| -> Result<[u8; 4]> {
            let mut bytes = [0; 4];
            match source.read_exact(&mut bytes) {
                Ok(()) => Ok(bytes),
                Err(cause) => Err(broken(format!("ends in its {what}")).caused_by(cause)),
            }
        };
        let magic = word("magic")?;
        let rank = magic[3];
        if magic[..3] != [0, 0, 8] || !matches!(rank, 1 | 3 | 4) {
            let found = u32::from_be_bytes(magic);
            return Err(broken(format!("begins with {found:#010x}, expected 0x00000801, 0x00000803 or 0x00000804")));
        }
        let mut sizes = Vec::with_capacity(usize::from(rank));
        for _ in 0..rank {
            sizes.push(u64::from(u32::from_be_bytes(word("sizes")?)));
        }
        if sizes[0] > limits.max_images {
            let (found, limit) = (sizes[0], limits.max_images);
            return Err(Error::limit(format!(
                "IDX file `{}` promises {found} items, the limit is {limit}",
                path.display()
            )));
        }
        let total = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size)).unwrap_or(u64::MAX);
        if total > most {
            return Err(broken(format!("promises {total} bytes, more than the file can hold")));
        }
        if total > limits.max_decoded_bytes {
            let limit = limits.max_decoded_bytes;
            return Err(Error::limit(format!(
                "IDX file `{}` holds {total} bytes, the limit is {limit}",
                path.display()
            )));
        }
        let mut bytes = Vec::new();
        let read = source.take(total + 1).read_to_end(&mut bytes);
        read.map_err(|cause| broken("cannot be decompressed".to_owned()).caused_by(cause))?;
        if bytes.len() as u64 != total {
            let found = if bytes.len() as u64 > total { "more".to_owned() } else { bytes.len().to_string() };
            return Err(broken(format!("promises {total} bytes of data and holds {found}")));
        }
        Ok(IdxFile { path: path.to_path_buf(), sizes, bytes })
    }

    fn into_images(self, limits: &DatasetLimits) -> Result<Vec<Image>> {
        let (height, width, channels) = match self.sizes[..] {
            [_, height, width] => (height, width, 1),
            [_, height, width, channels @ (1 | 3)] => (height, width, channels),
            _ => return Err(self.damage("is no set of gray or RGB images".to_owned())),
        };
        if height == 0 || width == 0 {
            return Err(self.damage("has images without pixels".to_owned()));
        }
        let most = u64::from(limits.max_side_pixels);
        if height > most || width > most {
            let path = self.path.display();
            return Err(Error::limit(format!(
                "IDX file `{path}` has images of {width} x {height}, the limit is {most} a side"
            )));
        }
        let image_bytes = (height * width * channels) as usize;
        let image = |data: &[u8]| Image {
            width: width as u32,
            height: height as u32,
            channels: channels as u32,
            data: data.to_vec(),
        };
        Ok(self.bytes.chunks_exact(image_bytes).map(image).collect())
    }

    fn damage(&self, found: String) -> Error {
        Error::damaged(format!("IDX file `{}` {found}", self.path.display()))
    }
}

/// Stretches both splits to 0..=255 when the training images count in fewer levels (module doc of the parent).
fn stretch(train: &mut Split, test: &mut Split) {
    let largest = train.images.iter().flat_map(|image| &image.data).copied().max().unwrap_or(0);
    if largest == 0 || largest >= FULL_RANGE_FROM {
        return;
    }
    let largest = u32::from(largest);
    let level = |value: u8| ((u32::from(value) * 255 + largest / 2) / largest).min(255) as u8;
    for image in train.images.iter_mut().chain(&mut test.images) {
        for value in &mut image.data {
            *value = level(*value);
        }
    }
}
