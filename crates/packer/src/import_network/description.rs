//! What a checkpoint is: a page of YAML that whoever knows the model writes down once.
//!
//! ```yaml
//! name: resnet20_cifar10
//! network: {family: resnet, image_size: 32, channels: 3, width: 16, depth: 20, batch_norm_epsilon: 1.0e-5}
//! pixels: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
//! head:
//!   name: cifar10
//!   weight: linear.weight
//!   bias: linear.bias
//!   labels: [airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck]
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use taskvec_networks::NetworkConfig;

use crate::error::{Error, Result};
use crate::recipe::{Pattern, PixelRecipe, everything, explain, read_page};

/// A file of labels is read up to here.
const LABELS_BYTES_MAX: u64 = 16 << 20;

/// What a checkpoint is, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkDescription {
    /// What people call the base.
    pub name: String,
    /// The network that the tensors belong to.
    pub network: NetworkConfig,
    /// How pixels are normalized. Default: mean and deviation 0.5, so that black is -1 and white is 1.
    #[serde(default)]
    pub pixels: PixelRecipe,
    /// Which tensors packs may edit. Default `["*"]`.
    #[serde(default = "everything")]
    pub editable: Vec<Pattern>,
    /// The checkpoint's own output layer. Default: none.
    #[serde(default)]
    pub head: Option<HeadDescription>,
    /// Tensors of the checkpoint that the network does without. Default: none; then one that has no place is an error.
    #[serde(default)]
    pub left_out: Vec<Pattern>,
}

/// An output layer of a checkpoint.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadDescription {
    /// What the base calls it.
    pub name: String,
    /// The checkpoint's name for its weight: `[labels, features]`, or a 1 by 1 convolution, or Keras' `kernel`.
    pub weight: String,
    /// The checkpoint's name for its bias: `[labels]`.
    pub bias: String,
    /// What the classes are called.
    pub labels: Labels,
}

/// What the classes of a head are called.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Labels {
    /// One after the other.
    Listed(Vec<String>),
    /// In a text file, one a line.
    InFile(LabelFile),
}

/// A text file with labels.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelFile {
    /// Where it lies, seen from the folder of the checkpoint.
    pub file: PathBuf,
    /// Lines before the first class. Default 0.
    #[serde(default)]
    pub skip: usize,
}

impl NetworkDescription {
    /// The description in the file at `path`.
    ///
    /// # Errors
    /// `Io` when it cannot be read, `Limit` above 1 MiB, `Usage` for an unknown key or a value that makes no sense, with its line.
    pub fn open(path: &Path) -> Result<NetworkDescription> {
        let subject = format!("description `{}`", path.display());
        NetworkDescription::parse(&read_page(path, &subject)?, &subject)
    }

    /// The description written in `text`; `subject` stands in messages.
    ///
    /// # Errors
    /// `Usage`, as [`NetworkDescription::open`].
    pub fn parse(text: &str, subject: &str) -> Result<NetworkDescription> {
        serde_saphyr::from_str(text).map_err(|error| explain(&error, text, subject))
    }
}

impl Labels {
    /// The labels; a file is looked for in `folder`.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, `Limit` when it is longer than 16 MiB.
    pub(super) fn read(&self, folder: &Path) -> Result<Vec<String>> {
        let LabelFile { file, skip } = match self {
            Labels::Listed(labels) => return Ok(labels.clone()),
            Labels::InFile(file) => file,
        };
        let path = folder.join(file);
        let explain = |cause| Error::io("read", &path, cause).with_help("labels are looked for beside the checkpoint");
        let length = std::fs::metadata(&path).map_err(explain)?.len();
        if length > LABELS_BYTES_MAX {
            return Err(Error::limit(format!(
                "labels `{}` take {length} bytes, the limit is {LABELS_BYTES_MAX}",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(&path).map_err(explain)?;
        Ok(text.lines().skip(*skip).map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: tiny\n\
        network: {family: resnet, image_size: 8, channels: 3, width: 2, depth: 8, batch_norm_epsilon: 1.0e-5}\n\
        head: {name: letters, weight: linear.weight, bias: linear.bias, labels: [a, b]}\n";

    #[test]
    fn what_is_not_said_has_its_default() {
        let found = NetworkDescription::parse(TEXT, "description").unwrap();
        assert_eq!((found.pixels, found.editable), (PixelRecipe::default(), everything()));
        assert!(found.left_out.is_empty());
        assert_eq!(found.head.unwrap().labels, Labels::Listed(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_misspelt_key_is_told_with_its_line() {
        let refused = NetworkDescription::parse(&TEXT.replace("head:", "heads:"), "description").unwrap_err();
        assert_eq!(refused.to_string(), "description, line 3: unknown key `heads`");
        assert_eq!(refused.help(), Some("did you mean `head`?"));
    }

    #[test]
    fn labels_come_from_a_file_beside_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("labels.txt"), "background\ncat, tom\r\ndog\n\n").unwrap();
        let labels = Labels::InFile(LabelFile { file: "labels.txt".into(), skip: 1 });
        assert_eq!(labels.read(folder.path()).unwrap(), ["cat, tom", "dog"]);
        let missing = labels.read(&folder.path().join("elsewhere")).unwrap_err();
        assert_eq!(missing.help(), Some("labels are looked for beside the checkpoint"));
    }
}
